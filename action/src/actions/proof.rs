//! Whether it helped: what verification asks, and what it makes of the answers.

use super::Actions;
use super::advance::{LOOK_NS, LOOKS_MIN, Next, Stepped};
use crate::effect::{self, Effect};
use crate::guard::{self, Outcome};
use crate::plan::{Judged, ns};
use crate::run::{Finding, Need, Payload, Run, State};
use crate::runbook::{Control, Verify};
use crate::world::Question;

/// Values that a window before the change is read at, and the least distance between two.
const SAMPLES: i64 = 24;
const STEP_MS_MIN: i64 = 250;

impl Actions {
    pub(super) async fn verify(&self, run: &Run) -> Stepped {
        if run.finding == Some(Finding::Ineffective) {
            self.escalate(&run.id, Need::Ineffective, "it did not help, and is taken back").await;
            return self.stop(run, "it did not help").await;
        }
        if run.revert_asked.is_some() || run.expires_ns().is_some_and(|at| self.now() >= at) {
            return self.begin_revert(run).await;
        }
        let Some(verify) = &run.plan.verify else {
            let why = "there is nothing to verify it by, and no way back";
            return self.go(run, (State::Closed, run.step), why, Payload::None).await;
        };
        let (now, first) = (self.now(), run.since_ns.saturating_add(ns(verify.after)));
        if now < first {
            return self.wait(run, (first - now).min(LOOK_NS));
        }
        let max_staleness = run.plan.quality.max_staleness;
        let question = Question { query: verify.success.clone(), max_staleness };
        let judged = self.world.judge(question).await;
        let inputs = Ok(judged.inputs.clone());
        // What was measured before the effect says nothing about it.
        let is_later = judged.inputs.iter().all(|input| input.newest_ns >= Some(run.since_ns));
        let is_fresh = is_later && guard::quality(&run.plan.quality, &inputs).0 == Outcome::Allow;
        let holds = judged.holds.filter(|_| is_fresh);
        let looks = {
            let mut live = self.live();
            let live = live.runs.entry(run.id.clone()).or_default();
            live.looks.note(holds, now);
            live.looks
        };
        let until = first.saturating_add(ns(verify.within));
        // What began to hold in time is given the time to show that it lasts.
        match looks.holds_since_ns {
            Some(since) if now - since >= ns(verify.hold) => {
                self.credit(run, verify, (judged, now < until)).await
            }
            Some(since) if since <= until => self.wait(run, LOOK_NS),
            _ if now < until || looks.n < LOOKS_MIN => self.wait(run, LOOK_NS),
            _ => self.conclude(run, looks.finding(), judged).await,
        }
    }

    /// All is well; whether by the change is for what was left alone to show, where there is such a thing.
    async fn credit(
        &self,
        run: &Run,
        verify: &Verify,
        (judged, is_time_left): (Judged, bool),
    ) -> Stepped {
        let holding = (State::Holding, 0);
        let Some(control) = &verify.control else {
            let found = Payload::Found(Finding::Verified, Some(judged));
            return self.go(run, holding, "it helped", found).await;
        };
        let measured = self.effect(run, verify, control).await;
        match measured {
            Ok(effect) if effect.is_shown(control.min_effect.0) => {
                let why = format!("it helped: {}", effect.words());
                let judged = Judged { effect: Some(effect), ..judged };
                let found = Payload::Found(Finding::Verified, Some(judged));
                self.go(run, holding, &why, found).await
            }
            // More data may show it yet.
            _ if is_time_left => self.wait(run, LOOK_NS),
            Ok(effect) => {
                let why = format!("all is well, but not shown to be by this: {}", effect.words());
                let judged = Judged { effect: Some(effect), ..judged };
                let found = Payload::Found(Finding::Inconclusive, Some(judged));
                self.go(run, holding, &why, found).await
            }
            Err(why) => {
                let why = format!("all is well, whether by this cannot be told: {why}");
                let found = Payload::Found(Finding::Inconclusive, Some(judged));
                self.go(run, holding, &why, found).await
            }
        }
    }

    async fn effect(
        &self,
        run: &Run,
        verify: &Verify,
        control: &Control,
    ) -> Result<Effect, String> {
        let ms = |ns: i64| ns / 1_000_000;
        let changed = ms(run.first_ns.unwrap_or(run.since_ns));
        let before = (changed - ms(ns(control.before)), changed);
        let after = (ms(run.since_ns.saturating_add(ns(verify.after))), ms(self.now()));
        let shorter = (before.1 - before.0).min(after.1 - after.0);
        let step_ms = (shorter / SAMPLES).max(STEP_MS_MIN);
        let mut values = [effect::Values::new(), effect::Values::new()];
        for (query, values) in [&control.treated, &control.untouched].into_iter().zip(&mut values) {
            for window in [before, after] {
                let found = self.world.range(query.clone(), window, step_ms).await;
                values.extend(found.map_err(|why| format!("{query}: {why}"))?);
            }
        }
        let [treated, untouched] = values;
        effect::measure(control.better, (&treated, &untouched), (before, after))
    }

    /// The time to help is over, and it did not hold for as long as it must.
    async fn conclude(
        &self,
        run: &Run,
        finding: Finding,
        judged: Judged,
    ) -> Result<Next, crate::error::Error> {
        let found = Payload::Found(finding, Some(judged));
        if finding == Finding::Ineffective {
            return self.go(run, (State::Verifying, run.step), "it did not help", found).await;
        }
        let why = "whether it helped cannot be known, it is held";
        self.escalate(&run.id, Need::Inconclusive, why).await;
        self.go(run, (State::Holding, 0), "whether it helped cannot be known", found).await
    }
}
