//! Crashes at every boundary of the journal, alone and many in a row: no effect of class C is repeated or lost.

use super::*;

/// Boundaries of a whole life: more than there are.
const BOUNDARIES: u32 = 60;

/// Lives through an alert from its beginning to its end, with a crash at each of `crashes` boundaries after a start.
/// Returns how many crashes took place.
async fn live_through(bench: &Bench, crashes: &[u32]) -> usize {
    let (mut crashes, mut n_crashes) = (crashes.iter(), 0);
    let firing = bench.alert("m2", AlertState::Firing, 7);
    let resolved = bench.alert("m2", AlertState::Resolved, 7);
    loop {
        let running = bench.start();
        *running.actions.crash.after.lock().unwrap() = crashes.next().copied();
        let life = async {
            // What was not taken over is offered again, as `alert` does.
            running.tell(firing.clone()).await;
            running.ticks(bench, 40).await;
            running.tell(resolved.clone()).await;
            running.ticks(bench, 60).await;
        };
        let is_crash = tokio::select! {
            biased;
            () = running.actions.crash.hit.notified() => true,
            () = life => false,
        };
        if !is_crash {
            let runs = running.runs();
            assert!(runs.iter().all(|run| run.state.is_final()), "{runs:#?}");
            assert_eq!(running.actions.counts().1, 0, "arrows that may not be");
            return n_crashes;
        }
        n_crashes += 1;
        bench.pass(3_000);
    }
}

fn check(bench: &Bench, what: &str) {
    let effects = bench.machine.effects();
    let bumps = effects.iter().filter(|(_, value)| value == "bumped").count();
    assert!(bumps <= 1, "{what}: {effects:?}");
    assert_eq!(effects.len(), 2 * bumps, "{what}: done once, taken back once: {effects:?}");
    assert_eq!(bench.machine.value("m2"), "ok", "{what}");
}

#[tokio::test]
async fn a_crash_at_any_boundary_repeats_no_effect() {
    let mut n_crashes = 0;
    let mut n_acted = 0;
    for boundary in 0..BOUNDARIES {
        let bench = Bench::new(BOOK);
        n_crashes += live_through(&bench, &[boundary]).await;
        check(&bench, &format!("boundary {boundary}"));
        n_acted += usize::from(!bench.machine.effects().is_empty());
    }
    assert!(n_crashes >= 20, "only {n_crashes} boundaries were met");
    assert!(n_acted >= usize::try_from(BOUNDARIES).unwrap() * 9 / 10, "only {n_acted} acted");
}

/// Numbers from a seed; the same seed gives the same ones.
fn numbers(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state % 14).unwrap()
    }
}

async fn storm_of_crashes(seeds: std::ops::Range<u64>) -> usize {
    let mut n_crashes = 0;
    for seed in seeds {
        let bench = Bench::new(BOOK);
        let mut next = numbers(seed);
        let crashes: Vec<u32> = (0..8).map(|_| next()).collect();
        n_crashes += live_through(&bench, &crashes).await;
        check(&bench, &format!("seed {seed}: {crashes:?}"));
    }
    n_crashes
}

#[tokio::test]
async fn many_crashes_in_a_row_repeat_no_effect() {
    let n_crashes = storm_of_crashes(0..40).await;
    assert!(n_crashes > 100, "only {n_crashes}");
}

#[tokio::test]
#[ignore = "long: ten thousand crashes"]
async fn ten_thousand_crashes_repeat_no_effect() {
    let n_crashes = storm_of_crashes(1_000..2_400).await;
    assert!(n_crashes > 9_000, "only {n_crashes}");
}

#[tokio::test]
async fn after_a_restart_the_guards_are_asked_again() {
    let mut n_asked = 0;
    for boundary in 0..30 {
        let bench = Bench::new(BOOK);
        let running = bench.start();
        *running.actions.crash.after.lock().unwrap() = Some(boundary);
        let life = async {
            running.tell(bench.alert("m2", AlertState::Firing, 7)).await;
            running.ticks(&bench, 10).await;
        };
        tokio::select! {
            biased;
            () = running.actions.crash.hit.notified() => {}
            () = life => continue,
        }
        drop(running);
        let running = bench.start();
        let is_decided =
            |run: &Run| matches!(run.state, State::Admitted | State::Leased | State::Captured);
        if !running.runs().iter().any(is_decided) {
            continue;
        }
        bench.script.muted.lock().unwrap().push("a silence".to_owned());
        bench.pass(3_000);
        running.ticks(&bench, 20).await;
        // Once by the run that was decided, once by a new plan.
        let runs = running.runs();
        let are_refused = runs.iter().all(|run| run.state == State::Refused);
        assert!(are_refused, "boundary {boundary}: {runs:#?}");
        assert!(bench.machine.effects().is_empty(), "boundary {boundary}");
        n_asked += 1;
    }
    assert!(n_asked >= 3, "only {n_asked} crashes lay between decision and effect");
}
