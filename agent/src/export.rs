//! Sends queued batches to the collector: oldest first, one at a time, again and again until each is accepted, refused
//! or pushed out of the queue.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::ledger::Ledger;
use crate::queue::{Batch, Queue};
use crate::{Config, Error};

mod backoff;
mod delivery;
mod grpc;
mod http;
mod target;

pub(crate) use delivery::Deliveries;
pub(crate) use target::Target;

pub(crate) use backoff::Backoff;
pub(crate) use http::chain;

/// What became of one request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The collector has it. `rejected` samples were not admitted, for the reason in `message`.
    Accepted { rejected: u64, message: String },
    /// It may succeed later, not before `after` if given.
    Retry { after: Option<Duration>, reason: &'static str, message: String },
    /// It never will.
    Refused { reason: &'static str, message: String },
    /// The collector does not read Zstandard.
    Incompressible,
}

enum Wire {
    Grpc(grpc::Client),
    Http(http::Client),
}

/// Owns the connection to the collector.
pub(crate) struct Exporter {
    wire: Wire,
    endpoint: String,
    timeout: Duration,
    flush_timeout: Duration,
    backoff: Backoff,
    deliveries: Deliveries,
    plain: bool,
    /// Said once each: a collector that refuses one batch a second must not fill the log.
    complaints: BTreeSet<String>,
    ledger: Arc<Ledger>,
}

/// Different complaints that are logged; texts of a collector may differ without end.
const COMPLAINTS_MAX: usize = 64;

impl Exporter {
    /// Sets up the client; connects with the first batch.
    pub(crate) fn new(
        config: &Config,
        deliveries: Deliveries,
        ledger: Arc<Ledger>,
    ) -> Result<Self, Error> {
        // A second agent in the process, or a server around it, has installed one already: that is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let target = Target::new(config)?;
        let wire = match target.grpc {
            true => Wire::Grpc(grpc::Client::new(&target, config)?),
            false => Wire::Http(http::Client::new(&target, config)?),
        };
        Ok(Self {
            wire,
            endpoint: config.endpoint.clone(),
            timeout: config.timeout,
            flush_timeout: config.flush_timeout,
            backoff: Backoff::new(config.retry_min, config.retry_max, deliveries.seed()),
            deliveries,
            plain: false,
            complaints: BTreeSet::new(),
            ledger,
        })
    }

    /// Sends until the queue is closed and empty, or until `flush_timeout` after `stop`; what is left then is counted
    /// as dropped.
    pub(crate) async fn run(mut self, queue: &Queue, stop: &CancellationToken) {
        let flush_timeout = self.flush_timeout;
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(flush_timeout).await;
        };
        tokio::select! {
            biased; // A flush that ends at the deadline is complete all the same.
            () = self.drain(queue) => {}
            () = deadline => {}
        }
        let batches = queue.abandon();
        if batches > 0 {
            warn!(endpoint = self.endpoint, batches, "stopped before all batches were sent");
        }
    }

    async fn drain(&mut self, queue: &Queue) {
        while let Some(batch) = queue.next().await {
            self.deliver(&batch, queue).await;
            queue.done();
        }
    }

    async fn deliver(&mut self, batch: &Batch, queue: &Queue) {
        let mut tries = 0_u32;
        let name = self.deliveries.next();
        loop {
            let (after, reason, message) = match self.request(batch, &name).await {
                Answer::Accepted { rejected, message } => {
                    if tries > 0 {
                        info!(
                            endpoint = self.endpoint,
                            waiting = queue.len(),
                            "collector reached again"
                        );
                    }
                    return self.accepted(batch, rejected, message);
                }
                Answer::Refused { reason, message } => {
                    self.ledger.dropped(reason, batch.samples);
                    return self.complain(reason, &message);
                }
                Answer::Incompressible => {
                    info!(
                        endpoint = self.endpoint,
                        "the collector does not read zstd, sending plain"
                    );
                    self.plain = true;
                    continue;
                }
                Answer::Retry { after, reason, message } => (after, reason, message),
            };
            if tries == 0 {
                warn!(
                    endpoint = self.endpoint,
                    reason,
                    detail = message,
                    "cannot reach the collector, batches wait"
                );
            }
            tries = tries.saturating_add(1);
            self.ledger.retried();
            tokio::time::sleep(self.backoff.pause(tries, after)).await;
        }
    }

    async fn request(&mut self, batch: &Batch, name: &HeaderValue) -> Answer {
        let plain;
        let batch = match self.plain && batch.zstd {
            false => batch,
            true => match inflate(batch) {
                Ok(inflated) => {
                    plain = inflated;
                    &plain
                }
                Err(error) => {
                    return Answer::Refused { reason: "corrupt", message: error.to_string() };
                }
            },
        };
        let begun = Instant::now();
        let request = async {
            match &mut self.wire {
                Wire::Grpc(client) => client.send(batch, name).await,
                Wire::Http(client) => client.send(batch, name).await,
            }
        };
        let answer = tokio::time::timeout(self.timeout, request).await.unwrap_or_else(|_| {
            let message = format!("no answer within {:?}", self.timeout);
            Answer::Retry { after: None, reason: "timeout", message }
        });
        let error = match &answer {
            Answer::Accepted { .. } => None,
            Answer::Retry { reason, .. } | Answer::Refused { reason, .. } => Some(*reason),
            Answer::Incompressible => Some("unsupported_encoding"),
        };
        self.ledger.requested(begun.elapsed(), error);
        answer
    }

    fn accepted(&mut self, batch: &Batch, rejected: u64, message: String) {
        self.ledger.delivered(batch.body.len());
        if rejected > 0 {
            self.ledger.dropped("rejected", rejected.min(batch.samples));
        }
        if !message.is_empty() {
            self.complain("rejected", &message);
        }
    }

    fn complain(&mut self, reason: &'static str, message: &str) {
        // Counts and ids vary from answer to answer; the words around them are the reason.
        let words: String = message.chars().filter(|c| !c.is_ascii_digit()).take(256).collect();
        let key = format!("{reason}: {words}");
        if self.complaints.len() < COMPLAINTS_MAX && self.complaints.insert(key) {
            warn!(
                endpoint = self.endpoint,
                reason,
                detail = message,
                "the collector does not take everything"
            );
        }
    }
}

/// Largest request we ever make, uncompressed: OTLP's customary 4 MiB, and room.
const BODY_BYTES_MAX: usize = 64 << 20;

fn inflate(batch: &Batch) -> std::io::Result<Batch> {
    let body = zstd::bulk::decompress(&batch.body, BODY_BYTES_MAX)?;
    Ok(Batch { body: body.into(), zstd: false, samples: batch.samples })
}

#[cfg(test)]
mod tests;
