//! Series by slot and by id, the registry held still: what batches and flushes ask for row by row.

use std::sync::{Arc, RwLockReadGuard};

use model::id::{ResourceId, SeriesId, TenantId};

use crate::error::Error;
use crate::registry::known::Known;
use crate::registry::{Resource, Series};
use crate::sample::SeriesRef;

/// The registry for the time of one batch.
pub(crate) struct SeriesView<'a> {
    known: RwLockReadGuard<'a, Known>,
    hour: u32,
}

impl<'a> SeriesView<'a> {
    pub(super) fn new(known: RwLockReadGuard<'a, Known>, hour: u32) -> Self {
        Self { known, hour }
    }

    /// Slots of `refs`, which must be series of `tenant`; marks them as used.
    pub(crate) fn slots(&self, tenant: TenantId, refs: &[SeriesRef]) -> Result<Vec<u32>, Error> {
        let mut slots = Vec::with_capacity(refs.len());
        for at in refs {
            let row = self.known.rows.get(at.slot).filter(|row| {
                row.generation == at.generation && row.tenant == tenant.0 && !row.is_free()
            });
            if let Some(row) = row {
                row.touch(self.hour);
                slots.push(at.slot);
            }
        }
        match refs.len() - slots.len() {
            0 => Ok(slots),
            count => Err(Error::StaleSeries { count }),
        }
    }

    /// The slot of `tenant`'s series with this id; marks it as used.
    pub(crate) fn slot(&self, tenant: TenantId, id: u64) -> Option<u32> {
        let slot = self.known.slot(id)?;
        let row = self.known.rows.row(slot);
        row.touch(self.hour);
        (row.tenant == tenant.0).then_some(slot)
    }

    /// The slot of the series with this id.
    pub(crate) fn slot_of(&self, id: SeriesId) -> Option<u32> {
        self.known.slot(id.0)
    }

    /// Whether the series with this id is active and has rows. One that was let go and resolved again has none until
    /// the next one comes, and is still found in segments.
    pub(crate) fn is_visible(&self, id: SeriesId) -> bool {
        self.slot_of(id).is_some_and(|slot| self.known.rows.row(slot).is_visible())
    }

    pub(crate) fn id(&self, slot: u32) -> u64 {
        self.known.rows.row(slot).id
    }

    /// Whether `slot` still stands, or last stood, for the series with this id.
    pub(crate) fn is_at(&self, slot: u32, id: SeriesId) -> bool {
        self.known.rows.get(slot).is_some_and(|row| row.id == id.0)
    }

    /// Number of its metric: series with the same one have the same name and kind.
    pub(crate) fn metric(&self, slot: u32) -> u32 {
        self.known.rows.row(slot).metric
    }

    /// Native metric name, kind and temporality.
    pub(crate) fn nature(&self, slot: u32) -> (Arc<str>, u8, u8) {
        let metric = self.known.metrics.get(self.known.rows.row(slot).metric);
        (Arc::clone(self.known.symbols.text(metric.name)), metric.kind, metric.temporality)
    }

    pub(crate) fn resource_id(&self, slot: u32) -> ResourceId {
        self.known.resource_id(self.known.rows.row(slot))
    }

    pub(crate) fn resource(&self, slot: u32) -> Option<&Arc<Resource>> {
        self.known.resource(self.known.rows.row(slot))
    }

    pub(crate) fn series(&self, slot: u32) -> Arc<Series> {
        self.known.series(slot)
    }

    /// Notes rows of series at these times in ms; from then on queries see the series.
    pub(crate) fn seen(&self, rows: impl IntoIterator<Item = (u32, i64)>) {
        // Rows of one resource mostly stand together: it is told once.
        let mut newest: Option<(u32, i64)> = None;
        for (slot, ms) in rows {
            let row = self.known.rows.row(slot);
            row.seen(ms);
            match &mut newest {
                Some((of, newest)) if self.known.rows.row(*of).resource == row.resource => {
                    *newest = ms.max(*newest);
                }
                _ => {
                    self.tell_resource(newest);
                    newest = Some((slot, ms));
                }
            }
        }
        self.tell_resource(newest);
    }

    fn tell_resource(&self, newest: Option<(u32, i64)>) {
        if let Some((resource, ms)) = newest.and_then(|(slot, ms)| Some((self.resource(slot)?, ms)))
        {
            resource.seen(ms);
        }
    }

    pub(crate) fn needs_definition(&self, slot: u32, day: i64) -> bool {
        self.known.rows.row(slot).needs_definition(day)
    }

    pub(crate) fn define(&self, slot: u32, day: i64) {
        self.known.rows.row(slot).define(day);
    }

    pub(crate) fn flush(&self, slot: u32, day: i64) {
        self.known.rows.row(slot).flush(day);
    }

    pub(crate) fn is_flushed(&self, slot: u32, day: i64) -> bool {
        self.known.rows.row(slot).is_flushed(day)
    }
}
