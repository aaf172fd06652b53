//! What a process costs, from `/proc`, and ending it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock;

/// Kernel ticks a second in `/proc/PID/stat`, on every Linux we run on.
const TICKS_PER_S: f64 = 100.0;
/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process of ours. Dropping it kills it.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command`, its output to `log`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = fs::File::create(log).with_context(|| log.display().to_string())?;
        let err = out.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {name}"))?, name })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    ///
    /// With its exit status.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended: {status}", self.name),
            None => Ok(()),
        }
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub fn stop(mut self) -> Result<()> {
        let id =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no number")?;
        kill_process(id, Signal::TERM)?;
        let asked = clock::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > PATIENCE {
                bail!("{} does not stop", self.name);
            }
            clock::pause(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// CPU seconds, user and system, of process `pid` so far.
///
/// # Errors
///
/// When there is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split(' ').skip(12).take(2);
    Ok(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_S)
}

/// Bytes of memory of process `pid`: resident now, and at most so far.
///
/// # Errors
///
/// When there is no such process.
pub fn memory_bytes(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().split(' ').next()?.parse().ok()
    };
    let (now, peak) = (kib("VmRSS:").context("no VmRSS")?, kib("VmHWM:").context("no VmHWM")?);
    Ok((now * 1024, peak * 1024))
}

/// Bytes of the files below `dir` for which `wanted` holds.
///
/// # Errors
///
/// When a folder cannot be read; files that vanish meanwhile count nothing.
pub fn disk_bytes(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let Ok(facts) = path.symlink_metadata() else { continue };
        if facts.is_dir() {
            total += disk_bytes(&path, wanted).unwrap_or(0);
        } else if wanted(&path) {
            total += facts.len();
        }
    }
    Ok(total)
}
