//! The durable memory of `action`: a file written by one thread, and the ledger that follows from it.
//!
//! Whoever wants something recorded waits until it is on disk; all that arrives while one sync runs
//! shares the next one. The ledger changes only here, after the sync, by the same function that
//! replays the file: what is in memory is never ahead of the disk.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use model::time::{Clock, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::config::{Config, Coordination};
use crate::error::Error;
use crate::ledger::{Admission, Ledger};
use crate::register::Register;
use log::{AppendError, Log};
use record::Event;

mod leader;
pub(crate) mod log;
pub(crate) mod record;
pub(crate) mod table;
#[cfg(test)]
mod tests;

/// Requests that may wait for the thread; more wait for a place.
const QUEUE_LEN: usize = 1_024;
/// Records in PostgreSQL from which they are rewritten without what is forgotten.
const ROWS_MAX: usize = 50_000;
/// Rest before a file that could not be synced is replaced by a new one, ns.
const REOPEN_NS: i64 = 5_000_000_000;
/// Records that share one sync at most.
const GROUP_MAX: usize = 256;

/// What the journal did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JournalStats {
    pub(crate) records: u64,
    pub(crate) syncs: u64,
    pub(crate) errors: u64,
    pub(crate) rewrites: u64,
    pub(crate) bytes: u64,
    pub(crate) torn_bytes: u64,
}

/// What the journal says and its figures, behind one lock held only for moments.
pub(crate) struct Shared {
    /// Deliveries.
    pub(crate) ledger: Ledger,
    /// Incidents and runs.
    pub(crate) register: Register,
    /// Why nothing more is written.
    pub(crate) closed: Option<String>,
    /// Where several processes share the journal: the lease of this one.
    lease: Option<Lease>,
    pub(crate) stats: JournalStats,
}

/// Ours to write, until then at the latest.
#[derive(Clone, Copy, Debug)]
struct Lease {
    epoch: u64,
    until: Instant,
}

impl Shared {
    /// Takes in what is on disk.
    fn apply(&mut self, event: Event) {
        match event {
            Event::Deed(deed) => self.register.apply(*deed),
            other => self.ledger.apply(other),
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is on disk.
    New,
    /// All of it had been on disk before.
    Known,
}

struct Request {
    event: Event,
    reply: oneshot::Sender<Result<Recorded, Error>>,
}

/// Handle to the thread that writes.
pub(crate) struct Journal {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Mutex<Shared>>,
    is_shared: bool,
}

impl Journal {
    /// Replays what is in `dir` and starts the thread. Blocking.
    pub(crate) fn open(dir: &Path, config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let opened = Log::open(dir)?;
        if opened.torn_bytes > 0 {
            warn!(torn_bytes = opened.torn_bytes, "action journal: unfinished last write cut off");
        }
        let stats = JournalStats {
            bytes: opened.log.len(),
            torn_bytes: opened.torn_bytes,
            ..JournalStats::default()
        };
        let (ledger, register) = (Ledger::new(config), Register::default());
        let mut shared = Shared { ledger, register, closed: None, lease: None, stats };
        opened.events.into_iter().for_each(|event| shared.apply(event));
        let shared = Arc::new(Mutex::new(shared));
        let (requests, queue) = mpsc::channel(QUEUE_LEN);
        let writer = Writer {
            log: opened.log,
            shared: Arc::clone(&shared),
            clock,
            bytes_max: config.journal_bytes_max,
            closed: None,
        };
        let thread = std::thread::Builder::new()
            .name("action-journal".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(Error::io("start the thread of", dir))?;
        Ok(Self { requests: Some(requests), thread: Some(thread), shared, is_shared: false })
    }

    /// One in PostgreSQL that several processes share. It is closed until this one has the lease.
    pub(crate) fn share(
        coordination: &Coordination,
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let (ledger, register) = (Ledger::new(config), Register::default());
        let closed = Some("it is not yet known who acts".to_owned());
        let stats = JournalStats::default();
        let shared = Arc::new(Mutex::new(Shared { ledger, register, closed, lease: None, stats }));
        let (requests, queue) = mpsc::channel(QUEUE_LEN);
        let leader = leader::Leader {
            table: coordination.table()?,
            shared: Arc::clone(&shared),
            clock,
            rows_max: ROWS_MAX,
            n_rows: 0,
        };
        let beat = coordination.lease / 3;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io("start the runtime of", Path::new("journal")))?;
        let thread = std::thread::Builder::new()
            .name("action-journal".to_owned())
            .spawn(move || runtime.block_on(leader.run(queue, beat)))
            .map_err(Error::io("start the thread of", Path::new("journal")))?;
        Ok(Self { requests: Some(requests), thread: Some(thread), shared, is_shared: true })
    }

    /// Whether other processes may write it as well.
    pub(crate) const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// The epoch of our lease; 0 where the journal is ours alone; `None` while another process acts.
    pub(crate) fn term(&self) -> Option<u64> {
        let lease = self.with(|shared| shared.lease);
        if self.is_shared { lease.map(|lease| lease.epoch) } else { Some(0) }
    }

    /// For how long nobody else can act yet.
    pub(crate) fn left(&self) -> Duration {
        let until = self.with(|shared| shared.lease.map(|lease| lease.until));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if self.is_shared { left.unwrap_or_default() } else { Duration::MAX }
    }

    /// Records `event`; returns once it is on disk and in the ledger.
    pub(crate) async fn record(&self, event: Event) -> Result<Recorded, Error> {
        let closed = || Error::Closed { reason: "its thread has ended".to_owned() };
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        requests.send(Request { event, reply }).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Why nothing more is written, if so.
    pub(crate) fn closed(&self) -> Option<String> {
        self.with(|shared| shared.closed.clone())
    }

    /// What it says and its figures, for a moment.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&mut Shared) -> T) -> T {
        read(&mut lock(&self.shared))
    }
}

impl Drop for Journal {
    /// Waits for the thread: it ends once what was queued is written.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("action journal: the thread that writes it panicked");
        }
    }
}

/// A panic in another holder leaves the ledger as it was between two records: still good.
fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Owner of the file.
struct Writer {
    log: Log,
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Clock>,
    bytes_max: u64,
    /// Why nothing more is written, and when that was last tried to mend.
    closed: Option<(String, Timestamp)>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            let now = self.clock.now();
            self.write(now, std::mem::take(&mut group));
            if self.closed.is_none() && self.log.is_long(self.bytes_max) {
                self.rewrite(now);
            }
        }
    }

    /// Writes what is new of `group` with one sync, and answers everyone.
    fn write(&mut self, now: Timestamp, group: Vec<Request>) {
        let mut fresh = Vec::with_capacity(group.len());
        let mut known = Vec::new();
        {
            let shared = lock(&self.shared);
            let mut incoming = 0;
            for mut request in group {
                match shared.ledger.admit(&mut request.event, incoming) {
                    Admission::New(n_deliveries) => {
                        incoming += n_deliveries;
                        fresh.push(request);
                    }
                    Admission::Known => known.push(request),
                    Admission::Full(error) => answer(request.reply, Err(error)),
                }
            }
        }
        let written = self.append(now, &fresh);
        for request in fresh {
            if written.is_ok() {
                lock(&self.shared).apply(request.event);
            }
            answer(request.reply, written.clone().map(|()| Recorded::New).map_err(closed));
        }
        // After the others: one of them may be what these repeat.
        known.into_iter().for_each(|request| answer(request.reply, Ok(Recorded::Known)));
    }

    fn append(&mut self, now: Timestamp, fresh: &[Request]) -> Result<(), String> {
        if fresh.is_empty() {
            return Ok(());
        }
        self.reopen(now)?;
        let events: Vec<&Event> = fresh.iter().map(|request| &request.event).collect();
        let result = self.log.append(now, &events);
        let shared = &mut lock(&self.shared);
        shared.stats.bytes = self.log.len();
        let stats = &mut shared.stats;
        match result {
            Ok(()) => {
                stats.records += events.len() as u64;
                stats.syncs += 1;
                Ok(())
            }
            Err(AppendError::Undone(error)) => {
                stats.errors += 1;
                Err(format!("cannot write: {error}"))
            }
            Err(AppendError::Unknown(error)) => {
                stats.errors += 1;
                let reason =
                    format!("cannot sync: {error}; nothing is sent until a new file can be");
                error!(%reason, "action journal closed");
                self.closed = Some((reason.clone(), now));
                shared.closed = Some(reason.clone());
                Err(reason)
            }
        }
    }

    /// A file of which nobody knows what is on the disk is replaced, now and then, by a new one that holds what is in
    /// memory: nothing else was ever acknowledged.
    fn reopen(&mut self, now: Timestamp) -> Result<(), String> {
        let Some((reason, since)) = self.closed.clone() else { return Ok(()) };
        if now.0.abs_diff(since.0) < REOPEN_NS.unsigned_abs() {
            return Err(reason);
        }
        self.closed = None;
        let rewrites = lock(&self.shared).stats.rewrites;
        self.rewrite(now);
        let is_new = lock(&self.shared).stats.rewrites > rewrites;
        if !is_new {
            self.closed = Some((reason.clone(), now));
            return Err(reason);
        }
        lock(&self.shared).closed = None;
        warn!("action journal: goes on in a new file");
        Ok(())
    }

    /// Replaces the file by one that holds only what is still wanted.
    fn rewrite(&mut self, now: Timestamp) {
        let events = {
            let mut shared = lock(&self.shared);
            shared.ledger.forget(now);
            let deeds = shared.register.deeds();
            let deeds = deeds.into_iter().map(|deed| Event::Deed(Box::new(deed)));
            shared.ledger.events().into_iter().chain(deeds).collect::<Vec<_>>()
        };
        let events: Vec<_> = events.into_iter().map(|event| (now, event)).collect();
        let result = self.log.rewrite(&events);
        let shared = &mut lock(&self.shared);
        shared.stats.bytes = self.log.len();
        match result {
            Ok(()) => shared.stats.rewrites += 1,
            Err((error, named)) => {
                shared.stats.errors += 1;
                warn!(%error, "action journal: rewriting failed");
                if named {
                    let reason = format!("cannot rewrite: {error}");
                    shared.closed = Some(reason.clone());
                    self.closed = Some((reason, now));
                }
            }
        }
    }
}

fn closed(reason: String) -> Error {
    Error::Closed { reason }
}

/// The asker may have gone away; what was recorded stays recorded.
fn answer(reply: oneshot::Sender<Result<Recorded, Error>>, result: Result<Recorded, Error>) {
    drop(reply.send(result));
}
