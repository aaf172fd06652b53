//! A run: a plan under way, as a state machine whose every arrow is one record of the journal. Pure.

use serde::{Deserialize, Serialize};

use crate::guard::Verdict;
use crate::plan::{BackStep, Change, Decision, Judged, Member, Plan, ns};

/// Arrows of a run that are kept for people to read; the first and the last ones.
const ARROWS_KEPT: usize = 200;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not done: a guard, a person, or time said no.
    Refused,
    /// Not done: only what would have been.
    Shadowed,
    /// Waits for people.
    Awaiting,
    /// Every guard has let it through.
    Admitted,
    /// Ours to do, under an epoch; the next step is to come.
    Leased,
    /// What there was before the step is on record.
    Captured,
    /// The step is announced; whether it was done is known only with what follows.
    Dispatched,
    /// The step is done, and was read back.
    Observed,
    /// All steps are done; whether they help is being found out.
    Verifying,
    /// What was changed is held.
    Holding,
    /// What is held was lost or changed by others, and setting it again is announced.
    Reasserting,
    /// On the way back; the next change is to come.
    Reverting,
    /// A change of the way back is announced.
    RevertDispatched,
    /// On the way back at once, because it did not help or could not go on.
    RollingBack,
    /// A change of that is announced.
    RollbackDispatched,
    /// Whether an effect took place cannot be known.
    Unknown,
    /// Over.
    Closed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Refused,
        Self::Shadowed,
        Self::Awaiting,
        Self::Admitted,
        Self::Leased,
        Self::Captured,
        Self::Dispatched,
        Self::Observed,
        Self::Verifying,
        Self::Holding,
        Self::Reasserting,
        Self::Reverting,
        Self::RevertDispatched,
        Self::RollingBack,
        Self::RollbackDispatched,
        Self::Unknown,
        Self::Closed,
    ];

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Refused | Self::Shadowed | Self::Closed)
    }

    /// Whether an effect was announced whose outcome is not on record.
    #[must_use]
    pub const fn is_dispatched(self) -> bool {
        matches!(
            self,
            Self::Dispatched
                | Self::Reasserting
                | Self::RevertDispatched
                | Self::RollbackDispatched
        )
    }

    /// Whether `to` may follow.
    #[must_use]
    pub const fn leads_to(self, to: Self) -> bool {
        match self {
            Self::Refused | Self::Shadowed | Self::Closed => false,
            Self::Awaiting => matches!(to, Self::Admitted | Self::Refused),
            Self::Admitted => matches!(to, Self::Leased | Self::Refused),
            Self::Leased => matches!(to, Self::Captured | Self::RollingBack | Self::Refused),
            Self::Captured => matches!(to, Self::Dispatched | Self::RollingBack | Self::Refused),
            // An effect of class A or B that is not there is announced again.
            Self::Dispatched => {
                matches!(to, Self::Observed | Self::Dispatched | Self::RollingBack | Self::Unknown)
            }
            Self::Observed => {
                matches!(to, Self::Leased | Self::Verifying | Self::RollingBack | Self::Reverting)
            }
            // To itself: what was found is on record before it is acted upon.
            Self::Verifying => {
                matches!(
                    to,
                    Self::Verifying
                        | Self::Holding
                        | Self::RollingBack
                        | Self::Reverting
                        | Self::Closed
                )
            }
            Self::Holding => matches!(to, Self::Reasserting | Self::Reverting | Self::Closed),
            Self::Reasserting => matches!(to, Self::Holding | Self::Reverting | Self::Closed),
            Self::Reverting => {
                matches!(to, Self::RevertDispatched | Self::Reverting | Self::Closed)
            }
            Self::RevertDispatched => matches!(to, Self::Reverting | Self::Closed),
            Self::RollingBack => {
                matches!(to, Self::RollbackDispatched | Self::RollingBack | Self::Closed)
            }
            Self::RollbackDispatched => matches!(to, Self::RollingBack | Self::Closed),
            Self::Unknown => matches!(to, Self::Closed),
        }
    }
}

/// What verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// It helped.
    Verified,
    /// It did not.
    Ineffective,
    /// That could not be known; never a success.
    Inconclusive,
}

/// One step of the state machine, as it is recorded.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Arrow {
    /// When, ns since the epoch.
    pub at_ns: i64,
    /// Where it leads.
    pub to: State,
    /// Which step of the plan, or of the way back.
    pub step: usize,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// The epoch of whoever did it.
    pub epoch: u64,
    /// Identity of the effect that is announced; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// When the effect must have answered, ns since the epoch; 0 without one.
    #[serde(default)]
    pub deadline_ns: i64,
    /// Why.
    pub why: String,
    /// What goes with it.
    pub payload: Payload,
}

/// What goes with an arrow.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// Nothing.
    #[default]
    None,
    /// What was there before a step, and what the step will change.
    Pre(Member, Change),
    /// The change that is about to be made.
    Change(Change),
    /// What was read back.
    Post(Member),
    /// The way back.
    Back(Vec<BackStep>),
    /// What the guards said this time.
    Verdicts(Vec<Verdict>),
    /// What verification found, by which answer.
    Found(Finding, Option<Judged>),
}

/// Somebody's yes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Yes {
    /// Whose.
    pub by: String,
    /// When, ns since the epoch.
    pub at_ns: i64,
    /// Whether a signed link proved who it was.
    pub signed: bool,
}

/// Why a person is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// It waits for approval.
    Approval,
    /// Too many members are unwell for one of them to be to blame.
    Storm,
    /// Whether an effect took place cannot be known.
    #[default]
    Unknown,
    /// It did not help.
    Ineffective,
    /// Whether it helped cannot be known.
    Inconclusive,
    /// The alert ended, and nothing shows that all is well.
    Unrecovered,
    /// Another writer has what we held.
    Conflict,
    /// What was changed cannot be taken back.
    Stuck,
}

impl Need {
    /// As it stands in the label `reason`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Storm => "storm",
            Self::Unknown => "unknown",
            Self::Ineffective => "ineffective",
            Self::Inconclusive => "inconclusive",
            Self::Unrecovered => "unrecovered",
            Self::Conflict => "conflict",
            Self::Stuck => "stuck",
        }
    }
}

/// People called about a run, once for each need.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Call {
    /// What for.
    pub need: Need,
    /// The same in words.
    pub why: String,
    /// When it arose, ns since the epoch.
    pub at_ns: i64,
    /// Whether they were told.
    pub told: bool,
    /// Whether they were told that it is over.
    pub ended: bool,
}

/// A plan under way.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Run {
    /// The plan's id.
    pub id: String,
    /// The plan.
    pub plan: Plan,
    /// Where it stands.
    pub state: State,
    /// Since when, ns since the epoch.
    pub since_ns: i64,
    /// When it was planned, ns since the epoch.
    pub planned_ns: i64,
    /// Which step is next or under way.
    pub step: usize,
    /// Attempts at it.
    pub attempt: u32,
    /// When the first effect was announced.
    pub first_ns: Option<i64>,
    /// What is changed, in order, each with what was there before all of it.
    pub held: Vec<Change>,
    /// The change under way.
    pub change: Option<Change>,
    /// The member as it was before.
    pub pre: Option<Member>,
    /// The way back, once it is taken.
    pub back: Vec<BackStep>,
    /// What verification found.
    pub finding: Option<Finding>,
    /// Approvals.
    pub approvals: Vec<Yes>,
    /// Who asked for the way back, and why.
    pub revert_asked: Option<String>,
    /// Times that what is held had to be set again, ns since the epoch.
    pub reasserted_ns: Vec<i64>,
    /// What people were called for, in order.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// How it came here.
    pub arrows: Vec<Arrow>,
}

impl Run {
    /// A run of a new plan.
    pub(crate) fn new(plan: Plan) -> Self {
        let state = match plan.decision {
            Decision::Refused => State::Refused,
            Decision::Shadowed => State::Shadowed,
            Decision::Awaiting => State::Awaiting,
            Decision::Admitted => State::Admitted,
        };
        let at = plan.snapshot.at_ns;
        Self {
            id: plan.id.clone(),
            plan,
            state,
            since_ns: at,
            planned_ns: at,
            step: 0,
            attempt: 0,
            first_ns: None,
            held: Vec::new(),
            change: None,
            pre: None,
            back: Vec::new(),
            finding: None,
            approvals: Vec::new(),
            revert_asked: None,
            reasserted_ns: Vec::new(),
            calls: Vec::new(),
            arrows: Vec::new(),
        }
    }

    /// Takes in an arrow. One that may not be is not taken, which the answer tells.
    pub(crate) fn follow(&mut self, arrow: Arrow) -> bool {
        if !self.state.leads_to(arrow.to) {
            return false;
        }
        let moved = self.step != arrow.step || self.state != arrow.to;
        if moved || arrow.to.is_dispatched() {
            self.since_ns = arrow.at_ns;
        }
        (self.state, self.step, self.attempt) = (arrow.to, arrow.step, arrow.attempt);
        match &arrow.payload {
            Payload::None | Payload::Post(_) | Payload::Verdicts(_) => {}
            Payload::Pre(member, change) => {
                self.pre.get_or_insert_with(|| member.clone());
                self.change = Some(change.clone());
            }
            Payload::Change(change) => self.change = Some(change.clone()),
            Payload::Back(back) => self.back.clone_from(back),
            Payload::Found(finding, _) => self.finding = Some(*finding),
        }
        match arrow.to {
            State::Dispatched => {
                self.first_ns.get_or_insert(arrow.at_ns);
                self.hold();
            }
            State::Reasserting => self.reasserted_ns.push(arrow.at_ns),
            _ => {}
        }
        if self.arrows.len() >= ARROWS_KEPT {
            self.arrows.remove(ARROWS_KEPT / 2);
        }
        self.arrows.push(arrow);
        true
    }

    /// From now on the change under way counts as ours to take back.
    fn hold(&mut self) {
        let Some(change) = self.change.clone() else { return };
        match self.held.iter_mut().find(|held| held.field == change.field) {
            Some(held) => held.value = change.value,
            None => self.held.push(change),
        }
    }

    /// When what is held must be on its way back, ns since the epoch.
    #[must_use]
    pub fn expires_ns(&self) -> Option<i64> {
        let ttl = ns(self.plan.revert.as_ref()?.ttl);
        self.first_ns.map(|first| first.saturating_add(ttl))
    }

    /// `target/member`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.plan.target.name, self.plan.member)
    }

    /// Whether something is changed that is ours to take back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty() && !self.state.is_final()
    }
}
