//! `rules` and `alerts` in upstream's shapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use alert::{AlertStatus, GroupStatus, RuleStatus};
use axum::extract::State;
use axum::response::Response;
use model::alert::AlertState;
use model::metric::Labels;
use model::time::Timestamp;
use serde_json::{Value, json};

use super::answer::Failure;
use super::params::Params;
use super::{App, ok};

/// Upstream's text for "never evaluated": Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) async fn rules(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let wanted = match params.first("type") {
        None => None,
        Some("alert") => Some(true),
        Some("record") => Some(false),
        Some(other) => {
            return Err(Failure::bad_data(format!(
                "not supported value {other:?} for type parameter"
            )));
        }
    };
    let (files, names) = (params.all("file[]"), params.all("rule_group[]"));
    let (rules, no_alerts) =
        (params.all("rule_name[]"), params.first("exclude_alerts") == Some("true"));
    let fits = |list: &[String], name: &String| list.is_empty() || list.contains(name);
    let status = app.alerts.status();
    let groups = status.groups.iter().filter(|g| fits(&files, &g.file) && fits(&names, &g.name));
    let shown =
        |rule: &&RuleStatus| wanted.is_none_or(|w| w == rule.alerts) && fits(&rules, &rule.name);
    let groups = groups.filter_map(|group| {
        let list: Vec<Value> =
            group.rules.iter().filter(shown).map(|r| rule(r, no_alerts)).collect();
        (!list.is_empty()).then(|| self::group(group, list))
    });
    Ok(ok(json!({"groups": groups.collect::<Vec<_>>()})))
}

pub(super) async fn alerts(State(app): State<Arc<App>>) -> Response {
    let status = app.alerts.status();
    let rules = status.groups.iter().flat_map(|group| &group.rules);
    let active = rules.flat_map(|rule| &rule.active).filter(|alert| is_active(alert));
    ok(json!({"alerts": active.map(alert).collect::<Vec<_>>()}))
}

fn is_active(alert: &AlertStatus) -> bool {
    matches!(alert.state, AlertState::Pending | AlertState::Firing)
}

fn group(group: &GroupStatus, rules: Vec<Value>) -> Value {
    json!({
        "name": group.name,
        "file": group.file,
        "rules": rules,
        "interval": group.interval.as_secs_f64(),
        "limit": group.limit,
        "evaluationTime": group.evaluation_duration.as_secs_f64(),
        "lastEvaluation": time(group.last_evaluation),
    })
}

fn rule(rule: &RuleStatus, no_alerts: bool) -> Value {
    let labels: BTreeMap<_, _> = rule.labels.iter().cloned().collect();
    let mut out = json!({
        "name": rule.name,
        "query": rule.expr,
        "labels": labels,
        "health": rule.health.word(),
        "evaluationTime": rule.evaluation_duration.as_secs_f64(),
        "lastEvaluation": time(rule.last_evaluation),
        "type": if rule.alerts { "alerting" } else { "recording" },
    });
    if !rule.last_error.is_empty() {
        out["lastError"] = json!(rule.last_error);
    }
    if rule.alerts {
        let annotations: BTreeMap<_, _> = rule.annotations.iter().cloned().collect();
        // Upstream knows no resolved rule: it is inactive again.
        out["state"] = json!(match rule.state {
            Some(AlertState::Firing) => "firing",
            Some(AlertState::Pending) => "pending",
            Some(AlertState::Inactive | AlertState::Resolved) => "inactive",
            None => "unknown",
        });
        out["duration"] = json!(rule.hold.as_secs_f64());
        out["keepFiringFor"] = json!(rule.keep_firing.as_secs_f64());
        out["annotations"] = json!(annotations);
        let active = rule.active.iter().filter(|alert| is_active(alert) && !no_alerts);
        out["alerts"] = active.map(alert).collect();
    }
    out
}

fn alert(alert: &AlertStatus) -> Value {
    let map = |labels: &Labels| -> BTreeMap<String, String> {
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let mut out = json!({
        "labels": map(&alert.labels),
        "annotations": map(&alert.annotations),
        "state": alert.state.word(),
        "activeAt": time(Some(alert.active_at)),
        "value": exponent(alert.value),
    });
    if alert.keep_firing_since.is_some() {
        out["keepFiringSince"] = json!(time(alert.keep_firing_since));
    }
    out
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NEVER.to_owned(), |at| at.to_string())
}

/// Go's `e` format: shortest digits, an exponent of at least two.
fn exponent(value: f64) -> String {
    if !value.is_finite() {
        return query::promql::number::api_text(value);
    }
    let text = format!("{value:e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_gos_exponent() {
        for (value, text) in
            [(1.0, "1e+00"), (0.00125, "1.25e-03"), (1e100, "1e+100"), (f64::NAN, "NaN")]
        {
            assert_eq!(exponent(value), text);
        }
    }
}
