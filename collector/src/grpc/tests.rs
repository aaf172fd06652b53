//! The gRPC door over a real connection, with the clients that opentelemetry-proto generates.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::net::TcpListener;
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

#[tokio::test]
async fn a_malformed_message_is_an_invalid_argument_and_unknown_methods_are_unimplemented() {
    let (collector, store, _dir) = collector(Config::default()).await;
    let channel = connect(&collector).await;
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/";
    let call = async |method: &str, body: &'static [u8]| {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = format!("{path}{method}").parse().unwrap();
        client.unary(tonic::Request::new(Bytes::from_static(body)), path, Raw).await.unwrap_err()
    };
    let malformed = call("Export", &[0x0a, 0x05, 0x01]).await;
    assert_eq!(malformed.code(), Code::InvalidArgument);
    assert!(malformed.message().contains("at byte"), "{}", malformed.message());
    assert_eq!(collector.stats().traces.requests_refused, 1);
    assert_eq!(call("Import", b"").await.code(), Code::Unimplemented);
    store.shutdown().await.unwrap();
}

/// One frame that says it is compressed, and is not.
#[tokio::test]
async fn a_message_that_does_not_inflate_is_an_invalid_argument() {
    let (collector, store, _dir) = collector(Config::default()).await;
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    for encoding in ["gzip", "zstd"] {
        let request = Request::post(path)
            .header("content-type", "application/grpc")
            .header("grpc-encoding", encoding)
            .body(Body::from(&b"\x01\0\0\0\x03abc"[..]))
            .unwrap();
        let response = collector.grpc_routes().oneshot(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    assert_eq!(collector.stats().logs.requests_refused, 2);
    assert_eq!(collector.stats().in_flight_bytes, 0);
    store.shutdown().await.unwrap();
}
