//! From sorted rows to the bytes of a segment and its sidecar. No I/O here.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use model::id::TenantId;
use model::time::{NS_PER_MS, NS_PER_S, Timestamp, civil_from_days};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::Encoding;
use parquet::file::metadata::KeyValue;
use uuid::Uuid;

use crate::error::Error;
use crate::schema::{SCHEMA_VERSION, Table, columns, segment_schema};
use crate::segment::{puffin, recipe};

const HOUR_NS: i64 = 3_600 * NS_PER_S;
const DAY_NS: i64 = 24 * HOUR_NS;
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

    pub(crate) fn end(self) -> i64 {
        self.start.saturating_add(self.len)
    }

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
        | Table::TraceIndex => HOUR_NS,
    }
}

/// Rows of one future segment: sorted, in the segment schema.
pub(crate) struct Draft {
    pub(crate) table: Table,
    pub(crate) tenant: TenantId,
    pub(crate) window: Window,
    pub(crate) level: u8,
    pub(crate) batch: RecordBatch,
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

/// A segment ready to be written.
pub(crate) struct Encoded {
    pub(crate) facts: Facts,
    pub(crate) segment: Vec<u8>,
    pub(crate) sidecar: Vec<u8>,
}

/// Path of the sidecar beside a segment.
pub(crate) fn sidecar_path(segment: &str) -> String {
    format!("{}.puffin", segment.strip_suffix(".parquet").unwrap_or(segment))
}

/// A new path for `draft`, never used before.
pub(crate) fn path(draft: &Draft, now: Timestamp) -> String {
    let s = u64::try_from(now.s()).unwrap_or(0);
    let ns = u32::try_from(now.0.rem_euclid(NS_PER_S)).unwrap_or(0);
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, s, ns));
    let (year, month, day) = civil_from_days(draft.window.day());
    let hour = match draft.window.len {
        HOUR_NS => format!("/h={:02}", draft.window.start.rem_euclid(DAY_NS) / HOUR_NS),
        _ => String::new(),
    };
    let (tenant, table) = (draft.tenant.0, draft.table);
    format!(
        "data/t={tenant}/{table}/r={RETENTION}/d={year:04}-{month:02}-{day:02}{hour}/{id}.parquet"
    )
}

/// Encodes `draft` as the segment at `path`.
pub(crate) fn encode(draft: &Draft, path: String, origin: &Origin) -> Result<Encoded, Error> {
    let wrap = || Error::parquet("encoding a segment");
    let batch = &draft.batch;
    let time = match draft.table {
        Table::Samples | Table::HistPoints | Table::HistBuckets => {
            recipe::time_encoding(batch, draft.level)?
        }
        _ => Encoding::DELTA_BINARY_PACKED,
    };
    let hints = recipe::Hints {
        table: draft.table,
        level: draft.level,
        rows: batch.num_rows(),
        time,
        starts_repeat: starts_repeat(batch),
    };
    let schema = segment_schema(draft.table);
    let descriptor = ArrowSchemaConverter::new().convert(&schema).map_err(wrap())?;
    let properties = recipe::properties(&hints, &descriptor, metadata(draft, origin))?;
    let mut segment = Vec::with_capacity(batch.get_array_memory_size() / 8);
    let mut writer = ArrowWriter::try_new(&mut segment, schema, Some(properties)).map_err(wrap())?;
    writer.write(batch).map_err(wrap())?;
    writer.close().map_err(wrap())?;
    let sidecar = puffin::encode(&[(puffin::BLOCKS_CRC, &puffin::block_crcs(&segment))]);
    let facts = facts(draft, path, &segment, sidecar.len() as u64);
    Ok(Encoded { facts, segment, sidecar })
}

fn metadata(draft: &Draft, origin: &Origin) -> Vec<KeyValue> {
    let pair = |key: &str, value: String| KeyValue::new(format!("headrope.{key}"), value);
    let Origin { node, shard, epoch, lo, hi, replaces } = origin;
    let mut pairs = vec![
        pair("schema", format!("{}/{SCHEMA_VERSION}", draft.table)),
        pair("sort", format!("{SORT_VERSION}:{}", recipe::sort_columns(draft.table).join(","))),
        pair("window", format!("{}/{}", draft.window.start, draft.window.len)),
        pair("level", draft.level.to_string()),
        pair("tenant", draft.tenant.0.to_string()),
        pair("retention", RETENTION.to_owned()),
        pair("wal", format!("{node}/{shard}/{epoch}/{lo}/{hi}")),
    ];
    if !replaces.is_empty() {
        pairs.push(pair("replaces", replaces.join(",")));
    }
    pairs
}

/// Whether fewer than half of the rows have another start time than the row before.
fn starts_repeat(batch: &RecordBatch) -> bool {
    let Some(column) = batch.column_by_name(columns::START_TIME) else { return true };
    let Some(starts) = column.as_primitive_opt::<arrow::datatypes::TimestampMillisecondType>()
    else {
        return true;
    };
    let changes = starts.values().windows(2).filter(|pair| pair[0] != pair[1]).count();
    2 * changes <= starts.len()
}

fn facts(draft: &Draft, path: String, segment: &[u8], sidecar_bytes: u64) -> Facts {
    let (min_time, max_time) = time_bounds(draft);
    let footer = segment.len().checked_sub(8).and_then(|at| segment[at..].first_chunk::<4>());
    Facts {
        table: draft.table,
        tenant: draft.tenant,
        window: draft.window,
        level: draft.level,
        path,
        rows: draft.batch.num_rows() as u64,
        bytes: segment.len() as u64,
        footer_bytes: footer.map_or(0, |len| u64::from(u32::from_le_bytes(*len)) + 8),
        min_time,
        max_time,
        crc: crc32c::crc32c(segment),
        sidecar_bytes,
        metrics: metrics(&draft.batch),
        services: services(&draft.batch),
    }
}

fn metrics(batch: &RecordBatch) -> Arc<[Arc<str>]> {
    let Some(column) = batch.column_by_name(columns::METRIC) else { return Arc::from([]) };
    let mut metrics: Vec<Arc<str>> = Vec::new();
    for metric in column.as_string::<i32>().iter().flatten() {
        if metrics.last().is_none_or(|last| last.as_ref() != metric) {
            metrics.push(Arc::from(metric)); // Rows are sorted by metric.
        }
    }
    Arc::from(metrics)
}

fn services(batch: &RecordBatch) -> Option<(String, String)> {
    let services = batch.column_by_name(columns::SERVICE_NAME)?.as_string::<i32>();
    Some((min_string(services)?.to_owned(), max_string(services)?.to_owned()))
}

/// Earliest and latest time of a row; tables without times of rows answer with their window.
fn time_bounds(draft: &Draft) -> (Timestamp, Timestamp) {
    let (first, last) = match draft.table {
        Table::Series | Table::Resources => (columns::FIRST_TIME, columns::LAST_TIME),
        Table::TraceIndex => (columns::START, columns::END),
        _ => (columns::TIME, columns::TIME),
    };
    let bound = |name: &str, pick: fn(&arrow::array::Int64Array) -> Option<i64>| -> Option<i64> {
        let column = draft.batch.column_by_name(name)?;
        let unit_ns = match column.data_type() {
            DataType::Timestamp(TimeUnit::Millisecond, _) => NS_PER_MS,
            _ => 1,
        };
        let ticks = column.to_data().into_builder().data_type(DataType::Int64).build().ok()?;
        let ticks = arrow::array::make_array(ticks);
        Some(pick(ticks.as_primitive::<Int64Type>())?.saturating_mul(unit_ns))
    };
    (
        Timestamp(bound(first, min).unwrap_or(draft.window.start)),
        Timestamp(bound(last, max).unwrap_or(draft.window.end() - 1)),
    )
}
