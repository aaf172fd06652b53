//! The YAML of a rule file as it stands: every value with the place it was written at.

use serde::Deserialize;
use serde_saphyr::{Error, Spanned};

use super::place::Position;
use super::{FILE_BYTES_MAX, Problem};
use crate::yaml::{self, Pairs, Scalar, byte_of, problem};

/// The page that describes the format.
const GUIDE: &str = "rules.md";

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
            parse(&text[..end])
                .map_err(|error| yaml::describe(&error, (text, file), GUIDE, unknown))
        }
        Err(error) => Err(yaml::describe(&error, (text, file), GUIDE, unknown)),
    }
}

fn parse(text: &str) -> Result<File, Error> {
    // A snippet would repeat the file in the message; place and text are enough.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options::<Option<File>>(text, options)
        .map(Option::unwrap_or_default)
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
    let fields = || format!("a {kind} has the fields {}", expected.join(", "));
    (kind, yaml::did_you_mean(field, expected).unwrap_or_else(fields))
}
