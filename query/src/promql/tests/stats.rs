//! What `stats` tells of samples, by the rules of Prometheus: its own examples and some of ours.

use crate::promql::duration::QueryTimes;
use crate::promql::source::{MemorySample, MemorySource};
use crate::promql::{EvalOptions, Labels, Query, Reading, StepSamples, instant, range};

/// `a` has a sample every 10 s from 0 to 1000 s, three series of `b` too.
fn source() -> MemorySource {
    let mut source = MemorySource::default();
    let series = [("a", "1"), ("b", "1"), ("b", "2"), ("b", "3")];
    for (name, n) in series {
        let samples = (0..=100).map(|i| MemorySample {
            t_ms: i * 10_000,
            start_ms: 0,
            reading: Reading::Float(i as f64),
        });
        source.insert(Labels::from_texts([("__name__", name), ("n", n)]), samples);
    }
    source
}

fn options() -> EvalOptions {
    EvalOptions { per_step_stats: true, ..EvalOptions::default() }
}

fn totals(steps: &[(i64, StepSamples)]) -> Vec<(i64, u64)> {
    steps.iter().map(|(t_ms, step)| (t_ms / 1000, step.queryable)).collect()
}

#[test]
fn instant_queries() {
    for (expr, at_s, queryable) in [
        ("a", 21, 1),
        ("b", 21, 3),
        ("1", 21, 0),
        ("a[60s]", 201, 6),
        ("max_over_time(a[60s])", 201, 6),
        ("max_over_time(a[60s])[20s:5s]", 201, 24),
        ("sum_over_time(max_over_time(a[60s])[20s:5s])", 201, 4),
        ("sum(max_over_time(b[60s] @ 100))", 201, 18),
        ("a + on () group_right a", 201, 2),
    ] {
        let query = Query::parse(expr).unwrap();
        let answer = instant(&source(), &query, at_s * 1000, &options()).unwrap();
        assert_eq!(answer.stats.samples_queryable, queryable, "{expr}");
        assert_eq!(totals(&answer.per_step), [(at_s, queryable)], "{expr}");
    }
}

#[test]
fn range_queries_step_by_step() {
    for (expr, steps, read) in [
        ("a", [1, 1, 1, 1], 4),
        ("b", [3, 3, 3, 3], 12),
        ("sum by (n) (max_over_time(a[60s]))", [6, 6, 6, 6], 7),
        ("max_over_time(a[60s] @ 100)", [6, 6, 6, 6], 24),
        ("timestamp(a) + 1", [1, 1, 1, 1], 4),
    ] {
        let query = Query::parse(expr).unwrap();
        let times = QueryTimes { start_ms: 201_000, end_ms: 220_000, step_ms: 5_000 };
        let answer = range(&source(), &query, times, &options()).unwrap();
        let wanted: Vec<(i64, u64)> = [201, 206, 211, 216].into_iter().zip(steps).collect();
        assert_eq!(totals(&answer.per_step), wanted, "{expr}");
        assert_eq!(answer.stats.samples_queryable, steps.iter().sum::<u64>(), "{expr}");
        assert_eq!(answer.stats.samples_first, read, "{expr}");
    }
}
