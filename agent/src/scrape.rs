//! Scrapes: asks targets for their metrics as Prometheus does, and sends what they say by remote write.
//!
//! Files in Prometheus' format say what to scrape. Each job is a pool, each target a loop; samples keep the identity
//! Prometheus gives them, stale markers included. Source: Prometheus' documentation, version 3.14.

use std::sync::Arc;

use model::time::Clock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::Error;
use crate::http_client::{HttpClient, HttpOptions, redacted};
use crate::remote_write::{Client, Policy, Queue, Sender};

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

pub use config::ScrapeConfig;
pub use state::{
    ActiveTarget, DroppedTarget, Health, RelabelStep, ScrapeCounter, ScrapeHandle, TargetMetadata,
};

use config::{Job, Plan};
use watch::Shared;

/// Everything that is to be scraped, read and checked.
pub struct Scrape {
    config: ScrapeConfig,
    plan: Plan,
    jobs: Vec<Arc<Job>>,
    handle: ScrapeHandle,
    queue: Arc<Queue>,
}

impl Scrape {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// The first thing in them that cannot work, with file, line and column.
    pub fn load(config: &ScrapeConfig) -> Result<Self, Error> {
        config.check()?;
        let mut plan = config::load(config)?;
        let jobs: Vec<Arc<Job>> =
            std::mem::take(&mut plan.jobs).into_iter().map(Arc::new).collect();
        let mut handle = ScrapeHandle::new(&jobs);
        let queue =
            Arc::new(Queue::new(config.queue_bytes_max, Arc::clone(&handle.counters.write)));
        handle.queue = Some(Arc::clone(&queue));
        Ok(Self { config: config.clone(), plan, jobs, handle, queue })
    }

    /// Whether there is nothing to scrape.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// A view of what is scraped, for whoever shows it.
    #[must_use]
    pub fn handle(&self) -> ScrapeHandle {
        self.handle.clone()
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
    pub async fn run(self, clock: Arc<dyn Clock>, stop: CancellationToken) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let sender = self.sender(&clock)?;
        let seed = seed(&self.plan);
        let mut pools = JoinSet::new();
        for (job, pool) in self.jobs.iter().zip(self.handle.pools()) {
            let shared = Shared {
                pool: Arc::clone(pool),
                client: HttpClient::new(&job.http(), &job.folder)
                    .map_err(|reason| self.failed(reason))?,
                queue: Arc::clone(&self.queue),
                clock: Arc::clone(&clock),
                counters: Arc::clone(&self.handle.counters),
                seed,
                refusal: std::sync::Mutex::default(),
                stop: stop.clone(),
            };
            pools.spawn(pool::run(Arc::new(shared)));
        }
        info!(
            jobs = self.jobs.len(),
            write_url = &*redacted(&self.config.write_url),
            "scraping started"
        );
        let scraping = async {
            while pools.join_next().await.is_some() {}
            self.queue.close();
        };
        tokio::join!(scraping, sender.run(stop.clone()));
        info!("scraping stopped");
        Ok(())
    }

    fn sender(&self, clock: &Arc<dyn Clock>) -> Result<Sender, Error> {
        let options = HttpOptions {
            bearer_token_file: self.config.write_token_file.clone(),
            follow_redirects: Some(false),
            ..HttpOptions::default()
        };
        let http = HttpClient::new(&options, "".as_ref()).map_err(|reason| self.failed(reason))?;
        let client = Client::new(http, self.config.write_url.clone());
        let external = self.plan.external.clone();
        Ok(Sender::new(
            client,
            Policy::default(),
            external,
            Arc::clone(&self.queue),
            Arc::clone(clock),
        ))
    }

    fn failed(&self, reason: String) -> Error {
        Error::Export { endpoint: redacted(&self.config.write_url).into_owned(), reason }
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
