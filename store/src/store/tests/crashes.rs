//! The disk dies at each operation in turn: nothing acknowledged is lost, nothing is there twice.

use std::sync::atomic::{AtomicBool, AtomicU64};

use super::*;
use crate::disk::sim::{Judge, Op, OpKind, Verdict};

/// Lets operations pass and fails all from a chosen one on: half of that write may arrive, nothing after it does.
#[derive(Default)]
struct Fuse {
    left: AtomicI64,
    passed: AtomicU64,
    is_denied: AtomicBool,
}

impl Fuse {
    /// Lets `operations` pass on the disk of `bench`.
    fn after(bench: &Bench, operations: i64) -> (Arc<Self>, SimDisk) {
        let fuse = Arc::new(Self { left: AtomicI64::new(operations), ..Self::default() });
        let judge: Arc<dyn Judge> = Arc::clone(&fuse) as _;
        (fuse, SimDisk::new(bench.dir.path(), judge))
    }

    /// Changes how many more pass.
    fn set(&self, operations: i64) {
        self.left.store(operations, Ordering::SeqCst);
    }

    /// Makes every new name fail, as without permission or file handles, or pass again.
    fn deny(&self, is_denied: bool) {
        self.is_denied.store(is_denied, Ordering::SeqCst);
    }
}

impl Judge for Fuse {
    fn before(&self, op: &Op) -> Verdict {
        let is_dead = self.left.fetch_sub(1, Ordering::SeqCst) <= 0;
        let is_name = matches!(op.kind, OpKind::Create | OpKind::Rename);
        match op.kind {
            OpKind::Write(n) if is_dead => Verdict::Short(n / 2, std::io::ErrorKind::Other),
            _ if is_dead => Verdict::Fail(std::io::ErrorKind::Other),
            _ if is_name && self.is_denied.load(Ordering::SeqCst) => {
                Verdict::Fail(std::io::ErrorKind::PermissionDenied)
            }
            _ => {
                self.passed.fetch_add(1, Ordering::SeqCst);
                Verdict::Pass
            }
        }
    }
}

/// Writes, flushes, compacts; returns what was acknowledged and what was sent.
async fn work(bench: &Bench, store: &Store) -> (BTreeMap<(String, i64), u64>, usize) {
    let mut acknowledged = BTreeMap::new();
    let mut n_sent = 0;
    let Ok(id) = store.resolve(TENANT, &def("cpu", "a")) else { return (acknowledged, 0) };
    for round in 0..4_i64 {
        for i in 0..2 {
            let at = START_MS + (round * 2 + i) * SECOND;
            n_sent += 1;
            if put(store, &[(id, at, 1.0)]).await.is_ok() {
                acknowledged.insert(("a".to_owned(), at), 1.0_f64.to_bits());
            }
        }
        drop(store.flush().await);
    }
    drop(store.compact().await);
    bench.time.0.fetch_add(1, Ordering::SeqCst);
    (acknowledged, n_sent)
}

async fn check(operations: i64) -> u64 {
    let bench = Bench::new();
    let (fuse, disk) = Fuse::after(&bench, operations);
    let (acknowledged, n_sent) = match bench.open_on(&disk).await {
        Ok(store) => {
            let done = work(&bench, &store).await;
            let visible = read(&store);
            assert!(
                done.0.iter().all(|entry| visible.get(entry.0) == Some(entry.1)),
                "after {operations}"
            );
            crash(store).await;
            done
        }
        Err(_) => (BTreeMap::new(), 0),
    };
    let store = bench.open().await;
    let found = read(&store);
    for (key, value) in &acknowledged {
        assert_eq!(found.get(key), Some(value), "after {operations} operations {key:?} is lost");
    }
    assert!(found.len() <= n_sent, "after {operations}");
    // Whatever the crash left, the store goes on and comes back the same.
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(id, START_MS + 100 * SECOND, 2.0)]).await.unwrap();
    store.flush().await.unwrap();
    let found = read(&store);
    crash(store).await;
    let store = bench.open().await;
    assert_eq!(read(&store), found, "after {operations}");
    crash(store).await;
    let report = Store::verify(bench.dir.path().to_owned()).await.unwrap();
    assert_eq!(report.problems, [], "after {operations}");
    fuse.passed.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let all = i64::try_from(check(i64::MAX).await).unwrap();
    assert!(all > 60, "{all}");
    // Every operation of the start, then a coarser step: each one is a whole life of a store.
    for operations in (0..30).step_by(2).chain((30..all).step_by(11)) {
        check(operations).await;
    }
}

#[tokio::test]
async fn a_failed_log_write_stops_the_store_and_keeps_what_is_there() {
    let bench = Bench::new();
    let (fuse, disk) = Fuse::after(&bench, i64::MAX);
    let store = bench.open_on(&disk).await.unwrap();
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(id, START_MS, 1.0)]).await.unwrap();
    fuse.set(1); // The write passes, the sync fails.
    let error = put(&store, &[(id, START_MS + 1, 1.0)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    fuse.set(i64::MAX);
    let error = put(&store, &[(id, START_MS + 2, 1.0)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "never synced again");
    assert!(store.stats().wal_poisoned);
    assert_eq!(read(&store).len(), 1, "not applied before the sync");
    crash(store).await;
    let store = bench.open().await;
    assert!((1..=2).contains(&read(&store).len()));
    put(&store, &[(id, START_MS + 3, 1.0)]).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_room() {
    let bench = Bench::new();
    let (_, disk) = Fuse::after(&bench, i64::MAX);
    let store = bench.open_on(&disk).await.unwrap();
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    disk.fill(true);
    let error = put(&store, &[(id, START_MS, 1.0)]).await.unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(store.stats().disk_full);
    disk.fill(false);
    let until_accepted = async {
        while put(&store, &[(id, START_MS, 2.0)]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), until_accepted).await.unwrap();
    assert_eq!(read(&store).len(), 1);
    crash(store).await;
    assert_eq!(read(&*bench.open().await).len(), 1);
}

#[tokio::test]
async fn a_log_file_that_cannot_be_made_refuses_and_is_tried_again() {
    let bench = Bench::new();
    let (fuse, disk) = Fuse::after(&bench, i64::MAX);
    let store = bench.open_on(&disk).await.unwrap();
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    let rows = |batch: i64| -> Vec<_> {
        let value = |i: i64| f64::from_bits((batch * 300 + i) as u64 * 7_919);
        (0..300).map(|i| (id, START_MS + batch * 300 + i, value(i))).collect()
    };
    let (mut n_kept, mut n_refused) = (0, 0);
    for batch in 0..60 {
        fuse.deny(batch % 2 == 0);
        match put(&store, &rows(batch)).await {
            Ok(_) => n_kept += 300,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(batch % 2 == 0, "accepted again as soon as a file can be made: {error}");
                n_refused += 1;
            }
        }
        assert!(!store.stats().wal_poisoned);
    }
    assert!(n_refused > 1, "the first file and a later one: {n_refused}");
    assert_eq!(read(&store).len(), n_kept);
    crash(store).await;
    let store = bench.open().await;
    assert_eq!(read(&store).len(), n_kept);
    crash(store).await;
    assert_eq!(Store::verify(bench.dir.path().to_owned()).await.unwrap().problems, []);
}

#[tokio::test]
async fn a_commit_on_a_full_disk_is_tried_again() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(id, START_MS, 1.0)]).await.unwrap();
    store.core.catalogue.limit_pages(0).await;
    // Many paths at once need a new page.
    let paths: Vec<String> = (0..500).map(|i| format!("data/{i:060}")).collect();
    let error = store.core.catalogue.add_pending(&paths, Timestamp(0)).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    store.flush().await.unwrap();
    assert_eq!(store.core.catalogue.pending().await.unwrap(), Vec::<String>::new());
    assert_eq!(read(&store).len(), 1);
}
