//! Logs: from OTLP's log records on the wire to rows of `logs`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, UInt8Array, UInt64Array};
use model::time::Timestamp;
use store::schema::{Table, columns as names};
use xxhash_rust::xxh3::xxh3_64;

use crate::admission::{Admission, Refusal};
use crate::admit::{Reason, Tally};
use crate::any::{self, Any};
use crate::attributes::{self, Kept, TypedMaps};
use crate::budget::Reservation;
use crate::columns;
use crate::error::Error;
use crate::ids;
use crate::proto::{Fault, Message};
use crate::records::{self, Rows, Scope};
use crate::resource::EmitterColumns;
use crate::series::crop;
use crate::sparse::{Ids, Texts};
use crate::stats::Signal;

/// No text that names a severity is longer.
const SEVERITY_TEXT_BYTES_MAX: usize = 16;

/// Admits every log record of an `ExportLogsServiceRequest`.
pub(crate) fn admit(
    admission: &mut Admission<'_>,
    body: &[u8],
    held: &mut Reservation,
) -> Result<Vec<(Table, RecordBatch)>, Error> {
    let mut logs = Logs::new();
    records::walk(&mut logs, admission, body, held)?;
    logs.finish()
}

/// A log record as it lies on the wire.
#[derive(Default)]
struct Raw<'a> {
    time: u64,
    observed_time: u64,
    severity_number: u32,
    severity_text: &'a [u8],
    body: Option<Message<'a>>,
    attributes: Vec<Message<'a>>,
    dropped_attributes: u32,
    flags: u32,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Reads a `LogRecord` in the place of the one before.
    fn refill(&mut self, message: Message<'a>) -> Result<(), Fault> {
        *self = Self { attributes: any::emptied(&mut self.attributes), ..Self::default() };
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => self.time = field.fixed64()?,
                2 => self.severity_number = field.varint32()?,
                3 => self.severity_text = field.bytes()?,
                5 => self.body = Some(field.message()?),
                6 => self.attributes.push(field.message()?),
                7 => self.dropped_attributes = field.varint32()?,
                8 => self.flags = field.fixed32()?,
                9 => self.trace_id = field.bytes()?,
                10 => self.span_id = field.bytes()?,
                11 => self.observed_time = field.fixed64()?,
                12 => self.event_name = field.bytes()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// How messages name it.
    fn describe(&self) -> String {
        let mut unheard = Tally::new(Signal::Logs);
        let body = self.body.and_then(|body| Any::read(body, &mut unheard).ok());
        format!("record \"{}\"", crop(&body.as_ref().map(Any::text).unwrap_or_default()))
    }
}

/// Columns in the making.
struct Logs<'a> {
    time: Vec<i64>,
    observed_time: Vec<i64>,
    emitters: EmitterColumns,
    severity_number: Vec<u8>,
    severity_text: Texts,
    body: StringBuilder,
    event_name: Texts,
    exception_type: Texts,
    exception_message: Texts,
    exception_stack_hash: Vec<Option<u64>>,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    attributes: TypedMaps,
    raw: Raw<'a>,
    kept: Kept<'a>,
}

impl<'a> Rows<'a> for Logs<'a> {
    fn record(
        &mut self,
        admission: &mut Admission<'_>,
        scope: &Scope<'a>,
        record: Message<'a>,
    ) -> Result<(), Error> {
        let mut raw = std::mem::take(&mut self.raw);
        raw.refill(record)?;
        let outcome = self.row(admission, scope, &raw);
        admission.settle(outcome, || raw.describe())?;
        self.raw = raw;
        Ok(())
    }

    fn len(&self) -> usize {
        self.time.len()
    }

    fn emitters(&mut self) -> &mut EmitterColumns {
        &mut self.emitters
    }
}

impl<'a> Logs<'a> {
    fn new() -> Self {
        Self {
            time: Vec::new(),
            observed_time: Vec::new(),
            emitters: EmitterColumns::new(),
            severity_number: Vec::new(),
            severity_text: Texts::new(),
            body: StringBuilder::with_capacity(0, 0),
            event_name: Texts::new(),
            exception_type: Texts::new(),
            exception_message: Texts::new(),
            exception_stack_hash: Vec::new(),
            trace_id: Ids::new(),
            span_id: Ids::new(),
            attributes: TypedMaps::new(),
            raw: Raw::default(),
            kept: Kept::default(),
        }
    }

    fn row(
        &mut self,
        admission: &mut Admission<'_>,
        scope: &Scope<'a>,
        raw: &Raw<'a>,
    ) -> Result<(), Refusal> {
        let (time, observed) = times(admission, raw)?;
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        let row = self.time.len();
        self.time.push(time.0);
        self.observed_time.push(observed.0);
        let severity_text = any::text(raw.severity_text, tally);
        self.severity_number.push(severity_number(raw.severity_number, &severity_text));
        let event_name = any::text(raw.event_name, tally);
        for (column, text) in
            [(&mut self.severity_text, &severity_text), (&mut self.event_name, &event_name)]
        {
            let bytes_max = config.attribute_bytes_max;
            column.set_filled(row, attributes::cut(text, bytes_max, Reason::AttributeCut, tally));
        }
        let body = raw.body.map_or(Ok(Any::Empty), |body| Any::read(body, tally))?;
        let bytes_max = config.log_body_bytes_max;
        self.body.append_value(attributes::cut(&body.text(), bytes_max, Reason::BodyCut, tally));
        self.kept.refill(&raw.attributes, config, tally)?;
        if let (Any::Json(_), Some(message)) = (&body, raw.body) {
            self.kept.add_of_body(any::map_pairs(message)?, config, tally)?;
        }
        self.ids(row, raw, tally);
        self.attributes(row, admission)?;
        let extras =
            [(records::FLAGS, raw.flags), (records::DROPPED_ATTRIBUTES, raw.dropped_attributes)];
        let kept = self.kept.pairs();
        records::push_extras(&mut self.attributes, row, kept, (scope, &extras), admission)?;
        Ok(())
    }

    /// A record with an id that is none is worth more than no record: the id goes.
    fn ids(&mut self, row: usize, raw: &Raw<'_>, tally: &mut Tally) {
        let trace_id = ids::trace_id(raw.trace_id);
        let span_id = ids::span_id(raw.span_id);
        let is_lost = |found: bool, bytes: &[u8], len| !found && !ids::is_absent(bytes, len);
        if is_lost(trace_id.is_some(), raw.trace_id, 16)
            || is_lost(span_id.is_some(), raw.span_id, 8)
        {
            tally.adjust(Reason::IdDropped);
        }
        if let Some(id) = trace_id {
            self.trace_id.set(row, &id.0);
        }
        if let Some(id) = span_id {
            self.span_id.set(row, &id.0);
        }
    }

    /// The attributes as they came, and the columns of an exception made of them.
    fn attributes(&mut self, row: usize, admission: &mut Admission<'_>) -> Result<(), Error> {
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        let mut stack_hash = None;
        for pair in self.kept.pairs() {
            if pair.key.starts_with("exception.") {
                match &*pair.key {
                    "exception.type" => self.exception_type.set(row, &pair.text(config, tally)),
                    "exception.message" => {
                        self.exception_message.set(row, &pair.text(config, tally));
                    }
                    "exception.stacktrace" if pair.value != Any::Empty => {
                        stack_hash = Some(xxh3_64(pair.value.text().as_bytes()));
                    }
                    _ => {}
                }
            }
            self.attributes.push(row, (&pair.key, &pair.value), config, tally)?;
        }
        self.exception_stack_hash.push(stack_hash);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<(Table, RecordBatch)>, Error> {
        let rows = self.time.len();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let mut all: Vec<(&'static str, ArrayRef)> = vec![
            (names::TIME, columns::times_ns(self.time)),
            (names::OBSERVED_TIME, columns::times_ns(self.observed_time)),
            (names::SEVERITY_NUMBER, Arc::new(UInt8Array::from(self.severity_number))),
            (names::SEVERITY_TEXT, self.severity_text.finish(rows)),
            (names::BODY, Arc::new(self.body.finish())),
            (names::EVENT_NAME, self.event_name.finish(rows)),
            (names::EXCEPTION_TYPE, self.exception_type.finish(rows)),
            (names::EXCEPTION_MESSAGE, self.exception_message.finish(rows)),
            (names::EXCEPTION_STACK_HASH, Arc::new(UInt64Array::from(self.exception_stack_hash))),
            (names::TRACE_ID, self.trace_id.finish(rows)?),
            (names::SPAN_ID, self.span_id.finish(rows)?),
        ];
        all.extend(self.emitters.finish(rows));
        all.extend(self.attributes.finish(rows)?);
        Ok(vec![columns::batch(Table::Logs, all)?])
    }
}

/// When it happened and when it was seen. A record without either was seen now, by us.
fn times(admission: &Admission<'_>, raw: &Raw<'_>) -> Result<(Timestamp, Timestamp), Refusal> {
    let now = admission.window.now();
    let observed = match raw.observed_time {
        0 => now,
        ns => Timestamp(i64::try_from(ns).unwrap_or(now.0)),
    };
    let time = match (raw.time, raw.observed_time) {
        (0, 0) => now,
        (0, observed) => admission.window.check(observed)?,
        (time, _) => admission.window.check(time)?,
    };
    Ok((time, observed))
}

/// The severity as OTLP numbers it, 1 to 24; read from the text when the number is missing, 0 when unknown.
fn severity_number(number: u32, text: &str) -> u8 {
    match u8::try_from(number) {
        Ok(number @ 1..=24) => number,
        Ok(_) | Err(_) if text.len() > SEVERITY_TEXT_BYTES_MAX => 0,
        Ok(_) | Err(_) => match text.to_ascii_uppercase().as_str() {
            "TRACE" => 1,
            "DEBUG" => 5,
            "INFO" | "INFORMATION" | "INFORMATIONAL" => 9,
            "NOTICE" => 10,
            "WARN" | "WARNING" => 13,
            "ERR" | "ERROR" => 17,
            "CRIT" | "CRITICAL" => 18,
            "ALERT" => 19,
            "FATAL" | "EMERG" | "EMERGENCY" | "PANIC" => 21,
            _ => 0,
        },
    }
}

#[cfg(test)]
mod tests;
