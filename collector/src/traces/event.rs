//! The events and links of spans as list columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, StringBuilder};
use arrow::datatypes::{Field, Fields};
use store::schema;

use crate::admission::Admission;
use crate::admit::{Reason, Tally};
use crate::any;
use crate::attributes::{self, Kept};
use crate::columns;
use crate::config::Config;
use crate::error::Error;
use crate::ids;
use crate::proto::{Fault, Message};
use crate::records;
use crate::sparse::{Ids, MapKeys, Offsets, Texts, structs, uneven};

/// The trace state of a link, beside its attributes.
const TRACE_STATE: &str = "w3c.tracestate";

/// The attributes of events and links: all of them as text.
struct TextMap<'a> {
    keys: MapKeys,
    values: StringBuilder,
    kept: Kept<'a>,
}

impl<'a> TextMap<'a> {
    fn new() -> Self {
        let values = StringBuilder::with_capacity(0, 0);
        Self { keys: MapKeys::new(), values, kept: Kept::default() }
    }

    fn push(
        &mut self,
        row: usize,
        messages: &[Message<'a>],
        (config, tally): (&Config, &mut Tally),
    ) -> Result<(), Error> {
        self.kept.refill(messages, config, tally)?;
        for pair in self.kept.pairs() {
            self.keys.add(row, &pair.key)?;
            self.values.append_value(pair.text(config, tally));
        }
        Ok(())
    }

    /// Adds what has no column, unless there is an attribute of that name.
    fn push_extra(&mut self, row: usize, key: &str, value: &str) -> Result<(), Error> {
        if !self.kept.pairs().iter().any(|pair| pair.key == key) {
            self.keys.add(row, key)?;
            self.values.append_value(value);
        }
        Ok(())
    }

    fn push_count(&mut self, row: usize, key: &str, count: u32) -> Result<(), Error> {
        if count > 0 { self.push_extra(row, key, &count.to_string()) } else { Ok(()) }
    }

    fn finish(mut self, rows: usize) -> Result<ArrayRef, Error> {
        self.keys.finish(rows, Arc::new(self.values.finish()))
    }
}

/// The column `events`.
pub(super) struct Events<'a> {
    offsets: Offsets,
    time: Vec<i64>,
    name: StringBuilder,
    attributes: TextMap<'a>,
    exception_type: Texts,
    exception_message: Texts,
    raw: RawEvent<'a>,
}

#[derive(Default)]
struct RawEvent<'a> {
    time: u64,
    name: &'a [u8],
    attributes: Vec<Message<'a>>,
    dropped: u32,
}

impl<'a> RawEvent<'a> {
    fn refill(&mut self, message: Message<'a>) -> Result<(), Fault> {
        *self = Self { attributes: any::emptied(&mut self.attributes), ..Self::default() };
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => self.time = field.fixed64()?,
                2 => self.name = field.bytes()?,
                3 => self.attributes.push(field.message()?),
                4 => self.dropped = field.varint32()?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Events<'a> {
    pub(super) fn new() -> Self {
        Self {
            offsets: Offsets::new(),
            time: Vec::new(),
            name: StringBuilder::with_capacity(0, 0),
            attributes: TextMap::new(),
            exception_type: Texts::new(),
            exception_message: Texts::new(),
            raw: RawEvent::default(),
        }
    }

    /// Adds the events of the span in `row`.
    pub(super) fn push(
        &mut self,
        row: usize,
        admission: &mut Admission<'_>,
        events: &[Message<'a>],
    ) -> Result<(), Error> {
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        for message in within(events, config, tally) {
            self.raw.refill(*message)?;
            let at = self.time.len();
            self.offsets.add(row)?;
            self.time.push(i64::try_from(self.raw.time).unwrap_or(i64::MAX));
            let name = any::text(self.raw.name, tally);
            let limit = config.attribute_bytes_max;
            self.name.append_value(attributes::cut(&name, limit, Reason::AttributeCut, tally));
            self.attributes.push(at, &self.raw.attributes, (config, tally))?;
            self.attributes.push_count(at, records::DROPPED_ATTRIBUTES, self.raw.dropped)?;
            for pair in self.attributes.kept.pairs() {
                // A cut was counted with the attribute itself.
                let text = || pair.value.text();
                match &*pair.key {
                    "exception.type" => self.exception_type.set(at, head(&text(), limit)),
                    "exception.message" => self.exception_message.set(at, head(&text(), limit)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The column of `rows` spans.
    pub(super) fn finish(mut self, rows: usize) -> Result<ArrayRef, Error> {
        let n = self.time.len();
        let arrays: Vec<ArrayRef> = vec![
            columns::times_ns(self.time),
            Arc::new(self.name.finish()),
            self.attributes.finish(n)?,
            self.exception_type.finish(n),
            self.exception_message.finish(n),
        ];
        list(schema::event_fields(), arrays, self.offsets, rows)
    }
}

fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The column `links`.
pub(super) struct Links<'a> {
    offsets: Offsets,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    n_links: usize,
    attributes: TextMap<'a>,
    raw: RawLink<'a>,
}

#[derive(Default)]
struct RawLink<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    trace_state: &'a [u8],
    attributes: Vec<Message<'a>>,
    dropped: u32,
    flags: u32,
}

impl<'a> RawLink<'a> {
    fn refill(&mut self, message: Message<'a>) -> Result<(), Fault> {
        *self = Self { attributes: any::emptied(&mut self.attributes), ..Self::default() };
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => self.trace_id = field.bytes()?,
                2 => self.span_id = field.bytes()?,
                3 => self.trace_state = field.bytes()?,
                4 => self.attributes.push(field.message()?),
                5 => self.dropped = field.varint32()?,
                6 => self.flags = field.fixed32()?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Links<'a> {
    pub(super) fn new() -> Self {
        Self {
            offsets: Offsets::new(),
            trace_id: Ids::new(),
            span_id: Ids::new(),
            n_links: 0,
            attributes: TextMap::new(),
            raw: RawLink::default(),
        }
    }

    /// Adds the links of the span in `row`; one that leads nowhere is dropped and counted.
    pub(super) fn push(
        &mut self,
        row: usize,
        admission: &mut Admission<'_>,
        links: &[Message<'a>],
    ) -> Result<(), Error> {
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        for message in within(links, config, tally) {
            self.raw.refill(*message)?;
            let (Some(trace_id), Some(span_id)) =
                (ids::trace_id(self.raw.trace_id), ids::span_id(self.raw.span_id))
            else {
                tally.adjust(Reason::IdDropped);
                continue;
            };
            let at = self.n_links;
            self.n_links += 1;
            self.offsets.add(row)?;
            self.trace_id.set(at, &trace_id.0);
            self.span_id.set(at, &span_id.0);
            self.attributes.push(at, &self.raw.attributes, (config, tally))?;
            if !self.raw.trace_state.is_empty() {
                let state = any::text(self.raw.trace_state, tally);
                let limit = config.attribute_bytes_max;
                let state = attributes::cut(&state, limit, Reason::AttributeCut, tally);
                self.attributes.push_extra(at, TRACE_STATE, state)?;
            }
            self.attributes.push_count(at, records::FLAGS, self.raw.flags)?;
            self.attributes.push_count(at, records::DROPPED_ATTRIBUTES, self.raw.dropped)?;
        }
        Ok(())
    }

    /// The column of `rows` spans.
    pub(super) fn finish(self, rows: usize) -> Result<ArrayRef, Error> {
        let n = self.n_links;
        let arrays =
            vec![self.trace_id.finish(n)?, self.span_id.finish(n)?, self.attributes.finish(n)?];
        list(schema::link_fields(), arrays, self.offsets, rows)
    }
}

fn within<'s, 'a>(
    items: &'s [Message<'a>],
    config: &Config,
    tally: &mut Tally,
) -> &'s [Message<'a>] {
    if items.len() > config.events_max {
        tally.adjust(Reason::AttributesOverLimit);
    }
    &items[..items.len().min(config.events_max)]
}

fn list(
    fields: Fields,
    arrays: Vec<ArrayRef>,
    offsets: Offsets,
    rows: usize,
) -> Result<ArrayRef, Error> {
    let items = structs(fields, arrays)?;
    let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let lists = ListArray::try_new(item, offsets.finish(rows), Arc::new(items), None)
        .map_err(|cause| uneven("list", &cause.to_string()))?;
    Ok(Arc::new(lists))
}
