//! What the evaluator asks of a store, and a source in memory for tests.
//!
//! Sources are synchronous: the evaluator runs on a blocking pool. Series come one at a time, borrowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::matcher::Matcher;
pub use store::rollup::Bucket;

use super::histogram::Histogram;
use super::labels::Labels;
use super::matchers::compile_all;

/// Where series come from.
pub trait SeriesSource: Send + Sync {
    /// The series that match, as disjoint shards; inside a shard in a fixed order.
    ///
    /// # Errors
    /// When the data cannot be read or a limit is hit.
    fn select<'a>(
        &'a self,
        select: &Select<'_>,
    ) -> Result<Vec<Box<dyn SeriesStream + 'a>>, SourceError>;
}

/// The series of one shard.
pub trait SeriesStream: Send {
    /// The next series, or `None` after the last; the slices are valid until the next call.
    ///
    /// # Errors
    /// When the data cannot be read or a limit is hit.
    fn next(&mut self) -> Result<Option<SeriesSlices<'_>>, SourceError>;

    /// What must be said of all of it, as a warning.
    fn remark(&self) -> Option<&'static str> {
        None
    }
}

/// Which samples are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    /// Conditions on the labels; all must hold.
    pub matchers: &'a [Matcher],
    /// First and last time, ms since the epoch, both inclusive; already widened by lookback, range and offset.
    pub range_ms: (i64, i64),
    /// What will be done with the samples; may be ignored.
    pub hints: Hints<'a>,
}

/// What will be done with the samples. A source may ignore it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// The function applied directly, as `rate`; empty when none.
    pub function: &'a str,
    /// Distance of the query's steps, ms; 0 in an instant query.
    pub step_ms: i64,
    /// Length of the window, ms; 0 for instant selectors.
    pub range_ms: i64,
    /// Whether start timestamps will be read.
    pub need_start: bool,
    /// Every window begins and ends at a multiple of this, ms, and is only handed to `function`; 0 when that is not so.
    pub unit_ms: i64,
}

/// One series: ascending, unique times; stale markers kept.
#[derive(Clone, Copy, Debug)]
pub struct SeriesSlices<'a> {
    /// Labels, `__name__` included.
    pub labels: &'a Labels,
    /// Times of the floats, ms since the epoch.
    pub t: &'a [i64],
    /// The floats.
    pub v: &'a [f64],
    /// Start times of the floats, 0 where unknown; `None` when all are.
    pub start_t: Option<&'a [i64]>,
    /// Times of the histograms, ms since the epoch.
    pub h_t: &'a [i64],
    /// The histograms.
    pub h: &'a [Arc<Histogram>],
    /// Start times of the histograms, 0 where unknown; `None` when all are.
    pub h_start_t: Option<&'a [i64]>,
    /// Whether each sample is what came since the one before, instead of what came since the start.
    pub is_delta: bool,
    /// Instead of floats: whole buckets of them, without stale markers, whose length divides the hint's `unit_ms`.
    pub buckets: &'a [Bucket],
}

/// Why a source gave no (more) series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A limit on series, samples or bytes.
    #[error("{0}")]
    Exhausted(String),
    /// The data cannot be read now.
    #[error("{0}")]
    Unavailable(String),
    /// The data is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// A matcher that the source cannot apply.
    #[error("{0}")]
    Invalid(String),
}

/// A sample of a [`MemorySource`].
#[derive(Clone, Debug)]
pub struct MemorySample {
    /// Time, ms since the epoch.
    pub t_ms: i64,
    /// Start time, ms since the epoch; 0 when unknown.
    pub start_ms: i64,
    /// Float or histogram.
    pub reading: super::value::Reading,
}

/// Series held in memory, for tests.
#[derive(Debug, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, MemorySeries>,
    /// Series in a stream; 0: all of them.
    stream_len: usize,
}

#[derive(Debug, Default)]
struct MemorySeries {
    t: Vec<i64>,
    v: Vec<f64>,
    start_t: Vec<i64>,
    h_t: Vec<i64>,
    h: Vec<Arc<Histogram>>,
    h_start_t: Vec<i64>,
}

impl MemorySource {
    /// Adds samples to a series, in any order; of two at one time the later given wins.
    pub fn insert(&mut self, labels: Labels, samples: impl IntoIterator<Item = MemorySample>) {
        let series = self.series.entry(labels).or_default();
        for sample in samples {
            series.remove(sample.t_ms);
            series.put(sample);
        }
    }

    /// A source that hands its series out in streams of so many.
    #[must_use]
    pub fn in_streams_of(stream_len: usize) -> Self {
        Self { stream_len, ..Self::default() }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }
}

impl MemorySeries {
    fn remove(&mut self, t_ms: i64) {
        if let Ok(at) = self.t.binary_search(&t_ms) {
            self.t.remove(at);
            self.v.remove(at);
            self.start_t.remove(at);
        }
        if let Ok(at) = self.h_t.binary_search(&t_ms) {
            self.h_t.remove(at);
            self.h.remove(at);
            self.h_start_t.remove(at);
        }
    }

    fn put(&mut self, sample: MemorySample) {
        match sample.reading {
            super::value::Reading::Float(value) => {
                let at = self.t.partition_point(|t| *t < sample.t_ms);
                self.t.insert(at, sample.t_ms);
                self.v.insert(at, value);
                self.start_t.insert(at, sample.start_ms);
            }
            super::value::Reading::Histogram(histogram) => {
                let at = self.h_t.partition_point(|t| *t < sample.t_ms);
                self.h_t.insert(at, sample.t_ms);
                self.h.insert(at, histogram);
                self.h_start_t.insert(at, sample.start_ms);
            }
        }
    }
}

struct MemoryStream<'a> {
    series: std::vec::IntoIter<(&'a Labels, &'a MemorySeries)>,
    range_ms: (i64, i64),
}

impl SeriesStream for MemoryStream<'_> {
    fn next(&mut self) -> Result<Option<SeriesSlices<'_>>, SourceError> {
        let (first, last) = self.range_ms;
        let cut = |t: &[i64]| {
            let low = t.partition_point(|t| *t < first);
            low..t.partition_point(|t| *t <= last).max(low)
        };
        for (labels, series) in self.series.by_ref() {
            let (floats, histograms) = (cut(&series.t), cut(&series.h_t));
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            return Ok(Some(SeriesSlices {
                labels,
                t: &series.t[floats.clone()],
                v: &series.v[floats.clone()],
                start_t: Some(&series.start_t[floats]),
                h_t: &series.h_t[histograms.clone()],
                h: &series.h[histograms.clone()],
                h_start_t: Some(&series.h_start_t[histograms]),
                is_delta: false,
                buckets: &[],
            }));
        }
        Ok(None)
    }
}

impl SeriesSource for MemorySource {
    fn select<'a>(
        &'a self,
        select: &Select<'_>,
    ) -> Result<Vec<Box<dyn SeriesStream + 'a>>, SourceError> {
        let matchers = compile_all(select.matchers).map_err(SourceError::Invalid)?;
        let matching: Vec<_> = self
            .series
            .iter()
            .filter(|(labels, _)| {
                matchers.iter().all(|(name, matcher)| matcher.matches(labels.value(name)))
            })
            .collect();
        let len = if self.stream_len == 0 { matching.len().max(1) } else { self.stream_len };
        let stream = |series: &[(&'a Labels, &'a MemorySeries)]| -> Box<dyn SeriesStream + 'a> {
            let series = series.to_vec();
            Box::new(MemoryStream { series: series.into_iter(), range_ms: select.range_ms })
        };
        Ok(matching.chunks(len).map(stream).collect())
    }
}
