//! What log records and spans have in common on their way from the wire: resources and scopes around them, what of a
//! scope goes with each record, and the memory their rows take.

use std::sync::Arc;

use crate::admission::Admission;
use crate::admit::{Reason, Tally};
use crate::any::{self, Any};
use crate::attributes::{self, Kept, Pair, TypedMaps};
use crate::budget::Reservation;
use crate::config::Config;
use crate::error::Error;
use crate::proto::{Fault, Message};
use crate::resource::{Emitter, EmitterColumns};

/// What a row takes in columns besides its own bytes, at most about: an offset for each column, and fixed values.
const ROW_BYTES: usize = 512;
/// A record's bytes lie in its body, in the columns, and while these grow a second time.
const COPIES: usize = 2;
/// Memory is asked for in steps, not for each record.
const STEP_BYTES: usize = 64 << 10;

/// Columns in the making.
pub(crate) trait Rows<'a> {
    /// Adds the row of one record, or counts why there is none.
    fn record(
        &mut self,
        admission: &mut Admission<'_>,
        scope: &Scope<'a>,
        record: Message<'a>,
    ) -> Result<(), Error>;

    /// Rows so far.
    fn len(&self) -> usize;

    /// The columns made of resources and scopes.
    fn emitters(&mut self) -> &mut EmitterColumns;
}

/// Walks an export request of logs or traces: they differ in nothing but the records.
///
/// The memory of the rows is held as they grow. A body that is no protobuf is refused with the byte where it breaks,
/// and then nothing of it is kept.
pub(crate) fn walk<'a>(
    rows: &mut impl Rows<'a>,
    admission: &mut Admission<'_>,
    body: &'a [u8],
    held: &mut Reservation,
) -> Result<(), Error> {
    let mut due = 0;
    for field in Message::of_body(body).fields() {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let of_resource = field.message()?;
        let emitter = admission.emitter_of(last(of_resource, 1)?)?;
        for field in of_resource.fields() {
            let field = field?;
            if field.number == 2 {
                due += of_scope(rows, admission, &emitter, field.message()?, held)?;
                if due >= STEP_BYTES {
                    held.grow(std::mem::take(&mut due))?;
                }
            }
        }
    }
    held.grow(due)
}

/// Admits the records of one scope; returns the bytes of their rows that are not held yet.
fn of_scope<'a>(
    rows: &mut impl Rows<'a>,
    admission: &mut Admission<'_>,
    emitter: &Arc<Emitter>,
    message: Message<'a>,
    held: &mut Reservation,
) -> Result<usize, Error> {
    let scope = Scope::read(last(message, 1)?, admission)?;
    let (mut due, mut n_records, first) = (0, 0, rows.len());
    // What comes from around a record is copied into each row.
    let row_bytes = ROW_BYTES + COPIES * (emitter.row_bytes() + scope.row_bytes());
    for field in message.fields() {
        let field = field?;
        if field.number != 2 {
            continue;
        }
        let record = field.message()?;
        n_records += 1;
        due += row_bytes + COPIES * record.bytes().len();
        if due >= STEP_BYTES {
            held.grow(std::mem::take(&mut due))?;
        }
        let bytes_max = admission.shared.config.record_bytes_max;
        if record.bytes().len() > bytes_max {
            admission.tally.reject(Reason::RecordTooLarge, || {
                format!("one of {} bytes, {bytes_max} is the limit", record.bytes().len())
            });
        } else {
            rows.record(admission, &scope, record)?;
        }
    }
    admission.tally.receive(n_records);
    let n_rows = rows.len() - first;
    rows.emitters().push(first, n_rows, (emitter, &scope));
    Ok(due)
}

/// The last message of this number: OTLP has at most one, and it may stand behind what it speaks of.
fn last(message: Message<'_>, number: u32) -> Result<Option<Message<'_>>, Fault> {
    let mut found = None;
    for field in message.fields() {
        let field = field?;
        if field.number == number {
            found = Some(field.message()?);
        }
    }
    Ok(found)
}

/// An instrumentation scope.
#[derive(Debug, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Under the names they have on each record.
    attributes: Vec<(String, Any<'a>)>,
}

impl<'a> Scope<'a> {
    /// Bytes of what each row takes from it.
    fn row_bytes(&self) -> usize {
        let of_pair = |(key, value): &(String, Any<'_>)| key.len() + value.text().len();
        let attributes: usize = self.attributes.iter().map(of_pair).sum();
        self.name.len() + self.version.len() + attributes
    }

    fn read(message: Option<Message<'a>>, admission: &mut Admission<'_>) -> Result<Self, Fault> {
        let Some(message) = message else { return Ok(Self::default()) };
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        let (mut scope, mut messages, mut dropped) = (Self::default(), Vec::new(), 0);
        let mut bytes = 0;
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => scope.name = text(field.bytes()?, config, tally),
                2 => scope.version = text(field.bytes()?, config, tally),
                3 => {
                    bytes += scope_attribute_bytes(field.message()?);
                    if bytes <= config.attribute_bytes_max {
                        messages.push(field.message()?);
                    }
                }
                4 => dropped = field.varint32()?,
                _ => {}
            }
        }
        let mut kept = Kept::default();
        if bytes > config.attribute_bytes_max {
            // They would be written with every record.
            messages.clear();
            tally.adjust(Reason::AttributesOverLimit);
        }
        kept.refill(&messages, config, tally)?;
        let prefixed = |pair: Pair<'a>| (format!("otel.scope.{}", pair.key), pair.value);
        scope.attributes = kept.into_pairs().into_iter().map(prefixed).collect();
        if dropped > 0 {
            let count = Any::Int(i64::from(dropped));
            scope.attributes.push(("otel.scope.dropped_attributes_count".to_owned(), count));
        }
        Ok(scope)
    }
}

/// What an attribute counts against the limit of those of a scope together: what it takes on the wire, so that even
/// empty ones end.
pub(crate) fn scope_attribute_bytes(attribute: Message<'_>) -> usize {
    2 + attribute.bytes().len()
}

fn text(bytes: &[u8], config: &Config, tally: &mut Tally) -> String {
    let text = any::text(bytes, tally);
    attributes::cut(&text, config.attribute_bytes_max, Reason::AttributeCut, tally).to_owned()
}

// What a record says besides its attributes and has no column: kept beside the attributes, under OpenTelemetry's names
// for it where it has some. A value of 0 says nothing.
pub(crate) const FLAGS: &str = "otel.flags";
pub(crate) const DROPPED_ATTRIBUTES: &str = "otel.dropped_attributes_count";
pub(crate) const DROPPED_EVENTS: &str = "otel.dropped_events_count";
pub(crate) const DROPPED_LINKS: &str = "otel.dropped_links_count";

/// Adds what goes with a record besides its own attributes `kept`; an attribute of the same name stays as it was sent.
pub(crate) fn push_extras(
    maps: &mut TypedMaps,
    row: usize,
    kept: &[Pair<'_>],
    (scope, extras): (&Scope<'_>, &[(&'static str, u32)]),
    admission: &mut Admission<'_>,
) -> Result<(), Error> {
    let is_free = |key: &str| !kept.iter().any(|pair| pair.key == key);
    for (key, value) in extras.iter().filter(|(key, value)| *value > 0 && is_free(key)) {
        maps.push_int(row, key, i64::from(*value))?;
    }
    for (key, value) in scope.attributes.iter().filter(|(key, _)| is_free(key)) {
        maps.push(row, (key, value), admission.shared.config, &mut admission.tally)?;
    }
    Ok(())
}

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod tests;
