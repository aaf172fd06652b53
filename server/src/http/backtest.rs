//! `POST rules/backtest`: when rules would have fired. Nothing is written, and nobody is told.

use std::sync::Arc;

use alert::Past;
use alert::backtest::{self, Outcome};
use alert::rule::{Group, Kind};
use api::backtest::{Backtest, BacktestQuery, Episode, RuleBacktest};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use model::time::Timestamp;
use query::Origin;
use query::promql::number::api_text;
use tokio::time::Instant;

use super::error::Failure;
use super::{App, object};

pub(crate) async fn backtest(
    State(app): State<Arc<App>>,
    asked: Result<Json<BacktestQuery>, JsonRejection>,
) -> Result<Json<Backtest>, Failure> {
    let Json(asked) = asked?;
    if asked.from_ms >= asked.to_ms {
        return Err(Failure::invalid(
            "the time ends before it begins: from_ms must be less than to_ms",
        ));
    }
    let file = asked.file.as_deref().unwrap_or("backtest.yaml");
    let config = app.alerts.config();
    let groups = alert::rule::parse_with(&asked.rules, file, &config.rule_options());
    let groups = groups.map_err(|problems| Failure::invalid(problems.to_string()))?;
    let range = (Timestamp::from_ms(asked.from_ms), Timestamp::from_ms(asked.to_ms));
    let origin = Origin::Http {
        client: String::new(),
        method: "POST".to_owned(),
        path: "/api/headrope/v1/rules/backtest".to_owned(),
    };
    let past = Past { engine: &app.engine, origin };
    let mut answer = Backtest { from_ms: asked.from_ms, to_ms: asked.to_ms, rules: Vec::new() };
    for (group, rule) in chosen(groups, &asked)? {
        let begun = Instant::now();
        let outcome = backtest::backtest(&group, rule, range, (&past, config)).await;
        let (outcome, _) = outcome.map_err(Failure::invalid)?;
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        answer.rules.push(shown(&group, rule, (outcome, took_ms)));
    }
    Ok(Json(answer))
}

/// The rules that are asked about.
fn chosen(groups: Vec<Group>, asked: &BacktestQuery) -> Result<Vec<(Arc<Group>, usize)>, Failure> {
    let is_wanted = |group: &Group| asked.group.as_ref().is_none_or(|name| *name == group.name);
    let mut rules = Vec::new();
    for group in groups.into_iter().filter(is_wanted).map(Arc::new) {
        match asked.rule {
            Some(rule) => rules.push((group, rule)),
            None => {
                let alerting = group.rules.iter().enumerate();
                let alerting = alerting.filter(|(_, rule)| matches!(rule.kind, Kind::Alert(_)));
                rules.extend(alerting.map(|(rule, _)| (Arc::clone(&group), rule)));
            }
        }
    }
    if rules.is_empty() {
        let text = match &asked.group {
            Some(name) => format!("the file has no group {name:?} with a rule that alerts"),
            None => "the file has no rule that alerts".to_owned(),
        };
        return Err(Failure::invalid(text));
    }
    Ok(rules)
}

fn shown(group: &Group, rule: usize, (outcome, took_ms): (Outcome, u64)) -> RuleBacktest {
    let own = &group.rules[rule];
    let (failures, error) = outcome.failed.unzip();
    RuleBacktest {
        group: group.name.clone(),
        rule,
        name: own.name.clone(),
        expr: own.expr.to_string(),
        interval_s: group.interval.as_secs_f64(),
        evaluations: outcome.n_slots,
        fired: outcome.n_fired,
        at_once: outcome.n_at_once,
        firing_ms: outcome.firing_ns / 1_000_000,
        longest_ms: outcome.longest_ns / 1_000_000,
        episodes: outcome.episodes.into_iter().map(episode).collect(),
        failures: failures.unwrap_or_default(),
        error,
        notes: outcome.notes,
        took_ms,
    }
}

fn episode(one: backtest::Episode) -> Episode {
    Episode {
        labels: object(one.labels.iter()),
        annotations: object(one.annotations.iter()),
        active_ms: one.active_at.ms(),
        fired_ms: one.fired_at.ms(),
        resolved_ms: one.resolved_at.map(Timestamp::ms),
        value: api_text(one.value),
        cause: one.cause.word().to_owned(),
    }
}
