//! What the tasks of one store share: settings, seams, live state, log and catalogue.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use model::id::{ResourceId, TenantId};
use model::time::{Clock, Timestamp};
use tokio::sync::Notify;

use crate::arrivals::Arrivals;
use crate::catalogue::{Catalogue, Checkpoint};
use crate::config::Config;
use crate::disk::Disk;
use crate::error::Error;
use crate::flush::flush;
use crate::live::Live;
use crate::memory::{Memory, Share};
use crate::object::DurableLocal;
use crate::registry::{Past, Registry, Resource};
use crate::schema::Table;
use crate::segment::read::Segment;
use crate::stats::Retained;
use crate::wal::writer::Wal;

/// The one log shard there is.
pub(crate) const SHARD: u32 = 0;

/// Shared by the tasks of one store.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) objects: DurableLocal,
    pub(crate) registry: Arc<Registry>,
    /// Definitions that are only in segments.
    pub(crate) past: Arc<Past>,
    /// Slots of series that left, until nobody reads heads that knew them.
    pub(crate) leaving: Mutex<Leaving>,
    pub(crate) live: Arc<Live>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) catalogue: Catalogue,
    /// Held by the one flush that runs; says where the catalogue's watermark stands.
    pub(crate) checkpoint: tokio::sync::Mutex<Checkpoint>,
    /// Started when replay is done.
    pub(crate) wal: OnceLock<Wal>,
    /// Asks for a flush before its time.
    pub(crate) flush_wanted: Notify,
    /// Tells who listens what was taken in.
    pub(crate) arrivals: Arrivals,
    /// Segments that ended, until nobody reads them and their files are deleted.
    pub(crate) ended: Mutex<HashMap<i64, Weak<Segment>>>,
    pub(crate) counters: Counters,
    /// Held by whoever replaces segments by others: compaction, retention.
    pub(crate) compacting: tokio::sync::Mutex<()>,
    /// The backup whose files are kept, by when it was begun; held while one begins or ends.
    pub(crate) backup: tokio::sync::Mutex<Option<Timestamp>>,
    /// Held while a delete takes effect, and while a merge is committed: no merge passes a delete by.
    pub(crate) marking: tokio::sync::Mutex<()>,
    /// Locked as long as the store is open.
    pub(crate) _lock: File,
}

/// Segments and their bytes.
type Ended = (u64, u64);

/// Slots of series that left.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// Hour of the last pass.
    pub(crate) hour: u32,
    /// Slots, with the heads that were there when their series left.
    pub(crate) waiting: Vec<(Vec<u32>, Vec<Weak<()>>)>,
}

/// What the store has done since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_failures: AtomicU64,
    /// Whether the last flush found no room on the disk.
    pub(crate) flush_disk_full: AtomicBool,
    pub(crate) compactions: AtomicU64,
    /// How long the longest overdue compaction has been due.
    pub(crate) compact_lag_s: AtomicU64,
    /// Most memory a compaction reserved, and most it held.
    pub(crate) compact_reserved_bytes_max: AtomicU64,
    pub(crate) compact_held_bytes_max: AtomicU64,
    /// Requests to ingest and to read: while they come, compaction holds back.
    pub(crate) requests: AtomicU64,
    /// Segments and bytes that retention ended, by table and reason.
    pub(crate) retained: Mutex<BTreeMap<(Table, &'static str), Ended>>,
    pub(crate) deletes: AtomicU64,
    pub(crate) quarantined: AtomicU64,
    pub(crate) refused_head: AtomicU64,
    pub(crate) refused_queue: AtomicU64,
    pub(crate) refused_disk: AtomicU64,
    pub(crate) refused_series: AtomicU64,
    pub(crate) refused_memory: AtomicU64,
    pub(crate) refused_batch: AtomicU64,
    pub(crate) refused_unavailable: AtomicU64,
}

impl Counters {
    /// Notes what memory a compaction reserved and held.
    pub(crate) fn compact_peak(&self, reserved: u64, held: u64) {
        self.compact_reserved_bytes_max.fetch_max(reserved, Ordering::Relaxed);
        self.compact_held_bytes_max.fetch_max(held, Ordering::Relaxed);
        if held > reserved {
            tracing::warn!(held, reserved, "a compaction held more memory than it had reserved");
        }
    }

    /// Counts a segment that retention ended.
    pub(crate) fn retain(&self, table: Table, reason: &'static str, bytes: u64) {
        let mut retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        let (segments, sum) = retained.entry((table, reason)).or_default();
        *segments += 1;
        *sum += bytes;
    }

    /// What retention ended.
    pub(crate) fn retained(&self) -> Vec<Retained> {
        let retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(&(table, reason), &(segments_total, bytes_total)): (&(Table, _), &_)| Retained {
            table: table.name(),
            reason,
            segments_total,
            bytes_total,
        };
        retained.iter().map(of).collect()
    }

    /// Counts a refused request by its reason.
    pub(crate) fn refuse(&self, error: &Error) {
        let counter = match error {
            Error::Full { what: "head", .. } => &self.refused_head,
            Error::Full { what: "log queue", .. } => &self.refused_queue,
            Error::DiskFull { .. } => &self.refused_disk,
            Error::Full { what: "series registry" | "memory for series", .. } => {
                &self.refused_series
            }
            Error::Full { .. } => &self.refused_memory,
            Error::Batch { .. } | Error::BatchSize { .. } => &self.refused_batch,
            _ => &self.refused_unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Refused requests by reason.
    pub(crate) fn refused(&self) -> Vec<(&'static str, u64)> {
        [
            ("head", &self.refused_head),
            ("queue", &self.refused_queue),
            ("disk", &self.refused_disk),
            ("series", &self.refused_series),
            ("memory", &self.refused_memory),
            ("batch", &self.refused_batch),
            ("unavailable", &self.refused_unavailable),
        ]
        .map(|(reason, counter)| (reason, counter.load(Ordering::Relaxed)))
        .to_vec()
    }
}

impl Core {
    /// Bytes in the head that make it flush: a fifth of the share, so that it may grow while the last one is written, and
    /// sorting that one has room.
    pub(crate) fn flush_bytes(&self) -> u64 {
        self.config.flush_bytes_max.min(self.rows_bytes() / 5)
    }

    /// Bytes that rows in all heads may take: the share, less what the registry takes of it, which no flush frees.
    pub(crate) fn rows_bytes(&self) -> u64 {
        let share = self.memory.size(Share::Head);
        // However many series there are, rows of those that are known come before new series.
        let rows = share.saturating_sub(self.registry.bytes()).max(share / 4);
        self.config.head_bytes_max.min(rows)
    }

    /// Notes that `segments` ended: their files go once the grace is over and nobody holds them.
    pub(crate) fn bury(&self, segments: &[Arc<Segment>]) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.extend(segments.iter().map(|segment| (segment.id(), Arc::downgrade(segment))));
    }
}

impl Core {
    /// Writes everything acknowledged so far: the head that an earlier flush left behind first, then what came since.
    pub(crate) async fn flush_all(self: &Arc<Self>) -> Result<(), Error> {
        let acknowledged = self.live.load().seq;
        // A head of markers only is not written, and ends this.
        while self.live.load().watermark < acknowledged && flush(self).await? {}
        Ok(())
    }

    /// The resource of rows on their way in; one that was idle for long is active again.
    pub(crate) fn use_resource(&self, tenant: TenantId, id: ResourceId) -> Option<Arc<Resource>> {
        if let Some(resource) = self.registry.use_resource(tenant, id) {
            return Some(resource);
        }
        let found = self.past.resource(&self.registry, &self.live.segments(), (tenant, id));
        match found {
            Ok(found) => {
                let found = found?;
                Some(self.registry.restore_resource(id, tenant, found.def.clone()))
            }
            Err(error) => {
                tracing::error!(%error, "definition of a resource not read");
                None
            }
        }
    }
}

/// Runs blocking work on tokio's pool.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            Err(Error::Unavailable { reason: format!("a storage task ended early: {error}") })
        }
    }
}
