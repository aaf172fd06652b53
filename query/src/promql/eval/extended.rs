//! `anchored` and `smoothed`: windows whose edges have values of their own.

use std::sync::Arc;

use super::column::{Cell, Column, Grid};
use super::rate::{Kindred, note_hints};
use super::select::Made;
use super::window::{Notes, Track, Window, plain_values};
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::{Edges, VectorSelector};
use crate::promql::histogram::Histogram;
use crate::promql::number::quote;
use crate::promql::source::Hints;
use crate::promql::value::SeriesValues;

/// The window with the last sample before it, when it is anchored; `None` when nothing follows its start.
pub(super) fn with_anchor<'a>(window: &Window<'a>) -> Option<Window<'a>> {
    let mut window = window.clone();
    if window.edges != Edges::Anchored {
        return Some(window);
    }
    if window.floats.is_empty() && window.histograms.is_empty() {
        return None;
    }
    let track = window.track;
    let oldest = window.from_ms.saturating_sub(window.lookback_ms);
    let before = |t: &[i64]| {
        let i = t.partition_point(|t| *t <= window.from_ms).checked_sub(1)?;
        (t[i] > oldest).then_some((t[i], i))
    };
    match (before(&track.t), before(&track.h_t)) {
        (Some((t, i)), other) if other.is_none_or(|(h_t, _)| h_t < t) => {
            window.floats = i..window.floats.end.max(i + 1);
        }
        (_, Some((_, i))) => window.histograms = i..window.histograms.end.max(i + 1),
        _ => {}
    }
    Some(window)
}

/// The samples that decide the values at both edges, as indices into a track's times.
#[derive(Clone, Copy, Debug)]
struct Edge {
    first: usize,
    last: usize,
    /// The value at the left edge lies between `first` and the sample after it.
    left_between: bool,
    /// The value at the right edge lies between `last` and the sample before it.
    right_between: bool,
}

/// `None` when no sample lies behind the start, or none before the end.
fn edge(t: &[i64], window: &Window<'_>) -> Option<Edge> {
    let smoothed = window.edges == Edges::Smoothed;
    let low = t.partition_point(|t| *t <= window.from_ms.saturating_sub(window.lookback_ms));
    let reach = if smoothed { window.lookback_ms } else { 0 };
    let high = t.partition_point(|t| *t <= window.to_ms.saturating_add(reach));
    let end = high.checked_sub(1).filter(|end| *end >= low)?;
    let after_start = low + t[low..end].partition_point(|t| *t <= window.from_ms);
    let first = after_start.saturating_sub(1).max(low);
    let last =
        if smoothed { low + t[low..end].partition_point(|t| *t < window.to_ms) } else { end };
    if t[last] <= window.from_ms || t[first] > window.to_ms {
        return None;
    }
    Some(Edge {
        first,
        last,
        left_between: smoothed && t[first] < window.from_ms,
        right_between: smoothed && last > low && t[last] > window.to_ms,
    })
}

/// How far `at` lies between two times, 0 to 1.
fn part(t: &[i64], before: usize, at: i64) -> f64 {
    (at - t[before]) as f64 / (t[before + 1] - t[before]) as f64
}

pub(super) fn difference(window: &Window<'_>, notes: &mut Notes<'_>, kin: Kindred) -> Cell {
    let track = window.track;
    let (floats, histograms) = (edge(&track.t, window), edge(&track.h_t, window));
    let per_second = |value: f64| if kin.per_second { value / window.range_s() } else { value };
    match (floats, histograms) {
        (None, None) => Cell::None,
        (Some(_), Some(_)) => {
            notes.mixed();
            Cell::None
        }
        (Some(edge), None) => Cell::Float(per_second(float_rise(track, window, edge, kin))),
        (None, Some(edge)) => match histogram_rise(window, edge, notes, kin) {
            None => Cell::None,
            Some(mut rise) => {
                if kin.per_second {
                    rise.scale(1.0 / window.range_s());
                }
                Cell::Histogram(Arc::new(rise))
            }
        },
    }
}

/// The float between sample `before` and the next; a counter that falls counts from zero.
fn float_between(track: &Track<'_>, before: usize, at: i64, counter: bool) -> f64 {
    let (mut low, high) = (track.v[before], track.v[before + 1]);
    if counter && high < low {
        low = 0.0;
    }
    low + (high - low) * part(&track.t, before, at)
}

fn float_rise(track: &Track<'_>, window: &Window<'_>, edge: Edge, kin: Kindred) -> f64 {
    let v = &track.v;
    let (left, right) = float_edges(track, window, edge, kin.counter);
    let mut rise = right - left;
    if kin.counter {
        // The value between the first two samples already knows of a reset there.
        for i in edge.first + usize::from(edge.left_between)..edge.last {
            if v[i + 1] < v[i] {
                rise += v[i];
            }
        }
    }
    rise
}

fn float_edges(track: &Track<'_>, window: &Window<'_>, edge: Edge, counter: bool) -> (f64, f64) {
    let left = if edge.left_between {
        float_between(track, edge.first, window.from_ms, counter)
    } else {
        track.v[edge.first]
    };
    let right = if edge.right_between {
        float_between(track, edge.last - 1, window.to_ms, counter)
    } else {
        track.v[edge.last]
    };
    (left, right)
}

/// The histogram between sample `before` and the next; `None` when they do not go together.
fn histogram_between(
    track: &Track<'_>,
    before: usize,
    at: i64,
    counter: bool,
) -> Option<Histogram> {
    let (low, high) = (&track.h[before], &track.h[before + 1]);
    let mut between = Histogram::clone(high);
    let part = part(&track.h_t, before, at);
    if counter && high.is_reset_after(low) {
        between.scale(part);
        return Some(between);
    }
    between.sub(low).ok()?;
    between.scale(part);
    between.add(low).ok()?;
    Some(between)
}

fn histogram_rise(
    window: &Window<'_>,
    edge: Edge,
    notes: &mut Notes<'_>,
    kin: Kindred,
) -> Option<Histogram> {
    let track = window.track;
    let h = &track.h[edge.first..=edge.last];
    note_hints(h, notes, kin);
    if h.iter().any(|other| other.is_custom() != h[0].is_custom()) {
        notes.mixed_schemas();
        return None;
    }
    let left = if edge.left_between {
        histogram_between(track, edge.first, window.from_ms, kin.counter)?
    } else {
        Histogram::clone(&track.h[edge.first])
    };
    let mut rise = if edge.right_between {
        histogram_between(track, edge.last - 1, window.to_ms, kin.counter)?
    } else {
        Histogram::clone(&track.h[edge.last])
    };
    if rise.sub(&left).ok()?.bounds_reconciled {
        notes.reconciled("subtraction");
    }
    if kin.counter {
        for i in edge.first + usize::from(edge.left_between)..edge.last {
            if track.h[i + 1].is_reset_after(&track.h[i])
                && rise.add(&track.h[i]).ok()?.bounds_reconciled
            {
                notes.reconciled("addition");
            }
        }
    }
    rise.reset_hint = crate::promql::histogram::ResetHint::Gauge;
    rise.compact();
    Some(rise)
}

/// A range vector as the result of an instant query.
pub(super) fn bare(window: &Window<'_>) -> Result<Option<SeriesValues>, EvalError> {
    if window.edges == Edges::Plain {
        return Ok(plain_values(window));
    }
    let track = window.track;
    if edge(&track.h_t, window).is_some() {
        let word = if window.edges == Edges::Anchored { "anchored" } else { "smoothed" };
        return Err(execution(format!("{word} modifier is not supported with histograms")));
    }
    let Some(edge) = edge(&track.t, window) else { return Ok(None) };
    let (left, right) = float_edges(track, window, edge, false);
    let mut floats = vec![(window.from_ms, left)];
    let inside = (edge.first..=edge.last)
        .map(|i| (track.t[i], track.v[i]))
        .filter(|(t, _)| *t > window.from_ms && *t < window.to_ms);
    floats.extend(inside);
    floats.push((window.to_ms, right));
    let labels = track.labels.clone();
    Ok(Some(SeriesValues { labels, floats, histograms: Vec::new() }))
}

impl Evaluator<'_> {
    /// `x smoothed`: the value between the neighbours of each step.
    pub(super) fn smoothed_selector(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let reference = selector.reference();
        let (first, last) = reference.bounds(grid);
        let lookback = self.options.lookback_ms;
        let from = first.saturating_sub(lookback).saturating_add(1);
        let range_ms = (from, last.saturating_add(lookback));
        let made = Made::default();
        self.each_series(selector, range_ms, Hints::default(), |evaluator, slices| {
            evaluator.room(made.columns() + 1, grid)?;
            let track = Track::new(slices, false);
            let cells = grid.times().map(|t| {
                let at = reference.time(t);
                match between(&track, at, lookback) {
                    Ok(cell) => cell,
                    Err(what) => {
                        let name = quote(track.labels.name());
                        let text = format!("{what} for metric name {name}");
                        evaluator.annotations.warn(selector.place, text);
                        Cell::None
                    }
                }
            });
            let column = Column::new(track.labels.clone(), cells.collect());
            if column.is_empty() {
                return Ok(None);
            }
            made.add(&column);
            Ok(Some(column))
        })
    }
}

/// The value at `at` between the neighbours within `lookback`, or what prevents it.
fn between(track: &Track<'_>, at: i64, lookback: i64) -> Result<Cell, &'static str> {
    let near = |t: &[i64]| {
        let low = t.partition_point(|t| *t <= at.saturating_sub(lookback));
        low..t.partition_point(|t| *t <= at.saturating_add(lookback)).max(low)
    };
    let (floats, histograms) = (near(&track.t), near(&track.h_t));
    if !floats.is_empty() && !histograms.is_empty() {
        return Err("encountered a mix of histograms and floats");
    }
    let (t, range) =
        if histograms.is_empty() { (&track.t, floats) } else { (&track.h_t, histograms.clone()) };
    let next = range.start + t[range.clone()].partition_point(|t| *t <= at);
    let Some(before) = next.checked_sub(1).filter(|before| *before >= range.start) else {
        return Ok(Cell::None);
    };
    let alone = t[before] == at || next >= range.end;
    if histograms.is_empty() {
        return Ok(Cell::Float(if alone {
            track.v[before]
        } else {
            float_between(track, before, at, false)
        }));
    }
    if alone {
        return Ok(Cell::Histogram(Arc::clone(&track.h[before])));
    }
    histogram_between(track, before, at, true)
        .filter(|_| track.h[before].is_custom() == track.h[next].is_custom())
        .map(|between| Cell::Histogram(Arc::new(between)))
        .ok_or("vector contains a mix of histograms with exponential and custom buckets schemas")
}
