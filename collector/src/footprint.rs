//! How much memory a body will take once decoded, told before it is: a two-byte empty span becomes a struct of hundreds
//! of bytes, so that a body within its size limit could decode to gigabytes.
//!
//! Protobuf is walked tag by tag, guided by where OTLP has repeated messages; JSON is judged by its punctuation. What
//! is no protobuf is left to the decoder, which says where.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, SummaryDataPoint,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::proto::{Message, Wire};
use crate::stats::Signal;

/// Bytes of one node of serde_json's map, which an object with any key has.
const JSON_OBJECT_BYTES: usize = 640;
const JSON_VALUE_BYTES: usize = 32;
/// Vectors grow by doubling: at worst half of one is empty.
const SLACK: usize = 2;
const DEPTH_MAX: usize = 100;

/// What is known of a message type: its fields that hold messages or packed numbers.
struct Shape(&'static [Field]);

struct Field {
    number: u32,
    kind: Kind,
}

enum Kind {
    /// A repeated message: the size of its struct, and its type.
    Repeated(usize, &'static Shape),
    /// A message held in its parent's struct.
    Single(&'static Shape),
    /// Packed numbers of 8 bytes each.
    Packed,
}

const fn repeated<M>(number: u32, shape: &'static Shape) -> Field {
    Field { number, kind: Kind::Repeated(size_of::<M>() * SLACK, shape) }
}

const fn single(number: u32, shape: &'static Shape) -> Field {
    Field { number, kind: Kind::Single(shape) }
}

const fn packed(number: u32) -> Field {
    Field { number, kind: Kind::Packed }
}

static PAIR: Shape = Shape(&[single(2, &ANY)]);
static ANY: Shape = Shape(&[single(5, &ARRAY), single(6, &ATTRIBUTES_1)]);
static ARRAY: Shape = Shape(&[repeated::<AnyValue>(1, &ANY)]);
static ATTRIBUTES_1: Shape = Shape(&[repeated::<KeyValue>(1, &PAIR)]);
static ATTRIBUTES_3: Shape = Shape(&[repeated::<KeyValue>(3, &PAIR)]);
static ATTRIBUTES_4: Shape = Shape(&[repeated::<KeyValue>(4, &PAIR)]);
static EXEMPLAR: Shape = Shape(&[repeated::<KeyValue>(7, &PAIR)]);
static BUCKETS: Shape = Shape(&[packed(2)]);
static NOTHING: Shape = Shape(&[]);

static METRICS: Shape = Shape(&[repeated::<ResourceMetrics>(1, &RESOURCE_METRICS)]);
static RESOURCE_METRICS: Shape =
    Shape(&[single(1, &ATTRIBUTES_1), repeated::<ScopeMetrics>(2, &SCOPE_METRICS)]);
static SCOPE_METRICS: Shape = Shape(&[single(1, &ATTRIBUTES_3), repeated::<Metric>(2, &METRIC)]);
static METRIC: Shape = Shape(&[
    single(5, &NUMBERS),
    single(7, &NUMBERS),
    single(9, &HISTOGRAMS),
    single(10, &EXPONENTIALS),
    single(11, &SUMMARIES),
    repeated::<KeyValue>(12, &PAIR),
]);
static NUMBERS: Shape = Shape(&[repeated::<NumberDataPoint>(1, &NUMBER)]);
static NUMBER: Shape = Shape(&[repeated::<Exemplar>(5, &EXEMPLAR), repeated::<KeyValue>(7, &PAIR)]);
static HISTOGRAMS: Shape = Shape(&[repeated::<HistogramDataPoint>(1, &HISTOGRAM)]);
static HISTOGRAM: Shape = Shape(&[
    packed(6),
    packed(7),
    repeated::<Exemplar>(8, &EXEMPLAR),
    repeated::<KeyValue>(9, &PAIR),
]);
static EXPONENTIALS: Shape = Shape(&[repeated::<ExponentialHistogramDataPoint>(1, &EXPONENTIAL)]);
static EXPONENTIAL: Shape = Shape(&[
    repeated::<KeyValue>(1, &PAIR),
    single(8, &BUCKETS),
    single(9, &BUCKETS),
    repeated::<Exemplar>(11, &EXEMPLAR),
]);
static SUMMARIES: Shape = Shape(&[repeated::<SummaryDataPoint>(1, &SUMMARY)]);
static SUMMARY: Shape =
    Shape(&[repeated::<ValueAtQuantile>(6, &NOTHING), repeated::<KeyValue>(7, &PAIR)]);

static LOGS: Shape = Shape(&[repeated::<ResourceLogs>(1, &RESOURCE_LOGS)]);
static RESOURCE_LOGS: Shape =
    Shape(&[single(1, &ATTRIBUTES_1), repeated::<ScopeLogs>(2, &SCOPE_LOGS)]);
static SCOPE_LOGS: Shape = Shape(&[single(1, &ATTRIBUTES_3), repeated::<LogRecord>(2, &LOG)]);
static LOG: Shape = Shape(&[single(5, &ANY), repeated::<KeyValue>(6, &PAIR)]);

static TRACES: Shape = Shape(&[repeated::<ResourceSpans>(1, &RESOURCE_SPANS)]);
static RESOURCE_SPANS: Shape =
    Shape(&[single(1, &ATTRIBUTES_1), repeated::<ScopeSpans>(2, &SCOPE_SPANS)]);
static SCOPE_SPANS: Shape = Shape(&[single(1, &ATTRIBUTES_3), repeated::<Span>(2, &SPAN)]);
static SPAN: Shape = Shape(&[
    repeated::<KeyValue>(9, &PAIR),
    repeated::<Event>(11, &ATTRIBUTES_3),
    repeated::<Link>(13, &ATTRIBUTES_4),
]);

/// Bytes a protobuf request takes once decoded, at most about; its own text included.
pub(crate) fn of_protobuf(signal: Signal, body: &[u8]) -> usize {
    let shape = match signal {
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
        Signal::Traces => &TRACES,
    };
    let mut bytes = body.len();
    // Broken framing ends the walk: the decoder stops at the same place, so nothing after it takes memory.
    let _whole = walk(Message::of_body(body), shape, 0, &mut bytes).is_some();
    bytes
}

/// Bytes a JSON document takes once parsed, at most about.
pub(crate) fn of_json(body: &[u8]) -> usize {
    let of = |byte: &u8| match byte {
        b'{' => JSON_OBJECT_BYTES,
        b',' | b'[' => JSON_VALUE_BYTES * SLACK,
        _ => 1,
    };
    body.iter().map(of).sum()
}

fn walk(message: Message<'_>, shape: &Shape, depth: usize, bytes: &mut usize) -> Option<()> {
    for field in message.fields() {
        let field = field.ok()?;
        let (Wire::Bytes(inner), Some(known)) =
            (field.value, shape.0.iter().find(|known| known.number == field.number))
        else {
            continue;
        };
        match known.kind {
            Kind::Packed => *bytes += inner.bytes().len() * size_of::<u64>() * SLACK,
            Kind::Repeated(size, shape) if depth < DEPTH_MAX => {
                *bytes += size;
                walk(inner, shape, depth + 1, bytes)?;
            }
            Kind::Single(shape) if depth < DEPTH_MAX => {
                walk(inner, shape, depth + 1, bytes)?;
            }
            // Deeper than prost goes: it will refuse the body.
            Kind::Repeated(..) | Kind::Single(_) => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;

    use super::*;

    #[test]
    fn empty_messages_count_with_the_structs_they_become() {
        let spans = vec![Span::default(); 1_000];
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        assert!(body.len() < 2_100);
        assert!(of_protobuf(Signal::Traces, &body) > 1_000 * size_of::<Span>());
        assert!(of_protobuf(Signal::Logs, &body) < of_protobuf(Signal::Traces, &body));
    }

    #[test]
    fn json_objects_count_with_the_maps_they_become() {
        assert!(of_json(&b"{\"\":0},".repeat(1_000)) > 600_000);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_walked_without_panic(body: Vec<u8>) {
            for signal in Signal::ALL {
                proptest::prop_assert!(of_protobuf(signal, &body) >= body.len());
            }
        }
    }
}
