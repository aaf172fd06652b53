//! What senders do wrong with data points: rows of the table in `docs/guide/limits.md`, with what is kept and what is
//! counted. The rest of the table stands in `tests` beside this and in `remote::tests`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use expect_test::expect;
use model::time::NS_PER_S;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Summary, SummaryDataPoint,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use store::{SeriesRef, Store};

use super::*;
use crate::attributes::text_pair;
use crate::config::Config;
use crate::decode::{Format, Request};
use crate::fixture::{Desk, NOW, Seen, collector};
use crate::inflate::Encoding;
use crate::stats::Signal;
use crate::{Collector, Outcome, Received};

fn point(attributes: Vec<KeyValue>, at: Timestamp, value: f64) -> NumberDataPoint {
    let value = Some(number_data_point::Value::AsDouble(value));
    let time_unix_nano = u64::try_from(at.0).unwrap();
    NumberDataPoint { attributes, time_unix_nano, value, ..NumberDataPoint::default() }
}

/// A request with these points of gauge `g`.
fn gauge(data_points: Vec<NumberDataPoint>) -> Vec<u8> {
    of_metric("g", Data::Gauge(Gauge { data_points }))
}

/// A request with this metric.
fn of_metric(name: &str, data: Data) -> Vec<u8> {
    let metrics = vec![Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn take(desk: &Desk, body: Vec<u8>) -> Seen {
    desk.take(&Request::Metrics(body.into())).unwrap()
}

async fn send(collector: &Arc<Collector>, body: Vec<u8>) -> Outcome {
    let held = collector.budget().reserve(0).unwrap();
    let (format, encoding) = (Format::Protobuf, Encoding::Identity);
    let received = Received {
        signal: Signal::Metrics,
        format,
        encoding,
        body: body.into(),
        delivery: None,
        held,
    };
    collector.ingest(received).await.unwrap()
}

#[test]
fn nan_and_infinities_keep_their_bits() {
    let bits = [
        0x7ff8_0000_dead_beef,
        0xfff0_0000_0000_0001,
        0x7ff0_0000_0000_0000,
        0x8000_0000_0000_0000,
    ];
    let points = (0..)
        .zip(bits)
        .map(|(i, bits)| point(Vec::new(), Timestamp(NOW.0 - i * 1_000_000), f64::from_bits(bits)));
    let seen = take(&Desk::new(), gauge(points.collect()));
    let (_, batch) = &seen.tables[0];
    let values = batch.column_by_name("value").unwrap();
    let values = values.as_any().downcast_ref::<arrow::array::Float64Array>().unwrap();
    assert_eq!(values.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
    assert_eq!(seen.column(Table::Samples, "flags"), ["0"; 4]);
}

#[test]
fn of_a_repeated_key_the_last_value_counts_every_time() {
    let desk = Desk::new();
    let twice = |first: &str, second: &str| {
        let attributes = vec![text_pair("a", first), text_pair("b", "x"), text_pair("a", second)];
        let seen = take(&desk, gauge(vec![point(attributes, NOW, 1.0)]));
        assert_eq!(seen.tally.count(Reason::AttributeInvalid), 1);
        seen.column(Table::Samples, "series_id")
    };
    // The same fields in another order are another series: the cache must not mistake one for the other.
    for _ in 0..2 {
        assert_eq!(twice("1", "2"), ["1"]);
        assert_eq!(twice("2", "1"), ["2"]);
    }
    let once = vec![text_pair("a", "2"), text_pair("b", "x")];
    let seen = take(&desk, gauge(vec![point(once, NOW, 1.0)]));
    assert_eq!(seen.column(Table::Samples, "series_id"), ["1"]);
}

#[test]
fn too_many_and_too_long_attributes_cost_the_point_and_no_series() {
    let desk = Desk::new();
    let many = (0..10_000).map(|i| text_pair(&format!("k{i}"), "v")).collect();
    let long = vec![text_pair("k", &"v".repeat(1 << 20))];
    let long_key = vec![text_pair(&"k".repeat(5_000), "v")];
    let points = [many, long, long_key, Vec::new()].map(|attributes| point(attributes, NOW, 1.0));
    let seen = take(&desk, gauge(points.to_vec()));
    assert_eq!(seen.tally.count(Reason::LabelsTooMany), 1);
    assert_eq!(seen.tally.count(Reason::LabelTooLong), 2);
    assert_eq!(seen.column(Table::Samples, "series_id"), ["1"]);
    assert!(seen.tally.message().len() < 600, "{}", seen.tally.message());
}

/// Two bytes on the wire each, seventy in memory.
#[test]
fn what_is_over_a_limit_is_counted_and_never_decoded() {
    let empty = vec![KeyValue::default(); 100_000];
    let body = point(empty.clone(), NOW, 1.0).encode_to_vec();
    let decoded = Attributes::new(Message::of_body(&body), 7).decode(64, 4_096).unwrap();
    assert_eq!((decoded.pairs.len(), decoded.count), (64, 100_000));
    let items = ArrayValue { values: vec![AnyValue::default(); 100_000] };
    let value = Some(AnyValue { value: Some(Value::ArrayValue(items)) });
    let nested = vec![KeyValue { value, ..text_pair("k", "") }];
    let body = point(nested.clone(), NOW, 1.0).encode_to_vec();
    let decoded = Attributes::new(Message::of_body(&body), 7).decode(64, 4_096).unwrap();
    assert_eq!((decoded.pairs.len(), decoded.count), (0, 1));
    let points = [empty, nested, Vec::new()].map(|attributes| point(attributes, NOW, 1.0));
    let seen = take(&Desk::new(), gauge(points.to_vec()));
    let counted = [Reason::LabelsTooMany, Reason::LabelTooLong];
    assert_eq!(counted.map(|reason| seen.tally.count(reason)), [1, 1]);
    assert_eq!(seen.column(Table::Samples, "series_id"), ["1"]);
}

#[test]
fn a_summary_of_more_quantiles_than_buckets_may_be_is_rejected() {
    let time_unix_nano = u64::try_from(NOW.0).unwrap();
    let summary = |n: usize| SummaryDataPoint {
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 1.0 }; n],
        time_unix_nano,
        ..SummaryDataPoint::default()
    };
    let data = Data::Summary(Summary { data_points: vec![summary(1), summary(4_097)] });
    let seen = take(&Desk::new(), of_metric("s", data));
    assert_eq!(seen.tally.count(Reason::HistogramInconsistent), 1);
    assert_eq!(seen.column(Table::Samples, "value").len(), 3);
}

#[test]
fn a_metric_name_has_a_limit_of_its_own() {
    for (bytes, n_rejected) in [(512, 0), (513, 1)] {
        let data = Data::Gauge(Gauge { data_points: vec![point(Vec::new(), NOW, 1.0)] });
        let seen = take(&Desk::new(), of_metric(&"n".repeat(bytes), data));
        assert_eq!(seen.tally.count(Reason::MetricNameTooLong), n_rejected, "{bytes}");
        assert_eq!(seen.tally.rejected(), n_rejected);
    }
}

#[test]
fn of_a_large_resource_some_is_kept_and_of_a_huge_one_nothing_is_read() {
    let of_resource = |attributes: Vec<KeyValue>| {
        let mut request =
            ExportMetricsServiceRequest::decode(&gauge(vec![point(Vec::new(), NOW, 1.0)])[..])
                .unwrap();
        let resource = Resource { attributes, ..Resource::default() };
        request.resource_metrics[0].resource = Some(resource);
        request.encode_to_vec()
    };
    let many = (0..10_000).map(|i| text_pair(&format!("k{i}"), "v")).collect();
    let seen = take(&Desk::new(), of_resource(many));
    assert_eq!(seen.tally.count(Reason::AttributesOverLimit), 10_000 - 256);
    let huge = of_resource(vec![KeyValue::default(); 3 << 20]);
    let refused = Desk::new().take(&Request::Metrics(huge.into())).err().unwrap();
    assert!(matches!(refused, Error::TooLarge(_)), "{refused}");
}

#[test]
fn of_a_promoted_scope_attributes_over_the_limit_go() {
    let desk = Desk::with(Config { promote_scope: true, ..Config::default() }, usize::MAX);
    for (attributes, n_dropped) in
        [(vec![text_pair("k", "v")], 0), (vec![KeyValue::default(); 40_000], 1)]
    {
        let body = gauge(vec![point(Vec::new(), NOW, 1.0)]);
        let mut request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
        let scope = InstrumentationScope { name: "s".to_owned(), attributes, ..Default::default() };
        request.resource_metrics[0].scope_metrics[0].scope = Some(scope);
        let seen = take(&desk, request.encode_to_vec());
        assert_eq!(seen.tally.count(Reason::ScopeAttributesDropped), n_dropped);
        assert_eq!(seen.column(Table::Samples, "value").len(), 1);
    }
    expect![[r#"
        1 g{otel_scope_k="v",otel_scope_name="s"}
          g{otel.scope.k="v",otel.scope.name="s"} Gauge Unspecified unit=""
        2 g{otel_scope_name="s"}
          g{otel.scope.name="s"} Gauge Unspecified unit=""
    "#]]
    .assert_eq(&desk.series());
}

#[test]
fn many_tiny_points_take_memory_as_rows_not_more() {
    let points = vec![NumberDataPoint::default(); 300_000];
    let desk = Desk::new().within(4 << 20);
    assert_eq!(take(&desk, gauge(points)).tally.count(Reason::TimeMissing), 300_000);
    let rows =
        (0..300_000).map(|i| point(Vec::new(), Timestamp(NOW.0 - i * 1_000_000), 1.0)).collect();
    let refused = desk.take(&Request::Metrics(gauge(rows).into())).err().unwrap();
    assert!(matches!(refused, Error::TooLarge(_)), "{refused}");
}

#[tokio::test]
async fn a_clock_that_goes_back_costs_what_lies_in_its_future_and_nothing_stored() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(NOW.0));
    let ticks = Arc::clone(&now);
    let clock: Arc<dyn model::time::Clock> =
        Arc::new(move || Timestamp(ticks.load(Ordering::Relaxed)));
    let config = store::Config { data_dir: dir.path().to_owned(), ..store::Config::default() };
    let store = Store::open(config, Arc::clone(&clock)).await.unwrap();
    let collector = Collector::new(Arc::clone(&store), Config::default(), clock);
    let at = |s: i64| gauge(vec![point(Vec::new(), Timestamp(NOW.0 + s * NS_PER_S), 1.0)]);
    assert_eq!(send(&collector, at(0)).await.message, "");
    now.fetch_sub(3_600 * NS_PER_S, Ordering::Relaxed);
    let outcome = send(&collector, at(1)).await;
    assert!(outcome.message.contains("1 from the future"), "{}", outcome.message);
    // Older than what is there: samples may come in any order.
    assert_eq!(send(&collector, at(-3_600)).await.message, "");
    assert_eq!(send(&collector, at(-3_599)).await.message, "");
    let stats = collector.stats().metrics;
    assert_eq!((stats.accepted, stats.received, stats.rows), (3, 4, 3));
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_series_the_store_let_go_is_resolved_again_and_the_sender_never_knows() {
    let (collector, store, _dir) = collector(Config::default()).await;
    let points = |s: i64| {
        let at = Timestamp(NOW.0 - s * NS_PER_S);
        gauge(vec![
            point(vec![text_pair("a", "1")], at, 1.0),
            point(vec![text_pair("a", "2")], at, 1.0),
        ])
    };
    send(&collector, points(0)).await;
    collector.memory.series.change_all(|series| series.at = SeriesRef::new(series.at.slot(), 77));
    let outcome = send(&collector, points(1)).await;
    assert_eq!((outcome.rejected, outcome.message.as_str()), (0, ""));
    let stats = collector.stats();
    assert_eq!(
        (stats.metrics.requests, stats.metrics.requests_refused, stats.metrics.rows),
        (2, 0, 4)
    );
    // Remembered anew: the next request looks nothing up in the store.
    let misses = stats.series_cache_misses;
    send(&collector, points(2)).await;
    assert_eq!(collector.stats().series_cache_misses, misses);
    store.shutdown().await.unwrap();
}
