//! Decides: rules and the answers to their queries go in, transitions of alerts and recorded samples come out.
//!
//! The core (`state`, `record`, `expand`, `schedule`) is pure: no clock, no I/O. [`Alerts::run`] is the thin shell that
//! keeps time, asks, writes the state and hands transitions over. Notifications and actions are `action`'s.

pub mod backtest;
mod codec;
mod config;
mod engine;
mod error;
mod evaluate;
mod expand;
mod handover;
mod interest;
mod judge;
mod live;
mod probe;
mod record;
mod restore;
pub mod route;
pub mod rule;
mod run;
mod schedule;
pub mod slo;
mod source;
mod state;
mod state_dir;
mod status;
pub mod unit_test;
mod yaml;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use engine::Past;
pub use error::{Error, ErrorKind};
pub use handover::{Handover, Outlets, Recorded, RecordedBatch};
pub use interest::{Arrival, Readers};
pub use run::Alerts;
pub use source::{Answer, Ask, Evaluate, Row};
pub use state_dir::StateDir;
pub use status::{AlertStatus, GroupStatus, Health, RuleStatus, Status};
