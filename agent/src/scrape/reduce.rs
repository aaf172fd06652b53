//! Native histograms with fewer buckets: neighbours are joined until limits are kept.
//!
//! A schema less by one doubles the width of every bucket: of the buckets 2i - 1 and 2i comes the bucket i.

use std::num::Wrapping;

use crate::remote_write::{Histogram, Side};

/// The coarsest exponential schema.
const SCHEMA_MIN: i32 = -4;
const CUSTOM: i32 = -53;

/// Brings `histogram` to at most `buckets_max` buckets (0: any number) and to bounds that grow at least by
/// `factor_min` (0: by any).
///
/// # Errors
/// It has too many buckets even with the coarsest bounds, or bounds of its own.
pub(crate) fn reduce(
    histogram: &mut Histogram,
    buckets_max: usize,
    factor_min: f64,
) -> Result<(), String> {
    let is_custom = histogram.schema == CUSTOM;
    if factor_min > 1.0 && !is_custom {
        // A bucket grows by 2^(2^-schema).
        let finest = (-factor_min.log2().log2()).floor();
        #[expect(clippy::cast_possible_truncation, reason = "clamped to what schemas there are")]
        let finest = finest.clamp(f64::from(SCHEMA_MIN), 52.0) as i32;
        while histogram.schema > finest {
            coarsen(histogram);
        }
    }
    while buckets_max > 0 && n_buckets(histogram) > buckets_max {
        if is_custom || histogram.schema <= SCHEMA_MIN {
            return Err(format!(
                "native_histogram_bucket_limit exceeded: {} buckets, the limit is {buckets_max}",
                n_buckets(histogram)
            ));
        }
        coarsen(histogram);
    }
    Ok(())
}

fn n_buckets(histogram: &Histogram) -> usize {
    let side = |side: &Side| side.deltas.len() + side.counts.len();
    side(&histogram.positive) + side(&histogram.negative)
}

fn coarsen(histogram: &mut Histogram) {
    histogram.schema -= 1;
    for side in [&mut histogram.positive, &mut histogram.negative] {
        let floats = !side.counts.is_empty();
        let buckets: Vec<(i64, f64)> = match floats {
            true => indices(side).zip(side.counts.iter().copied()).collect(),
            false => Vec::new(),
        };
        // Whoever sends such deltas that their sum overflows gets a histogram that makes no sense, and no panic.
        let mut count = Wrapping(0);
        let whole: Vec<(i64, Wrapping<i64>)> = indices(side)
            .zip(&side.deltas)
            .map(|(index, delta)| {
                count += Wrapping(*delta);
                (index, count)
            })
            .collect();
        *side = match floats {
            true => {
                let (spans, counts) = join(&buckets);
                Side { spans, deltas: Vec::new(), counts }
            }
            false => {
                let (spans, counts) = join(&whole);
                let mut before = Wrapping(0);
                let deltas = counts
                    .iter()
                    .map(|count| (count - std::mem::replace(&mut before, *count)).0)
                    .collect();
                Side { spans, deltas, counts: Vec::new() }
            }
        };
    }
}

/// Indices of the buckets of a side.
fn indices(side: &Side) -> impl Iterator<Item = i64> {
    let mut next = 0_i64;
    let spans = side.spans.clone();
    spans.into_iter().flat_map(move |(offset, length)| {
        let first = next + i64::from(offset);
        next = first + i64::from(length);
        first..next
    })
}

/// Adds up buckets that fall together, and makes spans of what is left.
fn join<T: Copy + std::ops::AddAssign>(buckets: &[(i64, T)]) -> (Vec<(i32, u32)>, Vec<T>) {
    let (mut spans, mut counts): (Vec<(i32, u32)>, Vec<T>) = (Vec::new(), Vec::new());
    let mut last = None;
    for (index, count) in buckets {
        let index = (index + 1).div_euclid(2);
        match (last, counts.last_mut()) {
            (Some(before), Some(sum)) if before == index => *sum += *count,
            _ => {
                let gap = last.map_or(index, |before| index - before - 1);
                match spans.last_mut() {
                    Some((_, length)) if gap == 0 => *length += 1,
                    _ => spans.push((i32::try_from(gap).unwrap_or(i32::MAX), 1)),
                }
                counts.push(*count);
            }
        }
        last = Some(index);
    }
    (spans, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote_write::Count;

    fn histogram() -> Histogram {
        // Buckets 0, 1, 2 and 5 with 1, 2, 1 and 4 observations.
        let positive =
            Side { spans: vec![(0, 3), (2, 1)], deltas: vec![1, 1, -1, 3], counts: Vec::new() };
        Histogram { count: Count::Int(8), schema: 2, positive, ..Histogram::default() }
    }

    #[test]
    fn neighbours_are_joined_until_the_limit_is_kept() {
        let mut found = histogram();
        reduce(&mut found, 3, 0.0).unwrap();
        // 0 to 0; 1 and 2 to 1; 5 to 3.
        assert_eq!((found.schema, found.positive.spans.as_slice()), (1, &[(0, 2), (1, 1)][..]));
        assert_eq!(found.positive.deltas, [1, 2, 1]);
        let mut found = histogram();
        found.positive.deltas.clear();
        found.positive.counts = vec![1.0, 2.0, 1.0, 4.0];
        reduce(&mut found, 3, 0.0).unwrap();
        assert_eq!(found.positive.counts, [1.0, 3.0, 4.0]);
        let mut found = histogram();
        reduce(&mut found, 4, 0.0).unwrap();
        assert_eq!(found, histogram(), "within its limit");
    }

    proptest::proptest! {
        #[test]
        fn observations_are_neither_lost_nor_made(
            spans in proptest::collection::vec((-5_i32..50, 0_u32..6), 0..6),
            seed in proptest::prelude::any::<i64>(),
            n_max in 1_usize..20,
        ) {
            let n: u32 = spans.iter().map(|(_, length)| length).sum();
            let deltas: Vec<i64> = (0..i64::from(n)).map(|i| seed.wrapping_mul(i + 1)).collect();
            let sum = |histogram: &Histogram| {
                let (mut count, mut sum) = (0_i64, 0_i64);
                for delta in &histogram.positive.deltas {
                    count = count.wrapping_add(*delta);
                    sum = sum.wrapping_add(count);
                }
                sum
            };
            let positive = Side { spans, deltas, counts: Vec::new() };
            let mut histogram = Histogram { schema: 8, positive, ..Histogram::default() };
            let before = sum(&histogram);
            let reduced = reduce(&mut histogram, n_max, 0.0);
            let n_spanned: u32 = histogram.positive.spans.iter().map(|(_, length)| length).sum();
            assert_eq!(n_spanned as usize, histogram.positive.deltas.len());
            assert_eq!(sum(&histogram), before);
            assert!(reduced.is_err() || histogram.positive.deltas.len() <= n_max);
        }
    }

    #[test]
    fn a_factor_sets_the_finest_schema_and_what_cannot_be_reduced_is_an_error() {
        let mut found = histogram();
        reduce(&mut found, 0, 1.5).unwrap(); // 2^(2^-1) = 1.41 is too fine, 2 is not.
        assert_eq!(found.schema, 0);
        let mut custom = Histogram { schema: CUSTOM, ..histogram() };
        assert!(
            reduce(&mut custom, 3, 0.0)
                .unwrap_err()
                .starts_with("native_histogram_bucket_limit exceeded: 4 buckets")
        );
        let far =
            Side { spans: vec![(-1000, 1), (2000, 1)], deltas: vec![1, 0], counts: Vec::new() };
        assert!(reduce(&mut Histogram { positive: far, ..Histogram::default() }, 1, 0.0).is_err());
    }
}
