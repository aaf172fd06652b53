//! Tests of interning and selection.

use std::collections::BTreeMap;

use model::matcher::{MatchOp, Matcher};
use model::metric::{Labels, MetricKind, Temporality};

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::sample::SeriesRef;

fn def(metric: &str, labels: &[(&str, &str)]) -> SeriesDef {
    let labels: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    SeriesDef {
        metric: metric.to_owned(),
        prom_name: metric.replace('.', "_"),
        prom_labels: labels.clone(),
        labels,
        resource_id: ResourceId(7),
        kind: MetricKind::Gauge,
        temporality: Temporality::Unspecified,
        unit: String::new(),
        help: String::new(),
    }
}

fn check(matchers: &[(&str, MatchOp, &str)], expected: &[&str]) {
    let registry = Registry::new(100, u64::MAX);
    for host in ["a", "b", "c\nd"] {
        for metric in ["cpu.time", "load"] {
            let id =
                registry.resolve(TenantId(0), &def(metric, &[("host", host)]), |_| None).unwrap();
            registry.view().seen([(id.at.slot, 1)]);
        }
    }
    registry.resolve(TenantId(0), &def("load", &[("host", "unseen")]), |_| None).unwrap();
    let matchers: Vec<_> = matchers.iter().map(|(n, op, v)| Matcher::new(*n, *op, *v)).collect();
    let selected: Vec<_> = registry
        .select(TenantId(0), &matchers)
        .unwrap()
        .iter()
        .map(|series| {
            format!("{}@{}", series.def.prom_name, series.def.prom_labels.value("host").unwrap())
        })
        .collect();
    assert_eq!(selected, expected);
}

#[test]
fn matchers_are_anchored_and_an_absent_label_is_empty() {
    check(&[("__name__", MatchOp::Equal, "load")], &["load@a", "load@b", "load@c\nd"]);
    check(
        &[("__name__", MatchOp::Equal, "cpu.time"), ("host", MatchOp::NotEqual, "a")],
        &["cpu_time@b", "cpu_time@c\nd"],
    );
    check(
        &[("host", MatchOp::Regex, "a|b"), ("__name__", MatchOp::Regex, "l.*")],
        &["load@a", "load@b"],
    );
    check(&[("host", MatchOp::Regex, "c.d"), ("__name__", MatchOp::Regex, "oa")], &[]);
    check(
        &[("host", MatchOp::Regex, "c.d"), ("__name__", MatchOp::NotRegex, "cpu.*")],
        &["load@c\nd"],
    );
    check(
        &[("absent", MatchOp::Equal, ""), ("host", MatchOp::Equal, "a")],
        &["cpu_time@a", "load@a"],
    );
    check(&[("absent", MatchOp::NotEqual, "")], &[]);
}

#[test]
fn a_clash_of_ids_takes_the_next_one_and_keeps_it() {
    let registry = Registry::new(100, u64::MAX);
    let (first, second) = (def("one", &[]), def("two", &[]));
    let id = SeriesId(series_hash(TenantId(0), &second));
    registry.restore(TenantId(0), [(id, first)], |_, _| {});
    let moved = registry.resolve(TenantId(0), &second, |_| None).unwrap();
    assert_eq!(moved.id.0, id.0.wrapping_add(1));
    assert_eq!(registry.resolve(TenantId(0), &second, |_| None).unwrap(), moved);
    assert_ne!(registry.resolve(TenantId(1), &second, |_| None).unwrap(), moved);
}

#[test]
fn the_limit_refuses_new_series_only() {
    let registry = Registry::new(1, u64::MAX);
    let id = registry.resolve(TenantId(0), &def("one", &[]), |_| None).unwrap();
    assert!(matches!(
        registry.resolve(TenantId(0), &def("two", &[]), |_| None),
        Err(Error::Full { .. })
    ));
    assert_eq!(registry.resolve(TenantId(0), &def("one", &[]), |_| None).unwrap(), id);
}

#[test]
fn a_resource_is_the_same_in_any_order() {
    let attribute = |key: &str, value: i64| Attribute {
        key: key.to_owned(),
        value: AttributeValue::Int(value),
    };
    assert_eq!(
        resource_id(&[attribute("a", 1), attribute("b", 2)]),
        resource_id(&[attribute("b", 2), attribute("a", 1)])
    );
    assert_ne!(resource_id(&[attribute("a", 1)]), resource_id(&[attribute("a", 2)]));
}

const TENANT: TenantId = TenantId(0);

/// What may happen to a registry.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A sample of this series.
    Use(usize),
    /// An hour goes by.
    Wait,
    /// Idle series leave.
    Evict,
}

/// Series of every kind of label set: plain, translated, with labels added, with labels that contradict.
fn kinds() -> Vec<SeriesDef> {
    let mut defs = Vec::new();
    for host in ["a", "b", "c"] {
        for metric in ["cpu.time", "load"] {
            defs.push(def(metric, &[("host", host)]));
            let mut dotted = def(metric, &[("host.name", host), ("zone", "z")]);
            let spelled = [("host_name", host), ("zone", "z"), ("job", "j"), ("instance", host)];
            dotted.prom_labels =
                spelled.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            defs.push(dotted);
            let mut joined = def(metric, &[("host.name", host), ("host_name", "x")]);
            joined.prom_labels =
                [("host_name".to_owned(), format!("{host};x"))].into_iter().collect();
            defs.push(joined);
        }
    }
    defs
}

fn naive(def: &SeriesDef, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| {
        let labels = &def.prom_labels;
        let value = match matcher.name.as_str() {
            "__name__" if matcher.op == MatchOp::Equal && matcher.value == def.metric => {
                return true;
            }
            "__name__" => &def.prom_name,
            name => labels.value(name).unwrap_or(""),
        };
        let is_match =
            || regex::Regex::new(&format!("^(?s:{})$", matcher.value)).unwrap().is_match(value);
        match matcher.op {
            MatchOp::Equal => value == matcher.value,
            MatchOp::NotEqual => value != matcher.value,
            MatchOp::Regex => is_match(),
            MatchOp::NotRegex => !is_match(),
        }
    })
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let name = prop::sample::select(vec![
        "__name__",
        "host",
        "host_name",
        "zone",
        "job",
        "instance",
        "absent",
    ]);
    let op = prop::sample::select(vec![
        MatchOp::Equal,
        MatchOp::NotEqual,
        MatchOp::Regex,
        MatchOp::NotRegex,
    ]);
    let value = prop::sample::select(vec![
        "", "a", "load", "cpu_time", "cpu.time", "a|b|z", ".*", ".+", "c.*|",
    ]);
    (name, op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value))
}

proptest! {
    #[test]
    fn the_registry_holds_what_a_map_holds(
        steps in prop::collection::vec(
            prop_oneof![4 => (0_usize..18).prop_map(Step::Use), 2 => any::<bool>().prop_map(|_| Step::Wait), 1 => any::<bool>().prop_map(|_| Step::Evict)],
            0..60,
        ),
        matchers in prop::collection::vec(matcher(), 0..3),
    ) {
        let (defs, registry) = (kinds(), Registry::new(100, u64::MAX));
        let mut hour = 10;
        // Series by number, with the hour they were last used in; every reference ever given.
        let mut known: BTreeMap<usize, u32> = BTreeMap::new();
        let mut refs: Vec<(usize, SeriesRef, bool)> = Vec::new();
        for step in steps {
            registry.tick(Timestamp::from_s(i64::from(hour) * 3_600));
            match step {
                Step::Use(number) => {
                    let resolved = registry.resolve(TENANT, &defs[number], |_| None).unwrap();
                    prop_assert_eq!(resolved.id.0, series_hash(TENANT, &defs[number]));
                    registry.view().seen([(resolved.at.slot, 1)]);
                    if known.insert(number, hour).is_none() {
                        refs.push((number, resolved.at, true));
                    }
                }
                Step::Wait => hour += 1,
                Step::Evict => {
                    let slots = registry.evict(u32::MAX);
                    let idle: Vec<usize> =
                        known.iter().filter(|(_, used)| **used + IDLE_HOURS < hour).map(|(number, _)| *number).collect();
                    prop_assert_eq!(slots.len(), idle.len());
                    registry.reuse(slots);
                    for number in idle {
                        known.remove(&number);
                        refs.iter_mut().filter(|(of, ..)| *of == number).for_each(|(.., holds)| *holds = false);
                    }
                }
            }
            prop_assert_eq!(registry.series_len(), known.len());
        }
        let selected = registry.select(TENANT, &matchers).unwrap();
        let mut expected: Vec<&SeriesDef> =
            known.keys().map(|number| &defs[*number]).filter(|def| naive(def, &matchers)).collect();
        expected.sort_by_key(|def| (&def.prom_name, &def.prom_labels, series_hash(TENANT, def)));
        prop_assert_eq!(selected.iter().map(|series| &series.def).collect::<Vec<_>>(), expected);
        for (number, at, holds) in refs {
            // The last look marks the series as used: nothing is evicted after this.
            let found = registry.view().slots(TENANT, &[at]);
            prop_assert_eq!(found.is_ok(), holds, "series {}", number);
        }
    }

    #[test]
    fn a_registry_that_lost_all_series_holds_nothing(numbers in prop::collection::vec(0_usize..18, 0..40)) {
        let (defs, registry) = (kinds(), Registry::new(100, u64::MAX));
        registry.tick(Timestamp::from_s(3_600));
        for number in numbers {
            registry.resolve(TENANT, &defs[number], |_| None).unwrap();
        }
        registry.tick(Timestamp::from_s(4 * 3_600));
        let slots = registry.evict(u32::MAX);
        registry.reuse(slots);
        let known = registry.read();
        prop_assert_eq!(known.len(), 0);
        prop_assert!(known.symbols.is_empty(), "every text was let go");
        prop_assert!(known.index(TENANT).is_none_or(posting::Index::is_empty));
    }
}
