//! Samples as they are stored, not evaluated: for remote read and federation.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use model::matcher::Matcher;
use model::metric::is_stale;

use super::{StoreSource, source_error};
use crate::engine::Engine;
use crate::error::Error;
use crate::promql::source::{Hints, Select, SeriesSlices, SeriesSource as _};
use crate::promql::{self, Labels, Reading, Sample, SeriesValues, Stop};
use crate::runtime::{Class, QueryMemory};

/// Bytes that a sample takes in an answer.
const SAMPLE_BYTES: usize = 32;
/// Bytes that a series takes in an answer, labels apart.
const SERIES_BYTES: usize = 256;

/// Which samples are wanted.
#[derive(Clone, Debug)]
pub struct RawQuery {
    /// Conditions on the labels; all must hold.
    pub matchers: Vec<Matcher>,
    /// First and last time, ms since the epoch, both included.
    pub range_ms: (i64, i64),
}

/// Of which series the newest samples are wanted.
#[derive(Clone, Debug)]
pub struct NewestQuery {
    /// Sets of conditions on the labels; a series must satisfy all of one.
    pub matchers: Vec<Vec<Matcher>>,
    /// When, ms since the epoch.
    pub at_ms: i64,
}

impl Engine {
    /// Every sample in a range, stale markers included, series sorted by labels.
    ///
    /// # Errors
    /// `Exhausted` for more samples than a query may hold; `Timeout`, `Unavailable`, `Corrupt`.
    pub fn raw(&self, query: RawQuery) -> BoxFuture<'_, Result<Vec<SeriesValues>, Error>> {
        self.copy(move |source, memory, limit, stop| {
            let mut found: BTreeMap<Labels, SeriesValues> = BTreeMap::new();
            let mut budget = Budget { memory, samples: 0, limit, stop };
            each(source, &query.matchers, query.range_ms, &mut |slices| {
                budget.take(slices.t.len() + slices.h_t.len(), slices.labels)?;
                let series = found.entry(slices.labels.clone()).or_default();
                series.labels = slices.labels.clone();
                series.floats.extend(slices.t.iter().copied().zip(slices.v.iter().copied()));
                let histograms = slices.h.iter().map(Arc::clone);
                series.histograms.extend(slices.h_t.iter().copied().zip(histograms));
                Ok(())
            })?;
            Ok(found.into_values().collect())
        })
    }

    /// The newest sample of each series within lookback, with its own time; none where that is a stale marker. Sorted by
    /// labels.
    ///
    /// # Errors
    /// As [`Self::raw`].
    pub fn newest(&self, query: NewestQuery) -> BoxFuture<'_, Result<Vec<Sample>, Error>> {
        let lookback_ms = self.options(None).lookback_ms;
        self.copy(move |source, memory, limit, stop| {
            let mut found: BTreeMap<Labels, Option<Sample>> = BTreeMap::new();
            let mut budget = Budget { memory, samples: 0, limit, stop };
            let range_ms = (query.at_ms.saturating_sub(lookback_ms).saturating_add(1), query.at_ms);
            for matchers in &query.matchers {
                each(source, matchers, range_ms, &mut |slices| {
                    if !found.contains_key(slices.labels) {
                        budget.take(1, slices.labels)?;
                        found.insert(slices.labels.clone(), newest(&slices));
                    }
                    Ok(())
                })?;
            }
            Ok(found.into_values().flatten().collect())
        })
    }

    /// What `work` makes of one snapshot: it gets the memory it may take, the samples it may copy, and is told to stop.
    fn copy<T: Send + 'static>(
        &self,
        work: impl Fn(&StoreSource, &Arc<QueryMemory>, usize, &Stop) -> Result<T, Error>
        + Send
        + Sync
        + 'static,
    ) -> BoxFuture<'_, Result<T, Error>> {
        let (time, max) = (self.config.timeout, self.options(None).max_samples);
        let work = Arc::new(work);
        Box::pin(self.sound(move |view| {
            let (work, memory) = (Arc::clone(&work), self.memory(Class::Interactive));
            self.workers.run_blocking(time, move |stop| {
                let memory = memory?;
                work(&StoreSource::new(view, max, &memory), &memory, max, stop)
            })
        }))
    }
}

fn each(
    source: &StoreSource,
    matchers: &[Matcher],
    range_ms: (i64, i64),
    visit: &mut dyn FnMut(SeriesSlices<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let select = Select { matchers, range_ms, hints: Hints::default() };
    for mut stream in source.select(&select).map_err(source_error)? {
        while let Some(slices) = stream.next().map_err(source_error)? {
            visit(slices)?;
        }
    }
    Ok(())
}

/// What a copy may still take.
struct Budget<'a> {
    memory: &'a QueryMemory,
    samples: usize,
    limit: usize,
    stop: &'a Stop,
}

impl Budget<'_> {
    fn take(&mut self, samples: usize, labels: &Labels) -> Result<(), Error> {
        if self.stop.is_told() {
            return Err(Error::Canceled);
        }
        self.samples += samples;
        if self.samples > self.limit {
            return Err(Error::Exhausted(promql::TOO_MANY_SAMPLES.to_owned()));
        }
        let texts: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.memory.grow((samples * SAMPLE_BYTES + SERIES_BYTES + texts) as u64)?;
        Ok(())
    }
}

fn newest(slices: &SeriesSlices<'_>) -> Option<Sample> {
    let float = slices.t.last().copied().zip(slices.v.last().copied());
    let histogram = slices.h_t.last().copied().zip(slices.h.last());
    let sample = |t_ms, reading| Sample { labels: slices.labels.clone(), t_ms, reading };
    match (float, histogram) {
        (Some((t, value)), other) if other.is_none_or(|(h_t, _)| h_t < t) => {
            (!is_stale(value)).then(|| sample(t, Reading::Float(value)))
        }
        (_, Some((t, histogram))) => {
            (!histogram.is_stale()).then(|| sample(t, Reading::Histogram(Arc::clone(histogram))))
        }
        _ => None,
    }
}
