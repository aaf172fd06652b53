//! Families as a client library writes them, cut and broken ones.

use proptest::prelude::*;

use super::super::{Format, Wanted, parse};
use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct FamilyMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<MetricMessage>,
    #[prost(string, tag = "5")]
    unit: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetricMessage {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelMessage>,
    #[prost(message, optional, tag = "3")]
    counter: Option<CounterMessage>,
    #[prost(message, optional, tag = "4")]
    summary: Option<SummaryMessage>,
    #[prost(int64, tag = "6")]
    timestamp_ms: i64,
    #[prost(message, optional, tag = "7")]
    histogram: Option<HistogramMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LabelMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TimeMessage {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelMessage>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<TimeMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CounterMessage {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<ExemplarMessage>,
    #[prost(message, optional, tag = "3")]
    created: Option<TimeMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SummaryMessage {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    quantile: Vec<PairMessage>,
}

/// A quantile and its value.
#[derive(Clone, PartialEq, prost::Message)]
struct PairMessage {
    #[prost(double, tag = "1")]
    quantile: f64,
    #[prost(double, tag = "2")]
    value: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BucketMessage {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    bound: f64,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<ExemplarMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SpanMessage {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HistogramMessage {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<BucketMessage>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<SpanMessage>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    created: Option<TimeMessage>,
}

fn label(name: &str, value: &str) -> LabelMessage {
    LabelMessage { name: name.to_owned(), value: value.to_owned() }
}

fn exemplar() -> ExemplarMessage {
    let timestamp = Some(TimeMessage { seconds: 7, nanos: 500_000_000 });
    ExemplarMessage { label: vec![label("trace_id", "t")], value: 0.5, timestamp }
}

fn body(families: &[FamilyMessage]) -> Vec<u8> {
    families.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect()
}

fn counter() -> FamilyMessage {
    let created = Some(TimeMessage { seconds: 1_600_000_000, nanos: 5_000_000 });
    let counter = CounterMessage { value: 7.0, exemplar: Some(exemplar()), created };
    let metric = MetricMessage {
        label: vec![label("a", "ü")],
        counter: Some(counter),
        timestamp_ms: 9,
        ..MetricMessage::default()
    };
    FamilyMessage {
        name: "c_total".to_owned(),
        help: "say".to_owned(),
        metric: vec![metric],
        unit: "x".to_owned(),
        ..FamilyMessage::default()
    }
}

fn histogram() -> FamilyMessage {
    let bucket = |bound, count, exemplar| BucketMessage { count, bound, exemplar };
    let histogram = HistogramMessage {
        count: 6,
        sum: 2.5,
        bucket: vec![bucket(1.0, 4, Some(exemplar())), bucket(5.0, 6, None)],
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 1,
        positive_span: vec![
            SpanMessage { offset: -2, length: 2 },
            SpanMessage { offset: 3, length: 1 },
        ],
        positive_delta: vec![1, 1, -1],
        created: Some(TimeMessage { seconds: 8, nanos: 0 }),
    };
    let metric = MetricMessage { histogram: Some(histogram), ..MetricMessage::default() };
    FamilyMessage {
        name: "h".to_owned(),
        kind: 4,
        metric: vec![metric],
        ..FamilyMessage::default()
    }
}

fn names(exposition: &Exposition<'_>) -> Vec<String> {
    let name = |sample: &Sample<'_>| {
        let labels: Vec<_> =
            exposition.labels(sample).iter().map(|(_, value)| value.to_string()).collect();
        match &sample.value {
            Measured::Float(value) => format!("{} {value}", labels.join(",")),
            Measured::Histogram(_) => format!("{} native", labels.join(",")),
        }
    };
    exposition.samples.iter().map(name).collect()
}

#[test]
fn counters_and_summaries_are_what_the_text_has() {
    let summary = SummaryMessage {
        count: 3,
        sum: 1.5,
        quantile: vec![PairMessage { quantile: 1.0, value: 0.5 }],
    };
    let metric = MetricMessage { summary: Some(summary), ..MetricMessage::default() };
    let summary = FamilyMessage {
        name: "s".to_owned(),
        kind: 2,
        metric: vec![metric],
        ..FamilyMessage::default()
    };
    let body = body(&[counter(), summary]);
    let exposition = parse(&body, Format::Protobuf, Wanted::default()).unwrap();
    assert_eq!(names(&exposition), ["c_total,ü 7", "s,1.0 0.5", "s_sum 1.5", "s_count 3"]);
    let sample = &exposition.samples[0];
    assert_eq!((sample.at_ms, sample.start_ms), (Some(9), 1_600_000_000_005));
    let found = &exposition.exemplars(sample)[0];
    assert_eq!((found.value, found.at_ms, &*found.labels[0].1), (0.5, Some(7_500), "t"));
    let meta = &exposition.families[0];
    assert_eq!((meta.kind, &*meta.help, &*meta.unit), (Kind::Counter, "say", "x"));
    assert_eq!(exposition.families[1].kind, Kind::Summary);
}

#[test]
fn of_a_histogram_of_both_sorts_the_one_that_is_wanted_is_kept() {
    let body = body(&[histogram()]);
    let read = |native, classic_too| {
        parse(
            &body,
            Format::Protobuf,
            Wanted { native, classic_too, fold_classic: false, ..Wanted::default() },
        )
        .unwrap()
    };
    let classic = ["h_bucket,1.0 4", "h_bucket,5.0 6", "h_bucket,+Inf 6", "h_sum 2.5", "h_count 6"];
    assert_eq!(names(&read(false, false)), classic);
    assert_eq!(names(&read(true, true)), [&classic[..], &["h native"]].concat());
    let native = read(true, false);
    assert_eq!(names(&native), ["h native"]);
    let Measured::Histogram(found) = &native.samples[0].value else { panic!("no histogram") };
    assert_eq!((found.schema, found.count, found.zero_count), (3, Count::Int(6), Count::Int(1)));
    assert_eq!(found.positive.spans, [(-2, 2), (3, 1)]);
    assert_eq!(found.positive.deltas, [1, 1, -1]);
    assert_eq!(native.samples[0].start_ms, 8_000);
    assert_eq!(native.exemplars(&native.samples[0]).len(), 1, "those of its buckets");
}

#[test]
fn broken_bodies_name_the_byte() {
    let whole = body(&[counter()]);
    let fault = parse(&whole[..whole.len() - 1], Format::Protobuf, Wanted::default()).unwrap_err();
    assert_eq!(fault.to_string(), "byte 1: a length goes beyond the end");
    let mut wrong = histogram();
    wrong.metric[0].histogram.as_mut().unwrap().positive_delta.pop();
    let fault = parse(&body(&[wrong]), Format::Protobuf, Wanted::default()).unwrap_err();
    assert!(
        fault
            .to_string()
            .ends_with("the spans of a histogram do not say how many buckets there are"),
        "{fault}"
    );
    let nameless = FamilyMessage { name: String::new(), ..counter() };
    let fault = parse(&body(&[nameless]), Format::Protobuf, Wanted::default()).unwrap_err();
    assert_eq!(fault.to_string(), "byte 1: a metric family has no name");
}

#[test]
fn a_few_bytes_cannot_ask_for_much_memory() {
    let label = LabelMessage { name: String::new(), value: String::new() };
    let mut wide = histogram();
    wide.metric[0].label = vec![label.clone(); 5_000];
    let inside = wide.metric[0].histogram.as_mut().unwrap();
    inside.bucket = vec![inside.bucket[0].clone(); 5_000];
    let bytes = body(&[wide]);
    assert!(bytes.len() < 400_000);
    let fault = parse(&bytes, Format::Protobuf, Wanted::default()).unwrap_err();
    assert!(fault.reason.starts_with("what is exposed takes more than 64 MiB"), "{fault}");
    let mut labels = counter();
    labels.metric[0].label = vec![label; 10_000];
    let fault = parse(&body(&[labels]), Format::Protobuf, Wanted::default()).unwrap_err();
    assert_eq!(fault.reason, "a metric has more than 10,000 labels");
}

#[test]
fn a_schema_that_is_none_is_refused() {
    for schema in [i32::MAX, i32::MIN, 53, -5, -52] {
        let mut odd = histogram();
        odd.metric[0].histogram.as_mut().unwrap().schema = schema;
        let fault = parse(&body(&[odd]), Format::Protobuf, Wanted::default()).unwrap_err();
        assert_eq!(fault.reason, "the schema of a native histogram is none there is", "{schema}");
    }
}

proptest! {
    #[test]
    fn flipped_and_cut_bodies_are_read_or_refused(at in 0_usize..400, bits in 1_u8.., end in 0_usize..400) {
        let mut bytes = body(&[counter(), histogram()]);
        let at = at % bytes.len();
        bytes[at] ^= bits;
        bytes.truncate(end.max(1));
        let wanted = Wanted { native: true, classic_too: true, fold_classic: true, ..Wanted::default() };
        drop(parse(&bytes, Format::Protobuf, wanted));
    }
}
