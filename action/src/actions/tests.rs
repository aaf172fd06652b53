//! The engine against a world of tests: a machine of class C that counts what is done to it, answers by script, and
//! crashes at every boundary of the journal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use model::alert::{AlertState, Cause, Transition};
use model::time::{Clock, Timestamp};
use tokio::sync::Notify;

use super::{Actions, Runbooks};
use crate::config::Config;
use crate::error::Error;
use crate::journal::log::Log;
use crate::journal::record::Event;
use crate::notifier::Notifier;
use crate::plan::{Input, Judged, Member};
use crate::register::Deed;
use crate::run::{Finding, Run, State};
use crate::runbook::{Target, Trust};
use crate::target::{Driver, Failure, Order, RetryClass};
use crate::world::{Question, World};

mod calls;
mod crashes;
mod decisions;
mod lives;
mod rehearsals;

/// Stops the engine for good at a boundary of the journal.
#[derive(Default)]
pub(super) struct Crash {
    after: Mutex<Option<u32>>,
    hit: Notify,
    /// Nothing can be recorded: the disk is full.
    full: Mutex<bool>,
}

impl Crash {
    pub(super) async fn point(&self) -> Result<(), Error> {
        if *self.full.lock().unwrap() {
            return Err(Error::Closed { reason: "the disk is full".to_owned() });
        }
        let is_now = match &mut *self.after.lock().unwrap() {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if is_now {
            self.hit.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// A driver for engines that have none of their own.
pub(super) fn no_driver() -> Arc<dyn Driver> {
    Arc::new(Machine::new(Path::new("")))
}

/// Three members with one value each. Setting a value twice is two effects.
struct Machine {
    journal: std::path::PathBuf,
    class: RetryClass,
    values: Mutex<BTreeMap<String, String>>,
    /// Effects, in order: member and value.
    effects: Mutex<Vec<(String, String)>>,
    down: Mutex<Vec<String>>,
    refuses: Mutex<Option<String>>,
    /// Whether effects may come that no record announces.
    unrecorded: Mutex<bool>,
}

impl Machine {
    fn new(journal: &Path) -> Self {
        let names = ["m1", "m2", "m3"];
        Self {
            journal: journal.to_owned(),
            class: RetryClass::Probe,
            values: Mutex::new(names.map(|n| (n.to_owned(), "ok".to_owned())).into()),
            effects: Mutex::default(),
            down: Mutex::default(),
            refuses: Mutex::default(),
            unrecorded: Mutex::default(),
        }
    }

    fn effects(&self) -> Vec<(String, String)> {
        self.effects.lock().unwrap().clone()
    }

    fn value(&self, member: &str) -> String {
        self.values.lock().unwrap()[member].clone()
    }

    fn set(&self, member: &str, value: &str) {
        self.values.lock().unwrap().insert(member.to_owned(), value.to_owned());
    }
}

/// Announcements on the disk, read from a copy as a crash would leave it.
fn announced(journal: &Path) -> usize {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(journal).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let events = Log::open(copy.path()).ok().unwrap().events;
    let dispatched = |event: &&Event| match event {
        Event::Deed(deed) => {
            matches!(&**deed, Deed::Arrow { arrow, .. } if arrow.to.is_dispatched())
        }
        _ => false,
    };
    events.iter().filter(dispatched).count()
}

impl Driver for Machine {
    fn class(&self, _: &Target) -> RetryClass {
        self.class
    }

    fn observe<'a>(
        &'a self,
        _: &'a Target,
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>> {
        let (values, down) =
            (self.values.lock().unwrap().clone(), self.down.lock().unwrap().clone());
        let member = move |(name, value): (String, String)| {
            let up = !down.contains(&name);
            let field = |value: &str| BTreeMap::from([("value".to_owned(), value.to_owned())]);
            let (fields, configured) = (field(&value), field("ok"));
            Member { name, up, serving: up, fields, configured, sessions: 0, owner: None }
        };
        Box::pin(async move { Ok(values.into_iter().map(member).collect()) })
    }

    fn apply<'a>(
        &'a self,
        _: &'a Target,
        Order { change, .. }: Order<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        if let Some(why) = self.refuses.lock().unwrap().clone() {
            return Box::pin(async move { Err(Failure::Unknown(why)) });
        }
        let mut effects = self.effects.lock().unwrap();
        let is_announced =
            *self.unrecorded.lock().unwrap() || announced(&self.journal) > effects.len();
        assert!(is_announced, "an effect before its record");
        effects.push((change.member.clone(), change.value.clone()));
        self.set(&change.member, &change.value);
        Box::pin(async { Ok(()) })
    }
}

/// Answers by script.
#[derive(Default)]
struct Script {
    /// Whether comparisons hold.
    holds: Mutex<Option<bool>>,
    /// Whether series are fresh.
    stale: Mutex<bool>,
    /// Whether nothing was measured since long ago.
    old: Mutex<bool>,
    muted: Mutex<Vec<String>>,
    /// What queries give: until when, ms since the epoch, which value, and which after.
    levels: Mutex<BTreeMap<String, (i64, f64, f64)>>,
    called: Mutex<Vec<Transition>>,
}

impl Script {
    fn inputs_now(&self) -> Vec<Input> {
        let fresh = if *self.stale.lock().unwrap() { 0 } else { 3 };
        let newest_ns = Some(if *self.old.lock().unwrap() { 1 } else { i64::MAX });
        vec![Input { selector: "up".to_owned(), series: 3, fresh, newest_ns }]
    }
}

impl World for Script {
    fn judge(&self, question: Question) -> BoxFuture<'_, Judged> {
        let (holds, inputs) = (*self.holds.lock().unwrap(), self.inputs_now());
        let observed = format!("{holds:?}");
        Box::pin(
            async move { Judged { query: question.query, holds, observed, inputs, effect: None } },
        )
    }

    fn inputs(&self, _: Question) -> BoxFuture<'_, Result<Vec<Input>, String>> {
        let inputs = self.inputs_now();
        Box::pin(async move { Ok(inputs) })
    }

    fn number(&self, _: String) -> BoxFuture<'_, Result<f64, String>> {
        Box::pin(async { Err("no number".to_owned()) })
    }

    fn range(
        &self,
        query: String,
        (from_ms, to_ms): (i64, i64),
        step_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(i64, f64)>, String>> {
        let n_steps = (to_ms - from_ms) / step_ms;
        let times = (0..=n_steps).map(|i| from_ms + i * step_ms);
        let value = |at: i64| match self.levels.lock().unwrap().get(&query) {
            Some((changed_ms, was, is)) => {
                if at < *changed_ms {
                    *was
                } else {
                    *is
                }
            }
            None => 1.0,
        };
        let values = times.map(|at| (at, value(at))).collect();
        Box::pin(async move { Ok(values) })
    }

    fn muted(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        self.muted.lock().unwrap().clone()
    }

    fn call(&self, transition: Transition) -> BoxFuture<'_, Result<(), String>> {
        self.called.lock().unwrap().push(transition);
        Box::pin(async { Ok(()) })
    }
}

/// Time that stands until it is moved.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

const BOOK: &str = r#"
kind: Target
metadata: {name: pool}
spec: {driver: test, endpoint: "unix:/nowhere", group: {backend: be}}
---
apiVersion: headrope/v1
kind: Runbook
metadata: {name: bump}
spec:
  trust: auto
  alerts: ['alertname="Grey"']
  target: {ref: pool, member: "{{ alert.labels.member }}"}
  preconditions: [{query: 'up{member!="{{ member }}"} == 1'}]
  steps: [{id: bump, do: test.bump, with: {to: bumped}}]
  verify: {success: 'errors{member="{{ member }}"} < 1', for: 2s, within: 10s}
  revert: {ttl: 1h}
"#;

/// Everything around an engine that outlives it.
struct Bench {
    dir: tempfile::TempDir,
    book: String,
    trust: Trust,
    machine: Arc<Machine>,
    script: Arc<Script>,
    clock: Arc<Hand>,
    n: AtomicU32,
}

/// An engine with the notifier whose journal it shares.
struct Running {
    actions: Arc<Actions>,
    _notifier: Arc<Notifier>,
}

impl Bench {
    fn new(book: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Arc::new(Machine::new(&dir.path().join("action")));
        let script = Arc::new(Script::default());
        *script.holds.lock().unwrap() = Some(true);
        let clock = Arc::new(Hand(AtomicI64::new(1_800_000_000_000_000_000)));
        Self {
            dir,
            book: book.to_owned(),
            trust: Trust::Auto,
            machine,
            script,
            clock,
            n: AtomicU32::new(0),
        }
    }

    fn start(&self) -> Running {
        let external_url = Some("https://ops.example/".to_owned());
        let config = Config { trust: self.trust, external_url, ..Config::default() };
        let file = self.dir.path().join("book.yaml");
        std::fs::write(&file, &self.book).unwrap();
        let book = Runbooks::read(&[file], &config, &|_| Ok(())).unwrap();
        let dir = self.dir.path().join("action");
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let notifier = Notifier::open(config.clone(), &dir, Arc::clone(&clock)).unwrap();
        let world = Arc::clone(&self.script) as _;
        let actions = Actions::open(&config, (book, &dir), &notifier, world, clock).unwrap();
        let mut actions = Arc::into_inner(actions).unwrap();
        actions.drivers.test = Arc::clone(&self.machine) as _;
        Running { actions: Arc::new(actions), _notifier: notifier }
    }

    fn pass(&self, ms: i64) {
        self.clock.0.fetch_add(ms * 1_000_000, Ordering::SeqCst);
    }

    /// An alert of `member` that fires or ends; `since` tells one alert from the next.
    fn alert(&self, member: &str, state: AlertState, since: i64) -> Transition {
        let pairs = [("alertname", "Grey"), ("member", member)];
        Transition {
            id: u128::from(self.n.fetch_add(1, Ordering::SeqCst)),
            group: "g".to_owned(),
            rule: "Grey".to_owned(),
            labels: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            annotations: std::iter::empty().collect(),
            state,
            cause: Cause::Condition,
            value: 1.0,
            active_at: Timestamp(since),
            at: self.clock.now(),
            expr: "up == 0".to_owned(),
        }
    }
}

impl Running {
    async fn tell(&self, transition: Transition) {
        self.actions.accept(&transition).await.unwrap();
    }

    /// Looks at everything every half second, so many times.
    async fn ticks(&self, bench: &Bench, n: usize) {
        for _ in 0..n {
            self.actions.tick().await;
            bench.pass(500);
        }
    }

    fn runs(&self) -> Vec<Run> {
        self.actions.look(|register| register.runs.values().cloned().collect())
    }

    fn run(&self) -> Run {
        let mut runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:#?}");
        runs.remove(0)
    }
}
