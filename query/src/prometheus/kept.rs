//! Answers of range queries, kept for the next time: a dashboard asks the same again with its window moved by a step or
//! two, and only the new steps are evaluated.
//!
//! An answer is used only while the store holds the same samples in the range it was made of (`store::Contents`): late
//! samples, deletes, flushes, merges and retention each change that. The newest steps are not kept, since theirs are
//! still coming in. Where steps could differ for another reason than samples (`promql::reach`), or an answer has a
//! warning, nothing is kept. Limits on samples count what is evaluated.

use std::cmp::Ordering;
use std::sync::Arc;

use store::Contents;

use super::source::StoreSource;
use crate::promql::duration::QueryTimes;
use crate::promql::source::SourceError;
use crate::promql::{
    self, Answer, EvalError, EvalOptions, EvalStats, Query, Reach, SeriesValues, Timings, Value,
};

/// How far the newest kept step stays behind the newest sample, ms: at first, and after samples came later than that.
const SETTLE_MS: (i64, i64) = (60_000, 600_000);
/// One answer takes at most this part of all that may be kept.
const SHARE: u64 = 8;

/// Steps of an answer.
struct Kept {
    first_ms: i64,
    last_ms: i64,
    /// What it was made of: the range of times, and what the store held there.
    read_ms: (i64, i64),
    contents: Contents,
    /// How far its last step stays behind the newest sample.
    settle_ms: i64,
    series: Vec<SeriesValues>,
}

/// A range query and the steps it asks for; of the same name are questions that differ in nothing but their ends.
struct Asked<'a> {
    source: &'a StoreSource,
    query: &'a Query,
    times: QueryTimes,
    /// Its last step.
    last_ms: i64,
    options: &'a EvalOptions,
    reach: Reach,
    name: String,
    owner: usize,
}

/// The answer to a range query, as [`promql::range`] gives it, with steps taken from what `owner` kept.
pub(super) fn range(
    source: &StoreSource,
    query: &Query,
    times: QueryTimes,
    (options, owner): (&EvalOptions, usize),
) -> Result<Answer, EvalError> {
    let evaluate = || promql::range(source, query, times, options);
    let QueryTimes { start_ms, end_ms, step_ms } = times;
    if options.explain || options.per_step_stats || step_ms <= 0 || end_ms < start_ms {
        return evaluate();
    }
    let last_ms = start_ms + (end_ms.saturating_sub(start_ms)) / step_ms * step_ms;
    let Some(reach) = promql::reach(query, times, options).filter(|_| last_ms > start_ms) else {
        return evaluate();
    };
    let (phase, lookback) = (start_ms.rem_euclid(step_ms), options.lookback_ms);
    let name = format!("{step_ms} {phase} {lookback} {}", query.expr());
    let asked = Asked { source, query, times, last_ms, options, reach, name, owner };
    let before = store::kept::<Kept>(&asked.name, owner);
    let is_true = |kept: &Kept| source.contents(kept.read_ms) == kept.contents;
    match before {
        Some(kept) if kept.first_ms <= start_ms && start_ms <= kept.last_ms && is_true(&kept) => {
            let answer = asked.continued(&kept)?;
            if kept.last_ms < last_ms || kept.first_ms < start_ms {
                asked.keep(&answer, kept.settle_ms);
            }
            Ok(answer)
        }
        before => {
            let answer = evaluate()?;
            let settle = before.map_or(SETTLE_MS.0, |kept| match is_true(&kept) {
                true => kept.settle_ms,
                false => (kept.settle_ms * 2).min(SETTLE_MS.1),
            });
            asked.keep(&answer, settle);
            Ok(answer)
        }
    }
}

impl Asked<'_> {
    /// The answer whose beginning is kept.
    fn continued(&self, kept: &Kept) -> Result<Answer, EvalError> {
        let QueryTimes { start_ms, end_ms, step_ms } = self.times;
        let known_ms = kept.last_ms.min(self.last_ms);
        let mut answer = if known_ms < self.last_ms {
            // At least two steps: the windows of a single one may be read from coarser data.
            let start_ms = (known_ms + step_ms).min(self.last_ms - step_ms);
            let times = QueryTimes { start_ms, end_ms, step_ms };
            promql::range(self.source, self.query, times, self.options)?
        } else {
            empty()
        };
        let Value::Matrix(fresh) = &mut answer.value else { return Ok(answer) };
        let old = kept.series.iter().filter_map(|series| cut(series, (start_ms, known_ms)));
        let old: Vec<SeriesValues> = old.collect();
        self.hold(old.iter().map(bytes).sum())?;
        let new = fresh.drain(..).filter_map(|series| cut(&series, (known_ms + 1, self.last_ms)));
        *fresh = joined(old, new.collect());
        let n_steps = (known_ms - start_ms) / step_ms + 1;
        answer.stats.steps_kept = u64::try_from(n_steps).unwrap_or(0);
        Ok(answer)
    }

    fn hold(&self, bytes: usize) -> Result<(), EvalError> {
        let refused = |error: store::Error| SourceError::Exhausted(error.to_string());
        let memory = self.options.memory.iter();
        let mut held = memory.map(|memory| memory.grow(bytes as u64).map_err(refused));
        Ok(held.try_for_each(|held| held)?)
    }

    /// Keeps the steps of an answer whose samples are all there, as far as anybody can tell.
    fn keep(&self, answer: &Answer, settle_ms: i64) {
        let QueryTimes { start_ms, step_ms, .. } = self.times;
        let Value::Matrix(series) = &answer.value else { return };
        let Some(newest_ms) = self.source.newest_ms() else { return };
        let settled = newest_ms.saturating_sub(settle_ms).saturating_sub(self.reach.ahead_ms);
        let n_steps = (settled.min(self.last_ms).saturating_sub(start_ms)).div_euclid(step_ms);
        if n_steps < 1 || !answer.warnings.is_empty() || !answer.infos.is_empty() {
            return;
        }
        let last_ms = start_ms + n_steps * step_ms;
        let first_ms = start_ms.saturating_sub(self.reach.back_ms);
        let read_ms = (first_ms, last_ms.saturating_add(self.reach.ahead_ms));
        let contents = self.source.contents(read_ms);
        let n_bytes = series.iter().map(bytes).sum::<usize>() + contents.bytes();
        if !contents.is_whole() || n_bytes as u64 > store::kept_limit() / SHARE {
            return;
        }
        let series = series.iter().filter_map(|series| cut(series, (start_ms, last_ms))).collect();
        let kept = Kept { first_ms: start_ms, last_ms, read_ms, contents, settle_ms, series };
        store::keep(&self.name, self.owner, Arc::new(kept), n_bytes);
    }
}

/// What is said without an evaluation.
fn empty() -> Answer {
    Answer {
        value: Value::Matrix(Vec::new()),
        warnings: Vec::new(),
        infos: Vec::new(),
        stats: EvalStats::default(),
        explained: None,
        per_step: Vec::new(),
        timings: Timings::default(),
    }
}

/// The readings of a series in a range of times, both ends included; `None` when there are none.
fn cut(series: &SeriesValues, (first, last): (i64, i64)) -> Option<SeriesValues> {
    fn inside<T: Clone>(readings: &[(i64, T)], first: i64, last: i64) -> Vec<(i64, T)> {
        let from = readings.partition_point(|(t, _)| *t < first);
        let to = readings.partition_point(|(t, _)| *t <= last).max(from);
        readings[from..to].to_vec()
    }
    let floats = inside(&series.floats, first, last);
    let histograms = inside(&series.histograms, first, last);
    let has_any = !floats.is_empty() || !histograms.is_empty();
    has_any.then(|| SeriesValues { labels: series.labels.clone(), floats, histograms })
}

/// Both sorted by labels, as is what they become; `new` follows `old`.
fn joined(old: Vec<SeriesValues>, new: Vec<SeriesValues>) -> Vec<SeriesValues> {
    let mut all = Vec::with_capacity(old.len().max(new.len()));
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    while let (Some(a), Some(b)) = (old.peek(), new.peek()) {
        let order = a.labels.cmp(&b.labels);
        let from_old = (order != Ordering::Greater).then(|| old.next()).flatten();
        let from_new = (order != Ordering::Less).then(|| new.next()).flatten();
        match (from_old, from_new) {
            (Some(mut series), Some(later)) => {
                series.floats.extend(later.floats);
                series.histograms.extend(later.histograms);
                all.push(series);
            }
            (one, other) => all.extend(one.or(other)),
        }
    }
    all.extend(old.chain(new));
    all
}

fn bytes(series: &SeriesValues) -> usize {
    let labels: usize =
        series.labels.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    let histograms = series.histograms.iter().map(|(_, histogram)| histogram.samples() * 16 + 64);
    size_of::<SeriesValues>() + labels + series.floats.len() * 16 + histograms.sum::<usize>()
}
