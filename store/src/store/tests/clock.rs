//! A clock that goes back, and a disk that is slow.

use std::sync::{Condvar, Mutex as StdMutex};

use super::*;
use crate::disk::sim::{Judge, Op, OpKind, SimDisk, Verdict};

const DAY: i64 = 86_400_000;

#[tokio::test]
async fn a_clock_that_goes_back_loses_nothing_and_drops_nothing_early() {
    let bench = Bench::new();
    let mut expected = BTreeMap::new();
    let moves = [0, -2 * DAY, -3_600_000, 3 * DAY, -DAY, -1];
    for (life, by) in (0_u32..).zip(moves) {
        bench.time.0.fetch_add(by, Ordering::SeqCst);
        let store = bench.open().await;
        assert_eq!(read(&store), expected, "life {life}");
        let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
        for i in 0..3 {
            let at = bench.time.now().ms() + i64::from(life) * 10 + i;
            put(&store, &[(id, at, f64::from(life))]).await.unwrap();
            expected.insert(("a".to_owned(), at), f64::from(life).to_bits());
            // In the middle of a life, too.
            bench.time.0.fetch_add(-60_000, Ordering::SeqCst);
            if i < 2 {
                store.flush().await.unwrap();
            }
        }
        store.compact().await.unwrap();
        assert_eq!(read(&store), expected, "life {life}");
        if life % 2 == 0 { crash(store).await } else { store.shutdown().await.unwrap() }
    }
    let store = bench.open().await;
    assert_eq!(read(&store), expected);
    crash(store).await;
    assert_eq!(Store::verify(bench.dir.path().to_owned()).await.unwrap().problems, []);
}

/// Holds writes back while told to.
#[derive(Default)]
struct Slow {
    is_holding: StdMutex<bool>,
    changed: Condvar,
}

impl Slow {
    fn hold(&self, is_holding: bool) {
        *self.is_holding.lock().unwrap() = is_holding;
        self.changed.notify_all();
    }
}

impl Judge for Slow {
    fn before(&self, op: &Op) -> Verdict {
        if matches!(op.kind, OpKind::Write(_)) {
            let is_holding = self.is_holding.lock().unwrap();
            drop(self.changed.wait_while(is_holding, |is_holding| *is_holding).unwrap());
        }
        Verdict::Pass
    }
}

#[tokio::test]
async fn a_slow_disk_makes_the_queue_refuse_and_memory_does_not_grow() {
    let bench = Bench::new();
    let slow = Arc::new(Slow::default());
    let disk = Arc::new(SimDisk::new(bench.dir.path(), Arc::clone(&slow) as Arc<dyn Judge>));
    let limit = 1 << 20;
    let config = Config { wal_queue_bytes_max: limit, ..bench.config() };
    let store = Store::open_idle(config, Seams { disk, ..bench.seams() }).await.unwrap();
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    slow.hold(true);
    let mut sending = Vec::new();
    let mut n_refused = 0;
    for batch in 0..200_i64 {
        let rows: Vec<_> = (0..500).map(|i| (id, START_MS + batch * 500 + i, i as f64)).collect();
        let to = Arc::clone(&store);
        let mut one = Box::pin(async move { put(&to, &rows).await });
        match futures::poll!(&mut one) {
            std::task::Poll::Pending => sending.push(one),
            std::task::Poll::Ready(answer) => {
                let error = answer.unwrap_err();
                assert!(matches!(error, Error::Full { what: "log queue", .. }), "{error}");
                n_refused += 1;
            }
        }
        assert!(store.stats().wal_queue_bytes <= limit);
    }
    assert!(n_refused > 0 && !sending.is_empty(), "{n_refused} refused");
    slow.hold(false);
    let n_sent = sending.len();
    for one in sending {
        one.await.unwrap();
    }
    assert_eq!(read(&store).len(), n_sent * 500);
    assert_eq!(store.stats().wal_queue_bytes, 0, "all memory is given back");
    crash(store).await;
}
