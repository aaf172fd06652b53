//! Samples made inside this process (recording rules, alert states, our own numbers) into the store: the one door.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, TimestampMillisecondArray, UInt8Array, UInt64Array,
};
use model::id::{ResourceId, TenantId};
use model::metric::{Labels, MetricKind, SeriesDef, Temporality, is_stale};
use model::time::Timestamp;
use store::schema::{Table, ingest_schema};
use store::{Ingest, Store};

/// One sample with all that defines its series.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Prometheus name, which is also the native one.
    pub(crate) name: String,
    /// Labels without the name.
    pub(crate) labels: Labels,
    /// What it measures.
    pub(crate) kind: MetricKind,
    /// When.
    pub(crate) at: Timestamp,
    /// Since when a counter counts.
    pub(crate) start: Option<Timestamp>,
    /// How much; the staleness marker ends the series.
    pub(crate) value: f64,
}

/// Bit 0 of `flags`: the sample is a staleness marker (`docs/format/segment.md`).
const FLAG_STALE: u8 = 1;

/// Makes `points` durable. Points of series beyond the store's limit are left out; the store counts them.
///
/// # Errors
/// When the store takes nothing in.
pub(crate) async fn record(store: &Arc<Store>, points: &[Point]) -> Result<()> {
    let tenant = TenantId::default();
    let known: Vec<(u64, &Point)> = points
        .iter()
        .filter_map(|point| Some((store.resolve(tenant, &definition(point)).ok()?.0, point)))
        .collect();
    if known.is_empty() {
        return Ok(());
    }
    let batch = Ingest { tenant, tables: vec![(Table::Samples, columns(&known)?)] };
    store.ingest(batch).await.map(drop).map_err(|error| anyhow!("{error}"))
}

fn definition(point: &Point) -> SeriesDef {
    let is_counter = point.kind == MetricKind::Counter;
    SeriesDef {
        metric: point.name.clone(),
        labels: point.labels.clone(),
        resource_id: ResourceId::default(),
        prom_name: point.name.clone(),
        prom_labels: point.labels.clone(),
        kind: point.kind,
        temporality: if is_counter { Temporality::Cumulative } else { Temporality::Unspecified },
        unit: String::new(),
        help: String::new(),
    }
}

fn columns(points: &[(u64, &Point)]) -> Result<RecordBatch> {
    let times = points.iter().map(|(_, p)| p.at.ms());
    let starts = points.iter().map(|(_, p)| p.start.map(Timestamp::ms));
    let flags = points.iter().map(|(_, p)| if is_stale(p.value) { FLAG_STALE } else { 0 });
    let columns: Vec<ArrayRef> = vec![
        Arc::new(points.iter().map(|(id, _)| *id).collect::<UInt64Array>()),
        Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(points.iter().map(|(_, p)| p.value).collect::<Float64Array>()),
        Arc::new(starts.collect::<TimestampMillisecondArray>().with_timezone("UTC")),
        Arc::new(flags.collect::<UInt8Array>()),
    ];
    RecordBatch::try_new(ingest_schema(Table::Samples), columns)
        .context("samples have the store's schema")
}
