//! `GET slos`: objectives with what is left of their budgets, from what their rules have recorded.

use std::collections::HashMap;
use std::sync::Arc;

use alert::slo::Slo;
use api::alert::State;
use api::slo::{Slos, Tier};
use axum::Json;
use axum::extract::State as Shared;
use query::InstantQuery;
use query::promql::{Reading, Value};

use super::App;
use super::alerts::rule_state;
use super::error::Failure;

/// Everything that is recorded by window, and the budget.
const RECORDED: &str = r#"{__name__=~"slo:(burn_rate|burn_rate_low|error_ratio|events:window|bad_events:window|budget_remaining)"}"#;

/// Values by series: name, objective, window.
type Recorded = HashMap<(String, String, String), f64>;

pub(crate) async fn slos(Shared(app): Shared<Arc<App>>) -> Result<Json<Slos>, Failure> {
    let slos = app.alerts.slos();
    let recorded = if slos.is_empty() { Recorded::new() } else { recorded(&app).await? };
    let states = states(&app);
    let mut slos: Vec<api::slo::Slo> =
        slos.iter().map(|slo| told(slo, &recorded, &states)).collect();
    slos.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(Slos { slos }))
}

async fn recorded(app: &App) -> Result<Recorded, Failure> {
    let query = InstantQuery {
        expr: RECORDED.to_owned(),
        at_ms: app.clock.now().ms(),
        ..InstantQuery::default()
    };
    let answer = app.engine.instant(query).await?;
    let Value::Vector(samples) = answer.value else { return Ok(Recorded::new()) };
    let row = |sample: query::promql::Sample| {
        let Reading::Float(value) = sample.reading else { return None };
        let label = |name: &str| sample.labels.value(name).to_owned();
        Some(((label("__name__"), label("slo"), label("window")), value))
    };
    Ok(samples.into_iter().filter_map(row).collect())
}

/// How each alert stands, by objective and name.
fn states(app: &App) -> HashMap<(String, String), State> {
    let status = app.alerts.status();
    let rules = status.groups.iter().flat_map(|group| &group.rules).filter(|rule| rule.alerts);
    let of = |rule: &alert::RuleStatus| {
        let (_, slo) = rule.labels.iter().find(|(name, _)| name == "slo")?;
        Some(((slo.clone(), rule.name.clone()), rule_state(rule)))
    };
    rules.filter_map(of).collect()
}

fn told(
    slo: &Slo,
    recorded: &Recorded,
    states: &HashMap<(String, String), State>,
) -> api::slo::Slo {
    let value = |name: &str, window: &str| {
        let key = (name.to_owned(), slo.name.clone(), window.to_owned());
        recorded.get(&key).copied().filter(|value| value.is_finite())
    };
    let period = alert::slo::window_text(slo.period);
    let tier = |tier: alert::slo::Tier| {
        let burn = if tier.severity == "ticket" { "slo:burn_rate" } else { "slo:burn_rate_low" };
        let (long, short) =
            (alert::slo::window_text(tier.long), alert::slo::window_text(tier.short));
        let key = (slo.name.clone(), tier.alert.to_owned());
        Tier {
            alert: tier.alert.to_owned(),
            severity: tier.severity.to_owned(),
            burn_long: value(burn, &long),
            burn_short: value(burn, &short),
            long,
            short,
            threshold: tier.burn,
            state: states.get(&key).copied().unwrap_or_default(),
        }
    };
    api::slo::Slo {
        name: slo.name.clone(),
        description: slo.description.clone(),
        service: slo.service.clone(),
        file: slo.file.clone(),
        labels: slo.labels.iter().cloned().collect(),
        objective: slo.objective,
        events: value("slo:events:window", &period),
        bad_events: value("slo:bad_events:window", &period),
        error_ratio: value("slo:error_ratio", &period),
        budget_remaining: value("slo:budget_remaining", ""),
        tiers: alert::slo::tiers(slo).into_iter().map(tier).collect(),
        period,
    }
}
