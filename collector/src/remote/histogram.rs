//! Native histograms of remote write: integer and float, exponential and with custom bounds.

use model::metric::{STALE_NAN_BITS, is_stale};

use super::{Class, Header, Labelled, Target, Write};
use crate::admission::Refusal;
use crate::metrics::histogram::{EXPLICIT_SCALE, bounds_id, inconsistent};
use crate::metrics::rows::{BucketRow, HistRow};
use crate::metrics::{FLAG_STALE, Stamp};
use crate::proto::{Fault, Message, low_u32, zigzag_32, zigzag_64};

/// Schemas with exponential buckets: from the coarsest that PromQL knows to the finest that the protocol reserves.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=52;

/// A `Histogram`; both versions have the same.
#[derive(Default)]
struct Point {
    time_ms: i64,
    start_ms: i64,
    count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: Count,
    negative: Side,
    positive: Side,
    reset_hint: u8,
    custom: Vec<f64>,
}

/// A number of observations.
#[derive(Clone, Copy)]
enum Count {
    Int(u64),
    Float(f64),
}

/// The buckets on one side of zero.
#[derive(Default)]
struct Side {
    /// Gap to the bucket before, and number of buckets.
    spans: Vec<(i32, u32)>,
    /// Of integer histograms: the difference to the bucket before.
    deltas: Vec<i64>,
    /// Of float histograms.
    counts: Vec<f64>,
}

impl Default for Count {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl Count {
    fn as_f64(self) -> f64 {
        match self {
            Self::Int(count) => count as f64,
            Self::Float(count) => count,
        }
    }
}

impl Write<'_, '_> {
    /// Admits a `Histogram`. Returns when it was taken.
    pub(super) fn histogram<L: Labelled>(
        &mut self,
        header: &Header<'_, L>,
        target: &mut Target,
        message: Message<'_>,
    ) -> Result<Stamp, Refusal> {
        let limit = self.admission.shared.config.buckets_max;
        let point = Point::read(message, limit)?;
        let mut stamp = self.stamp(header, point.time_ms, point.start_ms)?;
        if is_stale(point.sum) {
            stamp.flags |= FLAG_STALE;
        }
        let is_custom = point.schema == i32::from(EXPLICIT_SCALE);
        if is_custom {
            point.check_custom(limit)?; // Of a stale point too: its bounds are stored.
        }
        let buckets = if stamp.flags == 0 { point.buckets(limit)? } else { Vec::new() };
        let series = match target.native {
            Some(series) => series,
            None => self.resolve(header, Class::Native)?,
        };
        target.native = Some(series);
        let start = self.rows.buckets.len();
        self.rows.buckets.extend(buckets);
        let bounds_id = is_custom.then(|| bounds_id(&point.custom));
        if let Some(id) = bounds_id {
            self.rows.bounds.entry(id).or_insert_with(|| point.custom.clone());
        }
        let zero_count = match point.zero_count {
            Count::Int(count) if !is_custom => i64::try_from(count).ok(),
            Count::Int(_) | Count::Float(_) => None,
        };
        let is_known = stamp.flags == 0;
        self.rows.push_point(HistRow {
            series: series.id.0,
            time_ms: stamp.time.ms(),
            start_ms: stamp.start_ms,
            flags: stamp.flags,
            count: if is_known { point.count.as_f64() } else { 0.0 },
            sum: Some(if is_known { point.sum } else { f64::from_bits(STALE_NAN_BITS) }),
            min: None,
            max: None,
            zero_count,
            zero_threshold: point.zero_threshold,
            exp_scale: i8::try_from(point.schema).unwrap_or(EXPLICIT_SCALE),
            bounds_id,
            reset_hint: point.reset_hint,
            buckets: start..self.rows.buckets.len(),
        });
        self.rows.hold()?;
        Ok(stamp)
    }
}

impl Point {
    /// Reads a `Histogram`; of buckets over the limit only so many that they can be refused.
    fn read(message: Message<'_>, limit: usize) -> Result<Self, Fault> {
        let mut point = Self::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => point.count = Count::Int(field.varint()?),
                2 => point.count = Count::Float(field.double()?),
                3 => point.sum = field.double()?,
                4 => point.schema = zigzag_32(field.varint()?),
                5 => point.zero_threshold = field.double()?,
                6 => point.zero_count = Count::Int(field.varint()?),
                7 => point.zero_count = Count::Float(field.double()?),
                8 => point.negative.span(field.message()?, limit)?,
                9 => field.each_varint(|delta| {
                    push(&mut point.negative.deltas, zigzag_64(delta), limit)
                })?,
                10 => field.each_fixed64(|bits| {
                    push(&mut point.negative.counts, f64::from_bits(bits), limit)
                })?,
                11 => point.positive.span(field.message()?, limit)?,
                12 => field.each_varint(|delta| {
                    push(&mut point.positive.deltas, zigzag_64(delta), limit)
                })?,
                13 => field.each_fixed64(|bits| {
                    push(&mut point.positive.counts, f64::from_bits(bits), limit)
                })?,
                14 => point.reset_hint = u8::try_from(field.varint()?).unwrap_or(0),
                15 => point.time_ms = field.varint()?.cast_signed(),
                16 => field
                    .each_fixed64(|bits| push(&mut point.custom, f64::from_bits(bits), limit))?,
                17 => point.start_ms = field.varint()?.cast_signed(),
                _ => {}
            }
        }
        Ok(point)
    }

    /// The buckets in use, numbered as OTLP does, after they were found consistent.
    fn buckets(&self, limit: usize) -> Result<Vec<BucketRow>, Refusal> {
        let is_float = matches!(self.count, Count::Float(_));
        if is_float != matches!(self.zero_count, Count::Float(_)) && self.zero_count.as_f64() > 0.0
        {
            return Err(inconsistent("its counts are integers and floats".to_owned()));
        }
        if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return Err(inconsistent(format!("zero threshold {}", self.zero_threshold)));
        }
        let mut rows = Vec::new();
        let sides = if self.schema == i32::from(EXPLICIT_SCALE) {
            let last = i32::try_from(self.custom.len()).unwrap_or(i32::MAX);
            self.positive.push((1, is_float), &mut rows, &|index| {
                (0..=last).contains(&index).then_some(index)
            })?
        } else {
            if !SCHEMAS.contains(&self.schema) {
                let words = format!("schema {} is neither -53 nor within -4 and 52", self.schema);
                return Err(inconsistent(words));
            }
            // Prometheus numbers a bucket by its upper bound, OTLP by its lower one.
            let otlp = |index: i32| index.checked_sub(1);
            let negative = self.negative.push((-1, is_float), &mut rows, &otlp)?;
            negative.saturating_add(self.positive.push((1, is_float), &mut rows, &otlp)?)
        };
        if rows.len() > limit {
            return Err(inconsistent(format!("more than {limit} buckets, which is the limit")));
        }
        self.check_count(sides)?;
        let zeros = self.zero_count.as_f64();
        if zeros > 0.0 {
            rows.push(BucketRow { side: 0, bucket: 0, count: zeros });
        }
        Ok(rows)
    }

    fn check_custom(&self, limit: usize) -> Result<(), Refusal> {
        if self.custom.len() > limit {
            return Err(inconsistent(format!("more than {limit} bounds, which is the limit")));
        }
        if self.custom.iter().any(|bound| !bound.is_finite()) {
            return Err(inconsistent("a bound is no finite number".to_owned()));
        }
        if let Some(pair) = self.custom.windows(2).find(|pair| pair[0] >= pair[1]) {
            let words = format!("bounds must increase, but {} follows {}", pair[1], pair[0]);
            return Err(inconsistent(words));
        }
        if !self.negative.spans.is_empty() || self.zero_count.as_f64() != 0.0 {
            return Err(inconsistent("it has custom bounds and negative buckets".to_owned()));
        }
        Ok(())
    }

    /// Whether the count is the sum of the buckets; of floats that cannot be asked for, and NaN is in no bucket.
    fn check_count(&self, in_sides: u64) -> Result<(), Refusal> {
        let (Count::Int(count), Count::Int(zeros)) = (self.count, self.zero_count) else {
            let count = self.count.as_f64();
            if count.is_nan() || count < 0.0 || self.zero_count.as_f64() < 0.0 {
                return Err(inconsistent(format!("its count is {count}")));
            }
            return Ok(());
        };
        let sum = in_sides.saturating_add(zeros);
        let is_right = if self.sum.is_nan() { sum <= count } else { sum == count };
        if !is_right {
            return Err(inconsistent(format!("its buckets hold {sum}, but its count is {count}")));
        }
        Ok(())
    }
}

impl Side {
    fn span(&mut self, message: Message<'_>, limit: usize) -> Result<(), Fault> {
        let (mut offset, mut length) = (0, 0);
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => offset = zigzag_32(field.varint()?),
                2 => length = low_u32(field.varint()?),
                _ => {}
            }
        }
        push(&mut self.spans, (offset, length), limit);
        Ok(())
    }

    /// Adds the buckets that are not empty under the number `number` gives them. Returns how many observations they
    /// hold, of integers.
    fn push(
        &self,
        (side, is_float): (i8, bool),
        rows: &mut Vec<BucketRow>,
        number: &dyn Fn(i32) -> Option<i32>,
    ) -> Result<u64, Refusal> {
        let n_counts = if is_float { self.counts.len() } else { self.deltas.len() };
        let n_buckets: u64 = self.spans.iter().map(|(_, length)| u64::from(*length)).sum();
        if u64::try_from(n_counts) != Ok(n_buckets) {
            let words =
                format!("its spans have {n_buckets} buckets, but there are {n_counts} counts");
            return Err(inconsistent(words));
        }
        let out_of_range = || inconsistent("a bucket is out of range".to_owned());
        let (mut next, mut at, mut last, mut total) = (0_i32, 0, 0_i64, 0_u64);
        for (i, (offset, length)) in self.spans.iter().enumerate() {
            if i > 0 && *offset < 0 {
                return Err(inconsistent("its spans overlap".to_owned()));
            }
            next = next.checked_add(*offset).ok_or_else(out_of_range)?;
            for _ in 0..*length {
                let count = if is_float {
                    self.counts[at]
                } else {
                    last = last.checked_add(self.deltas[at]).ok_or_else(out_of_range)?;
                    total = total.saturating_add(u64::try_from(last).unwrap_or(0));
                    last as f64
                };
                if count.is_nan() || count < 0.0 {
                    return Err(inconsistent(format!("a bucket holds {count}")));
                }
                if count > 0.0 {
                    let bucket = number(next).ok_or_else(out_of_range)?;
                    rows.push(BucketRow { side, bucket, count });
                }
                next = next.checked_add(1).ok_or_else(out_of_range)?;
                at += 1;
            }
        }
        Ok(total)
    }
}

/// Adds up to one more than the limit: enough to see that there are too many.
fn push<T>(values: &mut Vec<T>, value: T, limit: usize) {
    if values.len() <= limit {
        values.push(value);
    }
}
