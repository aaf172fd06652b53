//! What is scraped and how it went: written by pools and loops, read by whoever serves `/api/v1/targets`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use model::metric::Labels;
use model::time::Timestamp;

use super::config::{DurationText, Job};
use super::relabel::LabelSet;
use super::target::{self, Target};
use crate::http_client::redacted;
use crate::remote_write::{Meta, Queue, Tally};

/// A view of everything that is scraped. Cheap to clone; empty when nothing is.
#[derive(Clone, Default)]
pub struct ScrapeHandle {
    pools: Arc<RwLock<Vec<Arc<Pool>>>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) queue: Option<Arc<Queue>>,
}

/// A job and what was found for it.
pub(crate) struct Pool {
    pub(crate) job: Arc<Job>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    active: Vec<Arc<TargetState>>,
    dropped: Vec<LabelSet>,
    n_dropped: usize,
}

/// A target that is being scraped.
pub(crate) struct TargetState {
    pub(crate) target: Arc<Target>,
    last: Mutex<Last>,
}

#[derive(Clone, Default)]
struct Last {
    scrape: Option<Timestamp>,
    duration_s: f64,
    error: String,
    metas: Vec<Arc<Meta>>,
}

/// Counts since the start, of all pools.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) scrapes: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) write: Arc<Tally>,
}

impl Counters {
    /// One more of `what`.
    pub(crate) fn add(&self, what: &'static str, n: usize) {
        if n > 0 {
            let mut scrapes = self.scrapes.lock().unwrap_or_else(PoisonError::into_inner);
            *scrapes.entry(what).or_default() += n as u64;
        }
    }
}

/// One number about scraping.
#[derive(Clone, Copy, Debug)]
pub struct ScrapeCounter {
    /// Name; ends in `_total` for counters, others are levels.
    pub name: &'static str,
    /// Name and value of its label, if it has one.
    pub label: Option<(&'static str, &'static str)>,
    /// Present value.
    pub value: u64,
}

impl ScrapeCounter {
    const fn new(name: &'static str, value: u64) -> Self {
        Self { name, label: None, value }
    }
}

/// Whether the last scrape of a target succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It did.
    Up,
    /// It did not.
    Down,
    /// There was none yet.
    Unknown,
}

/// A target as it stands.
#[derive(Clone, Debug)]
pub struct ActiveTarget {
    /// The job it belongs to.
    pub pool: String,
    /// Labels before relabelling.
    pub discovered: BTreeMap<String, String>,
    /// Labels every sample carries.
    pub labels: Labels,
    /// What is asked.
    pub url: String,
    /// How the last scrape went.
    pub health: Health,
    /// Why it failed; empty when it did not.
    pub last_error: String,
    /// When it was.
    pub last_scrape: Option<Timestamp>,
    /// How long it took, in seconds.
    pub last_duration_s: f64,
    /// Time between scrapes, as `15s`.
    pub interval: String,
    /// Deadline of a scrape, as `10s`.
    pub timeout: String,
}

/// Something discovered that is no target.
#[derive(Clone, Debug)]
pub struct DroppedTarget {
    /// The job it belongs to.
    pub pool: String,
    /// Labels before relabelling.
    pub discovered: BTreeMap<String, String>,
}

/// What a target says of one metric.
#[derive(Clone, Debug)]
pub struct TargetMetadata {
    /// Labels of the target.
    pub target: Labels,
    /// The metric's family.
    pub metric: String,
    /// `counter`, `gauge` and so on.
    pub kind: &'static str,
    /// Help; empty when there is none.
    pub help: String,
    /// Unit; empty when there is none.
    pub unit: String,
}

/// A relabelling rule and what it leaves.
#[derive(Clone, Debug)]
pub struct RelabelStep {
    /// Labels the rule reads.
    pub source_labels: Vec<String>,
    /// What joins their values.
    pub separator: String,
    /// What the joined value must match.
    pub regex: String,
    /// Of `hashmod`; else 0.
    pub modulus: u64,
    /// The label it writes.
    pub target_label: String,
    /// What it writes.
    pub replacement: String,
    /// What it does.
    pub action: &'static str,
    /// Labels afterwards; empty when dropped.
    pub output: BTreeMap<String, String>,
    /// Whether the target is kept.
    pub keep: bool,
}

impl ScrapeHandle {
    /// All pools, in the order of the files.
    pub(crate) fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these.
    pub(crate) fn set_pools(&self, pools: Vec<Arc<Pool>>) {
        *self.pools.write().unwrap_or_else(PoisonError::into_inner) = pools;
    }

    /// Whether a target with these labels is being scraped.
    pub(crate) fn has(&self, labels: &Labels) -> bool {
        self.pools().iter().any(|pool| pool.has(labels))
    }

    /// Names of the jobs, sorted.
    #[must_use]
    pub fn pool_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.pools().iter().map(|pool| pool.job.job_name.clone()).collect();
        names.sort();
        names
    }

    /// Targets of one job or of all, by job and URL.
    #[must_use]
    pub fn active(&self, pool: Option<&str>) -> Vec<ActiveTarget> {
        let mut targets: Vec<_> = self
            .of(pool)
            .iter()
            .flat_map(|pool| {
                let found = pool.lock();
                found.active.iter().map(|state| state.view(&pool.job.job_name)).collect::<Vec<_>>()
            })
            .collect();
        targets.sort_by(|a, b| (&a.pool, &a.url).cmp(&(&b.pool, &b.url)));
        targets
    }

    /// What relabelling dropped, of one job or of all; no more than `keep_dropped_targets` of each.
    #[must_use]
    pub fn dropped(&self, pool: Option<&str>) -> Vec<DroppedTarget> {
        let pools = self.of(pool);
        let dropped = pools.iter().flat_map(|pool| {
            let view = |discovered: &LabelSet| DroppedTarget {
                pool: pool.job.job_name.clone(),
                discovered: discovered.clone(),
            };
            pool.lock().dropped.iter().map(view).collect::<Vec<_>>()
        });
        dropped.collect()
    }

    /// How many were dropped, by job.
    #[must_use]
    pub fn dropped_counts(&self) -> BTreeMap<String, usize> {
        let count = |pool: &Arc<Pool>| (pool.job.job_name.clone(), pool.lock().n_dropped);
        self.pools().iter().map(count).collect()
    }

    /// What the targets that `wanted` accepts say of their metrics, by target and metric.
    #[must_use]
    pub fn metadata(&self, wanted: impl Fn(&Labels) -> bool) -> Vec<TargetMetadata> {
        let mut out = Vec::new();
        for pool in self.of(None) {
            for state in pool.lock().active.iter().filter(|state| wanted(&state.target.labels)) {
                out.extend(state.lock().metas.iter().map(|meta| TargetMetadata {
                    target: state.target.labels.clone(),
                    metric: meta.family.clone(),
                    kind: meta.kind.as_str(),
                    help: meta.help.clone(),
                    unit: meta.unit.clone(),
                }));
            }
        }
        out
    }

    /// What each relabelling rule of a job does to `labels`; `None` when there is no such job.
    #[must_use]
    pub fn relabel_steps(
        &self,
        pool: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<Vec<RelabelStep>> {
        let pool = self.of(Some(pool)).pop()?;
        let mut set = target::discovered(&pool.job, labels);
        let mut keep = true;
        let mut steps = Vec::new();
        for rule in &pool.job.relabel_configs {
            keep = keep && rule.apply(&mut set);
            steps.push(RelabelStep {
                source_labels: rule.source_labels.clone(),
                separator: rule.separator.clone(),
                regex: rule.regex.as_str().to_owned(),
                modulus: rule.modulus,
                target_label: rule.target_label.clone(),
                replacement: rule.replacement.clone(),
                action: rule.action.as_str(),
                output: if keep { set.clone() } else { LabelSet::new() },
                keep,
            });
            if !keep {
                break;
            }
        }
        Some(steps)
    }

    /// A job as it is in force: defaults filled in, secrets hidden, what is not set left out. `None` when there is no
    /// such job.
    #[must_use]
    pub fn config(&self, pool: &str) -> Option<serde_json::Value> {
        let pool = self.of(Some(pool)).pop()?;
        serde_json::to_value(&*pool.job).ok().map(|mut config| {
            tidy(&mut config);
            config
        })
    }

    /// Counters since the start and levels now.
    #[must_use]
    pub fn counters(&self) -> Vec<ScrapeCounter> {
        let pools = self.pools();
        if pools.is_empty() && self.queue.as_ref().is_none_or(|queue| queue.len_and_bytes().0 == 0)
        {
            return Vec::new();
        }
        let mut out = Vec::new();
        let scrapes = self.counters.scrapes.lock().unwrap_or_else(PoisonError::into_inner);
        out.extend(scrapes.iter().map(|(name, n)| ScrapeCounter::new(name, *n)));
        drop(scrapes);
        let (sent, retried, dropped) = self.counters.write.read();
        out.push(ScrapeCounter::new("headrope_scrape_sent_samples_total", sent));
        out.push(ScrapeCounter::new("headrope_scrape_retried_requests_total", retried));
        for (reason, n) in dropped {
            let counter = ScrapeCounter::new("headrope_scrape_dropped_samples_total", n);
            out.push(ScrapeCounter { label: Some(("reason", reason)), ..counter });
        }
        if let Some(queue) = &self.queue {
            let (samples, bytes) = queue.len_and_bytes();
            out.push(ScrapeCounter::new("headrope_scrape_queue_samples", samples as u64));
            out.push(ScrapeCounter::new("headrope_scrape_queue_bytes", bytes as u64));
        }
        let targets: usize = pools.iter().map(|pool| pool.lock().active.len()).sum();
        out.push(ScrapeCounter::new("headrope_scrape_targets", targets as u64));
        out
    }

    fn of(&self, pool: Option<&str>) -> Vec<Arc<Pool>> {
        let mut pools = self.pools();
        pools.retain(|own| pool.is_none_or(|name| own.job.job_name == name));
        pools
    }
}

/// Takes out what is not set, and passwords out of URLs.
fn tidy(value: &mut serde_json::Value) {
    use serde_json::Value;
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            map.retain(|_, value| is_set(value));
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        Value::String(text) if text.contains("://") => *text = redacted(text).into_owned(),
        _ => {}
    }
}

impl Pool {
    pub(crate) fn new(job: Arc<Job>) -> Arc<Self> {
        Arc::new(Self { job, found: Mutex::default() })
    }

    /// What a sync found; `dropped` is cut to what the job keeps.
    pub(crate) fn set(&self, active: Vec<Arc<TargetState>>, mut dropped: Vec<LabelSet>) {
        let n_dropped = dropped.len();
        if let Some(keep) = self.job.keep_dropped_targets.filter(|keep| *keep > 0) {
            dropped.truncate(keep);
        }
        *self.lock() = Found { active, dropped, n_dropped };
    }

    /// Whether a target with these labels is being scraped.
    pub(crate) fn has(&self, labels: &Labels) -> bool {
        self.lock().active.iter().any(|state| state.target.labels == *labels)
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TargetState {
    pub(crate) fn new(target: Arc<Target>) -> Arc<Self> {
        Arc::new(Self { target, last: Mutex::default() })
    }

    /// A scrape that ended; `metas` is `None` when it failed, and what was said before still stands.
    pub(crate) fn scraped(
        &self,
        at: Timestamp,
        duration_s: f64,
        error: &str,
        metas: Option<Vec<Arc<Meta>>>,
    ) {
        let mut last = self.lock();
        (last.scrape, last.duration_s) = (Some(at), duration_s);
        last.error = shortened(error);
        if let Some(metas) = metas {
            last.metas = metas;
        }
    }

    fn view(&self, pool: &str) -> ActiveTarget {
        let last = self.lock();
        let health = match last.scrape {
            None => Health::Unknown,
            Some(_) if last.error.is_empty() => Health::Up,
            Some(_) => Health::Down,
        };
        ActiveTarget {
            pool: pool.to_owned(),
            discovered: self.target.discovered.clone(),
            labels: self.target.labels.clone(),
            url: self.target.url.clone(),
            health,
            last_error: last.error.clone(),
            last_scrape: last.scrape,
            last_duration_s: last.duration_s,
            interval: DurationText(self.target.interval).to_string(),
            timeout: DurationText(self.target.timeout).to_string(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
/// Bytes of an error that are kept: it may quote what the target sent, however long.
const ERROR_BYTES_MAX: usize = 1_000;

fn shortened(error: &str) -> String {
    if error.len() <= ERROR_BYTES_MAX {
        return error.to_owned();
    }
    format!("{}…", &error[..error.floor_char_boundary(ERROR_BYTES_MAX)])
}
