//! Samples per CPU second from a body of metrics to durable rows: inflate, decode, admit, WAL with fdatasync, head; and
//! the first three alone, into a store that refuses everything because it is shut down.
//!
//! `cargo bench -p collector --bench otlp` prints a line for each door, for `docs/guide/performance.md`. The load:
//! requests of 10,000 samples in 100 metrics, 8 attributes each (remote write: 10 labels), all series known after the
//! first request. CPU time is the whole process's, the client's work excluded.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

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
use tower::ServiceExt;

#[path = "otlp/remote.rs"]
mod remote;

const N_METRICS: usize = 100;
const N_SERIES: usize = 100;
const N_ATTRIBUTES: usize = 8;
const N_SAMPLES: usize = N_METRICS * N_SERIES;
const START_S: i64 = 1_800_000_000;
/// Requests of each door: to durable rows, and to admitted rows alone.
const N_KEPT: i64 = 60;
const N_ADMITTED: i64 = 100;
/// Bodies that are sent again and again where nothing is kept.
const N_BODIES: i64 = 4;

type Failure = Box<dyn std::error::Error>;

/// How a request comes in.
#[derive(Clone, Copy, Debug)]
enum Door {
    Otlp(&'static str),
    RemoteWrite1,
    RemoteWrite2,
}

const DOORS: [Door; 5] = [
    Door::Otlp("identity"),
    Door::Otlp("zstd"),
    Door::Otlp("gzip"),
    Door::RemoteWrite1,
    Door::RemoteWrite2,
];

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for door in DOORS {
        let line = runtime.block_on(measure(door))?;
        writeln!(std::io::stdout().lock(), "{line}")?;
    }
    Ok(())
}

async fn measure(door: Door) -> Result<String, Failure> {
    let dir = tempfile::tempdir()?;
    let now = Arc::new(AtomicI64::new(START_S * NS_PER_S));
    let ticks = Arc::clone(&now);
    let clock: Arc<dyn Clock> = Arc::new(move || Timestamp(ticks.load(Ordering::Relaxed)));
    let config = store::Config { data_dir: dir.path().to_owned(), ..store::Config::default() };
    let store = Store::open(config, Arc::clone(&clock)).await?;
    let config = Config { series_cache_max: 1 << 18, ..Config::default() };
    let collector = Collector::new(Arc::clone(&store), config, clock);
    send(&collector, door, (body(door, START_S)?, true)).await?; // Makes the series known.

    let (mut kept, mut wire_bytes) = (0.0, 0);
    for i in 1..=N_KEPT {
        now.store((START_S + i) * NS_PER_S, Ordering::Relaxed);
        let body = body(door, START_S + i)?;
        wire_bytes += body.len();
        kept += send(&collector, door, (body, true)).await?;
    }
    store.shutdown().await?;
    let accepted = collector.stats().metrics.accepted;
    if accepted != u64::try_from(N_SAMPLES)? * u64::try_from(N_KEPT + 1)? {
        return Err(format!("only {accepted} samples were accepted").into());
    }
    let bodies: Result<Vec<_>, _> = (1..=N_BODIES).map(|i| body(door, START_S + i)).collect();
    let (bodies, mut admitted, mut best) = (bodies?, 0.0, f64::INFINITY);
    for body in bodies.iter().cycle().take(usize::try_from(N_ADMITTED)?) {
        let seconds = send(&collector, door, (body.clone(), false)).await?;
        admitted += seconds;
        best = best.min(seconds);
    }
    let stats = collector.stats();
    if stats.series_cache_misses > 2 * u64::try_from(N_SAMPLES)? {
        return Err(format!("{} series were not remembered", stats.series_cache_misses).into());
    }
    let rate = |n: i64, seconds: f64| N_SAMPLES as f64 * n as f64 / seconds / 1e6;
    Ok(format!(
        "{door:?}: {:.2} M samples per CPU second kept, {:.2} M decoded and admitted (best request {:.2} M), {:.1} B a \
         sample on the wire",
        rate(N_KEPT, kept),
        rate(N_ADMITTED, admitted),
        rate(1, best),
        wire_bytes as f64 / (N_SAMPLES as f64 * N_KEPT as f64),
    ))
}

/// Sends a body, which is to be `kept` or not. Returns the CPU time it took, in seconds.
async fn send(
    collector: &Arc<Collector>,
    door: Door,
    (body, is_kept): (Vec<u8>, bool),
) -> Result<f64, Failure> {
    let (path, encoding, content_type) = match door {
        Door::Otlp(encoding) => ("/v1/metrics", encoding, "application/x-protobuf"),
        Door::RemoteWrite1 => ("/api/v1/write", "snappy", "application/x-protobuf"),
        Door::RemoteWrite2 => (
            "/api/v1/write",
            "snappy",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        ),
    };
    let request = Request::post(path)
        .header("content-type", content_type)
        .header("content-encoding", encoding)
        .body(Body::from(body))?;
    let routes = collector.http_routes().merge(collector.write_routes());
    let start = cpu_seconds();
    let response = routes.oneshot(request).await?;
    let seconds = cpu_seconds() - start;
    let status = response.status();
    let answer = axum::body::to_bytes(response.into_body(), 1 << 20).await?;
    if is_kept != status.is_success() || (is_kept && !answer.is_empty()) {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&answer)).into());
    }
    Ok(seconds)
}

/// CPU time of this process, user and system, in seconds.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn body(door: Door, at_s: i64) -> Result<Vec<u8>, Failure> {
    let request = request(at_s)?;
    Ok(match door {
        Door::Otlp("zstd") => zstd::encode_all(&request.encode_to_vec()[..], 3)?,
        Door::Otlp("gzip") => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(&request.encode_to_vec())?;
            out.finish()?
        }
        Door::Otlp(_) => request.encode_to_vec(),
        Door::RemoteWrite1 => snappy(&remote::first(&request, at_s))?,
        Door::RemoteWrite2 => snappy(&remote::second(&request, at_s))?,
    })
}

fn snappy(message: &impl Message) -> Result<Vec<u8>, Failure> {
    Ok(snap::raw::Encoder::new().compress_vec(&message.encode_to_vec())?)
}

fn request(at_s: i64) -> Result<ExportMetricsServiceRequest, Failure> {
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
    Ok(ExportMetricsServiceRequest { resource_metrics: vec![of_resource] })
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
