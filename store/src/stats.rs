//! Counters and gauges of the store, for our own telemetry.

use serde::Serialize;

use crate::memory::{Memory, Share};
use crate::schema::Table;

/// What the store has done and holds; counters since start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Log syncs.
    pub wal_syncs_total: u64,
    /// Log records written.
    pub wal_records_total: u64,
    /// Log bytes written.
    pub wal_bytes_total: u64,
    /// Batches acknowledged without rows, because their sender repeated them.
    pub repeated_batches_total: u64,
    /// Bytes of log records and rows waiting for the disk.
    pub wal_queue_bytes: u64,
    /// Log bytes not yet in segments.
    pub wal_behind_bytes: u64,
    /// Highest sequence synced and visible.
    pub wal_sequence: u64,
    /// Highest sequence in segments.
    pub wal_watermark: u64,
    /// Whether the log stopped after a failed write or sync.
    pub wal_poisoned: bool,
    /// Whether the disk has no room for the log or for segments: ingest is refused until it has.
    pub disk_full: bool,
    /// Bytes in the heads.
    pub head_bytes: u64,
    /// Rows in the heads.
    pub head_rows: u64,
    /// Series active: with samples in the last two hours.
    pub series: u64,
    /// Series that left the registry after a long silence.
    pub series_evicted_total: u64,
    /// Bytes of the registry: series, labels, postings, resources.
    pub registry_bytes: u64,
    /// Bytes kept of the definitions of idle series.
    pub definitions_bytes: u64,
    /// Resources active.
    pub resources: u64,
    /// Flushes committed.
    pub flushes_total: u64,
    /// Flushes that failed and will be tried again.
    pub flush_failures_total: u64,
    /// Compactions committed.
    pub compactions_total: u64,
    /// How long the longest overdue compaction has been due, in seconds.
    pub compact_lag_s: u64,
    /// Segments ended by retention, by table and reason.
    pub retained: Vec<Retained>,
    /// Segments in quarantine: answers lack their rows, or what they name.
    pub quarantined_segments: u64,
    /// The memory budget.
    pub memory: MemoryStats,
    /// Requests refused, by limit.
    pub refused_total: Vec<(&'static str, u64)>,
    /// What is on disk and came in, by table.
    pub tables: Vec<TableStats>,
}

/// Segments that retention ended since start.
#[derive(Clone, Debug, Serialize)]
pub struct Retained {
    /// Name of the table.
    pub table: &'static str,
    /// `age` or `bytes`.
    pub reason: &'static str,
    /// How many.
    pub segments_total: u64,
    /// Their bytes, sidecars included.
    pub bytes_total: u64,
}

/// What the process takes of its memory limit, in bytes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MemoryStats {
    /// The limit.
    pub limit: u64,
    /// Resident when last looked at.
    pub resident: u64,
    /// Most seen resident.
    pub resident_max: u64,
    /// Each share.
    pub shares: Vec<ShareStats>,
}

/// One share of [`MemoryStats`], in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct ShareStats {
    /// Its name.
    pub share: &'static str,
    /// What it may hold.
    pub size: u64,
    /// What it holds.
    pub held: u64,
    /// How often it was asked for more than it had.
    pub refused_total: u64,
}

impl MemoryStats {
    pub(crate) fn new(memory: &Memory) -> Self {
        let (resident, resident_max) = memory.resident();
        let shares = Share::ALL.map(|share| ShareStats {
            share: share.name(),
            size: memory.size(share),
            held: memory.held(share),
            refused_total: memory.refused(share),
        });
        Self { limit: memory.limit(), resident, resident_max, shares: shares.to_vec() }
    }
}

/// One table's share of [`Stats`].
#[derive(Clone, Debug, Serialize)]
pub struct TableStats {
    /// Name of the table.
    pub table: &'static str,
    /// Live segments.
    pub segments: u64,
    /// Rows in them.
    pub segment_rows: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Rows acknowledged since start.
    pub ingested_rows_total: u64,
}

impl TableStats {
    pub(crate) fn new(table: Table) -> Self {
        Self {
            table: table.name(),
            segments: 0,
            segment_rows: 0,
            segment_bytes: 0,
            ingested_rows_total: 0,
        }
    }
}
