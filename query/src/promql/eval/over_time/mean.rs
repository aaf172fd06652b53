//! Sums, means and spreads over a window, with compensated arithmetic; histograms where they make sense.

use std::sync::Arc;

use crate::promql::eval::aggregate::{FoldFault, HistogramFold};
use crate::promql::eval::column::Cell;
use crate::promql::eval::window::{Notes, Window};

/// Compensated mean that falls back to an incremental one when the sum would overflow.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::promql::eval) struct Mean {
    sum: f64,
    c: f64,
    mean: f64,
    count: f64,
    incremental: bool,
}

/// Compensated sum.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::promql::eval) struct Sum {
    sum: f64,
    c: f64,
}

impl Sum {
    pub(in crate::promql::eval) fn add(&mut self, value: f64) {
        (self.sum, self.c) = crate::promql::histogram::kahan(value, self.sum, self.c);
    }

    pub(in crate::promql::eval) fn value(&self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.c }
    }
}

impl Mean {
    pub(in crate::promql::eval) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let n = self.count;
        if n == 1.0 {
            self.sum = value;
            return;
        }
        if !self.incremental {
            let (sum, c) = crate::promql::histogram::kahan(value, self.sum, self.c);
            if !sum.is_infinite() {
                (self.sum, self.c) = (sum, c);
                return;
            }
            // The sum leaves the range of floats, the mean need not.
            self.incremental = true;
            self.mean = self.sum / (n - 1.0);
            self.c /= n - 1.0;
        }
        let q = (n - 1.0) / n;
        (self.mean, self.c) = crate::promql::histogram::kahan(value / n, q * self.mean, q * self.c);
    }

    pub(in crate::promql::eval) fn value(&self) -> f64 {
        if self.incremental {
            self.mean + self.c
        } else {
            self.sum / self.count + self.c / self.count
        }
    }
}

/// Folds the histograms of a window; `None` when they do not go together.
fn fold(window: &Window<'_>, notes: &mut Notes<'_>, mean: bool) -> Cell {
    let mut fold = HistogramFold::new(mean);
    for histogram in window.h() {
        fold.add(histogram);
    }
    for fault in fold.faults() {
        match fault {
            FoldFault::MixedSchemas => notes.mixed_schemas(),
            FoldFault::Collision => notes.collision("aggregation"),
            FoldFault::Reconciled => notes.reconciled("aggregation"),
        }
    }
    fold.finish().map_or(Cell::None, |histogram| Cell::Histogram(Arc::new(histogram)))
}

pub(super) fn sum(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    match (window.floats.is_empty(), window.histograms.is_empty()) {
        (true, true) => Cell::None,
        (false, false) => {
            notes.mixed();
            Cell::None
        }
        (true, false) => fold(window, notes, false),
        (false, true) => {
            let mut sum = Sum::default();
            window.v().iter().for_each(|value| sum.add(*value));
            Cell::Float(sum.value())
        }
    }
}

pub(super) fn avg(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    match (window.floats.is_empty(), window.histograms.is_empty()) {
        (true, true) => Cell::None,
        (false, false) => {
            notes.mixed();
            Cell::None
        }
        (true, false) => fold(window, notes, true),
        (false, true) => {
            let mut mean = Mean::default();
            for value in window.v() {
                mean.add(*value);
            }
            Cell::Float(mean.value())
        }
    }
}

fn variance(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<f64> {
    if window.floats.is_empty() {
        return None;
    }
    notes.floats_only(window);
    let (mut count, mut mean, mut c_mean, mut aux, mut c_aux) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for value in window.v() {
        count += 1.0;
        let delta = value - (mean + c_mean);
        (mean, c_mean) = crate::promql::histogram::kahan(delta / count, mean, c_mean);
        let product = delta * (value - (mean + c_mean));
        (aux, c_aux) = crate::promql::histogram::kahan(product, aux, c_aux);
    }
    Some((aux + c_aux) / count)
}

pub(super) fn stdvar(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    variance(window, notes).into()
}

pub(super) fn stddev(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    variance(window, notes).map(f64::sqrt).into()
}
