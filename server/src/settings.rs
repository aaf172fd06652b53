//! The configuration in force as the Prometheus API shows it: a document, and upstream's flags as far as we have them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::config::Config;

/// What was set at start; never changes while the process runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Every setting with its value, as YAML, secrets hidden.
    pub yaml: String,
    /// Upstream's flags that mean something here, with our values as text.
    pub flags: BTreeMap<&'static str, String>,
    /// How long samples are kept, as Prometheus writes durations.
    pub retention: String,
    /// Whether functions that Prometheus calls experimental may be used.
    pub experimental_functions: bool,
}

impl Settings {
    /// What `config` says.
    ///
    /// # Errors
    /// When a value has no JSON form, which is a mistake of ours.
    pub fn new(config: &Config) -> Result<Self, serde_json::Error> {
        let all = serde_json::to_value(config)?;
        let mut yaml = String::new();
        write_yaml(&mut yaml, &all, 0);
        let text = |section: &str, field: &str| plain(&all[section][field]);
        let retention = text("store", "retain_samples");
        let admin = config.admin.unwrap_or_else(|| config.listen.ip().is_loopback());
        let flags = BTreeMap::from([
            ("alertmanager.notification-queue-capacity", "0".to_owned()),
            ("query.lookback-delta", text("query", "lookback")),
            ("query.max-concurrency", text("query", "queries_max")),
            ("query.max-samples", text("query", "samples_max")),
            ("query.timeout", text("query", "timeout")),
            ("storage.tsdb.path", config.data_dir.display().to_string()),
            ("storage.tsdb.retention.size", text("store", "retain_samples_bytes_max")),
            ("storage.tsdb.retention.time", retention.clone()),
            ("web.enable-admin-api", admin.to_string()),
            ("web.enable-lifecycle", config.lifecycle.to_string()),
            ("web.enable-otlp-receiver", "true".to_owned()),
            ("web.enable-remote-write-receiver", "true".to_owned()),
            ("web.listen-address", config.listen.to_string()),
        ]);
        let experimental_functions = config.query.experimental_functions;
        Ok(Self { yaml, flags, retention, experimental_functions })
    }
}

/// A single value without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Block style for what has entries; everything else as JSON, which is YAML too.
pub(crate) fn write_yaml(out: &mut String, value: &Value, depth: usize) {
    let mut entry = |lead: String, value: &Value| {
        let _infallible = write!(out, "{:indent$}{lead}", "", indent = 2 * depth);
        let is_block = match value {
            Value::Object(map) => !map.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => false,
        };
        if is_block {
            out.push('\n');
            write_yaml(out, value, depth + 1);
        } else {
            let _infallible = writeln!(out, " {value}");
        }
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| entry(format!("{name}:"), value)),
        Value::Array(list) => list.iter().for_each(|value| entry("-".to_owned(), value)),
        single => {
            let _infallible = writeln!(out, "{single}");
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_settings_are_indented() {
        let mut out = String::new();
        let value = json!({"a": {"b": [1, "x: y"], "c": []}, "d": null, "e": [{"f": true}]});
        write_yaml(&mut out, &value, 0);
        expect![[r#"
            a:
              b:
                - 1
                - "x: y"
              c: []
            d: null
            e:
              -
                f: true
        "#]]
        .assert_eq(&out);
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let config: Config = toml::from_str(
            "[agent]\nheaders = {authorization = \"Basic c2VjcmV0\"}\n[[action.receivers]]\nname = \"chat\"\n\
             url = \"https://user:pass@hooks.example/services/T0/B0/token\"\n",
        )
        .unwrap();
        let yaml = Settings::new(&config).unwrap().yaml;
        assert!(yaml.contains("\"https://hooks.example/(hidden)\""), "{yaml}");
        assert!(yaml.contains("authorization: \"(hidden)\""), "{yaml}");
        for secret in ["c2VjcmV0", "token\"", "pass@"] {
            assert!(!yaml.contains(secret), "{secret}");
        }
    }

    #[test]
    fn flags_are_named_as_upstream_names_them() {
        let settings = Settings::new(&Config::default()).unwrap();
        assert_eq!(settings.flags["query.timeout"], "30s");
        assert_eq!(settings.flags["query.max-concurrency"], "20");
        assert!(settings.yaml.contains("\nquery:\n"), "{}", settings.yaml);
        assert!(!settings.retention.is_empty());
    }
}
