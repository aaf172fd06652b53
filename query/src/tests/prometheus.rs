//! PromQL over a real store.

use futures::executor::block_on;
use model::metric::MetricKind;
use model::time::TimeRange;

use super::fixture::{Fixture, NOW_S, ago_ms};
use crate::promql::source::{Hints, Select, SeriesSource};
use crate::promql::{Reading, Value};
use crate::{Config, InstantQuery, RangeQuery, SeriesQuery, matchers};

fn fill(fixture: &Fixture, part: i64) {
    let resource = fixture.resource("shop", "a");
    let start = 120 - 60 * part;
    let id = fixture.series("http.requests", &[("code", "200")], resource, MetricKind::Counter);
    let samples: Vec<(i64, f64)> = (0_i32..4)
        .map(|i| (ago_ms(start - i64::from(i) * 15), f64::from(i) + 4.0 * part as f64))
        .collect();
    fixture.samples(id, &samples);
    let id = fixture.series("req.duration", &[("route", "/x")], resource, MetricKind::Histogram);
    let n = part as f64 + 1.0;
    fixture.histogram(id, ago_ms(start - 30), [n, 2.0 * n, 3.0 * n], 9.5 * n);
}

fn everywhere(check: impl Fn(&Fixture, &str)) {
    let fixture = Fixture::new();
    fill(&fixture, 0);
    fill(&fixture, 1);
    check(&fixture, "in memory");
    fixture.flush();
    check(&fixture, "flushed");
    let half = Fixture::new();
    fill(&half, 0);
    half.flush();
    fill(&half, 1);
    check(&half, "half and half");
}

/// The answer at the tests' clock as text, one line a series, sorted.
pub(super) fn instant(fixture: &Fixture, expr: &str) -> String {
    let query =
        InstantQuery { expr: expr.to_owned(), at_ms: NOW_S * 1_000, ..InstantQuery::default() };
    let answer =
        block_on(fixture.engine.instant(query)).unwrap_or_else(|e| panic!("{expr}: {e:?}"));
    match answer.value {
        Value::Scalar { value, .. } => value.to_string(),
        Value::String { value, .. } => value.to_string(),
        Value::Vector(samples) => {
            let mut lines: Vec<String> = samples
                .iter()
                .map(|sample| {
                    let labels: Vec<String> = sample
                        .labels
                        .iter()
                        .filter(|(name, _)| *name != "job")
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect();
                    match &sample.reading {
                        Reading::Float(value) => format!("{} {value}", labels.join(",")),
                        Reading::Histogram(histogram) => {
                            format!("{} {histogram}", labels.join(","))
                        }
                    }
                })
                .collect();
            lines.sort();
            lines.join("; ")
        }
        Value::Matrix(series) => format!("{} series", series.len()),
    }
}

#[test]
fn series_are_found_by_both_names() {
    everywhere(|fixture, place| {
        let check = |expr: &str, expected: &str| {
            assert_eq!(instant(fixture, expr), expected, "{place}: {expr}");
        };
        check("http_requests_total", "__name__=http_requests_total,code=200 7");
        check("{__name__=\"http.requests\"}", "__name__=http_requests_total,code=200 7");
        check("sum(increase(http_requests_total[2m]))", " 8");
        check("count_over_time(http_requests_total[2m])", "code=200 7");
        check("absent(nothing_here)", " 1");
    });
}

#[test]
fn explicit_histograms_are_classic_series() {
    everywhere(|fixture, place| {
        let check = |expr: &str, expected: &str| {
            assert_eq!(instant(fixture, expr), expected, "{place}: {expr}");
        };
        check("req_duration_count", "__name__=req_duration_count,route=/x 12");
        check("req_duration_sum", "__name__=req_duration_sum,route=/x 19");
        check(
            "req_duration_bucket",
            "__name__=req_duration_bucket,le=+Inf,route=/x 12; \
             __name__=req_duration_bucket,le=0.1,route=/x 2; \
             __name__=req_duration_bucket,le=1,route=/x 6",
        );
        check("req_duration_bucket{le=\"1\"}", "__name__=req_duration_bucket,le=1,route=/x 6");
        check(
            "{__name__=~\"req_duration_(sum|count)\"} > 15",
            "__name__=req_duration_sum,route=/x 19",
        );
        check("count({le!=\"\"})", " 3");
        check("req_duration", "");
        check("histogram_quantile(0.5, req_duration_bucket)", "route=/x 1");
        let query = RangeQuery {
            expr: "req_duration_count".to_owned(),
            start_ms: ago_ms(120),
            end_ms: ago_ms(0),
            step_ms: 30_000,
            ..RangeQuery::default()
        };
        let answer = block_on(fixture.engine.range(query)).unwrap();
        let Value::Matrix(series) = answer.value else { panic!("{place}") };
        let values: Vec<f64> = series[0].floats.iter().map(|point| point.1).collect();
        assert_eq!(values, [6.0, 6.0, 12.0, 12.0], "{place}");
    });
}

#[test]
fn labels_series_and_metadata_know_them_too() {
    everywhere(|fixture, place| {
        let all = || SeriesQuery { matchers: Vec::new(), range: TimeRange::ALL, limit: 0 };
        let names = block_on(fixture.engine.label_names(all())).unwrap().items;
        assert_eq!(names, ["__name__", "code", "job", "le", "route"], "{place}");
        let values = |name: &str, query| {
            block_on(fixture.engine.label_values(name.to_owned(), query)).unwrap()
        };
        assert_eq!(values("le", all()).items, ["+Inf", "0.1", "1"], "{place}");
        assert_eq!(
            values("__name__", all()).items,
            [
                "http_requests_total",
                "req_duration_bucket",
                "req_duration_count",
                "req_duration_sum"
            ],
        );
        let some = SeriesQuery { matchers: vec![matchers("{code=\"200\"}").unwrap()], ..all() };
        assert_eq!(values("__name__", some).items, ["http_requests_total"], "{place}");
        let cut = block_on(fixture.engine.series(SeriesQuery { limit: 2, ..all() })).unwrap();
        assert_eq!((cut.items.len(), cut.truncated), (2, true), "{place}");
        assert_eq!(block_on(fixture.engine.series(all())).unwrap().items.len(), 6, "{place}");
        let families = block_on(fixture.engine.metadata(None)).unwrap();
        let known: Vec<_> = families.by_name["http_requests_total"].iter().collect();
        assert_eq!((known[0].kind, known[0].unit.as_str()), ("counter", "s"), "{place}");
    });
}

#[test]
fn faults_are_told_apart() {
    let fixture = Fixture::new();
    let ask = |expr: &str| {
        let query = InstantQuery { expr: expr.to_owned(), ..InstantQuery::default() };
        block_on(fixture.engine.instant(query)).map(|answer| answer.warnings)
    };
    let error = ask("sum(").unwrap_err();
    assert!(matches!(error, crate::Error::Invalid { .. }), "{error:?}");
    assert!(error.position().is_some() && error.to_string().contains("parse error"), "{error}");
    let error = ask("label_replace(vector(1), \"a\", \"b\", \"c\", \"(\")").unwrap_err();
    assert!(
        matches!(error, crate::Error::Execution(_) | crate::Error::Invalid { .. }),
        "{error:?}"
    );
    assert!(matchers("1 + 1").is_err());
}

#[test]
fn deltas_add_up() {
    let fixture = Fixture::new();
    let counter = fixture.deltas("jobs.done", MetricKind::Counter);
    let samples = [(75, 4.0), (45, 1.0), (30, 2.0), (15, 5.0), (0, 3.0)];
    let samples = samples.map(|(s_ago, value)| (ago_ms(s_ago), value));
    let starts = samples.map(|(t, _)| t - 15_000).to_vec();
    fixture.samples_since(counter, &samples, starts);
    let histogram = fixture.deltas("req.duration", MetricKind::Histogram);
    for (s_ago, n) in [(50, 1.0), (20, 2.0)] {
        fixture.histogram(histogram, ago_ms(s_ago), [n, 2.0 * n, 3.0 * n], 9.5 * n);
    }
    for place in ["in memory", "flushed"] {
        let check = |expr: &str, expected: &str| {
            assert_eq!(instant(&fixture, expr), expected, "{place}: {expr}");
        };
        check("jobs_done_total", "__name__=jobs_done_total 3");
        check("increase(jobs_done_total[1m])", " 11");
        check("rate(jobs_done_total[10s])", " 0.3");
        check("rate(jobs_done_total[1m] offset 40s)", " 0.08333333333333333");
        check("irate(jobs_done_total[1m])", " 0.2");
        check("resets(jobs_done_total[2m])", " 0");
        check("sum_over_time(jobs_done_total[1m])", " 11");
        check("increase(req_duration_count[1m])", " 18");
        check("increase(req_duration_bucket{le=\"0.1\"}[1m])", "le=0.1 3");
        check("histogram_quantile(0.5, increase(req_duration_bucket[1m]))", " 1");
        fixture.flush();
    }
}

#[test]
fn a_scan_ends_when_nobody_waits_for_it() {
    let fixture = Fixture::new();
    let resource = fixture.resource("shop", "h");
    let series = fixture.series("level", &[], resource, MetricKind::Gauge);
    fixture.samples(series, &[(ago_ms(10), 1.0)]);
    let memory = fixture.engine.memory(crate::runtime::Class::Interactive).unwrap();
    let stop = std::sync::Arc::new(crate::promql::Stop::default());
    let source = crate::prometheus::StoreSource::new(fixture.engine.view(), 1_000, &memory);
    let source = source.until(&stop);
    let matchers = matchers("level").unwrap();
    let range_ms = (ago_ms(60), ago_ms(0));
    let select = Select { matchers: &matchers, range_ms, hints: Hints::default() };
    assert_eq!(source.select(&select).map(|streams| streams.len()), Ok(1));
    stop.cancel();
    let ended = source.select(&select).map(|streams| streams.len()).unwrap_err();
    assert!(ended.to_string().contains("ended by who asked"), "{ended}");
}

#[test]
fn experimental_functions_are_refused_where_they_are_turned_off() {
    let strict = Fixture::with(Config { experimental_functions: false, ..Config::default() });
    let ask = |expr: &str| {
        let query =
            InstantQuery { expr: expr.to_owned(), at_ms: NOW_S * 1_000, ..InstantQuery::default() };
        block_on(strict.engine.instant(query)).map(|_| ()).map_err(|error| error.to_string())
    };
    ask("sum(rate(up[5m]))").unwrap();
    let refusals = [
        (
            "1 + limitk(1, up)",
            "1:5: parse error: limitk() is not enabled: `query.experimental_functions` is false",
        ),
        (
            "sum(mad_over_time(up[5m]))",
            "1:5: parse error: function \"mad_over_time\" is not enabled: `query.experimental_functions` is false",
        ),
    ];
    for (expr, refusal) in refusals {
        assert_eq!(ask(expr).unwrap_err(), refusal);
    }
}
