//! The door of remote write with a real store behind it: negotiation, answers, and rows that can be found afterwards.

use axum::body::to_bytes;
use bytes::Bytes;
use expect_test::{Expect, expect};
use model::id::TenantId;
use model::matcher::{MatchOp, Matcher};
use prost::Message;
use tower::ServiceExt;

use super::*;
use crate::config::Config;
use crate::fixture::{NOW, collector};
use crate::remote::tests::message::{native, sample, series, v1, v2};

const V1: &str = "application/x-protobuf;proto=prometheus.WriteRequest";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn snappy(message: &impl Message) -> Bytes {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap().into()
}

fn post(content_type: &str, body: Bytes) -> Request {
    let request = Request::post("/api/v1/write").header(CONTENT_ENCODING, "snappy");
    request.header(CONTENT_TYPE, content_type).body(Body::from(body)).unwrap()
}

/// Status, the headers that matter, and the body.
async fn send(collector: &Arc<Collector>, request: Request) -> String {
    let response = collector.write_routes().oneshot(request).await.unwrap();
    let mut out = response.status().as_str().to_owned();
    for name in
        ["allow", "retry-after", WRITTEN[0].as_str(), WRITTEN[1].as_str(), WRITTEN[2].as_str()]
    {
        if let Some(value) = response.headers().get(name) {
            out.push_str(&format!(" {name}: {}", value.to_str().unwrap()));
        }
    }
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    format!("{out}\n{}", String::from_utf8_lossy(&body))
}

async fn check(config: Config, request: Request, expected: Expect) {
    let (collector, store, _dir) = collector(config).await;
    expected.assert_eq(&send(&collector, request).await);
    assert_eq!(collector.stats().in_flight_bytes, 0);
    store.shutdown().await.unwrap();
}

fn good() -> v1::WriteRequest {
    let mut of = series(&[("__name__", "h"), ("job", "a")], &[]);
    of.histograms = vec![native::integer(NOW.ms())];
    v1::WriteRequest { timeseries: vec![sample("up", NOW.ms()), of], metadata: Vec::new() }
}

#[tokio::test]
async fn both_versions_are_stored_and_counted() {
    let (collector, store, _dir) = collector(Config::default()).await;
    assert_eq!(send(&collector, post(V1, snappy(&good()))).await, "204\n");
    assert_eq!(send(&collector, post("application/x-protobuf", snappy(&good()))).await, "204\n");
    let answer = send(&collector, post(V2, snappy(&v2::of(&good())))).await;
    expect![[r#"
        204 x-prometheus-remote-write-samples-written: 1 x-prometheus-remote-write-histograms-written: 1 x-prometheus-remote-write-exemplars-written: 0
    "#]].assert_eq(&answer);
    let bare = Request::post("/prometheus/api/v1/write").body(Body::from(snappy(&good()))).unwrap();
    assert_eq!(send(&collector, bare).await, "204\n");
    let name = Matcher::new("__name__", MatchOp::Equal, "up");
    assert_eq!(store.snapshot().select(TenantId::default(), &[name]).unwrap().len(), 1);
    assert_eq!(collector.stats().metrics.accepted, 8);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_good_part_is_kept_and_the_sender_is_told_of_the_other() {
    let mut request = good();
    request.timeseries.push(series(&[("job", "nameless")], &[(NOW.ms(), 1.0)]));
    check(Config::default(), post(V2, snappy(&v2::of(&request))), expect![[r#"
        400 x-prometheus-remote-write-samples-written: 1 x-prometheus-remote-write-histograms-written: 1 x-prometheus-remote-write-exemplars-written: 0
        1 of 3 data points rejected: 1 without a usable metric name (first: series `` {job="nameless"}, it has no label __name__)"#]]).await;
    check(Config::default(), post(V1, snappy(&request)), expect![[r#"
        400
        1 of 3 data points rejected: 1 without a usable metric name (first: series `` {job="nameless"}, it has no label __name__)"#]]).await;
}

#[tokio::test]
async fn what_is_not_remote_write_is_refused() {
    let body = || snappy(&good());
    check(
        Config::default(),
        Request::get("/api/v1/write").body(Body::empty()).unwrap(),
        expect![[r#"
            405 allow: POST
            GET is not allowed here; send a POST"#]],
    )
    .await;
    check(Config::default(), post("application/json", body()), expect![[r#"
        415
        Content-Type is application/json; send application/x-protobuf, with proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request"#]]).await;
    check(
        Config::default(),
        post("application/x-protobuf;proto=other.Request", body()),
        expect![[r#"
            415
            Content-Type is application/x-protobuf;proto=other.Request; send application/x-protobuf, with proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request"#]],
    )
    .await;
    let mut gzip = post(V1, body());
    gzip.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    check(
        Config::default(),
        gzip,
        expect![[r#"
        415
        Content-Encoding is gzip; send snappy, its block format"#]],
    )
    .await;
    check(Config::default(), post(V2, Bytes::from_static(b"no snappy")), expect![[r#"
        400 x-prometheus-remote-write-samples-written: 0 x-prometheus-remote-write-histograms-written: 0 x-prometheus-remote-write-exemplars-written: 0
        the body of 9 bytes is not whole snappy: snappy: corrupt input (expected valid offset but got offset 1634628384; dst position: 0); compress it again, or name the encoding it has"#]]).await;
    let framing = snap::raw::Encoder::new().compress_vec(&[0x0a, 9, 1]).unwrap();
    check(Config::default(), post(V1, framing.into()), expect![[r#"
        400
        the body is not the protobuf that belongs here: a field is longer than the message that holds it (at byte 1); check that the body was sent whole, to the path of its kind, and that Content-Encoding names its compression"#]]).await;
    let small = Config { decoded_bytes_max: 10, ..Config::default() };
    check(small, post(V1, body()), expect![[r#"
        413
        the decompressed body is larger than 10 bytes; send smaller batches, or raise `decoded_bytes_max`"#]]).await;
    let tiny = Config { wire_bytes_max: 10, ..Config::default() };
    check(
        tiny,
        post(V1, body()),
        expect![[r#"
        413
        the body is larger than 10 bytes; send smaller batches, or raise `wire_bytes_max`"#]],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_taken_now_is_asked_for_again() {
    let config = Config::default();
    let (collector, store, _dir) = collector(config.clone()).await;
    let others = collector.budget().reserve(config.bytes_in_flight_max).unwrap();
    let full = send(&collector, post(V2, snappy(&v2::of(&good())))).await;
    assert!(
        full.starts_with("429 retry-after: 1 x-prometheus-remote-write-samples-written: 0"),
        "{full}"
    );
    drop(others);
    store.shutdown().await.unwrap();
    let closed = send(&collector, post(V1, snappy(&good()))).await;
    assert!(closed.starts_with("503 retry-after: 1\n"), "{closed}");
}
