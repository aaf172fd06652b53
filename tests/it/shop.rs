//! Data of a small shop, so that every page of the dashboard has something to show.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use crate::server::{Server, now_ns};
use crate::telemetry::{attribute, gauge, logs, metrics, resource};

const N_TRACES: u64 = 40;
const MS: u64 = 1_000_000;

/// A span of every purchase.
struct Step {
    service: &'static str,
    name: &'static str,
    /// OTLP's number.
    kind: i32,
    /// Place of the parent in [`PURCHASE`].
    parent: Option<u64>,
    start_ms: u64,
    end_ms: u64,
}

const fn step(
    (service, name): (&'static str, &'static str),
    kind: i32,
    parent: Option<u64>,
    start_ms: u64,
    end_ms: u64,
) -> Step {
    Step { service, name, kind, parent, start_ms, end_ms }
}

const PURCHASE: [Step; 9] = [
    step(("shop", "POST /checkout"), 2, None, 0, 230),
    step(("shop", "SELECT cart"), 3, Some(0), 4, 18),
    step(("stock", "reserve"), 2, Some(0), 24, 71),
    step(("stock", "UPDATE stock"), 3, Some(2), 30, 66),
    step(("payment", "POST /pay"), 2, Some(0), 78, 204),
    step(("payment", "fraud check"), 1, Some(4), 82, 120),
    step(("bank", "POST /authorize"), 2, Some(4), 124, 188),
    step(("payment", "INSERT payment"), 3, Some(4), 190, 202),
    step(("mail", "send receipt"), 5, Some(0), 208, 226),
];

/// Identity of the `n`-th purchase; 0 is the latest.
pub(crate) fn trace_id(n: u64) -> [u8; 16] {
    (u128::from(0x4bf9_2f35_77b3_4da6 + n) << 64 | 0xa3ce_929d_0e0e_4736).to_be_bytes()
}

/// The identity in the form of URLs.
pub(crate) fn trace_hex(n: u64) -> String {
    format!("{:032x}", u128::from_be_bytes(trace_id(n)))
}

fn fails(n: u64) -> bool {
    n % 8 == 3
}

fn span(n: u64, i: usize, now: u64) -> Span {
    let step = &PURCHASE[i];
    let id = |i: u64| (1_000 * (n + 1) + i).to_be_bytes().to_vec();
    // No two purchases take equally long.
    let stretch = |ms: u64| ms * (10 + n * 7 % 23) * MS / 10;
    let began = now - 500 * MS - n * 3_000 * MS;
    let failed = fails(n) && matches!(i, 0 | 4 | 6);
    let message = if i == 6 { "insufficient funds" } else { "" };
    Span {
        trace_id: trace_id(n).to_vec(),
        span_id: id(i as u64),
        parent_span_id: step.parent.map(id).unwrap_or_default(),
        name: step.name.to_owned(),
        kind: step.kind,
        start_time_unix_nano: began + stretch(step.start_ms),
        end_time_unix_nano: began + stretch(step.end_ms),
        attributes: vec![attribute("customer.id", &format!("c-{}", n * 37 % 101))],
        status: failed.then(|| Status { code: 2, message: message.to_owned() }),
        ..Span::default()
    }
}

fn traces(now: u64) -> ExportTraceServiceRequest {
    let of_service = |service: &str| {
        let chosen = (0..PURCHASE.len()).filter(|i| PURCHASE[*i].service == service);
        let spans = chosen.flat_map(|i| (0..N_TRACES).map(move |n| span(n, i, now))).collect();
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        ResourceSpans { resource: resource(service), scope_spans, ..ResourceSpans::default() }
    };
    let services = ["shop", "stock", "payment", "bank", "mail"];
    ExportTraceServiceRequest { resource_spans: services.map(of_service).to_vec() }
}

fn records(now: u64) -> ExportLogsServiceRequest {
    let bodies = (0..N_TRACES * 5).map(|i| match (i % 5, fails(i / 5)) {
        (0, _) => format!("order {} placed by c-{}", 70_000 - i, i / 5 * 37 % 101),
        (3, true) => format!("payment of order {} declined: insufficient funds", 70_000 - i),
        (4, false) => format!("订单 {} 已发货", 70_000 - i),
        (2, _) => "cache miss, 3 keys".to_owned(),
        _ => format!("GET /items/{} 200", i * 31 % 997),
    });
    let mut request = logs("shop", bodies);
    let records = &mut request.resource_logs[0].scope_logs[0].log_records;
    for (i, record) in (0..).zip(records) {
        record.time_unix_nano = now - i * 600 * MS;
        record.trace_id = trace_id(i / 5).to_vec();
        let (number, word) = match (i % 5, fails(i / 5)) {
            (3, true) => (17, "ERROR"),
            (2, _) => (13, "WARN"),
            _ => (9, "INFO"),
        };
        (record.severity_number, record.severity_text) = (number, word.to_owned());
    }
    request
}

/// Sends the data of the last two minutes.
pub(crate) async fn seed(server: &Server) {
    let now = now_ns();
    let points = (0_u32..120).map(|i| (now - u64::from(i) * 1_000 * MS, f64::from(220 - i)));
    let points: Vec<_> = points.collect();
    let queue = gauge("queue.length", &[("queue", "mail")], &points);
    for (path, body) in [
        ("/v1/logs", records(now).encode_to_vec()),
        ("/v1/traces", traces(now).encode_to_vec()),
        ("/v1/metrics", metrics("shop", vec![queue]).encode_to_vec()),
    ] {
        let request = server.client.post(server.otlp_url(path)).body(body);
        let answer = request.header("content-type", "application/x-protobuf").send().await.unwrap();
        let (status, body) = (answer.status(), answer.bytes().await.unwrap());
        assert!(status.is_success() && body.is_empty(), "{status}: {body:?}");
    }
}
