//! `GET status`: is this server well, where does it listen, what has it taken in?

use serde::{Deserialize, Serialize};

/// The answer of `GET status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// When the process started, ms since the epoch.
    pub started_ms: i64,
    /// Seconds since then.
    pub uptime_s: u64,
    /// Where to send telemetry.
    pub addresses: Addresses,
    /// What came in.
    pub ingest: Ingest,
    /// What is kept.
    pub store: Store,
    /// What a person should look at, worst first; empty when all is well.
    pub problems: Vec<Problem>,
}

/// URLs a client can use, with scheme and port; empty when that door is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// This dashboard and the query API.
    pub http: String,
    /// OTLP over gRPC.
    pub otlp_grpc: String,
    /// OTLP over HTTP, without `/v1/…`.
    pub otlp_http: String,
}

/// Telemetry admitted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ingest {
    /// Samples a second over the last minute.
    pub samples_per_s: f64,
    /// Samples.
    pub samples_total: u64,
    /// Log records.
    pub log_rows_total: u64,
    /// Spans.
    pub span_rows_total: u64,
    /// Items of any signal refused or dropped.
    pub rejected_total: u64,
}

/// Size of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    /// Immutable files.
    pub segments: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Series known.
    pub series: u64,
    /// Bytes of the WAL not yet covered by segments.
    pub wal_bytes: u64,
    /// Bytes held in memory by the heads.
    pub head_bytes: u64,
}

/// Something a person should look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worse than it should be, nothing lost.
    #[default]
    Warn,
    /// Something was lost or does not work.
    Error,
}
