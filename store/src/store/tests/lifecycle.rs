//! The life of segments: however rows are split into segments and levels, the same rows come out.

use arrow::array::{FixedSizeBinaryArray, TimestampNanosecondArray};
use arrow::datatypes::{TimeUnit, TimestampMillisecondType, TimestampNanosecondType, UInt32Type};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use std::slice::from_ref;

use super::tables::{generic, noise};
use std::time::Duration;

use super::*;
use crate::schema::columns::{SPAN_COUNT, SPAN_ID, STATUS_MESSAGE, TIME, TRACE_ID};
use crate::{Delete, DeleteFrom};

const MINUTE: i64 = 60 * SECOND;
const TABLES: [Table; 5] =
    [Table::HistPoints, Table::HistBuckets, Table::Exemplars, Table::Logs, Table::Spans];

/// What happens to a store.
#[derive(Clone, Debug)]
enum Op {
    /// Samples of a series from a minute on, a second apart.
    Samples {
        series: usize,
        minute: i64,
        values: Vec<u64>,
    },
    /// Rows of every other table, from a minute on.
    Rows {
        minute: i64,
    },
    Flush,
    Compact,
    /// Minutes pass.
    Wait(i64),
}

fn value() -> impl Strategy<Value = u64> {
    let edges =
        [f64::NAN.to_bits(), model::metric::STALE_NAN_BITS, 1 << 63, f64::INFINITY.to_bits(), 1];
    prop_oneof![
        4 => (0_u32..1_000).prop_map(|i| f64::from(i).to_bits()),
        2 => (0_u32..100_000).prop_map(|i| (f64::from(i) * 0.001).to_bits()),
        1 => prop::sample::select(edges.to_vec()),
        1 => any::<u64>(),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let minute = || prop_oneof![-90_i64..90, -1_500_i64..0];
    prop_oneof![
        5 => (0_usize..4, minute(), prop::collection::vec(value(), 1..200))
            .prop_map(|(series, minute, values)| Op::Samples { series, minute, values }),
        2 => minute().prop_map(|minute| Op::Rows { minute }),
        5 => Just(Op::Flush),
        2 => Just(Op::Compact),
        2 => (1_i64..1_000).prop_map(Op::Wait),
    ]
}

/// `batch` with every time moved by `ms`.
fn moved(batch: &RecordBatch, ms: i64) -> RecordBatch {
    let move_column = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                let times = column.as_primitive::<TimestampMillisecondType>();
                let times: TimestampMillisecondArray =
                    times.iter().map(|time| time.map(|time| time + ms)).collect();
                Arc::new(times.with_timezone("UTC"))
            }
            DataType::Timestamp(..) => {
                let times = column.as_primitive::<TimestampNanosecondType>();
                let times: TimestampNanosecondArray =
                    times.iter().map(|time| time.map(|time| time + ms * 1_000_000)).collect();
                Arc::new(times.with_timezone("UTC"))
            }
            _ => Arc::clone(column),
        }
    };
    let columns = batch.columns().iter().map(move_column).collect();
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

/// Rows of `table` in head and segments as text, sorted.
fn lines(store: &Store, table: Table) -> Vec<String> {
    let mut out = Vec::new();
    for batch in &batches(store, table) {
        arrow::json::LineDelimitedWriter::new(&mut out).write(batch).unwrap();
    }
    let mut lines: Vec<String> =
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Everything a reader sees that no order of commits decides about.
fn seen(store: &Store) -> Vec<Vec<String>> {
    let snapshot = store.snapshot();
    let series = snapshot.select(TENANT, &[]).unwrap();
    let all = (i64::MIN, i64::MAX);
    let limit = ScanLimit::default();
    let samples = snapshot.samples(&series, all, &limit).unwrap().map(|slice| {
        let slice = slice.unwrap();
        let bits: Vec<u64> = slice.v.iter().map(|v| v.to_bits()).collect();
        format!("{} {:?} {bits:?} {:?}", slice.series.id.0, slice.t, slice.start_t)
    });
    let histograms = snapshot.histograms(&series, all, &limit).unwrap().map(|slice| {
        let slice = slice.unwrap();
        format!("{} {:?}", slice.series.id.0, slice.points)
    });
    let mut exemplars = lines(store, Table::Exemplars);
    exemplars.dedup(); // Sent twice, kept once.
    vec![samples.collect(), histograms.collect(), exemplars, lines(store, Table::Logs)]
}

async fn apply(store: &Store, bench: &Bench, hosts: &[&str], op: &Op) {
    // Each time anew, as senders do once told that a series was let go.
    let resolve = |host: &&str| store.resolve(TENANT, &def("cpu", host)).unwrap();
    let series: Vec<Resolved> = hosts.iter().map(resolve).collect();
    match op {
        Op::Samples { series: i, minute, values } => {
            let first = START_MS + minute * MINUTE;
            let times = (0..values.len() as i64).map(|i| first + i * SECOND);
            let rows: Vec<_> =
                times.zip(values).map(|(t, v)| (series[*i], t, f64::from_bits(*v))).collect();
            put(store, &rows).await.unwrap();
        }
        Op::Rows { minute } => {
            let tables = TABLES
                .map(|table| (table, moved(&generic(table, 20, series[0].id), minute * MINUTE)));
            put_tables(store, tables.to_vec()).await.unwrap();
        }
        Op::Flush => store.flush().await.unwrap(),
        Op::Compact => {
            let before = seen(store);
            store.compact().await.unwrap();
            assert_eq!(seen(store), before);
        }
        Op::Wait(minutes) => {
            bench.time.0.fetch_add(minutes * MINUTE, Ordering::SeqCst);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn the_same_rows_come_out_however_they_were_split(
        ops in prop::collection::vec(op(), 1..30), segment_bytes in 3_000_u64..40_000, budget in 14_u64..19,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let config = Config {
                compact_segment_bytes: segment_bytes,
                compact_bytes_max: budget << 20,
                ..bench.config()
            };
            let store = Store::open_with(config, bench.seams()).await.unwrap();
            let series = ["a", "b", "c", "d"];
            for op in &ops {
                apply(&store, &bench, &series, op).await;
            }
            // In the end everything is flushed, two days pass, and all of it is settled.
            for op in [Op::Flush, Op::Compact, Op::Wait(2 * 1_440), Op::Compact, Op::Wait(61), Op::Compact] {
                apply(&store, &bench, &series, &op).await;
            }
            let snapshot = store.snapshot();
            for segment in snapshot.segments(Table::Samples, TimeRange::ALL) {
                assert_eq!(segment.level, 2, "{:?}", segment.path);
                assert!(!segment.path.display().to_string().contains("/h="));
            }
            assert_eq!(store.stats().compact_lag_s, 0);
            let before = seen(&store);
            crash(store).await;
            let store = bench.open().await;
            assert_eq!(seen(&store), before, "after a restart");
            crash(store).await;
        });
    }
}

fn replaced(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of(name).unwrap()] = column;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

#[tokio::test]
async fn of_spans_sent_twice_the_last_write_stays() {
    let bench = Bench::new();
    let store = bench.open().await;
    let first = generic(Table::Spans, 20, SeriesId(0));
    // The second write says something else, and moves the span to another place in the order.
    let message = arrow::array::StringArray::from(vec!["again"; 20]);
    let second = replaced(&moved(&first, 7 * MINUTE), STATUS_MESSAGE, Arc::new(message));
    let bytes = |width: usize, salt: u8| -> ArrayRef {
        let ids = (0..20_u8).map(|i| vec![i ^ salt; width]);
        Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap())
    };
    let other = replaced(&replaced(&first, TRACE_ID, bytes(16, 64)), SPAN_ID, bytes(8, 64));
    for batch in [first, other, second] {
        put_tables(&store, vec![(Table::Spans, batch)]).await.unwrap();
        store.flush().await.unwrap();
    }
    assert_eq!(lines(&store, Table::Spans).len(), 60);
    bench.time.0.fetch_add(3 * 3_600 * SECOND, Ordering::SeqCst);
    store.compact().await.unwrap();
    let kept = lines(&store, Table::Spans);
    assert_eq!(kept.len(), 40);
    assert_eq!(kept.iter().filter(|line| line.contains("again")).count(), 20);
    bench.time.0.fetch_add(48 * 3_600 * SECOND, Ordering::SeqCst);
    store.compact().await.unwrap();
    assert_eq!(lines(&store, Table::Spans), kept);
    let snapshot = store.snapshot();
    assert_eq!(snapshot.segments(Table::Spans, TimeRange::ALL)[0].level, 2);
}

#[tokio::test]
async fn late_rows_wait_for_others_and_then_join_their_window() {
    let bench = Bench::new();
    let store = bench.open().await;
    let series = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    let levels = |store: &Store| -> Vec<u8> {
        let segments = store.snapshot().segments(Table::Samples, TimeRange::ALL);
        segments.iter().map(|segment| segment.level).collect()
    };
    let write = async |ms: i64, value: f64| {
        put(&store, &[(series, ms, value)]).await.unwrap();
        store.flush().await.unwrap();
        store.compact().await.unwrap();
    };
    write(START_MS, 1.0).await;
    assert_eq!(levels(&store), [0], "one segment of an open hour stays");
    bench.time.0.fetch_add(71 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    assert_eq!(levels(&store), [1], "sealed");
    write(START_MS + SECOND, 2.0).await;
    write(START_MS, 3.0).await;
    assert_eq!(levels(&store), [1, 0, 0], "late rows wait");
    assert_eq!(store.stats().compact_lag_s, 0);
    bench.time.0.fetch_add(61 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    assert_eq!(levels(&store), [1]);
    bench.time.0.fetch_add(24 * 60 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    assert_eq!(levels(&store), [2]);
    write(START_MS + 2 * SECOND, 4.0).await;
    assert_eq!(levels(&store), [2, 0]);
    bench.time.0.fetch_add(61 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    assert_eq!(levels(&store), [2]);
    let values: Vec<f64> = read(&store).into_values().map(f64::from_bits).collect();
    assert_eq!(values, [3.0, 2.0, 4.0], "the later write won");
}

#[tokio::test]
async fn a_compaction_holds_no_more_memory_than_it_reserved() {
    let bench = Bench::new();
    let config = Config { compact_bytes_max: 36 << 20, ..bench.config() };
    let store = Store::open_with(config, bench.seams()).await.unwrap();
    let batch = noise(3_000, 600);
    for _ in 0..10 {
        put_tables(&store, vec![(Table::Logs, batch.clone())]).await.unwrap();
        store.flush().await.unwrap();
    }
    let decoded = 10 * batch.get_array_memory_size() as u64;
    store.compact().await.unwrap();
    let counters = &store.core.counters;
    let reserved = counters.compact_reserved_bytes_max.load(Ordering::Relaxed);
    let held = counters.compact_held_bytes_max.load(Ordering::Relaxed);
    assert!(store.stats().compactions_total > 0);
    assert!(held > 0 && held <= reserved, "{held} of {reserved}");
    assert!(reserved <= 36 << 20, "{reserved} for {decoded}");
    let segments = store.snapshot().segments(Table::Logs, TimeRange::ALL);
    assert_eq!(segments.iter().map(|segment| segment.rows).sum::<u64>(), 10 * 3_000);
}

#[tokio::test]
async fn rows_with_one_key_are_not_gathered_to_be_put_in_order() {
    use crate::compact::{due::Run, merge::Merge};
    let bench = Bench::new();
    let store = bench.open().await;
    let times = TimestampNanosecondArray::from(vec![START_MS * 1_000_000; 2_000]);
    let service = arrow::array::StringArray::from(vec!["one"; 2_000]);
    let batch = replaced(&noise(2_000, 9), TIME, Arc::new(times.with_timezone("UTC")));
    let batch = replaced(&batch, columns::SERVICE_NAME, Arc::new(service));
    for _ in 0..2 {
        put_tables(&store, vec![(Table::Logs, batch.clone())]).await.unwrap();
        store.flush().await.unwrap();
    }
    let mut segments = store.core.live.segments().to_vec();
    segments.retain(|segment| segment.facts().table == Table::Logs);
    let window = segments[0].facts().window;
    let runs: Vec<Run> = segments.into_iter().map(|file| Run { files: vec![file] }).collect();
    let registry = &store.core.registry;
    let mut merge = Merge::new((Table::Logs, window), &runs, Vec::new(), registry).unwrap();
    let mut n_rows = 0;
    while let Some(batch) = merge.next().unwrap() {
        assert!(batch.num_rows() < 1_000, "{}", batch.num_rows());
        n_rows += batch.num_rows();
    }
    assert_eq!(n_rows, 4_000);
}

#[tokio::test]
async fn rows_of_one_trace_fold_over_hours_and_the_day() {
    let bench = Bench::new();
    let store = bench.open().await;
    for hour in 0..3 {
        let spans = moved(&generic(Table::Spans, 20, SeriesId(0)), hour * 60 * MINUTE);
        let ids = (0..20_u8).map(|i| vec![i ^ (hour as u8) << 5; 8]);
        let ids: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap());
        let spans = replaced(&spans, SPAN_ID, ids);
        put_tables(&store, vec![(Table::Spans, spans)]).await.unwrap();
        store.flush().await.unwrap();
    }
    assert_eq!(lines(&store, Table::TraceIndex).len(), 60);
    bench.time.0.fetch_add(48 * 3_600 * SECOND, Ordering::SeqCst);
    store.compact().await.unwrap();
    let snapshot = store.snapshot();
    let segments = snapshot.segments(Table::TraceIndex, TimeRange::ALL);
    assert_eq!((segments.len(), segments[0].rows), (1, 20));
    let bytes = segments[0].read(from_ref(&(0..segments[0].bytes))).unwrap().remove(0);
    let mut reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1_024).unwrap();
    let batch = reader.next().unwrap().unwrap();
    let counts = batch.column_by_name(SPAN_COUNT).unwrap().as_primitive::<UInt32Type>();
    assert!(counts.values().iter().all(|count| *count == 3));
    assert!(batch.column_by_name(TIME).is_none());
}

#[tokio::test]
async fn the_oldest_windows_end_when_there_are_too_many_bytes() {
    let bench = Bench::new();
    let batch = generic(Table::Logs, 20, SeriesId(0));
    let fill = async |store: &Store| {
        for hour in -3..1 {
            let rows = moved(&batch, hour * 60 * MINUTE);
            put_tables(store, vec![(Table::Logs, rows)]).await.unwrap();
        }
        store.flush().await.unwrap();
    };
    let windows = |store: &Store| {
        let segments = store.snapshot().segments(Table::Logs, TimeRange::ALL);
        let mut first: Vec<_> = segments.iter().map(|s| s.min_time.ms() - START_MS).collect();
        first.sort();
        first
    };
    let store = bench.open().await;
    fill(&store).await;
    store.compact().await.unwrap();
    let of_table = |store: &Store| store.stats().tables[Table::Logs as usize].segment_bytes;
    let bytes = of_table(&store);
    assert_eq!(windows(&store).len(), 4);
    crash(store).await;
    // A little less than four windows take: one must go, and for the narrower limit of the tenant two.
    let limited = Config { retain_logs_bytes_max: bytes - 1, ..bench.config() };
    let store = Store::open_with(limited, bench.seams()).await.unwrap();
    store.compact().await.unwrap();
    assert_eq!(windows(&store), [-2, -1, 0].map(|hour| hour * 60 * MINUTE));
    assert!(of_table(&store) < bytes);
    let retained = store.stats().retained;
    assert_eq!(
        (retained[0].table, retained[0].reason, retained[0].segments_total),
        ("logs", "bytes", 1)
    );
    crash(store).await;
    let own = crate::config::TenantRetention { bytes_max: 1, ..Default::default() };
    let retain_tenants = [(TENANT.0.to_string(), own)].into();
    let store =
        Store::open_with(Config { retain_tenants, ..bench.config() }, bench.seams()).await.unwrap();
    store.compact().await.unwrap();
    assert_eq!(windows(&store), [0], "an open window stays whatever it takes");
}

#[tokio::test]
async fn a_tenant_may_keep_its_rows_for_another_time() {
    let bench = Bench::new();
    let own = crate::config::TenantRetention {
        logs: Some(Duration::from_secs(2 * 3_600)),
        ..Default::default()
    };
    let config = Config { retain_tenants: [("9".to_owned(), own)].into(), ..bench.config() };
    let store = Store::open_with(config, bench.seams()).await.unwrap();
    let batch = generic(Table::Logs, 20, SeriesId(0));
    for tenant in [TENANT, TenantId(9)] {
        let tables = vec![(Table::Logs, batch.clone())];
        store.ingest(Ingest { tenant, tables, ..Ingest::default() }).await.unwrap();
    }
    store.flush().await.unwrap();
    bench.time.0.fetch_add(4 * 3_600 * SECOND, Ordering::SeqCst);
    store.compact().await.unwrap();
    let snapshot = store.snapshot();
    let n_of = |tenant| snapshot.segments_of(tenant, Table::Logs, TimeRange::ALL).len();
    assert_eq!((n_of(TENANT), n_of(TenantId(9))), (1, 0));
}

/// Samples of four series over some hours: counters with resets, gauges, gaps, stale markers, any bits.
async fn put_random(store: &Store, series: &[Resolved], seed: u64, hours: i64) {
    let mut bits = seed | 1;
    let mut next = |below: u64| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 33) % below
    };
    for (i, id) in series.iter().enumerate() {
        let mut value = 0.0;
        let mut rows = Vec::new();
        let mut t = START_MS;
        while t < START_MS + hours * 60 * MINUTE {
            // Often right on a boundary, at times after a gap of hours.
            t += if next(300) == 0 { 2 * 60 * MINUTE } else { 15 * SECOND };
            value = match (i, next(40)) {
                (_, 0) => f64::from_bits(model::metric::STALE_NAN_BITS),
                (0 | 1, 1) => 0.0,
                (2, 1) => f64::NAN,
                (0 | 1, step) if !f64::is_nan(value) => value + step as f64 * 0.25,
                (_, step) => step as f64 * 1.1 - 7.0,
            };
            rows.push((*id, t + next(2) as i64 * next(900) as i64, value));
        }
        // Some know since when they count, and begin to count anew at times.
        let mut samples = samples(&rows);
        for (start, (_, t, _)) in samples.starts.iter_mut().zip(&rows).filter(|_| i % 2 == 0) {
            *start = t / (50 * MINUTE) * (50 * MINUTE);
        }
        let whole = Ingest { tenant: TENANT, samples, ..Ingest::default() };
        store.ingest(whole).await.unwrap();
    }
}

/// Buckets made of the samples that a scan gives.
fn made(
    store: &Store,
    resolution: crate::rollup::Resolution,
    range: (i64, i64),
) -> Vec<Vec<crate::rollup::Bucket>> {
    let snapshot = store.snapshot();
    let series = snapshot.select(TENANT, &[]).unwrap();
    let all = snapshot.samples(&series, (range.0 + 1, range.1), &ScanLimit::default()).unwrap();
    let mut buckets = Vec::new();
    for slice in all {
        let slice = slice.unwrap();
        let mut of_series = Vec::new();
        let start = |i: usize| slice.start_t.as_ref().map_or(i64::MIN, |starts| starts[i]);
        let samples = (0..slice.t.len()).map(|i| (slice.t[i], slice.v[i], start(i)));
        crate::rollup::buckets_of(resolution, samples, &mut of_series);
        buckets.push(of_series);
    }
    buckets.retain(|of_series| !of_series.is_empty());
    buckets
}

fn read_buckets(
    store: &Store,
    resolution: crate::rollup::Resolution,
    range: (i64, i64),
) -> (Vec<Vec<crate::rollup::Bucket>>, bool) {
    let snapshot = store.snapshot();
    let series = snapshot.select(TENANT, &[]).unwrap();
    let scan = snapshot.buckets(&series, resolution, range, &ScanLimit::default()).unwrap();
    let is_raw_gone = scan.is_raw_gone;
    (scan.map(|slice| slice.unwrap().buckets).collect(), is_raw_gone)
}

/// Asserts that buckets are the same but for how their sums were rounded, where both have one.
fn assert_same(found: &[Vec<crate::rollup::Bucket>], expected: &[Vec<crate::rollup::Bucket>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        if let (Some(a), Some(b)) = (found.sum, expected.sum) {
            assert_eq!(
                (found.start, found.count, found.first_t, found.last_t),
                (expected.start, expected.count, expected.first_t, expected.last_t)
            );
            let (a, b) = (a.0 + a.1, b.0 + b.1);
            assert!(
                a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * b.abs().max(1.0),
                "{a} {b}"
            );
        }
        let text = |bucket: &crate::rollup::Bucket| {
            format!("{:?}", crate::rollup::Bucket { sum: None, ..*bucket })
        };
        assert_eq!(text(found), text(expected));
    }
    let n = |all: &[Vec<crate::rollup::Bucket>]| all.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(n(found), n(expected));
}

#[tokio::test]
async fn rollups_say_what_the_samples_say() {
    use crate::rollup::Resolution;
    let bench = Bench::new();
    let store = bench.open().await;
    let counter = |metric| SeriesDef { kind: MetricKind::Counter, ..def(metric, "a") };
    let defs = [counter("c.one"), def("g.one", "a"), def("g.two", "b"), def("g.two", "c")];
    let series: Vec<_> = defs.iter().map(|def| store.resolve(TENANT, def).unwrap()).collect();
    let hour = 60 * MINUTE;
    let check = |store: &Store, at: &str| {
        for resolution in Resolution::ALL {
            for range in [
                (START_MS - 2 * hour, START_MS + 30 * hour),
                (START_MS + hour, START_MS + 5 * hour),
            ] {
                let (found, is_raw_gone) = read_buckets(store, resolution, range);
                assert!(!is_raw_gone, "{at}");
                assert_same(&found, &made(store, resolution, range));
            }
        }
    };
    put_random(&store, &series, 7, 20).await;
    check(&store, "in the head");
    store.flush().await.unwrap();
    bench.time.0.fetch_add(6 * hour + 20 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    check(&store, "some hours sealed");
    let n_rollups =
        |store: &Store| store.snapshot().segments(Table::Samples5m, TimeRange::ALL).len();
    assert!(n_rollups(&store) >= 6);
    put_random(&store, &series[..1], 8, 3).await;
    check(&store, "late rows in the head");
    store.flush().await.unwrap();
    check(&store, "late rows in a segment");
    bench.time.0.fetch_add(61 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    check(&store, "late rows merged");
    bench.time.0.fetch_add(48 * hour, Ordering::SeqCst);
    store.compact().await.unwrap();
    check(&store, "days sealed");
    assert_eq!(n_rollups(&store), 2, "one a day");
    let delete = Delete {
        tenant: TENANT,
        from: DeleteFrom::Metrics,
        matchers: vec![Matcher::new("host", MatchOp::Equal, "c")],
        first: Timestamp::from_ms(START_MS + 2 * hour + MINUTE),
        last: Timestamp::from_ms(START_MS + 3 * hour + MINUTE),
        requested_by: "test".to_owned(),
    };
    store.delete(delete).await.unwrap();
    check(&store, "a part deleted");
    bench.time.0.fetch_add(25 * hour, Ordering::SeqCst);
    store.compact().await.unwrap();
    assert_eq!(n_rollups(&store), 2, "made anew");
    check(&store, "a part gone");
    let range = (START_MS - 2 * hour, START_MS + 30 * hour);
    let expected = made(&store, Resolution::Hour, range);
    bench.time.0.fetch_add(20 * 24 * hour, Ordering::SeqCst);
    store.compact().await.unwrap();
    assert_eq!(read(&store).len(), 0, "the samples are gone");
    let (found, is_raw_gone) = read_buckets(&store, Resolution::Hour, range);
    assert!(is_raw_gone);
    assert_same(&found, &expected);
}

/// Exemplars of 40 series, 50 each; the series with the lowest id first.
fn exemplars(store: &Store) -> (Vec<Resolved>, RecordBatch) {
    let resolve = |host| store.resolve(TENANT, &def("cpu", &format!("h{host}"))).unwrap();
    let mut series: Vec<Resolved> = (10..50).map(resolve).collect();
    series.sort_by_key(|series| series.id);
    let batches = series.iter().map(|series| generic(Table::Exemplars, 50, series.id));
    let batches: Vec<RecordBatch> = batches.collect();
    (series, arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap())
}

/// A store whose exemplars of one hour are a run of several segments.
async fn of_many_files(bench: &Bench) -> (Arc<Store>, Vec<Resolved>) {
    let config = Config { compact_segment_bytes: 1_000, ..bench.config() };
    let store = Store::open_with(config, bench.seams()).await.unwrap();
    let (series, batch) = exemplars(&store);
    put_tables(&store, vec![(Table::Exemplars, batch)]).await.unwrap();
    store.flush().await.unwrap();
    bench.time.0.fetch_add(71 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    let segments = store.snapshot().segments(Table::Exemplars, TimeRange::ALL);
    assert!(segments.len() > 3, "{segments:?}");
    (store, series)
}

/// Sends all exemplars again, lets them be merged, and asserts that each is there once.
async fn sent_again(store: &Store, bench: &Bench) {
    let (_, batch) = exemplars(store);
    put_tables(store, vec![(Table::Exemplars, batch)]).await.unwrap();
    store.flush().await.unwrap();
    bench.time.0.fetch_add(90 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    let segments = store.snapshot().segments(Table::Exemplars, TimeRange::ALL);
    assert!(segments.iter().all(|segment| segment.level == 1));
    let all = lines(store, Table::Exemplars);
    let mut once = all.clone();
    once.dedup();
    assert_eq!((all.len(), once.len()), (2_000, 2_000));
}

#[tokio::test]
async fn a_run_with_a_segment_written_anew_is_merged_in_key_order() {
    let bench = Bench::new();
    let (store, series) = of_many_files(&bench).await;
    let found = store.snapshot().series(series[0].id).unwrap();
    let host = found.def.prom_labels.value("host").unwrap();
    let delete = Delete {
        tenant: TENANT,
        from: DeleteFrom::Metrics,
        matchers: vec![Matcher::new("host", MatchOp::Equal, host)],
        first: Timestamp::from_ms(START_MS),
        last: Timestamp::from_ms(START_MS),
        requested_by: "test".to_owned(),
    };
    store.delete(delete).await.unwrap();
    store.clean_deleted().await.unwrap();
    assert_eq!(lines(&store, Table::Exemplars).len(), 1_999);
    sent_again(&store, &bench).await;
}

#[tokio::test]
async fn a_run_in_a_catalogue_made_anew_is_merged_in_key_order() {
    let bench = Bench::new();
    let (store, _) = of_many_files(&bench).await;
    bench.time.0.fetch_add(20 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap(); // What it was made from goes.
    for _ in 0..2 {
        // The log goes on in another file: the rows are in segments alone.
        put_tables(&store, vec![(Table::Logs, noise(70, 1_000))]).await.unwrap();
        store.flush().await.unwrap();
    }
    let expected = lines(&store, Table::Exemplars);
    crash(store).await;
    Store::rebuild(bench.dir.path().to_owned(), &bench.time, true).await.unwrap();
    let store = bench.open().await;
    assert_eq!(lines(&store, Table::Exemplars), expected);
    sent_again(&store, &bench).await;
}

#[tokio::test]
async fn samples_later_than_their_retention_leave_the_rollup_of_the_others() {
    use crate::rollup::Resolution;
    let bench = Bench::new();
    let day = Duration::from_secs(86_400);
    let config = Config { retain_samples: 2 * day, ..bench.config() };
    let store = Store::open_with(config, bench.seams()).await.unwrap();
    let series = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put_random(&store, &[series], 7, 5).await;
    store.flush().await.unwrap();
    bench.time.0.fetch_add(36 * 60 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    let range = (START_MS - 60 * MINUTE, START_MS + 30 * 60 * MINUTE);
    let expected = made(&store, Resolution::Hour, range);
    bench.time.0.fetch_add(3 * 1_440 * MINUTE, Ordering::SeqCst);
    store.compact().await.unwrap();
    let check = |at: &str| {
        let (found, is_raw_gone) = read_buckets(&store, Resolution::Hour, range);
        assert!(is_raw_gone, "{at}");
        assert_same(&found[..1], &expected);
    };
    check("samples gone");
    for host in ["a", "b"] {
        let series = store.resolve(TENANT, &def("cpu", host)).unwrap();
        put(&store, &[(series, START_MS + MINUTE, 1.0)]).await.unwrap();
        check("a late one in the head");
        store.flush().await.unwrap();
        check("a late one in a segment");
        if host == "b" {
            let delete = Delete {
                tenant: TENANT,
                from: DeleteFrom::Metrics,
                matchers: vec![Matcher::new("host", MatchOp::Equal, "b")],
                first: Timestamp::from_ms(START_MS),
                last: Timestamp::from_ms(START_MS + 2 * MINUTE),
                requested_by: "test".to_owned(),
            };
            store.delete(delete).await.unwrap();
            store.clean_deleted().await.unwrap();
            check("the late one deleted");
        }
        store.compact().await.unwrap();
        check("after a pass");
    }
}

#[tokio::test]
async fn the_later_write_wins_when_a_day_is_merged_in_parts() {
    // Enough for some of the runs, but not for all.
    let mut n_merged = 0;
    for budget in [8_480_000, 8_519_680, 8_585_216] {
        let bench = Bench::new();
        let config = Config { compact_bytes_max: budget, ..bench.config() };
        let store = Store::open_with(config, bench.seams()).await.unwrap();
        let series = store.resolve(TENANT, &def("cpu", "a")).unwrap();
        let hour = 60 * MINUTE;
        put_random(&store, &[series], 7, 5).await;
        store.flush().await.unwrap();
        bench.time.0.fetch_add(36 * hour, Ordering::SeqCst);
        store.compact().await.unwrap();
        let at = START_MS + hour + 7;
        put(&store, &[(series, at, 1.0)]).await.unwrap();
        store.flush().await.unwrap();
        let mut rows: Vec<_> =
            (0..3_000).map(|i| (series, START_MS + hour + 7 + i, (i as f64).sqrt())).collect();
        rows[0].2 = 2.0;
        rows.push((series, START_MS + 8, 3.0));
        put(&store, &rows).await.unwrap();
        store.flush().await.unwrap();
        let expected = read(&store);
        let before = store.stats().compactions_total;
        bench.time.0.fetch_add(61 * MINUTE, Ordering::SeqCst);
        store.compact().await.unwrap();
        n_merged += store.stats().compactions_total - before;
        assert_eq!(read(&store)[&("a".to_owned(), at)], 2_f64.to_bits());
        assert_eq!(read(&store), expected);
    }
    assert!(n_merged > 0);
}
