//! One delete in force, ready to be applied to rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::id::ResourceId;
use model::time::{TimeRange, Timestamp};

use crate::core::Core;
use crate::delete::matching::Conditions;
use crate::delete::{DeleteFrom, DeleteRecord};
use crate::error::Error;
use crate::registry::{Kinds, Resource};
use crate::rollup::Resolution;
use crate::scan::ScanLimit;
use crate::schema::{Table, columns, segment_schema};
use crate::segment::read::Segment;

/// A delete in force.
pub(crate) struct Marker {
    pub(crate) record: DeleteRecord,
    pub(crate) conditions: Conditions,
    /// Series of a delete of metrics.
    pub(crate) ids: HashSet<u64>,
    /// Their native metric names.
    metrics: HashSet<Arc<str>>,
    /// Resources of a delete of logs or spans: rows that come later are not deleted.
    pub(crate) resources: HashMap<ResourceId, Arc<Resource>>,
}

impl std::fmt::Debug for Marker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marker").field("record", &self.record).finish_non_exhaustive()
    }
}

impl Marker {
    /// A marker over the series and resources that segments may hold. Blocks on disk reads.
    pub(crate) fn new(record: DeleteRecord, core: &Core) -> Result<Self, Error> {
        let delete = &record.delete;
        let conditions = Conditions::new(&delete.matchers)?;
        let (registry, segments) = (&core.registry, core.live.segments());
        let wanted = (delete.tenant, &delete.matchers[..], Kinds::All, TimeRange::ALL);
        let (series, resources) = match delete.from {
            DeleteFrom::Metrics => {
                (core.past.select(registry, &segments, wanted, &ScanLimit::default())?, Vec::new())
            }
            DeleteFrom::Logs | DeleteFrom::Spans => {
                (Vec::new(), core.past.resources(registry, &segments, delete.tenant)?)
            }
        };
        Ok(Self {
            conditions,
            ids: series.iter().map(|series| series.id.0).collect(),
            metrics: series.iter().map(|series| Arc::from(series.def.metric.as_str())).collect(),
            resources: resources.into_iter().map(|resource| (resource.id, resource)).collect(),
            record,
        })
    }

    /// Whether rows of `segment` may be deleted, by what the catalogue knows of it.
    pub(crate) fn touches(&self, segment: &Segment) -> bool {
        let facts = segment.facts();
        let delete = &self.record.delete;
        // A bucket is about the time after its own.
        let first = delete.first.0.saturating_sub(Resolution::reach_ns(facts.table));
        let is_metric = || facts.metrics.iter().any(|metric| self.metrics.contains(metric));
        facts.tenant == delete.tenant
            && is_about(delete.from, facts.table)
            && segment.data.origin.hi <= self.record.seq
            && segment.overlaps(Timestamp(first), delete.last)
            && (delete.from != DeleteFrom::Metrics || is_metric())
    }
}

/// Whether deletes `from` are about rows of `table`.
fn is_about(from: DeleteFrom, table: Table) -> bool {
    match from {
        DeleteFrom::Logs => table == Table::Logs,
        DeleteFrom::Spans => table == Table::Spans,
        DeleteFrom::Metrics => [columns::SERIES_ID, columns::TIME]
            .iter()
            .all(|name| segment_schema(table).column_with_name(name).is_some()),
    }
}
