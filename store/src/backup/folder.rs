//! A folder of backups: files as they are, and a manifest written last. Called by `headrope backup` and `restore`.
//!
//! Segments are shared by all backups into one folder; catalogue and log stand in a folder of the backup's own, so that
//! the manifest there stays true until the next one takes its place.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Backup, BackupFile};
use crate::catalogue::FILE;
use crate::core::SHARD;
use crate::error::Error;
use crate::open::LOCK;

const MANIFEST: &str = "manifest.json";
const VERSION: u32 = 1;
const BUFFER: usize = 1 << 20;

/// What a folder holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this shape.
    pub version: u32,
    /// Every row acknowledged up to this WAL sequence is in it.
    pub seq: u64,
    /// When the backup was begun, ns since the epoch.
    pub created: i64,
    /// Folder of the files that are no segments.
    pub run: String,
    /// The files; the catalogue is the last.
    pub files: Vec<BackupFile>,
}

/// How far a backup or restore is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files done.
    pub files: usize,
    /// Files in all.
    pub files_all: usize,
    /// Bytes copied.
    pub bytes: u64,
    /// Files that were there already.
    pub kept: usize,
}

impl Manifest {
    /// Where a file stands below the folder.
    fn place(&self, file: &BackupFile) -> PathBuf {
        match file.path.strip_prefix("data/") {
            Some(_) => PathBuf::from(&file.path),
            None => Path::new(&self.run).join(&file.path),
        }
    }
}

/// Copies the files of `backup` to the folder `to`, those aside that it holds already. Blocks.
///
/// # Errors
///
/// `Invalid` when a store lives in the folder. When a file cannot be read or written, or is not what the store said; the
/// folder's earlier backup is whole then.
pub fn write(
    backup: &Backup,
    to: &Path,
    mut tell: impl FnMut(Progress),
) -> Result<Progress, Error> {
    refuse_live(to)?;
    // What was there before any backup is none of ours.
    let is_ours = to.join(MANIFEST).is_file();
    let run = format!("backup-{}", backup.created);
    let manifest = Manifest {
        version: VERSION,
        seq: backup.seq,
        created: backup.created,
        run,
        files: backup.files.clone(),
    };
    let mut progress = Progress { files_all: backup.files.len(), ..Progress::default() };
    for file in &backup.files {
        let target = to.join(manifest.place(file));
        // Segments are named once for all, so one of the same name and size is the same.
        let is_there = file.path.starts_with("data/")
            && fs::metadata(&target).is_ok_and(|found| found.len() == file.bytes);
        if is_there {
            progress.kept += 1;
        } else {
            copy(&backup.dir.join(&file.path), &target, file)?;
            progress.bytes += file.bytes;
        }
        progress.files += 1;
        tell(progress);
    }
    let staged = to.join("manifest.new");
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| Error::io("write", &staged)(error.into()))?;
    put(&staged, &text)?;
    let target = to.join(MANIFEST);
    fs::rename(&staged, &target).map_err(Error::io("rename", &staged))?;
    sync_dir(to)?;
    if is_ours {
        remove_rest(to, &manifest)?;
    }
    Ok(progress)
}

/// Refuses a folder that a store lives in, or has below the place of segments.
fn refuse_live(to: &Path) -> Result<(), Error> {
    for place in [to.to_owned(), to.join("data")] {
        let is_there = |name: &&str| place.join(name).exists();
        if let Some(name) = [FILE, LOCK].iter().find(|name| is_there(name)) {
            let reason = format!("{} is of a store", place.join(name).display());
            return Err(Error::BackupFolder { dir: to.to_owned(), reason });
        }
    }
    Ok(())
}

/// What is in the folder `from`.
///
/// # Errors
///
/// When there is no whole backup in it, or one of a newer release.
pub fn manifest(from: &Path) -> Result<Manifest, Error> {
    let path = from.join(MANIFEST);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| Error::Corrupt {
        path: path.clone(),
        offset: 0,
        reason: error.to_string(),
    })?;
    if manifest.version > VERSION {
        let (found, supported) = (u64::from(manifest.version), u64::from(VERSION));
        return Err(Error::NewerFormat { what: "backup", path, found, supported });
    }
    let is_inside = |file: &BackupFile| {
        let mut parts = manifest.place(file);
        parts.push("");
        Path::new(&file.path).components().all(|part| matches!(part, Component::Normal(_)))
            && parts.components().all(|part| matches!(part, Component::Normal(_)))
    };
    match manifest.files.iter().find(|file| !is_inside(file)) {
        Some(file) => {
            let reason = format!("it names `{}`, which is outside", file.path);
            Err(Error::Corrupt { path, offset: 0, reason })
        }
        None => Ok(manifest),
    }
}

/// Makes the data directory `to`, which must be empty or not there, of the backup in `from`. Blocks.
///
/// # Errors
///
/// When `to` is not empty, or a file is missing or damaged: what was copied so far is of no use then.
pub fn restore(from: &Path, to: &Path, mut tell: impl FnMut(Progress)) -> Result<Progress, Error> {
    let manifest = manifest(from)?;
    fs::create_dir_all(to).map_err(Error::io("create", to))?;
    if fs::read_dir(to).map_err(Error::io("list", to))?.next().is_some() {
        let reason = "it is not empty: restore into a new one".to_owned();
        return Err(Error::Restore { dir: to.to_owned(), reason });
    }
    // A store whose log held nothing new left none in the backup.
    let log = to.join("wal").join(SHARD.to_string());
    fs::create_dir_all(&log).map_err(Error::io("create", &log))?;
    let mut progress = Progress { files_all: manifest.files.len(), ..Progress::default() };
    // The catalogue comes last: without it a directory that is half there is refused.
    for file in &manifest.files {
        copy(&from.join(manifest.place(file)), &to.join(&file.path), file)?;
        progress.bytes += file.bytes;
        progress.files += 1;
        tell(progress);
    }
    Ok(progress)
}

/// Size and CRC32C of a file.
pub(crate) fn sum(path: &Path) -> Result<(u64, u32), Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (mut bytes, mut crc) = (0, 0);
    each_block(path, &mut file, |block| {
        bytes += block.len() as u64;
        crc = crc32c::crc32c_append(crc, block);
        Ok(())
    })?;
    Ok((bytes, crc))
}

fn each_block(
    path: &Path,
    file: &mut File,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(()),
            n => take(&buffer[..n])?,
        }
    }
}

/// Copies a file that must be as `known` says. Durable when it returns; what was there is replaced at once.
fn copy(from: &Path, to: &Path, known: &BackupFile) -> Result<(), Error> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let staged = to.with_extension("part");
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    let mut target = File::create(&staged).map_err(Error::io("create", &staged))?;
    let (mut bytes, mut crc) = (0, 0);
    each_block(from, &mut source, |block| {
        bytes += block.len() as u64;
        crc = crc32c::crc32c_append(crc, block);
        target.write_all(block).map_err(Error::io("write", &staged))
    })?;
    if (bytes, crc) != (known.bytes, known.crc32c) {
        fs::remove_file(&staged).map_err(Error::io("remove", &staged))?;
        let reason = format!(
            "it has {bytes} bytes and checksum {crc:08x}, not {} and {:08x}",
            known.bytes, known.crc32c
        );
        return Err(Error::Corrupt { path: from.to_owned(), offset: 0, reason });
    }
    target.sync_all().map_err(Error::io("sync", &staged))?;
    fs::rename(&staged, to).map_err(Error::io("rename", &staged))?;
    sync_dir(parent)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", path))
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))
}

fn is_of_segment(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ["parquet", "puffin", "part"].iter().any(|ours| extension == *ours)
}

/// Removes files of earlier backups that `manifest` does not name.
fn remove_rest(to: &Path, manifest: &Manifest) -> Result<(), Error> {
    let named: HashSet<PathBuf> =
        manifest.files.iter().map(|file| to.join(manifest.place(file))).collect();
    let mut dirs = vec![to.join("data")];
    for entry in fs::read_dir(to).map_err(Error::io("list", to))? {
        let path = entry.map_err(Error::io("list", to))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name.starts_with("backup-") && name != manifest.run {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
    }
    dirs.retain(|dir| dir.is_dir());
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).map_err(Error::io("list", &dir))? {
            let path = entry.map_err(Error::io("list", &dir))?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if !named.contains(&path) && is_of_segment(&path) {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
    }
    Ok(())
}
