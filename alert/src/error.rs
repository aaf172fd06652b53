//! What can go wrong outside of a single evaluation; a failed evaluation is the health of its rule instead.

use std::path::PathBuf;

use crate::rule::Problems;

/// What a caller should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Mend the input.
    Invalid,
    /// Ask for less.
    Exhausted,
    /// Try again later.
    Unavailable,
    /// A human must look at stored data.
    Corrupt,
}

/// Why rules could not be set up or their state not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Rule files with something wrong in them.
    #[error("{0}")]
    Rules(#[from] Problems),
    /// A setting that makes no sense.
    #[error("alert.{setting}: {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// More groups than allowed.
    #[error("{got} rule groups, limit is {limit}: raise alert.groups_max or load fewer")]
    Groups {
        /// How many there are.
        got: usize,
        /// How many may be.
        limit: usize,
    },
    /// Two groups with the same file and name.
    #[error("group {group:?} of {file} was given twice")]
    Repeated {
        /// File of both.
        file: String,
        /// Name of both.
        group: String,
    },
    /// The directory of the alerts' state cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    State {
        /// What was tried.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A state file that is not what was written.
    #[error("alert state {} is corrupt: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Rules(_) | Self::Setting { .. } | Self::Repeated { .. } => ErrorKind::Invalid,
            Self::Groups { .. } => ErrorKind::Exhausted,
            Self::State { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }
}
