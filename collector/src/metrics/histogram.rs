//! Explicit and exponential histograms: consistency first, then one row for the point and one for each bucket in use.

use model::metric::{STALE_NAN_BITS, Temporality};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, HistogramDataPoint};
use xxhash_rust::xxh3::xxh3_64;

use super::rows::{BucketRow, HistRow};
use super::{Metrics, Stamp};
use crate::admission::Refusal;
use crate::admit::Reason;
use crate::series::{MetricContext, Part};

/// `exp_scale` of explicit bounds.
const EXPLICIT_SCALE: i8 = -53;
/// Scales OTLP defines.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;
const RESET_HINT_UNKNOWN: u8 = 0;
const RESET_HINT_GAUGE: u8 = 3;

impl Metrics<'_, '_> {
    pub(super) fn histogram(
        &mut self,
        context: &MetricContext<'_>,
        point: &HistogramDataPoint,
    ) -> Result<(), Refusal> {
        let stamp = self.stamp(point.time_unix_nano, point.start_time_unix_nano, point.flags)?;
        let (bounds, counts) = self.explicit_buckets(point)?;
        let series = self.admission.series(context, &point.attributes, Part::Whole)?;
        let start = self.rows.buckets.len();
        if stamp.flags == 0 {
            self.push_buckets(1, 0, &counts)?;
        }
        let bounds_id = bounds_id(&bounds);
        self.rows.bounds.entry(bounds_id).or_insert(bounds);
        self.rows.push_point(HistRow {
            bounds_id: Some(bounds_id),
            buckets: start..self.rows.buckets.len(),
            min: point.min,
            max: point.max,
            ..row(context, series.id.0, stamp, (point.count, point.sum))
        });
        self.exemplars(series.id, stamp.time, &point.exemplars);
        Ok(())
    }

    pub(super) fn exponential(
        &mut self,
        context: &MetricContext<'_>,
        point: &ExponentialHistogramDataPoint,
    ) -> Result<(), Refusal> {
        let stamp = self.stamp(point.time_unix_nano, point.start_time_unix_nano, point.flags)?;
        let Ok(exp_scale) = i8::try_from(point.scale)
            .map_err(drop)
            .and_then(|scale| if SCALES.contains(&point.scale) { Ok(scale) } else { Err(()) })
        else {
            return Err(inconsistent(format!("scale {} is not within -10 and 20", point.scale)));
        };
        let sides = [(-1, &point.negative), (1, &point.positive)];
        let sides = sides.map(|(side, buckets)| (side, buckets.as_ref()));
        self.check_exponential(point, sides.map(|(_, buckets)| buckets))?;
        let series = self.admission.series(context, &point.attributes, Part::Whole)?;
        let start = self.rows.buckets.len();
        if stamp.flags == 0 {
            for (side, buckets) in sides {
                if let Some(buckets) = buckets {
                    self.push_buckets(side, buckets.offset, &buckets.bucket_counts)?;
                }
            }
            self.push_buckets(0, 0, &[point.zero_count])?;
        }
        self.rows.push_point(HistRow {
            exp_scale,
            buckets: start..self.rows.buckets.len(),
            min: point.min,
            max: point.max,
            zero_count: Some(i64::try_from(point.zero_count).unwrap_or(i64::MAX)),
            zero_threshold: point.zero_threshold,
            ..row(context, series.id.0, stamp, (point.count, point.sum))
        });
        self.exemplars(series.id, stamp.time, &point.exemplars);
        Ok(())
    }

    /// The finite bounds and one count more than bounds.
    fn explicit_buckets(
        &self,
        point: &HistogramDataPoint,
    ) -> Result<(Vec<f64>, Vec<u64>), Refusal> {
        let mut bounds = point.explicit_bounds.clone();
        let mut counts = point.bucket_counts.clone();
        if counts.is_empty() && bounds.is_empty() {
            counts.push(point.count); // OTLP: neither means one bucket that holds everything.
        }
        if counts.len() != bounds.len() + 1 {
            let (n, m) = (bounds.len(), counts.len());
            return Err(inconsistent(format!("{n} bounds need {} bucket counts, not {m}", n + 1)));
        }
        self.check_bucket_number(counts.len())?;
        if bounds.iter().any(|bound| bound.is_nan()) {
            return Err(inconsistent("a bound is NaN".to_owned()));
        }
        if let Some(pair) = bounds.windows(2).find(|pair| pair[0] >= pair[1]) {
            let words = format!("bounds must increase, but {} follows {}", pair[1], pair[0]);
            return Err(inconsistent(words));
        }
        check_sum(&counts, point.count)?;
        if bounds.last() == Some(&f64::INFINITY) {
            // Some senders spell out the last bound that OTLP implies: both buckets are one.
            bounds.pop();
            let last = counts.pop().unwrap_or(0);
            if let Some(count) = counts.last_mut() {
                *count = count.saturating_add(last);
            }
        }
        Ok((bounds, counts))
    }

    fn check_exponential(
        &self,
        point: &ExponentialHistogramDataPoint,
        sides: [Option<&Buckets>; 2],
    ) -> Result<(), Refusal> {
        let mut counts = vec![point.zero_count];
        for buckets in sides.into_iter().flatten() {
            let len = i32::try_from(buckets.bucket_counts.len()).ok();
            if len.and_then(|len| buckets.offset.checked_add(len)).is_none() {
                let words = format!("bucket indices from {} leave 32 bits", buckets.offset);
                return Err(inconsistent(words));
            }
            counts.extend_from_slice(&buckets.bucket_counts);
        }
        self.check_bucket_number(counts.len())?;
        if point.zero_threshold.is_nan() || point.zero_threshold < 0.0 {
            return Err(inconsistent(format!("zero threshold {}", point.zero_threshold)));
        }
        check_sum(&counts, point.count)
    }

    fn check_bucket_number(&self, n: usize) -> Result<(), Refusal> {
        let limit = self.admission.shared.config.buckets_max;
        if n > limit {
            return Err(inconsistent(format!("{n} buckets, the limit is {limit}")));
        }
        Ok(())
    }

    /// Adds the buckets that are not empty, numbered from `offset`.
    fn push_buckets(&mut self, side: i8, offset: i32, counts: &[u64]) -> Result<(), Refusal> {
        for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let index = i32::try_from(i).ok().and_then(|i| offset.checked_add(i));
            let Some(bucket) = index else {
                return Err(inconsistent(format!("bucket indices from {offset} leave 32 bits")));
            };
            self.rows.buckets.push(BucketRow { side, bucket, count: *count as f64 });
        }
        Ok(())
    }
}

/// The row with what both kinds share; a point without recorded value is the stale marker in `sum`.
fn row(
    context: &MetricContext<'_>,
    series: u64,
    stamp: Stamp,
    (count, sum): (u64, Option<f64>),
) -> HistRow {
    let is_delta = context.temporality == Temporality::Delta;
    let is_recorded = stamp.flags == 0;
    HistRow {
        series,
        time_ms: stamp.time.ms(),
        start_ms: stamp.start_ms,
        flags: stamp.flags,
        count: if is_recorded { count as f64 } else { 0.0 },
        sum: if is_recorded { sum } else { Some(f64::from_bits(STALE_NAN_BITS)) },
        min: None,
        max: None,
        zero_count: None,
        zero_threshold: 0.0,
        exp_scale: EXPLICIT_SCALE,
        bounds_id: None,
        reset_hint: if is_delta { RESET_HINT_GAUGE } else { RESET_HINT_UNKNOWN },
        buckets: 0..0,
    }
}

fn check_sum(counts: &[u64], count: u64) -> Result<(), Refusal> {
    let sum: u128 = counts.iter().map(|count| u128::from(*count)).sum();
    if sum != u128::from(count) {
        return Err(inconsistent(format!("its buckets hold {sum}, but its count is {count}")));
    }
    Ok(())
}

fn bounds_id(bounds: &[f64]) -> u64 {
    let bytes: Vec<u8> = bounds.iter().flat_map(|bound| bound.to_bits().to_le_bytes()).collect();
    xxh3_64(&bytes)
}

fn inconsistent(words: String) -> Refusal {
    Refusal::Reject(Reason::HistogramInconsistent, words)
}
