//! Rollups are used where they answer as the samples do, and only there.

use futures::executor::block_on;
use model::metric::{MetricKind, STALE_NAN_BITS};
use proptest::prelude::{ProptestConfig, proptest};

use super::fixture::{Fixture, NOW_S, ago_ms};
use crate::promql::{Answer, Value};
use crate::{Config, RangeQuery};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// Fills a store with four series over three days and a half, the same for the same seed.
fn fill(fixture: &Fixture, seed: u64) {
    let mut bits = seed | 1;
    let mut next = |below: u64| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 33) % below
    };
    let resource = fixture.resource("shop", "a");
    let kinds = [MetricKind::Counter, MetricKind::Unknown, MetricKind::Gauge, MetricKind::Gauge];
    for (i, kind) in kinds.into_iter().enumerate() {
        let label = i.to_string();
        let name = if kind == MetricKind::Counter { "jobs.done" } else { "level" };
        let series = fixture.series(name, &[("i", &label)], resource, kind);
        let (mut t, mut value, mut samples) = (ago_ms(3 * DAY + HOUR / 2), 0.0, Vec::new());
        let mut since = t;
        let mut starts = Vec::new();
        while t < ago_ms(0) {
            t += if next(400) == 0 { 3 * HOUR * 1_000 } else { 60_000 };
            value = match (i, next(60)) {
                (_, 0) => f64::from_bits(STALE_NAN_BITS),
                (0 | 1, 1) => 0.0,
                (0 | 1, step) if !f64::is_nan(value) => value + step as f64 * 0.3,
                // Positive sums, and sums that cancel.
                (2, step) => step as f64 * 0.7 + 0.1,
                (_, step) => step as f64 * 1.7 - 50.0,
            };
            // At times right on a boundary, at times not.
            let jitter = i64::try_from(next(3) / 2 * next(20_000)).unwrap();
            samples.push((t + jitter, value));
            // Two series know since when they count; at times that is a little before the sample.
            since = if next(200) == 0 { t - 20_000 } else { since };
            starts.push(if i % 2 == 0 { since } else { i64::MIN });
        }
        fixture.samples_since(series, &samples, starts);
    }
}

fn ask(fixture: &Fixture, expr: &str, step_s: i64, shift_s: i64) -> Answer {
    let query = RangeQuery {
        expr: expr.to_owned(),
        start_ms: ago_ms(3 * DAY) + shift_s * 1_000,
        end_ms: NOW_S * 1_000,
        step_ms: step_s * 1_000,
        ..RangeQuery::default()
    };
    block_on(fixture.engine.range(query)).unwrap_or_else(|error| panic!("{expr}: {error:?}"))
}

fn numbers(answer: &Answer) -> Vec<(String, i64, f64)> {
    let Value::Matrix(series) = &answer.value else { panic!("a matrix") };
    let of = |series: &crate::promql::SeriesValues| {
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let labels = labels.join(",");
        series.floats.iter().map(|(t, v)| (labels.clone(), *t, *v)).collect::<Vec<_>>()
    };
    series.iter().flat_map(of).collect()
}

fn assert_alike(rolled: &Answer, raw: &Answer, expr: &str) {
    let (rolled, raw) = (numbers(rolled), numbers(raw));
    assert_eq!(rolled.len(), raw.len(), "{expr}");
    for (a, b) in rolled.iter().zip(&raw) {
        assert_eq!((&a.0, a.1), (&b.0, b.1), "{expr}");
        let is_exact = ["min_", "max_", "last_", "count_"].iter().any(|f| expr.starts_with(f));
        let is_alike = match is_exact {
            true => a.2.to_bits() == b.2.to_bits(),
            false => {
                a.2 == b.2
                    || (a.2.is_nan() && b.2.is_nan())
                    || (a.2 - b.2).abs() <= 1e-12 * b.2.abs()
            }
        };
        assert!(is_alike, "{expr}: {a:?} instead of {b:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(1) })]

    #[test]
    fn rollups_answer_as_the_samples_do(seed: u64) {
        let (rolled, raw) = (Fixture::new(), Fixture::new());
        // What is in no segment has no rollup.
        fill(&raw, seed);
        fill(&rolled, seed);
        rolled.flush();
        rolled.compact();
        for function in ["rate", "increase", "avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "last_over_time"] {
            for (selector, step_s, shift_s) in [
                ("{i=~\".+\"}[1h]", HOUR, 0),
                ("{i=~\".+\"}[2h]", HOUR, 300),
                ("{i=~\".+\"}[10m] offset 1h", 300, 0),
                ("{i=~\".+\"}[1d]", 6 * HOUR, 0),
                // Not made of whole buckets: the samples answer.
                ("{i=~\".+\"}[1h]", HOUR, 7),
                ("{i=~\".+\"}[7m]", 300, 0),
                ("{i=~\".+\"}[1h] offset 1m", HOUR, 0),
            ] {
                let expr = format!("{function}({selector})");
                let (a, b) = (ask(&rolled, &expr, step_s, shift_s), ask(&raw, &expr, step_s, shift_s));
                assert_alike(&a, &b, &expr);
                let is_whole = shift_s % 300 == 0 && !selector.contains('7') && !selector.contains("1m");
                let is_sum = function.starts_with("sum") || function.starts_with("avg");
                if is_whole && !is_sum {
                    assert!(a.stats.samples * 2 < b.stats.samples, "{expr}: {} samples of {}", a.stats.samples, b.stats.samples);
                }
            }
        }
        // In a subquery the windows are those of its own steps.
        let expr = "max_over_time(rate(jobs_done_total[1h])[1d:7m])";
        assert_alike(&ask(&rolled, expr, HOUR, 0), &ask(&raw, expr, HOUR, 0), expr);
    }
}

#[test]
fn where_samples_are_gone_every_answer_says_so() {
    let fixture = Fixture::new();
    fill(&fixture, 3);
    fixture.flush();
    fixture.compact();
    let exprs = ["rate(jobs_done_total[1h])", "deriv(level[1h])", "rate(jobs_done_total[7m])"];
    for expr in exprs {
        assert!(ask(&fixture, expr, HOUR, 0).warnings.is_empty(), "{expr}");
    }
    let fixture = Fixture::over(fixture.close(), Config::default(), NOW_S + 20 * DAY);
    fixture.compact();
    for expr in exprs {
        let answer = ask(&fixture, expr, HOUR, 0);
        assert_eq!(numbers(&answer).is_empty(), expr != exprs[0], "{expr}");
        assert_eq!(answer.warnings.len(), 1, "{expr}: {:?}", answer.warnings);
        assert!(answer.warnings[0].contains("no longer kept"), "{expr}: {:?}", answer.warnings);
    }
}

#[test]
fn sql_sees_rollups_and_they_add_up() {
    let fixture = Fixture::new();
    fill(&fixture, 3);
    fixture.flush();
    fixture.compact();
    let count = |table: &str, what: &str| {
        fixture.rows(&format!("SELECT {what} AS n FROM {table} WHERE metric = 'level'"))
    };
    let hour = count("samples_1h", "sum(count)");
    assert_eq!(count("samples_5m", "sum(count)"), hour);
    let greatest = count("samples_1h", "max(max)");
    assert_eq!(count("samples_5m", "max(max)"), greatest);
    let first = fixture.rows(
        "SELECT min <= first AND last <= max AND count > 0 AS sound, count(*) \
         FROM samples_5m WHERE kind = 'counter' GROUP BY 1",
    );
    assert!(first.contains("true") && !first.contains("false"), "{first}");
}
