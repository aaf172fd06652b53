//! Queries: a fixed set of 20 PromQL over the same hour in every server, answers compared.

mod answer;

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Setting;
use crate::client::{Answer, Client};
use crate::clock;
use crate::drive::send;
use crate::fleet::Fleet;
use crate::peer::{Kind, Peer};
use crate::report::{Table, count, median};
use crate::stream::{Load, Protocol, metrics};
use answer::{difference, read};

/// Time between two scrapes, and how many there are: an hour.
const INTERVAL_MS: i64 = 15_000;
const SCRAPES: i64 = 240;

/// What a query asks for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Form {
    Instant,
    /// Over the whole hour, with this step in seconds.
    Range(i64),
}
use Form::{Instant, Range};

/// Expression, form, and whether VictoriaMetrics means the same by it (its rates reach back before their window).
pub(super) const PROMQL: [(&str, Form, bool); 20] = [
    (r#"node_load1{instance="host-00007.example:9100"}"#, Instant, true),
    ("count(node_load1)", Instant, true),
    (r#"{instance="host-00003.example:9100"}"#, Instant, true),
    (r#"count by (__name__) ({job="node"})"#, Instant, true),
    ("sum by (mode) (rate(node_cpu_seconds_total[5m]))", Instant, false),
    ("topk(10, rate(node_network_receive_bytes_total[5m]))", Instant, false),
    (
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
        Instant,
        false,
    ),
    ("node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.1", Instant, true),
    (
        r#"node_network_receive_bytes_total{device=~"eth.*",instance=~"host-000[0-4].*"}"#,
        Instant,
        true,
    ),
    ("max_over_time(node_load1[1h])", Instant, true),
    (r#"node_load1{instance="host-00007.example:9100"}"#, Range(15), true),
    ("sum(rate(node_network_receive_bytes_total[5m]))", Range(60), false),
    ("sum by (datacenter, mode) (rate(node_cpu_seconds_total[5m]))", Range(60), false),
    (
        "histogram_quantile(0.9, sum by (handler, le) (rate(http_request_duration_seconds_bucket[5m])))",
        Range(60),
        false,
    ),
    ("avg by (region) (node_load1)", Range(60), true),
    (r#"1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))"#, Range(60), false),
    ("quantile(0.95, node_hwmon_temp_celsius)", Range(60), true),
    ("sum by (team) (increase(http_request_duration_seconds_count[15m]))", Range(60), false),
    ("topk(5, sum by (instance) (rate(node_disk_written_bytes_total[5m])))", Range(60), false),
    ("count(max_over_time(node_systemd_unit_state[10m]) == 1)", Range(300), true),
];

/// Runs the queries; `Err` only where a server fails, differing answers are in the report.
///
/// # Errors
///
/// When a server does not start, or refuses the load or a query.
pub fn query_step(setting: &Setting) -> Result<String> {
    let (n_series, rounds) = if setting.is_quick { (5_000, 3) } else { (50_000, 7) };
    let now_ms = clock::epoch_ms();
    let start_ms = (now_ms - (SCRAPES + 1) * INTERVAL_MS).div_euclid(60_000) * 60_000;
    let mut fleet = Fleet::new(n_series, INTERVAL_MS, start_ms);
    let protocol = Protocol::RemoteWrite1;
    let load = Load { protocol, first: 0, scrapes: SCRAPES, clients: 4, targets_per_request: 10 };
    let stream = metrics(&mut fleet, load, &setting.dir)?;
    let mut peers = Vec::new();
    for kind in Kind::ALL {
        let peer = Peer::start(kind, &setting.headrope, &setting.dir)?;
        send(&stream, &peer)?;
        peer.publish()?;
        peers.push(peer);
    }
    let hour_s = (start_ms / 1_000, (start_ms + SCRAPES * INTERVAL_MS) / 1_000 - 60);
    let mut text = format!(
        "## Queries\n\n{} samples: {} series, one hour at {} s, sent to each server by {}. Median wall time of {rounds} rounds, the servers in \
         turn, caches of results off; ranges are the whole hour. *Same* tells whether our answer has the same series and, to 1e-9, the same \
         values as Prometheus and, where both mean the same by the expression, VictoriaMetrics.\n\n",
        count(stream.items() as f64),
        count(n_series as f64),
        INTERVAL_MS / 1_000,
        protocol.name()
    );
    text.push_str(&promql(&peers, hour_s, rounds)?);
    for peer in peers {
        drop(fs::remove_dir_all(peer.stop()?));
    }
    Ok(text)
}

fn promql(peers: &[Peer], hour_s: (i64, i64), rounds: usize) -> Result<String> {
    let mut table = Table::new(&[
        "PromQL",
        "form",
        "series",
        "Headrope ms",
        "VictoriaMetrics ms",
        "Prometheus ms",
        "ours/VM",
        "same",
    ]);
    let mut cpu_s: Vec<f64> =
        peers.iter().map(|peer| peer.cpu_seconds().map(|s| -s)).collect::<Result<_>>()?;
    for (expression, form, is_common) in PROMQL {
        let (mut times, mut answers) =
            (vec![Vec::new(); peers.len()], vec![Value::Null; peers.len()]);
        for _ in 0..rounds {
            for (at, peer) in peers.iter().enumerate() {
                let (answer, ms) = ask(peer, expression, form, hour_s)
                    .with_context(|| format!("{}: {expression}", peer.kind.name()))?;
                times[at].push(ms);
                answers[at] = answer;
            }
        }
        let all: Vec<_> = answers.iter().map(read).collect::<Result<_>>()?;
        let mut same = vec![("Prometheus", difference(&all[0], &all[2]))];
        if is_common {
            same.push(("VictoriaMetrics", difference(&all[0], &all[1])));
        }
        let differing: Vec<String> = same
            .into_iter()
            .filter_map(|(name, found)| found.map(|found| format!("{name}: {found}")))
            .collect();
        let ms: Vec<f64> = times.into_iter().map(median).collect();
        table.row(&[
            format!("`{expression}`"),
            if let Range(step) = form { format!("range, {step} s") } else { "instant".to_owned() },
            all[0].len().to_string(),
            format!("{:.1}", ms[0]),
            format!("{:.1}", ms[1]),
            format!("{:.1}", ms[2]),
            format!("{:.2}", ms[0] / ms[1]),
            if differing.is_empty() { "yes".to_owned() } else { differing.join("; ") },
        ]);
    }
    for (cpu_s, peer) in cpu_s.iter_mut().zip(peers) {
        *cpu_s += peer.cpu_seconds()?;
    }
    let mut text = table.finish();
    text.push_str(&format!(
        "CPU seconds for all of them, {rounds} times: Headrope {:.2}, VictoriaMetrics {:.2}, Prometheus {:.2}.\n\n",
        cpu_s[0], cpu_s[1], cpu_s[2]
    ));
    Ok(text)
}

/// The answer's data and the milliseconds it took.
fn ask(peer: &Peer, expression: &str, form: Form, hour_s: (i64, i64)) -> Result<(Value, f64)> {
    let begin = clock::now();
    let answer = send_query(peer, expression, form, hour_s)?;
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    if !answer.is_success() {
        bail!("{}: {}", answer.status, answer.text());
    }
    let mut answer: Value = serde_json::from_slice(&answer.body)?;
    Ok((answer["data"].take(), ms))
}

/// The answer to one expression, whatever it is.
pub(super) fn send_query(
    peer: &Peer,
    expression: &str,
    form: Form,
    hour_s: (i64, i64),
) -> Result<Answer> {
    let (path, times) = match form {
        Instant => ("/api/v1/query", format!("time={}", hour_s.1)),
        Range(step) => {
            ("/api/v1/query_range", format!("start={}&end={}&step={step}", hour_s.0, hour_s.1))
        }
    };
    let form = format!("query={}&nocache=1&{times}", percent(expression));
    Client::new(&peer.http).post(
        path,
        "content-type: application/x-www-form-urlencoded\r\n",
        form.as_bytes(),
    )
}

/// Percent-encodes everything but letters and digits.
fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
