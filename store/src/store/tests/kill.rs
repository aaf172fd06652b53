//! A child process is killed while it writes: what it was told is durable is there.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;

const DIR: &str = "HEADROPE_TEST_DIR";

/// The child: writes samples for ever and prints the time of each one acknowledged.
#[tokio::test]
#[ignore = "runs only as the child of the test below"]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let time = Time(Arc::new(AtomicI64::new(START_MS)));
    let seams = Seams { clock: Arc::new(time), disk: Arc::new(HostDisk), wal_idle: IDLE };
    let config = Config { flush_bytes_max: 2_000, ..config(Path::new(&dir)) };
    let store = Store::open_with(config, seams).await.unwrap();
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    let first = read(&store).keys().map(|key| key.1).max().unwrap_or(START_MS) + 1;
    for at in first.. {
        put(&store, &[(id, at, 1.0)]).await.unwrap();
        println!("\nacknowledged {at}");
    }
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_there() {
    let bench = Bench::new();
    let mut acknowledged = Vec::new();
    for n_lines in [20, 90, 160] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::tests::kill::child", "--exact", "--ignored", "--nocapture"])
            .env(DIR, bench.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let times =
            lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<i64>().ok());
        acknowledged.extend(times.take(n_lines));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = bench.open().await;
        let found = read(&store);
        for at in &acknowledged {
            assert!(found.contains_key(&("a".to_owned(), *at)), "{at} is lost");
        }
        // The last one may be durable without its acknowledgement having been read.
        assert!(found.len() >= acknowledged.len());
        crash(store).await;
    }
    assert_eq!(Store::verify(bench.dir.path().to_owned()).await.unwrap().problems, []);
}
