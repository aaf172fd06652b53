//! When a group is evaluated: at slots one interval apart, shifted by a hash so that groups spread evenly.

use model::time::Timestamp;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// The slots of one group: stable across restarts, since they depend on file, name and interval alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    interval_ns: i64,
    offset_ns: i64,
}

impl Slots {
    pub(crate) fn new(file: &str, group: &str, interval: Duration) -> Self {
        let interval_ns = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
        let hash = xxh3_64(format!("{file}\u{0}{group}").as_bytes());
        // Whole milliseconds, as samples are stamped; an interval is at least a second.
        let interval_ms = interval_ns.unsigned_abs() / 1_000_000;
        let offset_ms = i64::try_from(hash % interval_ms.max(1)).unwrap_or(0);
        Self { interval_ns, offset_ns: offset_ms * 1_000_000 }
    }

    /// The first slot at or after `now`.
    pub(crate) const fn first(self, now: Timestamp) -> Timestamp {
        let since = (now.0 - self.offset_ns).rem_euclid(self.interval_ns);
        if since == 0 { now } else { Timestamp(now.0 - since + self.interval_ns) }
    }

    /// The slot to evaluate after `last`, and how many before it were missed. Missed slots are never made up.
    pub(crate) const fn next(self, last: Timestamp, now: Timestamp) -> (Timestamp, u64) {
        let elapsed = now.0.saturating_sub(last.0);
        let slots = elapsed.div_euclid(self.interval_ns);
        if elapsed < -self.interval_ns {
            // The clock was set back: waiting for it to catch up would mean not watching.
            return (self.first(now), 0);
        }
        if slots <= 1 {
            return (Timestamp(last.0 + self.interval_ns), 0);
        }
        (Timestamp(last.0 + slots * self.interval_ns), slots.unsigned_abs() - 1)
    }

    pub(crate) const fn interval_ns(self) -> i64 {
        self.interval_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn missed_slots_are_counted_and_skipped() {
        let slots = Slots { interval_ns: 10 * S, offset_ns: 3 * S };
        assert_eq!(slots.first(Timestamp(0)), Timestamp(3 * S));
        assert_eq!(slots.first(Timestamp(3 * S)), Timestamp(3 * S));
        assert_eq!(slots.next(Timestamp(3 * S), Timestamp(4 * S)), (Timestamp(13 * S), 0));
        assert_eq!(slots.next(Timestamp(3 * S), Timestamp(14 * S)), (Timestamp(13 * S), 0));
        assert_eq!(slots.next(Timestamp(3 * S), Timestamp(40 * S)), (Timestamp(33 * S), 2));
        assert_eq!(slots.next(Timestamp(103 * S), Timestamp(15 * S)), (Timestamp(23 * S), 0));
    }

    proptest! {
        #[test]
        fn slots_keep_their_phase(name in "[a-z]{1,8}", seconds in 1_u64..4_000, now in 0_i64..i64::MAX / 4, late in 0_i64..100_000 * S) {
            let slots = Slots::new("f", &name, Duration::from_secs(seconds));
            let first = slots.first(Timestamp(now));
            prop_assert!(first.0 >= now && first.0 - now < slots.interval_ns);
            let (next, missed) = slots.next(first, Timestamp(first.0 + late));
            prop_assert!(next > first);
            prop_assert_eq!((next.0 - first.0) % slots.interval_ns, 0);
            prop_assert_eq!(i64::try_from(missed).unwrap() + 1, (next.0 - first.0) / slots.interval_ns);
        }
    }
}
