//! When a target is scraped: on a grid of its interval, shifted by its hash, so that targets spread evenly and a restart
//! changes nothing.

use std::time::Duration;

use model::time::Timestamp;

/// A grid in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    interval_ns: i64,
    offset_ns: i64,
}

impl Grid {
    pub(crate) fn new(interval: Duration, hash: u64) -> Self {
        let interval_ns = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
        let offset_ns = (hash >> 1).cast_signed() % interval_ns;
        Self { interval_ns, offset_ns }
    }

    /// The first point of the grid after `now`.
    pub(crate) fn after(&self, now: Timestamp) -> Timestamp {
        let since = (now.0 - self.offset_ns).rem_euclid(self.interval_ns);
        Timestamp(now.0.saturating_add(self.interval_ns - since))
    }

    /// The point after `planned` that is not yet over at `now`: what was missed is left out. A clock that was set back is
    /// followed at once.
    pub(crate) fn next(&self, planned: Timestamp, now: Timestamp) -> Timestamp {
        let next = Timestamp(planned.0.saturating_add(self.interval_ns));
        let is_near = next >= now && next.0 - now.0 <= self.interval_ns;
        if is_near { next } else { self.after(now) }
    }

    /// The time of a scrape that was planned for `planned` and began at `now`: the plan, if it was kept within 2 ms and
    /// 1 % of the interval, since equal distances compress well.
    pub(crate) fn aligned(&self, planned: Timestamp, now: Timestamp) -> Timestamp {
        let tolerance = (self.interval_ns / 100).min(2_000_000);
        if (now.0 - planned.0).abs() <= tolerance { planned } else { now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_the_targets_own_and_late_scrapes_keep_their_time() {
        let grid = Grid::new(Duration::from_secs(10), 6_000_000_000);
        let at = |s: i64| Timestamp::from_s(s);
        assert_eq!(grid.after(at(100)), at(103));
        assert_eq!(grid.after(at(103)), at(113), "strictly after");
        assert_eq!(grid.next(at(103), at(104)), at(113));
        assert_eq!(grid.next(at(103), at(140)), at(143), "missed points are left out");
        assert_eq!(grid.next(at(103), at(50)), at(53), "the clock was set back");
        assert_eq!(grid.aligned(at(103), Timestamp(at(103).0 + 1_900_000)), at(103));
        let late = Timestamp(at(103).0 + 2_100_000);
        assert_eq!(grid.aligned(at(103), late), late);
    }
}
