//! The flush: a frozen head becomes segments, and one catalogue transaction says so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catalogue::{Checkpoint, Commit, CommitKind};
use crate::core::{Core, SHARD, blocking};
use crate::error::Error;
use crate::head::HeadView;
use crate::head::drafts::{Marks, drafts};
use crate::memory::Pressure;
use crate::segment::read::Segment;
use crate::segment::write::{Draft, Facts, Origin, SegmentWriter, path};

/// How often the conditions for a flush are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Longest wait after failed flushes.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Writes what the head holds to segments. Returns whether there was anything.
///
/// When it fails the frozen head stays readable, and the next call writes it again.
pub(crate) async fn flush(core: &Arc<Core>) -> Result<bool, Error> {
    let mut checkpoint = core.checkpoint.lock().await;
    let hour = core.registry.tick(core.clock.now());
    let Some(view) = core.live.freeze(hour) else { return Ok(false) };
    let written = write(core, &view, &mut checkpoint).await;
    drop(view);
    match written {
        Ok(()) => {
            evict(core, hour);
            core.counters.flushes.fetch_add(1, Ordering::Relaxed);
            core.counters.flush_disk_full.store(false, Ordering::Relaxed);
            Ok(true)
        }
        Err(error) => {
            core.counters.flush_failures.fetch_add(1, Ordering::Relaxed);
            core.counters.flush_disk_full.store(error.is_disk_full(), Ordering::Relaxed);
            Err(error)
        }
    }
}

async fn write(
    core: &Arc<Core>,
    view: &Arc<HeadView>,
    checkpoint: &mut Checkpoint,
) -> Result<(), Error> {
    let origin = Origin {
        node: core.catalogue.node.to_string(),
        shard: SHARD,
        epoch: checkpoint.epoch,
        lo: view.lo,
        hi: view.hi,
        replaces: Vec::new(),
    };
    let (frozen, registry) = (Arc::clone(view), Arc::clone(&core.registry));
    let flushed = blocking(move || drafts(&frozen, &registry)).await?;
    let facts = write_segments(core, flushed.drafts, &origin).await?;
    let commit = Commit {
        kind: CommitKind::Flush,
        now: core.clock.now(),
        new: &facts,
        origin: &origin,
        ended: &[],
        commit_order: None,
        checkpoint: Some(*checkpoint),
        deliveries: &core.live.delivered_frozen(),
    };
    // Should this fail, whether it took effect is unknown: the files stay, and the next start finds out.
    let files = core.catalogue.commit(&commit).await?;
    checkpoint.watermark = view.hi;
    let segments = files.into_iter().map(|file| Arc::new(Segment::new(file, &core.dir))).collect();
    core.live.publish_flush(segments, view.hi);
    done(core, &flushed.marks, view.hi);
    Ok(())
}

fn done(core: &Core, marks: &Marks, watermark: u64) {
    marks.apply(&core.registry);
    if let Some(wal) = core.wal.get() {
        wal.trim(watermark);
    }
}

/// Once an hour lets go of series that were idle for long, and gives the slots of earlier ones to new series.
fn evict(core: &Core, hour: u32) {
    let mut leaving = core.leaving.lock().unwrap_or_else(PoisonError::into_inner);
    leaving.waiting.retain_mut(|(slots, heads)| {
        heads.retain(|head| head.strong_count() > 0);
        if heads.is_empty() {
            core.registry.reuse(std::mem::take(slots));
        }
        !heads.is_empty()
    });
    if leaving.hour == hour {
        return;
    }
    leaving.hour = hour;
    let (frozen_hour, heads) = core.live.older();
    // A batch may have been checked in the hour before its rows came into the head.
    let slots = core.registry.evict(frozen_hour.saturating_sub(1));
    if !slots.is_empty() {
        tracing::debug!(series = slots.len(), "idle series left the registry");
        leaving.waiting.push((slots, heads));
    }
}

/// Notes the paths, then encodes and writes one segment after the other. All are durable when it returns.
pub(crate) async fn write_segments(
    core: &Arc<Core>,
    drafts: Vec<Draft>,
    origin: &Origin,
) -> Result<Vec<Facts>, Error> {
    let now = core.clock.now();
    let drafts: Vec<(Draft, String)> = drafts
        .into_iter()
        .map(|draft| {
            let path = path(&draft.plan(), now);
            (draft, path)
        })
        .collect();
    let paths: Vec<String> = drafts.iter().map(|(_, path)| path.clone()).collect();
    core.catalogue.add_pending(&paths, now).await?;
    let (objects, origin) = (core.objects.clone(), origin.clone());
    let written = blocking(move || {
        let mut facts = Vec::with_capacity(drafts.len());
        for (draft, path) in drafts {
            let mut writer = SegmentWriter::create(&objects, draft.plan(), path, &origin)?;
            draft.each(|batch| writer.write(batch))?;
            facts.push(writer.finish()?);
        }
        Ok(facts)
    })
    .await;
    if written.is_err() {
        discard(core, &paths).await;
    }
    written
}

/// Removes files that no commit names. What cannot be removed now is found again at the next start.
pub(crate) async fn discard(core: &Arc<Core>, paths: &[String]) {
    let (objects, doomed) = (core.objects.clone(), paths.to_vec());
    let removed = blocking(move || objects.delete_segments(&doomed)).await;
    let forgotten = match removed {
        Ok(()) => core.catalogue.forget_pending(paths).await,
        Err(error) => Err(error),
    };
    if let Err(error) = forgotten {
        tracing::warn!(%error, "unfinished segments are left to the next start");
    }
}

/// Flushes when it is time, until told to stop.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut wait = TICK;
    loop {
        tokio::select! {
            biased; // Stop wins: shutdown does not wait for a flush, the log holds everything.
            () = stop.cancelled() => return,
            () = core.flush_wanted.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        if !is_due(&core) {
            continue;
        }
        match flush(&core).await {
            Ok(_) => wait = TICK,
            Err(error) => {
                tracing::error!(%error, "flush failed, head kept and tried again");
                wait = (wait * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Whether the head is large, old, or its log long enough.
fn is_due(core: &Core) -> bool {
    let config = &core.config;
    let load = core.live.load();
    let is_tight =
        core.memory.pressure() > Pressure::Calm && load.head_bytes > config.flush_bytes_min;
    let age = load.since.map_or(Duration::ZERO, |since| Instant::now().duration_since(since));
    // On a full disk a flush frees log: segments are smaller.
    let is_disk_full =
        core.wal.get().is_some_and(|wal| wal.counters().disk_full.load(Ordering::Relaxed));
    load.is_frozen
        || is_disk_full
        || is_tight
        || load.head_bytes >= core.flush_bytes()
        || load.wal_bytes >= config.wal_behind_bytes_max
        || (age >= config.flush_age && load.head_bytes > config.flush_bytes_min)
        || (load.since.is_some() && age >= config.flush_age_max)
}
