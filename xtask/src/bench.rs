//! `make bench`: the figures of docs/guide/performance.md, taken on this machine with release binaries.
//!
//! Everything it starts listens on loopback, works in a folder of its own below the target folder, and is ended by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{run, shell, ui};

/// How long the agent is watched when nobody says otherwise.
const AGENT_SECONDS: u64 = 300;
/// Kernel ticks a second in `/proc/PID/stat`, on every Linux we run on.
const TICKS_PER_S: f64 = 100.0;

/// `cargo xtask bench [SECONDS]`: sizes, start-up, ingest rate, and the agent's cost over SECONDS.
pub(crate) fn bench(args: &[String]) -> Result<()> {
    let seconds = match args.first() {
        Some(text) => text.parse().with_context(|| format!("`{text}` is no number of seconds"))?,
        None => AGENT_SECONDS,
    };
    ui::build()?;
    run::build(run::Profile::Release)?;
    let release = shell::target_dir().join("release");
    sizes(&release)?;
    let work = shell::target_dir().join("bench");
    drop(fs::remove_dir_all(&work)); // Absent at first.
    fs::create_dir_all(&work)?;
    start_up(&release, &work)?;
    agent(&release, &work, seconds)?;
    shell::say("== ingest: OTLP metrics, 8 attributes a point, fsync before the answer")?;
    shell::run(shell::cargo().args([
        "bench",
        "--quiet",
        "--package",
        "collector",
        "--bench",
        "otlp",
    ]))
}

fn sizes(release: &Path) -> Result<()> {
    shell::say("== sizes")?;
    for name in ["headrope", "headrope-agent"] {
        let bytes = fs::metadata(release.join(name)).with_context(|| name.to_owned())?.len();
        shell::say(&format!("  {name:<16}{:>7.1} MB", megabytes(bytes)))?;
    }
    Ok(())
}

/// A server on free ports, ended when it goes out of scope.
struct Server {
    child: Child,
    data: PathBuf,
}

impl Server {
    /// Starts one and waits until it is ready; also gives the time that took.
    fn start(release: &Path, data: PathBuf) -> Result<(Self, Duration)> {
        let any = "127.0.0.1:0";
        let started = now();
        let mut command = Command::new(release.join("headrope"));
        command.args([
            "run",
            "--no-agent",
            "--listen",
            any,
            "--otlp-grpc",
            any,
            "--otlp-http",
            any,
        ]);
        command.arg("--data-dir").arg(&data).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot start headrope")?;
        let mut server = Self { child, data };
        while !server.data.join("addresses.json").exists() {
            if let Some(status) = server.child.try_wait()? {
                bail!("headrope ended before it was ready: {status}");
            }
            pause(Duration::from_millis(1));
        }
        Ok((server, started.elapsed()))
    }

    fn address(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.data.join("addresses.json"))?;
        let value =
            text.split(&format!("\"{name}\": \"")).nth(1).and_then(|rest| rest.split('"').next());
        Ok(value.with_context(|| format!("no {name} in addresses.json"))?.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start_up(release: &Path, work: &Path) -> Result<()> {
    let mut times = Vec::new();
    for n in 0..5 {
        let (_server, time) = Server::start(release, work.join(format!("start-{n}")))?;
        times.push(time);
    }
    times.sort();
    shell::say("== start to ready, empty store")?;
    shell::say(&format!("  median of 5 {:>8.0} ms", times[2].as_secs_f64() * 1000.0))
}

/// What the agent costs while it sends to a server of the same release.
fn agent(release: &Path, work: &Path, seconds: u64) -> Result<()> {
    let (server, _) = Server::start(release, work.join("agent"))?;
    let url = format!("http://{}", server.address("otlp_http")?);
    let mut command = Command::new(release.join("headrope-agent"));
    command.args(["--server", &url]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context("cannot start headrope-agent")?;
    shell::say(&format!("== agent, default settings, {seconds} s"))?;
    pause(Duration::from_secs(10)); // Its start is not its steady state.
    let before = cpu_seconds(child.id());
    let started = now();
    pause(Duration::from_secs(seconds));
    let share = (cpu_seconds(child.id())? - before?) / started.elapsed().as_secs_f64();
    let rss = resident_bytes(child.id());
    drop(child.kill());
    drop(child.wait());
    shell::say(&format!("  CPU  {:>8.2} % of a core", share * 100.0))?;
    shell::say(&format!("  RSS  {:>8.1} MB", megabytes(rss?)))
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split(' ').skip(12).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_S)
}

fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 =
        line.and_then(|l| l.trim().split(' ').next()?.parse().ok()).context("no VmRSS")?;
    Ok(kib * 1024)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people to read")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "there is no runtime here to sleep on")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
