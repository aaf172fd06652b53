//! A test file as it stands, and as a plan that can be run.

use std::collections::BTreeMap;
use std::path::Path;

use model::metric::Labels;
use query::promql::series_desc::{Described, parse_metric, parse_series, parse_values};
use query::promql::{Reading, number::parse_number};
use serde::Deserialize;
use serde_saphyr::Spanned;
use template::duration;

use super::{FILE_BYTES_MAX, STEPS_MAX, Settings};
use crate::rule::{Position, Problem, Problems};
use crate::yaml::{self, Pairs, Scalar, Unknown, position_of, problem};

/// The page that describes the format.
const GUIDE: &str = "rules.md";
/// Default of `evaluation_interval`.
const MINUTE_MS: i64 = 60_000;

#[derive(Debug, Default, Deserialize)]
struct File {
    rule_files: Option<Vec<Option<Scalar>>>,
    evaluation_interval: Option<Scalar>,
    group_eval_order: Option<Vec<Scalar>>,
    fuzzy_compare: Option<bool>,
    tests: Option<Vec<Spanned<CaseBody>>>,
    #[serde(flatten)]
    unknown: Unknown,
}

const FILE: [&str; 5] =
    ["rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests"];

#[derive(Debug, Deserialize)]
struct CaseBody {
    name: Option<Scalar>,
    interval: Option<Scalar>,
    start_timestamp: Option<Scalar>,
    external_labels: Option<Pairs>,
    external_url: Option<Scalar>,
    input_series: Option<Vec<Spanned<SeriesBody>>>,
    alert_rule_test: Option<Vec<Spanned<AlertBody>>>,
    promql_expr_test: Option<Vec<Spanned<ExprBody>>>,
    #[serde(flatten)]
    unknown: Unknown,
}

const CASE: [&str; 8] = [
    "name",
    "interval",
    "start_timestamp",
    "external_labels",
    "external_url",
    "input_series",
    "alert_rule_test",
    "promql_expr_test",
];

#[derive(Debug, Deserialize)]
struct SeriesBody {
    series: Option<Scalar>,
    values: Option<Scalar>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct AlertBody {
    eval_time: Option<Scalar>,
    alertname: Option<Scalar>,
    exp_alerts: Option<Vec<Spanned<ExpectedAlertBody>>>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct ExpectedAlertBody {
    exp_labels: Option<Pairs>,
    exp_annotations: Option<Pairs>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct ExprBody {
    expr: Option<Scalar>,
    eval_time: Option<Scalar>,
    exp_samples: Option<Vec<Spanned<SampleBody>>>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct SampleBody {
    labels: Option<Scalar>,
    value: Option<Scalar>,
    histogram: Option<Scalar>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// A test file that can be run.
pub(super) struct Plan {
    /// Patterns, relative to the file.
    pub(super) rule_files: Vec<String>,
    /// Between two evaluations, above 0.
    pub(super) step_ms: i64,
    /// Groups evaluated in this order; those not named come with the first.
    pub(super) order: BTreeMap<String, usize>,
    /// Whether floats may differ in their last bit.
    pub(super) is_fuzzy: bool,
    pub(super) cases: Vec<Case>,
}

/// One test.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) position: Position,
    /// Between two input samples, above 0.
    pub(super) interval_ms: i64,
    /// When it begins, ms since the epoch.
    pub(super) start_ms: i64,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) external_url: String,
    /// Of two series with the same labels the later counts.
    pub(super) series: BTreeMap<query::promql::Labels, Vec<Option<Described>>>,
    pub(super) alerts: Vec<AlertCheck>,
    pub(super) exprs: Vec<ExprCheck>,
    /// What is wrong with it; then it is not run.
    pub(super) problems: Vec<Problem>,
}

/// Which alerts of a name must fire at a time.
pub(super) struct AlertCheck {
    pub(super) position: Position,
    /// From the start of the test.
    pub(super) at_ms: i64,
    pub(super) name: String,
    /// Labels and annotations, sorted.
    pub(super) expected: Vec<(Labels, Labels)>,
}

/// What an expression must yield at a time.
pub(super) struct ExprCheck {
    pub(super) position: Position,
    /// From the start of the test.
    pub(super) at_ms: i64,
    pub(super) expr: String,
    pub(super) expected: Vec<(query::promql::Labels, Described)>,
}

/// Reads and checks a test file.
pub(super) fn load(path: &Path, file: &str, settings: &Settings<'_>) -> Result<Plan, Problems> {
    let refuse = |text: String, remedy: &str| {
        Problems(vec![problem(file, Position::default(), text, remedy)])
    };
    let bytes = std::fs::read(path).map_err(|error| {
        refuse(format!("cannot read the test file: {error}"), "check its path and mode")
    })?;
    if bytes.len() > FILE_BYTES_MAX {
        let text = format!("the file has {} bytes, limit is {FILE_BYTES_MAX}", bytes.len());
        return Err(refuse(text, "split it"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| refuse("the file is not UTF-8 text".to_owned(), "save it as UTF-8"))?;
    let options = serde_saphyr::options! { with_snippet: false };
    let body = serde_saphyr::from_str_with_options::<Option<File>>(&text, options);
    let body = body.map_err(|error| {
        let unknown = |_: &str, _: &[&'static str]| ("test file", String::new());
        Problems(vec![yaml::describe(&error, (&text, file), GUIDE, unknown)])
    })?;
    let mut reader = Reader {
        source: &text,
        file,
        is_strict: !settings.rules.ignore_unknown_fields,
        problems: Vec::new(),
    };
    let plan = reader.plan(body.unwrap_or_default());
    if reader.problems.is_empty() { Ok(plan) } else { Err(Problems(reader.problems)) }
}

struct Reader<'a> {
    source: &'a str,
    file: &'a str,
    is_strict: bool,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn refuse(&mut self, position: Position, text: String, remedy: &str) {
        self.problems.push(problem(self.file, position, text, remedy));
    }

    fn unknown(&mut self, kind: &str, at: Position, unknown: &Unknown, known: &[&'static str]) {
        if self.is_strict {
            let found = yaml::unknown_fields((self.source, self.file), kind, at, (unknown, known));
            self.problems.extend(found);
        }
    }

    fn plan(&mut self, body: File) -> Plan {
        self.unknown("test file", Position::default(), &body.unknown, &FILE);
        let step_ms = self.length(body.evaluation_interval.as_ref());
        let step_ms = step_ms.filter(|ms| *ms > 0).unwrap_or(MINUTE_MS);
        let mut order = BTreeMap::new();
        for (i, name) in body.group_eval_order.iter().flatten().enumerate() {
            if order.insert(name.value.clone(), i).is_some() {
                let text = format!("group name repeated in evaluation order: {}", name.value);
                self.refuse(position_of(name.referenced), text, "name it once");
            }
        }
        let files = body.rule_files.into_iter().flatten().flatten();
        let rule_files = files.map(|file| file.value).filter(|file| !file.is_empty()).collect();
        let tests = body.tests.unwrap_or_default();
        let cases = tests.into_iter().map(|case| self.case(case, step_ms)).collect();
        let is_fuzzy = body.fuzzy_compare.unwrap_or(false);
        Plan { rule_files, step_ms, order, is_fuzzy, cases }
    }

    /// A test. Fields it should not have are a fault of the file; whatever else is wrong is its own.
    fn case(&mut self, body: Spanned<CaseBody>, step_ms: i64) -> Case {
        let position = position_of(body.referenced);
        let body = body.value;
        self.unknown("test", position, &body.unknown, &CASE);
        self.inner_unknown(&body);
        let of_file = std::mem::take(&mut self.problems);
        let interval_ms = self.length(body.interval.as_ref()).filter(|ms| *ms > 0);
        let start_ms = self.start(body.start_timestamp.as_ref());
        let mut case = Case {
            name: text(body.name),
            position,
            interval_ms: interval_ms.unwrap_or(step_ms),
            start_ms,
            external_labels: pairs(body.external_labels.as_ref()).collect(),
            external_url: text(body.external_url),
            series: self.series(body.input_series),
            alerts: Vec::new(),
            exprs: Vec::new(),
            problems: Vec::new(),
        };
        for check in body.alert_rule_test.into_iter().flatten() {
            case.alerts.extend(self.alert_check(check));
        }
        for check in body.promql_expr_test.into_iter().flatten() {
            case.exprs.extend(self.expr_check(check));
        }
        if super::last_check_ms(&case) / step_ms >= STEPS_MAX {
            let text = format!("the test has more than {STEPS_MAX} evaluations");
            self.refuse(position, text, "raise evaluation_interval or check earlier");
        }
        case.problems = std::mem::replace(&mut self.problems, of_file);
        case
    }

    fn inner_unknown(&mut self, body: &CaseBody) {
        for series in body.input_series.iter().flatten() {
            let at = position_of(series.referenced);
            self.unknown("series", at, &series.value.unknown, &["series", "values"]);
        }
        for check in body.alert_rule_test.iter().flatten() {
            let known = ["eval_time", "alertname", "exp_alerts"];
            self.unknown(
                "alert check",
                position_of(check.referenced),
                &check.value.unknown,
                &known,
            );
            for alert in check.value.exp_alerts.iter().flatten() {
                let known = ["exp_labels", "exp_annotations"];
                let at = position_of(alert.referenced);
                self.unknown("expected alert", at, &alert.value.unknown, &known);
            }
        }
        for check in body.promql_expr_test.iter().flatten() {
            let known = ["expr", "eval_time", "exp_samples"];
            let at = position_of(check.referenced);
            self.unknown("expression check", at, &check.value.unknown, &known);
            for sample in check.value.exp_samples.iter().flatten() {
                let known = ["labels", "value", "histogram"];
                let at = position_of(sample.referenced);
                self.unknown("expected sample", at, &sample.value.unknown, &known);
            }
        }
    }

    fn length(&mut self, written: Option<&Scalar>) -> Option<i64> {
        let written = written.filter(|w| !w.value.is_empty())?;
        let ms = duration::parse_ms(&written.value);
        if ms.is_none() {
            let text = format!("not a valid duration string: {:?}", written.value);
            self.refuse(position_of(written.referenced), text, "write it like 30s, 5m or 1h30m");
        }
        ms
    }

    fn start(&mut self, written: Option<&Scalar>) -> i64 {
        let Some(written) = written.filter(|w| !w.value.is_empty()) else { return 0 };
        let seconds = parse_number(&written.value).filter(|s| s.abs() < 1e12);
        let ms = seconds.map(|s| query::promql::number::to_i64((s * 1_000.0).round()));
        let date = || chrono::DateTime::parse_from_rfc3339(&written.value).ok();
        ms.or_else(|| date().map(|at| at.timestamp_millis())).unwrap_or_else(|| {
            let text = format!("start_timestamp {:?} is no time", written.value);
            let remedy = "write seconds since the epoch, or RFC 3339 as 2026-01-02T03:04:05Z";
            self.refuse(position_of(written.referenced), text, remedy);
            0
        })
    }

    fn series(
        &mut self,
        bodies: Option<Vec<Spanned<SeriesBody>>>,
    ) -> BTreeMap<query::promql::Labels, Vec<Option<Described>>> {
        let mut all = BTreeMap::new();
        for body in bodies.into_iter().flatten() {
            let position = position_of(body.referenced);
            let (name, values) = (text(body.value.series), text(body.value.values));
            match parse_series(&format!("{name} {values}")) {
                Ok(described) => {
                    all.insert(described.labels, described.values);
                }
                Err(error) => {
                    let text = format!("series {name:?} with values {values:?}: {error}");
                    self.refuse(position, text, "");
                }
            }
        }
        all
    }

    fn alert_check(&mut self, body: Spanned<AlertBody>) -> Option<AlertCheck> {
        let position = position_of(body.referenced);
        let body = body.value;
        let at_ms = self.length(body.eval_time.as_ref()).unwrap_or(0);
        let name = text(body.alertname);
        if name.is_empty() {
            let text = format!(
                "an item under alert_rule_test misses required attribute alertname at eval_time {}",
                duration::text(at_ms)
            );
            self.refuse(position, text, "name the alert that is checked");
            return None;
        }
        let alertname = ("alertname".to_owned(), name.clone());
        let expected = body.exp_alerts.into_iter().flatten().map(|alert| {
            let labels = pairs(alert.value.exp_labels.as_ref()).chain([alertname.clone()]);
            (labels.collect(), pairs(alert.value.exp_annotations.as_ref()).collect())
        });
        let mut expected: Vec<(Labels, Labels)> = expected.collect();
        expected.sort();
        Some(AlertCheck { position, at_ms, name, expected })
    }

    fn expr_check(&mut self, body: Spanned<ExprBody>) -> Option<ExprCheck> {
        let position = position_of(body.referenced);
        let body = body.value;
        let at_ms = self.length(body.eval_time.as_ref()).unwrap_or(0);
        let samples = body.exp_samples.into_iter().flatten();
        let expected: Option<Vec<_>> = samples.map(|sample| self.sample(sample)).collect();
        Some(ExprCheck { position, at_ms, expr: text(body.expr), expected: expected? })
    }

    fn sample(&mut self, body: Spanned<SampleBody>) -> Option<(query::promql::Labels, Described)> {
        let position = position_of(body.referenced);
        let written = text(body.value.labels);
        let labels = match parse_metric(&written) {
            Ok((labels, rest)) if rest.trim().is_empty() => Ok(labels),
            Ok((_, rest)) => Err(format!("unexpected {:?}", rest.trim())),
            Err(error) => Err(error),
        };
        let reading = match body.value.histogram.filter(|h| !h.value.is_empty()) {
            Some(histogram) => expected_histogram(&histogram.value),
            None => body.value.value.map_or(Ok(0.0), |v| number(&v.value)).map(Described::from),
        };
        let labels = labels.map_err(|error| format!("labels {written:?}: {error}"));
        match labels.and_then(|labels| Ok((labels, reading?))) {
            Ok(sample) => Some(sample),
            Err(error) => {
                let remedy = "labels are written as in PromQL: '{}' or 'up{job=\"a\"}'";
                self.refuse(position, error, remedy);
                None
            }
        }
    }
}

fn expected_histogram(written: &str) -> Result<Described, String> {
    let values = parse_values(written).map_err(|e| format!("histogram {written:?}: {e}"))?;
    match <[Option<Described>; 1]>::try_from(values) {
        Ok([Some(value)]) if matches!(value.reading, Reading::Histogram(_)) => Ok(value),
        Ok(_) => Err(format!("expected a histogram, got {written:?}")),
        Err(values) => Err(format!("expected 1 histogram, got {} values", values.len())),
    }
}

/// A number as YAML or PromQL writes it.
fn number(written: &str) -> Result<f64, String> {
    let plain = written.trim().replace('_', "").to_lowercase();
    let plain = match plain.as_str() {
        "" | "null" | "~" => "0",
        ".inf" | "+.inf" => "Inf",
        "-.inf" => "-Inf",
        ".nan" => "NaN",
        other => other,
    };
    parse_number(plain).ok_or_else(|| format!("value {written:?} is not a number"))
}

fn text(scalar: Option<Scalar>) -> String {
    scalar.map_or_else(String::new, |scalar| scalar.value)
}

fn pairs(pairs: Option<&Pairs>) -> impl Iterator<Item = (String, String)> + '_ {
    let pairs = pairs.map_or(&[][..], |pairs| &pairs.0);
    pairs.iter().map(|(name, value)| {
        (name.value.clone(), value.as_ref().map_or_else(String::new, |v| v.value.clone()))
    })
}
