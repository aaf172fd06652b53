//! Texts kept once and named by a number: label names and values, metric names, units.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::registry::table::SlotTable;

/// What a heap block costs besides its bytes: the allocator's header and the two counts of an `Arc`.
const TEXT_OVERHEAD: usize = 24;

/// A text's number, valid as long as somebody holds it.
pub(super) type Symbol = u32;

#[derive(Debug)]
struct Entry {
    text: Arc<str>,
    n_held: u32,
}

/// The texts. Each is counted by those who hold it and goes with the last of them.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    entries: Vec<Entry>,
    free: Vec<Symbol>,
    table: SlotTable,
    text_bytes: usize,
}

fn hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

impl Symbols {
    /// Bytes it takes, texts included.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.free.capacity() * size_of::<Symbol>()
            + self.table.bytes()
            + self.text_bytes
    }

    /// The number of `text`, when somebody holds it.
    pub(super) fn find(&self, text: &str) -> Option<Symbol> {
        self.table.find(hash(text), |symbol| *self.entries[symbol as usize].text == *text)
    }

    /// The number of `text`, held once more.
    pub(super) fn take(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.find(text) {
            self.hold(symbol);
            return symbol;
        }
        let entry = Entry { text: Arc::from(text), n_held: 1 };
        self.text_bytes += text.len() + TEXT_OVERHEAD;
        let symbol = match self.free.pop() {
            Some(symbol) => {
                self.entries[symbol as usize] = entry;
                symbol
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("the series limit is far below 2^32")
            }
        };
        let entries = &self.entries;
        self.table.insert(hash(text), symbol, |other| hash(&entries[other as usize].text));
        symbol
    }

    pub(super) fn hold(&mut self, symbol: Symbol) {
        self.entries[symbol as usize].n_held += 1;
    }

    pub(super) fn release(&mut self, symbol: Symbol) {
        let entry = &mut self.entries[symbol as usize];
        entry.n_held -= 1;
        if entry.n_held > 0 {
            return;
        }
        let entries = &self.entries;
        let text = &entries[symbol as usize].text;
        self.text_bytes -= text.len() + TEXT_OVERHEAD;
        self.table.remove(hash(text), symbol, |other| hash(&entries[other as usize].text));
        self.entries[symbol as usize].text = Arc::default();
        self.free.push(symbol);
    }

    /// Whether nobody holds any.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == self.free.len() && self.text_bytes == 0
    }

    /// Whether only one holds it.
    pub(super) fn is_held_once(&self, symbol: Symbol) -> bool {
        self.entries[symbol as usize].n_held == 1
    }

    pub(super) fn text(&self, symbol: Symbol) -> &Arc<str> {
        &self.entries[symbol as usize].text
    }
}
