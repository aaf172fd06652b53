//! From a frozen head to the drafts of its segments, definitions seen included. Pure computation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{TimestampMillisecondType, TimestampNanosecondType, UInt64Type};
use model::id::{ResourceId, SeriesId, TenantId};
use model::time::NS_PER_MS;

use crate::arrange::{head, histograms, records, rows, traces};
use crate::definition::resource::resource_rows;
use crate::definition::{Sighting, bounds_rows, column, series_ids, series_rows};
use crate::error::Error;
use crate::head::{HeadView, TenantView};
use crate::registry::{Bounds, Registry, Resource};
use crate::schema::{Table, columns};
use crate::segment::write::{Content, Draft, Window, day_of_ms};

const DAY_MS: i64 = 86_400_000;

/// What a flush writes, and what it makes durable besides rows.
#[derive(Default)]
pub(crate) struct Flushed {
    pub(crate) drafts: Vec<Draft>,
    /// Definitions in the drafts, with their day.
    pub(crate) marks: Marks,
}

/// Definitions that segments of a day hold once a flush is committed.
#[derive(Default)]
pub(crate) struct Marks {
    /// Series by slot.
    series: Vec<(u32, i64)>,
    resources: Vec<(Arc<Resource>, i64)>,
    bounds: Vec<(Arc<Bounds>, i64)>,
}

impl Marks {
    pub(crate) fn apply(&self, registry: &Registry) {
        let view = registry.view();
        self.series.iter().for_each(|(slot, day)| view.flush(*slot, *day));
        drop(view);
        self.resources.iter().for_each(|(resource, day)| resource.days.flush(*day));
        self.bounds.iter().for_each(|(bounds, day)| bounds.days.flush(*day));
    }
}

/// First and last time in ms, by day and id.
type Seen = BTreeMap<(i64, u64), (i64, i64)>;

/// First and last time of each series on one day, by slot, in ms of the day.
#[derive(Default)]
struct DaySeen {
    spans: Vec<(u32, u32)>,
}

/// Marks a slot without rows: the first time lies behind the last.
const UNSEEN: (u32, u32) = (u32::MAX, 0);

impl DaySeen {
    fn note(&mut self, slot: u32, ms: u32) {
        let slot = slot as usize;
        if self.spans.len() <= slot {
            self.spans.resize(slot + 1, UNSEEN);
        }
        let span = &mut self.spans[slot];
        *span = (span.0.min(ms), span.1.max(ms));
    }

    /// Slots with rows on `day`, with the first and last time in ms since the epoch.
    fn seen(&self, day: i64) -> impl Iterator<Item = (u32, i64, i64)> {
        let ms = move |of_day: u32| day.saturating_mul(DAY_MS).saturating_add(i64::from(of_day));
        (0_u32..)
            .zip(&self.spans)
            .filter(|(_, span)| span.0 <= span.1)
            .map(move |(slot, span)| (slot, ms(span.0), ms(span.1)))
    }
}

/// Notes rows that come one by one, most of them on the same day.
struct Noter<'a> {
    days: &'a mut BTreeMap<i64, DaySeen>,
    day: i64,
}

impl Noter<'_> {
    fn note(&mut self, rows: impl Iterator<Item = (u32, i64)>) {
        let mut seen = self.days.remove(&self.day).unwrap_or_default();
        for (slot, ms) in rows {
            let mut of_day = ms.wrapping_sub(self.day.wrapping_mul(DAY_MS));
            if !(0..DAY_MS).contains(&of_day) {
                let day = day_of_ms(ms);
                self.days.insert(std::mem::replace(&mut self.day, day), seen);
                seen = self.days.remove(&day).unwrap_or_default();
                of_day = ms.rem_euclid(DAY_MS);
            }
            seen.note(slot, u32::try_from(of_day).unwrap_or(0));
        }
        self.days.insert(self.day, seen);
    }
}

/// What the rows of a head refer to.
#[derive(Default)]
pub(crate) struct References {
    series: BTreeMap<i64, DaySeen>,
    resources: Seen,
    bounds: BTreeMap<(i64, u64), ()>,
}

fn note(seen: &mut Seen, id: u64, ms: i64) {
    let (first, last) = seen.entry((day_of_ms(ms), id)).or_insert((ms, ms));
    *first = ms.min(*first);
    *last = ms.max(*last);
}

impl References {
    /// What the rows of one tenant refer to, resources of series included.
    pub(crate) fn of(view: &TenantView, registry: &Registry) -> Self {
        let mut references = Self::default();
        let known = registry.view();
        let mut noter = Noter { days: &mut references.series, day: 0 };
        for chunk in &view.chunks {
            noter.note(chunk.slots.iter().copied().zip(chunk.times.iter().copied()));
        }
        for table in [Table::HistPoints, Table::Exemplars] {
            for batch in view.batches(table) {
                let slots = series_ids(batch).iter().map(|id| known.slot_of(SeriesId(*id)));
                let rows = slots.zip(times_ms(batch));
                noter.note(rows.filter_map(|(slot, ms)| Some((slot?, ms))));
            }
        }
        for table in [Table::Logs, Table::Spans] {
            view.batches(table).iter().for_each(|batch| references.add_resources(batch));
        }
        view.batches(Table::HistPoints).iter().for_each(|batch| references.add_bounds(batch));
        for (day, seen) in &references.series {
            // Series of one resource mostly stand together.
            for run in seen
                .seen(*day)
                .collect::<Vec<_>>()
                .chunk_by(|a, b| known.resource_id(a.0) == known.resource_id(b.0))
            {
                let id = known.resource_id(run[0].0).0;
                let first = run.iter().map(|series| series.1).min();
                let last = run.iter().map(|series| series.2).max();
                first
                    .into_iter()
                    .chain(last)
                    .for_each(|ms| note(&mut references.resources, id, ms));
            }
        }
        references
    }

    fn add_resources(&mut self, batch: &RecordBatch) {
        let ids = column(batch, columns::RESOURCE_ID).as_primitive::<UInt64Type>().values();
        for (id, ms) in ids.iter().zip(times_ms(batch)) {
            note(&mut self.resources, *id, ms);
        }
    }

    fn add_bounds(&mut self, batch: &RecordBatch) {
        let ids = column(batch, columns::BOUNDS_ID).as_primitive::<UInt64Type>();
        for (id, ms) in ids.iter().zip(times_ms(batch)) {
            if let Some(id) = id {
                self.bounds.insert((day_of_ms(ms), id), ());
            }
        }
    }

    /// Definition rows by table and day; those `keep` refuses are left out.
    pub(crate) fn drafts(
        &self,
        tenant: TenantId,
        registry: &Arc<Registry>,
        keep: Keep,
        marks: &mut Marks,
    ) -> Result<Vec<Draft>, Error> {
        let mut series: BTreeMap<i64, Vec<Sighting<u32>>> = BTreeMap::new();
        let view = registry.view();
        for (day, seen) in &self.series {
            for (slot, first_ms, last_ms) in seen.seen(*day) {
                if keep == Keep::All || !view.is_flushed(slot, *day) {
                    marks.series.push((slot, *day));
                    let sighting = Sighting { of: slot, first_ms, last_ms };
                    series.entry(*day).or_default().push(sighting);
                }
            }
        }
        drop(view);
        let mut resources: BTreeMap<i64, Vec<Sighting<Arc<Resource>>>> = BTreeMap::new();
        for ((day, id), (first_ms, last_ms)) in &self.resources {
            let known = registry.resource(tenant, ResourceId(*id));
            if let Some(of) =
                known.filter(|resource| keep == Keep::All || !resource.days.is_flushed(*day))
            {
                marks.resources.push((Arc::clone(&of), *day));
                resources.entry(*day).or_default().push(Sighting {
                    of,
                    first_ms: *first_ms,
                    last_ms: *last_ms,
                });
            }
        }
        let mut bounds: BTreeMap<i64, Vec<Arc<Bounds>>> = BTreeMap::new();
        for (day, id) in self.bounds.keys() {
            let known = registry.bounds(*id);
            if let Some(of) =
                known.filter(|bounds| keep == Keep::All || !bounds.days.is_flushed(*day))
            {
                marks.bounds.push((Arc::clone(&of), *day));
                bounds.entry(*day).or_default().push(of);
            }
        }
        let mut drafts = Vec::new();
        let mut draft = |table: Table, day: i64, batch: RecordBatch| -> Result<(), Error> {
            let window = Window::at(table, day.saturating_mul(DAY_MS * NS_PER_MS));
            let batch = rows::sort(table, &batch)?;
            drafts.push(Draft { table, tenant, window, content: Content::Batch(batch) });
            Ok(())
        };
        for (day, sightings) in &resources {
            draft(Table::Resources, *day, resource_rows(sightings)?)?;
        }
        for (day, bounds) in &bounds {
            draft(Table::HistBounds, *day, bounds_rows(bounds)?)?;
        }
        for (day, sightings) in series {
            let window = Window::at(Table::Series, day.saturating_mul(DAY_MS * NS_PER_MS));
            let content = Content::Series(SeriesDefinitions::new(registry, sightings));
            drafts.push(Draft { table: Table::Series, tenant, window, content });
        }
        Ok(drafts)
    }
}

/// Definitions of series, made into rows while they are written: by number they take little.
pub(crate) struct SeriesDefinitions {
    registry: Arc<Registry>,
    /// By slot, in the order of the table.
    sightings: Vec<Sighting<u32>>,
}

impl SeriesDefinitions {
    /// Definitions made into rows at once.
    const BATCH_ROWS: usize = 4_096;

    fn new(registry: &Arc<Registry>, mut sightings: Vec<Sighting<u32>>) -> Self {
        let view = registry.view();
        let mut names: HashMap<u32, Arc<str>> = HashMap::new();
        for sighting in &sightings {
            names.entry(view.metric(sighting.of)).or_insert_with(|| view.nature(sighting.of).0);
        }
        let key =
            |sighting: &Sighting<u32>| (&*names[&view.metric(sighting.of)], view.id(sighting.of));
        sightings.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        drop(view);
        Self { registry: Arc::clone(registry), sightings }
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.sightings.len()
    }

    /// Gives all rows in segment order, batch by batch.
    pub(crate) fn each(
        &self,
        mut take: impl FnMut(&RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for sightings in self.sightings.chunks(Self::BATCH_ROWS) {
            let view = self.registry.view();
            let sighting = |at: &Sighting<u32>| Sighting {
                of: view.series(at.of),
                first_ms: at.first_ms,
                last_ms: at.last_ms,
            };
            let sightings: Vec<_> = sightings.iter().map(sighting).collect();
            drop(view);
            take(&series_rows(&sightings)?)?;
        }
        Ok(())
    }
}

/// Which definitions get rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Every one that rows refer to.
    All,
    /// Only those that no segment of the day holds yet.
    New,
}

/// Times of a batch in ms, whatever its unit.
fn times_ms(batch: &RecordBatch) -> Vec<i64> {
    let times = column(batch, columns::TIME);
    match times.as_primitive_opt::<TimestampMillisecondType>() {
        Some(times) => times.values().to_vec(),
        None => {
            let times = times.as_primitive::<TimestampNanosecondType>().values();
            times.iter().map(|time| time.div_euclid(NS_PER_MS)).collect()
        }
    }
}

/// Everything a flush of `view` writes.
pub(crate) fn drafts(view: &HeadView, registry: &Arc<Registry>) -> Result<Flushed, Error> {
    let mut flushed = Flushed::default();
    for (tenant, view) in &view.tenants {
        let references = References::of(view, registry);
        flushed.drafts.extend(references.drafts(
            *tenant,
            registry,
            Keep::New,
            &mut flushed.marks,
        )?);
        for table in Table::ALL {
            for (window, batch) in arranged(table, view, registry)? {
                let content = Content::Batch(batch);
                flushed.drafts.push(Draft { table, tenant: *tenant, window, content });
            }
        }
        for table in [Table::Logs, Table::Spans] {
            for records in records::from_batches(table, view.batches(table))? {
                flushed.drafts.push(Draft {
                    table,
                    tenant: *tenant,
                    window: records.window(),
                    content: Content::Records(records),
                });
            }
        }
        for samples in head::from_chunks(&view.chunks, registry) {
            flushed.drafts.push(Draft {
                table: Table::Samples,
                tenant: *tenant,
                window: samples.window(),
                content: Content::Samples(samples),
            });
        }
    }
    flushed.drafts.retain(|draft| draft.n_rows() > 0);
    Ok(flushed)
}

fn arranged(
    table: Table,
    view: &TenantView,
    registry: &Registry,
) -> Result<Vec<(Window, RecordBatch)>, Error> {
    let batches = view.batches(table);
    match table {
        Table::HistPoints | Table::HistBuckets if !batches.is_empty() => {
            histograms::arrange(table, batches.iter().map(|batch| batch.rows()), registry)
        }
        Table::Exemplars if !batches.is_empty() => {
            let named: Vec<RecordBatch> = batches
                .iter()
                .map(|batch| rows::exemplars_with_metric(batch, registry))
                .collect::<Result<_, _>>()?;
            rows::arrange(table, &named)
        }
        Table::TraceIndex => {
            let spans = view.batches(Table::Spans);
            records::windows(Table::Spans, spans)
                .into_iter()
                .map(|window| {
                    let batches = spans.iter().map(|batch| batch.rows());
                    Ok((window, traces::index(window, batches)?))
                })
                .collect()
        }
        Table::Samples
        | Table::HistPoints
        | Table::HistBuckets
        | Table::Exemplars
        | Table::Logs
        | Table::Spans
        | Table::Samples5m
        | Table::Samples1h => Ok(Vec::new()),
        Table::Series | Table::Resources | Table::HistBounds => Ok(Vec::new()),
    }
}

/// The rows of one table in a view, in the segment schema, in arrival order.
pub(crate) fn head_batches(
    table: Table,
    tenant: TenantId,
    view: &TenantView,
    registry: &Arc<Registry>,
) -> Result<Vec<RecordBatch>, Error> {
    let batches = view.batches(table);
    match table {
        Table::Samples => {
            view.chunks.iter().map(|chunk| head::head_batch(chunk, registry)).collect()
        }
        Table::HistPoints | Table::HistBuckets => {
            batches.iter().map(|batch| histograms::head_batch(table, batch, registry)).collect()
        }
        Table::Exemplars => {
            batches.iter().map(|batch| rows::exemplars_with_metric(batch, registry)).collect()
        }
        Table::Logs | Table::Spans => {
            Ok(batches.iter().map(|batch| batch.rows().clone()).collect())
        }
        // Rollups are made of sealed windows: no head has any.
        Table::Samples5m | Table::Samples1h => Ok(Vec::new()),
        Table::TraceIndex => {
            Ok(arranged(table, view, registry)?.into_iter().map(|(_, batch)| batch).collect())
        }
        Table::Series | Table::Resources | Table::HistBounds => {
            let references = References::of(view, registry);
            let drafts = references.drafts(tenant, registry, Keep::All, &mut Marks::default())?;
            let mut batches = Vec::new();
            for draft in drafts.into_iter().filter(|draft| draft.table == table) {
                draft.each(|batch| {
                    batches.push(batch.clone());
                    Ok(())
                })?;
            }
            Ok(batches)
        }
    }
}
