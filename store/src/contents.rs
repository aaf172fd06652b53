//! Which samples and histograms of a range of time a version of the store holds, told without reading them. Two
//! versions with equal contents of a range give equal answers about it: `query` keeps answers on that ground.
//!
//! Segments never change and have numbers; a head only ever grows, so the number of its rows in the range says which.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMillisecondType;
use model::id::TenantId;
use model::time::{NS_PER_MS, Timestamp};

use crate::definition::column;
use crate::delete::DeleteFrom;
use crate::head::HeadView;
use crate::live::Version;
use crate::rollup::Resolution;
use crate::schema::{Table, columns};
use crate::segment::read::Segment;

const TABLES: [Table; 6] = [
    Table::Samples,
    Table::HistPoints,
    Table::HistBuckets,
    Table::HistBounds,
    Table::Samples5m,
    Table::Samples1h,
];

/// The samples and histograms of a range of time, by where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Numbers of the segments with rows in the range, and of those that cannot be read.
    segments: Vec<i64>,
    quarantined: Vec<i64>,
    /// Numbers of the deletes in force.
    deletes: Vec<i64>,
    /// Heads with rows in the range: the sequence each begins at, its samples and its histograms.
    heads: Vec<(u64, usize, usize)>,
}

impl Contents {
    /// Those of `tenant` in `range_ms`, both ends included.
    pub(crate) fn of(version: &Version, tenant: TenantId, range_ms: (i64, i64)) -> Self {
        let at = |segments: &[Arc<Segment>]| -> Vec<i64> {
            let there = segments.iter().filter(|segment| is_there(segment, tenant, range_ms));
            there.map(|segment| segment.id()).collect()
        };
        let deletes = version.markers.iter().map(|marker| &marker.record);
        let heads = version.heads.iter().map(|head| {
            let (samples, histograms) = rows(head, tenant, range_ms);
            (head.lo, samples, histograms)
        });
        Self {
            segments: at(&version.segments),
            quarantined: at(&version.quarantined),
            deletes: deletes
                .filter(|record| record.delete.from == DeleteFrom::Metrics)
                .map(|record| record.id)
                .collect(),
            heads: heads.filter(|(_, samples, histograms)| samples + histograms > 0).collect(),
        }
    }

    /// Whether all of it can be read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.quarantined.is_empty()
    }

    /// Bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + (self.segments.len() + self.quarantined.len() + self.deletes.len()) * size_of::<i64>()
            + self.heads.len() * size_of::<(u64, usize, usize)>()
    }
}

fn is_there(segment: &Segment, tenant: TenantId, (first, last): (i64, i64)) -> bool {
    let facts = segment.facts();
    // A rollup's rows stand at the starts of their buckets.
    let latest = facts.max_time.0.saturating_add(Resolution::reach_ns(facts.table));
    let first = Timestamp::from_ms(first).0;
    let end = Timestamp::from_ms(last).0.saturating_add(NS_PER_MS);
    facts.tenant == tenant
        && TABLES.contains(&facts.table)
        && first <= latest
        && facts.min_time.0 < end
}

/// Samples and histograms of a head in the range.
fn rows(head: &HeadView, tenant: TenantId, (first, last): (i64, i64)) -> (usize, usize) {
    let Some(view) = head.tenants.get(&tenant) else { return (0, 0) };
    let inside = |times: &[i64]| times.iter().filter(|t| (first..=last).contains(*t)).count();
    let samples = view.chunks.iter().map(|chunk| match (chunk.time_min, chunk.time_max) {
        (min, max) if max < first || last < min => 0,
        (min, max) if first <= min && max <= last => chunk.len(),
        _ => inside(&chunk.times),
    });
    let histograms = view.batches(Table::HistPoints).iter().map(|batch| {
        let times = column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>();
        inside(times.values())
    });
    (samples.sum(), histograms.sum())
}

/// Time in ms of the newest sample or histogram of `tenant`, as far as heads and footers tell.
pub(crate) fn newest_ms(version: &Version, tenant: TenantId) -> Option<i64> {
    let views = version.heads.iter().filter_map(|head| head.tenants.get(&tenant));
    let chunks = views.clone().flat_map(|view| &view.chunks).map(|chunk| chunk.time_max);
    let batches = views.flat_map(|view| view.batches(Table::HistPoints)).filter_map(|batch| {
        let times = column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>();
        times.values().iter().copied().max()
    });
    let is_of = |segment: &&Arc<Segment>| {
        let facts = segment.facts();
        facts.tenant == tenant && matches!(facts.table, Table::Samples | Table::HistPoints)
    };
    let segments = version.segments.iter().filter(is_of).map(|s| s.facts().max_time.ms());
    chunks.chain(batches).chain(segments).max()
}
