//! Explicit and exponential histograms: consistency first, then one row for the point and one for each bucket in use.

use model::metric::{STALE_NAN_BITS, Temporality};
use xxhash_rust::xxh3::xxh3_64;

use super::rows::{BucketRow, HistRow};
use super::{Metrics, RawStamp, Stamp};
use crate::admission::Refusal;
use crate::admit::Reason;
use crate::proto::{Fault, Message, low_u32, zigzag_32};
use crate::series::{Attributes, MetricContext, Part, RawHash};

/// `exp_scale` of explicit bounds.
pub(crate) const EXPLICIT_SCALE: i8 = -53;
/// Scales OTLP defines.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;
const RESET_HINT_UNKNOWN: u8 = 0;
const RESET_HINT_GAUGE: u8 = 3;

/// A `HistogramDataPoint` without attributes and exemplars.
#[derive(Default)]
struct Explicit {
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    counts: Vec<u64>,
    bounds: Vec<f64>,
}

/// An `ExponentialHistogramDataPoint` likewise.
#[derive(Default)]
struct Exponential {
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    scale: i32,
    zero_count: u64,
    zero_threshold: f64,
    positive: Buckets,
    negative: Buckets,
}

/// Counts of buckets numbered from `offset`.
#[derive(Default)]
struct Buckets {
    offset: i32,
    counts: Vec<u64>,
}

impl Metrics<'_, '_> {
    /// Admits a `HistogramDataPoint`.
    pub(super) fn histogram(
        &mut self,
        context: &MetricContext<'_>,
        message: Message<'_>,
    ) -> Result<(), Refusal> {
        let mut hash = RawHash::new(message, self.hasher());
        let (raw, mut point) = Explicit::read(message, &mut hash)?;
        let stamp = self.stamp(raw)?;
        let (bounds, counts) = self.explicit_buckets(&mut point)?;
        let attributes = (Attributes::new(message, 9), hash.finish());
        let series = self.admission.series(context, attributes, Part::Whole)?;
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
        self.exemplars(series.id, stamp.time, (message, 8))
    }

    /// Admits an `ExponentialHistogramDataPoint`.
    pub(super) fn exponential(
        &mut self,
        context: &MetricContext<'_>,
        message: Message<'_>,
    ) -> Result<(), Refusal> {
        let mut hash = RawHash::new(message, self.hasher());
        let (raw, point) = Exponential::read(message, &mut hash)?;
        let stamp = self.stamp(raw)?;
        let scale = i8::try_from(point.scale).ok().filter(|_| SCALES.contains(&point.scale));
        let Some(exp_scale) = scale else {
            return Err(inconsistent(format!("scale {} is not within -10 and 20", point.scale)));
        };
        self.check_exponential(&point)?;
        let attributes = (Attributes::new(message, 1), hash.finish());
        let series = self.admission.series(context, attributes, Part::Whole)?;
        let start = self.rows.buckets.len();
        if stamp.flags == 0 {
            for (side, buckets) in [(-1, &point.negative), (1, &point.positive)] {
                self.push_buckets(side, buckets.offset, &buckets.counts)?;
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
        self.exemplars(series.id, stamp.time, (message, 11))
    }

    /// The finite bounds and one count more than bounds.
    fn explicit_buckets(&self, point: &mut Explicit) -> Result<(Vec<f64>, Vec<u64>), Refusal> {
        let mut bounds = std::mem::take(&mut point.bounds);
        let mut counts = std::mem::take(&mut point.counts);
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

    fn check_exponential(&self, point: &Exponential) -> Result<(), Refusal> {
        let mut counts = vec![point.zero_count];
        for buckets in [&point.negative, &point.positive] {
            let len = i32::try_from(buckets.counts.len()).ok();
            if len.and_then(|len| buckets.offset.checked_add(len)).is_none() {
                let words = format!("bucket indices from {} leave 32 bits", buckets.offset);
                return Err(inconsistent(words));
            }
            counts.extend_from_slice(&buckets.counts);
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

impl Explicit {
    fn read<'b>(message: Message<'b>, hash: &mut RawHash<'b>) -> Result<(RawStamp, Self), Fault> {
        let (mut raw, mut point) = (RawStamp::default(), Self::default());
        for field in message.fields() {
            let field = field?;
            match field.number {
                9 => hash.add(&field)?,
                2 => raw.start_unix_nano = field.fixed64()?,
                3 => raw.time_unix_nano = field.fixed64()?,
                4 => point.count = field.fixed64()?,
                5 => point.sum = Some(field.double()?),
                6 => field.each_fixed64(|count| point.counts.push(count))?,
                7 => field.each_fixed64(|bits| point.bounds.push(f64::from_bits(bits)))?,
                10 => raw.flags = low_u32(field.varint()?),
                11 => point.min = Some(field.double()?),
                12 => point.max = Some(field.double()?),
                _ => {}
            }
        }
        Ok((raw, point))
    }
}

impl Exponential {
    fn read<'b>(message: Message<'b>, hash: &mut RawHash<'b>) -> Result<(RawStamp, Self), Fault> {
        let (mut raw, mut point) = (RawStamp::default(), Self::default());
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => hash.add(&field)?,
                2 => raw.start_unix_nano = field.fixed64()?,
                3 => raw.time_unix_nano = field.fixed64()?,
                4 => point.count = field.fixed64()?,
                5 => point.sum = Some(field.double()?),
                6 => point.scale = zigzag_32(field.varint()?),
                7 => point.zero_count = field.fixed64()?,
                8 => point.positive.read(field.message()?)?,
                9 => point.negative.read(field.message()?)?,
                10 => raw.flags = low_u32(field.varint()?),
                12 => point.min = Some(field.double()?),
                13 => point.max = Some(field.double()?),
                14 => point.zero_threshold = field.double()?,
                _ => {}
            }
        }
        Ok((raw, point))
    }
}

impl Buckets {
    fn read(&mut self, message: Message<'_>) -> Result<(), Fault> {
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => self.offset = zigzag_32(field.varint()?),
                2 => field.each_varint(|count| self.counts.push(count))?,
                _ => {}
            }
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
    let is_delta = context.temporality() == Temporality::Delta;
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

/// The id of bounds: the hash of their bits.
pub(crate) fn bounds_id(bounds: &[f64]) -> u64 {
    let bytes: Vec<u8> = bounds.iter().flat_map(|bound| bound.to_bits().to_le_bytes()).collect();
    xxh3_64(&bytes)
}

/// A histogram point that contradicts itself.
pub(crate) fn inconsistent(words: String) -> Refusal {
    Refusal::Reject(Reason::HistogramInconsistent, words)
}
