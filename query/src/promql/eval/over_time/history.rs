//! Functions of both kinds of samples in order: counting, first and last, changes and resets.

use std::sync::Arc;

use crate::promql::eval::column::Cell;
use crate::promql::eval::extended;
use crate::promql::eval::rate::starts_anew;
use crate::promql::eval::window::{Notes, Window};
use crate::promql::histogram::Histogram;

/// A sample of either kind with its index in its own column.
#[derive(Clone, Copy)]
pub(in crate::promql::eval) enum Kind<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// One sample of a window with its times.
#[derive(Clone, Copy)]
pub(in crate::promql::eval) struct Point<'a> {
    pub(in crate::promql::eval) t: i64,
    pub(in crate::promql::eval) start_t: i64,
    pub(in crate::promql::eval) kind: Kind<'a>,
}

/// All samples of the window, both kinds merged by time.
pub(in crate::promql::eval) fn points<'a>(window: &Window<'a>) -> impl Iterator<Item = Point<'a>> {
    let track = window.track;
    let (mut f, mut h) = (window.floats.clone(), window.histograms.clone());
    std::iter::from_fn(move || {
        let float_first = match (f.is_empty(), h.is_empty()) {
            (true, true) => return None,
            (false, true) => true,
            (true, false) => false,
            (false, false) => track.t[f.start] <= track.h_t[h.start],
        };
        if float_first {
            let i = f.next()?;
            let start_t = track.start_t.get(i).copied().unwrap_or(0);
            return Some(Point { t: track.t[i], start_t, kind: Kind::Float(track.v[i]) });
        }
        let i = h.next()?;
        let start_t = track.h_start_t.get(i).copied().unwrap_or(0);
        Some(Point { t: track.h_t[i], start_t, kind: Kind::Histogram(&track.h[i]) })
    })
}

fn cell(point: Point<'_>) -> Cell {
    match point.kind {
        Kind::Float(value) => Cell::Float(value),
        Kind::Histogram(histogram) => Cell::Histogram(Arc::clone(histogram)),
    }
}

/// The earliest sample.
fn earliest<'a>(window: &Window<'a>) -> Option<Point<'a>> {
    points(window).next()
}

/// The latest sample.
fn latest<'a>(window: &Window<'a>) -> Option<Point<'a>> {
    let mut tail = window.clone();
    tail.floats.start = tail.floats.start.max(tail.floats.end.saturating_sub(1));
    tail.histograms.start = tail.histograms.start.max(tail.histograms.end.saturating_sub(1));
    points(&tail).last()
}

pub(super) fn last(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Cell {
    latest(window).map_or(Cell::None, cell)
}

pub(super) fn first(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Cell {
    earliest(window).map_or(Cell::None, cell)
}

pub(super) fn time_of_first(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Cell {
    earliest(window).map(|point| point.t as f64 / 1000.0).into()
}

pub(super) fn time_of_last(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Cell {
    latest(window).map(|point| point.t as f64 / 1000.0).into()
}

pub(super) fn count(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Cell {
    let count = window.floats.len() + window.histograms.len();
    (count > 0).then_some(count as f64).into()
}

pub(super) fn present(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Cell {
    let count = window.floats.len() + window.histograms.len();
    (count > 0).then_some(1.0).into()
}

/// Counts the neighbours for which `differs` holds.
fn transitions(
    window: &Window<'_>,
    mut differs: impl FnMut(&Point<'_>, &Point<'_>) -> bool,
) -> Cell {
    let Some(window) = extended::with_anchor(window) else { return Cell::None };
    let mut found = 0.0;
    let mut previous: Option<Point<'_>> = None;
    for point in points(&window) {
        if let Some(previous) = &previous
            && differs(previous, &point)
        {
            found += 1.0;
        }
        previous = Some(point);
    }
    previous.map(|_| found).into()
}

pub(super) fn changes(window: &Window<'_>, _: &[f64], _: &mut Notes<'_>) -> Cell {
    transitions(window, |a, b| match (a.kind, b.kind) {
        (Kind::Float(a), Kind::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Kind::Histogram(a), Kind::Histogram(b)) => !a.same(b),
        _ => true,
    })
}

pub(super) fn resets(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    if window.track.is_delta {
        // They do not count on from each other.
        return transitions(window, |_, _| false);
    }
    let mut overlaps = 0;
    let cell = transitions(window, |a, b| {
        let by_start = starts_anew((a.t, a.start_t), (b.t, b.start_t), &mut overlaps);
        let by_value = match (a.kind, b.kind) {
            (Kind::Float(a), Kind::Float(b)) => b < a,
            (Kind::Histogram(a), Kind::Histogram(b)) => b.is_reset_after(a),
            _ => true,
        };
        by_start || by_value
    });
    notes.overlaps(overlaps);
    cell
}
