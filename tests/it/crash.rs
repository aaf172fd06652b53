//! kill -9 under load, again and again: what was acknowledged is there, once. The long form is run by
//! `cargo test --package tests --test it -- --ignored --exact crash::a_thousand_kills`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use load::proto::{bytes, fixed, integer, message};
use prost::Message;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::server::{Home, Server, now_ns};
use crate::telemetry::{gauge, logs, metrics, spans};

const ROUNDS: u64 = 20;
const ROUNDS_LONG: u64 = 1_000;
/// Rounds whose records are looked at after each kill; all of them are at the end.
const ROUNDS_BACK: u64 = 4;
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
    Written,
}

const SIGNALS: [Signal; 4] = [Signal::Logs, Signal::Spans, Signal::Samples, Signal::Written];
/// Writers at once.
const WRITERS: u64 = 8;
/// Numbers a writer has for itself; a round has [`WRITERS`] times as many.
const NUMBERS: u64 = 1_000_000;

impl Signal {
    const fn path(self) -> &'static str {
        match self {
            Self::Logs => "/v1/logs",
            Self::Spans => "/v1/traces",
            Self::Samples => "/v1/metrics",
            Self::Written => "/api/v1/write",
        }
    }

    const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Written => &[
                ("content-type", "application/x-protobuf"),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "0.1.0"),
            ],
            Self::Logs | Self::Spans | Self::Samples => {
                &[("content-type", "application/x-protobuf")]
            }
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
            Self::Written => written(first),
        }
    }

    /// Number and how often it is there, of the numbers from `first` on.
    fn query(self, first: u64) -> String {
        let (value, rest) = match self {
            Self::Logs => ("body", "logs WHERE service_name = 'crash'"),
            Self::Spans => ("name", "spans WHERE service_name = 'crash'"),
            Self::Samples => ("value", "metrics WHERE metric = 'crash.number'"),
            Self::Written => ("value", "metrics WHERE metric = 'crash_written'"),
        };
        let number = format!("CAST({value} AS BIGINT)");
        format!(
            "SELECT CAST({number} AS VARCHAR), count(*) FROM {rest} AND {number} >= {first} GROUP BY 1"
        )
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
        let mut request = server.client.post(format!("{}{}", server.url, signal.path()));
        for (name, value) in signal.headers() {
            request = request.header(*name, *value);
        }
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

/// A remote write request with a series of `BATCH` samples.
fn written(first: u64) -> Vec<u8> {
    let mut body = Vec::new();
    message(&mut body, 1, |series| {
        for (name, value) in
            [("__name__", "crash_written".to_owned()), ("writer", first.to_string())]
        {
            message(series, 1, |label| {
                bytes(label, 1, name.as_bytes());
                bytes(label, 2, value.as_bytes());
            });
        }
        let now = now_ns() / 1_000_000;
        for i in 0..BATCH {
            message(series, 2, |sample| {
                #[expect(clippy::cast_precision_loss, reason = "the numbers stay below 2^53")]
                fixed(sample, 1, ((first + i) as f64).to_bits());
                integer(sample, 2, now + i);
            });
        }
    });
    snap::raw::Encoder::new().compress_vec(&body).unwrap()
}

/// Compares the numbers from `from` on with what was acknowledged.
async fn check(server: &Server, acknowledged: &Acknowledged, from: u64) {
    for signal in SIGNALS {
        let rows = server.sql(&signal.query(from)).await;
        let count = |row: &Vec<Value>| {
            let number: u64 = row[0].as_str().unwrap().parse().unwrap();
            (number, row[1].as_u64().or_else(|| row[1].as_str()?.parse().ok()).unwrap())
        };
        let counts: HashMap<u64, u64> = rows.iter().map(count).collect();
        let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "from {from}, {signal:?}: more than once: {twice:?}");
        let firsts = acknowledged.firsts.lock().unwrap().get(&signal).cloned().unwrap_or_default();
        let firsts = firsts.iter().filter(|first| **first >= from);
        let numbers = firsts.flat_map(|first| *first..first + BATCH);
        let lost: Vec<_> = numbers.filter(|number| !counts.contains_key(number)).collect();
        assert!(lost.is_empty(), "from {from}, {signal:?}: acknowledged and lost: {lost:?}");
    }
}

/// Kills a server under load `rounds` times. Prints how long starts took.
async fn kill(rounds: u64) {
    let home = Home::new();
    let acknowledged = Arc::new(Acknowledged::default());
    let mut starts = Vec::new();
    for round in 0..rounds {
        let begun = now_ns();
        let server = home.start(CONFIG).await;
        starts.push((now_ns() - begun) / 1_000_000);
        let from = round.saturating_sub(ROUNDS_BACK) * WRITERS * NUMBERS;
        check(&server, &acknowledged, from).await;
        let mut writers = JoinSet::new();
        for (i, signal) in (0..WRITERS).zip(SIGNALS.into_iter().cycle()) {
            let url = match signal {
                Signal::Written => server.url(""),
                Signal::Logs | Signal::Spans | Signal::Samples => server.otlp_url(""),
            };
            let writer = WriterOf { client: server.client.clone(), url };
            let first = (round * WRITERS + i) * NUMBERS;
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
    for _ in 0..2 {
        let server = home.start(CONFIG).await;
        check(&server, &acknowledged, 0).await;
        server.stop().await;
    }
    let requests = acknowledged.count();
    assert!(requests >= usize::try_from(rounds).unwrap());
    starts.sort_unstable();
    let (median, longest) = (starts[starts.len() / 2], starts[starts.len() - 1]);
    println!(
        "{rounds} kills, {requests} requests acknowledged, none lost or doubled; start to ready: median {median} ms, longest {longest} ms"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_over_20_kills() {
    kill(ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half an hour: the long form of the test above"]
async fn a_thousand_kills() {
    kill(ROUNDS_LONG).await;
}
