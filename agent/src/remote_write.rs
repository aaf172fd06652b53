//! Sends samples in Prometheus' own identity by remote write: 2.0, or 1.0 where the receiver knows no other.
//!
//! `scrape` fills the [`Queue`]; one [`Sender`] empties it, oldest first, so that each series arrives in order. While
//! requests are under way what comes in waits, and goes together into the next: no delay when idle, large requests and
//! several at once under load. What was not delivered is counted by reason. Source: remote write specifications 1.0 and 2.0.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use model::metric::Labels;
use model::time::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::export::Backoff;
use crate::scrape::relabel::Rule;

mod client;
mod encode;
mod message;
mod point;
mod queue;
mod rewrite;
mod tally;

pub(crate) use point::{Count, Exemplar, Histogram, Kind, Meta, Point, Side, Value};
pub(crate) use queue::Queue;
pub(crate) use tally::Tally;

pub(crate) use client::Client;
use client::{Answer, Version};
use rewrite::Rewrite;

/// How requests are made up and repeated.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Samples and histograms in one request, at most.
    pub samples_max: usize,
    /// Bytes that the points of one request take, about and at most; a single point may be larger.
    pub bytes_max: usize,
    /// Requests at once, at most; so many only when there is enough to fill them.
    pub shards_max: usize,
    /// Deadline of one request.
    pub timeout: Duration,
    /// First pause before a repetition; doubles.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// Whether 429 is worth a repetition.
    pub retry_on_429: bool,
    /// Samples older than this when they would be sent are dropped; zero keeps them all.
    pub age_max: Duration,
    /// Which protocol to begin with.
    pub version: Version,
    /// Rules that rewrite or drop series before they are sent.
    pub relabel: Vec<Rule>,
    /// How long a stop may wait for what is queued.
    pub flush_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            samples_max: 2_000,
            bytes_max: 4 << 20,
            shards_max: 50,
            timeout: Duration::from_secs(30),
            backoff_min: Duration::from_millis(30),
            backoff_max: Duration::from_secs(5),
            retry_on_429: true,
            age_max: Duration::ZERO,
            version: Version::V2,
            relabel: Vec::new(),
            flush_timeout: Duration::from_secs(5),
        }
    }
}

/// Labels of the sender itself; may change while it works.
pub(crate) type External = Arc<RwLock<Labels>>;

/// Different complaints that are logged; texts of a receiver may differ without end.
const COMPLAINTS_MAX: usize = 64;

/// The receiver does not take so much at once; its words.
struct TooLarge(String);

/// How many of `points` go into one request: one at least.
fn fitting(points: &[Point], samples_max: usize, bytes_max: usize) -> usize {
    let (mut bytes, mut last_meta) = (0, None);
    let is_full = |point: &Point| {
        bytes += point.bytes();
        let meta = point.meta.as_ref().map(Arc::as_ptr);
        if meta != last_meta {
            bytes += point.meta.as_ref().map_or(0, |meta| meta.bytes());
            last_meta = meta;
        }
        bytes > bytes_max
    };
    points
        .iter()
        .take(samples_max)
        .position(is_full)
        .unwrap_or(samples_max)
        .clamp(1, points.len().max(1))
        .min(points.len())
}

/// Empties one queue into one receiver.
pub(crate) struct Sender {
    client: Client,
    policy: Policy,
    /// Added to every series that has no label of the name.
    external: External,
    /// Whether the receiver has said that it knows only 1.0.
    is_old: AtomicBool,
    seed: AtomicU64,
    queue: Arc<Queue>,
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
    complaints: Mutex<BTreeSet<String>>,
    rewrite: Mutex<Rewrite>,
    hasher: RandomState,
}

impl Sender {
    /// Connects with the first request.
    pub(crate) fn new(
        client: Client,
        policy: Policy,
        external: External,
        queue: Arc<Queue>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            is_old: AtomicBool::new(policy.version == Version::V1),
            seed: AtomicU64::new(clock.now().0.cast_unsigned()),
            tally: queue.tally(),
            client,
            rewrite: Mutex::new(Rewrite::new(policy.relabel.clone())),
            policy,
            external,
            queue,
            clock,
            complaints: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Sends until the queue is closed and empty, or until `flush_timeout` after `stop`; what is left then is counted
    /// as dropped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(self.policy.flush_timeout).await;
        };
        tokio::select! {
            biased; // A flush that ends at the deadline is complete all the same.
            () = self.drain() => {}
            () = deadline => {}
        }
        let left = self.queue.abandon();
        if left > 0 {
            warn!(samples = left, "stopped before all samples were sent");
        }
    }

    /// Round after round: as many requests at once as the backlog fills, each with series of its own, so that those of
    /// one series stay in order.
    async fn drain(&self) {
        let Policy { samples_max, shards_max, .. } = self.policy;
        while let Some(points) = self.queue.take(samples_max.saturating_mul(shards_max)).await {
            let n_shards = points.len().div_ceil(samples_max).max(1);
            let points = self.rewritten(self.young(points));
            let mut shards = vec![Vec::new(); n_shards];
            for point in points {
                let shard = self.hasher.hash_one(&point.labels) % n_shards as u64;
                shards[usize::try_from(shard).unwrap_or(0)].push(point);
            }
            let deliveries = shards.iter().map(|shard| async {
                for points in self.requests(shard) {
                    self.deliver(points).await;
                    self.queue.done(points);
                }
            });
            join_all(deliveries).await;
        }
    }

    /// Without what is too old to be of use.
    fn young(&self, mut points: Vec<Point>) -> Vec<Point> {
        if self.policy.age_max.is_zero() {
            return points;
        }
        let age_ms = i64::try_from(self.policy.age_max.as_millis()).unwrap_or(i64::MAX);
        let oldest = self.clock.now().ms().saturating_sub(age_ms);
        let old: Vec<Point> = points.extract_if(.., |point| point.at_ms < oldest).collect();
        self.tally.dropped("too_old", old.len());
        self.queue.done(&old);
        points
    }

    /// As the rules leave them.
    fn rewritten(&self, mut points: Vec<Point>) -> Vec<Point> {
        let bytes = |points: &[Point]| points.iter().map(Point::bytes).sum::<usize>();
        let mut rewrite = self.rewrite.lock().unwrap_or_else(PoisonError::into_inner);
        if rewrite.is_empty() {
            return points;
        }
        let (n, before) = (points.len(), bytes(&points));
        rewrite.apply(&mut points, &self.external());
        let n_gone = n - points.len();
        self.tally.dropped("relabelling", n_gone);
        self.queue.changed(n_gone, before, bytes(&points));
        points
    }

    /// Labels of the sender itself, now.
    fn external(&self) -> Labels {
        self.external.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The points of a shard, a request each.
    fn requests<'a>(&self, points: &'a [Point]) -> impl Iterator<Item = &'a [Point]> {
        let Policy { samples_max, bytes_max, .. } = self.policy;
        let mut rest = points;
        std::iter::from_fn(move || {
            let (first, others) = rest.split_at(fitting(rest, samples_max, bytes_max));
            rest = others;
            (!first.is_empty()).then_some(first)
        })
    }

    fn version(&self) -> Version {
        if self.is_old.load(Ordering::Relaxed) { Version::V1 } else { Version::V2 }
    }

    /// Sends points, in halves where the receiver finds them too many at once.
    async fn deliver(&self, points: &[Point]) {
        let mut parts = vec![points];
        while let Some(part) = parts.pop() {
            match self.offer(part).await {
                Ok(()) => {}
                Err(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                    self.tally.retried();
                }
                Err(TooLarge(message)) => self.refused("too_large", part.len(), &message),
            }
        }
    }

    /// Repeats the request until it is taken, refused, or nobody waits for it any more. Nothing is said of points that
    /// are too large: they may be taken one by one.
    async fn offer(&self, points: &[Point]) -> Result<(), TooLarge> {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let mut backoff = Backoff::new(self.policy.backoff_min, self.policy.backoff_max, seed);
        let mut version = self.version();
        // Rules have seen them, and may have taken one away.
        let external =
            if self.policy.relabel.is_empty() { self.external() } else { Labels::default() };
        let mut body = encode::body(version, points, &external);
        let (mut tries, begun) = (0_u32, Instant::now());
        loop {
            match self.request(version, &body, tries).await {
                Answer::Taken { unseen } => {
                    if tries > 0 {
                        let seconds = begun.elapsed().as_secs_f64();
                        info!(url = self.client.shown_url(), seconds, "receiver reached again");
                    }
                    self.taken(points, unseen);
                    return Ok(());
                }
                Answer::OtherVersion { message } if version == Version::V2 => {
                    if !self.is_old.swap(true, Ordering::Relaxed) {
                        let url = self.client.shown_url();
                        info!(
                            url,
                            detail = message,
                            "the receiver does not read remote write 2.0, sending 1.0"
                        );
                    }
                    version = Version::V1;
                    body = encode::body(version, points, &external);
                }
                Answer::TooLarge { message } => return Err(TooLarge(message)),
                Answer::OtherVersion { message } => {
                    self.refused("refused", points.len(), &message);
                    return Ok(());
                }
                Answer::Busy { message, .. } => {
                    self.refused("too_many_requests", points.len(), &message);
                    return Ok(());
                }
                Answer::Refused { reason, message, written } => {
                    let written = written.min(points.len());
                    self.tally.sent(written);
                    self.refused(reason, points.len() - written, &message);
                    return Ok(());
                }
                Answer::Retry { after, message } => {
                    if tries == 0 {
                        let url = self.client.shown_url();
                        warn!(url, detail = message, "cannot reach the receiver, samples wait");
                    }
                    tries = tries.saturating_add(1);
                    self.tally.retried();
                    tokio::time::sleep(backoff.pause(tries, after)).await;
                }
            }
        }
    }

    /// One try; 429 is worth another if the policy says so.
    async fn request(&self, version: Version, body: &Bytes, tries: u32) -> Answer {
        let request = self.client.send(version, body.clone(), tries, self.clock.now());
        let answer = tokio::time::timeout(self.policy.timeout, request).await;
        match answer.unwrap_or_else(|_| Answer::timeout(self.policy.timeout)) {
            Answer::Busy { after, message } if self.policy.retry_on_429 => {
                Answer::Retry { after, message }
            }
            other => other,
        }
    }

    fn taken(&self, points: &[Point], unseen: bool) {
        if unseen {
            let message = "the answer names no written samples: the receiver read 2.0 as 1.0 and stored nothing";
            return self.refused("not_written", points.len(), message);
        }
        self.tally.sent(points.len());
    }

    fn refused(&self, reason: &'static str, n_points: usize, message: &str) {
        self.tally.dropped(reason, n_points);
        // Counts vary from answer to answer; the words around them are the reason.
        let words: String = message.chars().filter(|c| !c.is_ascii_digit()).take(256).collect();
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = complaints.len() < COMPLAINTS_MAX && complaints.insert(words);
        drop(complaints);
        if is_new {
            let url = self.client.shown_url();
            warn!(url, reason, detail = message, "the receiver does not take everything");
        }
    }
}

#[cfg(test)]
mod tests;
