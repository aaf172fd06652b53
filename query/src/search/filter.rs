//! The language of log searches, and the SQL condition a search means.
//!
//! Words and `"phrases"` must all occur in the body, letter case aside; `field:value` compares an attribute or column,
//! with `*` for any text and `>`, `>=`, `<`, `<=` before a number or level; `-` or `NOT` in front negates.

use model::id::{SpanId, TraceId};

use super::literal;
use crate::error::{Error, Position};

/// Terms a search may have.
const TERMS_MAX: usize = 64;

/// Names for columns, the first of each the column's own.
const COLUMNS: [(&str, &[&str]); 12] = [
    ("service_name", &["service", "service.name"]),
    ("host_name", &["host", "host.name"]),
    ("deployment_environment", &["env", "environment", "deployment.environment.name"]),
    ("k8s_namespace", &["namespace", "k8s.namespace.name"]),
    ("k8s_pod", &["pod", "k8s.pod.name"]),
    ("k8s_node", &["node", "k8s.node.name"]),
    ("scope_name", &["scope", "scope.name"]),
    ("event_name", &["event", "event.name"]),
    ("exception_type", &["exception.type"]),
    ("exception_message", &["exception.message"]),
    ("body", &["message", "msg"]),
    ("severity_text", &[]),
];

/// Levels and their severity numbers.
const LEVELS: [(&str, u8, u8); 7] = [
    ("unset", 0, 0),
    ("trace", 1, 4),
    ("debug", 5, 8),
    ("info", 9, 12),
    ("warn", 13, 16),
    ("error", 17, 20),
    ("fatal", 21, 24),
];

/// Whether the text of an attribute is wanted.
pub(super) type Wanted<'a> = &'a dyn Fn(&str) -> bool;

/// Ids of the resources whose attribute of this name is wanted.
pub(super) type Resources<'a> = &'a dyn Fn(&str, Wanted<'_>) -> Vec<u64>;

/// One thing a row must (not) satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    is_negated: bool,
    field: Option<String>,
    op: Op,
    value: String,
    /// Quoted values have no wildcards.
    is_quoted: bool,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Op {
    const fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// The SQL condition over `logs` that `text` means; `true` for an empty search.
pub(super) fn condition(text: &str, resources: Resources<'_>) -> Result<String, Error> {
    conditions(text, &|term| held(term, resources))
}

/// The SQL condition over `spans` that `text` means; `true` for an empty search.
pub(super) fn span_condition(text: &str, resources: Resources<'_>) -> Result<String, Error> {
    conditions(text, &|term| held_by_span(term, resources))
}

fn conditions(text: &str, held: &dyn Fn(&Term) -> Result<String, String>) -> Result<String, Error> {
    let terms = parse(text)?;
    if terms.len() > TERMS_MAX {
        let place = &terms[TERMS_MAX];
        return Err(Error::invalid_at(
            format!("the search has more than {TERMS_MAX} terms"),
            Position::of(text, place.start, place.end),
        ));
    }
    if terms.is_empty() {
        return Ok("true".to_owned());
    }
    let conditions = terms.iter().map(|term| {
        let held = held(term).map_err(|message| {
            Error::invalid_at(message, Position::of(text, term.start, term.end))
        })?;
        // A row without the field does not satisfy the term, so it satisfies its negation.
        Ok(if term.is_negated { format!("({held}) IS NOT TRUE") } else { format!("({held})") })
    });
    Ok(conditions.collect::<Result<Vec<_>, Error>>()?.join(" AND "))
}

fn held_by_span(term: &Term, resources: Resources<'_>) -> Result<String, String> {
    let Some(field) = term.field.as_deref() else {
        return Ok(contains("name", &term.value));
    };
    match field {
        "trace_id" | "trace" | "trace.id" => id(term, "trace_id", 32),
        "span_id" | "span" | "span.id" => id(term, "span_id", 16),
        "error" | "errors" => match term.value.to_lowercase().as_str() {
            "true" | "yes" => Ok("is_error".to_owned()),
            "false" | "no" => Ok("NOT is_error".to_owned()),
            _ => Err(format!("`{}` is neither true nor false", term.value)),
        },
        "duration" => match crate::promql::duration::parse_ms(&term.value) {
            Some(ms) => Ok(format!("duration {} {}", term.op.sql(), ms.saturating_mul(1_000_000))),
            None => Err(format!("`{}` is no length of time: write it like 500ms", term.value)),
        },
        _ => match span_column(field) {
            Some(column) => compare(column, term),
            None => attribute(field, term, resources),
        },
    }
}

/// The column of `spans` that holds a field.
pub(super) fn span_column(field: &str) -> Option<&'static str> {
    match field {
        "service" | "service_name" | "service.name" => Some("service_name"),
        "name" | "operation" => Some("name"),
        "endpoint" => Some("endpoint"),
        "status_message" => Some("status_message"),
        _ => None,
    }
}

/// The column of `logs` that holds a field.
pub(super) fn log_column(field: &str) -> Option<&'static str> {
    let fits =
        |(column, names): &&(&'static str, &[&str])| *column == field || names.contains(&field);
    COLUMNS.iter().find(fits).map(|(column, _)| *column)
}

fn held(term: &Term, resources: Resources<'_>) -> Result<String, String> {
    let Some(field) = term.field.as_deref() else {
        return Ok(contains("body", &term.value));
    };
    match field {
        "level" | "severity" | "severity_number" => level(term),
        "trace_id" | "trace" | "trace.id" => id(term, "trace_id", 32),
        "span_id" | "span" | "span.id" => id(term, "span_id", 16),
        "body" | "message" | "msg" => Ok(contains("body", &term.value)),
        _ => match log_column(field) {
            Some(column) => compare(column, term),
            None => attribute(field, term, resources),
        },
    }
}

/// `column` contains `text`, letter case aside.
fn contains(column: &str, text: &str) -> String {
    format!("{column} ILIKE {}", literal(&format!("%{}%", escaped(text))))
}

/// `text` with LIKE's own signs made plain.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

fn compare(expr: &str, term: &Term) -> Result<String, String> {
    match term.op {
        Op::Equal if term.is_pattern() => {
            let pattern: Vec<String> = term.value.split('*').map(escaped).collect();
            Ok(format!("{expr} LIKE {}", literal(&pattern.join("%"))))
        }
        Op::Equal => Ok(format!("{expr} = {}", literal(&term.value))),
        _ => match term.value.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                Ok(format!("TRY_CAST({expr} AS DOUBLE) {} {number:?}", term.op.sql()))
            }
            _ => Err(format!("`{}` is no number to compare with", term.value)),
        },
    }
}

impl Term {
    fn is_pattern(&self) -> bool {
        !self.is_quoted && self.value.contains('*')
    }

    /// Whether a text satisfies the term; the same as its SQL.
    fn matches(&self, text: &str) -> bool {
        if self.op != Op::Equal {
            let (Ok(number), Ok(limit)) = (text.parse::<f64>(), self.value.parse::<f64>()) else {
                return false;
            };
            return match self.op {
                Op::Less => number < limit,
                Op::LessOrEqual => number <= limit,
                Op::Greater => number > limit,
                _ => number >= limit,
            };
        }
        if !self.is_pattern() {
            return text == self.value;
        }
        glob(&self.value, text)
    }
}

/// Whether `text` is `pattern` with any text for each `*`.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A field that is no column: an attribute of the record, or of its resource.
fn attribute(field: &str, term: &Term, resources: Resources<'_>) -> Result<String, String> {
    let own = compare(&format!("attr(attributes, {})", literal(field)), term)?;
    let ids = resources(field, &|text| term.matches(text));
    if ids.is_empty() {
        return Ok(own);
    }
    let ids: Vec<String> = ids.iter().map(|id| format!("arrow_cast({id}, 'UInt64')")).collect();
    Ok(format!("{own} OR resource_id IN ({})", ids.join(", ")))
}

fn level(term: &Term) -> Result<String, String> {
    let wanted = term.value.to_lowercase();
    let wanted = match wanted.as_str() {
        "warning" => "warn",
        "err" => "error",
        "critical" | "crit" | "emergency" | "alert" => "fatal",
        "information" => "info",
        other => other,
    };
    let named = LEVELS.iter().find(|(name, _, _)| *name == wanted);
    let number = wanted.parse::<u8>().ok().filter(|number| *number <= 24);
    let (low, high) = match (named, number) {
        (Some((_, low, high)), _) => (*low, *high),
        (None, Some(number)) => (number, number),
        (None, None) => {
            let names: Vec<&str> = LEVELS.iter().map(|level| level.0).collect();
            return Err(format!(
                "`{}` is no level: use {} or 0 to 24",
                term.value,
                names.join(", ")
            ));
        }
    };
    let numbers = match term.op {
        Op::Equal => format!("severity_number BETWEEN {low} AND {high}"),
        Op::Less => format!("severity_number < {low}"),
        Op::LessOrEqual => format!("severity_number <= {high}"),
        Op::Greater => format!("severity_number > {high}"),
        Op::GreaterOrEqual => format!("severity_number >= {low}"),
    };
    // Senders that set only the text are common.
    match (term.op, named) {
        (Op::Equal, Some((name, low, _))) if *low > 0 => Ok(format!(
            "{numbers} OR (severity_number = 0 AND severity_text ILIKE {})",
            literal(&format!("{name}%"))
        )),
        _ => Ok(numbers),
    }
}

fn id(term: &Term, column: &str, digits: usize) -> Result<String, String> {
    let is_id = match digits {
        32 => TraceId::parse(&term.value).is_some(),
        _ => SpanId::parse(&term.value).is_some(),
    };
    if !is_id || term.op != Op::Equal {
        return Err(format!("`{}` is no id of {digits} hexadecimal digits", term.value));
    }
    Ok(format!("{column} = {}", literal(&term.value.to_lowercase())))
}

fn parse(text: &str) -> Result<Vec<Term>, Error> {
    let mut terms = Vec::new();
    let mut at = 0;
    let mut is_negated = false;
    while let Some(skipped) = text[at..].find(|c: char| !c.is_whitespace()) {
        at += skipped;
        let (term, end) = term(text, at)?;
        at = end;
        match (&term.field, term.is_quoted, term.value.as_str()) {
            (None, false, "AND") => {}
            (None, false, "NOT") => is_negated = !is_negated,
            _ => {
                let is_negated_twice = term.is_negated != is_negated;
                terms.push(Term { is_negated: is_negated_twice, ..term });
                is_negated = false;
            }
        }
    }
    Ok(terms)
}

/// The term that begins at `start`, and where it ends.
fn term(text: &str, start: usize) -> Result<(Term, usize), Error> {
    let mut at = start;
    let is_negated =
        text[at..].starts_with('-') && text[at + 1..].starts_with(|c: char| !c.is_whitespace());
    at += usize::from(is_negated);
    let word_end = |from: usize| {
        text[from..].find(char::is_whitespace).map_or(text.len(), |length| from + length)
    };
    let mut field = None;
    let mut op = Op::Equal;
    if !text[at..].starts_with('"') {
        let word = &text[at..word_end(at)];
        if let Some(length) = field_length(word) {
            field = Some(word[..length].to_owned());
            at += length + 1;
            let ops = [
                (">=", Op::GreaterOrEqual),
                ("<=", Op::LessOrEqual),
                (">", Op::Greater),
                ("<", Op::Less),
            ];
            if let Some((sign, found)) = ops.iter().find(|(sign, _)| text[at..].starts_with(sign)) {
                op = *found;
                at += sign.len();
            }
        }
    }
    let is_quoted = text[at..].starts_with('"');
    let (value, end) = if is_quoted {
        quoted(text, at)?
    } else {
        let end = word_end(at);
        (text[at..end].to_owned(), end)
    };
    if field.is_some() && value.is_empty() && !is_quoted {
        return Err(Error::invalid_at(
            "a field needs a value after the colon",
            Position::of(text, start, end),
        ));
    }
    Ok((Term { is_negated, field, op, value, is_quoted, start, end }, end))
}

/// Bytes of the field's name, when `word` is `name:...`. Addresses and times of day are words.
fn field_length(word: &str) -> Option<usize> {
    let colon = word.find(':')?;
    let (name, value) = (&word[..colon], &word[colon + 1..]);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || "_.-/".contains(c));
    (is_name && !value.starts_with("//")).then_some(colon)
}

/// The text between the quote at `start` and the next, `\` taking the next character as it is.
fn quoted(text: &str, start: usize) -> Result<(String, usize), Error> {
    let mut value = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '"' => return Ok((value, start + 1 + offset + 1)),
            '\\' => value.extend(chars.next().map(|(_, next)| next)),
            c => value.push(c),
        }
    }
    Err(Error::invalid_at("the quote is not closed", Position::of(text, start, text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let ids = |key: &str, matches: &dyn Fn(&str) -> bool| {
            if key == "team" && matches("core") { vec![7] } else { Vec::new() }
        };
        condition(text, &ids).unwrap_or_else(|error| format!("error: {error}"))
    }

    #[test]
    fn words_phrases_and_negations() {
        assert_eq!(check(""), "true");
        assert_eq!(check("a b"), "(body ILIKE '%a%') AND (body ILIKE '%b%')");
        assert_eq!(check("a AND b"), check("a b"));
        assert_eq!(check("\"it's  \\\"so\\\"\""), "(body ILIKE '%it''s  \"so\"%')");
        assert_eq!(check("-x"), "(body ILIKE '%x%') IS NOT TRUE");
        assert_eq!(check("NOT x"), check("-x"));
        assert_eq!(check("100%_\\"), "(body ILIKE '%100\\%\\_\\\\%')");
        assert_eq!(check("-"), "(body ILIKE '%-%')");
        assert!(check("\"open").starts_with("error: the quote"));
    }

    #[test]
    fn fields_compare_columns_attributes_and_resources() {
        assert_eq!(check("service:cart"), "(service_name = 'cart')");
        assert_eq!(check("service:\"a b\""), "(service_name = 'a b')");
        assert_eq!(check("host:web-*"), "(host_name LIKE 'web-%')");
        assert_eq!(check("host:\"web-*\""), "(host_name = 'web-*')");
        assert_eq!(check("http.route:/x"), "(attr(attributes, 'http.route') = '/x')");
        assert_eq!(
            check("status:>=500"),
            "(TRY_CAST(attr(attributes, 'status') AS DOUBLE) >= 500.0)"
        );
        assert_eq!(
            check("team:co*"),
            "(attr(attributes, 'team') LIKE 'co%' OR resource_id IN (arrow_cast(7, 'UInt64')))"
        );
        assert!(check("status:>x").contains("no number"));
        assert!(check("service:").contains("needs a value"));
        assert_eq!(check("http://x 12:30"), "(body ILIKE '%http://x%') AND (body ILIKE '%12:30%')");
    }

    #[test]
    fn levels_and_ids() {
        assert_eq!(check("level:>=warn"), "(severity_number >= 13)");
        assert!(check("level:ERROR").starts_with("(severity_number BETWEEN 17 AND 20 OR"));
        assert_eq!(check("severity:7"), "(severity_number BETWEEN 7 AND 7)");
        assert!(check("level:loud").contains("is no level"));
        let id = "0AF7651916CD43DD8448EB211C80319C";
        assert_eq!(
            check(&format!("trace_id:{id}")),
            format!("(trace_id = '{}')", id.to_lowercase())
        );
        assert!(check("trace_id:12").contains("32 hexadecimal"));
    }

    #[test]
    fn globs() {
        assert!(glob("a*c*e", "abcde") && glob("*", "") && glob("a*", "a") && glob("*a", "ba"));
        assert!(!glob("a*c", "acd") && !glob("ab*ba", "aba") && !glob("a", "ab"));
    }
}
