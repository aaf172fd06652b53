//! What admission remembers between requests, all of it bounded: resources, series, and exemplars of this minute.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use model::id::SeriesId;
use model::time::{NS_PER_S, Timestamp};

use crate::config::Config;
use crate::known::KnownSeries;
use crate::recent::{KeyHasher, Recent};
use crate::remote::Families;
use crate::resource::Emitter;
use crate::stats::add;

/// Most series whose exemplars are counted in one minute; of further series none are kept until the next.
const EXEMPLAR_SERIES_MAX: usize = 1 << 16;

/// Shared by all requests.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Hashes the keys below.
    pub(crate) hasher: KeyHasher,
    /// Resources by the hash of their attributes as sent.
    pub(crate) emitters: Recent<Arc<Emitter>>,
    /// Series by the hash of resource, metric and attributes as sent.
    pub(crate) series: KnownSeries,
    /// Metric families by name, as remote write describes them.
    pub(crate) families: Families,
    /// How often a series was found there.
    pub(crate) hits: AtomicU64,
    /// How often not.
    pub(crate) misses: AtomicU64,
    exemplars: Mutex<ExemplarCounts>,
}

#[derive(Debug, Default)]
struct ExemplarCounts {
    minute: i64,
    by_series: HashMap<SeriesId, u32>,
}

impl Memory {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            hasher: KeyHasher::new(),
            emitters: Recent::new(config.resource_cache_max),
            series: KnownSeries::new(config.series_cache_max),
            families: Families::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            exemplars: Mutex::default(),
        }
    }

    /// Counts look-ups of series: those that were remembered, and the others.
    pub(crate) fn count(&self, hits: u64, misses: u64) {
        add(&self.hits, hits);
        add(&self.misses, misses);
    }

    /// Whether one more exemplar of `series` may be kept in the minute of `now`; counts it if so.
    pub(crate) fn takes_exemplar(&self, series: SeriesId, now: Timestamp, limit: u32) -> bool {
        let mut counts = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.0.div_euclid(60 * NS_PER_S);
        if counts.minute != minute {
            counts.minute = minute;
            counts.by_series.clear();
        }
        if counts.by_series.len() >= EXEMPLAR_SERIES_MAX && !counts.by_series.contains_key(&series)
        {
            return false;
        }
        let count = counts.by_series.entry(series).or_default();
        *count = count.saturating_add(1);
        *count <= limit
    }
}
