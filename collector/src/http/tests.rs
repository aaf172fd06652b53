//! The HTTP door with a real store behind it: negotiation, refusals, and rows that can be found afterwards.

use std::io::Write;
use std::time::Duration;

use axum::body::to_bytes;
use expect_test::{Expect, expect};
use model::id::TenantId;
use model::matcher::{MatchOp, Matcher};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use store::Store;
use store::schema::Table;
use tower::ServiceExt;

use super::*;
use crate::config::Config;
use crate::fixture::{collector, collector_on, good, good_json, log, metric};

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 3).unwrap()
}

fn post(signal: Signal, headers: &[(&str, &str)], body: impl Into<Body>) -> Request {
    let mut request = Request::post(format!("/v1/{}", signal.name()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

async fn send(collector: &Arc<Collector>, request: Request) -> (StatusCode, HeaderMap, Bytes) {
    let response = collector.http_routes().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, to_bytes(body, usize::MAX).await.unwrap())
}

/// Sends to a collector with this configuration, expecting status, content type and body as text.
async fn check(config: Config, request: Request, expected: Expect) {
    let (collector, store, _dir) = collector(config).await;
    let (status, headers, body) = send(&collector, request).await;
    let content_type = headers[CONTENT_TYPE].to_str().unwrap();
    let text = match content_type {
        PROTOBUF => {
            let status = RpcStatus::decode(body).unwrap();
            format!("code {} {}", status.code, status.message)
        }
        _ => String::from_utf8(body.to_vec()).unwrap(),
    };
    let extra = [ALLOW, RETRY_AFTER].map(|name| {
        headers
            .get(&name)
            .map_or(String::new(), |value| format!(" {name}: {}", value.to_str().unwrap()))
    });
    expected.assert_eq(&format!("{status} {content_type}{}\n{text}\n", extra.concat()));
    assert_eq!(collector.budget().held(), 0, "memory was given back");
    store.shutdown().await.unwrap();
}

const AS_JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const AS_PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

fn n_rows(store: &Store, table: Table) -> usize {
    store.snapshot().head(table).unwrap().iter().map(|batch| batch.num_rows()).sum()
}

#[tokio::test]
async fn every_signal_format_and_encoding_is_stored_before_it_is_acknowledged() {
    let (collector, store, _dir) = collector(Config::default()).await;
    for signal in Signal::ALL {
        for format in [AS_JSON, AS_PROTOBUF] {
            let plain =
                if format == AS_JSON { good_json(signal).into_bytes() } else { good(signal) };
            for (encoding, body) in
                [("identity", plain.clone()), ("gzip", gzip(&plain)), ("zstd", zstd(&plain))]
            {
                let request = post(signal, &[format, ("content-encoding", encoding)], body);
                let (status, headers, body) = send(&collector, request).await;
                assert_eq!(status, StatusCode::OK, "{body:?}");
                let whole = if format == AS_JSON { &b"{}"[..] } else { b"" };
                assert_eq!(body, whole);
                assert!(format.1.starts_with(headers[CONTENT_TYPE].to_str().unwrap()));
            }
        }
    }
    assert_eq!(n_rows(&store, Table::Logs), 6);
    let name = Matcher::new("__name__", MatchOp::Equal, "m_bytes_total");
    let series = store.snapshot().select(TenantId::default(), &[name]).unwrap();
    assert_eq!(series.len(), 1);
    assert_eq!(series[0].def.prom_labels.value("k"), Some("v"));
    let stats = collector.stats();
    assert_eq!((stats.metrics.requests, stats.metrics.accepted), (6, 24));
    assert_eq!((stats.logs.accepted, stats.traces.accepted), (6, 6));
    assert!(stats.series_cache_hits > stats.series_cache_misses);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_good_part_is_kept_and_the_rest_is_told() {
    let (collector, store, _dir) = collector(Config::default()).await;
    let half = metric(
        r#"{"name":"g","gauge":{"dataPoints":[{"asInt":1},{"asInt":2,"timeUnixNano":"1800000000000000000"}]}}"#,
    );
    let (status, _, body) = send(&collector, post(Signal::Metrics, &[AS_JSON], half.clone())).await;
    assert_eq!(status, StatusCode::OK);
    expect![[r#"{"partialSuccess":{"errorMessage":"1 of 2 data points rejected: 1 without a time (first: metric `g`, its time is 0)","rejectedDataPoints":"1"}}"#]].assert_eq(std::str::from_utf8(&body).unwrap());
    let half = crate::fixture::protobuf(Signal::Metrics, &half);
    let (_, _, body) = send(&collector, post(Signal::Metrics, &[AS_PROTOBUF], half)).await;
    let partial = ExportMetricsServiceResponse::decode(body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 1);
    let rejected = collector.stats().metrics.rejected;
    assert!(rejected.contains(&("time_missing", 2)), "{rejected:?}");
    let counters = collector.stats().counters();
    let counted = counters.iter().find(|counter| {
        counter.name == "headrope_collector_rejected_items_total"
            && counter.attributes == [("signal", "metrics"), ("reason", "time_missing")]
    });
    assert_eq!(counted.unwrap().value, 2);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn methods_types_and_encodings_are_refused_with_what_is_accepted() {
    let get = Request::get("/v1/traces").header("content-type", JSON).body(Body::empty()).unwrap();
    check(
        Config::default(),
        get,
        expect![[r#"
        405 Method Not Allowed application/json allow: POST
        {"code":12,"message":"GET is not allowed on /v1/traces; send a POST"}
    "#]],
    )
    .await;
    check(Config::default(), post(Signal::Logs, &[], "{}"), expect![[r#"
        415 Unsupported Media Type application/json
        {"code":3,"message":"Content-Type is missing; send application/x-protobuf or application/json"}
    "#]]).await;
    let text = post(Signal::Logs, &[("content-type", "text/plain")], "{}");
    check(Config::default(), text, expect![[r#"
        415 Unsupported Media Type application/json
        {"code":3,"message":"Content-Type is text/plain; send application/x-protobuf or application/json"}
    "#]]).await;
    let deflated = post(Signal::Logs, &[AS_PROTOBUF, ("content-encoding", "deflate")], "{}");
    check(
        Config::default(),
        deflated,
        expect![[r#"
        415 Unsupported Media Type application/x-protobuf
        code 3 Content-Encoding is deflate; send identity, gzip or zstd
    "#]],
    )
    .await;
}

#[tokio::test]
async fn bodies_over_a_limit_are_refused_before_and_while_they_inflate() {
    let small = Config { wire_bytes_max: 100, ..Config::default() };
    let body = vec![b' '; 101];
    check(small.clone(), post(Signal::Logs, &[AS_JSON], body.clone()), expect![[r#"
        413 Payload Too Large application/json
        {"code":8,"message":"the body is larger than 100 bytes; send smaller batches, or raise `wire_bytes_max`"}
    "#]]).await;
    let chunked = Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(body)]));
    check(small, post(Signal::Logs, &[AS_JSON], chunked), expect![[r#"
        413 Payload Too Large application/json
        {"code":8,"message":"the body is larger than 100 bytes; send smaller batches, or raise `wire_bytes_max`"}
    "#]]).await;
    let zeros = vec![0; 33 << 20];
    for (encoding, bomb) in [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))] {
        let request = post(Signal::Logs, &[AS_PROTOBUF, ("content-encoding", encoding)], bomb);
        let (collector, store, _dir) = collector(Config::default()).await;
        let (status, _, _) = send(&collector, request).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{encoding}");
        assert_eq!(collector.stats().logs.requests_refused, 1);
        assert_eq!(collector.stats().logs.decoded_bytes, 0);
        store.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn malformed_bodies_are_refused_with_where_they_break() {
    let half = gzip(&good(Signal::Traces));
    let half = half[..half.len() / 2].to_vec();
    let cut = post(Signal::Traces, &[AS_JSON, ("content-encoding", "gzip")], half);
    check(Config::default(), cut, expect![[r#"
        400 Bad Request application/json
        {"code":3,"message":"the body of 71 bytes is not whole gzip: incomplete deflate stream; compress it again, or name the encoding it has"}
    "#]]).await;
    let swapped = post(Signal::Traces, &[AS_PROTOBUF], good_json(Signal::Traces));
    check(Config::default(), swapped, expect![[r#"
        400 Bad Request application/x-protobuf
        code 3 the body is not the protobuf that belongs here: wire type 6 does not exist (at byte 120); check that the body was sent whole, to the path of its kind, and that Content-Encoding names its compression
    "#]]).await;
    let bad = post(Signal::Traces, &[AS_JSON], "{\"resourceSpans\":\n [1]}");
    check(Config::default(), bad, expect![[r#"
        400 Bad Request application/json
        {"code":3,"message":"the JSON is no OTLP: $.resourceSpans[0]: an object is expected, not a number; compare it with https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"}
    "#]]).await;
    check(Config::default(), post(Signal::Traces, &[AS_JSON], "{"), expect![[r#"
        400 Bad Request application/json
        {"code":3,"message":"the body is no JSON: EOF while parsing an object at line 1 column 1; send one JSON object in UTF-8"}
    "#]]).await;
}

#[tokio::test]
async fn a_full_memory_budget_asks_to_come_back() {
    let config = Config { retry_after: Duration::from_millis(1_500), ..Config::default() };
    let (collector, store, _dir) = collector(config.clone()).await;
    let others = collector.budget().reserve(config.bytes_in_flight_max).unwrap();
    let request = || post(Signal::Logs, &[AS_JSON], good_json(Signal::Logs));
    let (status, headers, body) = send(&collector, request()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(headers[RETRY_AFTER], "2");
    assert!(std::str::from_utf8(&body).unwrap().contains(r#""retryDelay":"1.5s""#), "{body:?}");
    drop(others);
    assert_eq!(send(&collector, request()).await.0, StatusCode::OK);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_ends_its_body_is_cut_off() {
    let config = Config { body_timeout: Duration::from_millis(2), ..Config::default() };
    let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    check(config, post(Signal::Logs, &[AS_JSON], endless), expect![[r#"
        408 Request Timeout application/json
        {"code":4,"message":"the body did not arrive within 2ms; send smaller batches or check the network"}
    "#]]).await;
}

#[tokio::test]
async fn a_store_that_is_shut_down_is_unavailable() {
    let (collector, store, _dir) = collector(Config::default()).await;
    store.shutdown().await.unwrap();
    let (status, headers, _) =
        send(&collector, post(Signal::Logs, &[AS_JSON], good_json(Signal::Logs))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[RETRY_AFTER], "1");
}

#[tokio::test]
async fn a_store_without_room_asks_to_come_back_and_nothing_is_counted_as_accepted() {
    let limit = 1 << 20;
    let settings =
        store::Config { flush_bytes_max: limit, head_bytes_max: limit, ..store::Config::default() };
    let (collector, store, _dir) = collector_on(settings, Config::default()).await;
    let body = "x".repeat(200_000);
    let record = format!(r#"{{"body":{{"stringValue":"{body}"}}}}"#);
    let request = log(&vec![record; 16].join(","));
    // Each fills the head, so that the next one finds it full unless all was flushed in between.
    let mut n_taken = 0;
    let headers = loop {
        let request = post(Signal::Logs, &[AS_JSON], request.clone());
        let (status, headers, body) = send(&collector, request).await;
        if status == StatusCode::TOO_MANY_REQUESTS {
            break headers;
        }
        assert_eq!(status, StatusCode::OK, "{body:?}");
        n_taken += 1;
        assert!(n_taken < 100, "the head is never full");
    };
    assert_eq!(headers[RETRY_AFTER], "1");
    let stats = collector.stats().logs;
    assert_eq!(
        (stats.accepted, stats.requests, stats.requests_refused),
        (16 * n_taken, n_taken, 1)
    );
    store.flush().await.unwrap();
    let (status, _, _) =
        send(&collector, post(Signal::Logs, &[AS_JSON], good_json(Signal::Logs))).await;
    assert_eq!(status, StatusCode::OK, "there is room again");
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_named_request_is_stored_once_however_often_it_comes() {
    let (collector, store, _dir) = collector(Config::default()).await;
    let name = |seq: u64| format!("{:032x}-{:016x}-{seq}", 7, 8);
    for (seq, n_records) in [(1, 1), (1, 1), (2, 2), (1, 2), (2, 2)] {
        let headers = [AS_PROTOBUF, ("headrope-delivery", &name(seq))];
        let (status, _, body) =
            send(&collector, post(Signal::Logs, &headers, good(Signal::Logs))).await;
        assert_eq!((status, body), (StatusCode::OK, Bytes::new()), "a repeat is a success");
        assert_eq!(n_rows(&store, Table::Logs), n_records, "after {seq}");
    }
    assert_eq!(store.stats().repeated_batches_total, 3);
    let headers = [AS_PROTOBUF, ("headrope-delivery", "7")];
    let (status, ..) = send(&collector, post(Signal::Logs, &headers, good(Signal::Logs))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(n_rows(&store, Table::Logs), 2);
    store.shutdown().await.unwrap();
}
