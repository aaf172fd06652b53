//! From an `Ingest` to log records and head rows: checked, series looked up, definitions added, encoded.
//!
//! Runs in the request, so that the log's thread only copies and syncs; replay uses the second half of it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{TimestampMillisecondType, TimestampNanosecondType, UInt64Type};
use model::id::{ResourceId, TenantId};
use model::time::NS_PER_MS;

use crate::core::Core;
use crate::definition::resource::{read_resources, resource_rows};
use crate::definition::{
    Sighting, bounds_rows, column, read_bounds, read_series, series_ids, series_rows,
};
use crate::delivery::Delivery;
use crate::error::Error;
use crate::head::{Defined, Rows, Seen};
use crate::registry::{Registry, Resource};
use crate::sample::{SampleRows, Samples};
use crate::schema::{Table, columns, ingest_schema};
use crate::segment::write::day_of_ms;
use crate::wal::payload::{self, Bundle};
use crate::wal::record::{Codec, Encoded, FLAG_CONTINUES, Kind, PAYLOAD_MAX};
use crate::wal::samples::Logged;
use crate::wal::writer::Pending;

/// Most bytes of log records one batch may need: they must fit into one log file.
const BATCH_BYTES_MAX: u64 = 48 << 20;

/// Rows to make durable: all of them or none.
#[derive(Clone, Debug, Default)]
pub struct Ingest {
    /// Whose rows.
    pub tenant: TenantId,
    /// Samples, their series resolved before.
    pub samples: Samples,
    /// Batches of the other tables in `schema::ingest_schema` of their table; series must have been resolved before.
    pub tables: Vec<(Table, RecordBatch)>,
    /// Which batch of which agent this is; `None` from senders that repeat without saying so.
    pub delivery: Option<Delivery>,
}

type Tables = Vec<(Table, RecordBatch)>;
/// A batch's records, the last without [`FLAG_CONTINUES`].
pub(crate) type Records = Vec<(Encoded, Rows)>;

/// The records of `batch` and the rows they hold. `day` is today, in days since the epoch.
pub(crate) fn prepare(core: &Core, batch: Ingest, day: i64) -> Result<Records, Error> {
    let mut tables = Vec::with_capacity(batch.tables.len());
    for (table, rows) in batch.tables {
        if rows.num_rows() > 0 {
            tables.push((table, checked(table, &rows)?));
        }
    }
    let samples = sample_rows(&core.registry, batch.tenant, batch.samples)?;
    let mut records = encode(core, batch.tenant, (samples, tables), day)?;
    let bytes: u64 = records.iter().map(|(record, _)| record.len() as u64).sum();
    if bytes > BATCH_BYTES_MAX {
        return Err(Error::BatchSize { bytes, limit: BATCH_BYTES_MAX });
    }
    let n_parts = records.len();
    for (record, _) in records.iter_mut().take(n_parts.saturating_sub(1)) {
        record.flags |= FLAG_CONTINUES;
    }
    // The last record completes the batch: only then has it come.
    if let Some((record, rows)) = records.last_mut() {
        record.delivery = batch.delivery;
        rows.delivery = batch.delivery;
    }
    Ok(records)
}

impl Pending {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// `rows` with our schema, after its columns were found to have it.
fn checked(table: Table, rows: &RecordBatch) -> Result<RecordBatch, Error> {
    let refuse = |reason: String| Error::Batch { table: table.name(), reason };
    if !table.is_ingested() {
        return Err(refuse("the store makes this table itself".to_owned()));
    }
    if table == Table::Samples {
        return Err(refuse("samples come as columns of their own".to_owned()));
    }
    let schema = ingest_schema(table);
    if rows.num_columns() != schema.fields().len() {
        return Err(refuse(format!(
            "it has {} columns, not {}",
            rows.num_columns(),
            schema.fields().len()
        )));
    }
    for (ours, theirs) in schema.fields().iter().zip(rows.schema_ref().fields()) {
        if ours.name() != theirs.name() || ours.data_type() != theirs.data_type() {
            return Err(refuse(format!(
                "column {} {} stands where {} {} is expected",
                theirs.name(),
                theirs.data_type(),
                ours.name(),
                ours.data_type()
            )));
        }
    }
    RecordBatch::try_new(schema, rows.columns().to_vec()).map_err(|error| refuse(error.to_string()))
}

/// Samples with their series checked.
fn sample_rows(
    registry: &Registry,
    tenant: TenantId,
    samples: Samples,
) -> Result<SampleRows, Error> {
    samples.check()?;
    let slots = registry.view().slots(tenant, &samples.series)?;
    let Samples { times, values, starts, flags, .. } = samples;
    Ok(SampleRows { slots, times, values, starts, flags })
}

fn encode(
    core: &Core,
    tenant: TenantId,
    (samples, tables): (SampleRows, Tables),
    day: i64,
) -> Result<Records, Error> {
    if samples.is_empty() && tables.is_empty() {
        return Ok(Vec::new());
    }
    let registry = &core.registry;
    let mut rows = rows(core, tenant, samples, &tables)?;
    rows.defined = definitions(registry, &rows, &tables, day);
    let mut bundle = definition_tables(registry, &rows.defined)?;
    bundle.extend(tables.iter().filter(|(table, _)| *table != Table::HistBounds).cloned());
    let mut payload = payload::encode(&bundle, Codec::Lz4)?;
    if !rows.samples.is_empty() {
        let view = registry.view();
        payload::put_samples(&mut payload, &rows.samples, |slot| view.id(slot))?;
    }
    if payload.len() <= PAYLOAD_MAX {
        return Ok(vec![(Encoded::new(Kind::Data, Codec::Lz4, tenant.0, payload), rows)]);
    }
    let samples = rows.samples;
    if let [(table, batch)] = &tables[..]
        && samples.is_empty()
        && batch.num_rows() <= 1
    {
        return Err(Error::Batch {
            table: table.name(),
            reason: "one row is larger than 16 MiB".to_owned(),
        });
    }
    drop(bundle);
    let (first, second) = halves(samples, tables);
    let mut records = encode(core, tenant, first, day)?;
    records.extend(encode(core, tenant, second, day)?);
    Ok(records)
}

type Part = (SampleRows, Tables);

/// Two parts of about the same size: of several tables some go to each, a single one is cut.
fn halves(mut samples: SampleRows, mut tables: Tables) -> (Part, Part) {
    if tables.is_empty() {
        let second = samples.split_off(samples.len() / 2);
        return ((samples, tables), (second, Tables::new()));
    }
    if !samples.is_empty() {
        return ((samples, Tables::new()), (SampleRows::default(), tables));
    }
    if tables.len() > 1 {
        let second = tables.split_off(tables.len() / 2);
        return ((samples, tables), (SampleRows::default(), second));
    }
    let cut = |(table, batch): &(Table, RecordBatch)| {
        let half = batch.num_rows() / 2;
        ((*table, batch.slice(0, half)), (*table, batch.slice(half, batch.num_rows() - half)))
    };
    let (first, second) = tables.iter().map(cut).unzip();
    ((samples, first), (SampleRows::default(), second))
}

/// The samples of a log record, series looked up.
pub(crate) fn logged_samples(
    registry: &Registry,
    tenant: TenantId,
    logged: Logged,
) -> Result<SampleRows, Error> {
    let view = registry.view();
    let mut slots = Vec::with_capacity(logged.times.len());
    for (id, n) in logged.runs {
        let slot = view.slot(tenant, id).ok_or_else(|| unknown(Table::Samples, id))?;
        slots.resize(slots.len() + n, slot);
    }
    let Logged { times, values, starts, flags, .. } = logged;
    Ok(SampleRows { slots, times, values, starts, flags })
}

/// Head rows of `samples`, and of `tables` in their ingest schemas; series are looked up, bounds are kept in the registry.
pub(crate) fn rows(
    core: &Core,
    tenant: TenantId,
    samples: SampleRows,
    tables: &Tables,
) -> Result<Rows, Error> {
    let registry = &core.registry;
    let mut rows = Rows { tenant, samples, ..Rows::default() };
    for (table, batch) in tables {
        match table {
            Table::HistPoints | Table::HistBuckets | Table::Exemplars => {
                see_series(registry, tenant, batch, &mut rows.seen)?;
                rows.tables.push((*table, batch.clone()));
            }
            Table::HistBounds => {
                for (id, values) in read_bounds(batch) {
                    registry.put_bounds(id, &values);
                }
            }
            Table::Logs | Table::Spans => {
                see_resources(core, tenant, batch, &mut rows.seen);
                rows.tables.push((*table, batch.clone()));
            }
            Table::Samples
            | Table::Series
            | Table::Resources
            | Table::TraceIndex
            | Table::Samples5m
            | Table::Samples1h => {}
        }
    }
    Ok(rows)
}

/// Whether rows of `table` name series by id.
pub(crate) fn refers_to_series(table: Table) -> bool {
    matches!(table, Table::HistPoints | Table::HistBuckets | Table::Exemplars)
}

/// Drops rows of series whose definition was lost; only repair does so.
pub(crate) fn keep_known(registry: &Registry, tenant: TenantId, bundle: &mut Bundle) {
    let is_known = |id: &u64| registry.view().slot(tenant, *id).is_some();
    let n_lost = bundle.samples.retain(|id| is_known(&id));
    if n_lost > 0 {
        let table = Table::Samples.name();
        tracing::error!(
            table,
            rows = n_lost,
            "rows dropped, the definition of their series is lost"
        );
    }
    for (table, batch) in &mut bundle.tables {
        if !refers_to_series(*table) {
            continue;
        }
        let mask: Vec<bool> = series_ids(batch).iter().map(is_known).collect();
        let n_lost = mask.iter().filter(|is_kept| !**is_kept).count();
        if n_lost > 0 {
            tracing::error!(
                table = table.name(),
                rows = n_lost,
                "rows dropped, the definition of their series is lost"
            );
            let mask = BooleanArray::from(mask);
            *batch = filter_record_batch(batch, &mask)
                .unwrap_or_else(|_| RecordBatch::new_empty(batch.schema()));
        }
    }
}

fn unknown(table: Table, id: u64) -> Error {
    Error::Batch {
        table: table.name(),
        reason: format!("series {id:016x} was never resolved for this tenant"),
    }
}

fn see_series(
    registry: &Registry,
    tenant: TenantId,
    batch: &RecordBatch,
    seen: &mut Seen,
) -> Result<(), Error> {
    let times = column(batch, columns::TIME);
    let ms = |row: usize| match times.as_primitive_opt::<TimestampMillisecondType>() {
        Some(times) => times.value(row),
        None => times.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(NS_PER_MS),
    };
    let view = registry.view();
    let mut row = 0;
    for run in series_ids(batch).chunk_by(|a, b| a == b) {
        let slot = view.slot(tenant, run[0]).ok_or(Error::StaleSeries { count: run.len() })?;
        let newest = (row..row + run.len()).map(ms).max().unwrap_or(i64::MIN);
        seen.series.push((slot, newest));
        row += run.len();
    }
    Ok(())
}

fn see_resources(core: &Core, tenant: TenantId, batch: &RecordBatch, seen: &mut Seen) {
    let ids = column(batch, columns::RESOURCE_ID).as_primitive::<UInt64Type>().values();
    let times = column(batch, columns::TIME).as_primitive::<TimestampNanosecondType>().values();
    let mut row = 0;
    for run in ids.chunk_by(|a, b| a == b) {
        let newest = times[row..row + run.len()].iter().max().copied().unwrap_or(i64::MIN);
        if let Some(resource) = core.use_resource(tenant, ResourceId(run[0])) {
            seen.resources.push((resource, newest.div_euclid(NS_PER_MS)));
        }
        row += run.len();
    }
}

/// What `rows` refer to and the log may not hold yet.
fn definitions(registry: &Registry, rows: &Rows, tables: &Tables, day: i64) -> Defined {
    let mut defined = Defined { day, ..Defined::default() };
    let mut met: HashSet<u32> = HashSet::new();
    let view = registry.view();
    for slot in rows.samples.slots.iter().chain(rows.seen.series.iter().map(|(slot, _)| slot)) {
        if view.needs_definition(*slot, day) && met.insert(*slot) {
            defined.series.push(*slot);
        }
    }
    let mut resources: HashSet<ResourceId> = HashSet::new();
    let of_series = defined.series.iter().filter_map(|slot| view.resource(*slot));
    for resource in of_series.chain(rows.seen.resources.iter().map(|(resource, _)| resource)) {
        if resource.days.needs_definition(day) && resources.insert(resource.id) {
            defined.resources.push(Arc::clone(resource));
        }
    }
    drop(view);
    let mut bounds: HashSet<u64> = HashSet::new();
    for (table, batch) in tables {
        // Only bounds that points refer to: a flush writes those, so that trimming the log loses none.
        if *table != Table::HistPoints {
            continue;
        }
        let ids = column(batch, columns::BOUNDS_ID).as_primitive::<UInt64Type>();
        for id in ids.iter().flatten().filter(|id| bounds.insert(*id)) {
            defined
                .bounds
                .extend(registry.bounds(id).filter(|bounds| bounds.days.needs_definition(day)));
        }
    }
    defined
}

fn definition_tables(registry: &Registry, defined: &Defined) -> Result<Tables, Error> {
    // Times of definitions in the log are not read back: the rows beside them tell.
    let ms = defined.day.saturating_mul(86_400_000);
    let mut tables = Vec::new();
    if !defined.resources.is_empty() {
        let sight = |of: &Arc<Resource>| Sighting { of: Arc::clone(of), first_ms: ms, last_ms: ms };
        tables.push((
            Table::Resources,
            resource_rows(&defined.resources.iter().map(sight).collect::<Vec<_>>())?,
        ));
    }
    if !defined.series.is_empty() {
        let view = registry.view();
        let sight = |slot: &u32| Sighting { of: view.series(*slot), first_ms: ms, last_ms: ms };
        let series: Vec<_> = defined.series.iter().map(sight).collect();
        drop(view);
        tables.push((Table::Series, series_rows(&series)?));
    }
    if !defined.bounds.is_empty() {
        tables.push((Table::HistBounds, bounds_rows(&defined.bounds)?));
    }
    Ok(tables)
}

/// Brings back the definitions among `tables`. Those of the log need no times; those of segments show their series.
pub(crate) fn restore(
    registry: &Registry,
    tenant: TenantId,
    table: Table,
    batch: &RecordBatch,
    from: Source,
) {
    match table {
        Table::Resources => {
            for (id, sighting) in read_resources(batch) {
                let resource = registry.restore_resource(id, tenant, sighting.of);
                match from {
                    Source::Log { day } => resource.days.define(day),
                    Source::Segment { day } => {
                        resource.days.define(day);
                        resource.days.flush(day);
                        resource.seen(sighting.last_ms);
                    }
                }
            }
        }
        Table::Series => {
            let (last_ms, series): (Vec<i64>, Vec<_>) = read_series(batch)
                .into_iter()
                .map(|(id, sighting)| (sighting.last_ms, (id, sighting.of)))
                .unzip();
            let mut last_ms = last_ms.into_iter();
            registry.restore(tenant, series, |view, slot| {
                let last_ms = last_ms.next();
                match from {
                    Source::Log { day } => view.define(slot, day),
                    Source::Segment { day } => {
                        view.define(slot, day);
                        view.flush(slot, day);
                        view.seen(last_ms.map(|ms| (slot, ms)));
                    }
                }
            });
        }
        Table::HistBounds => {
            for (id, values) in read_bounds(batch) {
                let bounds = registry.put_bounds(id, &values);
                match from {
                    Source::Log { day } => bounds.days.define(day),
                    Source::Segment { day } => {
                        bounds.days.define(day);
                        bounds.days.flush(day);
                    }
                }
            }
        }
        Table::Samples
        | Table::HistPoints
        | Table::HistBuckets
        | Table::Exemplars
        | Table::Logs
        | Table::Spans
        | Table::TraceIndex
        | Table::Samples5m
        | Table::Samples1h => {}
    }
}

/// Where a definition was found, with the day it is durable for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// A log record, read today.
    Log { day: i64 },
    /// A segment of that day.
    Segment { day: i64 },
}

/// Today, in days since the epoch.
pub(crate) fn today(now: model::time::Timestamp) -> i64 {
    day_of_ms(now.ms())
}
