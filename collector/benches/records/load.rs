//! Log records and spans as services write them: eight services of three pods, bodies of about 93 bytes with numbers and
//! ids in them, a few attributes; traces of eight spans. The same rows as protobuf and as OTLP/JSON.

use model::time::NS_PER_S;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::json;
use store::schema::Table;

/// Rows of one request, all of one pod.
const REQUEST_ROWS: usize = 5_000;
const N_SERVICES: u64 = 8;
const N_PODS: u64 = 3;

/// Numbers that only look random (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    fn id(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

/// The bodies of requests with `rows` rows together.
pub(crate) fn bodies(table: Table, rows: usize, is_json: bool) -> Vec<Vec<u8>> {
    let n = rows.div_ceil(REQUEST_ROWS);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let body = |i: usize| {
        let len = REQUEST_ROWS.min(rows - i * REQUEST_ROWS);
        // The rows of each pod, spread over the hour before the present.
        let end = super::NOW.0.cast_unsigned();
        let hour = 3_600 * NS_PER_S.cast_unsigned();
        let at = |row: usize| end - hour + hour / rows as u64 * (i * REQUEST_ROWS + row) as u64;
        let pod = i as u64 % (N_SERVICES * N_PODS);
        match (table, is_json) {
            (Table::Logs, false) => logs(pod, len, at, &mut random).encode_to_vec(),
            (Table::Logs, true) => logs_json(&logs(pod, len, at, &mut random)),
            (_, false) => traces(pod, len, at, &mut random).encode_to_vec(),
            (_, true) => traces_json(&traces(pod, len, at, &mut random)),
        }
    };
    (0..n).map(body).collect()
}

fn resource(pod: u64) -> Option<Resource> {
    let service = SERVICES[usize::try_from(pod % N_SERVICES).unwrap_or(0)];
    let attributes = vec![
        text("service.name", service),
        text("k8s.namespace.name", "shop"),
        text("k8s.pod.name", &format!("{service}-6d4cf56db6-{pod:05x}")),
        text("k8s.node.name", &format!("node-{}", pod % 5)),
        text("host.name", &format!("node-{}", pod % 5)),
        text("deployment.environment.name", "production"),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

const SERVICES: [&str; 8] =
    ["cart", "catalog", "checkout", "currency", "email", "frontend", "payment", "shipping"];
const ROUTES: [&str; 6] = ["orders", "items", "users", "carts", "prices", "sessions"];

fn logs(
    pod: u64,
    rows: usize,
    at: impl Fn(usize) -> u64,
    random: &mut Random,
) -> ExportLogsServiceRequest {
    let log_records =
        (0..rows).map(|row| log_record(at(row) + random.below(9_973), random)).collect();
    let scope = InstrumentationScope { name: "app.logger".to_owned(), ..Default::default() };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
    let of_resource =
        ResourceLogs { resource: resource(pod), scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![of_resource] }
}

fn log_record(time: u64, random: &mut Random) -> LogRecord {
    let (severity_number, severity_text) = match random.below(20) {
        0 => (17, "ERROR"),
        1 | 2 => (13, "WARN"),
        _ => (9, "INFO"),
    };
    let route = ROUTES[usize::try_from(random.below(6)).unwrap_or(0)];
    let (item, user, ms) = (random.below(1_000_000), random.below(50_000), random.below(900));
    let body = match random.below(4) {
        0 => format!(
            "GET /api/v1/{route}/{item} for user {user} completed with status 200 after {ms} ms in handler pool 3"
        ),
        1 => format!(
            "cache miss for key {route}:{item}, loaded from replica {} within {ms} ms, {user} entries remain now",
            user % 4
        ),
        2 => format!(
            "published event {route}.changed id={:016x} to partition {} offset {item}, {ms} bytes sent",
            random.next(),
            user % 12
        ),
        _ => format!(
            "user {user} asked for {route} {item}, retry {} after {ms} ms since upstream was slow to answer",
            user % 3
        ),
    };
    let has_trace = random.below(100) < 32;
    let attributes = vec![
        text("logger.name", &format!("com.shop.{route}.Handler{}", user % 5)),
        int("thread.id", user % 32),
        int("http.response.status_code", if severity_number == 17 { 500 } else { 200 }),
        text("tenant", &format!("tenant-{}", item % 100)),
    ];
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time + 1_000_000,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        attributes,
        trace_id: if has_trace { random.id(16) } else { Vec::new() },
        span_id: if has_trace { random.id(8) } else { Vec::new() },
        ..LogRecord::default()
    }
}

fn traces(
    pod: u64,
    rows: usize,
    at: impl Fn(usize) -> u64,
    random: &mut Random,
) -> ExportTraceServiceRequest {
    let mut trace = (Vec::new(), Vec::new());
    let spans = (0..rows)
        .map(|row| {
            if row % 8 == 0 {
                trace = (random.id(16), Vec::new());
            }
            let span = span(at(row) + random.below(9_973), &trace, random);
            trace.1.clone_from(&span.span_id);
            span
        })
        .collect();
    let scope = InstrumentationScope { name: "http".to_owned(), ..Default::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let of_resource =
        ResourceSpans { resource: resource(pod), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![of_resource] }
}

fn span(start: u64, (trace_id, parent): &(Vec<u8>, Vec<u8>), random: &mut Random) -> Span {
    let route = ROUTES[usize::try_from(random.below(6)).unwrap_or(0)];
    let is_failed = random.below(50) == 0;
    let (kind, attributes) = if random.below(3) == 0 {
        let attributes = vec![
            text("db.system.name", "postgresql"),
            text("db.namespace", "shop"),
            text("db.operation.name", "SELECT"),
            text("server.address", "db-1.shop.svc"),
            int("server.port", 5_432),
        ];
        (3, attributes)
    } else {
        let attributes = vec![
            text("http.request.method", "GET"),
            text("http.route", &format!("/api/v1/{route}/{{id}}")),
            text("url.path", &format!("/api/v1/{route}/{}", random.below(1_000))),
            int("http.response.status_code", if is_failed { 500 } else { 200 }),
            text("server.address", "shop.example"),
        ];
        (2, attributes)
    };
    Span {
        trace_id: trace_id.clone(),
        span_id: random.id(8),
        parent_span_id: parent.clone(),
        flags: 257,
        name: format!("GET /api/v1/{route}/{{id}}"),
        kind,
        start_time_unix_nano: start,
        // Whole microseconds, as most clocks of applications have them.
        end_time_unix_nano: (start + 1_000 * (50 + random.below(20_000)))
            .min(super::NOW.0.cast_unsigned()),
        attributes,
        status: Some(Status { message: String::new(), code: if is_failed { 2 } else { 0 } }),
        ..Span::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: u64) -> KeyValue {
    pair(key, Value::IntValue(value.cast_signed()))
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes_json(pairs: &[KeyValue]) -> serde_json::Value {
    let value = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::IntValue(number)) => json!({"intValue": number.to_string()}),
        Some(Value::StringValue(text)) => json!({"stringValue": text}),
        _ => json!({}),
    };
    pairs.iter().map(|pair| json!({"key": pair.key, "value": value(pair)})).collect()
}

fn resource_json(resource: Option<&Resource>) -> serde_json::Value {
    json!({"attributes": resource.map(|resource| attributes_json(&resource.attributes))})
}

fn logs_json(request: &ExportLogsServiceRequest) -> Vec<u8> {
    let record = |record: &LogRecord| {
        let body = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
            Some(Value::StringValue(text)) => text.as_str(),
            _ => "",
        };
        json!({
            "timeUnixNano": record.time_unix_nano.to_string(),
            "observedTimeUnixNano": record.observed_time_unix_nano.to_string(),
            "severityNumber": record.severity_number, "severityText": record.severity_text,
            "body": {"stringValue": body}, "attributes": attributes_json(&record.attributes),
            "traceId": hex(&record.trace_id), "spanId": hex(&record.span_id),
        })
    };
    let of_resource = &request.resource_logs[0];
    let records: Vec<_> = of_resource.scope_logs[0].log_records.iter().map(record).collect();
    let resource = resource_json(of_resource.resource.as_ref());
    let scope = json!({"scope": {"name": "app.logger"}, "logRecords": records});
    json!({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}).to_string().into_bytes()
}

fn traces_json(request: &ExportTraceServiceRequest) -> Vec<u8> {
    let span = |span: &Span| {
        json!({
            "traceId": hex(&span.trace_id), "spanId": hex(&span.span_id), "parentSpanId": hex(&span.parent_span_id),
            "flags": span.flags, "name": span.name, "kind": span.kind,
            "startTimeUnixNano": span.start_time_unix_nano.to_string(),
            "endTimeUnixNano": span.end_time_unix_nano.to_string(),
            "attributes": attributes_json(&span.attributes),
            "status": {"code": span.status.as_ref().map(|status| status.code)},
        })
    };
    let of_resource = &request.resource_spans[0];
    let spans: Vec<_> = of_resource.scope_spans[0].spans.iter().map(span).collect();
    let resource = resource_json(of_resource.resource.as_ref());
    let scope = json!({"scope": {"name": "http"}, "spans": spans});
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]})
        .to_string()
        .into_bytes()
}
