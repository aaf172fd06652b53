//! Whole lives of runs: what helps is held and taken back, what does not is rolled back, what cannot be known is left.

use super::*;

const LOOKS: usize = 60;

async fn fire(bench: &Bench) -> Running {
    let running = bench.start();
    running.tell(bench.alert("m2", AlertState::Firing, 7)).await;
    running.ticks(bench, LOOKS).await;
    running
}

#[tokio::test]
async fn what_helps_is_held_until_the_alert_ends() {
    let bench = Bench::new(BOOK);
    let running = fire(&bench).await;
    let run = running.run();
    assert_eq!((run.state, run.finding), (State::Holding, Some(Finding::Verified)), "{run:#?}");
    assert_eq!(bench.machine.value("m2"), "bumped");
    running.tell(bench.alert("m2", AlertState::Resolved, 7)).await;
    running.ticks(&bench, LOOKS).await;
    assert_eq!(running.run().state, State::Closed);
    assert_eq!(bench.machine.effects().len(), 2);
    assert_eq!(bench.machine.value("m2"), "ok");
}

#[tokio::test]
async fn an_alert_that_ends_unseen_gives_nothing_back() {
    for cause in [Cause::NoData, Cause::Error, Cause::RuleRemoved] {
        let bench = Bench::new(BOOK);
        let running = fire(&bench).await;
        running.tell(Transition { cause, ..bench.alert("m2", AlertState::Resolved, 7) }).await;
        running.ticks(&bench, LOOKS).await;
        assert_eq!((running.run().state, &*bench.machine.value("m2")), (State::Holding, "bumped"));
        assert_eq!(bench.script.called.lock().unwrap().len(), 1);
        // A new start knows it as well; the next end of the same alert shows that all is well.
        drop(running);
        let running = bench.start();
        running.ticks(&bench, LOOKS).await;
        assert_eq!(bench.machine.value("m2"), "bumped");
        bench.script.muted.lock().unwrap().push("silence".to_owned());
        running.tell(bench.alert("m2", AlertState::Firing, 8)).await;
        running.tell(bench.alert("m2", AlertState::Resolved, 8)).await;
        running.ticks(&bench, LOOKS).await;
        assert_eq!(bench.machine.value("m2"), "ok");
    }
}

#[tokio::test]
async fn what_was_measured_before_the_effect_verifies_nothing() {
    let bench = Bench::new(BOOK);
    *bench.script.old.lock().unwrap() = true;
    let running = fire(&bench).await;
    let run = running.run();
    assert_eq!((run.state, run.finding), (State::Holding, Some(Finding::Inconclusive)), "{run:#?}");
}

#[tokio::test]
async fn what_could_not_be_verified_is_not_begun() {
    let bench = Bench::new(
        &BOOK.replace("errors{member=", "errors{rack=\"{{ alert.labels.rack }}\",member="),
    );
    let running = fire(&bench).await;
    assert_eq!(running.run().state, State::Refused);
    assert!(bench.machine.effects().is_empty());
}

#[tokio::test]
async fn what_does_not_help_is_rolled_back_and_told() {
    let bench = Bench::new(BOOK);
    let running = bench.start();
    running.tell(bench.alert("m2", AlertState::Firing, 7)).await;
    while bench.machine.effects().is_empty() {
        running.ticks(&bench, 1).await;
    }
    *bench.script.holds.lock().unwrap() = Some(false);
    running.ticks(&bench, LOOKS).await;
    let run = running.run();
    assert_eq!((run.state, run.finding), (State::Closed, Some(Finding::Ineffective)), "{run:#?}");
    assert_eq!(bench.machine.value("m2"), "ok");
    assert_eq!(bench.script.called.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_known_is_held_and_told_but_never_a_success() {
    for is_stale in [false, true] {
        let bench = Bench::new(BOOK);
        let running = bench.start();
        running.tell(bench.alert("m2", AlertState::Firing, 7)).await;
        while bench.machine.effects().is_empty() {
            running.ticks(&bench, 1).await;
        }
        // Either no answer, or one made of what is old.
        *bench.script.holds.lock().unwrap() = is_stale.then_some(true);
        *bench.script.stale.lock().unwrap() = is_stale;
        running.ticks(&bench, LOOKS).await;
        let run = running.run();
        assert_eq!((run.state, run.finding), (State::Holding, Some(Finding::Inconclusive)));
        assert_eq!(bench.script.called.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn its_time_ends_an_override_whatever_the_alert_does() {
    let bench = Bench::new(BOOK);
    let running = fire(&bench).await;
    bench.pass(3_600_000);
    running.ticks(&bench, LOOKS).await;
    assert_eq!((running.run().state, bench.machine.value("m2")), (State::Closed, "ok".to_owned()));
}

#[tokio::test]
async fn what_is_lost_is_set_again_and_left_to_a_writer_who_insists() {
    let bench = Bench::new(BOOK);
    let running = fire(&bench).await;
    for _ in 0..3 {
        bench.machine.set("m2", "ok");
        running.ticks(&bench, 12).await;
        assert_eq!(bench.machine.value("m2"), "bumped", "{:#?}", running.run());
    }
    bench.machine.set("m2", "theirs");
    running.ticks(&bench, 12).await;
    let run = running.run();
    assert_eq!((run.state, bench.machine.value("m2")), (State::Closed, "theirs".to_owned()));
    assert_eq!(bench.script.called.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_way_back_does_not_write_over_what_others_have_set() {
    let bench = Bench::new(BOOK);
    let running = fire(&bench).await;
    bench.machine.set("m2", "theirs");
    running.actions.revert(&running.run().id, "ada", "test").await.unwrap();
    running.ticks(&bench, 12).await;
    assert_eq!(running.run().state, State::Closed);
    assert_eq!(bench.machine.value("m2"), "theirs");
    assert_eq!(bench.machine.effects().len(), 1);
}

#[tokio::test]
async fn a_stop_is_hard_by_call_and_by_file() {
    for by_file in [false, true] {
        let bench = Bench::new(BOOK);
        let running = bench.start();
        let file = bench.dir.path().join("action/stop");
        if by_file {
            std::fs::write(&file, "").unwrap();
        } else {
            running.actions.pause(false, "ada", "test").await.unwrap();
        }
        running.tell(bench.alert("m2", AlertState::Firing, 7)).await;
        running.ticks(&bench, LOOKS).await;
        let run = running.run();
        assert_eq!((run.state, run.plan.decided_by.as_deref()), (State::Refused, Some("switch")));
        assert!(bench.machine.effects().is_empty());
        if by_file {
            std::fs::remove_file(&file).unwrap();
        } else {
            running.actions.resume("ada").await.unwrap();
        }
        running.ticks(&bench, LOOKS).await;
        assert_eq!(bench.machine.effects().len(), 1, "it fires still");
        // A stop lets ways back go on, a freeze does not.
        std::fs::write(&file, "freeze").unwrap();
        running.tell(bench.alert("m2", AlertState::Resolved, 7)).await;
        running.ticks(&bench, LOOKS).await;
        assert_eq!(bench.machine.value("m2"), "bumped");
        std::fs::write(&file, "").unwrap();
        running.ticks(&bench, LOOKS).await;
        assert_eq!(bench.machine.value("m2"), "ok");
    }
}

#[tokio::test]
async fn nothing_is_done_below_auto() {
    for (trust, state) in [
        (Trust::Observe, State::Refused),
        (Trust::Shadow, State::Shadowed),
        (Trust::Approve, State::Awaiting),
    ] {
        let bench = Bench { trust, ..Bench::new(BOOK) };
        let running = fire(&bench).await;
        assert_eq!(running.run().state, state);
        assert!(bench.machine.effects().is_empty());
    }
}

const TWO: &str = "\n  approval: {need: 2, within: 1m}\n  alerts:";

#[tokio::test]
async fn two_people_approve_and_one_twice_is_not_two() {
    let bench = Bench { trust: Trust::Approve, ..Bench::new(&BOOK.replace("\n  alerts:", TWO)) };
    let running = fire(&bench).await;
    let id = running.run().id;
    for _ in 0..2 {
        running.actions.approve(&id, "ada", false).await.unwrap();
        running.ticks(&bench, 4).await;
        assert_eq!(running.run().state, State::Awaiting);
    }
    running.actions.approve(&id, "bob", false).await.unwrap();
    running.ticks(&bench, LOOKS).await;
    assert_eq!((running.run().state, bench.machine.effects().len()), (State::Holding, 1));
}

#[tokio::test]
async fn an_approval_is_void_when_the_group_changes_and_expires() {
    for is_changed in [false, true] {
        let book = BOOK.replace("\n  alerts:", TWO);
        let bench = Bench { trust: Trust::Approve, ..Bench::new(&book) };
        let running = fire(&bench).await;
        let id = running.run().id;
        running.actions.approve(&id, "ada", false).await.unwrap();
        if is_changed {
            bench.machine.set("m4", "ok");
            running.actions.approve(&id, "bob", false).await.unwrap();
        } else {
            bench.pass(60_000);
        }
        running.actions.tick().await;
        let run = running.runs().into_iter().find(|run| run.id == id).unwrap();
        let why = &run.arrows.last().unwrap().why;
        assert_eq!(run.state, State::Refused);
        assert!(why.contains(if is_changed { "voided" } else { "in time" }), "{why}");
        assert!(bench.machine.effects().is_empty());
    }
}

#[tokio::test]
async fn two_runs_without_effect_cost_a_runbook_its_trust() {
    let bench = Bench::new(&BOOK.replace("  steps:", "  guard: {cooldown: 0s}\n  steps:"));
    let running = bench.start();
    for since in 0..3 {
        *bench.script.holds.lock().unwrap() = Some(true);
        running.tell(bench.alert("m2", AlertState::Firing, since)).await;
        running.ticks(&bench, 3).await;
        *bench.script.holds.lock().unwrap() = Some(false);
        running.ticks(&bench, LOOKS).await;
        running.tell(bench.alert("m2", AlertState::Resolved, since)).await;
        running.ticks(&bench, 4).await;
    }
    let bumps = bench.machine.effects().iter().filter(|(_, value)| value == "bumped").count();
    assert_eq!(bumps, 2, "the third asks people first");
    running.actions.restore_trust("bump", "pool", "ada").await.unwrap();
    *bench.script.holds.lock().unwrap() = Some(true);
    bench.pass(3_600_000);
    running.tell(bench.alert("m2", AlertState::Firing, 9)).await;
    running.ticks(&bench, LOOKS).await;
    let bumps = bench.machine.effects().iter().filter(|(_, value)| value == "bumped").count();
    assert_eq!(bumps, 3);
}

#[tokio::test]
async fn two_members_at_once_are_acted_on_one_after_the_other() {
    let book = BOOK.replace("  steps:", "  guard: {storm: {if_unhealthy_over: 100%}}\n  steps:");
    let bench = Bench::new(&book);
    let running = bench.start();
    running.tell(bench.alert("m1", AlertState::Firing, 7)).await;
    running.tell(bench.alert("m2", AlertState::Firing, 7)).await;
    running.ticks(&bench, LOOKS).await;
    assert_eq!(bench.machine.effects().len(), 1);
    let waiting = running.runs().into_iter().find(|run| run.state == State::Refused).unwrap();
    assert_eq!(waiting.plan.decided_by.as_deref(), Some("lock"));
}

#[tokio::test]
async fn when_all_are_unwell_none_is_touched_and_people_are_called() {
    let bench = Bench::new(BOOK);
    let running = bench.start();
    for member in ["m1", "m2", "m3"] {
        running.tell(bench.alert(member, AlertState::Firing, 7)).await;
    }
    running.ticks(&bench, LOOKS).await;
    assert!(bench.machine.effects().is_empty());
    for run in running.runs() {
        assert_eq!(run.plan.decided_by.as_deref(), Some("storm"), "{:#?}", run.plan.verdicts);
    }
    assert_eq!(bench.script.called.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_rewritten_journal_holds_the_same() {
    let bench = Bench::new(BOOK);
    let running = fire(&bench).await;
    let deeds = running.actions.look(crate::register::Register::deeds);
    let mut again = crate::register::Register::default();
    for deed in deeds.clone() {
        let json = serde_json::to_vec(&deed).unwrap();
        again.apply(serde_json::from_slice(&json).unwrap());
    }
    assert_eq!(again.deeds(), deeds);
    assert_eq!(again.runs.len(), 1);
}

#[tokio::test]
async fn a_member_that_is_gone_is_let_go() {
    let bench = Bench::new(BOOK);
    let running = fire(&bench).await;
    bench.machine.values.lock().unwrap().remove("m2");
    running.tell(bench.alert("m2", AlertState::Resolved, 7)).await;
    running.ticks(&bench, LOOKS).await;
    assert_eq!(running.run().state, State::Closed);
    assert_eq!(bench.script.called.lock().unwrap().len(), 1);
}

/// A book whose verification asks for a control group as well.
fn compared() -> String {
    let control = "control: {treated: slow, untouched: others, min_effect: 30%, before: 30s}";
    BOOK.replace("for: 2s, within: 10s", &format!("for: 2s, within: 20s, {control}"))
}

#[tokio::test]
async fn what_helped_no_more_than_doing_nothing_gets_no_credit() {
    // Both fell alike, or only what was acted on did.
    for (others, finding) in [(0.2, Finding::Inconclusive), (1.0, Finding::Verified)] {
        let bench = Bench::new(&compared());
        let running = bench.start();
        let now_ms = bench.clock.now().ms() + 500;
        let levels = [("slow", (now_ms, 1.0, 0.2)), ("others", (now_ms, 1.0, others))];
        *bench.script.levels.lock().unwrap() = levels.map(|(q, l)| (q.to_owned(), l)).into();
        running.tell(bench.alert("m2", AlertState::Firing, 7)).await;
        running.ticks(&bench, 60).await;
        let run = running.run();
        assert_eq!((run.state, run.finding), (State::Holding, Some(finding)), "{run:#?}");
        let why = &run.arrows.last().unwrap().why;
        assert!(why.contains("than what was left alone"), "{why}");
        let called = bench.script.called.lock().unwrap().len();
        assert_eq!(called, 0, "all is well: nobody is needed");
    }
}

#[tokio::test]
async fn a_runbook_earns_its_trust_step_by_step() {
    let earn = "  earn: {approve: 1, auto: 2}\n  guard: {cooldown: 0s}\n  steps:";
    let bench = Bench::new(&BOOK.replace("  steps:", earn));
    let running = bench.start();
    let newest = || {
        let runs = running.runs();
        runs.into_iter().max_by_key(|run| run.planned_ns).unwrap()
    };
    // Only recorded; the alert ends before the action could have helped, then after.
    for (since, ticks) in [(1, 6), (2, 40)] {
        running.tell(bench.alert("m2", AlertState::Firing, since)).await;
        running.ticks(&bench, ticks).await;
        assert_eq!(newest().state, State::Shadowed);
        running.tell(bench.alert("m2", AlertState::Resolved, since)).await;
        running.ticks(&bench, 2).await;
    }
    // Then with somebody's yes, twice.
    for since in [3, 4] {
        running.tell(bench.alert("m2", AlertState::Firing, since)).await;
        running.ticks(&bench, 3).await;
        assert_eq!(newest().state, State::Awaiting);
        running.actions.approve(&newest().id, "ada", false).await.unwrap();
        running.ticks(&bench, LOOKS).await;
        assert_eq!(newest().finding, Some(Finding::Verified));
        running.tell(bench.alert("m2", AlertState::Resolved, since)).await;
        running.ticks(&bench, 4).await;
        bench.pass(3_600_000);
    }
    // Then by itself, which a run without effect does not cost it yet, and two do.
    running.tell(bench.alert("m2", AlertState::Firing, 5)).await;
    running.ticks(&bench, LOOKS).await;
    assert_eq!(newest().finding, Some(Finding::Verified));
    assert!(newest().approvals.is_empty());
}
