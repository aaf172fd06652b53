//! Instant selectors: the newest sample within lookback at each step.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::metric::is_stale;
use store::parallel;
use tokio::time::Instant;

use super::column::{Cell, Column, Grid};
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::{At, Edges, VectorSelector};
use crate::promql::histogram::{Histogram, ResetHint};
use crate::promql::source::{Hints, Select, SeriesSlices};

/// The times a selector looks at: one a step, shifted by `offset` or pinned by `@`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    pub(super) at: Option<At>,
    pub(super) offset_ms: i64,
}

impl Reference {
    pub(super) const fn time(&self, eval_ms: i64) -> i64 {
        match self.at {
            Some(At::Ms(ms)) => ms.saturating_sub(self.offset_ms),
            _ => eval_ms.saturating_sub(self.offset_ms),
        }
    }

    /// First and last time over all steps.
    pub(super) fn bounds(&self, grid: Grid) -> (i64, i64) {
        (self.time(grid.start), self.time(grid.time(grid.len.saturating_sub(1))))
    }
}

/// What an instant selector says about the sample it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aspect {
    Value,
    /// The sample's own time, seconds.
    Time,
    /// The sample's start time, seconds.
    StartTime,
}

impl VectorSelector {
    pub(super) const fn reference(&self) -> Reference {
        Reference { at: self.at, offset_ms: self.offset.ms }
    }
}

impl Evaluator<'_> {
    pub(super) fn instant_selector(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        if selector.edges == Edges::Smoothed {
            return self.smoothed_selector(selector, grid);
        }
        self.selector_aspect(selector, grid, Aspect::Value)
    }

    pub(super) fn selector_aspect(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
        aspect: Aspect,
    ) -> Result<Vec<Column>, EvalError> {
        let reference = selector.reference();
        let (first, last) = reference.bounds(grid);
        let lookback = self.options.lookback_ms;
        let hints = Hints { need_start: aspect == Aspect::StartTime, ..Hints::default() };
        let made = Made::default();
        let range_ms = (first.saturating_sub(lookback).saturating_add(1), last);
        self.each_series(selector, range_ms, hints, |evaluator, slices| {
            evaluator.room(made.columns() + 1, grid)?;
            let mut walk = Newest::new(slices, lookback);
            let cells: Vec<Cell> =
                grid.times().map(|t| walk.at(reference.time(t), aspect)).collect();
            let column = Column::new(slices.labels.clone(), cells);
            if column.is_empty() {
                return Ok(None);
            }
            for (step, cell) in column.cells.iter().enumerate() {
                let samples = cell.samples();
                evaluator.tally.add(step, samples, samples);
            }
            evaluator.hold(made.add(&column))?;
            Ok(Some(column))
        })
    }

    /// What `visit` makes of each series of a selector, in their order. The streams of the source are read beside each
    /// other, each by an evaluator of its own.
    pub(super) fn each_series<T: Send>(
        &mut self,
        selector: &VectorSelector,
        range_ms: (i64, i64),
        hints: Hints<'_>,
        visit: impl Fn(&mut Self, SeriesSlices<'_>) -> Result<Option<T>, EvalError> + Sync,
    ) -> Result<Vec<T>, EvalError> {
        let matchers = selector.all_matchers();
        let hints = Hints { step_ms: self.times.step_ms, ..hints };
        let select = Select { matchers: &matchers, range_ms, hints };
        let source = self.source;
        let watch = self.begin_reading(|| selector.to_string(), selector.place);
        let mut reading = Stopwatch::new(watch.is_watched());
        let streams = source.select(&select)?;
        reading.pause();
        for remark in streams.iter().filter_map(|stream| stream.remark()) {
            self.annotations.warn(selector.place, remark.to_owned());
        }
        let (whole, n_series) = (&*self, AtomicUsize::new(0));
        let parts = parallel::map(streams, |mut stream| {
            let (mut part, mut made) = (whole.part(), Vec::new());
            let mut reading = Stopwatch::new(watch.is_watched());
            loop {
                reading.resume();
                let next = stream.next()?;
                reading.pause();
                let Some(slices) = next else { break };
                part.options.stop.check()?;
                if n_series.fetch_add(1, Ordering::Relaxed) >= part.options.max_series {
                    return Err(too_many_series(selector, part.options.max_series));
                }
                part.count(&slices);
                made.extend(if selector.statistics_only && !slices.h.is_empty() {
                    let judged = with_judged_resets(slices.h);
                    visit(&mut part, SeriesSlices { h: &judged, ..slices })?
                } else {
                    visit(&mut part, slices)?
                });
            }
            Ok((part, reading.spent, made))
        })?;
        let before = self.stats;
        let mut all = Vec::new();
        for (part, spent, made) in parts {
            self.join(part);
            reading.spent += spent;
            all.extend(made);
        }
        let read = [self.stats.series - before.series, self.stats.samples - before.samples];
        self.end_reading(selector.place, read, reading.spent);
        Ok(all)
    }

    /// Counts what is read.
    fn count(&mut self, slices: &SeriesSlices<'_>) {
        let samples = (slices.t.len() + slices.h_t.len() + slices.buckets.len()) as u64;
        self.stats.series += 1;
        self.stats.samples += samples;
        self.options.progress.add(samples);
    }
}

fn too_many_series(selector: &VectorSelector, max: usize) -> EvalError {
    execution(format!("selector {selector} matches more than {max} series"))
}

/// What was made of the series of a selector so far, by all who work on them.
#[derive(Default)]
pub(super) struct Made {
    columns: AtomicUsize,
    samples: AtomicUsize,
}

impl Made {
    pub(super) fn columns(&self) -> usize {
        self.columns.load(Ordering::Relaxed)
    }

    pub(super) fn samples(&self) -> usize {
        self.samples.load(Ordering::Relaxed)
    }

    /// One more; returns the samples of all.
    pub(super) fn add(&self, column: &Column) -> usize {
        self.columns.fetch_add(1, Ordering::Relaxed);
        let samples = column.samples();
        self.samples.fetch_add(samples, Ordering::Relaxed) + samples
    }
}

/// Time spent reading, if anybody asks.
struct Stopwatch {
    since: Option<Instant>,
    is_watched: bool,
    spent: Duration,
}

impl Stopwatch {
    fn new(is_watched: bool) -> Self {
        Self { since: is_watched.then(Instant::now), is_watched, spent: Duration::ZERO }
    }

    fn resume(&mut self) {
        self.since = self.is_watched.then(Instant::now);
    }

    fn pause(&mut self) {
        self.spent += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }
}

/// The histograms with hints that say of each whether it continues the one before.
fn with_judged_resets(histograms: &[Arc<Histogram>]) -> Vec<Arc<Histogram>> {
    let mut previous: Option<&Arc<Histogram>> = None;
    let mut judged = Vec::with_capacity(histograms.len());
    for histogram in histograms {
        let mut next = Arc::clone(histogram);
        if histogram.is_stale() {
            previous = None;
        } else {
            if let (ResetHint::Unknown, Some(previous)) = (histogram.reset_hint, previous) {
                let reset = histogram.is_reset_after(previous);
                Arc::make_mut(&mut next).reset_hint =
                    if reset { ResetHint::Reset } else { ResetHint::NotReset };
            }
            previous = Some(histogram);
        }
        judged.push(next);
    }
    judged
}

/// Walks a series with rising times and finds the newest sample of either kind.
struct Newest<'a> {
    slices: SeriesSlices<'a>,
    lookback: i64,
    floats: usize,
    histograms: usize,
}

impl<'a> Newest<'a> {
    const fn new(slices: SeriesSlices<'a>, lookback: i64) -> Self {
        Self { slices, lookback, floats: 0, histograms: 0 }
    }

    fn at(&mut self, t_ms: i64, aspect: Aspect) -> Cell {
        let s = &self.slices;
        while s.t.get(self.floats).is_some_and(|t| *t <= t_ms) {
            self.floats += 1;
        }
        while s.h_t.get(self.histograms).is_some_and(|t| *t <= t_ms) {
            self.histograms += 1;
        }
        let float = self.floats.checked_sub(1).map(|i| (s.t[i], i));
        let histogram = self.histograms.checked_sub(1).map(|i| (s.h_t[i], i));
        let oldest = t_ms.saturating_sub(self.lookback);
        let start = |starts: Option<&[i64]>, i: usize| starts.map_or(0, |starts| starts[i]);
        let (found, value, start) = match (float, histogram) {
            (Some((t, i)), h) if h.is_none_or(|(h_t, _)| h_t < t) => {
                if is_stale(s.v[i]) {
                    return Cell::None;
                }
                (t, Cell::Float(s.v[i]), start(s.start_t, i))
            }
            (_, Some((t, i))) => {
                if s.h[i].is_stale() {
                    return Cell::None;
                }
                (t, Cell::Histogram(Arc::clone(&s.h[i])), start(s.h_start_t, i))
            }
            _ => return Cell::None,
        };
        if found <= oldest {
            return Cell::None;
        }
        match aspect {
            Aspect::Value => value,
            Aspect::Time => Cell::Float(found as f64 / 1000.0),
            Aspect::StartTime => Cell::Float(start as f64 / 1000.0),
        }
    }
}
