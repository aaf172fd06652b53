//! Series already seen, by a 128-bit keyed hash of their labels as sent, in the order in which they come.
//!
//! Senders repeat themselves: after one series comes the one that came after it last time. Each entry knows that
//! successor, so that most look-ups compare one key beside the last one instead of missing the cache twice in a table.
//! Two generations stand in for least-recently-used order, as in [`Recent`](crate::recent::Recent).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use hashbrown::HashTable;
use store::Resolved;

/// Look-ups after which a reader lets writers in.
const READS_MAX: u32 = 256;
/// No entry.
const NOWHERE: u32 = u32::MAX;

/// The series.
#[derive(Debug)]
pub(crate) struct KnownSeries {
    generations: RwLock<Generations>,
    n_young_max: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    entries: Vec<Entry>,
    /// Places in `entries`, by the lower half of the key.
    index: HashTable<u32>,
}

#[derive(Debug)]
struct Entry {
    /// Lower and upper half: a `u128` would be aligned to 16 bytes.
    key: [u64; 2],
    series: Resolved,
    /// Place of the entry that was asked for after this one.
    next: AtomicU32,
}

/// Looks series up for one request.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    known: &'a KnownSeries,
    guard: Option<RwLockReadGuard<'a, Generations>>,
    n_reads: u32,
    /// Place of the entry found last.
    last: u32,
}

impl KnownSeries {
    /// Room for about `n_max` series.
    pub(crate) fn new(n_max: usize) -> Self {
        let n_young_max = (n_max / 2).clamp(1, NOWHERE as usize);
        Self { generations: RwLock::default(), n_young_max }
    }

    /// A reader for one request.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { known: self, guard: None, n_reads: 0, last: NOWHERE }
    }

    /// Changes every entry.
    #[cfg(test)]
    pub(crate) fn change_all(&self, mut change: impl FnMut(&mut Resolved)) {
        let Generations { young, old } = &mut *self.generations.write().unwrap();
        let all = young.entries.iter_mut().chain(&mut old.entries);
        all.for_each(|entry| change(&mut entry.series));
    }
}

impl Reader<'_> {
    /// The series under `key`, if it is known.
    #[inline]
    pub(crate) fn find(&mut self, key: u128) -> Option<Resolved> {
        let key = split(key);
        let generations = self.guard.get_or_insert_with(|| {
            self.known.generations.read().unwrap_or_else(PoisonError::into_inner)
        });
        let young = &generations.young;
        let last = young.entries.get(self.last as usize);
        let guess = last.map_or(NOWHERE, |last| last.next.load(Ordering::Relaxed));
        let found = match young.entries.get(guess as usize).filter(|entry| entry.key == key) {
            Some(entry) => {
                self.last = guess;
                Some(entry.series)
            }
            None => match young.place(key) {
                Some(place) => {
                    if let Some(last) = last {
                        last.next.store(place, Ordering::Relaxed);
                    }
                    self.last = place;
                    Some(young.entries[place as usize].series)
                }
                None => {
                    let series = generations.old.series(key);
                    if let Some(series) = series {
                        self.put(key, series);
                    }
                    series
                }
            },
        };
        self.n_reads += 1;
        if self.n_reads >= READS_MAX {
            self.n_reads = 0;
            self.guard = None;
        }
        found
    }

    /// Remembers `series` under `key`.
    pub(crate) fn insert(&mut self, key: u128, series: Resolved) {
        self.put(split(key), series);
    }

    fn put(&mut self, key: [u64; 2], series: Resolved) {
        self.guard = None;
        let mut generations =
            self.known.generations.write().unwrap_or_else(PoisonError::into_inner);
        if generations.young.entries.len() >= self.known.n_young_max {
            generations.old = std::mem::take(&mut generations.young);
        }
        let young = &mut generations.young;
        let place = young.put(key, series);
        if let Some(last) = young.entries.get(self.last as usize) {
            last.next.store(place, Ordering::Relaxed);
        }
        self.last = place;
    }
}

impl Generation {
    fn place(&self, key: [u64; 2]) -> Option<u32> {
        self.index.find(key[0], |place| self.entries[*place as usize].key == key).copied()
    }

    fn series(&self, key: [u64; 2]) -> Option<Resolved> {
        Some(self.entries[self.place(key)? as usize].series)
    }

    /// Returns where the entry stands.
    fn put(&mut self, key: [u64; 2], series: Resolved) -> u32 {
        if let Some(place) = self.place(key) {
            self.entries[place as usize].series = series;
            return place;
        }
        let place = u32::try_from(self.entries.len()).expect("a generation is bounded");
        self.entries.push(Entry { key, series, next: AtomicU32::new(NOWHERE) });
        let entries = &self.entries;
        self.index.insert_unique(key[0], place, |place| entries[*place as usize].key[0]);
        place
    }
}

fn split(key: u128) -> [u64; 2] {
    let low = u64::try_from(key & u128::from(u64::MAX)).expect("the upper half is gone");
    [low, u64::try_from(key >> 64).expect("half of a key")]
}

#[cfg(test)]
mod tests {
    use model::id::SeriesId;
    use store::SeriesRef;

    use super::*;
    use crate::recent::KeyHasher;

    fn resolved(i: u64) -> Resolved {
        let slot = u32::try_from(i % 1_000_000).unwrap();
        Resolved { id: SeriesId(i), at: SeriesRef::new(slot, 0) }
    }

    #[test]
    fn every_series_is_found_in_any_order_and_by_its_successor() {
        let (known, hasher) = (KnownSeries::new(10_000), KeyHasher::new());
        let key = |i: u64| hasher.hash(&i.to_le_bytes());
        for i in 0..1_000 {
            let mut reader = known.reader();
            assert_eq!(reader.find(key(i)), None);
            reader.insert(key(i), resolved(i));
        }
        for stride in [1, 1, 7, 7, 333] {
            let mut reader = known.reader();
            for i in (0..1_000).map(|i| i * stride % 1_000) {
                assert_eq!(reader.find(key(i)), Some(resolved(i)), "{i} by {stride}");
            }
            assert_eq!(reader.find(key(5_000)), None);
        }
        let reader = known.reader();
        let generations = reader.known.generations.read().unwrap();
        let entries = &generations.young.entries;
        assert_eq!(entries[0].next.load(Ordering::Relaxed), 333, "the order learned last");
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_asked_for() {
        let (known, hasher) = (KnownSeries::new(1_024), KeyHasher::new());
        let favourite = hasher.hash(b"favourite");
        let mut reader = known.reader();
        reader.insert(favourite, resolved(7));
        for i in 0..100_000_u64 {
            reader.insert(hasher.hash(&i.to_le_bytes()), resolved(i));
            if i % 8 == 0 {
                assert_eq!(reader.find(favourite), Some(resolved(7)));
            }
        }
        drop(reader);
        let generations = known.generations.read().unwrap();
        let held = generations.young.entries.len() + generations.old.entries.len();
        assert!(held <= 1_024, "{held}");
    }

    #[test]
    fn a_reader_waits_for_nobody_who_waits_for_it() {
        let (known, hasher) = (KnownSeries::new(100_000), KeyHasher::new());
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (known, hasher) = (&known, &hasher);
                scope.spawn(move || {
                    let mut reader = known.reader();
                    for i in 0..20_000 {
                        let key = hasher.hash(&(i % 3_000 + thread).to_le_bytes());
                        if reader.find(key).is_none() {
                            reader.insert(key, resolved(i));
                        }
                    }
                });
            }
        });
    }
}
