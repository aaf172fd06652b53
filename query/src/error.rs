//! Why a query has no answer, sorted by what the caller would do about it.

use std::time::Duration;

use thiserror::Error as ThisError;

/// Where in a query's text something is wrong. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Byte offset of the first character.
    pub start: usize,
    /// Byte offset after the last character; not below `start`.
    pub end: usize,
    /// Line of `start`.
    pub line: usize,
    /// Column of `start`.
    pub column: usize,
}

impl Position {
    /// The position of the bytes `start..end` of `text`; offsets beyond its end are pulled back to it.
    #[must_use]
    pub fn of(text: &str, start: usize, end: usize) -> Self {
        let start = text.floor_char_boundary(start.min(text.len()));
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            start,
            end: end.clamp(start, text.len()),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The position of a line and column of `text`, both counted from 1, one character long.
    #[must_use]
    pub fn at(text: &str, line: u64, column: u64) -> Self {
        let nth = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
        let line_start: usize = text.split_inclusive('\n').take(nth(line)).map(str::len).sum();
        let in_line: usize = text[line_start..].chars().take(nth(column)).map(char::len_utf8).sum();
        let start = line_start + in_line;
        Self::of(text, start, start + text[start..].chars().next().map_or(0, char::len_utf8))
    }
}

/// How to react to an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Fix the query.
    Invalid,
    /// Ask for less, or later.
    Exhausted,
    /// Try again.
    Unavailable,
    /// Call a human: data or program is damaged.
    Corrupt,
}

/// What a question about the query itself gets to know beyond the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blame {
    /// The part of the text that is wrong.
    pub position: Option<Position>,
    /// A remedy, such as near names.
    pub hint: Option<String>,
}

/// A query that has no answer.
#[derive(Clone, Debug, PartialEq, ThisError)]
pub enum Error {
    /// The query cannot be read or planned (Prometheus: `bad_data`).
    #[error("{message}")]
    Invalid {
        /// What is wrong, without position.
        message: String,
        /// Where, and what to do.
        blame: Box<Blame>,
    },
    /// The query is sound but cannot be evaluated over this data (Prometheus: `execution`).
    #[error("{0}")]
    Execution(String),
    /// A limit was reached: memory, samples, rows, disk for spilling (Prometheus: `execution`).
    #[error("{0}")]
    Exhausted(String),
    /// The query's time was over, waiting included (Prometheus: `timeout`).
    #[error("query timed out in query execution")]
    Timeout {
        /// The time it was given.
        after: Duration,
    },
    /// The caller went away (Prometheus: `canceled`).
    #[error("query was canceled in query execution")]
    Canceled,
    /// Something the query needs is not there at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// Stored data is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The engine itself failed; never the caller's fault.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// An invalid query without a position.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), blame: Box::default() }
    }

    /// An invalid query, wrong at `position`.
    #[must_use]
    pub fn invalid_at(message: impl Into<String>, position: Position) -> Self {
        let blame = Blame { position: Some(position), hint: None };
        Self::Invalid { message: message.into(), blame: Box::new(blame) }
    }

    /// How to react.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::Execution(_) => ErrorKind::Invalid,
            Self::Exhausted(_) | Self::Timeout { .. } => ErrorKind::Exhausted,
            Self::Canceled | Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Corrupt(_) | Self::Internal(_) => ErrorKind::Corrupt,
        }
    }

    /// Where the query is wrong, if known.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Invalid { blame, .. } => blame.position,
            _ => None,
        }
    }

    /// What to do about it, if known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Invalid { blame, .. } => blame.hint.as_deref(),
            _ => None,
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            store::ErrorKind::Invalid => Self::invalid(message),
            store::ErrorKind::Exhausted => Self::Exhausted(message),
            store::ErrorKind::Unavailable => Self::Unavailable(message),
            store::ErrorKind::Corrupt => Self::Corrupt(message),
        }
    }
}

/// Characters of a name that are compared with others.
const NAME_CHARS_MAX: usize = 200;

/// The names among `known` that look like `name`, best first, at most three.
#[must_use]
pub(crate) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    // Nobody means a name that long, and every edit of it would be tried.
    let wanted: String = name.chars().take(NAME_CHARS_MAX).collect::<String>().to_lowercase();
    let mut scored: Vec<(usize, &str)> = known
        .filter_map(|candidate| {
            let folded = candidate.to_lowercase();
            let contains = folded.contains(&wanted) || wanted.contains(&folded);
            let edits = if contains { 1 } else { strsim::levenshtein(&wanted, &folded) };
            (edits * 5 <= wanted.chars().count() * 2).then_some((edits, candidate))
        })
        .collect();
    scored.sort_unstable();
    scored.dedup();
    scored.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "select é,\n  wrong\nfrom t";
        let start = text.find("wrong").unwrap();
        let position = Position::of(text, start, start + 5);
        assert_eq!((position.line, position.column), (2, 3));
        assert_eq!(Position::at(text, 2, 3).start, start);
        assert_eq!(Position::at(text, 99, 99), Position::of(text, text.len(), text.len()));
        assert_eq!(Position::of("", 5, 2), Position { start: 0, end: 0, line: 1, column: 1 });
    }

    #[test]
    fn near_names_are_found() {
        let known = ["samples", "series", "spans", "system.cpu.time"];
        assert_eq!(near("sample", known.into_iter()), ["samples"]);
        assert_eq!(near("cpu.time", known.into_iter()), ["system.cpu.time"]);
        assert_eq!(near("sereis", known.into_iter()), ["series"]);
        assert!(near("zzzzzz", known.into_iter()).is_empty());
    }
}
