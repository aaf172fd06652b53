//! What to compact: windows whose segments are many, closed, or joined by late rows. Pure computation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::id::TenantId;
use model::time::{NS_PER_S, Timestamp};

use crate::rollup::{Resolution, is_source};
use crate::schema::Table;
use crate::segment::read::Segment;
use crate::segment::write::{DAY_NS, Facts, Plan, Window, begun, window_len};

/// Level-0 segments of an open window from which they are merged.
const INPUTS_MIN: usize = 4;
/// How long after its end a window is taken as complete, in ns.
const SETTLING_NS: i64 = 600 * NS_PER_S;
/// How long late rows wait for others before their window is merged again, in ns.
const DEBOUNCE_NS: i64 = 3_600 * NS_PER_S;

/// Segments that one commit made of one window: together they are sorted, their keys are disjoint. One that was written
/// anew without deleted rows is a run by itself.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// In the order of their numbers, which commits give in key order.
    pub(crate) files: Vec<Arc<Segment>>,
}

/// Segments to replace by one run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// What comes out.
    pub(crate) plan: Plan,
    /// What goes in: neighbours in commit order, oldest first. "The later commit wins" then stays a rule about order.
    pub(crate) runs: Vec<Run>,
    /// Whether nothing else of the window is left, and nothing more is expected.
    pub(crate) is_whole: bool,
    /// Since when it has been due, ns since the epoch.
    pub(crate) since: i64,
}

impl Job {
    /// Segments that go in, oldest commit first.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.runs.iter().flat_map(|run| &run.files)
    }

    /// What else is made of its rows.
    pub(crate) fn rollups(&self) -> Vec<Resolution> {
        let is_rolled = self.is_whole && self.plan.table == Table::Samples;
        if is_rolled { Resolution::ALL.to_vec() } else { Vec::new() }
    }

    /// Their numbers in the catalogue.
    pub(crate) fn inputs(&self) -> Vec<i64> {
        self.files().map(|file| file.id()).collect()
    }
}

impl Run {
    pub(crate) fn level(&self) -> u8 {
        self.files.iter().map(|file| file.facts().level).min().unwrap_or(0)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.facts().bytes).sum()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.facts().rows).sum()
    }

    fn begun(&self) -> i64 {
        self.files.iter().filter_map(|file| begun(&file.facts().path)).max().unwrap_or(i64::MIN)
    }
}

/// Runs by the window their segments name.
type Windows = BTreeMap<Window, Vec<Run>>;

/// Windows of samples that have a rollup, with the commit order of the samples it was made of.
type Rolled = BTreeSet<(TenantId, Window, i64)>;

/// What is due at `now`, longest overdue first. `segments` are in commit order.
pub(crate) fn due(segments: &[Arc<Segment>], now: Timestamp) -> Vec<Job> {
    let mut days: BTreeMap<(TenantId, Table, i64), Windows> = BTreeMap::new();
    let mut rolled = Rolled::new();
    let outlived = outlived(segments);
    for segment in segments {
        let facts = segment.facts();
        if let Table::Samples5m | Table::Samples1h = facts.table {
            // Made with samples, of which both are made at once.
            rolled.insert((facts.tenant, facts.window, segment.commit_order()));
            continue;
        }
        if facts.table == Table::Samples && outlived.overlap(facts.tenant, facts.window) {
            continue; // Merged, these few would take the place of all that the rollup speaks of.
        }
        let runs = days
            .entry((facts.tenant, facts.table, facts.window.day()))
            .or_default()
            .entry(facts.window)
            .or_default();
        match runs.last_mut() {
            Some(run) if run.files[0].data.begin_snapshot == segment.data.begin_snapshot => {
                run.files.push(Arc::clone(segment));
            }
            _ => runs.push(Run { files: vec![Arc::clone(segment)] }),
        }
    }
    let mut jobs = Vec::new();
    for ((tenant, table, day), windows) in days {
        let mut planner = Planner { tenant, table, now: now.0, rolled: &rolled, jobs: &mut jobs };
        let whole = Window::of_day(day);
        // A day with such a rollup stays in hours, or the rollup of the day would take its place.
        let is_in_hours = table == Table::Samples && outlived.overlap(tenant, whole);
        if is_in_hours || window_len(table) == DAY_NS {
            windows.into_iter().for_each(|(window, runs)| planner.window(window, runs));
        } else {
            planner.day(whole, windows);
        }
    }
    jobs.sort_by_key(|job| job.since);
    jobs
}

/// Windows of rollups that outlived their samples.
struct Outlived(Vec<(TenantId, Window)>);

fn outlived(segments: &[Arc<Segment>]) -> Outlived {
    let mut raw: BTreeMap<(TenantId, i64), Vec<&Facts>> = BTreeMap::new();
    for facts in segments.iter().map(|segment| segment.facts()) {
        if facts.table == Table::Samples {
            raw.entry((facts.tenant, facts.window.day())).or_default().push(facts);
        }
    }
    let rollups = segments.iter().map(|segment| segment.facts()).filter(|facts| {
        let of_day = raw.get(&(facts.tenant, facts.window.day()));
        // What no sample is left of, nothing can take the place of.
        Resolution::of(facts.table).is_some()
            && of_day.is_some_and(|of_day| !of_day.iter().any(|raw| is_source(raw, facts)))
    });
    Outlived(rollups.map(|facts| (facts.tenant, facts.window)).collect())
}

impl Outlived {
    fn overlap(&self, tenant: TenantId, window: Window) -> bool {
        self.0.iter().any(|(of, outlived)| {
            *of == tenant && outlived.start < window.end() && window.start < outlived.end()
        })
    }
}

struct Planner<'a> {
    tenant: TenantId,
    table: Table,
    now: i64,
    rolled: &'a Rolled,
    jobs: &'a mut Vec<Job>,
}

impl Planner<'_> {
    fn push(&mut self, window: Window, level: u8, (runs, is_whole): (Vec<Run>, bool), since: i64) {
        let Self { tenant, table, .. } = *self;
        if self.now >= since {
            let rows_max = runs.iter().map(Run::rows).sum();
            let plan = Plan { table, tenant, window, level, rows_max };
            self.jobs.push(Job { plan, runs, is_whole, since });
        }
    }

    /// A day of a table with hours: its hours one by one, and once all of them are sealed the day as a whole.
    fn day(&mut self, day: Window, mut windows: Windows) {
        let settled = day.end().saturating_add(SETTLING_NS);
        let whole = windows.remove(&day).unwrap_or_default();
        if whole.is_empty() {
            let is_sealed = self.now >= settled
                && windows.iter().all(|(window, runs)| self.is_sealed(*window, runs, 1));
            if is_sealed {
                self.push(day, 2, (in_order(whole, windows), true), settled);
            } else {
                windows.into_iter().for_each(|(window, runs)| self.window(window, runs));
            }
        } else if windows.is_empty() {
            if !self.is_sealed(day, &whole, 2) {
                self.push(day, 2, (whole, true), settled);
            }
        } else {
            let since = debounced(windows.values().flatten());
            self.push(day, 2, (in_order(whole, windows), true), since);
        }
    }

    /// Whether nothing is left to do for a window that is closed.
    fn is_sealed(&self, window: Window, runs: &[Run], level: u8) -> bool {
        let [run] = runs else { return false };
        let order = run.files[0].commit_order();
        let is_rolled = || self.rolled.contains(&(self.tenant, window, order));
        run.level() >= level && (self.table != Table::Samples || is_rolled())
    }

    /// One window by itself.
    ///
    /// Open, it is merged in tiers: whenever enough level-0 runs are there, they take along the runs before them that
    /// are no larger than they are. Closed for a while, it is merged as a whole; rows that come even later wait.
    fn window(&mut self, window: Window, runs: Vec<Run>) {
        let settled = window.end().saturating_add(SETTLING_NS);
        if self.now < settled {
            let Some(first) = first_of_tier(&runs) else { return };
            let since = runs.last().map_or(self.now, Run::begun).min(self.now);
            self.push(window, 1, (runs[first..].to_vec(), false), since);
        } else if !self.is_sealed(window, &runs, 1) {
            let was_sealed =
                runs.first().is_some_and(|run| run.level() > 0 && run.begun() >= settled);
            let since = if was_sealed { debounced(&runs[1..]) } else { settled };
            self.push(window, 1, (runs, true), since);
        }
    }
}

/// When runs that came late have waited long enough.
fn debounced<'a>(late: impl IntoIterator<Item = &'a Run>) -> i64 {
    late.into_iter().map(Run::begun).min().unwrap_or(i64::MIN).saturating_add(DEBOUNCE_NS)
}

/// All runs of a day in commit order.
fn in_order(mut whole: Vec<Run>, windows: Windows) -> Vec<Run> {
    whole.extend(windows.into_values().flatten());
    whole.sort_by_key(|run| run.files[0].order());
    whole
}

/// Where the newest tier of a window begins; `None` while it has too few level-0 runs.
fn first_of_tier(runs: &[Run]) -> Option<usize> {
    let n_fresh = runs.iter().rev().take_while(|run| run.level() == 0).count();
    if n_fresh < INPUTS_MIN {
        return None;
    }
    let mut first = runs.len() - n_fresh;
    let mut bytes: u64 = runs[first..].iter().map(Run::bytes).sum();
    while first > 0 && runs[first - 1].bytes() <= bytes {
        first -= 1;
        bytes += runs[first].bytes();
    }
    Some(first)
}
