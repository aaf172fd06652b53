//! What stands under `headrope:` in a rule: other languages, further conditions, an end of its own, missing data.

use std::sync::Arc;
use std::time::Duration;

/// The language of an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// `promql`
    #[default]
    PromQl,
    /// `sql`: rows of a query; `$__range` in it is the window.
    Sql {
        /// How far back it looks.
        window: Duration,
    },
    /// `logs`: how many records a search finds.
    Logs(Counting),
    /// `traces`: how many spans a search finds.
    Traces(Counting),
}

/// How records or spans are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// How far back.
    pub window: Duration,
    /// One count for each text of these fields, which become labels.
    pub by: Vec<String>,
}

impl Language {
    /// The word that names it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::PromQl => "promql",
            Self::Sql { .. } => "sql",
            Self::Logs(_) => "logs",
            Self::Traces(_) => "traces",
        }
    }
}

/// An expression, and which of its values count.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// As written.
    pub expr: Arc<str>,
    /// In which language.
    pub language: Language,
    /// Only values above this count.
    pub above: Option<f64>,
    /// Only values below this count.
    pub below: Option<f64>,
}

/// What a rule does where data is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoData {
    /// Absence ends alerts, as in Prometheus.
    #[default]
    Ignore,
    /// Alerts stay as they are.
    Hold,
    /// They stay, and the missing data raises an alert of its own.
    Alert,
}

/// What the data a rule reads must be like for its answer to count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// The newest sample of each selector is at most this old.
    pub staleness_max: Option<Duration>,
    /// At least this share of the series of each selector have fresh samples, 0 to 1.
    pub reporting_min: Option<f64>,
}

/// Everything under `headrope:` in a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// Language of the rule's own expression.
    pub language: Language,
    /// Only its values above this count.
    pub above: Option<f64>,
    /// Only its values below this count.
    pub below: Option<f64>,
    /// A result counts only if each of these yields something that agrees with its labels.
    pub all: Vec<Condition>,
    /// A result counts only if one of these does.
    pub any: Vec<Condition>,
    /// A result counts only if none of these does.
    pub none: Vec<Condition>,
    /// A firing alert ends only when this yields nothing that agrees with its labels any more.
    pub clear: Option<Condition>,
    /// For how long the condition must be gone before a firing alert ends.
    pub clear_for: Duration,
    /// What missing data means.
    pub no_data: NoData,
    /// The longest that alerts are held because data is missing.
    pub hold_max: Duration,
    /// What the data must be like.
    pub quality: Option<Quality>,
}
