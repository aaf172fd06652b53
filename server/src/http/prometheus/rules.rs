//! `rules` and `alerts` in upstream's shapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use alert::{AlertStatus, GroupStatus, RuleStatus};
use axum::extract::State;
use axum::response::Response;
use model::alert::AlertState;
use model::metric::Labels;
use model::time::Timestamp;
use query::CompiledSet;
use serde_json::{Value, json};

use super::answer::Failure;
use super::params::Params;
use super::{App, ok};

/// Upstream's text for "never evaluated": Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Which rules are asked for; empty lists ask for all.
struct Wanted {
    alerting: Option<bool>,
    files: Vec<String>,
    groups: Vec<String>,
    rules: Vec<String>,
    /// One of these sets must match the rule's labels.
    labels: Vec<CompiledSet>,
}

impl Wanted {
    async fn new(app: &App, params: &Params) -> Result<Self, Failure> {
        let alerting = match params.first("type").map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("alert") => Some(true),
            Some("record") => Some(false),
            Some(other) => {
                return Err(Failure::parameter("type", &format!("not supported value {other:?}")));
            }
        };
        let labels = app.engine.compiled(params.matchers(&app.engine).await?).await;
        Ok(Self {
            alerting,
            files: params.all("file[]"),
            groups: params.all("rule_group[]"),
            rules: params.all("rule_name[]"),
            labels: labels.map_err(|error| Failure::of_parameter("match[]", error))?,
        })
    }

    fn has_group(&self, group: &GroupStatus) -> bool {
        fits(&self.files, &group.file) && fits(&self.groups, &group.name)
    }

    fn has_rule(&self, rule: &RuleStatus) -> bool {
        let label = |name: &str| {
            let found = rule.labels.iter().find(|(known, _)| known == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let fits_labels = self.labels.is_empty()
            || self
                .labels
                .iter()
                .any(|set| set.iter().all(|(name, test)| test.matches(label(name))));
        self.alerting.is_none_or(|alerting| alerting == rule.alerts)
            && fits(&self.rules, &rule.name)
            && fits_labels
    }
}

fn fits(list: &[String], name: &String) -> bool {
    list.is_empty() || list.contains(name)
}

/// Where a page of groups begins and how long it is.
struct Page {
    limit: usize,
    token: Option<String>,
}

impl Page {
    fn new(params: &Params) -> Result<Self, Failure> {
        let token = params.first("group_next_token").map(str::to_owned);
        let limit = match params.first("group_limit") {
            None if token.is_some() => {
                let words = "group_limit needs to be present in order to paginate over the groups";
                return Err(Failure::parameter("group_limit", words));
            }
            None => usize::MAX,
            Some(text) => text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| {
                Failure::parameter("group_limit", "group_limit needs to be a number greater than 0")
            })?,
        };
        Ok(Self { limit, token })
    }

    /// The groups of this page, and the token of the next one.
    fn cut<'a>(
        &self,
        groups: Vec<&'a GroupStatus>,
    ) -> Result<(Vec<&'a GroupStatus>, Option<String>), Failure> {
        let start = match &self.token {
            None => 0,
            Some(token) => groups.iter().position(|g| token_of(g) == *token).ok_or_else(|| {
                let words = "no group has this token: the rules may have changed, begin anew";
                Failure::parameter("group_next_token", words)
            })?,
        };
        let next = start.saturating_add(self.limit);
        let token = groups.get(next).copied().map(token_of);
        Ok((groups.into_iter().skip(start).take(self.limit).collect(), token))
    }
}

/// Names a group in a page's address (FNV-1a of file and name).
fn token_of(group: &GroupStatus) -> String {
    let bytes = group.file.bytes().chain([0]).chain(group.name.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

pub(super) async fn rules(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let (wanted, page) = (Wanted::new(&app, &params).await?, Page::new(&params)?);
    let no_alerts = params.flag("exclude_alerts")?;
    let status = app.alerts.status();
    let mut groups: Vec<&GroupStatus> =
        status.groups.iter().filter(|group| wanted.has_group(group)).collect();
    groups.retain(|group| group.rules.iter().any(|rule| wanted.has_rule(rule)));
    groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    let (groups, next) = page.cut(groups)?;
    let shown = groups.into_iter().map(|group| {
        let rules = group.rules.iter().filter(|rule| wanted.has_rule(rule));
        self::group(group, rules.map(|r| rule(r, no_alerts)).collect())
    });
    let mut data = json!({"groups": shown.collect::<Vec<_>>()});
    if let Some(next) = next {
        data["groupNextToken"] = json!(next);
    }
    Ok(ok(data))
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
