//! What `alert` tells `action`: a transition of one alert.

use crate::metric::Labels;
use crate::time::Timestamp;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AlertState {
    /// The condition does not hold.
    #[default]
    Inactive,
    /// It holds, but not yet for as long as the rule's `for`.
    Pending,
    /// It has held long enough.
    Firing,
    /// It fired and holds no longer.
    Resolved,
}

impl AlertState {
    /// The lowercase word used in APIs and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Why an alert changed its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The data shows that the condition holds, or that it no longer does.
    #[default]
    Condition,
    /// The data is missing: nothing is known about the condition. Never a recovery.
    NoData,
    /// The rule could not be evaluated as it stands.
    Error,
    /// The rule is gone.
    RuleRemoved,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 4] = [Self::Condition, Self::NoData, Self::Error, Self::RuleRemoved];

    /// The lowercase word used in APIs and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Condition => "condition",
            Self::NoData => "no_data",
            Self::Error => "error",
            Self::RuleRemoved => "rule_removed",
        }
    }

    /// The cause of this word; `None` when there is none.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.word() == word)
    }
}

/// One alert has begun to fire or was resolved. Handed from `alert` to `action`; never dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Same for every retry and restart: hash of rule, labels, `active_at` and state.
    pub id: u128,
    /// Rule group.
    pub group: String,
    /// Rule name (`alertname`).
    pub rule: String,
    /// Labels of the alert, `alertname` included.
    pub labels: Labels,
    /// Annotations, templates expanded.
    pub annotations: Labels,
    /// State entered: `Firing` or `Resolved`.
    pub state: AlertState,
    /// Why.
    pub cause: Cause,
    /// Value of the expression when it last held.
    pub value: f64,
    /// When the condition first held.
    pub active_at: Timestamp,
    /// When this transition happened.
    pub at: Timestamp,
    /// The rule's expression, for links and explanations.
    pub expr: String,
}
