//! Size and speed of indexes and of what they are for: needles in logs, traces by id, one series of many.
//!
//! `cargo bench -p query --bench search -- ROWS` makes ROWS log records and as many spans (default 1 million) in a
//! temporary directory, and prints bytes a row by blob, rows a second of CPU, and times of queries, cold and warm. Cold means:
//! nothing of the store is in the process's memory; the files are in the system's.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a report; what fails ends it"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeBinaryBuilder, Float32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StringBuilder, TimestampNanosecondArray, UInt8Array, UInt64Array,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use model::id::TraceId;
use model::time::{NS_PER_S, TimeRange, Timestamp};
use query::{Config, Engine, LogQuery, SqlQuery};
use rustix::time::{ClockId, clock_gettime};
use store::schema::{self, Table, ingest_schema};
use store::{Ingest, Store};

/// Rows of one batch sent.
const BATCH: u64 = 20_000;
/// 2026-11-23T12:00:00Z, the end of all rows; they are of the hour before the last.
const NOW_S: i64 = 1_795_435_200;
const START_NS: i64 = (NOW_S - 7_200) * NS_PER_S;
const SERVICES: u64 = 20;
const TRACE_SPANS: u64 = 10;

/// Seconds of CPU this process has used.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap()).as_secs_f64()
}

fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// An id nobody would guess, the same for the same row.
fn id(row: u64) -> u64 {
    mixed(row.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

fn word(number: u64) -> String {
    let syllables =
        ["con", "ver", "ta", "mi", "lo", "ser", "pay", "ord", "ing", "ter", "na", "quo"];
    let mut number = number % 1_600 + 12;
    let mut word = String::new();
    while number > 0 {
        word += syllables[usize::try_from(number % 12).unwrap()];
        number /= 12;
    }
    word
}

fn body(row: u64) -> String {
    let template = mixed(row) % 40;
    let words: Vec<String> = (0..5).map(|i| word(template * 31 + i * 7)).collect();
    let words = words.join(" ");
    let ms = mixed(row ^ 1) % 900;
    format!(
        "{words} request {:016x} user={} took {ms} ms rc={}",
        id(row),
        mixed(row ^ 2) % 100_000,
        ms % 7
    )
}

/// Columns of `table` by name; those not given are null, empty or zero.
fn batch(table: Table, rows: usize, given: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let schema = ingest_schema(table);
    let column = |field: &Arc<Field>| -> ArrayRef {
        if let Some((_, column)) = given.iter().find(|(name, _)| name == field.name()) {
            return Arc::clone(column);
        }
        match field.data_type() {
            _ if field.is_nullable() => new_null_array(field.data_type(), rows),
            DataType::List(item) => {
                let none = arrow::array::new_empty_array(item.data_type());
                let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(0, rows));
                Arc::new(ListArray::new(Arc::clone(item), offsets, none, None))
            }
            DataType::Map(entries, _) => {
                let none = arrow::array::new_empty_array(entries.data_type());
                let none = arrow::array::AsArray::as_struct(&none).clone();
                let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(0, rows));
                Arc::new(arrow::array::MapArray::new(
                    Arc::clone(entries),
                    offsets,
                    none,
                    None,
                    false,
                ))
            }
            DataType::Utf8 => Arc::new(StringArray::from(vec!["unset"; rows])),
            DataType::UInt64 => Arc::new(UInt64Array::from(vec![7; rows])),
            DataType::UInt8 => Arc::new(UInt8Array::from(vec![9; rows])),
            DataType::Float32 => Arc::new(Float32Array::from(vec![1.0; rows])),
            DataType::Boolean => Arc::new(BooleanArray::from(vec![false; rows])),
            other => panic!("no default for {other}"),
        }
    };
    let columns = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn times(rows: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(rows).with_timezone("UTC"))
}

fn texts(rows: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows))
}

fn attributes(rows: std::ops::Range<u64>) -> ArrayRef {
    let mut maps = schema::map_builder(StringBuilder::new());
    for row in rows {
        let pairs = [
            (
                "http.request.method",
                ["GET", "POST", "PUT"][usize::try_from(mixed(row) % 3).unwrap()].to_owned(),
            ),
            ("http.route", format!("/api/{}/{{id}}", word(mixed(row ^ 4) % 50))),
            ("thread.name", format!("worker-{}", mixed(row ^ 5) % 16)),
        ];
        for (name, value) in pairs {
            maps.keys().append_value(name);
            maps.values().append_value(value);
        }
        maps.append(true).unwrap();
    }
    Arc::new(maps.finish())
}

fn ids(width: i32, rows: impl Iterator<Item = Vec<u8>>) -> ArrayRef {
    let mut ids = FixedSizeBinaryBuilder::new(width);
    rows.for_each(|id| ids.append_value(id).unwrap());
    Arc::new(ids.finish())
}

fn trace_id(trace: u64) -> [u8; 16] {
    let (high, low) = (id(trace).to_be_bytes(), mixed(trace ^ 9).to_be_bytes());
    [high, low].concat().try_into().unwrap()
}

fn log_batch(rows: std::ops::Range<u64>, total: u64) -> RecordBatch {
    let n_rows = usize::try_from(rows.end - rows.start).unwrap();
    let step = 3_600 * NS_PER_S / i64::try_from(total).unwrap();
    let time = |row: u64| {
        START_NS + i64::try_from(row).unwrap() * step + i64::try_from(mixed(row) % 1_000).unwrap()
    };
    batch(
        Table::Logs,
        n_rows,
        vec![
            ("time", times(rows.clone().map(time))),
            (
                "service_name",
                texts(rows.clone().map(|row| format!("service-{:02}", mixed(row ^ 3) % SERVICES))),
            ),
            ("body", texts(rows.clone().map(body))),
            ("trace_id", ids(16, rows.clone().map(|row| trace_id(row / TRACE_SPANS).to_vec()))),
            ("attrs_str", attributes(rows)),
        ],
    )
}

fn span_batch(rows: std::ops::Range<u64>, total: u64) -> RecordBatch {
    let n_rows = usize::try_from(rows.end - rows.start).unwrap();
    let step = 3_600 * NS_PER_S / i64::try_from(total).unwrap();
    let time = |row: u64| START_NS + i64::try_from(row).unwrap() * step;
    let durations = rows.clone().map(|row| i64::try_from(mixed(row) % 90_000_000).unwrap());
    batch(
        Table::Spans,
        n_rows,
        vec![
            ("time", times(rows.clone().map(time))),
            ("duration", Arc::new(Int64Array::from_iter_values(durations))),
            ("trace_id", ids(16, rows.clone().map(|row| trace_id(row / TRACE_SPANS).to_vec()))),
            ("span_id", ids(8, rows.clone().map(|row| id(row).to_be_bytes().to_vec()))),
            (
                "service_name",
                texts(rows.clone().map(|row| format!("service-{:02}", mixed(row ^ 3) % SERVICES))),
            ),
            ("name", texts(rows.clone().map(|row| format!("GET /{}", word(mixed(row ^ 6) % 30))))),
            ("attrs_str", attributes(rows)),
        ],
    )
}

async fn fill(store: &Store, clock: &AtomicI64, table: Table, total: u64) {
    clock.store(START_NS + 3_600 * NS_PER_S, Ordering::Relaxed);
    let started = cpu_s();
    for first in (0..total).step_by(usize::try_from(BATCH).unwrap()) {
        let rows = first..total.min(first + BATCH);
        let batch = match table {
            Table::Logs => log_batch(rows, total),
            _ => span_batch(rows, total),
        };
        store.ingest(Ingest { tables: vec![(table, batch)], ..Ingest::default() }).await.unwrap();
        if first.is_multiple_of(BATCH * 25) {
            store.flush().await.unwrap();
        }
    }
    store.flush().await.unwrap();
    let (filled, n_rows) = (cpu_s(), f64::from(u32::try_from(total).unwrap()));
    // Late rows wait for others before their hour is merged.
    clock.store(NOW_S * NS_PER_S + 3_600 * NS_PER_S, Ordering::Relaxed);
    store.compact().await.unwrap();
    let compacted = cpu_s();
    println!("{table}: {:.0} k rows/s CPU made and flushed", n_rows / (filled - started) / 1e3);
    println!(
        "{table}: {:.0} k rows/s CPU compacted with all indexes",
        n_rows / (compacted - filled) / 1e3
    );
}

/// Bytes a row of segments and of each blob of their sidecars.
fn sizes(store: &Store, table: Table) {
    let mut parts: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    let mut rows = 0;
    for segment in store.snapshot().segments(table, TimeRange::ALL) {
        rows += segment.rows;
        *parts.entry("segment".to_owned()).or_default() += segment.bytes;
        for (blob, bytes) in segment.blobs() {
            *parts.entry(blob).or_default() += bytes;
        }
        println!("{table}: segment of level {} with {} rows", segment.level, segment.rows);
    }
    let a_row = |bytes: u64| {
        f64::from(u32::try_from(bytes).unwrap()) / f64::from(u32::try_from(rows).unwrap())
    };
    for (part, bytes) in parts {
        println!("{table}: {:8.3} B/row {part}", a_row(bytes));
    }
}

/// An engine that remembers nothing, over a store that does neither.
fn cold(store: &Arc<Store>) -> Arc<Engine> {
    store::set_cache_limit(0);
    store::set_cache_limit(64 << 20);
    Engine::new(Arc::clone(store), Config { threads: 1, ..Config::default() }).unwrap()
}

/// Times `ask` on fresh engines and on one that was asked before: milliseconds of CPU, the median of five.
async fn time<F: Future<Output = usize>>(
    store: &Arc<Store>,
    what: &str,
    ask: impl Fn(Arc<Engine>) -> F,
) {
    let (mut fresh, mut warm, mut wall) = (Vec::new(), Vec::new(), Vec::new());
    let mut found = 0;
    for _ in 0..5 {
        let engine = cold(store);
        let (started, since) = (cpu_s(), tokio::time::Instant::now());
        found = ask(Arc::clone(&engine)).await;
        wall.push(since.elapsed().as_secs_f64());
        fresh.push(cpu_s() - started);
        let started = cpu_s();
        ask(engine).await;
        warm.push(cpu_s() - started);
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[2] * 1e3
    };
    println!(
        "{what}: {found} found, {:.1} ms CPU cold ({:.1} ms of wall time), {:.1} ms warm",
        median(&mut fresh),
        median(&mut wall),
        median(&mut warm)
    );
}

async fn logs(engine: Arc<Engine>, text: String) -> usize {
    let range = TimeRange::new(Timestamp(START_NS), Timestamp::from_s(NOW_S));
    let query = LogQuery { text, range, limit: 100, before: None };
    engine.logs(query).await.unwrap().rows.len()
}

async fn questions(store: &Arc<Store>, total: u64) {
    let needle = format!("{:016x}", id(total / 3));
    let part = needle[3..14].to_owned();
    time(store, "log by id", |engine| logs(engine, needle.clone())).await;
    time(store, "log by a part of an id", |engine| logs(engine, part.clone())).await;
    time(store, "log by a word that is nowhere", |engine| logs(engine, "xylophone".to_owned()))
        .await;
    time(store, "log by an attribute that is nowhere", |engine| {
        logs(engine, "http.route:/nowhere".to_owned())
    })
    .await;
    let trace = TraceId(trace_id(total / TRACE_SPANS / 2));
    time(store, "trace by id", |engine| async move {
        engine.trace(trace).await.unwrap().map_or(0, |trace| trace.spans.len())
    })
    .await;
    time(store, "all logs, counted by LIKE without an index", |engine| async move {
        let text = "SELECT count(*) FROM logs WHERE body LIKE '%r%'".to_owned();
        engine.sql(SqlQuery { text, ..SqlQuery::default() }).await.unwrap().stats.rows
    })
    .await;
}

fn main() {
    let rows = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    runtime.block_on(run(dir.path(), rows));
}

async fn run(dir: &Path, rows: u64) {
    let config = store::Config {
        data_dir: dir.join("data"),
        wal_sync: store::WalSync::None,
        ..store::Config::default()
    };
    let clock = Arc::new(AtomicI64::new(0));
    let now = Arc::clone(&clock);
    let now = Arc::new(move || Timestamp(now.load(Ordering::Relaxed)));
    let store = Store::open(config, now).await.unwrap();
    for table in [Table::Logs, Table::Spans] {
        fill(&store, &clock, table, rows).await;
        sizes(&store, table);
    }
    questions(&store, rows).await;
    store.shutdown().await.unwrap();
}
