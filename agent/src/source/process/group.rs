//! Sums of processes by executable name that stay monotonic while processes come and go, and the choice of which are
//! shown. Computes only; `process` reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::time::Timestamp;

/// The name of everything that is not shown by itself.
pub(super) const OTHER: &str = "other";
/// Rounds a group stays shown after it last ranked, so that charts do not flicker: five minutes by default.
const KEEP_ROUNDS: u64 = 60;
/// Totals kept of groups that are not shown at the moment. Beyond it they are forgotten and begin anew.
const RETIRED_MAX: usize = 4_096;

/// What only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub user_ticks: u64,
    pub system_ticks: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
}

impl Counters {
    /// How much each has grown since `before`; nothing where it fell.
    pub(super) fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(self, other: Self, f: fn(u64, u64) -> u64) -> Self {
        Self {
            user_ticks: f(self.user_ticks, other.user_ticks),
            system_ticks: f(self.system_ticks, other.system_ticks),
            read_bytes: f(self.read_bytes, other.read_bytes),
            written_bytes: f(self.written_bytes, other.written_bytes),
            minor_faults: f(self.minor_faults, other.minor_faults),
            major_faults: f(self.major_faults, other.major_faults),
        }
    }
}

/// What rises and falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    pub processes: u64,
    pub threads: u64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub descriptors: u64,
}

impl Levels {
    fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.threads = self.threads.saturating_add(other.threads);
        self.resident_bytes = self.resident_bytes.saturating_add(other.resident_bytes);
        self.virtual_bytes = self.virtual_bytes.saturating_add(other.virtual_bytes);
        self.descriptors = self.descriptors.saturating_add(other.descriptors);
    }
}

/// The processes of one executable in this round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Growth since the round before.
    pub grown: Counters,
    pub levels: Levels,
}

impl Group {
    pub(super) fn add(&mut self, grown: Counters, levels: Levels) {
        self.grown = self.grown.plus(grown);
        self.levels.add(levels);
    }
}

/// One row to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub name: Arc<str>,
    /// Since when `total` counts.
    pub start: Timestamp,
    pub total: Counters,
    pub levels: Levels,
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    start: Timestamp,
    total: Counters,
    ranked: u64,
}

/// Totals by group. Every growth goes to exactly one row, so rows add up to the whole at any time.
#[derive(Debug)]
pub(super) struct Accumulator {
    top_n: usize,
    round: u64,
    other: Sum,
    shown: BTreeMap<Arc<str>, Sum>,
    retired: BTreeMap<Arc<str>, Sum>,
}

impl Accumulator {
    /// Shows the first `top_n` by CPU time, by resident memory and by disk I/O.
    pub(super) fn new(top_n: usize, start: Timestamp) -> Self {
        let other = Sum { start, total: Counters::default(), ranked: 0 };
        Self { top_n, round: 0, other, shown: BTreeMap::new(), retired: BTreeMap::new() }
    }

    /// Takes in one round and returns the rows of it, `other` last.
    pub(super) fn round(&mut self, at: Timestamp, groups: &BTreeMap<Arc<str>, Group>) -> Vec<Row> {
        self.round += 1;
        self.choose(at, groups);
        let mut rows = Vec::with_capacity(self.shown.len() + 1);
        let mut rest = Levels::default();
        for (name, group) in groups {
            match self.shown.get_mut(name) {
                Some(sum) => {
                    sum.total = sum.total.plus(group.grown);
                    let (name, levels) = (Arc::clone(name), group.levels);
                    rows.push(Row { name, start: sum.start, total: sum.total, levels });
                }
                None => {
                    self.other.total = self.other.total.plus(group.grown);
                    rest.add(group.levels);
                }
            }
        }
        let Sum { start, total, .. } = self.other;
        rows.push(Row { name: OTHER.into(), start, total, levels: rest });
        rows
    }

    fn choose(&mut self, at: Timestamp, groups: &BTreeMap<Arc<str>, Group>) {
        let ranks: [fn(&Group) -> u64; 3] = [
            |g| g.grown.user_ticks.saturating_add(g.grown.system_ticks),
            |g| g.levels.resident_bytes,
            |g| g.grown.read_bytes.saturating_add(g.grown.written_bytes),
        ];
        for rank in ranks {
            for name in top(groups, self.top_n, rank) {
                let (retired, round) = (&mut self.retired, self.round);
                let sum = self.shown.entry(Arc::clone(&name)).or_insert_with(|| {
                    let fresh = Sum { start: at, total: Counters::default(), ranked: round };
                    retired.remove(&name).unwrap_or(fresh)
                });
                sum.ranked = round;
            }
        }
        let over = |name: &Arc<str>, sum: &Sum| {
            self.round - sum.ranked > KEEP_ROUNDS || !groups.contains_key(name)
        };
        let leaving: Vec<_> =
            self.shown.iter().filter(|(n, s)| over(n, s)).map(|(n, _)| Arc::clone(n)).collect();
        if self.retired.len() + leaving.len() > RETIRED_MAX {
            self.retired.clear();
        }
        for name in leaving {
            self.retired.extend(self.shown.remove_entry(&name));
        }
    }
}

/// The names with the `n` largest ranks above 0.
fn top(groups: &BTreeMap<Arc<str>, Group>, n: usize, rank: fn(&Group) -> u64) -> Vec<Arc<str>> {
    let mut ranked: Vec<_> = groups
        .iter()
        .filter(|(name, group)| rank(group) > 0 && ***name != *OTHER)
        .map(|(name, group)| (rank(group), name))
        .collect();
    if ranked.len() > n {
        ranked.select_nth_unstable_by(n, |a, b| b.cmp(a));
        ranked.truncate(n);
    }
    ranked.into_iter().map(|(_, name)| Arc::clone(name)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(ticks: u64, resident_bytes: u64) -> Group {
        let grown = Counters { user_ticks: ticks, ..Counters::default() };
        Group { grown, levels: Levels { processes: 1, resident_bytes, ..Levels::default() } }
    }

    #[test]
    fn the_tail_is_summed_and_a_group_that_returns_goes_on_where_it_was() {
        let mut sums = Accumulator::new(1, Timestamp(0));
        let round = |sums: &mut Accumulator, at, groups: &[(&str, u64)]| {
            let groups = groups.iter().map(|(n, t)| (Arc::from(*n), group(*t, 0))).collect();
            let rows = sums.round(Timestamp(at), &groups);
            rows.iter()
                .map(|r| (r.name.to_string(), r.start.0, r.total.user_ticks))
                .collect::<Vec<_>>()
        };
        let row = |name: &str, start, total| (name.to_owned(), start, total);
        assert_eq!(
            round(&mut sums, 1, &[("a", 5), ("b", 3)]),
            [row("a", 1, 5), row("other", 0, 3)]
        );
        assert_eq!(round(&mut sums, 2, &[("b", 2)]), [row("b", 2, 2), row("other", 0, 3)]);
        let again = round(&mut sums, 3, &[("a", 7), ("b", 1)]);
        assert_eq!(again, [row("a", 1, 12), row("b", 2, 3), row("other", 0, 3)]);
        for at in 4..100 {
            round(&mut sums, at, &[("a", 1), ("b", 0)]);
        }
        let last = round(&mut sums, 100, &[("a", 1), ("b", 0)]);
        assert_eq!(last.len(), 2, "b has not ranked for long: {last:?}");
    }

    proptest! {
        #[test]
        fn totals_never_fall_and_nothing_is_lost(
            rounds in prop::collection::vec(
                prop::collection::btree_map(0_u8..12, (0_u64..1_000, 0_u64..50), 0..10), 1..200),
            top_n in 1_usize..4,
        ) {
            let mut sums = Accumulator::new(top_n, Timestamp(0));
            let (mut seen, mut fed) = (BTreeMap::new(), 0);
            for (at, round) in (1..).zip(&rounds) {
                let groups: BTreeMap<Arc<str>, Group> = round
                    .iter()
                    .map(|(name, (ticks, bytes))| (format!("p{name}").into(), group(*ticks, *bytes)))
                    .collect();
                fed += round.values().map(|(ticks, _)| ticks).sum::<u64>();
                let rows = sums.round(Timestamp(at), &groups);
                prop_assert!(rows.len() <= groups.len() + 1);
                let processes: u64 = rows.iter().map(|row| row.levels.processes).sum();
                prop_assert_eq!(processes, groups.len() as u64);
                for row in rows {
                    let now = (row.start, row.total.user_ticks);
                    if let Some((start, total)) = seen.insert(row.name, now) {
                        prop_assert!(start == now.0 && total <= now.1);
                    }
                }
                prop_assert_eq!(seen.values().map(|(_, total)| total).sum::<u64>(), fed);
            }
        }
    }
}
