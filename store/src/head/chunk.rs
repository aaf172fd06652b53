//! Samples in arrival order, column by column; sorted once, by the first reader or the flush.

use std::sync::OnceLock;

/// Rows of a full chunk.
const ROWS: usize = 16_384;

/// Up to 16,384 samples. All columns have the same length.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Series, by registry slot.
    pub(crate) slots: Vec<u32>,
    /// Times in ms.
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// Start times in ms; `i64::MIN` where unknown.
    pub(crate) starts: Vec<i64>,
    pub(crate) flags: Vec<u8>,
    pub(crate) time_min: i64,
    pub(crate) time_max: i64,
    order: OnceLock<Vec<u32>>,
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
            flags: Vec::new(),
            time_min: i64::MAX,
            time_max: i64::MIN,
            order: OnceLock::new(),
        }
    }
}

impl Clone for Chunk {
    /// A copy without its order: a copy is taken of the open chunk, which has none.
    fn clone(&self) -> Self {
        Self {
            slots: self.slots.clone(),
            times: self.times.clone(),
            values: self.values.clone(),
            starts: self.starts.clone(),
            flags: self.flags.clone(),
            time_min: self.time_min,
            time_max: self.time_max,
            order: OnceLock::new(),
        }
    }
}

impl Chunk {
    /// Bytes of one row, all columns together.
    pub(crate) const ROW_BYTES: usize = 4 + 8 + 8 + 8 + 1;

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Rows it can still take.
    pub(crate) fn room(&self) -> usize {
        ROWS - self.slots.len()
    }

    /// Widens the time bounds to hold `times`.
    pub(crate) fn widen(&mut self, times: &[i64]) {
        for &time in times {
            self.time_min = self.time_min.min(time);
            self.time_max = self.time_max.max(time);
        }
    }

    /// Row numbers sorted by (slot, time, arrival).
    pub(crate) fn order(&self) -> &[u32] {
        self.order.get_or_init(|| {
            let len = u32::try_from(self.len()).expect("a chunk has at most 16,384 rows");
            let mut order: Vec<u32> = (0..len).collect();
            order.sort_unstable_by_key(|&row| {
                (self.slots[row as usize], self.times[row as usize], row)
            });
            order
        })
    }

    /// Row numbers of one series, by (time, arrival).
    pub(crate) fn rows_of(&self, slot: u32) -> &[u32] {
        let order = self.order();
        let start = order.partition_point(|&row| self.slots[row as usize] < slot);
        let len = order[start..].partition_point(|&row| self.slots[row as usize] == slot);
        &order[start..start + len]
    }
}
