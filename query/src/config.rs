//! Limits and defaults of the read path. Checked once by [`crate::Engine::new`], fixed from then on.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How much a query may take, and how many may run. Every limit has a default that works.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes all running queries together may hold in memory; above it they spill, then fail.
    pub memory_bytes_max: usize,
    /// Where operators spill; emptied at start. Unset: a directory of the system for temporary files, but the server
    /// sets `spill` in its data directory.
    pub spill_dir: Option<PathBuf>,
    /// Bytes all running queries together may spill.
    pub spill_bytes_max: u64,
    /// Bytes of parsed Parquet footers and page indexes kept between queries.
    pub metadata_cache_bytes_max: usize,
    /// Threads that compute; 0 means one for each core.
    pub threads: usize,
    /// Queries that run at once; more wait, and waiting counts against their timeout.
    pub queries_max: usize,
    /// How long a query may take when the caller does not say, as `"30s"`.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// Rows of a SQL answer when the caller does not say; the rest is cut and the answer says so.
    pub rows_max: usize,
    /// Bytes of a query's text.
    pub text_bytes_max: usize,
    /// Samples a PromQL query may hold at once; a histogram counts by its size.
    pub samples_max: u64,
    /// How far back PromQL looks for the newest sample of a series, as `"5m"`.
    #[serde(with = "duration_text")]
    pub lookback: Duration,
    /// Whether functions and aggregations that Prometheus 3.14 calls experimental may be used, as `info` and `limitk`.
    pub experimental_functions: bool,
    /// Newest CPU samples a host's utilisation is computed over, as `"10s"`.
    #[serde(with = "duration_text")]
    pub host_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory_bytes_max: 512 << 20,
            spill_dir: None,
            spill_bytes_max: 4 << 30,
            metadata_cache_bytes_max: 64 << 20,
            threads: 0,
            queries_max: 20,
            timeout: Duration::from_secs(30),
            rows_max: 100_000,
            text_bytes_max: 1 << 20,
            samples_max: 50_000_000,
            lookback: Duration::from_secs(300),
            experimental_functions: true,
            host_window: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Checks what no type can.
    ///
    /// # Errors
    /// `Invalid`, naming the field, when a limit is zero and nothing could run.
    pub fn check(&self) -> Result<(), Error> {
        let zero = [
            ("query.memory_bytes_max", self.memory_bytes_max == 0),
            ("query.queries_max", self.queries_max == 0),
            ("query.timeout", self.timeout.is_zero()),
            ("query.rows_max", self.rows_max == 0),
            ("query.text_bytes_max", self.text_bytes_max == 0),
            ("query.samples_max", self.samples_max == 0),
            ("query.lookback", self.lookback.is_zero()),
            ("query.host_window", self.host_window.is_zero()),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(Error::invalid(format!("{name} must not be 0"))),
            None => Ok(()),
        }
    }
}

/// Durations as text: a number and one of `ms`, `s`, `m`, `h`, `d`.
pub(crate) mod duration_text {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

    pub(crate) fn parse(text: &str) -> Option<Duration> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit_ms = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        number.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
    }

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let ms = value.as_millis();
        let fits = |unit: &&(&str, u64)| ms.is_multiple_of(u128::from(unit.1));
        let (name, unit_ms) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
        to.serialize_str(&format!("{}{name}", ms / u128::from(*unit_ms)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is no duration: write it as 30s, 5m or 1h"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_are_written() {
        assert_eq!(duration_text::parse("1500ms"), Some(Duration::from_millis(1_500)));
        assert_eq!(duration_text::parse("5m"), Some(Duration::from_secs(300)));
        for bad in ["", "5", "m", "-5m", "5 m", "99999999999999999999s", "5y"] {
            assert_eq!(duration_text::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_zero_limit_is_named() {
        let config = Config { queries_max: 0, ..Config::default() };
        assert_eq!(config.check().unwrap_err().to_string(), "query.queries_max must not be 0");
        Config::default().check().unwrap();
    }
}
