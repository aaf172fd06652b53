//! What would have been done about alerts that a backtest found: the live decision on a clock of its own. What only the
//! past knew (silences, freshness, load, other writers) is taken for good, and said to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AGAIN_NS, Actions, GATHER_NS, OBSERVE_TIMEOUT};
use crate::plan::{
    self, Active, Decision, History, Incident, Input, Judged, Member, Snapshot, Touch, ns,
};
use crate::runbook::{Runbook, Target, Trust, hash_of};

/// Alerts rehearsed at once.
const FIRINGS_MAX: usize = 10_000;
/// Decisions about one alert.
const TRIES_MAX: usize = 1_000;

/// Guards that a rehearsal takes for good: what they look at is not kept.
pub const NOT_REHEARSED: [&str; 7] =
    ["switch", "quality", "silence", "conflict", "capacity", "preconditions", "lease"];

/// An alert, from its firing to its end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firing {
    /// Its rule.
    pub rule: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it fired, ms since the epoch.
    pub fired_ms: i64,
    /// When it ended, ms since the epoch; unset when it fires still.
    #[serde(default)]
    pub resolved_ms: Option<i64>,
}

/// What would have been done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rehearsed {
    /// Which alert, by its place in what was asked.
    pub firing: usize,
    /// Runbook that wants it.
    pub runbook: String,
    /// `target/member`.
    pub place: String,
    /// The last decision.
    pub decision: Decision,
    /// When it was made, ms since the epoch.
    pub at_ms: i64,
    /// The guard that made it, when it was not to act.
    pub decided_by: Option<String>,
    /// What that guard saw, and what it asks for.
    pub why: String,
}

/// What was done so far.
#[derive(Default)]
struct Past {
    touches: Vec<Touch>,
    /// Runs with when they end.
    active: Vec<(Active, i64)>,
}

impl Actions {
    /// Decides about each of `firings` in the order of time, each knowing what was done before. Targets are read as they
    /// are now, and taken for well.
    ///
    /// # Errors
    /// Too many of them.
    pub async fn rehearse(&self, firings: &[Firing]) -> Result<Vec<Rehearsed>, String> {
        if firings.len() > FIRINGS_MAX {
            return Err(format!(
                "{} alerts are more than {FIRINGS_MAX}: ask for less time",
                firings.len()
            ));
        }
        let mut members: BTreeMap<String, Option<Vec<Member>>> = BTreeMap::new();
        for (name, target) in &self.book.targets {
            let seen = self.driver(target.driver).observe(target, OBSERVE_TIMEOUT).await.ok();
            members
                .insert(name.clone(), seen.map(|all| all.into_iter().map(as_configured).collect()));
        }
        let mut order: Vec<usize> = (0..firings.len()).collect();
        order.sort_by_key(|i| (firings[*i].fired_ms, *i));
        let (mut past, mut done) = (Past::default(), Vec::new());
        for i in order {
            let incident = incident_of(&firings[i]);
            let labels = incident.labels.clone().into_iter().collect();
            for bound in self.book.runbooks.values().filter(|bound| bound.wants(&labels)) {
                let runbook = &bound.runbook;
                let Some(target) = self.book.targets.get(&runbook.target.name) else { continue };
                let wants =
                    |other: &&Firing| bound.wants(&other.labels.clone().into_iter().collect());
                let others: Vec<&Firing> = firings.iter().filter(wants).collect();
                let seen = members.get(&target.name).cloned().flatten();
                let one = One {
                    trust: self.trust,
                    runbook,
                    target,
                    incident: &incident,
                    others: &others,
                };
                done.push(one.go(i, (&firings[i], seen), &mut past));
            }
        }
        done.sort_by_key(|one| (one.at_ms, one.firing));
        Ok(done)
    }
}

/// An alert and a runbook that wants it.
struct One<'a> {
    trust: Trust,
    runbook: &'a Runbook,
    target: &'a Target,
    incident: &'a Incident,
    others: &'a [&'a Firing],
}

impl One<'_> {
    /// Decides until it is done or the alert is over.
    fn go(
        &self,
        firing: usize,
        (alert, members): (&Firing, Option<Vec<Member>>),
        past: &mut Past,
    ) -> Rehearsed {
        let end_ns = alert.resolved_ms.map_or(i64::MAX, |ms| ms.saturating_mul(1_000_000));
        let mut at_ns = self.incident.opened_ns.saturating_add(GATHER_NS);
        let mut tries = 0;
        loop {
            past.active.retain(|(_, until)| *until > at_ns);
            let seen = self.snapshot(at_ns, members.clone(), past);
            let plan = plan::decide(self.runbook, self.target, self.incident, seen);
            tries += 1;
            let next_ns = self.next_try(at_ns, past);
            if plan.decision == Decision::Refused && next_ns < end_ns && tries < TRIES_MAX {
                at_ns = next_ns;
                continue;
            }
            let place = format!("{}/{}", self.target.name, plan.member);
            if plan.decision == Decision::Admitted {
                self.act(at_ns, end_ns, (&plan.id, &place), past);
            }
            let by = plan.verdicts.iter().find(|one| Some(&one.guard) == plan.decided_by.as_ref());
            return Rehearsed {
                firing,
                runbook: self.runbook.name.clone(),
                place,
                decision: plan.decision,
                at_ms: at_ns / 1_000_000,
                why: by
                    .map_or_else(String::new, |one| format!("{}; {}", one.observed, one.threshold)),
                decided_by: plan.decided_by,
            };
        }
    }

    fn act(&self, at_ns: i64, end_ns: i64, (id, place): (&str, &str), past: &mut Past) {
        let rule = self.incident.rule.clone();
        past.touches.push(Touch { at_ns, place: place.to_owned(), rule, kind: self.target.driver });
        let ttl = self.runbook.revert.as_ref().map_or(i64::MAX, |revert| ns(revert.ttl));
        let active = Active {
            run: id.to_owned(),
            target: self.target.name.clone(),
            place: place.to_owned(),
            pending: false,
        };
        past.active.push((active, end_ns.min(at_ns.saturating_add(ttl))));
    }

    /// When the answer may be another: a run ends, or an action is long enough ago.
    fn next_try(&self, at_ns: i64, past: &Past) -> i64 {
        let guard = &self.runbook.guard;
        let budgets = &guard.budget;
        let windows = [
            guard.cooldown,
            guard.flap.window,
            budgets.per_target.per,
            budgets.per_rule.per,
            budgets.per_kind.per,
            budgets.global.per,
        ];
        let ends = past.active.iter().map(|(_, until)| *until);
        let others = self.others.iter().filter_map(|other| other.resolved_ms);
        let others = others.map(|ms| ms.saturating_mul(1_000_000));
        let touches = past
            .touches
            .iter()
            .flat_map(|touch| windows.iter().map(|window| touch.at_ns.saturating_add(ns(*window))));
        let later = ends.chain(others).chain(touches).filter(|then| *then > at_ns);
        // Live, it is asked again each few seconds.
        later.min().map_or(i64::MAX, |then| {
            let steps = (then - at_ns).saturating_add(AGAIN_NS - 1) / AGAIN_NS;
            at_ns.saturating_add(steps.saturating_mul(AGAIN_NS))
        })
    }

    fn snapshot(&self, at_ns: i64, members: Option<Vec<Member>>, past: &Past) -> Snapshot {
        let well =
            || vec![Input { selector: String::new(), series: 1, fresh: 1, newest_ns: Some(at_ns) }];
        let judged = |query: &str| Judged {
            query: query.to_owned(),
            holds: Some(true),
            observed: "not rehearsed".to_owned(),
            inputs: well(),
            effect: None,
        };
        let member = plan::member_of(self.runbook, self.incident).unwrap_or_default();
        let held = |name: &str| {
            let place = format!("{}/{name}", self.target.name);
            past.active.iter().any(|(active, _)| active.place == place)
        };
        let firing = self.others.iter().filter(|other| {
            let from = other.fired_ms.saturating_mul(1_000_000);
            let to = other.resolved_ms.map_or(i64::MAX, |ms| ms.saturating_mul(1_000_000));
            from <= at_ns && at_ns < to
        });
        let alerting =
            firing.filter_map(|other| plan::member_of(self.runbook, &incident_of(other)).ok());
        // Of a group that cannot be read nothing is known: so large that one member does not count.
        let members = members.unwrap_or_else(|| crowd(&member));
        let serving = |mut one: Member| {
            one.serving = !held(&one.name);
            one
        };
        Snapshot {
            at_ns,
            switch: None,
            driver: self.target.driver,
            ceiling: self.trust,
            ladder: Trust::Auto,
            inputs: Ok(well()),
            muted: Vec::new(),
            members: Ok(members.into_iter().map(serving).collect()),
            alerting: alerting.collect(),
            preconditions: self
                .runbook
                .preconditions
                .iter()
                .map(|one| judged(&one.query))
                .collect(),
            utilisation: self.runbook.guard.capacity.as_ref().map(|_| Ok(0.0)),
            history: History {
                same_key: None,
                touches: past.touches.clone(),
                active: past.active.iter().map(|(active, _)| active.clone()).collect(),
                conflict_ns: None,
            },
            approved_by: Vec::new(),
            journal: Ok(0),
        }
    }
}

fn as_configured(mut member: Member) -> Member {
    (member.up, member.serving) = (true, true);
    let configured = member.configured.clone();
    member.fields.extend(configured);
    member
}

fn crowd(member: &str) -> Vec<Member> {
    let names = (0..1_000).map(|i| format!("\u{0}{i}")).chain([member.to_owned()]);
    names.map(|name| Member { name, up: true, serving: true, ..Member::default() }).collect()
}

fn incident_of(firing: &Firing) -> Incident {
    Incident {
        id: hash_of(&(&firing.rule, &firing.labels, firing.fired_ms))[..32].to_owned(),
        group: String::new(),
        rule: firing.rule.clone(),
        expr: String::new(),
        labels: firing.labels.clone(),
        annotations: BTreeMap::new(),
        opened_ns: firing.fired_ms.saturating_mul(1_000_000),
        resolved_ns: None,
        unknown: None,
        acknowledged_by: None,
        acknowledged_ns: None,
    }
}
