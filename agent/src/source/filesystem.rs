//! Space and inodes of mounted file systems. A mount that hangs, as a dead NFS server leaves it, costs one waiting
//! thread and a state that says so, never a tick.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Context, Pace, Source, malformed, share};
use crate::kernel::{KernelFile, Roots};
use crate::round::{Metric, Round, Text, attr};

mod mount;
mod probe;

use mount::Mount;
use probe::{Answer, Prober, Space};

static USAGE: Metric = Metric::up_down(
    "system.filesystem.usage",
    "By",
    "Space by state; `reserved` is free, but for the superuser only.",
);
static UTILIZATION: Metric =
    Metric::gauge("system.filesystem.utilization", "1", "Share of the space in each state.");
static LIMIT: Metric = Metric::up_down("system.filesystem.limit", "By", "Size of the file system.");
static INODES: Metric =
    Metric::up_down("system.filesystem.inodes.usage", "{inode}", "Inodes by state.");
static STUCK: Metric = Metric::gauge(
    "system.filesystem.linux.stuck",
    "1",
    "1 while the file system does not answer. Only reported for those that once did not.",
);

const STATE: &str = "system.filesystem.state";

/// Reads `mountinfo` and asks each file system.
pub(crate) struct FileSystem {
    mounts: KernelFile,
    roots: Roots,
    prober: Prober,
    stuck: BTreeSet<Arc<str>>,
}

impl FileSystem {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self::with(roots, Prober::new(probe::ask))
    }

    fn with(roots: &Roots, prober: Prober) -> Self {
        Self {
            mounts: KernelFile::new(roots.view("mountinfo")),
            roots: roots.clone(),
            prober,
            stuck: BTreeSet::new(),
        }
    }
}

impl Source for FileSystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn pace(&self) -> Pace {
        Pace::Storage
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let content = self.mounts.read(&mut context.buffer)?;
        let mounts = mount::shown(content);
        if mounts.is_empty() && !content.contains(&b'-') {
            return Err(malformed("`mountinfo` has no line as expected"));
        }
        let paths: Vec<_> = mounts.iter().map(|mount| self.roots.host(&mount.path)).collect();
        for (mount, answer) in mounts.iter().zip(self.prober.ask(&paths)) {
            match answer {
                Answer::Space(space) => record(mount, &space, round),
                Answer::Late(space) => {
                    record(mount, &space, round);
                    self.note(mount, false, round);
                }
                Answer::Stuck => self.note(mount, true, round),
                Answer::Failed => {} // Unmounted in between, or not ours to enter.
            }
        }
        self.stuck.retain(|name| mounts.iter().any(|mount| mount.name == *name));
        Ok(())
    }
}

impl FileSystem {
    fn note(&mut self, mount: &Mount, stuck: bool, round: &mut Round) {
        let (mountpoint, kind) = (&*mount.name, &*mount.kind);
        if stuck && self.stuck.insert(Arc::clone(&mount.name)) {
            warn!(mountpoint, kind, "file system does not answer");
        } else if !stuck && self.stuck.remove(&mount.name) {
            info!(mountpoint, kind, "file system answers again");
        }
        let [device, kind, _, mountpoint] = attributes(mount);
        round.record(&STUCK, [device, kind, mountpoint], u64::from(stuck));
    }
}

fn attributes(mount: &Mount) -> [(&'static str, Text); 4] {
    [
        attr("system.device", &mount.device),
        attr("system.filesystem.type", &mount.kind),
        attr("system.filesystem.mode", mount.mode),
        attr("system.filesystem.mountpoint", &mount.name),
    ]
}

fn record(mount: &Mount, space: &Space, round: &mut Round) {
    if space.total_bytes == 0 {
        return; // Nothing is stored there.
    }
    let with = |state| {
        let [device, kind, mode, mountpoint] = attributes(mount);
        [device, attr(STATE, state), kind, mode, mountpoint]
    };
    let used = space.total_bytes.saturating_sub(space.free_bytes);
    let reserved = space.free_bytes.saturating_sub(space.available_bytes);
    let states = [("used", used), ("free", space.available_bytes), ("reserved", reserved)];
    for (state, bytes) in states {
        round.record(&USAGE, with(state), bytes);
        round.record(&UTILIZATION, with(state), share(bytes as f64, space.total_bytes as f64));
    }
    round.record(&LIMIT, attributes(mount), space.total_bytes);
    // Some file systems make inodes as they need them, and say 0.
    if space.inodes > 0 {
        let used = space.inodes.saturating_sub(space.inodes_free);
        for (state, inodes) in [("used", used), ("free", space.inodes_free)] {
            round.record(&INODES, with(state), inodes);
        }
    }
}

#[cfg(test)]
mod tests;
