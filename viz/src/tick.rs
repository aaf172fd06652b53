//! Round numbers for an axis: 1-2-5 steps, and powers of two for IEC bytes.

use crate::scale::{float, floor, index};

/// Ticks of one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticks {
    /// Distance of two ticks, positive.
    pub step: f64,
    /// Multiples of `step` inside the domain, ascending.
    pub values: Vec<f64>,
}

/// At most about `n_max` ticks for `from..=to`, a 1-2-5 step apart.
#[must_use]
pub fn decimal(from: f64, to: f64, n_max: usize) -> Ticks {
    let raw = (to - from) / float(n_max.max(1));
    if !raw.is_finite() || raw <= 0.0 {
        return Ticks { step: 1.0, values: vec![from] };
    }
    let magnitude = 10f64.powf(raw.log10().floor());
    let step = match raw / magnitude {
        ratio if ratio <= 1.0 + 1e-9 => magnitude,
        ratio if ratio <= 2.0 + 1e-9 => 2.0 * magnitude,
        ratio if ratio <= 5.0 + 1e-9 => 5.0 * magnitude,
        _ => 10.0 * magnitude,
    };
    multiples(from, to, step)
}

/// Likewise, a power of two apart.
#[must_use]
pub fn binary(from: f64, to: f64, n_max: usize) -> Ticks {
    let raw = (to - from) / float(n_max.max(1));
    if !raw.is_finite() || raw <= 0.0 {
        return Ticks { step: 1.0, values: vec![from] };
    }
    multiples(from, to, 2f64.powf(raw.log2().ceil()).max(1.0))
}

fn multiples(from: f64, to: f64, step: f64) -> Ticks {
    let first = (from / step - 1e-9).ceil();
    let count = floor(to / step + 1e-9) - floor(first) + 1;
    let count = usize::try_from(count).unwrap_or(0).min(1000);
    // A product, not a running sum: errors must not add up.
    Ticks { step, values: (0..count).map(|i| (first + float(i)) * step + 0.0).collect() }
}

/// The domain widened to whole steps, so that the outermost ticks are its ends.
#[must_use]
pub fn widen(from: f64, to: f64, step: f64) -> (f64, f64) {
    ((from / step + 1e-9).floor() * step, (to / step - 1e-9).ceil() * step)
}

/// Decimals that tell two ticks apart, at most 9.
#[must_use]
pub fn decimals(step: f64) -> usize {
    if step <= 0.0 || !step.is_finite() {
        return 0;
    }
    index((-step.log10() - 1e-9).ceil().clamp(0.0, 9.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_five() {
        assert_eq!(decimal(0.0, 10.0, 5).values, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(decimal(0.0, 1.0, 5).values.len(), 6);
        assert_eq!(decimal(-3.0, 3.0, 3).values, [-2.0, 0.0, 2.0]);
        assert_eq!(decimal(0.12, 0.19, 4).step, 0.02);
    }

    #[test]
    fn bytes_step_by_powers_of_two() {
        let ticks = binary(0.0, 16.0 * 1_073_741_824.0, 4);
        assert_eq!(ticks.step, 4.0 * 1_073_741_824.0);
        assert_eq!(ticks.values.len(), 5);
    }

    #[test]
    fn odd_domains_give_few_finite_ticks() {
        for (from, to) in
            [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY), (1e300, 2e300)]
        {
            assert!(decimal(from, to, 5).values.len() <= 11);
            assert!(binary(from, to, 5).values.len() <= 11);
        }
    }

    #[test]
    fn decimals_tell_ticks_apart() {
        assert_eq!([decimals(0.02), decimals(0.5), decimals(1.0), decimals(20.0)], [2, 1, 0, 0]);
        assert_eq!(widen(0.3, 9.1, 2.0), (0.0, 10.0));
        assert_eq!(widen(0.0, 10.0, 2.0), (0.0, 10.0));
    }
}
