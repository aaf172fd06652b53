//! The exposition formats a scrape may ask for, and the headers that say so.

use serde::{Deserialize, Serialize};

use super::document::Escaping;

/// A format by Prometheus' name for it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(crate) enum Protocol {
    PrometheusProto,
    #[serde(rename = "PrometheusText1.0.0")]
    Text100,
    #[serde(rename = "PrometheusText0.0.4")]
    Text004,
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetrics100,
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetrics001,
}

impl Protocol {
    /// What is asked for when nothing is configured.
    pub(crate) const DEFAULT: [Self; 4] =
        [Self::OpenMetrics100, Self::OpenMetrics001, Self::Text100, Self::Text004];
    /// The same where native histograms are wanted: only protobuf has them.
    pub(crate) const NATIVE: [Self; 5] = [
        Self::PrometheusProto,
        Self::OpenMetrics100,
        Self::OpenMetrics001,
        Self::Text100,
        Self::Text004,
    ];

    const fn media_type(self) -> &'static str {
        match self {
            Self::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::Text100 => "text/plain;version=1.0.0",
            Self::Text004 => "text/plain;version=0.0.4",
            Self::OpenMetrics100 => "application/openmetrics-text;version=1.0.0",
            Self::OpenMetrics001 => "application/openmetrics-text;version=0.0.1",
        }
    }

    /// The `Accept` header for these formats, the first preferred.
    pub(crate) fn accept(protocols: &[Self], escaping: Escaping) -> String {
        let mut accept = String::new();
        let mut weight = protocols.len() + 1;
        for protocol in protocols {
            accept.push_str(protocol.media_type());
            if matches!(protocol, Self::PrometheusProto | Self::Text100 | Self::OpenMetrics100) {
                accept.push_str(";escaping=");
                accept.push_str(escaping.as_str());
            }
            accept.push_str(&format!(";q=0.{weight},"));
            weight -= 1;
        }
        accept + &format!("*/*;q=0.{weight}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_protocol_is_wanted_most() {
        assert_eq!(
            Protocol::accept(&Protocol::DEFAULT, Escaping::AllowUtf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
    }
}
