//! A span as it lies on the wire.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::any::emptied;
use crate::proto::{Fault, Message};

/// The fields of a `Span`, none of them judged.
#[derive(Default)]
pub(super) struct Raw<'a> {
    pub(super) trace_id: &'a [u8],
    pub(super) span_id: &'a [u8],
    pub(super) trace_state: &'a [u8],
    pub(super) parent_span_id: &'a [u8],
    pub(super) name: &'a [u8],
    kind: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<Message<'a>>,
    pub(super) dropped_attributes: u32,
    pub(super) events: Vec<Message<'a>>,
    pub(super) dropped_events: u32,
    pub(super) links: Vec<Message<'a>>,
    pub(super) dropped_links: u32,
    pub(super) status_message: &'a [u8],
    status_code: u32,
    pub(super) flags: u32,
}

impl<'a> Raw<'a> {
    /// Reads a `Span` in the place of the one before.
    pub(super) fn refill(&mut self, message: Message<'a>) -> Result<(), Fault> {
        *self = Self {
            attributes: emptied(&mut self.attributes),
            events: emptied(&mut self.events),
            links: emptied(&mut self.links),
            ..Self::default()
        };
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => self.trace_id = field.bytes()?,
                2 => self.span_id = field.bytes()?,
                3 => self.trace_state = field.bytes()?,
                4 => self.parent_span_id = field.bytes()?,
                5 => self.name = field.bytes()?,
                6 => self.kind = field.varint32()?,
                7 => self.start = field.fixed64()?,
                8 => self.end = field.fixed64()?,
                9 => self.attributes.push(field.message()?),
                10 => self.dropped_attributes = field.varint32()?,
                11 => self.events.push(field.message()?),
                12 => self.dropped_events = field.varint32()?,
                13 => self.links.push(field.message()?),
                14 => self.dropped_links = field.varint32()?,
                15 => self.status_of(field.message()?)?,
                16 => self.flags = field.fixed32()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn status_of(&mut self, message: Message<'a>) -> Result<(), Fault> {
        for field in message.fields() {
            let field = field?;
            match field.number {
                2 => self.status_message = field.bytes()?,
                3 => self.status_code = field.varint32()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The kind; one we do not know is unspecified.
    pub(super) fn kind(&self) -> SpanKind {
        SpanKind::try_from(self.kind.cast_signed()).unwrap_or(SpanKind::Unspecified)
    }

    /// The status; one we do not know is unset.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::try_from(self.status_code.cast_signed()).unwrap_or(StatusCode::Unset)
    }
}
