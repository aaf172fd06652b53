//! The tables and their columns: what `ingest` takes in and what segments and the head hand out.
//!
//! `collector` builds batches in [`ingest_schema`], `query` reads [`segment_schema`]. Column order, names and types
//! are part of the on-disk format (`docs/format/segment.md`). Tenant, date and hour are in the path, not in rows.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{MapBuilder, MapFieldNames, StringBuilder};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

pub mod columns;

/// One table of the store. The discriminants are written to the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Labels of a series, one row for each day it had samples on. Made by the store.
    Series = 0,
    /// Attributes of a resource, one row for each day it was seen on. Made by the store.
    Resources = 1,
    /// Numbers over time.
    Samples = 2,
    /// Histogram points without their buckets.
    HistPoints = 3,
    /// Histogram buckets, one row for each non-empty bucket of a point.
    HistBuckets = 4,
    /// Explicit bucket bounds, interned.
    HistBounds = 5,
    /// Exemplars of samples and histograms.
    Exemplars = 6,
    /// Log records.
    Logs = 7,
    /// Spans.
    Spans = 8,
    /// One row for each trace and window. Made by the store.
    TraceIndex = 9,
    /// Samples of a series in 5 minutes as one row. Made by the store.
    Samples5m = 10,
    /// Samples of a series in an hour as one row. Made by the store.
    Samples1h = 11,
}

impl Table {
    /// Every table, in discriminant order.
    pub const ALL: [Self; 12] = [
        Self::Series,
        Self::Resources,
        Self::Samples,
        Self::HistPoints,
        Self::HistBuckets,
        Self::HistBounds,
        Self::Exemplars,
        Self::Logs,
        Self::Spans,
        Self::TraceIndex,
        Self::Samples5m,
        Self::Samples1h,
    ];

    /// The name in paths, the catalogue and SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Resources => "resources",
            Self::Samples => "samples",
            Self::HistPoints => "hist_points",
            Self::HistBuckets => "hist_buckets",
            Self::HistBounds => "hist_bounds",
            Self::Exemplars => "exemplars",
            Self::Logs => "logs",
            Self::Spans => "spans",
            Self::TraceIndex => "trace_index",
            Self::Samples5m => "samples_5m",
            Self::Samples1h => "samples_1h",
        }
    }

    /// The table with this name, or `None`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The table with this discriminant, or `None`.
    #[must_use]
    pub fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == code)
    }

    /// Whether `ingest` takes batches of this table; the others are made by the store.
    #[must_use]
    pub const fn is_ingested(self) -> bool {
        !matches!(
            self,
            Self::Series | Self::Resources | Self::TraceIndex | Self::Samples5m | Self::Samples1h
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The version of all segment schemas, kept in each segment's metadata.
pub const SCHEMA_VERSION: u32 = 1;

/// `Timestamp(ms, UTC)`: times of samples and histograms.
#[must_use]
pub fn time_ms() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))
}

/// `Timestamp(ns, UTC)`: times of logs, spans and exemplars.
#[must_use]
pub fn time_ns() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::from("UTC")))
}

/// `Map<Utf8, value>`: entries named `entries`, `key` (required), `value` (optional).
#[must_use]
pub fn map_of(value: DataType) -> DataType {
    let pair = vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, true)];
    let entries = Field::new("entries", DataType::Struct(Fields::from(pair)), false);
    DataType::Map(Arc::new(entries), false)
}

/// `List<item>`, items named `item`, optional as arrow's builders make them.
#[must_use]
pub fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// Names with which a `MapBuilder` yields the type of [`map_of`].
#[must_use]
pub fn map_names() -> MapFieldNames {
    MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() }
}

/// A builder of `Map<Utf8, V>` columns of the type of [`map_of`].
#[must_use]
pub fn map_builder<V: arrow::array::ArrayBuilder>(values: V) -> MapBuilder<StringBuilder, V> {
    MapBuilder::new(Some(map_names()), StringBuilder::new(), values)
}

/// Fields of the structs in `spans.events`.
#[must_use]
pub fn event_fields() -> Fields {
    Fields::from(vec![
        Field::new(columns::TIME, time_ns(), false),
        Field::new(columns::NAME, DataType::Utf8, false),
        Field::new(columns::ATTRIBUTES, map_of(DataType::Utf8), false),
        Field::new(columns::EXCEPTION_TYPE, DataType::Utf8, true),
        Field::new(columns::EXCEPTION_MESSAGE, DataType::Utf8, true),
    ])
}

/// Fields of the structs in `spans.links`.
#[must_use]
pub fn link_fields() -> Fields {
    Fields::from(vec![
        Field::new(columns::TRACE_ID, DataType::FixedSizeBinary(16), false),
        Field::new(columns::SPAN_ID, DataType::FixedSizeBinary(8), false),
        Field::new(columns::ATTRIBUTES, map_of(DataType::Utf8), false),
    ])
}

/// What `Store::ingest` takes for `table`. Tables made by the store give their segment schema.
#[must_use]
pub fn ingest_schema(table: Table) -> SchemaRef {
    INGEST[table as usize].clone()
}

/// What segments hold and `Snapshot::head` gives for `table`.
#[must_use]
pub fn segment_schema(table: Table) -> SchemaRef {
    SEGMENT[table as usize].clone()
}

static INGEST: LazyLock<[SchemaRef; Table::ALL.len()]> =
    LazyLock::new(|| Table::ALL.map(|table| Arc::new(Schema::new(ingest_fields(table)))));
static SEGMENT: LazyLock<[SchemaRef; Table::ALL.len()]> =
    LazyLock::new(|| Table::ALL.map(|table| Arc::new(Schema::new(segment_fields(table)))));

type Columns = Vec<Field>;

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn texts(names: &[&str]) -> Columns {
    names.iter().map(|name| optional(name, DataType::Utf8)).collect()
}

/// Columns of every sample-like row before its values.
fn point_fields() -> Columns {
    vec![required(columns::SERIES_ID, DataType::UInt64), required(columns::TIME, time_ms())]
}

fn ingest_fields(table: Table) -> Columns {
    match table {
        Table::Samples => {
            let mut fields = point_fields();
            fields.push(required(columns::VALUE, DataType::Float64));
            fields.push(optional(columns::START_TIME, time_ms()));
            fields.push(required(columns::FLAGS, DataType::UInt8));
            fields
        }
        Table::HistPoints => {
            let mut fields = point_fields();
            fields.push(optional(columns::START_TIME, time_ms()));
            fields.push(required(columns::FLAGS, DataType::UInt8));
            fields.push(required(columns::COUNT, DataType::Float64));
            fields.push(optional(columns::SUM, DataType::Float64));
            fields.extend(hist_tail());
            fields
        }
        Table::HistBuckets => {
            let mut fields = point_fields();
            fields.push(required(columns::EXP_SCALE, DataType::Int8));
            fields.push(required(columns::SIDE, DataType::Int8));
            fields.push(required(columns::BUCKET, DataType::Int32));
            fields.push(required(columns::COUNT, DataType::Float64));
            fields
        }
        Table::Exemplars => exemplar_fields(),
        Table::Logs => log_fields(),
        Table::Series
        | Table::Resources
        | Table::HistBounds
        | Table::Spans
        | Table::TraceIndex
        | Table::Samples5m
        | Table::Samples1h => segment_fields(table),
    }
}

fn segment_fields(table: Table) -> Columns {
    match table {
        Table::Series => series_fields(),
        Table::Resources => resource_fields(),
        Table::Samples => {
            let mut fields = vec![required(columns::METRIC, DataType::Utf8)];
            fields.extend(point_fields());
            fields.extend(value_fields(""));
            fields.push(optional(columns::START_TIME, time_ms()));
            fields.push(required(columns::FLAGS, DataType::UInt8));
            fields
        }
        Table::HistPoints => {
            let mut fields = vec![required(columns::METRIC, DataType::Utf8)];
            fields.extend(point_fields());
            fields.push(optional(columns::START_TIME, time_ms()));
            fields.push(required(columns::FLAGS, DataType::UInt8));
            fields.extend(value_fields("count_"));
            fields.extend(value_fields("sum_"));
            fields.extend(hist_tail());
            fields
        }
        Table::HistBuckets => vec![
            required(columns::METRIC, DataType::Utf8),
            required(columns::SERIES_ID, DataType::UInt64),
            required(columns::EXP_SCALE, DataType::Int8),
            required(columns::SIDE, DataType::Int8),
            required(columns::BUCKET, DataType::Int32),
            required(columns::TIME, time_ms()),
            optional(columns::V_CTR, DataType::Int64),
            optional(columns::V_INT, DataType::Int64),
            optional(columns::V_F64, DataType::Float64),
        ],
        Table::HistBounds => vec![
            required(columns::BOUNDS_ID, DataType::UInt64),
            required(columns::BOUNDS, list_of(DataType::Float64)),
        ],
        Table::Exemplars => {
            let mut fields = vec![required(columns::METRIC, DataType::Utf8)];
            fields.extend(exemplar_fields());
            fields
        }
        Table::Logs => {
            let mut fields = log_fields();
            fields.push(required(columns::INGEST_SEQ, DataType::Int64));
            fields
        }
        Table::Spans => span_fields(),
        Table::TraceIndex => trace_index_fields(),
        Table::Samples5m | Table::Samples1h => rollup_fields(),
    }
}

/// The four value columns: of `v_ctr`, `v_int`, `v_f64` exactly one is set; `scale` is null where `v_f64` is.
fn value_fields(prefix: &str) -> Columns {
    let name = |column: &str| format!("{prefix}{column}");
    vec![
        optional(&name(columns::SCALE), DataType::Int8),
        optional(&name(columns::V_CTR), DataType::Int64),
        optional(&name(columns::V_INT), DataType::Int64),
        optional(&name(columns::V_F64), DataType::Float64),
    ]
}

fn hist_tail() -> Columns {
    vec![
        optional(columns::MIN, DataType::Float64),
        optional(columns::MAX, DataType::Float64),
        optional(columns::ZERO_COUNT, DataType::Int64),
        required(columns::ZERO_THRESHOLD, DataType::Float64),
        required(columns::EXP_SCALE, DataType::Int8),
        optional(columns::BOUNDS_ID, DataType::UInt64),
        required(columns::RESET_HINT, DataType::UInt8),
    ]
}

fn exemplar_fields() -> Columns {
    vec![
        required(columns::SERIES_ID, DataType::UInt64),
        required(columns::TIME, time_ns()),
        required(columns::VALUE, DataType::Float64),
        optional(columns::TRACE_ID, DataType::FixedSizeBinary(16)),
        optional(columns::SPAN_ID, DataType::FixedSizeBinary(8)),
        required(columns::ATTRIBUTES, map_of(DataType::Utf8)),
    ]
}

fn series_fields() -> Columns {
    vec![
        required(columns::METRIC, DataType::Utf8),
        required(columns::SERIES_ID, DataType::UInt64),
        required(columns::LABELS, map_of(DataType::Utf8)),
        optional(columns::PROM_NAME, DataType::Utf8),
        optional(columns::PROM_LABELS, map_of(DataType::Utf8)),
        required(columns::KIND, DataType::UInt8),
        required(columns::TEMPORALITY, DataType::UInt8),
        optional(columns::UNIT, DataType::Utf8),
        optional(columns::HELP, DataType::Utf8),
        required(columns::RESOURCE_ID, DataType::UInt64),
        required(columns::FIRST_TIME, time_ms()),
        required(columns::LAST_TIME, time_ms()),
    ]
}

/// The typed attribute maps, never null.
fn attribute_maps() -> Columns {
    vec![
        required(columns::ATTRS_STR, map_of(DataType::Utf8)),
        required(columns::ATTRS_INT, map_of(DataType::Int64)),
        required(columns::ATTRS_F64, map_of(DataType::Float64)),
        required(columns::ATTRS_BOOL, map_of(DataType::Boolean)),
        required(columns::ATTRS_JSON, map_of(DataType::Utf8)),
    ]
}

fn resource_fields() -> Columns {
    let mut fields = vec![required(columns::RESOURCE_ID, DataType::UInt64)];
    fields.extend(texts(&columns::RESOURCE_TEXTS));
    fields.push(optional(columns::PROCESS_PID, DataType::Int64));
    fields.extend(attribute_maps());
    fields.push(required(columns::FIRST_TIME, time_ms()));
    fields.push(required(columns::LAST_TIME, time_ms()));
    fields
}

fn log_fields() -> Columns {
    let mut fields =
        vec![required(columns::TIME, time_ns()), optional(columns::OBSERVED_TIME, time_ns())];
    fields.extend(texts(&columns::EMITTER_TEXTS));
    fields.extend(texts(&[columns::SCOPE_NAME, columns::SCOPE_VERSION]));
    fields.push(required(columns::RESOURCE_ID, DataType::UInt64));
    fields.push(required(columns::SEVERITY_NUMBER, DataType::UInt8));
    fields.push(optional(columns::SEVERITY_TEXT, DataType::Utf8));
    fields.push(required(columns::BODY, DataType::Utf8));
    fields.push(optional(columns::PATTERN_ID, DataType::UInt64));
    fields.extend(texts(&[
        columns::EVENT_NAME,
        columns::EXCEPTION_TYPE,
        columns::EXCEPTION_MESSAGE,
    ]));
    fields.push(optional(columns::EXCEPTION_STACK_HASH, DataType::UInt64));
    fields.push(optional(columns::TRACE_ID, DataType::FixedSizeBinary(16)));
    fields.push(optional(columns::SPAN_ID, DataType::FixedSizeBinary(8)));
    fields.extend(attribute_maps());
    fields
}

fn span_fields() -> Columns {
    let mut fields = vec![
        required(columns::TIME, time_ns()),
        required(columns::DURATION, DataType::Int64),
        required(columns::TRACE_ID, DataType::FixedSizeBinary(16)),
        required(columns::SPAN_ID, DataType::FixedSizeBinary(8)),
        optional(columns::PARENT_SPAN_ID, DataType::FixedSizeBinary(8)),
    ];
    fields.extend(texts(&columns::EMITTER_TEXTS));
    fields.push(required(columns::RESOURCE_ID, DataType::UInt64));
    fields.push(required(columns::NAME, DataType::Utf8));
    fields.push(required(columns::SPAN_KIND, DataType::Utf8));
    fields.push(required(columns::STATUS, DataType::Utf8));
    fields.push(optional(columns::STATUS_MESSAGE, DataType::Utf8));
    fields.push(required(columns::IS_ROOT, DataType::Boolean));
    fields.push(required(columns::IS_ENTRY, DataType::Boolean));
    fields.push(required(columns::IS_ERROR, DataType::Boolean));
    fields.extend(texts(&columns::SPAN_TEXTS));
    fields.push(optional(columns::HTTP_STATUS, DataType::UInt16));
    fields.push(optional(columns::SERVER_PORT, DataType::UInt16));
    fields.push(optional(columns::PEER_PORT, DataType::UInt16));
    fields.push(optional(columns::DB_FINGERPRINT, DataType::UInt64));
    fields.push(required(columns::WEIGHT, DataType::Float32));
    fields.extend(attribute_maps());
    fields.push(required(columns::EVENTS, list_of(DataType::Struct(event_fields()))));
    fields.push(required(columns::LINKS, list_of(DataType::Struct(link_fields()))));
    fields
}

fn rollup_fields() -> Columns {
    let mut fields = vec![required(columns::METRIC, DataType::Utf8)];
    fields.extend(point_fields());
    fields.push(required(columns::COUNT, DataType::Int64));
    fields.push(required(columns::FIRST_TIME, time_ms()));
    fields.push(required(columns::LAST_TIME, time_ms()));
    fields.push(optional(columns::FIRST_START, time_ms()));
    fields.push(optional(columns::LAST_START, time_ms()));
    for prefix in columns::ROLLED {
        fields.extend(value_fields(prefix));
    }
    fields.push(optional(columns::RESETS, DataType::Float64));
    fields
}

fn trace_index_fields() -> Columns {
    vec![
        required(columns::TRACE_ID, DataType::FixedSizeBinary(16)),
        required(columns::WINDOW, time_ns()),
        required(columns::START, time_ns()),
        required(columns::END, time_ns()),
        optional(columns::ROOT_SERVICE, DataType::Utf8),
        optional(columns::ROOT_NAME, DataType::Utf8),
        optional(columns::ROOT_STATUS, DataType::Utf8),
        required(columns::SPAN_COUNT, DataType::UInt32),
        required(columns::ERROR_COUNT, DataType::UInt32),
        required(columns::SERVICES, list_of(DataType::Utf8)),
        required(columns::ENTRY_DURATIONS, list_of(DataType::Int64)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_lead_back_to_their_table() {
        for (code, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, code);
            assert_eq!(Table::parse(table.name()), Some(table));
            assert_eq!(Table::from_u8(u8::try_from(code).unwrap()), Some(table));
        }
        assert_eq!(Table::from_u8(12), None);
    }

    #[test]
    fn no_schema_names_a_column_twice() {
        for table in Table::ALL {
            for schema in [ingest_schema(table), segment_schema(table)] {
                let mut names: Vec<_> =
                    schema.fields().iter().map(|field| field.name().clone()).collect();
                let count = names.len();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), count, "{table}");
            }
        }
    }
}
