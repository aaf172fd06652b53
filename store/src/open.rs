//! Opening a data directory: lock, clean up, catalogue, registry, replay. What cannot be trusted is refused by name.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::RecordBatch;
use model::id::{SeriesId, TenantId};
use model::time::{Clock, Timestamp};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::arrange::distinct;
use crate::backup;
use crate::catalogue::{Catalogue, Checkpoint};
use crate::config::{Config, WalSync};
use crate::core::{Core, Counters, SHARD, blocking};
use crate::definition::series_ids;
use crate::delete::marker::Marker;
use crate::delivery::{Deliveries, Delivery};
use crate::disk::Disk;
use crate::error::Error;
use crate::flush::flush;
use crate::head::Rows;
use crate::index;
use crate::ingest::{Source, keep_known, logged_samples, refers_to_series, restore, rows, today};
use crate::live::Live;
use crate::memory::{Memory, Share};
use crate::object::{DurableLocal, STAGING};
use crate::registry::Registry;
use crate::schema::Table;
use crate::segment::read::Segment;
use crate::wal::payload::{self, Bundle};
use crate::wal::record::{FILE_HEADER, FLAG_CONTINUES, Kind, Seed};
use crate::wal::replay::{Damage, Log, Scanned, load, next_record, scan};
use crate::wal::writer::{ClosedFile, Sink, Start, Wal};

/// Directory of files that failed their checksum.
pub(crate) const QUARANTINE: &str = "quarantine";
/// The file whose lock says that a process has the directory.
pub(crate) const LOCK: &str = "LOCK";

/// What differs between production and tests.
#[derive(Clone)]
pub(crate) struct Seams {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    /// How long the log may be idle before a marker is written.
    pub(crate) wal_idle: Duration,
}

/// Opens the store in `config.data_dir`; the log takes batches when it returns.
pub(crate) async fn open(config: Config, seams: Seams) -> Result<Arc<Core>, Error> {
    config.check()?;
    let refuse = |source| Error::Directory { dir: config.data_dir.clone(), source };
    let dir = std::path::absolute(&config.data_dir).map_err(refuse)?;
    let wal_dir = dir.join("wal").join(SHARD.to_string());
    let (prepared, wal_dir_made) = (dir.clone(), wal_dir.clone());
    let lock = blocking(move || prepare_dirs(&prepared, &wal_dir_made)).await?;
    let now = seams.clock.now();
    let catalogue = Catalogue::open(&dir, now).await?;
    let objects = DurableLocal::new(&dir, Arc::clone(&seams.disk));
    let memory = Memory::new(config.memory_limit.bytes());
    index::set_cache_limit(memory.size(Share::Cache));
    let registry = Arc::new(Registry::new(config.series_max, registry_bytes_max(&memory)));
    registry.tick(now);
    let found = match find(&catalogue, &objects, &registry, (&dir, now)).await {
        Ok(found) => found,
        Err(error) => return Err(given_up(catalogue, error).await),
    };
    let counters = Counters { quarantined: found.n_quarantined.into(), ..Counters::default() };
    let checkpoint = found.checkpoint;
    let core = Arc::new(Core {
        live: Arc::new(Live::new(Arc::clone(&registry), found.segments, checkpoint.watermark)),
        memory,
        clock: Arc::clone(&seams.clock),
        disk: Arc::clone(&seams.disk),
        checkpoint: tokio::sync::Mutex::new(checkpoint),
        wal: OnceLock::new(),
        flush_wanted: tokio::sync::Notify::new(),
        arrivals: crate::arrivals::Arrivals::default(),
        ended: std::sync::Mutex::default(),
        counters,
        compacting: tokio::sync::Mutex::new(()),
        backup: tokio::sync::Mutex::default(),
        marking: tokio::sync::Mutex::new(()),
        _lock: lock,
        config,
        dir,
        objects,
        registry,
        catalogue,
        past: Arc::default(),
        leaving: std::sync::Mutex::default(),
    });
    match begin(&core, &seams, wal_dir, checkpoint).await {
        Ok(()) => Ok(core),
        Err(error) => match Arc::into_inner(core) {
            Some(core) => Err(given_up(core.catalogue, error).await),
            None => Err(error),
        },
    }
}

/// What the catalogue tells of a directory.
struct Found {
    segments: Vec<Arc<Segment>>,
    n_quarantined: u64,
    checkpoint: Checkpoint,
}

/// Cleans up, reads which segments there are, and begins an epoch.
async fn find(
    catalogue: &Catalogue,
    objects: &DurableLocal,
    registry: &Arc<Registry>,
    (dir, now): (&Path, Timestamp),
) -> Result<Found, Error> {
    remove_pending(catalogue, objects).await?;
    let files = catalogue.files().await?;
    let mut segments: Vec<Arc<Segment>> = files
        .into_iter()
        .filter(|file| file.end_snapshot.is_none())
        .map(|file| Arc::new(Segment::new(file, dir)))
        .collect();
    let checkpoint = catalogue.begin_epoch(SHARD).await?;
    let (known, listed) = (Arc::clone(registry), segments.clone());
    let quarantine = dir.join(QUARANTINE);
    let missing = blocking(move || load_registry(&known, &listed, &quarantine, today(now))).await?;
    segments.retain(|segment| !missing.contains(&segment.id()));
    let n_quarantined = segments.iter().filter(|segment| segment.data.is_quarantined).count();
    Ok(Found { n_quarantined: (missing.len() + n_quarantined) as u64, segments, checkpoint })
}

/// Replays the log; it takes batches afterwards.
async fn begin(
    core: &Arc<Core>,
    seams: &Seams,
    wal_dir: PathBuf,
    checkpoint: Checkpoint,
) -> Result<(), Error> {
    let pending =
        core.catalogue.markers().await?.into_iter().filter(|record| record.done.is_none());
    let pending: Vec<_> = pending.collect();
    let task = Arc::clone(core);
    let markers = blocking(move || {
        pending.into_iter().map(|record| Marker::new(record, &task).map(Arc::new)).collect()
    })
    .await?;
    core.live.change_markers(|known| *known = markers);
    let deliveries = core.catalogue.deliveries().await?;
    let replayed = replay(core, &wal_dir, checkpoint, deliveries).await?;
    start_wal(core, seams, wal_dir, checkpoint.epoch, replayed)
}

/// The error, once the catalogue is closed: dropped, it would be closed by its own thread, with its files still changing while
/// somebody else looks at them.
async fn given_up(catalogue: Catalogue, error: Error) -> Error {
    if let Err(other) = catalogue.close().await {
        tracing::warn!(%other, "the catalogue could not be closed");
    }
    error
}

/// Three quarters of the head's share: the rest stays for rows, which a flush can free.
fn registry_bytes_max(memory: &Memory) -> u64 {
    memory.size(Share::Head) / 4 * 3
}

fn start_wal(
    core: &Arc<Core>,
    seams: &Seams,
    dir: PathBuf,
    epoch: u64,
    replayed: Replayed,
) -> Result<(), Error> {
    if core.config.wal_sync != WalSync::Sync {
        tracing::warn!(mode = ?core.config.wal_sync, "log is not synced before acknowledgement, a power cut loses data");
    }
    let start = Start {
        dir,
        node: *core.catalogue.node.as_bytes(),
        shard: SHARD,
        epoch,
        next_seq: replayed.next_seq,
        closed: replayed.closed,
        deliveries: replayed.deliveries,
        file_bytes: core.config.wal_file_bytes,
        queue_bytes_max: core.config.wal_queue_bytes_max.min(core.memory.size(Share::Log)),
        sync: core.config.wal_sync,
        idle: seams.wal_idle,
    };
    let sink: Arc<dyn Sink> = Arc::clone(&core.live) as Arc<dyn Sink>;
    let wal = Wal::start(start, Arc::clone(&seams.disk), Arc::clone(&seams.clock), sink)?;
    core.wal.set(wal).map_err(|_| Error::Unavailable { reason: "the log runs already".to_owned() })
}

/// Makes the directories, takes the lock and empties staging.
fn prepare_dirs(dir: &Path, wal_dir: &Path) -> Result<File, Error> {
    let refuse = |source| Error::Directory { dir: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(refuse)?;
    let lock = lock_dir(dir)?;
    for path in [wal_dir.to_owned(), dir.join("data"), dir.join(STAGING), dir.join(QUARANTINE)] {
        fs::create_dir_all(path).map_err(refuse)?;
    }
    for path in [dir.to_owned(), dir.join("wal")] {
        File::open(path).and_then(|dir| dir.sync_all()).map_err(refuse)?;
    }
    backup::remove(&dir.join(backup::DIR))?;
    let staging = dir.join(STAGING);
    for entry in fs::read_dir(&staging).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        fs::remove_file(&path).map_err(refuse)?;
    }
    Ok(lock)
}

/// Takes the lock of `dir`; the file holds the owner's process id for whoever is refused.
pub(crate) fn lock_dir(dir: &Path) -> Result<File, Error> {
    let refuse = |source: std::io::Error| Error::Directory { dir: dir.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(LOCK))
        .map_err(refuse)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(Error::Locked { dir: dir.to_owned(), pid });
        }
        Err(errno) => return Err(refuse(errno.into())),
    }
    file.set_len(0).map_err(refuse)?;
    file.rewind().map_err(refuse)?;
    writeln!(file, "{}", std::process::id()).map_err(refuse)?;
    Ok(file)
}

/// Deletes what a run that did not come to its commit has left.
async fn remove_pending(catalogue: &Catalogue, objects: &DurableLocal) -> Result<(), Error> {
    let pending = catalogue.pending().await?;
    if pending.is_empty() {
        return Ok(());
    }
    let (doomed, objects) = (pending.clone(), objects.clone());
    blocking(move || objects.delete_segments(&doomed)).await?;
    catalogue.forget_pending(&pending).await
}

/// Brings back series, resources and bounds of today's and yesterday's segments, resources first: series refer to them.
/// Those of older days are read when somebody asks for them.
///
/// Returns the segments an operator moved to quarantine.
fn load_registry(
    registry: &Registry,
    segments: &[Arc<Segment>],
    quarantine: &Path,
    today: i64,
) -> Result<Vec<i64>, Error> {
    let mut missing = Vec::new();
    for table in [Table::Resources, Table::HistBounds, Table::Series] {
        for segment in segments.iter().filter(|segment| segment.facts().table == table) {
            let facts = segment.facts();
            if facts.window.day() < today - 1 && segment.file.exists() {
                continue;
            }
            match segment.rows() {
                Ok(batches) => {
                    let from = Source::Segment { day: facts.window.day() };
                    batches
                        .iter()
                        .for_each(|batch| restore(registry, facts.tenant, table, batch, from));
                }
                Err(_) if is_set_aside(&segment.file, quarantine) => {
                    tracing::error!(path = %segment.file.display(), "segment is in quarantine, what it names is missing from answers");
                    missing.push(segment.id());
                }
                Err(error) => return Err(unreadable(segment, error, quarantine)),
            }
        }
    }
    Ok(missing)
}

/// Whether somebody chose to do without the segment `file`.
pub(crate) fn is_set_aside(file: &Path, quarantine: &Path) -> bool {
    let name = file.file_name().unwrap_or_default();
    !file.exists() && quarantine.join(name).exists()
}

/// Without these definitions answers would be too small, and nobody would know: better none.
fn unreadable(segment: &Segment, error: Error, quarantine: &Path) -> Error {
    let (offset, reason) = match error {
        Error::Corrupt { offset, reason, .. } => (offset, reason),
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (0, source.to_string())
        }
        other => return other,
    };
    let (path, quarantine) = (segment.file.clone(), quarantine.to_owned());
    Error::Definitions { path, offset, reason, quarantine }
}

/// Where the log goes on.
struct Replayed {
    next_seq: u64,
    /// Files to keep until their records are in segments.
    closed: Vec<ClosedFile>,
    deliveries: Deliveries,
}

/// Replays the log above the watermark, flushing on the way. `deliveries` are those of the catalogue.
async fn replay(
    core: &Arc<Core>,
    wal_dir: &Path,
    checkpoint: Checkpoint,
    deliveries: Deliveries,
) -> Result<Replayed, Error> {
    let dir = wal_dir.to_owned();
    let watermark = checkpoint.watermark;
    let log = blocking(move || scan(&dir, watermark)).await?;
    if let Some(first_seq) = log.gap(watermark) {
        return Err(Error::WalGap { dir: wal_dir.to_owned(), first_seq, watermark });
    }
    // Names are given out once: the catalogue would have to be older than the log, or damaged.
    if let Some(file) = log.files.iter().chain(&log.empty).find(|f| f.epoch >= checkpoint.epoch) {
        let (path, epoch) = (file.path.display(), checkpoint.epoch);
        let reason = format!("it begins epoch {epoch}, but {path} is there already");
        return Err(Error::CatalogueCorrupt { reason });
    }
    let is_repair = check_damage(core, &log, watermark)?;
    for healed in log.healed(watermark) {
        let Damage { path, offset, first_seq, last_seq } = healed;
        tracing::error!(path = %path.display(), offset, first_seq, last_seq, "log damaged, its rows are in segments");
    }
    let mut position = Position { seq: watermark, n_dropped: 0, is_repair, deliveries };
    for file in &log.files {
        if file.is_broken && !is_repair {
            truncate(core, file)?;
        } else if file.has_reserved_tail {
            give_back(core, file);
        }
        if file.range.is_some_and(|(_, last)| last <= watermark) && file.after_break.is_none() {
            continue;
        }
        let end = if is_repair { file.bytes } else { file.end };
        replay_file(core, file, end, &mut position).await?;
    }
    for file in &log.empty {
        core.disk.remove(&file.path).map_err(Error::io("remove", &file.path))?;
    }
    if position.n_dropped > 0 {
        tracing::warn!(
            records = position.n_dropped,
            "unfinished batches at the end of the log dropped"
        );
    }
    let last_seq = log.last_seq(watermark).max(position.seq);
    let closed = log.files.iter().map(|file| ClosedFile {
        path: file.path.clone(),
        last_seq: file.range.map_or(last_seq, |(_, last)| if is_repair { last_seq } else { last }),
        is_whole: false,
    });
    let (next_seq, closed) = (last_seq + 1, closed.collect());
    Ok(Replayed { next_seq, closed, deliveries: position.deliveries })
}

/// How far replay has come.
struct Position {
    seq: u64,
    n_dropped: u64,
    /// Whether rows whose definitions were lost are dropped instead of refused.
    is_repair: bool,
    deliveries: Deliveries,
}

/// Refuses damage unless repair was asked for, which copies each damaged file to quarantine.
fn check_damage(core: &Core, log: &Log, watermark: u64) -> Result<bool, Error> {
    let damages = log.damages(watermark);
    let Some(first) = damages.first() else { return Ok(false) };
    if !core.config.wal_repair {
        return Err(Error::WalDamaged {
            path: first.path.clone(),
            offset: first.offset,
            first_seq: first.first_seq,
            last_seq: first.last_seq,
        });
    }
    for damage in &damages {
        let name = damage.path.file_name().unwrap_or_default();
        let copy = core.dir.join(QUARANTINE).join(name);
        fs::copy(&damage.path, &copy).map_err(Error::io("copy", &damage.path))?;
        let (first, last) = (damage.first_seq, damage.last_seq);
        let reason =
            format!("bad record at byte {}: sequences {first} to {last} are lost\n", damage.offset);
        let note = copy.with_extension("wal.reason");
        fs::write(&note, reason).map_err(Error::io("write", &note))?;
        tracing::error!(path = %damage.path.display(), offset = damage.offset, first, last, "acknowledged records lost");
    }
    Ok(true)
}

/// Cuts an unacknowledged tail off, so that nobody takes it for damage later.
fn truncate(core: &Core, file: &Scanned) -> Result<(), Error> {
    if file.after_break.is_some() {
        // A torn write leaves this, and so would damage to the very last group: keep what a human could still judge.
        let copy = core.dir.join(QUARANTINE).join(file.path.file_name().unwrap_or_default());
        fs::copy(&file.path, &copy).map_err(Error::io("copy", &file.path))?;
        tracing::warn!(path = %file.path.display(), copy = %copy.display(), "whole records in the unacknowledged tail of the log, file copied");
    }
    tracing::info!(path = %file.path.display(), end = file.end, "unacknowledged tail of the log cut off");
    let open = core.disk.open(&file.path).map_err(Error::io("open", &file.path))?;
    open.truncate(file.end).and_then(|()| open.sync()).map_err(Error::io("truncate", &file.path))
}

/// Frees what was reserved behind the last record: nobody writes to a file of an earlier run, and each start takes a new
/// one. Zeros are not missed, so a failure costs nothing but space.
fn give_back(core: &Core, file: &Scanned) {
    if let Err(error) = core.disk.open(&file.path).and_then(|open| open.truncate(file.end)) {
        tracing::warn!(path = %file.path.display(), %error, "reserved space of the log not given back");
    }
}

async fn replay_file(
    core: &Arc<Core>,
    file: &Scanned,
    end: u64,
    position: &mut Position,
) -> Result<(), Error> {
    let path = file.path.clone();
    let mut bytes = blocking(move || load(&path)).await?;
    bytes.truncate(usize::try_from(end).unwrap_or(usize::MAX));
    let bytes = Arc::new(bytes);
    let seed = Seed::new(file.epoch, file.number);
    let mut at = FILE_HEADER;
    let mut parts = Vec::new();
    let mut deliveries = std::mem::take(&mut position.deliveries);
    while at < bytes.len() {
        let (task, source) = (Arc::clone(core), Arc::clone(&bytes));
        let (path, is_repair) = (file.path.clone(), position.is_repair);
        let seq = position.seq;
        let mut step = Step { path, seed, at, seq, parts, deliveries, is_repair };
        let step = blocking(move || replay_some(&task, &source, &mut step).map(|()| step)).await?;
        (at, position.seq) = (step.at, step.seq);
        (parts, deliveries) = (step.parts, step.deliveries);
        if core.live.load().head_bytes >= core.config.flush_bytes_max {
            flush(core).await?;
        }
    }
    position.deliveries = deliveries;
    position.n_dropped += parts.len() as u64;
    Ok(())
}

/// How far the replay of one file has come.
struct Step {
    path: PathBuf,
    seed: Seed,
    at: usize,
    seq: u64,
    /// Records of a batch whose last part was not met yet.
    parts: Vec<Part>,
    deliveries: Deliveries,
    is_repair: bool,
}

/// One decoded record.
struct Part {
    seq: u64,
    bytes: u64,
    tenant: TenantId,
    place: usize,
    delivery: Option<Delivery>,
    bundle: Bundle,
}

/// Applies records until the head is due for a flush or the file ends.
fn replay_some(core: &Core, bytes: &[u8], step: &mut Step) -> Result<(), Error> {
    while let Some((place, record)) = next_record(bytes, step.at, step.seed) {
        step.at = place + record.len();
        if record.seq <= step.seq {
            continue; // In segments already.
        }
        step.seq = record.seq;
        let len = record.len() as u64;
        if record.kind != Kind::Data {
            core.live.apply(step.seq, len, Rows::default());
            continue;
        }
        let bundle = payload::decode(record.payload);
        let bundle = bundle.map_err(|reason| corrupt(step, place, reason))?;
        let (tenant, delivery) = (TenantId(record.tenant), record.delivery);
        step.parts.push(Part { seq: record.seq, bytes: len, tenant, place, delivery, bundle });
        if record.flags & FLAG_CONTINUES == 0 {
            apply_parts(core, step)?;
        }
        if core.live.load().head_bytes >= core.config.flush_bytes_max {
            return Ok(());
        }
    }
    step.at = bytes.len();
    Ok(())
}

fn apply_parts(core: &Core, step: &mut Step) -> Result<(), Error> {
    let day = today(core.clock.now());
    for mut part in std::mem::take(&mut step.parts) {
        for (table, batch) in &part.bundle.tables {
            restore(&core.registry, part.tenant, *table, batch, Source::Log { day });
        }
        if step.is_repair {
            bring_back(core, &part)?;
            keep_known(&core.registry, part.tenant, &mut part.bundle);
        }
        let mut rows = bring_back(core, &part)
            .and_then(|()| {
                let logged = std::mem::take(&mut part.bundle.samples);
                logged_samples(&core.registry, part.tenant, logged)
            })
            .and_then(|samples| rows(core, part.tenant, samples, &part.bundle.tables))
            .map_err(|error| corrupt(step, part.place, error.to_string()))?;
        rows.delivery = part.delivery;
        if let Some(delivery) = &part.delivery {
            step.deliveries.note(delivery, core.clock.now());
        }
        core.live.apply(part.seq, part.bytes, rows);
    }
    Ok(())
}

/// Makes series active that late rows refer to: their definitions may stand in segments of days long past.
fn bring_back(core: &Core, part: &Part) -> Result<(), Error> {
    let named = |(table, batch): &'_ (Table, RecordBatch)| match refers_to_series(*table) {
        true => distinct(series_ids(batch)),
        false => Vec::new(),
    };
    let of_tables = part.bundle.tables.iter().flat_map(named);
    for id in part.bundle.samples.runs.iter().map(|run| run.0).chain(of_tables).map(SeriesId) {
        if core.registry.view().slot_of(id).is_some() {
            continue;
        }
        if let Some(series) = core.past.series(&core.registry, &core.live.segments(), id)? {
            core.registry.restore(series.tenant, [(id, series.def.clone())], |_, _| {});
        }
    }
    Ok(())
}

fn corrupt(step: &Step, place: usize, reason: String) -> Error {
    Error::Corrupt { path: step.path.clone(), offset: place as u64, reason }
}
