//! The one memory budget of a process: its limit, the shares it is cut into, what is held of each, and how near the
//! process as a whole is to the limit.
//!
//! `collector`, `query` and the store's own tasks take what they need before they use it and are refused when their
//! share is spent: a refusal costs one request, running out of memory costs them all. Counting cannot see everything
//! (the allocator's slack, batches between operators), so the resident size is watched beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

mod host;
pub(crate) mod watch;

pub use host::{MemoryLimit, ParseMemoryLimitError};

/// What the process needs for itself, before any telemetry: code, which counts as resident once it ran, stacks, tables of
/// the libraries.
const PROCESS_BYTES: u64 = 128 << 20;
/// Smallest limit with which every share is still of use.
pub const LIMIT_MIN: u64 = 256 << 20;
/// From this limit on the shares of a large process hold.
const LARGE: u64 = 2 << 30;

/// A part of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Share {
    /// Requests being read, inflated and decoded.
    Receive = 0,
    /// Rows that are in no segment yet, and the registry of series.
    Head = 1,
    /// Records on their way to the log.
    Log = 2,
    /// Merges of segments, with their rollups.
    Background = 3,
    /// Queries; a quarter of it is kept for alert rules.
    Query = 4,
    /// Footers, page indexes, sidecars.
    Cache = 5,
}

impl Share {
    /// Every share, in discriminant order.
    pub const ALL: [Self; 6] =
        [Self::Receive, Self::Head, Self::Log, Self::Background, Self::Query, Self::Cache];

    /// The name in metrics and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Head => "head",
            Self::Log => "log",
            Self::Background => "background",
            Self::Query => "query",
            Self::Cache => "cache",
        }
    }

    /// How a refusal names it.
    const fn words(self) -> &'static str {
        match self {
            Self::Receive => "memory for requests in flight",
            Self::Head => "memory for rows not in segments yet",
            Self::Log => "memory for the log's queue",
            Self::Background => "memory for compaction",
            Self::Query => "memory for queries",
            Self::Cache => "memory for caches",
        }
    }

    /// Percent of what telemetry may take, in a small and in a large process.
    const fn percent(self) -> (u64, u64) {
        match self {
            Self::Receive => (10, 10),
            Self::Head => (32, 26),
            Self::Log => (4, 3),
            Self::Background => (18, 15),
            Self::Query => (24, 29),
            Self::Cache => (12, 17),
        }
    }
}

const _: () = {
    let (mut i, mut small, mut large) = (0, 0, 0);
    while i < Share::ALL.len() {
        let percent = Share::ALL[i].percent();
        (small, large, i) = (small + percent.0, large + percent.1, i + 1);
    }
    assert!(small == 100 && large == 100, "shares are parts of one whole");
};

/// How near the process is to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Below 75 %.
    Calm,
    /// From 75 %: heads are flushed early, caches shrink.
    Tight,
    /// From 87 %: nothing is taken in, no query and no compaction begins, and queries of people end where they ask for more,
    /// until it falls. The rest is for what no counter sees between two looks.
    Critical,
}

/// The budget, shared by everything in the process.
#[derive(Debug)]
pub struct Memory {
    limit: u64,
    held: [AtomicU64; Share::ALL.len()],
    refused: [AtomicU64; Share::ALL.len()],
    resident: AtomicU64,
    resident_max: AtomicU64,
}

impl Memory {
    /// A budget of `limit` bytes for the whole process, at least [`LIMIT_MIN`].
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(LIMIT_MIN),
            held: Default::default(),
            refused: Default::default(),
            resident: AtomicU64::new(0),
            resident_max: AtomicU64::new(0),
        })
    }

    /// Bytes the process may take.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes `share` may hold.
    #[must_use]
    pub fn size(&self, share: Share) -> u64 {
        let (small, large) = share.percent();
        (self.limit - PROCESS_BYTES) / 100 * if self.limit < LARGE { small } else { large }
    }

    /// Bytes `share` holds now.
    #[must_use]
    pub fn held(&self, share: Share) -> u64 {
        self.held[share as usize].load(Ordering::Relaxed)
    }

    /// Bytes `share` can still give.
    #[must_use]
    pub fn free(&self, share: Share) -> u64 {
        self.size(share).saturating_sub(self.held(share))
    }

    /// How often `share` was asked for more than it had.
    #[must_use]
    pub fn refused(&self, share: Share) -> u64 {
        self.refused[share as usize].load(Ordering::Relaxed)
    }

    /// Resident bytes of the process when last looked at, and the most seen.
    #[must_use]
    pub fn resident(&self) -> (u64, u64) {
        (self.resident.load(Ordering::Relaxed), self.resident_max.load(Ordering::Relaxed))
    }

    /// Takes `bytes` of `share`; given back when the result is dropped.
    ///
    /// # Errors
    ///
    /// `Exhausted` when the share has not so much left; nothing is held then.
    pub fn take(self: &Arc<Self>, share: Share, bytes: u64) -> Result<Held, Error> {
        let held = Held { memory: Arc::clone(self), share, bytes: AtomicU64::new(0) };
        held.grow(bytes)?;
        Ok(held)
    }

    /// How near the process is to its limit.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let percent = self.resident.load(Ordering::Relaxed).saturating_mul(100) / self.limit;
        match percent {
            0..75 => Pressure::Calm,
            75..87 => Pressure::Tight,
            _ => Pressure::Critical,
        }
    }

    /// Refuses new work while the process is about to reach its limit.
    ///
    /// # Errors
    ///
    /// `Exhausted` under critical pressure.
    pub fn admit(&self, share: Share) -> Result<(), Error> {
        if self.pressure() < Pressure::Critical {
            return Ok(());
        }
        self.refused[share as usize].fetch_add(1, Ordering::Relaxed);
        let used = self.resident.load(Ordering::Relaxed);
        Err(Error::Full { what: "memory of the process", used, limit: self.limit })
    }

    /// Says what a share holds whose owner counts for itself.
    pub(crate) fn tell(&self, share: Share, bytes: u64) {
        self.held[share as usize].store(bytes, Ordering::Relaxed);
    }

    /// Says how large the process is.
    pub fn observe(&self, resident: u64) {
        self.resident.store(resident, Ordering::Relaxed);
        self.resident_max.fetch_max(resident, Ordering::Relaxed);
    }
}

/// Bytes of a share, held until dropped.
#[derive(Debug)]
pub struct Held {
    memory: Arc<Memory>,
    share: Share,
    bytes: AtomicU64,
}

impl Held {
    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Holds `more` bytes.
    ///
    /// # Errors
    ///
    /// `Exhausted` when the share has not so much left; what is held already stays.
    pub fn grow(&self, more: u64) -> Result<(), Error> {
        let at = self.share as usize;
        let limit = self.memory.size(self.share);
        let add = |held: u64| held.checked_add(more).filter(|sum| *sum <= limit);
        match self.memory.held[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => {
                self.bytes.fetch_add(more, Ordering::Relaxed);
                Ok(())
            }
            Err(used) => {
                self.memory.refused[at].fetch_add(1, Ordering::Relaxed);
                Err(Error::Full { what: self.share.words(), used, limit })
            }
        }
    }

    /// Gives `less` bytes back, at most what is held.
    pub fn shrink(&self, less: u64) {
        let take = |held: u64| Some(held.saturating_sub(less));
        let before = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let freed = before.unwrap_or_default().min(less);
        self.memory.held[self.share as usize].fetch_sub(freed, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_room_for_the_process() {
        for limit in [LIMIT_MIN, 512 << 20, LARGE, 64 << 30] {
            let memory = Memory::new(limit);
            let sum: u64 = Share::ALL.iter().map(|share| memory.size(*share)).sum();
            assert!(sum + PROCESS_BYTES <= limit, "{limit}: {sum}");
            assert!(sum + PROCESS_BYTES > limit - limit / 20, "{limit}: {sum}");
        }
    }

    #[test]
    fn a_spent_share_refuses_and_takes_back_what_is_dropped() {
        let memory = Memory::new(512 << 20);
        let size = memory.size(Share::Query);
        let first = memory.take(Share::Query, size - 10).unwrap();
        let error = memory.take(Share::Query, 11).unwrap_err();
        assert!(error.to_string().starts_with("memory for queries is full"), "{error}");
        assert!(memory.take(Share::Cache, 11).is_ok(), "shares are apart");
        first.grow(10).unwrap();
        assert!(first.grow(1).is_err());
        first.shrink(5);
        assert_eq!((memory.held(Share::Query), first.bytes()), (size - 5, size - 5));
        drop(first);
        assert_eq!((memory.held(Share::Query), memory.refused(Share::Query)), (0, 2));
    }

    #[test]
    fn pressure_follows_the_resident_size() {
        let memory = Memory::new(1_000 << 20);
        for (resident, expected) in [
            (0, Pressure::Calm),
            (749, Pressure::Calm),
            (750, Pressure::Tight),
            (870, Pressure::Critical),
        ] {
            memory.observe(resident << 20);
            assert_eq!(memory.pressure(), expected, "{resident}");
        }
        assert!(memory.admit(Share::Receive).is_err());
        memory.observe(0);
        assert!(memory.admit(Share::Receive).is_ok());
        assert_eq!(memory.resident(), (0, 870 << 20));
    }
}
