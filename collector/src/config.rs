//! The collector's settings: how much it takes in, from when, and what it promotes. Read once at start.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::error::Error;
use crate::translation::TranslationStrategy;

/// Limits of the write path. Every default works; every limit is counted in [`crate::Stats`] when it bites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Largest body as it comes over the wire, compressed or not, in bytes. Default 32 MiB.
    pub wire_bytes_max: usize,
    /// Largest body once decompressed, in bytes. Default 32 MiB.
    pub decoded_bytes_max: usize,
    /// How many times its compressed size a body may grow to, once it is past 1 MiB. Default 2 048: idle
    /// counters compress 1 300-fold, so that only what no telemetry does is refused by it.
    pub inflate_ratio_max: usize,
    /// Memory all requests in flight may hold together, in bytes; more are refused for now. Default 512 MiB, or a tenth of
    /// the process's memory limit, whichever is less.
    pub bytes_in_flight_max: usize,
    /// How long a client may take to send its body. Default `"10s"`.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// After how long a refused client should come back. Default `"1s"`.
    #[serde(with = "duration")]
    pub retry_after: Duration,
    /// How far ahead of our clock a time may be. Default `"10m"`.
    #[serde(with = "duration")]
    pub future_max: Duration,
    /// How old a metric's data point may be. Default `"7d"`.
    #[serde(with = "duration")]
    pub sample_age_max: Duration,
    /// How old a log record or span may be. Default `"2d"`.
    #[serde(with = "duration")]
    pub record_age_max: Duration,
    /// Most attributes of one data point; more reject the point. Default 64.
    pub labels_max: usize,
    /// Longest key or value of a data point's attribute, in bytes; longer rejects the point. Default 4 096.
    pub label_bytes_max: usize,
    /// Longest name of a metric, in bytes; longer rejects its points. It stands in every row of them. Default 512.
    pub metric_name_bytes_max: usize,
    /// Most attributes of a resource, log record, span, event or link; the rest is dropped. Default 256.
    pub attributes_max: usize,
    /// Longest value of such an attribute, in bytes; longer is cut. Default 64 KiB.
    pub attribute_bytes_max: usize,
    /// Longest attribute key, in bytes; an attribute with a longer one is dropped. Default 512.
    pub key_bytes_max: usize,
    /// Largest log record or span on the wire, in bytes; larger ones are rejected. Default 4 MiB.
    pub record_bytes_max: usize,
    /// Longest body of a log record, in bytes; longer is cut. Default 1 MiB.
    pub log_body_bytes_max: usize,
    /// Most events, and most links, of a span; the rest is dropped. Default 1 024.
    pub events_max: usize,
    /// Most buckets of a histogram point; more reject the point. Default 4 096.
    pub buckets_max: usize,
    /// Most exemplars kept of one series in one minute. Default 10.
    pub exemplars_per_minute_max: u32,
    /// Series whose identity is remembered, so that their attributes are not translated again. Default 1 048 576.
    pub series_cache_max: usize,
    /// Resources remembered likewise. Default 16 384.
    pub resource_cache_max: usize,
    /// How OTLP's names become Prometheus' ones. A series that is stored keeps the names it has: what is changed here holds
    /// for new ones. Default `"UnderscoreEscapingWithSuffixes"`.
    pub translation_strategy: TranslationStrategy,
    /// Resource attributes that become Prometheus labels of every series of the resource.
    pub promote_resource_attributes: Vec<String>,
    /// Whether name, version, schema URL and attributes of the scope become labels `otel_scope_…` of every series of
    /// it, and part of its identity. Default false.
    pub promote_scope: bool,
    /// Whether literals in `db.query.text` are replaced by `?` before they are stored. Default true.
    pub redact_query_text: bool,
}

impl Config {
    /// Whether the settings fit together; called once at start.
    ///
    /// # Errors
    ///
    /// Names the first setting that makes no sense, and why.
    pub fn check(&self) -> Result<(), Error> {
        let positive = [
            ("wire_bytes_max", self.wire_bytes_max),
            ("decoded_bytes_max", self.decoded_bytes_max),
            ("inflate_ratio_max", self.inflate_ratio_max),
            ("labels_max", self.labels_max),
            ("label_bytes_max", self.label_bytes_max),
            ("metric_name_bytes_max", self.metric_name_bytes_max),
            ("attributes_max", self.attributes_max),
            ("attribute_bytes_max", self.attribute_bytes_max),
            ("key_bytes_max", self.key_bytes_max),
            ("record_bytes_max", self.record_bytes_max),
            ("log_body_bytes_max", self.log_body_bytes_max),
            ("buckets_max", self.buckets_max),
        ];
        if let Some((name, value)) = positive.into_iter().find(|(_, value)| *value == 0) {
            let reason = "nothing at all would be accepted; leave it out for the default";
            return Err(Error::Setting { name, value, reason });
        }
        if self.bytes_in_flight_max < self.decoded_bytes_max.saturating_mul(4) {
            return Err(Error::Setting {
                name: "bytes_in_flight_max",
                value: self.bytes_in_flight_max,
                reason: "a body of `decoded_bytes_max` needs about four times its size while it is decoded",
            });
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            wire_bytes_max: 32 << 20,
            decoded_bytes_max: 32 << 20,
            inflate_ratio_max: 2_048,
            bytes_in_flight_max: 512 << 20,
            body_timeout: Duration::from_secs(10),
            retry_after: Duration::from_secs(1),
            future_max: Duration::from_secs(600),
            sample_age_max: Duration::from_secs(7 * 86_400),
            record_age_max: Duration::from_secs(2 * 86_400),
            labels_max: 64,
            label_bytes_max: 4_096,
            metric_name_bytes_max: 512,
            attributes_max: 256,
            attribute_bytes_max: 64 << 10,
            key_bytes_max: 512,
            record_bytes_max: 4 << 20,
            log_body_bytes_max: 1 << 20,
            events_max: 1_024,
            buckets_max: 4_096,
            exemplars_per_minute_max: 10,
            series_cache_max: 1 << 20,
            resource_cache_max: 1 << 14,
            translation_strategy: TranslationStrategy::default(),
            promote_resource_attributes: [
                "host.name",
                "deployment.environment.name",
                "k8s.namespace.name",
                "k8s.pod.name",
                "k8s.node.name",
                "container.name",
                "process.executable.name",
            ]
            .map(str::to_owned)
            .to_vec(),
            promote_scope: false,
            redact_query_text: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound_and_nonsense_is_named() {
        Config::default().check().unwrap();
        let none = Config { labels_max: 0, ..Config::default() };
        assert!(
            none.check()
                .unwrap_err()
                .to_string()
                .starts_with("collector setting `labels_max` is 0")
        );
        let small = Config { bytes_in_flight_max: 1 << 20, ..Config::default() };
        assert!(small.check().is_err());
    }

    #[test]
    fn settings_read_what_they_write_and_refuse_unknown_fields() {
        let text = serde_json::to_string(&Config::default()).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), Config::default());
        assert!(text.contains(r#""sample_age_max":"7d""#), "{text}");
        let unknown = serde_json::from_str::<Config>(r#"{"lables_max":3}"#).unwrap_err();
        assert!(unknown.to_string().contains("lables_max"), "{unknown}");
    }
}
