//! The loop of one target: wait, ask, take in, report; and at its end the ends of its series.

use std::sync::{Arc, Mutex, PoisonError};

use model::time::{Clock, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::Job;
use super::cycle::{Memory, Refusal, Round};
use super::fetch::{self, Body, Failure};
use super::report::{Extra, Report, ReportSeries};
use super::state::{Counters, Pool, ScrapeHandle, TargetState};
use super::target::Target;
use super::tick::Grid;
use crate::http_client::HttpClient;
use crate::remote_write::{Meta, Queue};

/// What all loops of a pool share.
pub(crate) struct Shared {
    pub pool: Arc<Pool>,
    pub client: HttpClient,
    pub queue: Arc<Queue>,
    pub clock: Arc<dyn Clock>,
    pub counters: Arc<Counters>,
    /// Spreads several agents that scrape the same targets.
    pub seed: u64,
    /// Why no target may be scraped, if so: there are more than `target_limit`.
    pub refusal: Mutex<Option<String>>,
    /// All that is scraped: a target may have its successor in another pool.
    pub handle: ScrapeHandle,
    /// The end of the job, or of everything.
    pub ended: CancellationToken,
    /// The end of everything; no markers are written then, as we may be back soon.
    pub stop: CancellationToken,
}

/// One target.
pub(crate) struct Watch {
    pub shared: Arc<Shared>,
    pub state: Arc<TargetState>,
    /// The target is gone.
    pub gone: CancellationToken,
}

/// What one scrape brought.
struct Scraped {
    result: Result<Round, Refusal>,
    metas: Option<Vec<Arc<Meta>>>,
    body_bytes: Option<usize>,
}

impl Watch {
    /// Scrapes until the target is gone or everything stops.
    pub(crate) async fn run(self) {
        let (target, clock) = (Arc::clone(&self.state.target), Arc::clone(&self.shared.clock));
        let grid = Grid::new(target.interval, target.hash() ^ self.shared.seed);
        let series = ReportSeries::new(&target.labels);
        let mut memory = Memory::default();
        let mut planned = grid.after(clock.now());
        let mut last = None;
        while self.wait(planned).await {
            let at = grid.aligned(planned, clock.now());
            let (back, told) = tokio::select! {
                biased; // What is gone or stops is not waited for.
                () = self.shared.stop.cancelled() => return,
                done = self.scrape(memory, &series, at) => done,
            };
            memory = back;
            last = told.then_some(at).or(last);
            planned = grid.next(planned, clock.now());
        }
        if let Some(last) = last
            && !self.shared.stop.is_cancelled()
        {
            let interval_ns = i64::try_from(target.interval.as_nanos()).unwrap_or(i64::MAX);
            let at = Timestamp(last.0.saturating_add(interval_ns));
            self.end(memory, &series, at).await;
        }
    }

    /// Waits until `at`; whether to scrape then.
    async fn wait(&self, at: Timestamp) -> bool {
        let ns = at.0.saturating_sub(self.shared.clock.now().0);
        let pause = std::time::Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => false,
            () = self.gone.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// One scrape. Whether anything was told of the target.
    async fn scrape(&self, memory: Memory, series: &ReportSeries, at: Timestamp) -> (Memory, bool) {
        let job = &self.shared.pool.job;
        let target = &self.state.target;
        let begun = Instant::now();
        let fetched = match self.refusal() {
            Some(reason) => Err(Failure::from(reason)),
            None => {
                let fetch = fetch::fetch(&self.shared.client, job, target);
                tokio::time::timeout(target.timeout, fetch).await.unwrap_or_else(|_| {
                    let seconds = target.timeout.as_secs_f64();
                    Err(Failure::from(format!(
                        "no complete answer within the scrape timeout of {seconds} s"
                    )))
                })
            }
        };
        let (job, target) = (Arc::clone(job), Arc::clone(target));
        let at_ms = at.ms();
        // A large body takes longer to read than an async task may.
        let reading =
            tokio::task::spawn_blocking(move || take(memory, &job, &target, fetched, at_ms)).await;
        let Ok((mut memory, scraped)) = reading else {
            // The reader panicked and what it remembered is gone: begin anew.
            self.counters().add("headrope_scrape_panics_total", 1);
            return (Memory::default(), false);
        };
        let duration_s = begun.elapsed().as_secs_f64();
        self.tell(&mut memory, scraped, (series, at, duration_s));
        (memory, true)
    }

    fn tell(
        &self,
        memory: &mut Memory,
        scraped: Scraped,
        (series, at, duration_s): (&ReportSeries, Timestamp, f64),
    ) {
        let Scraped { result, metas, body_bytes } = scraped;
        let counters = self.counters();
        let mut report = Report {
            up: result.is_ok(),
            duration_s,
            extra: self.extra(body_bytes),
            ..Report::default()
        };
        let (mut points, error) = match result {
            Ok(round) => {
                (report.scraped, report.kept, report.added) =
                    (round.scraped, round.kept, round.added);
                counters.add("headrope_scrape_scrapes_total", 1);
                counters.add("headrope_scrape_samples_total", round.kept);
                counters.add("headrope_scrape_duplicate_samples_total", round.duplicates);
                (round.points, String::new())
            }
            Err(refusal) => {
                (report.scraped, report.kept, report.added) =
                    (refusal.scraped, refusal.kept, refusal.added);
                counters.add("headrope_scrape_failures_total", 1);
                (memory.end_all(at.ms()), refusal.reason)
            }
        };
        points.extend(series.points(&report, at.ms()));
        self.shared.queue.push(points);
        self.state.scraped(at, duration_s, &error, metas);
    }

    /// Writes the ends of all series once it is sure that the target is not back: after two intervals and a tenth.
    async fn end(&self, mut memory: Memory, series: &ReportSeries, at: Timestamp) {
        let patience = self.state.target.interval.mul_f64(2.1);
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => return,
            () = tokio::time::sleep(patience) => {}
        }
        if self.shared.handle.has(&self.state.target.labels) {
            return; // Its successor goes on with the same series.
        }
        let mut points = memory.end_all(at.ms());
        points.extend(series.ends(self.extra(None).is_some(), at.ms()));
        self.shared.queue.push(points);
    }

    fn extra(&self, body_bytes: Option<usize>) -> Option<Extra> {
        let job = &self.shared.pool.job;
        job.extra_scrape_metrics.unwrap_or(false).then(|| Extra {
            timeout_s: self.state.target.timeout.as_secs_f64(),
            sample_limit: job.sample_limit.unwrap_or(0),
            body_bytes,
        })
    }

    fn refusal(&self) -> Option<String> {
        self.shared.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

fn take(
    mut memory: Memory,
    job: &Job,
    target: &Target,
    fetched: Result<Body, Failure>,
    at_ms: i64,
) -> (Memory, Scraped) {
    let scraped = match fetched {
        Ok(Body { bytes, format }) => {
            let result = memory.take(job, &target.labels, (&bytes, format), at_ms);
            let metas = result.is_ok().then(|| memory.metas().cloned().collect());
            Scraped { result, metas, body_bytes: Some(bytes.len()) }
        }
        Err(Failure { reason, too_large }) => {
            let body_bytes = if too_large { None } else { Some(0) };
            Scraped { result: Err(reason.into()), metas: None, body_bytes }
        }
    };
    (memory, scraped)
}
