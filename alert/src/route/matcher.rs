//! Matchers as Alertmanager writes them: `severity="page"`, quoted UTF-8 names, lists in braces.
//!
//! The UTF-8 grammar is tried first and the classic one second. Where both read the text and differ, the classic
//! meaning holds, so that files from before keep theirs.

use std::fmt::{self, Write};

use model::matcher::MatchOp;
use model::metric::Labels;
use model::regexp::Dot;
use query::promql::matchers::{Compiled, compile_as};

/// Longest text of a matcher list, in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most matchers of a list: each may be an expression of hundreds of KiB once it is read.
const CONDITIONS_MAX: usize = 100;
/// Operators, the longer first.
const OPS: [(&str, MatchOp); 4] = [
    ("=~", MatchOp::Regex),
    ("!~", MatchOp::NotRegex),
    ("!=", MatchOp::NotEqual),
    ("=", MatchOp::Equal),
];
/// What an unquoted name or value cannot hold in the UTF-8 grammar.
const RESERVED: &str = "{}!=~,\\\"'`";

/// A matcher made ready. An absent label is the empty text.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Label name.
    pub name: String,
    /// Comparison.
    pub op: MatchOp,
    /// What it is compared with.
    pub value: String,
    test: Compiled,
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Condition {
    /// A condition on the label `name`.
    ///
    /// # Errors
    /// An empty name, or a regular expression that is none, in words.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("a matcher needs a label name".to_owned());
        }
        let test = compile_as(op, value, Dot::NoNewline)?;
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), test })
    }

    /// Whether `labels` fulfil it.
    #[must_use]
    pub fn holds(&self, labels: &Labels) -> bool {
        self.test.matches(labels.value(&self.name).unwrap_or_default())
    }

    /// Whether a label with this value fulfils it.
    #[must_use]
    pub fn passes(&self, value: &str) -> bool {
        self.test.matches(value)
    }

    /// Whether a missing label fulfils it.
    #[must_use]
    pub fn takes_empty(&self) -> bool {
        self.test.matches("")
    }

    /// The operator as written.
    #[must_use]
    pub const fn sign(&self) -> &'static str {
        match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

impl fmt::Display for Condition {
    /// `name="value"`; a name that is not classic is quoted too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_classic(&self.name) {
            f.write_str(&self.name)?;
        } else {
            quote(f, &self.name)?;
        }
        f.write_str(self.sign())?;
        quote(f, &self.value)
    }
}

/// The conditions in braces, sorted, as they stand in group keys: `{a="b",c=~"d"}`.
#[must_use]
pub fn braces(conditions: &[Condition]) -> String {
    let mut texts: Vec<_> =
        conditions.iter().map(|c| ((&c.name, &c.value, c.sign()), c.to_string())).collect();
    texts.sort();
    let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
    format!("{{{}}}", texts.join(","))
}

/// Text in double quotes with Go's escapes.
pub(crate) fn quote(f: &mut impl Write, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Whether all conditions hold.
#[must_use]
pub fn all_hold(conditions: &[Condition], labels: &Labels) -> bool {
    conditions.iter().all(|condition| condition.holds(labels))
}

/// Reads one matcher or a list of them, in braces or not. An empty list is allowed in braces only.
///
/// # Errors
/// Why it is none, in words.
pub fn parse(text: &str) -> Result<Vec<Condition>, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("{} bytes, the limit is {TEXT_BYTES_MAX}", text.len()));
    }
    match (Utf8::list(text), classic_list(text)) {
        (Ok(_), Ok(old)) => Ok(old), // The same, or the old meaning holds.
        (Ok(new), Err(_)) => Ok(new),
        (Err(_), Ok(old)) => Ok(old),
        (Err(why), Err(_)) => Err(why),
    }
}

/// Whether `name` was a label name before Prometheus 3.
pub(crate) fn is_classic(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn classic_list(text: &str) -> Result<Vec<Condition>, String> {
    let text = text.trim();
    let inner = match (text.strip_prefix('{'), text.strip_suffix('}')) {
        (Some(rest), Some(_)) if text.len() > 1 => &rest[..rest.len() - 1],
        (None, None) => text,
        _ => return Err(format!("bad matcher format: {text}")),
    };
    if inner.trim().is_empty() {
        return if inner.len() < text.len() { Ok(Vec::new()) } else { Err(bad(text)) };
    }
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (i, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&inner[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        parts.push(&inner[start..]);
    }
    if parts.len() > CONDITIONS_MAX {
        return Err(too_many());
    }
    parts.into_iter().map(classic).collect()
}

fn too_many() -> String {
    format!("more than {CONDITIONS_MAX} matchers in one list")
}

fn bad(text: &str) -> String {
    format!("bad matcher format: {text}")
}

fn classic(text: &str) -> Result<Condition, String> {
    let at = text.find(['=', '!']).ok_or_else(|| bad(text))?;
    let (name, rest) = text.split_at(at);
    let (sign, op) = OPS.iter().find(|(s, _)| rest.starts_with(s)).ok_or_else(|| bad(text))?;
    let name = name.trim();
    if !is_classic(&name.replace(':', "_")) {
        return Err(bad(text));
    }
    let raw = rest[sign.len()..].trim();
    let inner = match raw.strip_prefix('"') {
        None => raw,
        Some(rest) => {
            rest.strip_suffix('"').ok_or_else(|| format!("matcher value is not closed: {raw}"))?
        }
    };
    let (mut value, mut chars) = (String::new(), inner.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\')) => value.push(c),
                // Other escapes are the regular expression's.
                Some(c) => value.extend(['\\', c]),
                None => value.push('\\'),
            },
            '"' => return Err(format!("matcher value contains unescaped double quote: {raw}")),
            c => value.push(c),
        }
    }
    Condition::new(name, *op, &value)
}

/// Reads the UTF-8 grammar from left to right.
struct Utf8<'a> {
    rest: &'a str,
}

impl<'a> Utf8<'a> {
    fn list(text: &'a str) -> Result<Vec<Condition>, String> {
        let mut reader = Self { rest: text.trim() };
        let braced = reader.take("{");
        let mut found = Vec::new();
        loop {
            if braced && reader.take("}") {
                break;
            }
            if found.len() == CONDITIONS_MAX {
                return Err(too_many());
            }
            found.push(reader.one()?);
            if reader.take(",") {
                if !braced && reader.rest.is_empty() {
                    break;
                }
                continue;
            }
            if braced && !reader.take("}") {
                return Err("expected a comma or closing brace".to_owned());
            }
            break;
        }
        match reader.rest.trim() {
            "" => Ok(found),
            more => Err(format!("unexpected {more} behind the matchers")),
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest.trim_start();
        true
    }

    fn one(&mut self) -> Result<Condition, String> {
        let name = self.word("label name")?;
        let found = OPS.iter().find(|(sign, _)| self.take(sign));
        let (_, op) = found.ok_or_else(|| {
            format!("expected an operator such as '=', '!=', '=~' or '!~' behind {name}")
        })?;
        let value = self.word("label value")?;
        Condition::new(&name, *op, &value)
    }

    fn word(&mut self, what: &str) -> Result<String, String> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        let is_end = |c: char| c.is_whitespace() || RESERVED.contains(c);
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(format!("expected {what} at {:?}", self.rest));
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(word.to_owned())
    }

    fn quoted(&mut self) -> Result<String, String> {
        let (mut value, mut chars) = (String::new(), self.rest[1..].chars());
        loop {
            match chars.next().ok_or("missing end \"")? {
                '"' => break,
                '\n' => return Err("a quoted text ends on its line".to_owned()),
                '\\' => value.push(escape(&mut chars)?),
                c => value.push(c),
            }
        }
        self.rest = chars.as_str();
        Ok(value)
    }
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    let c = chars.next().ok_or("missing end \"")?;
    let digits = match c {
        'a' => return Ok('\u{7}'),
        'b' => return Ok('\u{8}'),
        'f' => return Ok('\u{c}'),
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'v' => return Ok('\u{b}'),
        '\\' | '"' => return Ok(c),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return Err(format!("\\{c} is no escape")),
    };
    let hex: String = chars.by_ref().take(digits).collect();
    let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits);
    code.and_then(char::from_u32).ok_or_else(|| format!("\\{c}{hex} is no character"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted_before_anything_is_compiled() {
        // The one behind the limit is not even read.
        let of = |n: usize| "a=~\"x.y\",".repeat(n) + "b=~\"(\"";
        assert!(read(&of(100)).contains("more than 100 matchers"), "{}", read(&of(100)));
        assert!(!read(&of(99)).contains("more than"), "{}", read(&of(99)));
    }

    fn read(text: &str) -> String {
        parse(text).map_or_else(|why| format!("error: {why}"), |found| braces(&found))
    }

    #[test]
    fn both_grammars_are_read() {
        for (text, wanted) in [
            ("severity=\"page\"", r#"{severity="page"}"#),
            ("severity = page", r#"{severity="page"}"#),
            ("{b=~\"x|y\", a!=\"\",}", r#"{a!="",b=~"x|y"}"#),
            ("a=\"x\",b!~\"y\"", r#"{a="x",b!~"y"}"#),
            ("\"host.name\"=\"é\"", r#"{"host.name"="é"}"#),
            ("host.name=db", r#"{"host.name"="db"}"#),
            (r#"a=~"foo\.bar""#, r#"{a=~"foo\\.bar"}"#),
            (r#"a="q\"q""#, r#"{a="q\"q"}"#),
            (r#"a="\u00e9\n""#, r#"{a="\\u00e9\n"}"#),
            ("a=b c", r#"{a="b c"}"#),
            ("{}", "{}"),
            ("a=", r#"{a=""}"#),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for bad in ["", "a", "=x", "a=\"x", "{a=\"x\"", "a=~\"(\"", "a==\"x\" b", "a x=y", ","] {
            assert!(parse(bad).is_err(), "{bad}: {}", read(bad));
        }
    }

    #[test]
    fn a_missing_label_is_the_empty_text() {
        let labels: Labels = [("a".to_owned(), "page".to_owned())].into_iter().collect();
        let holds = |text: &str| all_hold(&parse(text).unwrap(), &labels);
        assert!(holds("a=page") && holds("b=\"\"") && holds("b!=x") && holds("a=~\"pa.*\""));
        assert!(!holds("a=~\"pa\"") && !holds("b=~\".+\"") && !holds("a=page,b=x"));
        assert!(parse("b!=x").unwrap()[0].takes_empty());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn whatever_is_read_prints_and_reads_the_same(text in "[a-c{}=!~\"\\\\,. \n'é`]{0,24}") {
            if let Ok(found) = parse(&text) {
                let printed = braces(&found);
                proptest::prop_assert_eq!(read(&printed), printed);
            }
        }
    }
}
