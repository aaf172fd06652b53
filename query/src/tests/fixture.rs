//! A store in a temporary directory, an engine over it, and rows to put in.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder, RecordBatch,
    StringBuilder, new_null_array,
};
use arrow::array::{
    BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int32Array,
    Int64Array, ListArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array,
    UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use futures::executor::block_on;
use model::attribute::{Attribute, AttributeValue};
use model::id::{ResourceId, TenantId};
use model::metric::{Labels, MetricKind, SeriesDef, Temporality};
use model::time::{TimeRange, Timestamp};
use store::schema::{self, Table, ingest_schema};
use store::{Ingest, Resolved, ResourceDef, Samples, Store};
use tempfile::TempDir;

use crate::{Config, Engine, Error, SqlAnswer, SqlQuery};

/// The clock of all tests: 2026-11-23T12:00:00Z.
pub(super) const NOW_S: i64 = 1_795_435_200;

/// A point in time, `s` seconds before the tests' clock, in ms.
pub(super) const fn ago_ms(s: i64) -> i64 {
    (NOW_S - s) * 1_000
}

pub(super) struct Fixture {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<Store>,
    dir: TempDir,
}

/// A log record to put in.
pub(super) struct Log<'a> {
    pub(super) s_ago: i64,
    pub(super) service: &'a str,
    pub(super) severity: u8,
    pub(super) body: &'a str,
    pub(super) attributes: &'a [(&'a str, &'a str)],
    pub(super) trace: Option<u8>,
}

/// A span to put in.
pub(super) struct SpanRow<'a> {
    pub(super) trace: u8,
    pub(super) id: u8,
    pub(super) parent: Option<u8>,
    pub(super) s_ago: i64,
    pub(super) duration_ns: i64,
    pub(super) service: &'a str,
    pub(super) name: &'a str,
    pub(super) is_error: bool,
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(Config { threads: 2, ..Config::default() })
    }

    pub(super) fn with(config: Config) -> Self {
        Self::over(tempfile::tempdir().unwrap(), config, NOW_S)
    }

    /// Over the store in `data` of `dir`, made when it is not there, at `now_s`.
    pub(super) fn over(dir: TempDir, mut config: Config, now_s: i64) -> Self {
        let store_config = store::Config {
            data_dir: dir.path().join("data"),
            // Flushes happen when a test says so.
            flush_age: Duration::from_secs(86_400),
            flush_age_max: Duration::from_secs(86_400),
            ..store::Config::default()
        };
        config.spill_dir = Some(dir.path().join("spill"));
        let clock = Arc::new(move || Timestamp::from_s(now_s));
        let runtime = runtime();
        let store = runtime.block_on(Store::open(store_config, clock)).unwrap();
        let engine = Engine::new(store.clone(), config).unwrap();
        Self { engine, store, dir }
    }

    pub(super) fn flush(&self) {
        runtime().block_on(self.store.flush()).unwrap();
    }

    /// Spoils every segment of `table`. Returns an engine that remembers nothing of them, and how many rows they have.
    pub(super) fn damage(&self, table: Table) -> (Arc<Engine>, u64) {
        let segments = self.store.snapshot().segments(table, TimeRange::ALL);
        for segment in &segments {
            let mut bytes = std::fs::read(&segment.path).unwrap();
            bytes[4..].fill(0);
            std::fs::write(&segment.path, bytes).unwrap();
        }
        store::set_cache_limit(0);
        let engine = Engine::new(self.store.clone(), Config::default()).unwrap();
        (engine, segments.iter().map(|segment| segment.rows).sum())
    }

    pub(super) fn delete(&self, delete: store::Delete) {
        drop(runtime().block_on(self.store.delete(delete)).unwrap());
    }

    pub(super) fn compact(&self) {
        runtime().block_on(self.store.compact()).unwrap();
    }

    /// Closes the store and hands its folder out.
    pub(super) fn close(self) -> TempDir {
        runtime().block_on(self.store.shutdown()).unwrap();
        self.dir
    }

    /// Removes the sidecars of all segments of `table`, and what is remembered of them.
    pub(super) fn lose_sidecars(&self, table: Table) {
        for segment in self.store.snapshot().segments(table, TimeRange::ALL) {
            std::fs::remove_file(segment.path.with_extension("puffin")).unwrap();
        }
        store::set_cache_limit(0);
        store::set_cache_limit(1 << 20);
    }

    pub(super) fn ingest(&self, table: Table, columns: Vec<ArrayRef>) {
        let batch = RecordBatch::try_new(ingest_schema(table), columns).unwrap();
        let ingest = Ingest { tables: vec![(table, batch)], ..Ingest::default() };
        runtime().block_on(self.store.ingest(ingest)).unwrap();
    }

    /// A resource of a service on a host.
    pub(super) fn resource(&self, service: &str, host: &str) -> ResourceId {
        let text = |key: &str, value: &str| Attribute {
            key: key.to_owned(),
            value: AttributeValue::Str(value.to_owned()),
        };
        let attributes = vec![
            text("service.name", service),
            text("host.name", host),
            text("team", &format!("team of {service}")),
            text("host.arch", "amd64"),
        ];
        self.store.put_resource(TenantId::default(), &ResourceDef { attributes })
    }

    pub(super) fn series(
        &self,
        metric: &str,
        pairs: &[(&str, &str)],
        resource_id: ResourceId,
        kind: MetricKind,
    ) -> Resolved {
        let job = format!("job-{}", resource_id.0 % 97);
        self.series_of_job(metric, pairs, (resource_id, &job), kind)
    }

    /// Likewise, with the job PromQL sees.
    pub(super) fn series_of_job(
        &self,
        metric: &str,
        pairs: &[(&str, &str)],
        (resource_id, job): (ResourceId, &str),
        kind: MetricKind,
    ) -> Resolved {
        let prom = |text: &str| text.replace('.', "_");
        let total = if kind == MetricKind::Counter { "_total" } else { "" };
        let mut prom_labels: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| (prom(name), (*value).to_owned())).collect();
        prom_labels.push(("job".to_owned(), job.to_owned()));
        let def = SeriesDef {
            metric: metric.to_owned(),
            labels: labels(pairs),
            resource_id,
            prom_name: format!("{}{total}", prom(metric)),
            prom_labels: Labels::new(prom_labels),
            kind,
            temporality: Temporality::Cumulative,
            unit: "s".to_owned(),
            help: format!("help of {metric}"),
        };
        self.store.resolve(TenantId::default(), &def).unwrap()
    }

    /// A counter whose samples, or a histogram whose points, say what came since the one before.
    pub(super) fn deltas(&self, metric: &str, kind: MetricKind) -> Resolved {
        let resource_id = self.resource("shop", "h");
        let total = if kind == MetricKind::Counter { "_total" } else { "" };
        let def = SeriesDef {
            metric: metric.to_owned(),
            labels: labels(&[]),
            resource_id,
            prom_name: format!("{}{total}", metric.replace('.', "_")),
            prom_labels: labels(&[]),
            kind,
            temporality: Temporality::Delta,
            unit: String::new(),
            help: String::new(),
        };
        self.store.resolve(TenantId::default(), &def).unwrap()
    }

    /// Samples of one series, times in ms.
    pub(super) fn samples(&self, series: Resolved, samples: &[(i64, f64)]) {
        self.samples_since(series, samples, vec![i64::MIN; samples.len()]);
    }

    /// Likewise, with start times in ms, `i64::MIN` where unknown.
    pub(super) fn samples_since(&self, series: Resolved, samples: &[(i64, f64)], starts: Vec<i64>) {
        let flag = |sample: &(i64, f64)| u8::from(model::metric::is_stale(sample.1));
        let samples = Samples {
            series: vec![series.at; samples.len()],
            times: samples.iter().map(|sample| sample.0).collect(),
            values: samples.iter().map(|sample| sample.1).collect(),
            starts,
            flags: samples.iter().map(flag).collect(),
        };
        let ingest = Ingest { samples, ..Ingest::default() };
        runtime().block_on(self.store.ingest(ingest)).unwrap();
    }

    /// One point of an explicit histogram, bounds 0.1, 1 and +Inf.
    pub(super) fn histogram(&self, series: Resolved, t_ms: i64, counts: [f64; 3], sum: f64) {
        const BOUNDS_ID: u64 = 42;
        let time = || Arc::new(TimestampMillisecondArray::from(vec![t_ms]).with_timezone("UTC"));
        let bounds = ListArray::new(
            Arc::new(Field::new_list_field(DataType::Float64, true)),
            OffsetBuffer::from_lengths([2]),
            Arc::new(Float64Array::from(vec![0.1, 1.0])),
            None,
        );
        let bounds_batch = RecordBatch::try_new(
            ingest_schema(Table::HistBounds),
            vec![Arc::new(UInt64Array::from(vec![BOUNDS_ID])), Arc::new(bounds)],
        );
        let one = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
        let point = RecordBatch::try_new(
            ingest_schema(Table::HistPoints),
            vec![
                Arc::new(UInt64Array::from(vec![series.id.0])),
                time(),
                new_null_array(&schema::time_ms(), 1),
                Arc::new(UInt8Array::from(vec![0])),
                one(counts.iter().sum()),
                one(sum),
                new_null_array(&DataType::Float64, 1),
                new_null_array(&DataType::Float64, 1),
                new_null_array(&DataType::Int64, 1),
                one(0.0),
                Arc::new(Int8Array::from(vec![-53])),
                Arc::new(UInt64Array::from(vec![Some(BOUNDS_ID)])),
                Arc::new(UInt8Array::from(vec![0])),
            ],
        );
        let filled: Vec<(i32, f64)> =
            (0..3).zip(counts).filter(|(_, count)| *count > 0.0).collect();
        let n = filled.len();
        let buckets = RecordBatch::try_new(
            ingest_schema(Table::HistBuckets),
            vec![
                Arc::new(UInt64Array::from(vec![series.id.0; n])),
                Arc::new(TimestampMillisecondArray::from(vec![t_ms; n]).with_timezone("UTC")),
                Arc::new(Int8Array::from(vec![-53; n])),
                Arc::new(Int8Array::from(vec![1; n])),
                Arc::new(Int32Array::from_iter_values(filled.iter().map(|bucket| bucket.0))),
                Arc::new(Float64Array::from_iter_values(filled.iter().map(|bucket| bucket.1))),
            ],
        );
        let tables = vec![
            (Table::HistBounds, bounds_batch.unwrap()),
            (Table::HistPoints, point.unwrap()),
            (Table::HistBuckets, buckets.unwrap()),
        ];
        let ingest = Ingest { tables, ..Ingest::default() };
        runtime().block_on(self.store.ingest(ingest)).unwrap();
    }

    pub(super) fn logs(&self, logs: &[Log<'_>]) {
        let rows: Vec<Vec<Cell>> = logs
            .iter()
            .map(|log| {
                let resource = self.resource(log.service, "web-1");
                vec![
                    ("time", Value::Ns((NOW_S - log.s_ago) * 1_000_000_000)),
                    ("service_name", Value::Text(log.service.to_owned())),
                    ("host_name", Value::Text("web-1".to_owned())),
                    ("resource_id", Value::U64(resource.0)),
                    ("severity_number", Value::U8(log.severity)),
                    ("body", Value::Text(log.body.to_owned())),
                    ("trace_id", log.trace.map_or(Value::Null, |id| Value::Id(vec![id; 16]))),
                    ("attrs_str", Value::Map(pairs(log.attributes))),
                ]
            })
            .collect();
        self.ingest(Table::Logs, table_columns(Table::Logs, &rows));
    }

    pub(super) fn spans(&self, spans: &[SpanRow<'_>]) {
        let rows: Vec<Vec<Cell>> = spans
            .iter()
            .map(|span| {
                let resource = self.resource(span.service, "web-1");
                let parent = span.parent.map_or(Value::Null, |id| Value::Id(vec![id; 8]));
                vec![
                    ("time", Value::Ns((NOW_S - span.s_ago) * 1_000_000_000)),
                    ("duration", Value::I64(span.duration_ns)),
                    ("trace_id", Value::Id(vec![span.trace; 16])),
                    ("span_id", Value::Id(vec![span.id; 8])),
                    ("parent_span_id", parent),
                    ("service_name", Value::Text(span.service.to_owned())),
                    ("resource_id", Value::U64(resource.0)),
                    ("name", Value::Text(span.name.to_owned())),
                    ("kind", Value::Text("server".to_owned())),
                    ("status", Value::Text("unset".to_owned())),
                    ("is_root", Value::Bool(span.parent.is_none())),
                    ("is_entry", Value::Bool(true)),
                    ("is_error", Value::Bool(span.is_error)),
                    ("http_route", Value::Text(format!("/{}", span.name))),
                    ("attrs_str", Value::Map(vec![("k".to_owned(), "v".to_owned())])),
                ]
            })
            .collect();
        self.ingest(Table::Spans, table_columns(Table::Spans, &rows));
    }

    pub(super) fn sql(&self, text: &str) -> Result<SqlAnswer, Error> {
        let query = SqlQuery { text: text.to_owned(), ..SqlQuery::default() };
        block_on(self.engine.sql(query))
    }

    /// The rows as JSON.
    pub(super) fn rows(&self, text: &str) -> String {
        let answer = self.sql(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        answer.rows_json().unwrap()
    }
}

fn runtime() -> tokio::runtime::Handle {
    static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> = std::sync::LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    RUNTIME.handle().clone()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

type Cell = (&'static str, Value);

enum Value {
    Null,
    Ns(i64),
    I64(i64),
    U64(u64),
    U8(u8),
    Bool(bool),
    Text(String),
    Id(Vec<u8>),
    Map(Vec<(String, String)>),
}

impl Value {
    const fn unsigned(&self) -> Option<u64> {
        match self {
            Self::U64(value) => Some(*value),
            _ => None,
        }
    }
}

/// Columns of `table` from rows that name only what they have.
fn table_columns(table: Table, rows: &[Vec<Cell>]) -> Vec<ArrayRef> {
    let schema = ingest_schema(table);
    schema.fields().iter().map(|field| column(field, rows)).collect()
}

fn column(field: &Field, rows: &[Vec<Cell>]) -> ArrayRef {
    let cells: Vec<Option<&Value>> = rows
        .iter()
        .map(|row| row.iter().find(|(name, _)| name == field.name()).map(|(_, value)| value))
        .collect();
    match field.data_type() {
        DataType::Timestamp(_, _) => {
            let values = cells.iter().map(|cell| match cell {
                Some(Value::Ns(ns)) => Some(*ns),
                _ => None,
            });
            Arc::new(values.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
        }
        DataType::Utf8 => {
            let required = (!field.is_nullable()).then_some("");
            let mut texts = StringBuilder::new();
            for cell in cells {
                match cell {
                    Some(Value::Text(text)) => texts.append_value(text),
                    _ => texts.append_option(required),
                }
            }
            Arc::new(texts.finish())
        }
        DataType::UInt64 => {
            Arc::new(cells.iter().map(|c| c.and_then(Value::unsigned)).collect::<UInt64Array>())
        }
        DataType::UInt8 => {
            let small = |cell: &Option<&Value>| match cell {
                Some(Value::U8(value)) => *value,
                _ => 0,
            };
            Arc::new(UInt8Array::from_iter_values(cells.iter().map(small)))
        }
        DataType::Int64 => {
            let signed = |cell: &Option<&Value>| match cell {
                Some(Value::I64(value)) => *value,
                _ => 0,
            };
            Arc::new(Int64Array::from_iter_values(cells.iter().map(signed)))
        }
        DataType::Boolean => Arc::new(BooleanArray::from_iter(
            cells.iter().map(|cell| Some(matches!(cell, Some(Value::Bool(true))))),
        )),
        DataType::Float32 => Arc::new(Float32Array::from(vec![1.0; rows.len()])),
        DataType::FixedSizeBinary(width) => {
            let mut ids = FixedSizeBinaryBuilder::new(*width);
            for cell in cells {
                match cell {
                    Some(Value::Id(bytes)) => ids.append_value(bytes).unwrap(),
                    _ => ids.append_null(),
                }
            }
            let ids: FixedSizeBinaryArray = ids.finish();
            Arc::new(ids)
        }
        DataType::Map(_, _) => map(field, &cells),
        DataType::List(item) => {
            let DataType::Struct(fields) = item.data_type() else {
                unreachable!("lists of structs")
            };
            let values = arrow::array::new_empty_array(&DataType::Struct(fields.clone()));
            let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(0, rows.len()));
            Arc::new(ListArray::new(item.clone(), offsets, values, None))
        }
        other => {
            assert!(field.is_nullable(), "no value for {} of type {other}", field.name());
            new_null_array(other, rows.len())
        }
    }
}

fn map(field: &Field, cells: &[Option<&Value>]) -> ArrayRef {
    let DataType::Map(entries, _) = field.data_type() else { unreachable!("asked for maps") };
    let DataType::Struct(fields) = entries.data_type() else { unreachable!("entries are structs") };
    match fields[1].data_type() {
        DataType::Utf8 => {
            let mut maps = schema::map_builder(StringBuilder::new());
            for cell in cells {
                if let Some(Value::Map(pairs)) = cell {
                    for (key, value) in pairs {
                        maps.keys().append_value(key);
                        maps.values().append_value(value);
                    }
                }
                maps.append(true).unwrap();
            }
            Arc::new(maps.finish())
        }
        DataType::Int64 => empty_maps(Int64Builder::new(), cells.len()),
        DataType::Float64 => empty_maps(Float64Builder::new(), cells.len()),
        _ => empty_maps(BooleanBuilder::new(), cells.len()),
    }
}

fn empty_maps<B: arrow::array::ArrayBuilder>(values: B, n: usize) -> ArrayRef {
    let mut maps = schema::map_builder(values);
    (0..n).for_each(|_| maps.append(true).unwrap());
    Arc::new(maps.finish())
}
