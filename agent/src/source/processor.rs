//! Processors: how many cores, how fast they run, and how long work waited for each.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Context, Pace, Source, malformed};
use crate::kernel::{Buffer, KernelFile, Roots, text};
use crate::round::{Metric, Round, attr};

static PHYSICAL: Metric =
    Metric::up_down("system.cpu.physical.count", "{cpu}", "Processor cores, hyper-threads aside.");
static FREQUENCY: Metric = Metric::gauge(
    "system.cpu.frequency",
    "Hz",
    "Present clock rate of a logical processor, where the kernel governs it.",
);
static WAIT_TIME: Metric = Metric::counter(
    "system.cpu.linux.run_queue.wait_time",
    "s",
    "Time runnable tasks waited for the logical processor.",
);

const LOGICAL_NUMBER: &str = "cpu.logical_number";
/// More than any machine Linux runs on.
const PROCESSORS_MAX: usize = 8_192;

/// Reads `sys/devices/system/cpu`.
pub(crate) struct Topology {
    cpus: PathBuf,
}

impl Topology {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self { cpus: roots.sys("devices/system/cpu") }
    }
}

impl Source for Topology {
    fn name(&self) -> &'static str {
        "topology"
    }

    fn pace(&self) -> Pace {
        Pace::Storage
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let mut cores = BTreeSet::new();
        for entry in std::fs::read_dir(&self.cpus)?.take(PROCESSORS_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.as_encoded_bytes().strip_prefix(b"cpu").and_then(text::number);
            let Some(number) = number else { continue };
            let mut field = |file: &str| value(&entry.path().join(file), &mut context.buffer);
            // A processor that is offline has no topology.
            let package = field("topology/physical_package_id");
            cores.extend(package.zip(field("topology/core_id")));
            if let Some(khz) = field("cpufreq/scaling_cur_freq") {
                let number: Arc<str> = number.to_string().into();
                round.record(&FREQUENCY, [attr(LOGICAL_NUMBER, &number)], khz as f64 * 1e3);
            }
        }
        if cores.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        round.record(&PHYSICAL, [], cores.len() as u64);
        Ok(())
    }
}

fn value(path: &Path, buffer: &mut Buffer) -> Option<u64> {
    let mut file = KernelFile::new(path.to_owned());
    text::fields(file.read(buffer).ok()?).next().and_then(text::number)
}

/// Reads `schedstat`, which not every kernel has.
pub(crate) struct Scheduler {
    schedstat: KernelFile,
    numbers: BTreeMap<u64, Arc<str>>,
}

impl Scheduler {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self { schedstat: KernelFile::new(roots.proc("schedstat")), numbers: BTreeMap::new() }
    }
}

impl Source for Scheduler {
    fn name(&self) -> &'static str {
        "scheduler"
    }

    fn pace(&self) -> Pace {
        Pace::Process
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let content = self.schedstat.read(&mut context.buffer)?;
        let mut understood = false;
        for line in text::lines(content) {
            let mut fields = text::fields(line);
            let name = fields.next().and_then(|name| name.strip_prefix(b"cpu"));
            // Running, waiting (both ns) and timeslices are the last of nine columns in every version of the file.
            let waited = fields.nth(7).and_then(text::number);
            let (Some(number), Some(waited)) = (name.and_then(text::number), waited) else {
                continue;
            };
            if self.numbers.len() >= PROCESSORS_MAX {
                break;
            }
            understood = true;
            let number = self.numbers.entry(number).or_insert_with(|| number.to_string().into());
            round.record(&WAIT_TIME, [attr(LOGICAL_NUMBER, &*number)], waited as f64 / 1e9);
        }
        if understood { Ok(()) } else { Err(malformed("`schedstat` has no line of a processor")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    #[test]
    fn threads_of_a_core_count_once() {
        let fixture = Fixture::new(&[("sys/devices/system/cpu/cpufreq/x", "")]);
        for (cpu, core) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
            let dir = format!("sys/devices/system/cpu/cpu{cpu}");
            fixture.write(&format!("{dir}/topology/physical_package_id"), "0\n");
            fixture.write(&format!("{dir}/topology/core_id"), &format!("{core}\n"));
        }
        fixture.write("sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq", "2400000\n");
        let round = fixture.sample(&mut Topology::new(fixture.roots()));
        assert_eq!(round.value("system.cpu.physical.count", &[]), 2.0);
        assert_eq!(round.value("system.cpu.frequency", &[(LOGICAL_NUMBER, "3")]), 2.4e9);
    }

    #[test]
    fn waiting_is_the_eighth_column() {
        let text = "version 15\ntimestamp 1\ncpu0 0 0 1 2 3 4 5000000000 2500000000 9\n\
            domain0 3 1 2 3 4 5 6 7 8 9\ncpu1 0 0\n";
        let fixture = Fixture::new(&[("proc/schedstat", text)]);
        let round = fixture.sample(&mut Scheduler::new(fixture.roots()));
        assert_eq!(
            round.value("system.cpu.linux.run_queue.wait_time", &[(LOGICAL_NUMBER, "0")]),
            2.5
        );
        fixture.write("proc/schedstat", "version 99\n");
        assert!(fixture.try_sample(&mut Scheduler::new(fixture.roots())).is_err());
    }
}
