//! The same samples as remote write sends them: every attribute a label, `job` and `instance` besides.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<Series>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Series {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

/// Version 1.0.
pub(crate) fn first(request: &ExportMetricsServiceRequest, at_s: i64) -> WriteRequest {
    let series = |(labels, value): (Vec<(String, String)>, f64)| TimeSeries {
        labels: labels.into_iter().map(|(name, value)| Label { name, value }).collect(),
        samples: vec![Sample { value, timestamp: at_s * 1_000 }],
    };
    WriteRequest { timeseries: samples(request).into_iter().map(series).collect() }
}

/// Version 2.0.
pub(crate) fn second(request: &ExportMetricsServiceRequest, at_s: i64) -> Request {
    let mut symbols = vec![String::new()];
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut number = |text: String| {
        *numbers.entry(text).or_insert_with_key(|text| {
            symbols.push(text.clone());
            u32::try_from(symbols.len() - 1).unwrap_or_default()
        })
    };
    let mut timeseries = Vec::new();
    for (labels, value) in samples(request) {
        let labels_refs =
            labels.into_iter().flat_map(|(name, value)| [number(name), number(value)]).collect();
        let samples = vec![Sample { value, timestamp: at_s * 1_000 }];
        timeseries.push(Series { labels_refs, samples });
    }
    Request { symbols, timeseries }
}

/// Labels and value of each sample.
fn samples(request: &ExportMetricsServiceRequest) -> Vec<(Vec<(String, String)>, f64)> {
    let mut out = Vec::new();
    let scopes = request.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
    for metric in scopes.flat_map(|of| &of.metrics) {
        let Some(Data::Sum(sum)) = &metric.data else { continue };
        for point in &sum.data_points {
            let plain = |text: &str| text.replace('.', "_");
            let mut labels = vec![
                ("__name__".to_owned(), plain(&metric.name)),
                ("instance".to_owned(), "bench-1".to_owned()),
                ("job".to_owned(), "bench".to_owned()),
            ];
            for pair in &point.attributes {
                let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
                if let Some(Value::StringValue(text)) = value {
                    labels.push((plain(&pair.key), text.clone()));
                }
            }
            labels.sort();
            let Some(number_data_point::Value::AsDouble(value)) = point.value else { continue };
            out.push((labels, value));
        }
    }
    out
}
