//! Rows of series and their label pairs, in blocks that never move: 64 bytes a series, 8 a label.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, Ordering};

use crate::registry::symbols::Symbol;

const ROWS_BLOCK: usize = 4_096;
/// Pairs of a block; also the most labels a series can have.
pub(super) const PAIRS_BLOCK: usize = 1 << 16;

/// The row's labels are told in full by its extra set: they do not follow from the native ones.
pub(super) const EXPLICIT: u8 = 1;
/// The row stays for ever: its id clashed with that of another series.
pub(super) const PINNED: u8 = 2;
/// The row stands for no series.
pub(super) const FREE: u8 = 4;

/// One series, 64 bytes: one cache line tells the write path all it asks.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Row {
    pub(super) id: u64,
    /// Newest row's time in ms; `i64::MIN` while nothing of it is durable.
    pub(super) last_ms: AtomicI64,
    /// Day, by our clock, on which it was last written to the log.
    pub(super) defined: AtomicI32,
    /// Newest day of data whose segments hold it.
    pub(super) flushed: AtomicI32,
    /// Hour, by our clock, in which it was last asked for or ingested.
    pub(super) used: AtomicU32,
    pub(super) tenant: u32,
    /// Raised when the slot gets another series.
    pub(super) generation: u32,
    /// Into the registry's metrics.
    pub(super) metric: u32,
    /// Into the registry's resources.
    pub(super) resource: u32,
    /// Into the registry's sets of Prometheus labels that do not follow from the native ones.
    pub(super) extra: u32,
    pub(super) labels_at: u32,
    pub(super) n_labels: u16,
    pub(super) state: u8,
}

/// A day that fits the row.
pub(super) fn day32(day: i64) -> i32 {
    i32::try_from(day).unwrap_or(if day < 0 { i32::MIN + 1 } else { i32::MAX })
}

impl Row {
    pub(super) fn is_free(&self) -> bool {
        self.state & FREE != 0
    }

    /// Whether a batch of `day` must carry the definition: until then only another, unsynced batch may hold it.
    pub(super) fn needs_definition(&self, day: i64) -> bool {
        self.defined.load(Ordering::Acquire) < day32(day)
    }

    pub(super) fn define(&self, day: i64) {
        self.defined.fetch_max(day32(day), Ordering::AcqRel);
    }

    pub(super) fn flush(&self, day: i64) {
        self.flushed.fetch_max(day32(day), Ordering::AcqRel);
    }

    pub(super) fn is_flushed(&self, day: i64) -> bool {
        self.flushed.load(Ordering::Acquire) == day32(day)
    }

    /// Notes a row at `ms`; a plain read when a newer one is known.
    pub(super) fn seen(&self, ms: i64) {
        if self.last_ms.load(Ordering::Relaxed) < ms {
            self.last_ms.fetch_max(ms, Ordering::AcqRel);
        }
    }

    pub(super) fn is_visible(&self) -> bool {
        self.last_ms.load(Ordering::Acquire) != i64::MIN
    }

    /// Notes that it was asked for in `hour`; a plain read for all but the first time.
    pub(super) fn touch(&self, hour: u32) {
        if self.used.load(Ordering::Relaxed) < hour {
            self.used.store(hour, Ordering::Relaxed);
        }
    }
}

/// Rows by slot.
#[derive(Debug, Default)]
pub(super) struct Rows {
    blocks: Vec<Vec<Row>>,
    len: usize,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * (ROWS_BLOCK * size_of::<Row>() + size_of::<Vec<Row>>())
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Row> {
        self.blocks.get(slot as usize / ROWS_BLOCK)?.get(slot as usize % ROWS_BLOCK)
    }

    /// The row of a slot that was given out.
    pub(super) fn row(&self, slot: u32) -> &Row {
        &self.blocks[slot as usize / ROWS_BLOCK][slot as usize % ROWS_BLOCK]
    }

    pub(super) fn row_mut(&mut self, slot: u32) -> &mut Row {
        &mut self.blocks[slot as usize / ROWS_BLOCK][slot as usize % ROWS_BLOCK]
    }

    pub(super) fn push(&mut self, row: Row) -> u32 {
        if self.len.is_multiple_of(ROWS_BLOCK) {
            self.blocks.push(Vec::with_capacity(ROWS_BLOCK));
        }
        self.blocks.last_mut().expect("a block was pushed").push(row);
        self.len += 1;
        u32::try_from(self.len - 1).expect("the series limit is far below 2^32")
    }
}

/// A label: its name and value.
pub(super) type Pair = (Symbol, Symbol);

/// Runs of pairs. A run never crosses a block; a freed run is used again by one of the same length.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    blocks: Vec<Vec<Pair>>,
    /// Starts of free runs, by length.
    free: Vec<Vec<u32>>,
}

impl Pairs {
    pub(super) fn bytes(&self) -> usize {
        let free: usize = self.free.iter().map(|runs| runs.capacity() * size_of::<u32>()).sum();
        self.blocks.len() * PAIRS_BLOCK * size_of::<Pair>() + free
    }

    /// Keeps `pairs`, at most [`PAIRS_BLOCK`] of them; returns where.
    pub(super) fn put(&mut self, pairs: &[Pair]) -> u32 {
        if pairs.is_empty() {
            return 0;
        }
        if let Some(start) = self.free.get_mut(pairs.len()).and_then(Vec::pop) {
            let (block, at) = (start as usize / PAIRS_BLOCK, start as usize % PAIRS_BLOCK);
            self.blocks[block][at..at + pairs.len()].copy_from_slice(pairs);
            return start;
        }
        let has_room = |block: &Vec<Pair>| block.len() + pairs.len() <= PAIRS_BLOCK;
        if !self.blocks.last().is_some_and(has_room) {
            self.blocks.push(Vec::with_capacity(PAIRS_BLOCK));
        }
        let block = self.blocks.len() - 1;
        let at = self.blocks[block].len();
        self.blocks[block].extend_from_slice(pairs);
        u32::try_from(block * PAIRS_BLOCK + at).expect("the series limit is far below 2^32")
    }

    pub(super) fn get(&self, start: u32, n: u16) -> &[Pair] {
        if n == 0 {
            return &[];
        }
        let at = start as usize % PAIRS_BLOCK;
        &self.blocks[start as usize / PAIRS_BLOCK][at..at + usize::from(n)]
    }

    pub(super) fn release(&mut self, start: u32, n: u16) {
        let n = usize::from(n);
        if n == 0 {
            return;
        }
        if self.free.len() <= n {
            self.free.resize_with(n + 1, Vec::new);
        }
        self.free[n].push(start);
    }
}
