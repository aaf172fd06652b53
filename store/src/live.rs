//! What is readable now: live segments and heads, changed together under one short lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use model::time::Timestamp;
use tokio::time::Instant;

use crate::delete::marker::Marker;
use crate::delivery::Deliveries;
use crate::head::{Head, HeadView, Rows};
use crate::registry::Registry;
use crate::schema::Table;
use crate::segment::read::Segment;
use crate::wal::writer::Sink;

/// The live state of a store.
pub(crate) struct Live {
    registry: Arc<Registry>,
    state: Mutex<State>,
    /// Rows acknowledged since start, by table.
    ingested: [AtomicU64; Table::ALL.len()],
}

struct State {
    head: Head,
    /// The head a flush is writing, until it is committed.
    frozen: Option<Arc<HeadView>>,
    segments: Arc<Vec<Arc<Segment>>>,
    /// Live but for their damage.
    quarantined: Arc<Vec<Arc<Segment>>>,
    markers: Arc<[Arc<Marker>]>,
    watermark: u64,
    /// Numbered batches in the head...
    delivered: Deliveries,
    /// ...and in the frozen one.
    delivered_frozen: Arc<Deliveries>,
    /// Hour in which the frozen head was frozen: rows that came in before are in it, or in segments.
    frozen_hour: u32,
    /// Heads before the present one that somebody may still read.
    older: Vec<Weak<()>>,
}

/// One version: each acknowledged row is in exactly one of its parts.
pub(crate) struct Version {
    /// Oldest commit first.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    /// Segments that failed their checksum: nobody reads them.
    pub(crate) quarantined: Arc<Vec<Arc<Segment>>>,
    /// Oldest first.
    pub(crate) heads: Vec<Arc<HeadView>>,
    /// Deletes whose rows may still be in segments, oldest first.
    pub(crate) markers: Arc<[Arc<Marker>]>,
}

/// Sizes of the heads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Bytes of the head that takes rows.
    pub(crate) head_bytes: u64,
    /// Bytes of all heads.
    pub(crate) bytes: u64,
    /// Rows of all heads.
    pub(crate) rows: u64,
    /// Log bytes not in segments yet.
    pub(crate) wal_bytes: u64,
    /// Highest visible sequence.
    pub(crate) seq: u64,
    /// Highest sequence in segments.
    pub(crate) watermark: u64,
    /// When the first row of the head came; `None` while it is empty.
    pub(crate) since: Option<Instant>,
    /// Whether a frozen head waits for its flush.
    pub(crate) is_frozen: bool,
}

impl Live {
    pub(crate) fn new(
        registry: Arc<Registry>,
        segments: Vec<Arc<Segment>>,
        watermark: u64,
    ) -> Self {
        let (quarantined, segments) =
            segments.into_iter().partition(|segment: &Arc<Segment>| segment.data.is_quarantined);
        let state = State {
            head: Head::new(watermark),
            frozen: None,
            segments: Arc::new(segments),
            quarantined: Arc::new(quarantined),
            markers: Arc::from([]),
            watermark,
            delivered: Deliveries::default(),
            delivered_frozen: Arc::default(),
            frozen_hour: 0,
            older: Vec::new(),
        };
        Self { registry, state: Mutex::new(state), ingested: Default::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn version(&self) -> Version {
        let mut state = self.state();
        let head = state.head.view();
        Version {
            segments: Arc::clone(&state.segments),
            quarantined: Arc::clone(&state.quarantined),
            heads: state.frozen.iter().cloned().chain([head]).collect(),
            markers: Arc::clone(&state.markers),
        }
    }

    /// Segments that can be read.
    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.state().segments)
    }

    /// Segments that failed their checksum.
    pub(crate) fn quarantined(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.state().quarantined)
    }

    /// Takes segments, as the catalogue knows them now, out of what is read.
    pub(crate) fn quarantine(&self, mut bad: Vec<Arc<Segment>>) {
        let mut state = self.state();
        // What ended meanwhile is none of ours any more.
        bad.retain(|bad| state.segments.iter().any(|segment| segment.id() == bad.id()));
        let ids: Vec<i64> = bad.iter().map(|segment| segment.id()).collect();
        state.segments = Arc::new(changed(&state.segments, Vec::new(), &ids));
        state.quarantined = Arc::new(changed(&state.quarantined, bad, &[]));
    }

    pub(crate) fn load(&self) -> Load {
        let state = self.state();
        let head = &state.head;
        let frozen = state.frozen.as_ref();
        Load {
            head_bytes: head.bytes(),
            bytes: head.bytes() + frozen.map_or(0, |frozen| frozen.bytes),
            rows: head.rows() + frozen.map_or(0, |frozen| frozen.rows),
            wal_bytes: head.wal_bytes() + frozen.map_or(0, |frozen| frozen.wal_bytes),
            seq: head.hi(),
            watermark: state.watermark,
            since: (head.rows() > 0).then(|| head.since()),
            is_frozen: frozen.is_some(),
        }
    }

    /// Whether the segment with this number is live.
    pub(crate) fn is_live(&self, id: i64) -> bool {
        self.segments().iter().any(|segment| segment.id() == id)
    }

    /// Rows acknowledged since start.
    pub(crate) fn ingested(&self, table: Table) -> u64 {
        self.ingested[table as usize].load(Ordering::Relaxed)
    }

    /// The head to flush: the one a failed flush left behind, else the present one; `None` when there are no rows.
    pub(crate) fn freeze(&self, hour: u32) -> Option<Arc<HeadView>> {
        let mut state = self.state();
        if state.frozen.is_none() && state.head.rows() > 0 {
            let view = state.head.view();
            let older = state.head.alive();
            state.older.push(older);
            state.head = Head::new(view.hi);
            state.delivered_frozen = Arc::new(std::mem::take(&mut state.delivered));
            state.frozen_hour = hour;
            state.frozen = Some(view);
        }
        state.frozen.clone()
    }

    /// Numbered batches in the frozen head.
    pub(crate) fn delivered_frozen(&self) -> Arc<Deliveries> {
        Arc::clone(&self.state().delivered_frozen)
    }

    /// Hour of the last freeze, and the heads before the present one that somebody may still read.
    pub(crate) fn older(&self) -> (u32, Vec<Weak<()>>) {
        let mut state = self.state();
        state.older.retain(|head| head.strong_count() > 0);
        (state.frozen_hour, state.older.clone())
    }

    /// Replaces the frozen head by the segments it was written to.
    pub(crate) fn publish_flush(&self, new: Vec<Arc<Segment>>, watermark: u64) {
        let mut state = self.state();
        state.segments = Arc::new(changed(&state.segments, new, &[]));
        state.frozen = None;
        state.watermark = watermark;
    }

    /// Changes which deletes are in force.
    pub(crate) fn change_markers(&self, change: impl FnOnce(&mut Vec<Arc<Marker>>)) {
        let mut state = self.state();
        let mut markers = state.markers.to_vec();
        change(&mut markers);
        state.markers = Arc::from(markers);
    }

    /// Replaces segments by others that hold the same rows, or fewer.
    pub(crate) fn publish_change(&self, new: Vec<Arc<Segment>>, ended: &[i64]) {
        let mut state = self.state();
        state.segments = Arc::new(changed(&state.segments, new, ended));
        state.quarantined = Arc::new(changed(&state.quarantined, Vec::new(), ended));
    }
}

fn changed(old: &[Arc<Segment>], new: Vec<Arc<Segment>>, ended: &[i64]) -> Vec<Arc<Segment>> {
    let mut segments: Vec<_> =
        old.iter().filter(|segment| !ended.contains(&segment.id())).cloned().collect();
    segments.extend(new);
    segments.sort_by_key(|segment| segment.order());
    segments
}

impl Sink for Live {
    fn apply(&self, seq: u64, bytes: u64, rows: Rows) {
        self.ingested[Table::Samples as usize]
            .fetch_add(rows.samples.len() as u64, Ordering::Relaxed);
        for (table, batch) in &rows.tables {
            self.ingested[*table as usize].fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        }
        rows.seen.resources.iter().for_each(|(resource, ms)| resource.seen(*ms));
        let view = self.registry.view();
        rows.defined.mark(&view);
        view.seen(rows.seen.series.iter().copied());
        let samples = &rows.samples;
        view.seen(samples.slots.iter().copied().zip(samples.times.iter().copied()));
        drop(view);
        let mut state = self.state();
        if let Some(delivery) = rows.delivery {
            state.delivered.note(&delivery, Timestamp::default());
        }
        state.head.append(seq, bytes, rows);
    }
}
