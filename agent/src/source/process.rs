//! Processes: how many in which state, and what those of each executable use.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Context, Pace, Source};
use crate::kernel::Roots;
use crate::round::{Metric, Round, attr};

mod group;
pub(crate) mod stat;
mod table;

use group::{Accumulator, Group, Row};
use table::Table;

static STATES: Metric =
    Metric::up_down("system.process.count", "{process}", "Processes of the host by state.");
static COUNT: Metric =
    Metric::up_down("process.count", "{process}", "Processes that run the executable.");
static CPU_TIME: Metric = Metric::counter(
    "process.cpu.time",
    "s",
    "Processor time of all processes of the executable since the agent first showed it.",
);
static MEMORY: Metric = Metric::up_down(
    "process.memory.usage",
    "By",
    "Resident memory, shared pages counted once per process.",
);
static VIRTUAL: Metric =
    Metric::up_down("process.memory.virtual", "By", "Address space of all processes.");
static DISK_IO: Metric =
    Metric::counter("process.disk.io", "By", "Bytes fetched from and sent to the storage layer.");
static THREADS: Metric = Metric::up_down("process.thread.count", "{thread}", "Threads.");
static DESCRIPTORS: Metric = Metric::up_down(
    "process.unix.file_descriptor.count",
    "{file_descriptor}",
    "Open file descriptors.",
);
static FAULTS: Metric = Metric::counter(
    "process.paging.faults",
    "{fault}",
    "Page faults; major ones waited for a disk.",
);

const NAME: &str = "process.executable.name";
const DIRECTION: &str = "disk.io.direction";
const FAULT_TYPE: &str = "system.paging.fault.type";
const CAPABILITY: &str = "CAP_SYS_PTRACE";
/// Its bit in `CapEff`.
const CAPABILITY_BIT: u32 = 19;

/// Reads `PID/stat`, `PID/io`, `PID/exe` and the size of `PID/fd`.
pub(crate) struct Processes {
    table: Table,
    top_n: usize,
    sums: Option<Accumulator>,
    ticks_per_s: f64,
    /// Whether we may look into other users' processes. Even then some are closed to us: those of other user
    /// namespaces, or what a security module protects.
    capable: bool,
}

impl Processes {
    pub(crate) fn new(roots: &Roots, top_n: usize) -> Self {
        Self {
            table: Table::new(roots.proc("")),
            top_n,
            sums: None,
            ticks_per_s: rustix::param::clock_ticks_per_second() as f64,
            capable: capable(roots),
        }
    }
}

/// Whether `self/status` shows the capability in effect.
fn capable(roots: &Roots) -> bool {
    let status = std::fs::read_to_string(roots.proc("self/status")).unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|bits| bits >> CAPABILITY_BIT & 1 == 1)
}

impl Source for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn pace(&self) -> Pace {
        Pace::Process
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let mut groups: BTreeMap<Arc<str>, Group> = BTreeMap::new();
        let mut states = [("running", 0_u64), ("sleeping", 0), ("stopped", 0), ("defunct", 0)];
        let denied = self.table.scan(&mut context.buffer, |reading| {
            let state = match reading.state {
                b'R' => 0,
                b'T' | b't' => 2,
                b'Z' | b'X' | b'x' => 3,
                _ => 1,
            };
            states[state].1 += 1;
            groups.entry(reading.name).or_default().add(reading.grown, reading.levels);
        })?;
        note_rights(context, denied && !self.capable);
        for (state, count) in states {
            round.record(&STATES, [attr("process.state", state)], count);
        }
        let sums = self.sums.get_or_insert_with(|| Accumulator::new(self.top_n, round.at));
        for row in sums.round(round.at, &groups) {
            record(&row, self.ticks_per_s, round);
        }
        Ok(())
    }
}

fn record(row: &Row, ticks_per_s: f64, round: &mut Round) {
    let name = || attr(NAME, &row.name);
    let (start, total, levels) = (row.start, row.total, row.levels);
    for (mode, ticks) in [("user", total.user_ticks), ("system", total.system_ticks)] {
        let seconds = ticks as f64 / ticks_per_s;
        round.record_since(start, &CPU_TIME, [name(), attr("cpu.mode", mode)], seconds);
    }
    for (direction, bytes) in [("read", total.read_bytes), ("write", total.written_bytes)] {
        round.record_since(start, &DISK_IO, [name(), attr(DIRECTION, direction)], bytes);
    }
    for (fault_type, faults) in [("major", total.major_faults), ("minor", total.minor_faults)] {
        round.record_since(start, &FAULTS, [name(), attr(FAULT_TYPE, fault_type)], faults);
    }
    let levels = [
        (&COUNT, levels.processes),
        (&MEMORY, levels.resident_bytes),
        (&VIRTUAL, levels.virtual_bytes),
        (&THREADS, levels.threads),
        (&DESCRIPTORS, levels.descriptors),
    ];
    for (metric, level) in levels {
        round.record(metric, [name()], level);
    }
}

fn note_rights(context: &Context, missing: bool) {
    if !context.ledger.lacks(CAPABILITY, missing) {
        return;
    }
    if missing {
        let consequence =
            "no disk I/O of other users' processes, and their names from the command line";
        warn!(capability = CAPABILITY, consequence, "a right is missing");
    } else {
        info!(capability = CAPABILITY, "the right is there now");
    }
}

#[cfg(test)]
mod tests;
