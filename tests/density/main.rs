//! Density: bytes a sample on disk, of recordings of this host and of a made-up fleet, ours against VictoriaMetrics.
//!
//! `density RECORDINGS WORK [--quick]`, started by `cargo xtask bench`; prints a section of the report. Samples go through the
//! store's public API with a clock of their own, are flushed and compacted until nothing changes, and read back bit for bit.

mod records;
mod shelf;

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use load::clock;
use load::drive::send;
use load::fleet::Fleet;
use load::peer::{Kind, Peer};
use load::process::disk_bytes;
use load::recording::{Recording, Series};
use load::report::{Table, count};
use load::stream::recorded;
use shelf::Shelf;

/// Time between two samples of a recording, in ms.
const INTERVALS_MS: [i64; 2] = [1_000, 10_000];
/// Recordings, by file name.
const RECORDINGS: [&str; 2] = ["node-exporter-1s", "agent-1s"];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [recordings, work, rest @ ..] = &args[..] else {
        bail!("usage: density RECORDINGS WORK [--quick]");
    };
    let is_quick = rest.iter().any(|arg| arg == "--quick");
    let mut inputs = Vec::new();
    for name in RECORDINGS {
        let path = Path::new(recordings).join(name).with_extension("rec");
        let Ok(recording) = Recording::read(&path) else { continue };
        for interval_ms in INTERVALS_MS {
            let title = format!("{name}, thinned to {} s", interval_ms / 1_000);
            inputs.push((title, recording.thinned(interval_ms)));
        }
    }
    inputs.push(("made-up fleet at 10 s".to_owned(), fleet(if is_quick { 360 } else { 8_640 })));
    fs::create_dir_all(work)?;
    let text = measure(&inputs, Path::new(work))? + &records::measure(Path::new(work), is_quick)?;
    writeln!(std::io::stdout().lock(), "{}", text.trim_end()).context("cannot write")
}

/// 2,000 series of four hosts at 10 s.
fn fleet(scrapes: i64) -> Recording {
    const INTERVAL_MS: i64 = 10_000;
    let start_ms = clock::epoch_ms() - (scrapes + 1) * INTERVAL_MS;
    let mut fleet = Fleet::new(2_000, INTERVAL_MS, start_ms);
    let mut recording = Recording::default();
    for series in &fleet.series {
        let mut labels: Vec<_> =
            series.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        labels.push(("__name__".to_owned(), series.name.to_owned()));
        labels.sort();
        let is_counter = series.is_counter;
        recording.series.push(Series { labels, is_counter, samples: Vec::new() });
    }
    for k in 0..scrapes {
        for place in 0..recording.series.len() {
            let (of, time_ms) =
                (&fleet.series[place], fleet.time_ms(fleet.series[place].target, k));
            recording.series[place].samples.push((time_ms, of.value().to_bits()));
        }
        fleet.advance();
    }
    recording
}

fn measure(inputs: &[(String, Recording)], work: &Path) -> Result<String> {
    let mut sizes = Table::new(&[
        "Data",
        "series",
        "samples",
        "ours, B/sample",
        "sidecars",
        "series table",
        "VictoriaMetrics, B/sample",
        "its index",
        "VM/ours",
    ]);
    let mut columns = Table::new(&["Data", "B/sample by column"]);
    for (title, recording) in inputs {
        writeln!(std::io::stderr().lock(), "density of {title}")?;
        let shelf = Shelf::fill(recording, work)?;
        let theirs = victoria_metrics(recording, work)?;
        let each = |bytes: u64| bytes as f64 / recording.len() as f64;
        sizes.row(&[
            title.clone(),
            recording.series.len().to_string(),
            count(recording.len() as f64),
            format!("**{:.3}**", each(shelf.samples.bytes)),
            format!("{:.3}", each(shelf.samples.sidecars)),
            format!("{:.3}", each(shelf.definitions)),
            format!("{:.3}", each(theirs.data)),
            format!("{:.3}", each(theirs.index)),
            format!("{:.2}", theirs.data as f64 / shelf.samples.bytes as f64),
        ]);
        let by_column =
            shelf.samples.columns.iter().map(|(name, bytes)| format!("{name} {:.3}", each(*bytes)));
        columns.row(&[title.clone(), by_column.collect::<Vec<_>>().join(", ")]);
    }
    let head = "## Density\n\nBytes on disk a sample: everything flushed and compacted to the last level, read back and equal bit for bit; \
                VictoriaMetrics fed the same by remote write, flushed, merged and stopped. Sidecars of samples, and the series and resources tables \
                with theirs, stand beside it, as its index does.\n\n";
    Ok(format!("{head}{}{}", sizes.finish(), columns.finish()))
}

/// Bytes VictoriaMetrics has for a recording.
struct Theirs {
    data: u64,
    index: u64,
}

fn victoria_metrics(recording: &Recording, work: &Path) -> Result<Theirs> {
    let peer = Peer::start(Kind::VictoriaMetrics, Path::new(""), work)?;
    send(&recorded(recording, 0, work)?, &peer)?;
    peer.publish()?;
    peer.merge()?;
    let data = peer.stop()?;
    let all = |_: &Path| true;
    let theirs = Theirs {
        data: disk_bytes(&data.join("data"), &all)?,
        index: disk_bytes(&data.join("indexdb"), &all)?,
    };
    fs::remove_dir_all(data)?;
    Ok(theirs)
}
