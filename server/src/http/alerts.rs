//! `GET alerts`: rules with their states, and what was sent to whom.

use std::sync::Arc;

use action::DeliveryStatus as Sent;
use api::alert::{Alert, Alerts, Delivery, DeliveryStatus, Group, Health, Rule, RuleKind};
use axum::Json;
use axum::extract::State;
use model::metric::Labels;
use model::time::Timestamp;
use query::promql::number::api_text;

use super::App;

/// Latest deliveries answered.
const DELIVERIES_MAX: usize = 100;

pub(crate) async fn alerts(State(app): State<Arc<App>>) -> Json<Alerts> {
    Json(Alerts {
        groups: app.alerts.status().groups.iter().map(group).collect(),
        deliveries: app.notifier.deliveries(DELIVERIES_MAX).into_iter().map(delivery).collect(),
    })
}

fn group(group: &alert::GroupStatus) -> Group {
    Group {
        name: group.name.clone(),
        file: group.file.clone(),
        interval_s: group.interval.as_secs_f64(),
        rules: group.rules.iter().map(rule).collect(),
    }
}

fn rule(rule: &alert::RuleStatus) -> Rule {
    Rule {
        name: rule.name.clone(),
        kind: if rule.alerts { RuleKind::Alerting } else { RuleKind::Recording },
        expr: rule.expr.clone(),
        for_s: rule.hold.as_secs_f64(),
        state: rule_state(rule),
        no_data_since_ms: no_data_since(rule).map(Timestamp::ms),
        health: match rule.health {
            alert::Health::Unknown => Health::Unknown,
            alert::Health::Ok => Health::Ok,
            alert::Health::Err => Health::Err,
        },
        last_error: rule.last_error.clone(),
        last_evaluation_ms: rule.last_evaluation.map(Timestamp::ms),
        labels: rule.labels.iter().cloned().collect(),
        annotations: rule.annotations.iter().cloned().collect(),
        alerts: rule.active.iter().map(alert).collect(),
    }
}

/// An alert that is held for want of data is neither firing nor over.
fn alert_state(alert: &alert::AlertStatus) -> api::alert::State {
    match alert.no_data_since {
        Some(_) => api::alert::State::NoData,
        None => alert.state.into(),
    }
}

/// The highest state of its alerts; missing data stands between pending and firing.
pub(super) fn rule_state(rule: &alert::RuleStatus) -> api::alert::State {
    let states = rule.active.iter().map(alert_state);
    let states = states.filter(|state| *state != api::alert::State::Resolved);
    let own = rule.no_data_since.map(|_| api::alert::State::NoData);
    states.chain(own).max().unwrap_or(api::alert::State::Inactive)
}

fn no_data_since(rule: &alert::RuleStatus) -> Option<Timestamp> {
    rule.active.iter().filter_map(|alert| alert.no_data_since).chain(rule.no_data_since).min()
}

fn alert(alert: &alert::AlertStatus) -> Alert {
    let map = |labels: &Labels| {
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    Alert {
        labels: map(&alert.labels),
        annotations: map(&alert.annotations),
        state: alert_state(alert),
        no_data_since_ms: alert.no_data_since.map(Timestamp::ms),
        active_ms: alert.active_at.ms(),
        value: api_text(alert.value),
    }
}

fn delivery(delivery: action::Delivery) -> Delivery {
    Delivery {
        id: delivery.id,
        receiver: delivery.receiver,
        rule: delivery.rule,
        state: delivery.state.into(),
        status: match delivery.status {
            Sent::Pending => DeliveryStatus::Pending,
            Sent::Delivered => DeliveryStatus::Delivered,
            Sent::Refused | Sent::Expired | Sent::Gone | Sent::Dropped => DeliveryStatus::Failed,
        },
        attempts: delivery.attempts,
        last_error: delivery.last_error,
        at_ms: delivery.finished_at.unwrap_or(delivery.accepted_at).ms(),
    }
}
