//! Upstream's sentences, with line and column.

use super::super::parse;

fn check(text: &str, wanted: &str) {
    match parse(text) {
        Ok(expr) => panic!("{text:?} gave {expr}, not {wanted:?}"),
        Err(error) => assert_eq!(error.to_string(), wanted, "{text:?}"),
    }
}

#[test]
fn syntax_errors_read_as_upstreams() {
    for (text, wanted) in [
        ("", "1:1: parse error: no expression found in input"),
        ("# only a comment\n", "2:1: parse error: no expression found in input"),
        ("1+", "1:3: parse error: unexpected end of input"),
        (".", "1:1: parse error: unexpected character: '.'"),
        ("2.5.", "1:1: parse error: bad number or duration syntax: \"2.5.\""),
        ("*1", "1:1: parse error: unexpected <op:*>"),
        ("(1))", "1:4: parse error: unexpected right parenthesis ')'"),
        ("((1)", "1:5: parse error: unclosed left parenthesis"),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("foo\n  bar", "2:3: parse error: unexpected identifier \"bar\""),
        ("foo{", "1:5: parse error: unexpected end of input inside braces"),
        ("}", "1:1: parse error: unexpected character: '}'"),
        (
            "foo{a}",
            "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator",
        ),
        (
            "foo{a=b}",
            "1:7: parse error: unexpected identifier \"b\" in label matching, expected string",
        ),
        (
            "foo{=\"b\"}",
            "1:5: parse error: unexpected \"=\" in label matching, expected identifier or \"}\"",
        ),
        ("foo{1}", "1:5: parse error: unexpected character inside braces: '1'"),
        ("\"abc", "1:1: parse error: unterminated quoted string"),
        ("`abc", "1:1: parse error: unterminated raw string"),
        ("'\\.'", "1:1: parse error: unknown escape sequence U+002E '.'"),
        ("foo[5mm]", "1:5: parse error: bad number or duration syntax: \"5mm\""),
        ("foo[\"5m\"]", "1:5: parse error: unexpected character in duration expression: '\"'"),
        (
            "foo[]",
            "1:5: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("foo[-1]", "1:5: parse error: duration must be greater than 0"),
        ("foo[5m/0]", "1:8: parse error: division by zero"),
        (
            "foo[5m] offset",
            "1:15: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        ("foo @", "1:6: parse error: unexpected end of input in @, expected timestamp"),
        ("a - on(b) ignoring(c) d", "1:11: parse error: unexpected <ignoring>"),
        (
            "sum without(==)(foo)",
            "1:13: parse error: unexpected <op:==> in grouping opts, expected label",
        ),
        (
            "sum(foo) by test",
            "1:13: parse error: unexpected identifier \"test\" in grouping opts, expected \"(\"",
        ),
        ("sum(foo) by (a) by (b)", "1:17: parse error: unexpected <by>"),
        ("rate(foo[5m],)", "1:13: parse error: trailing commas not allowed in function call args"),
        ("nope()", "1:1: parse error: unknown function with name \"nope\""),
        ("a ! b", "1:3: parse error: unexpected character after '!': ' '"),
    ] {
        check(text, wanted);
    }
}

#[test]
fn modifiers_out_of_place_are_refused() {
    for (text, wanted) in [
        (
            "1 offset 1d",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("foo offset 1s offset 2s", "1:1: parse error: offset may not be set multiple times"),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("foo offset 1m[5m]", "1:14: parse error: no offset modifiers allowed before range"),
        ("foo @ 1[5m]", "1:8: parse error: no @ modifiers allowed before range"),
        ("(a + b)[5m]", "1:8: parse error: ranges only allowed for vector selectors"),
        (
            "foo[5m] anchored smoothed",
            "1:1: parse error: anchored and smoothed modifiers cannot be used together",
        ),
        (
            "foo[5m:1m] anchored",
            "1:1: parse error: anchored modifier is not supported for subqueries",
        ),
        (
            "foo{__name__=\"bar\"}",
            "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\"",
        ),
    ] {
        check(text, wanted);
    }
}

#[test]
fn what_does_not_type_check_is_refused() {
    for (text, wanted) in [
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        (
            "a + \"b\"",
            "1:5: parse error: binary expression must contain only scalar and instant vector types",
        ),
        ("a + on(b) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        (
            "a + fill(1) 1",
            "1:1: parse error: filling in missing series only allowed between instant vectors",
        ),
        (
            "1 and 1",
            "1:1: parse error: set operator \"and\" not allowed in binary scalar expression",
        ),
        ("a and on(x) group_left b", "1:1: parse error: no grouping allowed for \"and\" operation"),
        (
            "a + on(x) group_left(x) b",
            "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once",
        ),
        ("abs()", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 0"),
        (
            "round(a, 1, 2)",
            "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3",
        ),
        (
            "label_join(a)",
            "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1",
        ),
        (
            "rate(a)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        (
            "topk(a)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        (
            "topk(a, b)",
            "1:6: parse error: expected type scalar in aggregation parameter, got instant vector",
        ),
        (
            "-\"s\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "1[5m:]",
            "1:1: parse error: subquery is only allowed on instant vector, got scalar instead",
        ),
        (
            "{a=~\".*\"}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        (
            "info(a, b)",
            "1:9: parse error: expected label selectors only, got vector selector instead",
        ),
    ] {
        check(text, wanted);
    }
}

#[test]
fn errors_know_their_bytes() {
    let error = parse("sum(foo) + \nbar{x=~\"(\"}").expect_err("the regex is open");
    assert_eq!((error.place.start, error.place.end), (16, 22));
    assert_eq!((error.line, error.column), (2, 5));
}
