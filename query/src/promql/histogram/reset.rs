//! Whether a counter histogram started anew between two samples.

use super::Histogram;
use super::ResetHint;
use super::arith::common_bounds;

impl Histogram {
    /// Whether `self` cannot be a continuation of `previous`.
    #[must_use]
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count || self.is_custom() != previous.is_custom() {
            return true;
        }
        if self.is_custom() {
            if self.custom_values == previous.custom_values {
                return shrinks(&self.positive, &previous.positive);
            }
            let common = common_bounds(&self.custom_values, &previous.custom_values);
            let (mut current, mut previous) = (self.clone(), previous.clone());
            current.reduce_custom(&common);
            previous.reduce_custom(&common);
            return shrinks(&current.positive, &previous.positive);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (previous_zero, threshold) = previous.zero_at(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < previous_zero {
            return true;
        }
        if self.schema == previous.schema && self.zero_threshold == previous.zero_threshold {
            return shrinks(&self.positive, &previous.positive)
                || shrinks(&self.negative, &previous.negative);
        }
        let mut reduced = previous.clone();
        let outside = |lower: f64, upper: f64| lower.abs().min(upper.abs()) >= self.zero_threshold;
        reduced.positive.retain(|bucket| {
            let bounds = previous.positive_bucket(*bucket);
            outside(bounds.lower, bounds.upper)
        });
        reduced.negative.retain(|bucket| {
            let bounds = previous.negative_bucket(*bucket);
            outside(bounds.lower, bounds.upper)
        });
        reduced.reduce_to(self.schema);
        shrinks(&self.positive, &reduced.positive) || shrinks(&self.negative, &reduced.negative)
    }
}

/// Whether any populated bucket of `previous` is smaller or missing in `current`.
fn shrinks(current: &[(i32, f64)], previous: &[(i32, f64)]) -> bool {
    let mut rest = current.iter().peekable();
    previous.iter().any(|(index, count)| {
        while rest.next_if(|(i, _)| i < index).is_some() {}
        let now = rest.peek().filter(|(i, _)| i == index).map_or(0.0, |(_, count)| *count);
        now < *count
    })
}
