//! A catalogue made anew from the footers of segments and the names of log files, when the old one is lost.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::id::TenantId;
use model::time::Timestamp;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use serde::Serialize;

use crate::backup::folder::sum;
use crate::catalogue::{Catalogue, Checkpoint, Commit, CommitKind, FILE};
use crate::compact::merge::first_key;
use crate::core::{SHARD, blocking};
use crate::delete::journal;
use crate::delivery::Deliveries;
use crate::error::Error;
use crate::open::{QUARANTINE, lock_dir};
use crate::schema::{SCHEMA_VERSION, Table, columns};
use crate::segment::read::Segment;
use crate::segment::write::{Facts, Origin, Seen, Window, sidecar_path};
use crate::wal::replay::{Scanned, scan};

/// Below quarantine: segments whose rows stand elsewhere.
const SUPERSEDED: &str = "superseded";

/// What became of the files of a store whose catalogue was made anew.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rebuilt {
    /// Segments in the new catalogue.
    pub segments: u64,
    /// Rows in them.
    pub rows: u64,
    /// Segments left out: others hold their rows, or the log does. Their files go to `quarantine/superseded`.
    pub superseded: u64,
    /// Files that could not be read, moved to quarantine, with the reason.
    pub quarantined: Vec<(PathBuf, String)>,
    /// Highest sequence in segments; the log is replayed from there.
    pub watermark: u64,
}

struct Found {
    facts: Facts,
    origin: Origin,
}

/// Makes the catalogue of `dir` anew, which no process may have open.
pub(crate) async fn rebuild(
    dir: PathBuf,
    now: Timestamp,
    is_forced: bool,
) -> Result<Rebuilt, Error> {
    let root = dir.clone();
    let lock = blocking(move || lock_dir(&root)).await?;
    let root = dir.clone();
    blocking(move || move_aside(&root, now, is_forced)).await?;
    let root = dir.clone();
    let (found, mut rebuilt) = blocking(move || find(&root)).await?;
    let root = dir.clone();
    let (kept, rebuilt, epoch) = blocking(move || {
        let wal_dir = root.join("wal").join(SHARD.to_string());
        let (first_logged, epoch) = log_start(&wal_dir)?;
        // Deletes part segments: what came before one is in segments, or it could not be told from what came later.
        let deleted = journal::read(&root)?.iter().map(|record| record.seq).max().unwrap_or(0);
        let kept = choose(&root, found, (first_logged, deleted), &mut rebuilt)?;
        Ok((kept, rebuilt, epoch.max(1)))
    })
    .await?;
    let epoch = kept.iter().map(|found| found.origin.epoch).max().unwrap_or(0).max(epoch);
    let mut catalogue = Catalogue::create_anew(&dir, now).await?;
    for record in journal::read(&dir)? {
        catalogue.add_marker(record).await?;
    }
    if let Some(first) = kept.first() {
        catalogue.take_name(&first.origin.node).await?;
    }
    let checkpoint = Checkpoint { shard: SHARD, epoch, watermark: rebuilt.watermark };
    catalogue.put_checkpoint(checkpoint).await?;
    // Oldest first: the order of commits says which of two rows is the later.
    let mut by_origin: BTreeMap<(u64, u64, Vec<String>), Vec<Found>> = BTreeMap::new();
    for found in kept {
        let key = (found.origin.hi, found.origin.lo, found.origin.replaces.clone());
        by_origin.entry(key).or_default().push(found);
    }
    for group in by_origin.into_values() {
        let Some(origin) = group.first().map(|found| found.origin.clone()) else { continue };
        let root = dir.clone();
        let new = blocking(move || in_key_order(&root, group)).await?;
        let commit = Commit {
            kind: CommitKind::Rebuild,
            now,
            new: &new,
            origin: &origin,
            ended: &[],
            commit_order: None,
            checkpoint: None,
            deliveries: &Deliveries::default(),
        };
        catalogue.commit(&commit).await?;
    }
    catalogue.close().await?;
    drop(lock);
    Ok(rebuilt)
}

/// Refuses a directory that has a catalogue, or gives that one another name.
fn move_aside(dir: &Path, now: Timestamp, is_forced: bool) -> Result<(), Error> {
    let path = dir.join(FILE);
    if !fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    if !is_forced {
        let reason = "it has a catalogue: --force moves that aside".to_owned();
        return Err(Error::Restore { dir: dir.to_owned(), reason });
    }
    for ending in ["", "-wal", "-shm"] {
        let from = dir.join(format!("{FILE}{ending}"));
        let to = dir.join(format!("catalogue.old-{}.sqlite{ending}", now.s()));
        if from.exists() {
            fs::rename(&from, &to).map_err(Error::io("rename", &from))?;
        }
    }
    Ok(())
}

/// Every segment below `data/` that can be read; the others go to quarantine.
fn find(dir: &Path) -> Result<(Vec<Found>, Rebuilt), Error> {
    let mut rebuilt = Rebuilt::default();
    let mut found = Vec::new();
    let mut dirs = vec![dir.join("data")];
    dirs.retain(|dir| dir.is_dir());
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).map_err(Error::io("list", &next))? {
            let path = entry.map_err(Error::io("list", &next))?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                match read(dir, &path) {
                    Ok(segment) => found.push(segment),
                    // What could not be opened now, as for want of handles, may be whole.
                    Err(error @ Error::Io { action: "open", .. }) => return Err(error),
                    Err(error) => {
                        quarantine(dir, &path, &error)?;
                        rebuilt.quarantined.push((path, error.to_string()));
                    }
                }
            }
        }
    }
    Ok((found, rebuilt))
}

fn quarantine(dir: &Path, path: &Path, error: &Error) -> Result<(), Error> {
    let to = dir.join(QUARANTINE);
    fs::create_dir_all(&to).map_err(Error::io("create", &to))?;
    let moved = to.join(path.file_name().unwrap_or_default());
    fs::rename(path, &moved).map_err(Error::io("rename", path))?;
    let note = moved.with_extension("parquet.reason");
    fs::write(&note, format!("{error}\n")).map_err(Error::io("write", &note))
}

/// What the catalogue must know of a segment, from the file alone.
fn read(dir: &Path, path: &Path) -> Result<Found, Error> {
    let bad = |reason: String| Error::Corrupt { path: path.to_owned(), offset: 0, reason };
    let wrong = |error: parquet::errors::ParquetError| bad(error.to_string());
    let below = path.strip_prefix(dir).map_err(|error| bad(error.to_string()))?;
    let relative = below.to_string_lossy().into_owned();
    let (bytes, crc) = sum(path)?;
    let sidecar = dir.join(sidecar_path(&relative));
    let file = fs::File::open(path).map_err(Error::io("open", path))?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(wrong)?;
    let pairs: HashMap<&str, &str> = metadata
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.key.strip_prefix("headrope.")?, pair.value.as_deref()?)))
        .collect();
    let text = |key: &str| {
        pairs.get(key).copied().ok_or_else(|| bad(format!("it does not say its {key}")))
    };
    let (name, version) = text("schema")?.split_once('/').unwrap_or_default();
    let table = Table::parse(name).ok_or_else(|| bad(format!("table `{name}` is unknown")))?;
    if version.parse() != Ok(SCHEMA_VERSION) {
        return Err(bad(format!("schema version `{version}` is not known to this release")));
    }
    let origin = origin(text("wal")?, pairs.get("replaces").copied())
        .ok_or_else(|| bad("its place in the log is unclear".to_owned()))?;
    let (start, len) = text("window")?.split_once('/').unwrap_or_default();
    let number = |text: &str| text.parse::<i64>().map_err(|error| bad(error.to_string()));
    let window = Window { start: number(start)?, len: number(len)? };
    let level = text("level")?.parse().map_err(|_| bad("its level is unclear".to_owned()))?;
    let tenant = text("tenant")?.parse().map_err(|_| bad("its tenant is unclear".to_owned()))?;
    let names = [
        columns::METRIC,
        columns::SERVICE_NAME,
        columns::TIME,
        columns::FIRST_TIME,
        columns::LAST_TIME,
        columns::START,
        columns::END,
    ];
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    let mut seen = Seen::default();
    for batch in builder.with_projection(mask).build().map_err(wrong)? {
        seen.add(table, &batch.map_err(|error| bad(error.to_string()))?);
    }
    let times = seen.times.unwrap_or((Timestamp(window.start), Timestamp(window.end() - 1)));
    let facts = Facts {
        table,
        tenant: TenantId(tenant),
        window,
        level,
        path: relative,
        rows: seen.rows,
        bytes,
        footer_bytes: footer_len(path)?,
        min_time: times.0,
        max_time: times.1,
        crc,
        sidecar_bytes: fs::metadata(&sidecar).map_or(0, |found| found.len()),
        metrics: Arc::from(seen.metrics),
        services: seen.services,
    };
    let found = Found { facts, origin };
    // Every block against the sidecar, where there is one.
    segment(dir, &found).check()?;
    Ok(found)
}

/// The segment as it will be read.
fn segment(dir: &Path, found: &Found) -> Segment {
    let data = crate::catalogue::DataFile {
        id: 0,
        commit_order: 0,
        begin_snapshot: 0,
        end_snapshot: None,
        is_quarantined: false,
        origin: found.origin.clone(),
        facts: found.facts.clone(),
    };
    Segment::new(data, dir)
}

/// What one commit made, in the order in which its files are numbered: those of one window by their keys.
fn in_key_order(dir: &Path, group: Vec<Found>) -> Result<Vec<Facts>, Error> {
    let mut keyed = Vec::with_capacity(group.len());
    for found in group {
        let key = first_key(&segment(dir, &found))?;
        keyed.push(((found.facts.table, found.facts.tenant, found.facts.window, key), found.facts));
    }
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(keyed.into_iter().map(|(_, facts)| facts).collect())
}

fn footer_len(path: &Path) -> Result<u64, Error> {
    use std::io::{Read, Seek, SeekFrom};
    let mut tail = [0; 8];
    let mut file = fs::File::open(path).map_err(Error::io("open", path))?;
    file.seek(SeekFrom::End(-8))
        .and_then(|_| file.read_exact(&mut tail))
        .map_err(Error::io("read", path))?;
    let [a, b, c, d, ..] = tail;
    Ok(u64::from(u32::from_le_bytes([a, b, c, d])) + 8)
}

/// `node/shard/epoch/lo/hi`, and what it replaces.
fn origin(wal: &str, replaces: Option<&str>) -> Option<Origin> {
    let mut parts = wal.split('/');
    Some(Origin {
        node: parts.next()?.to_owned(),
        shard: parts.next()?.parse().ok()?,
        epoch: parts.next()?.parse().ok()?,
        lo: parts.next()?.parse().ok()?,
        hi: parts.next()?.parse().ok()?,
        replaces: replaces.into_iter().flat_map(|all| all.split(',')).map(str::to_owned).collect(),
    })
}

/// The first sequence from which on the log holds everything, or `u64::MAX`, and its newest epoch.
fn log_start(dir: &Path) -> Result<(u64, u64), Error> {
    if !dir.is_dir() {
        return Ok((u64::MAX, 0));
    }
    let log = scan(dir, 0)?;
    let mut files: Vec<&Scanned> = log.files.iter().chain(&log.empty).collect();
    files.sort_by_key(|file| (file.epoch, file.number));
    let epoch = files.last().map_or(0, |file| file.epoch);
    let mut first = u64::MAX;
    for (i, file) in files.iter().enumerate().rev() {
        let newer = files.get(i + 1);
        let follows =
            newer.is_none_or(|newer| newer.epoch == file.epoch && newer.number == file.number + 1);
        let reaches = file.range.is_none_or(|(_, last)| last.saturating_add(1) >= first);
        // Files are trimmed once their rows are in segments, but for a few that wait to be used again.
        if !follows && !reaches && !file.is_broken {
            break;
        }
        first = file.range.map_or(first, |(start, _)| start.min(first));
    }
    Ok((first, epoch))
}

/// The newest set of segments that holds every row once, together with the log. Moves the files of the others away.
///
/// What a merge was made from counts as long as all of it is there: the merge may not have come to its commit, and holds
/// nothing else. Once part of it is gone, the merge was committed. Of flushes the log reaches back to, those at its
/// start were committed and those behind may not have been: the log has their rows.
fn choose(
    dir: &Path,
    found: Vec<Found>,
    (first_logged, deleted): (u64, u64),
    rebuilt: &mut Rebuilt,
) -> Result<Vec<Found>, Error> {
    let there: HashSet<String> = found.iter().map(|found| found.facts.path.clone()).collect();
    let by_path: HashMap<&str, &Found> =
        found.iter().map(|found| (found.facts.path.as_str(), found)).collect();
    let mut superseded: HashSet<String> = HashSet::new();
    for (path, of) in &by_path {
        let inputs = &of.origin.replaces;
        if inputs.is_empty() {
            continue;
        }
        // One written anew without deleted rows is whole, and must not give them back. It is of before a delete.
        let is_cleaned = inputs.len() == 1
            && of.origin.hi <= deleted
            && by_path
                .get(inputs[0].as_str())
                .is_some_and(|input| input.facts.level == of.facts.level);
        if !is_cleaned && inputs.iter().all(|input| there.contains(input)) {
            superseded.insert((*path).to_owned());
        } else {
            let mut gone: Vec<&str> = inputs.iter().map(String::as_str).collect();
            while let Some(input) = gone.pop() {
                superseded.insert(input.to_owned());
                gone.extend(
                    by_path
                        .get(input)
                        .into_iter()
                        .flat_map(|input| &input.origin.replaces)
                        .map(String::as_str),
                );
            }
        }
    }
    let logged = first_logged.saturating_sub(1);
    let is_left = |found: &Found| !superseded.contains(&found.facts.path);
    let start = if first_logged == u64::MAX { u64::MAX } else { logged };
    let mut watermark = deleted;
    // A segment that begins below ends the stretch that is in segments further up.
    while let Some(higher) = found
        .iter()
        .filter(|found| is_left(found) && found.origin.lo < start.max(watermark))
        .map(|found| found.origin.hi)
        .max()
        .filter(|hi| *hi > watermark)
    {
        watermark = higher;
    }
    if first_logged != u64::MAX {
        watermark = watermark.max(logged);
    }
    let (kept, others): (Vec<Found>, Vec<Found>) = found
        .into_iter()
        .partition(|found| !superseded.contains(&found.facts.path) && found.origin.hi <= watermark);
    // Should the log turn out to be damaged, they are the only copy.
    let aside = dir.join(QUARANTINE).join(SUPERSEDED);
    fs::create_dir_all(&aside).map_err(Error::io("create", &aside))?;
    for other in &others {
        for path in [other.facts.path.clone(), sidecar_path(&other.facts.path)] {
            let path = dir.join(path);
            match fs::rename(&path, aside.join(path.file_name().unwrap_or_default())) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("rename", &path)(error));
                }
                _ => {}
            }
        }
    }
    rebuilt.superseded = others.len() as u64;
    rebuilt.segments = kept.len() as u64;
    rebuilt.rows = kept.iter().map(|found| found.facts.rows).sum();
    rebuilt.watermark = watermark;
    Ok(kept)
}
