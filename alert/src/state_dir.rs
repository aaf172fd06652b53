//! The directory with one state file a group, each replaced atomically. Blocking: called from blocking tasks and at start.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::codec::{self, Stored};
use crate::error::Error;

const SUFFIX: &str = "alerts";

/// Where the state of all alerts is kept: `DATA_DIR/alert`.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the directory, making it when it is missing, and removes files a crash left half written.
    ///
    /// # Errors
    /// When it cannot be made, listed or cleaned.
    pub fn open(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(failed("create", path))?;
        let dir = Self { path: path.to_owned() };
        for entry in dir.list("tmp")? {
            fs::remove_file(&entry).map_err(failed("remove", &entry))?;
        }
        Ok(dir)
    }

    /// Everything stored. A file that is not what was written is moved aside and told of; its alerts start afresh.
    pub(crate) fn read_all(&self) -> Result<Vec<Stored>, Error> {
        let mut all = Vec::new();
        for path in self.list(SUFFIX)? {
            match self.read(&path) {
                Ok(stored) => all.push(stored),
                Err(Error::Corrupt { path, reason }) => {
                    let aside = self.set_aside(&path)?;
                    tracing::error!(
                        file = %path.display(),
                        reason,
                        kept_as = %aside.display(),
                        "alert state is corrupt and was moved aside: alerts of its group start afresh, firing ones \
                         will be notified again"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Replaces the state of a group; once this returns it survives a power cut.
    pub(crate) fn write(&self, stored: &Stored) -> Result<(), Error> {
        let path = self.file(&stored.file, &stored.group);
        let bytes = codec::to_bytes(stored).map_err(|reason| Error::State {
            doing: "encode",
            path: path.clone(),
            source: std::io::Error::other(reason),
        })?;
        let fresh = path.with_extension("tmp");
        let mut file = File::create(&fresh).map_err(failed("create", &fresh))?;
        file.write_all(&bytes).map_err(failed("write", &fresh))?;
        file.sync_all().map_err(failed("sync", &fresh))?;
        fs::rename(&fresh, &path).map_err(failed("replace", &path))?;
        self.sync()
    }

    /// Forgets a group.
    pub(crate) fn remove(&self, file: &str, group: &str) -> Result<(), Error> {
        let path = self.file(file, group);
        fs::remove_file(&path).map_err(failed("remove", &path))?;
        self.sync()
    }

    fn file(&self, file: &str, group: &str) -> PathBuf {
        let key = xxh3_64(format!("{file}\u{0}{group}").as_bytes());
        self.path.join(format!("{key:016x}.{SUFFIX}"))
    }

    fn read(&self, path: &Path) -> Result<Stored, Error> {
        let corrupt = |reason: String| Error::Corrupt { path: path.to_owned(), reason };
        let file = File::open(path).map_err(failed("open", path))?;
        let mut bytes = Vec::new();
        file.take(codec::FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed("read", path))?;
        let stored = codec::from_bytes(&bytes).map_err(corrupt)?;
        if self.file(&stored.file, &stored.group) != path {
            let (file, group) = (&stored.file, &stored.group);
            return Err(corrupt(format!(
                "it belongs to group {group:?} of {file} by another name"
            )));
        }
        Ok(stored)
    }

    fn set_aside(&self, path: &Path) -> Result<PathBuf, Error> {
        let free = |n: &u32| !path.with_extension(format!("damaged-{n}")).exists();
        let n = (1..1_000).find(free).unwrap_or(1_000);
        let aside = path.with_extension(format!("damaged-{n}"));
        fs::rename(path, &aside).map_err(failed("move aside", path))?;
        self.sync()?;
        Ok(aside)
    }

    fn list(&self, suffix: &str) -> Result<Vec<PathBuf>, Error> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed("list", &self.path))? {
            let path = entry.map_err(failed("list", &self.path))?.path();
            if path.extension().is_some_and(|found| found == suffix) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// A rename is not durable before its directory is.
    fn sync(&self) -> Result<(), Error> {
        let dir = File::open(&self.path).map_err(failed("open", &self.path))?;
        dir.sync_all().map_err(failed("sync", &self.path))
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::State { doing, path, source }
}
