//! `incidents`: what began with an alert, with its timeline and what was done or refused, in the types of `api`.

use std::sync::Arc;

use action::guard::Outcome;
use action::plan;
use action::run::{self, Need, Payload, State as RunState};
use api::incident::{
    Entry, EntryKind, Held, Incident, IncidentDetail, IncidentState, Incidents, Off, Run,
    RunSummary, Verdict,
};
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use model::time::Timestamp;
use query::promql::{self, Expr};
use serde::Serialize;

use super::App;
use super::error::Failure;

/// Deliveries looked through for the timeline.
const DELIVERIES_MAX: usize = 1_000;

/// Both doors.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/incidents", get(list)).route("/incidents/{id}", get(show))
}

async fn list(State(app): State<Arc<App>>) -> Json<Incidents> {
    let told = app.actions.incidents(|one, runs| {
        let held: Vec<Held> = runs.iter().flat_map(|run| held(run)).collect();
        (incident(one, runs), held)
    });
    let (incidents, held): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    let (off, observe_only) = app.actions.standing();
    let off = off.map(|(freeze, why)| Off { freeze, why });
    let held = held.into_iter().flatten().collect();
    Json(Incidents { incidents, off, observe_only, held })
}

async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<IncidentDetail>, Failure> {
    let mut found = app.actions.incident(&id, |one, runs| IncidentDetail {
        incident: incident(one, runs),
        expr: one.expr.clone(),
        watched: watched(&one.expr).0,
        threshold: watched(&one.expr).1,
        annotations: one.annotations.clone(),
        unknown: one.unknown.clone(),
        timeline: runs.iter().flat_map(|run| arrows(run)).chain(of_alert(one)).collect(),
        runs: runs.iter().map(|run| whole(run)).collect(),
    })?;
    let (pending, messages) = (pending(&app, &found.incident), messages(&app, &found.incident));
    found.timeline.extend(pending.into_iter().chain(messages));
    // Stable: what a run did within one millisecond stays in its order.
    found.timeline.sort_by_key(|entry| entry.at_ms);
    Ok(Json(found))
}

/// What an expression compares, and the number it compares that with.
fn watched(text: &str) -> (String, Option<f64>) {
    let whole = || (text.to_owned(), None);
    let Ok(expr) = promql::parse(text) else { return whole() };
    let Expr::Binary(binary) = expr.bare() else { return whole() };
    if !binary.op.is_comparison() {
        return whole();
    }
    let side = |of: &Expr| text[of.place().start..of.place().end].to_owned();
    let threshold = side(&binary.right).trim().parse().ok();
    (side(&binary.left), threshold)
}

fn ms(ns: i64) -> i64 {
    Timestamp(ns).ms()
}

/// A unit variant as its JSON says it.
fn word(of: impl Serialize) -> String {
    let value = serde_json::to_value(of).ok();
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn incident(one: &plan::Incident, runs: &[&run::Run]) -> Incident {
    let said = one.annotations.get("summary").or_else(|| one.annotations.get("description"));
    let state = match (one.resolved_ns, &one.unknown) {
        (None, _) => IncidentState::Open,
        (Some(_), None) => IncidentState::Resolved,
        (Some(_), Some(_)) => IncidentState::Unknown,
    };
    Incident {
        id: one.id.clone(),
        group: one.group.clone(),
        rule: one.rule.clone(),
        severity: one.labels.get("severity").cloned().unwrap_or_default(),
        summary: said.cloned().unwrap_or_default(),
        state,
        opened_ms: ms(one.opened_ns),
        resolved_ms: one.resolved_ns.map(ms),
        acknowledged_by: one.acknowledged_by.clone(),
        acknowledged_ms: one.acknowledged_ns.map(ms),
        labels: one.labels.clone(),
        runs: runs.iter().map(|run| summary(run)).collect(),
    }
}

fn summary(run: &run::Run) -> RunSummary {
    RunSummary {
        id: run.id.clone(),
        state: word(run.state),
        runbook: run.plan.runbook.clone(),
        target: run.plan.target.name.clone(),
        member: run.plan.member.clone(),
        finding: run.finding.map(word),
        decided_by: run.plan.decided_by.clone(),
        planned_ms: ms(run.planned_ns),
    }
}

fn held(run: &run::Run) -> Vec<Held> {
    let changes = run.held.iter().filter(|_| run.is_holding());
    let one = |change: &plan::Change| Held {
        action: run.id.clone(),
        incident: run.plan.incident.clone(),
        target: run.plan.target.name.clone(),
        member: change.member.clone(),
        field: change.field.clone(),
        value: change.value.clone(),
        before: change.before.clone(),
        until_ms: run.expires_ns().map(ms),
    };
    changes.map(one).collect()
}

fn verdict(one: &action::guard::Verdict) -> Verdict {
    Verdict {
        guard: one.guard.clone(),
        outcome: word(one.outcome),
        observed: one.observed.clone(),
        threshold: one.threshold.clone(),
    }
}

fn whole(run: &run::Run) -> Run {
    let judged = run.arrows.iter().rev().find_map(|arrow| match &arrow.payload {
        Payload::Found(_, judged) => judged.as_ref(),
        _ => None,
    });
    // The guards are asked again when somebody says yes: what they said last counts.
    let again = run.arrows.iter().rev().find_map(|arrow| match &arrow.payload {
        Payload::Verdicts(verdicts) => Some(verdicts),
        _ => None,
    });
    let steps = run.plan.steps.iter().map(|planned| {
        let with = serde_json::to_string(&planned.step.with).unwrap_or_default();
        format!("{} {with}", planned.step.action)
    });
    let success = run.plan.verify.as_ref().map(|verify| verify.success.clone());
    Run {
        summary: summary(run),
        verdicts: again.unwrap_or(&run.plan.verdicts).iter().map(verdict).collect(),
        steps: steps.collect(),
        success,
        observed: judged.map(|judged| judged.observed.clone()),
        held: held(run),
        approved_by: run.approvals.iter().map(|yes| yes.by.clone()).collect(),
        approvals_needed: run.plan.approval.need,
        escalated: needed(run),
        can_approve: run.state == RunState::Awaiting,
        can_revert: !run.state.is_final(),
    }
}

/// What a person is needed for now.
fn needed(run: &run::Run) -> Option<String> {
    let is_open = |call: &&run::Call| {
        !call.ended && (call.need != Need::Approval || run.state == RunState::Awaiting)
    };
    run.calls.iter().rev().find(is_open).map(|call| call.why.clone())
}

fn of_alert(one: &plan::Incident) -> Vec<Entry> {
    let entry = |at_ns: i64, what: &str, text: String| Entry {
        at_ms: ms(at_ns),
        kind: EntryKind::Alert,
        what: what.to_owned(),
        text,
        run: String::new(),
    };
    let mut entries = vec![entry(one.opened_ns, "firing", one.rule.clone())];
    if let (Some(at_ns), Some(by)) = (one.acknowledged_ns, &one.acknowledged_by) {
        let kind = EntryKind::Acknowledgement;
        entries.push(Entry { kind, ..entry(at_ns, by, String::new()) });
    }
    if let Some(at_ns) = one.resolved_ns {
        let what = if one.unknown.is_some() { "unknown" } else { "resolved" };
        entries.push(entry(at_ns, what, one.unknown.clone().unwrap_or_default()));
    }
    entries
}

fn refusal(verdicts: &[action::guard::Verdict]) -> String {
    let no = verdicts.iter().find(|verdict| verdict.outcome == Outcome::Refuse);
    let no = no.or_else(|| verdicts.iter().find(|verdict| verdict.outcome == Outcome::Defer));
    no.map_or_else(String::new, |v| {
        format!("{}: {} (wanted: {})", v.guard, v.observed, v.threshold)
    })
}

/// The plan, approvals and every arrow of a run.
fn arrows(run: &run::Run) -> Vec<Entry> {
    let entry = |at_ns: i64, kind: EntryKind, what: String, text: String| Entry {
        at_ms: ms(at_ns),
        kind,
        what,
        text,
        run: run.id.clone(),
    };
    let said = refusal(&run.plan.verdicts);
    let mut entries = vec![entry(run.planned_ns, EntryKind::Plan, word(run.plan.decision), said)];
    let yes = run.approvals.iter();
    entries.extend(
        yes.map(|yes| entry(yes.at_ns, EntryKind::Approval, yes.by.clone(), String::new())),
    );
    entries.extend(run.arrows.iter().map(|arrow| {
        let more = match &arrow.payload {
            Payload::Pre(_, change) | Payload::Change(change) => {
                format!("{} {} {} -> {}", change.member, change.field, change.before, change.value)
            }
            Payload::Verdicts(verdicts) => refusal(verdicts),
            Payload::Found(_, Some(judged)) => format!("{}: {}", judged.query, judged.observed),
            Payload::None | Payload::Post(_) | Payload::Back(_) | Payload::Found(_, None) => {
                String::new()
            }
        };
        let parts = [arrow.why.clone(), more].into_iter().filter(|part| !part.is_empty());
        let text = parts.collect::<Vec<_>>().join("; ");
        entry(arrow.at_ns, EntryKind::Run, word(arrow.to), text)
    }));
    entries
}

/// When the condition began to hold, while the rule still knows.
fn pending(app: &App, of: &Incident) -> Option<Entry> {
    let status = app.alerts.status();
    let mut groups = status.groups.iter().filter(|group| group.name == of.group);
    let rules = groups.find_map(|group| group.rules.iter().find(|rule| rule.name == of.rule))?;
    let same = |alert: &&alert::AlertStatus| {
        let n_same = alert
            .labels
            .iter()
            .filter(|(name, value)| of.labels.get(*name).is_some_and(|known| known == value));
        n_same.count() == of.labels.len() && alert.labels.iter().count() == of.labels.len()
    };
    let began_ms = rules.active.iter().find(same)?.active_at.ms();
    (began_ms < of.opened_ms).then(|| Entry {
        at_ms: began_ms,
        kind: EntryKind::Alert,
        what: "pending".to_owned(),
        ..Entry::default()
    })
}

/// Messages about the rule that were accepted while the incident was open.
fn messages(app: &App, of: &Incident) -> Vec<Entry> {
    let until_ms = of.resolved_ms.map_or(i64::MAX, |at| at.saturating_add(60_000));
    let sent = app.notifier.deliveries(DELIVERIES_MAX).into_iter();
    let ours = sent.filter(|one| one.rule == of.rule);
    let ours = ours.filter(|one| (of.opened_ms..=until_ms).contains(&one.accepted_at.ms()));
    ours.map(|one| Entry {
        at_ms: one.finished_at.unwrap_or(one.accepted_at).ms(),
        kind: EntryKind::Notification,
        text: format!("{:?}, attempts: {} {}", one.status, one.attempts, one.last_error)
            .trim_end()
            .to_lowercase(),
        what: one.receiver,
        run: String::new(),
    })
    .collect()
}
