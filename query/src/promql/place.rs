//! Where something stands in a query text, and the errors that point there. Used by lexer, parser and checks.

use std::fmt;

/// A stretch of the query text: byte offsets, `start` included, `end` excluded, both on character borders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Place {
    /// The bytes from `start` to before `end`.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// From the first byte of `self` to the last of `last`.
    #[must_use]
    pub const fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }

    /// Line and column of the start within `text`, both from 1; the column counts bytes.
    #[must_use]
    pub fn line_col(self, text: &str) -> (usize, usize) {
        let before = &text.as_bytes()[..self.start.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        (line, before.len() - line_start + 1)
    }
}

/// A text that is not PromQL, or PromQL that does not type-check. `Display` is upstream's sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct ParseError {
    /// The sentence without position.
    pub message: String,
    /// Where it applies.
    pub place: Place,
    /// Line of the start, from 1.
    pub line: usize,
    /// Column of the start in bytes, from 1.
    pub column: usize,
}

/// An error before its line and column are known.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) place: Place,
}

impl Fault {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { message: message.into(), place }
    }

    pub(crate) fn locate(self, text: &str) -> ParseError {
        let (line, column) = self.place.line_col(text);
        ParseError { message: self.message, place: self.place, line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.start, self.end)
    }
}
