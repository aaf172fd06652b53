//! The state machine against a plain model, and the ids of transitions.

use std::collections::BTreeSet;
use std::time::Duration;

use model::alert::AlertState;
use model::metric::Labels;
use model::time::{NS_PER_S, Timestamp};
use proptest::prelude::*;

use crate::codec::{Stored, StoredRule, from_bytes, to_bytes};
use crate::state::{Absences, Found, Instances, Machine, Moment, Step};

fn machine(hold_s: u64, keep_s: u64) -> Machine<'static> {
    Machine {
        group: "g",
        rule: "R",
        expr: "up == 0",
        hold: Duration::from_secs(hold_s),
        keep_firing: Duration::from_secs(keep_s),
        limit: 0,
    }
}

fn found(name: &str) -> Found {
    let labels = [("instance".to_owned(), name.to_owned())].into_iter().collect();
    Found { labels, annotations: Labels::default(), value: f64::NAN }
}

fn step(machine: Machine<'_>, before: &Instances, names: &[&str], at_s: i64) -> Step {
    let found = names.iter().map(|name| found(name)).collect();
    let moment = Moment { at: Timestamp::from_s(at_s), hold_unseen_since: None };
    machine.step(before, found, (moment, &Absences::default())).expect("no instance twice")
}

/// The state of one alert, told from the whole history: the definition, not the machine.
fn model(history: &[bool], hold: i64, keep: i64) -> AlertState {
    let mut state = AlertState::Inactive;
    let (mut active, mut missing, mut resolved) = (0, None, 0);
    for (now, present) in (0_i64..).zip(history) {
        let alive = matches!(state, AlertState::Pending | AlertState::Firing);
        if *present {
            if !alive {
                active = now;
                state = AlertState::Pending;
            }
            missing = None;
            if now - active >= hold {
                state = AlertState::Firing;
            }
        } else if state == AlertState::Pending {
            state = AlertState::Inactive;
        } else if state == AlertState::Firing {
            let since = *missing.get_or_insert(now);
            if now - since >= keep {
                (state, resolved) = (AlertState::Resolved, now);
            }
        } else if state == AlertState::Resolved && now - resolved > 15 * 60 {
            state = AlertState::Inactive;
        }
    }
    state
}

fn restarted(instances: Instances) -> Instances {
    let rule = StoredRule { instances, ..StoredRule::default() };
    let stored = Stored { rules: vec![rule], ..Stored::default() };
    let mut read = from_bytes(&to_bytes(&stored).expect("it encodes")).expect("it decodes");
    read.rules.remove(0).instances
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn it_agrees_with_the_definition_and_restarts_change_nothing(
        history in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..60),
        hold in 0_u64..8,
        keep in 0_u64..8,
        restarts in any::<u64>(),
    ) {
        let machine = machine(hold, keep);
        let (mut plain, mut restarting) = (Instances::new(), Instances::new());
        let mut told: Vec<(u128, AlertState)> = Vec::new();
        for i in 0..history.len() {
            let mut names = Vec::new();
            names.extend(history[i].0.then_some("a"));
            names.extend(history[i].1.then_some("b"));
            let at = i64::try_from(i).unwrap();
            if restarts >> (i % 64) & 1 == 1 {
                restarting = restarted(restarting);
            }
            let with = step(machine, &restarting, &names, at);
            let without = step(machine, &plain, &names, at);
            // NaN values are equal by their bits only, so the debug form is compared.
            prop_assert_eq!(format!("{with:?}"), format!("{without:?}"));
            told.extend(without.transitions.iter().map(|t| (t.id, t.state)));
            (restarting, plain) = (with.instances, without.instances);
            for (name, seen) in [("a", true), ("b", false)] {
                let past: Vec<bool> = history[..=i].iter().map(|h| if seen { h.0 } else { h.1 }).collect();
                let expected = model(&past, i64::try_from(hold).unwrap(), i64::try_from(keep).unwrap());
                let got = plain.get(&found(name).labels).map_or(AlertState::Inactive, |x| x.state);
                prop_assert_eq!(got, expected, "{} at {}", name, i);
            }
        }
        let ids: BTreeSet<u128> = told.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(ids.len(), told.len(), "every transition has its own id");
    }

    #[test]
    fn a_firing_that_was_told_is_told_to_be_resolved(
        history in proptest::collection::vec(any::<bool>(), 1..60),
        hold in 0_u64..4,
        keep in 0_u64..4,
        longer in 0_u64..6,
        changed_at in 0_usize..60,
    ) {
        // The rule's `for` changes on the way; still each firing is followed by one resolution, never two of a kind.
        let mut instances = Instances::new();
        let mut last = AlertState::Resolved;
        for (i, present) in history.into_iter().enumerate() {
            let machine = machine(if i >= changed_at { longer } else { hold }, keep);
            let names: &[&str] = if present { &["a"] } else { &[] };
            let step = step(machine, &instances, names, i64::try_from(i).unwrap());
            for transition in &step.transitions {
                prop_assert_ne!(transition.state, last);
                last = transition.state;
            }
            instances = step.instances;
            let firing = instances.values().any(|x| x.state == AlertState::Firing);
            prop_assert_eq!(firing, last == AlertState::Firing);
        }
    }
}

#[test]
fn ids_are_the_same_for_the_same_transition_only() {
    let machine = machine(0, 0);
    let first = step(machine, &Instances::new(), &["a"], 5);
    let again = step(machine, &Instances::new(), &["a"], 5);
    assert_eq!(first.transitions[0].id, again.transitions[0].id);
    let other = step(machine, &Instances::new(), &["b"], 5);
    let later = step(machine, &Instances::new(), &["a"], 6);
    let resolved = step(machine, &first.instances, &[], 6);
    let group = Machine { group: "h", ..machine };
    let elsewhere = step(group, &Instances::new(), &["a"], 5);
    let steps = [&first, &other, &later, &resolved, &elsewhere];
    let ids: BTreeSet<u128> = steps.map(|step| step.transitions[0].id).into_iter().collect();
    assert_eq!(ids.len(), steps.len());
}

#[test]
fn two_results_with_the_same_labels_change_nothing() {
    let found = vec![found("a"), found("a")];
    let moment = Moment { at: Timestamp(0), hold_unseen_since: None };
    let error = machine(0, 0)
        .step(&Instances::new(), found, (moment, &Absences::default()))
        .expect_err("labels repeat");
    assert_eq!(error, "vector contains metrics with the same labelset after applying alert labels");
}

#[test]
fn a_clock_set_back_does_not_unfire_an_alert() {
    let machine = machine(60, 0);
    let pending = step(machine, &Instances::new(), &["a"], 1_000);
    let firing = step(machine, &pending.instances, &["a"], 1_060);
    let after = step(machine, &firing.instances, &["a"], 500);
    assert!(after.transitions.is_empty());
    assert!(after.instances.values().all(|i| i.state == AlertState::Firing));
}

#[test]
fn absence_does_not_end_what_was_not_seen_since_the_start() {
    let machine = machine(0, 0);
    let firing = step(machine, &Instances::new(), &["a"], 0).instances;
    let held = Some(Timestamp(100 * NS_PER_S));
    let moment = Moment { at: Timestamp(110 * NS_PER_S), hold_unseen_since: held };
    let step_held =
        machine.step(&firing, Vec::new(), (moment, &Absences::default())).expect("nothing repeats");
    assert_eq!((step_held.instances.len(), step_held.transitions.len()), (1, 0));
    let ended = machine.step(
        &firing,
        Vec::new(),
        (Moment { hold_unseen_since: None, ..moment }, &Absences::default()),
    );
    assert_eq!(ended.expect("nothing repeats").transitions[0].state, AlertState::Resolved);
}
