//! Memory, from `meminfo`.

use std::io;

use super::{Context, Pace, Source, malformed, share};
use crate::kernel::{KernelFile, Roots, text};
use crate::round::{Metric, Round, attr};

static USAGE: Metric = Metric::up_down(
    "system.memory.usage",
    "By",
    "Memory by state; the states add up to the limit. Reclaimable slab counts as cached.",
);
static UTILIZATION: Metric =
    Metric::gauge("system.memory.utilization", "1", "Share of memory in each state.");
static LIMIT: Metric = Metric::up_down("system.memory.limit", "By", "Memory the kernel manages.");
static AVAILABLE: Metric = Metric::up_down(
    "system.memory.linux.available",
    "By",
    "Memory that can be had without swapping, as the kernel estimates it.",
);
static SHARED: Metric =
    Metric::up_down("system.memory.linux.shared", "By", "Shared memory, tmpfs included.");
static SLAB: Metric =
    Metric::up_down("system.memory.linux.slab.usage", "By", "Kernel slab memory.");
static DIRTY: Metric =
    Metric::up_down("system.memory.linux.dirty", "By", "Pages that wait to be written to disk.");
static WRITEBACK: Metric =
    Metric::up_down("system.memory.linux.writeback", "By", "Pages being written to disk.");
static COMMITTED: Metric =
    Metric::up_down("system.memory.linux.committed", "By", "Memory promised to processes.");
static COMMIT_LIMIT: Metric = Metric::up_down(
    "system.memory.linux.commit_limit",
    "By",
    "Most that strict accounting promises.",
);
static HUGE_LIMIT: Metric =
    Metric::up_down("system.memory.linux.hugepages.limit", "{page}", "Huge pages in the pool.");
static HUGE_USAGE: Metric =
    Metric::up_down("system.memory.linux.hugepages.usage", "{page}", "Huge pages by state.");
static HUGE_RESERVED: Metric =
    Metric::up_down("system.memory.linux.hugepages.reserved", "{page}", "Huge pages promised.");
static HUGE_SURPLUS: Metric = Metric::up_down(
    "system.memory.linux.hugepages.surplus",
    "{page}",
    "Huge pages above the pool.",
);
static HUGE_SIZE: Metric =
    Metric::up_down("system.memory.linux.hugepages.page_size", "By", "Size of a huge page.");

/// The fields of `meminfo` in use. Those a kernel does not have stay `None`.
#[derive(Default)]
struct Meminfo([Option<u64>; KEYS.len()]);

const KEYS: [&[u8]; 19] = [
    b"MemTotal",
    b"MemFree",
    b"MemAvailable",
    b"Buffers",
    b"Cached",
    b"SReclaimable",
    b"SUnreclaim",
    b"Shmem",
    b"Dirty",
    b"Writeback",
    b"CommitLimit",
    b"Committed_AS",
    b"HugePages_Total",
    b"HugePages_Free",
    b"HugePages_Rsvd",
    b"HugePages_Surp",
    b"Hugepagesize",
    b"SwapTotal",
    b"SwapFree",
];

impl Meminfo {
    /// Sizes come in KiB and leave in bytes; counts of pages have no unit and stay as they are.
    fn parse(content: &[u8]) -> Self {
        let mut values = [None; KEYS.len()];
        for line in text::lines(content) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (key, rest) = (&line[..colon], &line[colon + 1..]);
            let Some(place) = KEYS.iter().position(|known| *known == key) else { continue };
            let mut fields = text::fields(rest);
            let value = fields.next().and_then(text::number);
            let factor = if fields.next() == Some(b"kB") { 1024 } else { 1 };
            values[place] = value.map(|value| value.saturating_mul(factor));
        }
        Self(values)
    }

    fn field(&self, key: &[u8]) -> Option<u64> {
        KEYS.iter().position(|known| *known == key).and_then(|place| self.0[place])
    }
}

/// Reads `meminfo`.
pub(crate) struct Memory(KernelFile);

impl Memory {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self(KernelFile::new(roots.proc("meminfo")))
    }
}

impl Source for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let info = Meminfo::parse(self.0.read(&mut context.buffer)?);
        let field = |key| info.field(key);
        let total = field(b"MemTotal").filter(|total| *total > 0);
        let (Some(total), Some(free)) = (total, field(b"MemFree")) else {
            return Err(malformed("`meminfo` has no MemTotal or no MemFree"));
        };
        let buffers = field(b"Buffers").unwrap_or(0);
        let reclaimable = field(b"SReclaimable").unwrap_or(0);
        let cached = field(b"Cached").unwrap_or(0).saturating_add(reclaimable);
        let used = total.saturating_sub(free).saturating_sub(buffers).saturating_sub(cached);
        let states = [("used", used), ("free", free), ("cached", cached), ("buffers", buffers)];
        for (state, bytes) in states {
            round.record(&USAGE, [attr("system.memory.state", state)], bytes);
        }
        for (state, bytes) in states {
            let share = share(bytes as f64, total as f64);
            round.record(&UTILIZATION, [attr("system.memory.state", state)], share);
        }
        round.record(&LIMIT, [], total);
        let optional = [
            (&AVAILABLE, field(b"MemAvailable")),
            (&SHARED, field(b"Shmem")),
            (&DIRTY, field(b"Dirty")),
            (&WRITEBACK, field(b"Writeback")),
            (&COMMITTED, field(b"Committed_AS")),
            (&COMMIT_LIMIT, field(b"CommitLimit")),
        ];
        for (metric, value) in optional {
            if let Some(value) = value {
                round.record(metric, [], value);
            }
        }
        let unreclaimable = field(b"SUnreclaim").unwrap_or(0);
        for (state, bytes) in [("reclaimable", reclaimable), ("unreclaimable", unreclaimable)] {
            round.record(&SLAB, [attr("system.memory.linux.slab.state", state)], bytes);
        }
        huge_pages(&info, round);
        Ok(())
    }
}

/// Only where there is a pool.
fn huge_pages(info: &Meminfo, round: &mut Round) {
    let Some(total) = info.field(b"HugePages_Total").filter(|total| *total > 0) else { return };
    let free = info.field(b"HugePages_Free").unwrap_or(0);
    round.record(&HUGE_LIMIT, [], total);
    for (state, pages) in [("used", total.saturating_sub(free)), ("free", free)] {
        round.record(&HUGE_USAGE, [attr("system.memory.linux.hugepages.state", state)], pages);
    }
    round.record(&HUGE_RESERVED, [], info.field(b"HugePages_Rsvd").unwrap_or(0));
    round.record(&HUGE_SURPLUS, [], info.field(b"HugePages_Surp").unwrap_or(0));
    round.record(&HUGE_SIZE, [], info.field(b"Hugepagesize").unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    const MEMINFO: &str = "MemTotal: 1000 kB\nMemFree: 400 kB\nMemAvailable: 700 kB\nBuffers: 50 kB\n\
        Cached: 200 kB\nShmem: 10 kB\nSReclaimable: 30 kB\nSUnreclaim: 20 kB\nDirty: 3 kB\n\
        HugePages_Total: 8\nHugePages_Free: 3\nHugepagesize: 2048 kB\n";

    #[test]
    fn states_add_up_to_the_limit() {
        let fixture = Fixture::new(&[("proc/meminfo", MEMINFO)]);
        let round = fixture.sample(&mut Memory::new(fixture.roots()));
        let usage = |state| round.value("system.memory.usage", &[("system.memory.state", state)]);
        let states = ["used", "free", "cached", "buffers"].map(usage);
        assert_eq!(states, [320.0, 400.0, 230.0, 50.0].map(|kib| kib * 1024.0));
        assert_eq!(states.iter().sum::<f64>(), round.value("system.memory.limit", &[]));
        assert_eq!(round.value("system.memory.linux.available", &[]), 700.0 * 1024.0);
        assert_eq!(
            round.value("system.memory.utilization", &[("system.memory.state", "free")]),
            0.4
        );
        let used = &[("system.memory.linux.hugepages.state", "used")];
        assert_eq!(round.value("system.memory.linux.hugepages.usage", used), 5.0);
        assert_eq!(round.count("system.memory.linux.writeback"), 0, "the kernel did not say");
    }

    #[test]
    fn nonsense_is_refused_or_bounded() {
        for bad in ["", "MemTotal: 0 kB\nMemFree: 0 kB\n", "MemTotal: x kB\n", ":\n::\nMemFree"] {
            let fixture = Fixture::new(&[("proc/meminfo", bad)]);
            assert!(fixture.try_sample(&mut Memory::new(fixture.roots())).is_err(), "{bad:?}");
        }
        let huge =
            "MemTotal: 18446744073709551615 kB\nMemFree: 1 kB\nCached: 18446744073709551615 kB\n";
        let fixture = Fixture::new(&[("proc/meminfo", huge)]);
        let round = fixture.sample(&mut Memory::new(fixture.roots()));
        assert_eq!(round.value("system.memory.usage", &[("system.memory.state", "used")]), 0.0);
    }
}
