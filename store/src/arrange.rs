//! Arranging rows for segments: sorted, one winner for each key, one draft for each window. Pure computation.
//!
//! Called by the flush with rows of the head and by compaction with rows of segments.

pub(crate) mod head;
pub(crate) mod histograms;
pub(crate) mod records;
pub(crate) mod rows;
pub(crate) mod samples;
pub(crate) mod traces;
pub(crate) mod values;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::metric::{MetricKind, Temporality};

use crate::registry::Registry;

/// What arranging must know of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    pub(crate) metric: Arc<str>,
    pub(crate) id: u64,
    kind: u8,
    temporality: u8,
}

impl SeriesKey {
    /// The key of `id`; a series that the registry forgot keeps the metric name its rows have.
    pub(crate) fn new(registry: &Registry, id: u64, metric: Option<&str>) -> Self {
        let view = registry.view();
        match view.slot_of(model::id::SeriesId(id)).map(|slot| view.nature(slot)) {
            Some((metric, kind, temporality)) => Self { metric, id, kind, temporality },
            None => Self { metric: Arc::from(metric.unwrap_or("")), id, kind: 0, temporality: 0 },
        }
    }

    /// The same, of a cumulative counter where nothing is known.
    pub(crate) fn or_counter(self) -> Self {
        match (self.kind(), self.temporality) {
            (MetricKind::Unknown, 0) => Self {
                kind: MetricKind::Counter as u8,
                temporality: Temporality::Cumulative as u8,
                ..self
            },
            _ => self,
        }
    }

    pub(crate) fn kind(&self) -> MetricKind {
        MetricKind::from_u8(self.kind)
    }

    /// Whether its histograms count since a start.
    pub(crate) fn is_cumulative(&self) -> bool {
        Temporality::from_u8(self.temporality) == Temporality::Cumulative
    }
}

/// Series in (metric, id) order: what rows are sorted by first.
pub(crate) struct Ranks {
    pub(crate) keys: Vec<SeriesKey>,
    by_id: HashMap<u64, u32>,
}

impl Ranks {
    pub(crate) fn new(keys: impl IntoIterator<Item = SeriesKey>) -> Self {
        let keys: BTreeMap<(Arc<str>, u64), SeriesKey> =
            keys.into_iter().map(|key| ((Arc::clone(&key.metric), key.id), key)).collect();
        let keys: Vec<SeriesKey> = keys.into_values().collect();
        let by_id = (0_u32..).zip(&keys).map(|(rank, key)| (key.id, rank)).collect();
        Self { keys, by_id }
    }

    /// The rank of a series that was given to `new`.
    pub(crate) fn rank(&self, id: u64) -> u32 {
        self.by_id.get(&id).copied().unwrap_or(0)
    }

    pub(crate) fn key(&self, rank: u32) -> &SeriesKey {
        &self.keys[rank as usize]
    }
}

/// Ids in `ids`, each once.
pub(crate) fn distinct(ids: &[u64]) -> Vec<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut last = None;
    let is_new = |id: &&u64| last.replace(**id) != Some(**id) && seen.insert(**id);
    ids.iter().filter(is_new).copied().collect()
}
