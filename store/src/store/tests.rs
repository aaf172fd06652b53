//! Whole-store tests: what goes in comes out, once, across flushes, restarts and crashes.

use std::collections::BTreeMap;
use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray, UInt8Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, Schema};
use model::attribute::{Attribute, AttributeValue};
use model::id::SeriesId;
use model::matcher::{MatchOp, Matcher};
use model::metric::{Labels, MetricKind, Temporality};
use model::time::{TimeRange, Timestamp};

use super::*;
use crate::disk::sim::SimDisk;
use crate::error::ErrorKind;
use crate::sample::{Samples, SeriesRef};
use crate::scan::ScanLimit;
use crate::schema::{columns, ingest_schema, segment_schema};

mod backups;
mod clock;
mod crashes;
mod damage;
mod deletes;
mod flips;
mod kill;
mod large;
mod lifecycle;
mod simulation;
mod tables;

const TENANT: TenantId = TenantId(0);
/// 2026-11-23T05:00:00Z.
const START_MS: i64 = 1_795_410_000_000;
const SECOND: i64 = 1_000;

/// A clock that tests move.
#[derive(Clone)]
struct Time(Arc<AtomicI64>);

impl Clock for Time {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

struct Bench {
    dir: tempfile::TempDir,
    time: Time,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), time: Time(Arc::new(AtomicI64::new(START_MS))) }
    }

    fn config(&self) -> Config {
        config(self.dir.path())
    }

    fn seams(&self) -> Seams {
        Seams { clock: Arc::new(self.time.clone()), disk: Arc::new(HostDisk), wal_idle: IDLE }
    }

    async fn open(&self) -> Arc<Store> {
        Store::open_with(self.config(), self.seams()).await.unwrap()
    }

    async fn open_on(&self, disk: &SimDisk) -> Result<Arc<Store>, Error> {
        let disk = Arc::new(disk.clone());
        Store::open_with(self.config(), Seams { disk, ..self.seams() }).await
    }
}

fn config(dir: &Path) -> Config {
    Config { data_dir: dir.to_owned(), wal_file_bytes: 1 << 16, ..Config::default() }
}

/// Drops a store as a crash would: no marker, no flush. Waits until its tasks let go of the lock, and
/// the catalogue's thread of its files.
async fn crash(store: Arc<Store>) {
    store.stop.cancel();
    let mut tasks = std::mem::take(&mut *store.tasks.lock().unwrap());
    while tasks.join_next().await.is_some() {}
    let core = Arc::clone(&store.core);
    drop(store);
    let core = Arc::into_inner(core).expect("nobody else holds the store");
    core.catalogue.close().await.unwrap();
}

fn def(metric: &str, host: &str) -> SeriesDef {
    let labels: Labels = [("host".to_owned(), host.to_owned())].into_iter().collect();
    SeriesDef {
        metric: metric.to_owned(),
        prom_name: metric.replace('.', "_"),
        prom_labels: labels.clone(),
        labels,
        resource_id: ResourceId(0),
        kind: MetricKind::Gauge,
        temporality: Temporality::Cumulative,
        unit: "s".to_owned(),
        help: String::new(),
    }
}

/// Samples (series, time in ms, value).
fn samples(rows: &[(Resolved, i64, f64)]) -> Samples {
    Samples {
        series: rows.iter().map(|row| row.0.at).collect(),
        times: rows.iter().map(|row| row.1).collect(),
        values: rows.iter().map(|row| row.2).collect(),
        starts: vec![i64::MIN; rows.len()],
        flags: vec![0; rows.len()],
    }
}

async fn put(store: &Store, rows: &[(Resolved, i64, f64)]) -> Result<Ack, Error> {
    let samples = samples(rows);
    store.ingest(Ingest { tenant: TENANT, samples, ..Ingest::default() }).await
}

async fn put_tables(store: &Store, tables: Vec<(Table, RecordBatch)>) -> Result<Ack, Error> {
    store.ingest(Ingest { tenant: TENANT, tables, ..Ingest::default() }).await
}

/// Rows of `table` in head and segments.
fn batches(store: &Store, table: Table) -> Vec<RecordBatch> {
    let snapshot = store.snapshot();
    let mut batches = snapshot.head(table).unwrap();
    for segment in snapshot.segments(table, TimeRange::ALL) {
        let bytes = segment.read(from_ref(&(0..segment.bytes))).unwrap().remove(0);
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1_024).unwrap();
        batches.extend(reader.map(|batch| crate::promote::fold(table, batch.unwrap()).unwrap()));
    }
    batches
}

/// All samples of all series, by (host label, time).
fn read(store: &Store) -> BTreeMap<(String, i64), u64> {
    let snapshot = store.snapshot();
    let series = snapshot.select(TENANT, &[]).unwrap();
    let scan = snapshot.samples(&series, (i64::MIN, i64::MAX), &ScanLimit::default()).unwrap();
    let mut all = BTreeMap::new();
    for slice in scan {
        let slice = slice.unwrap();
        let host = slice.series.def.prom_labels.value("host").unwrap().to_owned();
        for (t, v) in slice.t.iter().zip(&slice.v) {
            assert!(
                all.insert((host.clone(), *t), v.to_bits()).is_none(),
                "one sample for each instant"
            );
        }
    }
    all
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_flush_crash_and_restart() {
    let bench = Bench::new();
    let mut expected = BTreeMap::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu.time", "a")).unwrap();
    for (i, value) in [1.0, f64::NAN, 2.5, -0.0].into_iter().enumerate() {
        let at = START_MS + SECOND * i as i64;
        put(&store, &[(id, at, value)]).await.unwrap();
        expected.insert(("a".to_owned(), at), value.to_bits());
        if i == 1 {
            store.flush().await.unwrap();
        }
        assert_eq!(read(&store), expected);
    }
    crash(store).await;
    let store = bench.open().await;
    assert_eq!(read(&store), expected, "from segments and log");
    store.flush().await.unwrap();
    assert_eq!(read(&store), expected, "from segments alone");
    store.shutdown().await.unwrap();
    drop(store);
    let store = bench.open().await;
    assert_eq!(read(&store), expected, "after a clean stop");
    assert_eq!(store.resolve(TENANT, &def("cpu.time", "a")).unwrap(), id);
    assert_eq!(store.stats().head_rows, 0);
}

#[tokio::test]
async fn the_later_write_of_an_instant_wins() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    let at = START_MS;
    put(&store, &[(id, at, 1.0), (id, at, 2.0)]).await.unwrap();
    store.flush().await.unwrap();
    put(&store, &[(id, at, 3.0), (id, at - SECOND, 0.5)]).await.unwrap();
    let expected = |last: f64| {
        BTreeMap::from([
            (("a".to_owned(), at - SECOND), 0.5_f64.to_bits()),
            (("a".to_owned(), at), last.to_bits()),
        ])
    };
    assert_eq!(read(&store), expected(3.0));
    store.flush().await.unwrap();
    assert_eq!(read(&store), expected(3.0));
    put(&store, &[(id, at, 4.0)]).await.unwrap();
    assert_eq!(read(&store), expected(4.0));
}

#[tokio::test]
async fn a_second_process_is_refused_by_name_and_pid() {
    let bench = Bench::new();
    let store = bench.open().await;
    let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&bench.dir.path().display().to_string()), "{text}");
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    crash(store).await;
    bench.open().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_refused_with_the_reason() {
    let bench = Bench::new();
    let file = bench.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let config = config(&file.join("data"));
    let error = Store::open_with(config, bench.seams()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Directory { .. }), "{error}");
    assert!(error.to_string().contains("Not a directory"), "{error}");
}

#[tokio::test]
async fn wrong_batches_are_refused_and_nothing_else_is_lost() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    let unknown = Resolved { at: SeriesRef { slot: 9, generation: 0 }, ..id };
    let refused = put(&store, &[(unknown, START_MS, 1.0)]).await.unwrap_err();
    assert!(matches!(refused, Error::StaleSeries { count: 1 }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let foreign = Ingest {
        tenant: TenantId(7),
        samples: samples(&[(id, START_MS, 1.0)]),
        ..Ingest::default()
    };
    assert!(matches!(store.ingest(foreign).await, Err(Error::StaleSeries { count: 1 })));
    let mut uneven = samples(&[(id, START_MS, 1.0)]);
    uneven.flags.clear();
    let uneven = Ingest { tenant: TENANT, samples: uneven, ..Ingest::default() };
    assert_eq!(store.ingest(uneven).await.unwrap_err().kind(), ErrorKind::Invalid);
    for table in [Table::Samples, Table::Logs, Table::Series] {
        let columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(vec![id.id.0]))];
        let schema = Schema::new(vec![Field::new("series_id", DataType::UInt64, false)]);
        let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let error = put_tables(&store, vec![(table, batch)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(put(&store, &[]).await.unwrap(), Ack { seq: 0, rows: 0 });
    put(&store, &[(id, START_MS, 1.0)]).await.unwrap();
    assert_eq!(read(&store).len(), 1);
    assert_eq!(
        store.stats().refused_total.iter().find(|(reason, _)| *reason == "batch").unwrap().1,
        4
    );
}

#[tokio::test]
async fn a_full_head_refuses_until_it_is_flushed() {
    let bench = Bench::new();
    let config = Config { flush_bytes_max: 1_000, head_bytes_max: 1_000, ..bench.config() };
    let store = Store::open_with(config, bench.seams()).await.unwrap();
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    let mut n_kept = 0;
    for i in 0..300 {
        match put(&store, &[(id, START_MS + i, 1.0)]).await {
            Ok(_) => n_kept += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
                store.flush().await.unwrap();
            }
        }
    }
    assert_eq!(read(&store).len(), n_kept);
    assert!(n_kept > 0);
}

#[tokio::test]
async fn counts_never_fall_nor_double_while_flushes_commit() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    let writer = async {
        for i in 0..300 {
            put(&store, &[(id, START_MS + i, 1.0)]).await.unwrap();
        }
    };
    let flusher = async {
        for _ in 0..25 {
            store.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let reader = async {
        let mut last = 0;
        while last < 300 {
            let now = read(&store).len();
            assert!(now >= last, "{now} after {last}");
            let snapshot = store.snapshot();
            let in_segments: u64 =
                snapshot.segments(Table::Samples, TimeRange::ALL).iter().map(|s| s.rows).sum();
            let in_head: usize =
                snapshot.head(Table::Samples).unwrap().iter().map(RecordBatch::num_rows).sum();
            assert!(in_segments as usize + in_head >= now && in_segments as usize + in_head <= 300);
            last = now;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writer, flusher, reader);
}

#[tokio::test]
async fn compaction_gives_the_same_rows_and_retention_drops_old_windows() {
    let bench = Bench::new();
    let store = bench.open().await;
    let ids: Vec<_> =
        ["a", "b", "c"].map(|host| store.resolve(TENANT, &def("cpu", host)).unwrap()).to_vec();
    for i in 0..6 {
        let rows: Vec<_> =
            ids.iter().map(|id| (*id, START_MS + (i / 2) * SECOND, 0.1 * i as f64)).collect();
        put(&store, &rows).await.unwrap();
        store.flush().await.unwrap();
    }
    let before = read(&store);
    let old = store.snapshot();
    store.compact().await.unwrap();
    assert_eq!(read(&store), before);
    let segments = store.snapshot().segments(Table::Samples, TimeRange::ALL);
    assert_eq!(segments.len(), 1);
    assert_eq!((segments[0].level, segments[0].rows), (1, 9));
    // A snapshot taken before stays readable, also past the grace.
    bench.time.0.fetch_add(3_600_000, Ordering::SeqCst);
    store.compact().await.unwrap();
    let series = old.select(TENANT, &[]).unwrap();
    assert_eq!(
        old.samples(&series, (i64::MIN, i64::MAX), &ScanLimit::default()).unwrap().count(),
        3
    );
    let inputs: Vec<_> =
        old.segments(Table::Samples, TimeRange::ALL).into_iter().map(|s| s.path).collect();
    drop(old);
    store.compact().await.unwrap();
    assert!(inputs.iter().all(|path| !path.exists()));
    crash(store).await;
    let store = bench.open().await;
    assert_eq!(read(&store), before);
    bench.time.0.fetch_add(16 * 86_400_000, Ordering::SeqCst);
    store.compact().await.unwrap();
    assert_eq!(read(&store).len(), 0);
    let retained = store.stats().retained;
    let by_age: Vec<_> = retained.iter().map(|r| (r.table, r.reason, r.segments_total)).collect();
    assert_eq!(by_age, [("samples", "age", 1)], "rollups and definitions stay for longer");
    bench.time.0.fetch_add(80 * 86_400_000, Ordering::SeqCst);
    store.compact().await.unwrap();
    let tables: Vec<_> = store.stats().retained.iter().map(|r| r.table).collect();
    assert_eq!(tables, ["samples", "samples_5m"]);
    bench.time.0.fetch_add(310 * 86_400_000, Ordering::SeqCst);
    store.compact().await.unwrap();
    let tables: Vec<_> = store.stats().retained.iter().map(|r| r.table).collect();
    assert_eq!(tables, ["series", "samples", "samples_5m", "samples_1h"]);
}

#[tokio::test]
async fn one_series_is_read_without_the_others_and_the_limit_holds() {
    let bench = Bench::new();
    let store = bench.open().await;
    let mut rows = Vec::new();
    for host in 0..300 {
        let id = store.resolve(TENANT, &def("cpu", &format!("h{host}"))).unwrap();
        rows.extend((0..200).map(|i| (id, START_MS + i * SECOND, f64::from(host))));
    }
    put(&store, &rows).await.unwrap();
    store.flush().await.unwrap();
    let snapshot = store.snapshot();
    let one = snapshot.select(TENANT, &[Matcher::new("host", MatchOp::Equal, "h42")]).unwrap();
    let range = (START_MS + 10 * SECOND, START_MS + 19 * SECOND);
    let slices: Vec<_> =
        snapshot.samples(&one, range, &ScanLimit::default()).unwrap().map(Result::unwrap).collect();
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0].t.first(), Some(&range.0));
    assert_eq!(slices[0].t.last(), Some(&range.1));
    assert!(slices[0].v.iter().all(|v| *v == 42.0));
    let limit = ScanLimit { samples_max: 1_000, take: None };
    let all = snapshot.select(TENANT, &[]).unwrap();
    let refused = snapshot.samples(&all, (i64::MIN, i64::MAX), &limit).map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
}

#[tokio::test]
async fn of_a_batch_and_its_repeat_in_one_queue_the_rows_count_once() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    for seq in 1..40 {
        let delivery = Some(crate::delivery::Delivery { agent: 1, epoch: 1, seq });
        let send = || {
            let samples = samples(&[(id, START_MS + seq as i64, 1.0)]);
            store.ingest(Ingest { tenant: TENANT, samples, delivery, ..Ingest::default() })
        };
        let (first, again) = tokio::join!(send(), send());
        assert_eq!((first.unwrap().rows, again.unwrap()), (1, Ack { seq: 0, rows: 0 }));
    }
    assert_eq!(read(&store).len(), 39);
}
