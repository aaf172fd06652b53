//! What is refused and in which words, what is printed, what replacements become. Meanings are tested where patterns
//! are compiled: `query::promql::matchers`.

use super::{Dot, translate, translate_whole, translate_within};

fn refusal(pattern: &str) -> String {
    translate(pattern).map_or_else(|error| error.to_string(), |found| format!("read as {found:?}"))
}

#[test]
fn mistakes_are_told_in_gos_words() {
    for (pattern, wanted) in [
        ("a[b", "missing closing ]: `[b`"),
        ("[]", "missing closing ]: `[]`"),
        ("[^]", "missing closing ]: `[^]`"),
        ("[a-", "missing closing ]: `[a-`"),
        ("(a", "missing closing ): `(a`"),
        ("a(b(c)", "missing closing ): `a(b(c)`"),
        ("a)b", "unexpected ): `a)b`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|+?", "missing argument to repetition operator: `+?`"),
        ("(?i)?", "missing argument to repetition operator: `?`"),
        ("({2})", "missing argument to repetition operator: `{2}`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a++b", "invalid nested repetition operator: `++`"),
        ("a*?+", "invalid nested repetition operator: `*?+`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
        ("((a{100}){10}){2}", "invalid repeat count: `{2}`"),
        ("(?:x{31}y|z{2,40}?){30,}?", "invalid repeat count: `{30,}?`"),
        ("\\", "trailing backslash at end of expression: ``"),
        ("[\\", "trailing backslash at end of expression: ``"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\u{e9}", r"invalid escape sequence: `\u`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        (r"\xg0", r"invalid escape sequence: `\xg0`"),
        (r"\x{}", r"invalid escape sequence: `\x{}`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"\é", r"invalid escape sequence: `\é`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[a&&b--c]", "invalid character class range: `b--`"),
        ("[[:wird:]]", "invalid character class range: `[:wird:]`"),
        (r"\pX", r"invalid character class range: `\pX`"),
        (r"\p{Grek}", r"invalid character class range: `\p{Grek}`"),
        (r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`"),
        (r"\p{gc=L}", r"invalid character class range: `\p{gc=L}`"),
        (r"\p{L", r"invalid character class range: `\p{L`"),
        (r"\p", r"invalid character class range: `\p`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?R)a", "invalid or unsupported Perl syntax: `(?R`"),
        ("(?u)a", "invalid or unsupported Perl syntax: `(?u`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
        ("(?<=a)", "invalid named capture: `(?<=a)`"),
        ("(?P<a b>c)", "invalid named capture: `(?P<a b>`"),
        ("(?P<>c)", "invalid named capture: `(?P<>`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
    ] {
        assert_eq!(refusal(pattern), format!("error parsing regexp: {wanted}"));
    }
}

#[test]
fn nesting_has_an_end() {
    let nested = |n: usize| "(".repeat(n) + "a" + &")".repeat(n);
    assert!(translate(&nested(100)).is_ok());
    let why = refusal(&nested(2_000));
    assert!(why.starts_with("error parsing regexp: expression nests too deeply"), "{why}");
    let why = refusal(&("a".to_owned() + &"*(?i)".repeat(2_000)));
    assert!(why.starts_with("error parsing regexp: expression nests too deeply"), "{why}");
}

#[test]
fn the_same_language_is_printed() {
    for (pattern, wanted) in [
        ("api_.*|web", "api_.*|web"),
        (r"a\.b-c", r"a\x{2E}b\x{2D}c"),
        (r"\d+\D", "[0-9]+[^0-9]"),
        (r"[\W\s]", r"[[^0-9A-Z_a-z][\x{9}-\x{A}\x{C}-\x{D}\x{20}]]"),
        (r"\<a", r"\x{3C}a"),
        (r"\bx\B", r"(?-u:\b)x(?-u:\B)"),
        (r"\Qa+b\E+", r"a\x{2B}b+"),
        (r"\Q\E\Qx", "x"),
        (r"\101\0", r"A\x{0}"),
        (r"\pN\P{Greek}\p{^Lu}", r"\p{gc=n}\P{sc=greek}\P{gc=lu}"),
        ("[a[b]", r"[a\x{5B}b]"),
        ("[]a]", r"[\x{5D}a]"),
        ("[a&&b~~c-]", r"[a\x{26}\x{26}b\x{7E}\x{7E}c\x{2D}]"),
        ("a{,3}{01}", r"a\x{7B}\x{2C}3\x{7D}\x{7B}01\x{7D}"),
        ("(?U)a+b+?", "a+?b+"),
        ("(?i)a(?-i:b)(?i-s:c)", "(?i-ms)a(?-ims:b)(?:c)"),
        ("a(?i)*b", "a*(?i-ms)b"),
        ("a*(?i)*", "(?:a*)*(?i-ms)"),
        ("(?P<x>a)(?<y>b)(c)", "(a)(b)(c)"),
        ("(?)(?:)", "(?:)"),
    ] {
        assert_eq!(translate(pattern).map(|found| found.rust).as_deref(), Ok(wanted), "{pattern}");
    }
    let names = translate("(?P<x>a)(b)(?<x>c)").map(|found| found.names);
    assert_eq!(names, Ok(vec!["x".to_owned(), String::new(), "x".to_owned()]));
}

#[test]
fn a_matcher_stands_on_its_own() {
    assert_eq!(translate_whole("a|b").map(|found| found.rust).as_deref(), Ok("^(?s:a|b)$"));
    let why = translate_whole("a)(b").map_err(|error| error.to_string());
    assert_eq!(why, Err("error parsing regexp: unexpected ): `a)(b`".to_owned()));
    // Relabelling judges what stands around it too.
    assert!(translate_within("a)(b", Dot::Any).is_ok());
    let why = translate_within("(", Dot::NoNewline).map_err(|error| error.to_string());
    assert_eq!(why, Err("error parsing regexp: missing closing ): `^(?:()$`".to_owned()));
}

#[test]
fn references_are_read_as_go_does() {
    let found = translate("(?P<a>.)(.)(?P<a>.)?").unwrap_or_else(|error| panic!("{error}"));
    let group = |i| [Some("xy"), Some("x"), Some("y"), None].get(i).copied().flatten();
    for (template, wanted) in [
        ("$1-$2", "x-y"),
        ("${1}0$10", "x0"),
        ("$1x", ""),
        ("$a${a}", "xx"),
        ("$01$+1${+1}", "$+1${+1}"),
        ("$$1 $ ${ ${} ${1", "$1 $ ${ ${} ${1"),
        ("$0$3$9é", "xy"),
        ("€$2€", "€y€"),
        ("$2.", "y."),
    ] {
        let mut out = String::new();
        assert!(found.expand(template, group, &mut out).is_ok());
        assert_eq!(out, wanted, "{template}");
    }
}
