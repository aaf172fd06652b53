//! The store itself: opened once per process, shared by `collector`, `query` and `server`.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use model::id::{ResourceId, SeriesId, TenantId};
use model::metric::SeriesDef;
use model::time::{Clock, Timestamp};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::arrivals::Arrived;
use crate::backup::{self, Backup};
use crate::compact;
use crate::config::Config;
use crate::core::{Core, blocking};
use crate::delete::{self, Delete, DeleteRecord};
use crate::disk::HostDisk;
use crate::error::Error;
use crate::flush;
use crate::ingest::{Ingest, prepare, today};
use crate::memory::{Memory, Share, watch};
use crate::open::{Seams, open};
use crate::quarantine::quarantine;
use crate::rebuild::{self, Rebuilt};
use crate::registry::{ResourceDef, Series};
use crate::sample::{Resolved, SeriesRef};
use crate::schema::Table;
use crate::snapshot::Snapshot;
use crate::stats::{MemoryStats, Stats, TableStats};
use crate::verify::{self, Report};
use crate::wal::writer::{IDLE, Pending, Wal};

/// Rows from which encoding a batch is too long for an async thread.
const INLINE_ROWS_MAX: usize = 1_000;

/// What became of an [`Ingest`]: it is on disk and queries see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// WAL sequence of its last record; 0 for a batch without rows, and for one that was taken in before.
    pub seq: u64,
    /// Rows in the batch; 0 for one that was taken in before.
    pub rows: u64,
}

/// The store. Cheap to share. Dropping it without [`shutdown`](Self::shutdown) loses nothing that was acknowledged.
pub struct Store {
    core: Arc<Core>,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

impl Store {
    /// Locks the data directory, opens the catalogue, replays the log and starts the tasks.
    ///
    /// # Errors
    ///
    /// When the directory is locked or not writable, a format is newer, or durable data is damaged.
    pub fn open(
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> BoxFuture<'static, Result<Arc<Self>, Error>> {
        Self::open_with(config, Seams { clock, disk: Arc::new(HostDisk), wal_idle: IDLE })
    }

    pub(crate) fn open_with(
        config: Config,
        seams: Seams,
    ) -> BoxFuture<'static, Result<Arc<Self>, Error>> {
        Box::pin(async move {
            let store = Self::open_idle(config, seams).await?;
            let mut tasks = store.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn(flush::run(Arc::clone(&store.core), store.stop.clone()));
            tasks.spawn(compact::run(Arc::clone(&store.core), store.stop.clone()));
            tasks.spawn(watch::run(Arc::clone(&store.core), store.stop.clone()));
            drop(tasks);
            Ok(store)
        })
    }

    /// A store that flushes and compacts only when told to.
    pub(crate) async fn open_idle(config: Config, seams: Seams) -> Result<Arc<Self>, Error> {
        let core = open(config, seams).await?;
        let (stop, tasks) = (CancellationToken::new(), Mutex::new(JoinSet::new()));
        Ok(Arc::new(Self { core, stop, tasks }))
    }

    /// The series that `def` defines, interned when new: its id, and how [`Samples`](crate::Samples) name it.
    ///
    /// # Errors
    ///
    /// `Exhausted` when the series limit is reached; known series are still resolved then.
    pub fn resolve(&self, tenant: TenantId, def: &SeriesDef) -> Result<Resolved, Error> {
        self.core
            .registry
            .resolve(tenant, def, |id| self.core.use_resource(tenant, id))
            .inspect_err(|error| self.core.counters.refuse(error))
    }

    /// The id of `resource`, kept when new.
    pub fn put_resource(&self, tenant: TenantId, resource: &ResourceDef) -> ResourceId {
        self.core.registry.put_resource(tenant, resource)
    }

    /// Makes the rows durable and visible, then returns.
    ///
    /// # Errors
    ///
    /// `StaleSeries` when samples name series that were let go: resolve them again and repeat the batch.
    /// `Invalid` when a batch has the wrong schema, `Exhausted` when queue or head is full, `Unavailable` when the disk is
    /// full or after a failed write. After an error the caller may send the rows again: samples and spans fold, logs may
    /// double unless the batch has a [`Delivery`](crate::Delivery).
    pub fn ingest(&self, batch: Ingest) -> BoxFuture<'_, Result<Ack, Error>> {
        Box::pin(async move {
            self.ingest_batch(batch).await.inspect_err(|error| self.core.counters.refuse(error))
        })
    }

    async fn ingest_batch(&self, batch: Ingest) -> Result<Ack, Error> {
        let wal = self.wal()?;
        self.core.counters.requests.fetch_add(1, Ordering::Relaxed);
        if batch.delivery.is_some_and(|delivery| wal.is_repeat(&delivery)) {
            return Ok(Ack { seq: 0, rows: 0 });
        }
        self.admit()?;
        let n_rows: usize = batch.samples.len()
            + batch.tables.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>();
        let now = self.core.clock.now();
        self.core.registry.tick(now);
        let day = today(now);
        let note = self.core.arrivals.note(&batch.samples.series, &batch.tables);
        let records = if n_rows <= INLINE_ROWS_MAX {
            prepare(&self.core, batch, day)?
        } else {
            let core = Arc::clone(&self.core);
            blocking(move || prepare(&core, batch, day)).await?
        };
        let (ack, acked) = oneshot::channel();
        let pending = Pending { records, ack };
        if pending.is_empty() {
            return Ok(Ack { seq: 0, rows: 0 });
        }
        wal.push(pending)?;
        let gone = |_| Error::Unavailable { reason: "the log stopped".to_owned() };
        let Some(seq) = acked.await.map_err(gone)?? else {
            return Ok(Ack { seq: 0, rows: 0 }); // Its twin was in the queue before it.
        };
        self.core.arrivals.tell(note);
        if self.core.live.load().head_bytes >= self.core.flush_bytes() {
            self.core.flush_wanted.notify_one();
        }
        Ok(Ack { seq, rows: n_rows as u64 })
    }

    /// What was taken in since the last call; waits until something was. For one listener: from its first call on, what
    /// comes is noted. Cancel-safe.
    pub async fn arrived(&self) -> Arrived {
        self.core.arrivals.next().await
    }

    /// The series a reference stands for; `None` once the registry let it go.
    #[must_use]
    pub fn series_at(&self, at: SeriesRef) -> Option<Arc<Series>> {
        self.core.registry.at(at)
    }

    /// The active series with this id.
    #[must_use]
    pub fn active_series(&self, id: SeriesId) -> Option<Arc<Series>> {
        self.core.registry.by_id(id)
    }

    fn wal(&self) -> Result<&Wal, Error> {
        self.core
            .wal
            .get()
            .ok_or_else(|| Error::Unavailable { reason: "the log is not open".to_owned() })
    }

    /// Refuses when the heads are full: a flush is behind, and memory has a limit.
    fn admit(&self) -> Result<(), Error> {
        self.core.memory.admit(Share::Head)?;
        let (load, limit) = (self.core.live.load(), self.core.rows_bytes());
        if load.bytes < limit {
            return Ok(());
        }
        self.core.flush_wanted.notify_one();
        if self.core.counters.flush_disk_full.load(Ordering::Relaxed) {
            return Err(Error::DiskFull { dir: self.core.dir.clone() });
        }
        Err(Error::Full { what: "head", used: load.bytes, limit })
    }

    /// The memory budget of the process: whoever serves it takes from here.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.core.memory
    }

    /// Puts segments in quarantine that reads found damaged: later snapshots are without them, and say so. Returns how
    /// many.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the catalogue cannot be written.
    pub async fn quarantine(&self) -> Result<usize, Error> {
        quarantine(&self.core).await
    }

    /// One consistent version of everything acknowledged so far.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.core.counters.requests.fetch_add(1, Ordering::Relaxed);
        let (registry, past) = (Arc::clone(&self.core.registry), Arc::clone(&self.core.past));
        Arc::new(Snapshot::new(registry, past, self.core.live.version()))
    }

    /// Writes everything acknowledged so far to segments.
    ///
    /// # Errors
    ///
    /// When a segment or the catalogue cannot be written; nothing is lost then.
    pub fn flush(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.core.flush_all())
    }

    /// Compacts and retains what is due now, instead of when the background task comes to it.
    ///
    /// # Errors
    ///
    /// When a segment or the catalogue cannot be read or written; nothing is lost then.
    pub fn compact(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { compact::pass(&self.core, &self.stop).await })
    }

    /// Deletes rows that were acknowledged so far. They are hidden when it returns, and out of the segments before
    /// the deadline it returns. Rows that come later stay, repeated ones too.
    ///
    /// # Errors
    ///
    /// `Invalid` when it has no matcher, a wrong expression or an empty range; when the head cannot be flushed or the
    /// catalogue not be written: then nothing is deleted.
    pub fn delete(&self, delete: Delete) -> BoxFuture<'_, Result<DeleteRecord, Error>> {
        Box::pin(async { delete::delete(&self.core, delete).await })
    }

    /// Every delete on record, oldest first.
    ///
    /// # Errors
    ///
    /// When the catalogue cannot be read.
    pub fn deletes(&self) -> BoxFuture<'_, Result<Vec<DeleteRecord>, Error>> {
        Box::pin(async { self.core.catalogue.markers().await })
    }

    /// Takes deleted rows out of the segments now. The files they stood in go after the grace.
    ///
    /// # Errors
    ///
    /// When a segment or the catalogue cannot be read or written; the rows stay hidden then.
    pub fn clean_deleted(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { compact::clean(&self.core, &self.stop).await })
    }

    /// Puts everything a backup needs where it stays until [`Self::end_backup`], while the store goes on. One at a time:
    /// a backup begun earlier is given up.
    ///
    /// # Errors
    ///
    /// When files cannot be linked or copied.
    pub fn begin_backup(&self) -> BoxFuture<'_, Result<Backup, Error>> {
        Box::pin(async { backup::begin(&self.core).await })
    }

    /// Lets go of the files of the backup begun at `created`; one begun since is another's, and stays. One that nobody
    /// ends is given up after a day.
    ///
    /// # Errors
    ///
    /// When they cannot be removed.
    pub fn end_backup(&self, created: Timestamp) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { backup::end(&self.core, created).await })
    }

    /// Makes the catalogue of a data directory anew from its segments and log; no process may have it open.
    ///
    /// # Errors
    ///
    /// When the directory is in use, or has a catalogue and `is_forced` does not say to move that aside.
    pub fn rebuild(
        dir: PathBuf,
        clock: &dyn Clock,
        is_forced: bool,
    ) -> BoxFuture<'static, Result<Rebuilt, Error>> {
        Box::pin(rebuild::rebuild(dir, clock.now(), is_forced))
    }

    /// Stops accepting, marks the log as cleanly ended and joins the tasks.
    ///
    /// # Errors
    ///
    /// When the log's thread cannot be joined; what was acknowledged is durable nevertheless.
    pub fn shutdown(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.stop.cancel();
            let mut tasks =
                std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "storage task ended early");
                }
            }
            let core = Arc::clone(&self.core);
            blocking(move || {
                core.wal.get().into_iter().for_each(Wal::stop);
                Ok(())
            })
            .await
        })
    }

    /// Checks catalogue rows, log and segments of a data directory that no process has open.
    ///
    /// # Errors
    ///
    /// When the directory is in use or holds no store, or the catalogue itself cannot be read. Damage to log and
    /// segments is no error but a problem in the report.
    pub fn verify(dir: PathBuf) -> BoxFuture<'static, Result<Report, Error>> {
        Box::pin(verify::verify(dir))
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let core = &self.core;
        let load = core.live.load();
        let mut tables: Vec<TableStats> = Table::ALL.into_iter().map(TableStats::new).collect();
        for table in Table::ALL {
            tables[table as usize].ingested_rows_total = core.live.ingested(table);
        }
        for segment in core.live.segments().iter() {
            let facts = segment.facts();
            let stats = &mut tables[facts.table as usize];
            stats.segments += 1;
            stats.segment_rows += facts.rows;
            stats.segment_bytes += facts.bytes + facts.sidecar_bytes;
        }
        let mut stats = Stats {
            wal_behind_bytes: load.wal_bytes,
            wal_sequence: load.seq,
            wal_watermark: load.watermark,
            head_bytes: load.bytes,
            head_rows: load.rows,
            series: core.registry.series_len() as u64,
            series_evicted_total: core.registry.evicted(),
            registry_bytes: core.registry.measure(),
            definitions_bytes: core.past.bytes(),
            resources: core.registry.resources_len() as u64,
            flushes_total: core.counters.flushes.load(Ordering::Relaxed),
            flush_failures_total: core.counters.flush_failures.load(Ordering::Relaxed),
            compact_lag_s: core.counters.compact_lag_s.load(Ordering::Relaxed),
            compactions_total: core.counters.compactions.load(Ordering::Relaxed),
            retained: core.counters.retained(),
            disk_full: core.counters.flush_disk_full.load(Ordering::Relaxed),
            quarantined_segments: core.counters.quarantined.load(Ordering::Relaxed),
            memory: MemoryStats::new(&core.memory),
            refused_total: core.counters.refused(),
            tables,
            ..Stats::default()
        };
        if let Some(wal) = core.wal.get() {
            let counters = wal.counters();
            stats.wal_syncs_total = counters.syncs.load(Ordering::Relaxed);
            stats.wal_records_total = counters.records.load(Ordering::Relaxed);
            stats.wal_bytes_total = counters.bytes.load(Ordering::Relaxed);
            stats.repeated_batches_total = counters.repeats.load(Ordering::Relaxed);
            stats.wal_queue_bytes = counters.queue_bytes.load(Ordering::Relaxed);
            stats.wal_poisoned = counters.poisoned.load(Ordering::Relaxed);
            stats.disk_full |= counters.disk_full.load(Ordering::Relaxed);
        }
        stats
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers in tests are small"
)]
mod tests;
