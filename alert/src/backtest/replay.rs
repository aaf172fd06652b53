//! Answers from ahead: what a rule asks again and again is asked once for many slots.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use model::metric::Labels;
use query::promql::ast::ValueType;
use query::promql::histogram::Histogram;

use crate::rule::{Language, Rule};
use crate::source::{Answer, Ask, Evaluate, Row};

/// Slots asked for at once: the first ones, and at most.
const AHEAD_FIRST: i64 = 1_440;
const AHEAD_MAX: i64 = 10_080;
/// Rows above which fewer slots are asked for next, and below which more are.
const ROWS_MANY: usize = 200_000;

/// Values of one series at steps.
#[derive(Clone, Debug)]
pub struct Line {
    /// Labels, `__name__` included where it is kept.
    pub labels: Labels,
    /// ms since the epoch, value, and the native histogram where it is one.
    pub points: Vec<(i64, f64, Option<Arc<Histogram>>)>,
}

/// Answers about many instants as well: the engine, or a script in tests.
pub trait History: Evaluate {
    /// What `instant` would answer at each of `start_ms`, `start_ms + step_ms`, … until `end_ms`.
    fn range(
        &self,
        expr: Arc<str>,
        at_ms: (i64, i64),
        step_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<Line>, String>>;
}

/// One rule's answers.
pub(super) struct Replay<'a> {
    history: &'a dyn History,
    step_ms: i64,
    /// The last instant anybody may ask about.
    last_ms: i64,
    expr: Arc<str>,
    bounds: (Option<f64>, Option<f64>),
    /// Expressions whose answer at a step is the same as at an instant.
    ahead: Mutex<HashMap<Arc<str>, Ahead>>,
}

/// Answers from one instant to another, both included.
struct Ahead {
    from_ms: i64,
    until_ms: i64,
    rows: Arc<BTreeMap<i64, Vec<Row>>>,
    /// Slots to ask for next.
    n_next: i64,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        history: &'a dyn History,
        rule: &Rule,
        (step_ms, last_ms): (i64, i64),
    ) -> Self {
        let extra = &rule.extra;
        let conditions = extra.all.iter().chain(&extra.any).chain(&extra.none).chain(&extra.clear);
        let conditions = conditions.map(|one| (&one.expr, &one.language));
        let all = conditions.chain([(&rule.expr, &extra.language)]);
        let known =
            all.filter(|(expr, language)| **language == Language::PromQl && is_steady(expr));
        let empty = || Ahead {
            from_ms: i64::MAX,
            until_ms: i64::MIN,
            rows: Arc::default(),
            n_next: AHEAD_FIRST,
        };
        let ahead = known.map(|(expr, _)| (Arc::clone(expr), empty())).collect();
        Self {
            history,
            step_ms,
            last_ms,
            expr: Arc::clone(&rule.expr),
            bounds: (extra.above, extra.below),
            ahead: Mutex::new(ahead),
        }
    }

    /// Whether the rule's own expression is asked ahead.
    pub(super) fn knows_ahead(&self) -> bool {
        self.lock().contains_key(&self.expr)
    }

    /// The first instant from `at_ms` on at which the rule's expression has a result within its bounds.
    pub(super) async fn next_hit(&self, mut at_ms: i64) -> Result<Option<i64>, String> {
        let expr = Arc::clone(&self.expr);
        while at_ms <= self.last_ms {
            let (rows, until_ms) = self.rows(&expr, at_ms).await?;
            let (above, below) = self.bounds;
            let counts = |row: &Row| {
                above.is_none_or(|above| row.value > above)
                    && below.is_none_or(|below| row.value < below)
            };
            let mut hits = rows.range(at_ms..).filter(|(_, rows)| rows.iter().any(counts));
            if let Some((ms, _)) = hits.next() {
                return Ok(Some(*ms));
            }
            at_ms = until_ms.saturating_add(self.step_ms);
        }
        Ok(None)
    }

    /// Answers around an instant, and until when they go.
    async fn rows(
        &self,
        expr: &Arc<str>,
        at_ms: i64,
    ) -> Result<(Arc<BTreeMap<i64, Vec<Row>>>, i64), String> {
        let n_slots = {
            let known = self.lock();
            let ahead = known.get(expr).ok_or("it is not asked ahead")?;
            if (ahead.from_ms..=ahead.until_ms).contains(&at_ms) {
                return Ok((Arc::clone(&ahead.rows), ahead.until_ms));
            }
            ahead.n_next
        };
        let mut n_slots = n_slots.max(1);
        let (lines, until_ms) = loop {
            let until_ms = self.last_ms.max(at_ms).min(at_ms + (n_slots - 1) * self.step_ms);
            match self.history.range(Arc::clone(expr), (at_ms, until_ms), self.step_ms).await {
                Ok(lines) => break (lines, until_ms),
                Err(error) if n_slots == 1 => return Err(error),
                // Too much at once, perhaps.
                Err(_) => n_slots /= 8,
            }
            n_slots = n_slots.max(1);
        };
        let mut rows: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
        let mut n_rows = 0;
        for line in lines {
            n_rows += line.points.len();
            for (ms, value, histogram) in line.points {
                let row = Row { labels: line.labels.clone(), value, histogram };
                rows.entry(ms).or_default().push(row);
            }
        }
        let n_next = if n_rows > ROWS_MANY { n_slots / 2 } else { n_slots * 2 };
        let ahead = Ahead {
            from_ms: at_ms,
            until_ms,
            rows: Arc::new(rows),
            n_next: n_next.clamp(1, AHEAD_MAX),
        };
        let answer = (Arc::clone(&ahead.rows), until_ms);
        self.lock().insert(Arc::clone(expr), ahead);
        Ok(answer)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Evaluate for Replay<'_> {
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        let is_known = ask.language == Language::PromQl && self.lock().contains_key(&ask.expr);
        if !is_known {
            return self.history.instant(ask);
        }
        Box::pin(async move {
            let (rows, _) = self.rows(&ask.expr, ask.at.ms()).await?;
            Ok(Answer::Vector(rows.get(&ask.at.ms()).cloned().unwrap_or_default()))
        })
    }
}

/// Whether an expression gives at a step what it gives at an instant: it does not ask where the range begins or ends,
/// or how far its steps are apart; and it gives what a rule can use.
fn is_steady(expr: &str) -> bool {
    let bare: String = expr.chars().filter(|c| !c.is_whitespace()).collect();
    let asks = ["start()", "end()", "step()", "range()"].iter().any(|word| bare.contains(word));
    let parsed = query::promql::parse(expr).map(|parsed| parsed.value_type());
    !asks && matches!(parsed, Ok(ValueType::Vector | ValueType::Scalar))
}
