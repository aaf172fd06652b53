//! Logs and spans read in place, against what prost reads of the same bytes and a plain model of the rows.

use std::collections::BTreeMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use prost::Message as _;
use store::schema::Table;

use crate::any::tests::values;
use crate::decode::Request;
use crate::fixture::{Desk, NOW, Seen};
use crate::value;

fn pairs() -> impl Strategy<Value = Vec<KeyValue>> {
    let key = prop_oneof![
        Just(String::new()),
        "[a-e]",
        Just("exception.type".to_owned()),
        Just("http.route".to_owned())
    ];
    let pair = (key, prop::option::of(values())).prop_map(|(key, value)| KeyValue {
        key,
        value,
        key_strindex: 0,
    });
    prop::collection::vec(pair, 0..6)
}

fn id(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), len),
        1 => Just(Vec::new()),
        1 => Just(vec![0; len]),
        1 => Just(vec![7; len - 1]),
    ]
}

fn time() -> impl Strategy<Value = u64> {
    let now = NOW.0.cast_unsigned();
    prop_oneof![3 => Just(now), 1 => Just(0), 1 => Just(now / 2), 1 => Just(u64::MAX), 1 => Just(now - 5)]
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    let scope = ("[a-z]{0,3}", "[0-9]{0,2}", pairs(), 0_u32..2).prop_map(
        |(name, version, attributes, dropped)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count: dropped,
        },
    );
    prop::option::of(scope)
}

fn log_record() -> impl Strategy<Value = LogRecord> {
    let times = (time(), time());
    let texts = ("(INFO|warn|odd)?", "[a-z]{0,3}");
    let ids = (id(16), id(8));
    (times, any::<i32>(), texts, prop::option::of(values()), pairs(), ids, any::<(u32, u8)>())
        .prop_map(
            |(
                (time_unix_nano, observed_time_unix_nano),
                severity_number,
                (severity_text, event_name),
                body,
                attributes,
                (trace_id, span_id),
                (dropped_attributes_count, flags),
            )| LogRecord {
                time_unix_nano,
                observed_time_unix_nano,
                severity_number: severity_number % 30,
                severity_text,
                body,
                attributes,
                dropped_attributes_count,
                flags: flags.into(),
                trace_id,
                span_id,
                event_name,
            },
        )
}

fn span() -> impl Strategy<Value = Span> {
    let event = (any::<u64>(), "[a-z]{0,3}", pairs(), 0_u32..2).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    );
    let link = (id(16), id(8), "[a-z=]{0,4}", pairs(), 0_u32..300).prop_map(
        |(trace_id, span_id, trace_state, attributes, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count: flags % 2,
            flags,
        },
    );
    let status = prop::option::of(
        ("[a-z]{0,3}", -1..4).prop_map(|(message, code)| Status { message, code }),
    );
    let lists = (prop::collection::vec(event, 0..3), prop::collection::vec(link, 0..3));
    let ids = (id(16), id(8), prop_oneof![Just(Vec::new()), id(8)]);
    (
        ids,
        "[a-z/0-9]{0,6}",
        -1..7,
        (time(), time()),
        pairs(),
        lists,
        status,
        (any::<u8>(), 0_u32..2),
    )
        .prop_map(
            |(
                (trace_id, span_id, parent_span_id),
                name,
                kind,
                (start_time_unix_nano, end_time_unix_nano),
                attributes,
                (events, links),
                status,
                (flags, dropped),
            )| Span {
                trace_id,
                span_id,
                parent_span_id,
                name,
                kind,
                start_time_unix_nano,
                end_time_unix_nano,
                attributes,
                events,
                links,
                status,
                flags: flags.into(),
                trace_state: String::new(),
                dropped_attributes_count: dropped,
                dropped_events_count: dropped * 2,
                dropped_links_count: 0,
            },
        )
}

fn logs(scope: Option<InstrumentationScope>, log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { scope, log_records, schema_url: "s".to_owned() }];
    let attributes = vec![crate::attributes::text_pair("service.name", "shop")];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let resource_logs = vec![ResourceLogs { resource, scope_logs, schema_url: String::new() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn traces(scope: Option<InstrumentationScope>, spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { scope, spans, schema_url: "s".to_owned() }];
    let attributes = vec![crate::attributes::text_pair("service.name", "shop")];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn take(is_log: bool, body: &[u8]) -> Option<Seen> {
    let body = Bytes::copy_from_slice(body);
    let request = if is_log { Request::Logs(body) } else { Request::Traces(body) };
    Desk::new().take(&request).ok()
}

/// The body as prost writes what it read of it.
fn canonical(is_log: bool, body: &[u8]) -> Option<Vec<u8>> {
    if is_log {
        ExportLogsServiceRequest::decode(body).ok().map(|request| request.encode_to_vec())
    } else {
        ExportTraceServiceRequest::decode(body).ok().map(|request| request.encode_to_vec())
    }
}

/// The pairs that stay, as the typed maps print them, with the scope's and what has no column.
fn maps(
    own: &[KeyValue],
    scope: Option<&InstrumentationScope>,
    counts: &[(&str, u32)],
) -> [String; 5] {
    let mut maps: [Vec<String>; 5] = Default::default();
    let put = |maps: &mut [Vec<String>; 5], key: &str, value: Option<&Value>| {
        let any = opentelemetry_proto::tonic::common::v1::AnyValue { value: value.cloned() };
        let (at, text) = match value {
            Some(Value::IntValue(_)) => (1, value::text(&any).into_owned()),
            Some(Value::DoubleValue(number)) => (2, format!("{number:?}")),
            Some(Value::BoolValue(_)) => (3, value::text(&any).into_owned()),
            Some(Value::ArrayValue(_) | Value::KvlistValue(_) | Value::BytesValue(_)) => {
                (4, value::json(&any))
            }
            Some(Value::StringValue(_) | Value::StringValueStrindex(_)) | None => {
                (0, value::text(&any).into_owned())
            }
        };
        maps[at].push(format!("{key}: {text}"));
    };
    let own = last_of_each(own);
    for (key, value) in &own {
        put(&mut maps, key, value.as_ref());
    }
    let mut extras: Vec<(String, Option<Value>)> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(key, count)| ((*key).to_owned(), Some(Value::IntValue((*count).into()))))
        .collect();
    if let Some(scope) = scope {
        extras.extend(
            last_of_each(&scope.attributes)
                .into_iter()
                .map(|(key, value)| (format!("otel.scope.{key}"), value)),
        );
        if scope.dropped_attributes_count > 0 {
            extras.push((
                "otel.scope.dropped_attributes_count".to_owned(),
                Some(Value::IntValue(scope.dropped_attributes_count.into())),
            ));
        }
    }
    for (key, value) in &extras {
        put(&mut maps, key, value.as_ref());
    }
    maps.map(|pairs| format!("{{{}}}", pairs.join(", ")))
}

fn last_of_each(pairs: &[KeyValue]) -> Vec<(String, Option<Value>)> {
    let mut at = BTreeMap::new();
    let mut out: Vec<(String, Option<Value>)> = Vec::new();
    for pair in pairs.iter().filter(|pair| !pair.key.is_empty()) {
        let value = pair.value.as_ref().and_then(|value| value.value.clone());
        let slot = *at.entry(pair.key.clone()).or_insert(out.len());
        if slot == out.len() { out.push((pair.key.clone(), value)) } else { out[slot].1 = value }
    }
    out
}

/// The maps of a row, doubles as Rust prints them.
fn seen_maps(seen: &Seen, table: Table, row: usize) -> [String; 5] {
    use arrow::array::{Array, AsArray};
    let batch = &seen.tables.iter().find(|(given, _)| *given == table).unwrap().1;
    ["attrs_str", "attrs_int", "attrs_f64", "attrs_bool", "attrs_json"].map(|name| {
        let pairs = batch.column_by_name(name).unwrap().as_map().value(row);
        let (keys, values) = (pairs.column(0).as_string::<i32>(), pairs.column(1));
        let value = |at: usize| match values.data_type() {
            arrow::datatypes::DataType::Float64 => {
                format!("{:?}", values.as_primitive::<arrow::datatypes::Float64Type>().value(at))
            }
            arrow::datatypes::DataType::Int64 => {
                values.as_primitive::<arrow::datatypes::Int64Type>().value(at).to_string()
            }
            arrow::datatypes::DataType::Boolean => values.as_boolean().value(at).to_string(),
            _ => values.as_string::<i32>().value(at).to_owned(),
        };
        let pairs: Vec<String> =
            (0..pairs.len()).map(|at| format!("{}: {}", keys.value(at), value(at))).collect();
        format!("{{{}}}", pairs.join(", "))
    })
}

fn is_taken(ns: u64) -> bool {
    ns == NOW.0.cast_unsigned() || ns == NOW.0.cast_unsigned() - 5
}

proptest! {
    #[test]
    fn log_records_become_the_rows_of_the_model(records in prop::collection::vec(log_record(), 1..5), scope in scope()) {
        let seen = take(true, &logs(scope.clone(), records.clone())).unwrap();
        let kept: Vec<_> = records.iter().filter(|record| match (record.time_unix_nano, record.observed_time_unix_nano) {
            (0, 0) => true,
            (0, observed) => is_taken(observed),
            (time, _) => is_taken(time),
        }).collect();
        prop_assert_eq!(seen.tally.rejected(), (records.len() - kept.len()) as u64);
        let bodies: Vec<_> = kept.iter().map(|record| record.body.as_ref().map(value::text).unwrap_or_default()).collect();
        prop_assert_eq!(seen.column(Table::Logs, "body"), bodies);
        for (row, record) in kept.iter().enumerate() {
            let mut own = record.attributes.clone();
            if let Some(Value::KvlistValue(map)) = record.body.as_ref().and_then(|body| body.value.as_ref()) {
                let known = |pair: &&KeyValue| !record.attributes.iter().any(|own| own.key == pair.key);
                let mut first = Vec::new();
                for pair in map.values.iter().filter(known) {
                    if !first.iter().any(|seen: &KeyValue| seen.key == pair.key) {
                        first.push(pair.clone());
                    }
                }
                own.extend(first);
            }
            let counts = [("otel.flags", record.flags), ("otel.dropped_attributes_count", record.dropped_attributes_count)];
            prop_assert_eq!(seen_maps(&seen, Table::Logs, row), maps(&own, scope.as_ref(), &counts));
            let id = |bytes: &[u8], len: usize| if bytes.len() == len && bytes.iter().any(|byte| *byte != 0) {
                bytes.iter().map(|byte| format!("{byte:02x}")).collect()
            } else { "null".to_owned() };
            prop_assert_eq!(&seen.column(Table::Logs, "trace_id")[row], &id(&record.trace_id, 16));
            prop_assert_eq!(&seen.column(Table::Logs, "span_id")[row], &id(&record.span_id, 8));
            let name = scope.as_ref().map(|scope| scope.name.clone()).filter(|name| !name.is_empty());
            prop_assert_eq!(&seen.column(Table::Logs, "scope_name")[row], &name.unwrap_or_else(|| "null".to_owned()));
        }
    }

    #[test]
    fn spans_become_the_rows_of_the_model(spans in prop::collection::vec(span(), 1..5), scope in scope()) {
        let seen = take(false, &traces(scope.clone(), spans.clone())).unwrap();
        let is_id = |bytes: &[u8], len: usize| bytes.len() == len && bytes.iter().any(|byte| *byte != 0);
        let kept: Vec<_> = spans.iter().filter(|span| {
            let parent = &span.parent_span_id;
            let parent_is_well = parent.is_empty() || parent.len() == 8;
            is_id(&span.trace_id, 16) && is_id(&span.span_id, 8) && parent_is_well && is_taken(span.start_time_unix_nano)
        }).collect();
        prop_assert_eq!(seen.tally.rejected(), (spans.len() - kept.len()) as u64);
        prop_assert_eq!(seen.column(Table::Spans, "name"), kept.iter().map(|span| span.name.clone()).collect::<Vec<_>>());
        for (row, span) in kept.iter().enumerate() {
            let counts = [
                ("otel.flags", span.flags), ("otel.dropped_attributes_count", span.dropped_attributes_count),
                ("otel.dropped_events_count", span.dropped_events_count), ("otel.dropped_links_count", span.dropped_links_count),
            ];
            prop_assert_eq!(seen_maps(&seen, Table::Spans, row), maps(&span.attributes, scope.as_ref(), &counts));
            let lists = |name: &str| seen.column(Table::Spans, name)[row].matches("attributes: {").count();
            prop_assert_eq!(lists("events"), span.events.len());
            prop_assert_eq!(lists("links"), span.links.iter().filter(|link| is_id(&link.trace_id, 16) && is_id(&link.span_id, 8)).count());
        }
    }

    #[test]
    fn mutated_bytes_never_panic_and_mean_what_prost_reads(
        record in log_record(), span in span(), is_log: bool, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut body = if is_log { logs(None, vec![record]) } else { traces(None, vec![span]) };
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let ours = take(is_log, &body);
        if let Some(canonical) = canonical(is_log, &body) {
            let ours = ours.expect("prost takes it");
            // Shorter or longer: fields that are unknown, or two messages that protobuf joins where we take the last.
            if canonical.len() == body.len() {
                prop_assert_eq!(ours.text(), take(is_log, &canonical).unwrap().text());
            }
        }
    }

    #[test]
    fn unknown_fields_and_groups_change_nothing(records in prop::collection::vec(log_record(), 1..4), number in 100_u32..2_000, bytes: Vec<u8>) {
        let plain = logs(None, records);
        let mut request = ExportLogsServiceRequest::decode(&plain[..]).unwrap();
        let mut unknown = Vec::new();
        prost::encoding::bytes::encode(number, &bytes, &mut unknown);
        unknown.extend([0xf3, 0x07, 0x08, 0x01, 0xf4, 0x07]); // Group 126 around a varint.
        let records: Vec<u8> = request.resource_logs[0].scope_logs[0].log_records.drain(..).flat_map(|record| {
            let body = [unknown.clone(), record.encode_to_vec(), unknown.clone()].concat();
            let mut out = Vec::new();
            prost::encoding::bytes::encode(2, &body, &mut out);
            out
        }).collect();
        let mut scope = Vec::new();
        prost::encoding::bytes::encode(2, &[unknown.clone(), records].concat(), &mut scope);
        // The resource behind what it emitted.
        let resource = ResourceLogs { resource: request.resource_logs[0].resource.clone(), ..ResourceLogs::default() };
        let mut body = Vec::new();
        prost::encoding::bytes::encode(1, &[scope, unknown, resource.encode_to_vec()].concat(), &mut body);
        prop_assert_eq!(take(true, &body).unwrap().text(), take(true, &plain).unwrap().text());
    }
}

#[test]
fn an_attribute_keeps_its_name_against_what_has_no_column() {
    let own = KeyValue { key: "otel.flags".to_owned(), ..crate::attributes::text_pair("", "mine") };
    let record = LogRecord {
        time_unix_nano: NOW.0.cast_unsigned(),
        flags: 1,
        attributes: vec![own],
        ..LogRecord::default()
    };
    let seen = take(true, &logs(None, vec![record])).unwrap();
    assert_eq!(seen_maps(&seen, Table::Logs, 0)[..2], ["{otel.flags: mine}", "{}"]);
}

#[test]
fn links_keep_their_trace_state_and_flags() {
    let link = Link {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        trace_state: "a=b".to_owned(),
        flags: 257,
        ..Link::default()
    };
    let now = NOW.0.cast_unsigned();
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![3; 8],
        start_time_unix_nano: now,
        end_time_unix_nano: now,
        links: vec![link],
        ..Span::default()
    };
    let seen = take(false, &traces(None, vec![span])).unwrap();
    let links = seen.column(Table::Spans, "links").concat();
    assert!(links.ends_with("attributes: {w3c.tracestate: a=b, otel.flags: 257}}]"), "{links}");
    assert!(
        links
            .starts_with("[{trace_id: 01010101010101010101010101010101, span_id: 0202020202020202"),
        "{links}"
    );
}
