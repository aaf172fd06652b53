//! The columns: durable, immutable, compacted. Called by `collector` (ingest) and `query` (snapshots).

pub mod backup;
pub mod scan;
pub mod schema;

mod arrange;
mod catalogue;
mod codec;
mod compact;
mod config;
mod core;
mod definition;
mod delete;
mod delivery;
mod disk;
mod error;
mod flush;
mod head;
mod ingest;
mod inventory;
mod live;
mod memory;
mod object;
mod open;
mod rebuild;
mod registry;
mod sample;
mod segment;
mod snapshot;
mod stats;
mod store;
mod verify;
mod wal;

pub use config::{Config, WalSync};
pub use delete::{Delete, DeleteFrom, DeleteRecord};
pub use delivery::Delivery;
pub use error::{Error, ErrorKind};
pub use ingest::Ingest;
pub use inventory::{ColumnBytes, Inventory, Level};
pub use memory::{Held, LIMIT_MIN, Memory, MemoryLimit, ParseMemoryLimitError, Pressure, Share};
pub use rebuild::Rebuilt;
pub use registry::{Resource, ResourceDef, Series, resource_id};
pub use sample::{Resolved, Samples, SeriesRef};
pub use snapshot::Snapshot;
pub use stats::{MemoryStats, ShareStats, Stats, TableStats};
pub use store::{Ack, Store};
pub use verify::{Problem, Report};
