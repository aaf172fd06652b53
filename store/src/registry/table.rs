//! A hash table of numbers: whoever owns the numbers knows what they stand for, so that nothing is stored twice.

const EMPTY: u32 = u32::MAX;
const CELLS_MIN: usize = 16;

/// Numbers below `u32::MAX`, found by the 64-bit hash of what they stand for. Open addressing, 4 bytes a cell.
#[derive(Debug, Default)]
pub(super) struct SlotTable {
    cells: Vec<u32>,
    len: usize,
}

impl SlotTable {
    /// Bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<u32>()
    }

    fn home(&self, hash: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
        let low = hash as usize;
        low & (self.cells.len() - 1)
    }

    /// The number with this hash that `is_it` accepts.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.cells.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        while self.cells[at] != EMPTY {
            if is_it(self.cells[at]) {
                return Some(self.cells[at]);
            }
            at = (at + 1) & (self.cells.len() - 1);
        }
        None
    }

    /// Adds a number that is not there yet; `hash_of` gives the hash of any number inside.
    pub(super) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.len + 1) * 8 > self.cells.len() * 7 {
            let n_cells = (self.cells.len() * 2).max(CELLS_MIN);
            let old = std::mem::replace(&mut self.cells, vec![EMPTY; n_cells]);
            for number in old.into_iter().filter(|number| *number != EMPTY) {
                self.put(hash_of(number), number);
            }
        }
        self.put(hash, number);
        self.len += 1;
    }

    fn put(&mut self, hash: u64, number: u32) {
        let mut at = self.home(hash);
        while self.cells[at] != EMPTY {
            at = (at + 1) & (self.cells.len() - 1);
        }
        self.cells[at] = number;
    }

    /// Takes a number out and closes the gap, so that no search ends early.
    pub(super) fn remove(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if self.cells.is_empty() {
            return;
        }
        let mask = self.cells.len() - 1;
        let mut gap = self.home(hash);
        while self.cells[gap] != number {
            if self.cells[gap] == EMPTY {
                return;
            }
            gap = (gap + 1) & mask;
        }
        let mut at = (gap + 1) & mask;
        while self.cells[at] != EMPTY {
            let home = self.home(hash_of(self.cells[at]));
            // It may move up unless its home lies behind the gap.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.cells[gap] = self.cells[at];
                gap = at;
            }
            at = (at + 1) & mask;
        }
        self.cells[gap] = EMPTY;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(steps in prop::collection::vec((any::<bool>(), 0_u32..200), 0..600)) {
            // Few homes, so that runs collide and wrap around.
            let hash = |number: u32| u64::from(number % 7) + 12;
            let (mut table, mut set) = (SlotTable::default(), BTreeSet::new());
            for (is_added, number) in steps {
                if !is_added {
                    table.remove(hash(number), number, hash);
                    set.remove(&number);
                } else if set.insert(number) {
                    table.insert(hash(number), number, hash);
                }
                for number in 0..200 {
                    let found = table.find(hash(number), |other| other == number);
                    prop_assert_eq!(found.is_some(), set.contains(&number));
                }
            }
            prop_assert_eq!(table.len, set.len());
        }
    }
}
