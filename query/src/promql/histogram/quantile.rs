//! Quantiles, fractions and spread of native histograms.

use super::{Bucket, Histogram};

/// A quantile, and what NaN observations did to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quantile {
    Plain(f64),
    /// NaN, because the rank falls among the NaN observations.
    LostToNan,
    /// Too high, because NaN observations count as the largest.
    SkewedByNan(f64),
}

/// A fraction, and whether NaN observations were left out of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fraction {
    pub(crate) value: f64,
    pub(crate) excludes_nan: bool,
}

impl Histogram {
    /// The bucket narrowed at zero when all other observations have one sign.
    fn clip_at_zero(&self, mut bucket: Bucket) -> Bucket {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
        bucket
    }

    /// Whether this bucket is the zero bucket of an exponential histogram.
    fn is_zero_bucket(&self, bucket: &Bucket) -> bool {
        !self.is_custom() && bucket.lower <= 0.0 && bucket.upper >= 0.0
    }

    pub(crate) fn quantile(&self, q: f64) -> Quantile {
        if q < 0.0 {
            return Quantile::Plain(f64::NEG_INFINITY);
        }
        if q > 1.0 {
            return Quantile::Plain(f64::INFINITY);
        }
        if self.count == 0.0 || q.is_nan() {
            return Quantile::Plain(f64::NAN);
        }
        let has_nan = self.sum.is_nan();
        let forward = has_nan || q < 0.5;
        let rank = if forward { q * self.count } else { (1.0 - q) * self.count };
        let found =
            if forward { reach(self.buckets(), rank) } else { reach(self.buckets().rev(), rank) };
        let Some((mut bucket, running)) = found else {
            return if has_nan { Quantile::LostToNan } else { Quantile::Plain(0.0) };
        };
        let mark =
            |value| if has_nan { Quantile::SkewedByNan(value) } else { Quantile::Plain(value) };
        if self.is_zero_bucket(&bucket) {
            bucket = self.clip_at_zero(bucket);
        } else if self.is_custom() && bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return mark(bucket.upper);
            }
            bucket.lower = 0.0;
        } else if self.is_custom() && bucket.upper == f64::INFINITY {
            return mark(bucket.lower);
        }
        let running = running.min(self.count);
        if running < rank {
            return if has_nan { Quantile::LostToNan } else { Quantile::Plain(bucket.upper) };
        }
        let inside = if forward { rank - (running - bucket.count) } else { running - rank };
        mark(self.interpolate(&bucket, inside / bucket.count))
    }

    /// The value a `fraction` into the bucket: linear or on a logarithmic scale.
    fn interpolate(&self, bucket: &Bucket, fraction: f64) -> f64 {
        if self.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return bucket.lower + (bucket.upper - bucket.lower) * fraction;
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            (lower + (upper - lower) * fraction).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - fraction)).exp2()
        }
    }

    /// Which part of the bucket lies below `at`, 0 to 1; `at` lies inside.
    pub(super) fn part_below(&self, bucket: &Bucket, at: f64, linear: bool) -> f64 {
        if linear {
            if bucket.lower == f64::NEG_INFINITY {
                return 1.0;
            }
            return (at - bucket.lower) / (bucket.upper - bucket.lower);
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        let at_log = at.abs().log2();
        if at > 0.0 {
            (at_log - lower) / (upper - lower)
        } else {
            1.0 - (at_log - upper) / (lower - upper)
        }
    }

    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> Fraction {
        let plain = |value| Fraction { value, excludes_nan: false };
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return plain(f64::NAN);
        }
        if lower >= upper {
            return plain(0.0);
        }
        let excludes_nan = self.sum.is_nan();
        let count = if excludes_nan { self.buckets().map(|b| b.count).sum() } else { self.count };
        let value = (self.rank_of(upper, count) - self.rank_of(lower, count)) / self.count;
        Fraction { value, excludes_nan }
    }

    /// Observations up to `at`, at most `count`.
    fn rank_of(&self, at: f64, count: f64) -> f64 {
        let mut rank = 0.0_f64;
        for mut bucket in self.buckets() {
            let zero = self.is_zero_bucket(&bucket);
            if zero {
                bucket = self.clip_at_zero(bucket);
            } else if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                // As for classic histograms: nothing below zero when the first bound is positive.
                bucket.lower = 0.0;
            }
            if bucket.lower >= at {
                return rank.min(count);
            }
            if bucket.upper > at {
                let linear = self.is_custom() || zero;
                let part = self.part_below(&bucket, at, linear);
                return (rank + bucket.count * part).min(count);
            }
            rank += bucket.count;
        }
        count
    }

    /// Variance around sum/count, each bucket standing for its middle.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let (mut variance, mut c) = (0.0, 0.0);
        for bucket in self.buckets().filter(|bucket| bucket.count != 0.0) {
            let middle = if self.is_custom() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                let middle = (bucket.upper * bucket.lower).sqrt();
                if bucket.upper < 0.0 { -middle } else { middle }
            };
            let delta = middle - mean;
            (variance, c) = super::arith::kahan(bucket.count * delta * delta, variance, c);
        }
        (variance + c) / self.count
    }
}

/// The first populated bucket whose running count reaches `rank`, or the last one; with the running count.
fn reach(buckets: impl Iterator<Item = Bucket>, rank: f64) -> Option<(Bucket, f64)> {
    let mut running = 0.0;
    let mut last = None;
    for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
        running += bucket.count;
        last = Some((bucket, running));
        if running >= rank {
            break;
        }
    }
    last
}
