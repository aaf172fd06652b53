//! Regular expressions mean what they mean in Prometheus.

use model::matcher::MatchOp;
use model::regexp::Dot;
use proptest::prelude::*;
use regex::Regex;

use super::{compile, compile_as, replacing};

fn matches(pattern: &str, value: &str) -> bool {
    let found = compile(MatchOp::Regex, pattern);
    found.unwrap_or_else(|error| panic!("{pattern}: {error}")).matches(value)
}

#[test]
fn classes_are_ascii_as_in_prometheus() {
    // Each line: the pattern, what it matches, what it does not although Rust's own reading may.
    for (pattern, yes, no) in [
        (r"\d+", "42", "٤٢"),
        (r"\D", "٤", "4"),
        (r"\w+", "a_1", "é"),
        (r"\W+", "é-", "e"),
        (r"a\sb", "a\tb", "a\u{a0}b"),
        (r"a\Sb", "a\u{b}b", "a b"),
        (r"[\d.]+", "1.2", "١.2"),
        (r"[^\w]+", "é", "e"),
        (r"[\Wx]+", "éx", "y"),
        (r"[[:word:]]+", "ab_1", "é"),
        (r"[[:^digit:]]+", "é٤", "4"),
        (r"[[:space:]]", "\u{b}", "\u{a0}"),
        (r".\b-", "e-", "é-"),
        (r"é\Bé", "éé", "e"),
        (r"caf\Bé|x", "x", "café"),
        (r"caf\bé", "café", "cafe"),
        (r"(?i)\w", "\u{212a}", "é"),
        (r"(?i)[^\W]", "\u{17f}", "é"),
        (r"(?i)kelvin", "\u{212a}ELVIN", "kelvi"),
        (r"(?i)straße", "STRA\u{1e9e}E", "STRASSE"),
        (r"(?i)ÉTÉ", "été", "ete"),
        (r"(?i)\P{Lu}", "1", "a"),
        (r"(?i)[^σ]", "s", "ς"),
        (r"\pL+", "é中", "1"),
        (r"\pN", "٤", "x"),
        (r"\p{Greek}+", "αβ", "ab"),
        (r"[\p{Han}\d]+", "中1", "é"),
        (r"\p{^Han}", "a", "中"),
        (r"\P{Any}|x", "x", "y"),
        (r"[\x{D800}]|x", "x", "\u{fffd}"),
        (r"[\x{D7F0}-\x{E001}]", "\u{e000}", "a"),
    ] {
        assert!(matches(pattern, yes), "{pattern} on {yes:?}");
        assert!(!matches(pattern, no), "{pattern} on {no:?}");
    }
}

#[test]
fn constructs_that_only_one_side_knows_mean_what_prometheus_says() {
    for (pattern, yes, no) in [
        (".", "\n", "ab"),
        ("a.b", "a\nb", "ab"),
        (r"\Qa.b\E.", "a.bc", "axbc"),
        (r"\Q[", "[", "x"),
        ("[a[b]", "[", "ab"),
        ("[a[b]]", "[]", "["),
        ("[[a]+", "[[a", "]"),
        ("[a&&b]", "&", "c"),
        ("[+--]+", "+,-", "*"),
        ("[a~~]", "~", "b"),
        ("[]a]", "]", "b"),
        ("[^]a]", "b", "]"),
        ("a{,2}", "a{,2}", "aa"),
        ("a{", "a{", "a"),
        ("a}", "a}", "a"),
        ("a]", "a]", "a"),
        (r"\101\x41\x{41}\a\v", "AAA\u{7}\u{b}", "101"),
        (r"\0", "\0", "0"),
        (r"\_\-\#\ ", "_-# ", "x"),
        (r"\<a\>", "<a>", "a"),
        (r"a\b{start}|b", "b", "a"),
        (r"a\z", "a", "a\n"),
        (r"\Aa$", "a", "a\n"),
        ("(?m)a$\nb", "a\nb", "ab"),
        ("(?-s).", "a", "\n"),
        ("(?U)(a+)(a*)", "aaa", "b"),
        ("(?i:a)b", "Ab", "AB"),
        ("(?i)a|b", "B", "c"),
        ("a(?i)b|c", "C", "Ab"),
        ("a(?i)*", "aaa", "A"),
        ("(?P<n>a)(?<n>b)", "ab", "a"),
        ("#a b", "#a b", "ab"),
        ("|a", "", "b"),
        ("x{1000}", &"x".repeat(1_000), "x"),
        ("^a$|^b$", "b", "ab"),
    ] {
        assert!(matches(pattern, yes), "{pattern} on {yes:?}");
        assert!(!matches(pattern, no), "{pattern} on {no:?}");
    }
}

#[test]
fn alertmanagers_dot_is_no_newline() {
    for (pattern, value) in [("a.b", "a\nb"), (".*", "a\n"), (".+", "\n")] {
        assert!(matches(pattern, value));
        assert!(!compile_as(MatchOp::Regex, pattern, Dot::NoNewline).unwrap().matches(value));
    }
}

#[test]
fn groups_of_one_name_are_told_apart() {
    let regex = replacing("(?P<x>a)?(?P<x>b)?").unwrap();
    assert_eq!(regex.expand("b", "$x-$2-$1").as_deref(), Some("b-b-"));
    assert_eq!(regex.expand("ab", "$x").as_deref(), Some("a"));
    assert_eq!(regex.expand("c", "$x"), None);
}

#[test]
fn what_nests_deeply_is_compiled_or_refused() {
    for n in [40, 100, 10_000] {
        let nested = "(?:a|(b".repeat(n / 2) + &")*)*".repeat(n / 2);
        let found = compile(MatchOp::Regex, &nested);
        assert_eq!(found.is_ok(), n <= 100, "{n}: {found:?}");
    }
}

/// Pieces that patterns are made of, sound and not.
const PIECES: [&str; 60] = [
    "a",
    "é",
    "k",
    "_",
    "-",
    "\n",
    "1",
    "(",
    "(?:",
    "(?i)",
    "(?i:",
    "(?-i",
    "(?s)",
    "(?P<n>",
    "(?U)",
    "(?",
    ")",
    "[",
    "[^",
    "]",
    "[:alpha:]",
    "[:^word:]",
    "[:",
    ":]",
    "&&",
    "~~",
    "a-z",
    "z-a",
    "\\d",
    "\\W",
    "\\s",
    "\\b",
    "\\B",
    "\\Q",
    "\\E",
    "\\pL",
    "\\P{Greek}",
    "\\p{^Lu}",
    "\\p{",
    "}",
    "\\x41",
    "\\x{e9}",
    "\\x{D800}",
    "\\x",
    "\\101",
    "\\0",
    "\\",
    "*",
    "+",
    "?",
    "{2}",
    "{2,3}",
    "{,2}",
    "{1001}",
    "|",
    "^",
    "$",
    ".",
    "\\z",
    "\\A",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..Default::default() })]

    #[test]
    fn whatever_is_written_compiles_or_is_refused(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..12),
        value in "[aké_1\n\u{212a}-]{0,4}",
    ) {
        let pattern = pieces.concat();
        match compile(MatchOp::Regex, &pattern) {
            Ok(found) => drop(found.matches(&value)),
            // Go's grammar must be what refuses it, not the compiler behind.
            Err(why) => prop_assert!(
                why.starts_with("error parsing regexp: ") && !why.contains("deeply")
                    || why.starts_with("regular expression is larger"),
                "{pattern}: {why}"
            ),
        }
    }

    #[test]
    fn any_text_is_compiled_or_refused(pattern in "\\PC{0,40}") {
        drop(compile(MatchOp::Regex, &pattern));
    }

    /// Where both languages agree, so do we.
    #[test]
    fn plain_patterns_mean_what_they_did(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["a", "b", ".", ".*", "a+", "(a|b)", "[ab]", "[^a]", "b?", "|", "\\.", "a{2}", "(?i)b"]),
            0..8,
        ),
        value in "[abA.\n]{0,6}",
    ) {
        let pattern = pieces.concat();
        let plain = Regex::new(&format!("^(?s:{pattern})$")).unwrap();
        prop_assert_eq!(matches(&pattern, &value), plain.is_match(&value), "{} on {:?}", pattern, value);
    }
}
