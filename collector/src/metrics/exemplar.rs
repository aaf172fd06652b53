//! Exemplars: samples of single measurements, with the trace they come from. Never a reason to refuse a data point.

use model::id::SeriesId;
use model::time::Timestamp;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, exemplar};

use super::Metrics;
use super::rows::ExemplarRow;
use crate::admit::Reason;
use crate::attributes;
use crate::ids;

impl Metrics<'_, '_> {
    /// Keeps exemplars up to the limit of the series; what cannot be kept is counted.
    pub(super) fn exemplars(&mut self, series: SeriesId, at: Timestamp, exemplars: &[Exemplar]) {
        for exemplar in exemplars {
            if self.exemplar(series, at, exemplar).is_none() {
                self.admission.tally.adjust(Reason::ExemplarDropped);
            }
        }
    }

    fn exemplar(&mut self, series: SeriesId, at: Timestamp, exemplar: &Exemplar) -> Option<()> {
        let value = match exemplar.value? {
            exemplar::Value::AsDouble(value) => value,
            exemplar::Value::AsInt(value) => value as f64,
        };
        let time = match exemplar.time_unix_nano {
            0 => at, // Senders that do not know it mean the time of the point.
            unix_nano => self.admission.window.check(unix_nano).ok()?,
        };
        let trace_id = ids::trace_id(&exemplar.trace_id);
        let span_id = ids::span_id(&exemplar.span_id);
        let is_whole = |found: bool, bytes: &[u8], len| found || ids::is_absent(bytes, len);
        if !is_whole(trace_id.is_some(), &exemplar.trace_id, 16)
            || !is_whole(span_id.is_some(), &exemplar.span_id, 8)
        {
            return None;
        }
        let shared = self.admission.shared;
        let (now, limit) = (self.admission.window.now(), shared.config.exemplars_per_minute_max);
        if !shared.memory.takes_exemplar(series, now, limit) {
            return None;
        }
        let tally = &mut self.admission.tally;
        let kept = attributes::within_limits(&exemplar.filtered_attributes, shared.config, tally);
        let attributes = kept
            .iter()
            .map(|pair| {
                let text = attributes::text(pair, shared.config, tally);
                (pair.key.clone(), text.into_owned())
            })
            .collect();
        let (series, time_ns) = (series.0, time.0);
        self.rows.exemplars.push(ExemplarRow {
            series,
            time_ns,
            value,
            trace_id,
            span_id,
            attributes,
        });
        Some(())
    }
}
