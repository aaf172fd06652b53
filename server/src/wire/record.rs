//! Samples made inside this process (recording rules, alert states, our own numbers) into the store: the one door.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use model::id::{ResourceId, TenantId};
use model::metric::{Labels, MetricKind, SeriesDef, Temporality, is_stale};
use model::time::Timestamp;
use store::{Ingest, Samples, Store};

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
    let mut samples = Samples::default();
    for point in points {
        if let Ok(series) = store.resolve(tenant, &definition(point)) {
            samples.series.push(series.at);
            samples.times.push(point.at.ms());
            samples.values.push(point.value);
            samples.starts.push(point.start.map_or(i64::MIN, Timestamp::ms));
            samples.flags.push(if is_stale(point.value) { FLAG_STALE } else { 0 });
        }
    }
    if samples.is_empty() {
        return Ok(());
    }
    let batch = Ingest { tenant, samples, ..Ingest::default() };
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
