//! Addition, subtraction, scaling of histograms, and what brings two of them to one layout first.

use std::sync::Arc;

use super::{Histogram, ResetHint};

/// Exponential against custom buckets: there is no common layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incompatible;

/// What a user should know about a sum or difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// One said reset, the other not: the result says unknown.
    pub hints_collide: bool,
    /// Custom bounds differed and were reduced to the common ones.
    pub bounds_reconciled: bool,
}

/// Kahan-Neumaier step: adds `x` to `sum`, keeping what was lost in `c`.
#[inline]
pub(crate) fn kahan(x: f64, sum: f64, c: f64) -> (f64, f64) {
    let total = sum + x;
    let c = if total.is_infinite() {
        0.0
    } else if sum.abs() >= x.abs() {
        c + ((sum - total) + x)
    } else {
        c + ((x - total) + sum)
    };
    (total, c)
}

impl Histogram {
    /// Adds `other`; the receiver takes the common layout.
    ///
    /// # Errors
    /// When one has custom buckets and the other has not.
    pub fn add(&mut self, other: &Self) -> Result<Joined, Incompatible> {
        let (other, joined) = self.reconcile(other)?;
        self.zero_count += other.zero_count;
        self.count += other.count;
        self.sum += other.sum;
        self.positive = merge(&self.positive, &other.positive, |a, b| a + b);
        self.negative = merge(&self.negative, &other.negative, |a, b| a + b);
        Ok(joined)
    }

    /// Subtracts `other`; the receiver takes the common layout.
    ///
    /// # Errors
    /// When one has custom buckets and the other has not.
    pub fn sub(&mut self, other: &Self) -> Result<Joined, Incompatible> {
        let (other, joined) = self.reconcile(other)?;
        self.zero_count -= other.zero_count;
        self.count -= other.count;
        self.sum -= other.sum;
        self.positive = merge(&self.positive, &other.positive, |a, b| a - b);
        self.negative = merge(&self.negative, &other.negative, |a, b| a - b);
        Ok(joined)
    }

    /// Multiplies every count and the sum; a negative factor makes a gauge.
    pub fn scale(&mut self, factor: f64) {
        self.map_counts(|count| count * factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides every count and the sum; division by zero drops the buckets.
    pub fn divide(&mut self, divisor: f64) {
        self.map_counts(|count| count / divisor);
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    fn map_counts(&mut self, change: impl Fn(f64) -> f64) {
        for field in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *field = change(*field);
        }
        for (_, count) in self.positive.iter_mut().chain(&mut self.negative) {
            *count = change(*count);
        }
    }

    /// Brings `self` and a copy of `other` to one schema, zero threshold and set of bounds, and joins the hints.
    fn reconcile(&mut self, other: &Self) -> Result<(Self, Joined), Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let mut other = other.clone();
        let mut joined = Joined { hints_collide: self.join_hints(&other), ..Joined::default() };
        if self.is_custom() {
            if self.custom_values != other.custom_values {
                joined.bounds_reconciled = true;
                let common = common_bounds(&self.custom_values, &other.custom_values);
                self.reduce_custom(&common);
                other.reduce_custom(&common);
            }
            return Ok((other, joined));
        }
        while self.zero_threshold != other.zero_threshold {
            if self.zero_threshold > other.zero_threshold {
                other.widen_zero(self.zero_threshold);
            } else {
                self.widen_zero(other.zero_threshold);
            }
        }
        let schema = self.schema.min(other.schema);
        self.reduce_to(schema);
        other.reduce_to(schema);
        Ok((other, joined))
    }

    /// Takes the hint of a sum; returns whether reset met not-reset.
    fn join_hints(&mut self, other: &Self) -> bool {
        use ResetHint::{Gauge, Unknown};
        let (mine, theirs) = (self.reset_hint, other.reset_hint);
        self.reset_hint = match (mine, theirs) {
            _ if mine == theirs => mine,
            (Gauge, _) | (_, Gauge) => Gauge,
            _ => Unknown,
        };
        mine != theirs && ![mine, theirs].iter().any(|hint| matches!(hint, Gauge | Unknown))
    }

    /// Lowers the resolution of exponential buckets to `schema`; nothing when it is not lower.
    pub fn reduce_to(&mut self, schema: i32) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let shift = self.schema - schema;
        self.positive = reduce(&self.positive, shift);
        self.negative = reduce(&self.negative, shift);
        self.schema = schema;
    }

    /// Zero count and threshold if the zero bucket grew to `threshold`, or to the edge of the populated bucket it cuts.
    pub(super) fn zero_at(&self, threshold: f64) -> (f64, f64) {
        let mut threshold = threshold;
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        'again: loop {
            let mut zero_count = self.zero_count;
            for bucket in self.positive.iter().map(|bucket| self.positive_bucket(*bucket)) {
                if bucket.lower >= threshold {
                    break;
                }
                zero_count += bucket.count;
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            for bucket in self.negative.iter().map(|bucket| self.negative_bucket(*bucket)) {
                if bucket.upper <= -threshold {
                    break;
                }
                zero_count += bucket.count;
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        threshold = -bucket.lower;
                        continue 'again; // The positive side was counted with the smaller threshold.
                    }
                    break;
                }
            }
            return (zero_count, threshold);
        }
    }

    fn widen_zero(&mut self, threshold: f64) {
        let (zero_count, threshold) = self.zero_at(threshold);
        self.zero_count = zero_count;
        self.zero_threshold = threshold;
        let outside =
            |bucket: super::Bucket| bucket.lower.abs().min(bucket.upper.abs()) >= threshold;
        let positive = std::mem::take(&mut self.positive);
        let negative = std::mem::take(&mut self.negative);
        self.positive =
            positive.into_iter().filter(|b| outside(self.positive_bucket(*b))).collect();
        self.negative =
            negative.into_iter().filter(|b| outside(self.negative_bucket(*b))).collect();
    }

    pub(super) fn reduce_custom(&mut self, bounds: &Arc<[f64]>) {
        let mut reduced: Vec<(i32, f64)> = Vec::new();
        for (index, count) in &self.positive {
            let upper = self.custom_bound(*index);
            let target = bounds.partition_point(|bound| *bound < upper);
            let target = i32::try_from(target).unwrap_or(i32::MAX);
            push(&mut reduced, target, *count);
        }
        self.positive = reduced;
        self.custom_values = Arc::clone(bounds);
    }
}

/// Bounds that occur in both; both are rising.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    a.iter().filter(|bound| b.contains(bound)).copied().collect()
}

fn push(side: &mut Vec<(i32, f64)>, index: i32, count: f64) {
    match side.last_mut() {
        Some((last, sum)) if *last == index => *sum += count,
        _ => side.push((index, count)),
    }
}

fn reduce(side: &[(i32, f64)], shift: i32) -> Vec<(i32, f64)> {
    let mut reduced = Vec::with_capacity(side.len());
    for (index, count) in side {
        push(&mut reduced, ((index - 1) >> shift.min(31)) + 1, *count);
    }
    reduced
}

/// Joins two sides by index; what one lacks counts as 0.
fn merge(
    a: &[(i32, f64)],
    b: &[(i32, f64)],
    mut join: impl FnMut(f64, f64) -> f64,
) -> Vec<(i32, f64)> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let (mut rest_a, mut rest_b) = (a.iter().peekable(), b.iter().peekable());
    while let Some(index) = match (rest_a.peek(), rest_b.peek()) {
        (Some(x), Some(y)) => Some(x.0.min(y.0)),
        (x, y) => x.or(y).map(|bucket| bucket.0),
    } {
        let x = rest_a.next_if(|bucket| bucket.0 == index).map_or(0.0, |bucket| bucket.1);
        let y = rest_b.next_if(|bucket| bucket.0 == index).map_or(0.0, |bucket| bucket.1);
        out.push((index, join(x, y)));
    }
    out
}

/// A sum of histograms with the lost low bits of every count kept beside it.
#[derive(Clone, Debug)]
pub struct CompensatedHistogram {
    sum: Histogram,
    lost: Histogram,
}

impl CompensatedHistogram {
    /// A sum of one.
    #[must_use]
    pub fn new(first: Histogram) -> Self {
        let mut lost = first.clone();
        lost.map_counts(|_| 0.0);
        Self { sum: first, lost }
    }

    /// Adds `other`.
    ///
    /// # Errors
    /// When one has custom buckets and the other has not.
    pub fn add(&mut self, other: &Histogram) -> Result<Joined, Incompatible> {
        let (other, joined) = self.sum.reconcile(other)?;
        // What was lost follows the sum to its new layout.
        let lost = &mut self.lost;
        if lost.is_custom() && lost.custom_values != self.sum.custom_values {
            lost.reduce_custom(&Arc::clone(&self.sum.custom_values));
        }
        if lost.zero_threshold != self.sum.zero_threshold {
            lost.widen_zero_exactly(self.sum.zero_threshold);
        }
        lost.reduce_to(self.sum.schema);
        for (sum, lost, x) in [
            (&mut self.sum.zero_count, &mut lost.zero_count, other.zero_count),
            (&mut self.sum.count, &mut lost.count, other.count),
            (&mut self.sum.sum, &mut lost.sum, other.sum),
        ] {
            (*sum, *lost) = kahan(x, *sum, *lost);
        }
        add_side(&mut self.sum.positive, &mut lost.positive, &other.positive);
        add_side(&mut self.sum.negative, &mut lost.negative, &other.negative);
        Ok(joined)
    }

    /// Multiplies sum and what was lost.
    pub fn scale(&mut self, factor: f64) {
        self.sum.scale(factor);
        self.lost.scale(factor);
    }

    /// Divides sum and what was lost.
    pub fn divide(&mut self, divisor: f64) {
        self.sum.divide(divisor);
        self.lost.divide(divisor);
    }

    /// Whether adding `other` would leave the range of floats.
    #[must_use]
    pub fn would_overflow(&self, other: &Histogram) -> bool {
        let h = &self.sum;
        [(h.zero_count, other.zero_count), (h.count, other.count), (h.sum, other.sum)]
            .iter()
            .any(|(a, b)| a.is_finite() && b.is_finite() && (a + b).is_infinite())
    }

    /// The sum with what was lost added back.
    #[must_use]
    pub fn total(&self) -> Histogram {
        let mut total = self.sum.clone();
        let lost = &self.lost;
        total.zero_count += lost.zero_count;
        total.count += lost.count;
        if !total.sum.is_infinite() {
            total.sum += lost.sum;
        }
        total.positive = merge(&total.positive, &lost.positive, |a, b| a + b);
        total.negative = merge(&total.negative, &lost.negative, |a, b| a + b);
        total
    }
}

impl Histogram {
    /// Grows the zero bucket to a threshold that is known to be a bucket edge of the layout.
    fn widen_zero_exactly(&mut self, threshold: f64) {
        let inside =
            |bucket: &super::Bucket| bucket.lower.abs().min(bucket.upper.abs()) < threshold;
        let (mut zero, mut positive, mut negative) = (self.zero_count, Vec::new(), Vec::new());
        for bucket in &self.positive {
            if inside(&self.positive_bucket(*bucket)) {
                zero += bucket.1;
            } else {
                positive.push(*bucket);
            }
        }
        for bucket in &self.negative {
            if inside(&self.negative_bucket(*bucket)) {
                zero += bucket.1;
            } else {
                negative.push(*bucket);
            }
        }
        self.zero_count = zero;
        self.zero_threshold = threshold;
        self.positive = positive;
        self.negative = negative;
    }
}

fn add_side(sum: &mut Vec<(i32, f64)>, lost: &mut Vec<(i32, f64)>, other: &[(i32, f64)]) {
    *lost = merge(lost, sum, |lost, _| lost); // Now every bucket of the sum has its place.
    *lost = merge(lost, other, |lost, _| lost);
    let mut at = 0;
    let positions = lost.clone();
    *sum = merge(sum, other, |sum, x| {
        // The merged indices are those of `positions`, in the same order.
        let (total, c) = kahan(x, sum, positions.get(at).map_or(0.0, |bucket| bucket.1));
        if let Some(bucket) = lost.get_mut(at) {
            bucket.1 = c;
        }
        at += 1;
        total
    });
}
