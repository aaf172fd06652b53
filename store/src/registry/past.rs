//! Series and resources that are only in segments: found in the definition segments of the days asked about.
//!
//! Read when a query needs them and kept while there is room; until then a store of many days starts without them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::id::{ResourceId, SeriesId, TenantId};
use model::matcher::Matcher;
use model::time::{TimeRange, Timestamp};

use crate::definition::resource::read_resources;
use crate::definition::{read_bounds, read_series};
use crate::error::Error;
use crate::registry::known::Known;
use crate::registry::select::{Filter, Kinds};
use crate::registry::{IdMap, Registry, Resource, SERIES_BYTES, Series, sort};
use crate::scan::ScanLimit;
use crate::schema::Table;
use crate::segment::read::Segment;

/// Bytes of definitions kept between queries.
const BYTES_MAX: usize = 64 << 20;

/// The definitions of one segment that were not active when it was read.
enum Page {
    Series(Box<Known>),
    Resources(Vec<Arc<Resource>>),
    Bounds(IdMap<Arc<[f64]>>),
}

struct Kept {
    page: Arc<Page>,
    bytes: usize,
    /// Registry evictions when it was read: what left since is missing from it.
    n_evictions: u64,
    /// When it was last asked for, as a count.
    used: u64,
}

/// Definition segments, read once.
#[derive(Default)]
pub(crate) struct Past {
    kept: Mutex<HashMap<i64, Kept>>,
    n_asked: AtomicU64,
}

impl Past {
    fn kept(&self) -> MutexGuard<'_, HashMap<i64, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept().values().map(|kept| kept.bytes as u64).sum()
    }

    /// Series of `tenant` that satisfy all `matchers` and had rows on a day of `range`, active or not, in the order
    /// (Prometheus name, Prometheus labels, id). Blocks on disk reads the first time.
    pub(crate) fn select(
        &self,
        registry: &Registry,
        segments: &[Arc<Segment>],
        (tenant, matchers, kinds, range): (TenantId, &[Matcher], Kinds, TimeRange),
        limit: &ScanLimit,
    ) -> Result<Vec<Arc<Series>>, Error> {
        let filter = Filter::new(matchers, kinds)?;
        loop {
            let n_evictions = registry.n_evictions.load(Ordering::Acquire);
            let pages = self.pages(registry, segments, (tenant, Table::Series, range))?;
            // Reading takes its time: what woke up meanwhile is active now, what left is in pages read again.
            let selected = select(registry, &pages, (tenant, &filter), limit)?;
            if registry.n_evictions.load(Ordering::Acquire) == n_evictions {
                return Ok(selected);
            }
        }
    }

    /// The series with this id, active or not.
    pub(crate) fn series(
        &self,
        registry: &Registry,
        segments: &[Arc<Segment>],
        id: SeriesId,
    ) -> Result<Option<Arc<Series>>, Error> {
        if let Some(series) = registry.by_id(id) {
            return Ok(Some(series));
        }
        for segment in of_table(segments, Table::Series, TimeRange::ALL) {
            if let Page::Series(known) = &*self.page(registry, segment)?
                && let Some(slot) = known.slot(id.0)
            {
                return Ok(Some(gone(known, slot)));
            }
        }
        Ok(None)
    }

    /// Resources of `tenant`, active or not, ordered by id.
    pub(crate) fn resources(
        &self,
        registry: &Registry,
        segments: &[Arc<Segment>],
        tenant: TenantId,
    ) -> Result<Vec<Arc<Resource>>, Error> {
        let mut all: HashMap<ResourceId, Arc<Resource>> = HashMap::new();
        let wanted = (tenant, Table::Resources, TimeRange::ALL);
        for page in self.pages(registry, segments, wanted)? {
            let Page::Resources(resources) = &*page else { continue };
            for resource in resources {
                let known = all.entry(resource.id).or_insert_with(|| Arc::clone(resource));
                if known.last_time() < resource.last_time() {
                    *known = Arc::clone(resource);
                }
            }
        }
        // What is active is told last: its newest row may not be in a segment yet.
        all.extend(registry.resources(tenant).into_iter().map(|resource| (resource.id, resource)));
        let mut resources: Vec<_> = all.into_values().collect();
        resources.sort_by_key(|resource| resource.id);
        Ok(resources)
    }

    /// The resource with this id, active or not.
    pub(crate) fn resource(
        &self,
        registry: &Registry,
        segments: &[Arc<Segment>],
        (tenant, id): (TenantId, ResourceId),
    ) -> Result<Option<Arc<Resource>>, Error> {
        if let Some(resource) = registry.resource(tenant, id) {
            return Ok(Some(resource));
        }
        let wanted = (tenant, Table::Resources, TimeRange::ALL);
        let pages = self.pages(registry, segments, wanted)?;
        let found = pages.iter().rev().find_map(|page| match &**page {
            Page::Resources(resources) => resources.iter().find(|resource| resource.id == id),
            Page::Series(_) | Page::Bounds(_) => None,
        });
        Ok(found.cloned())
    }

    /// The bucket bounds with this id, active or not.
    pub(crate) fn bounds(
        &self,
        registry: &Registry,
        segments: &[Arc<Segment>],
        id: u64,
    ) -> Result<Option<Arc<[f64]>>, Error> {
        if let Some(bounds) = registry.bounds(id) {
            return Ok(Some(Arc::clone(&bounds.values)));
        }
        for segment in of_table(segments, Table::HistBounds, TimeRange::ALL) {
            if let Page::Bounds(bounds) = &*self.page(registry, segment)?
                && let Some(values) = bounds.get(&id)
            {
                return Ok(Some(Arc::clone(values)));
            }
        }
        Ok(None)
    }

    fn pages(
        &self,
        registry: &Registry,
        segments: &[Arc<Segment>],
        (tenant, table, range): (TenantId, Table, TimeRange),
    ) -> Result<Vec<Arc<Page>>, Error> {
        of_table(segments, table, range)
            .filter(|segment| segment.facts().tenant == tenant)
            .map(|segment| self.page(registry, segment))
            .collect()
    }

    fn page(&self, registry: &Registry, segment: &Arc<Segment>) -> Result<Arc<Page>, Error> {
        let n_evictions = registry.n_evictions.load(Ordering::Acquire);
        let used = self.n_asked.fetch_add(1, Ordering::Relaxed);
        if let Some(kept) = self.kept().get_mut(&segment.id())
            && kept.n_evictions == n_evictions
        {
            kept.used = used;
            return Ok(Arc::clone(&kept.page));
        }
        // Two queries may read the same segment at once: the later one is kept.
        let (page, bytes) = read(registry, segment)?;
        let page = Arc::new(page);
        let mut kept = self.kept();
        kept.insert(segment.id(), Kept { page: Arc::clone(&page), bytes, n_evictions, used });
        let mut total: usize = kept.values().map(|kept| kept.bytes).sum();
        while total > BYTES_MAX {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.used).map(|(id, _)| *id);
            let Some(gone) = oldest.and_then(|id| kept.remove(&id)) else { break };
            total -= gone.bytes;
        }
        Ok(page)
    }
}

/// Series of `tenant` that satisfy `filter`: those that are active now, and of `pages` those that are not.
fn select(
    registry: &Registry,
    pages: &[Arc<Page>],
    (tenant, filter): (TenantId, &Filter),
    limit: &ScanLimit,
) -> Result<Vec<Arc<Series>>, Error> {
    let mut selected = registry.select_active(tenant, filter, limit)?;
    let active: HashSet<SeriesId> = selected.iter().map(|series| series.id).collect();
    let mut found: HashMap<SeriesId, Arc<Series>> = HashMap::new();
    for page in pages {
        let Page::Series(known) = &**page else { continue };
        for slot in filter.select(known, tenant) {
            let id = SeriesId(known.rows.row(slot).id);
            if active.contains(&id) {
                continue;
            }
            limit.grow(1, SERIES_BYTES)?;
            let series = gone(known, slot);
            let newest = found.entry(id).or_insert_with(|| Arc::clone(&series));
            if newest.last_ms < series.last_ms {
                *newest = series;
            }
        }
    }
    selected.extend(found.into_values());
    sort(&mut selected);
    Ok(selected)
}

fn of_table(
    segments: &[Arc<Segment>],
    table: Table,
    range: TimeRange,
) -> impl Iterator<Item = &Arc<Segment>> {
    segments.iter().filter(move |segment| {
        let facts = segment.facts();
        facts.table == table
            && range.overlaps(Timestamp(facts.window.start), Timestamp(facts.window.end() - 1))
    })
}

fn read(registry: &Registry, segment: &Segment) -> Result<(Page, usize), Error> {
    let facts = segment.facts();
    let batches = segment.rows()?;
    if facts.table == Table::Resources {
        let mut resources = Vec::new();
        for (id, sighting) in batches.iter().flat_map(read_resources) {
            let resource = Resource::new(id, facts.tenant, sighting.of, 0);
            resource.seen(sighting.last_ms);
            resources.push(Arc::new(resource));
        }
        let bytes = resources.iter().map(|resource| resource.bytes()).sum::<usize>();
        return Ok((Page::Resources(resources), bytes + 64));
    }
    if facts.table == Table::HistBounds {
        let bounds = batches.iter().flat_map(read_bounds);
        let bounds: IdMap<Arc<[f64]>> =
            bounds.map(|(id, values)| (id, Arc::from(values))).collect();
        let bytes = bounds.values().map(|values| size_of_val(&**values) + 64).sum::<usize>();
        return Ok((Page::Bounds(bounds), bytes + 64));
    }
    let mut known = Known::default();
    for batch in &batches {
        for (id, sighting) in read_series(batch) {
            if registry.view().is_visible(id) || known.slot(id.0).is_some() {
                continue;
            }
            let resource = registry.resource(facts.tenant, sighting.of.resource_id);
            let slot = known.add(id.0, facts.tenant, &sighting.of, resource.as_ref());
            known.rows.row(slot).seen(sighting.last_ms);
        }
    }
    let bytes = known.bytes();
    Ok((Page::Series(Box::new(known)), bytes))
}

/// A series that has no place in the heads.
fn gone(known: &Known, slot: u32) -> Arc<Series> {
    let series = known.series(slot);
    Arc::try_unwrap(series)
        .map_or_else(|series| series, |series| Arc::new(Series { slot: None, ..series }))
}

#[cfg(test)]
mod tests {
    use model::metric::{Labels, MetricKind, SeriesDef, Temporality};

    use super::*;

    #[test]
    fn a_series_that_wakes_up_after_pages_were_read_is_given_once() {
        let registry = Registry::new(10, u64::MAX);
        let def = SeriesDef {
            metric: "cpu".to_owned(),
            prom_name: "cpu".to_owned(),
            prom_labels: Labels::default(),
            labels: Labels::default(),
            resource_id: ResourceId(0),
            kind: MetricKind::Gauge,
            temporality: Temporality::Unspecified,
            unit: String::new(),
            help: String::new(),
        };
        let resolved = registry.resolve(TenantId(0), &def, |_| None).unwrap();
        let mut known = Known::default();
        known.add(resolved.id.0, TenantId(0), &def, None);
        let pages = [Arc::new(Page::Series(Box::new(known)))];
        let filter = Filter::new(&[], Kinds::All).unwrap();
        let selected = || -> Vec<(SeriesId, bool)> {
            let limit = ScanLimit::default();
            let series = select(&registry, &pages, (TenantId(0), &filter), &limit).unwrap();
            series.iter().map(|series| (series.id, series.slot.is_some())).collect()
        };
        assert_eq!(selected(), [(resolved.id, false)], "as its segments know it");
        registry.view().seen([(resolved.at.slot, 1)]);
        assert_eq!(selected(), [(resolved.id, true)], "with its place in the heads");
    }
}
