//! The tick: which sources are due, and the round they fill.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::time::{Clock, NS_PER_S, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::encode::Encoder;
use crate::kernel::{Buffer, KernelFile, Roots, text};
use crate::ledger::Ledger;
use crate::queue::Queue;
use crate::round::Round;
use crate::source::{self, Context, Pace, Source};
use crate::{Config, Error};

/// Owns all sources and reads those that are due. Moves to a blocking thread and back for every round.
pub(crate) struct Sampler {
    sources: Vec<Box<dyn Source>>,
    context: Context,
    intervals: Intervals,
    boot: Timestamp,
    last: Option<Timestamp>,
}

struct Intervals {
    base: Duration,
    process: Duration,
    storage: Duration,
}

impl Sampler {
    pub(crate) fn new(config: &Config, roots: &Roots, now: Timestamp, ledger: Arc<Ledger>) -> Self {
        let mut buffer = Buffer::new();
        let boot = boot(roots, &mut buffer).unwrap_or(now);
        Self {
            sources: source::all(config, roots, now, &ledger),
            context: Context { buffer, ledger },
            intervals: Intervals {
                base: config.interval,
                process: config.process_interval,
                storage: config.filesystem_interval,
            },
            boot,
            last: None,
        }
    }

    /// Reads every source that is due at `tick`; the first round reads all of them.
    pub(crate) fn round(&mut self, tick: Timestamp) -> Round {
        let mut round = Round::new(tick, self.boot.min(tick));
        for source in &mut self.sources {
            let interval = match source.pace() {
                Pace::Base => self.intervals.base,
                Pace::Process => self.intervals.process,
                Pace::Storage => self.intervals.storage,
            };
            if self.last.is_none_or(|last| due(last, tick, interval)) {
                let outcome = source.sample(&mut self.context, &mut round);
                note(&self.context.ledger, source.name(), outcome);
            }
        }
        self.last = Some(tick);
        round
    }
}

impl Sampler {
    /// Reads every source, due or not.
    pub(crate) fn everything(&mut self, now: Timestamp) -> Round {
        self.last = None;
        self.round(now)
    }
}

fn due(last: Timestamp, tick: Timestamp, interval: Duration) -> bool {
    let interval = nanoseconds(interval);
    last.0.div_euclid(interval) != tick.0.div_euclid(interval)
}

fn nanoseconds(interval: Duration) -> i64 {
    i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1)
}

/// Logs a source's trouble when it begins and when it ends, and keeps it as a state in between.
fn note(ledger: &Ledger, source: &'static str, outcome: io::Result<()>) {
    let trouble = outcome.as_ref().err().map(|error| match error.kind() {
        io::ErrorKind::NotFound => "absent",
        io::ErrorKind::PermissionDenied => "denied",
        io::ErrorKind::InvalidData => "malformed",
        io::ErrorKind::FileTooLarge => "too_large",
        _ => "failed",
    });
    if !ledger.source(source, trouble) {
        return;
    }
    match (outcome, trouble) {
        (Ok(()), _) => info!(source, "source yields data again"),
        // A kernel without pressure accounting, a host without swap: nothing anybody should act on.
        (Err(_), Some("absent")) => info!(source, "source does not exist on this host"),
        (Err(error), reason) => warn!(source, reason, %error, "source yields no data"),
    }
}

/// When the kernel started, from `stat`.
fn boot(roots: &Roots, buffer: &mut Buffer) -> Option<Timestamp> {
    let mut file = KernelFile::new(roots.proc("stat"));
    let content = file.read(buffer).ok()?;
    let line = text::lines(content).find_map(|line| line.strip_prefix(b"btime "))?;
    i64::try_from(text::number(line)?).ok().map(Timestamp::from_s)
}

/// Takes a round at every multiple of the interval and queues it, until `stop`.
pub(crate) async fn run(
    mut sampler: Sampler,
    encoder: Encoder,
    queue: &Queue,
    clock: &dyn Clock,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let interval = nanoseconds(sampler.intervals.base);
    let mut encoder = encoder;
    let mut last = None;
    loop {
        let now = clock.now();
        let tick = next_tick(now, last, interval);
        let wait = u64::try_from(tick.0.saturating_sub(now.0)).unwrap_or(0);
        tokio::select! {
            biased; // A stop during a busy second still wins.
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_nanos(wait)) => {}
        }
        if let Some(missed) = last.map(|last| missed(last, tick, interval)).filter(|n| *n > 0) {
            sampler.context.ledger.missed(missed);
        }
        last = Some(tick);
        let taken = tokio::task::spawn_blocking(move || {
            let batch = encoder.encode(&sampler.round(tick));
            (sampler, encoder, batch)
        });
        let batch;
        (sampler, encoder, batch) =
            taken.await.map_err(|error| Error::Sampling(error.to_string()))?;
        queue.push(batch);
    }
}

/// The first multiple of `interval` after `now` and, unless the clock was set back, after `last`.
fn next_tick(now: Timestamp, last: Option<Timestamp>, interval: i64) -> Timestamp {
    let next = now.0.div_euclid(interval).saturating_add(1).saturating_mul(interval);
    match last {
        // A timer that fires a hair early must not give the same tick twice.
        Some(last) if next <= last.0 && last.0 - next <= NS_PER_S.max(interval) => {
            Timestamp(last.0.saturating_add(interval))
        }
        _ => Timestamp(next),
    }
}

fn missed(last: Timestamp, tick: Timestamp, interval: i64) -> u64 {
    let ticks = tick.0.saturating_sub(last.0) / interval;
    u64::try_from(ticks - 1).unwrap_or(0)
}

#[cfg(test)]
mod tests;
