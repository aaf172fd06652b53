//! Segments: immutable Parquet files with their sidecars. Layout in `docs/format/segment.md`.

pub(crate) mod puffin;
pub(crate) mod read;
pub(crate) mod recipe;
pub(crate) mod value;
pub(crate) mod write;
