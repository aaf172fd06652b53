//! People are called about a run, and told when they are needed no longer. This fails open: what cannot be recorded is
//! told all the same.

use model::alert::{AlertState, Cause, Transition};
use model::time::Timestamp;
use tracing::{error, warn};

use super::Actions;
use crate::register::Deed;
use crate::run::{Call, Need, Run};
use crate::runbook::hash_of;

const RULE: &str = "HeadropeActionNeedsPerson";

impl Actions {
    /// Calls people about a run, once for each need; told again until somebody has taken it.
    pub(super) async fn escalate(&self, run: &str, need: Need, why: &str) {
        let Some(known) = self.look(|register| register.runs.get(run).cloned()) else { return };
        if known.calls.iter().any(|call| call.need == need) {
            return;
        }
        error!(run, why, "an action needs a person");
        let (why, at_ns) = (why.to_owned(), self.now());
        let deed = Deed::Escalated { run: run.to_owned(), why: why.clone(), need, at_ns };
        if let Err(error) = self.record(deed).await {
            warn!(%error, "that a person is needed could not be recorded, they are told all the same");
            let call = Call { need, why, at_ns, told: false, ended: false };
            let told = self.world.call(transition(&known, &call, self.clock.now(), false)).await;
            if let Err(error) = told {
                warn!(error, "people could not be called");
            }
            return;
        }
        self.tell().await;
    }

    /// Tells those who were not told yet, and those for whom it is over.
    pub(super) async fn tell(&self) {
        let now = self.clock.now();
        let untold: Vec<(Run, Call, bool)> = self.look(|register| {
            let mut untold = Vec::new();
            for run in register.runs.values() {
                for call in run.calls.iter().filter(|call| !call.ended) {
                    let is_over = call.told && register.is_over(run, call, now.0);
                    if !call.told || is_over {
                        untold.push((run.clone(), call.clone(), is_over));
                    }
                }
            }
            untold
        });
        for (run, call, ended) in untold {
            if let Err(error) = self.world.call(transition(&run, &call, now, ended)).await {
                warn!(error, "people could not be called, tried again");
                continue;
            }
            let told = Deed::Told { run: run.id, need: call.need, ended };
            if let Err(error) = self.record(told).await {
                warn!(%error, "that people were called could not be recorded");
            }
        }
    }

    /// What people are called for now, as alerts that fire.
    #[must_use]
    pub fn calling(&self) -> Vec<Transition> {
        let now = self.clock.now();
        self.look(|register| {
            let calls = register.runs.values().flat_map(|run| {
                let open = run.calls.iter().filter(|call| !call.ended);
                open.map(move |call| transition(run, call, now, false))
            });
            calls.collect()
        })
    }
}

fn transition(run: &Run, call: &Call, at: Timestamp, ended: bool) -> Transition {
    let labels = [
        ("alertname", RULE),
        ("severity", "page"),
        ("runbook", &*run.plan.runbook),
        ("target", &*run.plan.target.name),
        ("member", &*run.plan.member),
        ("action", &*run.id),
        ("reason", call.need.word()),
    ];
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let summary = format!("{} on {}: {}", run.plan.runbook, run.place(), call.why);
    let identity = hash_of(&(&run.id, call.need, ended));
    Transition {
        id: u128::from_str_radix(&identity[..32], 16).unwrap_or_default(),
        group: "headrope".to_owned(),
        rule: RULE.to_owned(),
        labels: labels.into_iter().map(pair).collect(),
        annotations: [pair(("summary", &summary))].into_iter().collect(),
        state: if ended { AlertState::Resolved } else { AlertState::Firing },
        cause: Cause::Condition,
        value: if ended { 0.0 } else { 1.0 },
        active_at: Timestamp(call.at_ns),
        at,
        expr: String::new(),
    }
}
