//! One test at work: its series, its groups and their alerts, step by step.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::alert::AlertState;
use model::metric::Labels;
use model::time::Timestamp;
use query::promql::source::{MemorySample, MemorySource};
use query::promql::{EvalOptions, Query, Reading, Value, instant, testlang};
use template::duration;
use tokio::time::Instant;

use super::compare::{alerts_differ, samples_differ};
use super::document::{AlertCheck, Case, ExprCheck, Plan};
use super::{DEBUG_LINES_MAX, Failure, Why, last_check_ms};
use crate::engine::answer_of;
use crate::evaluate::Turn;
use crate::expand::Surroundings;
use crate::handover::Recorded;
use crate::record::{Written, alert_series, end_vanished};
use crate::rule::{Group, Kind, Language};
use crate::source::{Answer, Ask, Evaluate};
use crate::state::Instances;

/// No evaluation of a test may take longer.
const EVALUATION_MAX: Duration = Duration::from_secs(600);

/// The series of a test, and the queries asked of them.
struct Memory {
    series: MemorySource,
    options: EvalOptions,
    /// Parsed once each.
    queries: Mutex<HashMap<Arc<str>, Arc<Query>>>,
}

/// A rule's alerts and written series between evaluations.
#[derive(Default)]
struct Kept {
    instances: Instances,
    written: Written,
}

/// Samples of a series that are still to come, the next one last.
struct Coming {
    labels: query::promql::Labels,
    samples: Vec<MemorySample>,
}

/// A test with its rules.
pub(super) struct World<'a> {
    plan: &'a Plan,
    case: &'a Case,
    /// In the order of evaluation, with a state for each rule.
    groups: Vec<(Arc<Group>, Vec<Kept>)>,
    memory: Memory,
    coming: Vec<Coming>,
    surroundings: Arc<Surroundings>,
    failures: Vec<Failure>,
}

impl Memory {
    fn put(&mut self, labels: query::promql::Labels, sample: MemorySample) {
        self.series.insert(labels, [sample]);
    }

    fn record(&mut self, sample: Recorded) {
        let name = [("__name__", sample.name.as_str())];
        let pairs = name.into_iter().chain(sample.labels.iter());
        let labels = query::promql::Labels::from_texts(pairs);
        let reading = match sample.histogram {
            Some(histogram) => Reading::Histogram(histogram),
            None => Reading::Float(sample.value),
        };
        self.put(labels, MemorySample { t_ms: sample.at.ms(), start_ms: 0, reading });
    }

    fn value(&self, expr: &Arc<str>, at: Timestamp) -> Result<Value, String> {
        let known = self.queries.lock().unwrap_or_else(PoisonError::into_inner).get(expr).cloned();
        let query = match known {
            Some(query) => query,
            None => {
                let query = Arc::new(Query::parse(expr).map_err(|error| error.to_string())?);
                let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
                queries.insert(Arc::clone(expr), Arc::clone(&query));
                query
            }
        };
        let answer = instant(&self.series, &query, at.ms(), &self.options);
        answer.map(|answer| answer.value).map_err(|error| error.to_string())
    }
}

impl Evaluate for Memory {
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        Box::pin(std::future::ready(match ask.language {
            Language::PromQl => self.value(&ask.expr, ask.at).map(answer_of),
            other => Err(format!("a test holds series: it has no answer in {}", other.word())),
        }))
    }
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &'a Plan, case: &'a Case, groups: Vec<Group>) -> Self {
        let mut groups: Vec<_> = groups
            .into_iter()
            .map(|group| {
                let kept = group.rules.iter().map(|_| Kept::default()).collect();
                (Arc::new(group), kept)
            })
            .collect();
        groups.sort_by_key(|(group, _)| plan.order.get(&group.name).copied().unwrap_or(0));
        let mut options = EvalOptions::default();
        options.subquery_step_ms = plan.step_ms;
        Self {
            plan,
            case,
            groups,
            memory: Memory { series: MemorySource::default(), options, queries: Mutex::default() },
            coming: coming(case),
            surroundings: Arc::new(Surroundings::new(&case.external_labels, &case.external_url)),
            failures: Vec::new(),
        }
    }

    /// Everything that is not as expected. A rule that fails ends the test.
    pub(super) fn run(mut self, mut debug: Option<&mut Vec<String>>) -> Vec<Failure> {
        let end_ms = last_check_ms(self.case);
        let mut at_ms = 0;
        while at_ms <= end_ms {
            let at = Timestamp::from_ms(self.case.start_ms + at_ms);
            self.load_until(at.ms());
            if !self.evaluate(at, at_ms, debug.as_deref_mut()) {
                return self.failures;
            }
            let case = self.case;
            for check in &case.alerts {
                if (at_ms..at_ms + self.plan.step_ms).contains(&check.at_ms) {
                    self.check_alerts(check);
                }
            }
            at_ms += self.plan.step_ms;
        }
        let case = self.case;
        case.exprs.iter().for_each(|check| self.check_expr(check));
        self.failures
    }

    /// Only what has come by then can be queried, also later.
    fn load_until(&mut self, until_ms: i64) {
        for coming in &mut self.coming {
            while let Some(sample) = coming.samples.pop_if(|next| next.t_ms <= until_ms) {
                self.memory.put(coming.labels.clone(), sample);
            }
        }
    }

    /// Whether all rules could be evaluated.
    fn evaluate(&mut self, at: Timestamp, at_ms: i64, mut debug: Option<&mut Vec<String>>) -> bool {
        let n_before = self.failures.len();
        for (group, kept) in &mut self.groups {
            for (rule, kept) in kept.iter_mut().enumerate() {
                let turn = Turn {
                    group: Arc::clone(group),
                    rule,
                    at,
                    deadline: Instant::now() + EVALUATION_MAX,
                    alerts_max: usize::MAX,
                    surroundings: Arc::clone(&self.surroundings),
                    inline: true,
                    is_event: false,
                };
                let outcome = evaluate(&mut self.memory, &turn, kept);
                let name = &group.rules[rule].name;
                if let Some(debug) = debug.as_deref_mut().filter(|d| d.len() < DEBUG_LINES_MAX) {
                    let told = match &outcome {
                        Ok(n) => format!("{n} results, {} alerts", kept.instances.len()),
                        Err(error) => error.clone(),
                    };
                    let time = duration::text(at_ms);
                    debug.push(format!("{time}: group {:?}, rule {name:?}: {told}", group.name));
                }
                if let Err(error) = outcome {
                    let what = format!("rule: {name}, time: {}", duration::text(at_ms));
                    let position = self.case.position;
                    self.failures.push(Failure { position, what, why: Why::Error(error) });
                }
            }
        }
        self.failures.len() == n_before
    }

    fn check_alerts(&mut self, check: &AlertCheck) {
        let mut got: Vec<(Labels, Labels)> = Vec::new();
        for (group, kept) in &self.groups {
            let named =
                group.rules.iter().zip(kept).filter(|(rule, _)| {
                    rule.name == check.name && matches!(rule.kind, Kind::Alert(_))
                });
            for (_, kept) in named {
                let firing = kept.instances.iter().filter(|(_, i)| i.state == AlertState::Firing);
                got.extend(firing.map(|(labels, i)| (labels.clone(), i.annotations.clone())));
            }
        }
        got.sort();
        if let Some(mismatch) = alerts_differ(&check.expected, &got) {
            let time = duration::text(check.at_ms);
            let what = format!("alertname: {}, time: {time}", check.name);
            let why = Why::Mismatch(mismatch);
            self.failures.push(Failure { position: check.position, what, why });
        }
    }

    fn check_expr(&mut self, check: &ExprCheck) {
        let at = Timestamp::from_ms(self.case.start_ms + check.at_ms);
        let got =
            self.memory.value(&check.expr.as_str().into(), at).and_then(|value| match value {
                Value::Vector(samples) => {
                    Ok(samples.into_iter().map(|s| (s.labels, s.reading)).collect())
                }
                Value::Scalar { value, .. } => {
                    Ok(vec![(query::promql::Labels::empty(), Reading::Float(value))])
                }
                Value::String { .. } | Value::Matrix(_) => {
                    Err("result is not a vector or scalar".to_owned())
                }
            });
        let why = match got {
            Err(error) => Some(Why::Error(error)),
            Ok(got) => samples_differ(&check.expected, got, self.plan.is_fuzzy).map(Why::Mismatch),
        };
        if let Some(why) = why {
            let what = format!("expr: {:?}, time: {}", check.expr, duration::text(check.at_ms));
            self.failures.push(Failure { position: check.position, what, why });
        }
    }
}

/// The input series at their times, with the reset hints a store gives histograms.
fn coming(case: &Case) -> Vec<Coming> {
    let mut all = Vec::new();
    for (labels, values) in &case.series {
        let mut samples = Vec::new();
        let mut t_ms = case.start_ms;
        for value in values {
            if let Some(value) = value {
                let reading = value.reading.clone();
                samples.push(MemorySample { t_ms, start_ms: 0, reading });
            }
            t_ms += case.interval_ms;
        }
        let mut samples = testlang::with_stored_hints(samples);
        samples.reverse();
        all.push(Coming { labels: labels.clone(), samples });
    }
    all
}

/// One rule at one time; how many results or active alerts it has.
fn evaluate(memory: &mut Memory, turn: &Turn, kept: &mut Kept) -> Result<usize, String> {
    let at = turn.data_time();
    let (mut samples, n_results);
    if matches!(turn.group.rules[turn.rule].kind, Kind::Record) {
        samples = ready(turn.samples(memory))?;
        n_results = samples.len();
    } else {
        let (step, _) = ready(turn.step(memory, kept.instances.clone(), None))?;
        kept.instances = step.instances;
        if let Some(refused) = step.refused {
            kept.written.clear();
            return Err(refused);
        }
        n_results = kept.instances.values().filter(|i| i.is_active()).count();
        samples = alert_series(&kept.instances, at);
    }
    kept.written = end_vanished(&mut samples, &kept.written, at);
    samples.into_iter().for_each(|sample| memory.record(sample));
    Ok(n_results)
}

/// What a future gives that waits for nothing.
fn ready<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    work.now_or_never().unwrap_or_else(|| Err("the evaluation waits for something".to_owned()))
}
