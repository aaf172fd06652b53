//! What crosses the HTTP boundary under `/api/headrope/v1/`: requests, answers, errors and the columns format.
//!
//! Written by `server`, read by `ui` and by anyone with curl. Holds no logic beyond encoding, decoding and the
//! grammar of time ranges; does no I/O and builds for wasm32.

pub mod alert;
pub mod backtest;
pub mod columns;
pub mod complete;
pub mod error;
pub mod host;
pub mod incident;
pub mod log;
pub mod number;
pub mod query;
pub mod range;
pub mod running;
pub mod slo;
pub mod sql;
pub mod status;
pub mod trace;
