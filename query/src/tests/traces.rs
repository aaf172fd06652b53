//! Traces and hosts.

use futures::executor::block_on;
use model::id::{SpanId, TraceId};
use model::metric::MetricKind;
use model::time::{TimeRange, Timestamp};

use store::schema::Table;

use super::fixture::{Fixture, NOW_S, SpanRow, ago_ms};
use crate::{HostState, TraceQuery};

const MS: i64 = 1_000_000;

fn span(
    trace: u8,
    id: u8,
    parent: Option<u8>,
    service: &str,
    name: &'static str,
) -> SpanRow<'static> {
    let service = if service == "shop" { "shop" } else { "db" };
    let duration_ns = if parent.is_none() { i64::from(trace) * 100 * MS } else { 5 * MS };
    let s_ago = 100 - i64::from(trace);
    SpanRow {
        trace,
        id,
        parent,
        s_ago,
        duration_ns,
        service,
        name,
        is_error: trace == 2 && id == 2,
    }
}

fn everywhere(check: impl Fn(&Fixture, &str)) {
    let roots = || (1..=3).map(|t| span(t, 1, None, "shop", "checkout")).collect::<Vec<_>>();
    let children = || (1..=3).map(|t| span(t, 2, Some(1), "db", "query")).collect::<Vec<_>>();
    let fixture = Fixture::new();
    fixture.spans(&roots());
    fixture.spans(&children());
    check(&fixture, "in memory");
    fixture.flush();
    check(&fixture, "flushed");
    let half = Fixture::new();
    half.spans(&roots());
    half.flush();
    half.spans(&children());
    half.spans(&children()); // Sent again, as after a lost acknowledgement.
    check(&half, "half and half");
    let merged = Fixture::new();
    for some in [&roots()[..2], &roots()[2..], &children()[..1], &children()[1..]] {
        merged.spans(some);
        merged.flush();
    }
    merged.compact();
    check(&merged, "compacted");
    merged.lose_sidecars(Table::Spans);
    check(&merged, "compacted, without sidecars");
}

fn query() -> TraceQuery {
    TraceQuery {
        service: None,
        operation: None,
        min_duration_ns: None,
        max_duration_ns: None,
        errors_only: false,
        range: TimeRange::new(Timestamp::from_s(NOW_S - 600), Timestamp::from_s(NOW_S)),
        limit: 10,
    }
}

#[test]
fn searches_summarise_whole_traces() {
    everywhere(|fixture, place| {
        let find = |query: TraceQuery| block_on(fixture.engine.traces(query)).unwrap().traces;
        let all = find(query());
        let ids: Vec<u8> = all.iter().map(|trace| trace.trace_id.0[0]).collect();
        assert_eq!(ids, [3, 2, 1], "{place}");
        let db = find(TraceQuery { service: Some("db".to_owned()), errors_only: true, ..query() });
        let [trace] = db.as_slice() else { panic!("{place}: {db:?}") };
        assert_eq!((trace.root_service.as_str(), trace.root_name.as_str()), ("shop", "checkout"));
        assert_eq!((trace.spans, trace.errors, trace.duration_ns), (2, 1, 200 * MS), "{place}");
        assert_eq!(trace.services, ["db", "shop"], "{place}");
        let long = find(TraceQuery {
            min_duration_ns: Some(150 * MS),
            max_duration_ns: Some(250 * MS),
            ..query()
        });
        assert_eq!(long.len(), 1, "{place}");
        let named = |name: &str| TraceQuery { operation: Some(name.to_owned()), ..query() };
        assert_eq!(find(named("query")).len(), 3, "{place}");
        assert!(find(TraceQuery { service: Some("shop".to_owned()), ..named("query") }).is_empty());
        let first = block_on(fixture.engine.traces(TraceQuery { limit: 2, ..query() })).unwrap();
        assert_eq!((first.traces.len(), first.has_more), (2, true), "{place}");
        let ever = TimeRange { start: Timestamp(i64::MIN), end: Timestamp(i64::MAX) };
        assert_eq!(find(TraceQuery { range: ever, ..query() }).len(), 3, "{place}");
        let range = query().range;
        assert_eq!(block_on(fixture.engine.services(range)).unwrap(), ["db", "shop"], "{place}");
        let names = block_on(fixture.engine.operations(Some("db"), range)).unwrap();
        assert_eq!(names, ["query"], "{place}");
    });
}

#[test]
fn a_trace_is_found_by_its_id_alone_each_span_once() {
    everywhere(|fixture, place| {
        let trace = block_on(fixture.engine.trace(TraceId([2; 16]))).unwrap().unwrap();
        let ids: Vec<SpanId> = trace.spans.iter().map(|span| span.span_id).collect();
        assert_eq!(ids, [SpanId([1; 8]), SpanId([2; 8])], "{place}");
        let child = &trace.spans[1];
        assert_eq!(child.parent_span_id, Some(SpanId([1; 8])), "{place}");
        assert!(child.is_error && child.service == "db", "{place}");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert!(child.attributes.contains(&pair("http.route", "/query")), "{place}: {child:?}");
        assert!(child.attributes.contains(&pair("k", "v")), "{place}");
        assert!(child.resource.contains(&pair("service.name", "db")), "{place}");
        assert_eq!(block_on(fixture.engine.trace(TraceId([9; 16]))).unwrap(), None, "{place}");
    });
}

#[test]
fn searches_and_traces_say_which_spans_cannot_be_read() {
    let fixture = Fixture::new();
    fixture.spans(&[span(1, 1, None, "shop", "checkout"), span(2, 1, None, "shop", "checkout")]);
    fixture.flush();
    let (engine, n_rows) = fixture.damage(Table::Spans);
    fixture.spans(&[span(2, 2, Some(1), "db", "query")]);
    let page = block_on(engine.traces(query())).unwrap();
    assert_eq!(page.traces.len(), 1);
    let [warning] = page.warnings.as_slice() else { panic!("{:?}", page.warnings) };
    assert!(warning.starts_with(&format!("{n_rows} rows of spans from 2026-11-23T")), "{warning}");
    let rest = block_on(engine.trace(TraceId([2; 16]))).unwrap().unwrap();
    assert_eq!((rest.spans.len(), &rest.warnings), (1, &page.warnings));
    // Its only span is among those that cannot be read, for all we know.
    let lost = block_on(engine.trace(TraceId([1; 16]))).unwrap().unwrap();
    assert_eq!((lost.spans.len(), &lost.warnings), (0, &page.warnings));
}

#[test]
fn hosts_are_judged_by_their_newest_samples() {
    let fixture = Fixture::new();
    let resource = fixture.resource("agent", "web-1");
    let put = |metric: &str, labels: &[(&str, &str)], kind, samples: &[(i64, f64)]| {
        fixture.samples(fixture.series(metric, labels, resource, kind), samples);
    };
    let at = |values: [f64; 3]| {
        [(ago_ms(25), values[0]), (ago_ms(15), values[1]), (ago_ms(5), values[2])]
    };
    put("system.cpu.time", &[("cpu.mode", "user")], MetricKind::Counter, &at([0.0, 100.0, 102.5]));
    put("system.cpu.time", &[("cpu.mode", "idle")], MetricKind::Counter, &at([0.0, 0.0, 7.5]));
    put("system.memory.limit", &[], MetricKind::Gauge, &at([8e9, 8e9, 8e9]));
    put("system.memory.linux.available", &[], MetricKind::Gauge, &at([2e9, 2e9, 2e9]));
    let disk = |mount, mode| {
        [
            ("system.filesystem.mountpoint", mount),
            ("system.filesystem.mode", mode),
            ("system.filesystem.state", "used"),
        ]
    };
    put(
        "system.filesystem.utilization",
        &disk("/", "rw"),
        MetricKind::Gauge,
        &at([0.5, 0.5, 0.96]),
    );
    put(
        "system.filesystem.utilization",
        &disk("/snap", "ro"),
        MetricKind::Gauge,
        &at([1.0, 1.0, 1.0]),
    );
    put("system.cpu.load_average.1m", &[], MetricKind::Gauge, &at([1.0, 1.0, 1.5]));
    put("system.cpu.logical.count", &[], MetricKind::Gauge, &at([2.0, 2.0, 2.0]));
    put("system.uptime", &[], MetricKind::Gauge, &at([1.0, 11.0, 21.0]));
    for place in ["in memory", "flushed"] {
        let range = TimeRange::new(Timestamp::from_s(NOW_S - 600), Timestamp::from_s(NOW_S));
        let hosts = block_on(fixture.engine.hosts(range)).unwrap();
        let [host] = hosts.as_slice() else { panic!("{place}: {hosts:?}") };
        assert_eq!((host.name.as_str(), host.arch.as_str()), ("web-1", "amd64"));
        assert_eq!(host.cpu_utilization, Some(0.25), "{place}");
        assert_eq!(host.memory_utilization, Some(0.75), "{place}");
        assert_eq!(host.filesystem_utilization, Some(0.96), "{place}");
        assert_eq!((host.load_1m, host.uptime_s), (Some(1.5), Some(21.0)), "{place}");
        assert_eq!(host.state, HostState::Error, "{place}: {:?}", host.reasons);
        let later = TimeRange::new(range.start, Timestamp::from_s(NOW_S + 300));
        let hosts = block_on(fixture.engine.hosts(later)).unwrap();
        assert_eq!(hosts[0].state, HostState::Unknown, "{place}");
        fixture.flush();
    }
}
