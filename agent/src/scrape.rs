//! Scrapes: asks targets for their metrics as Prometheus does, and sends what they say by remote write.
//!
//! Files in Prometheus' format say what to scrape. Each job is a pool, each target a loop; samples keep the identity
//! Prometheus gives them, stale markers included. Source: Prometheus' documentation, version 3.14.

use std::sync::{Arc, PoisonError};

use model::time::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Error;
use crate::http_client::{HttpClient, HttpOptions, redacted};
use crate::remote_write::{Client, External, Policy, Queue, Sender};

pub(crate) mod config;
mod cycle;
mod discovery;
mod exposition;
mod fetch;
mod pool;
mod reduce;
pub(crate) mod relabel;
mod report;
mod state;
mod target;
mod tick;
mod watch;

pub use config::{ScrapeConfig, WriteRelabel};
pub use state::{
    ActiveTarget, DroppedTarget, Health, RelabelStep, ScrapeCounter, ScrapeHandle, TargetMetadata,
};

use config::Plan;
use state::Pool;
use watch::Shared;

/// Everything that is to be scraped, read and checked.
pub struct Scrape {
    config: ScrapeConfig,
    plan: ScrapePlan,
    handle: ScrapeHandle,
    queue: Arc<Queue>,
    reloader: ScrapeReloader,
    plans: mpsc::Receiver<ScrapePlan>,
}

/// What the files say, checked.
pub struct ScrapePlan(Plan);

/// Plans on their way to the one that scrapes; who reloads waits when there are more.
const PLANS_MAX: usize = 1;

/// Reads the files anew while they are worked by.
#[derive(Clone)]
pub struct ScrapeReloader {
    config: ScrapeConfig,
    plans: mpsc::Sender<ScrapePlan>,
}

impl ScrapeReloader {
    /// Reads the files that were named at the start. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Scrape::load`]; what is scraped stays as it is.
    pub fn read(&self) -> Result<ScrapePlan, Error> {
        config::load(&self.config).map(ScrapePlan)
    }

    /// From now on `plan` is followed: jobs that did not change go on undisturbed. Nothing happens where nothing scrapes.
    pub async fn follow(&self, plan: ScrapePlan) {
        drop(self.plans.send(plan).await); // Err: nothing scrapes any more.
    }
}

impl Scrape {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// The first thing in them that cannot work, with file, line and column.
    pub fn load(config: &ScrapeConfig) -> Result<Self, Error> {
        config.check()?;
        let plan = ScrapePlan(config::load(config)?);
        let mut handle = ScrapeHandle::default();
        let queue =
            Arc::new(Queue::new(config.queue_bytes_max, Arc::clone(&handle.counters.write)));
        handle.queue = Some(Arc::clone(&queue));
        handle.set_pools(plan.0.jobs.iter().cloned().map(Arc::new).map(Pool::new).collect());
        let (sender, plans) = mpsc::channel(PLANS_MAX);
        let reloader = ScrapeReloader { config: config.clone(), plans: sender };
        Ok(Self { config: config.clone(), plan, handle, queue, reloader, plans })
    }

    /// A view of what is scraped, for whoever shows it.
    #[must_use]
    pub fn handle(&self) -> ScrapeHandle {
        self.handle.clone()
    }

    /// For whoever lets the files be read anew.
    #[must_use]
    pub fn reloader(&self) -> ScrapeReloader {
        self.reloader.clone()
    }

    /// Sends samples to `url` instead of the configured one.
    pub fn write_to(&mut self, url: String) {
        self.config.write_url = url;
    }

    /// Scrapes until `stop`, then sends what is queued, for at most 5 s.
    ///
    /// Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// A client that cannot be set up. Targets and collectors that cannot be reached are no errors.
    pub async fn run(
        mut self,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        if self.config.config_files.is_empty() {
            return Ok(());
        }
        let external = External::default();
        let sender = self.sender(&clock, &external)?;
        let mut running = Running {
            handle: self.handle.clone(),
            queue: Arc::clone(&self.queue),
            clock,
            seed: seed(&self.plan.0),
            stop: stop.clone(),
            external,
            jobs: Vec::new(),
            pools: JoinSet::new(),
        };
        let plan = std::mem::replace(&mut self.plan, ScrapePlan(Plan::default()));
        running.follow(plan.0).map_err(|reason| self.failed(reason))?;
        info!(
            jobs = running.jobs.len(),
            write_url = &*redacted(&self.config.write_url),
            "scraping started"
        );
        let scraping = async {
            running.work(&mut self.plans).await;
            self.queue.close();
        };
        tokio::join!(scraping, sender.run(stop.clone()));
        info!("scraping stopped");
        Ok(())
    }

    fn sender(&self, clock: &Arc<dyn Clock>, external: &External) -> Result<Sender, Error> {
        let options = HttpOptions {
            bearer_token_file: self.config.write_token_file.clone(),
            follow_redirects: Some(false),
            ..HttpOptions::default()
        };
        let http = HttpClient::new(&options, "".as_ref()).map_err(|reason| self.failed(reason))?;
        let client = Client::new(http, self.config.write_url.clone());
        Ok(Sender::new(
            client,
            Policy { relabel: self.config.write_relabel_configs.0.clone(), ..Policy::default() },
            Arc::clone(external),
            Arc::clone(&self.queue),
            Arc::clone(clock),
        ))
    }

    fn failed(&self, reason: String) -> Error {
        Error::Export { endpoint: redacted(&self.config.write_url).into_owned(), reason }
    }
}

/// The pools at work.
struct Running {
    handle: ScrapeHandle,
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    seed: u64,
    stop: CancellationToken,
    external: External,
    /// The pool of each job, and what ends it.
    jobs: Vec<(Arc<Pool>, CancellationToken)>,
    pools: JoinSet<()>,
}

impl Running {
    /// Follows one plan after the other until everything stops.
    async fn work(&mut self, plans: &mut mpsc::Receiver<ScrapePlan>) {
        loop {
            tokio::select! {
                biased; // Stop wins.
                () = self.stop.cancelled() => break,
                Some(plan) = plans.recv() => match self.follow(plan.0) {
                    Ok(()) => info!(jobs = self.jobs.len(), "scraping goes on by new files"),
                    // Its files were just checked: a certificate went away meanwhile, say.
                    Err(reason) => warn!(reason, "a job of the new files cannot be scraped"),
                },
                Some(_) = self.pools.join_next() => {} // Of a job that is gone.
            }
        }
        while self.pools.join_next().await.is_some() {}
    }

    /// Begins jobs that are new or changed, ends those that are gone or changed, and lets the others be.
    fn follow(&mut self, plan: Plan) -> Result<(), String> {
        *self.external.write().unwrap_or_else(PoisonError::into_inner) = plan.external;
        let mut before = std::mem::take(&mut self.jobs);
        let mut outcome = Ok(());
        let mut fresh = Vec::new();
        for job in plan.jobs {
            if let Some(at) = before.iter().position(|(pool, _)| *pool.job == job) {
                self.jobs.push(before.swap_remove(at));
                continue;
            }
            match HttpClient::new(&job.http(), &job.folder) {
                Ok(client) => {
                    let (pool, ended) = (Pool::new(Arc::new(job)), self.stop.child_token());
                    self.jobs.push((Arc::clone(&pool), ended.clone()));
                    fresh.push((pool, ended, client));
                }
                Err(reason) => outcome = Err(format!("job {:?}: {reason}", job.job_name)),
            }
        }
        // Before any of them begins or ends: whoever ends looks whether it has a successor.
        self.handle.set_pools(self.jobs.iter().map(|(pool, _)| Arc::clone(pool)).collect());
        for (pool, ended, client) in fresh {
            let shared = self.shared(pool, ended, client);
            self.pools.spawn(pool::run(Arc::new(shared)));
        }
        before.iter().for_each(|(_, ended)| ended.cancel());
        outcome
    }

    fn shared(&self, pool: Arc<Pool>, ended: CancellationToken, client: HttpClient) -> Shared {
        Shared {
            pool,
            client,
            queue: Arc::clone(&self.queue),
            clock: Arc::clone(&self.clock),
            counters: Arc::clone(&self.handle.counters),
            seed: self.seed,
            refusal: std::sync::Mutex::default(),
            handle: self.handle.clone(),
            ended,
            stop: self.stop.clone(),
        }
    }
}

/// Differs between agents: FNV-1a over the host's name and the external labels.
fn seed(plan: &Plan) -> u64 {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let texts = plan.external.iter().flat_map(|(name, value)| [name, value]).chain([host.trim()]);
    let bytes = texts.flat_map(|text| text.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
