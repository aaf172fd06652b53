//! Documents: what is read, and what is told of a wrong one.

use super::{Slo, groups, parse, tiers};
use crate::rule::Options;

const GOOD: &str = "# ours
apiVersion: headrope/v1
kind: SLO
metadata: {name: shop, labels: {team: a}}
spec:
  objective: 99.9
  indicator:
    ratio:
      good: sum(increase(ok_total[$window]))
      total: sum(increase(all_total[$window]))
";

fn slo(text: &str) -> Slo {
    parse(text, "s.yaml").expect("it is sound").remove(0)
}

fn wrong(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    parse(&GOOD.replacen(from, to, 1), "s.yaml").expect_err("it is wrong").to_string()
}

#[test]
fn a_budget_is_what_people_write() {
    assert_eq!(slo(GOOD).budget(), 0.001);
    assert_eq!(slo(&GOOD.replace("99.9", "99.99 %")).budget(), 0.0001);
    assert_eq!(slo(&GOOD.replace("99.9", "95%")).budget(), 0.05);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let check = |(from, to): (&str, &str), expected: &str| {
        let told = wrong(from, to);
        assert!(told.starts_with(expected), "{told}");
    };
    check(
        ("objective:", "objektive:"),
        "s.yaml:6:3: field objektive not found in type spec; did you mean",
    );
    check(
        ("objective: 99.9", "objective: 100%"),
        "s.yaml:6:14: objective \"100%\" is no percentage",
    );
    check(("kind: SLO", "kind: Slo"), "s.yaml:3:7: kind is \"Slo\"; write kind: SLO");
    check(("[$window]", "[5m]"), "s.yaml:9:13: the range of the window is missing");
    check(("all_total[$window]))", "all_total[$window])"), "s.yaml:10:");
    check(("increase(ok", "rate(ok"), "s.yaml:9:31: rate tells how quick");
    check(
        ("      good: sum(increase(ok_total[$window]))\n", ""),
        "s.yaml:9:7: a ratio has the field",
    );
    check(
        ("  objective: 99.9\n", "  objective: 99.9\n  period: 1h\n"),
        "s.yaml:7:11: period 1h is not from 1d",
    );
    check(("name: shop, ", ""), "s.yaml:4:11: an SLO must have a name");
    check(("team: a", "slo: a"), "s.yaml:4:33: invalid label name");
    let twice = format!("{GOOD}---\n{}", GOOD.replace("kind: SLO", "kind: x"));
    let told = parse(&twice, "s.yaml").expect_err("it is wrong").to_string();
    assert!(told.starts_with("s.yaml:14:7: kind is \"x\""), "{told}");
}

#[test]
fn alerts_that_could_never_fire_are_left_out() {
    let names = |text: &str| -> Vec<&str> {
        tiers(&slo(text)).into_iter().map(|tier| tier.alert).collect()
    };
    assert_eq!(names(GOOD).len(), 6);
    assert_eq!(
        names(&GOOD.replace("99.9", "90")),
        ["SloPageSlow", "SloTicketFast", "SloTicketSlow"]
    );
    let slow = GOOD.replace("  indicator", "  interval: 1m\n  indicator");
    assert!(!names(&slow).contains(&"SloActionFast"));
}

#[test]
fn every_expression_is_promql_and_none_scans_raw_data_for_long() {
    let groups = groups(GOOD, "s.yaml", &Options::default()).expect("it is sound");
    assert_eq!(groups.len(), 2);
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let parsed = query::promql::parse(&rule.expr);
        assert!(parsed.is_ok(), "{}: {parsed:?}", rule.expr);
        assert!(!rule.expr.contains("_total") || rule.expr.contains("[10s] anchored"));
    }
}
