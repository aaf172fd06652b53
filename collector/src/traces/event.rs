//! The events and links of spans as list columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, MapBuilder, StringBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Fields};
use model::id::{SpanId, TraceId};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use store::schema;

use crate::admission::Admission;
use crate::admit::{Reason, Tally};
use crate::attributes::{self, end_row};
use crate::columns;
use crate::config::Config;
use crate::error::Error;
use crate::ids;

type TextMap = MapBuilder<StringBuilder, StringBuilder>;

/// The column `events`.
pub(super) struct Events {
    lengths: Vec<usize>,
    time: Vec<i64>,
    name: StringBuilder,
    attributes: TextMap,
    exception_type: StringBuilder,
    exception_message: StringBuilder,
}

impl Events {
    pub(super) fn new() -> Self {
        Self {
            lengths: Vec::new(),
            time: Vec::new(),
            name: StringBuilder::new(),
            attributes: schema::map_builder(StringBuilder::new()),
            exception_type: StringBuilder::new(),
            exception_message: StringBuilder::new(),
        }
    }

    /// Adds the events of one span.
    pub(super) fn push(
        &mut self,
        admission: &mut Admission<'_>,
        events: &[Event],
    ) -> Result<(), Error> {
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        let events = within(events, config, tally);
        self.lengths.push(events.len());
        for event in events {
            self.time.push(i64::try_from(event.time_unix_nano).unwrap_or(i64::MAX));
            let limit = config.attribute_bytes_max;
            self.name.append_value(attributes::cut(
                &event.name,
                limit,
                Reason::AttributeCut,
                tally,
            ));
            let kept = push_map(&mut self.attributes, &event.attributes, (config, tally))?;
            let text = |key: &str| {
                kept.iter().find(|pair| pair.key == key).map(|pair| {
                    attributes::text(pair, config, &mut Tally::new(crate::Signal::Traces))
                        .into_owned()
                })
            };
            self.exception_type.append_option(text("exception.type"));
            self.exception_message.append_option(text("exception.message"));
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<ArrayRef, Error> {
        let arrays: Vec<ArrayRef> = vec![
            columns::times_ns(self.time),
            Arc::new(self.name.finish()),
            Arc::new(self.attributes.finish()),
            Arc::new(self.exception_type.finish()),
            Arc::new(self.exception_message.finish()),
        ];
        list(schema::event_fields(), arrays, self.lengths)
    }
}

/// The column `links`.
pub(super) struct Links {
    lengths: Vec<usize>,
    trace_id: Vec<Option<TraceId>>,
    span_id: Vec<Option<SpanId>>,
    attributes: TextMap,
}

impl Links {
    pub(super) fn new() -> Self {
        Self {
            lengths: Vec::new(),
            trace_id: Vec::new(),
            span_id: Vec::new(),
            attributes: schema::map_builder(StringBuilder::new()),
        }
    }

    /// Adds the links of one span; one that leads nowhere is dropped and counted.
    pub(super) fn push(
        &mut self,
        admission: &mut Admission<'_>,
        links: &[Link],
    ) -> Result<(), Error> {
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        let mut kept = 0;
        for link in within(links, config, tally) {
            let trace_id = ids::trace_id(&link.trace_id);
            let span_id = ids::span_id(&link.span_id);
            if trace_id.is_none() || span_id.is_none() {
                tally.adjust(Reason::IdDropped);
                continue;
            }
            kept += 1;
            self.trace_id.push(trace_id);
            self.span_id.push(span_id);
            push_map(&mut self.attributes, &link.attributes, (config, tally))?;
        }
        self.lengths.push(kept);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<ArrayRef, Error> {
        let arrays: Vec<ArrayRef> = vec![
            columns::trace_ids(&self.trace_id)?,
            columns::span_ids(&self.span_id)?,
            Arc::new(self.attributes.finish()),
        ];
        list(schema::link_fields(), arrays, self.lengths)
    }
}

fn within<'a, T>(items: &'a [T], config: &Config, tally: &mut Tally) -> &'a [T] {
    if items.len() > config.events_max {
        tally.adjust(Reason::AttributesOverLimit);
    }
    &items[..items.len().min(config.events_max)]
}

fn push_map<'a>(
    map: &mut TextMap,
    pairs: &'a [KeyValue],
    (config, tally): (&Config, &mut Tally),
) -> Result<Vec<&'a KeyValue>, Error> {
    let kept = attributes::within_limits(pairs, config, tally);
    for pair in &kept {
        map.keys().append_value(&pair.key);
        map.values().append_value(attributes::text(pair, config, tally));
    }
    end_row(map)?;
    Ok(kept)
}

fn list(fields: Fields, arrays: Vec<ArrayRef>, lengths: Vec<usize>) -> Result<ArrayRef, Error> {
    let uneven = |cause| Error::Internal(format!("a list column is uneven: {cause}"));
    let items = StructArray::try_new(fields, arrays, None).map_err(uneven)?;
    let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let lists = ListArray::try_new(item, offsets, Arc::new(items), None).map_err(uneven)?;
    Ok(Arc::new(lists))
}
