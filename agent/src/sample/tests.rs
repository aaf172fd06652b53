//! Tests of the tick, and of all sources together on the real host.

use super::*;

const S: i64 = NS_PER_S;

#[test]
fn ticks_lie_on_the_grid_and_never_repeat() {
    let next = |now, last: Option<i64>| next_tick(Timestamp(now), last.map(Timestamp), S).0;
    assert_eq!(next(0, None), S);
    assert_eq!(next(S - 1, None), S);
    assert_eq!(next(S, Some(S)), 2 * S);
    assert_eq!(next(2 * S - 5, Some(2 * S)), 3 * S, "the timer fired early");
    assert_eq!(next(9 * S + 3, Some(2 * S)), 10 * S, "the host slept");
    assert_eq!(next(S / 2, Some(100 * S)), S, "the clock was set back");
    assert_eq!(missed(Timestamp(2 * S), Timestamp(10 * S), S), 7);
    assert_eq!(missed(Timestamp(2 * S), Timestamp(3 * S), S), 0);
    assert_eq!(missed(Timestamp(100 * S), Timestamp(S), S), 0);
}

#[test]
fn slower_sources_are_due_when_their_grid_is_crossed() {
    let five = Duration::from_secs(5);
    let due_at = |last: i64, tick: i64| due(Timestamp::from_s(last), Timestamp::from_s(tick), five);
    assert!(!due_at(10, 11) && !due_at(13, 14) && due_at(14, 15) && due_at(13, 16));
}
