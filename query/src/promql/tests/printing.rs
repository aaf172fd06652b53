//! Printing: canonical forms, fixpoints, the split form, JSON.

use proptest::prelude::*;

use super::super::ast::Expr;
use super::super::print::{pretty, tree_json};
use super::super::{parse, parse_syntax};

fn check(text: &str, wanted: &str) {
    let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(expr.to_string(), wanted);
    assert_eq!(parse(wanted).map(|again| again.to_string()).as_deref(), Ok(wanted));
}

#[test]
fn expressions_print_in_canonical_form() {
    for (text, wanted) in [
        ("sum(x)by(b,a)", "sum by (b, a) (x)"),
        ("SUM by()(x)", "sum(x)"),
        ("sum without()(x)", "sum without () (x)"),
        ("topk(2,x)", "topk(2, x)"),
        ("foo{b='2',a=\"1\",}", "foo{a=\"1\",b=\"2\"}"),
        ("{\"a.b\"}", "{__name__=\"a.b\"}"),
        ("{__name__='x'}", "{__name__=\"x\"}"),
        ("{\"x y\"=\"1\",foo=''}", "{\"x y\"=\"1\",foo=\"\"}"),
        ("x offset 5m @ 1603774568", "x @ 1603774568.000 offset 5m"),
        ("x[300] offset -300 @ start()", "x[5m] @ start() offset -5m"),
        ("rate(x[5m] offset 1m anchored @ 1)", "rate(x[5m] anchored @ 1.000 offset 1m)"),
        ("x smoothed offset 1m", "x smoothed offset 1m"),
        ("x[5m:] offset 5m @ end()", "x[5m:] @ end() offset 5m"),
        ("a==bool on()b", "a == bool on () b"),
        ("a/on(x)group_left()b", "a / on (x) group_left () b"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("a + fill_right(1) fill_left(2) b", "a + fill_left (2) fill_right (1) b"),
        ("1h30m + 90", "1h30m + 90"),
        ("1e3 + .5 + 0x1F + Inf - NaN", "1000 + 0.5 + 31 + +Inf - NaN"),
        ("-1^2", "-1 ^ 2"),
        ("2^3^2", "2 ^ 3 ^ 2"),
        ("x[2m*(10+step())]", "x[2m * (10 + step())]"),
        ("x offset -(range()/2)", "x offset -(range() / 2)"),
        ("x[min_of(1m,step())]", "x[min_of(1m, step())]"),
        ("1_000", "1000"),
        ("010", "8"),
        ("'\\x41\\u00e4\\'\"'", "\"Aä'\\\"\""),
    ] {
        check(text, wanted);
    }
}

#[test]
fn long_expressions_are_split() {
    let long = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let expr = parse(&format!("sum by (x) (rate({long}[5m])) / on(x) ({long})")).expect("parses");
    let wanted = format!("  sum by (x) (rate({long}[5m]))\n/ on (x)\n  ({long})");
    assert_eq!(pretty(&expr), wanted);
    let call = parse(&format!("clamp({long}, 1, {})", "1".repeat(40) + "+" + &"2".repeat(40)));
    assert!(pretty(&call.expect("parses")).starts_with("clamp(\n  aaaa"));
}

#[test]
fn trees_become_json() {
    let json = |text: &str| tree_json(&parse(text).expect("parses"));
    assert_eq!(
        json("rate(x{a!=\"b\"}[5m] offset 1m)"),
        concat!(
            r#"{"type":"call","func":{"name":"rate","argTypes":["matrix"],"variadic":0,"returnType":"vector"},"args":["#,
            r#"{"type":"matrixSelector","name":"x","matchers":[{"name":"a","value":"b","type":"!="},{"name":"__name__","value":"x","type":"="}],"#,
            r#""offset":60000,"offsetExpr":null,"timestamp":null,"startOrEnd":null,"anchored":false,"smoothed":false,"range":300000,"rangeExpr":null}]}"#
        )
    );
    assert_eq!(
        json("a and b"),
        json("a and b").replace("one-to-one", "many-to-many"),
        "set operators match many to many"
    );
    assert!(json("a[step()*2:]").contains(
        r#""rangeExpr":{"type":"durationExpr","op":"*","lhs":{"type":"durationExpr","op":"step","lhs":null,"rhs":null,"wrapped":false}"#
    ));
}

fn selector() -> impl Strategy<Value = String> {
    let name =
        prop::sample::select(vec!["up", "http:rate", "sum", "by", "start", "nan_x", "offset"]);
    let matcher = prop::sample::select(vec![
        "",
        "{}",
        "{a=\"b\"}",
        "{a!=\"\\n\",\"x y\"=~\"a|b\"}",
        "{b!~`c.*`,}",
    ]);
    let tail = prop::sample::select(vec![
        "",
        " offset 5m",
        " @ 1.5",
        " @ end() offset -1h30m",
        " smoothed",
        " offset step()",
    ]);
    (name, matcher, tail).prop_map(|(name, matcher, tail)| format!("{name}{matcher}{tail}"))
}

/// Random expressions that parse.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        selector(),
        selector().prop_map(|s| format!("vector(1.5e3) or ({s})")),
        selector().prop_map(|s| format!("(({s}))[5m+1m:])").replace("[5m+1m:])", "")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "==",
            "!= bool",
            "and",
            "or on(a)",
            "unless ignoring(b)",
            "* on(a) group_left(c)",
            "+ fill(-1)",
            "</",
            "atan2",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            inner.clone().prop_map(|e| format!("sum by (a, job) ({e})")),
            inner
                .clone()
                .prop_map(|e| format!("topk(3, {e}) without (x)").replace(") without (x)", ")")),
            inner.clone().prop_map(|e| format!("-({e})")),
            inner.clone().prop_map(|e| format!("max_over_time(({e})[1h:5m] @ 7 offset 1m)")),
            inner.prop_map(|e| format!("label_replace({e}, \"a\", \"$1\", \"b\", \"(.*)\")")),
        ]
    })
}

/// Matchers in the order in which they are printed.
fn sort_matchers(expr: &mut Expr) {
    let matchers = match expr {
        Expr::Vector(selector) => &mut selector.matchers,
        Expr::Matrix(matrix) => &mut matrix.selector.matchers,
        _ => &mut Vec::new(),
    };
    matchers.sort_by_key(ToString::to_string);
    expr.children_mut().into_iter().for_each(sort_matchers);
}

/// The same tree, places and the order of matchers apart: by its JSON.
fn same(a: &Expr, b: &Expr) -> bool {
    let sorted = |expr: &Expr| {
        let mut expr = expr.clone();
        sort_matchers(&mut expr);
        tree_json(&expr)
    };
    sorted(a) == sorted(b)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_parses_to_the_same_tree(text in expression()) {
        let expr = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let printed = expr.to_string();
        let again = parse(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert!(same(&expr, &again), "{text} became {printed}");
        prop_assert_eq!(&printed, &again.to_string());
        let split = parse(&pretty(&expr)).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(printed, split.to_string());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z0-9(){}\\[\\]\"'`=~!<>/+*%^@:,. #\n\\\\ä-]{0,60}") {
        if let Err(error) = parse_syntax(&text) {
            prop_assert!(error.place.start <= error.place.end && error.place.end <= text.len());
            prop_assert!(text.is_char_boundary(error.place.start) && text.is_char_boundary(error.place.end));
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(text in ".{0,200}") {
        let _ignored = parse(&text);
    }
}
