//! The guards, in their one order. Each looks at what was seen and leaves a verdict; one that lacks what it needs to know
//! refuses.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::amount::Budget;
use crate::plan::{Incident, Input, Member, Snapshot, Touch, effective, ns, words};
use crate::runbook::{Quality, Runbook, Trust};

/// Names of the guards in their order.
pub const ORDER: [&str; 16] = [
    "switch",
    "trust",
    "quality",
    "silence",
    "dedupe",
    "flap",
    "cooldown",
    "budget",
    "lock",
    "conflict",
    "storm",
    "blast_radius",
    "capacity",
    "preconditions",
    "approval",
    "lease",
];

/// How long a member on which another writer was met is left alone.
const CONFLICT_REST: Duration = Duration::from_secs(1_800);

/// What one guard said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Verdict {
    /// Which guard.
    pub guard: String,
    /// What it said.
    pub outcome: Outcome,
    /// What it saw.
    pub observed: String,
    /// What it compared that with.
    pub threshold: String,
}

/// What a guard may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing is in the way.
    Allow,
    /// Not as things are.
    Refuse,
    /// Not yet.
    Defer,
}

/// What a guard makes of it: outcome, what it saw, what it compared that with.
type Said = (Outcome, String, String);

fn judge(allowed: bool, observed: impl Into<String>, threshold: impl Into<String>) -> Said {
    let outcome = if allowed { Outcome::Allow } else { Outcome::Refuse };
    (outcome, observed.into(), threshold.into())
}

/// What all of them say, in [`ORDER`].
pub(crate) fn verdicts(
    runbook: &Runbook,
    incident: &Incident,
    member: &Result<String, String>,
    seen: &Snapshot,
) -> Vec<Verdict> {
    let name = member.as_deref().unwrap_or_default();
    let place = format!("{}/{name}", runbook.target.name);
    let trust = effective(runbook, seen);
    let said: [Said; 16] = [
        judge(seen.switch.is_none(), seen.switch.clone().unwrap_or_default(), "off"),
        trusted(runbook, seen, trust),
        quality(&runbook.quality, &seen.inputs),
        judge(seen.muted.is_empty(), seen.muted.join(", "), "no silence, no inhibition"),
        dedupe(incident, seen),
        flap(runbook, &place, seen),
        cooldown(runbook, &place, (incident, seen)),
        budget(runbook, &place, (incident, seen)),
        lock(runbook, &place, seen),
        conflict(name, seen),
        storm(runbook, seen),
        blast_radius(runbook, member, seen),
        capacity(runbook, name, seen),
        preconditions(runbook, seen),
        approval(runbook, trust, seen),
        match &seen.journal {
            Ok(epoch) => judge(true, format!("epoch {epoch}"), "records reach the disk"),
            Err(error) => judge(false, error.clone(), "records reach the disk"),
        },
    ];
    let named = ORDER.iter().zip(said);
    let verdict = |(guard, (outcome, observed, threshold)): (&&str, Said)| Verdict {
        guard: (*guard).to_owned(),
        outcome,
        observed,
        threshold,
    };
    named.map(verdict).collect()
}

fn trusted(runbook: &Runbook, seen: &Snapshot, trust: Trust) -> Said {
    let observed = format!(
        "runbook {:?}, everything {:?}, by its record {:?}",
        runbook.trust, seen.ceiling, seen.ladder
    )
    .to_lowercase();
    let outcome = match trust {
        Trust::Observe => Outcome::Refuse,
        Trust::Shadow => Outcome::Defer,
        Trust::Approve | Trust::Auto => Outcome::Allow,
    };
    (outcome, observed, "approve or auto".to_owned())
}

/// Whether enough of what is read is fresh. Nothing at all to read is not enough.
pub(crate) fn quality(quality: &Quality, inputs: &Result<Vec<Input>, String>) -> Said {
    let threshold = format!(
        "{:.0} % of the series not older than {}",
        quality.min_reporting.0 * 100.0,
        crate::duration::text(quality.max_staleness)
    );
    let inputs = match inputs {
        Err(error) => return judge(false, error.clone(), threshold),
        Ok(inputs) if inputs.is_empty() => {
            return judge(false, "nothing stored is read", threshold);
        }
        Ok(inputs) => inputs,
    };
    #[expect(clippy::cast_precision_loss, reason = "counts of series, for a share")]
    let share = |input: &Input| input.fresh as f64 / input.series.max(1) as f64;
    let worst = inputs.iter().min_by(|a, b| share(a).total_cmp(&share(b)));
    let observed = worst.map_or_else(String::new, |input| {
        let newest = input.newest_ns.map_or_else(|| "none".to_owned(), words);
        let (fresh, series) = (input.fresh, input.series);
        format!("{}: {fresh} of {series} fresh, newest {newest}", input.selector)
    });
    let is_good = |input: &Input| input.fresh > 0 && share(input) >= quality.min_reporting.0;
    judge(inputs.iter().all(is_good), observed, threshold)
}

fn dedupe(incident: &Incident, seen: &Snapshot) -> Said {
    if let Some(resolved) = incident.resolved_ns {
        return judge(false, format!("resolved at {}", words(resolved)), "a firing alert");
    }
    let same = seen.history.same_key.clone();
    judge(same.is_none(), same.map_or_else(String::new, |run| format!("run {run}")), "no other run")
}

fn count<'a>(
    seen: &'a Snapshot,
    window: Duration,
    of: impl Fn(&Touch) -> bool + 'a,
) -> impl Iterator<Item = &'a Touch> {
    let from = seen.at_ns.saturating_sub(ns(window));
    seen.history.touches.iter().filter(move |touch| touch.at_ns > from && of(touch))
}

fn flap(runbook: &Runbook, place: &str, seen: &Snapshot) -> Said {
    let flap = &runbook.guard.flap;
    let flips = count(seen, flap.window, |touch| touch.place == place).count();
    let window = crate::duration::text(flap.window);
    judge(
        flips < flap.max_flips,
        format!("{flips} runs"),
        format!("fewer than {} in {window}", flap.max_flips),
    )
}

fn cooldown(runbook: &Runbook, place: &str, (incident, seen): (&Incident, &Snapshot)) -> Said {
    let rest = runbook.guard.cooldown;
    let last = count(seen, rest, |touch| touch.place == place).last();
    let threshold = format!("{} after the last", crate::duration::text(rest));
    match (last, &incident.acknowledged_by) {
        (None, _) => judge(true, "", threshold),
        (Some(_), Some(who)) => judge(true, format!("lifted by {who}"), threshold),
        (Some(touch), None) => (Outcome::Defer, format!("last {}", words(touch.at_ns)), threshold),
    }
}

fn budget(runbook: &Runbook, place: &str, (incident, seen): (&Incident, &Snapshot)) -> Said {
    let budgets = &runbook.guard.budget;
    let since = |per| count(seen, per, |_| true);
    let of_rule = |touch: &&Touch| touch.rule == incident.rule;
    let of_kind = |touch: &&Touch| touch.kind == seen.driver;
    let (target, rule) = (budgets.per_target, budgets.per_rule);
    let (kind, global) = (budgets.per_kind, budgets.global);
    let scopes = [
        ("target", target, since(target.per).filter(|touch| touch.place == place).count()),
        ("rule", rule, since(rule.per).filter(of_rule).count()),
        ("kind", kind, since(kind.per).filter(of_kind).count()),
        ("all", global, since(global.per).count()),
    ];
    for (scope, Budget { count, per }, spent) in scopes {
        if spent >= count {
            let threshold = format!("{count} in {}", crate::duration::text(per));
            return (Outcome::Defer, format!("{scope}: {spent} spent"), threshold);
        }
    }
    judge(true, "", "none is spent")
}

fn lock(runbook: &Runbook, place: &str, seen: &Snapshot) -> Said {
    let limits = &runbook.guard.concurrency;
    let active = &seen.history.active;
    let threshold = format!("{} a target, {} of all", limits.per_group, limits.global);
    if let Some(holder) = active.iter().find(|active| active.place == place) {
        return (Outcome::Defer, format!("run {} holds it", holder.run), threshold);
    }
    let group = active.iter().filter(|active| active.target == runbook.target.name).count();
    let free = group < limits.per_group && active.len() < limits.global;
    let observed = format!("{group} on the target, {} of all", active.len());
    (if free { Outcome::Allow } else { Outcome::Defer }, observed, threshold)
}

fn conflict(member: &str, seen: &Snapshot) -> Said {
    let threshold = "nobody else sets it";
    if let Some(at) = seen.history.conflict_ns.filter(|at| seen.at_ns - at < ns(CONFLICT_REST)) {
        return judge(false, format!("another writer was met {}", words(at)), threshold);
    }
    let Some(member) = find(member, seen) else {
        return judge(false, "the member could not be read", threshold);
    };
    if let Some(owner) = &member.owner {
        return judge(false, format!("{owner} sets it"), threshold);
    }
    for (field, configured) in &member.configured {
        let is = member.fields.get(field);
        if is != Some(configured) {
            let is = is.map_or("nothing", String::as_str);
            return judge(false, format!("{field} is {is}, configured {configured}"), threshold);
        }
    }
    judge(true, "", threshold)
}

fn find<'a>(name: &str, seen: &'a Snapshot) -> Option<&'a Member> {
    seen.members.iter().flatten().find(|member| member.name == name)
}

#[expect(clippy::cast_precision_loss, reason = "counts of members, for a share")]
const fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

fn storm(runbook: &Runbook, seen: &Snapshot) -> Said {
    if runbook.only_adds() {
        return judge(true, "it takes nobody out", "");
    }
    let limit = runbook.guard.storm.if_unhealthy_over.0;
    let threshold = format!("at most {:.0} % unwell", limit * 100.0);
    let members = match &seen.members {
        Ok(members) if !members.is_empty() => members,
        Ok(_) => return judge(false, "the group is empty", threshold),
        Err(error) => return judge(false, error.clone(), threshold),
    };
    let unwell = members.iter().filter(|m| !m.up || seen.alerting.contains(&m.name)).count();
    let observed = format!("{unwell} of {}", members.len());
    judge(share(unwell, members.len()) <= limit, observed, threshold)
}

/// Whether the work of `member` can be counted on: it serves, and nobody is about to take it out.
fn stays(runbook: &Runbook, member: &Member, seen: &Snapshot) -> bool {
    let place = format!("{}/{}", runbook.target.name, member.name);
    let mut pending = seen.history.active.iter().filter(|active| active.pending);
    member.serving && pending.all(|active| active.place != place)
}

fn blast_radius(runbook: &Runbook, member: &Result<String, String>, seen: &Snapshot) -> Said {
    let limits = &runbook.guard.blast_radius;
    let threshold = format!(
        "at most {:.0} % out, at least {} in service",
        limits.max_unavailable.0 * 100.0,
        limits.min_healthy
    );
    let members = match (&seen.members, member) {
        (Err(error), _) => return judge(false, error.clone(), threshold),
        (_, Err(error)) => return judge(false, error.clone(), threshold),
        (Ok(members), Ok(name)) if members.iter().any(|one| one.name == *name) => members,
        (Ok(members), Ok(name)) => {
            let observed = format!("{name} is none of the {} members", members.len());
            return judge(false, observed, threshold);
        }
    };
    if runbook.only_adds() {
        return judge(true, "it takes nobody out", threshold);
    }
    let name = member.as_deref().unwrap_or_default();
    let others = members.iter().filter(|one| one.name != name);
    let healthy = others.filter(|one| stays(runbook, one, seen)).count();
    let out = members.len() - healthy;
    let observed = format!("{out} of {} out afterwards", members.len());
    let fits =
        share(out, members.len()) <= limits.max_unavailable.0 && healthy >= limits.min_healthy;
    judge(fits, observed, threshold)
}

fn capacity(runbook: &Runbook, member: &str, seen: &Snapshot) -> Said {
    let Some(capacity) = runbook.guard.capacity.as_ref().filter(|_| !runbook.only_adds()) else {
        return judge(true, "not asked for", "");
    };
    let limit = capacity.max_predicted_utilisation.0;
    let threshold = format!("at most {:.0} % in use afterwards", limit * 100.0);
    let now = match &seen.utilisation {
        Some(Ok(now)) if now.is_finite() => *now,
        Some(Ok(_)) | None => return judge(false, "unknown", threshold),
        Some(Err(error)) => return judge(false, error.clone(), threshold),
    };
    let serving = seen.members.iter().flatten().filter(|one| one.serving).count();
    let others = seen.members.iter().flatten().filter(|one| one.name != member);
    let left = others.filter(|one| stays(runbook, one, seen)).count();
    if left == 0 {
        return judge(false, "nobody is left", threshold);
    }
    let predicted = now * share(serving, left);
    let observed = format!("{:.0} % now, {:.0} % afterwards", now * 100.0, predicted * 100.0);
    judge(predicted <= limit, observed, threshold)
}

fn preconditions(runbook: &Runbook, seen: &Snapshot) -> Said {
    let threshold = "every one holds, by fresh data";
    if seen.preconditions.len() != runbook.preconditions.len() {
        return judge(false, "not all were asked", threshold);
    }
    for judged in &seen.preconditions {
        let fresh = quality(&runbook.quality, &Ok(judged.inputs.clone()));
        if judged.holds != Some(true) || fresh.0 != Outcome::Allow {
            let why = if judged.holds == Some(true) { &fresh.1 } else { &judged.observed };
            return judge(false, format!("{}: {why}", judged.query), threshold);
        }
    }
    judge(true, format!("{} hold", seen.preconditions.len()), threshold)
}

fn approval(runbook: &Runbook, trust: Trust, seen: &Snapshot) -> Said {
    let need = runbook.approval.need.max(if runbook.irreversible { 2 } else { 1 });
    if trust == Trust::Auto {
        return judge(true, "not needed at this trust", "");
    }
    let (given, threshold) = (seen.approved_by.len(), format!("{need} approvals"));
    let outcome = if given >= need { Outcome::Allow } else { Outcome::Defer };
    (outcome, seen.approved_by.join(", "), threshold)
}
