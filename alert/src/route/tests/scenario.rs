//! What is told to whom and when, for each scenario Alertmanager's users rely on.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::metric::Labels;
use model::time::{NS_PER_S, Timestamp};
use proptest::prelude::*;

use crate::route::config::Reading;
use crate::route::matcher::parse;
use crate::route::{Config, Delivery, Held, Limits, Posted, Record, Router, Silence};

/// Where the clock begins: a Monday at 00:00 UTC.
const START: i64 = 1_700_438_400;

/// A router, its journal, and receivers that take everything unless told otherwise.
struct World {
    router: Router,
    now: Timestamp,
    journal: Vec<Record>,
    /// `SECONDS RECEIVER firing names / resolved names`.
    told: Vec<String>,
    /// Receivers that refuse.
    down: bool,
    /// Deliveries held back, when asked for.
    held: Option<Vec<Delivery>>,
    keys: Vec<u128>,
}

impl World {
    fn new(config: &str) -> Self {
        let config = Config::parse(config, "am.yml", &Reading::default());
        let config = Arc::new(config.unwrap_or_else(|problems| panic!("{problems}")));
        let now = Timestamp::from_s(START);
        let router = Router::new(config, Limits::default(), Vec::new(), now);
        let (journal, told, keys) = (Vec::new(), Vec::new(), Vec::new());
        Self { router, now, journal, told, down: false, held: None, keys }
    }

    fn restart(&mut self) {
        let config = Arc::clone(self.router.config());
        self.journal.extend(self.router.take_records());
        self.router = Router::new(config, Limits::default(), self.journal.clone(), self.now);
    }

    fn labels(text: &str) -> Vec<(String, String)> {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// A rule of ours begins to fire.
    fn fire(&mut self, labels: &str) {
        self.take(labels, self.now, None);
    }

    /// It ends.
    fn resolve(&mut self, labels: &str) {
        let known = self.router.alerts.get(&Labels::new(Self::labels(labels)));
        let starts_at = known.map_or(self.now, |entry| entry.held.starts_at);
        self.take(labels, starts_at, Some(self.now));
    }

    fn take(&mut self, labels: &str, starts_at: Timestamp, ends_at: Option<Timestamp>) {
        let held = Held {
            labels: Labels::new(Self::labels(labels)),
            annotations: Labels::default(),
            starts_at,
            ends_at,
            updated_at: self.now,
            timeout: false,
            generator_url: String::new(),
        };
        self.router.take(held, self.now);
        self.settle();
    }

    fn silence(&mut self, matchers: &str, length_s: i64) -> String {
        let silence = Silence {
            id: String::new(),
            conditions: parse(matchers).unwrap(),
            starts_at: self.now,
            ends_at: Timestamp(self.now.0 + length_s * NS_PER_S),
            updated_at: self.now,
            author: "me".to_owned(),
            comment: "planned".to_owned(),
            annotations: BTreeMap::new(),
        };
        self.router.silence(silence, self.now).unwrap()
    }

    /// Lets everything happen that is due.
    fn settle(&mut self) {
        while self.router.next_wake().is_some_and(|at| at <= self.now) {
            let deliveries = self.router.tick(self.now);
            if let Some(held) = &mut self.held {
                held.extend(deliveries);
                continue;
            }
            deliveries.into_iter().for_each(|delivery| self.arrive(delivery));
        }
        self.journal.extend(self.router.take_records());
    }

    fn arrive(&mut self, delivery: Delivery) {
        if !self.down {
            let names = |resolved: bool| {
                let some = delivery.alerts.iter().filter(|shown| shown.resolved == resolved);
                let names = some.map(|s| s.alert.labels.value("alertname").unwrap_or("?"));
                names.collect::<Vec<_>>().join(",")
            };
            let at = self.now.s() - START;
            let (firing, resolved) = (names(false), names(true));
            self.told.push(format!("{at} {} {firing}/{resolved}", delivery.receiver));
            self.keys.push(delivery.idempotency);
        }
        self.router.delivered(delivery.ticket, !self.down, self.now);
    }

    /// Goes on to `s` seconds after the start, stopping wherever something is due.
    fn until(&mut self, s: i64) {
        let end = Timestamp::from_s(START + s);
        while let Some(at) = self.router.next_wake().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

const PLAIN: &str = "
route:
  receiver: team
  group_by: [cluster]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 10m
receivers:
- name: team
  webhook_configs: [{url: http://localhost/}]
";

#[test]
fn a_group_waits_tells_repeats_and_ends() {
    let mut world = World::new(PLAIN);
    world.fire("alertname=A cluster=x");
    world.until(5);
    world.fire("alertname=B cluster=x");
    world.fire("alertname=C cluster=y");
    world.until(9);
    assert_eq!(world.told(), Vec::<String>::new());
    world.until(600);
    assert_eq!(world.told(), ["10 team A,B/", "15 team C/"]);
    world.until(20 * 60);
    // Flushes come each minute; the first at which ten minutes have passed repeats.
    assert_eq!(world.told(), ["610 team A,B/", "615 team C/"]);
    world.resolve("alertname=A cluster=x");
    world.until(21 * 60 + 10);
    assert_eq!(world.told(), ["1210 team B/A", "1215 team C/"]);
    world.resolve("alertname=B cluster=x");
    world.resolve("alertname=C cluster=y");
    world.until(2 * 3_600);
    assert_eq!(world.told(), ["1270 team B/A", "1275 team /C", "1330 team /B"][1..].to_vec());
    assert!(world.router.groups.is_empty() && world.router.alerts.is_empty());
}

#[test]
fn what_ends_before_the_first_message_is_not_told() {
    let mut world = World::new(PLAIN);
    world.fire("alertname=A cluster=x");
    world.until(9);
    world.resolve("alertname=A cluster=x");
    world.until(3_600);
    assert_eq!(world.told(), Vec::<String>::new());
    assert!(world.router.alerts.is_empty());
}

#[test]
fn the_end_of_what_may_have_been_told_before_a_crash_is_told() {
    let mut world = World::new(PLAIN);
    world.held = Some(Vec::new());
    world.fire("alertname=A cluster=x");
    world.until(10);
    assert_eq!(
        world.held.take().map(|held| held.len()),
        Some(1),
        "it arrives, nobody learns of it"
    );
    world.restart();
    world.resolve("alertname=A cluster=x");
    world.until(3_600);
    assert_eq!(world.told(), ["20 team /A"]);
    assert!(world.router.alerts.is_empty());
}

#[test]
fn the_end_of_what_was_refused_is_not_told() {
    let mut world = World::new(PLAIN);
    world.down = true;
    world.fire("alertname=A cluster=x");
    world.until(15);
    world.resolve("alertname=A cluster=x");
    world.restart();
    world.down = false;
    world.until(3_600);
    assert_eq!(world.told(), Vec::<String>::new());
}

#[test]
fn an_old_alert_is_told_at_once() {
    let mut world = World::new(PLAIN);
    world.until(100);
    let old = Timestamp::from_s(START);
    world.take("alertname=A cluster=x", old, None);
    assert_eq!(world.told(), ["100 team A/"]);
}

#[test]
fn posted_alerts_time_out_and_their_news_moves_the_end() {
    let mut world = World::new(PLAIN);
    let post = |world: &mut World| {
        let posted = Posted { labels: World::labels("alertname=A cluster=x"), ..Posted::default() };
        let held = posted.check(world.now, 300 * NS_PER_S).unwrap();
        world.router.post(held, world.now).unwrap();
        world.settle();
    };
    post(&mut world);
    world.until(200);
    post(&mut world);
    world.until(499);
    assert_eq!(world.told(), ["10 team A/"]);
    world.until(3_600);
    assert_eq!(world.told(), ["550 team /A"], "at the first flush after 200 s + 5 min");
}

#[test]
fn a_receiver_that_refuses_is_told_at_the_next_flush() {
    let mut world = World::new(PLAIN);
    world.down = true;
    world.fire("alertname=A cluster=x");
    world.until(65);
    world.down = false;
    world.until(200);
    assert_eq!(world.told(), ["70 team A/"]);
    world.down = true;
    world.resolve("alertname=A cluster=x");
    world.until(400);
    world.down = false;
    world.until(3_600);
    assert_eq!(world.told(), ["430 team /A"], "a resolve is not lost");
}

#[test]
fn a_silence_holds_and_what_was_told_is_told_to_be_resolved() {
    let mut world = World::new(PLAIN);
    world.silence("cluster=y", 3_600);
    world.fire("alertname=A cluster=x");
    world.fire("alertname=B cluster=y");
    world.until(60);
    assert_eq!(world.told(), ["10 team A/"]);
    let id = world.silence("alertname=~\"A|B\"", 3_600);
    world.resolve("alertname=A cluster=x");
    world.resolve("alertname=B cluster=y");
    world.until(300);
    // A was told to fire; B never was.
    assert_eq!(world.told(), ["70 team /A"]);
    world.fire("alertname=A cluster=x");
    world.until(600);
    assert_eq!(world.told(), Vec::<String>::new());
    world.router.expire(&id, world.now).unwrap();
    world.until(700);
    assert_eq!(world.told(), ["610 team A/"]);
}

const TREE: &str = r#"
route:
  receiver: default
  group_wait: 0s
  group_interval: 1m
  repeat_interval: 1d
  routes:
  - matchers: [severity="page", team=~"shop|pay"]
    receiver: pager
    continue: true
    routes:
    - match: {team: pay}
      receiver: money
  - match_re: {severity: page|ticket}
    receiver: tickets
    group_by: ['...']
    active_time_intervals: [office]
  - matchers: ['{quiet!=""}']
    receiver: nobody
    mute_time_intervals: [always]
receivers:
- {name: default, webhook_configs: [{url: 'http://localhost/'}]}
- {name: pager, webhook_configs: [{url: 'http://localhost/', send_resolved: false}]}
- {name: money, webhook_configs: [{url: 'http://localhost/'}]}
- {name: tickets, webhook_configs: [{url: 'http://localhost/'}]}
- {name: nobody, webhook_configs: [{url: 'http://localhost/'}]}
inhibit_rules:
- source_matchers: [alertname="Down"]
  target_matchers: [alertname="Slow"]
  equal: [host]
time_intervals:
- name: office
  time_intervals: [{times: [{start_time: '01:00', end_time: '02:00'}]}]
- name: always
  time_intervals: [{}]
"#;

#[test]
fn the_tree_chooses_receivers() {
    let mut world = World::new(TREE);
    world.fire("alertname=A severity=page team=shop");
    assert_eq!(world.told(), ["0 pager A/"], "tickets are mute before one o'clock");
    world.fire("alertname=B severity=page team=pay");
    world.fire("alertname=C severity=info");
    world.fire("alertname=D severity=info quiet=1");
    assert_eq!(world.told(), ["0 money B/", "0 default C/"]);
    world.until(3_599);
    assert_eq!(world.told(), Vec::<String>::new());
    world.until(3_660);
    assert_eq!(world.told(), ["3600 tickets A/", "3600 tickets B/"], "no grouping");
    world.resolve("alertname=A severity=page team=shop");
    world.until(2 * 3_600 + 60);
    assert_eq!(world.told(), ["3720 tickets /A"], "the pager wants no resolved");
    world.resolve("alertname=B severity=page team=pay");
    world.until(3 * 3_600);
    // Outside of office hours, but their firing was told.
    assert_eq!(world.told(), ["7320 money /B", "7320 tickets /B"]);
}

#[test]
fn an_inhibited_alert_is_quiet_while_its_source_fires() {
    let mut world = World::new(TREE);
    world.fire("alertname=Down host=a");
    world.fire("alertname=Slow host=a");
    world.fire("alertname=Slow host=b");
    world.until(60);
    assert_eq!(world.told(), ["0 default Down/", "60 default Down,Slow/"]);
    world.resolve("alertname=Down host=a");
    world.until(120);
    assert_eq!(world.told(), ["120 default Slow,Slow/Down"]);
}

#[test]
fn a_restart_repeats_nothing_and_loses_nothing() {
    let mut world = World::new(PLAIN);
    world.fire("alertname=A cluster=x");
    world.until(30);
    world.restart();
    world.until(65);
    world.silence("cluster=z", 10_000);
    world.restart();
    world.fire("alertname=Z cluster=z");
    assert_eq!(world.told(), ["10 team A/"]);
    world.resolve("alertname=A cluster=x");
    world.restart();
    world.until(69);
    assert_eq!(world.told(), Vec::<String>::new());
    world.until(400);
    assert_eq!(world.told(), ["70 team /A"]);
    world.restart();
    world.until(900);
    assert_eq!(world.told(), Vec::<String>::new());
}

#[test]
fn a_crash_in_the_middle_of_a_message_sends_the_same_again() {
    let mut world = World::new(PLAIN);
    world.held = Some(Vec::new());
    world.fire("alertname=A cluster=x");
    world.until(10);
    let first = world.held.take().unwrap();
    world.until(11);
    world.restart();
    world.until(12);
    assert_eq!((first.len(), world.told()), (1, vec!["11 team A/".to_owned()]));
    assert_eq!(world.keys, [first[0].idempotency]);
}

#[test]
fn a_message_under_way_is_not_overtaken() {
    let mut world = World::new(PLAIN);
    world.held = Some(Vec::new());
    world.fire("alertname=A cluster=x");
    world.until(200);
    let held = world.held.take().unwrap();
    assert_eq!(held.len(), 1, "the flushes at 70 and 130 wait for the first");
    world.resolve("alertname=A cluster=x");
    held.into_iter().for_each(|delivery| world.arrive(delivery));
    world.until(201);
    assert_eq!(world.told(), ["200 team A/", "200 team /A"]);
}

#[test]
fn what_rules_fire_and_what_is_held_are_made_to_agree() {
    let mut world = World::new(PLAIN);
    world.fire("alertname=A cluster=x");
    world.fire("alertname=B cluster=x");
    let posted = Posted { labels: World::labels("alertname=P cluster=y"), ..Posted::default() };
    let held = posted.check(world.now, 3_600 * NS_PER_S).unwrap();
    world.router.post(held, world.now).unwrap();
    world.until(20);
    assert_eq!(world.told(), ["10 team A,B/", "10 team P/"]);
    let since = world.now;
    let firing = |name: &str, summary: &str| Held {
        labels: Labels::new(World::labels(&format!("alertname={name} cluster=x"))),
        annotations: Labels::new(vec![("summary".to_owned(), summary.to_owned())]),
        starts_at: since,
        ends_at: None,
        updated_at: since,
        timeout: false,
        generator_url: String::new(),
    };
    // A has another text now, B was forgotten by its rule, C by us; P is not ours.
    world.router.agree(vec![firing("A", "now 7"), firing("C", "")], world.now);
    let a = &world.router.alerts[&firing("A", "").labels].held;
    assert_eq!(
        (a.annotations.value("summary"), a.starts_at),
        (Some("now 7"), Timestamp::from_s(START))
    );
    world.until(100);
    assert_eq!(world.told(), ["70 team A,C/B"]);
    world.journal.clear();
    world.router.agree(vec![firing("A", "now 7"), firing("C", "")], world.now);
    assert_eq!(world.router.take_records(), [], "nothing is written when nothing is new");
}

#[test]
fn bounds_hold_and_are_counted() {
    let config = Arc::new(Config::none());
    let limits = Limits { alerts_max: 2, groups_max: 1 };
    let now = Timestamp::from_s(START);
    let mut router = Router::new(config, limits, Vec::new(), now);
    let mut post = |labels: &str| {
        let posted = Posted { labels: World::labels(labels), ..Posted::default() };
        router.post(posted.check(now, NS_PER_S).unwrap(), now).is_ok()
    };
    assert!(post("alertname=A") && post("alertname=A"), "news of a known one needs no room");
    assert!(!post("alertname=B"), "another group");
    assert!(post("alertname=A x=1") && !post("alertname=A x=2"));
    let refused = &router.counts().refused;
    assert_eq!((refused["alerts_max"], refused["groups_max"]), (1, 1));
}

/// What may happen in the property test.
#[derive(Clone, Debug)]
enum Step {
    Fire(u8),
    Resolve(u8),
    Wait(i64),
    Restart,
    Down(bool),
    Silence(u8, i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8).prop_map(Step::Fire),
        3 => (0..4_u8).prop_map(Step::Resolve),
        4 => (1..200_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Down),
        1 => (0..4_u8, 1..500_i64).prop_map(|(n, s)| Step::Silence(n, s)),
    ]
}

fn run(steps: &[Step], restarts: bool) -> World {
    let mut world = World::new(PLAIN);
    for step in steps {
        let name = |n: &u8| format!("alertname=A{n} cluster={}", n % 2);
        match step {
            Step::Fire(n) => world.fire(&name(n)),
            Step::Resolve(n) => world.resolve(&name(n)),
            Step::Wait(s) => world.until(world.now.s() - START + s),
            Step::Restart if restarts => world.restart(),
            Step::Restart => {}
            Step::Down(down) => world.down = *down,
            Step::Silence(n, s) => drop(world.silence(&format!("alertname=A{n}"), *s)),
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: once all is over and receivers answer, whoever was told that an alert fires has been told that
    /// it is resolved, and nothing is left behind.
    #[test]
    fn what_was_told_to_fire_is_told_to_be_resolved(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = run(&steps, true);
        world.down = false;
        for n in 0..4 {
            let labels = format!("alertname=A{n} cluster={}", n % 2);
            if world.router.alerts.contains_key(&Labels::new(World::labels(&labels))) {
                world.resolve(&labels);
            }
        }
        world.until(world.now.s() - START + 7_200);
        let mut firing = std::collections::BTreeSet::new();
        for line in &world.told {
            let (fires, ends) = line.rsplit(' ').next().and_then(|names| names.split_once('/')).unwrap();
            firing.extend(fires.split(',').filter(|name| !name.is_empty()));
            ends.split(',').for_each(|name| { firing.remove(name); });
        }
        prop_assert!(firing.is_empty(), "{:?}: {:#?}", firing, world.told);
        prop_assert!(world.router.alerts.is_empty() && world.router.groups.is_empty());
    }

    /// Over any number of restarts nothing is told twice: the same is repeated only after the repeat interval.
    #[test]
    fn restarts_repeat_nothing(steps in prop::collection::vec(step(), 1..80)) {
        let only = |step: Step| match step {
            Step::Fire(_) => Step::Fire(0),
            Step::Resolve(_) => Step::Resolve(0),
            other => other,
        };
        let steps: Vec<Step> = steps.into_iter().map(only).collect();
        let world = run(&steps, true);
        let mut last: Option<(i64, &str)> = None;
        for line in &world.told {
            let (at, what) = line.split_once(' ').unwrap();
            let at: i64 = at.parse().unwrap();
            if let Some((then, _)) = last.filter(|(_, same)| *same == what) {
                prop_assert!(at - then >= 600, "{:#?}", world.told);
            }
            last = Some((at, what));
        }
    }
}
