//! Rules: files in, evaluation on a task, transitions to `action`, recorded series to the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use action::Notifier;
use alert::rule::Group;
use alert::{Alerts, Handover, Outlets, Recorded, RecordedBatch, StateDir};
use anyhow::{Context, Result, anyhow, bail};
use model::metric::MetricKind;
use model::time::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::record::{Point, record};
use crate::config::Config;

/// Transitions on their way to the journal; a full channel makes evaluation wait.
const HANDOVERS_MAX: usize = 1_000;
/// Batches of recorded samples on their way to the store; likewise.
const RECORDED_MAX: usize = 1_000;

/// Reads every rule file the configuration names.
///
/// # Errors
/// When a file is missing or wrong, with its place.
pub fn groups(config: &Config) -> Result<Vec<Group>> {
    let mut files = Vec::new();
    for path in &config.alert.rules {
        files.extend(matching(path)?);
    }
    alert::rule::load_all(&files, &config.alert.rule_options())
        .map_err(|problems| anyhow!("{problems}"))
}

/// The path itself, or with a `*` in its last part every file that fits, sorted.
fn matching(path: &Path) -> Result<Vec<PathBuf>> {
    let pattern = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((before, after)) = pattern.split_once('*') else { return Ok(vec![path.to_owned()]) };
    let dir = path.parent().unwrap_or(Path::new("."));
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let fits = name.len() >= before.len() + after.len();
        if fits && name.starts_with(before) && name.ends_with(after) {
            found.push(entry.path());
        }
    }
    if found.is_empty() {
        bail!("no rule file fits {}", path.display());
    }
    found.sort();
    Ok(found)
}

/// What rules need to run.
pub(super) struct Parts {
    pub(super) groups: Vec<Group>,
    pub(super) config: alert::Config,
    pub(super) engine: Arc<query::Engine>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) store: Arc<store::Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dir: PathBuf,
    pub(super) stop: CancellationToken,
}

/// Starts evaluation, journal and deliveries.
///
/// # Errors
/// When a setting makes no sense or the kept alert states cannot be read.
pub(super) fn start(tasks: &mut JoinSet<Result<()>>, parts: Parts) -> Result<Arc<Alerts>> {
    let Parts { groups, config, engine, notifier, store, clock, dir, stop } = parts;
    let (handovers, handed) = mpsc::channel(HANDOVERS_MAX);
    let (recorded, to_store) = mpsc::channel(RECORDED_MAX);
    let alerts = Alerts::new(groups, engine, clock, StateDir::open(&dir)?, config)?;
    let outlets = Outlets { handover: handovers, recorded };
    let evaluating = Arc::clone(&alerts).run(outlets, stop.clone());
    tasks.spawn(async move {
        evaluating.await;
        Ok(())
    });
    tasks.spawn(hand_over(handed, Arc::clone(&notifier)));
    tasks.spawn(keep(to_store, store));
    tasks.spawn(async move {
        notifier.run(stop).await;
        Ok(())
    });
    Ok(alerts)
}

/// Until evaluation ends: every transition into the journal, and only then the word that it is taken.
async fn hand_over(mut handed: mpsc::Receiver<Handover>, notifier: Arc<Notifier>) -> Result<()> {
    while let Some(Handover { transition, accepted }) = handed.recv().await {
        match notifier.accept(transition).await {
            Ok(()) => drop(accepted.send(())), // Err: evaluation has ended meanwhile.
            // Not taken: `accepted` is dropped, the state stays as it was, and the next evaluation offers it again.
            Err(error) => {
                tracing::error!(%error, "a transition could not be journalled, it is offered again")
            }
        }
    }
    Ok(())
}

/// Until evaluation ends: recorded samples into the store.
async fn keep(mut recorded: mpsc::Receiver<RecordedBatch>, store: Arc<store::Store>) -> Result<()> {
    while let Some(RecordedBatch { samples, stored }) = recorded.recv().await {
        let points: Vec<Point> = samples.into_iter().map(point).collect();
        let outcome = record(&store, &points).await.map_err(|error| error.to_string());
        drop(stored.send(outcome)); // Err: evaluation has given up waiting.
    }
    Ok(())
}

fn point(recorded: Recorded) -> Point {
    let Recorded { name, labels, value, at } = recorded;
    Point { name, labels, kind: MetricKind::Gauge, at, start: None, value }
}
