//! Heads of many rows: written in slices and batches, each row once and in order; what readers take of them is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::time::TimeRange;

use super::*;

/// Rows of each series: more than a batch has, and two of the series more than a slice.
const ROWS: i64 = 70_000;

/// Puts [`ROWS`] samples of each series, newest first, and some of them twice.
async fn fill(store: &Store, series: &[Resolved]) {
    for series in series {
        let mut rows: Vec<_> =
            (0..ROWS).rev().map(|i| (*series, START_MS + i * 10, i as f64)).collect();
        rows.extend((0..1_000).map(|i| (*series, START_MS + i * 10, -1.0)));
        put(store, &rows).await.unwrap();
    }
}

fn check(store: &Store) {
    let all = read(store);
    assert_eq!(all.len(), 3 * 70_000);
    for ((_, t), bits) in all {
        let i = (t - START_MS) / 10;
        let expected = if i < 1_000 { -1.0 } else { i as f64 };
        assert_eq!(f64::from_bits(bits), expected, "row {i}");
    }
}

#[tokio::test]
async fn a_head_of_several_slices_is_written_once_and_in_order() {
    let bench = Bench::new();
    let store = bench.open().await;
    // A long name: a batch has fewer rows for it.
    let name = "n".repeat(1_000);
    let series: Vec<_> = [("a", "1"), (name.as_str(), "2"), ("z", "3")]
        .into_iter()
        .map(|(metric, host)| store.resolve(TENANT, &def(metric, host)).unwrap())
        .collect();
    fill(&store, &series).await;
    check(&store);
    store.flush().await.unwrap();
    assert_eq!(store.stats().head_rows, 0);
    check(&store);
    crash(store).await;
    assert_eq!(Store::verify(bench.dir.path().to_owned()).await.unwrap().problems, []);
}

#[tokio::test]
async fn rows_kept_between_reads_answer_as_rows_read_anew() {
    let bench = Bench::new();
    let store = bench.open().await;
    let resolve = |host: &str| store.resolve(TENANT, &def("cpu", host)).unwrap();
    let series = ["1", "2", "3"].map(resolve);
    fill(&store, &series[..2]).await;
    // Some of the third have start times, and there are none in the blocks before.
    let rows: Vec<_> = (0..ROWS).map(|i| (series[2], START_MS + i * 10, i as f64)).collect();
    let mut rows = samples(&rows);
    rows.starts.iter_mut().skip(50_000).for_each(|start| *start = START_MS);
    store.ingest(Ingest { tenant: TENANT, samples: rows, ..Ingest::default() }).await.unwrap();
    store.flush().await.unwrap();
    let snapshot = store.snapshot();
    let all = snapshot.select(TENANT, &[]).unwrap();
    let ms = |i: i64| START_MS + i * 10;
    // Whole; across the end of a block; one row; nothing; from the middle of one series.
    let ranges =
        [(0, ROWS), (20_470, 20_490), (61_439, 61_439), (ROWS, ROWS + 5), (45_000, 65_000)];
    crate::set_cache_limit(0);
    let ask = |hosts: &[usize], (first, last): (i64, i64)| {
        let wanted: Vec<_> = hosts.iter().map(|at| Arc::clone(&all[*at])).collect();
        let scan = snapshot.samples(&wanted, (ms(first), ms(last)), &ScanLimit::default()).unwrap();
        scan.map(|slice| slice.unwrap())
            .map(|s| (s.series.id, s.t, s.v, s.start_t))
            .collect::<Vec<_>>()
    };
    let questions: Vec<(&[usize], (i64, i64))> =
        [&[0, 1, 2][..], &[2], &[0, 2]].into_iter().flat_map(|h| ranges.map(|r| (h, r))).collect();
    let anew: Vec<_> = questions.iter().map(|(hosts, range)| ask(hosts, *range)).collect();
    let third =
        &anew[0][all.iter().position(|of| of.def.prom_labels.value("host") == Some("3")).unwrap()];
    assert_eq!((third.1.len(), third.3.as_ref().unwrap()[49_999]), (70_000, i64::MIN));
    assert_eq!(third.3.as_ref().unwrap()[50_000], START_MS);
    assert_eq!(anew[2].iter().map(|slice| slice.1.clone()).collect::<Vec<_>>(), [[ms(61_439)]; 3]);
    assert!(anew[3].is_empty());
    crate::set_cache_limit(1 << 30);
    for _ in 0..2 {
        for (asked, anew) in questions.iter().zip(&anew) {
            assert_eq!(&ask(asked.0, asked.1), anew, "{asked:?}");
        }
    }
    assert!(crate::cache_bytes() > 210_000 * 16, "{}", crate::cache_bytes());
}

#[tokio::test]
async fn what_a_reader_selects_and_copies_is_taken_first() {
    let bench = Bench::new();
    let store = bench.open().await;
    let series: Vec<_> =
        (0..50).map(|host| store.resolve(TENANT, &def("a", &format!("{host}"))).unwrap()).collect();
    let rows: Vec<_> = series.iter().map(|series| (*series, START_MS, 1.0)).collect();
    put(&store, &rows).await.unwrap();
    let taken = Arc::new(AtomicU64::new(0));
    let limit = |most: u64| {
        let taken = Arc::clone(&taken);
        let take = move |bytes: u64| {
            let sum = taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
            if sum <= most {
                return Ok(());
            }
            Err(Error::Full { what: "memory for queries", used: sum, limit: most })
        };
        ScanLimit { take: Some(Arc::new(take)), ..ScanLimit::default() }
    };
    let snapshot = store.snapshot();
    let found = snapshot
        .select_in(TENANT, &[], (TimeRange::ALL, crate::Kinds::All), &limit(u64::MAX))
        .unwrap();
    let of_select = taken.swap(0, Ordering::Relaxed);
    assert!(of_select >= 50 * 300, "{of_select} bytes of 50 series");
    assert_eq!(snapshot.samples(&found, (0, i64::MAX), &limit(u64::MAX)).unwrap().count(), 50);
    assert!(taken.swap(0, Ordering::Relaxed) >= 50 * 100);
    let refused =
        snapshot.select_in(TENANT, &[], (TimeRange::ALL, crate::Kinds::All), &limit(of_select - 1));
    assert!(matches!(refused, Err(Error::Full { .. })));
    taken.store(0, Ordering::Relaxed);
    let refused = snapshot.samples(&found, (0, i64::MAX), &limit(100)).map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
}
