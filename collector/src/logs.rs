//! Logs: from OTLP's log records to rows of `logs`.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, UInt8Array, UInt64Array};
use model::id::{SpanId, TraceId};
use model::time::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use store::schema::{Table, columns as names};
use xxhash_rust::xxh3::xxh3_64;

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::attributes::{self, TypedMaps};
use crate::columns;
use crate::error::Error;
use crate::ids;
use crate::resource::{Emitter, EmitterColumns, note_scope};
use crate::series::crop;
use crate::value;

/// Admits every log record of the request.
pub(crate) fn admit(
    admission: &mut Admission<'_>,
    request: &ExportLogsServiceRequest,
) -> Result<Vec<(Table, RecordBatch)>, Error> {
    let mut logs = Logs::new();
    for of_resource in &request.resource_logs {
        let emitter = admission.emitter(of_resource.resource.as_ref());
        for of_scope in &of_resource.scope_logs {
            note_scope(of_scope.scope.as_ref(), &mut admission.tally);
            admission.tally.receive(of_scope.log_records.len());
            for record in &of_scope.log_records {
                let outcome = logs.record(admission, (&emitter, of_scope.scope.as_ref()), record);
                admission.settle(outcome, || {
                    let body = record.body.as_ref().map(value::text).unwrap_or_default();
                    format!("record \"{}\"", crop(&body))
                })?;
            }
        }
    }
    logs.finish()
}

/// Columns in the making.
struct Logs {
    time: Vec<i64>,
    observed_time: Vec<i64>,
    emitter: EmitterColumns,
    severity_number: Vec<u8>,
    severity_text: StringBuilder,
    body: StringBuilder,
    event_name: StringBuilder,
    exception_type: StringBuilder,
    exception_message: StringBuilder,
    exception_stack_hash: Vec<Option<u64>>,
    trace_id: Vec<Option<TraceId>>,
    span_id: Vec<Option<SpanId>>,
    attributes: TypedMaps,
}

impl Logs {
    fn new() -> Self {
        Self {
            time: Vec::new(),
            observed_time: Vec::new(),
            emitter: EmitterColumns::new(),
            severity_number: Vec::new(),
            severity_text: StringBuilder::new(),
            body: StringBuilder::new(),
            event_name: StringBuilder::new(),
            exception_type: StringBuilder::new(),
            exception_message: StringBuilder::new(),
            exception_stack_hash: Vec::new(),
            trace_id: Vec::new(),
            span_id: Vec::new(),
            attributes: TypedMaps::new(),
        }
    }

    fn record(
        &mut self,
        admission: &mut Admission<'_>,
        (emitter, scope): (&Emitter, Option<&InstrumentationScope>),
        record: &LogRecord,
    ) -> Result<(), Refusal> {
        let (time, observed) = times(admission, record)?;
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        self.time.push(time.0);
        self.observed_time.push(observed.0);
        self.emitter.push(emitter, scope);
        self.severity_number.push(severity_number(record));
        let severity_text = attributes::cut(
            &record.severity_text,
            config.attribute_bytes_max,
            Reason::AttributeCut,
            tally,
        );
        self.severity_text.append_option((!severity_text.is_empty()).then_some(severity_text));
        let body = record.body.as_ref().map_or(Cow::Borrowed(""), value::text);
        let body = attributes::cut_cow(body, config.log_body_bytes_max, Reason::BodyCut, tally);
        self.body.append_value(body);
        let event_name = attributes::cut(
            &record.event_name,
            config.attribute_bytes_max,
            Reason::AttributeCut,
            tally,
        );
        self.event_name.append_option((!event_name.is_empty()).then_some(event_name));
        self.ids(admission, record);
        self.attributes(admission, record).map_err(Refusal::Fail)
    }

    /// A record with an id that is none is worth more than no record: the id goes.
    fn ids(&mut self, admission: &mut Admission<'_>, record: &LogRecord) {
        let trace_id = ids::trace_id(&record.trace_id);
        let span_id = ids::span_id(&record.span_id);
        let is_lost = |found: bool, bytes: &[u8], len| !found && !ids::is_absent(bytes, len);
        if is_lost(trace_id.is_some(), &record.trace_id, 16)
            || is_lost(span_id.is_some(), &record.span_id, 8)
        {
            admission.tally.adjust(Reason::IdDropped);
        }
        self.trace_id.push(trace_id);
        self.span_id.push(span_id);
    }

    /// The attributes, and the keys of a structured body that no attribute has.
    fn attributes(
        &mut self,
        admission: &mut Admission<'_>,
        record: &LogRecord,
    ) -> Result<(), Error> {
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        let mut kept = attributes::within_limits(&record.attributes, config, tally);
        for pair in body_pairs(record.body.as_ref()) {
            if !pair.key.is_empty()
                && kept.len() < config.attributes_max
                && !kept.iter().any(|seen| seen.key == pair.key)
            {
                kept.push(pair);
            }
        }
        let mut exception = [None, None, None];
        for pair in kept {
            match pair.key.as_str() {
                "exception.type" => exception[0] = Some(attributes::text(pair, config, tally)),
                "exception.message" => exception[1] = Some(attributes::text(pair, config, tally)),
                "exception.stacktrace" => exception[2] = pair.value.as_ref().map(value::text),
                _ => {}
            }
            self.attributes.push(pair, config, tally);
        }
        let [kind, message, stack] = exception;
        self.exception_type.append_option(kind);
        self.exception_message.append_option(message);
        self.exception_stack_hash.push(stack.map(|stack| xxh3_64(stack.as_bytes())));
        self.attributes.end_row()
    }

    fn finish(mut self) -> Result<Vec<(Table, RecordBatch)>, Error> {
        if self.time.is_empty() {
            return Ok(Vec::new());
        }
        let mut all: Vec<(&'static str, ArrayRef)> = vec![
            (names::TIME, columns::times_ns(self.time)),
            (names::OBSERVED_TIME, columns::times_ns(self.observed_time)),
            (names::SEVERITY_NUMBER, Arc::new(UInt8Array::from(self.severity_number))),
            (names::SEVERITY_TEXT, Arc::new(self.severity_text.finish())),
            (names::BODY, Arc::new(self.body.finish())),
            (names::EVENT_NAME, Arc::new(self.event_name.finish())),
            (names::EXCEPTION_TYPE, Arc::new(self.exception_type.finish())),
            (names::EXCEPTION_MESSAGE, Arc::new(self.exception_message.finish())),
            (names::EXCEPTION_STACK_HASH, Arc::new(UInt64Array::from(self.exception_stack_hash))),
            (names::TRACE_ID, columns::trace_ids(&self.trace_id)?),
            (names::SPAN_ID, columns::span_ids(&self.span_id)?),
        ];
        all.extend(self.emitter.finish());
        all.extend(self.attributes.finish());
        Ok(vec![columns::batch(Table::Logs, all)?])
    }
}

/// When it happened and when it was seen. A record without either was seen now, by us.
fn times(admission: &Admission<'_>, record: &LogRecord) -> Result<(Timestamp, Timestamp), Refusal> {
    let now = admission.window.now();
    let observed = match record.observed_time_unix_nano {
        0 => now,
        ns => Timestamp(i64::try_from(ns).unwrap_or(now.0)),
    };
    let time = match (record.time_unix_nano, record.observed_time_unix_nano) {
        (0, 0) => now,
        (0, observed) => admission.window.check(observed)?,
        (time, _) => admission.window.check(time)?,
    };
    Ok((time, observed))
}

/// The severity as OTLP numbers it, 1 to 24; read from the text when the number is missing, 0 when unknown.
fn severity_number(record: &LogRecord) -> u8 {
    match u8::try_from(record.severity_number) {
        Ok(number @ 1..=24) => number,
        Ok(_) | Err(_) => match record.severity_text.to_ascii_uppercase().as_str() {
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

fn body_pairs(body: Option<&AnyValue>) -> &[KeyValue] {
    match body.and_then(|body| body.value.as_ref()) {
        Some(Value::KvlistValue(map)) => &map.values,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
