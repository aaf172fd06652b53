//! Compaction of small segments into one, retention by age, and deletion of what nobody reads any more.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use model::id::TenantId;
use model::time::{NS_PER_S, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::arrange::{histograms, rows, samples, traces};
use crate::catalogue::{Commit, DataFile};
use crate::config::Config;
use crate::core::{Core, blocking};
use crate::error::Error;
use crate::flush::{discard, write_segments};
use crate::registry::Registry;
use crate::schema::{Table, segment_schema};
use crate::segment::read::Segment;
use crate::segment::write::{Draft, Origin, Window, sidecar_path};

/// How often there is a look for work.
const TICK: Duration = Duration::from_secs(30);
/// Level-0 segments of a window from which they are merged.
const INPUTS_MIN: usize = 4;
/// How long after its end a window is merged as a whole, in ns: later rows are rare and wait for each other.
const SETTLING_NS: Range<i64> = 600 * NS_PER_S..7_200 * NS_PER_S;

/// Compacts, retains and deletes, until told to stop.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased; // Stop wins: an unfinished compaction leaves nothing but pending paths.
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            done = pass(&core) => {
                if let Err(error) = done {
                    tracing::error!(%error, "compaction failed and is tried again");
                }
            }
        }
    }
}

/// Does everything that is due.
pub(crate) async fn pass(core: &Arc<Core>) -> Result<(), Error> {
    retain(core).await?;
    let mut outcome = Ok(());
    for inputs in due(&core.live.segments(), core.clock.now(), core.config.compact_bytes_max) {
        let merged = merge(core, inputs).await;
        outcome = outcome.and(merged); // One bad window must not keep the others from being merged.
    }
    sweep(core).await.and(outcome)
}

/// Sets of neighbouring segments of one window to merge, oldest first, within the memory bound.
///
/// An open window is merged in tiers: whenever enough level-0 segments are there, they take along the level-1 segments
/// before them that are no larger than they are. A window that closed a while ago is merged as a whole.
fn due(segments: &[Arc<Segment>], now: Timestamp, bytes_max: u64) -> Vec<Vec<Arc<Segment>>> {
    let mut windows: BTreeMap<(TenantId, Table, Window), Vec<Arc<Segment>>> = BTreeMap::new();
    for segment in segments {
        let facts = segment.facts();
        windows
            .entry((facts.tenant, facts.table, facts.window))
            .or_default()
            .push(Arc::clone(segment));
    }
    let mut sets = Vec::new();
    for ((_, _, window), inputs) in windows {
        let closed_ns = now.0.saturating_sub(window.end());
        let first = match SETTLING_NS.contains(&closed_ns) {
            true => Some(0),
            false => first_of_tier(&inputs),
        };
        let Some(first) = first else { continue };
        // Neighbours in commit order: "the later commit wins" then stays a rule about order alone.
        let mut bytes = 0;
        let fits = inputs[first..].iter().take_while(|segment| {
            bytes += memory(segment);
            bytes <= bytes_max
        });
        let set: Vec<_> = fits.cloned().collect();
        if set.len() >= 2 {
            sets.push(set);
        }
    }
    sets
}

/// Where the newest tier of a window begins; `None` while it has too few level-0 segments.
fn first_of_tier(inputs: &[Arc<Segment>]) -> Option<usize> {
    let n_fresh = inputs.iter().rev().take_while(|segment| segment.facts().level == 0).count();
    if n_fresh < INPUTS_MIN {
        return None;
    }
    let mut first = inputs.len() - n_fresh;
    let mut bytes: u64 = inputs[first..].iter().map(|segment| segment.facts().bytes).sum();
    while first > 0 && inputs[first - 1].facts().bytes <= bytes {
        first -= 1;
        bytes += inputs[first].facts().bytes;
    }
    Some(first)
}

/// Bytes of memory that merging a segment takes, estimated: its rows decoded, and sorted beside them.
fn memory(segment: &Segment) -> u64 {
    let facts = segment.facts();
    match facts.table {
        Table::Samples => facts.rows * 128,
        Table::HistPoints | Table::HistBuckets => facts.rows * 384,
        // Text compresses about twelvefold, and is there twice while it is sorted.
        Table::Series
        | Table::Resources
        | Table::HistBounds
        | Table::Exemplars
        | Table::Logs
        | Table::Spans
        | Table::TraceIndex => facts.rows * 256 + facts.bytes * 24,
    }
}

async fn merge(core: &Arc<Core>, inputs: Vec<Arc<Segment>>) -> Result<(), Error> {
    let (registry, sources) = (Arc::clone(&core.registry), inputs.clone());
    let batch = blocking(move || merged(&sources, &registry)).await?;
    let Some(first) = inputs.first() else { return Ok(()) };
    let facts = first.facts();
    let draft =
        Draft { table: facts.table, tenant: facts.tenant, window: facts.window, level: 1, batch };
    let origin = Origin {
        lo: inputs.iter().map(|input| input.data.origin.lo).min().unwrap_or(0),
        hi: inputs.iter().map(|input| input.data.origin.hi).max().unwrap_or(0),
        replaces: inputs.iter().map(|input| input.facts().path.clone()).collect(),
        ..first.data.origin.clone()
    };
    let new = write_segments(core, vec![draft], &origin).await?;
    let commit_order = inputs.iter().map(|input| input.commit_order()).max();
    if let Err(error) = replace(core, "compact", &inputs, (new.clone(), origin, commit_order)).await
    {
        if matches!(error, Error::Unavailable { .. }) {
            // An input ended meanwhile and the commit was rolled back: the output is nobody's.
            let paths: Vec<String> = new.into_iter().map(|facts| facts.path).collect();
            discard(core, &paths).await;
        }
        return Err(error);
    }
    core.counters.compactions.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Ends `inputs` and brings in what replaces them, in one commit.
async fn replace(
    core: &Arc<Core>,
    kind: &'static str,
    inputs: &[Arc<Segment>],
    (new, origin, commit_order): (Vec<crate::segment::write::Facts>, Origin, Option<i64>),
) -> Result<(), Error> {
    let ended: Vec<DataFile> = inputs.iter().map(|input| input.data.clone()).collect();
    let now = core.clock.now();
    let commit = Commit {
        kind,
        now,
        new: &new,
        origin: &origin,
        ended: &ended,
        commit_order,
        checkpoint: None,
    };
    let files = core.catalogue.commit(&commit).await?;
    let segments = files.into_iter().map(|file| Arc::new(Segment::new(file, &core.dir))).collect();
    let ids: Vec<i64> = inputs.iter().map(|input| input.id()).collect();
    core.live.publish_change(segments, &ids);
    core.bury(inputs);
    Ok(())
}

/// The rows of `inputs`, oldest commit first, as one sorted batch.
fn merged(inputs: &[Arc<Segment>], registry: &Registry) -> Result<RecordBatch, Error> {
    let facts = inputs[0].facts();
    let (table, window) = (facts.table, facts.window);
    let mut batches = Vec::new();
    for input in inputs {
        batches.extend(input.rows()?);
    }
    let whole = || {
        concat_batches(&segment_schema(table), &batches).map_err(Error::arrow("merging segments"))
    };
    match table {
        Table::Samples => samples::from_segments(&batches, registry),
        Table::HistPoints | Table::HistBuckets => {
            let plain: Vec<RecordBatch> = batches
                .iter()
                .map(|batch| histograms::to_ingest(table, batch))
                .collect::<Result<_, _>>()?;
            let arranged = histograms::arrange(table, &plain, registry)?;
            let batches: Vec<RecordBatch> = arranged.into_iter().map(|(_, batch)| batch).collect();
            concat_batches(&segment_schema(table), &batches)
                .map_err(Error::arrow("merging segments"))
        }
        Table::TraceIndex => traces::fold(window, &batches),
        Table::Series | Table::Resources | Table::HistBounds => {
            rows::fold_definitions(table, &whole()?)
        }
        Table::Exemplars | Table::Logs | Table::Spans => rows::sort(table, &whole()?),
    }
}

/// How long rows of `table` are kept.
fn keep(config: &Config, table: Table) -> Duration {
    match table {
        Table::Logs => config.retain_logs,
        Table::Spans | Table::TraceIndex => config.retain_spans,
        Table::Samples | Table::HistPoints | Table::HistBuckets | Table::Exemplars => {
            config.retain_samples
        }
        // Definitions outlive whatever refers to them.
        Table::Series | Table::Resources | Table::HistBounds => {
            config.retain_samples.max(config.retain_logs).max(config.retain_spans)
        }
    }
}

/// Ends segments whose whole window is too old.
async fn retain(core: &Arc<Core>) -> Result<(), Error> {
    let now = core.clock.now();
    let is_old = |segment: &Arc<Segment>| {
        let facts = segment.facts();
        facts.window.end() < before(now, keep(&core.config, facts.table)).0
    };
    let old: Vec<Arc<Segment>> =
        core.live.segments().iter().filter(|segment| is_old(segment)).cloned().collect();
    if old.is_empty() {
        return Ok(());
    }
    replace(core, "retain", &old, (Vec::new(), Origin::default(), None)).await?;
    core.counters.retained.fetch_add(old.len() as u64, Ordering::Relaxed);
    Ok(())
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)))
}

/// Deletes files that ended longer ago than the grace and that no snapshot holds.
async fn sweep(core: &Arc<Core>) -> Result<(), Error> {
    let dead = core.catalogue.dead(before(core.clock.now(), core.config.snapshot_grace)).await?;
    let free: Vec<(i64, String)> = {
        let mut ended = core.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, segment| segment.strong_count() > 0);
        dead.into_iter().filter(|(id, _)| !ended.contains_key(id)).collect()
    };
    if free.is_empty() {
        return Ok(());
    }
    let (objects, doomed) = (core.objects.clone(), free.clone());
    blocking(move || {
        doomed.iter().try_for_each(|(_, path)| {
            objects.delete(path)?;
            objects.delete(&sidecar_path(path))
        })
    })
    .await?;
    let ids: Vec<i64> = free.iter().map(|(id, _)| *id).collect();
    core.catalogue.bury(&ids).await
}
