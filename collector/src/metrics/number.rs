//! Gauges, sums and summaries: points that are plain samples.

use model::metric::{STALE_NAN_BITS, is_stale};

use super::rows::SampleRow;
use super::{FLAG_STALE, Metrics, RawStamp};
use crate::admission::Refusal;
use crate::admit::Reason;
use crate::proto::{Message, low_u32};
use crate::series::{Attributes, MetricContext, Part, RawHash};

const ATTRIBUTES: u32 = 7;

impl Metrics<'_, '_> {
    /// Admits a `NumberDataPoint`.
    #[inline]
    pub(super) fn number(
        &mut self,
        context: &MetricContext<'_>,
        point: Message<'_>,
    ) -> Result<(), Refusal> {
        let mut raw = RawStamp::default();
        let (mut value, mut has_exemplars) = (None, false);
        let mut hash = RawHash::new(point, self.hasher());
        let mut fields = point.fields();
        while let Some(field) = fields.next() {
            let field = field?;
            match field.number {
                ATTRIBUTES => hash.add_run(&field, &mut fields)?,
                2 => raw.start_unix_nano = field.fixed64()?,
                3 => raw.time_unix_nano = field.fixed64()?,
                4 => value = Some(field.double()?),
                6 => value = Some(field.fixed64()?.cast_signed() as f64),
                8 => raw.flags = low_u32(field.varint()?),
                5 => has_exemplars = true,
                _ => {}
            }
        }
        let mut stamp = self.stamp(raw)?;
        let value = match value {
            _ if stamp.flags != 0 => f64::from_bits(STALE_NAN_BITS),
            Some(value) => value,
            None => {
                let words = "it has neither a value nor the no-recorded-value flag".to_owned();
                return Err(Refusal::Reject(Reason::ValueMissing, words));
            }
        };
        if is_stale(value) {
            stamp.flags |= FLAG_STALE;
        }
        let attributes = Attributes::new(point, ATTRIBUTES);
        let hash = hash.finish();
        let series = self.admission.series(context, (attributes, hash), Part::Whole)?;
        self.rows.push_sample(SampleRow { series: series.at, stamp, value });
        if has_exemplars {
            self.exemplars(series.id, stamp.time, (point, 5))?;
        }
        Ok(())
    }

    /// Admits a `SummaryDataPoint`: a sample for each quantile, and those of sum and count.
    pub(super) fn summary(
        &mut self,
        context: &MetricContext<'_>,
        point: Message<'_>,
    ) -> Result<(), Refusal> {
        let mut raw = RawStamp::default();
        let (mut count, mut sum) = (0, 0.0);
        let (mut quantiles, mut n_quantiles) = (Vec::new(), 0);
        let quantiles_max = self.admission.shared.config.buckets_max;
        let mut hash = RawHash::new(point, self.hasher());
        for field in point.fields() {
            let field = field?;
            match field.number {
                ATTRIBUTES => hash.add(&field)?,
                2 => raw.start_unix_nano = field.fixed64()?,
                3 => raw.time_unix_nano = field.fixed64()?,
                4 => count = field.fixed64()?,
                5 => sum = field.double()?,
                6 => {
                    n_quantiles += 1;
                    if n_quantiles <= quantiles_max {
                        quantiles.push(quantile(field.message()?)?);
                    }
                }
                8 => raw.flags = low_u32(field.varint()?),
                _ => {}
            }
        }
        let stamp = self.stamp(raw)?;
        if n_quantiles > quantiles_max {
            let words =
                format!("its {n_quantiles} quantiles are over the limit of {quantiles_max}");
            return Err(Refusal::Reject(Reason::HistogramInconsistent, words));
        }
        let of = |value: f64| if stamp.flags == 0 { value } else { f64::from_bits(STALE_NAN_BITS) };
        let attributes = (Attributes::new(point, ATTRIBUTES), hash.finish());
        let mut rows = Vec::with_capacity(quantiles.len() + 2);
        for (quantile, value) in quantiles {
            if !(0.0..=1.0).contains(&quantile) {
                let words = format!("its quantile {quantile} is not within 0 and 1");
                return Err(Refusal::Reject(Reason::HistogramInconsistent, words));
            }
            let series = self.admission.series(context, attributes, Part::Quantile(quantile))?;
            rows.push(SampleRow { series: series.at, stamp, value: of(value) });
        }
        let series = self.admission.series(context, attributes, Part::Sum)?;
        rows.push(SampleRow { series: series.at, stamp, value: of(sum) });
        let series = self.admission.series(context, attributes, Part::Count)?;
        // Only now, so that a series over the limit leaves no half of a summary behind.
        for row in rows {
            self.rows.push_sample(row);
            self.rows.last_is_part();
        }
        self.rows.push_sample(SampleRow { series: series.at, stamp, value: of(count as f64) });
        Ok(())
    }
}

/// The quantile and its value.
fn quantile(message: Message<'_>) -> Result<(f64, f64), Refusal> {
    let (mut quantile, mut value) = (0.0, 0.0);
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => {}
        }
    }
    Ok((quantile, value))
}
