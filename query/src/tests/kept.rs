//! Answers of range queries that are partly kept from before are those of an evaluation, whatever happened in between.

use futures::executor::block_on;
use model::id::TenantId;
use model::matcher::{MatchOp, Matcher};
use model::metric::{MetricKind, STALE_NAN_BITS};
use model::time::Timestamp;
use proptest::prelude::*;
use store::{Delete, DeleteFrom, Resolved};

use super::fixture::{Fixture, ago_ms};
use crate::promql::{Answer, Value};
use crate::{Engine, RangeQuery};

/// Where the tests' time begins, seconds before their clock.
const BEGIN: i64 = 7_200;

const QUESTIONS: [&str; 14] = [
    "jobs_total",
    "sum by (host) (rate(jobs_total[1m]))",
    "sum(sum by (host) (jobs_total offset 30s))",
    "avg(rate(jobs_total[2m]))",
    "topk(2, sum by (host) (increase(jobs_total[90s])))",
    "sum(level) / on() group_left count(jobs_total)",
    "histogram_quantile(0.7, sum by (le) (rate(req_duration_bucket[3m])))",
    "max_over_time(sum(level)[5m:30s])",
    "level offset -1m",
    "absent(level{host=\"a\"})",
    "stddev by (host) (level and jobs_total)",
    "count_values(\"v\", level)",
    "label_replace(level, \"host\", \"x\", \"host\", \"[ab]\")",
    "rate(jobs_total[1m] smoothed)",
];

#[derive(Clone, Debug)]
enum Step {
    /// Time passes: some seconds, every so many a sample of the series whose bits are set.
    Pass {
        s: i64,
        every_s: i64,
        series: u8,
    },
    /// A sample comes late, by so many seconds.
    Late {
        series: usize,
        late_s: i64,
        value: f64,
    },
    Histogram {
        late_s: i64,
        counts: [u8; 3],
    },
    Stale {
        series: usize,
    },
    Delete {
        host: usize,
        from_s: i64,
        for_s: i64,
    },
    Flush,
    Compact,
    /// A question: which, how long before now it ends, how far it goes back, in steps of so many seconds.
    Ask {
        question: usize,
        end_s: i64,
        steps: i64,
        step_s: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let ask = (0..QUESTIONS.len(), prop::sample::select(vec![0_i64, 0, 0, 15, 100]), 1_i64..80)
        .prop_map(|(question, end_s, steps)| Step::Ask { question, end_s, steps, step_s: 15 });
    prop_oneof![
        6 => (1_i64..300, 5_i64..40, any::<u8>())
            .prop_map(|(s, every_s, series)| Step::Pass { s, every_s, series }),
        2 => (0_usize..6, 0_i64..2_000, 0.0..50.0)
            .prop_map(|(series, late_s, value)| Step::Late { series, late_s, value }),
        2 => (0_i64..900, any::<[u8; 3]>())
            .prop_map(|(late_s, counts)| Step::Histogram { late_s, counts }),
        1 => (0_usize..6).prop_map(|series| Step::Stale { series }),
        1 => (0_usize..3, 0_i64..2_000, 0_i64..600)
            .prop_map(|(host, from_s, for_s)| Step::Delete { host, from_s, for_s }),
        1 => Just(Step::Flush),
        1 => Just(Step::Compact),
        12 => ask,
    ]
}

struct World {
    fixture: Fixture,
    series: Vec<Resolved>,
    histogram: Resolved,
    /// Seconds since the beginning.
    now_s: i64,
    values: [f64; 6],
    n_kept: u64,
}

impl World {
    fn new() -> Self {
        let fixture = Fixture::new();
        let resource = fixture.resource("shop", "h");
        let of = |i: usize| {
            let host = ["a", "b", "c"][i % 3];
            let (metric, kind) = match i {
                0..3 => ("jobs", MetricKind::Counter),
                _ => ("level", MetricKind::Gauge),
            };
            fixture.series(metric, &[("host", host), ("n", &i.to_string())], resource, kind)
        };
        let series = (0..6).map(of).collect();
        let histogram = fixture.series("req.duration", &[], resource, MetricKind::Histogram);
        Self { fixture, series, histogram, now_s: 0, values: [1.0; 6], n_kept: 0 }
    }

    fn ms(&self, ago_s: i64) -> i64 {
        ago_ms(BEGIN - self.now_s + ago_s)
    }

    fn go(&mut self, step: &Step) {
        match step {
            Step::Pass { s, every_s, series } => {
                for passed in 1..=*s {
                    self.now_s += 1;
                    for i in (0..6).filter(|i| passed % every_s == 0 && series >> i & 1 == 1) {
                        self.values[i] += f64::from(u8::try_from(i).unwrap()).mul_add(0.37, 0.1);
                        self.fixture.samples(self.series[i], &[(self.ms(0), self.values[i])]);
                    }
                }
            }
            Step::Late { series, late_s, value } => {
                self.fixture.samples(self.series[*series], &[(self.ms(*late_s), *value)]);
            }
            Step::Histogram { late_s, counts } => {
                let counts = counts.map(f64::from);
                self.fixture.histogram(self.histogram, self.ms(*late_s), counts, 1.5);
            }
            Step::Stale { series } => {
                let stale = f64::from_bits(STALE_NAN_BITS);
                self.fixture.samples(self.series[*series], &[(self.ms(0), stale)]);
            }
            Step::Delete { host, from_s, for_s } => self.delete(*host, (*from_s, *for_s)),
            Step::Flush => self.fixture.flush(),
            Step::Compact => self.fixture.compact(),
            Step::Ask { question, end_s, steps, step_s } => {
                let end_ms = self.ms(*end_s).div_euclid(step_s * 1_000) * step_s * 1_000;
                self.ask(QUESTIONS[*question], (end_ms - steps * step_s * 1_000, end_ms), *step_s);
            }
        }
    }

    fn delete(&self, host: usize, (from_s, for_s): (i64, i64)) {
        let host = Matcher::new("host", MatchOp::Equal, ["a", "b", "c"][host]);
        self.fixture.delete(Delete {
            tenant: TenantId::default(),
            from: DeleteFrom::Metrics,
            matchers: vec![host],
            first: Timestamp::from_ms(self.ms(from_s)),
            last: Timestamp::from_ms(self.ms(from_s - for_s)),
            requested_by: "test".to_owned(),
        });
    }

    /// Asks with and without what is kept.
    fn ask(&mut self, expr: &str, (start_ms, end_ms): (i64, i64), step_s: i64) {
        let query = |no_cache| RangeQuery {
            expr: expr.to_owned(),
            start_ms,
            end_ms,
            step_ms: step_s * 1_000,
            no_cache,
            ..RangeQuery::default()
        };
        let ask = |no_cache| block_on(self.fixture.engine.range(query(no_cache)));
        let (kept, evaluated) = (ask(false), ask(true));
        assert_eq!(bits(&kept), bits(&evaluated), "{expr} from {start_ms} to {end_ms}");
        self.n_kept += kept.map_or(0, |answer| answer.stats.steps_kept);
        assert_eq!(evaluated.map_or(0, |answer| answer.stats.steps_kept), 0);
    }
}

/// All of an answer that a client sees, values by their bits.
fn bits(answer: &Result<Answer, crate::Error>) -> Vec<String> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return vec![error.to_string()],
    };
    let Value::Matrix(series) = &answer.value else { panic!("a matrix") };
    let line = |series: &crate::promql::SeriesValues| {
        let labels: Vec<_> = series.labels.iter().collect();
        let floats: Vec<_> = series.floats.iter().map(|(t, v)| (*t, v.to_bits())).collect();
        format!("{labels:?} {floats:?} {:?}", series.histograms)
    };
    let said = answer.warnings.iter().chain(&answer.infos).cloned();
    series.iter().map(line).chain(said).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..Default::default() })]

    #[test]
    fn kept_steps_are_what_would_be_evaluated(steps in prop::collection::vec(step(), 10..60)) {
        let mut world = World::new();
        for step in &steps {
            world.go(step);
        }
    }
}

/// A dashboard that asks again and again, each time a step later.
fn watch(world: &mut World, expr: &str, n: usize) -> Vec<u64> {
    let mut kept = Vec::new();
    for _ in 0..n {
        world.go(&Step::Pass { s: 15, every_s: 15, series: 0xff });
        let (end_ms, before) = (world.ms(0) / 15_000 * 15_000, world.n_kept);
        world.ask(expr, (end_ms - 3_600_000, end_ms), 15);
        kept.push(world.n_kept - before);
    }
    kept
}

#[test]
fn a_moved_window_evaluates_only_what_is_new() {
    let mut world = World::new();
    world.go(&Step::Pass { s: 3_600, every_s: 15, series: 0xff });
    let expr = "sum by (host) (rate(jobs_total[1m]))";
    // All but the last minute of 241 steps.
    assert_eq!(watch(&mut world, expr, 4), [0, 236, 236, 236]);
    // What comes late, is deleted or stands elsewhere is seen at once.
    world.go(&Step::Late { series: 1, late_s: 1_800, value: 7.0 });
    assert_eq!(watch(&mut world, expr, 2), [0, 232]);
    world.go(&Step::Delete { host: 0, from_s: 900, for_s: 100 });
    assert_eq!(watch(&mut world, expr, 2), [0, 224]);
    // What a flush moves is newer than what is kept.
    world.go(&Step::Flush);
    assert_eq!(watch(&mut world, expr, 2), [224, 224]);
    // A sample outside of what was read changes nothing.
    let before = watch(&mut world, expr, 1);
    world.go(&Step::Late { series: 1, late_s: 6_000, value: 7.0 });
    assert_eq!(watch(&mut world, expr, 1), before);
}

#[test]
fn another_lookback_or_engine_is_another_question() {
    let mut world = World::new();
    world.go(&Step::Pass { s: 3_600, every_s: 15, series: 0xff });
    assert_eq!(watch(&mut world, "level", 2)[0], 0);
    let end_ms = world.ms(0) / 15_000 * 15_000;
    let ask = |engine: &Engine, expr: &str, lookback_ms, step_ms| {
        let query = RangeQuery {
            expr: expr.to_owned(),
            start_ms: end_ms - 600_000,
            end_ms,
            step_ms,
            lookback_ms,
            ..RangeQuery::default()
        };
        block_on(engine.range(query)).unwrap().stats.steps_kept
    };
    let engine = &world.fixture.engine;
    assert!(ask(engine, "level  # the same", None, 15_000) > 0);
    assert_eq!(ask(engine, "level", Some(60_000), 15_000), 0);
    assert_eq!(ask(engine, "level", None, 30_000), 0);
    let other = Engine::new(world.fixture.store.clone(), crate::Config::default()).unwrap();
    assert_eq!(ask(&other, "level", None, 15_000), 0);
    store::set_cache_limit(0);
    assert_eq!(ask(engine, "level", None, 15_000), 0, "nothing may be kept");
}
