//! Files that are durable once written: staging, fsync, rename, fsync of every directory concerned.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::segment::write::sidecar_path;

/// Directory of files that have no name yet; emptied at start.
pub(crate) const STAGING: &str = "staging";

/// Directories remembered: a year of hours of one table.
const SYNCED_MAX: usize = 8_760;

/// Durable files below one directory.
#[derive(Clone, Debug)]
pub(crate) struct DurableLocal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Directories whose names we know to be durable: one that is merely there may be of a run that was cut short.
    synced: Arc<Mutex<HashSet<PathBuf>>>,
}

impl DurableLocal {
    pub(crate) fn new(dir: &Path, disk: Arc<dyn Disk>) -> Self {
        Self { dir: dir.to_owned(), disk, synced: Arc::default() }
    }

    /// Writes `bytes` to `path` (below the directory, never used before). Durable when it returns. Blocks.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut file = self.stage(path)?;
        file.append(bytes)?;
        file.publish()
    }

    /// A file to be written piece by piece that will stand at `path` (below the directory, never used before). Blocks.
    pub(crate) fn stage(&self, path: &str) -> Result<Staged, Error> {
        let target = self.dir.join(path);
        let name = target.file_name().unwrap_or_default();
        let staged = self.dir.join(STAGING).join(name);
        self.make_dirs(target.parent().unwrap_or(&self.dir))?;
        let file = self.disk.create(&staged).map_err(Error::io("create", &staged))?;
        let disk = Arc::clone(&self.disk);
        Ok(Staged { disk, file: Some(file), staged, target, len: 0 })
    }

    /// Removes the segments at `paths` and their sidecars; fine when they are gone. They stay gone when it returns: once
    /// the catalogue has forgotten them, nobody would look for one that came back. Blocks.
    pub(crate) fn delete_segments<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), Error> {
        let mut dirs = BTreeSet::new();
        for path in paths {
            for target in [self.dir.join(path), self.dir.join(sidecar_path(path))] {
                self.disk.remove(&target).map_err(Error::io("remove", &target))?;
                dirs.extend(target.parent().filter(|dir| dir.is_dir()).map(Path::to_owned));
            }
        }
        dirs.iter().try_for_each(|dir| self.disk.sync_dir(dir).map_err(Error::io("sync", dir)))
    }

    fn make_dirs(&self, path: &Path) -> Result<(), Error> {
        let synced = || self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if path == self.dir || synced().contains(path) {
            return Ok(());
        }
        let Some(parent) = path.parent() else { return Ok(()) };
        self.make_dirs(parent)?;
        self.disk.create_dir(path).map_err(Error::io("create", path))?;
        self.disk.sync_dir(parent).map_err(Error::io("sync", parent))?;
        let mut synced = synced();
        if synced.len() >= SYNCED_MAX {
            synced.clear();
        }
        synced.insert(path.to_owned());
        Ok(())
    }
}

/// A file without its name yet. Dropped before [`Self::publish`] it is removed.
pub(crate) struct Staged {
    disk: Arc<dyn Disk>,
    /// Gone once published.
    file: Option<Box<dyn DiskFile>>,
    staged: PathBuf,
    target: PathBuf,
    len: u64,
}

impl Staged {
    /// Adds `bytes` at the end. Blocks.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some(file) = &self.file {
            file.write_at(bytes, self.len).map_err(Error::io("write", &self.staged))?;
            self.len += bytes.len() as u64;
        }
        Ok(())
    }

    /// Gives the file its name. Durable when it returns. Blocks.
    pub(crate) fn publish(mut self) -> Result<(), Error> {
        if let Some(file) = &self.file {
            file.sync().map_err(Error::io("sync", &self.staged))?;
        }
        self.disk.rename(&self.staged, &self.target).map_err(Error::io("rename", &self.staged))?;
        self.file = None;
        let parent = self.target.parent().unwrap_or(&self.target);
        // A rename is not durable before its directory is.
        self.disk.sync_dir(parent).map_err(Error::io("sync", parent))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What cannot be removed now goes at the next start, with all of the staging directory.
        if self.file.take().is_some() && self.disk.remove(&self.staged).is_err() {
            tracing::debug!(path = %self.staged.display(), "unfinished file left to the next start");
        }
    }
}
