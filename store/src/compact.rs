//! Compaction of segments into larger and denser ones, retention, and deletion of what nobody reads any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::id::TenantId;
use model::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::backup;
use crate::catalogue::{Commit, CommitKind, DataFile};
use crate::compact::due::{Job, due};
use crate::compact::work::Work;
use crate::core::{Core, blocking};
use crate::delete::{Due, holds_deleted, rewrite, rewrite_any};
use crate::delivery::Deliveries;
use crate::error::Error;
use crate::flush::discard;
use crate::memory::{Pressure, Share};
use crate::quarantine::quarantine;
use crate::rollup::Resolution;
use crate::schema::Table;
use crate::segment::read::Segment;
use crate::segment::write::{Facts, Origin, Plan, Window, path};

pub(crate) mod due;
mod duplicates;
pub(crate) mod merge;
mod need;
mod pace;
mod retain;
mod work;

/// How often there is a look for work.
const TICK: Duration = Duration::from_secs(30);

/// Compacts, retains and deletes, until told to stop.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased; // Stop wins.
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        // Not dropped half-way: a merge on the blocking pool would go on by itself. It looks for `stop` after each batch.
        if let Err(error) = pass(&core, &stop).await
            && !stop.is_cancelled()
        {
            tracing::error!(%error, "compaction failed and is tried again");
        }
    }
}

/// Does everything that is due.
pub(crate) async fn pass(core: &Arc<Core>, stop: &CancellationToken) -> Result<(), Error> {
    // One at a time: no window is merged twice, and one job's memory is all there is.
    let _alone = core.compacting.lock().await;
    let mut outcome = rewrite(core, Due::Now).await;
    let mut failed = Vec::new();
    while !stop.is_cancelled() {
        let jobs = due(&core.live.segments(), core.clock.now());
        note_lag(core, &jobs);
        // One bad window must not keep the others from being merged.
        let next = jobs.into_iter().find(|job| !failed.contains(&job.inputs()));
        let Some(job) = next else { break };
        // What is not compacted yet costs time; what does not fit costs the process.
        // Under pressure it goes on, within its share: ever more segments would make queries ever larger.
        if core.memory.pressure() == Pressure::Critical {
            break;
        }
        let inputs = job.inputs();
        match merge(core, job, stop).await {
            Ok(true) => {}
            Ok(false) => failed.push(inputs),
            Err(error) => {
                failed.push(inputs);
                outcome = outcome.and(Err(error));
            }
        }
    }
    // Retention comes last: rollups of samples outlive them, and are made when their window is sealed.
    // The first error is told, and keeps none of the rest from being done.
    outcome = outcome.and(quarantine(core).await.map(drop));
    outcome = outcome.and(retain(core).await);
    outcome = outcome.and(backup::end_stale(core).await);
    outcome.and(sweep(core).await)
}

fn note_lag(core: &Core, jobs: &[Job]) {
    let now = core.clock.now().0;
    let lag_ns = jobs.iter().map(|job| now.saturating_sub(job.since)).max().unwrap_or(0);
    let lag_s = u64::try_from(Timestamp(lag_ns).s()).unwrap_or(0);
    core.counters.compact_lag_s.store(lag_s, Ordering::Relaxed);
}

/// Merges as many runs of `job` as memory allows. `false` when that is none.
async fn merge(core: &Arc<Core>, job: Job, stop: &CancellationToken) -> Result<bool, Error> {
    let budget = core.config.compact_bytes_max.min(core.memory.free(Share::Background));
    let Some((job, reserved)) = blocking(move || need::fit(job, budget)).await? else {
        return Ok(false);
    };
    let _held = core.memory.take(Share::Background, reserved)?;
    let now = core.clock.now();
    let mut inputs: Vec<Arc<Segment>> = job.files().cloned().collect();
    if rewrite_any(core, &inputs).await? {
        return Ok(true); // Deleted rows are out first, then the window is looked at again.
    }
    let Some(first) = inputs.first().cloned() else { return Ok(false) };
    let commit_order = inputs.iter().map(|input| input.commit_order()).max();
    let bytes: u64 = inputs.iter().map(|input| input.facts().bytes).sum();
    if !job.rollups().is_empty() {
        inputs.extend(rollups_of(core, job.plan.tenant, job.plan.window));
    }
    let origin = Origin {
        lo: inputs.iter().map(|input| input.data.origin.lo).min().unwrap_or(0),
        hi: inputs.iter().map(|input| input.data.origin.hi).max().unwrap_or(0),
        replaces: inputs.iter().map(|input| input.facts().path.clone()).collect(),
        ..first.data.origin.clone()
    };
    let n_files = bytes / core.config.compact_segment_bytes.max(1) + 1;
    let tables = job.rollups().into_iter().map(Resolution::table).chain([job.plan.table]);
    let named: Vec<(Table, String)> = tables
        .flat_map(|table| (0..n_files).map(move |_| table))
        .map(|table| (table, path(&Plan { table, ..job.plan.clone() }, now)))
        .collect();
    let paths: Vec<String> = named.iter().map(|(_, path)| path.clone()).collect();
    core.catalogue.add_pending(&paths, now).await?;
    let work = Work::new(core, job, (origin.clone(), named), stop.clone());
    let done = match blocking(move || work.run()).await {
        Ok(done) => done,
        Err(error) => {
            discard(core, &paths).await;
            return Err(error);
        }
    };
    core.counters.compact_peak(reserved, done.peak);
    let new = done.facts;
    if let Err(error) =
        replace(core, CommitKind::Compact, &inputs, (new, origin, commit_order)).await
    {
        if matches!(error, Error::Unavailable { .. }) {
            // An input ended meanwhile and the commit was rolled back: the output is nobody's.
            discard(core, &paths).await;
        }
        return Err(error);
    }
    core.catalogue.forget_pending(&paths).await?; // Those that were not needed.
    core.counters.compactions.fetch_add(1, Ordering::Relaxed);
    Ok(true)
}

/// The rollups of samples of `window`: they end when those are replaced.
pub(crate) fn rollups_of(core: &Core, tenant: TenantId, window: Window) -> Vec<Arc<Segment>> {
    let is_meant = |segment: &&Arc<Segment>| {
        let facts = segment.facts();
        matches!(facts.table, Table::Samples5m | Table::Samples1h)
            && facts.tenant == tenant
            && window.start < facts.window.end()
            && facts.window.start < window.end()
    };
    core.live.segments().iter().filter(is_meant).cloned().collect()
}

/// Ends `inputs` and brings in what replaces them, in one commit.
pub(crate) async fn replace(
    core: &Arc<Core>,
    kind: CommitKind,
    inputs: &[Arc<Segment>],
    (new, origin, commit_order): (Vec<Facts>, Origin, Option<i64>),
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
        deliveries: &Deliveries::default(),
    };
    // A delete that came while rows were merged did not reach them: its marker parts old segments from new ones.
    let _marking = core.marking.lock().await;
    if kind == CommitKind::Compact {
        // Rollups are not read but made anew, of samples without deleted ones.
        let is_read = |input: &&Arc<Segment>| Resolution::of(input.facts().table).is_none();
        for input in inputs.iter().filter(is_read) {
            if holds_deleted(core, input).await? {
                let reason = "rows of a merged segment were deleted meanwhile".to_owned();
                return Err(Error::Unavailable { reason });
            }
        }
    }
    let files = core.catalogue.commit(&commit).await?;
    let segments = files.into_iter().map(|file| Arc::new(Segment::new(file, &core.dir))).collect();
    let ids: Vec<i64> = inputs.iter().map(|input| input.id()).collect();
    core.live.publish_change(segments, &ids);
    core.bury(inputs);
    Ok(())
}

/// Writes every segment anew that holds deleted rows, then does whatever else is due.
pub(crate) async fn clean(core: &Arc<Core>, stop: &CancellationToken) -> Result<(), Error> {
    {
        let _alone = core.compacting.lock().await;
        rewrite(core, Due::All).await?;
    }
    pass(core, stop).await
}

/// Ends segments that are too old or too much.
async fn retain(core: &Arc<Core>) -> Result<(), Error> {
    let (sound, quarantined) = (core.live.segments(), core.live.quarantined());
    let all: Vec<Arc<Segment>> = sound.iter().chain(quarantined.iter()).cloned().collect();
    let over = retain::over(&all, &core.config, core.clock.now());
    if over.is_empty() {
        return Ok(());
    }
    let ended: Vec<Arc<Segment>> = over.iter().map(|(segment, _)| Arc::clone(segment)).collect();
    replace(core, CommitKind::Retain, &ended, (Vec::new(), Origin::default(), None)).await?;
    for (segment, reason) in &over {
        let facts = segment.facts();
        core.counters.retain(facts.table, reason.name(), facts.bytes + facts.sidecar_bytes);
    }
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
    blocking(move || objects.delete_segments(doomed.iter().map(|(_, path)| path))).await?;
    let ids: Vec<i64> = free.iter().map(|(id, _)| *id).collect();
    core.catalogue.bury(&ids).await
}
