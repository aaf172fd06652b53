//! A recording in our store: written, compacted, read back, weighed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, ensure};
use load::recording::{Recording, Series};
use model::id::{ResourceId, TenantId};
use model::metric::{Labels, MetricKind, SeriesDef, Temporality};
use model::time::{Clock, TimeRange, Timestamp};
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use store::scan::ScanLimit;
use store::schema::Table;
use store::{Config, Ingest, Samples, Store};

const TENANT: TenantId = TenantId(0);
/// Samples in one ingest.
const BATCH: usize = 10_000;
const HOUR_MS: i64 = 3_600_000;
/// Passes of compaction after which one that still finds work is a fault.
const PASSES_MAX: usize = 50;

/// What a recording weighs in our store.
pub(crate) struct Shelf {
    pub(crate) samples: Weight,
    /// Bytes of the series and resources tables, sidecars included.
    pub(crate) definitions: u64,
}

/// What the segments of a table weigh, in bytes.
pub(crate) struct Weight {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) sidecars: u64,
    /// By column; what is left to `bytes` are footers and page indexes.
    pub(crate) columns: Vec<(String, u64)>,
}

impl Shelf {
    /// Writes `recording` into a store of its own in `work`, settles it, checks and weighs it.
    pub(crate) fn fill(recording: &Recording, work: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let dir = tempfile::tempdir_in(work)?;
        runtime.block_on(fill(recording, dir.path()))
    }
}

async fn fill(recording: &Recording, dir: &Path) -> Result<Shelf> {
    let mut order: Vec<(i64, usize, u64)> = Vec::with_capacity(recording.len());
    for (place, series) in recording.series.iter().enumerate() {
        order.extend(series.samples.iter().map(|&(time, bits)| (time, place, bits)));
    }
    order.sort_unstable();
    let now_ms = Arc::new(AtomicI64::new(order.first().context("nothing recorded")?.0));
    let ticks = Arc::clone(&now_ms);
    let clock: Arc<dyn Clock> = Arc::new(move || Timestamp::from_ms(ticks.load(Ordering::SeqCst)));
    let store =
        Store::open(Config { data_dir: dir.to_owned(), ..Config::default() }, clock).await?;
    let mut refs = Vec::with_capacity(recording.series.len());
    for series in &recording.series {
        refs.push(store.resolve(TENANT, &definition(series))?.at);
    }
    for rows in order.chunks(BATCH) {
        now_ms.store(rows[rows.len() - 1].0, Ordering::SeqCst);
        let samples = Samples {
            series: rows.iter().map(|row| refs[row.1]).collect(),
            times: rows.iter().map(|row| row.0).collect(),
            values: rows.iter().map(|row| f64::from_bits(row.2)).collect(),
            starts: vec![i64::MIN; rows.len()],
            flags: vec![0; rows.len()],
        };
        store.ingest(Ingest { tenant: TENANT, samples, ..Ingest::default() }).await?;
    }
    settle(&store, &now_ms).await?;
    check(&store, recording)?;
    let samples = weigh(&store, Table::Samples)?;
    let mut definitions = 0;
    for table in [Table::Series, Table::Resources] {
        let weight = weigh(&store, table)?;
        definitions += weight.bytes + weight.sidecars;
    }
    store.shutdown().await?;
    Ok(Shelf { samples, definitions })
}

fn definition(series: &Series) -> SeriesDef {
    let name = |pair: &&(String, String)| pair.0 == "__name__";
    let metric = series.labels.iter().find(name).map_or_else(String::new, |pair| pair.1.clone());
    let labels: Labels = series.labels.iter().filter(|pair| !name(pair)).cloned().collect();
    SeriesDef {
        prom_name: metric.clone(),
        metric,
        prom_labels: labels.clone(),
        labels,
        resource_id: ResourceId(0),
        kind: if series.is_counter { MetricKind::Counter } else { MetricKind::Gauge },
        temporality: Temporality::Cumulative,
        unit: String::new(),
        help: String::new(),
    }
}

/// Flushes, lets an hour, a day and another day pass, and compacts each time until nothing is left to do.
pub(crate) async fn settle(store: &Store, now_ms: &AtomicI64) -> Result<()> {
    store.flush().await?;
    for hours in [2, 24, 24] {
        now_ms.fetch_add(hours * HOUR_MS, Ordering::SeqCst);
        let mut passes = 0;
        loop {
            let before = store.stats().compactions_total;
            store.compact().await?;
            if store.stats().compactions_total == before {
                break;
            }
            passes += 1;
            ensure!(passes < PASSES_MAX, "compaction never ends");
        }
    }
    Ok(())
}

/// Fails unless every sample comes out with its bits.
fn check(store: &Store, recording: &Recording) -> Result<()> {
    let snapshot = store.snapshot();
    for series in &recording.series {
        let def = definition(series);
        let id = store.resolve(TENANT, &def)?.id;
        let known = snapshot.series(id).with_context(|| format!("no series {}", def.metric))?;
        let limit = ScanLimit { samples_max: u64::MAX, ..ScanLimit::default() };
        let scan = snapshot.samples(&[known], (i64::MIN, i64::MAX), &limit)?;
        let mut found = Vec::new();
        for part in scan {
            let part = part?;
            found.extend(part.t.into_iter().zip(part.v.into_iter().map(f64::to_bits)));
        }
        let expected: BTreeMap<i64, u64> = series.samples.iter().copied().collect();
        ensure!(
            found.into_iter().eq(expected),
            "{} {:?} came out different",
            def.metric,
            def.labels
        );
    }
    Ok(())
}

/// The live segments of `table`.
pub(crate) fn weigh(store: &Store, table: Table) -> Result<Weight> {
    let (mut rows, mut bytes, mut sidecars) = (0, 0, 0);
    let mut columns: BTreeMap<String, u64> = BTreeMap::new();
    for segment in store.snapshot().segments(table, TimeRange::ALL) {
        rows += segment.rows;
        bytes += segment.bytes;
        sidecars += size(&segment.path.with_extension("puffin"))?;
        let file = SerializedFileReader::new(fs::File::open(&segment.path)?)?;
        for column in file.metadata().row_groups().iter().flat_map(|group| group.columns()) {
            *columns.entry(column.column_path().string()).or_default() +=
                column.compressed_size().unsigned_abs();
        }
    }
    Ok(Weight { rows, bytes, sidecars, columns: columns.into_iter().collect() })
}

fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len())
}
