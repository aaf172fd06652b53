//! A bounded map from a 128-bit keyed hash to what was made of the hashed bytes: series and resources already seen.
//!
//! Two generations stand in for least-recently-used order: when the young one is full it becomes the old one, and what
//! is not asked for until that happens again is forgotten. Forgetting only costs a new translation.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3;

const N_SHARDS: usize = 16;
const SECRET_BYTES: usize = 192;

/// Hashes under a secret of this process, so that nobody can construct two inputs that collide.
#[derive(Debug)]
pub(crate) struct KeyHasher {
    secret: [u8; SECRET_BYTES],
}

impl KeyHasher {
    pub(crate) fn new() -> Self {
        let mut secret = [0; SECRET_BYTES];
        // `RandomState` is keyed by the operating system's randomness: std's only door to it.
        let random = RandomState::new();
        for (i, word) in secret.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&random.hash_one(i).to_le_bytes());
        }
        Self { secret }
    }

    /// The hash of `bytes`.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u128 {
        xxh3::xxh3_128_with_secret(bytes, &self.secret)
    }
}

/// Takes a key that is a hash already as its own hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        let n = bytes.len().min(8);
        word[..n].copy_from_slice(&bytes[..n]);
        self.0 = u64::from_le_bytes(word);
    }
}

type Generation<V> = HashMap<u128, V, std::hash::BuildHasherDefault<Identity>>;

#[derive(Debug)]
struct Shard<V> {
    young: Generation<V>,
    old: Generation<V>,
}

/// The map. Every method locks one of its shards for a look-up.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    shards: Vec<Mutex<Shard<V>>>,
    n_young_max: usize,
}

impl<V: Clone> Recent<V> {
    /// A map of about `n_max` entries.
    pub(crate) fn new(n_max: usize) -> Self {
        let shard = || Shard { young: Generation::default(), old: Generation::default() };
        let shards = (0..N_SHARDS).map(|_| Mutex::new(shard())).collect();
        Self { shards, n_young_max: (n_max / N_SHARDS / 2).max(1) }
    }

    /// What stands under `key`, or `None`.
    pub(crate) fn find(&self, key: u128) -> Option<V> {
        let mut shard = self.shard(key);
        if let Some(value) = shard.young.get(&key) {
            return Some(value.clone());
        }
        let value = shard.old.remove(&key)?;
        self.put(&mut shard, key, value.clone());
        Some(value)
    }

    /// Remembers `value` under `key`.
    pub(crate) fn insert(&self, key: u128, value: V) {
        let mut shard = self.shard(key);
        self.put(&mut shard, key, value);
    }

    fn put(&self, shard: &mut Shard<V>, key: u128, value: V) {
        if shard.young.len() >= self.n_young_max {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, value);
    }

    fn shard(&self, key: u128) -> std::sync::MutexGuard<'_, Shard<V>> {
        // The top byte picks the shard, the low ones the bucket inside it.
        let shard = usize::from(key.to_be_bytes()[0]) % N_SHARDS;
        // A panic elsewhere leaves at worst a missing entry behind.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_stays_bounded_and_keeps_what_is_asked_for() {
        let recent = Recent::new(1_024);
        let hasher = KeyHasher::new();
        let favourite = hasher.hash(b"favourite");
        recent.insert(favourite, 7_u64);
        for i in 0..100_000_u64 {
            recent.insert(hasher.hash(&i.to_le_bytes()), i);
            if i % 8 == 0 {
                assert_eq!(recent.find(favourite), Some(7));
            }
        }
        let held: usize = recent
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap())
            .map(|shard| shard.young.len() + shard.old.len())
            .sum();
        assert!(held <= 1_024, "{held}");
    }

    #[test]
    fn two_processes_hash_differently() {
        assert_ne!(KeyHasher::new().hash(b"x"), KeyHasher::new().hash(b"x"));
    }
}
