//! The decision: what an alert, a runbook and what was seen of the world make together. Pure: no clock, no I/O; the same
//! inputs give the same plan, live, as a dry run, and in tests.

use std::collections::BTreeMap;

use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::effect::Effect;
use crate::guard::{self, Outcome, Verdict};
use crate::runbook::{DriverKind, Revert, Runbook, Step, Target, Trust, Verify, hash_of};

/// Members of a group that a plan keeps for people to read.
const MEMBERS_SHOWN: usize = 256;

/// Something that began with an alert.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Incident {
    /// Hash of the alert's labels and of when its condition first held.
    pub id: String,
    /// Rule group.
    pub group: String,
    /// Rule.
    pub rule: String,
    /// Its expression.
    pub expr: String,
    /// Labels of the alert.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the alert.
    pub annotations: BTreeMap<String, String>,
    /// When the alert fired, ns since the epoch.
    pub opened_ns: i64,
    /// When it was resolved.
    pub resolved_ns: Option<i64>,
    /// Why the alert ended, where the data did not show that its condition holds no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Who has taken note of it.
    pub acknowledged_by: Option<String>,
    /// When they did, ns since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_ns: Option<i64>,
}

/// One member of a group as it was read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Member {
    /// Name.
    pub name: String,
    /// Whether its own health is good.
    pub up: bool,
    /// Whether it takes its part of the work: up, and nobody has taken it out.
    pub serving: bool,
    /// What can be set, and to what it is set.
    pub fields: BTreeMap<String, String>,
    /// What `fields` are by configuration, where that is known: different means that somebody set them.
    pub configured: BTreeMap<String, String>,
    /// Requests or connections under way.
    pub sessions: u64,
    /// Who else sets its fields, where that can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// What a step asks for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub enum Wish {
    /// Percent of the configured weight.
    Percent {
        /// The field that holds the weight.
        field: String,
        /// From 0 to 100.
        percent: u32,
    },
    /// A field set to a value.
    Value {
        /// The field.
        field: String,
        /// Its value.
        value: String,
    },
    /// More or less of what is counted in a field, within bounds.
    Add {
        /// The field.
        field: String,
        /// How many more; below 0: fewer.
        by: i64,
        /// Not fewer than this.
        min: u64,
        /// Not more.
        max: u64,
    },
}

impl Wish {
    /// The change that fulfils it on a member as it is now.
    ///
    /// # Errors
    /// When the member lacks what is needed to know.
    pub fn change(&self, member: &Member) -> Result<Change, String> {
        let (field, value) = match self {
            Self::Value { field, value } => (field, value.clone()),
            Self::Add { field, by, min, max } => {
                let is: Option<u64> = member.fields.get(field).and_then(|text| text.parse().ok());
                let is = is.ok_or_else(|| format!("{}: {field} is no number", member.name))?;
                let wanted = is.saturating_add_signed(*by);
                // A bound never turns the direction around.
                let bounded =
                    if *by < 0 { wanted.max(*min).min(is) } else { wanted.min(*max).max(is) };
                if bounded == is {
                    return Err(format!(
                        "{}: {field} is {is} already, it may be {min} to {max}",
                        member.name
                    ));
                }
                (field, bounded.to_string())
            }
            Self::Percent { field, percent } => {
                let base = member.configured.get(field).or_else(|| member.fields.get(field));
                let base: u64 = base
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| format!("{}: {field} is no number", member.name))?;
                (field, share_of(base, u64::from(*percent)).to_string())
            }
        };
        let before = member.fields.get(field).cloned();
        let before = before.ok_or_else(|| format!("{} has no {field}", member.name))?;
        Ok(Change { member: member.name.clone(), field: field.clone(), before, value })
    }
}

/// `percent` of `base`, rounded, and not 0 unless one of them is.
pub(crate) fn share_of(base: u64, percent: u64) -> u64 {
    let share = (base * percent + 50) / 100;
    if share == 0 && base > 0 && percent > 0 { 1 } else { share }
}

/// A field of a member set to a value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Change {
    /// Which member.
    pub member: String,
    /// Which field.
    pub field: String,
    /// What it was when the change was made up.
    pub before: String,
    /// What it becomes.
    pub value: String,
}

/// What a plan does, one after the other.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PlannedStep {
    /// The step as written.
    pub step: Step,
    /// What it asks for.
    pub wish: Wish,
}

/// A series selector and how fresh what it reads is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Input {
    /// As written.
    pub selector: String,
    /// Series seen of late.
    pub series: usize,
    /// Of these, those with a sample young enough.
    pub fresh: usize,
    /// Newest sample of all, ns since the epoch.
    pub newest_ns: Option<i64>,
}

/// The answer to a comparison.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Judged {
    /// The comparison.
    pub query: String,
    /// Whether it holds for every series; `None` where that cannot be known: no data, not a number, an error.
    pub holds: Option<bool>,
    /// What was compared, in words.
    pub observed: String,
    /// What it reads.
    pub inputs: Vec<Input>,
    /// How much better than what was left alone, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// What was seen of the world for one decision.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Snapshot {
    /// When, ns since the epoch.
    pub at_ns: i64,
    /// Why nothing may be done at all, if something is in the way.
    pub switch: Option<String>,
    /// What speaks to the target.
    pub driver: DriverKind,
    /// Ceiling of trust for everything.
    pub ceiling: Trust,
    /// How far the record of this runbook on this target lets it go.
    pub ladder: Trust,
    /// What the rule reads; an error when that could not be found out.
    pub inputs: Result<Vec<Input>, String>,
    /// What keeps the alert quiet.
    pub muted: Vec<String>,
    /// The group as it was read back.
    pub members: Result<Vec<Member>, String>,
    /// Members with an alert of the same runbook.
    pub alerting: Vec<String>,
    /// Preconditions, in order.
    pub preconditions: Vec<Judged>,
    /// Share of the capacity in use.
    pub utilisation: Option<Result<f64, String>>,
    /// What was done before.
    pub history: History,
    /// Approvals of this very plan.
    pub approved_by: Vec<String>,
    /// Whether records reach the disk.
    pub journal: Result<u64, String>,
}

/// What was done before, as far as guards ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct History {
    /// The run that has the same key.
    pub same_key: Option<String>,
    /// Actions of the last day, oldest first.
    pub touches: Vec<Touch>,
    /// Runs under way.
    pub active: Vec<Active>,
    /// When another writer was last met on this member.
    pub conflict_ns: Option<i64>,
}

/// A member that was acted on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Touch {
    /// When, ns since the epoch.
    pub at_ns: i64,
    /// `target/member`.
    pub place: String,
    /// Rule whose alert it was.
    pub rule: String,
    /// Driver.
    pub kind: DriverKind,
}

/// A run under way.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Active {
    /// Its id.
    pub run: String,
    /// Target.
    pub target: String,
    /// `target/member`.
    pub place: String,
    /// Whether it has changed nothing yet: its member is seen as it was.
    #[serde(default)]
    pub pending: bool,
}

/// What is to be done about an incident, why, and whether.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Plan {
    /// Hash of all that follows.
    pub id: String,
    /// One run at most has it.
    pub key: String,
    /// What an approval holds for: runbook, member, members, steps.
    pub binding: String,
    /// Incident.
    pub incident: String,
    /// Rule of the incident.
    pub rule: String,
    /// Runbook.
    pub runbook: String,
    /// Its hash.
    pub runbook_hash: String,
    /// The target as configured.
    pub target: Target,
    /// The member; empty when the alert names none.
    pub member: String,
    /// What is done.
    pub steps: Vec<PlannedStep>,
    /// How it is known to have helped.
    pub verify: Option<Verify>,
    /// How it is taken back.
    pub revert: Option<Revert>,
    /// Oldest sample of what verification reads, in ms, and the share that must report.
    pub quality: crate::runbook::Quality,
    /// Who approves.
    pub approval: crate::runbook::Approval,
    /// What was seen.
    pub snapshot: Snapshot,
    /// What each guard said, in their order.
    pub verdicts: Vec<Verdict>,
    /// What follows from them.
    pub decision: Decision,
    /// The guard that decided, when it was not to act.
    pub decided_by: Option<String>,
}

/// What follows from the verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Not now; asked again while the alert fires.
    Refused,
    /// It would have been done.
    Shadowed,
    /// Once enough people say so.
    Awaiting,
    /// Now.
    Admitted,
}

/// `text` with `{{ name }}` replaced; values stand inside of PromQL strings and are escaped for them.
pub(crate) fn fill(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("`{{` is not closed by `}}`")?;
        let name = name.trim();
        let known =
            ["member", "target", "incident"].contains(&name) || name.starts_with("alert.labels.");
        if !known {
            return Err(format!("`{name}` is none of member, target, incident, alert.labels.NAME"));
        }
        let found = value(name).ok_or_else(|| format!("the alert has no {name}"))?;
        out.push_str(before);
        for c in found.chars() {
            match c {
                '\\' | '"' | '\'' | '`' => out.extend(['\\', c]),
                c if c.is_control() => return Err(format!("{name} holds a control character")),
                c => out.push(c),
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of a template's name for an incident.
pub(crate) fn value_of(incident: &Incident, member: &str, name: &str) -> Option<String> {
    match name {
        "member" => Some(member.to_owned()),
        "incident" => Some(incident.id.clone()),
        _ => incident.labels.get(name.strip_prefix("alert.labels.")?).cloned(),
    }
}

/// The member a runbook means for an incident.
///
/// # Errors
/// When the alert lacks the label it is named by, or that is empty.
pub fn member_of(runbook: &Runbook, incident: &Incident) -> Result<String, String> {
    let member = fill(&runbook.target.member, &|name| value_of(incident, "", name))?;
    if member.trim().is_empty() { Err("the alert names no member".to_owned()) } else { Ok(member) }
}

/// Decides: the one function that does, live and in tests.
#[must_use]
pub fn decide(runbook: &Runbook, target: &Target, incident: &Incident, seen: Snapshot) -> Plan {
    let member = member_of(runbook, incident);
    let fill_in = |text: &str| {
        let member = member.as_deref().unwrap_or_default();
        fill(text, &|name| value_of(incident, member, name))
    };
    let steps = runbook.steps.iter().filter_map(|step| {
        let mut wish = Wish::of(step, target.driver).ok()?;
        if let Wish::Value { value, .. } = &mut wish {
            *value = fill_in(value).ok()?;
        }
        Some(PlannedStep { step: step.clone(), wish })
    });
    let steps: Vec<PlannedStep> = steps.collect();
    let verify = runbook.verify.clone().map(|mut verify| {
        verify.success = fill_in(&verify.success).unwrap_or_default();
        if let Some(control) = &mut verify.control {
            control.treated = fill_in(&control.treated).unwrap_or_default();
            control.untouched = fill_in(&control.untouched).unwrap_or_default();
        }
        verify
    });
    let revert = runbook.revert.clone().map(|mut revert| {
        revert.ramp_gate = revert.ramp_gate.map(|gate| fill_in(&gate).unwrap_or_default());
        revert
    });
    // Before the effect, or nobody could tell afterwards whether it helped.
    let unfilled = runbook.later_queries().find_map(|text| fill_in(text).err());
    let named = member.clone().and_then(|name| unfilled.map_or(Ok(name), Err));
    let verdicts = guard::verdicts(runbook, incident, &named, &seen);
    let (decision, decided_by) = conclude(&verdicts, effective(runbook, &seen));
    let mut plan = Plan {
        id: String::new(),
        key: key(incident, target, runbook),
        binding: String::new(),
        incident: incident.id.clone(),
        rule: incident.rule.clone(),
        runbook: runbook.name.clone(),
        runbook_hash: runbook.hash.clone(),
        target: target.clone(),
        member: member.unwrap_or_default(),
        steps,
        verify,
        revert,
        quality: runbook.quality.clone(),
        approval: runbook.approval.clone(),
        snapshot: seen,
        verdicts,
        decision,
        decided_by,
    };
    let names: Vec<&str> = plan.snapshot.members.iter().flatten().map(|m| &*m.name).collect();
    plan.binding =
        hash_of(&(&plan.key, &plan.target, &plan.member, names, &plan.steps, &plan.revert));
    if let Ok(members) = &mut plan.snapshot.members {
        members.sort_by_key(|one| one.name != plan.member);
        members.truncate(MEMBERS_SHOWN);
    }
    plan.id = hash_of(&plan)[..32].to_owned();
    plan
}

/// What at most one run has: incident, target and runbook.
pub(crate) fn key(incident: &Incident, target: &Target, runbook: &Runbook) -> String {
    format!("{}/{}/{}", incident.id, target.name, &runbook.hash[..16.min(runbook.hash.len())])
}

/// The lowest of all levels of trust that count.
pub(crate) fn effective(runbook: &Runbook, seen: &Snapshot) -> Trust {
    let trust = runbook.trust.min(seen.ceiling).min(seen.ladder);
    if runbook.irreversible { trust.min(Trust::Approve) } else { trust }
}

fn conclude(verdicts: &[Verdict], trust: Trust) -> (Decision, Option<String>) {
    if let Some(refusal) = verdicts.iter().find(|verdict| verdict.outcome == Outcome::Refuse) {
        return (Decision::Refused, Some(refusal.guard.clone()));
    }
    let deferral = verdicts.iter().find(|verdict| verdict.outcome == Outcome::Defer);
    let by = deferral.map(|verdict| verdict.guard.clone());
    match (trust, by.as_deref()) {
        (Trust::Auto | Trust::Approve, None) => (Decision::Admitted, None),
        (Trust::Shadow, Some("trust")) => (Decision::Shadowed, by),
        (Trust::Approve, Some("approval")) => (Decision::Awaiting, by),
        _ => (Decision::Refused, by),
    }
}

/// One change of a way back, and whether it waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct BackStep {
    /// The change.
    pub change: Change,
    /// Whether a rest and the gate come before it.
    pub gated: bool,
}

/// Fields whose change is an event: nothing is held afterwards, and nothing given back.
pub(crate) fn is_lasting(field: &str) -> bool {
    ["role", "restarted_for"].contains(&field)
}

/// The way back from what is `held`: weights by the ramp, everything else to what it was before.
#[must_use]
pub fn way_back(held: &[Change], ramp: &[crate::amount::Share]) -> Vec<BackStep> {
    let number = |text: &str| text.parse::<u64>().ok();
    let weight = held.iter().find(|change| change.field == "weight");
    let mut back = Vec::new();
    let stages: Vec<String> = weight.map_or(Vec::new(), |change| {
        let (Some(from), Some(to)) = (number(&change.value), number(&change.before)) else {
            return vec![change.before.clone()];
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share is from 0 to 1"
        )]
        let percent = |share: f64| (share * 100.0).round() as u64;
        let mut stages: Vec<u64> = ramp.iter().map(|s| share_of(to, percent(s.0))).collect();
        stages.retain(|stage| *stage != to && (from..to).contains(stage));
        stages.dedup();
        stages.push(to);
        stages.iter().map(ToString::to_string).collect()
    });
    let mut at = weight.map(|change| change.value.clone()).unwrap_or_default();
    let is_other = |change: &&Change| change.field != "weight" && !is_lasting(&change.field);
    let others: Vec<&Change> = held.iter().rev().filter(is_other).collect();
    for (i, value) in stages.iter().enumerate() {
        if let Some(weight) = weight {
            let change = Change { before: at.clone(), value: value.clone(), ..weight.clone() };
            back.push(BackStep { change, gated: i > 0 });
            at.clone_from(value);
        }
        if i == 0 {
            back.extend(others.iter().map(|change| undo(change)));
        }
    }
    if stages.is_empty() {
        back.extend(others.iter().map(|change| undo(change)));
    }
    back
}

fn undo(change: &Change) -> BackStep {
    let (before, value) = (change.value.clone(), change.before.clone());
    BackStep { change: Change { before, value, ..change.clone() }, gated: false }
}

/// Nanoseconds of a length of time.
pub(crate) fn ns(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// `at` in words for verdicts.
pub(crate) fn words(at_ns: i64) -> String {
    Timestamp(at_ns).to_string()
}

/// A JSON object of some fields.
pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
