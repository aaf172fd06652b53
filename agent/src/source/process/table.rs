//! Every process of the host with its kept descriptors: what each has used since the scan before.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{RawDir, SeekFrom};

use super::group::{Counters, Levels};
use super::stat::Stat;
use crate::kernel::{Buffer, KernelFile, text};

/// Most processes read in one scan; pids do not go beyond.
const PROCESSES_MAX: usize = 1 << 22;
const LIST_BYTES: usize = 16 << 10;
const NAME_BYTES_MAX: usize = 128;
/// The kernel's threads are one group: they have no executable.
const KERNEL: &str = "[kernel]";

/// Processes by pid.
pub(super) struct Table {
    proc: PathBuf,
    list: Option<File>,
    entries: HashMap<u32, Entry>,
    names: HashMap<Vec<u8>, Arc<str>>,
    /// Descriptors that may be kept; the table opens and closes the files of further processes each time.
    kept_max: usize,
    kept: usize,
    /// Whether the kernel gives the number of open files as the size of `fd` (since 6.2).
    sized: bool,
    scan: u64,
    /// The latest start of any process seen in scans before this one.
    newest: u64,
}

struct Entry {
    stat: KernelFile,
    io: KernelFile,
    io_denied: bool,
    kept: bool,
    start_ticks: u64,
    command: Vec<u8>,
    name: Arc<str>,
    last: Counters,
    scan: u64,
}

/// What one process did.
pub(super) struct Reading {
    /// Executable.
    pub name: Arc<str>,
    /// State letter.
    pub state: u8,
    /// Growth since the scan before; a process that began since then counts whole.
    pub grown: Counters,
    pub levels: Levels,
}

impl Table {
    pub(super) fn new(proc: PathBuf) -> Self {
        let sized = std::fs::metadata(proc.join("self/fd")).is_ok_and(|fd| is_count(&fd));
        let files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files_max = files_max.and_then(|n| usize::try_from(n).ok()).unwrap_or(1024);
        Self {
            proc,
            list: None,
            entries: HashMap::new(),
            names: HashMap::new(),
            kept_max: (files_max / 2).min(8_192),
            kept: 0,
            sized,
            scan: 0,
            newest: 0,
        }
    }

    /// Reads every process. Calls `take` with each, and returns whether some files were denied.
    pub(super) fn scan(
        &mut self,
        buffer: &mut Buffer,
        mut take: impl FnMut(Reading),
    ) -> io::Result<bool> {
        self.scan += 1;
        let (mut denied, mut newest) = (false, self.newest);
        for pid in self.pids()? {
            let Some((reading, start_ticks)) = self.read(pid, buffer, &mut denied) else {
                continue;
            };
            newest = newest.max(start_ticks);
            take(reading);
        }
        self.newest = newest;
        let (scan, kept) = (self.scan, &mut self.kept);
        self.entries.retain(|_, entry| {
            let here = entry.scan == scan;
            if !here && entry.kept {
                *kept -= 2;
            }
            here
        });
        // Names of executables that are gone; a build makes thousands.
        if self.names.len() > 2 * self.entries.len() + 64 {
            self.names.retain(|_, name| Arc::strong_count(name) > 1);
        }
        Ok(denied)
    }

    fn pids(&mut self) -> io::Result<Vec<u32>> {
        let list = match &mut self.list {
            Some(list) => list,
            none => none.insert(File::open(&self.proc)?),
        };
        rustix::fs::seek(&*list, SeekFrom::Start(0))?;
        let mut space = Vec::with_capacity(LIST_BYTES);
        let mut names = RawDir::new(&*list, space.spare_capacity_mut());
        let mut pids = Vec::with_capacity(self.entries.len() + 16);
        while let Some(entry) = names.next() {
            let pid = text::number(entry?.file_name().to_bytes());
            pids.extend(pid.and_then(|pid| u32::try_from(pid).ok()));
            if pids.len() >= PROCESSES_MAX {
                break;
            }
        }
        Ok(pids)
    }

    /// `None` when the process has ended meanwhile, or its line is not as expected.
    fn read(&mut self, pid: u32, buffer: &mut Buffer, denied: &mut bool) -> Option<(Reading, u64)> {
        let dir = self.proc.join(pid.to_string());
        let (scan, newest, first) = (self.scan, self.newest, self.scan == 1);
        let entry = self.entries.entry(pid).or_insert_with(|| Entry::new(&dir));
        let content = entry.stat.read(buffer).ok()?;
        let stat = Stat::parse(content)?;
        let begun = entry.start_ticks != stat.start_ticks;
        if begun || entry.command != stat.command {
            entry.command = stat.command.to_vec();
            let name = if stat.kernel_thread {
                KERNEL.into()
            } else {
                executable(&dir, stat.command, denied)
            };
            entry.name = match self.names.get(&name) {
                Some(known) => Arc::clone(known),
                None => {
                    let text: Arc<str> = String::from_utf8_lossy(&name).into();
                    self.names.insert(name, Arc::clone(&text));
                    text
                }
            };
            entry.io_denied = stat.kernel_thread;
        }
        let mut now = Counters {
            user_ticks: stat.user_ticks,
            system_ticks: stat.system_ticks,
            minor_faults: stat.minor_faults,
            major_faults: stat.major_faults,
            ..Counters::default()
        };
        let (state, start_ticks, kernel_thread) =
            (stat.state, stat.start_ticks, stat.kernel_thread);
        let mut levels = Levels {
            processes: 1,
            threads: stat.threads,
            resident_bytes: stat.resident_bytes(),
            virtual_bytes: stat.virtual_bytes,
            descriptors: 0,
        };
        if !kernel_thread {
            entry.read_io(buffer, &mut now, denied);
            levels.descriptors = descriptors(&dir, self.sized, denied);
        }
        let before = if !begun {
            entry.last
        } else if first || start_ticks < newest {
            now // It was there before us, or we failed to see it before: what it did until now is not known to be new.
        } else {
            Counters::default()
        };
        entry.start_ticks = start_ticks;
        entry.last = now;
        entry.scan = scan;
        let reading =
            Reading { name: Arc::clone(&entry.name), state, grown: now.since(before), levels };
        entry.keep(&mut self.kept, self.kept_max);
        Some((reading, start_ticks))
    }
}

impl Entry {
    fn new(dir: &Path) -> Self {
        Self {
            stat: KernelFile::new(dir.join("stat")),
            io: KernelFile::new(dir.join("io")),
            io_denied: false,
            kept: false,
            start_ticks: u64::MAX,
            command: Vec::new(),
            name: "".into(),
            last: Counters::default(),
            scan: 0,
        }
    }

    fn read_io(&mut self, buffer: &mut Buffer, now: &mut Counters, denied: &mut bool) {
        // What could not be read keeps its last value: a gap must not look like growth.
        (now.read_bytes, now.written_bytes) = (self.last.read_bytes, self.last.written_bytes);
        if self.io_denied {
            *denied = true;
            return;
        }
        let content = match self.io.read(buffer) {
            Ok(content) => content,
            Err(error) => {
                self.io_denied = error.kind() == io::ErrorKind::PermissionDenied;
                *denied |= self.io_denied;
                return;
            }
        };
        for line in text::lines(content) {
            let mut fields = text::fields(line);
            match (fields.next(), fields.next().and_then(text::number)) {
                (Some(b"read_bytes:"), Some(bytes)) => now.read_bytes = bytes,
                (Some(b"write_bytes:"), Some(bytes)) => now.written_bytes = bytes,
                _ => {}
            }
        }
    }

    /// Keeps the two descriptors while there is room for them.
    fn keep(&mut self, kept: &mut usize, kept_max: usize) {
        if !self.kept && *kept + 2 <= kept_max {
            self.kept = true;
            *kept += 2;
        }
        if !self.kept {
            self.stat.close();
            self.io.close();
        }
    }
}

/// File name of the executable; where that is not ours to see, of the first argument or the short name.
fn executable(dir: &Path, command: &[u8], denied: &mut bool) -> Vec<u8> {
    let file_name = |path: &[u8]| {
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        (!name.is_empty()).then(|| name[..name.len().min(NAME_BYTES_MAX)].to_vec())
    };
    match std::fs::read_link(dir.join("exe")) {
        Ok(path) => {
            let path = path.as_os_str().as_encoded_bytes();
            // Code in memory has a made-up name, often another one each time.
            let name = file_name(path).filter(|_| !path.starts_with(b"/memfd:"));
            if let Some(name) = name {
                return name;
            }
        }
        Err(error) => *denied |= error.kind() == io::ErrorKind::PermissionDenied,
    }
    // The short name is cut after 15 bytes; the first argument has it whole, unless the process has rewritten it.
    let arguments = std::fs::read(dir.join("cmdline")).unwrap_or_default();
    let first = arguments.split(|byte| *byte == 0).next().and_then(file_name);
    first.filter(|name| name.starts_with(command)).unwrap_or_else(|| command.to_vec())
}

fn is_count(fd: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    // Directories of a disk have a size too, but in whole blocks of it, and take up blocks.
    fd.size() > 0 && fd.blocks() == 0
}

fn descriptors(dir: &Path, sized: bool, denied: &mut bool) -> u64 {
    let fd = dir.join("fd");
    if sized {
        return std::fs::metadata(fd).map_or(0, |fd| fd.len());
    }
    match std::fs::read_dir(fd) {
        Ok(entries) => entries.count() as u64,
        Err(error) => {
            *denied |= error.kind() == io::ErrorKind::PermissionDenied;
            0
        }
    }
}
