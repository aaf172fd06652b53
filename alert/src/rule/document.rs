//! The YAML of a rule file as it stands: every value with the place it was written at.

use serde::Deserialize;
use serde_saphyr::{Error, Spanned};

use super::place::Position;
use super::{FILE_BYTES_MAX, Problem};
use crate::yaml::{self, Pairs, Scalar, Unknown, byte_of, problem};

/// The page that describes the format.
const GUIDE: &str = "rules.md";

/// The fields of a rule file.
pub(super) const FILE: [&str; 1] = ["groups"];
/// The fields of a group.
pub(super) const GROUP: [&str; 6] =
    ["name", "interval", "query_offset", "limit", "labels", "rules"];
/// The fields of a rule.
pub(super) const RULE: [&str; 8] =
    ["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations", "headrope"];
/// The fields under `headrope` in a rule.
pub(super) const EXTRA: [&str; 13] = [
    "lang",
    "window",
    "by",
    "above",
    "below",
    "all",
    "any",
    "none",
    "clear_expr",
    "clear_for",
    "no_data",
    "hold_max",
    "quality",
];
/// The fields of a further condition.
pub(super) const CONDITION: [&str; 6] = ["expr", "lang", "window", "by", "above", "below"];
/// The fields of `quality`.
pub(super) const QUALITY: [&str; 2] = ["max_staleness", "min_reporting"];

#[derive(Debug, Default, Deserialize)]
pub(super) struct File {
    pub(super) groups: Option<Vec<Spanned<Group>>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct Group {
    pub(super) name: Option<Scalar>,
    pub(super) interval: Option<Scalar>,
    pub(super) query_offset: Option<Scalar>,
    pub(super) limit: Option<Scalar>,
    pub(super) labels: Option<Pairs>,
    pub(super) rules: Option<Vec<Spanned<Rule>>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) record: Option<Scalar>,
    pub(super) alert: Option<Scalar>,
    pub(super) expr: Option<Scalar>,
    #[serde(rename = "for")]
    pub(super) hold: Option<Scalar>,
    pub(super) keep_firing_for: Option<Scalar>,
    pub(super) labels: Option<Pairs>,
    pub(super) annotations: Option<Pairs>,
    pub(super) headrope: Option<Spanned<ExtraBody>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct ExtraBody {
    pub(super) lang: Option<Scalar>,
    pub(super) window: Option<Scalar>,
    pub(super) by: Option<Vec<Scalar>>,
    pub(super) above: Option<Scalar>,
    pub(super) below: Option<Scalar>,
    pub(super) all: Option<Vec<Spanned<ConditionBody>>>,
    pub(super) any: Option<Vec<Spanned<ConditionBody>>>,
    pub(super) none: Option<Vec<Spanned<ConditionBody>>>,
    pub(super) clear_expr: Option<Scalar>,
    pub(super) clear_for: Option<Scalar>,
    pub(super) no_data: Option<Scalar>,
    pub(super) hold_max: Option<Scalar>,
    pub(super) quality: Option<Spanned<QualityBody>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConditionBody {
    pub(super) expr: Option<Scalar>,
    pub(super) lang: Option<Scalar>,
    pub(super) window: Option<Scalar>,
    pub(super) by: Option<Vec<Scalar>>,
    pub(super) above: Option<Scalar>,
    pub(super) below: Option<Scalar>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct QualityBody {
    pub(super) max_staleness: Option<Scalar>,
    pub(super) min_reporting: Option<Scalar>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
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

/// Unknown fields are told by the checker; the reader passes them over.
fn unknown(_: &str, _: &[&'static str]) -> (&'static str, String) {
    ("rule file", String::new())
}
