//! Actions: files of runbooks in, and the world as the engine asks about it: queries, silences, who is called.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use action::plan::{Input, Judged};
use action::world::{Question, World};
use action::{Actions, Notifier, Runbooks};
use anyhow::{Result, anyhow};
use futures::future::BoxFuture;
use model::alert::Transition;
use model::metric::Labels;
use model::time::{Clock, NS_PER_MS};
use query::promql::{self, Expr, Reading, Value};
use query::{Class, Engine, InstantQuery, NewestQuery, Origin, RangeQuery};
use tokio_util::sync::CancellationToken;

use super::notify::Notify;
use super::rules::{Takers, matching};
use crate::config::Config;

/// Series of an answer that are put into words.
const WORDS_MAX: usize = 5;

/// Reads every file of runbooks the configuration names.
///
/// # Errors
/// When a file is missing or wrong, with its place.
pub fn runbooks(config: &Config) -> Result<Runbooks> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in &config.action.runbooks {
        files.extend(matching(path)?);
    }
    let check = |query: &str| Comparison::read(query).map(drop);
    Runbooks::read(&files, &config.action, &check).map_err(|problem| anyhow!("{problem}"))
}

/// Opens the engine on the journal of `notifier`.
pub(super) fn open(
    config: &Config,
    runbooks: Runbooks,
    (engine, notifier, notify): (&Arc<Engine>, &Arc<Notifier>, &Arc<Notify>),
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Actions>> {
    let world = Seen {
        engine: Arc::clone(engine),
        takers: Takers {
            notifier: Arc::clone(notifier),
            notify: Arc::clone(notify),
            actions: None,
        },
        clock: Arc::clone(clock),
    };
    let dir = config.data_dir.join("action");
    let files = (runbooks, dir.as_path());
    let external_url = Some(notify.external_url.clone());
    let action = action::Config { external_url, ..config.action.clone() };
    let actions = Actions::open(&action, files, notifier, Arc::new(world), Arc::clone(clock));
    actions.map_err(|error| anyhow!("{error}"))
}

/// Works until `stop`.
pub(super) async fn run(actions: Arc<Actions>, stop: CancellationToken) -> Result<()> {
    actions.run(stop).await;
    Ok(())
}

/// A PromQL text whose outermost operator compares, and what it compares.
struct Comparison {
    /// The same with `bool`: 1 and 0 instead of what is and is not there.
    judging: String,
    /// Its left side.
    left: String,
}

impl Comparison {
    fn read(query: &str) -> Result<Self, String> {
        let expr = promql::parse(query).map_err(|error| error.to_string())?;
        let Expr::Binary(binary) = expr.bare() else { return Err(no_comparison()) };
        if !binary.op.is_comparison() {
            return Err(no_comparison());
        }
        let place = binary.left.place();
        let left = query[place.start..place.end].to_owned();
        let mut judging = query.to_owned();
        if !binary.bool_result {
            judging.insert_str(binary.op_place.start + binary.op.word().len(), " bool");
        }
        promql::parse(&judging).map_err(|error| error.to_string())?;
        Ok(Self { judging, left })
    }
}

fn no_comparison() -> String {
    "its outermost operator must compare, as in `a < 1`: no answer is not the same as no".to_owned()
}

/// The world behind the engine's seam.
struct Seen {
    engine: Arc<Engine>,
    takers: Takers,
    clock: Arc<dyn Clock>,
}

impl Seen {
    /// Readings with their labels in words.
    async fn ask(&self, query: &str) -> Result<Vec<(String, f64)>, String> {
        let query = InstantQuery {
            expr: query.to_owned(),
            at_ms: self.clock.now().ms(),
            class: Class::Rule,
            ..InstantQuery::default()
        };
        let answer = self.engine.instant(query).await.map_err(|error| error.to_string())?;
        match answer.value {
            Value::Scalar { value, .. } => Ok(vec![(String::new(), value)]),
            Value::Vector(samples) => {
                let row = |sample: &promql::Sample| match &sample.reading {
                    Reading::Float(value) => Ok((words(&sample.labels), *value)),
                    Reading::Histogram(_) => Err("a histogram cannot be compared".to_owned()),
                };
                samples.iter().map(row).collect()
            }
            other => Err(format!("it is a {}", other.value_type().word())),
        }
    }

    async fn judged(&self, query: &str) -> (Option<bool>, String) {
        let read = match Comparison::read(query) {
            Ok(read) => read,
            Err(error) => return (None, error),
        };
        let left = match self.ask(&read.left).await {
            Ok(left) if left.is_empty() => return (None, "no data".to_owned()),
            Ok(left) => left,
            Err(error) => return (None, error),
        };
        let mut observed = String::new();
        for (labels, value) in left.iter().take(WORDS_MAX) {
            let gap = if observed.is_empty() { "" } else { ", " };
            let _infallible = write!(observed, "{gap}{labels}{value}");
        }
        if left.iter().any(|(_, value)| value.is_nan()) {
            return (None, format!("not a number: {observed}"));
        }
        match self.ask(&read.judging).await {
            Ok(rows) if rows.is_empty() => (None, format!("nothing to compare with: {observed}")),
            Ok(rows) if rows.len() < left.len() => {
                let (n, all) = (left.len() - rows.len(), left.len());
                (None, format!("nothing to compare {n} of {all} with: {observed}"))
            }
            Ok(rows) => (Some(rows.iter().all(|(_, value)| *value > 0.5)), observed),
            Err(error) => (None, error),
        }
    }

    async fn fresh(&self, question: &Question) -> Result<Vec<Input>, String> {
        let expr = promql::parse(&question.query).map_err(|error| error.to_string())?;
        let now = self.clock.now();
        let oldest = now
            .ms()
            .saturating_sub(i64::try_from(question.max_staleness.as_millis()).unwrap_or(i64::MAX));
        let mut inputs: Vec<Input> = Vec::new();
        for selector in expr.selectors() {
            let text = question.query[selector.place.start..selector.place.end].to_owned();
            if inputs.iter().any(|input| input.selector == text) {
                continue;
            }
            let matchers = vec![selector.all_matchers()];
            let newest = self.engine.newest(NewestQuery { matchers, at_ms: now.ms() }).await;
            let newest = newest.map_err(|error| error.to_string())?;
            inputs.push(Input {
                selector: text,
                series: newest.len(),
                fresh: newest.iter().filter(|sample| sample.t_ms >= oldest).count(),
                newest_ns: newest.iter().map(|s| s.t_ms.saturating_mul(NS_PER_MS)).max(),
            });
        }
        Ok(inputs)
    }
}

impl World for Seen {
    fn judge(&self, question: Question) -> BoxFuture<'_, Judged> {
        Box::pin(async move {
            let (mut holds, mut observed) = self.judged(&question.query).await;
            let inputs = match self.fresh(&question).await {
                Ok(inputs) => inputs,
                Err(error) => {
                    (holds, observed) = (None, error);
                    Vec::new()
                }
            };
            Judged { query: question.query, holds, observed, inputs, effect: None }
        })
    }

    fn inputs(&self, question: Question) -> BoxFuture<'_, Result<Vec<Input>, String>> {
        Box::pin(async move { self.fresh(&question).await })
    }

    fn number(&self, query: String) -> BoxFuture<'_, Result<f64, String>> {
        Box::pin(async move {
            match self.ask(&query).await?.as_slice() {
                [(_, value)] if value.is_finite() => Ok(*value),
                [] => Err("no data".to_owned()),
                [(_, value)] => Err(format!("it is {value}")),
                several => Err(format!("it gives {} numbers instead of one", several.len())),
            }
        })
    }

    fn range(
        &self,
        query: String,
        (start_ms, end_ms): (i64, i64),
        step_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(i64, f64)>, String>> {
        Box::pin(async move {
            let query = RangeQuery {
                expr: query,
                start_ms,
                end_ms,
                step_ms,
                origin: Origin::Rule,
                ..RangeQuery::default()
            };
            let answer = self.engine.range(query).await.map_err(|error| error.to_string())?;
            match answer.value {
                Value::Matrix(series) => Ok(mean(&series)),
                other => Err(format!("it is a {}", other.value_type().word())),
            }
        })
    }

    fn muted(&self, labels: &BTreeMap<String, String>) -> Vec<String> {
        let labels: Labels = labels.clone().into_iter().collect();
        let muting = self.takers.notify.dispatcher.look(|router, now| router.muting(&labels, now));
        let silences = muting.silences.into_iter().map(|id| format!("silence {id}"));
        let inhibited = muting.inhibited_by.map(|by| format!("inhibited by {by:?}"));
        silences.chain(inhibited).collect()
    }

    fn call(&self, transition: Transition) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(
            async move { self.takers.take(transition).await.map_err(|error| format!("{error:#}")) },
        )
    }
}

/// The mean of all series at each time.
fn mean(series: &[promql::SeriesValues]) -> Vec<(i64, f64)> {
    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (at, value) in series.iter().flat_map(|one| &one.floats) {
        let (sum, n) = sums.entry(*at).or_default();
        (*sum, *n) = (*sum + value, *n + 1.0);
    }
    sums.into_iter().map(|(at, (sum, n))| (at, sum / n)).collect()
}

/// `{a="b"} ` in front of a value; nothing without labels.
fn words(labels: &promql::Labels) -> String {
    let pairs = labels.iter().map(|(name, value)| format!("{name}={value:?}"));
    let pairs = pairs.collect::<Vec<_>>().join(", ");
    if pairs.is_empty() { pairs } else { format!("{{{pairs}}} ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_made_to_answer_no_as_well() {
        let judging = |query: &str| Comparison::read(query).map(|read| (read.judging, read.left));
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(judging("a < 1"), pair("a < bool 1", "a"));
        assert_eq!(judging("(sum(a) >= on() b)"), pair("(sum(a) >= bool on() b)", "sum(a)"));
        assert_eq!(judging("a == bool 1"), pair("a == bool 1", "a"));
        assert_eq!(judging("a+b != c"), pair("a+b != bool c", "a+b"));
        for bad in ["a", "a + 1", "a < 1 and b < 1", "a <", "a unless b"] {
            assert!(judging(bad).is_err(), "{bad}");
        }
    }
}
