//! The steps of `cargo xtask bench`: each measures one thing and returns a section of the report.

pub mod cost;
pub mod ingest;
pub mod query;
pub mod search;
pub mod series;
pub mod soak;

use std::path::PathBuf;

/// Where a step works and how long it may take.
pub struct Setting {
    /// Our server's program.
    pub headrope: PathBuf,
    /// A folder for data; emptied by who uses it.
    pub dir: PathBuf,
    /// Small and short instead of the figures that count.
    pub is_quick: bool,
}
