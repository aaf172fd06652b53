//! What the agent knows about itself: losses, exports, missing sources and rights. Written by everyone, read once a tick
//! by `source::own`, which sends it like any metric.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::round::Distribution;

/// Upper bounds of the export duration histogram, in seconds.
const EXPORT_BOUNDS_S: [f64; 11] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Shared by sampler, queue and exporter.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Account>);

/// The figures themselves. Counters count since the agent started.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// Samples lost, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Batches the collector has acknowledged.
    pub batches: u64,
    /// Bytes of them, as sent.
    pub bytes: u64,
    /// Requests repeated.
    pub retries: u64,
    /// Requests that failed, by reason.
    pub errors: BTreeMap<&'static str, u64>,
    /// Seconds a request took, whatever came of it.
    pub duration: Distribution,
    /// Bytes that wait.
    pub queue_bytes: u64,
    /// Ticks for which no round was taken.
    pub missed: u64,
    /// Why a source yields nothing; `None` when it does.
    pub sources: BTreeMap<&'static str, Option<&'static str>>,
    /// Whether a right is missing, by capability.
    pub lacking: BTreeMap<&'static str, bool>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Account {
            dropped: BTreeMap::new(),
            batches: 0,
            bytes: 0,
            retries: 0,
            errors: BTreeMap::new(),
            duration: Distribution::new(&EXPORT_BOUNDS_S),
            queue_bytes: 0,
            missed: 0,
            sources: BTreeMap::new(),
            lacking: BTreeMap::new(),
        }))
    }

    /// A copy of everything.
    pub(crate) fn account(&self) -> Account {
        self.lock().clone()
    }

    pub(crate) fn dropped(&self, reason: &'static str, samples: u64) {
        *self.lock().dropped.entry(reason).or_default() += samples;
    }

    pub(crate) fn delivered(&self, bytes: usize) {
        let mut account = self.lock();
        account.batches += 1;
        account.bytes += bytes as u64;
    }

    pub(crate) fn requested(&self, took: Duration, error: Option<&'static str>) {
        let mut account = self.lock();
        account.duration.add(took.as_secs_f64());
        if let Some(reason) = error {
            *account.errors.entry(reason).or_default() += 1;
        }
    }

    pub(crate) fn retried(&self) {
        self.lock().retries += 1;
    }

    pub(crate) fn queued(&self, bytes: usize) {
        self.lock().queue_bytes = bytes as u64;
    }

    pub(crate) fn missed(&self, ticks: u64) {
        self.lock().missed += ticks;
    }

    /// Notes whether `source` yields data; `true` when that has changed, so that it is logged once.
    pub(crate) fn source(&self, source: &'static str, trouble: Option<&'static str>) -> bool {
        self.lock().sources.insert(source, trouble).unwrap_or_default() != trouble
    }

    /// Notes whether the right `capability` is missing; `true` when that has changed.
    pub(crate) fn lacks(&self, capability: &'static str, missing: bool) -> bool {
        self.lock().lacking.insert(capability, missing).unwrap_or_default() != missing
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        // A panic between two additions leaves no figure half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
