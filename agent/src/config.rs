//! The agent's configuration: read from TOML, checked once at start, fixed from then on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, ScrapeConfig};

pub(crate) mod duration;

/// Everything the agent can be told. Each field works as it stands; `endpoint` is the one that is usually set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// URL of the collector. Port 4317, or the scheme `grpc`/`grpcs`, means OTLP over gRPC; everything else means OTLP
    /// over HTTP, `/v1/metrics` appended to the path. `https` and `grpcs` use TLS.
    #[serde(serialize_with = "crate::http_client::redact::shown")]
    pub endpoint: String,
    /// Overrides what the endpoint says about the protocol.
    pub protocol: Protocol,
    /// Sent as `authorization: Bearer TOKEN`.
    pub token: Option<Secret>,
    /// File that holds the token (surrounding white space ignored). Read once at start; excludes `token`.
    pub token_file: Option<PathBuf>,
    /// Further headers (gRPC: metadata) of each request. Shown by their names alone: values may be secrets.
    #[serde(serialize_with = "names_alone")]
    pub headers: BTreeMap<String, String>,
    /// PEM file of certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How requests are compressed, and batches while they wait.
    pub compression: Compression,
    /// Time between two rounds of the base layer, 100 ms to 1 h. Rounds lie on multiples of it since the epoch.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Time between two scans of processes and connections; at least `interval`.
    #[serde(with = "duration")]
    pub process_interval: Duration,
    /// Time between two looks at file systems, disk sizes, interface states and sensors; at least `interval`.
    #[serde(with = "duration")]
    pub filesystem_interval: Duration,
    /// How many executables are shown by CPU time, by memory and by disk I/O each, 1 to 500; the others are summed as
    /// `other`.
    pub process_top_n: usize,
    /// Memory for batches that wait for the collector, in bytes (compressed); the oldest are dropped beyond it.
    pub queue_bytes_max: usize,
    /// Deadline of one request.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// First pause before a request is tried again; it doubles from then on, with jitter.
    #[serde(with = "duration")]
    pub retry_min: Duration,
    /// Longest pause between two tries.
    #[serde(with = "duration")]
    pub retry_max: Duration,
    /// How long a stop may wait for queued batches to be sent.
    #[serde(with = "duration")]
    pub flush_timeout: Duration,
    /// Overrides `host.name`.
    pub host_name: Option<String>,
    /// Further resource attributes, as `deployment.environment.name`.
    pub attributes: BTreeMap<String, String>,
    /// Where the kernel's `proc` is mounted.
    pub proc: PathBuf,
    /// Where the kernel's `sys` is mounted.
    pub sys: PathBuf,
    /// Where the host's root directory is visible. Anything but `/` means: the agent looks at the host from inside a
    /// container, and reads mounts and network of the host's process 1.
    pub root: PathBuf,
    /// What to scrape; nothing by default.
    pub scrape: ScrapeConfig,
}

fn names_alone<S: serde::Serializer>(
    headers: &BTreeMap<String, String>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(headers.keys().map(|name| (name, "(hidden)")))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:4317".into(),
            protocol: Protocol::Auto,
            token: None,
            token_file: None,
            headers: BTreeMap::new(),
            ca_file: None,
            compression: Compression::Zstd,
            interval: Duration::from_secs(1),
            process_interval: Duration::from_secs(5),
            filesystem_interval: Duration::from_secs(10),
            process_top_n: 20,
            queue_bytes_max: 16 << 20,
            timeout: Duration::from_secs(10),
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            flush_timeout: Duration::from_secs(5),
            host_name: None,
            attributes: BTreeMap::new(),
            proc: "/proc".into(),
            sys: "/sys".into(),
            root: "/".into(),
            scrape: ScrapeConfig::default(),
        }
    }
}

/// Which OTLP transport to speak.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// As the endpoint's scheme and port say.
    #[default]
    Auto,
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, protobuf.
    Http,
}

/// How a request body is compressed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard; a collector that refuses it gets plain bodies from then on.
    #[default]
    Zstd,
    /// Not at all.
    None,
}

/// A text that never shows up in logs or printed configurations.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl Config {
    /// Reads a TOML file. Fields it does not name keep their defaults.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or names a field that does not exist (with its position).
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| Error::Syntax {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        // What is named in a file is looked for beside it, wherever we were started.
        let folder = path.parent().unwrap_or(Path::new(""));
        for file in &mut config.scrape.config_files {
            *file = folder.join(&*file);
        }
        Ok(config)
    }

    /// Checks every field that can be wrong by itself. [`crate::run`] does so first.
    ///
    /// # Errors
    /// The first field that cannot work, with what would be right.
    pub fn check(&self) -> Result<(), Error> {
        crate::export::Target::new(self)?;
        self.scrape.check()?;
        let intervals = [
            ("interval", self.interval, Duration::from_millis(100)),
            ("process_interval", self.process_interval, self.interval),
            ("filesystem_interval", self.filesystem_interval, self.interval),
            ("timeout", self.timeout, Duration::from_millis(10)),
            ("retry_min", self.retry_min, Duration::from_millis(1)),
            ("retry_max", self.retry_max, self.retry_min),
        ];
        for (field, value, min) in intervals {
            if value < min || value > Duration::from_hours(1) {
                let (value, min) = (duration::Text(value), duration::Text(min));
                return Err(Error::field(field, format!("{value} is not between {min} and 1h")));
            }
        }
        if !(1..=500).contains(&self.process_top_n) {
            let reason = format!("{} is not between 1 and 500", self.process_top_n);
            return Err(Error::field("process_top_n", reason));
        }
        if self.queue_bytes_max < 64 << 10 {
            let reason = format!("{} is below the least of 65536 bytes", self.queue_bytes_max);
            return Err(Error::field("queue_bytes_max", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
