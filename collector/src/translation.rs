//! Which of Prometheus' ways to name OTLP's metrics is taken.

use serde::{Deserialize, Serialize};

/// How OTLP's names become Prometheus' ones; the words are those of `otlp.translation_strategy` in Prometheus.
///
/// Whatever is chosen, a metric is found by its OTLP name, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TranslationStrategy {
    /// Letters, digits and underscores, with words for unit and kind: `http_server_request_duration_seconds`.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Letters, digits and underscores: `http_server_request_duration`.
    UnderscoreEscapingWithoutSuffixes,
    /// As sent, with words for unit and kind: `http.server.request.duration_seconds`.
    #[serde(rename = "NoUTF8EscapingWithSuffixes")]
    NoUtf8EscapingWithSuffixes,
    /// As sent: `http.server.request.duration`.
    NoTranslation,
}

impl TranslationStrategy {
    /// Whether names are of letters, digits and underscores alone.
    pub(crate) const fn escapes(self) -> bool {
        matches!(
            self,
            Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes
        )
    }

    /// Whether names say unit and kind.
    pub(crate) const fn has_suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes)
    }
}
