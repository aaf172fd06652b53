//! Straight lines through a window, and double exponential smoothing.

use crate::promql::eval::column::Cell;
use crate::promql::eval::window::{Notes, Window};
use crate::promql::histogram::kahan;

/// Slope per second and value at `intercept_ms` of the least squares line.
fn line(t: &[i64], v: &[f64], intercept_ms: i64) -> (f64, f64) {
    let first = v[0];
    if v.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = v.len() as f64;
    let [mut x, mut y, mut xy, mut xx] = [(0.0, 0.0); 4];
    for (t, value) in t.iter().zip(v) {
        let seconds = (t - intercept_ms) as f64 / 1e3;
        x = kahan(seconds, x.0, x.1);
        y = kahan(*value, y.0, y.1);
        xy = kahan(seconds * value, xy.0, xy.1);
        xx = kahan(seconds * seconds, xx.0, xx.1);
    }
    let [x, y, xy, xx] = [x, y, xy, xx].map(|(sum, c)| sum + c);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

pub(super) fn deriv(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    if window.floats.len() < 2 {
        if window.floats.len() == 1 {
            notes.floats_only(window);
        }
        return Cell::None;
    }
    notes.floats_only(window);
    Cell::Float(line(window.t(), window.v(), window.t()[0]).0)
}

pub(super) fn predict_linear(window: &Window<'_>, numbers: &[f64], notes: &mut Notes<'_>) -> Cell {
    if window.floats.len() < 2 {
        if window.floats.len() == 1 {
            notes.floats_only(window);
        }
        return Cell::None;
    }
    notes.floats_only(window);
    let (slope, intercept) = line(window.t(), window.v(), window.eval_ms);
    Cell::Float(slope * numbers[0] + intercept)
}

pub(super) fn smoothing(window: &Window<'_>, numbers: &[f64], notes: &mut Notes<'_>) -> Cell {
    let v = window.v();
    if v.len() < 2 {
        if v.len() == 1 {
            notes.floats_only(window);
        }
        return Cell::None;
    }
    notes.floats_only(window);
    let (sf, tf) = (numbers[0], numbers[1]);
    let (mut s0, mut s1, mut trend) = (0.0, v[0], v[1] - v[0]);
    for (i, value) in v.iter().enumerate().skip(1) {
        let scaled = sf * value;
        if i > 1 {
            trend = tf * (s1 - s0) + (1.0 - tf) * trend;
        }
        (s0, s1) = (s1, scaled + (1.0 - sf) * (s1 + trend));
    }
    Cell::Float(s1)
}
