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
