//! Takes a run from state to state, towards its effect. Every arrow is on disk before what follows from it.

use std::time::Duration;

use super::{Actions, OBSERVE_TIMEOUT};
use crate::error::Error;
use crate::guard::{self, Outcome};
use crate::plan::{self, Change, Decision, Member, PlannedStep, ns};
use crate::run::{Arrow, Need, Payload, Run, State};
use crate::runbook::{RevertWhen, hash_of};
use crate::target::{Failure, Order, RetryClass};

/// Arrows taken at once: more than any plan has in a row.
const ARROWS_MAX: usize = 64;
/// Between two looks at what verifies, and at what is held.
pub(super) const LOOK_NS: i64 = 1_000_000_000;
const DRIFT_NS: i64 = 2_000_000_000;
/// Rest before an effect of class C that is not to be seen is tried once more.
const QUIET_NS: i64 = 10_000_000_000;
/// How long a target that cannot be read leaves a dispatched step in doubt.
const DOUBT_NS: i64 = 60_000_000_000;
/// How old a decision may be when its first effect follows.
const DECIDED_NS: i64 = 2_000_000_000;
/// Looks at what verifies, of this process, before anything but a success is found.
pub(super) const LOOKS_MIN: u32 = 3;
/// How long data that decide may be missing between two steps.
const BLIND_NS: i64 = 60_000_000_000;
/// Guards that are asked between two steps as well: what they see is not of our own making.
const ASKED_BETWEEN: [&str; 5] = ["quality", "storm", "blast_radius", "capacity", "preconditions"];
/// Rest between the end of an effect and that of the lease it is made under.
const SKEW: Duration = Duration::from_millis(300);
/// Attempts at one step.
const ATTEMPTS_MAX: u32 = 5;
/// Times within [`FIGHT_NS`] that a lost value is set again before it is left to whoever else sets it.
const REASSERTS_MAX: usize = 3;
const FIGHT_NS: i64 = 600_000_000_000;

/// Why a run is not to go on when its alert is over.
const RESOLVED: &str = "the alert is resolved";

/// What came of looking at a run.
pub(super) enum Next {
    /// It has moved: look again.
    Moved,
    /// It waits.
    Wait,
}

/// Failures to record: the run stays where it is.
pub(super) type Stepped = Result<Next, Error>;

impl Actions {
    /// Takes a run as far as it goes now.
    pub(super) async fn advance(&self, id: &str) {
        for _ in 0..ARROWS_MAX {
            let Some(run) = self.look(|register| register.runs.get(id).cloned()) else { return };
            let stepped = match run.state {
                State::Awaiting => self.await_approval(&run).await,
                State::Admitted => self.lease(&run).await,
                State::Leased => self.capture(&run).await,
                State::Captured => self.dispatch_step(&run).await,
                State::Dispatched => self.find_out(&run).await,
                State::Observed => self.settle(&run).await,
                State::Verifying => self.verify(&run).await,
                State::Holding | State::Reasserting => self.hold(&run).await,
                State::Reverting
                | State::RevertDispatched
                | State::RollingBack
                | State::RollbackDispatched => self.go_back(&run).await,
                State::Unknown => self.give_up(&run).await,
                State::Refused | State::Shadowed | State::Closed => return,
            };
            match stepped {
                Ok(Next::Moved) => {}
                Ok(Next::Wait) => return,
                Err(error) => {
                    tracing::warn!(run = id, %error, "a run stands still");
                    self.give_back_unrecorded(&run).await;
                    self.rest(id, LOOK_NS);
                    return;
                }
            }
        }
    }

    /// Records an arrow.
    pub(super) async fn go(
        &self,
        run: &Run,
        (to, step): (State, usize),
        why: &str,
        payload: Payload,
    ) -> Stepped {
        let attempt = if step == run.step { run.attempt } else { 0 };
        let arrow = Arrow {
            at_ns: self.now(),
            to,
            step,
            attempt,
            epoch: self.look(|register| register.epoch),
            token: String::new(),
            deadline_ns: 0,
            why: why.to_owned(),
            payload,
        };
        self.arrow(&run.id, arrow).await?;
        Ok(Next::Moved)
    }

    pub(super) fn rest(&self, run: &str, wait_ns: i64) {
        let at = self.now().saturating_add(wait_ns);
        self.live().runs.entry(run.to_owned()).or_default().not_before_ns = at;
    }

    pub(super) fn wait(&self, run: &Run, wait_ns: i64) -> Stepped {
        self.rest(&run.id, wait_ns);
        Ok(Next::Wait)
    }

    /// Why the run is not to go on, if it is not.
    fn obstacle(&self, run: &Run) -> Option<String> {
        if let Some(asked) = &run.revert_asked {
            return Some(asked.clone());
        }
        if let Some((_, why)) = self.switch() {
            return Some(why);
        }
        if run.expires_ns().is_some_and(|at| self.now() >= at) {
            return Some("its time is over".to_owned());
        }
        self.is_resolved(run).then(|| RESOLVED.to_owned())
    }

    pub(super) fn is_resolved(&self, run: &Run) -> bool {
        self.look(|register| {
            let incident = register.incidents.get(&run.plan.incident);
            incident.is_none_or(|incident| incident.resolved_ns.is_some())
        })
    }

    /// Ends a run that has changed nothing, or takes back what it has.
    pub(super) async fn stop(&self, run: &Run, why: &str) -> Stepped {
        if run.held.is_empty() {
            return self.go(run, (State::Refused, run.step), why, Payload::None).await;
        }
        let back = Payload::Back(plan::way_back(&run.held, &[]));
        self.go(run, (State::RollingBack, 0), why, back).await
    }

    async fn await_approval(&self, run: &Run) -> Stepped {
        let refused = (State::Refused, 0);
        if let Some(asked) = &run.revert_asked {
            return self.go(run, refused, asked, Payload::None).await;
        }
        if self.is_resolved(run) {
            return self.go(run, refused, "the alert is resolved", Payload::None).await;
        }
        if self.now() >= run.planned_ns.saturating_add(ns(run.plan.approval.within)) {
            return self.go(run, refused, "nobody approved in time", Payload::None).await;
        }
        if run.approvals.len() < run.plan.approval.need {
            let why = match run.plan.approval.need {
                1 => "it waits for an approval".to_owned(),
                need => format!("it waits for {need} approvals"),
            };
            self.escalate(&run.id, Need::Approval, &why).await;
            return self.wait(run, LOOK_NS);
        }
        let _one = self.deciding.lock().await;
        let bound = self.book.runbooks.get(&run.plan.runbook);
        let target = self.book.targets.get(&run.plan.target.name);
        let incident = self.look(|register| register.incidents.get(&run.plan.incident).cloned());
        let (Some(bound), Some(target), Some(incident)) = (bound, target, incident) else {
            return self.go(run, refused, "voided: its runbook is gone", Payload::None).await;
        };
        let seen = self.snapshot(&bound.runbook, target, (&incident, Some(run))).await;
        let now = plan::decide(&bound.runbook, target, &incident, seen);
        let verdicts = Payload::Verdicts(now.verdicts.clone());
        if now.binding != run.plan.binding {
            let why = "voided: what was approved is not what would be done now";
            return self.go(run, refused, why, verdicts).await;
        }
        match now.decision {
            Decision::Admitted => self.go(run, (State::Admitted, 0), "approved", verdicts).await,
            Decision::Refused if has_refusal(&now.verdicts) => {
                let why = format!("refused by {}", now.decided_by.unwrap_or_default());
                self.go(run, refused, &why, verdicts).await
            }
            _ => self.wait(run, 5 * LOOK_NS),
        }
    }

    async fn lease(&self, run: &Run) -> Stepped {
        self.go(run, (State::Leased, 0), "ours under this epoch", Payload::None).await
    }

    /// Asks the guards once more: before the first effect where time has passed since they were asked, as by a restart,
    /// and before each further step. What follows, unless it is that the run goes on.
    async fn ask_again(&self, run: &Run) -> Option<Stepped> {
        let is_first = run.first_ns.is_none();
        let asked_ns = match run.state {
            State::Leased if !is_first => i64::MIN,
            _ if is_first => run.planned_ns,
            _ => run.since_ns,
        };
        if self.now().saturating_sub(asked_ns) <= DECIDED_NS {
            return None;
        }
        let _one = self.deciding.lock().await;
        let bound = self.book.runbooks.get(&run.plan.runbook);
        let target = self.book.targets.get(&run.plan.target.name);
        let incident = self.look(|register| register.incidents.get(&run.plan.incident).cloned());
        let (Some(bound), Some(target), Some(incident)) = (bound, target, incident) else {
            return Some(self.stop(run, "its runbook is gone").await);
        };
        let seen = self.snapshot(&bound.runbook, target, (&incident, Some(run))).await;
        let now = plan::decide(&bound.runbook, target, &incident, seen);
        if !is_first {
            return self.between(run, &now.verdicts).await;
        }
        if now.binding != run.plan.binding {
            return Some(self.stop(run, "what was decided is not what would be done now").await);
        }
        match now.decision {
            Decision::Admitted => None,
            _ if has_refusal(&now.verdicts) => {
                let why = format!("refused by {}", now.decided_by.unwrap_or_default());
                Some(self.stop(run, &why).await)
            }
            _ => Some(self.wait(run, LOOK_NS)),
        }
    }

    /// What the guards say between two steps: who finds no data is asked again for a while, any other refusal takes back
    /// what was done.
    async fn between(&self, run: &Run, verdicts: &[guard::Verdict]) -> Option<Stepped> {
        let refuses = |verdict: &&guard::Verdict| {
            verdict.outcome == Outcome::Refuse && ASKED_BETWEEN.contains(&&*verdict.guard)
        };
        let refusal = verdicts.iter().find(refuses)?;
        if refusal.guard == "quality" && self.now() - run.since_ns < BLIND_NS {
            return Some(self.wait(run, LOOK_NS));
        }
        let why = format!("between two steps refused by {}: {}", refusal.guard, refusal.observed);
        Some(self.stop(run, &why).await)
    }

    /// Reads what is there before a step.
    async fn capture(&self, run: &Run) -> Stepped {
        if let Some(why) = self.obstacle(run) {
            return self.stop(run, &why).await;
        }
        if let Some(stepped) = self.ask_again(run).await {
            return stepped;
        }
        let Some(planned) = run.plan.steps.get(run.step) else {
            return self.stop(run, "its steps are gone").await;
        };
        let member = match self.read(run).await {
            Ok(member) => member,
            Err(why) => return self.stop(run, &why).await,
        };
        for held in run.held.iter().filter(|held| !plan::is_lasting(&held.field)) {
            if member.fields.get(&held.field) != Some(&held.value) {
                let why = format!("{} is no longer what was set", held.field);
                return self.stop(run, &why).await;
            }
        }
        match planned.wish.change(&member) {
            Err(why) => self.stop(run, &why).await,
            Ok(change) => {
                let pre = Payload::Pre(member, change);
                self.go(run, (State::Captured, run.step), "read before", pre).await
            }
        }
    }

    /// What repeating an effect of a run means.
    pub(super) fn class(&self, run: &Run) -> RetryClass {
        let target = &run.plan.target;
        self.driver(target.driver).class(target)
    }

    /// The member as it is now.
    pub(super) async fn read(&self, run: &Run) -> Result<Member, String> {
        let target = &run.plan.target;
        let members = self.driver(target.driver).observe(target, OBSERVE_TIMEOUT).await?;
        let found = members.into_iter().find(|member| member.name == run.plan.member);
        found.ok_or_else(|| format!("{} is not there", run.plan.member))
    }

    async fn dispatch_step(&self, run: &Run) -> Stepped {
        if let Some(why) = self.obstacle(run) {
            return self.stop(run, &why).await;
        }
        if let Some(stepped) = self.ask_again(run).await {
            return stepped;
        }
        let (Some(planned), Some(change)) = (run.plan.steps.get(run.step), run.change.clone())
        else {
            return self.stop(run, "its steps are gone").await;
        };
        let target = &run.plan.target;
        let obstacle = self.driver(target.driver).obstacle(target, &change, OBSERVE_TIMEOUT).await;
        if let Some(why) = obstacle {
            return self.stop(run, &why).await;
        }
        self.attempt_step(run, planned, change).await
    }

    async fn attempt_step(&self, run: &Run, planned: &PlannedStep, change: Change) -> Stepped {
        let to = (State::Dispatched, run.step);
        let done = self.dispatch(run, to, (&change, planned.step.timeout)).await?;
        let now = self.look(|register| register.runs.get(&run.id).cloned());
        let Some(run) = now else { return Ok(Next::Wait) };
        let class = self.class(&run);
        match (done, class) {
            (Ok(post), _) => {
                self.go(&run, (State::Observed, run.step), "read back", Payload::Post(post)).await
            }
            (Err(Failure::Refused(why)), _) | (Err(Failure::Unknown(why)), RetryClass::Set) => {
                self.stop(&run, &why).await
            }
            // It may come into sight yet: found out about as after a crash.
            (Err(Failure::Unknown(why)), RetryClass::Probe | RetryClass::Opaque) => {
                tracing::warn!(run = run.id, why, "whether an effect took place is not yet known");
                self.wait(&run, LOOK_NS)
            }
        }
    }

    /// Announces a change, makes it, and reads it back. The outer error says that it was not announced and not made.
    pub(super) async fn dispatch(
        &self,
        run: &Run,
        (to, step): (State, usize),
        (change, timeout): (&Change, Duration),
    ) -> Result<Result<Member, Failure>, Error> {
        let now = self.now();
        let attempt = if step == run.step { run.attempt + 1 } else { 1 };
        let arrow = Arrow {
            at_ns: now,
            to,
            step,
            attempt,
            epoch: self.look(|register| register.epoch),
            token: hash_of(&(&run.plan.key, to, step, run.reasserted_ns.len()))[..32].to_owned(),
            deadline_ns: now.saturating_add(ns(timeout)),
            why: String::new(),
            payload: Payload::Change(change.clone()),
        };
        let token = arrow.token.clone();
        self.arrow(&run.id, arrow).await?;
        let target = &run.plan.target;
        // A process that was stopped for a while may have been replaced since.
        let left = self.journal.left().saturating_sub(SKEW);
        if left.is_zero() {
            let reason = "the lease ends before the effect could".to_owned();
            return Err(Error::Closed { reason });
        }
        let timeout = timeout.min(left);
        let order = Order { change, token: &token, timeout };
        let applied = self.driver(target.driver).apply(target, order).await;
        let read = self.read(run).await;
        Ok(match (applied, read) {
            (_, Ok(member)) if member.fields.get(&change.field) == Some(&change.value) => {
                Ok(member)
            }
            (Err(why), _) => Err(why),
            (Ok(()), Err(why)) => Err(Failure::Unknown(why)),
            (Ok(()), Ok(member)) => {
                let is = member.fields.get(&change.field).map_or("gone", String::as_str);
                let why = format!("{} is {is} instead of {}", change.field, change.value);
                Err(Failure::Unknown(why))
            }
        })
    }

    /// A step that was announced, by an earlier process or without an answer: the class decides.
    async fn find_out(&self, run: &Run) -> Stepped {
        let (Some(planned), Some(change)) = (run.plan.steps.get(run.step), run.change.clone())
        else {
            return self
                .go(run, (State::Unknown, run.step), "its steps are gone", Payload::None)
                .await;
        };
        let class = self.class(run);
        let age = self.now() - run.since_ns;
        let member = match self.read(run).await {
            Ok(member) => member,
            Err(_) if age < DOUBT_NS => return self.wait(run, LOOK_NS),
            Err(why) => return self.doubt(run, class, &why).await,
        };
        let is = member.fields.get(&change.field);
        if is == Some(&change.value) {
            let post = Payload::Post(member);
            return self.go(run, (State::Observed, run.step), "found done", post).await;
        }
        if is != Some(&change.before) {
            return self.doubt(run, class, "another writer was faster").await;
        }
        if let Some(why) = self.obstacle(run) {
            return self.doubt(run, class, &why).await;
        }
        match class {
            // Whoever was asked may still say that it is done.
            RetryClass::Opaque if age < DOUBT_NS => self.wait(run, LOOK_NS),
            RetryClass::Opaque => self.doubt(run, class, "it has not said that it is done").await,
            RetryClass::Probe if age < QUIET_NS => self.wait(run, LOOK_NS),
            RetryClass::Probe if run.attempt >= 2 => {
                self.doubt(run, class, "not to be seen after two attempts").await
            }
            RetryClass::Set if run.attempt >= ATTEMPTS_MAX => {
                self.doubt(run, class, "not to be seen after several attempts").await
            }
            _ => self.attempt_step(run, planned, change).await,
        }
    }

    async fn doubt(&self, run: &Run, class: RetryClass, why: &str) -> Stepped {
        match class {
            RetryClass::Set => self.stop(run, why).await,
            RetryClass::Probe | RetryClass::Opaque => {
                self.go(run, (State::Unknown, run.step), why, Payload::None).await
            }
        }
    }

    async fn give_up(&self, run: &Run) -> Stepped {
        self.escalate(&run.id, Need::Unknown, "whether its effect took place is not known").await;
        self.go(run, (State::Closed, run.step), "left to a person", Payload::None).await
    }

    /// Rests after a step, and goes to the next or to verification.
    async fn settle(&self, run: &Run) -> Stepped {
        let obstacle = self.obstacle(run);
        if obstacle.as_deref() == Some(RESOLVED) {
            // That may be its doing: what was done so far is verified, and given back in its turn.
            return self.go(run, (State::Verifying, run.step + 1), RESOLVED, Payload::None).await;
        }
        if let Some(why) = obstacle {
            return self.stop(run, &why).await;
        }
        let Some(planned) = run.plan.steps.get(run.step) else {
            return self.stop(run, "its steps are gone").await;
        };
        let age = self.now() - run.since_ns;
        if age < ns(planned.step.settle) {
            return self.wait(run, (ns(planned.step.settle) - age).min(LOOK_NS));
        }
        if age < ns(planned.step.drain_timeout) {
            let busy = self.read(run).await.map_or(true, |member| member.sessions > 0);
            if busy {
                return self.wait(run, LOOK_NS / 2);
            }
        }
        let next = run.step + 1;
        let to = if next < run.plan.steps.len() { State::Leased } else { State::Verifying };
        self.go(run, (to, next), "settled", Payload::None).await
    }

    /// Watches what is held until its time is over.
    async fn hold(&self, run: &Run) -> Stepped {
        if run.held.iter().all(|held| plan::is_lasting(&held.field)) {
            let why = "it is done, there is nothing to hold";
            return self.go(run, (State::Closed, run.step), why, Payload::None).await;
        }
        let ends = run.plan.revert.as_ref().is_none_or(|r| r.when == RevertWhen::Resolved);
        let is_over = run.expires_ns().is_none_or(|at| self.now() >= at);
        let is_recovered = self.look(|register| register.is_recovered(&run.plan.incident));
        if run.revert_asked.is_some() || is_over || (ends && is_recovered) {
            return self.begin_revert(run).await;
        }
        if ends && self.is_resolved(run) {
            let why = "the alert ended without a sign that all is well, what is held stays until its time is over";
            self.escalate(&run.id, Need::Unrecovered, why).await;
        }
        let member = match self.read(run).await {
            Ok(member) => member,
            Err(why) => {
                tracing::warn!(run = run.id, why, "what is held could not be read");
                return self.wait(run, DRIFT_NS);
            }
        };
        let mut kept = run.held.iter().filter(|held| !plan::is_lasting(&held.field));
        let lost = kept.find(|held| member.fields.get(&held.field) != Some(&held.value));
        let Some(lost) = lost else {
            if run.state == State::Reasserting {
                return self
                    .go(run, (State::Holding, 0), "held again", Payload::Post(member))
                    .await;
            }
            return self.wait(run, DRIFT_NS);
        };
        let from = self.now() - FIGHT_NS;
        if run.reasserted_ns.iter().filter(|at| **at > from).count() >= REASSERTS_MAX {
            let is = member.fields.get(&lost.field).map_or("gone", String::as_str);
            let why = format!("another writer keeps setting {} to {is}", lost.field);
            return self.release(run, &why).await;
        }
        if self.switch().is_some() {
            return self.wait(run, DRIFT_NS);
        }
        if run.state == State::Reasserting {
            self.go(run, (State::Holding, 0), "not held yet", Payload::None).await?;
        }
        let timeout = OBSERVE_TIMEOUT;
        let to = (State::Reasserting, 0);
        if let Err(why) = self.dispatch(run, to, (lost, timeout)).await? {
            let why = why.words();
            tracing::warn!(run = run.id, why, "what is held could not be set again");
        }
        self.wait(run, DRIFT_NS / 2)
    }
}

fn has_refusal(verdicts: &[guard::Verdict]) -> bool {
    verdicts.iter().any(|verdict| verdict.outcome == Outcome::Refuse)
}
