//! People are called when they are needed, once for each need, and told when they are not needed any more; verification
//! and steps that come later look at the world again.

use super::*;

const LOOKS: usize = 60;

async fn until_effect(bench: &Bench) -> Running {
    let running = bench.start();
    running.tell(bench.alert("m2", AlertState::Firing, 7)).await;
    while bench.machine.effects().is_empty() {
        running.ticks(bench, 1).await;
    }
    running
}

fn called(bench: &Bench) -> Vec<(String, AlertState)> {
    let called = bench.script.called.lock().unwrap();
    let reason = |call: &Transition| {
        let mut labels = call.labels.iter();
        labels.find(|(name, _)| *name == "reason").map(|(_, value)| value.to_owned()).unwrap()
    };
    called.iter().map(|call| (reason(call), call.state)).collect()
}

fn pair(reason: &str, state: AlertState) -> (String, AlertState) {
    (reason.to_owned(), state)
}

#[tokio::test]
async fn each_need_calls_once_and_all_end_with_the_action() {
    let bench = Bench::new(BOOK);
    let running = until_effect(&bench).await;
    *bench.script.holds.lock().unwrap() = None;
    running.ticks(&bench, LOOKS).await;
    let first = [pair("inconclusive", AlertState::Firing)];
    assert_eq!(called(&bench), first);
    // The routes are told each minute what fires: it stays as long as somebody is needed.
    assert_eq!(running.actions.calling().len(), 1);
    let cause = Cause::NoData;
    running.tell(Transition { cause, ..bench.alert("m2", AlertState::Resolved, 7) }).await;
    running.ticks(&bench, LOOKS).await;
    let second = pair("unrecovered", AlertState::Firing);
    assert_eq!(called(&bench), [first[0].clone(), second.clone()]);
    drop(running);
    let running = bench.start();
    assert_eq!(running.actions.calling().len(), 2);
    bench.pass(3_600_000);
    running.ticks(&bench, LOOKS).await;
    assert_eq!(running.run().state, State::Closed);
    let ends = ["inconclusive", "unrecovered"].map(|reason| pair(reason, AlertState::Resolved));
    assert_eq!(called(&bench)[2..], ends);
    assert!(running.actions.calling().is_empty());
    let called = bench.script.called.lock().unwrap();
    let ids: std::collections::BTreeSet<u128> = called.iter().map(|call| call.id).collect();
    assert_eq!(ids.len(), 4, "each is a message of its own");
}

#[tokio::test]
async fn who_takes_note_is_called_no_longer() {
    let bench = Bench::new(BOOK);
    let running = until_effect(&bench).await;
    *bench.script.holds.lock().unwrap() = None;
    running.ticks(&bench, LOOKS).await;
    let incident = running.run().plan.incident;
    running.actions.acknowledge(&incident, "ada").await.unwrap();
    running.ticks(&bench, 2).await;
    let states: Vec<AlertState> = called(&bench).into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [AlertState::Firing, AlertState::Resolved]);
    assert_eq!(running.run().state, State::Holding);
}

#[tokio::test]
async fn what_begins_to_hold_late_is_given_the_time_to_last() {
    let bench = Bench::new(BOOK);
    let running = until_effect(&bench).await;
    *bench.script.holds.lock().unwrap() = Some(false);
    running.ticks(&bench, 18).await;
    *bench.script.holds.lock().unwrap() = Some(true);
    running.ticks(&bench, LOOKS).await;
    let run = running.run();
    assert_eq!((run.state, run.finding), (State::Holding, Some(Finding::Verified)), "{run:#?}");
}

#[tokio::test]
async fn one_last_sample_after_silence_says_nothing() {
    let bench = Bench::new(BOOK);
    let running = until_effect(&bench).await;
    *bench.script.holds.lock().unwrap() = None;
    running.ticks(&bench, 18).await;
    *bench.script.holds.lock().unwrap() = Some(false);
    running.ticks(&bench, LOOKS).await;
    let run = running.run();
    assert_eq!((run.state, run.finding), (State::Holding, Some(Finding::Inconclusive)), "{run:#?}");
}

#[tokio::test]
async fn what_did_not_help_is_known_although_data_end_just_then() {
    let bench = Bench::new(BOOK);
    let running = until_effect(&bench).await;
    *bench.script.holds.lock().unwrap() = Some(false);
    running.ticks(&bench, 16).await;
    *bench.script.holds.lock().unwrap() = None;
    running.ticks(&bench, LOOKS).await;
    assert_eq!(running.run().finding, Some(Finding::Ineffective));
    assert_eq!(bench.machine.value("m2"), "ok");
}

#[tokio::test]
async fn a_full_disk_holds_nothing_beyond_its_time() {
    for is_restarted in [false, true] {
        let mut bench = Bench::new(BOOK);
        Arc::get_mut(&mut bench.machine).unwrap().class = RetryClass::Set;
        let mut running = until_effect(&bench).await;
        running.ticks(&bench, LOOKS).await;
        assert_eq!(running.run().state, State::Holding);
        if is_restarted {
            drop(running);
            running = bench.start();
        }
        *running.actions.crash.full.lock().unwrap() = true;
        *bench.machine.unrecorded.lock().unwrap() = true;
        running.ticks(&bench, 8).await;
        assert_eq!(bench.machine.value("m2"), "bumped", "its time is not over");
        bench.pass(3_600_000);
        running.ticks(&bench, 8).await;
        assert_eq!(bench.machine.value("m2"), "ok");
        assert_eq!(bench.machine.effects().len(), 2, "once");
        assert_eq!(running.run().state, State::Holding, "nothing of it is on record");
        *running.actions.crash.full.lock().unwrap() = false;
        running.ticks(&bench, LOOKS).await;
        let last = running.run().arrows.last().cloned().unwrap();
        assert_eq!((running.run().state, &*last.why), (State::Closed, "reverted"));
        assert_eq!(bench.machine.effects().len(), 2, "found done");
    }
}

const STEPS: &str = "steps: [{id: one, do: test.bump, with: {to: one}, settle: 5s}, \
                     {id: two, do: test.bump, with: {to: two}}]";

#[tokio::test]
async fn between_two_steps_the_guards_are_asked_again() {
    let book = BOOK.replace("steps: [{id: bump, do: test.bump, with: {to: bumped}}]", STEPS);
    let bench = Bench::new(&book);
    let running = until_effect(&bench).await;
    running.ticks(&bench, LOOKS).await;
    assert_eq!((running.run().state, &*bench.machine.value("m2")), (State::Holding, "two"));

    // Others are unwell as well by now: what was begun is taken back.
    let bench = Bench::new(&book);
    let running = until_effect(&bench).await;
    bench.machine.down.lock().unwrap().extend(["m1".to_owned(), "m3".to_owned()]);
    running.ticks(&bench, LOOKS).await;
    let run = running.run();
    let whys: Vec<&str> = run.arrows.iter().map(|arrow| &*arrow.why).collect();
    let is_told = whys.iter().any(|why| why.contains("between two steps refused by storm"));
    assert!(is_told, "{whys:?}");
    assert_eq!((run.state, &*bench.machine.value("m2")), (State::Closed, "ok"));

    // Data are missing for a while: it waits where it is, and goes on.
    let bench = Bench::new(&book);
    let running = until_effect(&bench).await;
    *bench.script.stale.lock().unwrap() = true;
    running.ticks(&bench, LOOKS).await;
    assert_eq!(bench.machine.value("m2"), "one");
    *bench.script.stale.lock().unwrap() = false;
    running.ticks(&bench, LOOKS).await;
    assert_eq!((running.run().state, &*bench.machine.value("m2")), (State::Holding, "two"));
}

#[tokio::test]
async fn who_is_to_approve_is_told_with_a_link_of_their_own() {
    let book = BOOK.replace("\n  alerts:", "\n  approval: {need: 2, by: [ada, bob]}\n  alerts:");
    let bench = Bench { trust: Trust::Approve, ..Bench::new(&book) };
    let running = bench.start();
    running.tell(bench.alert("m2", AlertState::Firing, 7)).await;
    running.ticks(&bench, 10).await;
    let run = running.run();
    assert_eq!(run.state, State::Awaiting);
    let text = |labels: &model::metric::Labels, wanted: &str| {
        let mut labels = labels.iter();
        labels.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned()).unwrap()
    };
    let links: Vec<(String, String)> = bench
        .script
        .called
        .lock()
        .unwrap()
        .iter()
        .map(|call| {
            assert_eq!(call.rule, "HeadropeActionNeedsApproval");
            (text(&call.labels, "approver"), text(&call.annotations, "approve"))
        })
        .collect();
    assert_eq!(links.len(), 2, "{links:?}");
    assert_eq!((&*links[0].0, &*links[1].0), ("ada", "bob"));
    let start =
        format!("https://ops.example/api/headrope/v1/actions/{}/approval?by=ada&sig=", run.id);
    let sig = links[0].1.strip_prefix(&start).unwrap();
    running.actions.signed(&run.id, "ada", sig).unwrap();
    for (by, sig) in [("bob", sig), ("ada", &sig[1..]), ("ada", ""), ("", sig)] {
        assert!(running.actions.signed(&run.id, by, sig).is_err(), "{by} {sig}");
    }
    assert!(running.actions.signed("0000", "ada", sig).is_err());
    // A name alone is not enough where people are named.
    assert!(running.actions.approve(&run.id, "ada", false).await.is_err());
    running.actions.approve(&run.id, "ada", true).await.unwrap();
    running.actions.approve(&run.id, "bob", true).await.unwrap();
    running.ticks(&bench, LOOKS).await;
    assert_eq!(running.run().state, State::Holding);
    let ends = called(&bench).into_iter().filter(|(_, state)| *state == AlertState::Resolved);
    assert_eq!(ends.count(), 2, "it waits no longer");
}
