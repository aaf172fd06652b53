//! What senders do wrong with log records and spans: each row of the table in `docs/guide/limits.md`, with what is kept
//! and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use bytes::Bytes;
use model::time::{NS_PER_S, Timestamp};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use store::Store;
use store::schema::Table;

use crate::admit::Reason;
use crate::attributes::{pair, text_pair};
use crate::decode::{Format, Request};
use crate::error::Error;
use crate::fixture::{Desk, NOW, Seen};
use crate::inflate::Encoding;
use crate::stats::Signal;
use crate::{Collector, Config, Received};

const AT: u64 = NOW.0.cast_unsigned();

fn logs(log_records: Vec<LogRecord>) -> Vec<u8> {
    logs_of(None, log_records)
}

fn logs_of(scope: Option<InstrumentationScope>, log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { scope, log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn record(attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord { time_unix_nano: AT, attributes, ..LogRecord::default() }
}

fn spans(spans: Vec<Span>) -> Seen {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    Desk::new().take(&Request::Traces(body.into())).unwrap()
}

fn span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        start_time_unix_nano: AT,
        end_time_unix_nano: AT,
        ..Span::default()
    }
}

fn take(body: Vec<u8>) -> Seen {
    Desk::new().take(&Request::Logs(body.into())).unwrap()
}

/// What was counted, rejections last.
#[track_caller]
fn counted(seen: &Seen, expected: &[(Reason, u64)]) {
    let counts = Reason::ALL.map(|reason| (reason, seen.tally.count(reason)));
    let counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, expected);
}

#[test]
fn of_ten_thousand_attributes_the_first_stay() {
    let attributes = (0..10_000).map(|i| pair(&format!("k{i}"), Value::IntValue(i))).collect();
    let seen = take(logs(vec![record(attributes), record(Vec::new())]));
    let ints = seen.column(Table::Logs, "attrs_int");
    assert_eq!((ints.len(), ints[0].matches(": ").count()), (2, 256));
    counted(&seen, &[(Reason::AttributesOverLimit, 9_744)]);
}

#[test]
fn values_of_a_megabyte_are_cut_and_keys_of_a_megabyte_dropped() {
    let long = "v".repeat(1 << 20);
    let body = Some(AnyValue { value: Some(Value::StringValue("b".repeat(3 << 19))) });
    let attributes = vec![text_pair("long", &long), text_pair(&long, "of a long key")];
    let seen = take(logs(vec![LogRecord { body, ..record(attributes) }]));
    let texts = seen.column(Table::Logs, "attrs_str").concat();
    assert_eq!(texts.len(), "{long: }".len() + (64 << 10));
    assert_eq!(seen.column(Table::Logs, "body").concat().len(), 1 << 20);
    counted(
        &seen,
        &[(Reason::AttributeInvalid, 1), (Reason::AttributeCut, 1), (Reason::BodyCut, 1)],
    );
}

#[test]
fn a_record_that_no_log_entry_could_hold_is_rejected_and_its_neighbours_stay() {
    let long = "v".repeat(60 << 10);
    let attributes = (0..100).map(|i| text_pair(&format!("k{i}"), &long)).collect();
    let seen = take(logs(vec![record(Vec::new()), record(attributes), record(Vec::new())]));
    assert_eq!(seen.column(Table::Logs, "time").len(), 2);
    counted(&seen, &[(Reason::RecordTooLarge, 1)]);
    let message = seen.tally.message();
    assert!(
        message.starts_with("1 of 3 log records rejected: 1 that are too large (first: one of 61"),
        "{message}"
    );
}

#[test]
fn a_key_may_change_its_type_from_record_to_record() {
    let values = [
        Value::IntValue(7),
        Value::StringValue("seven".to_owned()),
        Value::DoubleValue(f64::NAN),
        Value::BoolValue(true),
        Value::ArrayValue(ArrayValue { values: Vec::new() }),
        Value::BytesValue(vec![7]),
    ];
    let records = values.into_iter().map(|value| record(vec![pair("key", value)])).collect();
    let seen = take(logs(records));
    let column = |name: &str| seen.column(Table::Logs, name);
    assert_eq!(column("attrs_int"), ["{key: 7}", "{}", "{}", "{}", "{}", "{}"]);
    assert_eq!(column("attrs_str"), ["{}", "{key: seven}", "{}", "{}", "{}", "{}"]);
    assert_eq!(column("attrs_f64"), ["{}", "{}", "{key: NaN}", "{}", "{}", "{}"]);
    assert_eq!(column("attrs_bool"), ["{}", "{}", "{}", "{key: true}", "{}", "{}"]);
    assert_eq!(column("attrs_json"), ["{}", "{}", "{}", "{}", "{key: []}", "{key: \"Bw==\"}"]);
    counted(&seen, &[]);
}

#[test]
fn of_a_repeated_key_the_last_value_stays() {
    let attributes =
        vec![pair("k", Value::IntValue(1)), text_pair("other", ""), text_pair("k", "last")];
    let seen = take(logs(vec![record(attributes)]));
    assert_eq!(seen.column(Table::Logs, "attrs_str"), ["{k: last, other: }"]);
    assert_eq!(seen.column(Table::Logs, "attrs_int"), ["{}"]);
    counted(&seen, &[(Reason::AttributeInvalid, 1)]);
}

#[test]
fn times_out_of_range_reject_the_record_and_no_other() {
    let at = |time_unix_nano| LogRecord { time_unix_nano, ..LogRecord::default() };
    let s = NS_PER_S.cast_unsigned();
    let seen = take(logs(vec![
        at(AT),
        at(u64::MAX),
        at(AT + 601 * s),
        at(AT - 172_801 * s),
        at(1),
        at(AT - 172_800 * s),
    ]));
    assert_eq!(seen.column(Table::Logs, "time").len(), 2);
    counted(&seen, &[(Reason::TimeInFuture, 2), (Reason::TimeTooOld, 2)]);
}

#[test]
fn text_that_is_no_utf8_costs_a_character_and_no_record() {
    let seen = take(
        logs(vec![LogRecord {
            severity_text: "ab".to_owned(),
            body: Some(AnyValue { value: Some(Value::StringValue("cd".to_owned())) }),
            ..record(vec![text_pair("ef", "gh")])
        }])
        .into_iter()
        .map(|byte| if b"bdfh".contains(&byte) { 0xff } else { byte })
        .collect(),
    );
    assert_eq!(seen.column(Table::Logs, "severity_text"), ["a\u{fffd}"]);
    assert_eq!(seen.column(Table::Logs, "body"), ["c\u{fffd}"]);
    assert_eq!(seen.column(Table::Logs, "attrs_str"), ["{e\u{fffd}: g\u{fffd}}"]);
    counted(&seen, &[(Reason::TextRepaired, 4)]);
}

#[test]
fn ids_that_are_none_go_from_log_records_and_reject_spans() {
    let with_ids = |trace_id: &[u8], span_id: &[u8]| LogRecord {
        trace_id: trace_id.to_vec(),
        span_id: span_id.to_vec(),
        ..record(Vec::new())
    };
    let seen = take(logs(vec![
        with_ids(&[0; 16], &[0; 8]),
        with_ids(&[1; 15], &[1; 8]),
        with_ids(&[1; 16], &[1; 9]),
    ]));
    let one = "01".repeat(16);
    assert_eq!(seen.column(Table::Logs, "trace_id"), ["null", "null", &one]);
    assert_eq!(seen.column(Table::Logs, "span_id"), ["null", &one[..16], "null"]);
    counted(&seen, &[(Reason::IdDropped, 2)]);
    let seen = spans(vec![
        span(),
        Span { trace_id: vec![0; 16], ..span() },
        Span { span_id: vec![1; 7], ..span() },
        Span { parent_span_id: vec![1; 3], ..span() },
    ]);
    assert_eq!(seen.column(Table::Spans, "time").len(), 1);
    let expected =
        [(Reason::TraceIdInvalid, 1), (Reason::SpanIdInvalid, 1), (Reason::ParentSpanIdInvalid, 1)];
    counted(&seen, &expected);
}

#[test]
fn spans_that_end_early_last_nothing_and_surplus_events_go() {
    let events = vec![Event::default(); 10_000];
    let seen = spans(vec![Span { events, end_time_unix_nano: AT - 1, ..span() }]);
    assert_eq!(seen.column(Table::Spans, "duration"), ["0"]);
    assert_eq!(seen.column(Table::Spans, "events").concat().matches("time:").count(), 1_024);
    counted(&seen, &[(Reason::AttributesOverLimit, 1), (Reason::DurationClamped, 1)]);
}

#[test]
fn what_each_row_takes_from_around_it_is_counted_as_memory() {
    let long = "v".repeat(60 << 10);
    let around = |attributes| InstrumentationScope { attributes, ..Default::default() };
    let records = vec![record(Vec::new()); 10_000];
    let body = logs_of(Some(around(vec![text_pair("k", &long)])), records.clone());
    let refused = Desk::new().within(512 << 20).take(&Request::Logs(body.into()));
    assert!(matches!(refused, Err(Error::TooLarge(_))));
    let two = vec![text_pair("k", &long), text_pair("l", &long)];
    let seen = take(logs_of(Some(around(two)), records));
    assert_eq!(seen.column(Table::Logs, "attrs_str")[9_999], "{}");
    counted(&seen, &[(Reason::AttributesOverLimit, 1)]);
    // Two bytes on the wire each: they end as well.
    let empty = around(vec![KeyValue::default(); 40_000]);
    let seen = take(logs_of(Some(empty), vec![record(Vec::new())]));
    counted(&seen, &[(Reason::AttributesOverLimit, 1)]);
}

#[test]
fn values_that_nest_without_end_refuse_the_request() {
    let mut value = AnyValue { value: None };
    for _ in 0..200 {
        value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    let body = logs(vec![LogRecord { body: Some(value), ..LogRecord::default() }]);
    let refused = Desk::new().take(&Request::Logs(body.into())).err().unwrap();
    assert!(refused.to_string().contains("messages nest too deep"), "{refused}");
}

async fn send(collector: &Arc<Collector>, records: Vec<LogRecord>) -> i64 {
    let held = collector.budget().reserve(0).unwrap();
    let (signal, format, encoding) = (Signal::Logs, Format::Protobuf, Encoding::Identity);
    let body = Bytes::from(logs(records));
    let received = Received { signal, format, encoding, body, delivery: None, held };
    collector.ingest(received).await.unwrap().rejected
}

/// When our own clock goes back, records of the time before are in the future: taken within `future_max`, rejected
/// beyond it. What was stored stays, and the sequence goes on.
#[tokio::test]
async fn a_clock_that_goes_back_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ns = Arc::new(AtomicI64::new(NOW.0));
    let ticks = Arc::clone(&ns);
    let clock: Arc<dyn model::time::Clock> =
        Arc::new(move || Timestamp(ticks.load(Ordering::Relaxed)));
    let settings = store::Config { data_dir: dir.path().to_owned(), ..store::Config::default() };
    let store = Store::open(settings, Arc::clone(&clock)).await.unwrap();
    let collector = Collector::new(Arc::clone(&store), Config::default(), clock);
    assert_eq!(send(&collector, vec![record(Vec::new())]).await, 0);
    ns.store(NOW.0 - 300 * NS_PER_S, Ordering::Relaxed);
    assert_eq!(send(&collector, vec![record(Vec::new())]).await, 0);
    ns.store(NOW.0 - 3_600 * NS_PER_S, Ordering::Relaxed);
    let ours = LogRecord::default();
    assert_eq!(send(&collector, vec![record(Vec::new()), ours]).await, 1);
    let mut rows = Vec::new();
    for batch in store.snapshot().head(Table::Logs).unwrap() {
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        let times = column("time").as_primitive::<TimestampNanosecondType>().values().to_vec();
        let seqs = column("ingest_seq").as_primitive::<Int64Type>().values().to_vec();
        rows.extend(seqs.into_iter().zip(times.into_iter().map(|time| NOW.0 - time)));
    }
    rows.sort_unstable();
    let back: Vec<_> = rows.iter().map(|(_, back)| *back).collect();
    assert_eq!(back, [0, 0, 3_600 * NS_PER_S]);
    assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "{rows:?}");
    let rejected = collector.stats().logs.rejected;
    assert!(rejected.contains(&("time_in_future", 1)), "{rejected:?}");
    store.shutdown().await.unwrap();
}
