//! The way back: from what is held to what was there before, by the ramp or at once. It needs no budget and no guard but
//! the hard stop, and never writes over what somebody else has set.

use super::advance::{Next, Stepped};
use super::{Actions, OBSERVE_TIMEOUT};
use crate::guard::{self, Outcome};
use crate::plan::{self, Change, Member, ns};
use crate::register::Deed;
use crate::run::{Need, Payload, Run, State};
use crate::runbook::hash_of;
use crate::target::{Order, RetryClass};
use crate::world::Question;

/// First and longest rest after a change of the way back failed.
const REST_NS: i64 = 1_000_000_000;
const REST_NS_MAX: i64 = 30_000_000_000;
/// Failures in a row before people are called; tried on all the same.
const FAILURES_MAX: u32 = 3;
/// Rest before an effect of class C that is not to be seen is tried again.
const QUIET_NS: i64 = 10_000_000_000;

impl Actions {
    /// Sets out on the way back by the ramp.
    pub(super) async fn begin_revert(&self, run: &Run) -> Stepped {
        let Some(revert) = &run.plan.revert else {
            let why = "over; there is no way back";
            return self.go(run, (State::Closed, run.step), why, Payload::None).await;
        };
        let why = match &run.revert_asked {
            Some(asked) => asked.clone(),
            None if self.is_resolved(run) => "the alert is resolved".to_owned(),
            None => "its time is over".to_owned(),
        };
        let back = Payload::Back(plan::way_back(&run.held, &revert.ramp));
        self.go(run, (State::Reverting, 0), &why, back).await
    }

    /// Lets go of what is held without touching it.
    pub(super) async fn release(&self, run: &Run, why: &str) -> Stepped {
        let (place, at_ns) = (run.place(), self.now());
        self.record(Deed::Conflict { place, at_ns }).await?;
        self.escalate(&run.id, Need::Conflict, why).await;
        self.go(run, (State::Closed, run.step), &format!("let go: {why}"), Payload::None).await
    }

    /// One change of the way back.
    pub(super) async fn go_back(&self, run: &Run) -> Stepped {
        let (home, announced) = match run.state {
            State::RollingBack | State::RollbackDispatched => {
                (State::RollingBack, State::RollbackDispatched)
            }
            _ => (State::Reverting, State::RevertDispatched),
        };
        let Some(back) = run.back.get(run.step) else {
            let why = if home == State::Reverting { "reverted" } else { "rolled back" };
            return self.go(run, (State::Closed, run.step), why, Payload::None).await;
        };
        if let Some((true, why)) = self.switch() {
            tracing::debug!(why, "a way back stands still");
            return self.wait(run, REST_NS);
        }
        if run.state == home && back.gated && !self.may_go_on(run).await {
            return self.wait(run, REST_NS / 2);
        }
        let target = &run.plan.target;
        let member = match self.driver(target.driver).observe(target, OBSERVE_TIMEOUT).await {
            Err(why) => return self.fail(run, &why).await,
            Ok(members) => members.into_iter().find(|member| member.name == run.plan.member),
        };
        let Some(member) = member else {
            return self.release(run, "the member is gone, and what was set on it with it").await;
        };
        let change = &back.change;
        let is = member.fields.get(&change.field);
        if is == Some(&change.value) {
            let post = Payload::Post(member);
            return self.go(run, (home, run.step + 1), "as it was", post).await;
        }
        if !is_ours(run, change, &member) {
            let is = is.map_or("gone", String::as_str);
            return self
                .release(run, &format!("another writer set {} to {is}", change.field))
                .await;
        }
        if run.state == announced {
            if self.class(run) != RetryClass::Set && self.now() - run.since_ns < QUIET_NS {
                return self.wait(run, REST_NS);
            }
            return self.go(run, (home, run.step), "not done yet", Payload::None).await;
        }
        match self.dispatch(run, (announced, run.step), (change, OBSERVE_TIMEOUT)).await? {
            Err(why) => self.fail(run, &why.words()).await,
            Ok(post) => {
                self.live().runs.entry(run.id.clone()).or_default().failures = 0;
                let Some(run) = self.look(|register| register.runs.get(&run.id).cloned()) else {
                    return Ok(Next::Wait);
                };
                self.go(&run, (home, run.step + 1), "read back", Payload::Post(post)).await
            }
        }
    }

    /// Gives back what is held beyond its time although nothing can be recorded, as at a full disk: its end was announced
    /// with its beginning, and what can be set twice is found done once the journal goes on.
    pub(super) async fn give_back_unrecorded(&self, run: &Run) {
        let is_over = run.expires_ns().is_some_and(|at| self.now() >= at);
        let target = &run.plan.target;
        let driver = self.driver(target.driver);
        let is_frozen = self.switch().is_some_and(|(freeze, _)| freeze);
        if self.journal.is_shared()
            || !is_over
            || !run.is_holding()
            || driver.class(target) != RetryClass::Set
            || is_frozen
        {
            return;
        }
        for back in plan::way_back(&run.held, &[]) {
            let change = &back.change;
            let member = match self.read(run).await {
                Ok(member) => member,
                Err(why) => {
                    return tracing::warn!(
                        run = run.id,
                        why,
                        "what is held beyond its time could not be read"
                    );
                }
            };
            let is_back = member.fields.get(&change.field) == Some(&change.value);
            if is_back || !is_ours(run, change, &member) {
                continue;
            }
            tracing::error!(
                run = run.id,
                field = change.field,
                "given back beyond its time, unrecorded"
            );
            let token = hash_of(&(&run.plan.key, "unrecorded", change));
            let order = Order { change, token: &token, timeout: OBSERVE_TIMEOUT };
            if let Err(why) = driver.apply(target, order).await {
                let why = why.words();
                tracing::warn!(run = run.id, why, "a way back could not be gone, tried again");
            }
        }
    }

    /// The same for every run, where not even the start can be recorded.
    pub(super) async fn give_back_late(&self) {
        for id in self.due() {
            let run = self.look(|register| register.runs.get(&id).cloned());
            if let Some(run) = run {
                self.give_back_unrecorded(&run).await;
                self.rest(&id, REST_NS_MAX / 10);
            }
        }
    }

    /// Whether the next change of a ramp has its turn: its rest is over and its gate holds, or there is no time left.
    async fn may_go_on(&self, run: &Run) -> bool {
        let is_over = run.expires_ns().is_none_or(|at| self.now() >= at);
        let Some(revert) = run.plan.revert.as_ref().filter(|_| !is_over) else { return true };
        if self.now() - run.since_ns < ns(revert.ramp_every) {
            return false;
        }
        let Some(query) = revert.ramp_gate.clone() else { return true };
        let max_staleness = run.plan.quality.max_staleness;
        let judged = self.world.judge(Question { query, max_staleness }).await;
        let is_fresh = guard::quality(&run.plan.quality, &Ok(judged.inputs)).0 == Outcome::Allow;
        is_fresh && judged.holds == Some(true)
    }

    /// Rests, longer each time; calls people when it goes on failing.
    async fn fail(&self, run: &Run, why: &str) -> Stepped {
        tracing::warn!(run = run.id, why, "a way back could not be gone, tried again");
        let failures = {
            let mut live = self.live();
            let live = live.runs.entry(run.id.clone()).or_default();
            live.failures = live.failures.saturating_add(1);
            live.failures
        };
        if failures >= FAILURES_MAX {
            let why = format!("what it changed cannot be taken back: {why}");
            self.escalate(&run.id, Need::Stuck, &why).await;
        }
        self.wait(run, (REST_NS << failures.min(8)).min(REST_NS_MAX))
    }
}

/// Whether a field is at something we have set, or at what was there before us.
fn is_ours(run: &Run, change: &Change, member: &Member) -> bool {
    let Some(is) = member.fields.get(&change.field) else { return false };
    let of_way = run.back.iter().filter(|back| back.change.field == change.field);
    let held = run.held.iter().filter(|held| held.field == change.field);
    let changes = of_way.map(|back| &back.change).chain(held);
    let mut known = changes.flat_map(|change| [&change.before, &change.value]);
    known.any(|value| value == is)
        || run.pre.as_ref().and_then(|pre| pre.fields.get(&change.field)) == Some(is)
}
