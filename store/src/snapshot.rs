//! One consistent version of the store: every acknowledged row exactly once, however long it is held.

use std::sync::Arc;

use arrow::array::RecordBatch;
use model::id::{ResourceId, SeriesId, TenantId};
use model::matcher::Matcher;
use model::time::{TimeRange, Timestamp};

use crate::arrange::head::head_batch;
use crate::contents::{self, Contents};
use crate::error::Error;
use crate::head::chunk::Chunk;
use crate::head::drafts::head_batches;
use crate::head::records::Sought;
use crate::live::Version;
use crate::quarantine::Missing;
use crate::registry::{Kinds, Past, Registry, Resource, Series};
use crate::rollup::Resolution;
use crate::scan::{
    BucketScan, HistogramScan, SampleScan, ScanLimit, SegmentScan, histograms, rollup, samples,
};
use crate::schema::Table;

/// A version of the store, readable as long as it is held.
pub struct Snapshot {
    registry: Arc<Registry>,
    past: Arc<Past>,
    version: Version,
}

impl Snapshot {
    pub(crate) fn new(registry: Arc<Registry>, past: Arc<Past>, version: Version) -> Self {
        Self { registry, past, version }
    }

    /// Highest WAL sequence it holds.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.version.heads.iter().map(|head| head.hi).max().unwrap_or(0)
    }

    /// Series of `tenant` whose Prometheus name and labels satisfy all `matchers`, in the order (name, labels).
    ///
    /// `__name__` with `=` also matches the native metric name. Touches no samples, yet may read the definitions of series
    /// that are idle: name the range with [`select_in`](Self::select_in) where there is one.
    ///
    /// # Errors
    ///
    /// `Invalid` when a regular expression does not compile, `Corrupt` when a segment fails its checksum.
    pub fn select(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
    ) -> Result<Vec<Arc<Series>>, Error> {
        self.select_in(tenant, matchers, (TimeRange::ALL, Kinds::All), &ScanLimit::default())
    }

    /// Likewise those of some kinds that had rows on a day of `range`; active ones are given whenever their rows were. Their memory is
    /// taken as `limit` says.
    ///
    /// Blocks on disk reads when it meets a day for the first time: call it on a blocking pool.
    ///
    /// # Errors
    ///
    /// As [`select`](Self::select), and what `limit` refuses.
    pub fn select_in(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
        (range, kinds): (TimeRange, Kinds),
        limit: &ScanLimit,
    ) -> Result<Vec<Arc<Series>>, Error> {
        let wanted = (tenant, matchers, kinds, range);
        self.past.select(&self.registry, &self.version.segments, wanted, limit)
    }

    /// The series with this id.
    #[must_use]
    pub fn series(&self, id: SeriesId) -> Option<Arc<Series>> {
        let found = self.past.series(&self.registry, &self.version.segments, id);
        found.unwrap_or_else(|error| unread(&error, || self.registry.by_id(id)))
    }

    /// The resource with this id.
    #[must_use]
    pub fn resource(&self, tenant: TenantId, id: ResourceId) -> Option<Arc<Resource>> {
        let found = self.past.resource(&self.registry, &self.version.segments, (tenant, id));
        found.unwrap_or_else(|error| unread(&error, || self.registry.resource(tenant, id)))
    }

    /// Resources of `tenant`, ordered by id.
    #[must_use]
    pub fn resources(&self, tenant: TenantId) -> Vec<Arc<Resource>> {
        let found = self.past.resources(&self.registry, &self.version.segments, tenant);
        found.unwrap_or_else(|error| unread(&error, || self.registry.resources(tenant)))
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
        samples::scan(&self.version, &self.registry, series, range_ms, limit)
    }

    /// Samples of `series` (all of one tenant) later than `range_ms.0`, up to and with `range_ms.1`, as buckets: from
    /// rollups where those say what the samples say, or the samples are gone, and from the samples elsewhere.
    ///
    /// Both ends are multiples of the bucket's length; series in the order asked for, stale markers left out. Blocks on
    /// disk reads: call it on a blocking pool.
    ///
    /// # Errors
    ///
    /// `Exhausted` above `limit` samples and rows read, `Corrupt` when a segment fails its checksum.
    pub fn buckets(
        &self,
        series: &[Arc<Series>],
        resolution: Resolution,
        range_ms: (i64, i64),
        limit: &ScanLimit,
    ) -> Result<BucketScan, Error> {
        rollup::scan((&self.version, &self.registry), series, resolution, (range_ms, limit))
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
        let bounds = |id| self.past.bounds(&self.registry, &self.version.segments, id);
        histograms::scan(&self.version, bounds, series, range_ms, limit)
    }

    /// Which samples and histograms of `tenant` there are in `range_ms` (both ends included), to compare with those of
    /// another version.
    #[must_use]
    pub fn contents(&self, tenant: TenantId, range_ms: (i64, i64)) -> Contents {
        Contents::of(&self.version, tenant, range_ms)
    }

    /// Time of the newest sample or histogram of `tenant`, ms since the epoch; `None` when there is none.
    #[must_use]
    pub fn newest_ms(&self, tenant: TenantId) -> Option<i64> {
        contents::newest_ms(&self.version, tenant)
    }

    /// Segments of the default tenant's `table` with rows in `range`, oldest commit first.
    #[must_use]
    pub fn segments(&self, table: Table, range: TimeRange) -> Vec<SegmentScan> {
        self.segments_of(TenantId::default(), table, range)
    }

    /// Segments of `tenant`'s `table` with rows in `range`, oldest commit first.
    #[must_use]
    pub fn segments_of(
        &self,
        tenant: TenantId,
        table: Table,
        range: TimeRange,
    ) -> Vec<SegmentScan> {
        let is_wanted = |facts: &crate::segment::write::Facts| {
            facts.table == table
                && facts.tenant == tenant
                && range.overlaps(facts.min_time, facts.max_time)
        };
        self.version
            .segments
            .iter()
            .filter(|segment| is_wanted(segment.facts()))
            .map(|segment| SegmentScan::new(Arc::clone(segment), Arc::clone(&self.version.markers)))
            .collect()
    }

    /// Rows of `tenant`'s `table` in `range` that cannot be read: answers are without them.
    #[must_use]
    pub fn missing(&self, tenant: TenantId, table: Table, range: TimeRange) -> Vec<Missing> {
        let is_wanted = |facts: &crate::segment::write::Facts| {
            facts.table == table
                && facts.tenant == tenant
                && range.overlaps(facts.min_time, facts.max_time)
        };
        let segments = self.version.quarantined.iter();
        segments.filter(|s| is_wanted(s.facts())).map(|s| Missing::new(s)).collect()
    }

    /// Rows of the default tenant's `table` that are in no segment yet, in `schema::segment_schema`, unsorted.
    ///
    /// # Errors
    ///
    /// When a batch cannot be built.
    pub fn head(&self, table: Table) -> Result<Vec<RecordBatch>, Error> {
        self.head_of(TenantId::default(), table)
    }

    /// Likewise, but samples, log records and spans that cannot be what is sought may be left out. Memory for copies is
    /// taken as `limit` says.
    ///
    /// # Errors
    ///
    /// When a batch cannot be built, and what `limit` refuses.
    pub fn head_sought(
        &self,
        table: Table,
        sought: &Sought,
        limit: &ScanLimit,
    ) -> Result<Vec<RecordBatch>, Error> {
        if table == Table::Samples {
            return self.head_samples(sought.range, limit);
        }
        if !matches!(table, Table::Logs | Table::Spans) {
            return self.head(table);
        }
        let views = self.version.heads.iter();
        let views = views.filter_map(|head| head.tenants.get(&TenantId::default()));
        let batches = views.flat_map(|view| view.batches(table));
        batches.filter_map(|batch| batch.sought(sought).transpose()).collect()
    }

    fn head_samples(&self, range: TimeRange, limit: &ScanLimit) -> Result<Vec<RecordBatch>, Error> {
        /// Bytes of a row's columns, the metric's name included.
        const ROW_BYTES: usize = 96;
        let views = self.version.heads.iter();
        let views = views.filter_map(|head| head.tenants.get(&TenantId::default()));
        let is_sought = |chunk: &&Arc<Chunk>| {
            let at = |ms| Timestamp::from_ms(ms);
            range.overlaps(at(chunk.time_min), at(chunk.time_max))
        };
        let chunks: Vec<_> = views.flat_map(|view| &view.chunks).filter(is_sought).collect();
        limit.grow(chunks.iter().map(|chunk| chunk.len()).sum(), ROW_BYTES)?;
        chunks.into_iter().map(|chunk| head_batch(chunk, &self.registry)).collect()
    }

    /// Rows of `tenant`'s `table` that are in no segment yet, in `schema::segment_schema`, unsorted.
    ///
    /// Definitions (series, resources, bounds) that rows in the head refer to are given again even when a segment
    /// holds them: fold them by id.
    ///
    /// # Errors
    ///
    /// When a batch cannot be built.
    pub fn head_of(&self, tenant: TenantId, table: Table) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        for view in self.version.heads.iter().filter_map(|head| head.tenants.get(&tenant)) {
            batches.extend(head_batches(table, tenant, view, &self.registry)?);
        }
        Ok(batches)
    }
}

/// What is active, when the definitions of the past cannot be read.
fn unread<T>(error: &Error, active: impl FnOnce() -> T) -> T {
    tracing::error!(%error, "definitions not read, answers lack what is idle");
    active()
}
