//! The YAML of a rule file as it stands: every value with the place it was written at.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_saphyr::{Error, Location, Spanned};

use super::place::Position;
use super::{FILE_BYTES_MAX, Problem};

/// A text with its place.
pub(crate) type Scalar = Spanned<String>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) groups: Option<Vec<Spanned<Group>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) name: Option<Scalar>,
    pub(super) interval: Option<Scalar>,
    pub(super) query_offset: Option<Scalar>,
    pub(super) limit: Option<Scalar>,
    pub(super) labels: Option<Pairs>,
    pub(super) rules: Option<Vec<Spanned<Rule>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) record: Option<Scalar>,
    pub(super) alert: Option<Scalar>,
    pub(super) expr: Option<Scalar>,
    #[serde(rename = "for")]
    pub(super) hold: Option<Scalar>,
    pub(super) keep_firing_for: Option<Scalar>,
    pub(super) labels: Option<Pairs>,
    pub(super) annotations: Option<Pairs>,
}

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

/// The first document of `text`.
pub(super) fn read(text: &str, file: &str) -> Result<File, Problem> {
    if text.len() > FILE_BYTES_MAX {
        let reason = format!("the file has {} bytes, limit is {FILE_BYTES_MAX}", text.len());
        return Err(problem(file, Position::default(), reason, "split it"));
    }
    match parse(text) {
        Ok(document) => Ok(document),
        Err(Error::MultipleDocuments { location, .. }) => {
            let told = text.floor_char_boundary(byte_of(location).unwrap_or(text.len()));
            let end = text[..told].rfind("\n---").map_or(told, |i| i + 1);
            let line = location.line();
            tracing::warn!(file, line, "only the first YAML document of a rule file is read");
            parse(&text[..end]).map_err(|error| describe(&error, text, file))
        }
        Err(error) => Err(describe(&error, text, file)),
    }
}

fn parse(text: &str) -> Result<File, Error> {
    // A snippet would repeat the file in the message; place and text are enough.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options::<Option<File>>(text, options)
        .map(Option::unwrap_or_default)
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

fn problem(file: &str, position: Position, text: String, remedy: &str) -> Problem {
    let (file, context) = (file.to_owned(), String::new());
    Problem { file, position, context, text, remedy: remedy.to_owned() }
}

fn describe(error: &Error, source: &str, file: &str) -> Problem {
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
    problem(file, position, text, "see docs/guide/rules.md for the format")
}

/// The place of the key itself when the error only tells the line or the map around it.
fn field_position(source: &str, position: Position, field: &str) -> Position {
    let found = source.lines().enumerate().skip(position.line - 1).find_map(|(i, line)| {
        let at = line.find(field)?;
        let key = line[at + field.len()..].trim_start_matches(['"', '\'']).trim_start();
        key.starts_with(':').then(|| (i + 1, line[..at].chars().count() + 1))
    });
    found.map_or(position, |(line, column)| Position { line, column })
}

/// Which type lacks the field, and what was probably meant.
fn unknown(field: &str, expected: &[&'static str]) -> (&'static str, String) {
    let kind = match expected {
        e if e.contains(&"record") => "rule",
        e if e.contains(&"rules") => "group",
        _ => "rule file",
    };
    if field == "headrope" {
        return (kind, "extras under \"headrope\" are not supported yet: remove them".to_owned());
    }
    let near = expected.iter().min_by_key(|known| strsim::levenshtein(field, known));
    let remedy = match near.filter(|known| strsim::levenshtein(field, known) <= 3) {
        Some(known) => format!("did you mean {known:?}?"),
        None => format!("a {kind} has the fields {}", expected.join(", ")),
    };
    (kind, remedy)
}
