//! Load, peers and measurements: what `cargo xtask bench` and the density bench are made of.
//!
//! Everything listens on loopback, works in a folder it was given and is ended by it. Telemetry is made from a seed, so
//! that two runs send the same bytes but for their timestamps.

pub mod client;
pub mod clock;
pub mod drive;
pub mod fleet;
pub mod peer;
pub mod process;
pub mod proto;
pub mod record;
pub mod recording;
pub mod report;
pub mod step;
pub mod stream;
