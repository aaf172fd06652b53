//! `POST logs`: a page of log records, newest first, and how many there are over time.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::query::Stats;

/// The body of `POST logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRequest {
    /// Words, `"phrases"` and `field:value`; empty finds everything.
    #[serde(default)]
    pub query: String,
    /// First instant, ms since the epoch, inclusive.
    pub from_ms: i64,
    /// First instant after, ms since the epoch.
    pub to_ms: i64,
    /// Rows at most.
    #[serde(default = "limit_default")]
    pub limit: usize,
    /// Continue after the page that gave this cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

const fn limit_default() -> usize {
    200
}

/// The answer of `POST logs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogPage {
    /// Records, newest first.
    pub rows: Vec<LogRow>,
    /// Ask with this for older ones; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Counts of the whole range, oldest first; empty on pages after the first.
    #[serde(default)]
    pub histogram: Vec<LogBar>,
    /// What it cost.
    #[serde(default)]
    pub stats: Stats,
    /// Which rows the answer lacks because they cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One log record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogRow {
    /// When it happened, ns since the epoch.
    #[serde(with = "crate::number::ns")]
    pub time_ns: i64,
    /// OTLP's severity, 1 to 24; 0 when not told.
    pub severity_number: i32,
    /// The sender's word for it; may be empty.
    #[serde(default)]
    pub severity_text: String,
    /// `service.name`; may be empty.
    #[serde(default)]
    pub service: String,
    /// The message; structured bodies as JSON.
    pub body: String,
    /// Trace it belongs to, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Span it belongs to, 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// Attributes of the record.
    #[serde(default)]
    pub attributes: Map<String, Value>,
    /// Attributes of its resource.
    #[serde(default)]
    pub resource: Map<String, Value>,
}

/// How many records fall into one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBar {
    /// Start of the stretch, ms since the epoch; it ends where the next begins.
    pub t_ms: i64,
    /// All records.
    pub total: u64,
    /// Those of severity warning (13 to 16).
    #[serde(default)]
    pub warn: u64,
    /// Those of severity error and above (17 and up).
    pub error: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_survive_as_text() {
        let row = LogRow { time_ns: i64::MAX - 1, ..LogRow::default() };
        let text = serde_json::to_string(&row).unwrap();
        assert!(text.contains(r#""time_ns":"9223372036854775806""#), "{text}");
        assert_eq!(serde_json::from_str::<LogRow>(&text).unwrap(), row);
    }
}
