//! Queries: a fixed set of 40 PromQL over the same stretches of time in every server, answers compared.

mod answer;
pub(super) mod questions;

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
use Form::{Instant, Range};
use answer::{difference, read};
use questions::{Question, STRETCHES, Stretch};

/// What a query asks for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Form {
    Instant,
    /// Over the whole stretch, with this step in seconds.
    Range(i64),
}
/// Runs the queries; `Err` only where a server fails, differing answers are in the report.
///
/// # Errors
///
/// When a server does not start, or refuses the load or a query.
pub fn query_step(setting: &Setting) -> Result<String> {
    let rounds = if setting.is_quick { 3 } else { 7 };
    let mut text = format!(
        "## Queries\n\nMedian wall time of {rounds} rounds, the servers in turn, caches of results off; ranges are the whole stretch. *Same* \
         tells whether our answer has the same series and, to 1e-9, the same values as Prometheus and, where both mean the same by the \
         expression, VictoriaMetrics.\n\n"
    );
    let mut ratios = Vec::new();
    for stretch in &STRETCHES {
        text.push_str(&measure(setting, stretch, rounds, &mut ratios)?);
    }
    if !ratios.is_empty() {
        let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64;
        let worst = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        text.push_str(&format!(
            "{} queries; how many times as fast as the faster of the peers we are: {:.2} as geometric mean, {worst:.2} at least.\n\n",
            ratios.len(),
            mean.exp()
        ));
    }
    Ok(text)
}

/// Fills every server with the stretch and asks each its questions.
fn measure(
    setting: &Setting,
    stretch: &Stretch,
    rounds: usize,
    ratios: &mut Vec<f64>,
) -> Result<String> {
    let n_series = stretch.series[usize::from(setting.is_quick)];
    let (interval_ms, scrapes) = (stretch.interval_ms, stretch.scrapes);
    let start_ms = (clock::epoch_ms() - (scrapes + 1) * interval_ms).div_euclid(60_000) * 60_000;
    let mut fleet = Fleet::new(n_series, interval_ms, start_ms);
    let protocol = Protocol::RemoteWrite1;
    let load =
        Load { protocol, first: 0, scrapes, clients: stretch.clients, targets_per_request: 10 };
    let stream = metrics(&mut fleet, load, &setting.dir)?;
    let mut peers = Vec::new();
    for kind in setting.kinds() {
        let peer = Peer::start(*kind, &setting.headrope, &setting.dir)?;
        send(&stream, &peer)?;
        peer.publish()?;
        peers.push(peer);
    }
    for peer in &peers {
        peer.settle()?;
    }
    let times_s = (start_ms / 1_000, (start_ms + scrapes * interval_ms) / 1_000 - 60);
    let mut text = format!(
        "### Over {}\n\n{} samples: {} series, {scrapes} scrapes, one each {} s, sent to each server by {}.\n\n",
        stretch.name,
        count(stream.items() as f64),
        count(n_series as f64),
        interval_ms / 1_000,
        protocol.name()
    );
    drop(stream);
    text.push_str(&promql(&peers, (stretch.questions, times_s), rounds, ratios)?);
    for peer in peers {
        drop(fs::remove_dir_all(peer.stop()?));
    }
    Ok(text)
}

fn promql(
    peers: &[Peer],
    (questions, times_s): (&[Question], (i64, i64)),
    rounds: usize,
    ratios: &mut Vec<f64>,
) -> Result<String> {
    let mut columns = vec!["PromQL".to_owned(), "form".to_owned(), "series".to_owned()];
    columns.extend(peers.iter().map(|peer| format!("{} ms", peer.kind.name())));
    columns.extend(["times as fast".to_owned(), "same".to_owned()]);
    let mut table = Table::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    let mut cpu_s: Vec<f64> =
        peers.iter().map(|peer| peer.cpu_seconds().map(|s| -s)).collect::<Result<_>>()?;
    for (expression, form, is_common) in questions {
        let (mut times, mut answers) =
            (vec![Vec::new(); peers.len()], vec![Value::Null; peers.len()]);
        for _ in 0..rounds {
            for (at, peer) in peers.iter().enumerate() {
                let (answer, ms) = ask(peer, expression, *form, times_s)
                    .with_context(|| format!("{}: {expression}", peer.kind.name()))?;
                times[at].push(ms);
                answers[at] = answer;
            }
        }
        let all: Vec<_> = answers.iter().map(read).collect::<Result<_>>()?;
        let differing: Vec<String> = peers
            .iter()
            .zip(&all)
            .skip(1)
            .filter(|(peer, _)| *is_common || peer.kind != Kind::VictoriaMetrics)
            .filter_map(|(peer, answer)| {
                Some(format!("{}: {}", peer.kind.name(), difference(&all[0], answer)?))
            })
            .collect();
        let ms: Vec<f64> = times.into_iter().map(median).collect();
        let ratio = ms[1..].iter().copied().reduce(f64::min).map(|peers_ms| peers_ms / ms[0]);
        ratios.extend(ratio);
        let mut cells = vec![
            format!("`{expression}`"),
            if let Range(step) = form { format!("range, {step} s") } else { "instant".to_owned() },
            all[0].len().to_string(),
        ];
        cells.extend(ms.iter().map(|ms| format!("{ms:.1}")));
        cells.push(ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default());
        cells.push(if differing.is_empty() { "yes".to_owned() } else { differing.join("; ") });
        table.row(&cells);
    }
    for (cpu_s, peer) in cpu_s.iter_mut().zip(peers) {
        *cpu_s += peer.cpu_seconds()?;
    }
    let mut text = table.finish();
    let cpu_s: Vec<String> = peers
        .iter()
        .zip(cpu_s)
        .map(|(peer, cpu_s)| format!("{} {cpu_s:.2}", peer.kind.name()))
        .collect();
    text.push_str(&format!(
        "CPU seconds for all of them, {rounds} times: {}.\n\n",
        cpu_s.join(", ")
    ));
    Ok(text)
}

/// The answer's data and the milliseconds it took.
fn ask(peer: &Peer, expression: &str, form: Form, times_s: (i64, i64)) -> Result<(Value, f64)> {
    let begin = clock::now();
    let answer = send_query(peer, expression, form, times_s)?;
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
    times_s: (i64, i64),
) -> Result<Answer> {
    let (path, times) = match form {
        Instant => ("/api/v1/query", format!("time={}", times_s.1)),
        Range(step) => {
            ("/api/v1/query_range", format!("start={}&end={}&step={step}", times_s.0, times_s.1))
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
