//! The store on a disk that fails and loses power, under a scheduler that a seed decides.
//!
//! One driver decides about everything: which batch is sent, which of log, flush and compaction does its next operation
//! on the disk, whether that fails, how the clock moves, and when the power goes. After each crash the store is opened
//! again and must hold every acknowledged row once. A failing seed is printed; `HEADROPE_FAULT_SEED` replays it.
//! What SQLite does below the catalogue is not simulated: a crash finds the catalogue between two transactions.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::disk::sim::{Cut, Dice, Judge, Op, OpKind, SimDisk, Tree, Verdict, plant};

pub(super) mod model;

use model::{Batch, Model, Row};

/// Names a seed to replay instead of the usual ones.
const SEED: &str = "HEADROPE_FAULT_SEED";
/// Crashes in a plain test run, at least.
const CRASHES: u64 = 1_000;
/// Crashes in a long run, at least.
const CRASHES_LONG: u64 = 20_000;
const LIVES: usize = 3;
const STEPS: usize = 70;
/// Longest wait for a thread that was let go on.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: i64 = 3_600_000;
/// How long rows are kept.
const KEPT: Duration = Duration::from_secs(7_200);

/// What the threads of the store tell the driver.
enum Event {
    /// One waits for permission before (or, when asked to, after) an operation.
    Pause {
        is_log: bool,
        op: Op,
        go: Sender<Order>,
    },
    /// The log's thread has nothing to do.
    Idle,
    Opened(Result<Arc<Store>, Error>),
    Done(Job, Result<(), Error>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Open,
    Flush,
    Compact,
}

/// What a waiting thread is to do.
struct Order {
    verdict: Verdict,
    /// Whether to wait again when the operation is done.
    is_watched: bool,
}

/// Asks the driver about every operation.
struct Gate(Mutex<Sender<Event>>);

thread_local! {
    static IS_WATCHED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl Gate {
    fn ask(&self, op: &Op) -> Order {
        let pass = || Order { verdict: Verdict::Pass, is_watched: false };
        let (go, gone) = channel();
        let is_log = std::thread::current().name() == Some("wal");
        let pause = Event::Pause { is_log, op: op.clone(), go };
        // With the driver gone the disk is dead, and says so itself.
        if self.0.lock().unwrap().send(pause).is_err() {
            return pass();
        }
        gone.recv().unwrap_or_else(|_| pass())
    }
}

impl Judge for Gate {
    fn before(&self, op: &Op) -> Verdict {
        let order = self.ask(op);
        IS_WATCHED.set(order.is_watched);
        order.verdict
    }

    fn after(&self, op: &Op) {
        if IS_WATCHED.take() {
            self.ask(op);
        }
    }

    fn idle(&self) {
        drop(self.0.lock().unwrap().send(Event::Idle));
    }
}

/// A thread of the store as the driver sees it.
enum Actor {
    Idle,
    Running,
    Waiting(Op, Sender<Order>),
}

type Sending = Pin<Box<dyn Future<Output = Result<Ack, Error>>>>;

/// One life of a store, from its start to a crash.
struct Life<'a> {
    sim: &'a mut Sim,
    disk: SimDisk,
    dir: PathBuf,
    events: Receiver<Event>,
    tell: Sender<Event>,
    store: Option<Arc<Store>>,
    log: Actor,
    jobs: Vec<(Job, Actor)>,
    sending: Vec<(Sending, usize)>,
    held: Option<(Arc<Snapshot>, Vec<Row>)>,
    is_full: bool,
}

/// Everything that outlives a crash.
struct Sim {
    dice: Dice,
    runtime: Arc<tokio::runtime::Runtime>,
    base: tempfile::TempDir,
    n_dirs: usize,
    time: Time,
    model: Model,
    trace: Vec<String>,
    crashes: u64,
    operations: u64,
}

impl Sim {
    fn new(seed: u64, runtime: Arc<tokio::runtime::Runtime>) -> Self {
        // In memory where there is such a place: the simulation itself needs no durable files.
        let base = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self {
            dice: Dice::new(seed),
            runtime,
            base,
            n_dirs: 0,
            time: Time(Arc::new(AtomicI64::new(START_MS))),
            model: Model::default(),
            trace: Vec::new(),
            crashes: 0,
            operations: 0,
        }
    }

    fn fresh_dir(&mut self) -> PathBuf {
        self.n_dirs += 1;
        let dir = self.base.path().join(self.n_dirs.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn note(&mut self, what: String) {
        self.trace.push(what.replace(&*self.base.path().to_string_lossy(), "BASE"));
    }

    fn config(dir: &Path) -> Config {
        Config {
            data_dir: dir.to_owned(),
            wal_file_bytes: 64 << 10,
            flush_bytes_max: 4 << 20,
            retain_samples: KEPT,
            retain_logs: KEPT,
            retain_spans: KEPT,
            snapshot_grace: Duration::from_secs(60),
            ..Config::default()
        }
    }

    fn seams(&self, disk: Arc<dyn crate::disk::Disk>) -> Seams {
        // Nothing happens for its time alone: the driver says when the log has been idle.
        let wal_idle = Duration::from_secs(86_400);
        Seams { clock: Arc::new(self.time.clone()), disk, wal_idle }
    }

    /// Opens what a crash left, on a disk that works, and compares it with what was acknowledged.
    fn check_crash(&mut self, tree: &Tree) {
        self.crashes += 1;
        let dir = self.fresh_dir();
        plant(tree, &dir);
        let seams = self.seams(Arc::new(HostDisk));
        let runtime = Arc::clone(&self.runtime);
        let is_thorough = self.dice.percent(10);
        runtime.block_on(async {
            let opened = Store::open_idle(Self::config(&dir), seams.clone()).await;
            let store = opened.unwrap_or_else(|error| self.fail(&format!("open: {error}")));
            self.check(&store);
            if is_thorough {
                self.note("flush after the crash".to_owned());
                store.flush().await.unwrap();
                self.check(&store);
                self.note("compact after the crash".to_owned());
                store.compact().await.unwrap();
                self.check(&store);
                crash(store).await;
                let problems = Store::verify(dir.clone()).await.unwrap().problems;
                if !problems.is_empty() {
                    self.fail(&format!("verify: {problems:?}"));
                }
                let store = Store::open_idle(Self::config(&dir), seams).await.unwrap();
                self.check(&store);
                crash(store).await;
            } else {
                crash(store).await;
            }
        });
        drop(std::fs::remove_dir_all(dir));
    }

    fn check(&mut self, store: &Store) {
        let found = model::rows(&store.snapshot());
        self.compare(&found);
    }

    fn compare(&mut self, found: &[Row]) {
        if let Err(reason) = self.model.check(found) {
            self.fail(&reason);
        }
    }

    fn fail(&self, reason: &str) -> ! {
        let from = self.trace.len().saturating_sub(80);
        panic!("{reason}\nlast steps:\n  {}", self.trace[from..].join("\n  "));
    }

    /// A store from nothing through some crashes.
    fn run(&mut self) {
        let mut tree = template(&self.runtime, self.seams(Arc::new(HostDisk)));
        for life in 0..LIVES {
            self.note(format!("life {life}"));
            tree = Life::begin(self, &tree).live();
            self.check_crash(&tree);
        }
    }
}

/// An empty store with its catalogue made.
fn template(runtime: &tokio::runtime::Runtime, seams: Seams) -> Tree {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    runtime.block_on(async {
        let store = Store::open_idle(Sim::config(dir.path()), seams).await.unwrap();
        let core = Arc::clone(&store.core);
        drop(store);
        // Dropped, the catalogue would be closed by its own thread, while its files are copied.
        Arc::into_inner(core).unwrap().catalogue.close().await.unwrap();
    });
    let disk = SimDisk::new(dir.path(), Arc::new(crate::disk::sim::Lenient));
    disk.after_crash(Cut::Process, &mut Dice::new(0))
}

impl<'a> Life<'a> {
    fn begin(sim: &'a mut Sim, tree: &Tree) -> Self {
        sim.model.is_faulted = false;
        let dir = sim.fresh_dir();
        plant(tree, &dir);
        let (tell, events) = channel();
        let disk = SimDisk::new(&dir, Arc::new(Gate(Mutex::new(tell.clone()))));
        Self {
            sim,
            disk,
            dir,
            events,
            tell,
            store: None,
            log: Actor::Running,
            jobs: Vec::new(),
            sending: Vec::new(),
            held: None,
            is_full: false,
        }
    }

    /// Lives until the power goes; what is left then is returned.
    fn live(mut self) -> Tree {
        self.open();
        let steps = STEPS / 2 + self.sim.dice.below(STEPS);
        for _ in 0..steps {
            if self.store.is_some() {
                self.step();
            } else if self.jobs.is_empty() {
                break; // Opening failed: only a start on a disk that works helps.
            } else {
                self.advance_job(0);
            }
            if self.sim.dice.percent(9) {
                let tree = self.crashed();
                self.sim.check_crash(&tree);
            }
        }
        let tree = self.crashed();
        self.end();
        tree
    }

    fn open(&mut self) {
        let (config, disk) = (Sim::config(&self.dir), Arc::new(self.disk.clone()));
        let (seams, tell) = (self.sim.seams(disk), self.tell.clone());
        self.sim.runtime.spawn(async move {
            let opened = Store::open_idle(config, seams).await;
            drop(tell.send(Event::Opened(opened)));
        });
        self.jobs.push((Job::Open, Actor::Running));
        self.settle();
    }

    /// What a crash now would leave.
    fn crashed(&mut self) -> Tree {
        let cut = Cut::ALL[self.sim.dice.below(Cut::ALL.len())];
        self.sim.note(format!("crash, {cut:?}"));
        let mut tree = self.disk.after_crash(cut, &mut self.sim.dice);
        tree.remove(Path::new("catalogue.sqlite-shm"));
        tree
    }

    /// The power is off: every thread is let go and finds its disk dead.
    fn end(mut self) {
        self.disk.die();
        self.sim.operations += self.disk.done();
        self.sending.clear();
        self.sim.model.give_up();
        self.held = None;
        let n_running = self.jobs.len();
        self.jobs.clear();
        self.log = Actor::Idle; // Dropping what it waits on lets it go.
        let (mut ended, mut stores) = (0, Vec::from_iter(self.store.take()));
        while ended < n_running {
            match self.events.recv_timeout(PATIENCE) {
                Ok(Event::Opened(opened)) => {
                    stores.extend(opened);
                    ended += 1;
                }
                Ok(Event::Done(..)) => ended += 1,
                Ok(Event::Idle | Event::Pause { .. }) => {}
                Err(_) => self.sim.fail("a job does not end after the crash"),
            }
        }
        drop(self.events);
        let runtime = Arc::clone(&self.sim.runtime);
        stores.into_iter().for_each(|store| runtime.block_on(crash(store)));
        drop(std::fs::remove_dir_all(&self.dir));
    }

    /// Waits until every thread that was let go on waits again or has nothing to do.
    fn settle(&mut self) {
        let is_running = |actor: &Actor| matches!(actor, Actor::Running);
        while self.jobs.iter().any(|(_, actor)| is_running(actor))
            || (self.store.is_some() && is_running(&self.log))
        {
            match self.events.recv_timeout(PATIENCE) {
                Ok(Event::Pause { is_log: true, op, go }) => self.log = Actor::Waiting(op, go),
                Ok(Event::Pause { op, go, .. }) => {
                    let running = self.jobs.iter_mut().find(|(_, actor)| is_running(actor));
                    let Some((_, actor)) = running else {
                        self.sim.fail(&format!("{op:?} of nobody who runs"))
                    };
                    *actor = Actor::Waiting(op, go);
                }
                Ok(Event::Idle) => self.log = Actor::Idle,
                Ok(Event::Opened(opened)) => self.opened(opened),
                Ok(Event::Done(job, outcome)) => {
                    self.sim.note(format!("{job:?} done: {outcome:?}"));
                    self.jobs.retain(|(running, _)| *running != job);
                }
                Err(_) => self.sim.fail("a thread neither asks nor ends"),
            }
        }
        self.collect();
    }

    fn opened(&mut self, opened: Result<Arc<Store>, Error>) {
        self.jobs.clear();
        match opened {
            Ok(store) => {
                self.sim.check(&store);
                self.store = Some(store);
            }
            // Only a fault of ours is a reason.
            Err(error) if self.sim.model.is_faulted => {
                self.sim.note(format!("open failed: {error}"));
            }
            Err(error) => self.sim.fail(&format!("open: {error}")),
        }
    }

    /// Takes the answers that are there.
    fn collect(&mut self) {
        let mut waiting = Vec::new();
        for (mut sending, batch) in std::mem::take(&mut self.sending) {
            match sending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => waiting.push((sending, batch)),
                Poll::Ready(Ok(_)) => {
                    self.sim.note(format!("batch {batch} acknowledged"));
                    self.sim.model.acknowledge(batch);
                }
                Poll::Ready(Err(error)) => {
                    self.sim.note(format!("batch {batch}: {error}"));
                    self.sim.model.refuse(batch);
                }
            }
        }
        self.sending = waiting;
    }

    fn step(&mut self) {
        match self.sim.dice.below(100) {
            0..30 => self.send(),
            30..52 => self.advance_log(),
            52..72 if !self.jobs.is_empty() => {
                let job = self.sim.dice.below(self.jobs.len());
                self.advance_job(job);
            }
            52..66 => self.start(Job::Flush),
            66..70 => self.start(Job::Compact),
            70..78 if !self.jobs.is_empty() => self.finish_jobs(),
            70..78 => self.start(Job::Flush),
            78..82 => self.nudge(),
            82..88 => self.read(),
            88..93 => self.move_clock(),
            93..95 => self.fill(),
            95..97 => self.hold(),
            _ => self.advance_log(),
        }
    }

    /// Lets a waiting thread do its operation, or fail in it.
    fn order(&mut self, who: &str, op: &Op) -> Order {
        let verdict = if self.sim.dice.percent(2) { self.fault(op) } else { Verdict::Pass };
        let is_watched = self.sim.dice.percent(10);
        let name = op.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.sim.note(format!("{who} {:?} {name}: {verdict:?}", op.kind));
        if verdict != Verdict::Pass {
            self.sim.model.is_faulted = true;
        }
        Order { verdict, is_watched }
    }

    fn fault(&mut self, op: &Op) -> Verdict {
        let kinds = [
            std::io::ErrorKind::StorageFull,
            std::io::ErrorKind::Other,
            std::io::ErrorKind::PermissionDenied,
        ];
        let kind = kinds[self.sim.dice.below(kinds.len())];
        match op.kind {
            OpKind::Write(len) => Verdict::Short(self.sim.dice.below(len + 1), kind),
            _ => Verdict::Fail(kind),
        }
    }

    fn advance_log(&mut self) {
        let Actor::Waiting(op, go) = std::mem::replace(&mut self.log, Actor::Running) else {
            self.log = Actor::Idle;
            return;
        };
        let order = self.order("log", &op);
        drop(go.send(order));
        self.settle();
    }

    fn advance_job(&mut self, at: usize) {
        let n_operations = [1, 1, 2, 5, 20][self.sim.dice.below(5)];
        let job = self.jobs[at].0;
        for _ in 0..n_operations {
            let Some(at) = self.jobs.iter().position(|(running, _)| *running == job) else {
                return;
            };
            let (_, actor) = &mut self.jobs[at];
            let Actor::Waiting(op, go) = std::mem::replace(actor, Actor::Running) else { return };
            let order = self.order(&format!("{job:?}"), &op);
            drop(go.send(order));
            self.settle();
        }
    }

    fn finish_jobs(&mut self) {
        while !self.jobs.is_empty() {
            self.advance_job(0);
        }
    }

    fn start(&mut self, job: Job) {
        let Some(store) = self.store.clone() else { return };
        if self.jobs.iter().any(|(running, _)| *running == job) {
            return;
        }
        self.sim.note(format!("{job:?} begins"));
        let tell = self.tell.clone();
        self.sim.runtime.spawn(async move {
            let outcome = match job {
                Job::Flush | Job::Open => store.flush().await,
                Job::Compact => store.compact().await,
            };
            drop(store);
            drop(tell.send(Event::Done(job, outcome)));
        });
        self.jobs.push((job, Actor::Running));
        self.settle();
    }

    /// Sends a new batch, or one whose fate is unknown again.
    fn send(&mut self) {
        let Some(store) = self.store.clone() else { return };
        if self.sending.len() > 4 {
            return;
        }
        let now = self.sim.time.now().ms();
        let at = self.sim.model.next_batch(&mut self.sim.dice, now);
        self.sim.note(format!("batch {at} sent: {:?}", self.sim.model.batches[at]));
        let ingest = ingest(&store, &self.sim.model.batches[at]);
        let mut sending: Sending = Box::pin(async move { store.ingest(ingest).await });
        // The first look queues it.
        let answer = sending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        match answer {
            Poll::Pending => {
                if matches!(self.log, Actor::Idle) {
                    self.log = Actor::Running;
                }
                self.sending.push((sending, at));
                self.settle();
            }
            Poll::Ready(Ok(_)) => self.sim.model.acknowledge(at),
            Poll::Ready(Err(error)) => {
                self.sim.note(format!("batch {at}: {error}"));
                self.sim.model.refuse(at);
            }
        }
    }

    fn nudge(&mut self) {
        let Some(store) = &self.store else { return };
        if matches!(self.log, Actor::Idle) && !store.stats().wal_poisoned {
            self.log = Actor::Running;
            store.core.wal.get().unwrap().nudge();
            self.settle();
        }
    }

    fn read(&mut self) {
        if let Some(store) = self.store.clone() {
            self.sim.check(&store);
        }
        if let Some((snapshot, before)) = &self.held
            && model::rows(snapshot) != *before
        {
            self.sim.fail("a held snapshot has changed");
        }
    }

    fn hold(&mut self) {
        self.held = self.store.as_ref().map(|store| {
            let snapshot = store.snapshot();
            let rows = model::rows(&snapshot);
            (snapshot, rows)
        });
    }

    fn move_clock(&mut self) {
        let moves = [SECOND, 60 * SECOND, HOUR / 2, HOUR, -HOUR, -60 * SECOND];
        let by = moves[self.sim.dice.below(moves.len())];
        let now = self.sim.time.0.fetch_add(by, Ordering::SeqCst) + by;
        self.sim.model.reached(now);
        self.sim.note(format!("clock moves by {by} ms"));
    }

    fn fill(&mut self) {
        self.is_full = !self.is_full;
        self.disk.fill(self.is_full);
        self.sim.model.is_faulted = true;
        self.sim.note(format!("disk full: {}", self.is_full));
    }
}

pub(super) fn ingest(store: &Store, batch: &Batch) -> Ingest {
    let mut ingest = Ingest { tenant: TENANT, delivery: batch.delivery, ..Ingest::default() };
    let mut rows = Vec::new();
    for row in &batch.rows {
        if let Row::Sample { host, time, value } = row {
            let resolved = store.resolve(TENANT, &def("cpu", host)).unwrap();
            rows.push((resolved, *time, *value as f64));
        }
    }
    ingest.samples = samples(&rows);
    ingest.tables = model::tables(&batch.rows, batch.time);
    ingest
}

fn runtime() -> Arc<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // A worker for each job that waits inside an operation, and more.
    Arc::new(builder.worker_threads(6).enable_all().build().unwrap())
}

/// Runs seeds from `first` on until there were `crashes`; returns (seeds, crashes, operations).
fn run(first: u64, crashes: u64) -> (u64, u64, u64) {
    let runtime = runtime();
    let one = std::env::var(SEED).ok().and_then(|seed| seed.parse::<u64>().ok());
    let (mut seeds, mut done, mut operations) = (0, 0, 0);
    for seed in one.unwrap_or(first).. {
        let mut sim = Sim::new(seed, Arc::clone(&runtime));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sim.run()));
        if let Err(panic) = outcome {
            eprintln!("seed {seed} fails: replay it with {SEED}={seed}");
            std::panic::resume_unwind(panic);
        }
        (seeds, done, operations) = (seeds + 1, done + sim.crashes, operations + sim.operations);
        if one.is_some() || done >= crashes {
            break;
        }
    }
    (seeds, done, operations)
}

#[test]
fn every_acknowledged_row_is_there_once_after_any_crash() {
    // PROPTEST_CASES asks all our random tests for more.
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    let (seeds, crashes, operations) = run(0, cases.unwrap_or(CRASHES));
    println!("{seeds} seeds, {crashes} crashes, {operations} operations on the disk");
}

#[test]
#[ignore = "takes minutes: the long form of the test above"]
fn every_acknowledged_row_is_there_once_after_many_crashes() {
    let (seeds, crashes, operations) = run(1 << 32, CRASHES_LONG);
    println!("{seeds} seeds, {crashes} crashes, {operations} operations on the disk");
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let runtime = runtime();
    let trace = || {
        let mut sim = Sim::new(7, Arc::clone(&runtime));
        sim.run();
        // Segments have random names.
        let is_stable = |line: &&String| !line.contains(".parquet") && !line.contains(".puffin");
        sim.trace.iter().filter(is_stable).cloned().collect::<Vec<_>>()
    };
    let first = trace();
    assert!(first.len() > 100, "{}", first.len());
    assert_eq!(first, trace());
}
