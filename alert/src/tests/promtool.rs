//! Rule tests in promtool's format: those of `tests/cases/rules` hold, and what does not hold is told so that it can be
//! mended.

use std::path::Path;

use expect_test::{Expect, expect};

use crate::unit_test::{Report, Settings, Why, run};

const RULES: &str = r#"
groups:
  - name: a
    rules:
      - record: twice
        expr: v * 2
      - alert: High
        expr: twice > 4
        annotations: {summary: "{{ $value }} at {{ $labels.i }}"}
"#;

/// What came of a test file beside [`RULES`].
fn report(test: &str, settings: &Settings<'_>) -> Report {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("r.yml"), RULES).expect("a file");
    let path = home.path().join("t.yml");
    std::fs::write(&path, test).expect("a file");
    run(&path, settings)
}

/// Everything wrong, one thing a line.
fn told(report: &Report) -> String {
    let mut out = String::new();
    for problem in &report.problems {
        let (at, text, remedy) = (problem.position, &problem.text, &problem.remedy);
        out.push_str(&format!("{}:{}: {text} | {remedy}\n", at.line, at.column));
    }
    for test in &report.tests {
        for failure in &test.failures {
            let at = failure.position;
            let why = match &failure.why {
                Why::Error(error) => format!("{error}\n"),
                Why::Mismatch(mismatch) => mismatch.diff().join("\n") + "\n",
            };
            out.push_str(&format!(
                "{}:{}: {}, {}\n{why}",
                at.line, at.column, test.name, failure.what
            ));
        }
    }
    out
}

#[expect(clippy::needless_pass_by_value, reason = "`expect![…]` reads best as the last argument")]
fn check(test: &str, expected: Expect) {
    expected.assert_eq(&told(&report(test, &Settings::default())));
}

#[test]
fn every_rule_test_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/rules");
    let files = crate::rule::glob(&folder.join("*.test.yaml"));
    assert!(files.len() > 1, "{files:?}");
    for file in files {
        let report = run(&file, &Settings::default());
        assert!(report.is_success(), "{}:\n{}", file.display(), told(&report));
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        assert!(!report.tests.is_empty());
    }
}

#[test]
fn what_differs_is_shown_beside_what_was_expected() {
    check(
        r#"
rule_files: [r.yml]
tests:
  - name: differs
    input_series: [{series: 'v{i="1"}', values: '1 2 3 4'}]
    alert_rule_test:
      - {eval_time: 1m, alertname: High, exp_alerts: [{exp_labels: {i: 1}}]}
      - eval_time: 2m
        alertname: High
        exp_alerts: [{exp_labels: {i: 1}, exp_annotations: {summary: 5 at 1}}]
      - {eval_time: 3m, alertname: High}
      - {eval_time: 3m, alertname: Nobody}
    promql_expr_test:
      - {expr: twice, eval_time: 3m, exp_samples: [{labels: 'twice{i="1"}', value: 7}, {labels: x, value: 1}]}
      - {expr: 'twice +', eval_time: 3m}
      - {expr: '"a"', eval_time: 3m}
      - {expr: 'v[5m]', eval_time: 3m}
"#,
        expect![[r#"
            7:9: differs, alertname: High, time: 1m
            - labels: {alertname="High", i="1"}
            -   annotations: {}
            8:9: differs, alertname: High, time: 2m
              labels: {alertname="High", i="1"}
            -   annotations: {summary="5 at 1"}
            +   annotations: {summary="6 at 1"}
            11:9: differs, alertname: High, time: 3m
            + labels: {alertname="High", i="1"}
            +   annotations: {summary="8 at 1"}
            14:9: differs, expr: "twice", time: 3m
            - {__name__="twice", i="1"} 7
            - {__name__="x"} 1
            + {__name__="twice", i="1"} 8
            15:9: differs, expr: "twice +", time: 3m
            1:8: parse error: unexpected end of input
            16:9: differs, expr: "\"a\"", time: 3m
            result is not a vector or scalar
            17:9: differs, expr: "v[5m]", time: 3m
            result is not a vector or scalar
        "#]],
    );
}

#[test]
fn a_rule_that_fails_ends_its_test_and_the_others_run() {
    check(
        r#"
rule_files: [r.yml]
tests:
  - name: fails
    input_series:
      - {series: 'v{i="1", alertname="x"}', values: '1 3'}
      - {series: 'v{i="1", alertname="y"}', values: '_ 3'}
    promql_expr_test: [{expr: v, eval_time: 1m}]
  - name: holds
    promql_expr_test: [{expr: v, eval_time: 1m}]
  - promql_expr_test: [{expr: '1', eval_time: 1m}]
"#,
        expect![[r#"
            4:5: fails, rule: High, time: 1m
            vector contains metrics with the same labelset after applying alert labels
            11:24: unnamed#2, expr: "1", time: 1m
            + {} 1
        "#]],
    );
}

#[test]
fn mistakes_in_the_file_are_told_with_place_and_remedy() {
    check(
        r#"
rule_files: [r.yml]
evaluation_interval: 1 minute
group_eval_order: [a, a]
fuzzy: true
tests:
  - nam: x
    input_series: [{series: v, vals: '1 2'}]
    alert_rule_test: [{eval_time: 1m, alertname: High, exp_alerts: [{exp_lables: {a: b}}]}]
    promql_expr_test: [{expr: v, exp_samples: [{label: '{}'}]}]
"#,
        expect![[r#"
            5:1: field fuzzy not found in type test file | a test file has the fields rule_files, evaluation_interval, group_eval_order, fuzzy_compare, tests
            3:22: not a valid duration string: "1 minute" | write it like 30s, 5m or 1h30m
            4:23: group name repeated in evaluation order: a | name it once
            7:5: field nam not found in type test | did you mean "name"?
            8:32: field vals not found in type series | did you mean "values"?
            9:70: field exp_lables not found in type expected alert | did you mean "exp_labels"?
            10:49: field label not found in type expected sample | did you mean "labels"?
        "#]],
    );
}

#[test]
fn mistakes_of_one_test_are_its_own() {
    check(
        r#"
rule_files: [r.yml]
tests:
  - interval: 5x
    start_timestamp: yesterday
    input_series: [{series: 'v{', values: '1'}, {series: v, values: '1 2+x'}]
    alert_rule_test: [{eval_time: 90s}]
    promql_expr_test:
      - {expr: v, eval_time: 1m, exp_samples: [{labels: '{} x', value: 1}, {labels: '{}', histogram: '1'}]}
      - {expr: v, eval_time: 1m, exp_samples: [{labels: v, value: one}]}
"#,
        expect![[r#"
            4:15: unnamed#0, not a valid duration string: "5x"
            write it like 30s, 5m or 1h30m
            5:22: unnamed#0, start_timestamp "yesterday" is no time
            write seconds since the epoch, or RFC 3339 as 2026-01-02T03:04:05Z
            6:20: unnamed#0, series "v{" with values "1": label 1 has no value

            6:49: unnamed#0, series "v" with values "1 2+x": invalid repetition in series values: ""

            7:23: unnamed#0, an item under alert_rule_test misses required attribute alertname at eval_time 1m30s
            name the alert that is checked
            9:48: unnamed#0, labels "{} x": unexpected "x"
            labels are written as in PromQL: '{}' or 'up{job="a"}'
            10:48: unnamed#0, value "one" is not a number
            labels are written as in PromQL: '{}' or 'up{job="a"}'
        "#]],
    );
}

#[test]
fn a_file_that_is_no_yaml_is_told() {
    check(
        "tests: [1",
        expect![[r#"
        1:8: unclosed bracket '[' | see docs/guide/rules.md for the format
    "#]],
    );
}

#[test]
fn unknown_fields_are_passed_over_when_asked() {
    let test = r#"
rule_files: [r.yml]
owner: me
tests:
  - name: x
    owner: me
    input_series: [{series: 'v{i="1"}', values: '3 3', owner: me}]
    alert_rule_test:
      - {eval_time: 1m, alertname: High, exp_alerts: [{exp_labels: {i: 1}, exp_annotations: {summary: 6 at 1}}]}
"#;
    let rules = crate::rule::Options { ignore_unknown_fields: true, ..Default::default() };
    let settings = Settings { rules, ..Settings::default() };
    assert_eq!(told(&report(test, &settings)), "");
    assert_eq!(report(test, &Settings::default()).problems.len(), 3);
}

#[test]
fn tests_are_chosen_by_name_and_evaluations_are_told() {
    let test = r#"
rule_files: [r.yml, none*.yml]
tests:
  - {name: one, promql_expr_test: [{expr: '1', eval_time: 0}]}
  - {name: two, promql_expr_test: [{expr: '2', eval_time: 1m, exp_samples: [{labels: '{}', value: 2}]}]}
"#;
    let is_wanted = |name: &str| name == "two";
    let settings = Settings { is_wanted: Some(&is_wanted), debug: true, ..Settings::default() };
    let report = report(test, &settings);
    assert!(report.is_success(), "{}", told(&report));
    assert_eq!(report.warnings, ["no file matches pattern none*.yml"]);
    assert_eq!(
        report.tests[0].debug,
        [
            "0s: group \"a\", rule \"twice\": 0 results, 0 alerts",
            "0s: group \"a\", rule \"High\": 0 results, 0 alerts",
            "1m: group \"a\", rule \"twice\": 0 results, 0 alerts",
            "1m: group \"a\", rule \"High\": 0 results, 0 alerts",
        ]
    );
    assert_eq!(report.tests.len(), 1);
}
