//! Whole disks, from `diskstats`. Partitions, loop devices and RAM disks are left out: their traffic is that of a disk
//! beneath, or of none.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Context, Pace, ROWS_MAX, Source, malformed};
use crate::kernel::{KernelFile, Roots, text};
use crate::round::{Metric, Round, attr};

static IO: Metric = Metric::counter("system.disk.io", "By", "Bytes read and written.");
static OPERATIONS: Metric =
    Metric::counter("system.disk.operations", "{operation}", "Reads and writes completed.");
static MERGED: Metric = Metric::counter(
    "system.disk.merged",
    "{operation}",
    "Reads and writes that were merged with a neighbour before they reached the disk.",
);
static OPERATION_TIME: Metric =
    Metric::counter("system.disk.operation_time", "s", "Time all reads and writes took, added up.");
static IO_TIME: Metric =
    Metric::counter("system.disk.io_time", "s", "Time in which the disk had something to do.");
static WEIGHTED: Metric = Metric::counter(
    "system.disk.weighted_io_time",
    "s",
    "Time in which the disk had something to do, times the operations in flight.",
);
static PENDING: Metric =
    Metric::up_down("system.disk.pending_operations", "{operation}", "Operations in flight.");
static DISCARDS: Metric =
    Metric::counter("system.disk.linux.discards", "{operation}", "Discards completed.");
static FLUSHES: Metric =
    Metric::counter("system.disk.linux.flushes", "{operation}", "Flushes completed.");
static LIMIT: Metric = Metric::up_down("system.disk.limit", "By", "Size of the disk.");

const SECTOR_BYTES: u64 = 512;
const DIRECTION: &str = "disk.io.direction";

/// Lines looked at: disks with all their partitions.
const LINES_MAX: usize = ROWS_MAX * 16;

/// Times in ms that the kernel prints with 32 bits: read, write, busy, weighted.
const WRAPPING: usize = 4;

/// Reads `diskstats`.
pub(crate) struct Disk {
    stats: KernelFile,
    block: PathBuf,
    /// By device: its name as an attribute and its unwrapped times; `None` for what is not a whole disk.
    known: BTreeMap<Vec<u8>, Option<Device>>,
}

struct Device {
    name: Arc<str>,
    times: [Unwrap; WRAPPING],
}

/// A 32-bit counter followed over its end.
#[derive(Clone, Copy, Default)]
struct Unwrap {
    last: u64,
    beyond: u64,
}

impl Unwrap {
    /// The full value. A fall from the upper to the lower half of 32 bits is a wrap, any other fall a reset.
    fn follow(&mut self, value: u64) -> u64 {
        const HALF: u64 = 1 << 31;
        const FULL: u64 = 1 << 32;
        if value < self.last {
            let wrapped = self.last < FULL && self.last >= HALF && value < HALF;
            self.beyond = if wrapped { self.beyond + FULL } else { 0 };
        }
        self.last = value;
        self.beyond.saturating_add(value)
    }
}

impl Disk {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self {
            stats: KernelFile::new(roots.proc("diskstats")),
            block: roots.sys("block"),
            known: BTreeMap::new(),
        }
    }
}

impl Source for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let content = self.stats.read(&mut context.buffer)?;
        let mut understood = content.is_empty();
        let mut rows = 0;
        if self.known.len() > 2 * LINES_MAX {
            self.known.clear(); // Devices come and go for months; only a few are there at a time.
        }
        for line in text::lines(content).take(LINES_MAX) {
            let mut fields = text::fields(line).skip(2);
            let Some(name) = fields.next() else { continue };
            let counts = Counts::parse(fields);
            understood |= counts.is_some();
            let Some(counts) = counts else { continue };
            if !self.known.contains_key(name) {
                let device = whole_disk(&self.block, name).then(|| Device::new(name));
                self.known.insert(name.to_vec(), device);
            }
            if let Some(Some(device)) = self.known.get_mut(name)
                && rows < ROWS_MAX
            {
                rows += 1;
                counts.record(device, round);
            }
        }
        if understood { Ok(()) } else { Err(malformed("`diskstats` has no line as expected")) }
    }
}

impl Device {
    fn new(name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name).into();
        Self { name, times: [Unwrap::default(); WRAPPING] }
    }
}

/// The columns after the device's name.
struct Counts([u64; 17]);

impl Counts {
    fn parse<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let (mut columns, mut len) = ([0; 17], 0);
        for (column, value) in columns.iter_mut().zip(fields.map_while(text::number)) {
            *column = value;
            len += 1;
        }
        (len >= 11).then_some(Self(columns))
    }

    fn record(&self, device: &mut Device, round: &mut Round) {
        let [
            reads,
            reads_merged,
            sectors_read,
            read_ms,
            writes,
            writes_merged,
            sectors_written,
            ..,
        ] = self.0;
        let [.., write_ms, pending, busy_ms, weighted_ms, discards, _, _, _, flushes, _] = self.0;
        if self.0.iter().all(|count| *count == 0) {
            return; // Never used: a slot without a drive, a device the kernel keeps in store.
        }
        let name = Arc::clone(&device.name);
        let seconds = |time: &mut Unwrap, ms| time.follow(ms) as f64 / 1e3;
        let [read_time, write_time, busy_time, weighted_time] = &mut device.times;
        let pair = |direction| [attr("system.device", &name), attr(DIRECTION, direction)];
        let alone = || [attr("system.device", &name)];
        round.record(&IO, pair("read"), sectors_read.saturating_mul(SECTOR_BYTES));
        round.record(&IO, pair("write"), sectors_written.saturating_mul(SECTOR_BYTES));
        round.record(&OPERATIONS, pair("read"), reads);
        round.record(&OPERATIONS, pair("write"), writes);
        round.record(&MERGED, pair("read"), reads_merged);
        round.record(&MERGED, pair("write"), writes_merged);
        round.record(&OPERATION_TIME, pair("read"), seconds(read_time, read_ms));
        round.record(&OPERATION_TIME, pair("write"), seconds(write_time, write_ms));
        round.record(&IO_TIME, alone(), seconds(busy_time, busy_ms));
        round.record(&WEIGHTED, alone(), seconds(weighted_time, weighted_ms));
        round.record(&PENDING, alone(), pending);
        round.record(&DISCARDS, alone(), discards);
        round.record(&FLUSHES, alone(), flushes);
    }
}

/// `sys/block` lists whole disks only; without it the kernel's naming rules tell.
fn whole_disk(block: &std::path::Path, name: &[u8]) -> bool {
    let Ok(name) = str::from_utf8(name) else { return false };
    if name.starts_with("loop") || name.starts_with("ram") || name.contains('/') || name == ".." {
        return false;
    }
    if block.is_dir() {
        return block.join(name).exists();
    }
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if name.starts_with("nvme") || name.starts_with("mmcblk") {
        return !(stem.ends_with('p') && stem.len() < name.len());
    }
    !(stem.len() < name.len() && ["sd", "vd", "hd", "xvd"].iter().any(|p| name.starts_with(p)))
}

/// Sizes of the disks, from `sys/block`.
pub(crate) struct Size {
    block: PathBuf,
}

impl Size {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self { block: roots.sys("block") }
    }
}

impl Source for Size {
    fn name(&self) -> &'static str {
        "disk_size"
    }

    fn pace(&self) -> Pace {
        Pace::Storage
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.block)?.take(ROWS_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|n| whole_disk(&self.block, n.as_bytes())) else {
                continue;
            };
            let mut file = KernelFile::new(entry.path().join("size"));
            let Ok(content) = file.read(&mut context.buffer) else { continue };
            let sectors = text::fields(content).next().and_then(text::number);
            if let Some(sectors) = sectors.filter(|sectors| *sectors > 0) {
                let name: Arc<str> = name.into();
                let bytes = sectors.saturating_mul(SECTOR_BYTES);
                round.record(&LIMIT, [attr("system.device", &name)], bytes);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    const STATS: &str = " 8 0 sda 10 1 20 4294967000 30 2 40 50 6 70 80 9 0 0 0 11 12\n \
        8 1 sda1 10 1 20 30 30 2 40 50 6 70 80\n 7 0 loop0 1 1 1 1 1 1 1 1 1 1 1\n \
        8 16 sdb 0 0 0 0 0 0 0 0 0 0 0\n 259 0 nvme0n1 1 0 0 0 0 0 0 0 0 0 0\n \
        259 1 nvme0n1p1 1 0 0 0 0 0 0 0 0 0 0\nshort 1\n";

    #[test]
    fn whole_disks_are_told_from_the_rest_with_and_without_sys() {
        let fixture = Fixture::new(&[("proc/diskstats", STATS)]);
        let disks = |round: &Round| {
            let pending = round.points.iter().filter(|p| p.metric.name == PENDING.name);
            pending.map(|p| p.attributes[0].1.as_str().to_owned()).collect::<Vec<_>>()
        };
        let round = fixture.sample(&mut Disk::new(fixture.roots()));
        assert_eq!(disks(&round), ["sda", "nvme0n1"]);
        fixture.write("sys/block/sda/size", "2048\n");
        let round = fixture.sample(&mut Disk::new(fixture.roots()));
        assert_eq!(disks(&round), ["sda"]);
        let value = |metric, direction| round.value(metric, &[(DIRECTION, direction)]);
        assert_eq!(value("system.disk.io", "write"), 40.0 * 512.0);
        assert_eq!(value("system.disk.merged", "read"), 1.0);
        assert_eq!(round.value("system.disk.io_time", &[]), 0.07);
        assert_eq!(round.value("system.disk.linux.discards", &[]), 9.0);
        assert_eq!(round.value("system.disk.linux.flushes", &[]), 11.0);
        let size = fixture.sample(&mut Size::new(fixture.roots()));
        assert_eq!(size.value("system.disk.limit", &[("system.device", "sda")]), 1_048_576.0);
    }

    #[test]
    fn times_that_wrap_go_on() {
        let fixture = Fixture::new(&[("proc/diskstats", STATS), ("sys/block/sda/size", "1")]);
        let mut disk = Disk::new(fixture.roots());
        let read_time =
            |round: &Round| round.value("system.disk.operation_time", &[(DIRECTION, "read")]);
        assert_eq!(read_time(&fixture.sample(&mut disk)), 4_294_967.0);
        fixture.write("proc/diskstats", "8 0 sda 1 1 1 1000 1 1 1 1 1 1 1\n");
        assert_eq!(read_time(&fixture.sample(&mut disk)), 4_294_968.296);
        fixture.write("proc/diskstats", "8 0 sda 1 1 1 10 1 1 1 1 1 1 1\n");
        assert_eq!(read_time(&fixture.sample(&mut disk)), 0.01, "a fall by less was a reset");
    }

    #[test]
    fn a_file_of_another_form_is_an_error() {
        let fixture = Fixture::new(&[("proc/diskstats", "8 0 sda one two\n")]);
        assert!(fixture.try_sample(&mut Disk::new(fixture.roots())).is_err());
        fixture.write("proc/diskstats", "");
        fixture.sample(&mut Disk::new(fixture.roots()));
    }
}
