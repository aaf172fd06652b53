//! `POST rules/backtest`: when rules would have fired.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BacktestQuery {
    /// A rule file.
    pub rules: String,
    /// Its name: it tells groups of one name apart, and when they are evaluated. Default `backtest.yaml`.
    #[serde(default)]
    pub file: Option<String>,
    /// The group; unset: all.
    #[serde(default)]
    pub group: Option<String>,
    /// Place of the rule in its group, from 0; unset: all that alert.
    #[serde(default)]
    pub rule: Option<usize>,
    /// From when, ms since the epoch.
    pub from_ms: i64,
    /// Until before when, ms since the epoch.
    pub to_ms: i64,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backtest {
    /// As asked.
    pub from_ms: i64,
    /// As asked.
    pub to_ms: i64,
    /// In the order of the file.
    pub rules: Vec<RuleBacktest>,
}

/// What a rule would have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleBacktest {
    /// Its group.
    pub group: String,
    /// Its place in the group, from 0.
    pub rule: usize,
    /// Name of the alert.
    pub name: String,
    /// Expression.
    pub expr: String,
    /// Seconds between evaluations.
    pub interval_s: f64,
    /// Evaluations.
    pub evaluations: u64,
    /// Alerts that fired.
    pub fired: u64,
    /// Most of them at once.
    pub at_once: usize,
    /// How long they fired, added up, ms.
    pub firing_ms: i64,
    /// The longest, ms.
    pub longest_ms: i64,
    /// The first ones, by when they fired.
    pub episodes: Vec<Episode>,
    /// Evaluations that failed.
    pub failures: u64,
    /// What the last of them said.
    #[serde(default)]
    pub error: Option<String>,
    /// What to know when reading this.
    pub notes: Vec<String>,
    /// How long it took, ms.
    pub took_ms: u64,
}

/// An alert from its firing to its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its texts when it fired.
    pub annotations: BTreeMap<String, String>,
    /// When its condition first held, ms since the epoch.
    pub active_ms: i64,
    /// When it fired, ms since the epoch.
    pub fired_ms: i64,
    /// When it ended, ms since the epoch; unset when it fired still.
    #[serde(default)]
    pub resolved_ms: Option<i64>,
    /// Its value when it fired, as PromQL prints it.
    pub value: String,
    /// Why it ended: `condition`, `no_data`, `error`.
    pub cause: String,
}
