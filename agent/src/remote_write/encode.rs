//! From points to the body of a request: the messages of either version, in Snappy's block format.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use model::metric::Labels;
use prost::Message;

use super::client::Version;
use super::message::{
    ExemplarV1, ExemplarV2, HistogramMessage, LabelV1, MetadataV1, MetadataV2, RequestV1,
    RequestV2, Sample, SeriesV1, SeriesV2, SpanMessage,
};
use super::point::{Count, Histogram, Point, Value};

/// The compressed request that holds `points` with the labels of `external` added.
pub(super) fn body(version: Version, points: &[Point], external: &Labels) -> Bytes {
    let message = match version {
        Version::V1 => v1(points, external).encode_to_vec(),
        Version::V2 => v2(points, external).encode_to_vec(),
    };
    let compressed = snap::raw::Encoder::new().compress_vec(&message);
    compressed.expect("a request is far below the 4 GiB that Snappy can hold").into()
}

/// Each text once, in the order of first use.
struct Symbols<'a> {
    numbers: HashMap<&'a str, u32>,
    texts: Vec<String>,
}

impl<'a> Symbols<'a> {
    fn new() -> Self {
        Self { numbers: HashMap::from([("", 0)]), texts: vec![String::new()] }
    }

    fn number(&mut self, text: &'a str) -> u32 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text.to_owned());
            u32::try_from(self.texts.len() - 1).expect("a request has some thousand texts")
        })
    }

    fn refs(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u32> {
        labels.flat_map(|(name, value)| [name, value]).map(|text| self.number(text)).collect()
    }
}

pub(super) fn v2(points: &[Point], external: &Labels) -> RequestV2 {
    let mut symbols = Symbols::new();
    let timeseries = points.iter().map(|point| series_v2(point, external, &mut symbols)).collect();
    RequestV2 { symbols: symbols.texts, timeseries }
}

fn series_v2<'a>(point: &'a Point, external: &'a Labels, symbols: &mut Symbols<'a>) -> SeriesV2 {
    let (samples, histograms) = values(point, point.start_ms);
    let exemplars = point.exemplars.iter().map(|exemplar| ExemplarV2 {
        labels_refs: symbols.refs(exemplar.labels.iter()),
        value: Some(exemplar.value),
        timestamp: exemplar.at_ms,
    });
    let exemplars = exemplars.collect();
    let metadata = point.meta.as_deref().map(|meta| MetadataV2 {
        kind: i32::from(meta.kind as u8),
        help_ref: symbols.number(&meta.help),
        unit_ref: symbols.number(&meta.unit),
    });
    let labels_refs = symbols.refs(merged(&point.labels, external).into_iter());
    SeriesV2 { labels_refs, samples, histograms, exemplars, metadata }
}

/// The labels of a series, sorted, and those of `external` whose names it does not have.
pub(super) fn merged<'a>(labels: &'a Labels, external: &'a Labels) -> Vec<(&'a str, &'a str)> {
    let mut merged: Vec<_> = labels.iter().collect();
    if !external.is_empty() {
        merged.extend(external.iter().filter(|(name, _)| labels.value(name).is_none()));
        merged.sort_unstable();
    }
    merged
}

pub(super) fn v1(points: &[Point], external: &Labels) -> RequestV1 {
    let owned = |pairs: Vec<(&str, &str)>| {
        let label = |(name, value): (&str, &str)| LabelV1 {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        pairs.into_iter().map(label).collect::<Vec<_>>()
    };
    let mut families = BTreeMap::new();
    let mut timeseries = Vec::with_capacity(points.len());
    for point in points {
        if let Some(meta) = &point.meta {
            families.entry(meta.family.as_str()).or_insert(meta);
        }
        let (samples, histograms) = values(point, 0);
        let exemplars = point.exemplars.iter().map(|exemplar| ExemplarV1 {
            labels: owned(exemplar.labels.iter().collect()),
            value: Some(exemplar.value),
            timestamp: exemplar.at_ms,
        });
        let labels = owned(merged(&point.labels, external));
        timeseries.push(SeriesV1 { labels, samples, exemplars: exemplars.collect(), histograms });
    }
    let metadata = families.into_values().map(|meta| MetadataV1 {
        kind: i32::from(meta.kind as u8),
        metric_family_name: meta.family.clone(),
        help: meta.help.clone(),
        unit: meta.unit.clone(),
    });
    RequestV1 { metadata: metadata.collect(), timeseries }
}

fn values(point: &Point, start_ms: i64) -> (Vec<Sample>, Vec<HistogramMessage>) {
    match &point.value {
        Value::Float(value) => {
            let sample =
                Sample { value: Some(*value), timestamp: point.at_ms, start_timestamp: start_ms };
            (vec![sample], Vec::new())
        }
        Value::Histogram(histogram) => {
            (Vec::new(), vec![message(histogram, point.at_ms, start_ms)])
        }
    }
}

fn message(histogram: &Histogram, timestamp: i64, start_timestamp: i64) -> HistogramMessage {
    let int = |count| if let Count::Int(count) = count { Some(count) } else { None };
    let float = |count| if let Count::Float(count) = count { Some(count) } else { None };
    let spans = |spans: &[(i32, u32)]| {
        spans
            .iter()
            .map(|(offset, length)| SpanMessage { offset: *offset, length: *length })
            .collect()
    };
    HistogramMessage {
        count_int: int(histogram.count),
        count_float: float(histogram.count),
        sum: Some(histogram.sum),
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count_int: int(histogram.zero_count),
        zero_count_float: float(histogram.zero_count),
        negative_spans: spans(&histogram.negative.spans),
        negative_deltas: histogram.negative.deltas.clone(),
        negative_counts: histogram.negative.counts.clone(),
        positive_spans: spans(&histogram.positive.spans),
        positive_deltas: histogram.positive.deltas.clone(),
        positive_counts: histogram.positive.counts.clone(),
        reset_hint: if histogram.gauge { 3 } else { 0 },
        timestamp,
        custom_values: histogram.custom.clone(),
        start_timestamp,
    }
}
