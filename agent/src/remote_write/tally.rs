//! What became of samples on their way: counted for `/metrics` of whoever runs us.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent: AtomicU64,
    retried: AtomicU64,
    dropped: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tally {
    /// Samples that a receiver took.
    pub(crate) fn sent(&self, n: usize) {
        self.sent.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// A request that is repeated.
    pub(crate) fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// Samples that are lost, and why.
    pub(crate) fn dropped(&self, reason: &'static str, n: usize) {
        if n > 0 {
            let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
            *dropped.entry(reason).or_default() += n as u64;
        }
    }

    /// Samples sent, requests repeated, samples lost by reason.
    pub(crate) fn read(&self) -> (u64, u64, BTreeMap<&'static str, u64>) {
        let dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.sent.load(Ordering::Relaxed), self.retried.load(Ordering::Relaxed), dropped)
    }
}
