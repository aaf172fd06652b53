//! What the journal says of incidents and runs, in memory. Pure: the same records in the same order give the same register.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::plan::{Active, History, Incident, Plan, Touch, ns};
use crate::run::{Arrow, Call, Finding, Need, Run, State, Yes};
use crate::runbook::{Runbook, Trust};

/// Closed incidents and finished runs remembered, each.
const HISTORY_MAX: usize = 2_000;
/// Incidents open at once; further ones are not acted on, which is counted.
pub(crate) const OPEN_MAX: usize = 5_000;
/// How long an action counts for budgets, ns.
const TOUCH_AGE_NS: i64 = 86_400_000_000_000;
/// How long people are called for the same thing at most, and at least unless they take note, ns.
const CALL_AGE_NS: i64 = 86_400_000_000_000;
const CALL_MIN_NS: i64 = 900_000_000_000;
/// Runs without effect in a row that cost a runbook its trust.
const NO_EFFECTS_MAX: u32 = 2;

/// Something that happened to incidents and runs. The journal holds it as JSON.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Deed {
    /// A process took over; effects carry its epoch.
    Started {
        epoch: u64,
    },
    Opened(Incident),
    Resolved {
        incident: String,
        at_ns: i64,
        /// Why, where that is not that the condition holds no longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unknown: Option<String>,
    },
    Acknowledged {
        incident: String,
        by: String,
        #[serde(default)]
        at_ns: i64,
    },
    Planned(Box<Plan>),
    Arrow {
        run: String,
        arrow: Box<Arrow>,
    },
    Approved {
        run: String,
        yes: Yes,
    },
    RevertAsked {
        run: String,
        why: String,
    },
    Escalated {
        run: String,
        why: String,
        #[serde(default)]
        need: Need,
        #[serde(default)]
        at_ns: i64,
    },
    /// People were told what they are needed for, or that it is over.
    Told {
        run: String,
        #[serde(default)]
        need: Need,
        #[serde(default)]
        ended: bool,
    },
    /// Another writer was met.
    Conflict {
        place: String,
        at_ns: i64,
    },
    Switched {
        switch: Option<Switch>,
    },
    /// Somebody gave a runbook its trust back.
    Trusted {
        runbook: String,
        target: String,
        by: String,
    },
    /// What a rewrite kept.
    KeptRun(Box<Run>),
    KeptTouches(Vec<Touch>),
    KeptRecords(BTreeMap<String, Record>),
}

/// The kill switch where it is on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Switch {
    /// Whether even ways back stand still.
    pub freeze: bool,
    /// Who did it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When, ns since the epoch.
    pub at_ns: i64,
}

/// How a runbook has done on a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Record {
    /// Runs that helped.
    pub verified: u32,
    /// Runs that did not.
    pub ineffective: u32,
    /// Runs of which that could not be known.
    pub inconclusive: u32,
    /// Runs whose effect is unknown, or that met another writer.
    pub harmed: u32,
    /// Runs without effect since the last that helped.
    pub without_effect: u32,
    /// Whether it has lost the right to act by itself.
    pub demoted: bool,
    /// Runs in a row that helped.
    #[serde(default)]
    pub in_row: u32,
    /// Plans in a row that were only recorded, and without which the alert went on.
    #[serde(default)]
    pub missed_in_row: u32,
    /// Whether somebody has said that it need not earn its trust.
    #[serde(default)]
    pub trusted: bool,
}

/// Everything that is remembered.
#[derive(Default)]
pub(crate) struct Register {
    pub(crate) epoch: u64,
    pub(crate) incidents: BTreeMap<String, Incident>,
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) switch: Option<Switch>,
    pub(crate) records: BTreeMap<String, Record>,
    touches: Vec<Touch>,
    conflicts: BTreeMap<String, i64>,
    /// Resolved, oldest first.
    closed: VecDeque<String>,
    /// Finished, oldest first.
    finished: VecDeque<String>,
    /// Arrows that may not be: a mistake of ours, or a file of another.
    pub(crate) illegal: u64,
}

impl Register {
    /// Takes in one deed that is on disk.
    pub(crate) fn apply(&mut self, deed: Deed) {
        match deed {
            Deed::Started { epoch } => self.epoch = self.epoch.max(epoch),
            Deed::Opened(incident) => self.open(incident),
            Deed::Resolved { incident, at_ns, unknown } => {
                if let Some(found) = self.incidents.get_mut(&incident)
                    && found.resolved_ns.is_none()
                {
                    found.resolved_ns = Some(at_ns);
                    let is_shown = unknown.is_none();
                    found.unknown = unknown;
                    self.closed.push_back(incident.clone());
                    if is_shown {
                        self.judge_shadows(&incident, at_ns);
                    }
                }
                self.forget();
            }
            Deed::Acknowledged { incident, by, at_ns } => {
                if let Some(found) = self.incidents.get_mut(&incident) {
                    (found.acknowledged_by, found.acknowledged_ns) = (Some(by), Some(at_ns));
                }
            }
            Deed::Planned(plan) => self.add(Run::new(*plan)),
            Deed::KeptRun(run) => self.add(*run),
            Deed::Arrow { run, arrow } => self.follow(&run, *arrow),
            Deed::Approved { run, yes } => {
                if let Some(run) = self.runs.get_mut(&run)
                    && run.approvals.iter().all(|other| other.by != yes.by)
                {
                    run.approvals.push(yes);
                }
            }
            Deed::RevertAsked { run, why } => self.with(&run, |run| run.revert_asked = Some(why)),
            Deed::Escalated { run, why, need, at_ns } => self.with(&run, |run| {
                if run.calls.iter().all(|call| call.need != need) {
                    run.calls.push(Call { need, why, at_ns, told: false, ended: false });
                }
            }),
            Deed::Told { run, need, ended } => self.with(&run, |run| {
                if let Some(call) = run.calls.iter_mut().find(|call| call.need == need) {
                    (call.told, call.ended) = (true, call.ended || ended);
                }
            }),
            Deed::Conflict { place, at_ns } => _ = self.conflicts.insert(place, at_ns),
            Deed::Switched { switch } => self.switch = switch,
            Deed::Trusted { runbook, target, .. } => {
                let record = self.records.entry(format!("{runbook}/{target}")).or_default();
                (record.demoted, record.without_effect, record.trusted) = (false, 0, true);
            }
            Deed::KeptTouches(touches) => self.touches = touches,
            Deed::KeptRecords(records) => self.records = records,
        }
    }

    fn with(&mut self, run: &str, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.runs.get_mut(run) {
            change(run);
        }
    }

    fn open(&mut self, incident: Incident) {
        if incident.resolved_ns.is_some() {
            self.closed.push_back(incident.id.clone());
        }
        self.incidents.insert(incident.id.clone(), incident);
    }

    fn add(&mut self, run: Run) {
        if run.state.is_final() {
            self.finished.push_back(run.id.clone());
        }
        self.runs.insert(run.id.clone(), run);
        self.forget();
    }

    fn follow(&mut self, id: &str, arrow: Arrow) {
        let Some(run) = self.runs.get_mut(id) else { return };
        let (was_touched, had_found) = (run.first_ns.is_some(), run.finding.is_some());
        if !run.follow(arrow) {
            self.illegal += 1;
            return;
        }
        let (place, at) = (run.place(), run.since_ns);
        if !was_touched && let Some(at_ns) = run.first_ns {
            let (rule, kind) = (run.plan.rule.clone(), run.plan.target.driver);
            self.touches.retain(|touch| touch.at_ns > at - TOUCH_AGE_NS);
            self.touches.push(Touch { at_ns, place, rule, kind });
        }
        let finding = run.finding.filter(|_| !had_found);
        let (is_unknown, is_final) = (run.state == State::Unknown, run.state.is_final());
        let name = format!("{}/{}", run.plan.runbook, run.plan.target.name);
        if finding.is_some() || is_unknown {
            judge(self.records.entry(name).or_default(), finding, is_unknown);
        }
        if is_final {
            self.finished.push_back(id.to_owned());
            self.forget();
        }
    }

    fn forget(&mut self) {
        // What acted on an incident that is open stays, or it would be acted on again.
        for _ in 0..self.finished.len().saturating_sub(HISTORY_MAX) {
            let Some(old) = self.finished.pop_front() else { break };
            let is_needed = self.runs.get(&old).is_some_and(|run| {
                let incident = self.incidents.get(&run.plan.incident);
                run.state != State::Refused && incident.is_some_and(|i| i.resolved_ns.is_none())
            });
            if is_needed {
                self.finished.push_back(old);
            } else {
                self.runs.remove(&old);
            }
        }
        while self.closed.len() > HISTORY_MAX {
            if let Some(old) = self.closed.pop_front() {
                self.incidents.remove(&old);
            }
        }
    }

    /// How far its record lets a runbook go.
    pub(crate) fn ladder(&self, runbook: &Runbook, target: &str) -> Trust {
        let record = self.records.get(&format!("{}/{target}", runbook.name));
        let record = record.cloned().unwrap_or_default();
        match runbook.earn.filter(|_| !record.trusted) {
            Some(earn) if record.missed_in_row < earn.approve => Trust::Shadow,
            Some(earn) if record.in_row < earn.auto => Trust::Approve,
            _ if record.demoted => Trust::Approve,
            _ => Trust::Auto,
        }
    }

    /// What plans that were only recorded have shown: the alert went on for longer than they might have taken, or it ended
    /// without them.
    fn judge_shadows(&mut self, incident: &str, at_ns: i64) {
        let shadows = self
            .runs
            .values()
            .filter(|r| r.state == State::Shadowed && r.plan.incident == incident);
        for run in shadows {
            let name = format!("{}/{}", run.plan.runbook, run.plan.target.name);
            let record = self.records.entry(name).or_default();
            let took_ns = at_ns.saturating_sub(run.planned_ns);
            let verify = run.plan.verify.as_ref();
            let help_ns = verify.map_or(0, |v| ns(v.after).saturating_add(ns(v.within)));
            record.missed_in_row =
                if took_ns > help_ns { record.missed_in_row.saturating_add(1) } else { 0 };
        }
    }

    /// What was done before, as far as a run with `key` at `place` is asked about; `but` is left out.
    pub(crate) fn history(&self, key: &str, place: &str, but: &str) -> History {
        let others = || self.runs.values().filter(|run| run.id != but);
        let same = others().find(|run| run.plan.key == key && run.state != State::Refused);
        let active = others().filter(|run| {
            !run.state.is_final() && (run.state != State::Awaiting || run.is_holding())
        });
        History {
            same_key: same.map(|run| run.id.clone()),
            touches: self.touches.clone(),
            active: active
                .map(|run| Active {
                    run: run.id.clone(),
                    target: run.plan.target.name.clone(),
                    place: run.place(),
                    pending: run.first_ns.is_none(),
                })
                .collect(),
            conflict_ns: self.conflicts.get(place).copied(),
        }
    }

    /// The last plan that came to nothing for this incident and runbook.
    pub(crate) fn refused(&self, incident: &str, runbook: &str) -> Option<&Run> {
        let of = |run: &&Run| run.plan.incident == incident && run.plan.runbook == runbook;
        let refused = self.runs.values().filter(|run| run.state == State::Refused).filter(of);
        refused.max_by_key(|run| run.planned_ns)
    }

    /// Incidents that are not over.
    pub(crate) fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values().filter(|incident| incident.resolved_ns.is_none())
    }

    /// Whether the data showed that what `incident` began with is over: at its end, or at that of a later one of the
    /// same alert. An alert whose data is missing or whose rule is gone ends as well, and shows nothing.
    pub(crate) fn is_recovered(&self, incident: &str) -> bool {
        let Some(first) = self.incidents.get(incident) else { return false };
        let same = |other: &&Incident| {
            (&other.rule, &other.labels) == (&first.rule, &first.labels)
                && other.opened_ns >= first.opened_ns
        };
        let mut ends = self.incidents.values().filter(same);
        ends.any(|other| other.resolved_ns.is_some() && other.unknown.is_none())
    }

    /// Whether what people were called for needs them no longer: it is approved or refused; else, they have taken note, a day has passed, or action and
    /// incident are over for a while, unless nobody knows what the action did.
    pub(crate) fn is_over(&self, run: &Run, call: &Call, now_ns: i64) -> bool {
        if call.need == Need::Approval {
            return run.state != State::Awaiting;
        }
        let incident = self.incidents.get(&run.plan.incident);
        let noted = incident.and_then(|incident| incident.acknowledged_ns);
        let is_past = incident.is_none_or(|incident| incident.resolved_ns.is_some());
        let is_done = run.state.is_final() && is_past && call.need != Need::Unknown;
        let age_ns = now_ns - call.at_ns;
        noted.is_some_and(|at| at >= call.at_ns)
            || age_ns >= CALL_AGE_NS
            || (is_done && age_ns >= CALL_MIN_NS)
    }

    /// Deeds from which [`Register::apply`] makes this register again.
    pub(crate) fn deeds(&self) -> Vec<Deed> {
        let mut deeds = vec![Deed::Started { epoch: self.epoch }];
        deeds.push(Deed::Switched { switch: self.switch.clone() });
        deeds.push(Deed::KeptTouches(self.touches.clone()));
        deeds.push(Deed::KeptRecords(self.records.clone()));
        let conflicts = self.conflicts.iter();
        deeds.extend(
            conflicts.map(|(place, at)| Deed::Conflict { place: place.clone(), at_ns: *at }),
        );
        // Finished ones in their order, so that the oldest is forgotten first again.
        let closed = self.closed.iter().filter_map(|id| self.incidents.get(id));
        deeds.extend(closed.chain(self.open_incidents()).cloned().map(Deed::Opened));
        let finished = self.finished.iter().filter_map(|id| self.runs.get(id));
        let running = self.runs.values().filter(|run| !run.state.is_final());
        let kept = finished.chain(running).cloned();
        deeds.extend(kept.map(|run| Deed::KeptRun(Box::new(run))));
        deeds
    }
}

fn judge(record: &mut Record, finding: Option<Finding>, is_unknown: bool) {
    match finding {
        Some(Finding::Verified) => {
            (record.verified, record.without_effect) = (record.verified + 1, 0);
            record.in_row = record.in_row.saturating_add(1);
        }
        Some(Finding::Ineffective) => {
            record.in_row = 0;
            record.ineffective += 1;
            record.without_effect += 1;
        }
        Some(Finding::Inconclusive) => record.inconclusive += 1,
        None => {}
    }
    record.harmed += u32::from(is_unknown);
    if is_unknown || record.without_effect >= NO_EFFECTS_MAX {
        (record.demoted, record.trusted, record.in_row) = (true, false, 0);
    }
}
