//! Ingest: the same bytes to each server in turn, several rounds, medians; then what only we take.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;

use super::Setting;
use crate::clock;
use crate::drive::{Run, send};
use crate::fleet::Fleet;
use crate::peer::{Kind, Peer};
use crate::report::{Table, count, median, megabytes};
use crate::stream::{Load, Protocol, Stream, logs, metrics, spans};

/// Connections that send at once.
const CLIENTS: usize = 8;
/// Time between two scrapes of a target.
const INTERVAL_MS: i64 = 15_000;

struct Size {
    series: usize,
    scrapes: i64,
    rounds: usize,
}

impl Setting {
    fn size(&self) -> Size {
        match self.is_quick {
            true => Size { series: 20_000, scrapes: 60, rounds: 1 },
            false => Size { series: 100_000, scrapes: 120, rounds: 3 },
        }
    }
}

/// Metrics by remote write 1.0 to every server, then by the other protocols to ours.
///
/// # Errors
///
/// When a server does not start or a request fails.
pub fn metrics_step(setting: &Setting) -> Result<String> {
    let size = setting.size();
    let mut text = format!(
        "## Ingest of metrics\n\n{} series of {} hosts, 7 to 9 labels and a name, {} scrapes {} s apart, each sample sent once; \
         {CLIENTS} connections, 10 hosts (5,000 samples) a request, encoded beforehand. Ours syncs its log to disk before each answer, \
         the peers acknowledge from memory. Medians of {} interleaved rounds, each with an empty folder; CPU seconds are the \
         server's, from first request to last answer, compaction in that time included.\n\n",
        count(size.series as f64),
        size.series / 500,
        size.scrapes,
        INTERVAL_MS / 1000,
        size.rounds
    );
    let mut table = Table::new(&[
        "Protocol",
        "Server",
        "samples/s",
        "samples per CPU s",
        "ours/it, CPU",
        "ours/it, wall",
        "RSS",
        "peak RSS",
        "refused, sent again",
    ]);
    for protocol in [Protocol::RemoteWrite1, Protocol::RemoteWrite2, Protocol::Otlp] {
        let stream = stream(setting, protocol)?;
        let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
        let kinds =
            if protocol == Protocol::RemoteWrite1 { setting.kinds() } else { &Kind::ALL[..1] };
        for round in 0..size.rounds {
            for at in 0..kinds.len() {
                let kind = kinds[(at + round) % kinds.len()]; // Nobody is always first.
                runs.entry(kind.name()).or_default().push(one(setting, kind, &stream)?);
            }
        }
        rows(&mut table, protocol.name(), kinds, &runs);
    }
    text.push_str(&table.finish());
    Ok(text)
}

fn stream(setting: &Setting, protocol: Protocol) -> Result<Stream> {
    let size = setting.size();
    let start_ms = clock::epoch_ms() - (size.scrapes + 1) * INTERVAL_MS;
    let mut fleet = Fleet::new(size.series, INTERVAL_MS, start_ms);
    let load = Load {
        protocol,
        first: 0,
        scrapes: size.scrapes,
        clients: CLIENTS,
        targets_per_request: 10,
    };
    metrics(&mut fleet, load, &setting.dir)
}

/// One stream into one fresh server.
fn one(setting: &Setting, kind: Kind, stream: &Stream) -> Result<Run> {
    let peer = Peer::start(kind, &setting.headrope, &setting.dir)?;
    let run = send(stream, &peer)?;
    let data = peer.stop()?;
    drop(fs::remove_dir_all(data)); // What is left would only fill the disk.
    Ok(run)
}

fn rows(table: &mut Table, protocol: &str, kinds: &[Kind], runs: &BTreeMap<&str, Vec<Run>>) {
    let of = |kind: Kind, figure: fn(&Run) -> f64| {
        median(runs[kind.name()].iter().map(figure).collect())
    };
    for &kind in kinds {
        let ratio = |figure: fn(&Run) -> f64| match kind {
            Kind::Headrope => "1".to_owned(),
            _ => format!("{:.2}", of(Kind::Headrope, figure) / of(kind, figure)),
        };
        table.row(&[
            protocol.to_owned(),
            kind.name().to_owned(),
            count(of(kind, Run::per_second)),
            count(of(kind, Run::per_cpu_second)),
            ratio(Run::per_cpu_second),
            ratio(Run::per_second),
            format!("{:.0} MB", of(kind, |run| run.memory.0 as f64) / 1e6),
            format!("{:.0} MB", of(kind, |run| run.memory.1 as f64) / 1e6),
            count(of(kind, |run| run.refused as f64)),
        ]);
    }
}

/// Logs and spans, which only we take.
///
/// # Errors
///
/// When the server does not start or a request fails.
pub fn records_step(setting: &Setting) -> Result<String> {
    let (n, rounds) = if setting.is_quick { (20, 1) } else { (300, 3) };
    let end_ns = clock::epoch_ms().unsigned_abs() * 1_000_000;
    let mut text = "## Ingest of logs and spans\n\nOTLP/HTTP, not compressed, 8 connections, the log synced before each answer. MB are of \
                    the records as lines of JSON.\n\n".to_owned();
    let mut table = Table::new(&[
        "Signal",
        "records",
        "records/s",
        "records per CPU s",
        "JSON MB/s",
        "JSON MB per CPU s",
        "peak RSS",
        "refused",
    ]);
    let streams = [
        ("logs", logs(n, CLIENTS, end_ns, &setting.dir)?),
        ("spans", spans(n, CLIENTS, end_ns, &setting.dir)?),
    ];
    for (name, stream) in &streams {
        let runs: Vec<Run> =
            (0..rounds).map(|_| one(setting, Kind::Headrope, stream)).collect::<Result<_>>()?;
        let of = |figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        let mb_each = stream.plain_bytes as f64 / stream.items() as f64 / 1e6;
        let mb = |rate: f64| match stream.plain_bytes {
            0 => "-".to_owned(),
            _ => format!("{:.0}", rate * mb_each),
        };
        let (rate, cpu_rate) = (of(&Run::per_second), of(&Run::per_cpu_second));
        table.row(&[
            (*name).to_owned(),
            count(stream.items() as f64),
            count(rate),
            count(cpu_rate),
            mb(rate),
            mb(cpu_rate),
            megabytes(runs.iter().map(|run| run.memory.1).max().unwrap_or(0)),
            count(of(&|run| run.refused as f64)),
        ]);
    }
    text.push_str(&table.finish());
    Ok(text)
}
