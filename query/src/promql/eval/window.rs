//! Range vectors: one series' samples with a window that moves over them, and who gets to see it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use model::metric::is_stale;

use super::column::{Cell, Column, Grid};
use super::rate::Breaks;
use super::select::{Made, Reference};
use super::{EvalError, Evaluator};
use crate::promql::annotate::Annotations;
use crate::promql::ast::{Edges, Expr, MatrixSelector};
use crate::promql::histogram::Histogram;
use crate::promql::labels::Labels;
use crate::promql::number::quote;
use crate::promql::place::Place;
use crate::promql::source::{Bucket, Hints, SeriesSlices};
use crate::promql::value::SeriesValues;

/// Samples that windows may hold between two looks at whether the evaluation is to end: work follows from them.
const UNCHECKED_MAX: usize = 1 << 20;
/// What a step costs even when its window is empty, in samples.
const STEP_COST: usize = 1_024;

/// One series without stale markers.
pub(super) struct Track<'a> {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) t: Cow<'a, [i64]>,
    pub(super) v: Cow<'a, [f64]>,
    /// Start times, as long as `t`, or empty when none is known.
    pub(super) start_t: Cow<'a, [i64]>,
    pub(super) h_t: Cow<'a, [i64]>,
    pub(super) h: Cow<'a, [Arc<Histogram>]>,
    /// Start times, as long as `h_t`, or empty when none is known.
    pub(super) h_start_t: Cow<'a, [i64]>,
    /// Whether each sample is what came since the one before.
    pub(super) is_delta: bool,
    /// Buckets instead of floats.
    pub(super) buckets: &'a [Bucket],
    /// Where the floats start anew; found when first asked for.
    pub(super) float_breaks: OnceCell<Breaks>,
    /// Where the histograms start anew; found when first asked for.
    pub(super) histogram_breaks: OnceCell<Breaks>,
}

impl<'a> Track<'a> {
    pub(super) fn new(slices: SeriesSlices<'a>, use_start: bool) -> Self {
        let starts = |starts: Option<&'a [i64]>| match starts {
            Some(starts) if use_start && starts.iter().any(|t| *t != 0) => starts,
            _ => &[],
        };
        let (start_t, h_start_t) = (starts(slices.start_t), starts(slices.h_start_t));
        let mut track = Self {
            labels: slices.labels.clone(),
            drop_name: false,
            t: Cow::Borrowed(slices.t),
            v: Cow::Borrowed(slices.v),
            start_t: Cow::Borrowed(start_t),
            h_t: Cow::Borrowed(slices.h_t),
            h: Cow::Borrowed(slices.h),
            h_start_t: Cow::Borrowed(h_start_t),
            is_delta: slices.is_delta,
            buckets: slices.buckets,
            float_breaks: OnceCell::new(),
            histogram_breaks: OnceCell::new(),
        };
        if slices.v.iter().any(|v| is_stale(*v)) {
            let live: Vec<usize> =
                (0..slices.v.len()).filter(|i| !is_stale(slices.v[*i])).collect();
            track.t = Cow::Owned(live.iter().map(|i| slices.t[*i]).collect());
            track.v = Cow::Owned(live.iter().map(|i| slices.v[*i]).collect());
            if !start_t.is_empty() {
                track.start_t = Cow::Owned(live.iter().map(|i| start_t[*i]).collect());
            }
        }
        if slices.h.iter().any(|h| h.is_stale()) {
            let live: Vec<usize> =
                (0..slices.h.len()).filter(|i| !slices.h[*i].is_stale()).collect();
            track.h_t = Cow::Owned(live.iter().map(|i| slices.h_t[*i]).collect());
            track.h = Cow::Owned(live.iter().map(|i| Arc::clone(&slices.h[*i])).collect());
            if !h_start_t.is_empty() {
                track.h_start_t = Cow::Owned(live.iter().map(|i| h_start_t[*i]).collect());
            }
        }
        track
    }

    fn samples(&self, window: &Window<'_>) -> usize {
        let histograms = self.h[window.histograms.clone()].iter().map(|h| h.samples());
        window.floats.len() + window.buckets.len() + histograms.sum::<usize>()
    }
}

/// The samples of one series with t in `(from_ms, to_ms]`, and the whole track around them.
#[derive(Clone)]
pub(super) struct Window<'a> {
    pub(super) track: &'a Track<'a>,
    pub(super) floats: Range<usize>,
    pub(super) histograms: Range<usize>,
    /// Buckets that lie in it as a whole.
    pub(super) buckets: Range<usize>,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    /// The step's own time: `to_ms` without offset and pin.
    pub(super) eval_ms: i64,
    /// How far outside the window an extended selector may look.
    pub(super) lookback_ms: i64,
    pub(super) edges: Edges,
}

impl<'a> Window<'a> {
    pub(super) fn t(&self) -> &'a [i64] {
        &self.track.t[self.floats.clone()]
    }

    pub(super) fn v(&self) -> &'a [f64] {
        &self.track.v[self.floats.clone()]
    }

    pub(super) fn h_t(&self) -> &'a [i64] {
        &self.track.h_t[self.histograms.clone()]
    }

    pub(super) fn h(&self) -> &'a [Arc<Histogram>] {
        &self.track.h[self.histograms.clone()]
    }

    /// Where it ends in all kinds of samples together; only ever rises.
    const fn ends(&self) -> usize {
        self.floats.end + self.histograms.end + self.buckets.end
    }

    pub(super) fn range_s(&self) -> f64 {
        (self.to_ms - self.from_ms) as f64 / 1000.0
    }
}

/// Where a function on windows leaves its remarks.
pub(super) struct Notes<'a> {
    pub(super) annotations: &'a mut Annotations,
    /// The series; its name is looked up only when there is something to say.
    pub(super) labels: &'a Labels,
    /// The range argument.
    pub(super) place: Place,
}

impl<'a> Notes<'a> {
    /// Name of the series' metric; empty when it is gone.
    pub(super) fn metric(&self) -> &'a str {
        self.labels.name()
    }

    pub(super) fn mixed(&mut self) {
        let text = format!(
            "encountered a mix of histograms and floats for metric name {}",
            quote(self.metric())
        );
        self.annotations.warn(self.place, text);
    }

    pub(super) fn mixed_schemas(&mut self) {
        let text = format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
            quote(self.metric())
        );
        self.annotations.warn(self.place, text);
    }

    pub(super) fn ignored_histograms(&mut self) {
        let text = format!(
            "ignored histograms in a range containing both floats and histograms for metric name {}",
            quote(self.metric())
        );
        self.annotations.info(self.place, text);
    }

    pub(super) fn not_counter(&mut self) {
        let metric = quote(self.metric());
        let text = format!("this native histogram metric is not a counter: {metric}");
        self.annotations.warn(self.place, text);
    }

    pub(super) fn not_gauge(&mut self) {
        let metric = quote(self.metric());
        let text = format!("this native histogram metric is not a gauge: {metric}");
        self.annotations.warn(self.place, text);
    }

    pub(super) fn reconciled(&mut self, operation: &str) {
        let text = format!("mismatched custom buckets were reconciled during {operation}");
        self.annotations.info(self.place, text);
    }
}

/// Which windows: their length, where they end, how their edges are treated.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) reference: Reference,
    pub(super) range_ms: i64,
    pub(super) edges: Edges,
    pub(super) lookback_ms: i64,
}

impl Span {
    /// What both ends of every window are multiples of, ms; 0 when a function may look outside of them.
    fn unit_ms(&self, grid: Grid) -> i64 {
        let (first, last) = self.reference.bounds(grid);
        let step = if first == last { 0 } else { grid.step };
        match self.edges {
            Edges::Plain => [first, step].into_iter().fold(self.range_ms, greatest_common_divisor),
            Edges::Anchored | Edges::Smoothed => 0,
        }
    }

    /// Moves the window over the steps; one cell a step.
    pub(super) fn walk(
        self,
        track: &Track<'_>,
        grid: Grid,
        mut visit: impl FnMut(usize, &Window<'_>) -> Result<Cell, EvalError>,
    ) -> Result<Vec<Cell>, EvalError> {
        let (mut floats, mut histograms) = (0..0, 0..0);
        let mut buckets = 0..0;
        let starts: Vec<i64> = track.buckets.iter().map(|bucket| bucket.start + 1).collect();
        let mut cells = Vec::with_capacity(grid.len);
        for (step, eval_ms) in grid.times().enumerate() {
            let to_ms = self.reference.time(eval_ms);
            let from_ms = to_ms.saturating_sub(self.range_ms);
            advance(&mut floats, &track.t, from_ms, to_ms);
            advance(&mut histograms, &track.h_t, from_ms, to_ms);
            advance(&mut buckets, &starts, from_ms, to_ms);
            let window = Window {
                track,
                floats: floats.clone(),
                histograms: histograms.clone(),
                buckets: buckets.clone(),
                from_ms,
                to_ms,
                eval_ms,
                lookback_ms: self.lookback_ms,
                edges: self.edges,
            };
            cells.push(visit(step, &window)?);
        }
        Ok(cells)
    }
}

pub(super) fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.saturating_abs(), b.saturating_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Moves `range` forward so that it covers the times in `(from, to]`; both only ever rise.
fn advance(range: &mut Range<usize>, t: &[i64], from: i64, to: i64) {
    while t.get(range.end).is_some_and(|t| *t <= to) {
        range.end += 1;
    }
    while range.start < range.end && t[range.start] <= from {
        range.start += 1;
    }
}

impl Evaluator<'_> {
    /// Runs `visit` over all windows of all series of a range argument; series without any cell are left out.
    ///
    /// `state` makes what `visit` keeps from window to window of one series.
    pub(super) fn windows<S>(
        &mut self,
        (arg, function): (&Expr, &str),
        grid: Grid,
        state: impl Fn() -> S + Sync,
        visit: impl Fn(&mut Self, &mut S, usize, &Window<'_>) -> Result<Cell, EvalError> + Sync,
    ) -> Result<Vec<Column>, EvalError> {
        let made = Made::default();
        self.tracks(arg, function, grid, |evaluator, span, track| {
            evaluator.room(made.columns() + 1, grid)?;
            let (held, mut state) = (made.samples(), state());
            let (mut seen, mut unchecked) = (0, 0);
            let cells = span.walk(track, grid, |step, window| {
                let samples = track.samples(window);
                unchecked += samples + STEP_COST;
                if unchecked > UNCHECKED_MAX {
                    unchecked = 0;
                    evaluator.options.stop.check()?;
                }
                let fresh = window.ends().saturating_sub(seen).min(samples);
                seen = window.ends();
                evaluator.tally.add(step, samples, fresh);
                evaluator.hold(held + samples)?;
                visit(evaluator, &mut state, step, window)
            })?;
            let labels = track.labels.clone();
            let column = Column { labels, drop_name: track.drop_name, cells };
            if column.is_empty() {
                return Ok(None);
            }
            made.add(&column);
            Ok(Some(column))
        })
    }

    /// What `visit` makes of every series of a range argument and the windows to be laid over it.
    fn tracks<T: Send>(
        &mut self,
        arg: &Expr,
        function: &str,
        grid: Grid,
        visit: impl Fn(&mut Self, Span, &Track<'_>) -> Result<Option<T>, EvalError> + Sync,
    ) -> Result<Vec<T>, EvalError> {
        match arg.bare() {
            Expr::Matrix(matrix) => {
                let span = self.span(matrix);
                let (first, last) = span.reference.bounds(grid);
                let (before, after) = match span.edges {
                    Edges::Plain => (0, 0),
                    Edges::Anchored => (span.lookback_ms, 0),
                    Edges::Smoothed => (span.lookback_ms, span.lookback_ms),
                };
                let from = first.saturating_sub(span.range_ms).saturating_sub(before);
                let range_ms = (from.saturating_add(1), last.saturating_add(after));
                let use_start = self.options.use_start_timestamps;
                let hints = Hints {
                    function,
                    range_ms: span.range_ms,
                    need_start: use_start,
                    unit_ms: span.unit_ms(grid),
                    ..Hints::default()
                };
                self.each_series(&matrix.selector, range_ms, hints, |evaluator, slices| {
                    visit(evaluator, span, &Track::new(slices, use_start))
                })
            }
            Expr::Subquery(subquery) => {
                let held = self.held;
                let span = Span {
                    reference: Reference { at: subquery.at, offset_ms: subquery.offset.ms },
                    range_ms: subquery.range.ms,
                    edges: Edges::Plain,
                    lookback_ms: 0,
                };
                let mut made = Vec::new();
                for track in self.subquery(subquery, grid)? {
                    made.extend(visit(self, span, &track)?);
                }
                self.held = held;
                Ok(made)
            }
            _ => Err(super::execution("the argument is not a range vector")),
        }
    }

    fn span(&self, matrix: &MatrixSelector) -> Span {
        Span {
            reference: matrix.selector.reference(),
            range_ms: matrix.range.ms,
            edges: matrix.selector.edges,
            lookback_ms: self.options.lookback_ms,
        }
    }

    /// A range vector as the result of an instant query: the samples with their own times.
    pub(super) fn bare_range(
        &mut self,
        expr: &Expr,
        grid: Grid,
    ) -> Result<Vec<SeriesValues>, EvalError> {
        if matches!(expr.bare(), Expr::Subquery(_)) {
            self.tally.flatten();
        }
        let mut out = self.tracks(expr, "", grid, |evaluator, span, track| {
            let mut series: Option<SeriesValues> = None;
            span.walk(track, grid, |step, window| {
                let samples = track.samples(window);
                evaluator.tally.add(step, samples, samples);
                evaluator.hold(samples)?;
                series = super::extended::bare(window)?;
                Ok(Cell::None)
            })?;
            if let Some(series) = series.as_mut().filter(|_| track.drop_name) {
                series.labels = series.labels.without_name();
            }
            Ok(series)
        })?;
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(out)
    }
}

/// The window's samples as they are; `None` when there are none.
pub(super) fn plain_values(window: &Window<'_>) -> Option<SeriesValues> {
    let floats = window.t().iter().copied().zip(window.v().iter().copied()).collect();
    let histograms = window.h_t().iter().copied().zip(window.h().iter().cloned()).collect();
    let labels = window.track.labels.clone();
    let empty = window.floats.is_empty() && window.histograms.is_empty();
    (!empty).then_some(SeriesValues { labels, floats, histograms })
}
