//! The shell: groups on a paused clock, a scripted engine, a receiver that accepts or does not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use model::alert::{AlertState, Transition};
use model::metric::is_stale;
use model::time::{Clock, Timestamp};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::rule::parse;
use crate::{
    Alerts, Answer, Ask, Config, Evaluate, Handover, Health, Outlets, Recorded, RecordedBatch, Row,
    StateDir,
};

/// Seconds since the epoch at which every test begins; a multiple of ten minutes.
const BEGIN_S: i64 = 1_800_000_000;

type Reply = dyn Fn(&str, i64) -> Result<Answer, String> + Send + Sync;

/// Answers by expression and seconds since [`BEGIN_S`], after a delay.
struct Script {
    reply: Box<Reply>,
    delay: Duration,
}

impl Evaluate for Script {
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        Box::pin(async move {
            sleep(self.delay).await;
            (self.reply)(&ask.expr, ask.at.s() - BEGIN_S)
        })
    }
}

fn row(pairs: &[(&str, &str)], value: f64) -> Row {
    let labels = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Row { labels, value, histogram: None }
}

fn down() -> Result<Answer, String> {
    Ok(Answer::Vector(vec![row(&[("__name__", "up"), ("job", "db")], 0.0)]))
}

fn nothing() -> Result<Answer, String> {
    Ok(Answer::Vector(Vec::new()))
}

/// What left the rules so far.
#[derive(Default)]
struct Left {
    transitions: Vec<Transition>,
    samples: Vec<Recorded>,
}

/// One process: its rules, and what it told.
struct World {
    alerts: Arc<Alerts>,
    left: Arc<Mutex<Left>>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

struct Start<'a> {
    dir: &'a TempDir,
    rules: &'a str,
    reply: Box<Reply>,
    delay: Duration,
    /// How many transitions are refused before one is accepted.
    refusals: usize,
}

impl<'a> Start<'a> {
    fn new(
        dir: &'a TempDir,
        rules: &'a str,
        reply: impl Fn(&str, i64) -> Result<Answer, String> + Send + Sync + 'static,
    ) -> Self {
        Self { dir, rules, reply: Box::new(reply), delay: Duration::ZERO, refusals: 0 }
    }

    /// Starts the rules; `epoch` is the instant that stands for [`BEGIN_S`].
    fn go(self, epoch: Instant) -> World {
        let clock: Arc<dyn Clock> = Arc::new(move || {
            let since = i64::try_from(epoch.elapsed().as_nanos()).expect("a short test");
            Timestamp(Timestamp::from_s(BEGIN_S).0 + since)
        });
        let groups = parse(self.rules, "r.yml").expect("good rules");
        let source = Arc::new(Script { reply: self.reply, delay: self.delay });
        let dir = StateDir::open(self.dir.path()).expect("it opens");
        let alerts = Alerts::new(groups, source, clock, dir, Config::default()).expect("it starts");
        let (handover, transitions) = mpsc::channel(4);
        let (recorded, samples) = mpsc::channel(4);
        let (left, stop) = (Arc::new(Mutex::new(Left::default())), CancellationToken::new());
        let outlets = Outlets { handover, recorded };
        let tasks = vec![
            tokio::spawn(Arc::clone(&alerts).run(outlets, stop.clone())),
            tokio::spawn(accept(transitions, Arc::clone(&left), self.refusals)),
            tokio::spawn(store(samples, Arc::clone(&left))),
        ];
        World { alerts, left, stop, tasks }
    }
}

async fn accept(
    mut transitions: mpsc::Receiver<Handover>,
    left: Arc<Mutex<Left>>,
    mut refusals: usize,
) {
    while let Some(handover) = transitions.recv().await {
        left.lock().unwrap().transitions.push(handover.transition);
        if refusals > 0 {
            refusals -= 1;
            continue;
        }
        let _accepted = handover.accepted.send(());
    }
}

async fn store(mut batches: mpsc::Receiver<RecordedBatch>, left: Arc<Mutex<Left>>) {
    while let Some(batch) = batches.recv().await {
        left.lock().unwrap().samples.extend(batch.samples);
        let _stored = batch.stored.send(Ok(()));
    }
}

impl World {
    /// `+` and `-` with the second at which an alert fired or was resolved.
    fn told(&self) -> String {
        let left = self.left.lock().unwrap();
        let sign = |t: &Transition| if t.state == AlertState::Firing { '+' } else { '-' };
        let words = left.transitions.iter().map(|t| format!("{}{}", sign(t), t.at.s() - BEGIN_S));
        words.collect::<Vec<_>>().join(" ")
    }

    async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("the task ends");
        }
    }
}

async fn until(epoch: Instant, seconds: u64) {
    tokio::time::sleep_until(epoch + Duration::from_secs(seconds)).await;
}

const DOWN: &str = r#"
groups:
  - name: g
    interval: 10s
    rules:
      - alert: Down
        expr: up == 0
        for: 20s
        labels: {severity: page}
        annotations: {summary: "{{ $labels.job }} {{ $value }}"}
"#;

/// The second of the first slot of group `g` of `r.yml`, at 10 s.
fn phase() -> i64 {
    let slots = crate::schedule::Slots::new("r.yml", "g", Duration::from_secs(10));
    slots.first(Timestamp::from_s(BEGIN_S)).0.div_euclid(1_000_000_000) - BEGIN_S
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_told_once_with_everything_in_it() {
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let world = Start::new(&dir, DOWN, |_, at| if at < 60 { down() } else { nothing() }).go(epoch);
    until(epoch, 100).await;
    let first = phase();
    assert_eq!(world.told(), format!("+{} -{}", first + 20, first + 60));
    {
        let left = world.left.lock().unwrap();
        let fired = &left.transitions[0];
        let shown: Vec<_> = fired.labels.iter().collect();
        assert_eq!(shown, [("alertname", "Down"), ("job", "db"), ("severity", "page")]);
        assert_eq!(fired.annotations.value("summary"), Some("db 0"));
        assert_eq!(
            (fired.group.as_str(), fired.rule.as_str(), fired.expr.as_str()),
            ("g", "Down", "up == 0")
        );
        assert_eq!(fired.active_at.s() - BEGIN_S, first);
    }
    let status = world.alerts.status();
    let rule = &status.groups[0].rules[0];
    assert_eq!((rule.health, rule.state), (Health::Ok, Some(AlertState::Inactive)));
    assert_eq!(rule.active[0].state, AlertState::Resolved);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn alerts_series_follow_the_states_and_end() {
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let world = Start::new(&dir, DOWN, |_, at| if at < 30 { down() } else { nothing() }).go(epoch);
    until(epoch, 60).await;
    let samples = world.left.lock().unwrap().samples.clone();
    let shown: Vec<String> = samples
        .iter()
        .map(|s| {
            let value = if is_stale(s.value) { "end".to_owned() } else { s.value.to_string() };
            let state = s.labels.value("alertstate").unwrap_or("");
            format!("{} {} {state} {value}", s.at.s() - BEGIN_S - phase(), s.name)
        })
        .collect();
    let active = (BEGIN_S + phase()).to_string();
    let expected = [
        "0 ALERTS pending 1".to_owned(),
        format!("0 ALERTS_FOR_STATE  {active}"),
        "10 ALERTS pending 1".to_owned(),
        format!("10 ALERTS_FOR_STATE  {active}"),
        "20 ALERTS firing 1".to_owned(),
        format!("20 ALERTS_FOR_STATE  {active}"),
        "20 ALERTS pending end".to_owned(),
        "30 ALERTS firing end".to_owned(),
        "30 ALERTS_FOR_STATE  end".to_owned(),
    ];
    assert_eq!(shown, expected);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_transition_is_told_again_under_the_same_id_also_after_a_restart() {
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let mut start = Start::new(&dir, DOWN, |_, _| down());
    start.refusals = 3;
    let world = start.go(epoch);
    until(epoch, 55).await;
    let first: Vec<u128> = world.left.lock().unwrap().transitions.iter().map(|t| t.id).collect();
    assert!(first.len() >= 2 && first.iter().all(|id| *id == first[0]), "{first:?}");
    assert_eq!(world.alerts.status().groups[0].n_waiting, usize::from(first.len() < 4));
    world.stop().await;

    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let mut start = Start::new(&dir, DOWN, |_, _| down());
    start.refusals = usize::MAX;
    let world = start.go(epoch);
    until(epoch, 45).await;
    let id = world.left.lock().unwrap().transitions[0].id;
    world.stop().await;
    let world = Start::new(&dir, DOWN, |_, _| down()).go(epoch);
    until(epoch, 120).await;
    let again: Vec<u128> = world.left.lock().unwrap().transitions.iter().map(|t| t.id).collect();
    assert_eq!(again, [id], "told again once, and only once");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_tells_nothing_twice_and_keeps_active_at() {
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let world = Start::new(&dir, DOWN, |_, _| down()).go(epoch);
    until(epoch, 18).await; // Pending since the first slot.
    world.stop().await;
    let world = Start::new(&dir, DOWN, |_, _| down()).go(epoch);
    until(epoch, 45).await;
    assert_eq!(world.told(), format!("+{}", phase() + 20));
    world.stop().await;
    let world = Start::new(&dir, DOWN, |_, _| down()).go(epoch);
    until(epoch, 90).await;
    assert_eq!(world.told(), "");
    let status = world.alerts.status();
    let alert = &status.groups[0].rules[0].active[0];
    assert_eq!(alert.state, AlertState::Firing);
    assert_eq!(alert.active_at.s() - BEGIN_S, phase());
    assert_eq!(alert.fired_at.map(|at| at.s() - BEGIN_S), Some(phase() + 20));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_silence_is_no_recovery_at_once() {
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let world = Start::new(&dir, DOWN, |_, _| down()).go(epoch);
    until(epoch, 45).await;
    world.stop().await;
    until(epoch, 3_600).await;
    // No data for half a minute after the start, then the condition holds again.
    let world =
        Start::new(&dir, DOWN, |_, at| if at < 3_630 { nothing() } else { down() }).go(epoch);
    until(epoch, 3_700).await;
    assert_eq!(world.told(), "");
    world.stop().await;
    // No data at all: once the grace is over it is resolved.
    let world = Start::new(&dir, DOWN, |_, _| nothing()).go(epoch);
    until(epoch, 3_800).await;
    assert!(world.told().starts_with('-'), "{}", world.told());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn time_down_counts_for_a_pending_alert_only_where_the_data_shows_it() {
    let rules = DOWN.replace("20s", "10m");
    for (seen_while_down, fires_at) in [(true, 600), (false, 900)] {
        let dir = TempDir::new().expect("a directory");
        let epoch = Instant::now();
        let world = Start::new(&dir, &rules, |_, _| down()).go(epoch);
        until(epoch, 100).await;
        world.stop().await;
        until(epoch, 400).await;
        let reply = move |_: &str, at: i64| match at {
            105..400 if !seen_while_down => nothing(),
            _ => down(),
        };
        let world = Start::new(&dir, &rules, reply).go(epoch);
        until(epoch, 1_200).await;
        let told = world.told();
        let at: i64 = told.strip_prefix('+').expect("it fires").parse().expect("once");
        assert!((fires_at..fires_at + 20).contains(&at), "seen={seen_while_down}: {at}");
        world.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_query_keeps_the_state_and_shows() {
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let reply = |_: &str, at: i64| match at {
        40..200 => Err("the store is on fire".to_owned()),
        _ => down(),
    };
    let world = Start::new(&dir, DOWN, reply).go(epoch);
    until(epoch, 150).await;
    let status = world.alerts.status();
    let rule = &status.groups[0].rules[0];
    assert_eq!((rule.health, rule.last_error.as_str()), (Health::Err, "the store is on fire"));
    assert_eq!(rule.active[0].state, AlertState::Firing);
    until(epoch, 250).await;
    assert_eq!(world.alerts.status().groups[0].rules[0].health, Health::Ok);
    assert_eq!(world.told(), format!("+{}", phase() + 20));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn slow_evaluations_end_at_their_deadline_and_missed_slots_are_counted() {
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let rules = "groups:\n- name: g\n  interval: 10s\n  rules:\n  - {record: a, expr: a}\n  - {record: b, expr: b}\n  - {record: c, expr: c}\n";
    let mut start = Start::new(&dir, rules, |_, _| Ok(Answer::Scalar(1.0)));
    start.delay = Duration::from_secs(60);
    let world = start.go(epoch);
    until(epoch, 125).await;
    let status = world.alerts.status();
    let group = &status.groups[0];
    assert!(group.missed_total >= 4, "{}", group.missed_total);
    assert_eq!(group.rules[0].last_error, "the query took longer than the evaluation may");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn recording_rules_write_series_and_end_them() {
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let rules = "groups:\n- name: g\n  interval: 10s\n  query_offset: 1s\n  labels: {team: a}\n  rules:\n  - {record: job:up, expr: up, labels: {job: '', env: prod}}\n";
    let reply = |_: &str, at: i64| {
        let rows = [("x", 0_i64..30), ("y", 0..100)];
        let rows = rows
            .into_iter()
            .filter(|(_, r)| r.contains(&at))
            .map(|(name, _)| row(&[("__name__", "up"), ("job", "j"), ("instance", name)], 1.5));
        Ok(Answer::Vector(rows.collect()))
    };
    let world = Start::new(&dir, rules, reply).go(epoch);
    until(epoch, 39).await;
    let samples = world.left.lock().unwrap().samples.clone();
    let first: Vec<_> = samples[0].labels.iter().collect();
    assert_eq!(first, [("env", "prod"), ("instance", "x"), ("team", "a")]);
    assert_eq!(samples[0].at.s() - BEGIN_S, phase() - 1);
    let of_x = samples.iter().filter(|s| s.labels.value("instance") == Some("x"));
    let of_x: Vec<bool> = of_x.map(|s| is_stale(s.value)).collect();
    assert_eq!(of_x.iter().filter(|stale| **stale).count(), 1);
    assert_eq!(of_x.last(), Some(&true));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn results_no_rule_can_use_are_errors() {
    let reply = |expr: &str, _: i64| match expr {
        "twice" => Ok(Answer::Vector(vec![row(&[("a", "1")], 1.0), row(&[("a", "2")], 1.0)])),
        "many" => Ok(Answer::Vector((0..3).map(|i| row(&[("i", &i.to_string())], 1.0)).collect())),
        _ => Ok(Answer::Other("matrix")),
    };
    let rules = "groups:\n- name: g\n  interval: 10s\n  limit: 2\n  rules:\n  - {record: r, expr: twice, labels: {a: x}}\n  - {alert: A, expr: twice, labels: {a: x}}\n  - {record: m, expr: many}\n  - {alert: M, expr: many}\n  - {alert: O, expr: other}\n";
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let world = Start::new(&dir, rules, reply).go(epoch);
    until(epoch, 15).await;
    let status = world.alerts.status();
    let errors: Vec<&str> = status.groups[0].rules.iter().map(|r| r.last_error.as_str()).collect();
    let expected = [
        "vector contains metrics with the same labelset after applying rule labels",
        "vector contains metrics with the same labelset after applying alert labels",
        "exceeded limit of 2 with 3 series",
        "exceeded limit of 2 with 3 alerts",
        "rule result is not a vector or scalar: it is a matrix",
    ];
    assert_eq!(errors, expected);
    assert_eq!(world.told(), "");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn templates_may_ask_queries_of_their_own() {
    let rules = r#"
groups:
  - name: g
    interval: 10s
    rules:
      - alert: A
        expr: up == 0
        labels: {top: '{{ with query "topk(1, load)" }}{{ . | first | label "host" }}{{ end }}'}
        annotations:
          chain: '{{ range query (printf "load{job=%q}" $labels.job) }}{{ .Value }}{{ end }}'
          broken: '{{ query "bad" }}'
"#;
    let reply = |expr: &str, _: i64| match expr {
        "up == 0" => down(),
        "topk(1, load)" => Ok(Answer::Vector(vec![row(&[("host", "h1")], 9.0)])),
        "load{job=\"db\"}" => Ok(Answer::Scalar(4.5)),
        _ => Err("no such thing".to_owned()),
    };
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let world = Start::new(&dir, rules, reply).go(epoch);
    until(epoch, 15).await;
    {
        let left = world.left.lock().unwrap();
        let alert = &left.transitions[0];
        assert_eq!(alert.labels.value("top"), Some("h1"));
        assert_eq!(alert.annotations.value("chain"), Some("4.5"));
        let broken = alert.annotations.value("broken").expect("it is there");
        assert!(broken.starts_with("<error expanding template: template: broken:1:4:"), "{broken}");
        assert!(broken.ends_with("no such thing>"), "{broken}");
    }
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rules_and_groups_that_are_gone_end_their_alerts() {
    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let world = Start::new(&dir, DOWN, |_, _| down()).go(epoch);
    until(epoch, 45).await;
    world.stop().await;
    let renamed = DOWN.replace("alert: Down", "alert: Other");
    let world = Start::new(&dir, &renamed, |_, _| nothing()).go(epoch);
    until(epoch, 50).await;
    assert!(world.told().starts_with('-'), "{}", world.told());
    assert_eq!(world.left.lock().unwrap().transitions[0].rule, "Down");
    world.stop().await;

    let dir = TempDir::new().expect("a directory");
    let epoch = Instant::now();
    let world = Start::new(&dir, DOWN, |_, _| down()).go(epoch);
    until(epoch, 45).await;
    world.stop().await;
    let world = Start::new(&dir, "groups: []\n", |_, _| nothing()).go(epoch);
    until(epoch, 50).await;
    assert!(world.told().starts_with('-'), "{}", world.told());
    world.stop().await;
    assert_eq!(std::fs::read_dir(dir.path()).expect("it lists").count(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_is_refused() {
    let dir = TempDir::new().expect("a directory");
    let open = || StateDir::open(dir.path()).expect("it opens");
    let source: Arc<dyn Evaluate> =
        Arc::new(Script { reply: Box::new(|_, _| nothing()), delay: Duration::ZERO });
    let clock: Arc<dyn Clock> = Arc::new(|| Timestamp(0));
    let groups = parse(DOWN, "r.yml").expect("good rules");
    let twice = [groups.clone(), groups.clone()].concat();
    let start = |groups, config| {
        Alerts::new(groups, Arc::clone(&source), Arc::clone(&clock), open(), config)
            .err()
            .map(|e| e.to_string())
    };
    let told = start(twice, Config::default());
    assert_eq!(told.as_deref(), Some("group \"g\" of r.yml was given twice"));
    let none = Config { groups_max: 0, ..Config::default() };
    let told = start(groups.clone(), none);
    assert_eq!(
        told.as_deref(),
        Some("1 rule groups, limit is 0: raise alert.groups_max or load fewer")
    );
    let zero = Config { alerts_per_rule_max: 0, ..Config::default() };
    assert_eq!(
        start(groups, zero).as_deref(),
        Some("alert.alerts_per_rule_max: must be 1 or more")
    );
}
