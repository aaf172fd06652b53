//! OTLP by every door, encoding and compression, read back in SQL and PromQL; and hostile input by the real doors.

use std::io::Write;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, Sum, Summary, SummaryDataPoint,
};
use prost::Message;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use crate::server::{Home, Server, now_ns};
use crate::telemetry::{attribute, gauge, logs, metrics, spans};

const PROTOBUF: &str = "application/x-protobuf";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// HTTP status and body of a POST.
async fn post(
    server: &Server,
    url: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, Vec<u8>) {
    let mut request = server.client.post(url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match request.send().await {
        Ok(answer) => (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec()),
        // A server that has read enough hangs up, perhaps before this client has read why.
        Err(error) if error.is_request() => (0, error.to_string().into_bytes()),
        Err(error) => panic!("{url}: {error:?}"),
    }
}

/// What the server answers to the head of a request whose body never comes.
async fn answer_to_head(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let n = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer[..n.unwrap()]).into_owned()
}

/// The three signals of one door, each recognisable by the door's name.
async fn send_http(
    server: &Server,
    base: &str,
    door: &str,
    encoding: &str,
    encode: fn(&[u8]) -> Vec<u8>,
) {
    let name = || std::iter::once(door.to_owned());
    let seed = u64::from_be_bytes(*door.as_bytes().first_chunk().unwrap());
    let bodies = [
        ("/v1/logs", logs("doors", name()).encode_to_vec()),
        ("/v1/traces", spans("doors", seed, name()).encode_to_vec()),
        ("/v1/metrics", metrics("doors", vec![door_metric(door)]).encode_to_vec()),
    ];
    for (path, body) in bodies {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        let headers = if encoding.is_empty() { &headers[..1] } else { &headers[..] };
        let (status, answer) =
            post(server, &format!("http://{base}{path}"), headers, encode(&body)).await;
        assert_eq!(
            (status, answer.len()),
            (200, 0),
            "{door}{path}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
}

fn door_metric(door: &str) -> Metric {
    gauge("door.value", &[("door", door)], &[(now_ns(), 1.0)])
}

async fn send_json(server: &Server, base: &str, door: &str) {
    let resource =
        json!({"attributes": [{"key": "service.name", "value": {"stringValue": "doors"}}]});
    let now = now_ns().to_string();
    let attributes = json!([{"key": "door", "value": {"stringValue": door}}]);
    let bodies = [
        (
            "/v1/logs",
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [
            {"timeUnixNano": now, "severityNumber": 9, "body": {"stringValue": door}}]}]}]}),
        ),
        (
            "/v1/traces",
            json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [
            {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": door, "kind": 2,
             "startTimeUnixNano": now, "endTimeUnixNano": now}]}]}]}),
        ),
        (
            "/v1/metrics",
            json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [
            {"name": "door.value", "gauge": {"dataPoints": [
                {"timeUnixNano": now, "asDouble": 1.0, "attributes": attributes}]}}]}]}]}),
        ),
    ];
    for (path, body) in bodies {
        let headers = [("content-type", "application/json")];
        let url = format!("http://{base}{path}");
        let (status, answer) = post(server, &url, &headers, body.to_string().into_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!((status, &*answer), (200, "{}"), "{door}{path}");
    }
}

async fn send_grpc(server: &Server, door: &str, encoding: Option<CompressionEncoding>) {
    let address = format!("http://{}", server.addresses.otlp_grpc);
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    let mut log_client = LogsServiceClient::new(channel.clone());
    let mut trace_client = TraceServiceClient::new(channel.clone());
    let mut metric_client = MetricsServiceClient::new(channel);
    if let Some(encoding) = encoding {
        log_client = log_client.send_compressed(encoding).accept_compressed(encoding);
        trace_client = trace_client.send_compressed(encoding).accept_compressed(encoding);
        metric_client = metric_client.send_compressed(encoding).accept_compressed(encoding);
    }
    let name = || std::iter::once(door.to_owned());
    let seed = u64::from_be_bytes(*door.as_bytes().first_chunk().unwrap());
    let answer = log_client.export(logs("doors", name())).await.unwrap().into_inner();
    assert_eq!(answer, ExportLogsServiceResponse::default());
    let answer = trace_client.export(spans("doors", seed, name())).await.unwrap().into_inner();
    assert_eq!(answer, ExportTraceServiceResponse::default());
    let answer = metric_client.export(metrics("doors", vec![door_metric(door)])).await;
    assert_eq!(answer.unwrap().into_inner(), ExportMetricsServiceResponse::default());
}

#[tokio::test]
async fn every_signal_by_every_door_is_read_back() {
    let home = Home::new();
    let server = home.start("").await;
    let (main, otlp) = (server.addresses.http.clone(), server.addresses.otlp_http.clone());
    send_http(&server, &otlp, "1 protobuf", "", plain).await;
    send_http(&server, &otlp, "2 protobuf gzip", "gzip", gzip).await;
    send_http(&server, &otlp, "3 protobuf zstd", "zstd", zstd).await;
    send_json(&server, &otlp, "4 json").await;
    send_http(&server, &main, "5 main port", "", plain).await;
    send_grpc(&server, "6 grpc  ", None).await;
    send_grpc(&server, "7 grpc gzip", Some(CompressionEncoding::Gzip)).await;
    send_grpc(&server, "8 grpc zstd", Some(CompressionEncoding::Zstd)).await;
    let doors = [
        "1 protobuf",
        "2 protobuf gzip",
        "3 protobuf zstd",
        "4 json",
        "5 main port",
        "6 grpc  ",
        "7 grpc gzip",
        "8 grpc zstd",
    ];
    let wanted: Vec<Vec<Value>> = doors.iter().map(|door| vec![json!(door)]).collect();
    for statement in [
        "SELECT body FROM logs WHERE service_name = 'doors' ORDER BY body",
        "SELECT name FROM spans WHERE service_name = 'doors' ORDER BY name",
        "SELECT door FROM \"door.value\" WHERE value = 1 ORDER BY door",
    ] {
        assert_eq!(server.sql(statement).await, wanted, "{statement}");
    }
    assert_eq!(server.promql("count(door_value{job=\"doors\"})").await, [8.0]);
    let status = server.get("/api/headrope/v1/status").await;
    for total in ["log_rows_total", "span_rows_total", "samples_total"] {
        assert!(status["ingest"][total].as_u64().unwrap() >= 8, "{status:#}");
    }
    server.stop().await;
}

/// One metric of each kind, at `time`.
fn every_kind(time: u64) -> Vec<Metric> {
    let (time_unix_nano, start_time_unix_nano) = (time, time - 60_000_000_000);
    let attributes = vec![attribute("http.route", "/pay")];
    let point = NumberDataPoint {
        attributes: attributes.clone(),
        time_unix_nano,
        start_time_unix_nano,
        value: Some(Number::AsInt(42)),
        ..NumberDataPoint::default()
    };
    let sum = |is_monotonic| {
        let data_points = vec![point.clone()];
        Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic })
    };
    let histogram = HistogramDataPoint {
        attributes: attributes.clone(),
        time_unix_nano,
        start_time_unix_nano,
        count: 10,
        sum: Some(6.5),
        bucket_counts: vec![4, 4, 2],
        explicit_bounds: vec![0.5, 1.0],
        min: Some(0.1),
        max: Some(2.0),
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        attributes: attributes.clone(),
        time_unix_nano,
        start_time_unix_nano,
        count: 7,
        sum: Some(20.0),
        scale: 0,
        zero_count: 1,
        positive: Some(Buckets { offset: 0, bucket_counts: vec![1, 2, 3] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    let summary = SummaryDataPoint {
        attributes,
        time_unix_nano,
        start_time_unix_nano,
        count: 3,
        sum: 1.5,
        quantile_values: vec![quantile(0.5, 0.4), quantile(0.99, 0.9)],
        ..SummaryDataPoint::default()
    };
    let metric = |name: &str, unit: &str, data| Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    vec![
        metric("http.requests", "{request}", sum(true)),
        metric("queue.length", "1", sum(false)),
        metric(
            "http.duration",
            "s",
            Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 2 }),
        ),
        metric(
            "payload.size",
            "By",
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![exponential],
                aggregation_temporality: 2,
            }),
        ),
        metric("rpc.duration", "s", Data::Summary(Summary { data_points: vec![summary] })),
    ]
}

#[tokio::test]
async fn every_metric_kind_answers_in_promql() {
    let home = Home::new();
    let server = home.start("").await;
    let body = metrics("kinds", every_kind(now_ns())).encode_to_vec();
    let url = server.otlp_url("/v1/metrics");
    let (status, answer) = post(&server, &url, &[("content-type", PROTOBUF)], body).await;
    assert_eq!((status, answer.len()), (200, 0));
    // Asked again after a restart: the same answers from the log, and again from segments.
    server.kill().await;
    let server = home
        .start("[store]\nflush_bytes_max = 4096\nflush_bytes_min = 1\nflush_age = \"100ms\"\n")
        .await;
    let cases = [
        ("http_requests_total{http_route=\"/pay\", job=\"kinds\", instance=\"1\"}", vec![42.0]),
        ("queue_length", vec![42.0]),
        ("sort(http_duration_seconds_bucket)", vec![4.0, 8.0, 10.0]),
        (
            "http_duration_seconds_bucket{le=\"1.0\"} or http_duration_seconds_bucket{le=\"1\"}",
            vec![8.0],
        ),
        ("http_duration_seconds_sum / http_duration_seconds_count", vec![0.65]),
        ("histogram_quantile(0.6, http_duration_seconds_bucket)", vec![0.75]),
        ("histogram_count(payload_size_bytes)", vec![7.0]),
        ("histogram_sum(payload_size_bytes)", vec![20.0]),
        ("rpc_duration_seconds{quantile=\"0.99\"}", vec![0.9]),
        ("rpc_duration_seconds_count", vec![3.0]),
        ("count(target_info{job=\"kinds\"})", vec![1.0]),
    ];
    for (expr, wanted) in &cases {
        let got = server.promql(expr).await;
        let close =
            got.len() == wanted.len() && got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(close, "{expr}: {got:?}, not {wanted:?}");
    }
    let rows = server.sql("SELECT metric, value FROM metrics WHERE metric IN ('http.requests', 'queue.length') ORDER BY 1").await;
    assert_eq!(
        rows,
        [vec![json!("http.requests"), json!(42.0)], vec![json!("queue.length"), json!(42.0)]]
    );
    server.stop().await;
}

#[tokio::test]
async fn the_good_part_of_a_request_is_kept_and_the_rest_counted_with_a_reason() {
    let home = Home::new();
    let server = home.start("").await;
    let (now, month_ns) = (now_ns(), 30 * 86_400 * 1_000_000_000);
    let points = [(now, 1.0), (now - month_ns, 2.0)];
    let mut request = metrics("partial", vec![gauge("good.value", &[], &points)]);
    request.resource_metrics[0].scope_metrics[0].metrics.push(gauge("", &[], &[(now, 3.0)]));
    let headers = [("content-type", PROTOBUF)];
    let (status, answer) =
        post(&server, &server.otlp_url("/v1/metrics"), &headers, request.encode_to_vec()).await;
    let partial = ExportMetricsServiceResponse::decode(&*answer).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_data_points), (200, 2));
    assert!(!partial.error_message.is_empty());
    let mut request = logs("partial", ["new", "old"].map(str::to_owned).into_iter());
    request.resource_logs[0].scope_logs[0].log_records[1].time_unix_nano = now - month_ns;
    let (status, answer) =
        post(&server, &server.otlp_url("/v1/logs"), &headers, request.encode_to_vec()).await;
    let partial = ExportLogsServiceResponse::decode(&*answer).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_log_records), (200, 1));
    let mut request = spans("partial", 1, ["whole", "without id"].map(str::to_owned).into_iter());
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = vec![0; 16];
    let (status, answer) =
        post(&server, &server.otlp_url("/v1/traces"), &headers, request.encode_to_vec()).await;
    let partial = ExportTraceServiceResponse::decode(&*answer).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_spans), (200, 1));
    for (statement, wanted) in [
        ("SELECT value FROM \"good.value\"", json!(1.0)),
        ("SELECT body FROM logs", json!("new")),
        ("SELECT name FROM spans", json!("whole")),
    ] {
        assert_eq!(server.sql_value(statement).await, wanted, "{statement}");
    }
    let status = server.get("/api/headrope/v1/status").await;
    assert_eq!(status["ingest"]["rejected_total"].as_u64(), Some(4), "{status:#}");
    server.stop().await;
}

/// What hostile clients send: name, path, headers, body, the statuses allowed.
type Hostile =
    (&'static str, &'static str, Vec<(&'static str, &'static str)>, Vec<u8>, &'static [u16]);

fn hostile() -> Vec<Hostile> {
    let good = logs("hostile", std::iter::once("x".to_owned())).encode_to_vec();
    let protobuf = ("content-type", PROTOBUF);
    let json = ("content-type", "application/json");
    let cut = good[..good.len() - 3].to_vec();
    let mut endless = vec![0x0a];
    endless.extend([0xff; 9]);
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)).into_bytes();
    let bomb = gzip(&vec![0; 80 << 20]);
    vec![
        ("cut short", "/v1/logs", vec![protobuf], cut, &[400]),
        ("length of 2^63", "/v1/traces", vec![protobuf], endless, &[400]),
        ("noise", "/v1/metrics", vec![protobuf], (0..=255).cycle().take(5_000).collect(), &[400]),
        ("bad JSON", "/v1/logs", vec![json], b"{\"resourceLogs\": [}".to_vec(), &[400]),
        ("deep JSON", "/v1/logs", vec![json], deep, &[400]),
        (
            "JSON of another shape",
            "/v1/logs",
            vec![json],
            b"{\"resourceLogs\": 7}".to_vec(),
            &[400],
        ),
        ("no JSON but protobuf", "/v1/logs", vec![json], good.clone(), &[400]),
        ("unknown type", "/v1/logs", vec![("content-type", "text/plain")], good.clone(), &[415]),
        ("no type", "/v1/logs", vec![], good.clone(), &[415]),
        (
            "unknown encoding",
            "/v1/logs",
            vec![protobuf, ("content-encoding", "br")],
            good.clone(),
            &[415, 400],
        ),
        ("no gzip", "/v1/logs", vec![protobuf, ("content-encoding", "gzip")], good.clone(), &[400]),
        ("no zstd", "/v1/logs", vec![protobuf, ("content-encoding", "zstd")], good, &[400]),
        ("zip bomb", "/v1/logs", vec![protobuf, ("content-encoding", "gzip")], bomb, &[400, 413]),
        ("too long", "/v1/logs", vec![protobuf], vec![0; 33 << 20], &[413, 0]),
    ]
}

#[tokio::test]
async fn hostile_requests_are_refused_with_a_reason_and_hurt_nobody() {
    let home = Home::new();
    let server = home.start("").await;
    for (name, path, headers, body, allowed) in hostile() {
        for base in [server.otlp_url(path), server.url(path)] {
            let (status, answer) = post(&server, &base, &headers, body.clone()).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(allowed.contains(&status), "{name}: {status} {answer}");
            assert!(answer.len() > 10, "{name}: no reason given");
        }
    }
    let answer = server.client.get(server.otlp_url("/v1/logs")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 405);
    let head = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 99999999999\r\n\r\n";
    let answer = answer_to_head(&server.addresses.otlp_http, head).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // The gRPC door hears something that is not HTTP/2.
    let mut noise = TcpStream::connect(&server.addresses.otlp_grpc).await.unwrap();
    noise.write_all(&[0xee; 4_096]).await.unwrap();
    // A client that gives up in the middle of its body.
    let mut half = TcpStream::connect(&server.addresses.otlp_http).await.unwrap();
    let head = head.replace("99999999999", "900") + "abc";
    half.write_all(head.as_bytes()).await.unwrap();
    drop((noise, half));
    send_grpc(&server, "still here", None).await;
    send_http(&server, &server.addresses.otlp_http, "also here", "", plain).await;
    assert_eq!(server.sql_value("SELECT count(*) FROM logs").await, 2);
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
    server.stop().await;
}

#[tokio::test]
async fn bad_queries_are_told_where_they_are_wrong() {
    let home = Home::new();
    let server = home.start("").await;
    let (status, answer) = server.try_sql("SELECT bodyy FROM logs").await;
    assert_eq!((status, &answer["error"]["kind"]), (400, &json!("invalid")), "{answer:#}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("bodyy"), "{answer:#}");
    for statement in
        ["SELEC 1", "SELECT 1; SELECT 2", "DROP TABLE logs", "INSERT INTO logs VALUES (1)", ""]
    {
        let (status, answer) = server.try_sql(statement).await;
        assert_eq!(status, 400, "{statement}: {answer:#}");
    }
    let answer = server.client.get(server.url("/api/v1/query?query=sum(up")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["status"], &answer["errorType"]), (&json!("error"), &json!("bad_data")));
    assert!(answer["error"].as_str().unwrap().contains("1:"), "{answer:#}");
    assert_eq!(
        server.client.get(server.url("/api/headrope/v1/nothing")).send().await.unwrap().status(),
        404
    );
    server.stop().await;
}

#[tokio::test]
async fn a_request_of_ten_thousand_points_passes_every_door() {
    let home = Home::new();
    let server = home.start("").await;
    let now = now_ns();
    let points: Vec<_> = (0..10_000).map(|i| (now - i * 1_000_000, 0.5)).collect();
    let request: ExportMetricsServiceRequest =
        metrics("big", vec![gauge("big.value", &[("some.attribute", &"x".repeat(300))], &points)]);
    let body = request.encode_to_vec();
    assert!(body.len() > 3 << 20);
    let (status, _) =
        post(&server, &server.url("/v1/metrics"), &[("content-type", PROTOBUF)], body).await;
    assert_eq!(status, 200);
    let bodies = (0..10_000).map(|i| format!("{i} {}", "y".repeat(500)));
    let request: ExportLogsServiceRequest = logs("big", bodies);
    assert!(request.encoded_len() > 5 << 20);
    let address = format!("http://{}", server.addresses.otlp_grpc);
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    LogsServiceClient::new(channel).export(request).await.unwrap();
    assert_eq!(server.sql_value("SELECT count(*) FROM \"big.value\"").await, 10_000);
    assert_eq!(server.sql_value("SELECT count(*) FROM logs").await, 10_000);
    server.stop().await;
}
