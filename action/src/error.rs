//! What can go wrong before or while a transition is kept; a message that cannot be delivered is not
//! an error but an outcome in the journal.

use std::path::{Path, PathBuf};

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Fix the input.
    Invalid,
    /// Ask for less, or later.
    Exhausted,
    /// Try again.
    Unavailable,
    /// A human must look.
    Corrupt,
}

/// Why a notifier could not be opened, or a transition not be accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the configuration is wrong.
    #[error("action.{field}: {problem}; {remedy}")]
    Config {
        /// Which field, as a path below `[action]`.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// Too many messages wait for their receivers.
    #[error("{pending} {unit} wait for delivery and {limit} may: try again when receivers answer")]
    Full {
        /// What is not yet delivered.
        pending: usize,
        /// `messages` or `bytes`.
        unit: &'static str,
        /// `action.queue_max` or `action.queue_bytes_max`.
        limit: usize,
    },
    /// The message would not fit into one record of the journal.
    #[error("the message of {rule} has {bytes} bytes and {limit} fit: shorten its labels")]
    TooLong {
        /// Rule of the transition.
        rule: String,
        /// Length of its message.
        bytes: usize,
        /// Longest message.
        limit: usize,
    },
    /// A file could not be read or written.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The journal accepts nothing more until the process starts again.
    #[error("the action journal is closed: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
    /// The journal was written by a later release.
    #[error(
        "{path} has format version {found}, this release reads up to version {known}: run a newer release, or move the file away (what it holds is then not delivered)"
    )]
    Newer {
        /// The journal file.
        path: PathBuf,
        /// Format found.
        found: u32,
        /// Newest format known.
        known: u32,
    },
    /// A part of the journal that was once on disk is no longer what was written.
    #[error(
        "{path} is corrupt at byte {at}: {problem}; restore it, or move it away (what it holds is then not delivered)"
    )]
    Corrupt {
        /// The journal file.
        path: PathBuf,
        /// Offset of the first bad record.
        at: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// The HTTP client could not be built: most often the system's root certificates are missing.
    #[error(
        "cannot prepare https: {reason}; install the system's root certificates (Debian: apt-get install ca-certificates)"
    )]
    Client {
        /// What the TLS library said.
        reason: String,
    },
}

impl Error {
    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::TooLong { .. } | Self::Newer { .. } => ErrorKind::Invalid,
            Self::Full { .. } => ErrorKind::Exhausted,
            Self::Io { .. } | Self::Closed { .. } | Self::Client { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }

    pub(crate) fn config(
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Config { field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Wraps what the system said about `path`.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
