//! What the programs cost by themselves: bytes on disk, time to start, and the agent while it watches.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Setting;
use crate::clock;
use crate::peer::{Kind, Peer};
use crate::process::{Process, cpu_seconds, memory_bytes};
use crate::report::{Table, median, megabytes};

/// Starts of which the median is taken.
const STARTS: usize = 5;
/// The agent's start is not its steady state.
const WARM_UP: Duration = Duration::from_secs(10);

/// Sizes of the programs, start to ready of an empty store, and the agent's share of a core over some minutes.
///
/// # Errors
///
/// When a program does not start.
pub fn cost_step(setting: &Setting) -> Result<String> {
    let mut table = Table::new(&["What", "Figure"]);
    let agent = setting.headrope.with_file_name("headrope-agent");
    for program in [&setting.headrope, &agent] {
        let bytes = fs::metadata(program).with_context(|| program.display().to_string())?.len();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        table.row(&[format!("size of `{name}`"), megabytes(bytes)]);
    }
    let mut starts_ms = Vec::new();
    for _ in 0..STARTS {
        let begin = clock::now();
        let peer = Peer::start(Kind::Headrope, &setting.headrope, &setting.dir)?;
        starts_ms.push(begin.elapsed().as_secs_f64() * 1e3);
        peer.stop()?;
    }
    let start = format!("{:.0} ms, median of {STARTS}", median(starts_ms));
    table.row(&["start to ready, empty store".to_owned(), start]);
    let seconds = if setting.is_quick { 20 } else { 300 };
    let (share, resident) = watch(setting, &agent, Duration::from_secs(seconds))?;
    let name = format!("agent, default settings, {seconds} s");
    let cost = format!("{:.2} % of a core, {} resident", share * 100.0, megabytes(resident));
    table.row(&[name, cost]);
    Ok(format!("## Programs\n\n{}", table.finish()))
}

/// The agent's share of a core and its resident bytes while it sends to a server of the same build.
fn watch(setting: &Setting, agent: &Path, time: Duration) -> Result<(f64, u64)> {
    let server = Peer::start(Kind::Headrope, &setting.headrope, &setting.dir)?;
    let mut command = Command::new(agent);
    let otlp = server.otlp.as_deref().context("no OTLP address")?;
    command.args(["--server", &format!("http://{otlp}")]);
    let watcher = Process::start(&mut command, &setting.dir.join("agent.log"))?;
    clock::pause(WARM_UP);
    let (begin, before) = (clock::now(), cpu_seconds(watcher.id())?);
    clock::pause(time);
    let share = (cpu_seconds(watcher.id())? - before) / begin.elapsed().as_secs_f64();
    let (resident, _) = memory_bytes(watcher.id())?;
    watcher.stop()?;
    server.stop()?;
    Ok((share, resident))
}
