//! What one commit changes, and what it is for.

use model::time::Timestamp;

use crate::catalogue::{Checkpoint, DataFile};
use crate::delivery::Deliveries;
use crate::segment::write::{Facts, Origin};

/// What a commit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitKind {
    /// Rows of the head are in segments.
    Flush,
    /// Segments were merged.
    Compact,
    /// Segments ended by age or bytes.
    Retain,
    /// A segment was written anew without deleted rows.
    Delete,
    /// The catalogue was made anew.
    Rebuild,
}

impl CommitKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Compact => "compact",
            Self::Retain => "retain",
            Self::Delete => "delete",
            Self::Rebuild => "rebuild",
        }
    }
}

/// What one commit changes.
pub(crate) struct Commit<'a> {
    pub(crate) kind: CommitKind,
    pub(crate) now: Timestamp,
    pub(crate) new: &'a [Facts],
    pub(crate) origin: &'a Origin,
    /// Files that end with this commit.
    pub(crate) ended: &'a [DataFile],
    /// Commit order of the new files; `None` takes the next one.
    pub(crate) commit_order: Option<i64>,
    /// Moves the watermark from `origin.lo` to `origin.hi`.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Numbered batches among the rows.
    pub(crate) deliveries: &'a Deliveries,
}
