//! Each action of relabelling, and what is refused.

use super::*;

fn rules(yaml: &str) -> Vec<Rule> {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"))
}

/// Applies `yaml` to `labels`, as `a=1,b=2`; `None` when dropped.
fn check(yaml: &str, labels: &str, expected: Option<&str>) {
    let mut set: LabelSet = labels
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let rules = rules(yaml);
    rules.iter().for_each(|rule| rule.check().unwrap_or_else(|reason| panic!("{yaml}: {reason}")));
    let kept = apply(&rules, &mut set);
    let text =
        set.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
    assert_eq!(kept.then_some(text.as_str()), expected, "{yaml}");
}

#[test]
fn replace_joins_matches_and_may_delete() {
    check(
        "- {source_labels: [a], target_label: d, regex: f(.*), replacement: 'ch${1}-ch${1}'}",
        "a=foo",
        Some("a=foo,d=choo-choo"),
    );
    check("- {source_labels: [a, b], target_label: c}", "a=1,b=2", Some("a=1,b=2,c=1;2"));
    check(
        "- {source_labels: [a], target_label: a, regex: .*, replacement: ''}",
        "a=1,b=2",
        Some("b=2"),
    );
    check("- {source_labels: [a], target_label: c, regex: x(.*)}", "a=1", Some("a=1"));
    // Anchored at both ends, and the target may name a group.
    check("- {source_labels: [a], target_label: c, regex: o}", "a=foo", Some("a=foo"));
    check(
        "- {source_labels: [a], regex: '(\\w+)-(\\w+)', target_label: '${1}', replacement: '${2}'}",
        "a=x-y",
        Some("a=x-y,x=y"),
    );
    // Classes are ASCII, and what Prometheus takes for a reference is one.
    check(
        "- {source_labels: [a], regex: '(?P<n>\\d+)\\s.*', target_label: b, replacement: '$n${n}$01'}",
        "a=12 x",
        Some("a=12 x,b=1212"),
    );
    check("- {source_labels: [a], regex: '\\d+', action: keep}", "a=٤٢", None);
    check("- {target_label: env, replacement: prod}", "a=1", Some("a=1,env=prod"));
    check("- {source_labels: [a], target_label: t, replacement: $1x}", "a=1", Some("a=1"));
}

#[test]
fn keep_and_drop_decide() {
    check("- {source_labels: [a], regex: f.*, action: keep}", "a=foo", Some("a=foo"));
    check("- {source_labels: [a], regex: f.*, action: keep}", "a=bar", None);
    check("- {source_labels: [a], regex: f.*, action: drop}", "a=foo", None);
    check("- {source_labels: [a], action: drop}", "b=1", None);
    check("- {source_labels: [a], target_label: b, action: keepequal}", "a=1,b=1", Some("a=1,b=1"));
    check("- {source_labels: [a], target_label: b, action: keepequal}", "a=1,b=2", None);
    check("- {source_labels: [a], target_label: b, action: dropequal}", "a=1,b=1", None);
    check("- {source_labels: [a], target_label: b, action: DropEqual}", "a=1,b=2", Some("a=1,b=2"));
}

#[test]
fn labels_are_mapped_dropped_kept_and_hashed() {
    check(
        "- {regex: __meta_(.+), action: labelmap}",
        "__meta_pod=p,a=1",
        Some("__meta_pod=p,a=1,pod=p"),
    );
    check(
        "- {regex: (b.*), replacement: 'bar_${1}', action: labelmap}",
        "a=1,b1=2",
        Some("a=1,b1=2,bar_b1=2"),
    );
    check("- {regex: (b.*), action: labeldrop}", "a=1,b1=2,b2=3", Some("a=1"));
    check("- {regex: (b.*), action: labelkeep}", "a=1,b1=2,b2=3", Some("b1=2,b2=3"));
    check(
        "- {source_labels: [a], target_label: b, action: uppercase}",
        "a=bar",
        Some("a=bar,b=BAR"),
    );
    check(
        "- {source_labels: [a], target_label: b, action: lowercase}",
        "a=BaR",
        Some("a=BaR,b=bar"),
    );
    // The last 8 bytes of the digest, big endian: as any other implementation computes them.
    check(
        "- {source_labels: [a, b, c], target_label: h, modulus: 1000, action: hashmod}",
        "a=foo,b=bar,c=baz",
        Some("a=foo,b=bar,c=baz,h=719"),
    );
    check(
        "- {source_labels: [a], target_label: h, modulus: 4, action: hashmod}",
        "a=localhost:9090",
        Some("a=localhost:9090,h=2"),
    );
}

#[test]
fn rules_that_cannot_work_are_refused() {
    for (yaml, words) in [
        ("- {source_labels: [a]}", "requires 'target_label'"),
        ("- {source_labels: [a], target_label: b, action: hashmod}", "non-zero modulus"),
        ("- {regex: a, target_label: b, action: labeldrop}", "requires only 'regex'"),
        (
            "- {source_labels: [a], target_label: b, regex: x, action: keepequal}",
            "requires only 'source_labels'",
        ),
        (
            "- {source_labels: [a], target_label: b, replacement: x, action: lowercase}",
            "'replacement' can not be set",
        ),
    ] {
        let error = rules(yaml)[0].check().unwrap_err();
        assert!(error.contains(words), "{yaml}: {error}");
    }
    let bad = serde_saphyr::from_str::<Vec<Rule>>("- {action: explode}").unwrap_err().to_string();
    assert!(bad.contains("unknown relabel action"), "{bad}");
    let bad = serde_saphyr::from_str::<Vec<Rule>>("- {regex: 'a('}").unwrap_err().to_string();
    assert!(bad.contains("missing closing ): `^(?s:a()$`"), "{bad}");
}
