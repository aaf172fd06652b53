//! The columns: durable, immutable, compacted. Called by `collector` (ingest) and `query` (snapshots).

pub mod scan;
pub mod schema;

mod config;
mod error;
mod registry;
mod snapshot;
mod stats;
mod store;

pub use config::{Config, WalSync};
pub use error::{Error, ErrorKind};
pub use registry::{Resource, ResourceDef, Series, resource_id};
pub use snapshot::Snapshot;
pub use stats::{Stats, TableStats};
pub use store::{Ack, Ingest, Store};
