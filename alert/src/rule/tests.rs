//! Rule files as text: what loads, and what is said about what does not.

use std::path::Path;

use expect_test::{Expect, expect};

use super::{Kind, Naming, Options, Problems, load_all, parse, parse_with};

#[expect(clippy::needless_pass_by_value, reason = "`expect![…]` reads best as the last argument")]
fn check(text: &str, expected: Expect) {
    let got = match parse(text, "r.yml") {
        Ok(groups) => {
            groups.iter().flat_map(|g| &g.rules).map(|r| format!("{}\n", r.name)).collect()
        }
        Err(problems) => format!("{problems}\n"),
    };
    expected.assert_eq(&got);
}

/// Files handed out with the design; absent outside of its own tree.
fn shared(folder: &str) -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/prometheus").join(folder);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: {} is not there", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

#[test]
fn files_load_or_are_refused_as_their_names_say() {
    for path in shared("rulefmt") {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let naming = if name.starts_with("legacy") { Naming::Legacy } else { Naming::Utf8 };
        let loaded =
            load_all(std::slice::from_ref(&path), &Options { naming, ..Options::default() });
        assert_eq!(loaded.is_ok(), !name.ends_with(".bad.yaml"), "{name}: {loaded:?}");
    }
    for path in shared("rules") {
        let bad = path.ends_with("invalid_rules.yaml");
        let loaded = load_all(std::slice::from_ref(&path), &Options::default());
        assert_eq!(loaded.is_ok(), !bad, "{}: {loaded:?}", path.display());
    }
}

#[test]
fn everything_wrong_is_told_at_once_with_place_and_remedy() {
    check(
        r#"groups:
  - name: ""
  - name: web
    interval: 5x
    limit: many
    rules:
      - expr: up
      - record: a
        alert: b
        expr: up
      - alert: NoExpr
      - record: "x{y=\"z\"}"
        expr: up
        for: 5m
        keep_firing_for: 0s
        annotations: {a: b}
      - alert: Labels
        expr: up
        for: 1h30
        labels: {__name__: x, "": y, ok: "{{ .Labels.x"}
        annotations:
          summary: |
            first line
            {{ nosuch 1 }}
  - name: web
    interval: 500ms
"#,
        expect![[r#"
            r.yml:2:5: group "": Groupname must not be empty; give the group a name
            r.yml:4:15: group "web": not a valid duration string: "5x"; write it like 30s, 5m or 1h30m
            r.yml:5:12: group "web": limit "many" is not a whole number; write how many, or 0 for no limit
            r.yml:7:9: group "web", rule 1, "": one of 'record' or 'alert' must be set; name the rule
            r.yml:8:9: group "web", rule 2, "b": only one of 'record' and 'alert' must be set; make two rules of it
            r.yml:11:9: group "web", rule 3, "NoExpr": field 'expr' must be set in rule; write what to evaluate
            r.yml:16:23: group "web", rule 4, "x{y=\"z\"}": invalid field 'annotations' in recording rule; remove it or make the rule an alert
            r.yml:14:14: group "web", rule 4, "x{y=\"z\"}": invalid field 'for' in recording rule; remove it or make the rule an alert
            r.yml:12:17: group "web", rule 4, "x{y=\"z\"}": braces present in the recording rule name; should it be in expr?: x{y="z"}; name only the new series here
            r.yml:20:18: group "web", rule 5, "Labels": invalid label name: __name__; the name of the series is the value of 'record'
            r.yml:20:31: group "web", rule 5, "Labels": invalid label name: ; use letters, digits and underscores
            r.yml:20:43: group "web", rule 5, "Labels": label "ok": template: ok:1:1: unclosed action
            r.yml:19:14: group "web", rule 5, "Labels": not a valid duration string: "1h30"; write it like 30s, 5m or 1h30m
            r.yml:24:16: group "web", rule 5, "Labels": annotation "summary": template: summary:2:4: function "nosuch" not defined
            r.yml:25:11: group "web": groupname: "web" is repeated in the same file; rename one of them or merge their rules
            r.yml:26:15: group "web": interval 500ms is below 1s; write 1s or more
        "#]],
    );
}

#[test]
fn unknown_fields_name_what_was_probably_meant() {
    let texts = [
        "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up\n    annotation: {}\n",
        "groups:\n- name: a\n  intervall: 5s\n",
        "group:\n- name: a\n",
        "groups:\n- name: a\n  headrope: {}\n",
        "groups:\n- name: a\n  source_tenants: [x]\n",
        "groups:\n- name: a\n  name: b\n",
        "groups: 5\n",
        "groups: [\n",
        "groups:\n- name: a\n  labels: [x]\n",
        "groups:\n- name: {a: b}\n",
    ];
    let told = texts.map(|text| parse(text, "r.yml").expect_err("it is wrong").to_string());
    expect![[r#"
        r.yml:6:5: field annotation not found in type rule; did you mean "annotations"?
        r.yml:3:3: field intervall not found in type group; did you mean "interval"?
        r.yml:1:1: field group not found in type rule file; did you mean "groups"?
        r.yml:3:3: field headrope not found in type group; a group has the fields name, interval, query_offset, limit, labels, rules
        r.yml:3:3: field source_tenants not found in type group; a group has the fields name, interval, query_offset, limit, labels, rules
        r.yml:3:3: mapping key "name" already defined; keep one of the two
        r.yml:1:9: expected a list; see docs/guide/rules.md for the format
        r.yml:1:9: unclosed bracket '['; see docs/guide/rules.md for the format
        r.yml:3:11: expected a map; see docs/guide/rules.md for the format
        r.yml:2:9: expected a text; see docs/guide/rules.md for the format"#]].assert_eq(&told.join("\n"));
}

#[test]
fn a_fault_in_an_expression_is_found_inside_its_scalar() {
    let place = |expr: &str| {
        let text = format!("groups:\n- name: a\n  rules:\n  - alert: A\n    expr: {expr}\n");
        let Problems(problems) = parse(&text, "r.yml").expect_err("the expression is wrong");
        format!("{}:{}", problems[0].position.line, problems[0].position.column)
    };
    assert_eq!(place("rate(hi)"), "5:16");
    assert_eq!(place("'rate(hi)'"), "5:17");
    assert_eq!(place("\"up\\n + rate(hi)\""), "5:24");
    assert_eq!(place("|\n      up\n      + rate(hi)"), "7:14");
    assert_eq!(place(">-\n      up\n\n      + rate(hi)"), "8:14");
    assert_eq!(place("up\n      + rate(hi)"), "6:14");
}

#[test]
fn all_fields_are_read() {
    let text = r#"
groups:
  - name: web
    interval: 30s
    query_offset: 1m30s
    limit: 5
    labels: {team: shop, tier: web}
    rules:
      - record: job:up:sum
        expr: sum(up)
        labels: {tier: 1, none: }
      - alert: Down
        expr: 1
        for: 10m
        keep_firing_for: 1d
        labels: {severity: page}
        annotations: {summary: "{{ $labels.job }} {{ $value }} {{ $externalLabels.x }} {{ $externalURL }}"}
---
nonsense: true
"#;
    let groups = parse(text, "r.yml").expect("a good file");
    let [group] = groups.as_slice() else { panic!("one group") };
    assert_eq!((group.interval.as_secs(), group.query_offset.as_secs(), group.limit), (30, 90, 5));
    let labels = |i: usize| -> Vec<_> {
        group.rules[i].labels.iter().map(|(k, v)| format!("{k}={}", v.source)).collect()
    };
    assert_eq!(labels(0), ["none=", "team=shop", "tier=1"]);
    assert_eq!(labels(1), ["severity=page", "team=shop", "tier=web"]);
    let Kind::Alert(alerting) = &group.rules[1].kind else { panic!("an alerting rule") };
    assert_eq!((alerting.hold.as_secs(), alerting.keep_firing.as_secs()), (600, 86_400));
    assert!(alerting.annotations[0].1.template.is_some());
    assert_eq!(&*group.rules[1].expr, "1");
    for empty in ["", "# nothing\n", "groups:\n", "groups: []\n"] {
        assert!(parse(empty, "r.yml").expect("an empty file is fine").is_empty(), "{empty:?}");
    }
}

#[test]
fn legacy_names_are_refused_only_when_asked() {
    let text = "groups:\n- name: a\n  rules:\n  - record: a.b\n    expr: 1\n    labels: {c-d: x}\n";
    assert!(parse(text, "r.yml").is_ok());
    let legacy = Options { naming: Naming::Legacy, ..Options::default() };
    let Problems(problems) = parse_with(text, "r.yml", &legacy).expect_err("two names are wrong");
    let texts: Vec<&str> = problems.iter().map(|p| p.text.as_str()).collect();
    assert_eq!(texts, ["invalid label name: c-d", "invalid recording rule name: a.b"]);
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let missing = Path::new("/nowhere/rules.yml").to_owned();
    let Problems(problems) = load_all(&[missing], &Options::default()).expect_err("no such file");
    assert!(
        problems[0].to_string().starts_with("/nowhere/rules.yml:1:1: cannot read the rule file:")
    );
}
