//! `GET slos`: objectives of service level, what is left of their error budgets, and how fast those are spent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alert::State;

/// The answer of `GET slos`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slos {
    /// In the order of their names.
    pub slos: Vec<Slo>,
}

/// One objective.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Name; the label `slo` of everything recorded for it.
    pub name: String,
    /// What people should know.
    #[serde(default)]
    pub description: String,
    /// The service it is about; may be empty.
    #[serde(default)]
    pub service: String,
    /// File it stands in.
    pub file: String,
    /// Labels of everything recorded for it.
    pub labels: BTreeMap<String, String>,
    /// Percent of the events that shall be good.
    pub objective: f64,
    /// The time the error budget is for, as `30d`.
    pub period: String,
    /// Events of the period so far; unset while nothing was counted.
    pub events: Option<f64>,
    /// Bad ones of these.
    pub bad_events: Option<f64>,
    /// Share of bad events in the period, 0 to 1; unset without traffic.
    pub error_ratio: Option<f64>,
    /// What is left of the error budget: 1 is all of it, below 0 it is overspent.
    pub budget_remaining: Option<f64>,
    /// Its alerts, the quickest first.
    pub tiers: Vec<Tier>,
}

/// An alert of an objective, with how fast the budget is spent in both of its windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tier {
    /// Name of its rule.
    pub alert: String,
    /// `page`, `ticket` or `action`.
    pub severity: String,
    /// The long window, as `1h`.
    pub long: String,
    /// The short one.
    pub short: String,
    /// The burn rate that both must exceed; at 1 the budget lasts exactly the period.
    pub threshold: f64,
    /// Burn rate of the long window: for tickets of the ratio itself, else of the lower end of its interval.
    pub burn_long: Option<f64>,
    /// The same of the short window.
    pub burn_short: Option<f64>,
    /// How the alert stands.
    pub state: State,
}
