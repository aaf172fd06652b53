//! A group at work: its rules with their alerts, what waits to be handed over, and how its evaluations went.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::alert::{AlertState, Transition};
use model::time::Timestamp;
use tokio::sync::Notify;

use crate::codec::{Stored, StoredRule};
use crate::record::Written;
use crate::rule::{Group, Kind, Rule, Text};
use crate::schedule::Slots;
use crate::state::{Instances, Machine, highest};
use crate::status::{AlertStatus, GroupStatus, Health, RuleStatus};

/// A group and what changes about it.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) group: Arc<Group>,
    pub(crate) slots: Slots,
    live: Mutex<Live>,
    /// Rules for which data has arrived since they were evaluated.
    due: Mutex<BTreeSet<usize>>,
    arrived: Notify,
}

/// What changes about a group.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) evaluated_at: Option<Timestamp>,
    /// The last evaluation before this start, as far as was written down.
    pub(crate) restored_from: Option<Timestamp>,
    pub(crate) evaluation_duration: Duration,
    pub(crate) evaluations_total: u64,
    /// Evaluations because data arrived.
    pub(crate) events_total: u64,
    pub(crate) missed_total: u64,
    /// One a rule, in order.
    pub(crate) rules: Vec<RuleLive>,
    /// Transitions not yet accepted, oldest first; bounded by the caller.
    pub(crate) outbox: VecDeque<Transition>,
    /// Whether something durable changed since the last write.
    pub(crate) dirty: bool,
}

/// What changes about a rule.
#[derive(Debug, Default)]
pub(crate) struct RuleLive {
    pub(crate) health: Health,
    pub(crate) last_error: String,
    pub(crate) last_evaluation: Option<Timestamp>,
    pub(crate) evaluation_duration: Duration,
    pub(crate) n_results: usize,
    /// Since when all data it reads is missing.
    pub(crate) no_data_since: Option<Timestamp>,
    pub(crate) instances: Instances,
    /// Series written by the last evaluation.
    pub(crate) written: Written,
}

impl Watch {
    pub(crate) fn new(group: Group, mut live: Live) -> Self {
        live.rules.resize_with(group.rules.len(), RuleLive::default);
        let slots = Slots::new(&group.file, &group.name, group.interval);
        let (due, arrived) = (Mutex::default(), Notify::new());
        Self { group: Arc::new(group), slots, live: Mutex::new(live), due, arrived }
    }

    /// A panic of an evaluation ends that evaluation only: what it left is whole, since state is replaced at once.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a rule: data it reads has arrived.
    pub(crate) fn mark(&self, rule: usize) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(rule);
        self.arrived.notify_one();
    }

    /// The rules marked since the last call.
    pub(crate) fn take_due(&self) -> BTreeSet<usize> {
        std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until a rule is marked. Cancel-safe: what was marked stays marked.
    pub(crate) async fn marked(&self) {
        while self.due.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.arrived.notified().await;
        }
    }

    /// Whether any rule has an alert.
    pub(crate) fn has_alerts(&self) -> bool {
        self.live().rules.iter().any(|rule| !rule.instances.is_empty())
    }

    /// Whether the rule has a pending alert.
    pub(crate) fn has_pending(&self, rule: usize) -> bool {
        self.live().rules[rule].instances.values().any(|i| i.state == AlertState::Pending)
    }

    /// The durable part.
    pub(crate) fn stored(&self) -> Stored {
        let live = self.live();
        let rules = self.group.rules.iter().zip(&live.rules);
        let alerting = rules.filter(|(rule, _)| matches!(rule.kind, Kind::Alert(_)));
        Stored {
            file: self.group.file.clone(),
            group: self.group.name.clone(),
            evaluated_at: live.evaluated_at.or(live.restored_from),
            rules: alerting
                .map(|(rule, live)| StoredRule {
                    name: rule.name.clone(),
                    expr: rule.expr.to_string(),
                    labels: sources(&rule.labels),
                    instances: live.instances.clone(),
                })
                .collect(),
            outbox: live.outbox.iter().cloned().collect(),
        }
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let live = self.live();
        let rules = self.group.rules.iter().zip(&live.rules);
        GroupStatus {
            slo: self.group.slo.clone(),
            name: self.group.name.clone(),
            file: self.group.file.clone(),
            interval: self.group.interval,
            query_offset: self.group.query_offset,
            limit: self.group.limit,
            last_evaluation: live.evaluated_at,
            evaluation_duration: live.evaluation_duration,
            evaluations_total: live.evaluations_total,
            events_total: live.events_total,
            missed_total: live.missed_total,
            n_waiting: live.outbox.len(),
            rules: rules.map(|(rule, live)| rule_status(rule, live)).collect(),
        }
    }
}

/// What the state machine has to know of an alerting rule.
pub(crate) fn machine<'a>(group: &'a Group, rule: &'a Rule, limit: usize) -> Option<Machine<'a>> {
    let Kind::Alert(alerting) = &rule.kind else { return None };
    let hold = alerting.hold;
    let keep_firing = alerting.keep_firing.max(rule.extra.clear_for);
    Some(Machine {
        group: &group.name,
        rule: &rule.name,
        expr: &rule.expr,
        hold,
        keep_firing,
        limit,
    })
}

/// Texts as configured.
pub(crate) fn sources(texts: &[(String, Text)]) -> Vec<(String, String)> {
    texts.iter().map(|(name, text)| (name.clone(), text.source.clone())).collect()
}

fn rule_status(rule: &Rule, live: &RuleLive) -> RuleStatus {
    let (hold, keep_firing, annotations) = match &rule.kind {
        Kind::Alert(a) => (a.hold, a.keep_firing, sources(&a.annotations)),
        Kind::Record => (Duration::ZERO, Duration::ZERO, Vec::new()),
    };
    let alerts = matches!(rule.kind, Kind::Alert(_));
    let known = live.last_evaluation.is_some() || !live.instances.is_empty();
    let active = live.instances.iter().map(|(labels, instance)| AlertStatus {
        labels: labels.clone(),
        annotations: instance.annotations.clone(),
        state: instance.state,
        value: instance.value,
        active_at: instance.active_at,
        fired_at: instance.fired_at,
        resolved_at: instance.resolved_at,
        keep_firing_since: instance.keep_firing_since,
        no_data_since: instance.no_data_since,
    });
    RuleStatus {
        name: rule.name.clone(),
        alerts,
        expr: rule.expr.to_string(),
        hold,
        keep_firing,
        labels: sources(&rule.labels),
        annotations,
        state: (alerts && known).then(|| highest(&live.instances)),
        no_data_since: live.no_data_since,
        health: live.health,
        last_error: live.last_error.clone(),
        last_evaluation: live.last_evaluation,
        evaluation_duration: live.evaluation_duration,
        n_results: live.n_results,
        active: active.collect(),
    }
}
