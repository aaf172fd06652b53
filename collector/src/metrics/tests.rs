//! Each kind of metric, from OTLP/JSON to rows; and everything that is rejected.

use expect_test::{Expect, expect};
use model::metric::is_stale;

use super::*;
use crate::config::Config;
use crate::fixture::{Desk, metric, metric_of};
use crate::stats::Signal;

const AT: &str = r#""timeUnixNano":"1800000000000000000""#;

#[track_caller]
fn check(request: &str, expected: Expect) {
    let desk = Desk::new();
    let seen = desk.admit(Signal::Metrics, request);
    expected.assert_eq(&format!("{}{}", desk.series(), seen.text()));
}

#[test]
fn a_gauge_becomes_a_sample_and_its_resource_target_info() {
    let resource = r#"{"key":"service.name","value":{"stringValue":"headrope-agent"}},
        {"key":"service.namespace","value":{"stringValue":"ops"}},
        {"key":"service.instance.id","value":{"stringValue":"i-1"}},
        {"key":"host.name","value":{"stringValue":"h"}},
        {"key":"os.type","value":{"stringValue":"linux"}}"#;
    let points = format!(
        r#"{{"name":"system.cpu.utilization","unit":"1","gauge":{{"dataPoints":[
        {{{AT},"asDouble":0.25,"attributes":[{{"key":"cpu.mode","value":{{"stringValue":"user"}}}},
                                             {{"key":"cpu.logical_number","value":{{"intValue":"3"}}}}]}}]}}}}"#
    );
    check(
        &metric_of(resource, &points),
        expect![[r#"
        1 system_cpu_utilization_ratio{cpu_logical_number="3",cpu_mode="user",host_name="h",instance="i-1",job="ops/headrope-agent"}
          system.cpu.utilization{cpu.logical_number="3",cpu.mode="user"} Gauge Unspecified unit="1"
        2 target_info{host_name="h",instance="i-1",job="ops/headrope-agent",os_type="linux"}
          target_info{} Gauge Unspecified unit=""
        samples series_id=1 time=2027-01-15T08:00:00Z value=0.25 flags=0
        samples series_id=2 time=2027-01-15T08:00:00Z value=1.0 flags=0
    "#]],
    );
}

#[test]
fn sums_keep_their_temporality_and_monotony() {
    let of = |temporality: i32, monotonic: bool| {
        metric(&format!(
            r#"{{"name":"io.ops","unit":"{{operation}}","sum":{{"aggregationTemporality":{temporality},"isMonotonic":{monotonic},
            "dataPoints":[{{{AT},"startTimeUnixNano":"1799999990000000000","asInt":"9007199254740993"}}]}}}}"#
        ))
    };
    check(
        &of(2, true),
        expect![[r#"
        1 io_ops_total{job="shop"}
          io.ops{} Counter Cumulative unit="{operation}"
        samples series_id=1 time=2027-01-15T08:00:00Z value=9007199254740992.0 start_time=2027-01-15T07:59:50Z flags=0
    "#]],
    );
    check(
        &of(1, true),
        expect![[r#"
        1 io_ops_total{job="shop"}
          io.ops{} Counter Delta unit="{operation}"
        samples series_id=1 time=2027-01-15T08:00:00Z value=9007199254740992.0 start_time=2027-01-15T07:59:50Z flags=0
    "#]],
    );
    check(
        &of(2, false),
        expect![[r#"
        1 io_ops{job="shop"}
          io.ops{} Gauge Cumulative unit="{operation}"
        samples series_id=1 time=2027-01-15T08:00:00Z value=9007199254740992.0 start_time=2027-01-15T07:59:50Z flags=0
    "#]],
    );
}

#[test]
fn a_histogram_becomes_a_point_buckets_and_bounds() {
    let request = metric(&format!(
        r#"{{"name":"latency","unit":"s","histogram":{{"aggregationTemporality":2,"dataPoints":[
        {{{AT},"startTimeUnixNano":"1799999990000000000","count":"6","sum":1.5,"min":0.1,"max":0.9,
          "bucketCounts":["1","0","5"],"explicitBounds":[0.1,0.5],
          "exemplars":[{{"timeUnixNano":"1799999999000000001","asDouble":0.4,"traceId":"5b8efff798038103d269b633813fc60c",
                         "spanId":"eee19b7ec3c1b174","filteredAttributes":[{{"key":"user","value":{{"intValue":7}}}}]}},
                       {{"asInt":"3"}}, {{}}, {{"asDouble":1,"traceId":"abcd"}}]}},
        {{{AT},"attributes":[{{"key":"a","value":{{"stringValue":"no buckets"}}}}],"count":2}},
        {{{AT},"attributes":[{{"key":"a","value":{{"stringValue":"inf"}}}}],"count":3,"bucketCounts":[1,1,1],"explicitBounds":[1,"Infinity"]}},
        {{{AT},"attributes":[{{"key":"a","value":{{"stringValue":"gone"}}}}],"flags":1}}]}}}}"#
    ));
    check(
        &request,
        expect![[r#"
        1 latency_seconds{job="shop"}
          latency{} Histogram Cumulative unit="s"
        2 latency_seconds{a="no buckets",job="shop"}
          latency{a="no buckets"} Histogram Cumulative unit="s"
        3 latency_seconds{a="inf",job="shop"}
          latency{a="inf"} Histogram Cumulative unit="s"
        4 latency_seconds{a="gone",job="shop"}
          latency{a="gone"} Histogram Cumulative unit="s"
        hist_points series_id=1 time=2027-01-15T08:00:00Z start_time=2027-01-15T07:59:50Z flags=0 count=6.0 sum=1.5 min=0.1 max=0.9 zero_threshold=0.0 exp_scale=-53 reset_hint=0
        hist_points series_id=2 time=2027-01-15T08:00:00Z flags=0 count=2.0 zero_threshold=0.0 exp_scale=-53 reset_hint=0
        hist_points series_id=3 time=2027-01-15T08:00:00Z flags=0 count=3.0 zero_threshold=0.0 exp_scale=-53 reset_hint=0
        hist_points series_id=4 time=2027-01-15T08:00:00Z flags=3 count=0.0 sum=NaN zero_threshold=0.0 exp_scale=-53 reset_hint=0
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=-53 side=1 bucket=0 count=1.0
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=-53 side=1 bucket=2 count=5.0
        hist_buckets series_id=2 time=2027-01-15T08:00:00Z exp_scale=-53 side=1 bucket=0 count=2.0
        hist_buckets series_id=3 time=2027-01-15T08:00:00Z exp_scale=-53 side=1 bucket=0 count=1.0
        hist_buckets series_id=3 time=2027-01-15T08:00:00Z exp_scale=-53 side=1 bucket=1 count=2.0
        hist_bounds
        hist_bounds bounds=[1.0]
        hist_bounds bounds=[0.1, 0.5]
        exemplars series_id=1 time=2027-01-15T07:59:59.000000001Z value=0.4 trace_id=5b8efff798038103d269b633813fc60c span_id=eee19b7ec3c1b174 attributes={user: 7}
        exemplars series_id=1 time=2027-01-15T08:00:00Z value=3.0
        adjusted 2 exemplar_dropped
    "#]],
    );
}

#[test]
fn an_exponential_histogram_keeps_its_scale_and_indices() {
    let request = metric(&format!(
        r#"{{"name":"latency","unit":"ms","exponentialHistogram":{{"aggregationTemporality":1,"dataPoints":[
        {{{AT},"count":"10","sum":-3,"scale":3,"zeroCount":"2","zeroThreshold":0.001,
          "positive":{{"offset":-2,"bucketCounts":["3","0","1"]}},"negative":{{"offset":4,"bucketCounts":[4]}}}}]}}}}"#
    ));
    check(
        &request,
        expect![[r#"
        1 latency_milliseconds{job="shop"}
          latency{} ExponentialHistogram Delta unit="ms"
        hist_points series_id=1 time=2027-01-15T08:00:00Z flags=0 count=10.0 sum=-3.0 zero_count=2 zero_threshold=0.001 exp_scale=3 reset_hint=3
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=3 side=-1 bucket=4 count=4.0
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=3 side=1 bucket=-2 count=3.0
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=3 side=1 bucket=0 count=1.0
        hist_buckets series_id=1 time=2027-01-15T08:00:00Z exp_scale=3 side=0 bucket=0 count=2.0
    "#]],
    );
}

#[test]
fn a_summary_becomes_three_kinds_of_series() {
    let request = metric(&format!(
        r#"{{"name":"rpc.latency","unit":"s","summary":{{"dataPoints":[
        {{{AT},"count":"5","sum":2.5,"quantileValues":[{{"quantile":0.5,"value":0.4}},{{"quantile":1,"value":0.9}}]}}]}}}}"#
    ));
    check(
        &request,
        expect![[r#"
        1 rpc_latency_seconds{job="shop",quantile="0.5"}
          rpc.latency{quantile="0.5"} Summary Cumulative unit="s"
        2 rpc_latency_seconds{job="shop",quantile="1"}
          rpc.latency{quantile="1"} Summary Cumulative unit="s"
        3 rpc_latency_seconds_sum{job="shop"}
          rpc.latency_sum{} Summary Cumulative unit="s"
        4 rpc_latency_seconds_count{job="shop"}
          rpc.latency_count{} Summary Cumulative unit="s"
        samples series_id=1 time=2027-01-15T08:00:00Z value=0.4 flags=0
        samples series_id=2 time=2027-01-15T08:00:00Z value=0.9 flags=0
        samples series_id=3 time=2027-01-15T08:00:00Z value=2.5 flags=0
        samples series_id=4 time=2027-01-15T08:00:00Z value=5.0 flags=0
    "#]],
    );
}

#[test]
fn points_without_value_are_stale_markers() {
    let request = metric(&format!(
        r#"{{"name":"g","gauge":{{"dataPoints":[{{{AT},"flags":1}}]}}}},
           {{"name":"s","summary":{{"dataPoints":[{{{AT},"flags":1}}]}}}}"#
    ));
    let desk = Desk::new();
    let seen = desk.admit(Signal::Metrics, &request);
    let (_, batch) = &seen.tables[0];
    let values = batch.column_by_name("value").unwrap();
    let values = values.as_any().downcast_ref::<arrow::array::Float64Array>().unwrap();
    assert!(values.values().iter().all(|value| is_stale(*value)));
    assert_eq!(seen.column(Table::Samples, "flags"), ["3", "3", "3"]);
}

#[test]
fn what_is_wrong_is_rejected_by_reason_and_the_rest_is_kept() {
    let hist = |fields: &str| {
        format!(
            r#"{{"name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[{{{AT},{fields}}}]}}}}"#
        )
    };
    let metrics = [
        format!(r#"{{"name":"","gauge":{{"dataPoints":[{{{AT},"asInt":1}},{{{AT},"asInt":2}}]}}}}"#),
        r#"{"name":"nothing"}"#.to_owned(),
        format!(r#"{{"name":"g","gauge":{{"dataPoints":[{{{AT}}}]}}}}"#),
        r#"{"name":"g","gauge":{"dataPoints":[{"asInt":1}]}}"#.to_owned(),
        r#"{"name":"g","gauge":{"dataPoints":[{"asInt":1,"timeUnixNano":"1800000601000000000"}]}}"#.to_owned(),
        r#"{"name":"g","gauge":{"dataPoints":[{"asInt":1,"timeUnixNano":"18446744073709551615"}]}}"#.to_owned(),
        r#"{"name":"g","gauge":{"dataPoints":[{"asInt":1,"timeUnixNano":"1799000000000000000"}]}}"#.to_owned(),
        hist(r#""count":3,"bucketCounts":[1,1,1],"explicitBounds":[2,1]"#),
        hist(r#""count":3,"bucketCounts":[1,1,1],"explicitBounds":[1,"NaN"]"#),
        hist(r#""count":2,"bucketCounts":[1,1],"explicitBounds":[1,2]"#),
        hist(r#""count":9,"bucketCounts":[1,1],"explicitBounds":[1]"#),
        format!(r#"{{"name":"e","exponentialHistogram":{{"dataPoints":[{{{AT},"scale":21}},
            {{{AT},"count":1,"positive":{{"offset":2147483647,"bucketCounts":[1]}}}}]}}}}"#),
        format!(r#"{{"name":"q","summary":{{"dataPoints":[{{{AT},"quantileValues":[{{"quantile":1.5}}]}}]}}}}"#),
        format!(r#"{{"name":"twice","gauge":{{"dataPoints":[{{{AT},"asInt":1}},{{{AT},"asInt":2}}]}}}}"#),
        format!(r#"{{"name":"good","gauge":{{"dataPoints":[{{{AT},"startTimeUnixNano":"1800000000000000001","asInt":7}}]}}}}"#),
    ];
    check(
        &metric(&metrics.join(",")),
        expect![[r#"
        1 twice{job="shop"}
          twice{} Gauge Unspecified unit=""
        2 good{job="shop"}
          good{} Gauge Unspecified unit=""
        samples series_id=1 time=2027-01-15T08:00:00Z value=2.0 flags=0
        samples series_id=2 time=2027-01-15T08:00:00Z value=7.0 flags=0
        adjusted 1 start_time_dropped
        15 of 17 data points rejected: 2 without a usable metric name (first: metric ``); 1 metrics without data (first: metric `nothing`); 1 without a value (first: metric `g`, it has neither a value nor the no-recorded-value flag); 1 without a time (first: metric `g`, its time is 0); 2 from the future (first: metric `g`, time 2027-01-15T08:10:01.000000000Z, but it is 2027-01-15T08:00:00.000000000Z and 10m ahead is the limit); 1 too old (first: metric `g`, time 2027-01-03T18:13:20.000000000Z, but it is 2027-01-15T08:00:00.000000000Z and 7d back is the limit); 7 of inconsistent histograms (first: metric `h`, bounds must increase, but 1 follows 2); 1 with the series and time of a later one (first: two points of one metric with the same attributes in the same millisecond; give them attributes that tell them apart)
    "#]],
    );
}

#[test]
fn new_series_over_the_limit_are_refused_and_known_ones_go_on() {
    let desk = Desk::with(Config::default(), 2);
    let points = |labels: &[&str]| {
        let point = |label: &&str| {
            format!(
                r#"{{{AT},"asInt":1,"attributes":[{{"key":"l","value":{{"stringValue":"{label}"}}}}]}}"#
            )
        };
        let points: Vec<String> = labels.iter().map(point).collect();
        metric(&format!(r#"{{"name":"g","gauge":{{"dataPoints":[{}]}}}}"#, points.join(",")))
    };
    let first = desk.admit(Signal::Metrics, &points(&["a", "b", "c"]));
    assert_eq!(first.column(Table::Samples, "series_id"), ["1", "2"]);
    expect![[r#"1 of 3 data points rejected: 1 of new series over the series limit (first: metric `g` {l="c"}, series registry is full: 2 of 2 used; series already known go on)"#]].assert_eq(&first.tally.message());
    let second = desk.admit(Signal::Metrics, &points(&["d", "b"]));
    assert_eq!(second.column(Table::Samples, "series_id"), ["2"]);
    assert_eq!(second.tally.rejected(), 1);
}

#[test]
fn labels_over_the_limits_reject_the_point_since_cutting_could_join_series() {
    let config = Config { labels_max: 1, label_bytes_max: 8, ..Config::default() };
    let desk = Desk::with(config, usize::MAX);
    let pair = |value: &str| format!(r#"{{"key":"l","value":{{"stringValue":"{value}"}}}}"#);
    let point = |pairs: &str| format!(r#"{{{AT},"asInt":1,"attributes":[{pairs}]}}"#);
    let points = [
        point(&format!("{},{}", pair("a"), pair("b"))),
        point(&pair("123456789")),
        point(&pair("x")),
    ];
    let request =
        metric(&format!(r#"{{"name":"g","gauge":{{"dataPoints":[{}]}}}}"#, points.join(",")));
    let seen = desk.admit(Signal::Metrics, &request);
    assert_eq!(seen.column(Table::Samples, "value"), ["1.0"]);
    expect![[r#"2 of 3 data points rejected: 1 with too many attributes (first: metric `g` {l="a", l="b"}, 2 attributes, the limit is 1); 1 with an attribute that is too long (first: metric `g` {l="123456789"}, attribute `l` has 9 bytes, the limit is 8)"#]].assert_eq(&seen.tally.message());
}

#[test]
fn the_order_of_attributes_does_not_make_a_series() {
    let desk = Desk::new();
    let pair = |key: &str| format!(r#"{{"key":"{key}","value":{{"stringValue":"1"}}}}"#);
    let request = |pairs: String| {
        metric(&format!(
            r#"{{"name":"g","gauge":{{"dataPoints":[{{{AT},"asInt":1,"attributes":[{pairs}]}}]}}}}"#
        ))
    };
    let ids = |pairs: String| {
        desk.admit(Signal::Metrics, &request(pairs)).column(Table::Samples, "series_id")
    };
    let first = ids(format!("{},{}", pair("a"), pair("b")));
    assert_eq!(first, ids(format!("{},{}", pair("b"), pair("a"))));
    assert_ne!(first, ids(pair("a")));
}

#[test]
fn a_series_keeps_few_exemplars_a_minute() {
    let exemplars = vec![r#"{"asInt":"1"}"#; 13].join(",");
    let request = metric(&format!(
        r#"{{"name":"g","gauge":{{"dataPoints":[{{{AT},"asInt":1,"exemplars":[{exemplars}]}}]}}}}"#
    ));
    let seen = Desk::new().admit(Signal::Metrics, &request);
    assert_eq!(seen.column(Table::Exemplars, "value").len(), 10);
    assert_eq!(seen.tally.count(Reason::ExemplarDropped), 3);
    assert_eq!(seen.tally.rejected(), 0);
}

#[test]
fn target_info_is_written_once_for_each_interval() {
    let resource = r#"{"key":"service.name","value":{"stringValue":"a"}},{"key":"os.type","value":{"stringValue":"linux"}}"#;
    let at = |s: u64| {
        let point = format!(r#"{{"asInt":1,"timeUnixNano":"{s}000000000"}}"#);
        metric_of(resource, &format!(r#"{{"name":"g","gauge":{{"dataPoints":[{point}]}}}}"#))
    };
    let desk = Desk::new();
    let n_rows = |s: u64| desk.admit(Signal::Metrics, &at(s)).column(Table::Samples, "value").len();
    assert_eq!(n_rows(1_799_999_850), 2);
    assert_eq!(n_rows(1_799_999_851), 1);
    assert_eq!(n_rows(1_800_000_000), 2);
}
