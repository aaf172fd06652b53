//! The columns: durable, immutable, compacted. Called by `collector` (ingest) and `query` (snapshots).

pub mod schema;
