//! Samples as delimited protobuf: the one exposition format with native histograms.
//!
//! Source: <https://github.com/prometheus/client_model>, `io/prometheus/client/metrics.proto`.

use prost::Message;
use query::promql::histogram::{self, CUSTOM_SCHEMA, ResetHint};
use query::promql::{Reading, Sample};

use super::text::cumulative;
use super::{families, labels};

const UNTYPED: i32 = 3;
const HISTOGRAM: i32 = 4;
const GAUGE_HISTOGRAM: i32 = 5;

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Untyped>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Untyped {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

/// Counts as floats throughout.
#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(double, optional, tag = "4")]
    sample_count_float: Option<f64>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(double, optional, tag = "8")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    positive_count: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Bucket {
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
    #[prost(double, optional, tag = "4")]
    cumulative_count_float: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

/// Every family with its length before it; of a name with floats and histograms one family of each type.
pub(super) fn encoded(samples: &[Sample]) -> Vec<u8> {
    let mut out: Vec<MetricFamily> = Vec::new();
    for (name, family) in families(samples) {
        let start = out.len();
        for sample in family {
            let kind = Some(kind(sample));
            match out[start..].iter_mut().find(|family| family.kind == kind) {
                Some(family) => family.metric.push(metric(sample)),
                None => out.push(MetricFamily {
                    name: Some(name.to_owned()),
                    kind,
                    metric: vec![metric(sample)],
                }),
            }
        }
    }
    out.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

fn kind(sample: &Sample) -> i32 {
    match &sample.reading {
        Reading::Float(_) => UNTYPED,
        Reading::Histogram(held) if held.reset_hint == ResetHint::Gauge => GAUGE_HISTOGRAM,
        Reading::Histogram(_) => HISTOGRAM,
    }
}

fn metric(sample: &Sample) -> Metric {
    let label = |(name, value): (&str, &str)| LabelPair {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
    };
    let (untyped, histogram) = match &sample.reading {
        Reading::Float(value) => (Some(Untyped { value: Some(*value) }), None),
        Reading::Histogram(held) => (None, Some(message(held))),
    };
    Metric {
        label: labels(sample).into_iter().map(label).collect(),
        untyped,
        timestamp_ms: Some(sample.t_ms),
        histogram,
    }
}

fn message(held: &histogram::Histogram) -> Histogram {
    let mut out = Histogram {
        sample_sum: Some(held.sum),
        sample_count_float: Some(held.count),
        ..Histogram::default()
    };
    if held.schema == CUSTOM_SCHEMA {
        let bucket = |(bound, count)| Bucket {
            upper_bound: Some(bound),
            cumulative_count_float: Some(count),
        };
        out.bucket = cumulative(held).into_iter().map(bucket).collect();
        return out;
    }
    let side = |buckets: &[(i32, f64)]| {
        let (spans, counts) = histogram::spans(buckets);
        let span = |(offset, length)| BucketSpan { offset: Some(offset), length: Some(length) };
        (spans.into_iter().map(span).collect::<Vec<_>>(), counts)
    };
    out.schema = Some(held.schema);
    out.zero_threshold = Some(held.zero_threshold);
    out.zero_count_float = Some(held.zero_count);
    (out.negative_span, out.negative_count) = side(&held.negative);
    (out.positive_span, out.positive_count) = side(&held.positive);
    if out.positive_span.is_empty() && out.negative_span.is_empty() {
        // A histogram without any span and with a zero threshold of 0 would pass for a classic one.
        out.positive_span.push(BucketSpan { offset: Some(0), length: Some(0) });
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use query::promql::Labels;

    use super::*;

    #[test]
    fn histograms_have_spans_and_floats_their_own_family() {
        let held = histogram::Histogram {
            schema: 2,
            count: 6.0,
            sum: 3.5,
            zero_count: 1.0,
            positive: vec![(-1, 2.0), (0, 1.0), (4, 2.0)],
            ..Default::default()
        };
        let labels = Labels::from_texts([("__name__", "h"), ("job", "a")]);
        let reading = Reading::Histogram(Arc::new(held));
        let samples = [
            Sample { labels: labels.clone(), t_ms: 5, reading },
            Sample { labels, t_ms: 6, reading: Reading::Float(1.0) },
        ];
        let bytes = encoded(&samples);
        let mut rest = bytes.as_slice();
        let first = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        let second = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!((first.kind, second.kind), (Some(HISTOGRAM), Some(UNTYPED)));
        let found = first.metric[0].histogram.as_ref().unwrap();
        let spans: Vec<_> = found.positive_span.iter().map(|s| (s.offset(), s.length())).collect();
        assert_eq!(spans, [(-1, 2), (3, 1)]);
        assert_eq!(found.positive_count, [2.0, 1.0, 2.0]);
        assert_eq!((found.sample_count_float(), found.zero_count_float()), (6.0, 1.0));
        assert_eq!(first.metric[0].label[0].name(), "instance");
        assert_eq!(second.metric[0].timestamp_ms(), 6);
    }
}
