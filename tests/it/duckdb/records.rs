//! Histograms, logs and spans, sent by OTLP and read by DuckDB before and after compaction.

use axum::body::Body;
use axum::http::Request;
use collector::Collector;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric,
};
use prost::Message;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Bench, START_MS, bits, value};
use crate::telemetry;

/// Points, records and spans of each kind.
const N: u64 = 50;

fn time_ns(i: u64) -> u64 {
    START_MS.unsigned_abs() * 1_000_000 + i * 1_000_000_123
}

/// Counts of explicit buckets at point `i`: they grow, and one stays empty.
fn counts(i: u64) -> Vec<u64> {
    vec![3 * i, 0, i + 1, 7]
}

fn explicit() -> Metric {
    let point = |i: u64| HistogramDataPoint {
        time_unix_nano: time_ns(i),
        count: counts(i).iter().sum(),
        sum: Some(i as f64 / 3.0),
        bucket_counts: counts(i),
        explicit_bounds: vec![0.1, 0.5, 2.5],
        min: Some(0.001),
        ..HistogramDataPoint::default()
    };
    let data_points = (0..N).map(point).collect();
    let data = Data::Histogram(Histogram { data_points, aggregation_temporality: 2 });
    Metric { name: "explicit".to_owned(), data: Some(data), ..Metric::default() }
}

fn exponential() -> Metric {
    let point = |i: u64| ExponentialHistogramDataPoint {
        time_unix_nano: time_ns(i),
        count: 2 * i + 9,
        sum: Some(-1.5 * i as f64),
        scale: 3,
        zero_count: 2,
        zero_threshold: 1e-9,
        positive: Some(Buckets { offset: -2, bucket_counts: vec![i, 0, 4] }),
        negative: Some(Buckets { offset: 5, bucket_counts: vec![i + 3] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let data_points = (0..N).map(point).collect();
    let data = Data::ExponentialHistogram(ExponentialHistogram {
        data_points,
        aggregation_temporality: 2,
    });
    Metric { name: "exponential".to_owned(), data: Some(data), ..Metric::default() }
}

async fn send(collector: &std::sync::Arc<Collector>, path: &str, message: &impl Message) {
    let request = Request::post(path).header("content-type", "application/x-protobuf");
    let request = request.body(Body::from(message.encode_to_vec())).unwrap();
    let answer = collector.http_routes().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    assert!(status.is_success() && body.is_empty(), "{path}: {status}: {body:?}");
}

/// The attribute `kind` of a log record. Merges give it a column of its own.
const KIND: &str = "map_extract(attrs_str, 'kind')[1]";
const KIND_MERGED: &str = r#"coalesce("attr.kind", map_extract(attrs_str, 'kind')[1])"#;

/// Statement and the rows it must give, in any order.
fn expectations(kind: &str) -> Vec<(String, Vec<Value>)> {
    let ms = |i: u64| i64::try_from(time_ns(i) / 1_000_000).unwrap();
    let mut points = Vec::new();
    let mut buckets = Vec::new();
    for i in 0..N {
        let (count, n) = (counts(i).iter().sum::<u64>() as f64, i as f64);
        points.push(json!(["explicit", ms(i), bits(count), bits(n / 3.0), bits(0.001), null, -53]));
        for (place, count) in counts(i).into_iter().enumerate().filter(|(_, count)| *count > 0) {
            buckets.push(json!(["explicit", ms(i), -53, 1, place, bits(count as f64)]));
        }
        points.push(json!(["exponential", ms(i), bits(2.0 * n + 9.0), bits(-1.5 * n), null, 2, 3]));
        for (side, index, count) in [(1, -2, n), (1, 0, 4.0), (-1, 5, n + 3.0)] {
            if count > 0.0 {
                buckets.push(json!(["exponential", ms(i), 3, side, index, bits(count)]));
            }
        }
    }
    let (count, sum) = (value("count_"), value("sum_"));
    let texts =
        |name: &str| (0..N).map(|i| json!([format!("{name} {i}"), time_ns(i)])).collect::<Vec<_>>();
    vec![
        (
            format!("SELECT metric, epoch_ms(time), {count}, {sum}, min, zero_count, exp_scale FROM {{hist_points}}"),
            points,
        ),
        (
            "SELECT metric, epoch_ms(time), exp_scale, side, bucket, coalesce(v_f64, coalesce(v_ctr, v_int)::DOUBLE) \
             FROM {hist_buckets} WHERE side <> 0"
                .to_owned(),
            buckets,
        ),
        (
            "SELECT DISTINCT bounds FROM {hist_bounds} JOIN {hist_points} USING (bounds_id)".to_owned(),
            vec![json!([[bits(0.1), bits(0.5), bits(2.5)]])],
        ),
        ("SELECT body, epoch_ns(time) FROM {logs} WHERE service_name = 'duck'".to_owned(), texts("line")),
        ("SELECT name, epoch_ns(time) FROM {spans} WHERE service_name = 'duck'".to_owned(), texts("span")),
        (
            "SELECT count(DISTINCT trace_id), count(DISTINCT span_id), sum(span_count)::BIGINT \
             FROM {spans} JOIN {trace_index} USING (trace_id)"
                .to_owned(),
            vec![json!([N, N, N])],
        ),
        (format!("SELECT DISTINCT {kind} FROM {{logs}}"), vec![json!(["test"])]),
    ]
}

async fn check(bench: &Bench, when: &str, kind: &str) {
    for (statement, expected) in expectations(kind) {
        let mut expected: Vec<String> = expected.iter().map(Value::to_string).collect();
        let found = bench.duckdb(&statement).await;
        let mut found: Vec<String> =
            found.into_iter().map(|row| Value::Array(row).to_string()).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{when}: {statement}");
    }
}

#[tokio::test]
async fn duckdb_reads_histograms_logs_and_spans() {
    let bench = Bench::new().await;
    let collector = Collector::new(
        std::sync::Arc::clone(&bench.store),
        collector::Config::default(),
        std::sync::Arc::clone(&bench.clock),
    );
    send(&collector, "/v1/metrics", &telemetry::metrics("duck", vec![explicit()])).await;
    bench.store.flush().await.unwrap();
    send(&collector, "/v1/metrics", &telemetry::metrics("duck", vec![exponential()])).await;
    let mut logs = telemetry::logs("duck", (0..N).map(|i| format!("line {i}")));
    let mut spans = telemetry::spans("duck", 9, (0..N).map(|i| format!("span {i}")));
    let records = logs.resource_logs.iter_mut().flat_map(|of| &mut of.scope_logs);
    for (i, record) in (0..).zip(records.flat_map(|scope| &mut scope.log_records)) {
        record.time_unix_nano = time_ns(i); // The clock of this store stands still.
        record.observed_time_unix_nano = time_ns(i);
    }
    let scopes = spans.resource_spans.iter_mut().flat_map(|of| &mut of.scope_spans);
    for (i, span) in (0..).zip(scopes.flat_map(|scope| &mut scope.spans)) {
        span.start_time_unix_nano = time_ns(i);
        span.end_time_unix_nano = time_ns(i) + 1_000;
    }
    send(&collector, "/v1/logs", &logs).await;
    send(&collector, "/v1/traces", &spans).await;
    bench.store.flush().await.unwrap();
    check(&bench, "after flushes", KIND).await;
    bench.settle(2).await;
    check(&bench, "hours merged", KIND_MERGED).await;
    bench.settle(48).await;
    check(&bench, "days merged", KIND_MERGED).await;
    bench.store.shutdown().await.unwrap();
}
