//! The one thread that writes the log: group commit, rotation, recycling, and what happens when the disk fails.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use model::time::{Clock, Timestamp};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::WalSync;
use crate::delivery::{Deliveries, Delivery};
use crate::disk::{Disk, DiskFile, is_full};
use crate::error::Error;
use crate::head::Rows;
use crate::wal::record::{Codec, Encoded, FILE_HEADER, FileHeader, Kind, Seed};

/// Most bytes taken into one group, unless one batch alone is larger.
const GROUP_BYTES_MAX: u64 = 1 << 20;
/// How long the log may be idle before a marker vouches for its last record.
pub(crate) const IDLE: Duration = Duration::from_millis(100);
/// How often `WalSync::Interval` syncs.
const INTERVAL: Duration = Duration::from_secs(5);
/// Trimmed files kept for reuse.
const SPARE_MAX: usize = 2;
/// Space set aside, given back when the disk is full so that a flush can still run.
const RESERVE_BYTES: u64 = 64 << 20;
const RESERVE: &str = "reserve";

/// Receives what is durable, in sequence order, on the log's thread.
pub(crate) trait Sink: Send + Sync {
    /// Makes `rows` visible; `seq` and everything before it is durable. Markers carry no rows.
    fn apply(&self, seq: u64, bytes: u64, rows: Rows);
}

type Answer = oneshot::Sender<Result<Option<u64>, Error>>;

/// One batch: its records and the rows they hold.
pub(crate) struct Pending {
    pub(crate) records: Vec<(Encoded, Rows)>,
    /// Told the last sequence once everything is durable and visible; `None` when it had come before.
    pub(crate) ack: Answer,
}

impl Pending {
    /// Which batch of which sender it is; its last record says so.
    fn delivery(&self) -> Option<Delivery> {
        self.records.last()?.0.delivery
    }

    /// Bytes in the log.
    fn bytes(&self) -> u64 {
        self.records.iter().map(|(record, _)| record.len() as u64).sum()
    }

    /// Bytes of memory until it is in the head: records and rows.
    fn held(&self) -> u64 {
        self.bytes() + self.records.iter().map(|(_, rows)| rows.bytes()).sum::<u64>()
    }
}

/// Where the log goes on after replay.
pub(crate) struct Start {
    pub(crate) dir: PathBuf,
    pub(crate) node: [u8; 16],
    pub(crate) shard: u32,
    pub(crate) epoch: u64,
    /// First sequence to give.
    pub(crate) next_seq: u64,
    /// Files of earlier runs, oldest first.
    pub(crate) closed: Vec<ClosedFile>,
    pub(crate) file_bytes: u64,
    pub(crate) queue_bytes_max: u64,
    pub(crate) sync: WalSync,
    /// How far numbered streams have come.
    pub(crate) deliveries: Deliveries,
    /// How long there may be nothing to do before a marker is written.
    pub(crate) idle: Duration,
}

/// A file nobody writes to any more.
#[derive(Clone, Debug)]
pub(crate) struct ClosedFile {
    pub(crate) path: PathBuf,
    pub(crate) last_seq: u64,
    /// Whether it has the size of a log file, so that it can be used again.
    pub(crate) is_whole: bool,
}

/// What the log has done, for telemetry.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) syncs: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) queue_bytes: AtomicU64,
    /// Batches that were acknowledged without rows, because they had come before.
    pub(crate) repeats: AtomicU64,
    pub(crate) poisoned: AtomicBool,
    pub(crate) disk_full: AtomicBool,
}

#[derive(Default)]
struct Queue {
    pending: VecDeque<Pending>,
    /// Bytes held by what is pending and by the group under way.
    bytes: u64,
    is_stopping: bool,
    /// Why nothing is taken any more.
    closed: Option<String>,
    /// Whether the disk had no room at the last try.
    is_disk_full: bool,
    #[cfg(test)]
    is_nudged: bool,
}

#[derive(Default)]
struct Files {
    closed: VecDeque<ClosedFile>,
    spare: Vec<PathBuf>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    files: Mutex<Files>,
    deliveries: Mutex<Deliveries>,
    counters: Counters,
    queue_bytes_max: u64,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

/// The log. Dropping it stops the thread without a marker, as a crash would.
pub(crate) struct Wal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wal {
    /// Starts the thread. The first file is made with the first batch.
    pub(crate) fn start(
        mut start: Start,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        let files = Files { closed: start.closed.iter().cloned().collect(), spare: Vec::new() };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            files: Mutex::new(files),
            deliveries: Mutex::new(std::mem::take(&mut start.deliveries)),
            counters: Counters::default(),
            queue_bytes_max: start.queue_bytes_max,
            dir: start.dir.clone(),
            disk: Arc::clone(&disk),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            seq: start.next_seq - 1,
            durable_seq: start.next_seq - 1,
            number: 0,
            file: None,
            needs_marker: false,
            is_dirty: false,
            is_without_file: false,
            synced_at: Instant::now(),
            buffer: Vec::new(),
            start,
            disk,
            clock,
            sink,
        };
        let thread = std::thread::Builder::new()
            .name("wal".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| Error::Unavailable {
                reason: format!("the log's thread did not start: {source}"),
            })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Whether this batch is durable already; counts it then.
    pub(crate) fn is_repeat(&self, delivery: &Delivery) -> bool {
        let is_repeat = lock(&self.shared.deliveries).is_repeat(delivery);
        self.shared.counters.repeats.fetch_add(is_repeat.into(), Ordering::Relaxed);
        is_repeat
    }

    /// Queues a batch. Refuses when the queue or the disk is full or the log has stopped.
    pub(crate) fn push(&self, pending: Pending) -> Result<(), Error> {
        let bytes = pending.held();
        let limit = self.shared.queue_bytes_max;
        let mut queue = lock(&self.shared.queue);
        if let Some(reason) = &queue.closed {
            return Err(Error::Unavailable { reason: reason.clone() });
        }
        if queue.is_disk_full {
            return Err(Error::DiskFull { dir: self.shared.dir.clone() });
        }
        // Alone a batch passes by its records, or one with many rows would be refused for ever.
        let is_alone = queue.bytes == 0 && pending.bytes() <= limit;
        if !is_alone && queue.bytes + bytes > limit {
            return Err(Error::Full { what: "log queue", used: queue.bytes + bytes, limit });
        }
        queue.bytes += bytes;
        self.shared.counters.queue_bytes.store(queue.bytes, Ordering::Relaxed);
        queue.pending.push_back(pending);
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Frees files whose every record is at or below `watermark`; keeps a few for reuse unless the disk is full.
    pub(crate) fn trim(&self, watermark: u64) {
        let n_kept = if lock(&self.shared.queue).is_disk_full { 0 } else { SPARE_MAX };
        let mut doomed = Vec::new();
        let mut files = lock(&self.shared.files);
        while files.closed.front().is_some_and(|file| file.last_seq <= watermark) {
            let Some(file) = files.closed.pop_front() else { break };
            if file.is_whole { files.spare.push(file.path) } else { doomed.push(file.path) }
        }
        let n_kept = files.spare.len().min(n_kept);
        doomed.extend(files.spare.split_off(n_kept));
        drop(files); // The log's thread must not wait for files to go.
        self.shared.remove(doomed);
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Writes what is queued, vouches for it with a marker, and joins the thread. Blocks.
    pub(crate) fn stop(&self) {
        lock(&self.shared.queue).is_stopping = true;
        self.shared.wake.notify_one();
        self.join();
    }

    /// Lets the log's thread do at once what it does when it has been idle.
    #[cfg(test)]
    pub(crate) fn nudge(&self) {
        lock(&self.shared.queue).is_nudged = true;
        self.shared.wake.notify_one();
    }

    fn join(&self) {
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("log thread panicked");
        }
    }
}

impl Shared {
    fn remove(&self, paths: Vec<PathBuf>) {
        for path in paths {
            if let Err(error) = self.disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "log file not removed");
            }
        }
    }

    /// Gives the memory of `bytes` to later batches.
    fn release(&self, bytes: u64) {
        let mut queue = lock(&self.queue);
        queue.bytes = queue.bytes.saturating_sub(bytes);
        self.counters.queue_bytes.store(queue.bytes, Ordering::Relaxed);
    }

    fn set_disk_full(&self, is_full: bool) {
        lock(&self.queue).is_disk_full = is_full;
        self.counters.disk_full.store(is_full, Ordering::Relaxed);
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed.get_or_insert_with(|| "the store is closed".to_owned());
        self.shared.wake.notify_one();
        self.join();
    }
}

enum Work {
    Group(Vec<Pending>),
    Idle,
    Stop,
    Close,
}

struct OpenFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    seed: Seed,
    offset: u64,
    /// Whether a write failed: records that nobody was promised may stand behind `offset`.
    is_torn: bool,
}

struct Writer {
    shared: Arc<Shared>,
    start: Start,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
    /// Last sequence given.
    seq: u64,
    /// Last sequence known to be on disk.
    durable_seq: u64,
    /// Number of the current file; the first is 1.
    number: u64,
    file: Option<OpenFile>,
    /// Whether the last record is one that no later record vouches for.
    needs_marker: bool,
    /// Whether something was written since the last sync.
    is_dirty: bool,
    /// Whether the last try to make a file failed.
    is_without_file: bool,
    synced_at: Instant,
    buffer: Vec<u8>,
}

/// Why a group failed.
enum Failure {
    /// No room: the group was refused, later ones may pass.
    Full,
    /// No next file yet, and so no record written: the group was refused, later ones may pass.
    NoFile(Error),
    /// The file cannot be trusted any more.
    Poison(Error),
}

impl Writer {
    fn run(mut self) {
        self.work();
        self.disk.idle();
    }

    fn work(&mut self) {
        self.make_reserve();
        loop {
            match self.wait() {
                Work::Group(group) => {
                    let bytes = group.iter().map(Pending::held).sum();
                    self.commit_group(group);
                    self.shared.release(bytes);
                }
                Work::Idle => self.idle(),
                Work::Stop => {
                    if self.needs_marker {
                        self.commit_group(Vec::new());
                    }
                    self.give_back();
                    self.close("the store is shut down".to_owned());
                    return;
                }
                Work::Close => return,
            }
            if self.shared.counters.poisoned.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Takes what is queued, up to the group's limit, or waits for it.
    fn wait(&self) -> Work {
        let mut queue = lock(&self.shared.queue);
        loop {
            #[cfg(test)]
            if std::mem::take(&mut queue.is_nudged) && queue.pending.is_empty() {
                return Work::Idle;
            }
            if !queue.pending.is_empty() {
                return Work::Group(self.take(&mut queue));
            }
            if queue.closed.is_some() {
                return Work::Close;
            }
            if queue.is_stopping {
                return Work::Stop;
            }
            self.disk.idle();
            if self.needs_marker || self.is_dirty || queue.is_disk_full {
                let (again, timeout) = self
                    .shared
                    .wake
                    .wait_timeout(queue, self.start.idle)
                    .unwrap_or_else(PoisonError::into_inner);
                queue = again;
                if timeout.timed_out() && queue.pending.is_empty() {
                    return Work::Idle;
                }
            } else {
                queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn take(&self, queue: &mut Queue) -> Vec<Pending> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(next) = queue.pending.front() {
            bytes += next.bytes();
            if !group.is_empty() && bytes > GROUP_BYTES_MAX {
                break;
            }
            group.extend(queue.pending.pop_front());
        }
        group
    }

    fn idle(&mut self) {
        if lock(&self.shared.queue).is_disk_full {
            self.recover_space();
        } else if self.needs_marker {
            self.commit_group(Vec::new());
        } else if self.is_dirty && self.synced_at.elapsed() >= INTERVAL {
            match self.sync() {
                Ok(()) => self.durable_seq = self.seq,
                Err(Failure::Full) => self.refuse_for_space(),
                Err(Failure::NoFile(error) | Failure::Poison(error)) => self.poison(&error),
            }
        }
    }

    /// Makes `group` durable and visible and acknowledges it; an empty group is a marker.
    fn commit_group(&mut self, mut group: Vec<Pending>) {
        self.strip_repeats(&mut group);
        match self.write_group(&group) {
            Ok(()) => self.apply_group(group),
            Err(Failure::NoFile(error)) => {
                if !std::mem::replace(&mut self.is_without_file, true) {
                    tracing::error!(%error, "no new log file, ingest refused until there is one");
                }
                for pending in group {
                    answer(pending.ack, Err(Error::Unavailable { reason: error.to_string() }));
                }
            }
            Err(Failure::Full) => {
                self.refuse_for_space();
                for pending in group {
                    answer(pending.ack, Err(Error::DiskFull { dir: self.start.dir.clone() }));
                }
            }
            Err(Failure::Poison(error)) => {
                self.poison(&error);
                for pending in group {
                    answer(pending.ack, Err(Error::Unavailable { reason: error.to_string() }));
                }
            }
        }
    }

    /// Takes the records from batches that came before, or that stand in the group already and share its fate.
    fn strip_repeats(&self, group: &mut [Pending]) {
        let known = lock(&self.shared.deliveries);
        let mut here = Deliveries::default();
        for pending in group {
            let Some(delivery) = pending.delivery() else { continue };
            if known.is_repeat(&delivery) || here.is_repeat(&delivery) {
                pending.records.clear();
                self.shared.counters.repeats.fetch_add(1, Ordering::Relaxed);
            } else {
                here.note(&delivery, Timestamp::default());
            }
        }
    }

    fn write_group(&mut self, group: &[Pending]) -> Result<(), Failure> {
        let marker =
            Encoded::new(Kind::Checkpoint, Codec::None, 0, self.durable_seq.to_le_bytes().to_vec());
        let is_marker = group.is_empty();
        let records = group.iter().flat_map(|pending| &pending.records).map(|(record, _)| record);
        let bytes: u64 =
            if is_marker { marker.len() as u64 } else { group.iter().map(Pending::bytes).sum() };
        if bytes == 0 {
            return Ok(()); // Nothing but repeats.
        }
        let has_room =
            self.file.as_ref().is_some_and(|file| file.offset + bytes <= self.start.file_bytes);
        if !has_room {
            self.rotate(bytes)?;
        }
        let Some(file) = &mut self.file else { return Err(Failure::Full) };
        self.buffer.clear();
        let mut seq = self.seq;
        for record in records.chain(is_marker.then_some(&marker)) {
            seq += 1;
            record.put(&mut self.buffer, file.seed, seq, self.durable_seq);
        }
        if file.offset + bytes + 8 <= self.start.file_bytes {
            self.buffer.extend_from_slice(&[0; 8]); // A clean end, whatever a recycled file held here.
        }
        if let Err(source) = file.file.write_at(&self.buffer, file.offset) {
            file.is_torn = true;
            return Err(failure(source, "write", &file.path));
        }
        self.is_dirty = true;
        let is_due = match self.start.sync {
            WalSync::Sync => true,
            WalSync::Interval => self.synced_at.elapsed() >= INTERVAL,
            WalSync::None => false,
        };
        if is_due {
            self.sync()?;
            self.durable_seq = seq;
        }
        let Some(file) = &mut self.file else { return Err(Failure::Full) };
        file.offset += bytes;
        self.seq = seq;
        self.needs_marker = !is_marker;
        let n_records = if is_marker {
            1
        } else {
            group.iter().map(|pending| pending.records.len() as u64).sum()
        };
        self.shared.counters.records.fetch_add(n_records, Ordering::Relaxed);
        self.shared.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        // After a failed sync the kernel may have dropped the dirty pages: a second one would only claim success.
        file.file
            .sync()
            .map_err(|source| Failure::Poison(Error::io("sync", &file.path)(source)))?;
        self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.is_dirty = false;
        self.synced_at = Instant::now();
        Ok(())
    }

    fn apply_group(&mut self, group: Vec<Pending>) {
        let n_records: u64 = group.iter().map(|pending| pending.records.len() as u64).sum();
        let mut seq = self.seq - n_records;
        if group.is_empty() {
            self.sink.apply(self.seq, 0, Rows::default());
        }
        let now = self.clock.now();
        for pending in group {
            let delivery = pending.delivery();
            let is_repeat = pending.records.is_empty();
            for (record, rows) in pending.records {
                seq += 1;
                self.sink.apply(seq, record.len() as u64, rows);
            }
            if let Some(delivery) = delivery {
                lock(&self.shared.deliveries).note(&delivery, now);
            }
            answer(pending.ack, Ok((!is_repeat).then_some(seq)));
        }
    }

    /// Closes the current file and goes on in a new one with room for `bytes`.
    fn rotate(&mut self, bytes: u64) -> Result<(), Failure> {
        if self.start.sync != WalSync::Sync {
            self.sync()?; // The next file's records vouch for all of this one.
            self.durable_seq = self.seq;
        }
        if let Some(torn) = self.file.as_ref().filter(|file| file.is_torn) {
            // The next file gives the same sequences again: what stands here must not be taken for them.
            torn.file
                .truncate(torn.offset)
                .map_err(|source| Failure::NoFile(Error::io("truncate", &torn.path)(source)))?;
            torn.file
                .sync()
                .map_err(|source| Failure::Poison(Error::io("sync", &torn.path)(source)))?;
        }
        if let Some(done) = self.file.take() {
            let (path, is_whole) = (done.path, !done.is_torn);
            let closed = ClosedFile { path, last_seq: self.seq, is_whole };
            lock(&self.shared.files).closed.push_back(closed);
        }
        let number = self.number + 1;
        let header = FileHeader {
            node: self.start.node,
            epoch: self.start.epoch,
            shard: self.start.shard,
            number,
            created_ns: self.clock.now().0,
        };
        let path = self.start.dir.join(file_name(header.epoch, number));
        let len = self.start.file_bytes.max(FILE_HEADER as u64 + bytes);
        let spare =
            if len == self.start.file_bytes { lock(&self.shared.files).spare.pop() } else { None };
        let file = match self.make_file(&path, spare.as_deref(), &header, len) {
            Ok(file) => file,
            Err(failure) => {
                self.unmake_file(&path, spare, &failure);
                return Err(failure);
            }
        };
        if std::mem::take(&mut self.is_without_file) {
            tracing::info!(path = %path.display(), "new log file made, ingest accepted");
        }
        self.number = number;
        let seed = Seed::new(header.epoch, number);
        let offset = FILE_HEADER as u64;
        self.file = Some(OpenFile { file, path, seed, offset, is_torn: false });
        Ok(())
    }

    fn make_file(
        &self,
        path: &Path,
        spare: Option<&Path>,
        header: &FileHeader,
        len: u64,
    ) -> Result<Box<dyn DiskFile>, Failure> {
        let begin = || {
            let file = if let Some(spare) = spare {
                self.disk.rename(spare, path)?;
                self.disk.open(path)?
            } else {
                let file = self.disk.create(path)?;
                file.allocate(len)?;
                file
            };
            let mut start = header.encode().to_vec();
            start.extend_from_slice(&[0; 8]);
            file.write_at(&start, 0).map(|()| file)
        };
        let file = begin().map_err(|source| {
            if is_full(&source) {
                return Failure::Full;
            }
            Failure::NoFile(Error::io("create", path)(source))
        })?;
        // Only a failed sync says that the disk itself cannot be trusted.
        file.sync()
            .and_then(|()| self.disk.sync_dir(&self.start.dir))
            .map_err(|source| failure(source, "sync", path))?;
        Ok(file)
    }

    /// Removes a half-made file, which holds nothing: its name is used again by the next try.
    fn unmake_file(&self, path: &Path, spare: Option<PathBuf>, failure: &Failure) {
        if matches!(failure, Failure::Poison(_)) {
            return;
        }
        if let Some(spare) = spare.filter(|spare| spare.exists()) {
            lock(&self.shared.files).spare.push(spare);
        } else if let Err(error) = self.disk.remove(path)
            && !self.is_without_file
        {
            tracing::warn!(path = %path.display(), %error, "unfinished log file not removed");
        }
    }

    fn refuse_for_space(&mut self) {
        tracing::error!(dir = %self.start.dir.display(), "disk full, ingest refused until space is free");
        self.shared.set_disk_full(true);
        self.shared.remove(std::mem::take(&mut lock(&self.shared.files).spare));
        if let Err(error) = self.disk.remove(&self.start.dir.join(RESERVE)) {
            tracing::warn!(%error, "reserve not given back");
        }
    }

    /// Accepts again once there is room for the reserve and as much again.
    fn recover_space(&mut self) {
        let free = self.disk.free_bytes(&self.start.dir).unwrap_or(0);
        if free < 2 * self.reserve_bytes() {
            return;
        }
        self.make_reserve();
        self.shared.set_disk_full(false);
        tracing::info!(free, "disk has space again, ingest accepted");
    }

    fn reserve_bytes(&self) -> u64 {
        RESERVE_BYTES.min(self.start.file_bytes)
    }

    fn make_reserve(&self) {
        let path = self.start.dir.join(RESERVE);
        let made = self
            .disk
            .remove(&path)
            .and_then(|()| self.disk.create(&path)?.allocate(self.reserve_bytes()));
        if let Err(error) = made {
            tracing::warn!(%error, "no room for the reserve");
        }
    }

    /// Gives back what is reserved and not used: nobody writes here any more.
    fn give_back(&mut self) {
        self.shared.remove(std::mem::take(&mut lock(&self.shared.files).spare));
        if let Some(file) = self.file.take()
            && let Err(error) = file.file.truncate(file.offset)
        {
            tracing::warn!(path = %file.path.display(), %error, "reserved space not given back");
        }
    }

    fn poison(&mut self, error: &Error) {
        tracing::error!(%error, "log write failed, store stops accepting");
        self.shared.counters.poisoned.store(true, Ordering::Relaxed);
        self.close(format!("the log failed and needs a restart: {error}"));
    }

    /// Refuses everything from now on, what is queued included.
    fn close(&self, reason: String) {
        let mut queue = lock(&self.shared.queue);
        let left = std::mem::take(&mut queue.pending);
        queue.closed = Some(reason.clone());
        drop(queue);
        for pending in left {
            answer(pending.ack, Err(Error::Unavailable { reason: reason.clone() }));
        }
    }
}

/// A sender that has gone away needs no answer: its rows are kept all the same.
fn answer(ack: Answer, result: Result<Option<u64>, Error>) {
    drop(ack.send(result));
}

fn failure(source: io::Error, action: &'static str, path: &Path) -> Failure {
    if is_full(&source) { Failure::Full } else { Failure::Poison(Error::io(action, path)(source)) }
}

/// Name of a log file.
pub(crate) fn file_name(epoch: u64, number: u64) -> String {
    format!("{epoch:08x}-{number:016x}.wal")
}

/// Epoch and number from a log file's name; `None` for any other name.
pub(crate) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (epoch, number) = name.strip_suffix(".wal")?.split_once('-')?;
    let parsed = (u64::from_str_radix(epoch, 16).ok()?, u64::from_str_radix(number, 16).ok()?);
    (file_name(parsed.0, parsed.1) == name).then_some(parsed)
}
