//! Series, resources and bucket bounds known to the store: interned once, looked up by id, name and label.
//!
//! Called by `ingest` to turn definitions into ids, by replay and open to bring them back, and by queries to select. A
//! series that was idle for two hours leaves; it comes back by being resolved again, under the same id, and queries over
//! old data find it in the segments of table `series` ([`past`]).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use model::attribute::{Attribute, AttributeValue};
use model::id::{ResourceId, SeriesId, TenantId};
use model::metric::SeriesDef;
use model::time::{NS_PER_S, Timestamp};

use crate::error::Error;
use crate::registry::identity::series_hash;
use crate::registry::known::Known;
use crate::registry::select::Filter;
pub use crate::registry::select::Kinds;
use crate::sample::{Resolved, SeriesRef};
use crate::scan::ScanLimit;

pub use crate::registry::identity::resource_id;
pub(crate) use crate::registry::past::Past;
pub(crate) use crate::registry::view::SeriesView;

mod identity;
mod interned;
mod known;
mod past;
mod posting;
mod rows;
pub(crate) mod select;
mod symbols;
mod table;
mod view;

/// New series after which the registry is measured again.
const MEASURE_EACH: usize = 1_024;
/// Hours without a sample after which a series may leave.
const IDLE_HOURS: u32 = 2;

/// Bytes of memory a [`Series`] takes, with nine labels and what a query keeps besides.
const SERIES_BYTES: usize = 768;

/// A series as a query sees it, made for those it selects.
#[derive(Debug)]
pub struct Series {
    /// Identity, unique within the store.
    pub id: SeriesId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What defines it: the first definition seen under this identity.
    pub def: SeriesDef,
    /// Place in the heads; `None` when it has no rows there.
    pub(crate) slot: Option<u32>,
    resource: Option<Arc<Resource>>,
    /// Newest row's time in ms when it was selected; `i64::MIN` while nothing of it was durable.
    last_ms: i64,
}

/// Where a definition is durable, as days since the epoch.
#[derive(Debug)]
pub(crate) struct Days {
    /// Day, by our clock, on which it was last written to the log.
    pub(crate) defined: AtomicI64,
    /// Newest day of data whose segments hold it.
    pub(crate) flushed: AtomicI64,
    /// Hour, by our clock, in which it was last asked for.
    used: AtomicU32,
}

impl Days {
    fn new(hour: u32) -> Self {
        Self {
            defined: AtomicI64::new(i64::MIN),
            flushed: AtomicI64::new(i64::MIN),
            used: AtomicU32::new(hour),
        }
    }

    /// Whether a batch of `day` must carry the definition: until then only another, unsynced batch may hold it.
    pub(crate) fn needs_definition(&self, day: i64) -> bool {
        self.defined.load(Ordering::Acquire) < day
    }

    pub(crate) fn define(&self, day: i64) {
        self.defined.fetch_max(day, Ordering::AcqRel);
    }

    pub(crate) fn flush(&self, day: i64) {
        self.flushed.fetch_max(day, Ordering::AcqRel);
    }

    pub(crate) fn is_flushed(&self, day: i64) -> bool {
        self.flushed.load(Ordering::Acquire) == day
    }

    fn touch(&self, hour: u32) {
        self.used.fetch_max(hour, Ordering::Relaxed);
    }

    fn is_idle(&self, hour: u32) -> bool {
        self.used.load(Ordering::Acquire) < hour
    }
}

impl Series {
    /// What emitted it; `None` when the resource was never told.
    #[must_use]
    pub fn resource(&self) -> Option<&Arc<Resource>> {
        self.resource.as_ref()
    }

    /// Time of its newest row when it was selected; `None` while nothing of it was durable. After a restart it may be
    /// up to a day too old.
    #[must_use]
    pub fn last_time(&self) -> Option<Timestamp> {
        (self.last_ms != i64::MIN).then(|| Timestamp::from_ms(self.last_ms))
    }
}

/// What emits telemetry, as `collector` hands it to the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceDef {
    /// Its attributes, in any order; keys are unique.
    pub attributes: Vec<Attribute>,
}

/// A resource as the store knows it.
#[derive(Debug)]
pub struct Resource {
    /// Identity: hash of the sorted attributes.
    pub id: ResourceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its attributes, sorted by key.
    pub def: ResourceDef,
    last_ms: AtomicI64,
    pub(crate) days: Days,
}

/// Explicit bucket bounds, interned by the hash of their bits.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) id: u64,
    pub(crate) values: Arc<[f64]>,
    pub(crate) days: Days,
}

impl Resource {
    /// Time of the newest row it emitted; `None` while nothing of it is durable. May be up to a day too old after a restart.
    #[must_use]
    pub fn last_time(&self) -> Option<Timestamp> {
        let ms = self.last_ms.load(Ordering::Acquire);
        (ms != i64::MIN).then(|| Timestamp::from_ms(ms))
    }

    pub(crate) fn seen(&self, ms: i64) {
        if self.last_ms.load(Ordering::Relaxed) < ms {
            self.last_ms.fetch_max(ms, Ordering::AcqRel);
        }
    }

    /// The text value of `key`; `None` when absent or not text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.def.attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| {
            match &attribute.value {
                AttributeValue::Str(text) => Some(text.as_str()),
                AttributeValue::Bool(_)
                | AttributeValue::Int(_)
                | AttributeValue::Double(_)
                | AttributeValue::Bytes(_)
                | AttributeValue::Array(_)
                | AttributeValue::Map(_) => None,
            }
        })
    }

    fn bytes(&self) -> usize {
        let of = |attribute: &Attribute| {
            let value = match &attribute.value {
                AttributeValue::Str(text) => text.len(),
                _ => 64,
            };
            size_of::<Attribute>() + attribute.key.len() + value + 32
        };
        size_of::<Self>() + 16 + self.def.attributes.iter().map(of).sum::<usize>()
    }
}

/// Ids are hashes already: hashing them again would only cost time.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

/// A map keyed by ids that are hashes.
pub(crate) type IdMap<V> = HashMap<u64, V, BuildHasherDefault<IdHasher>>;

/// Everything interned; shared by all tasks of one store.
pub(crate) struct Registry {
    known: RwLock<Known>,
    others: RwLock<Others>,
    series_max: usize,
    bytes_max: u64,
    /// Bytes it took when they were last counted.
    measured: AtomicU64,
    /// Now, in hours since the epoch.
    hour: AtomicU32,
    /// How often series left: what was made of segments may lack them since.
    n_evictions: AtomicU64,
    n_evicted: AtomicU64,
}

#[derive(Default)]
struct Others {
    resources: HashMap<(TenantId, u64), Arc<Resource>>,
    resource_bytes: usize,
    bounds: IdMap<Arc<Bounds>>,
}

/// An hour of our clock, counted from the epoch.
pub(crate) fn hour_of(now: Timestamp) -> u32 {
    u32::try_from(now.0.div_euclid(3_600 * NS_PER_S)).unwrap_or(0)
}

impl Registry {
    pub(crate) fn new(series_max: usize, bytes_max: u64) -> Self {
        Self {
            known: RwLock::default(),
            others: RwLock::default(),
            series_max,
            bytes_max,
            measured: AtomicU64::new(0),
            hour: AtomicU32::new(0),
            n_evictions: AtomicU64::new(0),
            n_evicted: AtomicU64::new(0),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> RwLockReadGuard<'_, Others> {
        self.others.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn others_mut(&self) -> RwLockWriteGuard<'_, Others> {
        self.others.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the time: what is asked for from now on was used in this hour.
    pub(crate) fn tick(&self, now: Timestamp) -> u32 {
        self.hour.fetch_max(hour_of(now), Ordering::Relaxed).max(hour_of(now))
    }

    fn hour(&self) -> u32 {
        self.hour.load(Ordering::Relaxed)
    }

    /// Bytes it takes, as of the last thousand series.
    pub(crate) fn bytes(&self) -> u64 {
        self.measured.load(Ordering::Relaxed)
    }

    /// Counts the bytes it takes.
    pub(crate) fn measure(&self) -> u64 {
        let others = {
            let others = self.others();
            let bounds = others.bounds.values().map(|bounds| size_of_val(&*bounds.values) + 96);
            others.resource_bytes + others.resources.capacity() * 32 + bounds.sum::<usize>()
        };
        let bytes = (self.read().bytes() + others) as u64;
        self.measured.store(bytes, Ordering::Relaxed);
        bytes
    }

    /// The series of `def`, interned when new; `resource_of` finds what emitted it.
    pub(crate) fn resolve(
        &self,
        tenant: TenantId,
        def: &SeriesDef,
        resource_of: impl FnOnce(ResourceId) -> Option<Arc<Resource>>,
    ) -> Result<Resolved, Error> {
        let hash = series_hash(tenant, def);
        let find = |known: &Known| {
            let slot = known.find(tenant, def, hash)?;
            known.rows.row(slot).touch(self.hour());
            Some(known.resolved(slot))
        };
        if let Some(resolved) = find(&self.read()) {
            return Ok(resolved);
        }
        let bytes = self.bytes();
        if bytes >= self.bytes_max {
            let limit = self.bytes_max;
            return Err(Error::Full { what: "memory for series", used: bytes, limit });
        }
        let resource = resource_of(def.resource_id);
        let mut known = self.write();
        if let Some(resolved) = find(&known) {
            return Ok(resolved); // Another request was faster.
        }
        let full = |what, used: usize, limit: usize| {
            Err(Error::Full { what, used: used as u64, limit: limit as u64 })
        };
        if known.len() >= self.series_max {
            return full("series registry", known.len(), self.series_max);
        }
        if def.labels.len() > usize::from(u16::MAX) {
            return full("label set of a series", def.labels.len(), usize::from(u16::MAX));
        }
        let id = known.free_id(hash);
        let slot = known.add(id, tenant, def, resource.as_ref());
        known.rows.row(slot).touch(self.hour());
        let (resolved, n_series) = (known.resolved(slot), known.len());
        drop(known);
        if n_series < MEASURE_EACH || n_series.is_multiple_of(MEASURE_EACH) {
            self.measure();
        }
        Ok(resolved)
    }

    /// Brings back series under the ids they were recorded with; those that are there stay as they are.
    pub(crate) fn restore(
        &self,
        tenant: TenantId,
        series: impl IntoIterator<Item = (SeriesId, SeriesDef)>,
        mut then: impl FnMut(&SeriesView<'_>, u32),
    ) {
        for (id, def) in series {
            let resource = self.resource(tenant, def.resource_id);
            let mut known = self.write();
            let slot = match known.slot(id.0) {
                Some(slot) => slot,
                None => known.add(id.0, tenant, &def, resource.as_ref()),
            };
            known.rows.row(slot).touch(self.hour());
            drop(known);
            then(&self.view(), slot);
        }
        self.measure();
    }

    pub(crate) fn view(&self) -> SeriesView<'_> {
        SeriesView::new(self.read(), self.hour())
    }

    /// The active series with this id.
    pub(crate) fn by_id(&self, id: SeriesId) -> Option<Arc<Series>> {
        let known = self.read();
        known.slot(id.0).map(|slot| known.series(slot))
    }

    /// The series at a place; `None` once it left.
    pub(crate) fn at(&self, at: SeriesRef) -> Option<Arc<Series>> {
        let known = self.read();
        let row = known.rows.get(at.slot)?;
        (row.generation == at.generation && !row.is_free()).then(|| known.series(at.slot))
    }

    pub(crate) fn series_len(&self) -> usize {
        self.read().len()
    }

    /// Series that left since start.
    pub(crate) fn evicted(&self) -> u64 {
        self.n_evicted.load(Ordering::Relaxed)
    }

    pub(crate) fn put_resource(&self, tenant: TenantId, def: &ResourceDef) -> ResourceId {
        let id = resource_id(&def.attributes);
        if let Some(known) = self.others().resources.get(&(tenant, id.0)) {
            known.days.touch(self.hour());
            return id;
        }
        self.restore_resource(id, tenant, def.clone());
        id
    }

    pub(crate) fn restore_resource(
        &self,
        id: ResourceId,
        tenant: TenantId,
        def: ResourceDef,
    ) -> Arc<Resource> {
        let mut others = self.others_mut();
        if let Some(known) = others.resources.get(&(tenant, id.0)) {
            known.days.touch(self.hour());
            return Arc::clone(known);
        }
        let resource = Arc::new(Resource::new(id, tenant, def, self.hour()));
        others.resource_bytes += resource.bytes();
        others.resources.insert((tenant, id.0), Arc::clone(&resource));
        drop(others);
        self.write().set_resource(&resource);
        resource
    }

    pub(crate) fn resource(&self, tenant: TenantId, id: ResourceId) -> Option<Arc<Resource>> {
        self.others().resources.get(&(tenant, id.0)).cloned()
    }

    /// Likewise for a row on its way in: the resource stays for a while.
    pub(crate) fn use_resource(&self, tenant: TenantId, id: ResourceId) -> Option<Arc<Resource>> {
        self.resource(tenant, id).inspect(|resource| resource.days.touch(self.hour()))
    }

    pub(crate) fn resources(&self, tenant: TenantId) -> Vec<Arc<Resource>> {
        let others = self.others();
        let of_tenant = others.resources.values().filter(|resource| resource.tenant == tenant);
        let mut resources: Vec<_> = of_tenant.cloned().collect();
        drop(others);
        resources.sort_by_key(|resource| resource.id);
        resources
    }

    pub(crate) fn resources_len(&self) -> usize {
        self.others().resources.len()
    }

    pub(crate) fn put_bounds(&self, id: u64, values: &[f64]) -> Arc<Bounds> {
        if let Some(known) = self.bounds(id) {
            known.days.touch(self.hour());
            return known;
        }
        let days = Days::new(self.hour());
        let fresh = || Arc::new(Bounds { id, values: Arc::from(values), days });
        Arc::clone(self.others_mut().bounds.entry(id).or_insert_with(fresh))
    }

    pub(crate) fn bounds(&self, id: u64) -> Option<Arc<Bounds>> {
        self.others().bounds.get(&id).cloned()
    }

    /// Lets go of series idle for two hours, and of resources and bounds that nothing refers to any more. All rows that
    /// came in before `before` must be in segments. Returns the slots, to be given to [`reuse`](Self::reuse) once
    /// nobody reads heads that knew them.
    pub(crate) fn evict(&self, before: u32) -> Vec<u32> {
        let limit = before.min(self.hour().saturating_sub(IDLE_HOURS));
        let mut known = self.write();
        let slots = known.evict(limit);
        let mut others = self.others_mut();
        let is_dead = |resource: &Arc<Resource>| {
            resource.days.is_idle(limit) && !known.has_series_of(resource.tenant, resource.id)
        };
        let mut freed = 0;
        others.resources.retain(|_, resource| {
            let is_dead = is_dead(resource);
            freed += if is_dead { resource.bytes() } else { 0 };
            !is_dead
        });
        others.resource_bytes -= freed;
        others.bounds.retain(|_, bounds| !bounds.days.is_idle(limit));
        if !slots.is_empty() || freed > 0 {
            // Before the locks are let go of: a selection between the two would miss who leaves.
            self.n_evictions.fetch_add(1, Ordering::AcqRel);
        }
        drop((known, others));
        self.measure();
        if !slots.is_empty() || freed > 0 {
            self.n_evicted.fetch_add(slots.len() as u64, Ordering::Relaxed);
        }
        slots
    }

    /// Gives slots of evicted series to new ones.
    pub(crate) fn reuse(&self, slots: Vec<u32>) {
        self.write().reuse(slots);
    }

    /// Visible active series of `tenant` that satisfy all `matchers`, in no order.
    fn select_active(
        &self,
        tenant: TenantId,
        filter: &Filter,
        limit: &ScanLimit,
    ) -> Result<Vec<Arc<Series>>, Error> {
        let known = self.read();
        let slots = known.visible(&filter.select(&known, tenant));
        limit.grow(slots.len(), SERIES_BYTES)?;
        Ok(slots.into_iter().map(|slot| known.series(slot)).collect())
    }

    /// Visible active series of `tenant` that satisfy all `matchers`, ordered by Prometheus name, then labels.
    #[cfg(test)]
    pub(crate) fn select(
        &self,
        tenant: TenantId,
        matchers: &[model::matcher::Matcher],
    ) -> Result<Vec<Arc<Series>>, Error> {
        let limit = ScanLimit::default();
        let mut selected =
            self.select_active(tenant, &Filter::new(matchers, Kinds::All)?, &limit)?;
        sort(&mut selected);
        Ok(selected)
    }
}

impl Resource {
    fn new(id: ResourceId, tenant: TenantId, mut def: ResourceDef, hour: u32) -> Self {
        def.attributes.sort_by(|a, b| a.key.cmp(&b.key));
        Self { id, tenant, def, last_ms: AtomicI64::new(i64::MIN), days: Days::new(hour) }
    }
}

/// Puts series into the order (Prometheus name, Prometheus labels, id).
fn sort(series: &mut [Arc<Series>]) {
    series.sort_by(|a, b| {
        let key = |series: &Arc<Series>| series.id;
        a.def
            .prom_name
            .cmp(&b.def.prom_name)
            .then_with(|| a.def.prom_labels.cmp(&b.def.prom_labels))
            .then_with(|| key(a).cmp(&key(b)))
    });
}

#[cfg(test)]
mod tests;
