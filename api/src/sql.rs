//! `POST sql`: one statement, one table. Also as CSV and Arrow by `Accept`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::query::Stats;

/// The body of `POST sql`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlRequest {
    /// One read-only statement.
    pub query: String,
    /// Rows at most; the server's own limit also applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The answer of `POST sql`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SqlAnswer {
    /// Columns, left to right.
    pub columns: Vec<Column>,
    /// Rows; each has one value a column. Integers beyond 2^53 and timestamps are text.
    pub rows: Vec<Vec<Value>>,
    /// Whether rows were left out because of the limit.
    pub truncated: bool,
    /// What it cost.
    #[serde(default)]
    pub stats: Stats,
    /// Which rows the answer lacks because they cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A column of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Arrow's name of the type, as `Utf8` or `Timestamp(ns, "UTC")`.
    #[serde(rename = "type")]
    pub data_type: String,
}
