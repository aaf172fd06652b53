//! A disk that dies at a chosen operation: half of that write may arrive, nothing after it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::{Disk, DiskFile, HostDisk};
use std::io;
use std::path::Path;

/// Counts operations and fails from a chosen one on.
#[derive(Debug, Default)]
pub(crate) struct Fuse {
    left: AtomicI64,
    done: AtomicU64,
    is_full: AtomicBool,
    is_denied: AtomicBool,
}

impl Fuse {
    /// Lets `operations` through, then fails all.
    pub(crate) fn after(operations: i64) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(operations), ..Self::default() })
    }

    /// Operations let through so far.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Makes every reservation of space fail, or pass again.
    pub(crate) fn fill(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }

    /// Makes every new name fail, as without permission or file handles, or pass again.
    pub(crate) fn deny(&self, is_denied: bool) {
        self.is_denied.store(is_denied, Ordering::SeqCst);
    }

    fn name(&self) -> io::Result<()> {
        self.burn()?;
        if self.is_denied.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }

    /// Changes how many more are let through.
    pub(crate) fn set(&self, operations: i64) {
        self.left.store(operations, Ordering::SeqCst);
    }

    fn burn(&self) -> io::Result<()> {
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(io::Error::other("the disk died"));
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct FaultyDisk(pub(crate) Arc<Fuse>);

struct FaultyFile {
    file: Box<dyn DiskFile>,
    fuse: Arc<Fuse>,
}

impl FaultyDisk {
    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultyFile { file, fuse: Arc::clone(&self.0) })
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.name()?;
        HostDisk.create(path).map(|file| self.wrap(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.burn()?;
        HostDisk.open(path).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.name()?;
        HostDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.burn()?;
        HostDisk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.0.burn()?;
        HostDisk.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.burn()?;
        HostDisk.sync_dir(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        if self.0.is_full.load(Ordering::SeqCst) { Ok(0) } else { HostDisk.free_bytes(path) }
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.fuse.burn() {
            // What was in flight when the power went may have arrived in part.
            self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.fuse.burn()?;
        self.file.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fuse.burn()?;
        if self.fuse.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.allocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.fuse.burn()?;
        self.file.truncate(len)
    }
}
