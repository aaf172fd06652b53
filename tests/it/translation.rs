//! OTLP metrics under each of the strategies that name them, found by their own names and by Prometheus' ones.

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use prost::Message as _;

use crate::server::{Home, Server, now_ns};
use crate::telemetry::{attribute, gauge, metrics};

const CUMULATIVE: i32 = 2;
const DELTA: i32 = 1;
const SECOND_NS: u64 = 1_000_000_000;

/// A monotonic sum; each point covers the time since the one before, of the first it is a second.
fn sum(name: &str, unit: &str, temporality: i32, points: &[(u64, f64)]) -> Metric {
    let point = |(at_ns, value): &(u64, f64)| NumberDataPoint {
        attributes: vec![attribute("http.route", "/cart")],
        start_time_unix_nano: if temporality == DELTA { at_ns - SECOND_NS } else { 1 },
        time_unix_nano: *at_ns,
        value: Some(Value::AsDouble(*value)),
        ..NumberDataPoint::default()
    };
    let sum = Sum {
        data_points: points.iter().map(point).collect(),
        aggregation_temporality: temporality,
        is_monotonic: true,
    };
    let (name, unit) = (name.to_owned(), unit.to_owned());
    Metric { name, unit, data: Some(Data::Sum(sum)), ..Metric::default() }
}

fn histogram(name: &str, unit: &str, at_ns: u64) -> Metric {
    let point = HistogramDataPoint {
        start_time_unix_nano: 1,
        time_unix_nano: at_ns,
        count: 3,
        sum: Some(1.5),
        bucket_counts: vec![2, 1],
        explicit_bounds: vec![1.0],
        ..HistogramDataPoint::default()
    };
    let data = Histogram { data_points: vec![point], aggregation_temporality: CUMULATIVE };
    let (name, unit) = (name.to_owned(), unit.to_owned());
    Metric { name, unit, data: Some(Data::Histogram(data)), ..Metric::default() }
}

async fn send(server: &Server, sent: Vec<Metric>) {
    let request = server.client.post(server.url("/api/v1/otlp/v1/metrics"));
    let request = request.header("content-type", "application/x-protobuf");
    let answer = request.body(metrics("shop", sent).encode_to_vec()).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status == 200 && text.is_empty(), "{status} {text}");
}

/// The names and labels that each strategy gives.
struct Case {
    strategy: &'static str,
    requests: &'static str,
    temperature: &'static str,
    duration: &'static str,
    route: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        strategy: "UnderscoreEscapingWithSuffixes",
        requests: "http_requests_total",
        temperature: "room_temperature_celsius",
        duration: "http_duration_seconds",
        route: "http_route",
    },
    Case {
        strategy: "UnderscoreEscapingWithoutSuffixes",
        requests: "http_requests",
        temperature: "room_temperature",
        duration: "http_duration",
        route: "http_route",
    },
    Case {
        strategy: "NoUTF8EscapingWithSuffixes",
        requests: "http.requests_total",
        temperature: "room.temperature_celsius",
        duration: "http.duration_seconds",
        route: "http.route",
    },
    Case {
        strategy: "NoTranslation",
        requests: "http.requests",
        temperature: "room.temperature",
        duration: "http.duration",
        route: "http.route",
    },
];

#[tokio::test]
async fn every_metric_is_found_by_its_own_name_and_by_that_of_the_strategy() {
    for case in CASES {
        let home = Home::new();
        let config = format!("[collector]\ntranslation_strategy = {:?}\n", case.strategy);
        let server = home.start(&config).await;
        let now = now_ns();
        let sent = vec![
            sum("http.requests", "{request}", CUMULATIVE, &[(now, 7.0)]),
            Metric { unit: "Cel".to_owned(), ..gauge("room.temperature", &[], &[(now, 21.0)]) },
            histogram("http.duration", "s", now),
        ];
        send(&server, sent).await;
        let Case { strategy, requests, temperature, duration, route } = case;
        for (selector, wanted) in [
            (format!("{{{requests:?}, {route:?}=\"/cart\", job=\"shop\"}}"), 7.0),
            ("{\"http.requests\"}".to_owned(), 7.0),
            (format!("{{{temperature:?}}}"), 21.0),
            ("{\"room.temperature\"}".to_owned(), 21.0),
            (format!("{{\"{duration}_bucket\", le=\"1\"}}"), 2.0),
            (format!("{{\"{duration}_count\"}}"), 3.0),
            ("{\"http.duration_sum\"}".to_owned(), 1.5),
        ] {
            assert_eq!(server.promql(&selector).await, [wanted], "{strategy}: {selector}");
        }
        let names = server.get("/api/v1/label/__name__/values").await;
        let names: Vec<&str> =
            names["data"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
        for name in [requests, temperature, &format!("{duration}_bucket"), "target_info"] {
            assert!(names.contains(&name), "{strategy}: {name} of {names:?}");
        }
        server.stop().await;
    }
    let home = Home::new();
    let wrong = home.command("[collector]\ntranslation_strategy = \"Underscores\"\n");
    let (_, said) = home.refused(wrong).await;
    assert!(said.contains("unknown variant `Underscores`"), "{said}");
}

#[tokio::test]
async fn increments_are_stored_as_they_are() {
    let home = Home::new();
    let server = home.start("").await;
    let now = now_ns();
    let points: Vec<(u64, f64)> = (0..10)
        .map(|i| (now - (10 - i) * SECOND_NS, f64::from(u8::try_from(i).unwrap())))
        .collect();
    send(&server, vec![sum("jobs.done", "", DELTA, &points)]).await;
    assert_eq!(server.promql("sum_over_time(jobs_done_total[1m])").await, [45.0]);
    assert_eq!(server.promql("jobs_done_total").await, [9.0]);
    // Each stands for the time since its start: all of them count, none is taken for a fall of the one before.
    let increase = server.promql("increase(jobs_done_total[1m])").await[0];
    assert!((45.0..55.0).contains(&increase), "{increase}");
    server.stop().await;
}
