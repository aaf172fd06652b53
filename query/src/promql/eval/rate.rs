//! `rate`, `increase`, `delta`, `irate`, `idelta`: differences over a window, extrapolated to its edges.

use std::ops::Range;
use std::sync::Arc;

use super::aggregate::HistogramFold;
use super::column::Cell;
use super::extended;
use super::over_time::{Kind, Point, Sum, points};
use super::window::{Notes, Track, Window};
use crate::promql::ast::Edges;
use crate::promql::histogram::{Histogram, ResetHint};
use crate::promql::source::Bucket;

/// What is computed from the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kindred {
    /// Falls mean resets.
    pub(super) counter: bool,
    /// Divided by the range.
    pub(super) per_second: bool,
}

pub(super) fn rate(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    difference(window, notes, Kindred { counter: true, per_second: true })
}

pub(super) fn increase(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    difference(window, notes, Kindred { counter: true, per_second: false })
}

pub(super) fn delta(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    difference(window, notes, Kindred { counter: false, per_second: false })
}

/// Whether the sample at `current` = (time, start time) is not the continuation of `previous`; counts contradictions.
pub(super) fn starts_anew(
    (t_previous, start_previous): (i64, i64),
    (t, start): (i64, i64),
    overlaps: &mut usize,
) -> bool {
    if start == 0 || start >= t {
        return false;
    }
    if start < t_previous {
        *overlaps += usize::from(start != start_previous);
        return false;
    }
    start > t_previous
        || (start_previous != 0 && start_previous != t_previous && start_previous <= t_previous)
}

/// Where the samples of a track do not continue the one before.
#[derive(Debug, Default)]
pub(super) struct Breaks {
    /// Indices of samples that start anew, rising.
    at: Vec<usize>,
    /// Indices of samples whose start time contradicts the sample before, rising.
    overlaps: Vec<usize>,
}

impl Breaks {
    fn find(t: &[i64], starts: &[i64], resets: impl Fn(usize) -> bool) -> Self {
        let mut breaks = Self::default();
        for i in 1..t.len() {
            let mut overlaps = 0;
            let anew = !starts.is_empty()
                && starts_anew((t[i - 1], starts[i - 1]), (t[i], starts[i]), &mut overlaps);
            if overlaps > 0 {
                breaks.overlaps.push(i);
            }
            if anew || resets(i) {
                breaks.at.push(i);
            }
        }
        breaks
    }

    /// The breaks between two samples of `range`, and the number of contradictions.
    fn within(&self, range: &Range<usize>) -> (&[usize], usize) {
        let inside = |list: &[usize]| {
            let low = list.partition_point(|at| *at <= range.start);
            low..list.partition_point(|at| *at < range.end).max(low)
        };
        (&self.at[inside(&self.at)], inside(&self.overlaps).len())
    }
}

impl Track<'_> {
    fn float_breaks(&self) -> &Breaks {
        self.float_breaks
            .get_or_init(|| Breaks::find(&self.t, &self.start_t, |i| self.v[i] < self.v[i - 1]))
    }

    fn histogram_breaks(&self) -> &Breaks {
        self.histogram_breaks.get_or_init(|| {
            Breaks::find(&self.h_t, &self.h_start_t, |i| self.h[i].is_reset_after(&self.h[i - 1]))
        })
    }
}

/// Notes a name that is not a counter's.
pub(super) fn note_odd_name(notes: &mut Notes<'_>) {
    let usual = ["_total", "_sum", "_count", "_bucket"];
    if !notes.metric().is_empty() && !usual.iter().any(|suffix| notes.metric().ends_with(suffix)) {
        notes.odd_name();
    }
}

impl Notes<'_> {
    pub(super) fn overlaps(&mut self, count: usize) {
        if count > 0 {
            self.annotations.overlap(self.place, self.metric(), count);
        }
    }

    pub(super) fn collision(&mut self, operation: &str) {
        let text = format!("conflicting counter resets during histogram {operation}");
        self.annotations.warn(self.place, text);
    }
}

/// Ends of the samples and the difference between them.
struct Stretch {
    first_t: i64,
    last_t: i64,
    intervals: f64,
    /// Value of the first sample, for the zero point.
    first_value: f64,
    /// The start time, when the counter began inside the window.
    begins: Option<i64>,
}

fn difference(window: &Window<'_>, notes: &mut Notes<'_>, kin: Kindred) -> Cell {
    if kin.counter && window.track.is_delta {
        return delta_sum(window, notes, kin);
    }
    if window.edges != Edges::Plain {
        return extended::difference(window, notes, kin);
    }
    match (window.floats.is_empty(), window.histograms.is_empty()) {
        (true, true) => Cell::None,
        (false, false) => {
            notes.mixed();
            Cell::None
        }
        (false, true) => float_difference(window, notes, kin),
        (true, false) => histogram_difference(window, notes, kin),
    }
}

/// What came in the window of a series whose samples say what came since the one before: their sum, whole and without a
/// guess about the edges.
fn delta_sum(window: &Window<'_>, notes: &mut Notes<'_>, kin: Kindred) -> Cell {
    let seconds = if kin.per_second { window.range_s() } else { 1.0 };
    match (window.floats.is_empty(), window.histograms.is_empty()) {
        (true, true) => Cell::None,
        (false, false) => {
            notes.mixed();
            Cell::None
        }
        (false, true) => {
            let mut sum = Sum::default();
            window.v().iter().for_each(|v| sum.add(*v));
            Cell::Float(sum.value() / seconds)
        }
        (true, false) => {
            let mut fold = HistogramFold::new(false);
            if !window.h().iter().all(|h| fold.add(h)) {
                notes.mixed_schemas();
            }
            fold.finish().map_or(Cell::None, |mut sum| {
                sum.reset_hint = ResetHint::Gauge;
                sum.divide(seconds);
                Cell::Histogram(Arc::new(sum))
            })
        }
    }
}

/// What came last, by the time it took: since its start, or since the sample before where that is not known.
fn delta_last(window: &Window<'_>, found: &[Point<'_>]) -> Cell {
    let Some(last) = found.last() else { return Cell::None };
    let is_known = last.start_t != 0 && last.start_t < last.t;
    let before = found.len().checked_sub(2).map(|at| found[at].t);
    let Some(since) = is_known.then_some(last.start_t).or(before) else { return Cell::None };
    let seconds = (last.t - since) as f64 / 1000.0;
    match last.kind {
        _ if seconds <= 0.0 => Cell::None,
        Kind::Float(value) => Cell::Float(value / seconds),
        Kind::Histogram(_) => window.h().last().map_or(Cell::None, |last| {
            let mut last = Histogram::clone(last);
            last.divide(seconds);
            Cell::Histogram(Arc::new(last))
        }),
    }
}

/// The start time of the first sample when it lies between the window's start and the sample.
fn begin(window: &Window<'_>, t: i64, start: Option<&i64>, kin: Kindred) -> Option<i64> {
    start
        .copied()
        .filter(|start| kin.counter && *start != 0 && *start > window.from_ms && *start < t)
}

fn float_difference(window: &Window<'_>, notes: &mut Notes<'_>, kin: Kindred) -> Cell {
    let (t, v) = (window.t(), window.v());
    let begins = begin(window, t[0], window.track.start_t.get(window.floats.start), kin);
    if v.len() < 2 && begins.is_none() {
        return Cell::None;
    }
    let last = v.len() - 1;
    let mut result = v[last] - v[0];
    if kin.counter {
        let (breaks, overlaps) = window.track.float_breaks().within(&window.floats);
        for at in breaks {
            result += window.track.v[at - 1];
        }
        notes.overlaps(overlaps);
    }
    if begins.is_some() {
        result += v[0];
    }
    let stretch = Stretch {
        first_t: t[0],
        last_t: t[last],
        intervals: last as f64,
        first_value: v[0],
        begins,
    };
    Cell::Float(result * factor(window, &stretch, kin, result))
}

/// `rate` or `increase` of a window whose samples are known as one bucket.
pub(super) fn of_bucket(window: &Window<'_>, whole: &Bucket, per_second: bool) -> Cell {
    let kin = Kindred { counter: true, per_second };
    let begins = begin(window, whole.first_t, Some(&whole.first_start), kin);
    if whole.count < 2 && begins.is_none() {
        return Cell::None;
    }
    let mut result = whole.last - whole.first + whole.resets;
    if begins.is_some() {
        result += whole.first;
    }
    let stretch = Stretch {
        first_t: whole.first_t,
        last_t: whole.last_t,
        intervals: (whole.count - 1) as f64,
        first_value: whole.first,
        begins,
    };
    Cell::Float(result * factor(window, &stretch, kin, result))
}

fn histogram_difference(window: &Window<'_>, notes: &mut Notes<'_>, kin: Kindred) -> Cell {
    let (t, h) = (window.h_t(), window.h());
    let begins = begin(window, t[0], window.track.h_start_t.get(window.histograms.start), kin);
    if h.len() < 2 && begins.is_none() {
        return Cell::None;
    }
    let Some(mut result) = histogram_rise(window, notes, kin, begins.is_some()) else {
        return Cell::None;
    };
    let stretch = Stretch {
        first_t: t[0],
        last_t: t[h.len() - 1],
        intervals: (h.len() - 1) as f64,
        first_value: h[0].count,
        begins,
    };
    result.scale(factor(window, &stretch, kin, result.count));
    Cell::Histogram(Arc::new(result))
}

/// By how much the stretch of samples is extended to the edges; divided by the range for rates.
fn factor(window: &Window<'_>, stretch: &Stretch, kin: Kindred, result: f64) -> f64 {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let first_t = stretch.begins.unwrap_or(stretch.first_t);
    let sampled = seconds(stretch.last_t - first_t);
    let average = if stretch.intervals > 0.0 {
        seconds(stretch.last_t - stretch.first_t) / stretch.intervals
    } else {
        0.0
    };
    let threshold = average * 1.1;
    let near = |gap: f64| if gap >= threshold { average / 2.0 } else { gap };
    let mut to_start = if stretch.begins.is_some() {
        0.0
    } else {
        near(seconds(stretch.first_t - window.from_ms))
    };
    if kin.counter && result > 0.0 && stretch.first_value >= 0.0 {
        // A counter cannot have been negative: not farther back than its zero point.
        to_start = to_start.min(sampled * (stretch.first_value / result));
    }
    let to_end = near(seconds(window.to_ms - stretch.last_t));
    let factor = (sampled + to_start + to_end) / sampled;
    if kin.per_second { factor / window.range_s() } else { factor }
}

/// Last minus first histogram, resets made up for; `None` when they do not go together.
fn histogram_rise(
    window: &Window<'_>,
    notes: &mut Notes<'_>,
    kin: Kindred,
    from_zero: bool,
) -> Option<Histogram> {
    let h = window.h();
    let (first, last) = (h.first()?, h.last()?);
    let (breaks, overlaps) = if kin.counter {
        window.track.histogram_breaks().within(&window.histograms)
    } else {
        (&[][..], 0)
    };
    notes.overlaps(overlaps);
    let gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
    if kin.counter && (gauge(first) || gauge(last)) {
        notes.not_counter();
    }
    let second = window.histograms.start + 1;
    // What precedes a reset at the second sample need not even fit.
    let skip_first = from_zero || breaks.first() == Some(&second);
    let base = if skip_first { h.get(1).unwrap_or(first) } else { first };
    if base.is_custom() != last.is_custom() {
        notes.mixed_schemas();
        return None;
    }
    let mut schema = base.schema.min(last.schema);
    let between = if kin.counter { h.get(1..h.len() - 1).unwrap_or_default() } else { &[] };
    for h in between {
        if gauge(h) {
            notes.not_counter();
        }
        if h.is_custom() != last.is_custom() {
            notes.mixed_schemas();
            return None;
        }
        schema = schema.min(h.schema);
    }
    let mut result = Histogram::clone(last);
    result.reduce_to(schema);
    if !skip_first {
        let Ok(joined) = result.sub(first) else {
            notes.mixed_schemas();
            return None;
        };
        if joined.bounds_reconciled {
            notes.reconciled("subtraction");
        }
    }
    for at in breaks.iter().filter(|at| **at != second || from_zero) {
        let Ok(joined) = result.add(&window.track.h[at - 1]) else {
            notes.mixed_schemas();
            return None;
        };
        if joined.bounds_reconciled {
            notes.reconciled("addition");
        }
    }
    let are_gauges = gauge(first) && gauge(last);
    if !(kin.counter || are_gauges) {
        notes.not_gauge();
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact();
    Some(result)
}

/// Notes hints that contradict the function.
pub(super) fn note_hints(h: &[Arc<Histogram>], notes: &mut Notes<'_>, kin: Kindred) {
    let gauge = |h: &Arc<Histogram>| h.reset_hint == ResetHint::Gauge;
    if kin.counter {
        if h.iter().any(gauge) {
            notes.not_counter();
        }
    } else if !h.first().is_some_and(gauge) || !h.last().is_some_and(gauge) {
        notes.not_gauge();
    }
}

pub(super) fn irate(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    instant_difference(window, notes, Kindred { counter: true, per_second: true })
}

pub(super) fn idelta(window: &Window<'_>, _: &[f64], notes: &mut Notes<'_>) -> Cell {
    instant_difference(window, notes, Kindred { counter: false, per_second: false })
}

/// The difference of the last two samples, of whatever kind.
fn instant_difference(window: &Window<'_>, notes: &mut Notes<'_>, kin: Kindred) -> Cell {
    let mut tail = window.clone();
    tail.floats.start = tail.floats.start.max(tail.floats.end.saturating_sub(2));
    tail.histograms.start = tail.histograms.start.max(tail.histograms.end.saturating_sub(2));
    let found: Vec<Point<'_>> = points(&tail).collect();
    if kin.counter && window.track.is_delta {
        return delta_last(&tail, &found);
    }
    let Some([a, b]) = found.last_chunk::<2>() else { return Cell::None };
    let mut overlaps = 0;
    let anew = kin.counter && starts_anew((a.t, a.start_t), (b.t, b.start_t), &mut overlaps);
    notes.overlaps(overlaps);
    let seconds = (b.t - a.t) as f64 / 1000.0;
    if seconds == 0.0 {
        return Cell::None;
    }
    match (a.kind, b.kind) {
        (Kind::Float(a), Kind::Float(b)) => {
            let rise = if kin.counter && (b < a || anew) { b } else { b - a };
            Cell::Float(if kin.per_second { rise / seconds } else { rise })
        }
        (Kind::Histogram(a), Kind::Histogram(b)) => {
            let rise = histogram_step(a, b, notes, (kin, anew));
            rise.map_or(Cell::None, |mut rise| {
                if kin.per_second {
                    rise.divide(seconds);
                }
                Cell::Histogram(Arc::new(rise))
            })
        }
        _ => {
            notes.mixed();
            Cell::None
        }
    }
}

fn histogram_step(
    a: &Histogram,
    b: &Histogram,
    notes: &mut Notes<'_>,
    (kin, anew): (Kindred, bool),
) -> Option<Histogram> {
    let mut rise = b.clone();
    let gauges = a.reset_hint == ResetHint::Gauge && b.reset_hint == ResetHint::Gauge;
    if kin.counter {
        if a.reset_hint == ResetHint::Gauge || b.reset_hint == ResetHint::Gauge {
            notes.not_counter();
        }
    } else if !gauges {
        notes.not_gauge();
    }
    if !(kin.counter && (anew || b.is_reset_after(a))) {
        let Ok(joined) = rise.sub(a) else {
            notes.mixed_schemas();
            return None;
        };
        if joined.bounds_reconciled {
            notes.reconciled("subtraction");
        }
    }
    rise.reset_hint = ResetHint::Gauge;
    rise.compact();
    Some(rise)
}
