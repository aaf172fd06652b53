//! Takes transitions in and gets messages out. `server` opens one, feeds it what `alert` hands over,
//! and runs it until it stops.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use model::alert::Transition;
use model::metric::Labels;
use model::time::{Clock, Timestamp};
use reqwest::Client;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::delivery::Delivery;
use crate::error::Error;
use crate::journal::record::{Accepted, Event, Outcome, Verdict};
use crate::journal::{Journal, JournalStats, Recorded};
use crate::ledger::Job;
use crate::receiver::{self, Receiver};
use crate::send::{self, Answer};
use crate::{backoff, message};

/// How long requests under way may take once stop was asked for; cut-off ones are sent again at the next start.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// Longest sleep: a wall clock that was set is noticed after this at the latest.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// Figures since the start, and how things stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transitions accepted, those nobody wanted included.
    pub accepted: u64,
    /// Of these: already known, nothing sent anew.
    pub duplicates: u64,
    /// Of these: no receiver's matchers held.
    pub unrouted: u64,
    /// Transitions refused because the queue was full or the journal could not be written.
    pub refused: u64,
    /// Requests sent.
    pub attempts: u64,
    /// Messages a receiver took.
    pub delivered: u64,
    /// Attempts that failed and are repeated.
    pub retried: u64,
    /// Messages given up: refused, expired, gone or dropped.
    pub given_up: u64,
    /// Messages waiting now, those under way included.
    pub pending: usize,
    /// Requests under way now.
    pub in_flight: usize,
    /// Bytes of the journal now.
    pub journal_bytes: u64,
    /// Records written.
    pub journal_records: u64,
    /// Syncs those took.
    pub journal_syncs: u64,
    /// Writes and syncs that failed.
    pub journal_errors: u64,
    /// Times the journal was rewritten to drop what is forgotten.
    pub journal_rewrites: u64,
    /// Bytes of an unfinished last write cut off at open.
    pub journal_torn_bytes: u64,
}

/// Tells receivers of transitions: at least once each, in order for each alert.
pub struct Notifier {
    config: Config,
    receivers: Vec<Arc<Receiver>>,
    client: Client,
    clock: Arc<dyn Clock>,
    journal: Arc<Journal>,
    wake: Notify,
    live: Mutex<Live>,
}

/// What is not in the journal: it begins anew with every start.
#[derive(Default)]
struct Live {
    stats: Stats,
    /// Receivers that answered 410 Gone.
    gone: HashSet<String>,
}

impl Notifier {
    /// Checks `config`, reads the journal in `dir` and makes it ready. Blocking: the journal is read whole.
    ///
    /// # Errors
    /// A wrong field, an unreadable secret file, or a journal that cannot be opened, is corrupt or newer.
    pub fn open(config: Config, dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        let receivers = receiver::check(&config)?;
        let allowed = receiver::allowed(&config)?;
        let client = send::client(&receivers, allowed)?;
        let journal = Arc::new(Journal::open(dir, &config, Arc::clone(&clock))?);
        let receivers = receivers.into_iter().map(Arc::new).collect();
        let (wake, live) = (Notify::new(), Mutex::default());
        Ok(Arc::new(Self { config, receivers, client, clock, journal, wake, live }))
    }

    /// Takes `transition` over: once this returns, it is on disk and will be told to every receiver
    /// that wants it. One already known is not told again.
    ///
    /// # Errors
    /// `Exhausted` when too much waits for delivery, `Unavailable` when the journal cannot be written:
    /// in both cases nothing was taken over and the same transition may be offered again.
    pub fn accept(&self, transition: Transition) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let result = self.take_over(&transition).await;
            let stats = &mut self.live().stats;
            match &result {
                Ok(recorded) => {
                    stats.accepted += 1;
                    stats.unrouted += u64::from(recorded.is_none());
                    stats.duplicates += u64::from(*recorded == Some(Recorded::Known));
                }
                Err(_) => stats.refused += 1,
            }
            result.map(drop)
        })
    }

    async fn take_over(&self, transition: &Transition) -> Result<Option<Recorded>, Error> {
        let wanted = self.receivers.iter().filter(|receiver| receiver.wants(transition));
        let receivers: Vec<_> = wanted.map(|receiver| receiver.name.clone()).collect();
        if receivers.is_empty() {
            return Ok(None);
        }
        let recorded = self.journal.record(Event::Accepted(Accepted {
            transition_id: transition.id,
            fingerprint: message::fingerprint(transition),
            state: transition.state,
            accepted_at: self.clock.now(),
            group: transition.group.clone(),
            rule: transition.rule.clone(),
            receivers,
            body: message::body(&self.config, transition)?,
        }));
        let recorded = recorded.await?;
        self.wake.notify_one();
        Ok(Some(recorded))
    }

    /// Delivers until `stop` is cancelled, then lets requests under way finish for a short while.
    ///
    /// Call it once. What is accepted while it does not run is delivered by the next run.
    pub fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut requests = JoinSet::new();
            loop {
                for job in self.journal.with(|shared| {
                    shared.ledger.take_due(self.clock.now(), self.config.in_flight_max)
                }) {
                    requests.spawn(Arc::clone(&self).deliver(job));
                }
                let sleep = self.sleep();
                tokio::select! {
                    biased; // Stop wins, or a queue that is never empty would delay it.
                    () = stop.cancelled() => break,
                    Some(result) = requests.join_next() => self.note(result),
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(sleep) => {}
                }
            }
            let rest = async {
                while let Some(result) = requests.join_next().await {
                    self.note(result);
                }
            };
            if tokio::time::timeout(STOP_GRACE, rest).await.is_err() {
                info!(
                    "requests to receivers cut off by stop; they are sent again at the next start"
                );
            }
        })
    }

    fn note(&self, result: Result<(), tokio::task::JoinError>) {
        if let Err(error) = result {
            error!(%error, "delivery ended by a panic, tried again later");
        }
    }

    fn sleep(&self) -> Duration {
        let next = self.journal.with(|shared| shared.ledger.next_due(self.config.in_flight_max));
        let wait_ns = next.map_or(i64::MAX, |at| at.0.saturating_sub(self.clock.now().0));
        Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(0)).min(SLEEP_MAX)
    }

    /// One attempt from its announcement in the journal to its outcome there.
    async fn deliver(self: Arc<Self>, job: Job) {
        let lease = Lease { notifier: &self, job: &job };
        let outcome = match self.hopeless(&job) {
            Some((verdict, error)) => self.verdict_without_attempt(&job, verdict, error),
            None => match self.attempt(&job).await {
                Some(outcome) => outcome,
                None => return,
            },
        };
        self.count(&job, &outcome);
        if let Err(error) = self.journal.record(Event::Outcome(outcome)).await {
            // The message may be sent again: receivers recognise it by its id.
            warn!(receiver = %job.receiver, %error, "outcome of a delivery not recorded");
        }
        drop(lease);
    }

    /// Why no (further) attempt is to be made.
    fn hopeless(&self, job: &Job) -> Option<(Verdict, &'static str)> {
        let Some(receiver) = self.receiver(&job.receiver) else {
            return Some((Verdict::Dropped, "the receiver is no longer configured"));
        };
        if self.live().gone.contains(&*job.receiver) {
            return Some((Verdict::Gone, "the receiver answered 410 Gone to an earlier message"));
        }
        // However old, each message is tried once: we may have been down for longer than its age.
        let too_old = self.clock.now() > expiry(job, receiver);
        (job.attempts > 0 && too_old).then_some((Verdict::Expired, "retry_max_age has passed"))
    }

    fn verdict_without_attempt(&self, job: &Job, verdict: Verdict, error: &str) -> Outcome {
        let (at, attempt) = (self.clock.now(), job.attempts);
        let (key, http_status, elapsed_ms) = (job.key, 0, 0);
        Outcome {
            key,
            attempt,
            verdict,
            http_status,
            elapsed_ms,
            at,
            next_at: at,
            error: error.to_owned(),
        }
    }

    /// Announces an attempt, makes it, and says what came of it; `None` when it could not be announced.
    async fn attempt(&self, job: &Job) -> Option<Outcome> {
        let receiver = self.receiver(&job.receiver)?;
        let started = self.clock.now();
        let attempt = job.attempts + 1;
        let deadline = after(started, receiver.timeout);
        let announced = Event::Attempt { key: job.key, attempt, deadline };
        if let Err(error) = self.journal.record(announced).await {
            warn!(receiver = %job.receiver, %error, "message not sent: its attempt could not be recorded");
            return None;
        }
        self.live().stats.attempts += 1;
        let (id, body) = (job.key.webhook_id(), job.accepted.body.clone());
        let clock = tokio::time::Instant::now();
        let answer = send::post(&self.client, receiver, &id, body, self.clock.now()).await;
        let elapsed_ms = u32::try_from(clock.elapsed().as_millis()).unwrap_or(u32::MAX);
        let at = self.clock.now();
        let next_at = after(at, self.wait(job, attempt, &answer));
        let Answer { mut verdict, http_status, mut error, .. } = answer;
        if verdict == Verdict::Retry && next_at > expiry(job, receiver) {
            verdict = Verdict::Expired;
            error.push_str("; given up: retry_max_age would pass before the next attempt");
        }
        Some(Outcome {
            key: job.key,
            attempt,
            verdict,
            http_status,
            elapsed_ms,
            at,
            next_at,
            error,
        })
    }

    fn wait(&self, job: &Job, attempt: u32, answer: &Answer) -> Duration {
        let (min, max) = (self.config.retry_wait_min, self.config.retry_wait_max);
        let wait = backoff::wait(job.key.seed(), attempt, min, max);
        answer.retry_after.map_or(wait, |asked| asked.max(wait))
    }

    fn count(&self, job: &Job, outcome: &Outcome) {
        let live = &mut self.live();
        let rule = job.accepted.rule.as_str();
        let (attempt, error) = (outcome.attempt, outcome.error.as_str());
        match outcome.verdict {
            Verdict::Delivered => live.stats.delivered += 1,
            Verdict::Retry => {
                live.stats.retried += 1;
                warn!(receiver = %job.receiver, rule, attempt, error, "message not delivered, tried again later");
            }
            Verdict::Gone | Verdict::Refused | Verdict::Expired | Verdict::Dropped => {
                live.stats.given_up += 1;
                let gone =
                    outcome.verdict == Verdict::Gone && live.gone.insert(job.receiver.to_string());
                if gone {
                    error!(receiver = %job.receiver, "receiver answered 410 Gone: it gets nothing more until the next start");
                }
                error!(receiver = %job.receiver, rule, attempt, error, "message given up");
            }
        }
    }

    fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.name == name).map(AsRef::as_ref)
    }

    /// The journal, for the engine of actions.
    pub(crate) fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    /// Names of the receivers, as configured.
    #[must_use]
    pub fn receivers(&self) -> Vec<&str> {
        self.receivers.iter().map(|receiver| receiver.name.as_str()).collect()
    }

    /// Names of the receivers that are told of an alert with these labels.
    #[must_use]
    pub fn receivers_of(&self, labels: &Labels) -> Vec<&str> {
        let takers = self.receivers.iter().filter(|receiver| receiver.takes(labels));
        takers.map(|receiver| receiver.name.as_str()).collect()
    }

    /// The latest `limit` deliveries, newest first.
    #[must_use]
    pub fn deliveries(&self, limit: usize) -> Vec<Delivery> {
        self.journal.with(|shared| shared.ledger.latest(limit))
    }

    /// Figures since the start, and how things stand.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let stats = self.live().stats;
        self.journal.with(|shared| {
            let JournalStats { records, syncs, errors, rewrites, bytes, torn_bytes } = shared.stats;
            Stats {
                pending: shared.ledger.n_pending(),
                in_flight: shared.ledger.n_lent(),
                journal_bytes: bytes,
                journal_records: records,
                journal_syncs: syncs,
                journal_errors: errors,
                journal_rewrites: rewrites,
                journal_torn_bytes: torn_bytes,
                ..stats
            }
        })
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the delivery to the ledger however the attempt ends: by outcome, failed journal, panic or stop.
struct Lease<'a> {
    notifier: &'a Notifier,
    job: &'a Job,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let again = after(self.notifier.clock.now(), self.notifier.config.retry_wait_max);
        self.notifier.journal.with(|shared| shared.ledger.give_back(self.job, again));
    }
}

/// Last instant at which a retry is still worth while.
fn expiry(job: &Job, receiver: &Receiver) -> Timestamp {
    after(job.accepted.accepted_at, receiver.retry_max_age)
}

fn after(at: Timestamp, wait: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX)))
}
