//! Objectives of service level: read from documents of kind `SLO`, compiled into ordinary groups of rules.
//!
//! Read where rule files are; the generated groups are evaluated like any other. Nothing here asks or waits.

mod compile;
mod document;
mod window;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::rule::{Group, Options, Position, Problems};

pub use compile::{Tier, tiers};
pub use window::text_of as window_text;

/// An objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// File it stands in.
    pub file: String,
    /// Where its document begins.
    pub position: Position,
    /// Name, unique in all files; the label `slo` of everything recorded for it.
    pub name: String,
    /// What people should know; may be empty.
    pub description: String,
    /// The service it is about; may be empty.
    pub service: String,
    /// Labels of everything recorded for it, in name order.
    pub labels: Vec<(String, String)>,
    /// Percent of the events that shall be good, above 0 and below 100.
    pub objective: f64,
    /// The time the error budget is for.
    pub period: Duration,
    /// Length of one bucket of counted events.
    pub interval: Duration,
    /// How long buckets wait for data that is on its way.
    pub delay: Duration,
    /// What is counted.
    pub indicator: Indicator,
    /// Labels of alerts: `page`, `ticket`, `action`, in this order.
    pub alerts: [Vec<(String, String)>; 3],
}

/// What is counted, `$window` standing for the range.
#[derive(Clone, Debug, PartialEq)]
pub enum Indicator {
    /// Good events of all events.
    Good {
        /// Counts the good ones.
        good: String,
        /// Counts all.
        total: String,
    },
    /// Bad events of all events.
    Bad {
        /// Counts the bad ones.
        bad: String,
        /// Counts all.
        total: String,
    },
    /// Requests of a histogram that took no longer than a boundary of it.
    Latency {
        /// Its name, without `_bucket`.
        histogram: String,
        /// Matchers within braces; may be empty.
        selector: String,
        /// The longest good one.
        under: Duration,
    },
}

impl Slo {
    /// The share of events that may be bad, 0 to 1.
    #[must_use]
    pub fn budget(&self) -> f64 {
        // Subtraction alone would make 0.0009999999999999432 of 99.9.
        ((100.0 - self.objective) * 1e10).round() / 1e12
    }

    /// The boundary of a latency indicator in the unit of its metric.
    #[must_use]
    pub fn boundary(&self) -> Option<f64> {
        let Indicator::Latency { histogram, under, .. } = &self.indicator else { return None };
        let is_ms = histogram.contains("_milliseconds") || histogram.ends_with("_ms");
        let seconds = under.as_millis() as f64 / 1e3;
        Some(if is_ms { seconds * 1e3 } else { seconds })
    }
}

/// Whether a file holds documents of ours and no rule file.
pub(crate) fn is_document(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("apiVersion:"))
}

/// The objectives of one file, a YAML document each.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file: &str) -> Result<Vec<Slo>, Problems> {
    document::read(text, file)
}

/// The groups the objectives of one file stand for.
pub(crate) fn groups(text: &str, file: &str, options: &Options) -> Result<Vec<Group>, Problems> {
    let slos = document::read(text, file)?;
    Ok(slos.into_iter().flat_map(|slo| compile::groups(slo, options)).collect())
}
