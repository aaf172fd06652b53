//! `h </ x` and `h >/ x`: drops the observations on one side of a bound.

use super::{Bucket, Histogram};

/// Which side stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Below,
    Above,
}

impl Histogram {
    /// Keeps the observations below `bound` (`</`).
    #[must_use]
    pub fn trim_above(&self, bound: f64) -> Self {
        self.trim(bound, Keep::Below)
    }

    /// Keeps the observations above `bound` (`>/`).
    #[must_use]
    pub fn trim_below(&self, bound: f64) -> Self {
        self.trim(bound, Keep::Above)
    }

    fn trim(&self, bound: f64, keep: Keep) -> Self {
        let mut out = self.clone();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut keep_bucket = |bucket: Bucket, zero: bool| -> f64 {
            if bucket.count == 0.0 {
                return 0.0;
            }
            let (kept, middle) = self.keep_part(&bucket, zero, bound, keep);
            changed |= kept != bucket.count;
            count += kept;
            if kept != 0.0 {
                sum += kept * middle;
            }
            kept
        };
        for (slot, bucket) in out.negative.iter_mut().zip(&self.negative) {
            slot.1 = keep_bucket(self.negative_bucket(*bucket), false);
        }
        if self.zero_count > 0.0 {
            let mut zero = Bucket {
                lower: -self.zero_threshold,
                upper: self.zero_threshold,
                lower_inclusive: true,
                upper_inclusive: true,
                count: self.zero_count,
            };
            match (self.negative.is_empty(), self.positive.is_empty()) {
                (true, false) => zero.lower = 0.0,
                (false, true) => zero.upper = 0.0,
                _ => {}
            }
            out.zero_count = keep_bucket(zero, true);
        }
        for (slot, bucket) in out.positive.iter_mut().zip(&self.positive) {
            slot.1 = keep_bucket(self.positive_bucket(*bucket), false);
        }
        if !changed {
            return self.clone();
        }
        out.count = count;
        out.sum = sum;
        out.compact();
        out
    }

    /// Count that stays of a populated bucket, and the value that stands for each observation.
    fn keep_part(&self, bucket: &Bucket, zero: bool, bound: f64, keep: Keep) -> (f64, f64) {
        let (lower, upper, count) = (bucket.lower, bucket.upper, bucket.count);
        let linear = self.is_custom() || zero;
        let outside = match keep {
            Keep::Below => lower >= bound,
            Keep::Above => upper <= bound,
        };
        let inside = match keep {
            Keep::Below => upper <= bound,
            Keep::Above => lower >= bound,
        };
        if inside {
            return (count, middle(lower, upper, linear));
        }
        if outside {
            return (0.0, 0.0);
        }
        if lower == f64::NEG_INFINITY && upper == f64::INFINITY {
            return (0.0, 0.0); // Nothing is known of where its observations lie.
        }
        if self.is_custom() && lower == f64::NEG_INFINITY {
            return match keep {
                Keep::Below if bound > 0.0 && upper > 0.0 => (count * bound / upper, bound / 2.0),
                Keep::Below if upper <= 0.0 => (count, bound),
                Keep::Above if bound >= 0.0 => {
                    (count * (1.0 - bound / upper), f64::midpoint(bound, upper))
                }
                Keep::Below | Keep::Above => (0.0, 0.0),
            };
        }
        if upper == f64::INFINITY {
            return match keep {
                Keep::Below => (0.0, 0.0),
                Keep::Above => (count, bound),
            };
        }
        let below = self.part_below(bucket, bound, linear) * count;
        match keep {
            Keep::Below => (below, middle(lower, bound, linear)),
            Keep::Above => (count - below, middle(bound, upper, linear)),
        }
    }
}

/// What stands for an observation between the bounds: arithmetic or geometric middle, the finite edge if one is infinite.
fn middle(lower: f64, upper: f64, linear: bool) -> f64 {
    if lower == f64::NEG_INFINITY {
        return if upper > 0.0 { upper / 2.0 } else { upper };
    }
    if upper == f64::INFINITY {
        return lower;
    }
    if linear {
        return f64::midpoint(lower, upper);
    }
    let geometric = (lower * upper).abs().sqrt();
    if lower < 0.0 { -geometric } else { geometric }
}
