//! People are called about a run, and told when they are needed no longer. This fails open: what cannot be recorded is
//! told all the same.

use model::alert::{AlertState, Cause, Transition};
use model::metric::Labels;
use model::time::Timestamp;
use tracing::{error, info, warn};

use super::Actions;
use crate::register::Deed;
use crate::run::{Call, Need, Run};
use crate::runbook::hash_of;

const RULE: &str = "HeadropeActionNeedsPerson";
const APPROVAL: &str = "HeadropeActionNeedsApproval";

impl Actions {
    /// Calls people about a run, once for each need; told again until somebody has taken it.
    pub(super) async fn escalate(&self, run: &str, need: Need, why: &str) {
        let Some(known) = self.look(|register| register.runs.get(run).cloned()) else { return };
        if known.calls.iter().any(|call| call.need == need) {
            return;
        }
        if need == Need::Approval {
            info!(run, why, "an action waits for approval");
        } else {
            error!(run, why, "an action needs a person");
        }
        let (why, at_ns) = (why.to_owned(), self.now());
        let deed = Deed::Escalated { run: run.to_owned(), why: why.clone(), need, at_ns };
        if let Err(error) = self.record(deed).await {
            warn!(%error, "that a person is needed could not be recorded, they are told all the same");
            let call = Call { need, why, at_ns, told: false, ended: false };
            if let Err(error) = self.say(&known, &call, false).await {
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
            if let Err(error) = self.say(&run, &call, ended).await {
                warn!(error, "people could not be called, tried again");
                continue;
            }
            let told = Deed::Told { run: run.id, need: call.need, ended };
            if let Err(error) = self.record(told).await {
                warn!(%error, "that people were called could not be recorded");
            }
        }
    }

    /// Tells everyone who is to know.
    async fn say(&self, run: &Run, call: &Call, ended: bool) -> Result<(), String> {
        for transition in self.transitions(run, call, (self.clock.now(), ended)) {
            self.world.call(transition).await?;
        }
        Ok(())
    }

    /// What people are called for now, as alerts that fire.
    #[must_use]
    pub fn calling(&self) -> Vec<Transition> {
        let now = self.clock.now();
        self.look(|register| {
            let calls = register.runs.values().flat_map(|run| {
                let open = run.calls.iter().filter(|call| !call.ended);
                open.flat_map(move |call| self.transitions(run, call, (now, false)))
            });
            calls.collect()
        })
    }

    /// One message; where named people must approve, one for each of them with a link that is theirs.
    fn transitions(
        &self,
        run: &Run,
        call: &Call,
        (at, ended): (Timestamp, bool),
    ) -> Vec<Transition> {
        let one = transition(run, call, at, ended);
        if call.need != Need::Approval {
            return vec![one];
        }
        let with = |approver: Option<&str>, how: String| {
            let mut one = one.clone();
            let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let pairs = |of: &Labels| of.iter().map(pair).collect::<Vec<_>>();
            let mut labels = pairs(&one.labels);
            if let Some(approver) = approver {
                labels.push(pair(("approver", approver)));
                one.id = number(&(&run.id, call.need, ended, approver));
            }
            let mut annotations = pairs(&one.annotations);
            annotations.push(pair(("approve", &how)));
            one.labels = labels.into_iter().collect();
            one.annotations = annotations.into_iter().collect();
            one
        };
        let people = &run.plan.approval.by;
        if people.is_empty() || self.external_url.is_empty() {
            return vec![with(None, format!("headrope actions approve {}", run.id))];
        }
        let link = |by: &String| {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("by", by)
                .append_pair("sig", &self.approvals.sign(run, by))
                .finish();
            let url = self.external_url.trim_end_matches('/');
            let path = format!("/api/headrope/v1/actions/{}/approval", run.id);
            with(Some(by), format!("{url}{path}?{query}"))
        };
        people.iter().map(link).collect()
    }
}

fn number<T: serde::Serialize>(identity: &T) -> u128 {
    u128::from_str_radix(&hash_of(identity)[..32], 16).unwrap_or_default()
}

fn transition(run: &Run, call: &Call, at: Timestamp, ended: bool) -> Transition {
    let rule = if call.need == Need::Approval { APPROVAL } else { RULE };
    let labels = [
        ("alertname", rule),
        ("severity", "page"),
        ("runbook", &*run.plan.runbook),
        ("target", &*run.plan.target.name),
        ("member", &*run.plan.member),
        ("action", &*run.id),
        ("reason", call.need.word()),
    ];
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let summary = format!("{} on {}: {}", run.plan.runbook, run.place(), call.why);
    Transition {
        id: number(&(&run.id, call.need, ended)),
        group: "headrope".to_owned(),
        rule: rule.to_owned(),
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
