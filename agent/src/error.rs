//! What can go wrong before the agent runs, and the little that can end it afterwards.

use std::path::PathBuf;

/// How a caller sorts an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The configuration is wrong: fix it.
    Invalid,
    /// A limit was reached: ask for less.
    Exhausted,
    /// The system refused something it may grant later: retry.
    Unavailable,
    /// Data is damaged: a human must look.
    Corrupt,
}

/// Why the agent did not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the configuration has a value the agent cannot work with.
    #[error("`{field}`: {reason}")]
    Field {
        /// Name of the field in `Config`.
        field: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The configuration file is not TOML or holds an unknown field.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Position and cause, as the TOML reader states them.
        reason: String,
    },
    /// A file named by the configuration cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The client for the collector cannot be built.
    #[error("cannot set up the export to `{endpoint}`: {reason}")]
    Export {
        /// The configured endpoint.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The sampling task panicked or was cancelled by the runtime.
    #[error("sampling stopped: {0}")]
    Sampling(String),
}

impl Error {
    pub(crate) fn field(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Field { field, reason: reason.into() }
    }

    /// How to sort it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Field { .. } | Self::Syntax { .. } | Self::File { .. } => ErrorKind::Invalid,
            Self::Export { .. } | Self::Sampling(_) => ErrorKind::Unavailable,
        }
    }
}
