//! Deletes: a marker hides the rows of a predicate at once; a job writes their segments anew before a deadline.
//!
//! What was acknowledged before a delete is flushed first, so a marker is about segments only: about those whose rows
//! all have sequences up to its own. Rows that come later, also repeated ones, are not deleted. Called by `server`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::id::TenantId;
use model::matcher::Matcher;
use model::time::Timestamp;

use crate::catalogue::CommitKind;
use crate::compact::{replace, rollups_of};
use crate::core::{Core, blocking};
use crate::delete::marker::Marker;
use crate::error::Error;
use crate::flush::discard;
use crate::promote;
use crate::rollup::{Resolution, is_source};
use crate::segment::read::Segment;
use crate::segment::write::{Origin, Plan, SegmentWriter, path};

pub(crate) mod journal;
pub(crate) mod kept;
pub(crate) mod marker;
mod matching;

/// What a delete is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeleteFrom {
    /// Samples, histograms and exemplars of series; matchers are about their Prometheus labels.
    Metrics,
    /// Log records; matchers are about columns and attributes.
    Logs,
    /// Spans; matchers are about columns and attributes.
    Spans,
}

impl DeleteFrom {
    /// Its name: `metrics`, `logs` or `spans`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Spans => "spans",
        }
    }

    /// What has this name, or `None`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Metrics, Self::Logs, Self::Spans].into_iter().find(|from| from.name() == name)
    }
}

/// Rows to delete: those for which all matchers hold, with times in the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Whose rows.
    pub tenant: TenantId,
    /// Which kind of rows.
    pub from: DeleteFrom,
    /// Conditions, all of which must hold; at least one. Names of logs and spans are columns (`service_name`), else
    /// attributes of the row or its resource; what is absent is the empty text.
    pub matchers: Vec<Matcher>,
    /// First time deleted.
    pub first: Timestamp,
    /// Last time deleted.
    pub last: Timestamp,
    /// Who asked, for the record.
    pub requested_by: String,
}

/// A delete on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRecord {
    /// Its number.
    pub id: i64,
    /// What was asked for.
    pub delete: Delete,
    /// Highest WAL sequence it is about.
    pub seq: u64,
    /// When it took effect.
    pub created: Timestamp,
    /// By when the rows are to be out of the segments.
    pub deadline: Timestamp,
    /// When they were; the files they stood in go after the grace. `None` while they are only hidden.
    pub done: Option<Timestamp>,
}

/// Deletes what was acknowledged so far: hidden when it returns, and durable.
pub(crate) async fn delete(core: &Arc<Core>, delete: Delete) -> Result<DeleteRecord, Error> {
    if delete.matchers.is_empty() {
        return Err(Error::Delete { reason: "it needs at least one matcher".to_owned() });
    }
    if delete.last < delete.first {
        return Err(Error::Delete { reason: "its range ends before it begins".to_owned() });
    }
    // Told before anything is flushed: expressions that do not compile.
    matching::Conditions::new(&delete.matchers)?;
    core.flush_all().await?;
    // While this is held no flush commits, so the watermark parts what is deleted from what comes later.
    let checkpoint = core.checkpoint.lock().await;
    let _marking = core.marking.lock().await;
    let now = core.clock.now();
    let within = i64::try_from(core.config.delete_within.as_nanos()).unwrap_or(i64::MAX);
    let record = DeleteRecord {
        id: 0,
        delete,
        seq: checkpoint.watermark,
        created: now,
        deadline: Timestamp(now.0.saturating_add(within)),
        done: None,
    };
    let (task, wanted) = (Arc::clone(core), record.clone());
    let mut marker = blocking(move || Marker::new(wanted, &task)).await?;
    let record = note(core, record).await?;
    marker.record = record.clone();
    core.live.change_markers(|markers| markers.push(Arc::new(marker)));
    drop(checkpoint);
    core.counters.deletes.fetch_add(1, Ordering::Relaxed);
    let Delete { from, first, last, ref requested_by, .. } = record.delete;
    tracing::info!(
        id = record.id,
        from = from.name(),
        first = first.0,
        last = last.0,
        requested_by,
        "rows deleted"
    );
    Ok(record)
}

/// Puts a delete on record: in the journal, then in the catalogue, which says that it took effect.
async fn note(core: &Arc<Core>, record: DeleteRecord) -> Result<DeleteRecord, Error> {
    let (dir, line) = (core.dir.clone(), record.clone());
    blocking(move || journal::append(&dir, &line)).await?;
    let (dir, seq) = (core.dir.clone(), record.seq);
    match core.catalogue.add_marker(record).await {
        Err(error) => {
            if let Err(error) = blocking(move || journal::undo(&dir, seq)).await {
                tracing::error!(%error, seq, "delete that failed stays on record, a rebuild would carry it out");
            }
            Err(error)
        }
        done => done,
    }
}

/// Which markers a rewrite is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Those past half of their time.
    Now,
    /// All of them.
    All,
}

/// Writes segments anew for the markers that are due, and notes those that are done.
pub(crate) async fn rewrite(core: &Arc<Core>, due: Due) -> Result<(), Error> {
    let now = core.clock.now();
    let version = core.live.version();
    for marker in version.markers.iter() {
        let record = &marker.record;
        let half = record.created.0.midpoint(record.deadline.0);
        let is_due = due == Due::All || now.0 >= half;
        let hidden = hidden_by(core, marker).await?;
        if is_due {
            for segment in hidden.iter().filter(|segment| core.live.is_live(segment.id())) {
                rewrite_segment(core, segment).await?;
            }
        }
        if is_due || hidden.is_empty() {
            core.catalogue.finish_marker(record, now).await?;
            core.live.change_markers(|markers| markers.retain(|m| m.record.id != record.id));
            tracing::info!(id = record.id, "deleted rows are out of the segments");
        }
    }
    Ok(())
}

/// Live segments that hold rows of `marker`.
async fn hidden_by(core: &Arc<Core>, marker: &Arc<Marker>) -> Result<Vec<Arc<Segment>>, Error> {
    let (segments, marker) = (core.live.segments(), Arc::clone(marker));
    blocking(move || {
        let mut hidden = Vec::new();
        for segment in segments.iter() {
            // A rollup ends with the samples it was made of; by itself it is looked at once those are gone.
            let is_made_anew = Resolution::of(segment.facts().table).is_some()
                && segments.iter().any(|raw| is_source(raw.facts(), segment.facts()));
            if !is_made_anew && !segment.deleted(&marker)?.is_empty() {
                hidden.push(Arc::clone(segment));
            }
        }
        Ok(hidden)
    })
    .await
}

/// Writes those of `inputs` anew that hold deleted rows. Returns whether there were any: their readers must look again.
pub(crate) async fn rewrite_any(core: &Arc<Core>, inputs: &[Arc<Segment>]) -> Result<bool, Error> {
    let mut is_any = false;
    for segment in inputs {
        if holds_deleted(core, segment).await? {
            rewrite_segment(core, segment).await?;
            is_any = true;
        }
    }
    Ok(is_any)
}

/// Whether `segment` holds rows that a marker hides now.
pub(crate) async fn holds_deleted(core: &Core, segment: &Arc<Segment>) -> Result<bool, Error> {
    let (markers, segment) = (core.live.version().markers, Arc::clone(segment));
    if markers.is_empty() {
        return Ok(false);
    }
    blocking(move || Ok(segment.kept(&markers)?.is_some())).await
}

async fn rewrite_segment(core: &Arc<Core>, segment: &Arc<Segment>) -> Result<(), Error> {
    let facts = segment.facts();
    let plan = Plan {
        table: facts.table,
        tenant: facts.tenant,
        window: facts.window,
        level: facts.level,
        rows_max: facts.rows,
    };
    let origin = Origin { replaces: vec![facts.path.clone()], ..segment.data.origin.clone() };
    let now = core.clock.now();
    let path = path(&plan, now);
    core.catalogue.add_pending(std::slice::from_ref(&path), now).await?;
    let (objects, source, markers) =
        (core.objects.clone(), Arc::clone(segment), core.live.version().markers);
    let (target, of) = (path.clone(), origin.clone());
    let written = blocking(move || {
        let Some(kept) = source.kept(&markers)? else {
            let reason = "nothing of the segment is deleted any more".to_owned();
            return Err(Error::Unavailable { reason });
        };
        if kept.rows == 0 {
            return Ok(None);
        }
        let blocks = source.blocks()?;
        let reader = source.reader(&blocks)?.with_row_selection(kept.selection);
        let (table, promoted) = (plan.table, promote::columns_of(reader.schema()));
        let reader = reader.build().map_err(|error| source.corrupt(&blocks, &error))?;
        let writer = SegmentWriter::create(&objects, plan, target, &of)?;
        let mut writer = writer.with_promoted(promoted);
        for batch in reader {
            let batch = batch.map_err(|error| source.corrupt(&blocks, &error))?;
            writer.write(&promote::fold(table, batch)?)?;
        }
        writer.finish().map(Some)
    })
    .await;
    let new = match written {
        Ok(facts) => facts.into_iter().collect::<Vec<_>>(),
        Err(error) => {
            discard(core, std::slice::from_ref(&path)).await;
            return Err(error);
        }
    };
    if new.is_empty() {
        core.catalogue.forget_pending(std::slice::from_ref(&path)).await?;
    }
    let commit_order = Some(segment.commit_order());
    let mut ended = vec![Arc::clone(segment)];
    // Its rollups speak of what is deleted; the next compaction makes them anew of what is left.
    let mut rollups = rollups_of(core, facts.tenant, facts.window);
    rollups.retain(|rollup| is_source(facts, rollup.facts()));
    ended.extend(rollups);
    let replaced = replace(core, CommitKind::Delete, &ended, (new, origin, commit_order)).await;
    if let Err(Error::Unavailable { .. }) = replaced {
        discard(core, &[path]).await; // It ended meanwhile, the new file is nobody's.
    }
    replaced
}

/// Default of the time within which deleted rows are to be out of the segments.
pub(crate) const WITHIN: Duration = Duration::from_secs(86_400);
