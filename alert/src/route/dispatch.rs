//! The shell of the router: keeps time, makes the state durable before anything is told, and runs deliveries.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use model::alert::{AlertState, Transition};
use model::time::{Clock, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::held::{Held, Posted};
use super::journal::Journal;
use super::router::{Delivery, Full, Limits, Router, Ticket};
use super::silence::{Silence, Unsilenced};
use crate::error::Error;
use crate::state::nanoseconds;

/// Requests that may wait; the next ones wait to be taken in.
const COMMANDS_MAX: usize = 1_000;
/// Requests taken together, with one sync.
const BATCH_MAX: usize = 256;
/// Longest sleep: a wall clock that was set is noticed after this at the latest.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// How long deliveries under way may take once stop was asked for; cut-off ones are repeated by the next start.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// Pause after the journal could not be written, before it is tried again for its own sake.
const JOURNAL_PAUSE: Duration = Duration::from_secs(5);

/// Who delivers: the seam to `action`.
pub trait Deliver: Send + Sync {
    /// Tries until the receiver takes it, it is hopeless, or its deadline has passed; whether it was taken.
    fn deliver(&self, delivery: Delivery) -> BoxFuture<'static, bool>;
}

/// What became of posted alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was wrong with those that were not taken, in words.
    pub wrong: Vec<String>,
    /// Those for which there was no room.
    pub full: Option<Full>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The silence cannot be.
    Silence(Unsilenced),
    /// The journal cannot be written, or the server stops: try again later.
    Unavailable(String),
}

enum Command {
    Take(Box<Held>, oneshot::Sender<Result<(), Refusal>>),
    Agree(Vec<Held>, oneshot::Sender<Result<(), Refusal>>),
    Post(Vec<Posted>, oneshot::Sender<Result<Outcome, Refusal>>),
    Silence(Box<Silence>, oneshot::Sender<Result<String, Refusal>>),
    Expire(String, oneshot::Sender<Result<(), Refusal>>),
}

/// A request that was applied and waits for the disk.
type Answer = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// The router at work.
pub struct Dispatcher {
    router: Mutex<Router>,
    journal: Arc<Mutex<Journal>>,
    clock: Arc<dyn Clock>,
    commands: mpsc::Sender<Command>,
    inbox: Mutex<Option<mpsc::Receiver<Command>>>,
}

impl Dispatcher {
    /// Reads the journal in `dir`. Blocking.
    ///
    /// # Errors
    /// A journal that cannot be read or written, or is none.
    pub fn open(
        config: Arc<Config>,
        limits: Limits,
        dir: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let (journal, records) = Journal::open(dir)?;
        let router = Router::new(config, limits, records, clock.now());
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        Ok(Arc::new(Self {
            router: Mutex::new(router),
            journal: Arc::new(Mutex::new(journal)),
            clock,
            commands,
            inbox: Mutex::new(Some(inbox)),
        }))
    }

    /// Looks at the present state.
    pub fn look<T>(&self, at: impl FnOnce(&Router, Timestamp) -> T) -> T {
        let now = self.clock.now();
        at(&self.router(), now)
    }

    /// Takes a transition of a rule of ours; once this returns, it is on disk.
    ///
    /// # Errors
    /// `Unavailable`: it is to be offered again.
    pub async fn take(&self, transition: &Transition, url: String) -> Result<(), Refusal> {
        let resolved = transition.state == AlertState::Resolved;
        let known = self.look(|router, _| {
            router.alerts.get(&transition.labels).map(|entry| entry.held.starts_at)
        });
        let held = Held {
            labels: transition.labels.clone(),
            annotations: transition.annotations.clone(),
            starts_at: known.filter(|_| resolved).unwrap_or(transition.at),
            ends_at: resolved.then_some(transition.at),
            updated_at: self.clock.now(),
            timeout: false,
            generator_url: url,
        };
        self.ask(|answer| Command::Take(Box::new(held), answer)).await
    }

    /// Compares what rules of ours fire with what is held: texts are refreshed, and what is missing on either side, which
    /// takes lost files, is mended.
    ///
    /// # Errors
    /// `Unavailable`: it is to be called again.
    pub async fn agree(&self, firing: Vec<Held>) -> Result<(), Refusal> {
        self.ask(|answer| Command::Agree(firing, answer)).await
    }

    /// Takes posted alerts; once this returns, they are on disk.
    ///
    /// # Errors
    /// `Unavailable`: they are to be posted again.
    pub async fn post(&self, alerts: Vec<Posted>) -> Result<Outcome, Refusal> {
        self.ask(|answer| Command::Post(alerts, answer)).await
    }

    /// Adds or edits a silence; the id of the one in force.
    ///
    /// # Errors
    /// What is wrong with it, or `Unavailable`.
    pub async fn silence(&self, silence: Silence) -> Result<String, Refusal> {
        self.ask(|answer| Command::Silence(Box::new(silence), answer)).await
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// When there is none of this id, or `Unavailable`.
    pub async fn expire(&self, id: String) -> Result<(), Refusal> {
        self.ask(|answer| Command::Expire(id, answer)).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Command,
    ) -> Result<T, Refusal> {
        let stopped = || Refusal::Unavailable("the server is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    fn router(&self) -> MutexGuard<'_, Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Routes and delivers until `stop`. Call it once: a second call returns at once.
    pub async fn run(self: Arc<Self>, deliver: Arc<dyn Deliver>, stop: CancellationToken) {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut inbox) = inbox else { return };
        let mut jobs = Jobs::default();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut retry = false;
        loop {
            let sleep = self.sleep(retry);
            tokio::select! {
                biased; // Stop wins, or a flood of alerts would delay it.
                () = stop.cancelled() => break,
                Some(done) = jobs.running.join_next_with_id() => self.land(&mut jobs, done),
                n = inbox.recv_many(&mut batch, BATCH_MAX) => if n == 0 { break },
                () = tokio::time::sleep(sleep) => {}
            }
            let answers: Vec<Answer> = batch.drain(..).filter_map(|c| self.apply(c)).collect();
            let deliveries = self.router().tick(self.clock.now());
            let written = self.persist(retry).await;
            retry = written.is_err();
            for answer in answers {
                answer(written.clone());
            }
            // Also when the disk is full: that may be what they are about.
            deliveries.into_iter().for_each(|delivery| jobs.start(&*deliver, delivery));
        }
        inbox.close();
        let rest = async {
            while let Some(done) = jobs.running.join_next_with_id().await {
                self.land(&mut jobs, done);
            }
        };
        if tokio::time::timeout(STOP_GRACE, rest).await.is_err() {
            tracing::info!("notifications cut off by stop; they are sent again at the next start");
        }
        drop(self.persist(retry).await); // Told of already; what is lost is sent again.
    }

    fn sleep(&self, retry: bool) -> Duration {
        let next = self.router().next_wake();
        let wait = next.map_or(i64::MAX, |at| at.0.saturating_sub(self.clock.now().0));
        let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(0));
        wait.min(if retry { JOURNAL_PAUSE } else { SLEEP_MAX })
    }

    /// Carries out a request; what is to be done when its records are on disk, unless it is answered already.
    fn apply(&self, command: Command) -> Option<Answer> {
        let now = self.clock.now();
        let mut router = self.router();
        match command {
            Command::Take(held, answer) => {
                router.take(*held, now);
                Some(when_written((), answer))
            }
            Command::Agree(firing, answer) => {
                router.agree(firing, now);
                Some(when_written((), answer))
            }
            Command::Post(alerts, answer) => {
                let outcome = post(&mut router, alerts, now);
                Some(when_written(outcome, answer))
            }
            Command::Silence(silence, answer) => match router.silence(*silence, now) {
                Ok(id) => Some(when_written(id, answer)),
                Err(why) => {
                    drop(answer.send(Err(Refusal::Silence(why)))); // Err: nobody waits any more.
                    None
                }
            },
            Command::Expire(id, answer) => match router.expire(&id, now) {
                Ok(()) => Some(when_written((), answer)),
                Err(why) => {
                    drop(answer.send(Err(Refusal::Silence(why))));
                    None
                }
            },
        }
    }

    /// Writes what has changed; after a failure, or when the journal is long, all there is.
    async fn persist(&self, all: bool) -> Result<(), Refusal> {
        let journal = Arc::clone(&self.journal);
        let long = journal.lock().unwrap_or_else(PoisonError::into_inner).is_long();
        let whole = all || long;
        let records = {
            let mut router = self.router();
            let changed = router.take_records();
            if whole { router.snapshot() } else { changed }
        };
        if records.is_empty() && !whole {
            return Ok(());
        }
        let written = spawn_blocking(move || {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            if whole { journal.rewrite(&records) } else { journal.append(&records) }
        });
        let error = match written.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            error,
            "the route journal was not written: after a crash something may be told twice"
        );
        Err(Refusal::Unavailable(error))
    }

    fn land(&self, jobs: &mut Jobs, done: Result<(tokio::task::Id, bool), JoinError>) {
        let (id, ok) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a notification ended by a panic, it is tried again later");
                (error.id(), false)
            }
        };
        if let Some(ticket) = jobs.tickets.remove(&id) {
            self.router().delivered(ticket, ok, self.clock.now());
        }
    }
}

/// Deliveries under way.
#[derive(Default)]
struct Jobs {
    running: JoinSet<bool>,
    tickets: HashMap<tokio::task::Id, Ticket>,
}

impl Jobs {
    fn start(&mut self, deliver: &dyn Deliver, delivery: Delivery) {
        let ticket = delivery.ticket.clone();
        let handle = self.running.spawn(deliver.deliver(delivery));
        self.tickets.insert(handle.id(), ticket);
    }
}

fn when_written<T: Send + 'static>(
    value: T,
    answer: oneshot::Sender<Result<T, Refusal>>,
) -> Answer {
    Box::new(move |written| drop(answer.send(written.map(|()| value)))) // Err: nobody waits.
}

fn post(router: &mut Router, alerts: Vec<Posted>, now: Timestamp) -> Outcome {
    let timeout = nanoseconds(router.config().resolve_timeout);
    let mut outcome = Outcome::default();
    for posted in alerts {
        match posted.check(now, timeout) {
            Ok(held) => match router.post(held, now) {
                Ok(()) => {}
                Err(full) => outcome.full = Some(full),
            },
            Err(why) => {
                router.count_refused("invalid");
                outcome.wrong.push(why);
            }
        }
    }
    outcome
}
