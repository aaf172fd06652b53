//! The gRPC door over a real connection, with the clients that opentelemetry-proto generates.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tower::ServiceExt;

use super::*;
use crate::config::Config;
use crate::fixture::{collector, good, metric};

/// Serves the collector on a free port.
async fn connect(collector: &Arc<Collector>) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = collector.grpc_routes();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn metrics_request() -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest::decode(&good(Signal::Metrics)[..]).unwrap()
}

#[tokio::test]
async fn the_three_services_take_plain_gzip_and_zstd() {
    let (collector, store, _dir) = collector(Config::default()).await;
    let channel = connect(&collector).await;
    let logs = ExportLogsServiceRequest::decode(&good(Signal::Logs)[..]).unwrap();
    let traces = ExportTraceServiceRequest::decode(&good(Signal::Traces)[..]).unwrap();
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = MetricsServiceClient::new(channel.clone());
        let mut log_client = LogsServiceClient::new(channel.clone());
        let mut trace_client = TraceServiceClient::new(channel.clone());
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
            log_client = log_client.send_compressed(encoding);
            trace_client = trace_client.send_compressed(encoding);
        }
        let answer = client.export(metrics_request()).await.unwrap().into_inner();
        assert_eq!(answer.partial_success, None);
        let answer = log_client.export(logs.clone()).await.unwrap().into_inner();
        assert_eq!(answer.partial_success, None);
        let answer = trace_client.export(traces.clone()).await.unwrap().into_inner();
        assert_eq!(answer.partial_success, None);
    }
    let stats = collector.stats();
    assert_eq!([stats.metrics.accepted, stats.logs.accepted, stats.traces.accepted], [12, 3, 3]);
    assert_eq!(stats.in_flight_bytes, 0);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn partial_success_reaches_the_client() {
    let (collector, store, _dir) = collector(Config::default()).await;
    let half = metric(
        r#"{"name":"g","gauge":{"dataPoints":[{"asInt":1},{"asInt":2,"timeUnixNano":"1800000000000000000"}]}}"#,
    );
    let request = crate::fixture::protobuf(Signal::Metrics, &half);
    let request = ExportMetricsServiceRequest::decode(&request[..]).unwrap();
    let mut client = MetricsServiceClient::new(connect(&collector).await);
    let partial = client.export(request).await.unwrap().into_inner().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    assert!(partial.error_message.contains("without a time"), "{}", partial.error_message);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn overload_says_when_to_come_back_and_what_is_too_large_does_not() {
    let config = Config { wire_bytes_max: 2_000, decoded_bytes_max: 2_000, ..Config::default() };
    let (collector, store, _dir) = collector(config.clone()).await;
    let mut client = MetricsServiceClient::new(connect(&collector).await);
    let others = collector.budget().reserve(config.bytes_in_flight_max).unwrap();
    let busy = client.export(metrics_request()).await.unwrap_err();
    assert_eq!(busy.code(), Code::ResourceExhausted);
    let details = RpcStatus::decode(busy.details()).unwrap();
    assert!(details.details[0].type_url.ends_with("google.rpc.RetryInfo"));
    assert_eq!(config.retry_after, Duration::from_secs(1));
    assert_eq!(details.details[0].value, [0x0a, 0x02, 0x08, 0x01]);
    drop(others);
    let mut long = metrics_request();
    long.resource_metrics[0].schema_url = "x".repeat(3_000);
    let too_large = client.export(long.clone()).await.unwrap_err();
    assert_eq!(too_large.code(), Code::ResourceExhausted, "{too_large}");
    assert!(RpcStatus::decode(too_large.details()).unwrap().details.is_empty());
    let mut zipped = client.send_compressed(CompressionEncoding::Zstd);
    let bomb = zipped.export(long).await.unwrap_err();
    assert_eq!(bomb.code(), Code::ResourceExhausted, "{bomb}");
    store.shutdown().await.unwrap();
}

/// Answers to a call of the service of traces with this body.
async fn call(
    collector: &Arc<Collector>,
    method: &str,
    encoding: &str,
    body: impl Into<Body>,
) -> Response {
    let path = format!("/opentelemetry.proto.collector.trace.v1.TraceService/{method}");
    let request = Request::post(path)
        .header("content-type", "application/grpc+proto")
        .header("grpc-encoding", encoding)
        .body(body.into())
        .unwrap();
    collector.grpc_routes().oneshot(request).await.unwrap()
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

#[tokio::test]
async fn what_is_no_message_is_an_invalid_argument() {
    let (collector, store, _dir) = collector(Config::default()).await;
    let good = good(Signal::Traces);
    let cases = [
        ("identity", frame(0, &[0x0a, 0x05, 0x01]), "at byte"),
        ("gzip", frame(1, b"abc"), "is not whole gzip"),
        ("zstd", frame(1, b"abc"), "is not whole zstd"),
        ("identity", frame(1, &good), "does not say how"),
        ("zstd", frame(2, &good), "neither compressed nor not"),
        ("identity", frame(0, &good)[..20].to_vec(), "in a body of 15"),
        ("identity", [frame(0, &good), frame(0, &good)].concat(), "in a body of"),
        ("identity", Vec::new(), "no message"),
    ];
    let n_cases = cases.len() as u64;
    for (encoding, body, expected) in cases {
        let response = call(&collector, "Export", encoding, body).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(expected), "{status}");
    }
    assert_eq!(collector.stats().traces.requests_refused, n_cases);
    let plain = call(&collector, "Export", "gzip", frame(0, &good)).await;
    let answer = plain.into_body().collect().await.unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(answer.to_bytes(), frame(0, b"")[..]);
    assert_eq!(collector.stats().in_flight_bytes, 0);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn unknown_methods_and_encodings_are_unimplemented() {
    let (collector, store, _dir) = collector(Config::default()).await;
    for (method, encoding) in [("Import", "identity"), ("Export", "deflate")] {
        let response = call(&collector, method, encoding, frame(0, b"")).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
        let accepted = response.headers().get(GRPC_ACCEPT_ENCODING);
        assert_eq!(accepted.is_some(), method == "Export");
    }
    store.shutdown().await.unwrap();
}

/// A few KB that inflate to some MB: stopped by the ratio, as at the HTTP door.
#[tokio::test]
async fn a_message_is_inflated_under_the_bounds_of_every_body() {
    let config = Config { inflate_ratio_max: 10, ..Config::default() };
    let (collector, store, _dir) = collector(config).await;
    let bomb = frame(1, &zstd::encode_all(&vec![0; 4 << 20][..], 3).unwrap());
    let response = call(&collector, "Export", "zstd", bomb).await;
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("inflate_ratio_max"), "{status}");
    assert_eq!(collector.stats().in_flight_bytes, 0);
    store.shutdown().await.unwrap();
}
