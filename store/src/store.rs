//! The store itself: opened once per process, shared by `collector`, `query` and `server`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use model::id::{ResourceId, SeriesId, TenantId};
use model::metric::SeriesDef;
use model::time::Clock;

use crate::config::Config;
use crate::error::Error;
use crate::registry::{Registry, ResourceDef};
use crate::schema::Table;
use crate::snapshot::Snapshot;
use crate::stats::Stats;

/// Rows to make durable: all of them or none.
#[derive(Clone, Debug)]
pub struct Ingest {
    /// Whose rows.
    pub tenant: TenantId,
    /// Batches in `schema::ingest_schema` of their table; series must have been resolved before.
    pub tables: Vec<(Table, RecordBatch)>,
}

/// What became of an [`Ingest`]: it is on disk and queries see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// WAL sequence of its last record.
    pub seq: u64,
    /// Rows acknowledged.
    pub rows: u64,
}

/// The store. Cheap to share.
pub struct Store {
    registry: Arc<Registry>,
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
        Box::pin(async move {
            config.check()?;
            let _ = clock;
            Ok(Arc::new(Self { registry: Arc::new(Registry::new(config.series_max)) }))
        })
    }

    /// The id of the series that `def` defines, interned when new.
    ///
    /// # Errors
    ///
    /// `Exhausted` when the series limit is reached; known series are still resolved then.
    pub fn resolve(&self, tenant: TenantId, def: &SeriesDef) -> Result<SeriesId, Error> {
        self.registry.resolve(tenant, def)
    }

    /// The id of `resource`, kept when new.
    pub fn put_resource(&self, tenant: TenantId, resource: &ResourceDef) -> ResourceId {
        self.registry.put_resource(tenant, resource)
    }

    /// Makes the rows durable and visible, then returns.
    ///
    /// # Errors
    ///
    /// `Invalid` when a batch has the wrong schema, `Exhausted` when queue, head or disk is full, `Unavailable` after a
    /// failed write. After an error the caller may send the rows again: samples and spans fold, logs may double.
    pub fn ingest(&self, batch: Ingest) -> BoxFuture<'_, Result<Ack, Error>> {
        Box::pin(async move {
            let _ = batch;
            Err(Error::Unavailable { reason: "the log is not open".to_owned() })
        })
    }

    /// One consistent version of everything acknowledged so far.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot::new(Arc::clone(&self.registry)))
    }

    /// Writes everything in the head to segments.
    ///
    /// # Errors
    ///
    /// When a segment or the catalogue cannot be written; nothing is lost then.
    pub fn flush(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Stops accepting, marks the log as cleanly ended and joins the tasks.
    ///
    /// # Errors
    ///
    /// When the log cannot be synced; what was acknowledged is durable nevertheless.
    pub fn shutdown(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
