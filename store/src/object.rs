//! Files that are durable once written: staging, fsync, rename, fsync of every directory concerned.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::Error;

/// Directory of files that have no name yet; emptied at start.
pub(crate) const STAGING: &str = "staging";

/// Durable files below one directory.
#[derive(Clone, Debug)]
pub(crate) struct DurableLocal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

impl DurableLocal {
    pub(crate) fn new(dir: &Path, disk: Arc<dyn Disk>) -> Self {
        Self { dir: dir.to_owned(), disk }
    }

    /// Writes `bytes` to `path` (below the directory, never used before). Durable when it returns. Blocks.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let target = self.dir.join(path);
        let name = target.file_name().unwrap_or_default();
        let staged = self.dir.join(STAGING).join(name);
        let parent = target.parent().unwrap_or(&self.dir);
        self.make_dirs(parent)?;
        let file = self.disk.create(&staged).map_err(Error::io("create", &staged))?;
        file.write_at(bytes, 0).map_err(Error::io("write", &staged))?;
        file.sync().map_err(Error::io("sync", &staged))?;
        drop(file);
        self.disk.rename(&staged, &target).map_err(Error::io("rename", &staged))?;
        // A rename is not durable before its directory is.
        self.disk.sync_dir(parent).map_err(Error::io("sync", parent))
    }

    /// Removes the file at `path`; fine when it is gone. An orphan that comes back is found again at start.
    pub(crate) fn delete(&self, path: &str) -> Result<(), Error> {
        let target = self.dir.join(path);
        self.disk.remove(&target).map_err(Error::io("remove", &target))
    }

    fn make_dirs(&self, path: &Path) -> Result<(), Error> {
        if path.is_dir() {
            return Ok(());
        }
        let Some(parent) = path.parent() else { return Ok(()) };
        self.make_dirs(parent)?;
        if self.disk.create_dir(path).map_err(Error::io("create", path))? {
            self.disk.sync_dir(parent).map_err(Error::io("sync", parent))?;
        }
        Ok(())
    }
}
