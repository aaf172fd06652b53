//! The fields of OTLP's messages, by their names in JSON: their numbers in protobuf and what stands there.

use opentelemetry_proto::tonic::logs::v1::SeverityNumber;
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

/// The fields of a message, those that come most often first.
#[derive(Debug)]
pub(super) struct Shape(&'static [Field]);

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) is_repeated: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Truth,
    U32,
    U64,
    I64,
    Fixed32,
    Fixed64,
    Sfixed64,
    /// Zigzag, of 32 bits.
    Sint32,
    Double,
    /// Bytes in hexadecimal.
    Id,
    /// Bytes in base64.
    Base64,
    /// An integer of 32 bits, or one of these names.
    Code(fn(&str) -> Option<i32>),
    Message(&'static Shape),
}

impl Shape {
    /// The field of this name, in lowerCamelCase or snake_case.
    pub(super) fn find(&self, key: &str) -> Option<&'static Field> {
        let field = self.0.iter().find(|field| field.name == key);
        field.or_else(|| if key.contains('_') { self.find(&camel_case(key)) } else { None })
    }
}

fn camel_case(key: &str) -> String {
    let mut words = key.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        out.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, is_repeated: false }
}

const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, is_repeated: true }
}

use Kind::{
    Base64, Code, Double, Fixed32, Fixed64, I64, Id, Message, Sfixed64, Sint32, Text, Truth, U32,
    U64,
};

/// `ExportMetricsServiceRequest`.
pub(super) static METRICS: Shape = Shape(&[many("resourceMetrics", 1, Message(&RESOURCE_METRICS))]);
/// `ExportLogsServiceRequest`.
pub(super) static LOGS: Shape = Shape(&[many("resourceLogs", 1, Message(&RESOURCE_LOGS))]);
/// `ExportTraceServiceRequest`.
pub(super) static TRACES: Shape = Shape(&[many("resourceSpans", 1, Message(&RESOURCE_SPANS))]);

static ANY: Shape = Shape(&[
    one("stringValue", 1, Text),
    one("intValue", 3, I64),
    one("boolValue", 2, Truth),
    one("doubleValue", 4, Double),
    one("arrayValue", 5, Message(&ARRAY)),
    one("kvlistValue", 6, Message(&MAP)),
    one("bytesValue", 7, Base64),
]);
static ARRAY: Shape = Shape(&[many("values", 1, Message(&ANY))]);
static MAP: Shape = Shape(&[many("values", 1, Message(&PAIR))]);
static PAIR: Shape = Shape(&[one("key", 1, Text), one("value", 2, Message(&ANY))]);
static RESOURCE: Shape =
    Shape(&[many("attributes", 1, Message(&PAIR)), one("droppedAttributesCount", 2, U32)]);
static SCOPE: Shape = Shape(&[
    one("name", 1, Text),
    one("version", 2, Text),
    many("attributes", 3, Message(&PAIR)),
    one("droppedAttributesCount", 4, U32),
]);

/// What a resource sent, by scope.
const fn of_resource(name: &'static str, of_scope: &'static Shape) -> [Field; 3] {
    let resource = one("resource", 1, Message(&RESOURCE));
    [resource, many(name, 2, Message(of_scope)), one("schemaUrl", 3, Text)]
}

/// What a scope sent.
const fn of_scope(name: &'static str, item: &'static Shape) -> [Field; 3] {
    let scope = one("scope", 1, Message(&SCOPE));
    [scope, many(name, 2, Message(item)), one("schemaUrl", 3, Text)]
}

static RESOURCE_LOGS: Shape = Shape(&of_resource("scopeLogs", &SCOPE_LOGS));
static SCOPE_LOGS: Shape = Shape(&of_scope("logRecords", &LOG_RECORD));
static LOG_RECORD: Shape = Shape(&[
    one("timeUnixNano", 1, Fixed64),
    one("observedTimeUnixNano", 11, Fixed64),
    one("severityNumber", 2, Code(severity)),
    one("severityText", 3, Text),
    one("body", 5, Message(&ANY)),
    many("attributes", 6, Message(&PAIR)),
    one("traceId", 9, Id),
    one("spanId", 10, Id),
    one("flags", 8, Fixed32),
    one("droppedAttributesCount", 7, U32),
    one("eventName", 12, Text),
]);

static RESOURCE_SPANS: Shape = Shape(&of_resource("scopeSpans", &SCOPE_SPANS));
static SCOPE_SPANS: Shape = Shape(&of_scope("spans", &SPAN));
static SPAN: Shape = Shape(&[
    one("traceId", 1, Id),
    one("spanId", 2, Id),
    one("parentSpanId", 4, Id),
    one("name", 5, Text),
    one("kind", 6, Code(span_kind)),
    one("startTimeUnixNano", 7, Fixed64),
    one("endTimeUnixNano", 8, Fixed64),
    many("attributes", 9, Message(&PAIR)),
    one("status", 15, Message(&STATUS)),
    one("flags", 16, Fixed32),
    many("events", 11, Message(&EVENT)),
    many("links", 13, Message(&LINK)),
    one("traceState", 3, Text),
    one("droppedAttributesCount", 10, U32),
    one("droppedEventsCount", 12, U32),
    one("droppedLinksCount", 14, U32),
]);
static STATUS: Shape = Shape(&[one("code", 3, Code(status_code)), one("message", 2, Text)]);
static EVENT: Shape = Shape(&[
    one("timeUnixNano", 1, Fixed64),
    one("name", 2, Text),
    many("attributes", 3, Message(&PAIR)),
    one("droppedAttributesCount", 4, U32),
]);
static LINK: Shape = Shape(&[
    one("traceId", 1, Id),
    one("spanId", 2, Id),
    one("traceState", 3, Text),
    many("attributes", 4, Message(&PAIR)),
    one("droppedAttributesCount", 5, U32),
    one("flags", 6, Fixed32),
]);

static RESOURCE_METRICS: Shape = Shape(&of_resource("scopeMetrics", &SCOPE_METRICS));
static SCOPE_METRICS: Shape = Shape(&of_scope("metrics", &METRIC));
static METRIC: Shape = Shape(&[
    one("name", 1, Text),
    one("description", 2, Text),
    one("unit", 3, Text),
    one("gauge", 5, Message(&GAUGE)),
    one("sum", 7, Message(&SUM)),
    one("histogram", 9, Message(&HISTOGRAM)),
    one("exponentialHistogram", 10, Message(&EXPONENTIAL_HISTOGRAM)),
    one("summary", 11, Message(&SUMMARY)),
    many("metadata", 12, Message(&PAIR)),
]);
static GAUGE: Shape = Shape(&[many("dataPoints", 1, Message(&NUMBER_POINT))]);
static SUM: Shape = Shape(&[
    many("dataPoints", 1, Message(&NUMBER_POINT)),
    one("aggregationTemporality", 2, Code(temporality)),
    one("isMonotonic", 3, Truth),
]);
static HISTOGRAM: Shape = Shape(&[
    many("dataPoints", 1, Message(&HISTOGRAM_POINT)),
    one("aggregationTemporality", 2, Code(temporality)),
]);
static EXPONENTIAL_HISTOGRAM: Shape = Shape(&[
    many("dataPoints", 1, Message(&EXPONENTIAL_POINT)),
    one("aggregationTemporality", 2, Code(temporality)),
]);
static SUMMARY: Shape = Shape(&[many("dataPoints", 1, Message(&SUMMARY_POINT))]);
static NUMBER_POINT: Shape = Shape(&[
    many("attributes", 7, Message(&PAIR)),
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("asDouble", 4, Double),
    one("asInt", 6, Sfixed64),
    many("exemplars", 5, Message(&EXEMPLAR)),
    one("flags", 8, U32),
]);
static HISTOGRAM_POINT: Shape = Shape(&[
    many("attributes", 9, Message(&PAIR)),
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    many("bucketCounts", 6, Fixed64),
    many("explicitBounds", 7, Double),
    many("exemplars", 8, Message(&EXEMPLAR)),
    one("flags", 10, U32),
    one("min", 11, Double),
    one("max", 12, Double),
]);
static EXPONENTIAL_POINT: Shape = Shape(&[
    many("attributes", 1, Message(&PAIR)),
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    one("scale", 6, Sint32),
    one("zeroCount", 7, Fixed64),
    one("positive", 8, Message(&BUCKETS)),
    one("negative", 9, Message(&BUCKETS)),
    one("flags", 10, U32),
    many("exemplars", 11, Message(&EXEMPLAR)),
    one("min", 12, Double),
    one("max", 13, Double),
    one("zeroThreshold", 14, Double),
]);
static BUCKETS: Shape = Shape(&[one("offset", 1, Sint32), many("bucketCounts", 2, U64)]);
static SUMMARY_POINT: Shape = Shape(&[
    many("attributes", 7, Message(&PAIR)),
    one("startTimeUnixNano", 2, Fixed64),
    one("timeUnixNano", 3, Fixed64),
    one("count", 4, Fixed64),
    one("sum", 5, Double),
    many("quantileValues", 6, Message(&QUANTILE)),
    one("flags", 8, U32),
]);
static QUANTILE: Shape = Shape(&[one("quantile", 1, Double), one("value", 2, Double)]);
static EXEMPLAR: Shape = Shape(&[
    many("filteredAttributes", 7, Message(&PAIR)),
    one("timeUnixNano", 2, Fixed64),
    one("asDouble", 3, Double),
    one("asInt", 6, Sfixed64),
    one("spanId", 4, Id),
    one("traceId", 5, Id),
]);

fn severity(name: &str) -> Option<i32> {
    SeverityNumber::from_str_name(name).map(|number| number as i32)
}

fn span_kind(name: &str) -> Option<i32> {
    SpanKind::from_str_name(name).map(|kind| kind as i32)
}

fn status_code(name: &str) -> Option<i32> {
    StatusCode::from_str_name(name).map(|code| code as i32)
}

fn temporality(name: &str) -> Option<i32> {
    AggregationTemporality::from_str_name(name).map(|code| code as i32)
}
