//! Memory of active series: a million of them, each with two samples.

use std::fs;

use anyhow::Result;

use super::Setting;
use crate::clock;
use crate::drive::send;
use crate::fleet::Fleet;
use crate::peer::Peer;
use crate::process::memory_bytes;
use crate::report::{Table, count, megabytes};
use crate::stream::{Load, Protocol, metrics};

/// Resident bytes of each server before and after it knows the series.
///
/// # Errors
///
/// When a server does not start or a request fails.
pub fn series_step(setting: &Setting) -> Result<String> {
    // Just below the limit that is ours by default.
    let n_series = if setting.is_quick { 20_000 } else { 990_000 };
    let mut fleet = Fleet::new(n_series, 15_000, clock::epoch_ms() - 45_000);
    let protocol = Protocol::RemoteWrite1;
    let load = Load { protocol, first: 0, scrapes: 2, clients: 4, targets_per_request: 10 };
    let stream = metrics(&mut fleet, load, &setting.dir)?;
    drop(fleet);
    let mut table = Table::new(&[
        "Server",
        "RSS before",
        "RSS after",
        "peak",
        "bytes a series",
        "new series per CPU s",
    ]);
    for &kind in setting.kinds() {
        let peer = Peer::start(kind, &setting.headrope, &setting.dir)?;
        let (before, _) = memory_bytes(peer.id())?;
        let run = send(&stream, &peer)?;
        let (after, peak) = run.memory;
        table.row(&[
            kind.name().to_owned(),
            megabytes(before),
            megabytes(after),
            megabytes(peak),
            format!("{:.0}", after.saturating_sub(before) as f64 / n_series as f64),
            count(n_series as f64 / run.cpu_s),
        ]);
        drop(fs::remove_dir_all(peer.stop()?));
    }
    let head = format!(
        "## Memory of series\n\n{} new series by remote write, two samples each. Resident memory holds everything: program, log buffers, \
         samples, what was freed but not given back.\n\n",
        count(n_series as f64)
    );
    Ok(head + &table.finish())
}
