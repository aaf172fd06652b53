//! kill -9 under load, again and again: what was acknowledged is there, once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use prost::Message;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::server::{Home, Server, now_ns};
use crate::telemetry::{gauge, logs, metrics, spans};

const ROUNDS: u64 = 50;
/// Records a request.
const BATCH: u64 = 7;
/// Flushes are frequent, so that kills also meet half-written segments and catalogue changes.
const CONFIG: &str = r#"
[store]
flush_bytes_max = 65536
flush_bytes_min = 4096
flush_age = "200ms"
flush_age_max = "1s"
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Signal {
    Logs,
    Spans,
    Samples,
}

const SIGNALS: [Signal; 3] = [Signal::Logs, Signal::Spans, Signal::Samples];

impl Signal {
    const fn path(self) -> &'static str {
        match self {
            Self::Logs => "/v1/logs",
            Self::Spans => "/v1/traces",
            Self::Samples => "/v1/metrics",
        }
    }

    /// A request with the records numbered `first` to `first + BATCH - 1`.
    fn body(self, first: u64) -> Vec<u8> {
        let names = (first..first + BATCH).map(|number| number.to_string());
        match self {
            Self::Logs => logs("crash", names).encode_to_vec(),
            Self::Spans => spans("crash", first, names).encode_to_vec(),
            Self::Samples => {
                let now = now_ns();
                #[expect(clippy::cast_precision_loss, reason = "the numbers stay below 2^53")]
                let point = |i: u64| (now + i * 1_000_000, (first + i) as f64);
                let points: Vec<_> = (0..BATCH).map(point).collect();
                // A series a request: two points of one series in one millisecond would be one.
                let writer = first.to_string();
                let labels = [("writer", writer.as_str())];
                metrics("crash", vec![gauge("crash.number", &labels, &points)]).encode_to_vec()
            }
        }
    }

    /// Number and how often it is there.
    const fn query(self) -> &'static str {
        match self {
            Self::Logs => "SELECT body, count(*) FROM logs WHERE service_name = 'crash' GROUP BY 1",
            Self::Spans => {
                "SELECT name, count(*) FROM spans WHERE service_name = 'crash' GROUP BY 1"
            }
            Self::Samples => {
                "SELECT CAST(CAST(value AS BIGINT) AS VARCHAR), count(*) FROM metrics WHERE metric = 'crash.number' GROUP BY 1"
            }
        }
    }
}

/// First numbers of acknowledged requests, by signal.
#[derive(Default)]
struct Acknowledged {
    firsts: Mutex<HashMap<Signal, Vec<u64>>>,
    more: Notify,
}

impl Acknowledged {
    fn count(&self) -> usize {
        self.firsts.lock().unwrap().values().map(Vec::len).sum()
    }
}

/// Sends request after request until the server is gone. A refusal is an error: the load is small.
async fn write(server: WriterOf, signal: Signal, mut first: u64, acknowledged: Arc<Acknowledged>) {
    loop {
        let request = server.client.post(format!("{}{}", server.url, signal.path()));
        let request = request.header("content-type", "application/x-protobuf");
        match request.body(signal.body(first)).send().await {
            Ok(answer) if answer.status().is_success() => {
                // Acknowledged only once the whole answer is here.
                let Ok(answer) = answer.bytes().await else { return };
                assert!(answer.is_empty(), "partial success: {answer:?}");
                acknowledged.firsts.lock().unwrap().entry(signal).or_default().push(first);
                acknowledged.more.notify_one();
            }
            Ok(answer) => {
                panic!("{}: {}", answer.status(), answer.text().await.unwrap_or_default())
            }
            Err(_) => return,
        }
        first += BATCH;
    }
}

#[derive(Clone)]
struct WriterOf {
    client: reqwest::Client,
    url: String,
}

/// Numbers that look random and are the same on every run.
const fn scrambled(n: u64) -> u64 {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
}

async fn check(server: &Server, acknowledged: &Acknowledged, round: u64) {
    for signal in SIGNALS {
        let rows = server.sql(signal.query()).await;
        let count = |row: &Vec<Value>| {
            let number: u64 = row[0].as_str().unwrap().parse().unwrap();
            (number, row[1].as_u64().or_else(|| row[1].as_str()?.parse().ok()).unwrap())
        };
        let counts: HashMap<u64, u64> = rows.iter().map(count).collect();
        let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "round {round}, {signal:?}: more than once: {twice:?}");
        let firsts = acknowledged.firsts.lock().unwrap().get(&signal).cloned().unwrap_or_default();
        let numbers = firsts.iter().flat_map(|first| *first..first + BATCH);
        let lost: Vec<_> = numbers.filter(|number| !counts.contains_key(number)).collect();
        assert!(lost.is_empty(), "round {round}, {signal:?}: acknowledged and lost: {lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_over_50_kills() {
    let home = Home::new();
    let acknowledged = Arc::new(Acknowledged::default());
    for round in 0..ROUNDS {
        let server = home.start(CONFIG).await;
        check(&server, &acknowledged, round).await;
        let mut writers = JoinSet::new();
        for (i, signal) in SIGNALS.into_iter().cycle().take(6).enumerate() {
            let writer = WriterOf { client: server.client.clone(), url: server.otlp_url("") };
            let first = (round * 6 + i as u64) * 1_000_000;
            writers.spawn(write(writer, signal, first, Arc::clone(&acknowledged)));
        }
        // Killed in the middle of requests, after a number of acknowledgements that differs from round to round.
        let enough = acknowledged.count() + 1 + usize::try_from(scrambled(round) % 60).unwrap();
        while acknowledged.count() < enough {
            tokio::select! {
                () = acknowledged.more.notified() => {}
                Some(ended) = writers.join_next() => panic!("a writer ended: {ended:?}\n{}", server.stderr()),
            }
        }
        server.kill().await;
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
    }
    let server = home.start(CONFIG).await;
    check(&server, &acknowledged, ROUNDS).await;
    server.stop().await;
    let server = home.start(CONFIG).await;
    check(&server, &acknowledged, ROUNDS + 1).await;
    assert!(acknowledged.count() >= usize::try_from(ROUNDS).unwrap());
}
