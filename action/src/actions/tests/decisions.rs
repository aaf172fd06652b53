//! Decisions as a pure function: the same inputs give the same plan, and each single thing that is wrong or unknown stops it.

use proptest::prelude::*;

use crate::address::Allowed;
use crate::amount::Share;
use crate::guard::{ORDER, Outcome};
use crate::plan::{
    Active, Change, Decision, History, Incident, Input, Judged, Member, Plan, Snapshot, Touch,
    decide, way_back,
};
use crate::runbook::{Book, DriverKind, Trust, read};

fn book(text: &str) -> Result<Book, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let check = |query: &str| {
        if query.contains('(') && !query.contains(')') {
            Err("unclosed".to_owned())
        } else {
            Ok(())
        }
    };
    read(&[file.path()], &Allowed::default(), &check)
}

fn incident(labels: &[(&str, &str)]) -> Incident {
    Incident {
        id: "i".repeat(32),
        group: "g".to_owned(),
        rule: "Grey".to_owned(),
        expr: "up == 0".to_owned(),
        labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        annotations: std::collections::BTreeMap::new(),
        opened_ns: 0,
        resolved_ns: None,
        unknown: None,
        acknowledged_by: None,
        acknowledged_ns: None,
    }
}

fn member(name: &str) -> Member {
    let fields = [("value".to_owned(), "ok".to_owned())];
    Member {
        name: name.to_owned(),
        up: true,
        serving: true,
        fields: fields.clone().into(),
        configured: fields.into(),
        sessions: 0,
        owner: None,
    }
}

const NOW: i64 = 100_000_000_000_000;

/// A world in which nothing is in the way.
fn calm() -> Snapshot {
    let inputs =
        vec![Input { selector: "up".to_owned(), series: 3, fresh: 3, newest_ns: Some(NOW) }];
    Snapshot {
        at_ns: NOW,
        switch: None,
        driver: DriverKind::Test,
        ceiling: Trust::Auto,
        ladder: Trust::Auto,
        inputs: Ok(inputs.clone()),
        muted: Vec::new(),
        members: Ok(["m1", "m2", "m3"].map(member).into()),
        alerting: vec!["m2".to_owned()],
        preconditions: vec![Judged {
            query: "q".to_owned(),
            holds: Some(true),
            observed: String::new(),
            inputs,
            effect: None,
        }],
        utilisation: None,
        history: History::default(),
        approved_by: Vec::new(),
        journal: Ok(1),
    }
}

fn plan(seen: Snapshot) -> Plan {
    let book = book(super::BOOK).unwrap();
    let runbook = &book.runbooks["bump"].runbook;
    decide(runbook, &book.targets["pool"], &incident(&[("member", "m2")]), seen)
}

/// A run at the first member.
fn active(pending: bool) -> Active {
    let text = |text: &str| text.to_owned();
    Active { run: text("r"), target: text("pool"), place: text("pool/m1"), pending }
}

/// A guard, and what makes it say no.
type Obstacle = (&'static str, fn(&mut Snapshot));

/// Everything that stops a plan, by the guard that does.
fn obstacles() -> Vec<Obstacle> {
    vec![
        ("switch", |seen| seen.switch = Some("off".to_owned())),
        ("trust", |seen| seen.ceiling = Trust::Observe),
        ("quality", |seen| seen.inputs = Ok(Vec::new())),
        ("quality", |seen| seen.inputs = Err("timeout".to_owned())),
        ("quality", |seen| {
            seen.inputs = Ok(vec![Input {
                selector: "up".to_owned(),
                series: 3,
                fresh: 2,
                newest_ns: Some(NOW),
            }]);
        }),
        ("silence", |seen| seen.muted = vec!["s".to_owned()]),
        ("dedupe", |seen| seen.history.same_key = Some("r".to_owned())),
        ("flap", |seen| {
            let touch = |minutes: i64| Touch {
                at_ns: NOW - minutes * 60_000_000_000,
                place: "pool/m2".to_owned(),
                rule: "Other".to_owned(),
                kind: DriverKind::Test,
            };
            seen.history.touches = vec![touch(29), touch(20), touch(15)];
        }),
        ("cooldown", |seen| {
            seen.history.touches = vec![Touch {
                at_ns: NOW - 1,
                place: "pool/m2".to_owned(),
                rule: "Other".to_owned(),
                kind: DriverKind::Test,
            }];
        }),
        ("budget", |seen| {
            let touch = Touch {
                at_ns: NOW - 1,
                place: "pool/m1".to_owned(),
                rule: "Grey".to_owned(),
                kind: DriverKind::Test,
            };
            seen.history.touches = vec![touch; 6];
        }),
        ("lock", |seen| seen.history.active = vec![active(false)]),
        ("conflict", |seen| seen.history.conflict_ns = Some(NOW - 1)),
        ("conflict", |seen| {
            for member in seen.members.iter_mut().flatten() {
                member.fields.insert("value".to_owned(), "theirs".to_owned());
            }
        }),
        ("storm", |seen| seen.alerting = vec!["m1".to_owned(), "m2".to_owned()]),
        ("storm", |seen| seen.members = Ok(Vec::new())),
        ("storm", |seen| seen.members = Err("gone".to_owned())),
        ("blast_radius", |seen| {
            if let Some(first) = seen.members.iter_mut().flatten().next() {
                first.serving = false;
            }
        }),
        ("blast_radius", |seen| seen.history.active = vec![active(true)]),
        ("preconditions", |seen| seen.preconditions[0].holds = None),
        ("preconditions", |seen| seen.preconditions[0].holds = Some(false)),
        ("preconditions", |seen| seen.preconditions[0].inputs[0].fresh = 0),
        ("preconditions", |seen| seen.preconditions.clear()),
        ("lease", |seen| seen.journal = Err("disk full".to_owned())),
    ]
}

#[test]
fn each_single_obstacle_stops_it_and_says_so() {
    let free = plan(calm());
    assert_eq!(free.decision, Decision::Admitted, "{:#?}", free.verdicts);
    for (guard, change) in obstacles() {
        let mut seen = calm();
        change(&mut seen);
        let plan = plan(seen);
        assert_eq!(plan.decision, Decision::Refused, "{guard}");
        let said = plan.verdicts.iter().find(|v| v.guard == guard).unwrap();
        assert_ne!(said.outcome, Outcome::Allow, "{guard}: {said:?}");
        let order: Vec<&str> = plan.verdicts.iter().map(|v| &*v.guard).collect();
        assert_eq!(order, ORDER, "every guard leaves its verdict");
    }
}

#[test]
fn a_member_that_is_not_there_is_not_acted_on() {
    let book = book(super::BOOK).unwrap();
    let runbook = &book.runbooks["bump"].runbook;
    for labels in [&[("member", "m9")][..], &[("member", "")], &[("other", "m2")]] {
        let plan = decide(runbook, &book.targets["pool"], &incident(labels), calm());
        assert_eq!(plan.decision, Decision::Refused, "{labels:?}");
    }
}

proptest! {
    #[test]
    fn any_obstacle_among_any_number_of_them_stops_it(
        chosen in proptest::collection::vec(0..22_usize, 0..6),
        ceiling in 0..4_usize,
        ladder in 0..4_usize,
    ) {
        let levels = [Trust::Observe, Trust::Shadow, Trust::Approve, Trust::Auto];
        let mut seen = calm();
        (seen.ceiling, seen.ladder) = (levels[ceiling], levels[ladder]);
        let all = obstacles();
        for i in &chosen {
            // One may take away what another changes.
            if all[*i].0 != "preconditions" || !seen.preconditions.is_empty() {
                all[*i].1(&mut seen);
            }
        }
        let made = plan(seen.clone());
        prop_assert_eq!(&made, &plan(seen), "the same inputs give the same plan");
        let is_free = chosen.is_empty() && ceiling.min(ladder) == 3;
        prop_assert_eq!(made.decision == Decision::Admitted, is_free);
        if !chosen.is_empty() {
            prop_assert_ne!(made.decision, Decision::Admitted);
        }
        let json = serde_json::to_string(&made).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), made, "as the journal keeps it");
    }

    #[test]
    fn a_way_back_ends_where_it_began(
        before in 1..257_u64,
        percent in 0..101_u64,
        ramp in proptest::collection::vec(0.0..1.0_f64, 0..4),
        drained: bool,
    ) {
        let mut ramp: Vec<Share> = ramp.into_iter().map(Share).collect();
        ramp.sort_by(|a, b| a.0.total_cmp(&b.0));
        let text = |text: &str| text.to_owned();
        let value = crate::plan::share_of(before, percent).to_string();
        let weight = Change {
            member: text("s1"),
            field: text("weight"),
            before: before.to_string(),
            value: value.clone(),
        };
        let state = Change {
            member: text("s1"),
            field: text("state"),
            before: text("ready"),
            value: text("drain"),
        };
        let held = if drained { vec![weight, state] } else { vec![weight] };
        let back = way_back(&held, &ramp);
        let mut at = value;
        let mut last = 0;
        for step in back.iter().filter(|step| step.change.field == "weight") {
            prop_assert_eq!(&step.change.before, &at);
            at.clone_from(&step.change.value);
            let weight: u64 = at.parse().unwrap();
            prop_assert!(weight >= last, "it only rises");
            last = weight;
        }
        prop_assert_eq!(at, before.to_string());
        let states = back.iter().filter(|step| step.change.field == "state").count();
        prop_assert_eq!(states, usize::from(drained));
    }
}

#[test]
fn what_is_wrong_in_a_file_is_told() {
    let with =
        |from: &str, to: &str| book(&super::BOOK.replace(from, to)).err().unwrap_or_default();
    for (from, to, words) in [
        ("  alerts: ['alertname=\"Grey\"']", "  alerts: []", "every alert"),
        ("trust: auto", "trust: always", "unknown variant"),
        ("  trust: auto", "  truts: auto", "unknown field `truts`"),
        ("ref: pool", "ref: pond", "no target pond"),
        ("do: test.bump", "do: test.jump", "nothing this driver does"),
        ("with: {to: bumped}", "with: {too: bumped}", "`too` is not for"),
        ("  revert: {ttl: 1h}", "", "verify and revert are missing"),
        ("  revert: {ttl: 1h}", "  irreversible: true", "need: 2"),
        ("ttl: 1h", "ttl: 0s", "ttl is 0"),
        ("for: 2s, within: 10s", "for: 20s, within: 10s", "longer than `within`"),
        ("ttl: 1h", "ttl: 1h, ramp: [50%, 10%]", "ramp rises"),
        ("errors{member=\"{{ member }}\"} < 1", "sum(errors < 1", "unclosed"),
        ("{{ member }}", "{{ sibling }}", "none of member"),
        ("unix:/nowhere", "http://x", "neither unix:"),
        ("unix:/nowhere", "tcp:169.254.169.254:80", "metadata"),
        ("kind: Target", "kind: Goal", "none of Target, Runbook and Flag"),
        ("headrope/v1", "headrope/v9", "apiVersion"),
        ("name: bump}", "name: 'a b'}", "a name is of"),
    ] {
        let said = with(from, to);
        assert!(said.contains(words), "{to}: {said}");
    }
}
