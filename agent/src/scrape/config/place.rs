//! Where in a file something is wrong, and what may be done about it.

use std::path::Path;

use serde_saphyr::{Error as YamlError, Location};

use crate::Error;

/// Sections and fields of Prometheus that scraping has no part in, and where their like is found here.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "rule_files",
        "rules are named under `[alert] rules` in Headrope's configuration; take this out",
    ),
    (
        "alerting",
        "alerts go out as webhooks, `[action]` in Headrope's configuration; take this out",
    ),
    (
        "remote_write",
        "samples go to `write_url` alone, by way of `write_relabel_configs` beside it; take this out",
    ),
    ("remote_read", "queries read Headrope's own store; take this out"),
    ("storage", "the store is set up under `[store]` in Headrope's configuration; take this out"),
    (
        "otlp",
        "OTLP is set up under `[collector]` in Headrope's configuration, `translation_strategy` too; take this out",
    ),
    (
        "oauth2",
        "not supported yet: use `authorization` with a `credentials_file` that is kept fresh",
    ),
    ("server_name", "not supported yet: scrape the target by the name in its certificate"),
    ("scrape_failure_log_file", "not supported: the last error is in /api/v1/targets"),
];

/// An error of the YAML reader, with its place in `text`.
pub(super) fn describe(error: &YamlError, text: &str, path: &Path) -> Error {
    let (line, column) = error.location().map_or((1, 1), place_of);
    if let YamlError::SerdeUnknownField { field, expected, .. } = error {
        let (line, column) = field_place(text, line, field).unwrap_or((line, column));
        let remedy = ELSEWHERE
            .iter()
            .find(|(name, _)| name == field)
            .map(|(_, remedy)| (*remedy).to_owned());
        let remedy = remedy.unwrap_or_else(|| match near(field, expected) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "Headrope does not know it; take it out".to_owned(),
        });
        return at(path, line, column, &format!("field `{field}` is not supported here: {remedy}"));
    }
    let message = error.to_string();
    // The message may repeat the place; it stands at the front already.
    let message = message.split(" at line ").next().unwrap_or(&message).trim();
    at(path, line, column, message)
}

/// An error at a place.
pub(super) fn at(path: &Path, line: u64, column: u64, message: &str) -> Error {
    Error::Syntax { path: path.to_owned(), reason: format!("{line}:{column}: {message}") }
}

/// Line and column, both from 1.
pub(super) fn place_of(location: Location) -> (u64, u64) {
    (location.line().max(1), location.column().max(1))
}

/// The place of the key itself when the error only tells the map around it.
fn field_place(text: &str, from: u64, field: &str) -> Option<(u64, u64)> {
    let skip = usize::try_from(from.saturating_sub(1)).unwrap_or(0);
    text.lines().enumerate().skip(skip).find_map(|(i, line)| {
        let at = line.find(field)?;
        let before = line[..at].trim_start_matches([' ', '-', '{', ',', '"', '\'']);
        let key = line[at + field.len()..].trim_start_matches(['"', '\'']).trim_start();
        let column = line[..at].chars().count() + 1;
        (before.is_empty() && key.starts_with(':')).then_some((i as u64 + 1, column as u64))
    })
}

/// The known field that `field` was probably meant to be.
fn near(field: &str, expected: &[&'static str]) -> Option<&'static str> {
    let edits = |known: &&&str| strsim::levenshtein(field, known);
    expected.iter().min_by_key(edits).filter(|known| edits(known) <= 2).copied()
}
