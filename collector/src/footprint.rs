//! How much memory a body will take once decoded, told before it is: a two-byte empty span becomes a struct of hundreds
//! of bytes, so that a body within its size limit could decode to gigabytes.
//!
//! Protobuf is walked tag by tag, guided by where OTLP has repeated messages. What is no protobuf is left to the decoder,
//! which says where.

use std::mem::size_of;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, SummaryDataPoint,
};

use crate::proto::{Message, Wire};

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

/// Bytes a protobuf request of metrics takes once decoded, at most about; its own text included.
pub(crate) fn of_protobuf(body: &[u8]) -> usize {
    let mut bytes = body.len();
    // Broken framing ends the walk: the decoder stops at the same place, so nothing after it takes memory.
    let _whole = walk(Message::of_body(body), &METRICS, 0, &mut bytes).is_some();
    bytes
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
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use prost::Message as _;

    use super::*;

    #[test]
    fn empty_messages_count_with_the_structs_they_become() {
        let metrics = vec![Metric::default(); 1_000];
        let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
        let resource_metrics =
            vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        assert!(body.len() < 2_100);
        assert!(of_protobuf(&body) > 1_000 * size_of::<Metric>());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_walked_without_panic(body: Vec<u8>) {
            proptest::prop_assert!(of_protobuf(&body) >= body.len());
        }
    }
}
