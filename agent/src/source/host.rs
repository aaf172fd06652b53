//! Load, uptime and the kernel's limits: files of one line.

use std::io;

use super::{Context, Pace, Source, malformed};
use crate::kernel::{KernelFile, Roots, text};
use crate::round::{Metric, Round};

static LOAD_1M: Metric =
    Metric::gauge("system.cpu.load_average.1m", "{thread}", "Average run queue over 1 minute.");
static LOAD_5M: Metric =
    Metric::gauge("system.cpu.load_average.5m", "{thread}", "Average run queue over 5 minutes.");
static LOAD_15M: Metric =
    Metric::gauge("system.cpu.load_average.15m", "{thread}", "Average run queue over 15 minutes.");
static UPTIME: Metric = Metric::gauge("system.uptime", "s", "Time since the host booted.");
static BOOT_TIME: Metric =
    Metric::gauge("system.boot.time", "s", "When the host booted, in seconds since the epoch.");
static FILES: Metric = Metric::up_down(
    "system.file_descriptor.usage",
    "{file_descriptor}",
    "File handles in use on the whole host.",
);
static FILES_LIMIT: Metric = Metric::up_down(
    "system.file_descriptor.limit",
    "{file_descriptor}",
    "File handles the kernel allows.",
);
static THREADS_LIMIT: Metric =
    Metric::up_down("system.process.limit", "{thread}", "Threads the kernel allows.");

/// Reads `loadavg`.
pub(crate) struct Load(KernelFile);

impl Load {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self(KernelFile::new(roots.proc("loadavg")))
    }
}

impl Source for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let content = self.0.read(&mut context.buffer)?;
        let mut averages = text::fields(content).map_while(text::decimal);
        for metric in [&LOAD_1M, &LOAD_5M, &LOAD_15M] {
            let average = averages.next().ok_or_else(|| malformed("`loadavg` is short"))?;
            round.record(metric, [], average);
        }
        Ok(())
    }
}

/// Reads `uptime`.
pub(crate) struct Uptime(KernelFile);

impl Uptime {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self(KernelFile::new(roots.proc("uptime")))
    }
}

impl Source for Uptime {
    fn name(&self) -> &'static str {
        "uptime"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let content = self.0.read(&mut context.buffer)?;
        let uptime = text::fields(content).next().and_then(text::decimal);
        round.record(&UPTIME, [], uptime.ok_or_else(|| malformed("`uptime` holds no number"))?);
        round.record(&BOOT_TIME, [], round.boot.s() as f64);
        Ok(())
    }
}

/// Reads `file-nr`, `pid_max` and `threads-max`.
pub(crate) struct Limits {
    files: KernelFile,
    pids: KernelFile,
    threads: KernelFile,
}

impl Limits {
    pub(crate) fn new(roots: &Roots) -> Self {
        let file = |path| KernelFile::new(roots.proc(path));
        Self {
            files: file("sys/fs/file-nr"),
            pids: file("sys/kernel/pid_max"),
            threads: file("sys/kernel/threads-max"),
        }
    }
}

impl Source for Limits {
    fn name(&self) -> &'static str {
        "limits"
    }

    fn pace(&self) -> Pace {
        Pace::Process
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let ([allocated, unused, max], len) =
            text::numbers::<3>(self.files.read(&mut context.buffer)?);
        if len < 3 {
            return Err(malformed("`file-nr` is short"));
        }
        round.record(&FILES, [], allocated.saturating_sub(unused));
        round.record(&FILES_LIMIT, [], max);
        let limit = |file: &mut KernelFile, context: &mut Context| {
            text::fields(file.read(&mut context.buffer).ok()?).next().and_then(text::number)
        };
        // Each thread takes a pid, so the smaller of the two is what holds.
        let limits = [limit(&mut self.pids, context), limit(&mut self.threads, context)];
        if let Some(limit) = limits.into_iter().flatten().min() {
            round.record(&THREADS_LIMIT, [], limit);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    #[test]
    fn one_line_files_are_read() {
        let fixture = Fixture::new(&[
            ("proc/loadavg", "0.25 1.50 12.00 3/456 789\n"),
            ("proc/uptime", "350735.47 234388.90\n"),
            ("proc/sys/fs/file-nr", "1952\t32\t9223372036854775807\n"),
            ("proc/sys/kernel/pid_max", "32768\n"),
            ("proc/sys/kernel/threads-max", "63000\n"),
        ]);
        let round = fixture.sample(&mut Load::new(fixture.roots()));
        assert_eq!(round.value("system.cpu.load_average.15m", &[]), 12.0);
        let round = fixture.sample(&mut Uptime::new(fixture.roots()));
        assert_eq!(round.value("system.uptime", &[]), 350_735.47);
        let round = fixture.sample(&mut Limits::new(fixture.roots()));
        assert_eq!(round.value("system.file_descriptor.usage", &[]), 1920.0);
        assert_eq!(round.value("system.process.limit", &[]), 32768.0);
    }

    #[test]
    fn missing_and_short_files_are_told_apart() {
        let fixture = Fixture::new(&[("proc/loadavg", "0.25 1.50")]);
        let kind = |source: &mut dyn Source| fixture.try_sample(source).expect_err("bad").kind();
        assert_eq!(kind(&mut Load::new(fixture.roots())), io::ErrorKind::InvalidData);
        assert_eq!(kind(&mut Uptime::new(fixture.roots())), io::ErrorKind::NotFound);
        assert_eq!(kind(&mut Limits::new(fixture.roots())), io::ErrorKind::NotFound);
    }
}
