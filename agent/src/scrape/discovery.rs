//! Where targets come from. Each discovery tells the pool its whole list whenever it changes; while it fails, what it
//! told last stands.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::config::{Job, StaticGroup};
use super::relabel::LabelSet;
use super::state::Counters;
use super::watch::Shared;

mod consul;
mod dns;
mod file;
mod http;
mod kubernetes;

pub(crate) use consul::ConsulConfig;
pub(crate) use dns::DnsConfig;
pub(crate) use file::FileConfig;
pub(crate) use http::HttpConfig;
pub(crate) use kubernetes::{KubernetesConfig, check_access};

/// All that one discovery knows now.
pub(crate) struct Update {
    /// Which of the pool's discoveries.
    pub discovery: usize,
    /// Labels of what was found, `__address__` among them.
    pub targets: Vec<LabelSet>,
}

/// Targets of one discovery at most: what is beyond would be a mistake, and memory.
pub(super) const TARGETS_MAX: usize = 100_000;

/// How a discovery that asks again and again is run.
pub(super) struct Poll {
    job: Arc<Job>,
    number: usize,
    updates: mpsc::Sender<Update>,
    stop: CancellationToken,
    counters: Arc<Counters>,
}

/// Something that can be asked for all of its targets.
pub(super) trait Source: Send {
    /// Everything it knows now, in an order of its own that stays.
    fn ask(&mut self) -> impl Future<Output = Result<Vec<LabelSet>, String>> + Send;
}

/// Starts the discoveries of a pool; how many there are.
pub(crate) fn start(
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
    updates: &mpsc::Sender<Update>,
) -> usize {
    let job = &shared.pool.job;
    let mut n = 0;
    let mut poll = || {
        n += 1;
        Poll {
            job: Arc::clone(job),
            number: n - 1,
            updates: updates.clone(),
            stop: shared.ended.clone(),
            counters: Arc::clone(&shared.counters),
        }
    };
    let fixed = poll();
    tasks.spawn(async move {
        let targets = of_groups(&fixed.job.static_configs);
        fixed.tell(targets).await;
    });
    for config in &job.file_sd_configs {
        tasks.spawn(file::run(poll(), config.clone()));
    }
    for config in &job.http_sd_configs {
        tasks.spawn(http::run(poll(), config.clone()));
    }
    for config in &job.dns_sd_configs {
        tasks.spawn(dns::run(poll(), config.clone()));
    }
    for config in &job.kubernetes_sd_configs {
        tasks.spawn(kubernetes::run(poll(), config.clone()));
    }
    for config in &job.consul_sd_configs {
        tasks.spawn(consul::run(poll(), config.clone()));
    }
    n
}

/// The targets of groups, each with the labels of its group.
pub(super) fn of_groups(groups: &[StaticGroup]) -> Vec<LabelSet> {
    let target = |group: &StaticGroup, address: &String| {
        let mut labels: LabelSet = group.labels.clone().unwrap_or_default();
        labels.insert("__address__".to_owned(), address.clone());
        labels
    };
    groups
        .iter()
        .flat_map(|group| group.targets.iter().map(move |address| target(group, address)))
        .collect()
}

impl Poll {
    /// Where relative paths begin.
    pub(super) fn folder(&self) -> &std::path::Path {
        &self.job.folder
    }

    /// Whether the pool still listens.
    pub(super) async fn tell(&self, mut targets: Vec<LabelSet>) -> bool {
        if targets.len() > TARGETS_MAX {
            self.complain(&format!(
                "{} targets, the limit is {TARGETS_MAX}: those beyond are left out",
                targets.len()
            ));
            targets.truncate(TARGETS_MAX);
        }
        self.updates.send(Update { discovery: self.number, targets }).await.is_ok()
    }

    /// Waits for the next time; whether there is one.
    pub(super) async fn wait(&self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// Asks every `interval` and tells what is new, until everything stops. What failed is counted, and told once until
    /// it works again.
    pub(super) async fn every(&self, interval: Duration, mut source: impl Source) {
        let (mut last, mut failing) = (None, false);
        loop {
            let answer = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                answer = source.ask() => answer,
            };
            match answer {
                Ok(targets) if last.as_ref() == Some(&targets) => failing = false,
                Ok(targets) => {
                    (failing, last) = (false, Some(targets.clone()));
                    if !self.tell(targets).await {
                        return;
                    }
                }
                Err(reason) => {
                    self.counters.add("headrope_scrape_discovery_failures_total", 1);
                    if !failing {
                        self.complain(&reason);
                    }
                    failing = true;
                }
            }
            if !self.wait(interval).await {
                return;
            }
        }
    }

    pub(super) fn complain(&self, reason: &str) {
        warn!(
            job = self.job.job_name,
            reason, "discovery of targets failed, what was known stands"
        );
    }
}

#[cfg(test)]
mod tests;
