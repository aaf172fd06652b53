//! Senders that differ only in what PromQL does not see, as in the version of the service, give one series.

use futures::executor::block_on;
use model::metric::MetricKind;
use model::time::TimeRange;

use super::fixture::{Fixture, ago_ms};
use super::prometheus::instant;
use crate::prometheus::{NewestQuery, RawQuery};
use crate::promql::Value;
use crate::{RangeQuery, SeriesQuery, matchers};

/// Two versions of a service, the second takes over a minute ago: a counter, a gauge both have at one time, a histogram.
fn versions() -> Fixture {
    let fixture = Fixture::new();
    for (host, first, last, n) in [("old", 180_i64, 20, 0.0), ("new", 60, 10, 1.0)] {
        let sender = (fixture.resource("shop", host), "shop");
        let counter =
            fixture.series_of_job("http.requests", &[("code", "200")], sender, MetricKind::Counter);
        let samples: Vec<(i64, f64)> =
            (0..8).map(|i| (ago_ms(first - i * 15), (i * 10) as f64)).collect();
        fixture.samples(counter, &samples);
        let gauge = fixture.series_of_job("level", &[], sender, MetricKind::Gauge);
        fixture.samples(gauge, &[(ago_ms(30), 5.0), (ago_ms(last), n)]);
        let histogram = fixture.series_of_job("req.duration", &[], sender, MetricKind::Histogram);
        fixture.histogram(histogram, ago_ms(first), [1.0 + n, 2.0, 3.0], 9.5);
    }
    fixture
}

fn everywhere(check: impl Fn(&Fixture, &str)) {
    let fixture = versions();
    check(&fixture, "in memory");
    fixture.flush();
    check(&fixture, "flushed");
}

#[test]
fn two_senders_of_one_series_are_answered_as_one() {
    everywhere(|fixture, place| {
        let check = |expr: &str, expected: &str| {
            assert_eq!(instant(fixture, expr), expected, "{place}: {expr}");
        };
        check("http_requests_total", "__name__=http_requests_total,code=200 40");
        // 180, 165, ... 75 s ago, and from 60 s ago anew.
        check("count_over_time(http_requests_total[5m])", "code=200 13");
        check("resets(http_requests_total[5m])", "code=200 1");
        check("count_over_time(level[5m])", " 3");
        check("level", "__name__=level 1");
        check("count(req_duration_bucket)", " 3");
        check("count_over_time(req_duration_count[5m])", " 2");
        check("req_duration_bucket{le=\"0.1\"}", "__name__=req_duration_bucket,le=0.1 2");
    });
}

#[test]
fn one_series_is_listed_read_and_federated() {
    everywhere(|fixture, place| {
        let matchers = matchers("http_requests_total").unwrap();
        let query =
            SeriesQuery { matchers: vec![matchers.clone()], range: TimeRange::ALL, limit: 0 };
        let listed = block_on(fixture.engine.series(query)).unwrap();
        assert_eq!(listed.items.len(), 1, "{place}");
        let range_ms = (ago_ms(300), ago_ms(0));
        let raw = RawQuery { matchers: matchers.clone(), range_ms };
        let raw = block_on(fixture.engine.raw(raw)).unwrap();
        assert_eq!(raw.len(), 1, "{place}");
        assert!(raw[0].floats.is_sorted_by(|a, b| a.0 < b.0), "{place}: {:?}", raw[0].floats);
        assert_eq!(raw[0].floats.len(), 13, "{place}");
        let newest = NewestQuery { matchers: vec![matchers], at_ms: ago_ms(0) };
        let newest = block_on(fixture.engine.newest(newest)).unwrap();
        assert_eq!(newest.len(), 1, "{place}");
        assert_eq!(newest[0].t_ms, ago_ms(0), "{place}");
    });
}

#[test]
fn rollups_of_two_senders_are_one() {
    const HOUR_S: i64 = 3_600;
    let fixture = Fixture::new();
    let fill = |host: &str, first_s: i64, last_s: i64| {
        let sender = (fixture.resource("shop", host), "shop");
        let counter = fixture.series_of_job("jobs.done", &[], sender, MetricKind::Counter);
        let times = (0..).map(|i| first_s - i * 30).take_while(|s_ago| *s_ago > last_s);
        let samples: Vec<(i64, f64)> =
            times.enumerate().map(|(i, s_ago)| (ago_ms(s_ago), i as f64)).collect();
        fixture.samples(counter, &samples);
    };
    // One takes over in the middle of a bucket; then both send at a time.
    fill("a", 60 * HOUR_S, 50 * HOUR_S + 130);
    fill("b", 50 * HOUR_S + 130, 40 * HOUR_S);
    fill("c", 45 * HOUR_S + 7, 44 * HOUR_S);
    let ask = |expr: &str| {
        let query = RangeQuery {
            expr: expr.to_owned(),
            start_ms: ago_ms(58 * HOUR_S),
            end_ms: ago_ms(40 * HOUR_S),
            step_ms: HOUR_S * 1_000,
            ..RangeQuery::default()
        };
        match block_on(fixture.engine.range(query)).unwrap().value {
            Value::Matrix(series) => {
                assert_eq!(series.len(), 1, "{expr}");
                series[0].floats.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    let questions = ["increase(jobs_done_total[1h])", "count_over_time(jobs_done_total[1h])"];
    let before = questions.map(ask);
    assert_eq!(before[1][0], (ago_ms(58 * HOUR_S), 120.0));
    fixture.flush();
    fixture.compact();
    assert_eq!(questions.map(ask), before);
}
