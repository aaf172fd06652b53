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
    order: OnceLock<Order>,
}

/// Where in ascending `slots` the first stands that is not below `slot`.
///
/// Slots are given out in turn and come evenly, so where one stands can be guessed; from there the search goes out in
/// growing steps. Most chunks are not in the processor's caches: each look counts.
fn lower_bound(slots: &[u32], slot: u32) -> usize {
    let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return 0 };
    if slot <= *first || *last < slot {
        return if slot <= *first { 0 } else { slots.len() };
    }
    let share = u64::from(slot - first) * (slots.len() as u64 - 1) / u64::from(last - first);
    let guess = usize::try_from(share).unwrap_or(0);
    let (mut low, mut high, mut step) = (guess, guess, 1);
    // Ends: the first slot is below, the last is not.
    while slots[low] >= slot {
        (high, low, step) = (low, low.saturating_sub(step), step * 2);
    }
    while slots[high] < slot {
        (low, high, step) = (high, (high + step).min(slots.len() - 1), step * 2);
    }
    low + slots[low..=high].partition_point(|other| *other < slot)
}

/// The rows of a chunk by (slot, time, arrival).
#[derive(Debug)]
struct Order {
    /// Slots, ascending: what is searched stands together.
    slots: Vec<u32>,
    /// The row of each.
    rows: Vec<u32>,
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
    /// Bytes of one row, all columns and the order together.
    pub(crate) const ROW_BYTES: usize = 4 + 8 + 8 + 8 + 1 + 8;

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

    /// Gives `take` each row of a chunk whose slot is among `slots`, which ascend, with the place of the slot in them.
    /// Rows of a slot come by (time, arrival).
    pub(crate) fn rows_of<T>(&self, slots: &[(u32, T)], mut take: impl FnMut(usize, &T)) {
        let order = self.order.get_or_init(|| self.sorted());
        let mut from = 0;
        for (slot, of) in slots {
            from += lower_bound(&order.slots[from..], *slot);
            while order.slots.get(from) == Some(slot) {
                take(order.rows[from] as usize, of);
                from += 1;
            }
        }
    }

    fn sorted(&self) -> Order {
        let len = u32::try_from(self.len()).expect("a chunk has at most 16,384 rows");
        let mut rows: Vec<u32> = (0..len).collect();
        rows.sort_unstable_by_key(|&row| (self.slots[row as usize], self.times[row as usize], row));
        let slots = rows.iter().map(|row| self.slots[*row as usize]).collect();
        Order { slots, rows }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_guessed_search_finds_what_a_plain_one_does(
            mut slots in proptest::collection::vec(0_u32..400, 0..200),
            far in any::<u32>(),
            wanted in proptest::collection::vec(0_u32..420, 1..20),
        ) {
            slots.push(far);
            slots.sort_unstable();
            for slot in wanted.into_iter().chain([far, far.saturating_add(1), u32::MAX]) {
                let plain = slots.partition_point(|other| *other < slot);
                prop_assert_eq!(lower_bound(&slots, slot), plain, "{:?} {}", slots, slot);
            }
        }
    }
}
