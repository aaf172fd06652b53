//! What was stored, given back to the rules it belongs to; what belongs to no rule any more is ended.

use std::collections::BTreeSet;

use model::alert::{AlertState, Cause, Transition};
use model::metric::Labels;
use model::time::Timestamp;

use crate::codec::{Stored, StoredRule};
use crate::live::{Live, RuleLive, sources};
use crate::record::{alert_series, end_vanished};
use crate::rule::{Group, Kind};
use crate::state::{Instances, Machine};

/// Transitions of a group that is gone, until they are accepted.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) stored: Stored,
}

/// The state of `group` at a start: by rule name and labels, in order of occurrence.
pub(crate) fn resume(group: &Group, stored: Option<Stored>, now: Timestamp) -> Live {
    let Some(mut stored) = stored else { return Live::default() };
    let mut live = Live { restored_from: stored.evaluated_at, ..Live::default() };
    for rule in &group.rules {
        let mut rule_live = RuleLive::default();
        let labels = sources(&rule.labels);
        let fits = |s: &StoredRule| s.name == rule.name && s.labels == labels;
        if matches!(rule.kind, Kind::Alert(_))
            && let Some(i) = stored.rules.iter().position(fits)
        {
            rule_live.instances = stored.rules.remove(i).instances;
            // Its series were being written: they get their end markers when they end.
            let mut samples = alert_series(&rule_live.instances, now);
            rule_live.written = end_vanished(&mut samples, &BTreeSet::new(), now);
        }
        live.rules.push(rule_live);
    }
    let removed = end(&stored.group, &stored.rules, now);
    live.dirty = !removed.is_empty();
    live.outbox = stored.outbox.into_iter().chain(removed).collect();
    live
}

/// What a group that no longer exists leaves behind: firing alerts are told to be resolved.
pub(crate) fn retire(mut stored: Stored, now: Timestamp) -> Retired {
    let ended = end(&stored.group, &stored.rules, now);
    stored.outbox.extend(ended);
    stored.rules.clear();
    Retired { stored }
}

fn end(group: &str, rules: &[StoredRule], now: Timestamp) -> Vec<Transition> {
    let mut transitions = Vec::new();
    for rule in rules {
        let machine = Machine {
            group,
            rule: &rule.name,
            expr: &rule.expr,
            hold: std::time::Duration::ZERO,
            keep_firing: std::time::Duration::ZERO,
            limit: 0,
        };
        transitions.extend(machine.ended(&rule.instances, now, Cause::RuleRemoved).1);
    }
    transitions
}

/// Instants inside the time the server was down at which a rule is asked again, evenly spread.
///
/// Empty when nothing was missed. The stretch each one stands for is returned with them, in nanoseconds.
pub(crate) fn probes(from: Timestamp, first: Timestamp, interval_ns: i64) -> (Vec<Timestamp>, i64) {
    const PROBES_MAX: i64 = 20;
    let missed = first.0.saturating_sub(from.0).saturating_sub(interval_ns);
    if missed < interval_ns {
        return (Vec::new(), 0);
    }
    let stretch = (missed / PROBES_MAX).max(interval_ns);
    let count = missed / stretch;
    let at = |i: i64| Timestamp(from.0 + i * stretch);
    ((1..=count).map(at).collect(), stretch)
}

/// Time in which the condition was not seen to hold does not count for `for`: pending alerts begin that much later.
pub(crate) fn shift(
    instances: &mut Instances,
    seen: &[BTreeSet<Labels>],
    stretch_ns: i64,
    first: Timestamp,
) -> bool {
    let mut shifted = false;
    for (labels, instance) in instances.iter_mut() {
        if instance.state != AlertState::Pending {
            continue;
        }
        let unseen = seen.iter().filter(|found| !found.contains(labels)).count();
        let by = i64::try_from(unseen).unwrap_or(i64::MAX).saturating_mul(stretch_ns);
        instance.active_at = Timestamp(instance.active_at.0.saturating_add(by).min(first.0));
        shifted |= unseen > 0;
    }
    shifted
}
