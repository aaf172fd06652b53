//! JSON as the specification's examples and the SDKs write it, and JSON that is wrong.

use expect_test::{Expect, expect};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::*;
use crate::budget::Budget;
use crate::fixture::{log, metric, span};

fn read<M: Message + Default>(signal: Signal, body: &[u8]) -> Result<M, Error> {
    let mut held = Budget::new(1 << 30, store::Memory::new(16 << 30)).reserve(0).unwrap();
    to_protobuf(signal, body, &mut held).map(|body| M::decode(body).unwrap())
}

fn metrics(body: &[u8]) -> Result<ExportMetricsServiceRequest, Error> {
    read(Signal::Metrics, body)
}

fn logs(body: &[u8]) -> Result<ExportLogsServiceRequest, Error> {
    read(Signal::Logs, body)
}

fn traces(body: &[u8]) -> Result<ExportTraceServiceRequest, Error> {
    read(Signal::Traces, body)
}

/// From the examples of opentelemetry-proto: all integers quoted, ids in upper case.
#[test]
fn the_specifications_trace_is_read() {
    let request = traces(
        br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
        "scopeSpans":[{"scope":{"name":"my.library","version":"1.0.0","attributes":[
          {"key":"my.scope.attribute","value":{"stringValue":"some scope attribute"}}]},
        "spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173",
          "name":"I'm a server span","startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","kind":2,
          "attributes":[{"key":"my.span.attr","value":{"stringValue":"some value"}}]}]}]}]}"#,
    )
    .unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.trace_id[..3], [0x5b, 0x8e, 0xff]);
    assert_eq!((span.span_id.len(), span.parent_span_id[7], span.kind), (8, 0x73, 2));
    assert_eq!(span.start_time_unix_nano, 1_544_712_660_000_000_000);
}

/// As the JavaScript and Python exporters write it: numbers unquoted, `null` for what is absent, names of enums.
#[test]
fn numbers_names_nulls_snake_case_and_unknown_keys_are_read() {
    let request = metrics(
        br#"{"resource_metrics":[{"resource":null,"scopeMetrics":[{"scope":{"name":"s"},"metrics":[
        {"name":"m","unit":"1","futureField":{"a":[1]},"sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE",
         "isMonotonic":true,"dataPoints":[{"attributes":null,"startTimeUnixNano":1544712660300000000,
         "time_unix_nano":"1544712660300000000","asInt":7}]}},
        {"name":"d","gauge":{"dataPoints":[{"timeUnixNano":1.5e3,"asDouble":"NaN"},{"asDouble":3},{"asInt":"-9223372036854775808"}]}}
        ]}]}]}"#,
    )
    .unwrap();
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("a sum") };
    assert_eq!(sum.aggregation_temporality, 2);
    let times = (sum.data_points[0].start_time_unix_nano, sum.data_points[0].time_unix_nano);
    assert_eq!(times, (1_544_712_660_300_000_000, 1_544_712_660_300_000_000));
    let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("a gauge") };
    assert_eq!(gauge.data_points[0].time_unix_nano, 1_500);
    assert!(matches!(
        gauge.data_points[2].value,
        Some(opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsInt(i64::MIN))
    ));
}

#[test]
fn every_kind_of_value_is_read() {
    let values = [
        (r#"{"stringValue":""}"#, Some(Value::StringValue(String::new()))),
        (r#"{"boolValue":false}"#, Some(Value::BoolValue(false))),
        (r#"{"intValue":"-5"}"#, Some(Value::IntValue(-5))),
        (r#"{"intValue":5}"#, Some(Value::IntValue(5))),
        (r#"{"doubleValue":"-Infinity"}"#, Some(Value::DoubleValue(f64::NEG_INFINITY))),
        (r#"{"doubleValue":1}"#, Some(Value::DoubleValue(1.0))),
        (r#"{"bytesValue":"_-8"}"#, Some(Value::BytesValue(vec![255, 239]))),
        (r#"{"arrayValue":{}}"#, Some(Value::ArrayValue(Default::default()))),
        (r#"{"kvlistValue":{"values":[]}}"#, Some(Value::KvlistValue(Default::default()))),
        ("{}", None),
    ];
    for (json, expected) in values {
        let request = logs(log(&format!(r#"{{"body":{json}}}"#)).as_bytes()).unwrap();
        let body = &request.resource_logs[0].scope_logs[0].log_records[0].body;
        assert_eq!(body.as_ref().unwrap().value, expected, "{json}");
    }
}

#[track_caller]
fn check(outcome: Result<impl Sized, Error>, expected: Expect) {
    let Err(error) = outcome else { panic!("it was accepted") };
    expected.assert_eq(&error.to_string());
}

#[test]
fn errors_name_line_and_column_or_path() {
    check(
        traces(b"{\n  \"resourceSpans\": [,]\n}"),
        expect![
            "the body is no JSON: expected value at line 2 column 21; send one JSON object in UTF-8"
        ],
    );
    check(
        traces(b""),
        expect![
            "the body is no JSON: EOF while parsing a value at line 1 column 0; send one JSON object in UTF-8"
        ],
    );
    check(
        traces(b"[]"),
        expect![
            "the JSON is no OTLP: $: an object is expected, not an array; compare it with https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"
        ],
    );
    check(
        traces(span(r#","traceId":"xyz""#).as_bytes()),
        expect![
            "the JSON is no OTLP: $.resourceSpans[0].scopeSpans[0].spans[0].traceId: `xyz` is no hexadecimal id; compare it with https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"
        ],
    );
    check(
        traces(span(r#","kind":"SPAN_KIND_SIDEWAYS""#).as_bytes()),
        expect![[
            r#"the JSON is no OTLP: $.resourceSpans[0].scopeSpans[0].spans[0].kind: an integer is expected, as a number or in quotes, not "SPAN_KIND_SIDEWAYS"; compare it with https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"#
        ]],
    );
    check(
        logs(log(r#"{"severityNumber":4294967296}"#).as_bytes()),
        expect![
            "the JSON is no OTLP: $.resourceLogs[0].scopeLogs[0].logRecords[0].severityNumber: it exceeds 32 bits; compare it with https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"
        ],
    );
    check(
        logs(log(r#"{"body":"plain"}"#).as_bytes()),
        expect![
            "the JSON is no OTLP: $.resourceLogs[0].scopeLogs[0].logRecords[0].body: an object is expected, not text; compare it with https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"
        ],
    );
    check(
        metrics(metric(r#"{"name":"m","gauge":{"dataPoints":{"asInt":1}}}"#).as_bytes()),
        expect![
            "the JSON is no OTLP: $.resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints: an array is expected, not an object; compare it with https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"
        ],
    );
    let deep = format!(
        "{{\"body\":{}{{}}{}}}",
        "{\"arrayValue\":{\"values\":[".repeat(60),
        "]}}".repeat(60)
    );
    let error = logs(log(&deep).as_bytes()).unwrap_err().to_string();
    assert!(
        error.starts_with("the body is no JSON: recursion limit exceeded at line 1"),
        "{error}"
    );
}

#[test]
fn a_document_takes_no_more_memory_than_it_may() {
    let body = log(&vec!["{}"; 100_000].join(","));
    let mut held = Budget::new(100_000, store::Memory::new(1 << 30)).reserve(0).unwrap();
    let refused = to_protobuf(Signal::Logs, body.as_bytes(), &mut held);
    assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in r#"[\[\]{}:,"0-9a-zA-Z. -]{0,80}"#) {
        let body = text.as_bytes();
        let is_read = [traces(body).is_ok(), logs(body).is_ok(), metrics(body).is_ok()];
        proptest::prop_assert!(is_read.iter().all(|read| *read == is_read[0]) || text.contains("resource"));
    }
}
