//! Order, limits and memory of the ledger.

use model::alert::AlertState;

use super::*;
use crate::journal::record::{Outcome, Verdict};

fn ledger(edit: impl FnOnce(&mut Config)) -> Ledger {
    let mut config = Config::default();
    edit(&mut config);
    Ledger::new(&config)
}

fn accepted(id: u128, fingerprint: u128, receivers: &[&str]) -> Event {
    Event::Accepted(Accepted {
        transition_id: id,
        fingerprint,
        state: AlertState::Firing,
        accepted_at: Timestamp(i64::try_from(id).unwrap()),
        group: "g".into(),
        rule: "r".into(),
        receivers: receivers.iter().map(|name| (*name).to_owned()).collect(),
        body: b"body".to_vec(),
    })
}

fn outcome(id: u128, receiver: &str, verdict: Verdict, next_at: i64) -> Event {
    Event::Outcome(Outcome {
        key: Key::new(id, receiver),
        attempt: 1,
        verdict,
        http_status: 200,
        elapsed_ms: 1,
        at: Timestamp(100),
        next_at: Timestamp(next_at),
        error: String::new(),
    })
}

fn due(ledger: &mut Ledger, now: i64) -> Vec<u128> {
    let jobs = ledger.take_due(Timestamp(now), 100);
    let mut ids: Vec<_> = jobs.iter().map(|job| job.accepted.transition_id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_resolve_waits_for_its_firing_and_other_alerts_do_not() {
    let mut ledger = ledger(|_| ());
    for (id, fingerprint) in [(1, 7), (2, 7), (3, 8)] {
        ledger.apply(accepted(id, fingerprint, &["a"]));
    }
    assert_eq!(due(&mut ledger, 50), [1, 3]);
    assert_eq!(ledger.next_due(100), None, "2 is behind 1");
    ledger.apply(outcome(1, "a", Verdict::Retry, 60));
    assert_eq!(ledger.next_due(100), Some(Timestamp(60)));
    assert_eq!((due(&mut ledger, 59), due(&mut ledger, 60)), (vec![], vec![1]));
    ledger.apply(outcome(1, "a", Verdict::Refused, 0));
    assert_eq!(due(&mut ledger, 60), [2]);
}

#[test]
fn a_receiver_gets_no_more_at_once_than_allowed_and_holds_up_nobody_else() {
    let mut ledger = ledger(|_| ());
    for id in 1..=5 {
        ledger.apply(accepted(id, id, &["slow"]));
    }
    ledger.apply(accepted(6, 6, &["quick"]));
    let jobs = ledger.take_due(Timestamp(50), 2);
    assert_eq!(jobs.len(), 3);
    assert_eq!(ledger.next_due(2), None);
    assert_eq!(ledger.n_lent(), 3);
    let slow = jobs.iter().find(|job| &*job.receiver == "slow").unwrap();
    ledger.apply(outcome(slow.accepted.transition_id, "slow", Verdict::Delivered, 0));
    ledger.give_back(slow, Timestamp(99));
    assert_eq!(ledger.take_due(Timestamp(50), 2).len(), 1);
}

#[test]
fn a_delivery_given_back_without_an_outcome_comes_again_later() {
    let mut ledger = ledger(|_| ());
    ledger.apply(accepted(1, 1, &["a"]));
    let jobs = ledger.take_due(Timestamp(50), 1);
    ledger.give_back(&jobs[0], Timestamp(70));
    assert_eq!((due(&mut ledger, 69), due(&mut ledger, 70)), (vec![], vec![1]));
}

#[test]
fn what_is_known_is_not_admitted_again_and_what_is_too_much_is_refused() {
    let mut ledger = ledger(|config| config.queue_max = 3);
    ledger.apply(accepted(1, 1, &["a"]));
    assert!(matches!(ledger.admit(&mut accepted(1, 1, &["a"]), 0), Admission::Known));
    let mut both = accepted(1, 1, &["a", "b"]);
    assert!(matches!(ledger.admit(&mut both, 0), Admission::New(1)));
    assert_eq!(both, accepted(1, 1, &["b"]));
    assert!(matches!(ledger.admit(&mut accepted(2, 2, &["a", "b"]), 0), Admission::New(2)));
    assert!(matches!(ledger.admit(&mut accepted(2, 2, &["a", "b"]), 1), Admission::Full(_)));
    ledger.apply(outcome(1, "a", Verdict::Delivered, 0));
    assert!(matches!(ledger.admit(&mut accepted(1, 1, &["a"]), 0), Admission::Known));
    assert_eq!((ledger.n_pending(), ledger.pending_bytes), (0, 0));
    ledger.queue_bytes_max = 7;
    assert!(matches!(ledger.admit(&mut accepted(3, 3, &["a", "b"]), 0), Admission::Full(_)));
}

#[test]
fn finished_deliveries_are_forgotten_by_number_and_by_age() {
    let mut ledger = ledger(|config| {
        config.history_max = 2;
        config.history_age = Duration::from_nanos(10);
    });
    for id in 1..=4 {
        ledger.apply(accepted(id, id, &["a"]));
    }
    for id in 1..=3 {
        ledger.apply(outcome(id, "a", Verdict::Delivered, 0));
    }
    let ids =
        |ledger: &Ledger| ledger.latest(9).iter().map(|d| d.transition_id).collect::<Vec<_>>();
    assert_eq!(ids(&ledger), [4, 3, 2]);
    ledger.forget(Timestamp(110));
    assert_eq!(ids(&ledger), [4, 3, 2]);
    ledger.forget(Timestamp(111));
    assert_eq!(ids(&ledger), [4]);
    ledger.apply(outcome(1, "a", Verdict::Retry, 0)); // Of one forgotten: no harm.
}

#[test]
fn its_events_make_the_same_ledger_again() {
    let mut one = ledger(|_| ());
    for id in 1..=4 {
        one.apply(accepted(id, id % 2, &["a", "b"]));
    }
    one.apply(Event::Attempt { key: Key::new(3, "b"), attempt: 1, deadline: Timestamp(9) });
    one.apply(outcome(2, "a", Verdict::Retry, 500));
    one.apply(Event::Attempt { key: Key::new(2, "a"), attempt: 2, deadline: Timestamp(9) });
    one.apply(outcome(1, "a", Verdict::Delivered, 0));
    let mut two = ledger(|_| ());
    one.events().into_iter().for_each(|event| two.apply(event));
    let sorted = |ledger: &Ledger| {
        let mut all = ledger.latest(99);
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    };
    assert_eq!(sorted(&one), sorted(&two));
    assert_eq!(one.pending_bytes, two.pending_bytes);
    assert_eq!(one.next_due(9), two.next_due(9));
    assert_eq!(due(&mut one, 499), due(&mut two, 499));
    assert_eq!(due(&mut one, 500), due(&mut two, 500));
}

/// Numbers that look random and follow from the seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A ledger with the events that are on disk, and what its receivers saw.
struct World {
    dice: Dice,
    ledger: Ledger,
    disk: Vec<Event>,
    lent: Vec<Job>,
    /// Transitions told, in order, by receiver; repetitions included.
    seen: HashMap<Arc<str>, Vec<u128>>,
    finished: BTreeSet<Key>,
    now: i64,
}

impl World {
    const N_ALERTS: u128 = 3;

    fn write(&mut self, mut event: Event) {
        if matches!(self.ledger.admit(&mut event, 0), Admission::New(_)) {
            self.disk.push(event.clone());
            self.ledger.apply(event);
        }
    }

    /// Loses everything but the disk, which may have been rewritten just before.
    fn crash(&mut self) {
        if self.dice.roll(2) == 0 {
            self.disk = self.ledger.events();
        }
        self.ledger = ledger(|_| ());
        self.disk.iter().cloned().for_each(|event| self.ledger.apply(event));
        self.lent.clear();
    }

    fn send(&mut self) {
        for job in self.ledger.take_due(Timestamp(self.now), 2) {
            assert!(!self.finished.contains(&job.key), "sent after it was finished");
            let (key, attempt) = (job.key, job.attempts + 1);
            self.write(Event::Attempt { key, attempt, deadline: Timestamp(self.now) });
            let seen = self.seen.entry(Arc::clone(&job.receiver)).or_default();
            seen.push(job.accepted.transition_id);
            self.lent.push(job);
        }
    }

    fn answer(&mut self, verdicts: &[Verdict]) {
        let Some(job) = self.lent.pop() else { return };
        let verdict = verdicts[usize::try_from(self.dice.roll(verdicts.len() as u64)).unwrap()];
        let next_at = self.now + i64::try_from(self.dice.roll(20)).unwrap();
        self.write(outcome(job.accepted.transition_id, &job.receiver, verdict, next_at));
        if verdict != Verdict::Retry {
            self.finished.insert(job.key);
        }
        self.ledger.give_back(&job, Timestamp(self.now + 5));
    }

    /// Of each alert, first sightings come in the order of acceptance.
    fn check_order(&self) {
        for seen in self.seen.values() {
            for alert in 0..Self::N_ALERTS {
                let of_alert = seen.iter().filter(|id| *id % Self::N_ALERTS == alert);
                let ids: Vec<_> = of_alert.copied().collect();
                assert!(ids.is_sorted(), "alert {alert}: {ids:?}");
            }
        }
    }
}

#[test]
fn over_any_crashes_all_is_told_in_order_and_nothing_after_it_was_finished() {
    for seed in 0..100 {
        let (ledger, dice) = (ledger(|_| ()), Dice(seed));
        let (disk, lent, seen) = (Vec::new(), Vec::new(), HashMap::new());
        let finished = BTreeSet::new();
        let mut world = World { dice, ledger, disk, lent, seen, finished, now: 1_000 };
        let mut next_id = 1;
        for _ in 0..150 {
            world.now += 1;
            match world.dice.roll(10) {
                0..3 => {
                    // One in four repeats the last transition, as after a lost acknowledgement.
                    next_id += u128::from(world.dice.roll(4) != 0);
                    world.write(accepted(next_id, next_id % World::N_ALERTS, &["a", "b"]));
                }
                3..6 => world.send(),
                6..9 => world.answer(&[Verdict::Delivered, Verdict::Retry, Verdict::Refused]),
                _ => world.crash(),
            }
        }
        while world.ledger.n_pending() > 0 {
            world.now += 100;
            world.send();
            while !world.lent.is_empty() {
                world.answer(&[Verdict::Delivered]);
            }
        }
        world.check_order();
        assert_eq!((world.ledger.n_lent(), world.ledger.pending_bytes), (0, 0), "seed {seed}");
        let told: BTreeSet<_> = world.seen.values().flatten().collect();
        assert_eq!(told.len(), world.ledger.latest(999).len() / 2, "seed {seed}");
    }
}
