//! The steps of `cargo xtask bench`: each measures one thing and returns a section of the report.

pub mod cost;
pub mod ingest;
pub mod query;
pub mod search;
pub mod series;
pub mod soak;

use std::path::PathBuf;

use crate::peer::Kind;

/// Where a step works and how long it may take.
pub struct Setting {
    /// Our server's program.
    pub headrope: PathBuf,
    /// A folder for data; emptied by who uses it.
    pub dir: PathBuf,
    /// Small and short instead of the figures that count.
    pub is_quick: bool,
    /// Without peers: for work on ours.
    pub is_alone: bool,
}

impl Setting {
    /// The servers that are measured.
    #[must_use]
    pub fn kinds(&self) -> &'static [Kind] {
        if self.is_alone { &Kind::ALL[..1] } else { &Kind::ALL }
    }
}
