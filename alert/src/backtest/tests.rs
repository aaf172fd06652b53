//! Live and replay agree: the same evaluations, one slot after the other by instant queries and all of them by ranges,
//! over the same series.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use proptest::prelude::*;
use query::promql::source::{MemorySample, MemorySource};
use query::promql::{EvalOptions, Query, Reading, Value, instant, range};

use super::*;
use crate::engine::{answer_of, lines_of};
use crate::rule::parse;
use crate::source::{Answer, Ask, Evaluate};

const BEGIN_S: i64 = 1_800_000_000;

/// Series in memory.
#[derive(Default)]
struct Past {
    series: MemorySource,
    n_instants: AtomicU32,
    n_ranges: AtomicU32,
}

impl Past {
    fn put(&mut self, instance: &str, values: &[Option<f64>], every_s: i64) {
        let labels = [("__name__", "x"), ("instance", instance)];
        let labels = query::promql::Labels::from_texts(labels);
        let samples = values.iter().enumerate().filter_map(|(i, value)| {
            let t_ms = (BEGIN_S + i64::try_from(i).unwrap() * every_s) * 1_000;
            value.map(|v| MemorySample { t_ms, start_ms: 0, reading: Reading::Float(v) })
        });
        self.series.insert(labels, samples);
    }

    fn value(&self, expr: &str, at_ms: i64) -> Result<Value, String> {
        let query = Query::parse(expr).map_err(|error| error.to_string())?;
        let answer = instant(&self.series, &query, at_ms, &EvalOptions::default());
        answer.map(|answer| answer.value).map_err(|error| error.to_string())
    }
}

impl Evaluate for Past {
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        self.n_instants.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(self.value(&ask.expr, ask.at.ms()).map(answer_of)))
    }
}

impl History for Past {
    fn range(
        &self,
        expr: Arc<str>,
        (start_ms, end_ms): (i64, i64),
        step_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<Line>, String>> {
        self.n_ranges.fetch_add(1, Ordering::Relaxed);
        let query = Query::parse(&expr).unwrap();
        let times = query::promql::duration::QueryTimes { start_ms, end_ms, step_ms };
        let answer = range(&self.series, &query, times, &EvalOptions::default());
        let lines = answer.map_err(|error| error.to_string()).and_then(|a| lines_of(a.value));
        Box::pin(std::future::ready(lines))
    }
}

fn group(rule: &str) -> Arc<Group> {
    let text = format!("groups:\n- name: g\n  interval: 30s\n  rules:\n  - alert: A\n{rule}");
    Arc::new(parse(&text, "r.yml").unwrap_or_else(|p| panic!("{p}\n{text}")).remove(0))
}

/// What the live evaluation tells, slot after slot.
fn live(group: &Arc<Group>, past: &Past, to: Timestamp) -> Vec<Transition> {
    let config = Config::default();
    let slots = Slots::new(&group.file, &group.name, group.interval);
    let mut at = slots.first(Timestamp::from_s(BEGIN_S));
    let (mut instances, mut told) = (Instances::new(), Vec::new());
    while at < to {
        let turn = Turn {
            group: Arc::clone(group),
            rule: 0,
            at,
            deadline: Instant::now() + Duration::from_secs(60),
            alerts_max: config.alerts_per_rule_max,
            surroundings: Arc::new(Surroundings::new(&config.external_labels, "")),
            inline: true,
            is_event: false,
        };
        let step = turn.step(past, instances, None).now_or_never().unwrap().unwrap().0;
        (instances, at) = (step.instances, Timestamp(at.0 + slots.interval_ns()));
        told.extend(step.transitions);
    }
    told
}

fn replayed(group: &Arc<Group>, past: &Past, to: Timestamp) -> (Outcome, Vec<Transition>) {
    let range = (Timestamp::from_s(BEGIN_S), to);
    let config = Config::default();
    let work = backtest(group, 0, range, (past, &config));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work).unwrap()
}

const RULES: [&str; 7] = [
    "    expr: x > 2\n    for: 1m",
    "    expr: x > 2\n    keep_firing_for: 2m\n    annotations: {text: \"{{ $value }} {{ $labels.instance }}\"}",
    "    expr: avg_over_time(x[2m]) > 1.5\n    for: 30s\n    labels: {of: \"{{ $labels.instance }}\"}",
    "    expr: x > 2\n    headrope: {no_data: hold, clear_expr: x > 1, clear_for: 1m}",
    "    expr: absent(x{instance=\"a\"})",
    "    expr: x\n    for: 1m\n    headrope: {above: 3, all: [{expr: x, below: 5}], no_data: alert}",
    "    expr: sum(x) > 5\n    annotations: {most: \"{{ with query \\\"max(x)\\\" }}{{ . | first | value }}{{ end }}\"}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn live_and_replay_tell_the_same(
        rule in 0..RULES.len(),
        a in prop::collection::vec(prop::option::weighted(0.9, 0_u8..6), 240),
        b in prop::collection::vec(prop::option::weighted(0.7, 0_u8..6), 240),
        gap in (0_usize..200, 0_usize..120),
    ) {
        let mut past = Past::default();
        let values = |of: &[Option<u8>]| of.iter().map(|v| v.map(f64::from)).collect::<Vec<_>>();
        let (mut a, b) = (values(&a), values(&b));
        let until = (gap.0 + gap.1).min(a.len());
        a[gap.0..until].fill(None);
        past.put("a", &a, 15);
        past.put("b", &b, 15);
        let (group, to) = (group(RULES[rule]), Timestamp::from_s(BEGIN_S + 3_600));
        let told = live(&group, &past, to);
        let (outcome, again) = replayed(&group, &past, to);
        // Bits: a value may be no number, which equals nothing.
        let bits = |all: &[Transition]| -> Vec<(u64, Transition)> {
            all.iter().map(|t| (t.value.to_bits(), Transition { value: 0.0, ..t.clone() })).collect()
        };
        prop_assert_eq!(bits(&told), bits(&again));
        prop_assert_eq!(outcome.n_slots, 120);
        let fired = told.iter().filter(|one| one.state == AlertState::Firing).count();
        prop_assert_eq!(outcome.n_fired, fired as u64);
        prop_assert_eq!(outcome.failed, None);
    }
}

#[test]
fn a_quiet_week_takes_a_few_questions() {
    let mut past = Past::default();
    let mut values = vec![Some(1.0); 7 * 1_440];
    values[5_000..5_010].fill(Some(9.0));
    past.put("a", &values, 60);
    let group = group("    expr: x > 2\n    for: 2m");
    let (outcome, _) = replayed(&group, &past, Timestamp::from_s(BEGIN_S + 7 * 86_400));
    assert_eq!((outcome.n_slots, outcome.n_fired), (20_160, 1));
    // Ten minutes above and the lookback of five after it, less the wait of two.
    let lasted = outcome.longest_ns / 1_000_000_000;
    assert!((450..=500).contains(&lasted), "{lasted}");
    let episode = &outcome.episodes[0];
    assert_eq!(episode.value.to_bits(), 9.0_f64.to_bits());
    assert_eq!(episode.cause, Cause::Condition);
    assert!(past.n_ranges.load(Ordering::Relaxed) < 8);
    // At its end: whether the data ended as well.
    assert!(past.n_instants.load(Ordering::Relaxed) <= 2);
}

#[test]
fn what_asks_for_its_range_is_asked_slot_by_slot() {
    let mut past = Past::default();
    past.put("a", &[Some(3.0); 60], 60);
    let group = group("    expr: x > 2 and x @ end() > 2");
    let to = Timestamp::from_s(BEGIN_S + 3_600);
    assert_eq!(replayed(&group, &past, to).1, live(&group, &past, to));
    assert_eq!(past.n_ranges.load(Ordering::Relaxed), 0);
}

#[test]
fn what_cannot_be_replayed_is_told() {
    let past = Past::default();
    let text = "groups: [{name: g, rules: [{record: a, expr: x}, {alert: B, expr: a > 1}]}]";
    let group = Arc::new(parse(text, "r.yml").unwrap().remove(0));
    let range = (Timestamp::from_s(BEGIN_S), Timestamp::from_s(BEGIN_S + 3_600));
    let config = Config::default();
    let ask = |rule, range| {
        backtest(&group, rule, range, (&past, &config)).now_or_never().expect("at once")
    };
    assert!(ask(0, range).unwrap_err().contains("records a series"));
    assert!(ask(2, range).unwrap_err().contains("no such rule"));
    let (outcome, _) = ask(1, range).unwrap();
    assert!(outcome.notes[0].starts_with("reads a,"), "{:?}", outcome.notes);
    let long = (range.0, Timestamp::from_s(BEGIN_S + 60 * (SLOTS_MAX + 5)));
    assert!(ask(1, long).unwrap_err().contains("ask for less time"));
    let (outcome, _) = ask(1, (range.1, range.0)).unwrap();
    assert_eq!((outcome.n_slots, outcome.n_fired), (0, 0));
}

/// Fails before a time, and in all ranges that begin there.
struct Broken(Past, i64);

impl Evaluate for Broken {
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        self.0.instant(ask)
    }
}

impl History for Broken {
    fn range(
        &self,
        expr: Arc<str>,
        at_ms: (i64, i64),
        step_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<Line>, String>> {
        if at_ms.0 < self.1 {
            return Box::pin(std::future::ready(Err("it is damaged".to_owned())));
        }
        self.0.range(expr, at_ms, step_ms)
    }
}

#[test]
fn a_few_slots_that_fail_are_passed_over_and_many_end_it() {
    let group = group("    expr: x > 2");
    let config = Config::default();
    let range = (Timestamp::from_s(BEGIN_S), Timestamp::from_s(BEGIN_S + 3_600));
    for (bad_s, n_failed, n_fired) in [(60, 2, 1), (1_000, 5, 0)] {
        let mut past = Past::default();
        past.put("a", &[Some(3.0); 60], 60);
        let broken = Broken(past, (BEGIN_S + bad_s) * 1_000);
        let work = backtest(&group, 0, range, (&broken, &config));
        let outcome = work.now_or_never().unwrap().unwrap().0;
        assert_eq!((outcome.failed.unwrap().0, outcome.n_fired), (n_failed, n_fired));
        assert_eq!(outcome.n_slots, if n_fired > 0 { 120 } else { 5 });
        assert_eq!(outcome.notes.len(), usize::from(n_fired == 0), "{:?}", outcome.notes);
    }
}
