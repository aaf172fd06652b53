//! The head: acknowledged rows that are in no segment yet, readable from the moment they are durable.
//!
//! The log's thread appends, snapshots take views, a flush freezes the whole and starts a new one. One head covers one
//! contiguous range of sequences of all tables.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use model::id::TenantId;
use tokio::time::Instant;

use crate::delivery::Delivery;
use crate::head::chunk::Chunk;
use crate::head::records::Batch;
use crate::registry::{Bounds, Resource, SeriesView};
use crate::sample::SampleRows;
use crate::schema::{Table, segment_schema};

pub(crate) mod chunk;
pub(crate) mod drafts;
pub(crate) mod records;

/// Small batches of a table that are joined into one once so many have gathered.
const JOIN_BATCHES: usize = 64;
/// Rows from which a batch is not joined: copying it would cost more than looking at one batch less saves.
const JOIN_ROWS_MAX: usize = 1_024;

/// Rows on their way from a request through the log into the head.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) tenant: TenantId,
    pub(crate) samples: SampleRows,
    /// Batches of the other tables, in their ingest schema.
    pub(crate) tables: Vec<(Table, RecordBatch)>,
    pub(crate) seen: Seen,
    pub(crate) defined: Defined,
    /// Which batch of which sender these rows complete.
    pub(crate) delivery: Option<Delivery>,
}

/// Series and resources of rows outside `samples`, with the newest time in ms.
#[derive(Default)]
pub(crate) struct Seen {
    /// Series by slot.
    pub(crate) series: Vec<(u32, i64)>,
    pub(crate) resources: Vec<(Arc<Resource>, i64)>,
}

/// Definitions that a record carries: durable once the record is.
#[derive(Default)]
pub(crate) struct Defined {
    pub(crate) day: i64,
    /// Series by slot.
    pub(crate) series: Vec<u32>,
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) bounds: Vec<Arc<Bounds>>,
}

impl Defined {
    pub(crate) fn mark(&self, registry: &SeriesView<'_>) {
        self.series.iter().for_each(|slot| registry.define(*slot, self.day));
        self.resources.iter().for_each(|resource| resource.days.define(self.day));
        self.bounds.iter().for_each(|bounds| bounds.days.define(self.day));
    }
}

impl Rows {
    pub(crate) fn len(&self) -> u64 {
        self.samples.len() as u64
            + self.tables.iter().map(|(_, batch)| batch.num_rows() as u64).sum::<u64>()
    }

    /// Bytes they take in the head.
    pub(crate) fn bytes(&self) -> u64 {
        let samples = self.samples.len() * Chunk::ROW_BYTES;
        let tables = self.tables.iter().map(|(_, batch)| memory(batch)).sum::<usize>();
        (samples + tables) as u64
    }
}

/// The part of the head that takes rows.
pub(crate) struct Head {
    /// Everything up to here is in segments or older heads.
    lo: u64,
    hi: u64,
    bytes: u64,
    rows: u64,
    wal_bytes: u64,
    since: Instant,
    tenants: BTreeMap<TenantId, TenantHead>,
    view: Option<Arc<HeadView>>,
    /// Shared with all views: gone when nobody can read this head any more.
    alive: Arc<()>,
}

struct TenantHead {
    chunks: Vec<Arc<Chunk>>,
    open: Chunk,
    tables: [Vec<Arc<Batch>>; Table::ALL.len()],
}

/// What a head holds at one moment; never changes.
pub(crate) struct HeadView {
    /// Sequences above this one...
    pub(crate) lo: u64,
    /// ...up to and with this one.
    pub(crate) hi: u64,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    pub(crate) wal_bytes: u64,
    pub(crate) tenants: BTreeMap<TenantId, TenantView>,
    _alive: Arc<()>,
}

/// One tenant's part of a [`HeadView`].
#[derive(Default)]
pub(crate) struct TenantView {
    /// Samples, oldest chunk first.
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// Batches of the other tables, oldest first; logs in their segment schema, the rest in their ingest schema.
    pub(crate) tables: [Vec<Arc<Batch>>; Table::ALL.len()],
}

impl TenantView {
    pub(crate) fn batches(&self, table: Table) -> &[Arc<Batch>] {
        &self.tables[table as usize]
    }
}

impl Head {
    /// An empty head for what comes after sequence `lo`.
    pub(crate) fn new(lo: u64) -> Self {
        Self {
            lo,
            hi: lo,
            bytes: 0,
            rows: 0,
            wal_bytes: 0,
            since: Instant::now(),
            tenants: BTreeMap::new(),
            view: None,
            alive: Arc::default(),
        }
    }

    /// Lives as long as anybody can read this head.
    pub(crate) fn alive(&self) -> Weak<()> {
        Arc::downgrade(&self.alive)
    }

    pub(crate) fn hi(&self) -> u64 {
        self.hi
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn wal_bytes(&self) -> u64 {
        self.wal_bytes
    }

    /// When the first row came.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn append(&mut self, seq: u64, wal_bytes: u64, rows: Rows) {
        self.hi = self.hi.max(seq);
        self.wal_bytes += wal_bytes;
        let n_rows = rows.len();
        if n_rows == 0 {
            return;
        }
        if self.rows == 0 {
            self.since = Instant::now();
        }
        self.view = None;
        self.rows += n_rows;
        self.bytes += rows.bytes();
        let tenant = self.tenants.entry(rows.tenant).or_insert_with(TenantHead::new);
        tenant.append_samples(&rows.samples);
        for (table, batch) in rows.tables {
            let batch = if table == Table::Logs { with_seq(&batch, seq) } else { batch };
            tenant.append_rows(table, batch);
        }
    }

    /// Everything in the head now. Unchanged heads give the same view again.
    pub(crate) fn view(&mut self) -> Arc<HeadView> {
        if let Some(view) = self.view.as_ref().filter(|view| view.hi == self.hi) {
            return Arc::clone(view);
        }
        let tenants = self.tenants.iter().map(|(id, tenant)| (*id, tenant.view())).collect();
        let view = Arc::new(HeadView {
            lo: self.lo,
            hi: self.hi,
            bytes: self.bytes,
            rows: self.rows,
            wal_bytes: self.wal_bytes,
            tenants,
            _alive: Arc::clone(&self.alive),
        });
        self.view = Some(Arc::clone(&view));
        view
    }
}

impl TenantHead {
    fn new() -> Self {
        Self { chunks: Vec::new(), open: Chunk::default(), tables: Default::default() }
    }

    fn append_samples(&mut self, rows: &SampleRows) {
        let mut from = 0;
        while from < rows.len() {
            let to = rows.len().min(from + self.open.room());
            self.open.slots.extend_from_slice(&rows.slots[from..to]);
            self.open.times.extend_from_slice(&rows.times[from..to]);
            self.open.values.extend_from_slice(&rows.values[from..to]);
            self.open.starts.extend_from_slice(&rows.starts[from..to]);
            self.open.flags.extend_from_slice(&rows.flags[from..to]);
            self.open.widen(&rows.times[from..to]);
            if self.open.room() == 0 {
                self.chunks.push(Arc::new(std::mem::take(&mut self.open)));
            }
            from = to;
        }
    }

    fn append_rows(&mut self, table: Table, batch: RecordBatch) {
        let batches = &mut self.tables[table as usize];
        batches.push(Arc::new(batch.into()));
        let n_small =
            batches.iter().rev().take_while(|batch| batch.num_rows() < JOIN_ROWS_MAX).count();
        if n_small >= JOIN_BATCHES {
            let small = &batches[batches.len() - n_small..];
            // Joining only saves work later: should it fail, the batches stay as they are.
            if let Ok(joined) =
                concat_batches(small[0].schema_ref(), small.iter().map(|batch| batch.rows()))
            {
                batches.truncate(batches.len() - n_small);
                batches.push(Arc::new(joined.into()));
            }
        }
    }

    fn view(&self) -> TenantView {
        let mut chunks = self.chunks.clone();
        if !self.open.slots.is_empty() {
            chunks.push(Arc::new(self.open.clone()));
        }
        TenantView { chunks, tables: self.tables.clone() }
    }
}

/// Bytes of the rows of a batch. Its buffers may be shared, with other columns or with batches cut from the same one.
fn memory(batch: &RecordBatch) -> usize {
    let of_column = |column: &ArrayRef| {
        column.to_data().get_slice_memory_size().unwrap_or(column.get_array_memory_size())
    };
    batch.columns().iter().map(of_column).sum()
}

/// Adds the log's own column to a batch of log records.
fn with_seq(batch: &RecordBatch, seq: u64) -> RecordBatch {
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(Int64Array::from_value(seq, batch.num_rows())));
    RecordBatch::try_new(segment_schema(Table::Logs), columns)
        .expect("the batch was checked against its schema")
}
