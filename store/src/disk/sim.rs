//! A disk that knows what a power cut would leave of it. Processes see every change at once, on the host's file system;
//! beside it stands what is durable, and what a crash may keep, lose or tear at 512 bytes.
//!
//! Contents are durable after `sync` of the file, names after `sync_dir` of their directory, and nothing else is. After a
//! failed `sync` the pages it should have written are never durable again, as on Linux. A judge looks at each operation
//! before it happens and after: it may let it pass, fail it, or hold it back for as long as it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, HostDisk};

/// What arrives of a write or does not.
const SECTOR: usize = 512;
/// Room of a disk that is not full.
const ROOM: u64 = 1 << 40;

/// Numbers that look random and are the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    /// True in `percent` of 100 throws.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpKind {
    Create,
    Open,
    Rename,
    Remove,
    CreateDir,
    SyncDir,
    Write(usize),
    Sync,
    Allocate,
    Truncate,
}

/// One operation on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) kind: OpKind,
    pub(crate) path: PathBuf,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Pass,
    /// Nothing is done, and the caller is told so.
    Fail(io::ErrorKind),
    /// Of a write so many bytes are done, then it fails.
    Short(usize, io::ErrorKind),
}

/// Decides about every operation, on the thread that asks for it.
pub(crate) trait Judge: Send + Sync {
    /// Before the operation.
    fn before(&self, op: &Op) -> Verdict;
    /// When it is done, before its caller learns of it.
    fn after(&self, _op: &Op) {}
    /// The log's thread has nothing to do.
    fn idle(&self) {}
}

/// Lets everything pass.
pub(crate) struct Lenient;

impl Judge for Lenient {
    fn before(&self, _: &Op) -> Verdict {
        Verdict::Pass
    }
}

/// How much of what is not durable a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The process died, the machine did not: everything is there.
    Process,
    /// Nothing that was not durable.
    Nothing,
    /// Whole changes, in the order they were made, up to some place.
    Prefix,
    /// Each name and each sector of 512 bytes for itself.
    Torn,
}

impl Cut {
    pub(crate) const ALL: [Self; 4] = [Self::Process, Self::Nothing, Self::Prefix, Self::Torn];
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    /// Since the last sync, oldest first; the flag says that a sync of it failed.
    pending: Vec<(Change, bool)>,
    len: usize,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    MakeDir(PathBuf),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        let (Self::Link(path, _) | Self::Unlink(path) | Self::MakeDir(path)) = self;
        path.parent()
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Directories made since the start that a crash may take away.
    fresh_dirs: BTreeSet<PathBuf>,
    pending: Vec<NameChange>,
}

struct World {
    root: PathBuf,
    state: Mutex<State>,
    judge: Arc<dyn Judge>,
    is_dead: AtomicBool,
    is_full: AtomicBool,
    done: AtomicU64,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<World>);

struct SimFile {
    world: Arc<World>,
    file: Box<dyn DiskFile>,
    inode: usize,
    path: PathBuf,
}

/// Every file below the root, by its path there.
pub(crate) type Tree = BTreeMap<PathBuf, Vec<u8>>;

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimDisk({})", self.0.root.display())
    }
}

impl SimDisk {
    /// A disk whose files below `root` are durable as they are.
    pub(crate) fn new(root: &Path, judge: Arc<dyn Judge>) -> Self {
        Self(Arc::new(World {
            root: root.to_owned(),
            state: Mutex::default(),
            judge,
            is_dead: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            done: AtomicU64::new(0),
        }))
    }

    /// From now on nothing is done any more.
    pub(crate) fn die(&self) {
        self.0.is_dead.store(true, Ordering::SeqCst);
    }

    /// Whether files may grow.
    pub(crate) fn fill(&self, is_full: bool) {
        self.0.is_full.store(is_full, Ordering::SeqCst);
    }

    /// Operations done.
    pub(crate) fn done(&self) -> u64 {
        self.0.done.load(Ordering::SeqCst)
    }

    /// What a crash now leaves below the root. Files that only others wrote to are in it as they are.
    pub(crate) fn after_crash(&self, cut: Cut, dice: &mut Dice) -> Tree {
        let state = self.0.state();
        let (names, dirs) = state.names_after(cut, dice);
        let mut tree = Tree::new();
        let mut contents: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (path, inode) in names {
            let is_there = path.ancestors().all(|dir| !dirs.contains(dir));
            let below = path.strip_prefix(&self.0.root).ok().filter(|_| is_there);
            let Some(below) = below else { continue };
            let content =
                contents.entry(inode).or_insert_with(|| state.inodes[inode].after(cut, dice));
            tree.insert(below.to_owned(), content.clone());
        }
        let is_known =
            |path: &Path| state.names.contains_key(path) || state.durable_names.contains_key(path);
        for path in files(&self.0.root) {
            if !is_known(&path)
                && let Ok(below) = path.strip_prefix(&self.0.root)
                && let Ok(content) = fs::read(&path)
            {
                tree.insert(below.to_owned(), content);
            }
        }
        tree
    }
}

/// All files below `dir`.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Writes `tree` below `dir`.
pub(crate) fn plant(tree: &Tree, dir: &Path) {
    for (path, content) in tree {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("it is below a directory")).expect("room");
        fs::write(path, content).expect("room");
    }
}

impl Inode {
    fn seen(durable: Vec<u8>) -> Self {
        Self { len: durable.len(), durable, pending: Vec::new() }
    }

    fn sync(&mut self) {
        let (lost, written): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|(_, is_lost)| *is_lost);
        written.iter().for_each(|(change, _)| apply(&mut self.durable, change));
        self.pending = lost;
    }

    fn after(&self, cut: Cut, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let kept = match cut {
            Cut::Process => self.pending.len(),
            Cut::Nothing => 0,
            Cut::Prefix | Cut::Torn => dice.below(self.pending.len() + 1),
        };
        for (i, (change, _)) in self.pending.iter().enumerate() {
            match (cut, change) {
                (Cut::Torn, Change::Write { offset, bytes: written }) => {
                    tear(&mut bytes, *offset, written, dice);
                }
                (Cut::Torn, Change::SetLen(_)) if dice.percent(50) => {}
                (Cut::Torn, _) => apply(&mut bytes, change),
                _ if i < kept => apply(&mut bytes, change),
                _ => {}
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(len) => bytes.resize(*len, 0),
        Change::Write { offset, bytes: written } => {
            let end = offset + written.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset..end].copy_from_slice(written);
        }
    }
}

/// Keeps or loses each sector that `written` touches.
fn tear(bytes: &mut Vec<u8>, offset: usize, written: &[u8], dice: &mut Dice) {
    let mut at = 0;
    while at < written.len() {
        let to = written.len().min(at + SECTOR - (offset + at) % SECTOR);
        if dice.percent(50) {
            let part = Change::Write { offset: offset + at, bytes: written[at..to].to_vec() };
            apply(bytes, &part);
        }
        at = to;
    }
}

impl State {
    /// The inode at `path`; one that was there before us is durable.
    fn adopt(&mut self, path: &Path) -> Option<usize> {
        if let Some(inode) = self.names.get(path) {
            return Some(*inode);
        }
        let content = fs::read(path).ok()?;
        let inode = self.make(content);
        self.names.insert(path.to_owned(), inode);
        self.durable_names.insert(path.to_owned(), inode);
        Some(inode)
    }

    fn make(&mut self, content: Vec<u8>) -> usize {
        self.inodes.push(Inode::seen(content));
        self.inodes.len() - 1
    }

    fn sync_dir(&mut self, dir: &Path) {
        let (done, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|change| change.dir() == Some(dir));
        self.pending = left;
        let Self { durable_names, fresh_dirs, .. } = self;
        done.iter().for_each(|change| rename(durable_names, fresh_dirs, change));
    }

    /// Names after a crash, and directories that are gone with everything in them.
    fn names_after(
        &self,
        cut: Cut,
        dice: &mut Dice,
    ) -> (BTreeMap<PathBuf, usize>, BTreeSet<PathBuf>) {
        let (mut names, mut gone) = (self.durable_names.clone(), self.fresh_dirs.clone());
        let kept = match cut {
            Cut::Process => self.pending.len(),
            Cut::Nothing => 0,
            Cut::Prefix | Cut::Torn => dice.below(self.pending.len() + 1),
        };
        for (i, change) in self.pending.iter().enumerate() {
            let is_kept = if cut == Cut::Torn { dice.percent(50) } else { i < kept };
            if is_kept {
                rename(&mut names, &mut gone, change);
            }
        }
        (names, gone)
    }
}

fn rename(
    names: &mut BTreeMap<PathBuf, usize>,
    fresh_dirs: &mut BTreeSet<PathBuf>,
    change: &NameChange,
) {
    match change {
        NameChange::Link(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Unlink(path) => {
            names.remove(path);
        }
        NameChange::MakeDir(path) => {
            fresh_dirs.remove(path);
        }
    }
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` unless the judge or a crash forbids it.
    fn run<T>(
        &self,
        kind: OpKind,
        path: &Path,
        work: impl FnOnce(Verdict) -> io::Result<T>,
    ) -> io::Result<T> {
        let op = Op { kind, path: path.to_owned() };
        self.alive()?;
        let verdict = self.judge.before(&op);
        self.alive()?;
        let done = match verdict {
            Verdict::Fail(kind) if op.kind != OpKind::Sync => Err(kind.into()),
            verdict => work(verdict),
        };
        self.done.fetch_add(1, Ordering::SeqCst);
        self.judge.after(&op);
        self.alive()?;
        done
    }

    fn alive(&self) -> io::Result<()> {
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }

    fn has_room(&self, inode: usize, end: usize) -> bool {
        !self.is_full.load(Ordering::SeqCst) || self.state().inodes[inode].len >= end
    }

    fn change(&self, inode: usize, change: Change) {
        let inode = &mut self.state().inodes[inode];
        inode.len = match &change {
            Change::SetLen(len) => *len,
            Change::Write { offset, bytes } => inode.len.max(offset + bytes.len()),
        };
        inode.pending.push((change, false));
    }

    fn file(
        self: &Arc<Self>,
        file: Box<dyn DiskFile>,
        inode: usize,
        path: &Path,
    ) -> Box<dyn DiskFile> {
        Box::new(SimFile { world: Arc::clone(self), file, inode, path: path.to_owned() })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.run(OpKind::Create, path, |_| {
            let file = HostDisk.create(path)?;
            let mut state = self.0.state();
            let inode = state.make(Vec::new());
            state.names.insert(path.to_owned(), inode);
            state.pending.push(NameChange::Link(path.to_owned(), inode));
            drop(state);
            Ok(self.0.file(file, inode, path))
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.run(OpKind::Open, path, |_| {
            let inode = self.0.state().adopt(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(self.0.file(HostDisk.open(path)?, inode, path))
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.run(OpKind::Rename, to, |_| {
            let mut state = self.0.state();
            let inode = state.adopt(from).ok_or(io::ErrorKind::NotFound)?;
            state.adopt(to);
            HostDisk.rename(from, to)?;
            state.names.remove(from);
            state.names.insert(to.to_owned(), inode);
            // Two names in two directories: nobody promises that both changes arrive.
            state.pending.push(NameChange::Link(to.to_owned(), inode));
            state.pending.push(NameChange::Unlink(from.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.run(OpKind::Remove, path, |_| {
            let mut state = self.0.state();
            if state.adopt(path).is_some() {
                HostDisk.remove(path)?;
                state.names.remove(path);
                state.pending.push(NameChange::Unlink(path.to_owned()));
            }
            Ok(())
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.0.run(OpKind::CreateDir, path, |_| {
            let is_new = HostDisk.create_dir(path)?;
            if is_new {
                let mut state = self.0.state();
                state.fresh_dirs.insert(path.to_owned());
                state.pending.push(NameChange::MakeDir(path.to_owned()));
            }
            Ok(is_new)
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.run(OpKind::SyncDir, path, |_| {
            self.0.state().sync_dir(path);
            Ok(())
        })
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        self.0.alive()?;
        Ok(if self.0.is_full.load(Ordering::SeqCst) { 0 } else { ROOM })
    }

    fn idle(&self) {
        self.0.judge.idle();
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.world.run(OpKind::Write(bytes.len()), &self.path, |verdict| {
            let (keep, outcome) = match verdict {
                Verdict::Short(keep, kind) => (keep.min(bytes.len()), Err(kind.into())),
                _ if self.world.has_room(self.inode, at + bytes.len()) => (bytes.len(), Ok(())),
                _ => (bytes.len() / 2, Err(io::ErrorKind::StorageFull.into())),
            };
            self.file.write_at(&bytes[..keep], offset)?;
            let change = Change::Write { offset: at, bytes: bytes[..keep].to_vec() };
            self.world.change(self.inode, change);
            outcome
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.world.run(OpKind::Sync, &self.path, |verdict| {
            let inode = &mut self.world.state().inodes[self.inode];
            if let Verdict::Fail(kind) | Verdict::Short(_, kind) = verdict {
                // The kernel takes the pages for clean now, and no later sync writes them.
                inode.pending.iter_mut().for_each(|(_, is_lost)| *is_lost = true);
                return Err(kind.into());
            }
            inode.sync();
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let end = usize::try_from(len).map_err(io::Error::other)?;
        self.world.run(OpKind::Allocate, &self.path, |_| {
            if !self.world.has_room(self.inode, end) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.file.allocate(len)?;
            let end = self.world.state().inodes[self.inode].len.max(end);
            self.world.change(self.inode, Change::SetLen(end));
            Ok(())
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let end = usize::try_from(len).map_err(io::Error::other)?;
        self.world.run(OpKind::Truncate, &self.path, |_| {
            self.file.truncate(len)?;
            self.world.change(self.inode, Change::SetLen(end));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cut: Cut, work: impl Fn(&SimDisk, &Path)) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let dir = tempfile::tempdir().unwrap();
            let disk = SimDisk::new(dir.path(), Arc::new(Lenient));
            work(&disk, dir.path());
            let tree = disk.after_crash(cut, &mut Dice::new(seed));
            let shown = |(path, bytes): (&PathBuf, &Vec<u8>)| {
                format!("{}={}", path.display(), String::from_utf8_lossy(bytes))
            };
            seen.insert(tree.iter().map(shown).collect::<Vec<_>>().join(" "));
        }
        seen
    }

    fn set<const N: usize>(trees: [&str; N]) -> BTreeSet<String> {
        trees.map(str::to_owned).into()
    }

    #[test]
    fn contents_want_a_sync_and_names_one_of_their_directory() {
        let unsynced = |disk: &SimDisk, dir: &Path| {
            let file = disk.create(&dir.join("a")).unwrap();
            file.write_at(b"one", 0).unwrap();
        };
        assert_eq!(check(Cut::Nothing, unsynced), set([""]));
        assert_eq!(check(Cut::Process, unsynced), set(["a=one"]));
        assert_eq!(check(Cut::Torn, unsynced), set(["", "a=", "a=one"]));
        let named = |disk: &SimDisk, dir: &Path| {
            unsynced(disk, dir);
            disk.sync_dir(dir).unwrap();
        };
        assert_eq!(check(Cut::Nothing, named), set(["a="]));
        let renamed = |disk: &SimDisk, dir: &Path| {
            let file = disk.create(&dir.join("a")).unwrap();
            file.write_at(b"one", 0).unwrap();
            file.sync().unwrap();
            disk.sync_dir(dir).unwrap();
            disk.rename(&dir.join("a"), &dir.join("b")).unwrap();
        };
        assert_eq!(check(Cut::Torn, renamed), set(["", "a=one", "a=one b=one", "b=one"]));
        assert_eq!(check(Cut::Prefix, renamed), set(["a=one", "a=one b=one", "b=one"]));
    }

    #[test]
    fn a_write_is_torn_at_sectors_and_a_failed_sync_is_never_made_good() {
        let torn = |disk: &SimDisk, dir: &Path| {
            let file = disk.create(&dir.join("a")).unwrap();
            disk.sync_dir(dir).unwrap();
            file.allocate(4).unwrap();
            file.sync().unwrap();
            file.write_at(&[b'x'; 513], 511).unwrap();
        };
        let lengths: BTreeSet<usize> = check(Cut::Torn, torn).iter().map(String::len).collect();
        assert_eq!(lengths, [6, 514, 1_026].into(), "four bytes, one sector more, two");
        struct Deny;
        impl Judge for Deny {
            fn before(&self, op: &Op) -> Verdict {
                let is_denied = op.kind == OpKind::Sync && op.path.ends_with("bad");
                if is_denied { Verdict::Fail(io::ErrorKind::Other) } else { Verdict::Pass }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let disk = SimDisk::new(dir.path(), Arc::new(Deny));
        let file = disk.create(&dir.path().join("bad")).unwrap();
        disk.sync_dir(dir.path()).unwrap();
        file.write_at(b"x", 0).unwrap();
        assert!(file.sync().is_err());
        let tree = disk.after_crash(Cut::Nothing, &mut Dice::new(1));
        assert_eq!(tree[Path::new("bad")], b"");
    }
}
