//! Postings: which slots have a label, and which values a label has.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use roaring::RoaringBitmap;

use crate::registry::symbols::Symbol;

/// Slots kept in a plain list before a bitmap is worth its overhead.
const FEW_MAX: usize = 12;
/// Bytes of a bitmap and its first container besides two for each slot.
const BITMAP_OVERHEAD: usize = 120;

/// Symbols are small dense numbers: one multiplication spreads them.
#[derive(Default)]
pub(super) struct SymbolHasher(u64);

impl Hasher for SymbolHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, symbol: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(symbol)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(super) type SymbolMap<V> = HashMap<Symbol, V, BuildHasherDefault<SymbolHasher>>;

/// Slots, ascending.
#[derive(Debug)]
pub(super) enum Posting {
    One(u32),
    Few(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

impl Posting {
    pub(super) fn insert(&mut self, slot: u32) {
        match self {
            Self::One(first) if *first == slot => {}
            Self::One(first) => *self = Self::Few(vec![(*first).min(slot), (*first).max(slot)]),
            Self::Few(slots) => {
                if let Err(place) = slots.binary_search(&slot) {
                    slots.insert(place, slot);
                }
                if slots.len() > FEW_MAX {
                    *self = Self::Many(Box::new(slots.iter().copied().collect()));
                }
            }
            Self::Many(slots) => {
                slots.insert(slot);
            }
        }
    }

    /// Takes `slot` out; returns whether any is left.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::One(only) => *only != slot,
            Self::Few(slots) => {
                slots.retain(|other| *other != slot);
                !slots.is_empty()
            }
            Self::Many(slots) => {
                slots.remove(slot);
                !slots.is_empty()
            }
        }
    }

    /// Adds its slots to `union`.
    pub(super) fn add_to(&self, union: &mut RoaringBitmap) {
        match self {
            Self::One(slot) => {
                union.insert(*slot);
            }
            Self::Few(slots) => union.extend(slots.iter().copied()),
            Self::Many(slots) => *union |= slots.as_ref(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Few(slots) => slots.capacity() * 4 + 8,
            Self::Many(slots) => {
                // A container of 65,536 slots is a list of 2 bytes each, or 8 KiB of bits.
                let n = usize::try_from(slots.len()).unwrap_or(usize::MAX);
                let span = slots.max().unwrap_or(0).saturating_sub(slots.min().unwrap_or(0));
                let n_containers = (span as usize >> 16) + 1;
                BITMAP_OVERHEAD + 48 * (n_containers - 1) + (n * 2).min(n_containers * 8_192)
            }
        }
    }
}

/// Postings of one label name, by value.
pub(super) type Values = SymbolMap<Posting>;

/// What a tenant's series can be found by. All labels are the Prometheus ones.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) all: RoaringBitmap,
    /// By Prometheus name.
    pub(super) names: Values,
    /// By native name, where it differs.
    pub(super) natives: Values,
    pub(super) labels: SymbolMap<Values>,
}

pub(super) fn post(values: &mut Values, value: Symbol, slot: u32) {
    values.entry(value).and_modify(|posting| posting.insert(slot)).or_insert(Posting::One(slot));
}

pub(super) fn unpost(values: &mut Values, value: Symbol, slot: u32) {
    if values.get_mut(&value).is_some_and(|posting| !posting.remove(slot)) {
        values.remove(&value);
    }
}

impl Index {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let Self { all, names, natives, labels } = self;
        all.is_empty() && names.is_empty() && natives.is_empty() && labels.is_empty()
    }

    /// Bytes it takes, bitmaps estimated by their slots.
    pub(super) fn bytes(&self) -> usize {
        let of = |values: &Values| {
            values.capacity() * (size_of::<(Symbol, Posting)>() + 1)
                + values.values().map(Posting::bytes).sum::<usize>()
        };
        let labels: usize = self.labels.values().map(of).sum();
        self.all.serialized_size() + of(&self.names) + of(&self.natives) + labels
    }
}
