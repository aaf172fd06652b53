//! Runs `tests/cases/rules/*.test.yaml`, rule tests in promtool's format, with the real PromQL evaluator over series
//! in memory: rules in order, each seeing what the ones before it recorded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use model::alert::AlertState;
use model::time::Timestamp;
use query::promql::series_desc::{parse_metric, parse_series};
use query::promql::source::{MemorySample, MemorySource};
use query::promql::{EvalOptions, Query, Reading, instant};
use serde::Deserialize;
use template::duration;
use tokio::time::Instant;

use crate::engine::answer_of;
use crate::evaluate::Turn;
use crate::expand::Surroundings;
use crate::handover::Recorded;
use crate::record::{Written, alert_series, end_vanished};
use crate::rule::{Group, Kind, load};
use crate::source::{Answer, Ask, Evaluate};
use crate::state::Instances;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule_files: Vec<String>,
    #[serde(default = "minute")]
    evaluation_interval: String,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "minute")]
    interval: String,
    #[serde(default)]
    external_labels: BTreeMap<String, String>,
    #[serde(default)]
    external_url: String,
    #[serde(default)]
    input_series: Vec<Input>,
    #[serde(default)]
    alert_rule_test: Vec<AlertCheck>,
    #[serde(default)]
    promql_expr_test: Vec<ExprCheck>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    series: String,
    values: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertCheck {
    eval_time: String,
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields, default)]
struct ExpectedAlert {
    exp_labels: BTreeMap<String, String>,
    exp_annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExprCheck {
    expr: String,
    eval_time: String,
    #[serde(default)]
    exp_samples: Vec<ExpectedSample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedSample {
    labels: String,
    value: f64,
}

fn minute() -> String {
    "1m".to_owned()
}

fn ms(text: &str) -> i64 {
    duration::parse_ms(text).expect("a duration")
}

/// The real evaluator over series in memory.
#[derive(Default)]
struct Memory(Mutex<MemorySource>);

impl Memory {
    fn put(&self, labels: query::promql::Labels, t_ms: i64, reading: Reading) {
        let sample = MemorySample { t_ms, start_ms: 0, reading };
        self.0.lock().unwrap().insert(labels, [sample]);
    }

    fn record(&self, sample: &Recorded) {
        let name = [("__name__", sample.name.as_str())];
        let labels =
            query::promql::Labels::from_texts(name.into_iter().chain(sample.labels.iter()));
        self.put(labels, sample.at.ms(), Reading::Float(sample.value));
    }

    fn answer(&self, expr: &str, at: Timestamp) -> Result<Answer, String> {
        let query = Query::parse(expr).map_err(|error| error.to_string())?;
        let source = self.0.lock().unwrap();
        let answer = instant(&*source, &query, at.ms(), &EvalOptions::default());
        answer.map(|answer| answer_of(answer.value)).map_err(|error| error.to_string())
    }
}

impl Evaluate for Memory {
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        Box::pin(async move { self.answer(&ask.expr, ask.at) })
    }
}

/// A rule's alerts and written series between evaluations.
#[derive(Default)]
struct Kept {
    instances: Instances,
    written: Written,
}

#[tokio::test]
async fn every_rule_test_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/rules");
    let mut n_files = 0;
    for entry in std::fs::read_dir(&folder).expect("the cases are there") {
        let path = entry.expect("a directory entry").path();
        if !path.to_string_lossy().ends_with(".test.yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a readable case");
        let file: File = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let load = |name: &String| load(&folder.join(name)).unwrap_or_else(|e| panic!("{e}"));
        let groups: Vec<Arc<Group>> = file.rule_files.iter().flat_map(load).map(Arc::new).collect();
        for case in &file.tests {
            run(case, &groups, ms(&file.evaluation_interval)).await;
        }
        n_files += 1;
    }
    assert!(n_files > 0);
}

async fn run(case: &Case, groups: &[Arc<Group>], step_ms: i64) {
    let memory = Memory::default();
    for input in &case.input_series {
        let described =
            parse_series(&format!("{} {}", input.series, input.values)).expect("a series");
        for (i, value) in (0_i64..).zip(described.values) {
            let Some(value) = value else { continue };
            memory.put(described.labels.clone(), i * ms(&case.interval), value.reading);
        }
    }
    let surroundings = Arc::new(Surroundings::new(&case.external_labels, &case.external_url));
    let mut kept: Vec<Vec<Kept>> =
        groups.iter().map(|g| g.rules.iter().map(|_| Kept::default()).collect()).collect();
    let ends = case.alert_rule_test.iter().map(|check| ms(&check.eval_time));
    let end = ends.chain(case.promql_expr_test.iter().map(|check| ms(&check.eval_time))).max();
    let mut at = 0;
    while at <= end.expect("a test checks something") {
        for (group, kept) in groups.iter().zip(&mut kept) {
            for (rule, kept) in kept.iter_mut().enumerate() {
                let turn = Turn {
                    group: Arc::clone(group),
                    rule,
                    at: Timestamp::from_ms(at),
                    deadline: Instant::now() + Duration::from_secs(60),
                    alerts_max: 1_000,
                    surroundings: Arc::clone(&surroundings),
                };
                evaluate(&memory, &turn, kept)
                    .await
                    .unwrap_or_else(|e| panic!("{}: {e}", case.name));
            }
        }
        for check in &case.alert_rule_test {
            if (at..at + step_ms).contains(&ms(&check.eval_time)) {
                check_alerts(&case.name, check, groups, &kept);
            }
        }
        at += step_ms;
    }
    for check in &case.promql_expr_test {
        check_expr(&case.name, check, &memory);
    }
}

async fn evaluate(memory: &Memory, turn: &Turn, kept: &mut Kept) -> Result<(), String> {
    let mut samples = if matches!(turn.group.rules[turn.rule].kind, Kind::Record) {
        turn.samples(memory).await?
    } else {
        let step = turn.step(memory, std::mem::take(&mut kept.instances), None).await?;
        kept.instances = step.instances;
        alert_series(&kept.instances, turn.data_time())
    };
    kept.written = end_vanished(&mut samples, &kept.written, turn.data_time());
    samples.iter().for_each(|sample| memory.record(sample));
    Ok(())
}

fn check_alerts(name: &str, check: &AlertCheck, groups: &[Arc<Group>], kept: &[Vec<Kept>]) {
    let mut got = Vec::new();
    for (group, kept) in groups.iter().zip(kept) {
        for (rule, kept) in group.rules.iter().zip(kept) {
            let firing = kept.instances.iter().filter(|(_, i)| i.state == AlertState::Firing);
            for (labels, instance) in firing.filter(|_| rule.name == check.alertname) {
                let owned = |labels: &model::metric::Labels| {
                    labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
                };
                let exp_annotations = owned(&instance.annotations);
                got.push(ExpectedAlert { exp_labels: owned(labels), exp_annotations });
            }
        }
    }
    let mut expected = check.exp_alerts.clone();
    for alert in &mut expected {
        alert.exp_labels.insert("alertname".to_owned(), check.alertname.clone());
    }
    got.sort();
    expected.sort();
    assert_eq!(got, expected, "{name}: {} at {}", check.alertname, check.eval_time);
}

fn check_expr(name: &str, check: &ExprCheck, memory: &Memory) {
    let answer = memory.answer(&check.expr, Timestamp::from_ms(ms(&check.eval_time)));
    let rows = answer.and_then(Answer::into_rows).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut got: Vec<(Vec<(String, String)>, f64)> = Vec::new();
    for row in rows {
        let pairs = row.labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        got.push((pairs.collect(), row.value));
    }
    let mut expected = Vec::new();
    for sample in &check.exp_samples {
        let (labels, _) = parse_metric(&sample.labels).expect("labels");
        let pairs = labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        expected.push((pairs.collect::<Vec<_>>(), sample.value));
    }
    got.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(got, expected, "{name}: {} at {}", check.expr, check.eval_time);
}
