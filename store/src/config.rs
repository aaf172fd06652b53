//! Settings of the store, checked once when it is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::memory::{LIMIT_MIN, MemoryLimit};

/// When the log is forced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalSync {
    /// Before every acknowledgement. Nothing acknowledged is ever lost.
    #[default]
    Sync,
    /// Every five seconds: a power cut loses up to five seconds of acknowledged data.
    Interval,
    /// When the system pleases: a power cut loses acknowledged data.
    None,
}

/// Settings of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything is kept; set by whoever opens the store, never from a configuration file.
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// When the log is forced to disk. Default `sync`.
    pub wal_sync: WalSync,
    /// Bytes of log records and their rows that may wait for the disk; more are refused. Default 64 MiB.
    pub wal_queue_bytes_max: u64,
    /// Memory the whole process may take, at least 256 MiB; set by whoever opens the store, as `data_dir` is.
    #[serde(skip)]
    pub memory_limit: MemoryLimit,
    /// Bytes of log behind the segments that make the head flush. Default 256 MiB.
    pub wal_behind_bytes_max: u64,
    /// Bytes of a log file, and of the space set aside for a full disk; 64 KiB to 64 MiB. Default 64 MiB.
    pub wal_file_bytes: u64,
    /// Accept the loss of damaged, acknowledged log records: the file is moved to quarantine. Default false.
    pub wal_repair: bool,
    /// Bytes in the head that make it flush. Default 64 MiB.
    pub flush_bytes_max: u64,
    /// Bytes in the head above which age alone makes it flush. Default 1 MiB.
    pub flush_bytes_min: u64,
    /// Age at which a head of more than `flush_bytes_min` is flushed. Default `60s`.
    #[serde(with = "duration_text")]
    pub flush_age: Duration,
    /// Age at which any head is flushed. Default `10m`.
    #[serde(with = "duration_text")]
    pub flush_age_max: Duration,
    /// Bytes in the heads, flushing ones included, above which ingest is refused. Default 256 MiB.
    pub head_bytes_max: u64,
    /// Series known at once, above which new ones are refused. Default 1000000.
    pub series_max: usize,
    /// How long samples, histograms and exemplars are kept. Default `15d`.
    #[serde(with = "duration_text")]
    pub retain_samples: Duration,
    /// How long rollups of 5 minutes are kept, at least as long as samples. Default `90d`.
    #[serde(with = "duration_text")]
    pub retain_rollup_5m: Duration,
    /// How long rollups of an hour are kept, at least as long as samples. Default `400d`.
    #[serde(with = "duration_text")]
    pub retain_rollup_1h: Duration,
    /// How long logs are kept. Default `7d`.
    #[serde(with = "duration_text")]
    pub retain_logs: Duration,
    /// How long spans are kept. Default `7d`.
    #[serde(with = "duration_text")]
    pub retain_spans: Duration,
    /// Bytes of all segments together above which the oldest windows end. Default 0: no limit.
    pub retain_bytes_max: u64,
    /// Likewise for samples, histograms and exemplars. Default 0.
    pub retain_samples_bytes_max: u64,
    /// Likewise for logs. Default 0.
    pub retain_logs_bytes_max: u64,
    /// Likewise for spans. Default 0.
    pub retain_spans_bytes_max: u64,
    /// What holds for one tenant instead, by its number.
    pub retain_tenants: BTreeMap<String, TenantRetention>,
    /// How long deleted rows may stay in segments, hidden; they are taken out after half of it. Default `1d`.
    #[serde(with = "duration_text")]
    pub delete_within: Duration,
    /// How long files that were replaced stay readable. Default `15m`.
    #[serde(with = "duration_text")]
    pub snapshot_grace: Duration,
    /// Bytes of memory one compaction may take; with less it merges fewer segments at once. Default 256 MiB.
    pub compact_bytes_max: u64,
    /// Bytes of a compacted segment from which the next one begins. Default 256 MiB.
    pub compact_segment_bytes: u64,
}

/// How long the rows of one tenant are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantRetention {
    /// Samples, histograms and exemplars; without it as for everybody.
    #[serde(with = "duration_text::optional")]
    pub samples: Option<Duration>,
    /// Logs, likewise.
    #[serde(with = "duration_text::optional")]
    pub logs: Option<Duration>,
    /// Spans, likewise.
    #[serde(with = "duration_text::optional")]
    pub spans: Option<Duration>,
    /// Bytes of the tenant's segments above which its oldest windows end. Default 0: no limit of its own.
    pub bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("headrope-data"),
            wal_sync: WalSync::Sync,
            wal_queue_bytes_max: 64 << 20,
            memory_limit: MemoryLimit::Auto,
            wal_behind_bytes_max: 256 << 20,
            wal_file_bytes: 64 << 20,
            wal_repair: false,
            flush_bytes_max: 64 << 20,
            flush_bytes_min: 1 << 20,
            flush_age: Duration::from_secs(60),
            flush_age_max: Duration::from_secs(600),
            head_bytes_max: 256 << 20,
            series_max: 1_000_000,
            retain_samples: Duration::from_secs(15 * 86_400),
            retain_rollup_5m: Duration::from_secs(90 * 86_400),
            retain_rollup_1h: Duration::from_secs(400 * 86_400),
            retain_logs: Duration::from_secs(7 * 86_400),
            retain_spans: Duration::from_secs(7 * 86_400),
            retain_bytes_max: 0,
            retain_samples_bytes_max: 0,
            retain_logs_bytes_max: 0,
            retain_spans_bytes_max: 0,
            retain_tenants: BTreeMap::new(),
            delete_within: crate::delete::WITHIN,
            snapshot_grace: Duration::from_secs(15 * 60),
            compact_bytes_max: 256 << 20,
            compact_segment_bytes: 256 << 20,
        }
    }
}

impl Config {
    /// Refuses settings that make no sense together.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |name, reason: &str| Err(Error::Setting { name, reason: reason.to_owned() });
        if self.data_dir.as_os_str().is_empty() {
            return refuse("data_dir", "it is empty");
        }
        if self.memory_limit.bytes() < LIMIT_MIN {
            return refuse("memory_limit", "at least 256MiB are needed");
        }
        if self.wal_queue_bytes_max < 1 << 20 {
            return refuse("wal_queue_bytes_max", "at least 1 MiB is needed");
        }
        if !(64 << 10..=64 << 20).contains(&self.wal_file_bytes) {
            return refuse("wal_file_bytes", "it must be between 64 KiB and 64 MiB");
        }
        if self.head_bytes_max < self.flush_bytes_max {
            return refuse(
                "head_bytes_max",
                "it is below flush_bytes_max, so ingest would be refused before a flush",
            );
        }
        // As a number is written, or the tenant's rows would not be found by it: `007` is none.
        let is_number = |name: &str| name.parse().is_ok_and(|id: u32| id.to_string() == name);
        if let Some(name) = self.retain_tenants.keys().find(|name| !is_number(name)) {
            return refuse("retain_tenants", &format!("`{name}` is not the number of a tenant"));
        }
        if self.flush_bytes_max == 0 || self.series_max == 0 {
            return refuse("flush_bytes_max", "it and series_max must be above zero");
        }
        Ok(())
    }
}

/// Durations as text: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
mod duration_text {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (unit, size) = UNITS
            .into_iter()
            .rev()
            .find(|(_, size)| ms >= *size && ms.is_multiple_of(*size))
            .unwrap_or(("ms", 1));
        to.serialize_str(&format!("{}{unit}", ms / size))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is not a duration: write a whole number and ms, s, m, h or d, as 30s"
            ))
        })
    }

    /// The same, where nothing may be said.
    pub(super) mod optional {
        use super::{Deserializer, Duration, Serializer};

        #[expect(clippy::ref_option, reason = "serde asks for this signature")]
        pub(in super::super) fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, to),
                None => to.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Duration>, D::Error> {
            super::deserialize(from).map(Some)
        }
    }

    pub(super) fn parse(text: &str) -> Option<Duration> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let (_, size) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(size)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_named_by_number() {
        let read = |text| serde_json::from_str::<Config>(text).unwrap();
        let config = read(r#"{"retain_tenants":{"7":{"logs":"3d","bytes_max":5}}}"#);
        let own = TenantRetention {
            logs: Some(Duration::from_secs(3 * 86_400)),
            bytes_max: 5,
            ..TenantRetention::default()
        };
        assert_eq!(config.retain_tenants["7"], own);
        assert!(config.check().is_ok());
        assert!(read(r#"{"retain_tenants":{"seven":{}}}"#).check().is_err());
        assert!(read(r#"{"retain_tenants":{"007":{}}}"#).check().is_err());
    }

    #[test]
    fn durations_read_what_they_write() {
        let config: Config =
            serde_json::from_str(r#"{"flush_age":"90s","retain_logs":"3d"}"#).unwrap();
        assert_eq!(config.flush_age, Duration::from_secs(90));
        let text = serde_json::to_string(&config).unwrap();
        assert!(
            text.contains(r#""flush_age":"90s""#) && text.contains(r#""retain_logs":"3d""#),
            "{text}"
        );
        for bad in ["", "s", "10", "1.5s", "10 s", "99999999999999999999d", "18446744073709551615d"]
        {
            assert_eq!(duration_text::parse(bad), None, "{bad}");
        }
    }
}
