//! From sorted rows, batch by batch, to a segment and its sidecar on disk. Used by the flush and by compaction.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use model::id::TenantId;
use model::time::{NS_PER_MS, NS_PER_S, Timestamp, civil_from_days};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use uuid::Uuid;

use crate::arrange::head::WindowSamples;
use crate::arrange::records::WindowRecords;
use crate::error::Error;
use crate::head::drafts::SeriesDefinitions;
use crate::index;
use crate::object::{DurableLocal, Staged};
use crate::promote::{self, Counts, Promoted};
use crate::schema::{SCHEMA_VERSION, Table, columns};
use crate::segment::puffin::{self, BLOCK};
use crate::segment::recipe;

pub(crate) const HOUR_NS: i64 = 3_600 * NS_PER_S;
pub(crate) const DAY_NS: i64 = 24 * HOUR_NS;
/// Bytes gathered before they go to disk.
const BUFFER: usize = 16 * BLOCK;
const CONTEXT: &str = "writing a segment";
/// The one retention class there is: classes by label come later.
pub(crate) const RETENTION: &str = "default";
/// Version of the sort orders.
pub(crate) const SORT_VERSION: u32 = 1;

/// The stretch of time one segment is about, ns since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Window {
    pub(crate) start: i64,
    pub(crate) len: i64,
}

impl Window {
    /// The window of a fresh row of `table` at `ns`.
    pub(crate) fn at(table: Table, ns: i64) -> Self {
        let len = window_len(table);
        Self { start: ns.div_euclid(len).saturating_mul(len), len }
    }

    /// The window of a whole day since the epoch.
    pub(crate) fn of_day(day: i64) -> Self {
        Self { start: day.saturating_mul(DAY_NS), len: DAY_NS }
    }

    pub(crate) fn end(self) -> i64 {
        self.start.saturating_add(self.len)
    }

    /// The day (since the epoch) it begins on.
    pub(crate) fn day(self) -> i64 {
        self.start.div_euclid(DAY_NS)
    }
}

/// Day since the epoch of an instant in ms.
pub(crate) fn day_of_ms(ms: i64) -> i64 {
    ms.div_euclid(DAY_NS / NS_PER_MS)
}

/// Length of a fresh segment's window in ns.
pub(crate) fn window_len(table: Table) -> i64 {
    match table {
        Table::Series | Table::Resources | Table::HistBounds => DAY_NS,
        Table::Samples
        | Table::HistPoints
        | Table::HistBuckets
        | Table::Exemplars
        | Table::Logs
        | Table::Spans
        | Table::TraceIndex
        | Table::Samples5m
        | Table::Samples1h => HOUR_NS,
    }
}

/// What a segment to be written will be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) table: Table,
    pub(crate) tenant: TenantId,
    pub(crate) window: Window,
    pub(crate) level: u8,
    /// Rows at most: sizes the bloom filter.
    pub(crate) rows_max: u64,
}

/// Rows of one future fresh segment.
pub(crate) struct Draft {
    pub(crate) table: Table,
    pub(crate) tenant: TenantId,
    pub(crate) window: Window,
    pub(crate) content: Content,
}

/// Rows in the segment schema, sorted.
pub(crate) enum Content {
    Batch(RecordBatch),
    /// Sorted while they are written, as are...
    Samples(WindowSamples),
    Records(WindowRecords),
    /// ...definitions made into rows.
    Series(SeriesDefinitions),
}

impl Draft {
    pub(crate) fn plan(&self) -> Plan {
        let Self { table, tenant, window, .. } = *self;
        Plan { table, tenant, window, level: 0, rows_max: self.n_rows() as u64 }
    }

    /// Rows at most.
    pub(crate) fn n_rows(&self) -> usize {
        match &self.content {
            Content::Batch(batch) => batch.num_rows(),
            Content::Samples(samples) => samples.n_rows(),
            Content::Records(records) => records.n_rows(),
            Content::Series(series) => series.n_rows(),
        }
    }

    /// Gives all rows, batch by batch.
    pub(crate) fn each(
        &self,
        mut take: impl FnMut(&RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match &self.content {
            Content::Batch(batch) => take(batch),
            Content::Samples(samples) => samples.each(take),
            Content::Records(records) => records.each(take),
            Content::Series(series) => series.each(take),
        }
    }
}

/// Where the rows of a segment came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) node: String,
    pub(crate) shard: u32,
    pub(crate) epoch: u64,
    /// Sequences above this one...
    pub(crate) lo: u64,
    /// ...up to and with this one.
    pub(crate) hi: u64,
    /// Paths of the segments it replaces.
    pub(crate) replaces: Vec<String>,
}

/// What the catalogue keeps about a segment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    pub(crate) table: Table,
    pub(crate) tenant: TenantId,
    pub(crate) window: Window,
    pub(crate) level: u8,
    /// Below the data directory, with slashes.
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) footer_bytes: u64,
    pub(crate) min_time: Timestamp,
    pub(crate) max_time: Timestamp,
    /// CRC32C of the whole file.
    pub(crate) crc: u32,
    pub(crate) sidecar_bytes: u64,
    /// Metrics inside, sorted; empty for tables without metrics.
    pub(crate) metrics: Arc<[Arc<str>]>,
    /// Smallest and largest service name, where the table has that column.
    pub(crate) services: Option<(String, String)>,
}

/// Path of the sidecar beside a segment.
pub(crate) fn sidecar_path(segment: &str) -> String {
    format!("{}.puffin", segment.strip_suffix(".parquet").unwrap_or(segment))
}

/// A new path for a segment of `plan`, never used before.
pub(crate) fn path(plan: &Plan, now: Timestamp) -> String {
    let s = u64::try_from(now.s()).unwrap_or(0);
    let ns = u32::try_from(now.0.rem_euclid(NS_PER_S)).unwrap_or(0);
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, s, ns));
    let (year, month, day) = civil_from_days(plan.window.day());
    let hour = match plan.window.len {
        HOUR_NS => format!("/h={:02}", plan.window.start.rem_euclid(DAY_NS) / HOUR_NS),
        _ => String::new(),
    };
    let (tenant, table) = (plan.tenant.0, plan.table);
    format!(
        "data/t={tenant}/{table}/r={RETENTION}/d={year:04}-{month:02}-{day:02}{hour}/{id}.parquet"
    )
}

/// When the segment at `path` was begun, ns since the epoch: its name says so. `None` when the name is not one of ours.
pub(crate) fn begun(path: &str) -> Option<i64> {
    let stem = Path::new(path).file_stem()?.to_str()?;
    let (s, ns) = Uuid::parse_str(stem).ok()?.get_timestamp()?.to_unix();
    Some(i64::try_from(s).ok()?.saturating_mul(NS_PER_S).saturating_add(i64::from(ns)))
}

/// Writes one segment: rows come in batches in sort order and leave as row groups, in memory is one of those.
///
/// Nothing is readable before [`Self::finish`]; dropped before that, it leaves nothing behind.
pub(crate) struct SegmentWriter {
    plan: Plan,
    origin: Origin,
    objects: DurableLocal,
    path: String,
    /// The file until the encodings are chosen.
    sink: Option<Sink>,
    /// Rows held back until there are enough to choose encodings by.
    held: Vec<RecordBatch>,
    held_rows: usize,
    writer: Option<ArrowWriter<Sink>>,
    seen: Seen,
    index: index::Builder,
    /// Attributes that get columns of their own, and how many rows have which.
    promoted: Arc<[Promoted]>,
    counts: Counts,
}

impl SegmentWriter {
    /// Begins the segment at `path`. Blocks, as all of its methods.
    pub(crate) fn create(
        objects: &DurableLocal,
        plan: Plan,
        path: String,
        origin: &Origin,
    ) -> Result<Self, Error> {
        let sink = Sink::new(objects.stage(&path)?);
        let index = index::Builder::new(plan.table, plan.level);
        Ok(Self {
            plan,
            origin: origin.clone(),
            objects: objects.clone(),
            path,
            sink: Some(sink),
            held: Vec::new(),
            held_rows: 0,
            writer: None,
            seen: Seen::default(),
            index,
            promoted: Arc::from([]),
            counts: Counts::default(),
        })
    }

    /// Gives these attributes columns of their own. To be said before the first row.
    pub(crate) fn with_promoted(mut self, promoted: Arc<[Promoted]>) -> Self {
        self.promoted = promoted;
        self
    }

    /// Adds rows in the segment schema, which follow those before them in the sort order.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.seen.add(self.plan.table, batch);
        self.index.add(batch);
        if promote::is_promoting(self.plan.table) {
            self.counts.add(batch);
        }
        match &mut self.writer {
            Some(writer) => {
                append(writer, &promote::split(self.plan.table, batch, &self.promoted)?)
            }
            None => {
                self.held_rows += batch.num_rows();
                self.held.push(batch.clone());
                let is_enough =
                    !recipe::is_probed(self.plan.table) || self.held_rows >= recipe::PROBE_ROWS;
                if is_enough { self.begin() } else { Ok(()) }
            }
        }
    }

    /// Bytes written and encoded so far.
    pub(crate) fn bytes(&self) -> u64 {
        let encoded =
            |writer: &ArrowWriter<Sink>| writer.bytes_written() + writer.in_progress_size();
        self.writer.as_ref().map_or(0, encoded) as u64
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> u64 {
        let held: usize = self.held.iter().map(RecordBatch::get_array_memory_size).sum();
        let encoded = self.writer.as_ref().map_or(0, ArrowWriter::memory_size);
        (held + encoded + self.index.memory() + BUFFER) as u64
    }

    /// Makes segment and sidecar durable.
    pub(crate) fn finish(mut self) -> Result<Facts, Error> {
        self.begin()?;
        let mut writer = self.writer.take().expect("the writer was just begun");
        if promote::is_promoting(self.plan.table) {
            let counts = KeyValue::new(promote::COUNTS_KEY.to_owned(), self.counts.to_text());
            writer.append_key_value_metadata(counts);
        }
        writer.finish().map_err(|source| failed(&mut writer, source))?;
        let sealed = writer.inner_mut().seal()?;
        let indexes = self.index.finish();
        let blobs = indexes.iter().map(|(name, bytes)| (*name, &bytes[..]));
        let crcs = std::iter::once((puffin::BLOCKS_CRC, &sealed.crcs[..]));
        let sidecar = puffin::encode(crcs.chain(blobs));
        self.objects.put(&sidecar_path(&self.path), &sidecar)?;
        sealed.file.publish()?;
        let (min_time, max_time) = self
            .seen
            .times
            .unwrap_or((Timestamp(self.plan.window.start), Timestamp(self.plan.window.end() - 1)));
        Ok(Facts {
            table: self.plan.table,
            tenant: self.plan.tenant,
            window: self.plan.window,
            level: self.plan.level,
            path: self.path,
            rows: self.seen.rows,
            bytes: sealed.bytes,
            footer_bytes: sealed.footer_bytes,
            min_time,
            max_time,
            crc: sealed.crc,
            sidecar_bytes: sidecar.len() as u64,
            metrics: Arc::from(self.seen.metrics),
            services: self.seen.services,
        })
    }

    /// Chooses the encodings by the rows held back, and writes those.
    fn begin(&mut self) -> Result<(), Error> {
        let Some(sink) = self.sink.take() else { return Ok(()) };
        let table = self.plan.table;
        let time = match recipe::is_probed(table) {
            true => recipe::time_encoding(&self.held, self.plan.level)?,
            false => Encoding::DELTA_BINARY_PACKED,
        };
        let hints = recipe::Hints {
            table,
            level: self.plan.level,
            rows: self.plan.rows_max,
            time,
            starts_repeat: recipe::starts_repeat(&self.held),
        };
        let wrap = || Error::parquet(CONTEXT);
        let schema = promote::schema(table, &self.promoted);
        let descriptor = ArrowSchemaConverter::new().convert(&schema).map_err(wrap())?;
        let mut metadata = metadata(&self.plan, &self.origin);
        if !self.promoted.is_empty() {
            let names = self.promoted.iter().map(|column| column.field().name().clone());
            let names = serde_json::Value::from(names.collect::<Vec<_>>()).to_string();
            metadata.push(KeyValue::new("headrope.promoted".to_owned(), names));
        }
        let properties = recipe::properties(&hints, &descriptor, metadata)?;
        let mut writer = ArrowWriter::try_new(sink, schema, Some(properties)).map_err(wrap())?;
        for batch in std::mem::take(&mut self.held) {
            append(&mut writer, &promote::split(table, &batch, &self.promoted)?)?;
        }
        self.writer = Some(writer);
        Ok(())
    }
}

fn append(writer: &mut ArrowWriter<Sink>, batch: &RecordBatch) -> Result<(), Error> {
    writer.write(batch).map_err(|source| failed(writer, source))
}

/// Why the file could not be written, or else what the encoder says.
fn failed(writer: &mut ArrowWriter<Sink>, source: ParquetError) -> Error {
    writer.inner_mut().error.take().unwrap_or_else(|| Error::parquet(CONTEXT)(source))
}

fn metadata(plan: &Plan, origin: &Origin) -> Vec<KeyValue> {
    let pair = |key: &str, value: String| KeyValue::new(format!("headrope.{key}"), value);
    let Origin { node, shard, epoch, lo, hi, replaces } = origin;
    let mut pairs = vec![
        pair("schema", format!("{}/{SCHEMA_VERSION}", plan.table)),
        pair("sort", format!("{SORT_VERSION}:{}", recipe::sort_columns(plan.table).join(","))),
        pair("window", format!("{}/{}", plan.window.start, plan.window.len)),
        pair("level", plan.level.to_string()),
        pair("tenant", plan.tenant.0.to_string()),
        pair("retention", RETENTION.to_owned()),
        pair("wal", format!("{node}/{shard}/{epoch}/{lo}/{hi}")),
    ];
    if !replaces.is_empty() {
        pairs.push(pair("replaces", replaces.join(",")));
    }
    pairs
}

/// What the rows written so far have in common.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) rows: u64,
    pub(crate) times: Option<(Timestamp, Timestamp)>,
    pub(crate) metrics: Vec<Arc<str>>,
    pub(crate) services: Option<(String, String)>,
}

impl Seen {
    pub(crate) fn add(&mut self, table: Table, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        if let Some((first, last)) = time_bounds(table, batch) {
            let (min, max) = self.times.unwrap_or((first, last));
            self.times = Some((min.min(first), max.max(last)));
        }
        if let Some(column) = batch.column_by_name(columns::METRIC) {
            for metric in column.as_string::<i32>().iter().flatten() {
                // Rows are sorted by metric.
                if self.metrics.last().is_none_or(|last| last.as_ref() != metric) {
                    self.metrics.push(Arc::from(metric));
                }
            }
        }
        if let Some((first, last)) = services(batch) {
            self.services = Some(match self.services.take() {
                Some((min, max)) => (min.min(first), max.max(last)),
                None => (first, last),
            });
        }
    }
}

fn services(batch: &RecordBatch) -> Option<(String, String)> {
    let services = batch.column_by_name(columns::SERVICE_NAME)?.as_string::<i32>();
    Some((min_string(services)?.to_owned(), max_string(services)?.to_owned()))
}

/// Earliest and latest time of a row; `None` for tables without times of rows.
fn time_bounds(table: Table, batch: &RecordBatch) -> Option<(Timestamp, Timestamp)> {
    let (first, last) = match table {
        Table::Series | Table::Resources => (columns::FIRST_TIME, columns::LAST_TIME),
        Table::TraceIndex => (columns::START, columns::END),
        _ => (columns::TIME, columns::TIME),
    };
    let bound = |name: &str, pick: fn(&arrow::array::Int64Array) -> Option<i64>| -> Option<i64> {
        let column = batch.column_by_name(name)?;
        let unit_ns = match column.data_type() {
            DataType::Timestamp(TimeUnit::Millisecond, _) => NS_PER_MS,
            _ => 1,
        };
        let ticks = column.to_data().into_builder().data_type(DataType::Int64).build().ok()?;
        let ticks = arrow::array::make_array(ticks);
        Some(pick(ticks.as_primitive::<Int64Type>())?.saturating_mul(unit_ns))
    };
    Some((Timestamp(bound(first, min)?), Timestamp(bound(last, max)?)))
}

/// Takes the segment's bytes to disk and computes checksums on the way.
struct Sink {
    /// Gone once sealed.
    file: Option<Staged>,
    /// Not written yet; whole blocks go together.
    buffer: Vec<u8>,
    /// CRC32C of each whole block so far.
    crcs: Vec<u8>,
    crc: u32,
    bytes: u64,
    /// The last bytes written: at the end they tell the footer's length.
    last: [u8; 8],
    /// Why writing failed, if it did.
    error: Option<Error>,
}

/// A segment written but for its name.
struct Sealed {
    file: Staged,
    crcs: Vec<u8>,
    crc: u32,
    bytes: u64,
    footer_bytes: u64,
}

impl Sink {
    fn new(file: Staged) -> Self {
        Self {
            file: Some(file),
            buffer: Vec::with_capacity(BUFFER),
            crcs: Vec::new(),
            crc: 0,
            bytes: 0,
            last: [0; 8],
            error: None,
        }
    }

    fn flush_blocks(&mut self, len: usize) -> Result<(), Error> {
        let bytes = &self.buffer[..len];
        for block in bytes.chunks(BLOCK) {
            self.crcs.extend_from_slice(&crc32c::crc32c(block).to_le_bytes());
        }
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        if let Some(last) = bytes.last_chunk() {
            self.last = *last;
        }
        if let Some(file) = &mut self.file {
            file.append(bytes)?;
        }
        self.bytes += len as u64;
        self.buffer.drain(..len);
        Ok(())
    }

    /// Writes what is left, and gives the file away.
    fn seal(&mut self) -> Result<Sealed, Error> {
        let mut last = self.last.to_vec();
        last.extend_from_slice(&self.buffer);
        self.flush_blocks(self.buffer.len())?;
        // Length of the metadata, then the magic.
        let footer = last.split_at(last.len() - 8).1.first_chunk();
        let footer_bytes = footer.map_or(0, |len| u64::from(u32::from_le_bytes(*len)) + 8);
        let file = self.file.take().expect("a file is sealed once");
        let crcs = std::mem::take(&mut self.crcs);
        Ok(Sealed { file, crcs, crc: self.crc, bytes: self.bytes, footer_bytes })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            let whole = self.buffer.len() - self.buffer.len() % BLOCK;
            if let Err(error) = self.flush_blocks(whole) {
                let text = error.to_string();
                self.error = Some(error);
                return Err(io::Error::other(text));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // Blocks are written whole; what is left goes when the file is sealed.
    }
}
