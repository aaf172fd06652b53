//! The one shape of every error answer: `{"error": {"kind", "message", "position"?, "hint"?}}`.

use serde::{Deserialize, Serialize};

/// What the caller can do about it. Each kind has one HTTP status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is wrong: mend it (400).
    Invalid,
    /// There is no such thing (404).
    NotFound,
    /// A limit was reached: ask for less, or later (429).
    Exhausted,
    /// It took longer than allowed: ask for less (504).
    Timeout,
    /// Not now: retry (503).
    #[default]
    Unavailable,
    /// Stored data is damaged: a human must look (500).
    Corrupt,
}

impl ErrorKind {
    /// The HTTP status that goes with this kind.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Exhausted => 429,
            Self::Corrupt => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }
}

/// Where in the query text the mistake is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// First byte of the offending text, counted from 0 in the UTF-8 of the query.
    pub start: usize,
    /// First byte after it; equal to `start` when something is missing there.
    pub end: usize,
    /// Line of `start`, counted from 1.
    pub line: usize,
    /// Column of `start` in characters, counted from 1.
    pub column: usize,
}

impl Position {
    /// The position of the bytes `start..end` of `text`, clamped to its length.
    #[must_use]
    pub fn locate(text: &str, start: usize, end: usize) -> Self {
        let start = start.min(text.len());
        let end = end.clamp(start, text.len());
        let before = String::from_utf8_lossy(&text.as_bytes()[..start]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        Self { start, end, line, column }
    }
}

/// An error as the caller sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What the caller can do.
    pub kind: ErrorKind,
    /// What went wrong, in the words of the part that noticed.
    pub message: String,
    /// Where in the query, when the query is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What to try instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ApiError {
    /// An error without position and hint.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), position: None, hint: None }
    }
}

/// The body of every answer with a status of 400 or above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ApiError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let text = "sum(\n  é + bad)";
        let start = text.find("bad").unwrap();
        let at = Position::locate(text, start, start + 3);
        assert_eq!((at.line, at.column), (2, 7));
        assert_eq!(Position::locate("a", 9, 2), Position { start: 1, end: 1, line: 1, column: 2 });
    }

    #[test]
    fn absent_parts_are_left_out_of_the_json() {
        let body = ErrorBody { error: ApiError::new(ErrorKind::NotFound, "no trace ab") };
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(text, r#"{"error":{"kind":"not_found","message":"no trace ab"}}"#);
    }
}
