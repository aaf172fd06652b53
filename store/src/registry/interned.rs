//! Values kept once and named by a number, for what many series share: metrics, resources, added labels.

use std::collections::HashMap;
use std::hash::Hash;

/// Values counted by those who hold them; each goes with the last of them.
#[derive(Debug)]
pub(super) struct Interned<T> {
    numbers: HashMap<T, u32>,
    entries: Vec<(T, u32)>,
    free: Vec<u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), entries: Vec::new(), free: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    /// Bytes it takes, what values hold on the heap left out.
    pub(super) fn bytes(&self) -> usize {
        self.numbers.capacity() * (size_of::<(T, u32)>() + 1)
            + self.entries.capacity() * size_of::<(T, u32)>()
            + self.free.capacity() * size_of::<u32>()
    }

    /// The number of `value`, held once more, and whether it is new.
    pub(super) fn take(&mut self, value: T) -> (u32, bool) {
        if let Some(&number) = self.numbers.get(&value) {
            self.entries[number as usize].1 += 1;
            return (number, false);
        }
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = (value.clone(), 1);
                number
            }
            None => {
                self.entries.push((value.clone(), 1));
                u32::try_from(self.entries.len() - 1).expect("the series limit is far below 2^32")
            }
        };
        self.numbers.insert(value, number);
        (number, true)
    }

    /// Lets go of a value; returns it when nobody holds it any more.
    pub(super) fn release(&mut self, number: u32) -> Option<T> {
        let (value, n_held) = &mut self.entries[number as usize];
        *n_held -= 1;
        if *n_held > 0 {
            return None;
        }
        self.numbers.remove(value);
        self.free.push(number);
        Some(value.clone())
    }

    pub(super) fn get(&self, number: u32) -> &T {
        &self.entries[number as usize].0
    }

    /// Whether somebody holds `value`.
    pub(super) fn holds(&self, value: &T) -> bool {
        self.numbers.contains_key(value)
    }
}
