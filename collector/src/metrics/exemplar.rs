//! Exemplars: samples of single measurements, with the trace they come from. Never a reason to refuse a data point.

use model::id::SeriesId;
use model::time::Timestamp;

use super::rows::ExemplarRow;
use super::{Metrics, POINT_LEVEL};
use crate::admission::Refusal;
use crate::admit::Reason;
use crate::attributes;
use crate::ids;
use crate::proto::Message;
use crate::proto::shape;
use crate::series::Attributes;

/// An `Exemplar` as it stands in the request.
#[derive(Default)]
struct Raw<'b> {
    value: Option<f64>,
    time_unix_nano: u64,
    trace_id: &'b [u8],
    span_id: &'b [u8],
}

impl Metrics<'_, '_> {
    /// Keeps the exemplars of a point, which stand in its field `number`, up to the limit of the series; what cannot be
    /// kept is counted.
    pub(super) fn exemplars(
        &mut self,
        series: SeriesId,
        at: Timestamp,
        (point, number): (Message<'_>, u32),
    ) -> Result<(), Refusal> {
        for field in point.fields() {
            let field = field?;
            if field.number != number {
                continue;
            }
            let exemplar = field.message()?;
            shape::check(exemplar, &shape::EXEMPLAR, shape::DEPTH_MAX - POINT_LEVEL - 1)?;
            if self.exemplar(series, at, exemplar)?.is_none() {
                self.admission.tally.adjust(Reason::ExemplarDropped);
            }
        }
        Ok(())
    }

    fn exemplar(
        &mut self,
        series: SeriesId,
        at: Timestamp,
        message: Message<'_>,
    ) -> Result<Option<()>, Refusal> {
        let raw = Raw::read(message)?;
        let Some(value) = raw.value else { return Ok(None) };
        let time = match raw.time_unix_nano {
            0 => at, // Senders that do not know it mean the time of the point.
            unix_nano => match self.admission.window.check(unix_nano) {
                Ok(time) => time,
                Err(_) => return Ok(None),
            },
        };
        let trace_id = ids::trace_id(raw.trace_id);
        let span_id = ids::span_id(raw.span_id);
        let is_whole = |found: bool, bytes: &[u8], len| found || ids::is_absent(bytes, len);
        if !is_whole(trace_id.is_some(), raw.trace_id, 16)
            || !is_whole(span_id.is_some(), raw.span_id, 8)
            || !self.admission.takes_exemplar(series)
        {
            return Ok(None);
        }
        let (config, tally) = (self.admission.shared.config, &mut self.admission.tally);
        let (max, bytes_max) = (config.attributes_max, config.attribute_bytes_max);
        let decoded = Attributes::new(message, 7).decode(max, bytes_max)?;
        for _ in decoded.pairs.len()..decoded.count {
            tally.adjust(Reason::AttributesOverLimit);
        }
        let attributes = attributes::within_limits(&decoded.pairs, config, tally)
            .iter()
            .map(|pair| (pair.key.clone(), attributes::text(pair, config, tally).into_owned()))
            .collect();
        self.rows.exemplars.push(ExemplarRow {
            series: series.0,
            time_ns: time.0,
            value,
            trace_id,
            span_id,
            attributes,
        });
        Ok(Some(()))
    }
}

impl<'b> Raw<'b> {
    fn read(message: Message<'b>) -> Result<Self, Refusal> {
        let mut raw = Self::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                2 => raw.time_unix_nano = field.fixed64()?,
                3 => raw.value = Some(field.double()?),
                4 => raw.span_id = field.bytes()?,
                5 => raw.trace_id = field.bytes()?,
                6 => raw.value = Some(field.fixed64()?.cast_signed() as f64),
                _ => {}
            }
        }
        Ok(raw)
    }
}
