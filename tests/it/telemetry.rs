//! OTLP requests made by hand: small, and each record recognisable.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use crate::server::now_ns;

pub(crate) fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }
}

pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(text(value)), ..KeyValue::default() }
}

pub(crate) fn resource(service: &str) -> Option<Resource> {
    let attributes = vec![
        attribute("service.name", service),
        attribute("service.instance.id", "1"),
        attribute("deployment.environment.name", "test"),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

/// Log records with these bodies.
pub(crate) fn logs(
    service: &str,
    bodies: impl Iterator<Item = String>,
) -> ExportLogsServiceRequest {
    let record = |(i, body): (usize, String)| LogRecord {
        time_unix_nano: now_ns() + i as u64,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(text(&body)),
        attributes: vec![attribute("kind", "test")],
        ..LogRecord::default()
    };
    let log_records = bodies.enumerate().map(record).collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource = resource(service);
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

/// Spans with these names, each a trace of its own; `seed` keeps their ids apart from others'.
pub(crate) fn spans(
    service: &str,
    seed: u64,
    names: impl Iterator<Item = String>,
) -> ExportTraceServiceRequest {
    let span = |(i, name): (usize, String)| {
        let start = now_ns();
        let number = seed + i as u64 + 1;
        Span {
            trace_id: (u128::from(number) << 64 | 7).to_be_bytes().to_vec(),
            span_id: number.to_be_bytes().to_vec(),
            name,
            kind: 2,
            start_time_unix_nano: start,
            end_time_unix_nano: start + 5_000_000,
            ..Span::default()
        }
    };
    let spans = names.enumerate().map(span).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource = resource(service);
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// One metric of a resource.
pub(crate) fn metrics(service: &str, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource = resource(service);
    let one = ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![one] }
}

/// A gauge with these (time in ns, value) points of one series.
pub(crate) fn gauge(name: &str, labels: &[(&str, &str)], points: &[(u64, f64)]) -> Metric {
    let point = |(time_unix_nano, value): &(u64, f64)| NumberDataPoint {
        attributes: labels.iter().map(|(key, value)| attribute(key, value)).collect(),
        time_unix_nano: *time_unix_nano,
        value: Some(Value::AsDouble(*value)),
        ..NumberDataPoint::default()
    };
    let data_points = points.iter().map(point).collect();
    let data = Some(Data::Gauge(Gauge { data_points }));
    Metric { name: name.to_owned(), data, ..Metric::default() }
}
