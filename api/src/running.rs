//! `GET queries`: what is being asked just now. `DELETE queries/{id}` ends one. `GET queries/metrics`: what was asked for.

use serde::{Deserialize, Serialize};

/// The answer to `GET queries`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningQueries {
    /// Oldest first.
    pub queries: Vec<RunningQuery>,
}

/// A query under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningQuery {
    /// Number in this process, for `DELETE queries/{id}`.
    pub id: u64,
    /// `promql` or `sql`.
    pub language: String,
    /// Its text; at most 4 KiB of it.
    pub text: String,
    /// Address of the client; empty for a rule or a part of the server.
    pub client: String,
    /// Path it came through, `rule`, or `inside`.
    pub source: String,
    /// Seconds since it was asked, waiting included.
    pub age_s: f64,
    /// Samples read so far; 0 for SQL.
    pub samples: u64,
    /// Memory it holds, bytes.
    pub bytes: u64,
}

/// The answer to `GET queries/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricUses {
    /// By name.
    pub metrics: Vec<MetricUse>,
    /// Uses of metrics beyond those that are counted one by one.
    pub uncounted: u64,
}

/// How a metric was used in PromQL since the start of the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricUse {
    /// Prometheus name.
    pub metric: String,
    /// Queries that selected it by name, rules included.
    pub queries: u64,
    /// When the last one was asked, ms since the epoch.
    pub last_ms: i64,
}
