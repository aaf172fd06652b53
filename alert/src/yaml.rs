//! What all YAML files of ours share: values with the place they were written at, and words for what is wrong with one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::{Error, Location, Spanned};

use crate::rule::{Position, Problem};

/// A text with its place.
pub(crate) type Scalar = Spanned<String>;

/// Fields a map should not have, by name.
pub(crate) type Unknown = BTreeMap<String, IgnoredAny>;

/// A map of texts in the order written; a null value reads as the empty text.
#[derive(Debug, Default)]
pub(crate) struct Pairs(pub(crate) Vec<(Scalar, Option<Scalar>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// The byte a location begins at.
pub(crate) fn byte_of(location: Location) -> Option<usize> {
    usize::try_from(location.span().byte_offset()?).ok()
}

/// Line and column of a location.
pub(crate) fn position_of(location: Location) -> Position {
    let one_based = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    Position { line: one_based(location.line()), column: one_based(location.column()) }
}

/// What is wrong with `file`, and where.
pub(crate) fn problem(file: &str, position: Position, text: String, remedy: &str) -> Problem {
    let (file, context) = (file.to_owned(), String::new());
    Problem { file, position, context, text, remedy: remedy.to_owned() }
}

/// The reader's error in our words. `unknown` names the type that lacks a field, from the field and those it has, and the
/// remedy; `guide` is the page that describes the format.
pub(crate) fn describe(
    error: &Error,
    (source, file): (&str, &str),
    guide: &str,
    unknown: impl Fn(&str, &[&'static str]) -> (&'static str, String),
) -> Problem {
    let position = error.location().map_or_else(Position::default, position_of);
    if let Error::SerdeUnknownField { field, expected, .. } = error {
        let (kind, remedy) = unknown(field, expected);
        let text = format!("field {field} not found in type {kind}");
        return problem(file, field_position(source, position, field), text, &remedy);
    }
    if let Error::DuplicateMappingKey { key, .. } = error {
        let text = format!("mapping key {:?} already defined", key.as_deref().unwrap_or_default());
        return problem(file, position, text, "keep one of the two");
    }
    let text = error
        .to_string()
        .replace("sequence start", "a list")
        .replace("mapping start", "a map")
        .replace("string scalar", "a text");
    // The message may repeat the place; it stands at the front already.
    let text = text.split(" at line ").next().unwrap_or(&text).trim().to_owned();
    problem(file, position, text, &format!("see docs/guide/{guide} for the format"))
}

/// A problem for each field of a `kind` beginning at `at` that is not `known`.
pub(crate) fn unknown_fields(
    (source, file): (&str, &str),
    kind: &str,
    at: Position,
    (unknown, known): (&Unknown, &[&'static str]),
) -> Vec<Problem> {
    let of = |field: &String| {
        let fields = || format!("a {kind} has the fields {}", known.join(", "));
        let remedy = did_you_mean(field, known).unwrap_or_else(fields);
        let text = format!("field {field} not found in type {kind}");
        problem(file, field_position(source, at, field), text, &remedy)
    };
    unknown.keys().map(of).collect()
}

/// The field that was probably meant.
pub(crate) fn did_you_mean(field: &str, expected: &[&'static str]) -> Option<String> {
    let near = expected.iter().min_by_key(|known| strsim::levenshtein(field, known))?;
    (strsim::levenshtein(field, near) <= 3).then(|| format!("did you mean {near:?}?"))
}

/// The place of the key `field` behind `from`; `from` itself when there is none.
pub(crate) fn field_position(source: &str, from: Position, field: &str) -> Position {
    for (i, line) in source.lines().enumerate().skip(from.line.saturating_sub(1)) {
        let skipped = if i + 1 == from.line { from.column.saturating_sub(1) } else { 0 };
        let start = line.char_indices().nth(skipped).map_or(line.len(), |(at, _)| at);
        for (at, _) in line[start..].match_indices(field) {
            let (before, after) = (&line[..start + at], &line[start + at + field.len()..]);
            let is_whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let after = after.trim_start_matches(['"', '\'']).trim_start();
            if is_whole && after.starts_with(':') {
                return Position { line: i + 1, column: before.chars().count() + 1 };
            }
        }
    }
    from
}
