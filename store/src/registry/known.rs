//! Everything interned, behind the registry's lock: rows of series with their symbols, and what finds them.
//!
//! Prometheus labels cost nothing a series where they follow from the native ones: names translate symbol to symbol, and
//! what is added (job, instance, promoted attributes) is a set that the series of a resource share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, Ordering};

use model::id::{ResourceId, SeriesId, TenantId};
use model::metric::{Labels, MetricKind, SeriesDef, Temporality};
use roaring::RoaringBitmap;

use crate::registry::identity::series_hash;
use crate::registry::interned::Interned;
use crate::registry::posting::{Index, SymbolMap, post, unpost};
use crate::registry::rows::{EXPLICIT, FREE, PINNED, Pair, Pairs, Row, Rows};
use crate::registry::symbols::{Symbol, Symbols};
use crate::registry::table::SlotTable;
use crate::registry::{Resource, Series};
use crate::sample::{Resolved, SeriesRef};

/// What the series of a metric have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Metric {
    pub(super) name: Symbol,
    pub(super) prom_name: Symbol,
    unit: Symbol,
    help: Symbol,
    pub(super) kind: u8,
    pub(super) temporality: u8,
}

/// Series of one registry, or of one segment's table `series`.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) symbols: Symbols,
    pub(super) rows: Rows,
    pub(super) metrics: Interned<Metric>,
    pairs: Pairs,
    ids: SlotTable,
    extras: Interned<Arc<[Pair]>>,
    extra_bytes: usize,
    /// Prometheus' spelling of each label name in use.
    translated: SymbolMap<Symbol>,
    index: HashMap<TenantId, Index>,
    emitters: Interned<(TenantId, ResourceId)>,
    /// Resources by the number their id has in `emitters`.
    resources: Vec<Option<Arc<Resource>>>,
    free: Vec<u32>,
    n_series: usize,
}

/// Label name as Prometheus spells it, if nothing else is meant by it; what differs is kept explicitly.
fn spell(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}

impl Known {
    /// Bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.symbols.bytes()
            + self.rows.bytes()
            + self.metrics.bytes()
            + self.pairs.bytes()
            + self.ids.bytes()
            + self.extras.bytes()
            + self.extra_bytes
            + self.translated.capacity() * (size_of::<Pair>() + 1)
            + self.index.values().map(Index::bytes).sum::<usize>()
            + self.emitters.bytes()
            + self.resources.capacity() * size_of::<Option<Arc<Resource>>>()
            + self.free.capacity() * size_of::<u32>()
    }

    pub(super) fn len(&self) -> usize {
        self.n_series
    }

    pub(super) fn index(&self, tenant: TenantId) -> Option<&Index> {
        self.index.get(&tenant)
    }

    pub(super) fn slot(&self, id: u64) -> Option<u32> {
        self.ids.find(id, |slot| self.rows.row(slot).id == id)
    }

    pub(super) fn resolved(&self, slot: u32) -> Resolved {
        let row = self.rows.row(slot);
        Resolved { id: SeriesId(row.id), at: SeriesRef { slot, generation: row.generation } }
    }

    /// The slot of the series `def` defines; `hash` is that of its identity.
    pub(super) fn find(&self, tenant: TenantId, def: &SeriesDef, hash: u64) -> Option<u32> {
        let mut id = hash;
        loop {
            let slot = self.slot(id)?;
            if self.is_same(self.rows.row(slot), tenant, def) {
                return Some(slot);
            }
            id = id.wrapping_add(1);
        }
    }

    /// Identity of a series is its tenant, metric, labels and resource; everything else describes it.
    fn is_same(&self, row: &Row, tenant: TenantId, def: &SeriesDef) -> bool {
        let text = |symbol: Symbol| &**self.symbols.text(symbol);
        let pairs = self.pairs.get(row.labels_at, row.n_labels);
        row.tenant == tenant.0
            && self.emitters.get(row.resource).1 == def.resource_id
            && text(self.metrics.get(row.metric).name) == def.metric
            && pairs.len() == def.labels.len()
            && pairs.iter().zip(def.labels.iter()).all(
                |((name, value), (their_name, their_value))| {
                    text(*name) == their_name && text(*value) == their_value
                },
            )
    }

    /// An id nobody has for a new series: its hash, or after a clash the next free number.
    pub(super) fn free_id(&self, hash: u64) -> u64 {
        let mut id = hash;
        while self.slot(id).is_some() {
            id = id.wrapping_add(1); // A clash: the id is recorded with the series, so it stays.
        }
        id
    }

    /// Adds a series that is not there yet. `resource` is what emitted it, when known.
    pub(super) fn add(
        &mut self,
        id: u64,
        tenant: TenantId,
        def: &SeriesDef,
        resource: Option<&Arc<Resource>>,
    ) -> u32 {
        let metric = self.take_metric(def);
        let labels: Vec<Pair> = self.take_pairs(def.labels.iter().take(usize::from(u16::MAX)));
        let (extra, state) = self.take_extra(def, &labels);
        let (emitter, _) = self.emitters.take((tenant, def.resource_id));
        if self.resources.len() <= emitter as usize {
            self.resources.resize(emitter as usize + 1, None);
        }
        if let Some(resource) = resource {
            self.resources[emitter as usize] = Some(Arc::clone(resource));
        }
        let row = Row {
            id,
            last_ms: AtomicI64::new(i64::MIN),
            defined: AtomicI32::new(i32::MIN),
            flushed: AtomicI32::new(i32::MIN),
            used: AtomicU32::new(0),
            tenant: tenant.0,
            generation: 0,
            metric,
            resource: emitter,
            extra,
            labels_at: self.pairs.put(&labels),
            n_labels: u16::try_from(labels.len()).unwrap_or(u16::MAX),
            state,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                let place = self.rows.row_mut(slot);
                *place = Row { generation: place.generation.wrapping_add(1), ..row };
                slot
            }
            None => self.rows.push(row),
        };
        let rows = &self.rows;
        self.ids.insert(id, slot, |other| rows.row(other).id);
        self.n_series += 1;
        self.set_postings(slot, true);
        self.pin_clash(id, slot, series_hash(tenant, def));
        slot
    }

    fn take_metric(&mut self, def: &SeriesDef) -> u32 {
        let metric = Metric {
            name: self.symbols.take(&def.metric),
            prom_name: self.symbols.take(&def.prom_name),
            unit: self.symbols.take(&def.unit),
            help: self.symbols.take(&def.help),
            kind: def.kind as u8,
            temporality: def.temporality as u8,
        };
        let (number, is_new) = self.metrics.take(metric);
        if !is_new {
            self.release_metric(metric);
        }
        number
    }

    fn release_metric(&mut self, metric: Metric) {
        let Metric { name, prom_name, unit, help, .. } = metric;
        [name, prom_name, unit, help].iter().for_each(|symbol| self.symbols.release(*symbol));
    }

    fn take_pairs<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Pair> {
        labels.map(|(name, value)| (self.symbols.take(name), self.symbols.take(value))).collect()
    }

    fn release_pairs(&mut self, pairs: &[Pair]) {
        for (name, value) in pairs {
            self.symbols.release(*name);
            self.symbols.release(*value);
        }
    }

    fn translate(&mut self, name: Symbol) -> Symbol {
        if let Some(symbol) = self.translated.get(&name) {
            return *symbol;
        }
        let spelled = spell(self.symbols.text(name));
        self.symbols.hold(name);
        let is_own = **self.symbols.text(name) == *spelled;
        let symbol = if is_own { name } else { self.symbols.take(&spelled) };
        self.translated.insert(name, symbol);
        symbol
    }

    /// The Prometheus labels that do not follow from `labels`; all of them when one contradicts.
    fn take_extra(&mut self, def: &SeriesDef, labels: &[Pair]) -> (u32, u8) {
        let mut derived: Vec<Symbol> = Vec::with_capacity(labels.len());
        let mut follows = true;
        for (name, value) in labels {
            let spelled = self.translate(*name);
            let given = def.prom_labels.value(self.symbols.text(spelled));
            follows &= given == Some(&**self.symbols.text(*value)) && !derived.contains(&spelled);
            derived.push(spelled);
        }
        if !follows {
            derived.clear();
        }
        let is_derived =
            |name: &str| derived.iter().any(|symbol| **self.symbols.text(*symbol) == *name);
        let added: Vec<(&str, &str)> =
            def.prom_labels.iter().filter(|(name, _)| !is_derived(name)).collect();
        let pairs = self.take_pairs(added.into_iter());
        let (number, is_new) = self.extras.take(Arc::from(pairs.as_slice()));
        if is_new {
            self.extra_bytes += size_of_val(pairs.as_slice()) + 24;
        } else {
            self.release_pairs(&pairs);
        }
        (number, if follows { 0 } else { EXPLICIT })
    }

    /// The Prometheus labels of a row, in no order.
    pub(super) fn prom_pairs(&self, row: &Row) -> impl Iterator<Item = Pair> {
        let n_labels = if row.state & EXPLICIT == 0 { row.n_labels } else { 0 };
        let labels = self.pairs.get(row.labels_at, n_labels).iter();
        labels
            .map(|(name, value)| (self.translated.get(name).copied().unwrap_or(*name), *value))
            .chain(self.extras.get(row.extra).iter().copied())
    }

    fn set_postings(&mut self, slot: u32, is_added: bool) {
        let row = self.rows.row(slot);
        let set = if is_added { post } else { unpost };
        let pairs: Vec<Pair> = self.prom_pairs(row).collect();
        let metric = self.metrics.get(row.metric);
        let index = self.index.entry(TenantId(row.tenant)).or_default();
        if is_added {
            index.all.insert(slot);
        } else {
            index.all.remove(slot);
        }
        set(&mut index.names, metric.prom_name, slot);
        if metric.name != metric.prom_name {
            set(&mut index.natives, metric.name, slot);
        }
        for (name, value) in pairs {
            let values = index.labels.entry(name).or_default();
            set(values, value, slot);
            if values.is_empty() {
                index.labels.remove(&name);
            }
        }
    }

    /// Series whose ids clashed stay: a search goes from the hash upwards and must meet all of them.
    fn pin_clash(&mut self, id: u64, slot: u32, hash: u64) {
        if id != hash {
            self.rows.row_mut(slot).state |= PINNED;
            let mut before = hash;
            while before != id && id.wrapping_sub(before) < 64 {
                if let Some(slot) = self.slot(before) {
                    self.rows.row_mut(slot).state |= PINNED;
                }
                before = before.wrapping_add(1);
            }
        } else if let Some(next) = self.slot(id.wrapping_add(1))
            && self.rows.row(next).state & PINNED != 0
        {
            self.rows.row_mut(slot).state |= PINNED;
        }
    }

    /// Lets a series go. Its slot is not used again before [`reuse`](Self::reuse).
    fn remove(&mut self, slot: u32) {
        self.set_postings(slot, false);
        let row = self.rows.row_mut(slot);
        row.state |= FREE;
        let (id, metric, extra, emitter) = (row.id, row.metric, row.extra, row.resource);
        let (labels_at, n_labels) = (row.labels_at, row.n_labels);
        let rows = &self.rows;
        self.ids.remove(id, slot, |other| rows.row(other).id);
        let labels = self.pairs.get(labels_at, n_labels).to_vec();
        self.release_pairs(&labels);
        self.pairs.release(labels_at, n_labels);
        if let Some(metric) = self.metrics.release(metric) {
            self.release_metric(metric);
        }
        if let Some(extra) = self.extras.release(extra) {
            self.extra_bytes -= size_of_val(&*extra) + 24;
            self.release_pairs(&extra);
        }
        if self.emitters.release(emitter).is_some() {
            self.resources[emitter as usize] = None;
        }
        self.n_series -= 1;
    }

    /// Lets go of the series last used before `hour`. Returns their slots.
    pub(super) fn evict(&mut self, hour: u32) -> Vec<u32> {
        let is_idle = |slot: &u32| {
            let row = self.rows.row(*slot);
            row.state & (PINNED | FREE) == 0 && row.used.load(Ordering::Acquire) < hour
        };
        let n_rows = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let idle: Vec<u32> = (0..n_rows).filter(is_idle).collect();
        idle.iter().for_each(|slot| self.remove(*slot));
        while self.forget_spellings() {}
        idle
    }

    /// Lets go of spellings of names that no label has. Returns whether there were any: a name may be the spelling of
    /// another one, which must go first.
    fn forget_spellings(&mut self) -> bool {
        let is_unused = |(name, _): &(&Symbol, &Symbol)| self.symbols.is_held_once(**name);
        let unused: Vec<Pair> =
            self.translated.iter().filter(is_unused).map(|(name, to)| (*name, *to)).collect();
        for (name, spelled) in &unused {
            self.translated.remove(name);
            self.symbols.release(*name);
            if spelled != name {
                self.symbols.release(*spelled);
            }
        }
        !unused.is_empty()
    }

    /// Gives slots that were evicted to new series.
    pub(super) fn reuse(&mut self, slots: Vec<u32>) {
        self.free.extend(slots);
    }

    /// Tells series that came before their resource what it is.
    pub(super) fn set_resource(&mut self, resource: &Arc<Resource>) {
        let key = (resource.tenant, resource.id);
        if self.emitters.holds(&key) {
            let (number, _) = self.emitters.take(key);
            self.emitters.release(number);
            self.resources[number as usize] = Some(Arc::clone(resource));
        }
    }

    /// Whether a series refers to the resource.
    pub(super) fn has_series_of(&self, tenant: TenantId, id: ResourceId) -> bool {
        self.emitters.holds(&(tenant, id))
    }

    pub(super) fn resource(&self, row: &Row) -> Option<&Arc<Resource>> {
        self.resources[row.resource as usize].as_ref()
    }

    pub(super) fn resource_id(&self, row: &Row) -> ResourceId {
        self.emitters.get(row.resource).1
    }

    /// What the series in `slot` measures.
    pub(super) fn kind(&self, slot: u32) -> MetricKind {
        MetricKind::from_u8(self.metrics.get(self.rows.row(slot).metric).kind)
    }

    /// The series in `slot`, its texts shared with the registry.
    pub(super) fn series(&self, slot: u32) -> Arc<Series> {
        let row = self.rows.row(slot);
        let text = |symbol: Symbol| Arc::clone(self.symbols.text(symbol));
        let shared = |(name, value): Pair| (text(name), text(value));
        let metric = self.metrics.get(row.metric);
        let native = self.pairs.get(row.labels_at, row.n_labels);
        let labels: Labels = Labels::shared(native.iter().copied().map(shared).collect());
        let extra = self.extras.get(row.extra);
        let is_own = |(name, _): &Pair| self.translated.get(name) == Some(name);
        let is_native = row.state & EXPLICIT == 0 && extra.is_empty() && native.iter().all(is_own);
        let prom_labels = if is_native {
            labels.clone()
        } else {
            Labels::shared(self.prom_pairs(row).map(shared).collect())
        };
        let string = |symbol: Symbol| self.symbols.text(symbol).to_string();
        let def = SeriesDef {
            metric: string(metric.name),
            labels,
            resource_id: self.resource_id(row),
            prom_name: string(metric.prom_name),
            prom_labels,
            kind: MetricKind::from_u8(metric.kind),
            temporality: Temporality::from_u8(metric.temporality),
            unit: string(metric.unit),
            help: string(metric.help),
        };
        Arc::new(Series {
            id: SeriesId(row.id),
            tenant: TenantId(row.tenant),
            def,
            slot: Some(slot),
            resource: self.resource(row).cloned(),
            last_ms: row.last_ms.load(Ordering::Acquire),
        })
    }

    /// Slots of the visible series among `slots`.
    pub(super) fn visible(&self, slots: &RoaringBitmap) -> Vec<u32> {
        slots.iter().filter(|slot| self.rows.row(*slot).is_visible()).collect()
    }
}
