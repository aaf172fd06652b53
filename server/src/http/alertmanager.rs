//! What Alertmanager's API v2 tells, read from our own alerts: for amtool, karma and Grafana. Nothing can be posted, and
//! there are no silences yet.
//!
//! Source: <https://github.com/prometheus/alertmanager>, `api/v2/openapi.yaml`, version 0.28.

use std::collections::BTreeMap;
use std::sync::Arc;

use alert::{AlertStatus, GroupStatus};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use model::alert::AlertState;
use model::matcher::{MatchOp, Matcher};
use model::metric::Labels;
use model::time::Timestamp;
use query::promql::matchers::Compiled;
use query::promql::{Expr, parse_syntax};
use serde_json::{Value, json};

use super::prometheus::Params;
use super::{App, object};

/// What alerts are grouped by: we do not group, so each rule is a group of its own.
const GROUP_BY: &str = "alertname";

/// The routes, without their prefix.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/status", get(status))
        .route("/receivers", get(receivers))
        .route("/alerts", get(alerts))
        .route("/alerts/groups", get(groups))
        .route("/silences", get(silences))
        .fallback(no_such_route)
        .method_not_allowed_fallback(read_only)
}

/// Errors of this API are a JSON string.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<super::PrometheusFailure> for Failure {
    fn from(failure: super::PrometheusFailure) -> Self {
        Self(StatusCode::BAD_REQUEST, failure.to_string())
    }
}

fn wrong(words: impl Into<String>) -> Failure {
    Failure(StatusCode::BAD_REQUEST, words.into())
}

async fn no_such_route() -> StatusCode {
    StatusCode::NOT_FOUND
}

async fn read_only() -> Failure {
    let words = "this API only tells: alerts come from rules, and there are no silences yet";
    Failure(StatusCode::METHOD_NOT_ALLOWED, words.to_owned())
}

async fn status(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "cluster": {"status": "disabled", "peers": []},
        "versionInfo": {
            "version": "0.28.0",
            "revision": "",
            "branch": format!("headrope-{}", env!("CARGO_PKG_VERSION")),
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
        "config": {"original": app.settings.yaml},
        "uptime": app.started.to_string(),
    }))
}

async fn receivers(State(app): State<Arc<App>>) -> Json<Value> {
    let names = app.notifier.receivers();
    Json(names.into_iter().map(|name| json!({"name": name})).collect())
}

async fn silences() -> Json<Value> {
    Json(json!([]))
}

async fn alerts(State(app): State<Arc<App>>, params: Params) -> Result<Json<Value>, Failure> {
    let wanted = Wanted::new(&app, &params).await?;
    let status = app.alerts.status();
    let shown = firing(&status.groups).filter_map(|found| wanted.show(&app, found));
    Ok(Json(shown.collect()))
}

async fn groups(State(app): State<Arc<App>>, params: Params) -> Result<Json<Value>, Failure> {
    let wanted = Wanted::new(&app, &params).await?;
    let status = app.alerts.status();
    let mut groups: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for found in firing(&status.groups) {
        let Some(alert) = wanted.show(&app, found) else { continue };
        for receiver in alert["receivers"].as_array().into_iter().flatten() {
            let receiver = receiver["name"].as_str().unwrap_or_default().to_owned();
            let name = found.alert.labels.value(GROUP_BY).unwrap_or_default().to_owned();
            groups.entry((name, receiver)).or_default().push(alert.clone());
        }
    }
    let group = |((name, receiver), alerts): ((String, String), Vec<Value>)| json!({"labels": {GROUP_BY: name}, "receiver": {"name": receiver}, "alerts": alerts});
    Ok(Json(groups.into_iter().map(group).collect()))
}

/// A firing alert and the group of its rule.
#[derive(Clone, Copy)]
struct Found<'a> {
    alert: &'a AlertStatus,
    group: &'a GroupStatus,
}

fn firing(groups: &[GroupStatus]) -> impl Iterator<Item = Found<'_>> {
    groups.iter().flat_map(|group| {
        let alerts = group.rules.iter().flat_map(|rule| &rule.active);
        let alerts = alerts.filter(|alert| alert.state == AlertState::Firing);
        alerts.map(move |alert| Found { alert, group })
    })
}

/// Which alerts are asked for. Every one of ours is active: nothing silences or inhibits.
struct Wanted {
    active: bool,
    filters: Vec<(String, Compiled)>,
    receiver: Option<Compiled>,
}

impl Wanted {
    async fn new(app: &App, params: &Params) -> Result<Self, Failure> {
        let mut filters = Vec::new();
        for text in params.all("filter") {
            let parsed = parse_syntax(&selector(&text));
            let parsed = parsed.map_err(|_| wrong(format!("bad matcher format: {text}")))?;
            let Expr::Vector(selector) = parsed else {
                return Err(wrong(format!("bad matcher format: {text}")));
            };
            filters.extend(selector.all_matchers());
        }
        let receiver = params.first("receiver");
        let receiver = receiver.map(|text| Matcher::new("receiver", MatchOp::Regex, text));
        let sets = vec![filters, receiver.into_iter().collect()];
        let compiled = app.engine.compiled(sets).await.map_err(|error| wrong(error.to_string()))?;
        let mut compiled = compiled.into_iter();
        let filters = compiled.next().unwrap_or_default();
        let receiver = compiled.next().unwrap_or_default().pop().map(|(_, test)| test);
        let active = params.first("active").is_none() || params.flag("active")?;
        Ok(Self { active, filters, receiver })
    }

    /// The alert as this API shows it, if it is asked for.
    fn show(&self, app: &App, found: Found<'_>) -> Option<Value> {
        let (labels, annotations) = (&found.alert.labels, &found.alert.annotations);
        let receivers = app.notifier.receivers_of(labels);
        let is_received = |wanted: &Compiled| receivers.iter().any(|name| wanted.matches(name));
        let fits = self
            .filters
            .iter()
            .all(|(name, test)| test.matches(labels.value(name).unwrap_or_default()));
        if !self.active || !fits || !self.receiver.as_ref().is_none_or(is_received) {
            return None;
        }
        let group = found.group;
        let evaluated = group.last_evaluation.unwrap_or(found.alert.active_at);
        // As a Prometheus sends it: good for four evaluations.
        let ends = i64::try_from(4 * group.interval.as_nanos()).unwrap_or(i64::MAX);
        Some(json!({
            "annotations": object(annotations.iter()),
            "labels": object(labels.iter()),
            "startsAt": found.alert.fired_at.unwrap_or(found.alert.active_at).to_string(),
            "updatedAt": evaluated.to_string(),
            "endsAt": Timestamp(evaluated.0.saturating_add(ends)).to_string(),
            "fingerprint": fingerprint(labels),
            "receivers": receivers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
            "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
            "generatorURL": "",
        }))
    }
}

/// A matcher as a PromQL selector; Alertmanager takes values without quotes as well.
fn selector(matcher: &str) -> String {
    let quoted = |(name, op, value): (&str, &str, &str)| {
        let value = value.trim();
        let is_bare = !value.starts_with('"') && !value.ends_with('"');
        let value = if is_bare { query::promql::number::quote(value) } else { value.to_owned() };
        format!("{{{}{op}{value}}}", name.trim())
    };
    let split = |op| matcher.split_once(op).map(|(name, value)| (name, op, value));
    // The operator that stands first is meant; of those that begin alike the longer.
    let found = ["=~", "!~", "!=", "="].into_iter().filter_map(split);
    found.min_by_key(|(name, ..)| name.len()).map_or_else(|| format!("{{{matcher}}}"), quoted)
}

/// FNV-1a over names and values, each followed by a byte that no text has: other tools have the same.
fn fingerprint(labels: &Labels) -> String {
    let mut pairs: Vec<(&str, &str)> = labels.iter().collect();
    pairs.sort_unstable();
    let texts = pairs.iter().flat_map(|(name, value)| [name, value]);
    let bytes = texts.flat_map(|text| text.bytes().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_need_no_quotes() {
        for (matcher, wanted) in [
            ("alertname=Seldom", r#"{alertname="Seldom"}"#),
            ("a =~ \"x=.*\"", r#"{a=~"x=.*"}"#),
            ("a!=b=c", r#"{a!="b=c"}"#),
            ("a=~b\\d", r#"{a=~"b\\d"}"#),
            ("nonsense", "{nonsense}"),
        ] {
            assert_eq!(selector(matcher), wanted);
        }
    }

    #[test]
    fn fingerprints_are_those_of_other_tools() {
        let empty: Labels = std::iter::empty::<(String, String)>().collect();
        assert_eq!(fingerprint(&empty), "cbf29ce484222325");
        let one: Labels = [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]
            .into_iter()
            .collect();
        let same: Labels = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]
            .into_iter()
            .collect();
        assert_eq!(fingerprint(&one), fingerprint(&same));
    }
}
