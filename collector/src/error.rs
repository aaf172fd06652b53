//! Why a request as a whole was refused. What is wrong with single records is told in `admit`.

use std::time::Duration;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Mend the request; sending it again as it is will not help.
    Invalid,
    /// Send less, or later.
    Exhausted,
    /// Send it again later.
    Unavailable,
    /// A human must look at the server.
    Corrupt,
}

/// Why a request was refused; nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is not what its content type says.
    #[error("{0}")]
    Malformed(String),
    /// The body, or what it inflates to, is over a limit.
    #[error("{0}")]
    TooLarge(String),
    /// The client was too slow to send its body.
    #[error("the body did not arrive within {}; send smaller batches or check the network", crate::duration::print(*.0))]
    TooSlow(Duration),
    /// Requests in flight hold all the memory they may.
    #[error(
        "requests in flight hold {held} of {limit} bytes; retry later, or raise `memory_limit`"
    )]
    Busy {
        /// Bytes held now.
        held: u64,
        /// Bytes that may be held.
        limit: u64,
    },
    /// The store did not take the batch.
    #[error(transparent)]
    Store(store::Error),
    /// A setting makes no sense.
    #[error("collector setting `{name}` is {value}: {reason}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: usize,
        /// Why it cannot be.
        reason: &'static str,
    },
    /// Our own fault.
    #[error("{0}")]
    Internal(String),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::BatchSize { .. } => Self::TooLarge(error.to_string()),
            _ => Self::Store(error),
        }
    }
}

impl Error {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed(_) | Self::TooLarge(_) | Self::TooSlow(_) | Self::Setting { .. } => {
                ErrorKind::Invalid
            }
            Self::Busy { .. } => ErrorKind::Exhausted,
            Self::Internal(_) => ErrorKind::Corrupt,
            Self::Store(error) => match error.kind() {
                store::ErrorKind::Exhausted => ErrorKind::Exhausted,
                store::ErrorKind::Unavailable => ErrorKind::Unavailable,
                // The store judges batches that we made: what it calls invalid is our fault, not the sender's.
                store::ErrorKind::Invalid | store::ErrorKind::Corrupt => ErrorKind::Corrupt,
            },
        }
    }
}
