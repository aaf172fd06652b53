//! `POST complete`: what could be written at the cursor of a query.

use serde::{Deserialize, Serialize};

/// The body of `POST complete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompleteRequest {
    /// The query so far.
    pub text: String,
    /// Byte offset of the cursor in the UTF-8 of `text`.
    pub cursor: usize,
    /// Its language.
    #[serde(default)]
    pub kind: Language,
}

/// Language of the text to complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// `PromQL`.
    #[default]
    Promql,
    /// SQL.
    Sql,
}

/// The answer of `POST complete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// Candidates, best first.
    pub items: Vec<Item>,
    /// Bytes of the text that a candidate replaces.
    pub replace: Replace,
}

/// A stretch of the text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replace {
    /// First byte.
    pub start: usize,
    /// First byte after.
    pub end: usize,
}

/// One candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What the list shows.
    pub label: String,
    /// What goes into the text.
    pub insert: String,
    /// What it is.
    pub kind: ItemKind,
    /// Type, unit or signature; may be empty.
    #[serde(default)]
    pub detail: String,
    /// One sentence; may be empty.
    #[serde(default)]
    pub help: String,
}

/// What a candidate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A metric name.
    Metric,
    /// A label name.
    Label,
    /// A label value.
    Value,
    /// A function or aggregation.
    Function,
    /// A word of the language.
    #[default]
    Keyword,
    /// A SQL table.
    Table,
    /// A SQL column.
    Column,
}
