//! Settings of the rule engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rule::{INTERVAL_MIN, Naming, Options};

/// Settings of the rule engine, checked once at start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Prometheus rule files; relative paths start at the folder of the configuration file. A last part with a `*` is a
    /// pattern.
    pub rules: Vec<PathBuf>,
    /// Files of service level objectives, which become rules; paths as those of `rules`.
    pub slos: Vec<PathBuf>,
    /// Interval of groups that name none; at least `1s`.
    #[serde(with = "duration_text")]
    pub evaluation_interval: Duration,
    /// How far before the evaluation time queries look, for groups that do not say.
    #[serde(with = "duration_text")]
    pub rule_query_offset: Duration,
    /// Longest evaluation of one rule; a shorter interval of its group bounds it as well.
    #[serde(with = "duration_text")]
    pub evaluation_timeout_max: Duration,
    /// How long after a start an alert that fired before is held although its series are not back yet.
    #[serde(with = "duration_text")]
    pub restore_grace: Duration,
    /// Most groups.
    pub groups_max: usize,
    /// Most series or active alerts of one rule, whatever its group's `limit` says.
    pub alerts_per_rule_max: usize,
    /// Most groups evaluated at the same time.
    pub evaluations_concurrent_max: usize,
    /// Evaluate alerts also when data they read arrives, at most every 250 ms, and not at their slots alone. Default: no.
    pub event_driven: bool,
    /// Accept only the names that were valid before Prometheus 3.
    pub legacy_names: bool,
    /// Configuration of notifications in Alertmanager's format; a relative path starts at the folder of the configuration
    /// file. Default: none, and alerts go to the receivers of `action` alone.
    pub alertmanager_config: Option<PathBuf>,
    /// Most alerts held for notification, before posted ones are refused. Default 100000.
    pub routed_alerts_max: usize,
    /// Most groups of alerts, before posted alerts that would make another are refused. Default 50000.
    pub routed_groups_max: usize,
    /// Labels of this installation, seen by templates as `$externalLabels`.
    pub external_labels: BTreeMap<String, String>,
    /// Address under which people reach this server, seen by templates as `externalURL`.
    pub external_url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            slos: Vec::new(),
            evaluation_interval: Duration::from_secs(60),
            rule_query_offset: Duration::ZERO,
            evaluation_timeout_max: Duration::from_secs(120),
            restore_grace: Duration::from_secs(60),
            groups_max: 10_000,
            alerts_per_rule_max: 10_000,
            evaluations_concurrent_max: 4,
            event_driven: false,
            legacy_names: false,
            alertmanager_config: None,
            routed_alerts_max: 100_000,
            routed_groups_max: 50_000,
            external_labels: BTreeMap::new(),
            external_url: String::new(),
        }
    }
}

impl Config {
    /// How rule files are to be read under these settings.
    #[must_use]
    pub const fn rule_options(&self) -> Options {
        Options {
            naming: if self.legacy_names { Naming::Legacy } else { Naming::Utf8 },
            interval: self.evaluation_interval,
            query_offset: self.rule_query_offset,
            ignore_unknown_fields: false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong =
            |setting, reason: &str| Err(Error::Setting { setting, reason: reason.to_owned() });
        if self.evaluation_interval < INTERVAL_MIN {
            return wrong("evaluation_interval", "must be 1s or more");
        }
        if self.evaluation_timeout_max.is_zero() {
            return wrong("evaluation_timeout_max", "must be above 0s");
        }
        if self.alerts_per_rule_max == 0 {
            return wrong("alerts_per_rule_max", "must be 1 or more");
        }
        if self.evaluations_concurrent_max == 0 {
            return wrong("evaluations_concurrent_max", "must be 1 or more");
        }
        Ok(())
    }
}

/// Durations as Prometheus writes them: `30s`, `1h30m`.
mod duration_text {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use template::duration;

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&duration::text(i64::try_from(value.as_millis()).unwrap_or(i64::MAX)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        let ms = duration::parse_ms(&text).and_then(|ms| u64::try_from(ms).ok());
        ms.map(Duration::from_millis).ok_or_else(|| {
            D::Error::custom(format!("not a valid duration: {text:?}, write it like 30s"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_what_they_print_and_refuse_the_rest() {
        let written = serde_json::to_string(&Config::default()).expect("it prints");
        assert!(written.contains(r#""evaluation_interval":"1m""#), "{written}");
        let read: Config = serde_json::from_str(&written).expect("it reads");
        assert_eq!(read.evaluation_timeout_max, Duration::from_secs(120));
        assert!(read.check().is_ok());
        for bad in [r#"{"evaluation_interval":"1 minute"}"#, r#"{"unknown":1}"#] {
            assert!(serde_json::from_str::<Config>(bad).is_err(), "{bad}");
        }
        let hasty = Config { evaluation_interval: Duration::from_millis(999), ..Config::default() };
        let told = hasty.check().map_err(|error| error.to_string());
        assert_eq!(told, Err("alert.evaluation_interval: must be 1s or more".to_owned()));
    }
}
