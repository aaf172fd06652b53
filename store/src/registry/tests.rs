//! Tests of interning and selection.

use model::matcher::MatchOp;
use model::metric::{Labels, MetricKind, Temporality};

use super::*;

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
            let id = registry.resolve(TenantId(0), &def(metric, &[("host", host)])).unwrap();
            registry.by_id(id.id).unwrap().seen(1);
        }
    }
    registry.resolve(TenantId(0), &def("load", &[("host", "unseen")])).unwrap();
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
    registry.restore(id, TenantId(0), first);
    let moved = registry.resolve(TenantId(0), &second).unwrap();
    assert_eq!(moved.id.0, id.0.wrapping_add(1));
    assert_eq!(registry.resolve(TenantId(0), &second).unwrap(), moved);
    assert_ne!(registry.resolve(TenantId(1), &second).unwrap(), moved);
}

#[test]
fn the_limit_refuses_new_series_only() {
    let registry = Registry::new(1, u64::MAX);
    let id = registry.resolve(TenantId(0), &def("one", &[])).unwrap();
    assert!(matches!(registry.resolve(TenantId(0), &def("two", &[])), Err(Error::Full { .. })));
    assert_eq!(registry.resolve(TenantId(0), &def("one", &[])).unwrap(), id);
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
