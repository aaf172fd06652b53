//! `GET hosts?from&to`: every host heard of, with its latest load. `from` and `to` are ms since the epoch.

use serde::{Deserialize, Serialize};

/// One host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// `host.name`.
    pub name: String,
    /// `host.id`; empty when the sender gave none.
    #[serde(default)]
    pub host_id: String,
    /// `os.description`, else `os.type`.
    #[serde(default)]
    pub os: String,
    /// `host.arch`.
    #[serde(default)]
    pub arch: String,
    /// Time of its latest sample, ms since the epoch.
    pub last_seen_ms: i64,
    /// How it fares.
    pub state: HostState,
    /// Share of CPU time not idle over the last minute, 0 to 1.
    #[serde(default)]
    pub cpu_utilization: Option<f64>,
    /// Share of memory in use, 0 to 1.
    #[serde(default)]
    pub memory_utilization: Option<f64>,
    /// Share of the fullest file system, 0 to 1.
    #[serde(default)]
    pub filesystem_utilization: Option<f64>,
    /// Load average over one minute.
    #[serde(default)]
    pub load_1m: Option<f64>,
    /// Logical CPUs.
    #[serde(default)]
    pub cpus: Option<f64>,
    /// Seconds since it booted.
    #[serde(default)]
    pub uptime_s: Option<f64>,
    /// Why the state is not ok, one sentence each.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// How a host fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// Nothing to see.
    Ok,
    /// A resource runs short.
    Warn,
    /// A resource is used up.
    Error,
    /// Silent for longer than it should be.
    #[default]
    Unknown,
}
