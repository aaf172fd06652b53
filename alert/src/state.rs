//! The alert state machine: a pure function of a rule, its result, the state before and the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::alert::{AlertState, Cause, Transition};
use model::metric::Labels;
use model::time::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

/// How long a resolved alert is still shown.
pub(crate) const RESOLVED_KEPT: Duration = Duration::from_secs(15 * 60);

/// One alert of a rule; its labels are its key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    /// `Pending`, `Firing` or `Resolved`.
    pub(crate) state: AlertState,
    /// Texts of the last evaluation that found it.
    pub(crate) annotations: Labels,
    /// Value then.
    pub(crate) value: f64,
    /// When the condition first held.
    pub(crate) active_at: Timestamp,
    /// When it began to fire.
    pub(crate) fired_at: Option<Timestamp>,
    /// When it was resolved.
    pub(crate) resolved_at: Option<Timestamp>,
    /// When the condition ended although the alert goes on firing.
    pub(crate) keep_firing_since: Option<Timestamp>,
    /// Since when it is held because its data is missing.
    pub(crate) no_data_since: Option<Timestamp>,
    /// The last evaluation that found it.
    pub(crate) seen_at: Timestamp,
    /// How often it fell back from firing to pending because its rule asks for a longer `for` now.
    pub(crate) fallbacks: u32,
}

/// The alerts of one rule by their final labels.
pub(crate) type Instances = BTreeMap<Labels, Instance>;

/// One result of the rule's expression, labels and annotations final.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) value: f64,
}

/// What the machine has to know of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) group: &'a str,
    pub(crate) rule: &'a str,
    pub(crate) expr: &'a str,
    pub(crate) hold: Duration,
    pub(crate) keep_firing: Duration,
    /// Most active alerts; 0 for no limit.
    pub(crate) limit: usize,
}

/// When it is evaluated, and how absence is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    /// Alerts last seen before this instant are not ended by absence: their series may not be back after a start.
    pub(crate) hold_unseen_since: Option<Timestamp>,
}

/// What is known of alerts that are not in the result.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Absences {
    /// Their own condition for clearing still holds.
    pub(crate) kept: BTreeSet<Labels>,
    /// The data they came from is missing.
    pub(crate) missing: BTreeSet<Labels>,
    /// How long alerts are held for want of data; `None` ends them at once.
    pub(crate) hold_max: Option<Duration>,
}

/// Why and when a transition happens.
#[derive(Clone, Copy)]
struct Turned {
    at: Timestamp,
    cause: Cause,
}

/// What one evaluation made of the state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) instances: Instances,
    /// In label order.
    pub(crate) transitions: Vec<Transition>,
    /// Set when the result was beyond the limit and all alerts were dropped.
    pub(crate) refused: Option<String>,
}

impl Machine<'_> {
    /// The state after an evaluation that found `found`.
    ///
    /// Two results with the same labels are an error: then nothing changes.
    pub(crate) fn step(
        &self,
        before: &Instances,
        found: Vec<Found>,
        (moment, absences): (Moment, &Absences),
    ) -> Result<Step, String> {
        let mut step = Step { instances: Instances::new(), transitions: Vec::new(), refused: None };
        for found in found {
            let (labels, instance, fired) = self.present(before, found, moment.at);
            if let Some(state) = fired {
                let turned = Turned { at: moment.at, cause: found_because(&labels) };
                step.transitions.push(self.transition(&labels, &instance, state, turned));
            }
            if step.instances.insert(labels, instance).is_some() {
                let text =
                    "vector contains metrics with the same labelset after applying alert labels";
                return Err(text.to_owned());
            }
        }
        for (labels, instance) in before {
            if step.instances.contains_key(labels) {
                continue;
            }
            let missing = absences.missing.contains(labels);
            let after = match instance.is_active() {
                true if missing && absences.hold_max.is_some() => {
                    held(instance, moment.at, absences.hold_max.unwrap_or_default())
                }
                true if absences.kept.contains(labels) && instance.state == AlertState::Firing => {
                    Some(Instance {
                        keep_firing_since: None,
                        no_data_since: None,
                        ..instance.clone()
                    })
                }
                _ => self.absent(instance, moment),
            };
            let Some(after) = after else { continue };
            if after.state == AlertState::Resolved && instance.state == AlertState::Firing {
                let cause = if missing { Cause::NoData } else { Cause::Condition };
                let turned = Turned { at: moment.at, cause };
                let resolved = self.transition(labels, &after, AlertState::Resolved, turned);
                step.transitions.push(resolved);
            }
            step.instances.insert(labels.clone(), after);
        }
        let n_active = step.instances.values().filter(|i| i.is_active()).count();
        if self.limit > 0 && n_active > self.limit {
            return Ok(self.dropped(before, n_active, moment.at));
        }
        step.transitions.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(step)
    }

    /// An alert in the result, and the state it entered when that has to be told.
    fn present(
        &self,
        before: &Instances,
        found: Found,
        at: Timestamp,
    ) -> (Labels, Instance, Option<AlertState>) {
        let known = before.get(&found.labels).filter(|instance| instance.is_active());
        let mut instance = known.cloned().unwrap_or_else(|| Instance::new(at));
        instance.annotations = found.annotations;
        instance.value = found.value;
        instance.keep_firing_since = None;
        if let Some(since) = instance.no_data_since.take()
            && instance.state == AlertState::Pending
        {
            // What happened meanwhile is not known: that time does not count for `for`.
            let unknown = at.0.saturating_sub(since.0).max(0);
            instance.active_at = Timestamp(instance.active_at.0.saturating_add(unknown).min(at.0));
        }
        // A clock set back must not turn a firing alert into a pending one.
        instance.seen_at = instance.seen_at.max(at);
        let held = instance.seen_at.0.saturating_sub(instance.active_at.0);
        let told = match (instance.state, held >= nanoseconds(self.hold)) {
            (AlertState::Pending, true) => {
                instance.state = AlertState::Firing;
                instance.fired_at = Some(at);
                Some(AlertState::Firing)
            }
            (AlertState::Firing, false) => {
                // Its firing was told, so that it no longer fires has to be told too.
                instance.state = AlertState::Pending;
                Some(AlertState::Resolved)
            }
            _ => None,
        };
        let labels = found.labels;
        if told == Some(AlertState::Resolved) {
            let after = Instance { fired_at: None, fallbacks: instance.fallbacks + 1, ..instance };
            return (labels, after, told);
        }
        (labels, instance, told)
    }

    /// An alert that is not in the result; `None` when nothing is left of it.
    fn absent(&self, instance: &Instance, moment: Moment) -> Option<Instance> {
        let at = moment.at;
        if instance.state == AlertState::Resolved {
            let since = instance.resolved_at.map_or(i64::MAX, |then| at.0.saturating_sub(then.0));
            return (since <= nanoseconds(RESOLVED_KEPT)).then(|| instance.clone());
        }
        if moment.hold_unseen_since.is_some_and(|start| instance.seen_at < start) {
            return Some(instance.clone());
        }
        if instance.state == AlertState::Pending {
            return None;
        }
        let mut after = Instance { no_data_since: None, ..instance.clone() };
        let since = instance.keep_firing_since.unwrap_or(at);
        if at.0.saturating_sub(since.0) < nanoseconds(self.keep_firing) {
            after.keep_firing_since = Some(since);
            return Some(after);
        }
        after.state = AlertState::Resolved;
        after.resolved_at = Some(at);
        Some(after)
    }

    /// Beyond the limit no alert is left; those that were told to fire are told to be resolved.
    pub(crate) fn dropped(&self, before: &Instances, n_active: usize, at: Timestamp) -> Step {
        let text = format!("exceeded limit of {} with {n_active} alerts", self.limit);
        let (instances, transitions) = self.ended(before, at, Cause::Error);
        Step { instances, transitions, refused: Some(text) }
    }

    /// Every firing alert resolved, the pending ones gone: the rule's result no longer counts.
    pub(crate) fn ended(
        &self,
        before: &Instances,
        at: Timestamp,
        cause: Cause,
    ) -> (Instances, Vec<Transition>) {
        let mut instances = Instances::new();
        let mut transitions = Vec::new();
        for (labels, instance) in before {
            match instance.state {
                AlertState::Firing => {
                    let after = Instance {
                        state: AlertState::Resolved,
                        resolved_at: Some(at),
                        no_data_since: None,
                        ..instance.clone()
                    };
                    let turned = Turned { at, cause };
                    transitions.push(self.transition(labels, &after, AlertState::Resolved, turned));
                    instances.insert(labels.clone(), after);
                }
                AlertState::Resolved => {
                    instances.insert(labels.clone(), instance.clone());
                }
                AlertState::Pending | AlertState::Inactive => {}
            }
        }
        (instances, transitions)
    }

    fn transition(
        &self,
        labels: &Labels,
        instance: &Instance,
        state: AlertState,
        turned: Turned,
    ) -> Transition {
        // The fallback being told belongs to the firing that ends, not to the next one.
        let falls_back = state == AlertState::Resolved && instance.state == AlertState::Pending;
        let fallbacks = instance.fallbacks - u32::from(falls_back);
        Transition {
            id: self.id(labels, instance.active_at, fallbacks, state),
            group: self.group.to_owned(),
            rule: self.rule.to_owned(),
            labels: labels.clone(),
            annotations: told_with(&instance.annotations, turned.cause),
            state,
            cause: turned.cause,
            value: instance.value,
            active_at: instance.active_at,
            at: turned.at,
            expr: self.expr.to_owned(),
        }
    }

    /// The same for every retry: nothing in it depends on when the transition is made or sent.
    fn id(&self, labels: &Labels, active_at: Timestamp, fallbacks: u32, state: AlertState) -> u128 {
        let mut bytes = Vec::new();
        let mut put = |text: &str| {
            // Length first: no two lists of texts share their bytes.
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        put(self.group);
        put(self.rule);
        put(state.word());
        for (name, value) in labels.iter() {
            put(name);
            put(value);
        }
        bytes.extend_from_slice(&active_at.0.to_le_bytes());
        bytes.extend_from_slice(&fallbacks.to_le_bytes());
        xxh3_128(&bytes)
    }
}

impl Instance {
    fn new(at: Timestamp) -> Self {
        Self {
            state: AlertState::Pending,
            annotations: Labels::default(),
            value: 0.0,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            keep_firing_since: None,
            no_data_since: None,
            seen_at: at,
            fallbacks: 0,
        }
    }

    /// Whether it is pending or firing.
    pub(crate) const fn is_active(&self) -> bool {
        matches!(self.state, AlertState::Pending | AlertState::Firing)
    }
}

/// The label of alerts that missing data raises.
pub(crate) const CAUSE_LABEL: &str = "headrope_cause";

/// Texts of a message: that the data was missing is told to people, too.
fn told_with(annotations: &Labels, cause: Cause) -> Labels {
    if cause != Cause::NoData {
        return annotations.clone();
    }
    let own = annotations.iter().map(|(name, text)| (name.to_owned(), text.to_owned()));
    own.chain([(CAUSE_LABEL.to_owned(), cause.word().to_owned())]).collect()
}

/// Why an alert with these labels begins to fire.
fn found_because(labels: &Labels) -> Cause {
    match labels.value(CAUSE_LABEL) {
        Some(word) => Cause::parse(word).unwrap_or_default(),
        None => Cause::Condition,
    }
}

/// An alert whose data is missing: as it was, or ended when that lasts too long.
fn held(instance: &Instance, at: Timestamp, hold_max: Duration) -> Option<Instance> {
    let since = instance.no_data_since.unwrap_or(at);
    if at.0.saturating_sub(since.0) < nanoseconds(hold_max) {
        return Some(Instance { no_data_since: Some(since), ..instance.clone() });
    }
    let after = Instance {
        state: AlertState::Resolved,
        resolved_at: Some(at),
        no_data_since: None,
        ..instance.clone()
    };
    (instance.state == AlertState::Firing).then_some(after)
}

/// The highest state of a rule's alerts.
pub(crate) fn highest(instances: &Instances) -> AlertState {
    let rank = |state: AlertState| match state {
        AlertState::Firing => 2,
        AlertState::Pending => 1,
        AlertState::Inactive | AlertState::Resolved => 0,
    };
    let highest = instances.values().map(|i| i.state).max_by_key(|state| rank(*state));
    highest.filter(|state| rank(*state) > 0).unwrap_or(AlertState::Inactive)
}

/// A length of time in nanoseconds; beyond the i64 range it is the longest there is.
pub(crate) fn nanoseconds(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}
