//! What the rules are doing, for the APIs and the interface.

use std::sync::Arc;
use std::time::Duration;

use model::alert::AlertState;
use model::metric::Labels;
use model::time::Timestamp;

/// All groups, in the order they were given.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The groups.
    pub groups: Vec<GroupStatus>,
}

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupStatus {
    /// Name.
    pub name: String,
    /// File it stands in.
    pub file: String,
    /// Time between evaluations.
    pub interval: Duration,
    /// How far before the evaluation time it looks.
    pub query_offset: Duration,
    /// Most series or alerts of one rule; 0 for no limit.
    pub limit: usize,
    /// The slot evaluated last; `None` before the first.
    pub last_evaluation: Option<Timestamp>,
    /// How long that took.
    pub evaluation_duration: Duration,
    /// Evaluations at its slots since the start.
    pub evaluations_total: u64,
    /// Evaluations of some of its rules, since the start, because data they read arrived between slots.
    pub events_total: u64,
    /// Slots skipped since the start because an evaluation took too long.
    pub missed_total: u64,
    /// Transitions not yet accepted by `action`.
    pub n_waiting: usize,
    /// Its rules, in order.
    pub rules: Vec<RuleStatus>,
    /// The objective it was made of, if it was.
    pub slo: Option<Arc<crate::slo::Slo>>,
}

/// Whether the last evaluation went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// It did.
    Ok,
    /// It failed; the state is that of the last good one.
    Err,
}

impl Health {
    /// The word used in APIs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Err => "err",
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleStatus {
    /// Name of the alert or of the recorded series.
    pub name: String,
    /// Whether it is an alerting rule.
    pub alerts: bool,
    /// Expression, as written.
    pub expr: String,
    /// Its `for`.
    pub hold: Duration,
    /// Its `keep_firing_for`.
    pub keep_firing: Duration,
    /// Labels as configured, those of the group included.
    pub labels: Vec<(String, String)>,
    /// Annotations as configured.
    pub annotations: Vec<(String, String)>,
    /// The highest state of its alerts; `None` before the first evaluation and for recording rules.
    pub state: Option<AlertState>,
    /// Since when the data it reads is missing altogether, where the rule asks to know.
    pub no_data_since: Option<Timestamp>,
    /// Whether the last evaluation went well.
    pub health: Health,
    /// What went wrong in it; empty when nothing did.
    pub last_error: String,
    /// When it was evaluated last.
    pub last_evaluation: Option<Timestamp>,
    /// How long that took.
    pub evaluation_duration: Duration,
    /// Series or results of the last good evaluation.
    pub n_results: usize,
    /// Its alerts in label order: pending, firing, and resolved less than 15 min ago.
    pub active: Vec<AlertStatus>,
}

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertStatus {
    /// Final labels, `alertname` included.
    pub labels: Labels,
    /// Annotations, templates expanded.
    pub annotations: Labels,
    /// `Pending`, `Firing` or `Resolved`.
    pub state: AlertState,
    /// Value when it was last in the result.
    pub value: f64,
    /// When the condition first held.
    pub active_at: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// When the condition ended, if `keep_firing_for` alone keeps it firing.
    pub keep_firing_since: Option<Timestamp>,
    /// Since when its data is missing, if it is held for that.
    pub no_data_since: Option<Timestamp>,
}
