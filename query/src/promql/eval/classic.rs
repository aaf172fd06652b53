//! Classic histograms: quantiles and fractions of cumulative `_bucket{le}` counts.

/// A bucket: upper bound and cumulative count.
pub(super) type ClassicBucket = (f64, f64);

/// Relative difference below which falling counts are taken for rounding.
const TOLERANCE: f64 = 1e-12;

/// What had to be mended: bounds between which counts fell, and by how much at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fix {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) max_diff: f64,
}

/// Sorted, equal bounds merged; `None` without a bucket to +Inf.
fn prepared(buckets: &mut Vec<ClassicBucket>) -> bool {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 += later.1;
        }
        same
    });
    true
}

/// The q-quantile, and what had to be mended for it.
pub(super) fn quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, Option<Fix>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !prepared(buckets) {
        return (f64::NAN, None);
    }
    let fix = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if last == 0 || observations == 0.0 || observations.is_nan() {
        return (f64::NAN, fix);
    }
    let mut rank = q * observations;
    let found = buckets[..last].partition_point(|(_, count)| *count < rank);
    if found == last {
        return (buckets[last - 1].0, fix);
    }
    if found == 0 && buckets[0].0 <= 0.0 {
        return (buckets[0].0, fix);
    }
    let (end, mut count) = buckets[found];
    let mut start = 0.0;
    if found > 0 {
        start = buckets[found - 1].0;
        count -= buckets[found - 1].1;
        rank -= buckets[found - 1].1;
    }
    (start + (end - start) * (rank / count), fix)
}

/// Raises counts that fall; returns where, unless all falls were rounding.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> Option<Fix> {
    let mut fix: Option<Fix> = None;
    let mut previous = buckets[0].1;
    for (bound, count) in &mut buckets[1..] {
        if *count == previous {
            continue;
        }
        if almost_equal(previous, *count) {
            *count = previous;
        } else if *count < previous {
            let diff = previous - *count;
            let fixed = fix.get_or_insert(Fix { low: *bound, high: *bound, max_diff: diff });
            fixed.high = *bound;
            fixed.max_diff = fixed.max_diff.max(diff);
            *count = previous;
        } else {
            previous = *count;
        }
    }
    fix
}

fn almost_equal(a: f64, b: f64) -> bool {
    let (diff, sum) = ((a - b).abs(), a.abs() + b.abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < TOLERANCE * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < TOLERANCE
}

/// Which part of the observations lies between `lower` and `upper`.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !prepared(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].1;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, count) - rank_of(lower, buckets, count)) / count
}

fn rank_of(at: f64, buckets: &[ClassicBucket], total: f64) -> f64 {
    let mut rank = 0.0;
    let mut low = if buckets[0].0 > 0.0 { 0.0 } else { f64::NEG_INFINITY };
    for (high, count) in buckets {
        if low >= at {
            return f64::min(rank, total);
        }
        if *high > at {
            // Nothing is interpolated in a bucket without end.
            let part = if low == f64::NEG_INFINITY {
                1.0
            } else if *high == f64::INFINITY {
                0.0
            } else {
                (at - low) / (high - low)
            };
            return f64::min(rank + (count - rank) * part, total);
        }
        rank = *count;
        low = *high;
    }
    total
}
