//! A rule over what is stored: when it would have fired. The state machine, the slots and the templates are those of the
//! live evaluation; only where answers come from differs. Nothing is written, nobody is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::alert::{AlertState, Cause, Transition};
use model::metric::Labels;
use model::time::Timestamp;
use tokio::time::Instant;

use crate::config::Config;
use crate::evaluate::Turn;
use crate::expand::Surroundings;
use crate::rule::{Group, Kind, Language, NoData, Rule};
use crate::schedule::Slots;
use crate::state::{Instances, nanoseconds};

mod replay;

use replay::Replay;
pub use replay::{History, Line};

/// Most evaluations of one rule.
pub const SLOTS_MAX: i64 = 2_000_000;
/// Alerts told one by one; more are counted.
const EPISODES_MAX: usize = 500;
/// Evaluations in a row that may fail before the rest is left.
const FAILURES_MAX: u32 = 5;
/// Evaluations between two chances for others.
const YIELD_EVERY: u32 = 256;

/// An alert from its firing to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Labels of the alert.
    pub labels: Labels,
    /// Texts at its beginning.
    pub annotations: Labels,
    /// When its condition first held.
    pub active_at: Timestamp,
    /// When it fired.
    pub fired_at: Timestamp,
    /// When it ended; `None` when it fired still.
    pub resolved_at: Option<Timestamp>,
    /// Value when it fired.
    pub value: f64,
    /// Why it ended.
    pub cause: Cause,
}

/// What a rule would have done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Slots in the time asked for.
    pub n_slots: u64,
    /// Alerts that fired.
    pub n_fired: u64,
    /// Most of them at once.
    pub n_at_once: usize,
    /// How long they fired, added up, ns.
    pub firing_ns: i64,
    /// The longest, ns.
    pub longest_ns: i64,
    /// The first ones, by when they fired.
    pub episodes: Vec<Episode>,
    /// Evaluations that failed, and what the last one said.
    pub failed: Option<(u64, String)>,
    /// What to know when reading this.
    pub notes: Vec<String>,
}

/// Replays an alerting rule of `group` over the slots from `range.0` until before `range.1`.
///
/// # Errors
/// A recording rule, or too many slots.
pub async fn backtest(
    group: &Arc<Group>,
    rule: usize,
    range: (Timestamp, Timestamp),
    (history, config): (&dyn History, &Config),
) -> Result<(Outcome, Vec<Transition>), String> {
    let own = group.rules.get(rule).ok_or("there is no such rule")?;
    if matches!(own.kind, Kind::Record) {
        return Err(format!("{} records a series: there is nothing that could fire", own.name));
    }
    let slots = Slots::new(&group.file, &group.name, group.interval);
    let first = slots.first(range.0);
    let n_slots =
        (range.1.0 - first.0 + slots.interval_ns() - 1).div_euclid(slots.interval_ns()).max(0);
    if n_slots > SLOTS_MAX {
        return Err(format!(
            "{n_slots} evaluations of {} are more than {SLOTS_MAX}: ask for less time",
            own.name
        ));
    }
    let offset = nanoseconds(group.query_offset);
    let last = Timestamp(first.0 + (n_slots - 1).max(0) * slots.interval_ns() - offset);
    let mut course = Course {
        group,
        rule,
        slots,
        end: range.1,
        replay: Replay::new(history, own, (slots.interval_ns() / 1_000_000, last.ms())),
        config,
        surroundings: Arc::new(Surroundings::new(&config.external_labels, &config.external_url)),
        instances: Instances::new(),
        transitions: Vec::new(),
        n_at_once: 0,
        failed: None,
        left_at: None,
    };
    course.run(first).await;
    let Course { transitions, n_at_once, failed, left_at, .. } = course;
    let mut outcome = told(&transitions, range.1);
    outcome.n_slots = n_slots.unsigned_abs();
    (outcome.n_at_once, outcome.failed, outcome.notes) = (n_at_once, failed, notes(group, own));
    if let Some(at) = left_at {
        outcome.n_slots = (at.0 - first.0).div_euclid(slots.interval_ns()).unsigned_abs() + 1;
        outcome.notes.push(format!("given up at {at}: the rest of the time was not looked at"));
    }
    if outcome.n_fired > EPISODES_MAX as u64 {
        outcome.notes.push(format!("only the first {EPISODES_MAX} alerts are told one by one"));
    }
    Ok((outcome, transitions))
}

/// A rule on its way through the slots.
struct Course<'a> {
    group: &'a Arc<Group>,
    rule: usize,
    slots: Slots,
    end: Timestamp,
    replay: Replay<'a>,
    config: &'a Config,
    surroundings: Arc<Surroundings>,
    instances: Instances,
    transitions: Vec<Transition>,
    n_at_once: usize,
    failed: Option<(u64, String)>,
    /// Where it was given up.
    left_at: Option<Timestamp>,
}

impl Course<'_> {
    async fn run(&mut self, first: Timestamp) {
        let rule = &self.group.rules[self.rule];
        // While there is neither a result nor an active alert, an evaluation changes nothing.
        let may_skip = self.replay.knows_ahead()
            && rule.extra.no_data != NoData::Alert
            && rule.extra.quality.is_none();
        let offset_ms = nanoseconds(self.group.query_offset) / 1_000_000;
        let (mut at, mut in_a_row, mut n) = (first, 0, 0_u32);
        while at < self.end {
            if may_skip && !self.instances.values().any(crate::state::Instance::is_active) {
                match self.replay.next_hit(at.ms() - offset_ms).await {
                    Ok(Some(ms)) => at = Timestamp::from_ms(ms + offset_ms),
                    Ok(None) => return,
                    Err(error) => {
                        if !self.go_on(error, &mut in_a_row, at) {
                            return;
                        }
                        at = Timestamp(at.0 + self.slots.interval_ns());
                        continue;
                    }
                }
            }
            let before = std::mem::take(&mut self.instances);
            match self.turn(at).step(&self.replay, before.clone(), None).await {
                Ok((step, _)) => {
                    in_a_row = 0;
                    self.instances = step.instances;
                    self.transitions.extend(step.transitions);
                    let firing = |one: &&crate::state::Instance| one.state == AlertState::Firing;
                    let n_firing = self.instances.values().filter(firing).count();
                    self.n_at_once = self.n_at_once.max(n_firing);
                    step.refused.into_iter().for_each(|refused| self.fail(refused));
                }
                Err(error) => {
                    self.instances = before;
                    if !self.go_on(error, &mut in_a_row, at) {
                        return;
                    }
                }
            }
            at = Timestamp(at.0 + self.slots.interval_ns());
            n += 1;
            if n.is_multiple_of(YIELD_EVERY) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes note of a failed evaluation; whether the next one is tried.
    fn go_on(&mut self, error: String, in_a_row: &mut u32, at: Timestamp) -> bool {
        self.fail(error);
        *in_a_row += 1;
        let goes_on = *in_a_row < FAILURES_MAX;
        if !goes_on {
            self.left_at = Some(at);
        }
        goes_on
    }

    fn fail(&mut self, error: String) {
        let n = self.failed.as_ref().map_or(0, |failed| failed.0);
        self.failed = Some((n + 1, error));
    }

    fn turn(&self, at: Timestamp) -> Turn {
        Turn {
            group: Arc::clone(self.group),
            rule: self.rule,
            at,
            deadline: Instant::now(), // Not looked at: it is inline.
            alerts_max: self.config.alerts_per_rule_max,
            surroundings: Arc::clone(&self.surroundings),
            inline: true,
            is_event: false,
        }
    }
}

/// Episodes of what was told, and their sums.
fn told(transitions: &[Transition], end: Timestamp) -> Outcome {
    let mut all: Vec<Episode> = Vec::new();
    for told in transitions {
        if told.state == AlertState::Firing {
            all.push(Episode {
                labels: told.labels.clone(),
                annotations: told.annotations.clone(),
                active_at: told.active_at,
                fired_at: told.at,
                resolved_at: None,
                value: told.value,
                cause: Cause::Condition,
            });
            continue;
        }
        let open = all.iter_mut().rev().find(|one| one.labels == told.labels);
        if let Some(open) = open.filter(|one| one.resolved_at.is_none()) {
            (open.resolved_at, open.cause) = (Some(told.at), told.cause);
        }
    }
    let lasted = |one: &Episode| one.resolved_at.unwrap_or(end).0 - one.fired_at.0;
    let mut outcome = Outcome {
        n_fired: all.len() as u64,
        firing_ns: all.iter().map(lasted).sum(),
        longest_ns: all.iter().map(lasted).max().unwrap_or(0),
        ..Outcome::default()
    };
    all.truncate(EPISODES_MAX);
    outcome.episodes = all;
    outcome
}

/// What to know when reading the outcome of a rule.
fn notes(group: &Group, rule: &Rule) -> Vec<String> {
    let mut notes = Vec::new();
    let mut read = BTreeSet::new();
    let conditions = rule.extra.all.iter().chain(&rule.extra.any).chain(&rule.extra.none);
    let conditions = conditions.chain(rule.extra.clear.as_ref()).map(|one| &one.expr);
    for expr in conditions.chain([&rule.expr]) {
        if let Ok(parsed) = query::promql::parse(expr) {
            let names: BTreeSet<String> = parsed
                .selectors()
                .iter()
                .filter_map(|one| Some(one.name.as_ref()?.to_string()))
                .collect();
            let made = group.rules.iter().filter(|other| matches!(other.kind, Kind::Record));
            read.extend(made.map(|other| &other.name).filter(|name| names.contains(*name)));
        }
    }
    for name in read {
        notes.push(format!("reads {name}, which another rule records: as it is stored, not as that rule would have made it"));
    }
    if rule.extra.language != Language::PromQl {
        notes.push("not PromQL: asked again for each slot".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;
