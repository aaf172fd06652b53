//! Functions of the floats in a window: extremes and quantiles.

use crate::promql::eval::column::Cell;
use crate::promql::eval::instant::nan_last;
use crate::promql::eval::window::{Notes, Window};

fn extreme(
    window: &Window<'_>,
    notes: &mut Notes<'_>,
    better: fn(f64, f64) -> bool,
) -> Option<usize> {
    let v = window.v();
    if v.is_empty() {
        return None;
    }
    notes.floats_only(window);
    let mut best = 0;
    for (i, value) in v.iter().enumerate().skip(1) {
        if better(*value, v[best]) || v[best].is_nan() {
            best = i;
        }
    }
    Some(best)
}

pub(super) fn min(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    extreme(window, notes, |new, old| new < old).map(|i| window.v()[i]).into()
}

pub(super) fn max(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    extreme(window, notes, |new, old| new > old).map(|i| window.v()[i]).into()
}

pub(super) fn time_of_min(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    extreme(window, notes, |new, old| new <= old).map(|i| window.t()[i] as f64 / 1000.0).into()
}

pub(super) fn time_of_max(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    extreme(window, notes, |new, old| new >= old).map(|i| window.t()[i] as f64 / 1000.0).into()
}

/// The q-quantile of `values`, which are sorted in place.
pub(in crate::promql::eval) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // NaN first.
    values.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        _ => nan_last(*a, *b),
    });
    let n = values.len() as f64;
    let rank = q * (n - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(n - 1.0);
    let weight = rank - rank.floor();
    let at = |rank: f64| values[crate::promql::number::to_index(rank)];
    at(lower) * (1.0 - weight) + at(upper) * weight
}

pub(super) fn quantile(window: &Window<'_>, numbers: &[f64], notes: &mut Notes<'_>) -> Cell {
    if window.floats.is_empty() {
        return Cell::None;
    }
    notes.annotations.quantile(numbers[0], notes.place);
    notes.floats_only(window);
    Cell::Float(quantile_of(numbers[0], &mut window.v().to_vec()))
}

/// Median of the distances to the median.
pub(super) fn mad(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    if window.floats.is_empty() {
        return Cell::None;
    }
    notes.floats_only(window);
    let mut values = window.v().to_vec();
    if values.iter().any(|value| value.is_nan()) {
        return Cell::Float(f64::NAN);
    }
    let median = quantile_of(0.5, &mut values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    Cell::Float(quantile_of(0.5, &mut values))
}
