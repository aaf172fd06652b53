//! Sends samples in Prometheus' own identity by remote write: 2.0, or 1.0 where the receiver knows no other.
//!
//! `scrape` fills the [`Queue`]; one [`Sender`] empties it, oldest first, so that each series arrives in order. While a
//! request is under way what comes in waits, and goes together into the next: no delay when idle, large requests under
//! load. What was not delivered is counted by reason. Source: remote write specifications 1.0 and 2.0.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::metric::Labels;
use model::time::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::export::Backoff;

mod client;
mod encode;
mod message;
mod point;
mod queue;
mod tally;

pub(crate) use point::{Count, Exemplar, Histogram, Kind, Meta, Point, Side, Value};
pub(crate) use queue::Queue;
pub(crate) use tally::Tally;

pub(crate) use client::Client;
use client::{Answer, Version};

/// How requests are made up and repeated.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Samples and histograms in one request, at most.
    pub samples_max: usize,
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
    /// How long a stop may wait for what is queued.
    pub flush_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            samples_max: 2_000,
            timeout: Duration::from_secs(30),
            backoff_min: Duration::from_millis(30),
            backoff_max: Duration::from_secs(5),
            retry_on_429: true,
            age_max: Duration::ZERO,
            version: Version::V2,
            flush_timeout: Duration::from_secs(5),
        }
    }
}

/// Different complaints that are logged; texts of a receiver may differ without end.
const COMPLAINTS_MAX: usize = 64;

/// Empties one queue into one receiver.
pub(crate) struct Sender {
    client: Client,
    policy: Policy,
    /// Added to every series that has no label of the name.
    external: Labels,
    version: Version,
    backoff: Backoff,
    queue: Arc<Queue>,
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
    complaints: BTreeSet<String>,
}

impl Sender {
    /// Connects with the first request.
    pub(crate) fn new(
        client: Client,
        policy: Policy,
        external: Labels,
        queue: Arc<Queue>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let seed = clock.now().0.cast_unsigned();
        Self {
            version: policy.version,
            backoff: Backoff::new(policy.backoff_min, policy.backoff_max, seed),
            tally: queue.tally(),
            client,
            policy,
            external,
            queue,
            clock,
            complaints: BTreeSet::new(),
        }
    }

    /// Sends until the queue is closed and empty, or until `flush_timeout` after `stop`; what is left then is counted
    /// as dropped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let flush_timeout = self.policy.flush_timeout;
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(flush_timeout).await;
        };
        let queue = Arc::clone(&self.queue);
        tokio::select! {
            biased; // A flush that ends at the deadline is complete all the same.
            () = self.drain() => {}
            () = deadline => {}
        }
        let left = queue.abandon();
        if left > 0 {
            warn!(samples = left, "stopped before all samples were sent");
        }
    }

    async fn drain(&mut self) {
        while let Some(points) = self.queue.take(self.policy.samples_max).await {
            let points = self.young(points);
            if !points.is_empty() {
                self.deliver(&points).await;
            }
            self.queue.done();
        }
    }

    /// Without what is too old to be of use.
    fn young(&self, mut points: Vec<Point>) -> Vec<Point> {
        if self.policy.age_max.is_zero() {
            return points;
        }
        let age_ms = i64::try_from(self.policy.age_max.as_millis()).unwrap_or(i64::MAX);
        let oldest = self.clock.now().ms().saturating_sub(age_ms);
        let before = points.len();
        points.retain(|point| point.at_ms >= oldest);
        self.tally.dropped("too_old", before - points.len());
        points
    }

    /// Repeats the request until it is taken, refused, or nobody waits for it any more.
    async fn deliver(&mut self, points: &[Point]) {
        let mut body = encode::body(self.version, points, &self.external);
        let mut tries = 0_u32;
        let begun = Instant::now();
        loop {
            let request = self.client.send(self.version, body.clone(), tries, self.clock.now());
            let answer = tokio::time::timeout(self.policy.timeout, request).await;
            let answer = answer.unwrap_or_else(|_| Answer::timeout(self.policy.timeout));
            let answer = match answer {
                Answer::Busy { after, message } if self.policy.retry_on_429 => {
                    Answer::Retry { after, message }
                }
                Answer::Busy { message, .. } => {
                    Answer::Refused { reason: "too_many_requests", message }
                }
                other => other,
            };
            match answer {
                Answer::Taken { unseen } => {
                    if tries > 0 {
                        let seconds = begun.elapsed().as_secs_f64();
                        info!(url = self.client.url(), seconds, "receiver reached again");
                    }
                    return self.taken(points, unseen);
                }
                Answer::OtherVersion { message } if self.version == Version::V2 => {
                    info!(
                        url = self.client.url(),
                        detail = message,
                        "the receiver does not read remote write 2.0, sending 1.0"
                    );
                    self.version = Version::V1;
                    body = encode::body(self.version, points, &self.external);
                }
                Answer::OtherVersion { message } | Answer::Busy { message, .. } => {
                    return self.refused("refused", points, &message);
                }
                Answer::Refused { reason, message } => {
                    return self.refused(reason, points, &message);
                }
                Answer::Retry { after, message } => {
                    if tries == 0 {
                        warn!(
                            url = self.client.url(),
                            detail = message,
                            "cannot reach the receiver, samples wait"
                        );
                    }
                    tries = tries.saturating_add(1);
                    self.tally.retried();
                    tokio::time::sleep(self.backoff.pause(tries, after)).await;
                }
            }
        }
    }

    fn taken(&mut self, points: &[Point], unseen: bool) {
        if unseen {
            let message = "the answer names no written samples: the receiver read 2.0 as 1.0 and stored nothing";
            return self.refused("not_written", points, message);
        }
        self.tally.sent(points.len());
    }

    fn refused(&mut self, reason: &'static str, points: &[Point], message: &str) {
        self.tally.dropped(reason, points.len());
        // Counts vary from answer to answer; the words around them are the reason.
        let words: String = message.chars().filter(|c| !c.is_ascii_digit()).take(256).collect();
        if self.complaints.len() < COMPLAINTS_MAX && self.complaints.insert(words) {
            warn!(
                url = self.client.url(),
                reason,
                detail = message,
                "the receiver does not take everything"
            );
        }
    }
}

#[cfg(test)]
mod tests;
