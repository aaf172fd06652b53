//! Backups while the store runs: hard links and copies that stay as they are, and what a folder made of them holds.
//!
//! `begin` puts everything a restore needs below `DATA_DIR/backup`: links to live segments, copies of the catalogue and
//! of the log. The store may delete its own names meanwhile, the files stay. Whoever asked copies them and calls `end`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::time::{NS_PER_S, Timestamp};
use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, FILE};
use crate::core::{Core, SHARD, blocking};
use crate::delete::journal;
use crate::error::Error;
use crate::open::{QUARANTINE, is_set_aside};
use crate::segment::write::sidecar_path;
use crate::wal::replay::scan;

pub mod folder;

/// Directory of files a backup is taken from; emptied at start.
pub(crate) const DIR: &str = "backup";
/// How often a backup is begun anew because files went while they were linked.
const ATTEMPTS: usize = 5;
/// How long a backup may take, in ns.
const STALE_NS: i64 = 86_400 * NS_PER_S;

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Where it belongs in a data directory, with slashes.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// CRC32C of all of it.
    pub crc32c: u32,
}

/// What is to be copied, and from where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backup {
    /// The directory that holds the files under their paths until the backup is ended.
    pub dir: PathBuf,
    /// Every row acknowledged up to this WAL sequence is in it.
    pub seq: u64,
    /// When it was begun, ns since the epoch; it is ended by this.
    pub created: i64,
    /// The files; the catalogue is the last.
    pub files: Vec<BackupFile>,
}

/// Links and copies what a restore needs. A backup that was begun before is given up.
pub(crate) async fn begin(core: &Arc<Core>) -> Result<Backup, Error> {
    let mut current = core.backup.lock().await;
    let mut attempt = 1;
    loop {
        let now = core.clock.now();
        *current = Some(now);
        match attempt_begin(core, now).await {
            Err(error) if attempt < ATTEMPTS && is_passing(&error) => attempt += 1,
            done => return done,
        }
    }
}

/// Whether the next attempt may do better.
fn is_passing(error: &Error) -> bool {
    match error {
        // A segment was merged and swept, or a log file trimmed, between list and link.
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        // The log was written while it was read: the copy has what came last without what came before it.
        Error::Corrupt { .. } => true,
        _ => false,
    }
}

/// Removes what the backup begun at `created` was taken from; another one's files stay.
pub(crate) async fn end(core: &Arc<Core>, created: Timestamp) -> Result<(), Error> {
    let mut current = core.backup.lock().await;
    if current.is_some_and(|current| current == created) {
        clear(core).await?;
        *current = None;
    }
    Ok(())
}

/// Ends a backup whose client has not done so for long: links keep files that retention ended.
pub(crate) async fn end_stale(core: &Arc<Core>) -> Result<(), Error> {
    // One that begins right now is not stale.
    let Ok(mut current) = core.backup.try_lock() else { return Ok(()) };
    let is_stale = |begun: Timestamp| core.clock.now().0.saturating_sub(begun.0) > STALE_NS;
    if current.is_some_and(is_stale) {
        clear(core).await?;
        *current = None;
        tracing::warn!("backup given up, nobody has ended it for a day");
    }
    Ok(())
}

async fn clear(core: &Arc<Core>) -> Result<(), Error> {
    let dir = core.dir.join(DIR);
    blocking(move || remove(&dir)).await
}

pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

async fn attempt_begin(core: &Arc<Core>, now: Timestamp) -> Result<Backup, Error> {
    clear(core).await?;
    let dir = core.dir.join(DIR);
    let wal = Path::new("wal").join(SHARD.to_string());
    // What is acknowledged by now is in the log copied next, or in segments of the catalogue copied after it.
    let seq = core.live.load().seq;
    let (from, to) = (core.dir.join(&wal), dir.join(&wal));
    blocking(move || copy_log(&from, &to)).await?;
    let (from, to) = (core.dir.join(journal::FILE), dir.join(journal::FILE));
    {
        // No delete takes effect in between: the copies say the same.
        let _marking = core.marking.lock().await;
        blocking(move || copy_if_there(&from, &to)).await?;
        core.catalogue.copy(&dir.join(FILE)).await?;
    }
    let copy = Catalogue::open(&dir, now).await?;
    let files = copy.files().await?;
    let (live, ended): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.end_snapshot.is_none());
    copy.bury(&ended.iter().map(|file| file.id).collect::<Vec<_>>()).await?;
    copy.forget_pending(&copy.pending().await?).await?;
    let watermark = copy.checkpoint(SHARD).await?.watermark;
    copy.close().await?;
    let (home, wal_dir) = (core.dir.clone(), dir.join(&wal));
    blocking(move || {
        let mut files = Vec::new();
        for file in live.into_iter().filter(|file| !file.is_quarantined) {
            let (path, facts) = (&file.facts.path, &file.facts);
            if let Some(aside) = set_aside(&home, path) {
                // Somebody chose to do without it; where it lies says so after a restore as well.
                link(&home.join(&aside), &dir.join(&aside))?;
                files.push(described(&dir, aside)?);
                continue;
            }
            link(&home.join(path), &dir.join(path))?;
            files.push(BackupFile { path: path.clone(), bytes: facts.bytes, crc32c: facts.crc });
            let sidecar = sidecar_path(path);
            // Without its sidecar a segment is read as well, only slower.
            if home.join(&sidecar).is_file() {
                link(&home.join(&sidecar), &dir.join(&sidecar))?;
                files.push(described(&dir, sidecar)?);
            }
        }
        for name in cut_log(&wal_dir, watermark)? {
            files.push(described(&dir, wal.join(name).to_string_lossy().into_owned())?);
        }
        if dir.join(journal::FILE).is_file() {
            files.push(described(&dir, journal::FILE.to_owned())?);
        }
        files.push(described(&dir, FILE.to_owned())?);
        Ok(Backup { dir, seq, created: now.0, files })
    })
    .await
}

fn copy_log(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for entry in fs::read_dir(from).map_err(Error::io("list", from))? {
        let path = entry.map_err(Error::io("list", from))?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            let target = to.join(path.file_name().unwrap_or_default());
            // It may be trimmed meanwhile: its rows are in segments then.
            copy_if_there(&path, &target)?;
        }
    }
    Ok(())
}

fn copy_if_there(from: &Path, to: &Path) -> Result<(), Error> {
    match fs::copy(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("copy", from)(error))
        }
        _ => Ok(()),
    }
}

/// Where the segment at `path` lies that somebody moved to quarantine; `None` for any other.
fn set_aside(home: &Path, path: &str) -> Option<String> {
    let name = Path::new(path).file_name()?;
    let aside = Path::new(QUARANTINE).join(name);
    is_set_aside(&home.join(path), &home.join(QUARANTINE))
        .then(|| aside.to_string_lossy().into_owned())
}

/// Cuts each copied log file behind its last whole record, and removes those with nothing above `watermark`. Returns the
/// names of those left.
fn cut_log(dir: &Path, watermark: u64) -> Result<Vec<PathBuf>, Error> {
    let log = scan(dir, watermark)?;
    if let Some(damage) = log.damages(watermark).into_iter().next() {
        let (path, offset) = (damage.path, damage.offset);
        return Err(Error::Corrupt { path, offset, reason: "bad record in the log".to_owned() });
    }
    let mut names = Vec::new();
    for file in log.files.iter().chain(&log.empty) {
        if file.range.is_none_or(|(_, last)| last <= watermark) {
            fs::remove_file(&file.path).map_err(Error::io("remove", &file.path))?;
            continue;
        }
        let open = fs::OpenOptions::new().write(true).open(&file.path);
        open.and_then(|open| open.set_len(file.end)).map_err(Error::io("truncate", &file.path))?;
        names.extend(file.path.file_name().map(PathBuf::from));
    }
    Ok(names)
}

/// A second name for a file, or a copy where the file system has none.
fn link(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            fs::copy(from, to).map(drop).map_err(Error::io("copy", from))
        }
        done => done.map_err(Error::io("link", from)),
    }
}

fn described(dir: &Path, path: String) -> Result<BackupFile, Error> {
    let (bytes, crc32c) = folder::sum(&dir.join(&path))?;
    Ok(BackupFile { path, bytes, crc32c })
}
