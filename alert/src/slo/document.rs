//! The YAML of objectives as it stands, and every check of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;
use template::duration;

use super::window;
use super::{Indicator, Slo};
use crate::rule::{FILE_BYTES_MAX, Position, Problem, Problems};
use crate::yaml::{self, Pairs, Scalar, Unknown, byte_of, position_of, problem};

/// The page that describes the format.
const GUIDE: &str = "slos.md";
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Longest period: what is older is seldom kept.
const PERIOD_MAX: Duration = Duration::from_secs(90 * 24 * 3_600);
/// The page's short window must hold some buckets.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

const DOCUMENT: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
const METADATA: [&str; 2] = ["name", "labels"];
const SPEC: [&str; 8] =
    ["description", "service", "objective", "period", "interval", "delay", "indicator", "alerts"];
const INDICATOR: [&str; 2] = ["ratio", "latency"];
const RATIO: [&str; 3] = ["good", "bad", "total"];
const LATENCY: [&str; 3] = ["histogram", "selector", "under"];
const ALERTS: [&str; 3] = ["page", "ticket", "action"];

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(rename = "apiVersion")]
    api_version: Option<Scalar>,
    kind: Option<Scalar>,
    metadata: Option<Spanned<Metadata>>,
    spec: Option<Spanned<Spec>>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: Option<Scalar>,
    labels: Option<Pairs>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct Spec {
    description: Option<Scalar>,
    service: Option<Scalar>,
    objective: Option<Scalar>,
    period: Option<Scalar>,
    interval: Option<Scalar>,
    delay: Option<Scalar>,
    indicator: Option<Spanned<IndicatorBody>>,
    alerts: Option<Spanned<AlertsBody>>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct IndicatorBody {
    ratio: Option<Spanned<RatioBody>>,
    latency: Option<Spanned<LatencyBody>>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct RatioBody {
    good: Option<Scalar>,
    bad: Option<Scalar>,
    total: Option<Scalar>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct LatencyBody {
    histogram: Option<Scalar>,
    selector: Option<Scalar>,
    under: Option<Scalar>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Deserialize)]
struct AlertsBody {
    page: Option<Pairs>,
    ticket: Option<Pairs>,
    action: Option<Pairs>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// The objectives of a file.
pub(super) fn read(text: &str, file: &str) -> Result<Vec<Slo>, Problems> {
    if text.len() > FILE_BYTES_MAX {
        let reason = format!("the file has {} bytes, limit is {FILE_BYTES_MAX}", text.len());
        return Err(Problems(vec![problem(file, Position::default(), reason, "split it")]));
    }
    let (mut slos, mut problems, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for source in documents(text) {
        let mut checker = Checker { source: &source, file, problems: Vec::new() };
        if let Some(slo) = checker.document() {
            if !names.insert(slo.name.clone()) {
                let text = format!("the SLO {:?} is repeated in the same file", slo.name);
                checker.refuse(slo.position, text, "rename one of them");
            }
            slos.push(slo);
        }
        problems.append(&mut checker.problems);
    }
    if problems.is_empty() { Ok(slos) } else { Err(Problems(problems)) }
}

/// Each document that holds something, behind as many empty lines as stand in front of it: places stay what they are.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for (i, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            documents.push("\n".repeat(i + 1));
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    documents.retain(|document| document.lines().any(says));
    documents
}

struct Checker<'a> {
    source: &'a str,
    file: &'a str,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn refuse(&mut self, at: Position, text: impl Into<String>, remedy: &str) {
        self.problems.push(problem(self.file, at, text.into(), remedy));
    }

    fn unknown(&mut self, kind: &str, at: Position, unknown: &Unknown, known: &[&'static str]) {
        let found = yaml::unknown_fields((self.source, self.file), kind, at, (unknown, known));
        self.problems.extend(found);
    }

    fn document(&mut self) -> Option<Slo> {
        let options = serde_saphyr::options! { with_snippet: false };
        let read = serde_saphyr::from_str_with_options::<Spanned<Document>>(self.source, options);
        let document = match read {
            Ok(document) => document,
            Err(error) => {
                let unknown = |_: &str, _: &[&'static str]| ("SLO", String::new());
                let place = (self.source, self.file);
                self.problems.push(yaml::describe(&error, place, GUIDE, unknown));
                return None;
            }
        };
        let at = position_of(document.referenced);
        let document = document.value;
        self.unknown("SLO", at, &document.unknown, &DOCUMENT);
        self.is_word(("apiVersion", document.api_version.as_ref()), "headrope/v1", at);
        self.is_word(("kind", document.kind.as_ref()), "SLO", at);
        let (name, labels) = self.metadata(document.metadata, at);
        let Some(spec) = document.spec else {
            self.refuse(at, "field 'spec' must be set in SLO", "say what shall be reached");
            return None;
        };
        self.spec(spec, at, (name?, labels))
    }

    fn is_word(&mut self, (field, got): (&str, Option<&Scalar>), expected: &str, at: Position) {
        let word = got.map_or("", |got| got.value.as_str());
        if word != expected {
            let at = got.map_or(at, |got| position_of(got.referenced));
            let remedy = format!("write {field}: {expected}");
            self.refuse(at, format!("{field} is {word:?}"), &remedy);
        }
    }

    fn metadata(
        &mut self,
        metadata: Option<Spanned<Metadata>>,
        at: Position,
    ) -> (Option<String>, Vec<(String, String)>) {
        let at = metadata.as_ref().map_or(at, |metadata| position_of(metadata.referenced));
        if let Some(metadata) = &metadata {
            self.unknown("metadata", at, &metadata.value.unknown, &METADATA);
        }
        let labels = metadata.as_ref().and_then(|metadata| metadata.value.labels.as_ref());
        let labels = self.labels(labels);
        let name = metadata.and_then(|metadata| metadata.value.name);
        let name = name.map(|name| name.value).filter(|name| !name.trim().is_empty());
        if name.is_none() {
            self.refuse(at, "an SLO must have a name", "write metadata: {name: …}");
        }
        (name, labels)
    }

    fn labels(&mut self, pairs: Option<&Pairs>) -> Vec<(String, String)> {
        let mut labels = BTreeMap::new();
        for (key, value) in pairs.map_or(&[][..], |pairs| &pairs.0) {
            if ["slo", "window", "__name__", "alertname", ""].contains(&key.value.as_str()) {
                let text = format!("invalid label name: {:?}", key.value);
                self.refuse(position_of(key.referenced), text, "it is given by Headrope itself");
                continue;
            }
            let value = value.as_ref().map_or_else(String::new, |value| value.value.clone());
            labels.insert(key.value.clone(), value);
        }
        labels.into_iter().collect()
    }

    fn spec(
        &mut self,
        spec: Spanned<Spec>,
        position: Position,
        (name, labels): (String, Vec<(String, String)>),
    ) -> Option<Slo> {
        let at = position_of(spec.referenced);
        let spec = spec.value;
        self.unknown("spec", at, &spec.unknown, &SPEC);
        let text = |scalar: Option<Scalar>| scalar.map_or_else(String::new, |text| text.value);
        let objective = self.objective(spec.objective.as_ref(), at);
        let period = self.length("period", spec.period.as_ref(), (DAY, PERIOD_MAX), DAY * 30);
        let second = Duration::from_secs(1);
        let ten = second * 10;
        let interval = self.length("interval", spec.interval.as_ref(), (second, INTERVAL_MAX), ten);
        if !(INTERVAL_MAX.as_millis()).is_multiple_of(interval.as_millis().max(1)) {
            let at = spec.interval.as_ref().map_or(at, |written| position_of(written.referenced));
            self.refuse(at, "a minute is no multiple of the interval", "write 5s, 10s or 30s");
        }
        let delay = self.length("delay", spec.delay.as_ref(), (second, HOUR), second * 5);
        let alerts = self.alerts(spec.alerts);
        let indicator = self.indicator(spec.indicator, at)?;
        Some(Slo {
            file: self.file.to_owned(),
            position,
            name,
            description: text(spec.description),
            service: text(spec.service),
            labels,
            objective: objective?,
            period,
            interval,
            delay,
            indicator,
            alerts,
        })
    }

    fn objective(&mut self, written: Option<&Scalar>, at: Position) -> Option<f64> {
        let Some(written) = written else {
            self.refuse(at, "field 'objective' must be set in spec", "write objective: 99.9%");
            return None;
        };
        let text = written.value.trim();
        let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
        let number = number.filter(|percent| *percent > 0.0 && *percent < 100.0);
        if number.is_none() {
            let text = format!("objective {text:?} is no percentage above 0 and below 100");
            self.refuse(position_of(written.referenced), text, "write it like 99.9%");
        }
        number
    }

    fn length(
        &mut self,
        field: &str,
        written: Option<&Scalar>,
        (min, max): (Duration, Duration),
        default: Duration,
    ) -> Duration {
        let Some(written) = written else { return default };
        let ms = duration::parse_ms(&written.value).and_then(|ms| u64::try_from(ms).ok());
        match ms.map(Duration::from_millis) {
            Some(length) if (min..=max).contains(&length) => length,
            Some(_) => {
                let (min, max) = (window::text_of(min), window::text_of(max));
                let text = format!("{field} {} is not from {min} to {max}", written.value);
                self.refuse(position_of(written.referenced), text, "write one within");
                default
            }
            None => {
                let text = format!("not a valid duration string: {:?}", written.value);
                let remedy = "write it like 30s, 5m or 1h30m";
                self.refuse(position_of(written.referenced), text, remedy);
                default
            }
        }
    }

    fn alerts(&mut self, body: Option<Spanned<AlertsBody>>) -> [Vec<(String, String)>; 3] {
        let Some(body) = body else { return <[Vec<_>; 3]>::default() };
        self.unknown("alerts", position_of(body.referenced), &body.value.unknown, &ALERTS);
        let body = &body.value;
        [&body.page, &body.ticket, &body.action].map(|pairs| self.labels(pairs.as_ref()))
    }

    fn indicator(
        &mut self,
        body: Option<Spanned<IndicatorBody>>,
        at: Position,
    ) -> Option<Indicator> {
        let Some(body) = body else {
            self.refuse(at, "field 'indicator' must be set in spec", "give a ratio or a latency");
            return None;
        };
        let at = position_of(body.referenced);
        self.unknown("indicator", at, &body.value.unknown, &INDICATOR);
        match (body.value.ratio, body.value.latency) {
            (Some(ratio), None) => self.ratio(ratio),
            (None, Some(latency)) => self.latency(latency),
            _ => {
                self.refuse(at, "an indicator is either a ratio or a latency", "give one of them");
                None
            }
        }
    }

    fn ratio(&mut self, body: Spanned<RatioBody>) -> Option<Indicator> {
        let at = position_of(body.referenced);
        let body = body.value;
        self.unknown("ratio", at, &body.unknown, &RATIO);
        let mut expr = |written: Option<Scalar>| {
            let written = written?;
            if let Err((offset, text, remedy)) = window::check(&written.value) {
                let at = match byte_of(written.defined) {
                    Some(start) => crate::rule::inside(self.source, start, &written.value, offset),
                    None => position_of(written.defined),
                };
                self.refuse(at, text, remedy);
            }
            Some(written.value)
        };
        let (good, bad, total) = (expr(body.good), expr(body.bad), expr(body.total));
        match (good, bad, total) {
            (Some(good), None, Some(total)) => Some(Indicator::Good { good, total }),
            (None, Some(bad), Some(total)) => Some(Indicator::Bad { bad, total }),
            _ => {
                let text = "a ratio has the field 'total' and one of 'good' and 'bad'";
                self.refuse(at, text, "count all events, and the good or the bad ones");
                None
            }
        }
    }

    fn latency(&mut self, body: Spanned<LatencyBody>) -> Option<Indicator> {
        let at = position_of(body.referenced);
        let body = body.value;
        self.unknown("latency", at, &body.unknown, &LATENCY);
        let (Some(histogram), Some(under)) = (body.histogram, body.under) else {
            let text = "a latency has the fields 'histogram' and 'under'";
            self.refuse(at, text, "name the histogram and the longest good latency");
            return None;
        };
        let selector = body.selector.as_ref().map_or("", |text| text.value.trim());
        let selector = selector.trim_start_matches('{').trim_end_matches('}').to_owned();
        let name = histogram.value.trim_end_matches("_bucket").to_owned();
        if let Err(error) = query::promql::parse(&format!("{name}_bucket{{{selector}}}")) {
            let place = body.selector.as_ref().unwrap_or(&histogram);
            let text = format!("could not parse the selector: {error}");
            self.refuse(position_of(place.referenced), text, "write it like job=\"shop\"");
        }
        let ms = Duration::from_millis(1);
        let under = self.length("under", Some(&under), (ms, HOUR), ms);
        Some(Indicator::Latency { histogram: name, selector, under })
    }
}
