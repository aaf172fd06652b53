//! What people ask of the engine: to see, to approve, to take back, to stop.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Actions;
use crate::error::Error;
use crate::plan::{Incident, object};
use crate::register::{Deed, Switch};
use crate::run::{Payload, Run, State, Yes};
use crate::runbook::Trust;

/// Runs and incidents in a list.
const LISTED_MAX: usize = 200;
/// Longest name of a person and longest reason, in bytes.
const WORDS_MAX: usize = 1_000;

/// Why something asked for is not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("there is no {0}")]
    Unknown(String),
    /// It cannot be done as things stand.
    #[error("{0}")]
    Unfit(String),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] Error),
}

impl Actions {
    /// Everything at a glance: the switch, incidents, runs, what is held, and how runbooks have done.
    #[must_use]
    pub fn list(&self) -> Value {
        let switch = self.switch();
        let (epoch, trust) = (self.journal_state(), self.trust);
        let off = switch.map(|(freeze, why)| json!({"freeze": freeze, "why": why}));
        self.look(|register| {
            let mut runs: Vec<&Run> = register.runs.values().collect();
            runs.sort_by_key(|run| (run.state.is_final(), std::cmp::Reverse(run.planned_ns)));
            let mut incidents: Vec<_> = register.incidents.values().collect();
            incidents.sort_by_key(|i| (i.resolved_ns.is_some(), std::cmp::Reverse(i.opened_ns)));
            let held = register.runs.values().filter(|run| run.is_holding());
            json!({
                "trust": trust,
                "off": off,
                "observe_only": epoch.err(),
                "runbooks": self.book.runbooks.keys().collect::<Vec<_>>(),
                "runs": runs.into_iter().take(LISTED_MAX).map(short).collect::<Vec<_>>(),
                "incidents": incidents.into_iter().take(LISTED_MAX).collect::<Vec<_>>(),
                "held": held.flat_map(holdings).collect::<Vec<_>>(),
                "records": register.records,
            })
        })
    }

    /// One run with its plan, every verdict and every step; or one incident. An id may be cut short while it is the only one.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn explain(&self, id: &str) -> Result<Value, Refusal> {
        let id = self.full(id)?;
        let run = self.look(|register| register.runs.get(&id).cloned());
        let run = run.ok_or_else(|| Refusal::Unknown(format!("action {id}")))?;
        let incident = self.look(|register| register.incidents.get(&run.plan.incident).cloned());
        let fields = [
            ("summary", short(&run)),
            ("run", serde_json::to_value(&run).unwrap_or_default()),
            ("incident", serde_json::to_value(incident).unwrap_or_default()),
        ];
        Ok(object(fields))
    }

    /// What `tell` makes of each incident and its runs, open incidents first, then the newest; at most 200.
    pub fn incidents<T>(&self, tell: impl Fn(&Incident, &[&Run]) -> T) -> Vec<T> {
        self.look(|register| {
            let mut incidents: Vec<_> = register.incidents.values().collect();
            incidents.sort_by_key(|i| (i.resolved_ns.is_some(), std::cmp::Reverse(i.opened_ns)));
            incidents.truncate(LISTED_MAX);
            let mut runs: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
            for run in register.runs.values() {
                runs.entry(&run.plan.incident).or_default().push(run);
            }
            runs.values_mut().for_each(|runs| newest_first(runs));
            let runs_of = |id: &str| runs.get(id).map_or(&[][..], Vec::as_slice);
            incidents.into_iter().map(|one| tell(one, runs_of(&one.id))).collect()
        })
    }

    /// What `tell` makes of one incident and its runs, newest first. An id may be cut short while it is the only one.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn incident<T>(
        &self,
        start: &str,
        tell: impl FnOnce(&Incident, &[&Run]) -> T,
    ) -> Result<T, Refusal> {
        self.look(|register| {
            let fits = |one: &&Incident| !start.is_empty() && one.id.starts_with(start);
            let mut found = register.incidents.values().filter(fits);
            let incident = match (found.next(), found.next()) {
                (Some(one), None) => one,
                (None, _) => return Err(Refusal::Unknown(format!("incident {start}"))),
                _ => {
                    let words = format!("more than one incident begins with {start}");
                    return Err(Refusal::Unfit(words));
                }
            };
            let runs = register.runs.values().filter(|run| run.plan.incident == incident.id);
            let mut runs: Vec<&Run> = runs.collect();
            newest_first(&mut runs);
            Ok(tell(incident, &runs))
        })
    }

    /// The kill switch where it is on, as (whether ways back stand still, why); and why nothing is done at all.
    #[must_use]
    pub fn standing(&self) -> (Option<(bool, String)>, Option<String>) {
        (self.switch(), self.journal_state().err())
    }

    /// The whole id of a run that begins with `start`.
    fn full(&self, start: &str) -> Result<String, Refusal> {
        let fits = self.look(|register| {
            let fits = register.runs.keys().filter(|id| !start.is_empty() && id.starts_with(start));
            fits.take(2).cloned().collect::<Vec<_>>()
        });
        match fits.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Refusal::Unknown(format!("action {start}"))),
            _ => Err(Refusal::Unfit(format!("more than one action begins with {start}"))),
        }
    }

    fn run_of(&self, id: &str) -> Result<Run, Refusal> {
        let id = self.full(id)?;
        let run = self.look(|register| register.runs.get(&id).cloned());
        run.ok_or_else(|| Refusal::Unknown(format!("action {id}")))
    }

    /// Somebody's yes to a plan; `signed` when a link proved who it is.
    ///
    /// # Errors
    /// When it does not wait for approval, or not for theirs.
    pub async fn approve(&self, id: &str, by: &str, signed: bool) -> Result<Value, Refusal> {
        let (run, by) = (self.run_of(id)?, person(by)?);
        if run.state != State::Awaiting {
            return Err(Refusal::Unfit(format!("it is {}, it waits for nobody", word(run.state))));
        }
        let named = &run.plan.approval.by;
        let may = named.is_empty() || (signed && named.contains(&by));
        if !may {
            let names = named.join(", ");
            return Err(Refusal::Unfit(format!("it waits for the signed link of {names}")));
        }
        let yes = Yes { by, at_ns: self.now(), signed };
        self.record(Deed::Approved { run: run.id.clone(), yes }).await?;
        self.hurry(&run.id);
        self.explain(&run.id)
    }

    /// The run that a signed link is for.
    ///
    /// # Errors
    /// A link that is not ours, not for this person, or not for this plan.
    pub fn signed(&self, id: &str, by: &str, signature: &str) -> Result<Value, Refusal> {
        let bad = || Refusal::Unfit("the link is not good: was it cut?".to_owned());
        let run = self.run_of(id).map_err(|_| bad())?;
        if !self.approvals.is_good(&run, by, signature) {
            return Err(bad());
        }
        self.explain(&run.id)
    }

    /// Takes back what a run has changed, or refuses it where it has not begun.
    ///
    /// # Errors
    /// When it is over already.
    pub async fn revert(&self, id: &str, by: &str, why: &str) -> Result<Value, Refusal> {
        let (run, by) = (self.run_of(id)?, person(by)?);
        if run.state.is_final() {
            return Err(Refusal::Unfit(format!("it is {} already", word(run.state))));
        }
        let why = format!("asked for by {by}: {}", words(why)?);
        self.record(Deed::RevertAsked { run: run.id.clone(), why }).await?;
        self.hurry(&run.id);
        self.explain(&run.id)
    }

    /// Stops everything new; with `freeze` ways back as well.
    ///
    /// # Errors
    /// When the journal cannot be written: the file of the switch works all the same.
    pub async fn pause(&self, freeze: bool, by: &str, why: &str) -> Result<(), Refusal> {
        let (by, why, at_ns) = (person(by)?, words(why)?, self.now());
        self.record(Deed::Switched { switch: Some(Switch { freeze, by, why, at_ns }) }).await?;
        Ok(())
    }

    /// Lets everything go on; the file of the switch must be removed by hand.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn resume(&self, by: &str) -> Result<(), Refusal> {
        let by = person(by)?;
        tracing::info!(by, "actions go on");
        self.record(Deed::Switched { switch: None }).await?;
        self.live().again_ns.clear();
        self.wake.notify_one();
        Ok(())
    }

    /// Takes note of an incident, which lifts the cooldown.
    ///
    /// # Errors
    /// When there is none.
    pub async fn acknowledge(&self, incident: &str, by: &str) -> Result<(), Refusal> {
        let by = person(by)?;
        if !self.look(|register| register.incidents.contains_key(incident)) {
            return Err(Refusal::Unknown(format!("incident {incident}")));
        }
        let at_ns = self.now();
        self.record(Deed::Acknowledged { incident: incident.to_owned(), by, at_ns }).await?;
        self.live().again_ns.retain(|(of, _), _| of != incident);
        Ok(())
    }

    /// Lets a runbook act by itself on a target, after its record has cost it that or before it has earned it.
    ///
    /// # Errors
    /// When it may already.
    pub async fn restore_trust(
        &self,
        runbook: &str,
        target: &str,
        by: &str,
    ) -> Result<(), Refusal> {
        let by = person(by)?;
        let name = format!("{runbook}/{target}");
        let bound = self.book.runbooks.get(runbook);
        let level = self.look(|register| {
            let demoted = register.records.get(&name).is_some_and(|one| one.demoted);
            let level = bound.map_or(Trust::Auto, |one| register.ladder(&one.runbook, target));
            if demoted { Trust::Approve } else { level }
        });
        if level == Trust::Auto {
            return Err(Refusal::Unfit(format!("{name} lacks no trust")));
        }
        let (runbook, target) = (runbook.to_owned(), target.to_owned());
        self.record(Deed::Trusted { runbook, target, by }).await?;
        Ok(())
    }

    /// Decisions since the start, by what they were and the guard that made them; and incidents not taken.
    #[must_use]
    pub fn decisions(&self) -> (Vec<(&'static str, String, u64)>, u64) {
        let live = self.live();
        let decisions = live.decisions.iter();
        let all = decisions.map(|((word, by), count)| (*word, by.clone(), *count)).collect();
        (all, live.overflow)
    }

    /// Runs that hold something now, and arrows that were refused because they may not be.
    #[must_use]
    pub fn counts(&self) -> (usize, u64) {
        self.look(|register| {
            let held = register.runs.values().filter(|run| run.is_holding()).count();
            (held, register.illegal)
        })
    }

    fn hurry(&self, run: &str) {
        self.rest(run, 0);
        self.wake.notify_one();
    }
}

fn newest_first(runs: &mut [&Run]) {
    runs.sort_by_key(|run| std::cmp::Reverse(run.planned_ns));
}

/// A run in a list.
fn short(run: &Run) -> Value {
    json!({
        "id": run.id,
        "state": run.state,
        "runbook": run.plan.runbook,
        "target": run.plan.target.name,
        "member": run.plan.member,
        "incident": run.plan.incident,
        "decision": run.plan.decision,
        "decided_by": run.plan.decided_by,
        "finding": run.finding,
        "planned_ns": run.planned_ns.to_string(),
        "expires_ns": run.expires_ns().map(|at| at.to_string()),
        "approvals": run.approvals.len(),
        "approvals_needed": run.plan.approval.need,
        "escalated": run.calls.last().map(|call| &call.why),
        "why": why(run),
    })
}

/// Why it stands where it does.
fn why(run: &Run) -> String {
    let last = run.arrows.iter().rev().find(|arrow| !arrow.why.is_empty());
    if let Some(last) = last {
        if let (State::Refused, Payload::Verdicts(verdicts)) = (last.to, &last.payload) {
            let refusal = verdicts.iter().find(|v| v.outcome == crate::guard::Outcome::Refuse);
            return refusal.map_or_else(
                || last.why.clone(),
                |v| format!("{}: {} (wanted: {})", last.why, v.observed, v.threshold),
            );
        }
        return last.why.clone();
    }
    let by = run.plan.decided_by.as_ref();
    let verdict = by.and_then(|by| run.plan.verdicts.iter().find(|v| v.guard == *by));
    verdict.map_or_else(String::new, |v| {
        format!("{}: {} (wanted: {})", v.guard, v.observed, v.threshold)
    })
}

fn holdings(run: &Run) -> impl Iterator<Item = Value> + '_ {
    run.held.iter().map(|held| {
        json!({
            "action": run.id,
            "target": run.plan.target.name,
            "member": held.member,
            "field": held.field,
            "value": held.value,
            "before": held.before,
            "state": run.state,
            "expires_ns": run.expires_ns().map(|at| at.to_string()),
        })
    })
}

fn word(state: State) -> String {
    serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn person(by: &str) -> Result<String, Refusal> {
    let by = words(by)?;
    if by.is_empty() { Err(Refusal::Unfit("say who you are: by".to_owned())) } else { Ok(by) }
}

fn words(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    if text.len() > WORDS_MAX || text.chars().any(char::is_control) {
        return Err(Refusal::Unfit(format!("at most {WORDS_MAX} bytes in one line, please")));
    }
    Ok(text.to_owned())
}
