//! Native histograms: the model, bucket bounds, comparison, text. Arithmetic stands in `arith`, statistics in `quantile`.

mod arith;
mod quantile;
mod reset;
mod trim;

use std::fmt;
use std::sync::Arc;

pub(crate) use arith::kahan;
pub use arith::{CompensatedHistogram, Incompatible, Joined};
pub(crate) use quantile::Quantile;

use super::number::percent_g;

/// Schema of custom buckets.
pub const CUSTOM_SCHEMA: i32 = -53;

/// What the producer said about counter resets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// Nothing.
    #[default]
    Unknown,
    /// This sample starts anew.
    Reset,
    /// This sample continues the previous one.
    NotReset,
    /// Resets have no meaning: a gauge.
    Gauge,
}

/// A histogram with exponential or custom buckets, counts as floats and not cumulative.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// What is known about counter resets.
    pub reset_hint: ResetHint,
    /// -4 to 8: bucket i covers `(2^((i-1)·2^-schema), 2^(i·2^-schema)]`; -53: custom bounds.
    pub schema: i32,
    /// Half width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations, those of NaN included.
    pub count: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// (index, count) by rising index, indices unique; bucket `index` of custom bounds ends at `custom_values[index]`.
    pub positive: Vec<(i32, f64)>,
    /// The same for negative observations, mirrored.
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds of custom buckets, rising, without +Inf; empty for exponential ones.
    pub custom_values: Arc<[f64]>,
}

/// One bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to it.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

impl Bucket {
    /// The API's code: 0 open left, 1 open right, 2 open both, 3 closed both.
    #[must_use]
    pub const fn boundary_rule(&self) -> u8 {
        match (self.lower_inclusive, self.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        }
    }
}

/// Upper bound of exponential bucket `index`.
#[must_use]
pub fn exponential_bound(index: i32, schema: i32) -> f64 {
    let exponent = f64::from(index) * f64::from(-schema).exp2();
    if exponent == 1024.0 {
        // The last bucket before the one of ±Inf.
        return f64::MAX;
    }
    if schema <= 0 {
        return exponent.exp2();
    }
    let whole = exponent.floor();
    (exponent - whole).exp2() * whole.exp2()
}

/// Buckets as the wire formats of Prometheus have them: spans of (gap to the span before, or the first index; length),
/// and the counts of all buckets in them.
#[must_use]
pub fn spans(buckets: &[(i32, f64)]) -> (Vec<(i32, u32)>, Vec<f64>) {
    let mut spans: Vec<(i32, u32)> = Vec::new();
    let mut next = 0_i32;
    for (index, _) in buckets {
        match spans.last_mut() {
            Some((_, length)) if *index == next => *length += 1,
            _ => spans.push((index.saturating_sub(next), 1)),
        }
        next = index.saturating_add(1);
    }
    (spans, buckets.iter().map(|(_, count)| *count).collect())
}

impl Histogram {
    /// Whether the buckets have custom bounds.
    #[must_use]
    pub const fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Whether this is a staleness marker.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        model::metric::is_stale(self.sum)
    }

    fn custom_bound(&self, index: i32) -> f64 {
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(index) => self.custom_values.get(index).copied().unwrap_or(f64::INFINITY),
        }
    }

    pub(crate) fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = if self.is_custom() {
            (self.custom_bound(index - 1), self.custom_bound(index))
        } else {
            (exponential_bound(index - 1, self.schema), exponential_bound(index, self.schema))
        };
        Bucket {
            lower,
            upper,
            lower_inclusive: lower < 0.0,
            upper_inclusive: upper > 0.0 || self.is_custom(),
            count,
        }
    }

    pub(crate) fn negative_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let upper = -exponential_bound(index - 1, self.schema);
        let lower = -exponential_bound(index, self.schema);
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: false, count }
    }

    /// All buckets by rising bounds, the zero bucket among them when it is populated; empty ones included.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let zero = (self.zero_count > 0.0).then_some(Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        });
        let negative = self.negative.iter().rev().map(|bucket| self.negative_bucket(*bucket));
        let positive = self.positive.iter().map(|bucket| self.positive_bucket(*bucket));
        negative.chain(zero).chain(positive)
    }

    /// Drops empty buckets.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }

    /// Samples it counts as against the limit: upstream's size in bytes plus 8, in units of 16.
    #[must_use]
    pub fn samples(&self) -> usize {
        let spans = span_count(&self.positive) + span_count(&self.negative);
        let numbers = self.positive.len() + self.negative.len() + self.custom_values.len();
        (168 + 8 * (spans + numbers) + 8).div_ceil(16)
    }

    /// Whether both hold the same, empty buckets and hints apart; NaN equals NaN.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let eq = |a: f64, b: f64| a.to_bits() == b.to_bits() || a == b;
        let side = |a: &[(i32, f64)], b: &[(i32, f64)]| {
            let filled = |side: &[(i32, f64)]| -> Vec<(i32, f64)> {
                side.iter().filter(|(_, count)| *count != 0.0).copied().collect()
            };
            filled(a)
                .iter()
                .map(|(i, c)| (*i, c.to_bits()))
                .eq(filled(b).iter().map(|(i, c)| (*i, c.to_bits())))
        };
        self.schema == other.schema
            && eq(self.count, other.count)
            && eq(self.sum, other.sum)
            && self.custom_values == other.custom_values
            && (self.is_custom()
                || (self.zero_threshold == other.zero_threshold
                    && eq(self.zero_count, other.zero_count)))
            && side(&self.positive, &other.positive)
            && side(&self.negative, &other.negative)
    }
}

fn span_count(side: &[(i32, f64)]) -> usize {
    let gaps = side.windows(2).filter(|pair| pair[1].0 != pair[0].0 + 1).count();
    if side.is_empty() { 0 } else { gaps + 1 }
}

impl fmt::Display for Histogram {
    /// `{count:3, sum:4, [-2,-1):1, (1,2]:2}`, empty buckets left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", percent_g(self.count), percent_g(self.sum))?;
        for bucket in self.buckets().filter(|bucket| bucket.count != 0.0) {
            let left = if bucket.lower_inclusive { '[' } else { '(' };
            let right = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper) = (percent_g(bucket.lower), percent_g(bucket.upper));
            write!(f, ", {left}{lower},{upper}{right}:{}", percent_g(bucket.count))?;
        }
        f.write_str("}")
    }
}
