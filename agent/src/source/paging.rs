//! Paging: faults, operations and kills from `vmstat`, swap space from `swaps`.

use std::io;
use std::sync::Arc;

use super::{Context, Pace, ROWS_MAX, Source, malformed, share};
use crate::kernel::{KernelFile, Roots, text};
use crate::round::{Metric, Round, attr};

static FAULTS: Metric = Metric::counter(
    "system.paging.faults",
    "{fault}",
    "Page faults; major ones waited for a disk.",
);
static OPERATIONS: Metric = Metric::counter(
    "system.paging.operations",
    "{operation}",
    "Pages moved from and to swap (major), and from and to block devices (minor).",
);
static OOM_KILLS: Metric = Metric::counter(
    "system.memory.linux.oom_kills",
    "{kill}",
    "Processes the kernel killed for want of memory.",
);
static USAGE: Metric = Metric::up_down("system.paging.usage", "By", "Swap space by state.");
static UTILIZATION: Metric =
    Metric::gauge("system.paging.utilization", "1", "Share of swap space in each state.");

const FAULT_TYPE: &str = "system.paging.fault.type";
const DIRECTION: &str = "system.paging.direction";

/// Reads `vmstat`.
pub(crate) struct Paging(KernelFile);

impl Paging {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self(KernelFile::new(roots.proc("vmstat")))
    }
}

impl Source for Paging {
    fn name(&self) -> &'static str {
        "paging"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let content = self.0.read(&mut context.buffer)?;
        let (mut faults, mut major) = (None, None);
        for line in text::lines(content) {
            let mut fields = text::fields(line);
            let (Some(key), Some(value)) = (fields.next(), fields.next().and_then(text::number))
            else {
                continue;
            };
            let (fault_type, direction) = match key {
                b"pgfault" => {
                    faults = Some(value);
                    continue;
                }
                b"pgmajfault" => {
                    major = Some(value);
                    continue;
                }
                b"oom_kill" => {
                    round.record(&OOM_KILLS, [], value);
                    continue;
                }
                b"pswpin" => ("major", "in"),
                b"pswpout" => ("major", "out"),
                b"pgpgin" => ("minor", "in"),
                b"pgpgout" => ("minor", "out"),
                _ => continue,
            };
            round.record(
                &OPERATIONS,
                [attr(FAULT_TYPE, fault_type), attr(DIRECTION, direction)],
                value,
            );
        }
        let (Some(faults), Some(major)) = (faults, major) else {
            return Err(malformed("`vmstat` has no pgfault or no pgmajfault"));
        };
        round.record(&FAULTS, [attr(FAULT_TYPE, "major")], major);
        round.record(&FAULTS, [attr(FAULT_TYPE, "minor")], faults.saturating_sub(major));
        Ok(())
    }
}

/// Reads `swaps`.
pub(crate) struct Swap(KernelFile);

impl Swap {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self(KernelFile::new(roots.proc("swaps")))
    }
}

impl Source for Swap {
    fn name(&self) -> &'static str {
        "swap"
    }

    fn pace(&self) -> Pace {
        Pace::Process
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let content = self.0.read(&mut context.buffer)?;
        // After the heading, a line each: name, type, size and used in KiB, priority.
        for line in text::lines(content).skip(1).take(ROWS_MAX) {
            let mut fields = text::fields(line);
            let Some(device) = fields.next() else { continue };
            let mut sizes = fields.skip(1).map_while(text::number);
            let (Some(size), Some(used)) = (sizes.next(), sizes.next()) else { continue };
            let device: Arc<str> = String::from_utf8_lossy(device).into();
            let used = used.min(size);
            for (state, kib) in [("used", used), ("free", size - used)] {
                let attributes =
                    [attr("system.device", &device), attr("system.paging.state", state)];
                round.record(&USAGE, attributes.clone(), kib.saturating_mul(1024));
                if size > 0 {
                    round.record(&UTILIZATION, attributes, share(kib as f64, size as f64));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    #[test]
    fn minor_faults_are_all_but_the_major_ones() {
        let vmstat = "nr_free_pages 9\npgpgin 1\npgpgout 2\npswpin 3\npswpout 4\npgfault 100\npgmajfault 7\noom_kill 1\n";
        let fixture = Fixture::new(&[("proc/vmstat", vmstat)]);
        let round = fixture.sample(&mut Paging::new(fixture.roots()));
        assert_eq!(round.value("system.paging.faults", &[(FAULT_TYPE, "minor")]), 93.0);
        assert_eq!(
            round.value("system.paging.operations", &[(FAULT_TYPE, "major"), (DIRECTION, "out")]),
            4.0
        );
        assert_eq!(round.value("system.memory.linux.oom_kills", &[]), 1.0);
        fixture.write("proc/vmstat", "pgfault\n");
        assert!(fixture.try_sample(&mut Paging::new(fixture.roots())).is_err());
    }

    #[test]
    fn swap_is_reported_by_device() {
        let swaps = "Filename Type Size Used Priority\n/dev/sda2 partition 1000 250 -2\n/swap file x y -3\n";
        let fixture = Fixture::new(&[("proc/swaps", swaps)]);
        let round = fixture.sample(&mut Swap::new(fixture.roots()));
        let used = &[("system.device", "/dev/sda2"), ("system.paging.state", "used")];
        assert_eq!(round.value("system.paging.usage", used), 256_000.0);
        assert_eq!(round.value("system.paging.utilization", used), 0.25);
        assert_eq!(round.count("system.paging.usage"), 2, "a line we cannot read is skipped");
    }
}
