//! Splitting values into scaled integers and floats, and putting them together again, bit for bit.

use model::metric::MetricKind;

/// Powers of ten that a scale can name.
const POW10: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
/// Negative powers of ten, as literals: the division is not the same number.
const POW10_NEGATIVE: [f64; 16] = [
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14,
    1e-15,
];
/// Scales in the order they are tried: the simplest first.
const SCALES: [i8; 31] = [
    0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8, -8, 9, -9, 10, -10, 11, -11, 12, -12,
    13, -13, 14, -14, 15, -15,
];
/// Integers a double holds exactly lie strictly between this and its negative.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// Values looked at before a scale is tried on all of them.
const PROBES: usize = 16;

/// Where the values of one series in one segment go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `v_ctr` with this scale; values that do not fit go to `v_f64`.
    Counter(i8),
    /// `v_int` with this scale, likewise.
    Integer(i8),
    /// All in `v_f64`.
    Float,
}

/// `i` at `scale` as a double: the reader's formula.
pub(crate) fn join(i: i64, scale: i8) -> f64 {
    let power = usize::from(scale.unsigned_abs()).min(POW10.len() - 1);
    #[expect(clippy::cast_precision_loss, reason = "integers beyond 2^53 are never written")]
    let whole = i as f64;
    if scale >= 0 { whole / POW10[power] } else { whole * POW10_NEGATIVE[power] }
}

/// The integer that gives `value` back, bit for bit, at `scale`; `None` when there is none.
pub(crate) fn split(value: f64, scale: i8) -> Option<i64> {
    let scaled = (value * POW10[usize::from(scale.unsigned_abs())]).round();
    if scaled.is_nan() || scaled.abs() >= EXACT_MAX {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to lie within 2^53")]
    let i = scaled as i64;
    (join(i, scale).to_bits() == value.to_bits()).then_some(i)
}

/// Chooses the layout for `values` of one series in time order.
pub(crate) fn choose(values: &[f64], kind: MetricKind) -> Layout {
    let Some((scale, fits)) = best_scale(values) else { return Layout::Float };
    if 2 * fits < values.len() {
        return Layout::Float;
    }
    let is_counter = match kind {
        MetricKind::Counter => true,
        MetricKind::Unknown => grows(values),
        MetricKind::Gauge
        | MetricKind::Histogram
        | MetricKind::ExponentialHistogram
        | MetricKind::Summary => false,
    };
    if is_counter { Layout::Counter(scale) } else { Layout::Integer(scale) }
}

/// The first scale under which most values fit; a later one must win at least 2 % more of them.
fn best_scale(values: &[f64]) -> Option<(i8, usize)> {
    let stride = values.len().div_ceil(PROBES).max(1);
    let mut best: Option<(i8, usize)> = None;
    for scale in SCALES {
        if !values.iter().step_by(stride).any(|&value| split(value, scale).is_some()) {
            continue;
        }
        let fits = values.iter().filter(|&&value| split(value, scale).is_some()).count();
        let needed = best.map_or(1, |(_, most)| most + (values.len() / 50).max(1));
        if fits >= needed {
            best = Some((scale, fits));
        }
        if fits == values.len() {
            break;
        }
    }
    best
}

/// Whether at least 99.5 % of the steps do not fall and the last value is above the first.
fn grows(values: &[f64]) -> bool {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return false };
    let falls = values.windows(2).filter(|pair| pair[1] < pair[0] || pair[1].is_nan()).count();
    last > first && falls * 200 < values.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    fn check(values: &[f64], kind: MetricKind, expected: Layout) {
        assert_eq!(choose(values, kind), expected, "{values:?}");
    }

    #[test]
    fn the_simplest_scale_that_fits_is_taken() {
        check(&[1.0, 2.0, 3.0], MetricKind::Counter, Layout::Counter(0));
        check(&[1.5, 2.25, 3.0], MetricKind::Gauge, Layout::Integer(2));
        check(&[1.0, 5.0, 3.0], MetricKind::Unknown, Layout::Integer(0));
        check(&[1.0, 1.0, 3.0], MetricKind::Unknown, Layout::Counter(0));
        check(&[0.1, f64::NAN], MetricKind::Gauge, Layout::Integer(1));
        check(&[1.0 / 3.0, 1e300, f64::MIN_POSITIVE], MetricKind::Gauge, Layout::Float);
        check(&[std::f64::consts::PI], MetricKind::Gauge, Layout::Integer(15));
        check(&[-0.0, f64::INFINITY], MetricKind::Counter, Layout::Float);
        check(&[], MetricKind::Counter, Layout::Float);
        // node_exporter multiplies milliseconds by 0.001, which is not the division.
        let products: Vec<f64> =
            [100_041.0, 100_189.0, 100_299.0].iter().map(|ms| ms * 0.001).collect();
        if products.iter().any(|value| split(*value, 3).is_none()) {
            check(&products, MetricKind::Counter, Layout::Counter(-3));
        }
    }

    #[test]
    fn values_no_integer_gives_back_do_not_split() {
        for value in
            [-0.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 5e-324, EXACT_MAX, -EXACT_MAX, 1e300]
        {
            for scale in SCALES {
                assert_eq!(split(value, scale), None, "{value} at {scale}");
            }
        }
        assert_eq!(split(EXACT_MAX - 1.0, 0), Some(9_007_199_254_740_991));
    }

    proptest! {
        #[test]
        fn what_splits_joins_to_the_same_bits(bits in any::<u64>(), scale in -15_i8..=15) {
            let value = f64::from_bits(bits);
            if let Some(i) = split(value, scale) {
                prop_assert_eq!(join(i, scale).to_bits(), bits);
            }
        }

        #[test]
        fn decimals_split_at_their_scale(i in -999_999_999_i64..999_999_999, scale in 0_i8..=15) {
            prop_assert_eq!(split(join(i, scale), scale), Some(i));
        }

        #[test]
        fn a_chosen_integer_layout_fits_at_least_half(values in prop::collection::vec(prop::num::f64::ANY, 0..50)) {
            if let Layout::Counter(scale) | Layout::Integer(scale) = choose(&values, MetricKind::Gauge) {
                let fits = values.iter().filter(|value| split(**value, scale).is_some()).count();
                prop_assert_eq!(2 * fits >= values.len(), true);
            }
        }
    }
}
