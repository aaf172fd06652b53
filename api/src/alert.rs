//! `GET alerts`: rule groups, the state of each rule, and what was sent to whom.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The answer of `GET alerts`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    /// Groups in the order of their files.
    pub groups: Vec<Group>,
    /// Latest deliveries, newest first.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// One rule group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name.
    pub name: String,
    /// File it comes from.
    pub file: String,
    /// Seconds between evaluations.
    pub interval_s: f64,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Alert name, or name of the recorded metric.
    pub name: String,
    /// Whether it alerts or records.
    #[serde(default)]
    pub kind: RuleKind,
    /// Expression.
    pub expr: String,
    /// Seconds the condition must hold.
    #[serde(default)]
    pub for_s: f64,
    /// Worst state of its alerts.
    pub state: State,
    /// Whether its evaluation works.
    pub health: Health,
    /// What the last failed evaluation said; empty when the last one worked.
    #[serde(default)]
    pub last_error: String,
    /// When it was last evaluated, ms since the epoch.
    #[serde(default)]
    pub last_evaluation_ms: Option<i64>,
    /// Labels it adds.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations, templates unexpanded.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Since when the data it reads is missing, ms since the epoch; unset while it is not.
    #[serde(default)]
    pub no_data_since_ms: Option<i64>,
    /// Alerts that are not inactive.
    #[serde(default)]
    pub alerts: Vec<Alert>,
}

/// Whether a rule alerts or records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleKind {
    /// It alerts.
    #[default]
    Alerting,
    /// It records a series.
    Recording,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The condition does not hold.
    #[default]
    Inactive,
    /// It fired and holds no longer.
    Resolved,
    /// It holds, but not yet long enough.
    Pending,
    /// Nothing is known of it: the data is missing, and the alert is held as it was.
    #[serde(rename = "no_data")]
    NoData,
    /// It has held long enough.
    Firing,
}

impl From<model::alert::AlertState> for State {
    fn from(state: model::alert::AlertState) -> Self {
        match state {
            model::alert::AlertState::Inactive => Self::Inactive,
            model::alert::AlertState::Pending => Self::Pending,
            model::alert::AlertState::Firing => Self::Firing,
            model::alert::AlertState::Resolved => Self::Resolved,
        }
    }
}

/// Whether a rule's evaluation works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// The last evaluation worked.
    Ok,
    /// It failed.
    Err,
}

/// One alert of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations, templates expanded.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Where it stands.
    pub state: State,
    /// When the condition began to hold, ms since the epoch.
    pub active_ms: i64,
    /// Since when its data is missing, ms since the epoch; unset while it is not.
    #[serde(default)]
    pub no_data_since_ms: Option<i64>,
    /// Value of the expression, as text because it may not be finite.
    pub value: String,
}

/// One message to one receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Id of the message, the same for every attempt.
    pub id: String,
    /// Receiver's name.
    pub receiver: String,
    /// Rule it is about.
    pub rule: String,
    /// State it announces.
    pub state: State,
    /// How far it got.
    pub status: DeliveryStatus,
    /// Attempts so far.
    pub attempts: u32,
    /// What the last failed attempt said; empty when none failed.
    #[serde(default)]
    pub last_error: String,
    /// Time of the latest attempt, or of acceptance before the first, ms since the epoch.
    pub at_ms: i64,
}

/// How far a delivery got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// Waiting for its first or next attempt.
    #[default]
    Pending,
    /// The receiver said yes.
    Delivered,
    /// Given up.
    Failed,
}
