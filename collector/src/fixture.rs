//! For tests: requests as OTLP/JSON text in, series and rows as text out.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, UInt8Array, UInt64Array};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use model::id::{ResourceId, SeriesId, TenantId};
use model::metric::{Labels, SeriesDef};
use model::time::Timestamp;
use store::schema::{Table, columns as names};
use store::{Resolved, ResourceDef, Samples, SeriesRef, Store};
use tempfile::TempDir;

use crate::admission::{Admission, Shared};
use crate::admit::{Reason, Tally, Window};
use crate::budget::Budget;
use crate::config::Config;
use crate::decode::{Format, Request, decode};
use crate::error::Error;
use crate::memory::Memory;
use crate::registry::Registry;
use crate::stats::Signal;
use crate::{Collector, columns, json, logs, metrics, remote, traces};

/// The present in tests: 2027-01-15T08:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000_000_000);

/// Numbers series 1, 2, 3 … and remembers them.
struct Recorder {
    series: RefCell<Vec<SeriesDef>>,
    series_max: usize,
}

impl Registry for Recorder {
    fn resolve(&self, _: TenantId, def: &SeriesDef) -> Result<Resolved, store::Error> {
        let mut series = self.series.borrow_mut();
        let same = |known: &SeriesDef| {
            (&known.metric, &known.labels, known.resource_id)
                == (&def.metric, &def.labels, def.resource_id)
        };
        if let Some(at) = series.iter().position(same) {
            return Ok(numbered(at + 1));
        }
        if series.len() >= self.series_max {
            let (used, limit) = (series.len() as u64, self.series_max as u64);
            return Err(store::Error::Full { what: "series registry", used, limit });
        }
        series.push(def.clone());
        Ok(numbered(series.len()))
    }

    fn put_resource(&self, _: TenantId, resource: &ResourceDef) -> ResourceId {
        store::resource_id(&resource.attributes)
    }
}

fn numbered(n: usize) -> Resolved {
    Resolved { id: SeriesId(n as u64), at: SeriesRef::new(u32::try_from(n).unwrap(), 0) }
}

/// Admits the same signal again and again, as one process would.
pub(crate) struct Desk {
    pub(crate) config: Config,
    memory: Memory,
    recorder: Recorder,
    bytes_max: usize,
}

/// What one request came to.
pub(crate) struct Seen {
    pub(crate) tables: Vec<(Table, RecordBatch)>,
    pub(crate) tally: Tally,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(Config::default(), usize::MAX)
    }

    pub(crate) fn with(config: Config, series_max: usize) -> Self {
        let recorder = Recorder { series: RefCell::default(), series_max };
        Self { memory: Memory::new(&config), config, recorder, bytes_max: usize::MAX }
    }

    /// Lets a request take at most so many bytes of memory.
    pub(crate) fn within(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    /// Admits OTLP/JSON.
    pub(crate) fn admit(&self, signal: Signal, text: &str) -> Seen {
        let mut held = Budget::new(self.bytes_max, store::Memory::new(1 << 30)).reserve(0).unwrap();
        let body = Bytes::copy_from_slice(text.as_bytes());
        self.take(&decode(signal, Format::Json, &body, &mut held).unwrap()).unwrap()
    }

    /// Admits a decoded request.
    pub(crate) fn take(&self, request: &Request) -> Result<Seen, Error> {
        let mut held = Budget::new(self.bytes_max, store::Memory::new(1 << 30)).reserve(0).unwrap();
        let shared = Shared {
            config: &self.config,
            memory: &self.memory,
            registry: &self.recorder,
            tenant: TenantId::default(),
        };
        let (signal, window) = match request {
            Request::Metrics(_) | Request::Write(..) => {
                (Signal::Metrics, Window::of_samples(&self.config, NOW))
            }
            Request::Logs(_) => (Signal::Logs, Window::of_records(&self.config, NOW)),
            Request::Traces(_) => (Signal::Traces, Window::of_records(&self.config, NOW)),
        };
        let mut admission = Admission::new(shared, window, Tally::new(signal));
        let tables = match request {
            Request::Metrics(request) => {
                let decoded = metrics::admit(&mut admission, request, &mut held)?;
                let samples = (!decoded.samples.is_empty()).then(|| batch(&decoded.samples));
                samples.into_iter().chain(decoded.tables).collect()
            }
            Request::Write(version, request) => {
                let decoded = remote::admit(&mut admission, *version, request, &mut held)?;
                let samples = (!decoded.samples.is_empty()).then(|| batch(&decoded.samples));
                samples.into_iter().chain(decoded.tables).collect()
            }
            Request::Logs(body) => logs::admit(&mut admission, body, &mut held)?,
            Request::Traces(body) => traces::admit(&mut admission, body, &mut held)?,
        };
        self.memory.count(admission.hits, admission.misses);
        Ok(Seen { tables, tally: admission.tally })
    }

    /// How many series were remembered when they were looked up, and how many were not.
    pub(crate) fn looked_up(&self) -> (u64, u64) {
        (self.memory.hits.load(Ordering::Relaxed), self.memory.misses.load(Ordering::Relaxed))
    }

    /// The series made so far: number, Prometheus form, native form and nature.
    pub(crate) fn series(&self) -> String {
        let mut out = String::new();
        for (i, def) in self.recorder.series.borrow().iter().enumerate() {
            let nature = format!("{:?} {:?} unit={:?}", def.kind, def.temporality, def.unit);
            let prom = format!("{}{}", def.prom_name, print(&def.prom_labels));
            let native = format!("{}{}", def.metric, print(&def.labels));
            writeln!(out, "{} {prom}\n  {native} {nature}", i + 1).unwrap();
        }
        out
    }
}

impl Seen {
    /// Every row of every table, columns that are null or empty left out; then what was adjusted or rejected.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let options = FormatOptions::default();
        for (table, batch) in &self.tables {
            for row in 0..batch.num_rows() {
                write!(out, "{table}").unwrap();
                for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
                    let formatter = ArrayFormatter::try_new(array, &options).unwrap();
                    let text = formatter.value(row).to_string();
                    let is_id = *field.name() == "resource_id" || *field.name() == "bounds_id";
                    if !array.is_null(row)
                        && !is_id
                        && !text.is_empty()
                        && text != "{}"
                        && text != "[]"
                    {
                        write!(out, " {}={text}", field.name()).unwrap();
                    }
                }
                out.push('\n');
            }
        }
        for reason in Reason::ALL {
            if self.tally.count(reason) > 0 && !reason.rejects() {
                writeln!(out, "adjusted {} {}", self.tally.count(reason), reason.name()).unwrap();
            }
        }
        if !self.tally.message().is_empty() {
            writeln!(out, "{}", self.tally.message()).unwrap();
        }
        out
    }

    /// The values of a column of a table, as text.
    pub(crate) fn column(&self, table: Table, name: &str) -> Vec<String> {
        let options = FormatOptions::default().with_null("null");
        let batch = self.tables.iter().find(|(given, _)| *given == table);
        let Some((_, batch)) = batch else { return Vec::new() };
        let formatter =
            ArrayFormatter::try_new(batch.column_by_name(name).unwrap(), &options).unwrap();
        (0..batch.num_rows()).map(|row| formatter.value(row).to_string()).collect()
    }
}

/// Samples as rows that print like those of the other tables.
fn batch(samples: &Samples) -> (Table, RecordBatch) {
    let starts = samples.starts.iter().map(|ms| (*ms != i64::MIN).then_some(*ms));
    let series = samples.series.iter().map(|at| u64::from(at.slot()));
    let columns = vec![
        (names::SERIES_ID, Arc::new(series.collect::<UInt64Array>()) as ArrayRef),
        (names::TIME, columns::times_ms(samples.times.clone())),
        (names::VALUE, Arc::new(Float64Array::from(samples.values.clone()))),
        (names::START_TIME, columns::times_ms(starts.collect::<Vec<_>>())),
        (names::FLAGS, Arc::new(UInt8Array::from(samples.flags.clone()))),
    ];
    columns::batch(Table::Samples, columns).unwrap()
}

fn print(labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(","))
}

/// A metrics request of one resource with one metric.
pub(crate) fn metric(metric: &str) -> String {
    metric_of(r#"{"key":"service.name","value":{"stringValue":"shop"}}"#, metric)
}

/// Likewise with the resource's attributes.
pub(crate) fn metric_of(resource: &str, metric: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{resource}]}},"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#
    )
}

/// A logs request of one record.
pub(crate) fn log(record: &str) -> String {
    let resource = r#"{"key":"service.name","value":{"stringValue":"shop"}}"#;
    format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{resource}]}},"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#
    )
}

/// A traces request of one span with these fields besides ids, name and times.
pub(crate) fn span(fields: &str) -> String {
    let resource = r#"{"key":"service.name","value":{"stringValue":"shop"}}"#;
    let span = format!(
        r#"{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"a span",
        "startTimeUnixNano":"1799999999000000000","endTimeUnixNano":"1799999999500000000"{fields}}}"#
    );
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{resource}]}},"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#
    )
}

/// A collector on a store of its own, with the clock standing at [`NOW`].
pub(crate) async fn collector(config: Config) -> (Arc<Collector>, Arc<Store>, TempDir) {
    collector_on(store::Config::default(), config).await
}

/// Likewise with settings of the store.
pub(crate) async fn collector_on(
    settings: store::Config,
    config: Config,
) -> (Arc<Collector>, Arc<Store>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store_config = store::Config { data_dir: dir.path().to_owned(), ..settings };
    let store = Store::open(store_config, Arc::new(|| NOW)).await.unwrap();
    (Collector::new(Arc::clone(&store), config, Arc::new(|| NOW)), store, dir)
}

/// A request of each signal that is accepted whole, as protobuf.
pub(crate) fn good(signal: Signal) -> Vec<u8> {
    protobuf(signal, &good_json(signal))
}

/// OTLP/JSON as protobuf.
pub(crate) fn protobuf(signal: Signal, text: &str) -> Vec<u8> {
    let mut held = Budget::new(usize::MAX, store::Memory::new(1 << 30)).reserve(0).unwrap();
    json::to_protobuf(signal, text.as_bytes(), &mut held).unwrap().to_vec()
}

/// Likewise as JSON.
pub(crate) fn good_json(signal: Signal) -> String {
    let at = r#""timeUnixNano":"1800000000000000000""#;
    match signal {
        Signal::Metrics => metric(&format!(
            r#"{{"name":"m","unit":"By","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
                {{{at},"asInt":"5","attributes":[{{"key":"k","value":{{"stringValue":"v"}}}}],
                  "exemplars":[{{"asDouble":1.5,"traceId":"5b8efff798038103d269b633813fc60c"}}]}}]}}}},
               {{"name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[
                {{{at},"count":"3","bucketCounts":["1","2"],"explicitBounds":[0.5],"sum":4}}]}}}},
               {{"name":"e","exponentialHistogram":{{"aggregationTemporality":1,"dataPoints":[
                {{{at},"count":"3","scale":2,"positive":{{"offset":1,"bucketCounts":[1,2]}}}}]}}}},
               {{"name":"s","summary":{{"dataPoints":[{{{at},"count":"1","quantileValues":[{{"quantile":0.5,"value":2}}]}}]}}}}"#
        )),
        Signal::Logs => {
            log(&format!(r#"{{{at},"body":{{"stringValue":"hello"}},"severityNumber":9}}"#))
        }
        Signal::Traces => span(
            r#","kind":2,"attributes":[{"key":"http.route","value":{"stringValue":"/"}}],
               "events":[{"timeUnixNano":"1","name":"e"}],"links":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b175"}]"#,
        ),
    }
}
