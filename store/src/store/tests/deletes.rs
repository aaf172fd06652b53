//! Deletes: hidden at once wherever the rows are, for good, and out of the files later; what comes after stays.

use super::tables::of_all_tables;
use super::*;
use crate::delete::{Delete, DeleteFrom};
use crate::segment::read::Segment;

fn delete(from: DeleteFrom, matchers: &[(&str, MatchOp, &str)], ms: (i64, i64)) -> Delete {
    let matchers = matchers.iter().map(|(name, op, value)| Matcher::new(*name, *op, *value));
    Delete {
        tenant: TENANT,
        from,
        matchers: matchers.collect(),
        first: Timestamp::from_ms(ms.0),
        last: Timestamp::from_ms(ms.1),
        requested_by: "test".to_owned(),
    }
}

fn all_of(host: &str) -> Delete {
    let ever = (i64::MIN / 1_000_000, i64::MAX / 1_000_000);
    delete(DeleteFrom::Metrics, &[("host", MatchOp::Equal, host)], ever)
}

/// Hosts and times of all samples.
fn rows(store: &Store) -> Vec<(String, i64)> {
    read(store).into_keys().map(|(host, ms)| (host, (ms - START_MS) / SECOND)).collect()
}

fn owned(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter().map(|(host, s)| ((*host).to_owned(), *s)).collect()
}

/// Rows of `table` in the files of live segments, hidden ones too.
fn stored(store: &Store, table: Table) -> usize {
    let segments = store.core.live.segments();
    let of_table = segments.iter().filter(|segment| segment.facts().table == table);
    let rows = |segment: &Arc<Segment>| segment.rows().unwrap();
    of_table.flat_map(rows).map(|batch| batch.num_rows()).sum()
}

#[tokio::test]
async fn deleted_samples_are_hidden_at_once_and_for_good_and_later_ones_stay() {
    let bench = Bench::new();
    let store = bench.open().await;
    let (a, b) = (
        store.resolve(TENANT, &def("cpu", "a")).unwrap(),
        store.resolve(TENANT, &def("cpu", "b")).unwrap(),
    );
    let at = |s: i64| START_MS + SECOND * s;
    put(&store, &[(a, at(0), 1.0), (b, at(0), 1.0)]).await.unwrap();
    store.flush().await.unwrap();
    put(&store, &[(a, at(1), 1.0), (b, at(1), 1.0)]).await.unwrap(); // Still in the head.
    let before = store.snapshot();
    let record = store.delete(all_of("a")).await.unwrap();
    assert_eq!((record.id, record.done), (1, None));
    assert_eq!(rows(&store), owned(&[("b", 0), ("b", 1)]));
    // A version taken before is one version to its end.
    let series = before.select(TENANT, &[]).unwrap();
    let scan = before.samples(&series, (i64::MIN, i64::MAX), &ScanLimit::default()).unwrap();
    assert_eq!(scan.map(|slice| slice.unwrap().t.len()).sum::<usize>(), 4);
    drop(before);
    // Sent again, and new: both are later than the delete.
    put(&store, &[(a, at(1), 5.0), (a, at(2), 5.0)]).await.unwrap();
    let left = owned(&[("a", 1), ("a", 2), ("b", 0), ("b", 1)]);
    assert_eq!(rows(&store), left);
    crash(store).await;
    let store = bench.open().await;
    assert_eq!(rows(&store), left, "after a restart");
    store.flush().await.unwrap();
    assert_eq!(rows(&store), left, "flushed");
    assert_eq!(stored(&store, Table::Samples), 6, "hidden rows are still there");
    store.clean_deleted().await.unwrap();
    assert_eq!(rows(&store), left, "written anew");
    assert_eq!(stored(&store, Table::Samples), 4, "hidden rows are gone");
    let records = store.deletes().await.unwrap();
    assert!(records[0].done.is_some() && records.len() == 1, "{records:?}");
    crash(store).await;
    let store = bench.open().await;
    assert_eq!(rows(&store), left, "after another restart");
}

#[tokio::test]
async fn merging_brings_no_deleted_row_back_and_takes_no_later_one_away() {
    let bench = Bench::new();
    let store = bench.open().await;
    let a = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    for s in 0..9 {
        put(&store, &[(a, START_MS + SECOND * s, 1.0)]).await.unwrap();
        store.flush().await.unwrap();
        if s == 2 {
            store.delete(all_of("a")).await.unwrap();
        }
    }
    let left: Vec<_> = (3..9).map(|s| ("a".to_owned(), s)).collect();
    assert_eq!(rows(&store), left);
    store.compact().await.unwrap();
    assert_eq!(rows(&store), left);
    assert_eq!(stored(&store, Table::Samples), 6);
    let segments = store.core.live.segments();
    let n_files = segments.iter().filter(|segment| segment.facts().table == Table::Samples).count();
    assert_eq!(n_files, 1);
}

#[tokio::test]
async fn only_the_range_is_deleted_and_the_job_comes_at_half_of_the_time() {
    let bench = Bench::new();
    let store = bench.open().await;
    let a = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    let batch: Vec<_> = (0..10).map(|s| (a, START_MS + SECOND * s, 1.0)).collect();
    put(&store, &batch).await.unwrap();
    let later = |h: i64| bench.time.0.store(START_MS + h * 3_600 * SECOND, Ordering::SeqCst);
    later(3);
    store.flush().await.unwrap();
    store.compact().await.unwrap(); // From here to the end of the day there is no other reason to write it anew.
    let range = (START_MS + 3 * SECOND, START_MS + 6 * SECOND);
    let name = [("__name__", MatchOp::Equal, "cpu"), ("host", MatchOp::Regex, "a|z")];
    store.delete(delete(DeleteFrom::Metrics, &name, range)).await.unwrap();
    let left: Vec<i64> = rows(&store).into_iter().map(|(_, s)| s).collect();
    assert_eq!(left, [0, 1, 2, 7, 8, 9]);
    later(14);
    store.compact().await.unwrap();
    assert_eq!(stored(&store, Table::Samples), 10);
    later(16);
    store.compact().await.unwrap();
    assert_eq!(stored(&store, Table::Samples), 6);
    assert_eq!(rows(&store).len(), 6);
}

#[tokio::test]
async fn logs_spans_and_histograms_go_by_column_attribute_and_time() {
    let bench = Bench::new();
    let store = bench.open().await;
    let series = store.resolve(TENANT, &def("latency", "a")).unwrap();
    let resource = ResourceDef {
        attributes: vec![Attribute {
            key: "team".to_owned(),
            value: AttributeValue::Str("blue".to_owned()),
        }],
    };
    let resource_id = store.put_resource(TENANT, &resource);
    let tables = of_all_tables(series.id, resource_id);
    store.ingest(Ingest { tenant: TENANT, tables, ..Ingest::default() }).await.unwrap();
    let visible = |table: Table| -> u64 {
        let segments = store.snapshot().segments(table, TimeRange::ALL);
        segments.iter().map(|scan| scan.kept().unwrap().map_or(scan.rows, |kept| kept.rows)).sum()
    };
    let ever = (i64::MIN / 1_000_000, i64::MAX / 1_000_000);
    let equal = |name| [(name, MatchOp::Equal, "blue")];
    let delete_of = async |from, matchers: &[(&str, MatchOp, &str)], ms| {
        store.delete(delete(from, matchers, ms)).await.unwrap();
    };
    delete_of(DeleteFrom::Logs, &equal("nobody"), ever).await;
    assert_eq!((visible(Table::Logs), visible(Table::Spans)), (20, 20));
    // A column, an attribute of the row, its time, and an attribute of its resource.
    delete_of(DeleteFrom::Logs, &[("service.name", MatchOp::Equal, "service_name-4")], ever).await;
    assert_eq!((visible(Table::Logs), visible(Table::Spans)), (19, 20));
    delete_of(DeleteFrom::Logs, &[("key7", MatchOp::Equal, "7")], ever).await;
    assert_eq!(visible(Table::Logs), 18);
    let range = (START_MS + 10, START_MS + 14);
    delete_of(DeleteFrom::Logs, &[("body", MatchOp::NotEqual, "")], range).await;
    assert_eq!(visible(Table::Logs), 13);
    delete_of(DeleteFrom::Spans, &equal("team"), range).await;
    assert_eq!((visible(Table::Logs), visible(Table::Spans)), (13, 15));
    let points = |store: &Store| {
        let snapshot = store.snapshot();
        let series = snapshot.select(TENANT, &[]).unwrap();
        let scan = snapshot.histograms(&series, (i64::MIN, i64::MAX), &ScanLimit::default());
        scan.unwrap().map(|slice| slice.unwrap().points.len()).sum::<usize>()
    };
    assert_eq!(points(&store), 20);
    delete_of(DeleteFrom::Metrics, &[("host", MatchOp::Equal, "a")], range).await;
    assert_eq!(points(&store), 15);
    assert_eq!((visible(Table::HistPoints), visible(Table::HistBuckets)), (15, 15));
    store.clean_deleted().await.unwrap();
    assert_eq!(points(&store), 15);
    for (table, rows) in [(Table::Logs, 13), (Table::Spans, 15), (Table::HistBuckets, 15)] {
        assert_eq!(stored(&store, table), rows, "{table}");
    }
}

#[tokio::test]
async fn deletes_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    let store = bench.open().await;
    for wrong in [
        delete(DeleteFrom::Metrics, &[], (0, 1)),
        delete(DeleteFrom::Logs, &[("body", MatchOp::Regex, "(")], (0, 1)),
        delete(DeleteFrom::Logs, &[("body", MatchOp::Equal, "x")], (1, 0)),
    ] {
        let error = store.delete(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert!(store.deletes().await.unwrap().is_empty());
}

#[tokio::test]
async fn attributes_in_columns_of_their_own_are_deleted_by_as_well() {
    let bench = Bench::new();
    let store = bench.open().await;
    let series = store.resolve(TENANT, &def("latency", "a")).unwrap();
    for _ in 0..4 {
        let mut tables = of_all_tables(series.id, ResourceId(0));
        tables.retain(|(table, _)| *table == Table::Logs);
        store.ingest(Ingest { tenant: TENANT, tables, ..Ingest::default() }).await.unwrap();
        store.flush().await.unwrap();
    }
    bench.time.0.fetch_add(4 * 3_600 * SECOND, Ordering::SeqCst);
    store.compact().await.unwrap();
    let promoted = |store: &Store| {
        let segments = store.snapshot().segments(Table::Logs, TimeRange::ALL);
        let of = |scan: &crate::scan::SegmentScan| scan.promoted().unwrap();
        segments.iter().flat_map(of).any(|field| field.name() == "attr.key7")
    };
    assert!(promoted(&store));
    let ever = (i64::MIN / 1_000_000, i64::MAX / 1_000_000);
    let of_key = delete(DeleteFrom::Logs, &[("key7", MatchOp::Equal, "7")], ever);
    store.delete(of_key).await.unwrap();
    let visible = |store: &Store| -> u64 {
        let segments = store.snapshot().segments(Table::Logs, TimeRange::ALL);
        segments.iter().map(|scan| scan.kept().unwrap().map_or(scan.rows, |kept| kept.rows)).sum()
    };
    assert_eq!(visible(&store), 76);
    store.clean_deleted().await.unwrap();
    assert_eq!((stored(&store, Table::Logs), visible(&store)), (76, 76));
    assert!(promoted(&store), "the rest keeps its columns");
}

/// Log records of which each has the attribute `env` as text, and one in twenty `user.id` as well.
fn with_attributes() -> Vec<(Table, RecordBatch)> {
    let mut tables = of_all_tables(SeriesId(0), ResourceId(0));
    tables.retain(|(table, _)| *table == Table::Logs);
    let mut texts = crate::schema::map_builder(arrow::array::StringBuilder::new());
    for row in 0..20 {
        let mut put = |key: &str, value: &str| {
            texts.keys().append_value(key);
            texts.values().append_value(value);
        };
        put("env", if row == 5 { "test" } else { "prod" });
        if row == 3 {
            put("user.id", "42");
        }
        texts.append(true).unwrap();
    }
    for (_, batch) in &mut tables {
        let mut columns = batch.columns().to_vec();
        columns[batch.schema().index_of(columns::ATTRS_STR).unwrap()] = Arc::new(texts.finish());
        *batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    }
    tables
}

#[tokio::test]
async fn a_name_with_dots_in_a_column_of_its_own_is_read_and_not_taken_for_nothing() {
    let bench = Bench::new();
    let store = bench.open().await;
    for _ in 0..4 {
        put_tables(&store, with_attributes()).await.unwrap();
        store.flush().await.unwrap();
    }
    bench.time.0.fetch_add(4 * 3_600 * SECOND, Ordering::SeqCst);
    store.compact().await.unwrap();
    let segments = store.snapshot().segments(Table::Logs, TimeRange::ALL);
    let promoted: Vec<String> =
        segments[0].promoted().unwrap().iter().map(|f| f.name().clone()).collect();
    for name in ["attr.env", "attr.user.id"] {
        assert!(promoted.iter().any(|column| column == name), "{promoted:?}");
    }
    let visible = |store: &Store| -> u64 {
        let segments = store.snapshot().segments(Table::Logs, TimeRange::ALL);
        segments.iter().map(|scan| scan.kept().unwrap().map_or(scan.rows, |kept| kept.rows)).sum()
    };
    let ever = (i64::MIN / 1_000_000, i64::MAX / 1_000_000);
    let user = [("user.id", MatchOp::Equal, "42")];
    store.delete(delete(DeleteFrom::Logs, &user, ever)).await.unwrap();
    assert_eq!(visible(&store), 76);
    for (op, value) in [(MatchOp::Regex, ""), (MatchOp::NotEqual, "prod")] {
        store.delete(delete(DeleteFrom::Logs, &[("env", op, value)], ever)).await.unwrap();
    }
    assert_eq!(visible(&store), 72, "only those of another value");
    store.clean_deleted().await.unwrap();
    assert_eq!((stored(&store, Table::Logs), visible(&store)), (72, 72));
}

#[tokio::test]
async fn a_delete_reaches_what_came_behind_a_flush_that_failed() {
    let bench = Bench::new();
    let store = Store::open_idle(bench.config(), bench.seams()).await.unwrap();
    let a = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(a, START_MS, 1.0)]).await.unwrap();
    let (staging, away) = (bench.dir.path().join("staging"), bench.dir.path().join("away"));
    std::fs::rename(&staging, &away).unwrap();
    store.flush().await.unwrap_err();
    put(&store, &[(a, START_MS + SECOND, 1.0)]).await.unwrap();
    std::fs::rename(&away, &staging).unwrap();
    store.delete(all_of("a")).await.unwrap();
    assert_eq!(rows(&store), owned(&[]));
    assert_eq!(store.stats().head_rows, 0);
}
