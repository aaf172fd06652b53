//! Properties of the evaluator over random data: a range query is its instants, a grid of a selector is the selector.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::Labels;
use super::super::duration::QueryTimes;
use super::super::eval::{EvalOptions, Explained, Query, instant, range};
use super::super::source::{MemorySample, MemorySource};
use super::super::value::{Reading, Value};

/// Samples at irregular times: (distance to the one before, value); some stale, some NaN, counters that fall.
fn track() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let value = prop_oneof![
        8 => 0.0..100.0_f64,
        1 => Just(f64::NAN),
        1 => Just(f64::from_bits(model::metric::STALE_NAN_BITS)),
    ];
    prop::collection::vec((1..120_000_i64, value), 1..40)
}

fn source(tracks: &[Vec<(i64, f64)>]) -> MemorySource {
    let mut source = MemorySource::default();
    for (i, track) in tracks.iter().enumerate() {
        let (a, b) = ((i % 2).to_string(), i.to_string());
        let labels = Labels::from_texts([("__name__", "x_total"), ("a", &a), ("b", &b)]);
        let mut t_ms = 0;
        let samples = track.iter().map(|(gap, value)| {
            t_ms += gap;
            MemorySample { t_ms, start_ms: 0, reading: Reading::Float(*value) }
        });
        source.insert(labels, samples.collect::<Vec<_>>());
    }
    source
}

const QUERIES: [&str; 14] = [
    "x_total",
    "rate(x_total[5m])",
    "increase(x_total[3m] anchored)",
    "rate(x_total[3m] smoothed)",
    "sum by (a) (x_total offset 1m)",
    "avg(x_total)",
    "max_over_time(x_total[2m])",
    "stddev_over_time(x_total[5m])",
    "quantile_over_time(0.3, x_total[5m])",
    "sum_over_time(rate(x_total[2m])[5m:30s])",
    "x_total{a=\"0\"} - ignoring(a, b) group_left x_total{b=\"1\"}",
    "topk(1, x_total) or -x_total",
    "changes(x_total[4m]) + resets(x_total[4m])",
    "count_values(\"v\", floor(x_total / 30))",
];

/// Values by labels and time, as bits; NaN is one value.
fn cells(value: &Value) -> BTreeMap<(String, i64), u64> {
    let bits = |value: f64| if value.is_nan() { 0 } else { value.to_bits() };
    match value {
        Value::Vector(samples) => samples
            .iter()
            .map(|sample| match sample.reading {
                Reading::Float(value) => ((sample.labels.to_string(), sample.t_ms), bits(value)),
                Reading::Histogram(_) => panic!("there are no histograms"),
            })
            .collect(),
        Value::Matrix(matrix) => matrix
            .iter()
            .flat_map(|series| {
                let labels = series.labels.to_string();
                series.floats.iter().map(move |(t, v)| ((labels.clone(), *t), bits(*v)))
            })
            .collect(),
        Value::Scalar { .. } | Value::String { .. } => panic!("the queries give vectors"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_range_query_is_its_instants(
        tracks in prop::collection::vec(track(), 1..4),
        start_ms in 0..600_000_i64,
        step_ms in 1_000..90_000_i64,
        delayed_name_removal: bool,
    ) {
        let source = source(&tracks);
        let options = EvalOptions { delayed_name_removal, ..EvalOptions::default() };
        let times = QueryTimes { start_ms, end_ms: start_ms + 12 * step_ms, step_ms };
        for text in QUERIES {
            let query = Query::parse(text).expect("parses");
            let ranged = range(&source, &query, times, &options);
            let mut single = BTreeMap::new();
            let mut failed = false;
            for at in (start_ms..=times.end_ms).step_by(usize::try_from(step_ms).unwrap()) {
                match instant(&source, &query, at, &options) {
                    Ok(answer) => single.extend(cells(&answer.value)),
                    Err(_) => failed = true,
                }
            }
            prop_assert_eq!(ranged.is_err(), failed, "{}", text);
            if let Ok(ranged) = ranged {
                prop_assert_eq!(cells(&ranged.value), single, "{}", text);
            }
        }
    }

    #[test]
    fn a_subquery_of_a_selector_on_its_own_grid_is_the_selector(
        values in prop::collection::vec(0.0..9.0_f64, 1..60),
    ) {
        let mut source = MemorySource::default();
        let samples = (0..).zip(&values).map(|(i, value)| MemorySample {
            t_ms: i * 10_000,
            start_ms: 0,
            reading: Reading::Float(*value),
        });
        source.insert(Labels::from_texts([("__name__", "x")]), samples.collect::<Vec<_>>());
        let at = 10_000 * i64::try_from(values.len() - 1).unwrap();
        for function in ["sum_over_time", "rate", "stdvar_over_time"] {
            let run = |range: &str| {
                let query = Query::parse(&format!("{function}(x{range})")).expect("parses");
                cells(&instant(&source, &query, at, &EvalOptions::default()).expect("runs").value)
            };
            prop_assert_eq!(run("[2m]"), run("[2m:10s]"));
        }
    }
}

/// What a node did, with what it was made of: `node[steps series samples](inputs)`.
fn outline(node: &Explained) -> String {
    let inputs: Vec<String> = node.inputs.iter().map(outline).collect();
    let Explained { node, steps, series, samples, .. } = node;
    format!("{node}[{steps} {series} {samples}]({})", inputs.join(", "))
}

#[test]
fn the_cost_of_each_node_is_told_when_asked() {
    let tracks = vec![vec![(60_000, 1.0); 20]; 3];
    let source = source(&tracks);
    let text = "sum by (a) (rate(x_total[5m])) / scalar(count(x_total @ 300)) + max_over_time(x_total{b=\"1\"}[2m:1m])";
    let query = Query::parse(text).unwrap();
    let times = QueryTimes { start_ms: 600_000, end_ms: 1_200_000, step_ms: 60_000 };
    let run = |explain| {
        let options = EvalOptions { explain, ..EvalOptions::default() };
        range(&source, &query, times, &options).unwrap()
    };
    assert_eq!(run(false).explained, None);
    let answer = run(true);
    let explained = answer.explained.unwrap();
    assert_eq!(
        outline(&explained),
        "+[11 0 0](/[11 2 22](sum by (a)[11 2 22](rate[11 3 33](x_total[0 3 45]())), \
         scalar[11 0 11](count[1 1 11](x_total @ 300.000[1 3 15]()))), \
         max_over_time[11 1 11](x_total{b=\"1\"}[12 1 16]()))"
    );
    let selector = &explained.inputs[0].inputs[0].inputs[0].inputs[0];
    assert_eq!(&text[selector.place.start..selector.place.end], "x_total");
    assert!(explained.elapsed >= explained.inputs[0].elapsed);
    assert_eq!(selector.bytes, 45 * 16);
}
