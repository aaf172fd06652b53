//! Watches one host and speaks OTLP; scrapes targets and speaks remote write.
//!
//! Once a tick the `sample` loop reads the kernel's files into a round of points; the round is encoded, queued and
//! exported. `headrope-agent` runs it as a process of its own, `server` inside itself.

use std::sync::Arc;

use model::time::Clock;
use tokio_util::sync::CancellationToken;
use tracing::info;

mod config;
mod encode;
mod error;
mod export;
mod http_client;
mod inventory;
mod kernel;
mod ledger;
mod queue;
mod remote_write;
mod round;
mod sample;
mod scrape;
mod source;
mod survey;

pub use config::{Compression, Config, Protocol, Secret};
pub use error::{Error, ErrorKind};
pub use scrape::{
    ActiveTarget, DroppedTarget, Health, RelabelStep, Scrape, ScrapeConfig, ScrapeCounter,
    ScrapeHandle, ScrapePlan, ScrapeReloader, TargetMetadata, WriteRelabel,
};
pub use survey::{Survey, survey};

use encode::Encoder;
use export::{Deliveries, Exporter};
use inventory::Inventory;
use kernel::Roots;
use ledger::Ledger;
use queue::Queue;
use sample::Sampler;

/// Reads text such as `1m30s` as [`Config`] does.
///
/// # Errors
/// A sentence that says how a duration is written.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    config::duration::parse(text)
}

/// Samples and exports until `stop`, then sends what is queued, for at most `config.flush_timeout`.
///
/// Needs a tokio runtime with time and I/O; sampling itself runs on its blocking pool.
///
/// # Errors
/// A configuration that cannot work, or a sampler that panicked. An unreachable collector is no error: batches wait.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(), Error> {
    config.check()?;
    let roots = Roots::new(&config);
    let inventory = Inventory::read(&roots, &config);
    let ledger = Arc::new(Ledger::new());
    let queue = Queue::new(config.queue_bytes_max, Arc::clone(&ledger));
    let deliveries = Deliveries::begin(inventory.host_id(), &inventory.boot_id, clock.now());
    let exporter = Exporter::new(&config, deliveries, Arc::clone(&ledger))?;
    let encoder = Encoder::new(&inventory.resource, config.compression);
    let sampler = Sampler::new(&config, &roots, clock.now(), Arc::clone(&ledger));
    info!(endpoint = config.endpoint, host = inventory.host_name(), "agent started");

    let done = CancellationToken::new();
    let sampling = async {
        let outcome = sample::run(sampler, encoder, &queue, clock.as_ref(), &stop).await;
        queue.close();
        done.cancel(); // A sampler that failed ends the export as `stop` does.
        outcome
    };
    let (outcome, ()) = tokio::join!(sampling, exporter.run(&queue, &done));
    info!("agent stopped");
    outcome
}
