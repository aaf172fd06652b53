//! Series, resources and bucket bounds known to the store: interned once, looked up by id, name and label.
//!
//! Called by `ingest` to turn definitions into ids, by replay and open to bring them back, and by queries to select.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use model::attribute::{Attribute, AttributeValue};
use model::id::{ResourceId, SeriesId, TenantId};
use model::matcher::Matcher;
use model::metric::SeriesDef;
use model::time::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Error;
use crate::registry::select::{Filter, Index};
use crate::sample::{Resolved, SeriesRef};

pub(crate) mod select;

/// A series as the store knows it.
#[derive(Debug)]
pub struct Series {
    /// Identity, unique within the store.
    pub id: SeriesId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What defines it: the first definition seen under this identity.
    pub def: SeriesDef,
    /// Dense number, valid while the process runs; what the head keeps instead of the id.
    pub(crate) slot: u32,
    resource: Option<Arc<Resource>>,
    /// Newest row's time in ms; `i64::MIN` while nothing of it is durable.
    last_ms: AtomicI64,
    pub(crate) days: Days,
}

/// Where a definition is durable, as days since the epoch.
#[derive(Debug)]
pub(crate) struct Days {
    /// Day, by our clock, on which it was last written to the log.
    pub(crate) defined: AtomicI64,
    /// Newest day of data whose segments hold it.
    pub(crate) flushed: AtomicI64,
}

impl Default for Days {
    fn default() -> Self {
        Self { defined: AtomicI64::new(i64::MIN), flushed: AtomicI64::new(i64::MIN) }
    }
}

impl Days {
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
}

impl Series {
    /// What emitted it; `None` when the resource was never told.
    #[must_use]
    pub fn resource(&self) -> Option<&Arc<Resource>> {
        self.resource.as_ref()
    }

    /// Time of its newest row; `None` while nothing of it is durable. After a restart it may be up to a day too old.
    #[must_use]
    pub fn last_time(&self) -> Option<Timestamp> {
        let ms = self.last_ms.load(Ordering::Acquire);
        (ms != i64::MIN).then(|| Timestamp::from_ms(ms))
    }

    /// Notes a row at `ms`; from then on queries see the series.
    pub(crate) fn seen(&self, ms: i64) {
        raise(&self.last_ms, ms);
        if let Some(resource) = &self.resource {
            resource.seen(ms);
        }
    }

    pub(crate) fn is_visible(&self) -> bool {
        self.last_ms.load(Ordering::Acquire) != i64::MIN
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

/// Raises `value` to `at`; a plain read when it is there already, as for most rows of a batch.
fn raise(value: &AtomicI64, at: i64) {
    if value.load(Ordering::Relaxed) < at {
        value.fetch_max(at, Ordering::AcqRel);
    }
}

impl Resource {
    /// Time of the newest row it emitted; `None` while nothing of it is durable. May be up to a day too old after a restart.
    #[must_use]
    pub fn last_time(&self) -> Option<Timestamp> {
        let ms = self.last_ms.load(Ordering::Acquire);
        (ms != i64::MIN).then(|| Timestamp::from_ms(ms))
    }

    pub(crate) fn seen(&self, ms: i64) {
        raise(&self.last_ms, ms);
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
    series_max: usize,
    bytes_max: u64,
}

#[derive(Default)]
struct Known {
    series_by_id: IdMap<u32>,
    series: Vec<Arc<Series>>,
    index: HashMap<TenantId, Index>,
    resources: HashMap<(TenantId, u64), Arc<Resource>>,
    bounds: IdMap<Arc<Bounds>>,
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Series by slot and by id, held still for one batch.
pub(crate) struct SeriesView<'a>(RwLockReadGuard<'a, Known>);

impl SeriesView<'_> {
    pub(crate) fn slot(&self, id: u64) -> Option<u32> {
        self.0.series_by_id.get(&id).copied()
    }

    pub(crate) fn series(&self, slot: u32) -> &Arc<Series> {
        &self.0.series[slot as usize]
    }

    /// Slots of `refs`, which must be series of `tenant`.
    pub(crate) fn slots(&self, tenant: TenantId, refs: &[SeriesRef]) -> Result<Vec<u32>, Error> {
        let holds = |at: &&SeriesRef| {
            let series = self.0.series.get(at.slot as usize);
            series.is_some_and(|series| series.tenant == tenant && at.generation == GENERATION)
        };
        let count = refs.len() - refs.iter().filter(holds).count();
        if count > 0 {
            return Err(Error::StaleSeries { count });
        }
        Ok(refs.iter().map(|at| at.slot).collect())
    }
}

/// Of slots that are never used again there is one generation.
const GENERATION: u32 = 0;

impl Registry {
    pub(crate) fn new(series_max: usize, bytes_max: u64) -> Self {
        Self { known: RwLock::default(), series_max, bytes_max }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of `def`, interned when new.
    pub(crate) fn resolve(&self, tenant: TenantId, def: &SeriesDef) -> Result<Resolved, Error> {
        let hash = series_hash(tenant, def);
        if let Some(resolved) = self.read().find(tenant, def, hash) {
            return Ok(resolved);
        }
        let bytes = self.bytes();
        if bytes >= self.bytes_max {
            return Err(Error::Full {
                what: "memory for series",
                used: bytes,
                limit: self.bytes_max,
            });
        }
        let mut known = self.write();
        if let Some(resolved) = known.find(tenant, def, hash) {
            return Ok(resolved); // Another request was faster.
        }
        if known.series.len() >= self.series_max {
            let limit = self.series_max as u64;
            return Err(Error::Full {
                what: "series registry",
                used: known.series.len() as u64,
                limit,
            });
        }
        let mut id = hash;
        while known.series_by_id.contains_key(&id) {
            id = id.wrapping_add(1); // A clash: the id is recorded with the series, so it stays.
        }
        let slot = known.add(SeriesId(id), tenant, def.clone());
        Ok(resolved(SeriesId(id), slot))
    }

    /// Brings back a series under the id it was recorded with. Returns it, whether it was new or not.
    pub(crate) fn restore(&self, id: SeriesId, tenant: TenantId, def: SeriesDef) -> Arc<Series> {
        let mut known = self.write();
        if let Some(&slot) = known.series_by_id.get(&id.0) {
            return Arc::clone(&known.series[slot as usize]);
        }
        let slot = known.add(id, tenant, def);
        Arc::clone(&known.series[slot as usize])
    }

    pub(crate) fn view(&self) -> SeriesView<'_> {
        SeriesView(self.read())
    }

    pub(crate) fn by_id(&self, id: SeriesId) -> Option<Arc<Series>> {
        let known = self.read();
        known.series_by_id.get(&id.0).map(|&slot| Arc::clone(&known.series[slot as usize]))
    }

    /// Bytes it takes, estimated: a series with ten labels was measured at about 1 KiB.
    pub(crate) fn bytes(&self) -> u64 {
        self.series_len() as u64 * 1024
    }

    pub(crate) fn series_len(&self) -> usize {
        self.read().series.len()
    }

    pub(crate) fn put_resource(&self, tenant: TenantId, def: &ResourceDef) -> ResourceId {
        let id = resource_id(&def.attributes);
        if self.read().resources.contains_key(&(tenant, id.0)) {
            return id;
        }
        self.restore_resource(id, tenant, def.clone());
        id
    }

    pub(crate) fn restore_resource(
        &self,
        id: ResourceId,
        tenant: TenantId,
        mut def: ResourceDef,
    ) -> Arc<Resource> {
        def.attributes.sort_by(|a, b| a.key.cmp(&b.key));
        let fresh = || {
            Arc::new(Resource {
                id,
                tenant,
                def,
                last_ms: AtomicI64::new(i64::MIN),
                days: Days::default(),
            })
        };
        Arc::clone(self.write().resources.entry((tenant, id.0)).or_insert_with(fresh))
    }

    pub(crate) fn resource(&self, tenant: TenantId, id: ResourceId) -> Option<Arc<Resource>> {
        self.read().resources.get(&(tenant, id.0)).cloned()
    }

    pub(crate) fn resources(&self, tenant: TenantId) -> Vec<Arc<Resource>> {
        let known = self.read();
        let mut resources: Vec<_> = known
            .resources
            .values()
            .filter(|resource| resource.tenant == tenant)
            .cloned()
            .collect();
        drop(known);
        resources.sort_by_key(|resource| resource.id);
        resources
    }

    pub(crate) fn put_bounds(&self, id: u64, values: &[f64]) -> Arc<Bounds> {
        if let Some(known) = self.bounds(id) {
            return known;
        }
        let fresh = || Arc::new(Bounds { id, values: Arc::from(values), days: Days::default() });
        Arc::clone(self.write().bounds.entry(id).or_insert_with(fresh))
    }

    pub(crate) fn bounds(&self, id: u64) -> Option<Arc<Bounds>> {
        self.read().bounds.get(&id).cloned()
    }

    /// Visible series of `tenant` that satisfy all `matchers`, ordered by Prometheus name, then labels.
    pub(crate) fn select(
        &self,
        tenant: TenantId,
        matchers: &[Matcher],
    ) -> Result<Vec<Arc<Series>>, Error> {
        let filter = Filter::new(matchers)?;
        let known = self.read();
        let mut selected: Vec<Arc<Series>> = match known.index.get(&tenant) {
            Some(index) => filter.select(index, &known.series),
            None => Vec::new(),
        };
        drop(known);
        selected.sort_by(|a, b| {
            (&a.def.prom_name, &a.def.prom_labels, a.id).cmp(&(
                &b.def.prom_name,
                &b.def.prom_labels,
                b.id,
            ))
        });
        Ok(selected)
    }
}

impl Known {
    fn find(&self, tenant: TenantId, def: &SeriesDef, hash: u64) -> Option<Resolved> {
        let mut id = hash;
        loop {
            let series = &self.series[*self.series_by_id.get(&id)? as usize];
            if is_same(series, tenant, def) {
                return Some(resolved(series.id, series.slot));
            }
            id = id.wrapping_add(1);
        }
    }

    fn add(&mut self, id: SeriesId, tenant: TenantId, def: SeriesDef) -> u32 {
        let slot = u32::try_from(self.series.len()).expect("the series limit is far below 2^32");
        self.index.entry(tenant).or_default().add(slot, &def);
        let resource = self.resources.get(&(tenant, def.resource_id.0)).cloned();
        self.series_by_id.insert(id.0, slot);
        self.series.push(Arc::new(Series {
            id,
            tenant,
            def,
            slot,
            resource,
            last_ms: AtomicI64::new(i64::MIN),
            days: Days::default(),
        }));
        slot
    }
}

fn resolved(id: SeriesId, slot: u32) -> Resolved {
    Resolved { id, at: SeriesRef { slot, generation: GENERATION } }
}

/// Identity of a series is its tenant, metric, labels and resource; everything else describes it.
fn is_same(series: &Series, tenant: TenantId, def: &SeriesDef) -> bool {
    series.tenant == tenant
        && series.def.resource_id == def.resource_id
        && series.def.metric == def.metric
        && series.def.labels == def.labels
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// xxh3-64 of the canonical bytes of a series (`docs/format/segment.md`).
fn series_hash(tenant: TenantId, def: &SeriesDef) -> u64 {
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        out.extend_from_slice(&tenant.0.to_le_bytes());
        out.extend_from_slice(&def.resource_id.0.to_le_bytes());
        put_text(out, &def.metric);
        for (name, value) in def.labels.iter() {
            put_text(out, name);
            put_text(out, value);
        }
        xxh3_64(out)
    })
}

/// Identity of a resource: xxh3-64 of its attributes, sorted by key, in canonical bytes (`docs/format/segment.md`).
#[must_use]
pub fn resource_id(attributes: &[Attribute]) -> ResourceId {
    let mut sorted: Vec<&Attribute> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut out = Vec::with_capacity(256);
    for attribute in sorted {
        put_text(&mut out, &attribute.key);
        put_value(&mut out, &attribute.value);
    }
    ResourceId(xxh3_64(&out))
}

fn put_value(out: &mut Vec<u8>, value: &AttributeValue) {
    match value {
        AttributeValue::Str(text) => {
            out.push(1);
            put_text(out, text);
        }
        AttributeValue::Bool(truth) => out.extend_from_slice(&[2, u8::from(*truth)]),
        AttributeValue::Int(number) => {
            out.push(3);
            out.extend_from_slice(&number.to_le_bytes());
        }
        AttributeValue::Double(number) => {
            out.push(4);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        AttributeValue::Bytes(bytes) => {
            out.push(5);
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        AttributeValue::Array(items) => {
            out.push(6);
            out.extend_from_slice(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| put_value(out, item));
        }
        AttributeValue::Map(entries) => {
            out.push(7);
            out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
            for entry in entries {
                put_text(out, &entry.key);
                put_value(out, &entry.value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
