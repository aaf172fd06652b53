//! What a snapshot hands out: series slices for PromQL and rules, segment lists and head batches for SQL.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use bytes::Bytes;
use model::id::TenantId;
use model::time::Timestamp;

pub use crate::delete::kept::Kept;
pub use crate::scan::files::SegmentFiles;

use crate::delete::marker::Marker;
use crate::error::Error;
use crate::index::{self, Needle};
use crate::registry::Series;
use crate::schema::Table;
use crate::segment::read::Segment;

pub(crate) mod blocks;
mod files;
pub(crate) mod histograms;
pub(crate) mod pages;
pub(crate) mod rollup;
pub(crate) mod samples;

/// Asked before a scan holds so many more bytes; an error ends the scan.
pub type TakeBytes = Arc<dyn Fn(u64) -> Result<(), Error> + Send + Sync>;

/// How much one scan may read; above it the scan is refused.
#[derive(Clone)]
pub struct ScanLimit {
    /// Samples or histogram points returned.
    pub samples_max: u64,
    /// Whose memory it is; `None` counts nowhere.
    pub take: Option<TakeBytes>,
}

impl ScanLimit {
    /// Accounts for `samples` more of `bytes` each.
    pub(crate) fn grow(&self, samples: usize, bytes: usize) -> Result<(), Error> {
        match &self.take {
            Some(take) => take(samples as u64 * bytes as u64),
            None => Ok(()),
        }
    }
}

impl Default for ScanLimit {
    fn default() -> Self {
        Self { samples_max: 50_000_000, take: None }
    }
}

/// Samples of one series, oldest first, one for each instant.
#[derive(Clone, Debug)]
pub struct SeriesSamples {
    /// Whose samples.
    pub series: Arc<Series>,
    /// Times in ms since the epoch, strictly ascending.
    pub t: Vec<i64>,
    /// Values, bit for bit as ingested; as long as `t`.
    pub v: Vec<f64>,
    /// Start times in ms, `i64::MIN` where unknown; as long as `t`, or `None` when all are unknown.
    pub start_t: Option<Vec<i64>>,
}

/// Series with samples in the range, in the order asked for; series without any are left out.
pub struct SampleScan {
    pub(crate) slices: std::vec::IntoIter<SeriesSamples>,
}

impl Iterator for SampleScan {
    type Item = Result<SeriesSamples, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.slices.next().map(Ok)
    }
}

/// Samples of one series as buckets, oldest first, one for each stretch of time that has any.
#[derive(Clone, Debug)]
pub struct SeriesBuckets {
    /// Whose samples.
    pub series: Arc<Series>,
    /// The buckets, starts strictly ascending.
    pub buckets: Vec<crate::rollup::Bucket>,
}

/// Series with samples in the range, in the order asked for; series without any are left out.
pub struct BucketScan {
    pub(crate) slices: std::vec::IntoIter<SeriesBuckets>,
    /// Whether samples that some buckets were made of are gone: no finer answer can be given.
    pub is_raw_gone: bool,
}

impl Iterator for BucketScan {
    type Item = Result<SeriesBuckets, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.slices.next().map(Ok)
    }
}

/// One bucket of a histogram point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// -1 negative, 0 zero bucket, +1 positive or explicit.
    pub side: i8,
    /// Index of an exponential bucket, ordinal of an explicit one.
    pub index: i32,
    /// Measurements in this bucket alone.
    pub count: f64,
}

/// One histogram at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    /// Time in ms since the epoch.
    pub t: i64,
    /// Start of the interval in ms; `None` when unknown.
    pub start_t: Option<i64>,
    /// Flags (see `schema::columns::FLAGS`).
    pub flags: u8,
    /// Number of measurements.
    pub count: f64,
    /// Their sum; `None` when not sent.
    pub sum: Option<f64>,
    /// Smallest measurement.
    pub min: Option<f64>,
    /// Largest measurement.
    pub max: Option<f64>,
    /// Measurements in the zero bucket.
    pub zero_count: Option<i64>,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Scale of an exponential histogram; -53 for explicit bounds.
    pub exp_scale: i8,
    /// Identity of the explicit bounds.
    pub bounds_id: Option<u64>,
    /// 0 unknown, 1 reset, 2 not reset, 3 gauge.
    pub reset_hint: u8,
    /// Upper bounds of explicit buckets, ascending, without +Inf; `None` for exponential histograms.
    pub bounds: Option<Arc<[f64]>>,
    /// Non-empty buckets, ascending by (side, index).
    pub buckets: Vec<Bucket>,
}

/// Histograms of one series, oldest first, one for each instant.
#[derive(Clone, Debug)]
pub struct SeriesHistograms {
    /// Whose histograms.
    pub series: Arc<Series>,
    /// The points, times strictly ascending.
    pub points: Vec<HistogramPoint>,
}

/// Series with histograms in the range, in the order asked for; series without any are left out.
pub struct HistogramScan {
    pub(crate) slices: std::vec::IntoIter<SeriesHistograms>,
}

impl Iterator for HistogramScan {
    type Item = Result<SeriesHistograms, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.slices.next().map(Ok)
    }
}

/// One segment a scan must read. Its file stays readable as long as this is held.
#[derive(Clone, Debug)]
pub struct SegmentScan {
    /// Absolute path of the Parquet file.
    pub path: PathBuf,
    /// The table.
    pub table: Table,
    /// Whose rows.
    pub tenant: TenantId,
    /// File size in bytes.
    pub bytes: u64,
    /// Number of rows.
    pub rows: u64,
    /// Earliest time of a row.
    pub min_time: Timestamp,
    /// Latest time of a row.
    pub max_time: Timestamp,
    /// 0 from a flush, higher after compaction.
    pub level: u8,
    /// Metrics inside, sorted; empty for tables without metrics.
    pub metrics: Arc<[Arc<str>]>,
    /// The rows to read, ascending ranges; `None` for all.
    pub selection: Option<Vec<Range<u64>>>,
    segment: Arc<Segment>,
    markers: Arc<[Arc<Marker>]>,
}

impl SegmentScan {
    pub(crate) fn new(segment: Arc<Segment>, markers: Arc<[Arc<Marker>]>) -> Self {
        let facts = segment.facts();
        Self {
            path: segment.file.clone(),
            table: facts.table,
            tenant: facts.tenant,
            bytes: facts.bytes,
            rows: facts.rows,
            min_time: facts.min_time,
            max_time: facts.max_time,
            level: facts.level,
            metrics: Arc::clone(&facts.metrics),
            selection: None,
            segment,
            markers,
        }
    }

    /// Rows that deletes leave, which alone may be shown; `None` when all of them. Blocks.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a block fails its checksum, naming file and offset.
    pub fn kept(&self) -> Result<Option<Kept>, Error> {
        self.segment.kept(&self.markers)
    }

    /// Narrows the scan to rows that may satisfy `needle`, where the segment's indexes say which. Blocks.
    pub fn select(&mut self, needle: &Needle) {
        self.selection = index::rows(&self.segment, needle);
    }

    /// Its columns beyond those of the table's schema: attributes in columns of their own, which the maps of this segment
    /// are without. Blocks.
    ///
    /// # Errors
    ///
    /// `Corrupt` when the footer fails its checksum.
    pub fn promoted(&self) -> Result<Vec<FieldRef>, Error> {
        match self.level {
            0 => Ok(Vec::new()),
            _ => Ok(self.segment.promoted()?.to_vec()),
        }
    }

    /// The blobs of its sidecar: types and bytes. Blocks.
    #[must_use]
    pub fn blobs(&self) -> Vec<(String, u64)> {
        let sidecar = self.segment.sidecar();
        let blobs = sidecar.iter().flat_map(|sidecar| sidecar.sizes());
        blobs.map(|(name, bytes)| (name.to_owned(), bytes)).collect()
    }

    /// Rows to read.
    #[must_use]
    pub fn selected_rows(&self) -> u64 {
        let count =
            |ranges: &Vec<Range<u64>>| ranges.iter().map(|rows| rows.end - rows.start).sum();
        self.selection.as_ref().map_or(self.rows, count)
    }

    /// Reads ranges of bytes, whole blocks checked against their checksums. Blocks.
    ///
    /// # Errors
    ///
    /// `Corrupt` when a block fails its checksum, naming file and offset.
    pub fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
        self.segment.read(ranges)
    }
}
