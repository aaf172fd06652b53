//! Remote write from messages to rows: both versions, every kind of sample, and everything that is refused.

use expect_test::{Expect, expect};
use proptest::prelude::{any, prop};
use proptest::{prop_assert, prop_assert_eq, proptest};
use prost::Message as _;
use store::schema::Table;

use super::*;
use crate::config::Config;
use crate::decode::Request;
use crate::fixture::{Desk, NOW, Seen};

pub(crate) mod message;

use message::{native, sample, series, v1, v2};

fn take(desk: &Desk, version: Version, body: Vec<u8>) -> Seen {
    desk.take(&Request::Write(version, body.into())).unwrap()
}

#[track_caller]
fn check(request: &v1::WriteRequest, expected: Expect) {
    let desk = Desk::new();
    let seen = take(&desk, Version::V1, request.encode_to_vec());
    expected.assert_eq(&format!("{}{}", desk.series(), seen.text()));
}

#[test]
fn a_series_keeps_its_names_and_learns_its_kind_from_metadata() {
    let now = NOW.ms();
    let metadata = |name: &str, code: i32| v1::MetricMetadata {
        r#type: code,
        metric_family_name: name.to_owned(),
        help: "Help.".to_owned(),
        unit: "seconds".to_owned(),
    };
    let request = v1::WriteRequest {
        timeseries: vec![
            series(
                &[
                    ("__name__", "http_requests_total"),
                    ("job", "api"),
                    ("instance", "a:1"),
                    ("empty", ""),
                ],
                &[(now - 1, 5.0), (now, 6.5)],
            ),
            series(&[("zone", "ü"), ("__name__", "up")], &[(now, 1.0)]),
            series(&[("__name__", "rpc_seconds_bucket"), ("le", "0.5")], &[(now, 2.0)]),
            series(&[("__name__", "nobody_knows")], &[(now, f64::NEG_INFINITY)]),
        ],
        metadata: vec![
            metadata("http_requests_total", 1),
            metadata("up", 2),
            metadata("rpc_seconds", 3),
        ],
    };
    check(
        &request,
        expect![[r#"
        1 http_requests_total{instance="a:1",job="api"}
          http_requests_total{instance="a:1",job="api"} Counter Cumulative unit="seconds"
        2 up{zone="ü"}
          up{zone="ü"} Gauge Unspecified unit="seconds"
        3 rpc_seconds_bucket{le="0.5"}
          rpc_seconds_bucket{le="0.5"} Counter Cumulative unit="seconds"
        4 nobody_knows{}
          nobody_knows{} Unknown Unspecified unit=""
        samples series_id=1 time=2027-01-15T07:59:59.999Z value=5.0 flags=0
        samples series_id=1 time=2027-01-15T08:00:00Z value=6.5 flags=0
        samples series_id=2 time=2027-01-15T08:00:00Z value=1.0 flags=0
        samples series_id=3 time=2027-01-15T08:00:00Z value=2.0 flags=0
        samples series_id=4 time=2027-01-15T08:00:00Z value=-inf flags=0
    "#]],
    );
}

#[test]
fn what_is_wrong_with_a_series_is_counted_and_the_others_are_kept() {
    let now = NOW.ms();
    let long = "x".repeat(5_000);
    let many: Vec<(String, String)> = (0..70).map(|i| (format!("l{i}"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let named = [("__name__", "m")];
    let request = v1::WriteRequest {
        timeseries: vec![
            series(&[("job", "a")], &[(now, 1.0)]),
            series(&[("__name__", ""), ("job", "a")], &[(now, 1.0)]),
            series(&[("__name__", "m"), ("a", "1"), ("b", "2"), ("a", "1")], &[(now, 1.0)]),
            series(&[("__name__", "m"), ("", "1")], &[(now, 1.0)]),
            series(&[], &[(now, 1.0)]),
            series(&[("__name__", "m"), ("a", &long)], &[(now, 1.0)]),
            series(&[&named[..], &many].concat(), &[(now, 1.0)]),
            series(
                &named,
                &[
                    (now + 600_001, 1.0),
                    (now - 8 * 86_400_000, 2.0),
                    (0, 3.0),
                    (i64::MIN, 4.0),
                    (i64::MAX, 5.0),
                ],
            ),
            series(&named, &[(now - 5, 1.0), (now - 9, 2.0), (now - 5, 3.0)]),
        ],
        metadata: Vec::new(),
    };
    check(
        &request,
        expect![[r#"
        1 m{}
          m{} Unknown Unspecified unit=""
        samples series_id=1 time=2027-01-15T07:59:59.991Z value=2.0 flags=0
        samples series_id=1 time=2027-01-15T07:59:59.995Z value=3.0 flags=0
        13 of 15 data points rejected: 2 without a usable metric name (first: series `` {job="a"}, it has no label __name__); 3 with invalid labels (first: series `m` {a="1", b="2", a="1"}, label `a` is there twice); 1 with an attribute that is too long (first: series `m` {a="xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}, label `a` has 5000 bytes, the limit is 4096); 1 with too many attributes (first: a series whose labels cannot be read, more labels than the limit of 64 besides the name); 2 from the future (first: series `m`, time 2027-01-15T08:10:00.001000000Z, but it is 2027-01-15T08:00:00.000000000Z and 10m ahead is the limit); 3 too old (first: series `m`, time 2027-01-07T08:00:00.000000000Z, but it is 2027-01-15T08:00:00.000000000Z and 7d back is the limit); 1 with the series and time of a later one (first: two points of one metric with the same attributes in the same millisecond; give them attributes that tell them apart)
    "#]],
    );
}

#[test]
fn nan_keeps_its_bits_and_the_stale_marker_its_meaning() {
    let bits = [model::metric::STALE_NAN_BITS, 0x7ff8_0000_0000_0001, 0xfff8_dead_beef_0001];
    let samples: Vec<(i64, f64)> =
        (0..).zip(bits).map(|(i, bits)| (NOW.ms() - i, f64::from_bits(bits))).collect();
    let request = v1::WriteRequest {
        timeseries: vec![series(&[("__name__", "m")], &samples)],
        metadata: Vec::new(),
    };
    let seen = take(&Desk::new(), Version::V1, request.encode_to_vec());
    let (_, batch) = &seen.tables[0];
    let values = batch.column_by_name("value").unwrap();
    let values = values.as_any().downcast_ref::<arrow::array::Float64Array>().unwrap();
    assert_eq!(values.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
    assert_eq!(seen.column(Table::Samples, "flags"), ["1", "0", "0"]);
}

#[test]
fn native_histograms_become_points_and_buckets_as_otlp_numbers_them() {
    let (now, name) = (NOW.ms(), [("__name__", "h")]);
    let mut of = series(&name, &[]);
    of.histograms = vec![
        native::integer(now),
        native::float(now - 1),
        native::custom(now - 2),
        native::Histogram {
            sum: f64::from_bits(model::metric::STALE_NAN_BITS),
            timestamp: now - 3,
            ..Default::default()
        },
    ];
    let request = v1::WriteRequest { timeseries: vec![of], metadata: Vec::new() };
    check(
        &request,
        expect![[r#"
        1 h{}
          h{} ExponentialHistogram Cumulative unit=""
        hist_points series_id=1 time=2027-01-15T08:00:00Z flags=0 count=7.0 sum=18.4 zero_count=2 zero_threshold=0.001 exp_scale=1 reset_hint=0
        hist_points series_id=1 time=2027-01-15T07:59:59.999Z flags=0 count=3.5 sum=2.0 zero_threshold=0.0 exp_scale=0 reset_hint=3
        hist_points series_id=1 time=2027-01-15T07:59:59.998Z flags=0 count=3.0 sum=9.0 zero_threshold=0.0 exp_scale=-53 reset_hint=0
        hist_points series_id=1 time=2027-01-15T07:59:59.997Z flags=1 count=0.0 sum=NaN zero_count=0 zero_threshold=0.0 exp_scale=0 reset_hint=0
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=1 side=-1 bucket=-2 count=1.0
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=1 side=1 bucket=0 count=1.0
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=1 side=1 bucket=4 count=3.0
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=1 side=0 bucket=0 count=2.0
        hist_buckets series_id=1 time=2027-01-15T07:59:59.999Z exp_scale=0 side=1 bucket=-1 count=1.25
        hist_buckets series_id=1 time=2027-01-15T07:59:59.999Z exp_scale=0 side=1 bucket=0 count=1.75
        hist_buckets series_id=1 time=2027-01-15T07:59:59.999Z exp_scale=0 side=0 bucket=0 count=0.5
        hist_buckets series_id=1 time=2027-01-15T07:59:59.998Z exp_scale=-53 side=1 bucket=0 count=1.0
        hist_buckets series_id=1 time=2027-01-15T07:59:59.998Z exp_scale=-53 side=1 bucket=2 count=2.0
        hist_bounds bounds=[1.0, 2.0]
    "#]],
    );
}

#[test]
fn histograms_that_contradict_themselves_are_refused() {
    let now = NOW.ms();
    let good = native::integer(now);
    let span = |offset, length| native::BucketSpan { offset, length };
    let wrong = vec![
        native::Histogram { schema: 99, ..good.clone() },
        native::Histogram { schema: -5, ..good.clone() },
        native::Histogram { positive_deltas: vec![1], ..good.clone() },
        native::Histogram { positive_deltas: vec![1, -2, 3], ..good.clone() },
        native::Histogram { count: Some(native::Count::CountInt(1)), ..good.clone() },
        native::Histogram { positive_spans: vec![span(i32::MAX, 3)], ..good.clone() },
        native::Histogram { positive_spans: vec![span(0, u32::MAX)], ..good.clone() },
        native::Histogram { positive_spans: vec![span(0, 2), span(-1, 1)], ..good.clone() },
        native::Histogram { zero_threshold: f64::NAN, ..good.clone() },
        native::Histogram { custom_values: vec![2.0, 1.0], ..native::custom(now) },
        native::Histogram { custom_values: vec![f64::INFINITY], ..native::custom(now) },
        native::Histogram { custom_values: vec![1.0], ..native::custom(now) },
    ];
    let n_wrong = wrong.len() as u64;
    let mut of = series(&[("__name__", "h")], &[]);
    of.histograms = wrong;
    of.histograms.push(good);
    let request = v1::WriteRequest { timeseries: vec![of], metadata: Vec::new() };
    let seen = take(&Desk::new(), Version::V1, request.encode_to_vec());
    assert_eq!(
        seen.tally.count(Reason::HistogramInconsistent),
        n_wrong,
        "{}",
        seen.tally.message()
    );
    assert_eq!(seen.column(Table::HistPoints, "count"), ["7.0"]);
}

#[test]
fn exemplars_go_to_the_series_and_never_fail_a_request() {
    let now = NOW.ms();
    let exemplar = |labels: &[(&str, &str)], timestamp| v1::Exemplar {
        labels: message::labels(labels),
        value: 0.5,
        timestamp,
    };
    let mut of = series(&[("__name__", "m")], &[(now, 1.0)]);
    of.exemplars = vec![
        exemplar(
            &[
                ("trace_id", "5b8efff798038103d269b633813fc60c"),
                ("span_id", "EEE19B7EC3C1B174"),
                ("user", "7"),
            ],
            now - 1,
        ),
        exemplar(&[("trace_id", "no hex")], 0),
        exemplar(&[], now + 3_600_000),
    ];
    let mut alone = series(&[("__name__", "alone")], &[]);
    alone.exemplars = vec![exemplar(&[], now)];
    let mut refused = series(&[], &[(now, 1.0)]);
    refused.exemplars = vec![exemplar(&[], now)];
    let request = v1::WriteRequest { timeseries: vec![of, alone, refused], metadata: Vec::new() };
    check(
        &request,
        expect![[r#"
        1 m{}
          m{} Unknown Unspecified unit=""
        samples series_id=1 time=2027-01-15T08:00:00Z value=1.0 flags=0
        exemplars series_id=1 time=2027-01-15T07:59:59.999Z value=0.5 trace_id=5b8efff798038103d269b633813fc60c span_id=eee19b7ec3c1b174 attributes={user: 7}
        exemplars series_id=1 time=2027-01-15T08:00:00Z value=0.5 attributes={trace_id: no hex}
        adjusted 3 exemplar_dropped
        1 of 2 data points rejected: 1 with invalid labels (first: a series whose labels cannot be read, it has no labels)
    "#]],
    );
}

#[test]
fn the_second_version_makes_the_same_rows_and_knows_more() {
    let now = NOW.ms();
    let mut request = v2::Request { symbols: vec![String::new()], ..Default::default() };
    let labels = request.refs(&[("__name__", "http_requests_total"), ("job", "api")]);
    let metadata = Some(v2::Metadata {
        r#type: 1,
        help_ref: request.symbol("Help."),
        unit_ref: request.symbol("requests"),
    });
    let samples = vec![v2::Sample { value: 5.0, timestamp: now, start_timestamp: now - 60_000 }];
    let exemplars = vec![v2::Exemplar {
        labels_refs: request.refs(&[("user", "7")]),
        value: 1.0,
        timestamp: now,
    }];
    request.timeseries.push(v2::TimeSeries {
        labels_refs: labels,
        samples,
        exemplars,
        metadata,
        created_timestamp: 1,
        ..Default::default()
    });
    let labels = request.refs(&[("__name__", "h")]);
    let histograms = vec![native::Histogram { start_timestamp: now + 1, ..native::integer(now) }];
    request.timeseries.push(v2::TimeSeries {
        labels_refs: labels,
        histograms,
        created_timestamp: now - 5,
        ..Default::default()
    });
    let name = request.refs(&[("__name__", "up")]);
    let samples = || vec![v2::Sample { value: 1.0, timestamp: now, start_timestamp: 0 }];
    let bad = [vec![name[0]], vec![name[0], 99], [&name[..], &name].concat(), vec![]];
    request.timeseries.extend(bad.map(|labels_refs| v2::TimeSeries {
        labels_refs,
        samples: samples(),
        ..Default::default()
    }));
    request.timeseries.push(v2::TimeSeries { labels_refs: name, ..Default::default() });
    let desk = Desk::new();
    let seen = take(&desk, Version::V2, request.encode_to_vec());
    expect![[r#"
        1 http_requests_total{job="api"}
          http_requests_total{job="api"} Counter Cumulative unit="requests"
        2 h{}
          h{} ExponentialHistogram Cumulative unit=""
        samples series_id=1 time=2027-01-15T08:00:00Z value=5.0 start_time=2027-01-15T07:59:00Z flags=0
        hist_points series_id=2 time=2027-01-15T08:00:00Z flags=0 count=7.0 sum=18.4 zero_count=2 zero_threshold=0.001 exp_scale=1 reset_hint=0
        hist_buckets series_id=2 time=2027-01-15T08:00:00Z exp_scale=1 side=-1 bucket=-2 count=1.0
        hist_buckets series_id=2 time=2027-01-15T08:00:00Z exp_scale=1 side=1 bucket=0 count=1.0
        hist_buckets series_id=2 time=2027-01-15T08:00:00Z exp_scale=1 side=1 bucket=4 count=3.0
        hist_buckets series_id=2 time=2027-01-15T08:00:00Z exp_scale=1 side=0 bucket=0 count=2.0
        exemplars series_id=1 time=2027-01-15T08:00:00Z value=1.0 attributes={user: 7}
        adjusted 1 start_time_dropped
        4 of 6 data points rejected: 3 with invalid labels (first: a series whose labels cannot be read, a label has a name, but no value); 1 without a usable metric name (first: series ``, it has no label __name__); 1 TimeSeries must contain at least one sample or histogram (first: series `up`)
    "#]].assert_eq(&format!("{}{}", desk.series(), seen.text()));
}

#[test]
fn labels_over_the_limit_are_told_as_such_by_either_version() {
    let long = "n".repeat(513);
    let many: Vec<String> = (0..65).map(|i| format!("l{i}")).collect();
    let labels = |n: usize| {
        let labels = many.iter().take(n).map(|name| (name.as_str(), "v"));
        [("__name__", "m")].into_iter().chain(labels).collect::<Vec<_>>()
    };
    let timeseries = [labels(64), labels(65), vec![("__name__", long.as_str())]];
    let timeseries = timeseries.map(|labels| series(&labels, &[(NOW.ms(), 1.0)])).to_vec();
    let request = v1::WriteRequest { timeseries, metadata: Vec::new() };
    let bodies =
        [(Version::V1, request.encode_to_vec()), (Version::V2, v2::of(&request).encode_to_vec())];
    for (version, body) in bodies {
        let seen = take(&Desk::new(), version, body);
        assert_eq!(seen.column(Table::Samples, "value").len(), 1);
        let counted = [Reason::LabelsTooMany, Reason::MetricNameTooLong];
        assert_eq!(counted.map(|reason| seen.tally.count(reason)), [1, 1], "{}", seen.text());
    }
}

#[test]
fn a_series_created_after_its_sample_has_no_start() {
    let mut request = v2::Request { symbols: vec![String::new()], ..Default::default() };
    let labels_refs = request.refs(&[("__name__", "m")]);
    let sample = v2::Sample { value: 5.0, timestamp: NOW.ms(), start_timestamp: 0 };
    request.timeseries.push(v2::TimeSeries {
        labels_refs,
        samples: vec![sample],
        created_timestamp: NOW.ms() + 1,
        ..Default::default()
    });
    let seen = take(&Desk::new(), Version::V2, request.encode_to_vec());
    assert_eq!(seen.column(Table::Samples, "start_time"), ["null"]);
    assert_eq!(seen.tally.count(Reason::StartTimeDropped), 1);
}

#[test]
fn bounds_of_a_stale_histogram_are_checked_like_any() {
    let stale = f64::from_bits(model::metric::STALE_NAN_BITS);
    let mut of = series(&[("__name__", "m")], &[]);
    of.histograms = vec![native::Histogram {
        custom_values: vec![2.0, f64::NAN, 1.0],
        sum: stale,
        ..native::custom(NOW.ms())
    }];
    let request = v1::WriteRequest { timeseries: vec![of], metadata: Vec::new() };
    let seen = take(&Desk::new(), Version::V1, request.encode_to_vec());
    assert_eq!(seen.tally.count(Reason::HistogramInconsistent), 1, "{}", seen.text());
    assert!(seen.tables.is_empty());
}

#[test]
fn symbols_begin_with_the_empty_one() {
    let request = v2::Request { symbols: vec!["x".to_owned()], ..Default::default() };
    let body = request.encode_to_vec().into();
    let refused = Desk::new().take(&Request::Write(Version::V2, body)).err().unwrap();
    assert!(refused.to_string().contains("first symbol"), "{refused}");
}

#[test]
fn known_series_are_found_by_either_version_and_by_any_table_of_symbols() {
    let desk = Desk::new();
    let labels = [("__name__", "m"), ("a", "1")];
    let ids = |seen: &Seen| seen.column(Table::Samples, "series_id");
    for i in 0..3 {
        let at = NOW.ms() - i;
        let request = v1::WriteRequest {
            timeseries: vec![series(&labels, &[(at, 1.0)])],
            metadata: Vec::new(),
        };
        assert_eq!(ids(&take(&desk, Version::V1, request.encode_to_vec())), ["1"]);
        let mut request = v2::Request { symbols: vec![String::new()], ..Default::default() };
        (0..i).for_each(|i| {
            request.symbol(&format!("in the way {i}"));
        });
        let labels_refs = request.refs(&labels);
        let samples = vec![v2::Sample { value: 1.0, timestamp: at, start_timestamp: 0 }];
        request.timeseries.push(v2::TimeSeries { labels_refs, samples, ..Default::default() });
        assert_eq!(ids(&take(&desk, Version::V2, request.encode_to_vec())), ["1"]);
    }
    let (hits, misses) = desk.looked_up();
    assert_eq!((hits, misses), (4, 2));
}

proptest! {
    #[test]
    fn whatever_prost_reads_is_taken_and_nothing_panics(
        names in prop::collection::vec(("[ab]{0,2}", "[xy]{0,2}"), 0..4),
        samples in prop::collection::vec((any::<i64>(), any::<f64>()), 0..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        is_second: bool,
    ) {
        let labels: Vec<(&str, &str)> = names.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut of = series(&[&[("__name__", "m")][..], &labels].concat(), &samples);
        of.histograms = vec![native::integer(NOW.ms()), native::custom(NOW.ms() - 1)];
        let first = v1::WriteRequest { timeseries: vec![of, sample("n", NOW.ms())], metadata: Vec::new() };
        let mut body = if is_second { v2::of(&first).encode_to_vec() } else { first.encode_to_vec() };
        for (at, byte) in flips {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let (version, is_read) = if is_second {
            (Version::V2, v2::Request::decode(&body[..]).is_ok_and(|request| request.symbols.first().is_none_or(String::is_empty)))
        } else {
            (Version::V1, v1::WriteRequest::decode(&body[..]).is_ok())
        };
        let seen = Desk::with(Config::default(), usize::MAX).take(&Request::Write(version, body.into()));
        if let Ok(seen) = &seen {
            prop_assert!(seen.tally.rejected() <= seen.tally.received());
        }
        prop_assert!(seen.is_ok() || !is_read);
    }

    #[test]
    fn both_versions_make_the_same_rows(
        names in prop::collection::vec(("[ab]{0,2}", "[xy]{0,2}"), 0..4), values in prop::collection::vec(any::<f64>(), 1..4)
    ) {
        let labels: Vec<(&str, &str)> = names.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let samples: Vec<(i64, f64)> = (0..).zip(values).map(|(i, value)| (NOW.ms() - i, value)).collect();
        let of = series(&[&[("__name__", "m")][..], &labels].concat(), &samples);
        let first = v1::WriteRequest { timeseries: vec![of, sample("n", NOW.ms())], metadata: Vec::new() };
        let tell = |version, body| {
            let desk = Desk::new();
            let seen = take(&desk, version, body);
            desk.series() + &seen.text()
        };
        prop_assert_eq!(tell(Version::V1, first.encode_to_vec()), tell(Version::V2, v2::of(&first).encode_to_vec()));
    }

    #[test]
    fn random_bytes_never_panic(body: Vec<u8>) {
        for version in [Version::V1, Version::V2] {
            drop(Desk::new().take(&Request::Write(version, body.clone().into())));
        }
    }
}
