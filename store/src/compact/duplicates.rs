//! Spans sent twice: of those with one (trace id, span id) the last write stays, wherever the others stand.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use parquet::arrow::ProjectionMask;
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_128;

use crate::compact::due::Run;
use crate::definition::column;
use crate::error::Error;
use crate::schema::columns;

/// Bits of a filter: two of these are held.
const BITS_MAX: u64 = 1 << 27;
/// Ids looked at in one go, about.
const IDS_MAX: u64 = 1 << 20;
/// Bytes of an id with its place in a table that is no more than half full while it grows.
const ID_BYTES: u64 = 48;

/// Bytes of memory that looking for losers among so many rows takes, beyond the pages that are read.
pub(crate) fn memory_max(rows: u64) -> u64 {
    2 * filter_bits(rows) / 8 + rows.min(IDS_MAX) * ID_BYTES + rows / 8
}

fn filter_bits(rows: u64) -> u64 {
    rows.saturating_mul(8).clamp(64, BITS_MAX).next_power_of_two()
}

/// Rows (by run, counted over its files) whose id comes again in a later run, or later in the same one. Blocks.
///
/// A filter finds the few ids that may have come twice, and only those are compared: exactly, by 128 bits.
pub(crate) fn losers(runs: &[Run]) -> Result<Vec<RoaringBitmap>, Error> {
    let rows: u64 = runs.iter().map(Run::rows).sum();
    let mut filter = Filter::new(rows);
    each_id(runs, |_, _, id| filter.add(id))?;
    let mut losers = vec![RoaringBitmap::new(); runs.len()];
    let parts = u128::from(filter.n_repeated).div_ceil(u128::from(IDS_MAX) / 2).max(1);
    for part in 0..parts {
        // Rows come oldest first: of two with one id the one before loses, however many there are.
        let mut last: HashMap<u128, (u32, u32)> = HashMap::new();
        each_id(runs, |run, row, id| {
            if filter.is_repeated(id)
                && id % parts == part
                && let Some((run, row)) = last.insert(id, (run, row))
                && let Some(of_run) = losers.get_mut(run as usize)
            {
                of_run.insert(row);
            }
        })?;
    }
    Ok(losers)
}

/// Calls `look` with run, row and identity of every span.
fn each_id(runs: &[Run], mut look: impl FnMut(u32, u32, u128)) -> Result<(), Error> {
    for (run, of_run) in (0_u32..).zip(runs) {
        let mut row = 0_u32;
        for segment in &of_run.files {
            let blocks = segment.blocks()?;
            let reader = segment.reader(&blocks)?;
            let names = [columns::TRACE_ID, columns::SPAN_ID];
            let mask = ProjectionMask::columns(reader.parquet_schema(), names);
            let reader = reader.with_projection(mask).build();
            let reader = reader.map_err(|error| segment.corrupt(&blocks, &error))?;
            for batch in reader {
                let batch: RecordBatch = batch.map_err(|error| segment.corrupt(&blocks, &error))?;
                let traces = column(&batch, columns::TRACE_ID).as_fixed_size_binary();
                let spans = column(&batch, columns::SPAN_ID).as_fixed_size_binary();
                for i in 0..traces.len() {
                    let mut id = [0; 24];
                    id[..16].copy_from_slice(traces.value(i));
                    id[16..].copy_from_slice(spans.value(i));
                    look(run, row, xxh3_128(&id));
                    row = row.saturating_add(1);
                }
            }
        }
    }
    Ok(())
}

/// Which ids have come at least twice, some others among them.
struct Filter {
    once: Vec<u64>,
    twice: Vec<u64>,
    n_repeated: u64,
}

impl Filter {
    fn new(rows: u64) -> Self {
        let words = usize::try_from(filter_bits(rows) / 64).unwrap_or(1);
        Self { once: vec![0; words], twice: vec![0; words], n_repeated: 0 }
    }

    fn at(&self, id: u128) -> (usize, u64) {
        let bit = usize::try_from(id >> 96).unwrap_or(0) % (self.once.len() * 64);
        (bit / 64, 1 << (bit % 64))
    }

    fn add(&mut self, id: u128) {
        let (word, bit) = self.at(id);
        if self.once[word] & bit != 0 {
            self.twice[word] |= bit;
            self.n_repeated += 1;
        }
        self.once[word] |= bit;
    }

    fn is_repeated(&self, id: u128) -> bool {
        let (word, bit) = self.at(id);
        self.twice[word] & bit != 0
    }
}
