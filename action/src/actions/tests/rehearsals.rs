//! What would have been done: the live decision over alerts of the past.

use super::*;
use crate::actions::rehearse::Firing;
use crate::plan::Decision;

const BEGIN_MS: i64 = 1_800_000_000_000;

fn firing(member: &str, from_s: i64, to_s: i64) -> Firing {
    let labels = [("alertname", "Grey"), ("member", member)];
    Firing {
        rule: "Grey".to_owned(),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        fired_ms: BEGIN_MS + from_s * 1_000,
        resolved_ms: Some(BEGIN_MS + to_s * 1_000),
    }
}

async fn said(book: &str, firings: &[Firing]) -> Vec<(usize, Decision, i64, Option<String>)> {
    let bench = Bench::new(book);
    let running = bench.start();
    let all = running.actions.rehearse(firings).await.unwrap();
    assert!(bench.machine.effects().is_empty(), "nothing is done");
    assert!(running.runs().is_empty(), "and nothing recorded");
    let at = |ms: i64| (ms - BEGIN_MS) / 1_000;
    all.into_iter().map(|one| (one.firing, one.decision, at(one.at_ms), one.decided_by)).collect()
}

#[tokio::test]
async fn cooldown_and_end_are_those_of_live_decisions() {
    let by = |guard: &str| Some(guard.to_owned());
    // The second is too soon and over before the ten minutes are; the third waits for them.
    let firings = [firing("m1", 0, 60), firing("m1", 120, 300), firing("m1", 400, 4_000)];
    let all = said(BOOK, &firings).await;
    assert_eq!(all[0], (0, Decision::Admitted, 0, None));
    assert_eq!((all[1].0, all[1].1, &all[1].3), (1, Decision::Refused, &by("cooldown")));
    assert_eq!((all[2].0, all[2].1, &all[2].3), (2, Decision::Admitted, &None));
    assert!((600..=606).contains(&all[2].2), "{all:?}");
}

#[tokio::test]
async fn one_at_a_time_and_none_when_all_are_unwell() {
    let storm = "  guard: {storm: {if_unhealthy_over: 70%}}\n  steps:";
    let firings = [firing("m1", 0, 1_000), firing("m2", 10, 2_000)];
    let all = said(&BOOK.replace("  steps:", storm), &firings).await;
    assert_eq!((all[0].1, all[0].2), (Decision::Admitted, 0));
    assert_eq!(all[1].1, Decision::Admitted, "once the first is over");
    assert!((1_000..=1_006).contains(&all[1].2), "{all:?}");
    let all = said(BOOK, &[firing("m1", 0, 50), firing("m2", 0, 50), firing("m3", 0, 50)]).await;
    for (_, decision, _, by) in all {
        assert_eq!((decision, by.as_deref()), (Decision::Refused, Some("storm")));
    }
}

#[tokio::test]
async fn what_no_runbook_wants_is_not_there_and_trust_counts() {
    let mut other = firing("m1", 0, 60);
    other.labels.insert("alertname".to_owned(), "Other".to_owned());
    assert!(said(BOOK, &[other]).await.is_empty());
    let all = said(&BOOK.replace("trust: auto", "trust: approve"), &[firing("m1", 0, 60)]).await;
    assert_eq!(all[0].1, Decision::Awaiting);
}

#[tokio::test]
async fn the_live_engine_decides_the_same() {
    // Three alerts of one member, live and rehearsed.
    let times = [(0, 60), (120, 300), (700, 900)];
    let bench = Bench::new(BOOK);
    let running = bench.start();
    let begin = bench.clock.now().0;
    let mut live = Vec::new();
    for (since, (from_s, to_s)) in (1..).zip(times) {
        let now_s = (bench.clock.now().0 - begin) / 1_000_000_000;
        bench.pass((from_s - now_s) * 1_000);
        running.tell(bench.alert("m1", AlertState::Firing, since)).await;
        running.ticks(&bench, usize::try_from((to_s - from_s) * 2).unwrap()).await;
        running.tell(bench.alert("m1", AlertState::Resolved, since)).await;
        running.ticks(&bench, 4).await;
        live.push(bench.machine.effects().iter().filter(|(_, v)| v == "bumped").count());
    }
    assert_eq!(live, [1, 1, 2]);
    let firings = times.map(|(from_s, to_s)| firing("m1", from_s, to_s));
    let all = said(BOOK, &firings).await;
    let acted: Vec<usize> =
        all.iter().filter(|one| one.1 == Decision::Admitted).map(|one| one.0).collect();
    assert_eq!(acted, [0, 2]);
}
