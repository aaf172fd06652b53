//! `GET incidents` and `GET incidents/ID`: what began with an alert, what was done about it, what was refused and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The answer of `GET incidents`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    /// Open ones first, then the newest; at most 200.
    pub incidents: Vec<Incident>,
    /// The kill switch, where it is on.
    #[serde(default)]
    pub off: Option<Off>,
    /// Why nothing is done at all, whatever runbooks say.
    #[serde(default)]
    pub observe_only: Option<String>,
    /// What is changed now.
    #[serde(default)]
    pub held: Vec<Held>,
}

/// The kill switch where it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Off {
    /// Whether even ways back stand still.
    pub freeze: bool,
    /// Who did it, and why.
    pub why: String,
}

/// A field of a member that is changed until an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The action that did it.
    pub action: String,
    /// The incident it belongs to.
    pub incident: String,
    /// Target.
    pub target: String,
    /// Member of the target.
    pub member: String,
    /// Field of the member.
    pub field: String,
    /// What it is set to.
    pub value: String,
    /// What it was before.
    pub before: String,
    /// When it is taken back at the latest, ms since the epoch.
    #[serde(default)]
    pub until_ms: Option<i64>,
}

/// One incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Id.
    pub id: String,
    /// Rule group.
    pub group: String,
    /// Rule.
    pub rule: String,
    /// Label `severity`; empty where the alert has none.
    #[serde(default)]
    pub severity: String,
    /// Annotation `summary`, else `description`; empty where the alert has neither.
    #[serde(default)]
    pub summary: String,
    /// How it stands.
    pub state: IncidentState,
    /// When the alert fired, ms since the epoch.
    pub opened_ms: i64,
    /// When it ended, ms since the epoch.
    #[serde(default)]
    pub resolved_ms: Option<i64>,
    /// Who has taken note of it.
    #[serde(default)]
    pub acknowledged_by: Option<String>,
    /// When they did, ms since the epoch.
    #[serde(default)]
    pub acknowledged_ms: Option<i64>,
    /// Labels of the alert.
    pub labels: BTreeMap<String, String>,
    /// Its actions, newest first, done or not.
    pub runs: Vec<RunSummary>,
}

/// How an incident stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// The alert fires.
    #[default]
    Open,
    /// The data showed that its condition holds no longer.
    Resolved,
    /// The alert is over, but nothing showed that its cause is.
    Unknown,
}

/// One action in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Id.
    pub id: String,
    /// State of the run, as `GET actions` names it.
    pub state: String,
    /// Runbook.
    pub runbook: String,
    /// Target.
    pub target: String,
    /// Member of the target; empty when the alert names none.
    pub member: String,
    /// What verification found: `verified`, `ineffective`, `inconclusive`.
    #[serde(default)]
    pub finding: Option<String>,
    /// The guard that decided, where it was not to act.
    #[serde(default)]
    pub decided_by: Option<String>,
    /// When it was planned, ms since the epoch.
    pub planned_ms: i64,
}

/// The answer of `GET incidents/ID`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentDetail {
    /// The incident.
    pub incident: Incident,
    /// Expression of the rule.
    pub expr: String,
    /// What it compares: the left side of its outermost operator where that compares, else all of it.
    #[serde(default)]
    pub watched: String,
    /// What that is compared with, where it is a number.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// Annotations of the alert.
    pub annotations: BTreeMap<String, String>,
    /// Why the alert ended, where the data did not show that its condition holds no longer.
    #[serde(default)]
    pub unknown: Option<String>,
    /// Everything that happened, oldest first.
    pub timeline: Vec<Entry>,
    /// Its actions, newest first.
    pub runs: Vec<Run>,
}

/// One line of the timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, ms since the epoch.
    pub at_ms: i64,
    /// What kind of thing.
    pub kind: EntryKind,
    /// State that was reached, guard that decided, name or receiver, by kind.
    pub what: String,
    /// In words.
    #[serde(default)]
    pub text: String,
    /// The action it belongs to; empty for none.
    #[serde(default)]
    pub run: String,
}

/// What a line of the timeline is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// The alert: `pending`, `firing`, `resolved`, `unknown`.
    #[default]
    Alert,
    /// A plan: `refused`, `shadowed`, `awaiting`, `admitted`.
    Plan,
    /// Somebody's yes; `what` is the name.
    Approval,
    /// A run reached the state `what`.
    Run,
    /// A message to the receiver `what`.
    Notification,
    /// Somebody took note; `what` is the name.
    Acknowledgement,
}

/// One action whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// In short.
    pub summary: RunSummary,
    /// What each guard said, in their order.
    pub verdicts: Vec<Verdict>,
    /// Its steps as written, such as `haproxy.weight {"percent":10}`.
    pub steps: Vec<String>,
    /// The comparison that verifies it.
    #[serde(default)]
    pub success: Option<String>,
    /// What the last look at it saw.
    #[serde(default)]
    pub observed: Option<String>,
    /// What it has changed.
    pub held: Vec<Held>,
    /// Names of those who said yes.
    pub approved_by: Vec<String>,
    /// How many must.
    pub approvals_needed: usize,
    /// What a person is needed for now.
    #[serde(default)]
    pub escalated: Option<String>,
    /// Whether it waits for a yes.
    pub can_approve: bool,
    /// Whether it can be taken back, or refused where it has not begun.
    pub can_revert: bool,
}

/// What one guard said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which guard.
    pub guard: String,
    /// `allow`, `refuse` or `defer`.
    pub outcome: String,
    /// What it saw.
    pub observed: String,
    /// What it compared that with.
    pub threshold: String,
}
