//! The walker against prost: the same bodies are taken, and they become the same rows, however their fields are
//! ordered, repeated, split, wrapped in unknown ones, or broken.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop, prop_oneof};
use proptest::{prop_assert_eq, proptest};
use prost::Message as _;
use prost::encoding::encode_varint;

use crate::config::Config;
use crate::decode::Request;
use crate::fixture::{Desk, NOW};

type Bytes = Vec<u8>;

/// A field of bytes. Some lengths are written longer than they need to be.
fn wrap(number: u32, inside: &[u8], is_wide: bool) -> Bytes {
    let mut out = Vec::new();
    encode_varint(u64::from(number << 3 | 2), &mut out);
    encode_varint(inside.len() as u64, &mut out);
    if is_wide {
        *out.last_mut().unwrap() |= 0x80;
        out.extend([0x80, 0]);
    }
    out.extend_from_slice(inside);
    out
}

/// `parts` in any order, each a field or several.
fn shuffled(parts: Vec<Bytes>) -> impl Strategy<Value = Bytes> {
    Just(parts).prop_shuffle().prop_map(|parts| parts.concat())
}

/// One to `n` messages as fields `number`.
fn fields(
    number: u32,
    message: impl Strategy<Value = Bytes>,
    n: usize,
) -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec((message, prop::bool::weighted(0.1)), 0..=n).prop_map(move |messages| {
        messages.iter().map(|(message, is_wide)| wrap(number, message, *is_wide)).collect()
    })
}

/// A field nobody knows, now and then.
fn unknown() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => Just(Vec::new()),
        1 => Just(vec![0xf8, 0x07, 1]),
        1 => Just(vec![0xfb, 0x07, 0x08, 1, 0xfc, 0x07]),
    ]
}

fn value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        4 => "[a-c]{0,2}".prop_map(|text| Some(Value::StringValue(text))),
        1 => (-2_i64..3).prop_map(|number| Some(Value::IntValue(number))),
        1 => any::<bool>().prop_map(|truth| Some(Value::BoolValue(truth))),
        1 => any::<f64>().prop_map(|number| Some(Value::DoubleValue(number))),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(|bytes| Some(Value::BytesValue(bytes))),
        1 => (0_i64..3).prop_map(|number| {
            let values = vec![AnyValue { value: Some(Value::IntValue(number)) }];
            Some(Value::ArrayValue(ArrayValue { values }))
        }),
        1 => Just(None),
    ]
}

fn pair() -> impl Strategy<Value = Bytes> {
    ("[ab]{0,2}", value(), unknown()).prop_map(|(key, value, unknown)| {
        let value = Some(AnyValue { value });
        [KeyValue { key, value, key_strindex: 0 }.encode_to_vec(), unknown].concat()
    })
}

/// Times around the present: most are taken, some are too old, too new or missing.
fn time() -> impl Strategy<Value = u64> {
    let now = u64::try_from(NOW.0).unwrap();
    prop_oneof![
        12 => (0_u64..5).prop_map(move |ms| now - ms * 1_000_000),
        1 => Just(0),
        1 => Just(1),
        1 => Just(u64::MAX),
    ]
}

fn exemplar() -> impl Strategy<Value = Bytes> {
    let number = any::<bool>().prop_map(|is_int| match is_int {
        true => Some(exemplar::Value::AsInt(-7)),
        false => Some(exemplar::Value::AsDouble(0.5)),
    });
    let head = (time(), number, prop::sample::select(vec![0_usize, 8, 16])).prop_map(
        |(time_unix_nano, value, len)| {
            let (trace_id, span_id) = (vec![1; len], vec![2; len / 2]);
            Exemplar { time_unix_nano, value, trace_id, span_id, ..Exemplar::default() }
                .encode_to_vec()
        },
    );
    (head, fields(7, pair(), 1))
        .prop_flat_map(|(head, pairs)| shuffled([vec![head], pairs].concat()))
}

fn number_point() -> impl Strategy<Value = Bytes> {
    let value = prop_oneof![
        any::<u64>().prop_map(|bits| number_data_point::Value::AsDouble(f64::from_bits(bits))),
        any::<i64>().prop_map(number_data_point::Value::AsInt),
    ];
    let head = (time(), time(), prop::option::weighted(0.9, value), prop::bool::weighted(0.1));
    let head = head.prop_map(|(time_unix_nano, start_time_unix_nano, value, is_absent)| {
        let flags = u32::from(is_absent);
        NumberDataPoint {
            time_unix_nano,
            start_time_unix_nano,
            value,
            flags,
            ..NumberDataPoint::default()
        }
        .encode_to_vec()
    });
    whole(head, (7, 5))
}

/// A point: its head, attributes and exemplars under their numbers, something unknown.
fn whole(
    head: impl Strategy<Value = Bytes>,
    (pairs, exemplars): (u32, u32),
) -> impl Strategy<Value = Bytes> {
    (head, fields(pairs, pair(), 3), fields(exemplars, exemplar(), 1), unknown()).prop_flat_map(
        |(head, pairs, exemplars, unknown)| {
            shuffled([vec![head, unknown], pairs, exemplars].concat())
        },
    )
}

fn histogram_point() -> impl Strategy<Value = Bytes> {
    let counts = prop::collection::vec(0_u64..4, 0..4);
    let head = (time(), counts, any::<bool>(), prop::option::of(any::<f64>()));
    let head = head.prop_map(|(time_unix_nano, bucket_counts, is_split, sum)| {
        let explicit_bounds = (1..bucket_counts.len()).map(|i| i as f64).collect();
        let count = bucket_counts.iter().sum();
        let (start_time_unix_nano, min, max) = (5, sum, sum);
        let point = HistogramDataPoint {
            time_unix_nano,
            start_time_unix_nano,
            count,
            sum,
            min,
            max,
            bucket_counts,
            explicit_bounds,
            ..HistogramDataPoint::default()
        };
        if !is_split {
            return point.encode_to_vec();
        }
        // Numbers one by one, as they may also be written.
        let one_by_one = point
            .bucket_counts
            .iter()
            .flat_map(|count| [&[0x31][..], &count.to_le_bytes()].concat());
        let bounds = point
            .explicit_bounds
            .iter()
            .flat_map(|bound| [&[0x39][..], &bound.to_le_bytes()].concat());
        let mut out: Bytes = one_by_one.chain(bounds).collect();
        HistogramDataPoint { bucket_counts: Vec::new(), explicit_bounds: Vec::new(), ..point }
            .encode(&mut out)
            .unwrap();
        out
    });
    whole(head, (9, 8))
}

fn exponential_point() -> impl Strategy<Value = Bytes> {
    let buckets = || {
        prop::option::of(
            (-3_i32..3, prop::collection::vec(0_u64..300, 0..3))
                .prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }),
        )
    };
    let head = (time(), buckets(), buckets(), 0_u64..3, -12_i32..22);
    let head = head.prop_map(|(time_unix_nano, positive, negative, zero_count, scale)| {
        let sum = |buckets: &Option<Buckets>| {
            buckets.iter().flat_map(|buckets| &buckets.bucket_counts).sum::<u64>()
        };
        let count = sum(&positive) + sum(&negative) + zero_count;
        ExponentialHistogramDataPoint {
            time_unix_nano,
            count,
            scale,
            zero_count,
            positive,
            negative,
            ..ExponentialHistogramDataPoint::default()
        }
        .encode_to_vec()
    });
    whole(head, (1, 11))
}

fn summary_point() -> impl Strategy<Value = Bytes> {
    let quantile = prop::sample::select(vec![0.0, 0.5, 1.0, 1.5]);
    let quantiles = prop::collection::vec(quantile, 0..3);
    let head = (time(), quantiles, any::<u64>(), any::<f64>());
    let head = head.prop_map(|(time_unix_nano, quantiles, count, sum)| {
        let of = |quantile: f64| ValueAtQuantile { quantile, value: quantile * 2.0 };
        let quantile_values = quantiles.into_iter().map(of).collect();
        SummaryDataPoint {
            time_unix_nano,
            count,
            sum,
            quantile_values,
            ..SummaryDataPoint::default()
        }
        .encode_to_vec()
    });
    (head, fields(7, pair(), 2))
        .prop_flat_map(|(head, pairs)| shuffled([vec![head], pairs].concat()))
}

/// Data of one of the five kinds, as a field of a metric.
fn data() -> impl Strategy<Value = Bytes> {
    let of = |number: u32, points: BoxedStrategy<Bytes>| {
        let extra =
            (0_i32..4, any::<bool>()).prop_map(move |(aggregation_temporality, is_monotonic)| {
                let sum = Sum { aggregation_temporality, is_monotonic, ..Sum::default() };
                if matches!(number, 7 | 9 | 10) { sum.encode_to_vec() } else { Vec::new() }
            });
        (fields(1, points, 3), extra)
            .prop_flat_map(|(points, extra)| shuffled([points, vec![extra]].concat()))
            .prop_map(move |data| wrap(number, &data, false))
    };
    prop_oneof![
        of(5, number_point().boxed()),
        of(7, number_point().boxed()),
        of(9, histogram_point().boxed()),
        of(10, exponential_point().boxed()),
        of(11, summary_point().boxed()),
    ]
}

fn metric() -> impl Strategy<Value = Bytes> {
    let head =
        ("[xy.]{0,2}", prop::sample::select(vec!["", "By", "1"])).prop_map(|(name, unit)| {
            let (unit, description) = (unit.to_owned(), "help".to_owned());
            Metric { name, unit, description, ..Metric::default() }.encode_to_vec()
        });
    (head, prop::collection::vec(data(), 0..3), unknown())
        .prop_flat_map(|(head, data, unknown)| shuffled([vec![head, unknown], data].concat()))
}

fn request() -> impl Strategy<Value = Bytes> {
    let scope = prop::option::of("[s]").prop_map(|name| {
        let name = name.unwrap_or_default();
        let attributes = vec![KeyValue { key: name.clone(), ..KeyValue::default() }];
        let scope = InstrumentationScope { name, attributes, ..InstrumentationScope::default() };
        ScopeMetrics { scope: Some(scope), schema_url: "u".to_owned(), ..ScopeMetrics::default() }
            .encode_to_vec()
    });
    let scope_metrics = (scope, fields(2, metric(), 2))
        .prop_flat_map(|(scope, metrics)| shuffled([vec![scope], metrics].concat()));
    let resource = prop::sample::select(vec!["service.name", "host.name", "x"]).prop_map(|key| {
        let value = Some(AnyValue { value: Some(Value::StringValue("v".to_owned())) });
        let attributes = vec![KeyValue { key: key.to_owned(), value, key_strindex: 0 }];
        let resource = Some(Resource { attributes, ..Resource::default() });
        ResourceMetrics { resource, ..ResourceMetrics::default() }.encode_to_vec()
    });
    let of_resource = (prop::collection::vec(resource, 0..3), fields(2, scope_metrics, 2))
        .prop_flat_map(|(resources, scopes)| shuffled([resources, scopes].concat()));
    fields(1, of_resource, 2).prop_map(|parts| parts.concat())
}

/// What becomes of a body that is sent twice: series, rows, refusals. `None` when it is refused whole.
fn outcome(body: &[u8], config: &Config) -> Option<[String; 2]> {
    let desk = Desk::with(config.clone(), usize::MAX);
    let request = Request::Metrics(body.to_vec().into());
    let tell = || desk.take(&request).ok().map(|seen| desk.series() + &seen.text());
    Some([tell()?, tell()?])
}

/// Whether prost takes the body, and what the walker makes of it as sent and as prost would write it.
fn check(body: &[u8], config: &Config) -> Result<(), proptest::test_runner::TestCaseError> {
    let theirs = ExportMetricsServiceRequest::decode(body).ok();
    let canonical = theirs.map(|request| request.encode_to_vec());
    let ours = outcome(body, config);
    prop_assert_eq!(canonical.is_some(), ours.is_some());
    prop_assert_eq!(canonical.and_then(|body| outcome(&body, config)), ours);
    Ok(())
}

proptest! {
    #[test]
    fn every_order_of_fields_makes_the_same_rows(body in request()) {
        check(&body, &Config::default())?;
        check(&body, &Config { promote_scope: true, ..Config::default() })?;
    }

    #[test]
    fn broken_bodies_are_taken_where_prost_takes_them(
        body in request(), at in any::<prop::sample::Index>(), byte: u8, cut in prop::option::of(any::<prop::sample::Index>())
    ) {
        let mut body = body;
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
        }
        check(&body, &Config::default())?;
    }
}
