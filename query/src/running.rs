//! Queries under way, for those who want to see or end them, and how often each metric was asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::matcher::MatchOp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::promql::{EvalStats, Expr, Progress, Timings};
use crate::runtime::QueryMemory;

/// Bytes of a query's text that are shown.
const TEXT_MAX: usize = 4_096;
/// Metrics whose use is counted; further ones are counted together.
const METRICS_MAX: usize = 20_000;

/// Who asked, for the log of queries and the list of those under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Some part of this process.
    #[default]
    Inside,
    /// A client over HTTP.
    Http {
        /// Its address; empty when unknown.
        client: String,
        /// GET or POST.
        method: String,
        /// Which door it came through.
        path: String,
    },
    /// A rule.
    Rule,
}

/// The times a query is about, ms since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedTimes {
    /// First time, that of an instant query.
    pub start_ms: i64,
    /// Last time.
    pub end_ms: i64,
    /// Distance of steps; 0 for an instant query.
    pub step_ms: i64,
}

/// A query under way.
#[derive(Clone, Debug)]
pub struct RunningQuery {
    /// Number in this process; [`crate::Engine::cancel`] takes it.
    pub id: u64,
    /// `promql` or `sql`.
    pub language: &'static str,
    /// Its text, perhaps cut.
    pub text: String,
    /// Who asked.
    pub origin: Origin,
    /// How long ago it was asked, waiting included.
    pub age: Duration,
    /// Samples read so far; 0 for SQL.
    pub samples: u64,
    /// Memory it holds, bytes.
    pub bytes: u64,
}

/// A PromQL query that has ended.
#[derive(Clone, Debug)]
pub struct FinishedQuery {
    /// Its text.
    pub text: String,
    /// Who asked.
    pub origin: Origin,
    /// What it was about.
    pub times: AskedTimes,
    /// What it cost, as far as it came.
    pub stats: EvalStats,
    /// How long it took.
    pub timings: Timings,
    /// Why it has no answer.
    pub error: Option<String>,
}

/// How a metric was used in queries since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricUse {
    /// The name selected, by equality.
    pub metric: String,
    /// Queries that selected it, rules included.
    pub queries: u64,
    /// How long ago the last one was asked.
    pub age: Duration,
}

/// The list of queries under way.
#[derive(Debug, Default)]
pub(crate) struct Running {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    queries: BTreeMap<u64, Arc<Entry>>,
    uses: HashMap<String, (u64, Instant)>,
    uncounted: u64,
}

#[derive(Debug)]
struct Entry {
    language: &'static str,
    text: String,
    origin: Origin,
    since: Instant,
    cancel: CancellationToken,
    progress: Arc<Progress>,
    memory: Mutex<Option<Arc<QueryMemory>>>,
}

/// A query's place in the list, until dropped: whoever works for the query holds one.
#[derive(Clone, Debug)]
pub(crate) struct Ticket(Arc<Place>);

#[derive(Debug)]
struct Place {
    id: u64,
    entry: Arc<Entry>,
    list: Arc<Running>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.list.lock().queries.remove(&self.id);
    }
}

impl Ticket {
    /// Fires when somebody ends the query.
    pub(crate) fn cancelled(&self) -> CancellationToken {
        self.0.entry.cancel.clone()
    }

    /// Where the evaluation says how far it has come.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.0.entry.progress)
    }

    /// The memory it takes from now on.
    pub(crate) fn holds(&self, memory: &Arc<QueryMemory>) {
        let mut held = self.0.entry.memory.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Arc::clone(memory));
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a query.
    pub(crate) fn enter(
        self: &Arc<Self>,
        language: &'static str,
        text: &str,
        origin: Origin,
    ) -> Ticket {
        let entry = Arc::new(Entry {
            language,
            text: text[..text.floor_char_boundary(TEXT_MAX)].to_owned(),
            origin,
            since: Instant::now(),
            cancel: CancellationToken::new(),
            progress: Arc::default(),
            memory: Mutex::default(),
        });
        let mut state = self.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.queries.insert(id, Arc::clone(&entry));
        Ticket(Arc::new(Place { id, entry, list: Arc::clone(self) }))
    }

    /// All of them, oldest first.
    pub(crate) fn list(&self) -> Vec<RunningQuery> {
        let shown = |(id, entry): (&u64, &Arc<Entry>)| {
            let memory = entry.memory.lock().unwrap_or_else(PoisonError::into_inner);
            RunningQuery {
                id: *id,
                language: entry.language,
                text: entry.text.clone(),
                origin: entry.origin.clone(),
                age: entry.since.elapsed(),
                samples: entry.progress.samples(),
                bytes: memory.as_ref().map_or(0, |memory| memory.held_bytes()),
            }
        };
        self.lock().queries.iter().map(shown).collect()
    }

    /// Ends one; `false` when there is none of that number.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        let entry = self.lock().queries.get(&id).cloned();
        entry.inspect(|entry| entry.cancel.cancel()).is_some()
    }

    /// Counts the metrics that an expression selects by name, each once.
    pub(crate) fn count(&self, expr: &Expr) {
        let matchers = expr.selectors().into_iter().flat_map(|selector| selector.all_matchers());
        let equal = matchers.filter(|matcher| {
            matcher.name == "__name__" && matcher.op == MatchOp::Equal && !matcher.value.is_empty()
        });
        let mut names: Vec<String> = equal.map(|matcher| matcher.value).collect();
        names.sort_unstable();
        names.dedup();
        let now = Instant::now();
        let mut state = self.lock();
        for name in names {
            let is_full = state.uses.len() >= METRICS_MAX;
            match state.uses.get_mut(&name) {
                Some(used) => *used = (used.0 + 1, now),
                None if is_full => state.uncounted += 1,
                None => {
                    state.uses.insert(name, (1, now));
                }
            }
        }
    }

    /// The metrics asked for, by name, and how many uses were of metrics beyond those that are counted.
    pub(crate) fn uses(&self) -> (Vec<MetricUse>, u64) {
        let state = self.lock();
        let shown = |(metric, (queries, last)): (&String, &(u64, Instant))| MetricUse {
            metric: metric.clone(),
            queries: *queries,
            age: last.elapsed(),
        };
        let mut uses: Vec<MetricUse> = state.uses.iter().map(shown).collect();
        uses.sort_unstable_by(|a, b| a.metric.cmp(&b.metric));
        (uses, state.uncounted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_listed_until_its_last_ticket_is_gone() {
        let running = Arc::new(Running::default());
        let ticket = running.enter("promql", &"x".repeat(5_000), Origin::Rule);
        let other = running.enter("sql", "SELECT 1", Origin::Inside);
        let listed = running.list();
        assert_eq!(listed.iter().map(|query| query.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((listed[0].text.len(), listed[1].text.as_str()), (TEXT_MAX, "SELECT 1"));
        let worker = ticket.clone();
        assert!(!ticket.cancelled().is_cancelled());
        assert!(running.cancel(1) && worker.cancelled().is_cancelled());
        drop(ticket);
        assert_eq!(running.list().len(), 2);
        drop(worker);
        drop(other);
        assert!(running.list().is_empty());
        assert!(!running.cancel(1));
    }

    #[test]
    fn metrics_are_counted_once_a_query() {
        let running = Running::default();
        for text in ["a + a / rate(b[5m])", "sum({__name__=\"a\"})", "{__name__=~\"c.*\"}"] {
            running.count(&crate::promql::parse(text).unwrap());
        }
        let (uses, uncounted) = running.uses();
        let counts: Vec<_> = uses.iter().map(|used| (used.metric.as_str(), used.queries)).collect();
        assert_eq!((counts, uncounted), (vec![("a", 2), ("b", 1)], 0));
    }
}
