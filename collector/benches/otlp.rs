//! Samples per CPU second from an OTLP body to durable rows: inflate, decode, admit, WAL with fdatasync, head.
//!
//! `cargo bench -p collector` prints one line, for `docs/guide/performance.md`. The load: requests of 10,000 samples in
//! 100 metrics, 8 attributes each, zstd, all series known after the first request. CPU time is the whole process's,
//! the client's compression excluded.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use collector::{Collector, Config};
use model::time::{Clock, NS_PER_S, Timestamp};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use store::Store;
use tokio::time::Instant;
use tower::ServiceExt;

const N_METRICS: usize = 100;
const N_SERIES: usize = 100;
const N_ATTRIBUTES: usize = 8;
const N_SAMPLES: usize = N_METRICS * N_SERIES;
const START_S: i64 = 1_800_000_000;
const N_REQUESTS_MAX: i64 = 200;
const MEASURE_AT_LEAST: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let line = runtime.block_on(measure())?;
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}

async fn measure() -> Result<String, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let now = Arc::new(AtomicI64::new(START_S * NS_PER_S));
    let ticks = Arc::clone(&now);
    let clock: Arc<dyn Clock> = Arc::new(move || Timestamp(ticks.load(Ordering::Relaxed)));
    let config = store::Config { data_dir: dir.path().to_owned(), ..store::Config::default() };
    let store = Store::open(config, Arc::clone(&clock)).await?;
    let collector = Collector::new(Arc::clone(&store), Config::default(), clock);
    send(&collector, body(START_S)?).await?; // Makes the series known.

    let (mut cpu, mut wall, mut wire_bytes, mut n_requests) = (0.0, 0.0, 0, 0);
    while n_requests < N_REQUESTS_MAX && wall < MEASURE_AT_LEAST.as_secs_f64() {
        n_requests += 1;
        now.store((START_S + n_requests) * NS_PER_S, Ordering::Relaxed);
        let body = body(START_S + n_requests)?;
        wire_bytes += body.len();
        let (cpu_start, start) = (cpu_seconds(), Instant::now());
        send(&collector, body).await?;
        cpu += cpu_seconds() - cpu_start;
        wall += start.elapsed().as_secs_f64();
    }
    store.shutdown().await?;
    let accepted = collector.stats().metrics.accepted;
    let measured = usize::try_from(n_requests)? * N_SAMPLES;
    if accepted != u64::try_from(measured + N_SAMPLES)? {
        return Err(format!("only {accepted} of {measured} samples were accepted").into());
    }
    let samples = measured as f64;
    Ok(format!(
        "otlp metrics: {:.0} samples per CPU second, {:.0} per second ({n_requests} requests of {N_SAMPLES} samples, \
         {N_ATTRIBUTES} attributes, zstd {:.1} B a sample, fdatasync before each answer)",
        samples / cpu,
        samples / wall,
        wire_bytes as f64 / samples,
    ))
}

async fn send(collector: &Arc<Collector>, body: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
    let request = Request::post("/v1/metrics")
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "zstd")
        .body(Body::from(body))?;
    let response = collector.http_routes().oneshot(request).await?;
    let status = response.status();
    let answer = axum::body::to_bytes(response.into_body(), 1 << 20).await?;
    if !status.is_success() || !answer.is_empty() {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&answer)).into());
    }
    Ok(())
}

/// CPU time of this process, user and system, in seconds.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn body(at_s: i64) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let ns = u64::try_from(at_s * NS_PER_S)?;
    let metrics = (0..N_METRICS).map(|i| metric(i, ns)).collect();
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let attributes = vec![
        text("service.name", "bench".to_owned()),
        text("service.instance.id", "bench-1".to_owned()),
        text("host.name", "host-1.example".to_owned()),
    ];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let of_resource = ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![of_resource] };
    Ok(zstd::encode_all(&request.encode_to_vec()[..], 3)?)
}

fn metric(i: usize, ns: u64) -> Metric {
    // Each series grows at a rate of its own.
    let rate = |series: usize| ((i * 7_919 + series * 104_729) % 9_973) as f64 / 10.0;
    let point = |series: usize| NumberDataPoint {
        attributes: (0..N_ATTRIBUTES).map(|k| attribute(series, k)).collect(),
        time_unix_nano: ns,
        start_time_unix_nano: 1_799_990_000_000_000_000,
        value: Some(number_data_point::Value::AsDouble(rate(series) * (ns / 1_000_000_000) as f64)),
        ..NumberDataPoint::default()
    };
    let data_points = (0..N_SERIES).map(point).collect();
    Metric {
        name: format!("bench.subsystem_{}.requests_{i}", i % 10),
        unit: "{request}".to_owned(),
        data: Some(Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic: true })),
        ..Metric::default()
    }
}

fn attribute(series: usize, k: usize) -> KeyValue {
    const KEYS: [&str; N_ATTRIBUTES] = [
        "http.request.method",
        "http.route",
        "http.response.status_code",
        "server.address",
        "network.protocol.version",
        "url.scheme",
        "shard",
        "tenant.tier",
    ];
    text(KEYS[k], format!("value-{k}-{:03}", series * (k + 1) % 997))
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, key_strindex: 0 }
}
