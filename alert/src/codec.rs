//! The state of a group as bytes. One file holds one group:
//!
//! ```text
//! headrope-alert-state 1 CRC32C LENGTH\n      header: version, checksum (8 hex digits) and length of the body
//! BODY                                       LENGTH bytes of JSON: `StoredGroup`
//! ```
//!
//! Times are nanoseconds since the epoch, values the bits of the double, ids 32 hex digits.

use model::alert::{AlertState, Cause, Transition};
use model::metric::Labels;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{Instance, Instances};

const MAGIC: &str = "headrope-alert-state";
/// Version of the format; `docs/format/` tells what changed in which.
const VERSION: u32 = 1;
/// Largest state file; beyond it is no state file of ours.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

/// The durable part of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stored {
    pub(crate) file: String,
    pub(crate) group: String,
    /// The last slot evaluated before this was written, or an earlier one.
    pub(crate) evaluated_at: Option<Timestamp>,
    pub(crate) rules: Vec<StoredRule>,
    /// Transitions not yet accepted, oldest first.
    pub(crate) outbox: Vec<Transition>,
}

/// The durable part of an alerting rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StoredRule {
    pub(crate) name: String,
    pub(crate) expr: String,
    /// Labels as configured.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) instances: Instances,
}

pub(crate) fn to_bytes(stored: &Stored) -> Result<Vec<u8>, String> {
    let body = serde_json::to_vec(&GroupBody::from(stored)).map_err(|error| error.to_string())?;
    let header = format!("{MAGIC} {VERSION} {:08x} {}\n", crc32c::crc32c(&body), body.len());
    let mut bytes = header.into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Stored, String> {
    let end = bytes.iter().take(100).position(|b| *b == b'\n').ok_or("it has no header")?;
    let header = std::str::from_utf8(&bytes[..end]).map_err(|_| "its header is not text")?;
    let [magic, version, checksum, length] = header.split(' ').collect::<Vec<_>>()[..] else {
        return Err("its header is not of four words".to_owned());
    };
    if magic != MAGIC {
        return Err(format!("it begins with {magic:?}, not {MAGIC:?}"));
    }
    if version != VERSION.to_string() {
        return Err(format!("its version is {version}, this program knows {VERSION}"));
    }
    let body = &bytes[end + 1..];
    if length != body.len().to_string() {
        return Err(format!("{length} bytes were written, {} are there", body.len()));
    }
    if checksum != format!("{:08x}", crc32c::crc32c(body)) {
        return Err("bad checksum".to_owned());
    }
    let body: GroupBody = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    body.into_stored()
}

type Pairs = Vec<(String, String)>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupBody {
    file: String,
    group: String,
    evaluated_at_ns: Option<i64>,
    rules: Vec<RuleBody>,
    outbox: Vec<TransitionBody>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleBody {
    name: String,
    expr: String,
    labels: Pairs,
    alerts: Vec<AlertBody>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertBody {
    labels: Pairs,
    annotations: Pairs,
    state: StateWord,
    value_bits: u64,
    active_at_ns: i64,
    fired_at_ns: Option<i64>,
    resolved_at_ns: Option<i64>,
    keep_firing_since_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    no_data_since_ns: Option<i64>,
    seen_at_ns: i64,
    fallbacks: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransitionBody {
    id: String,
    group: String,
    rule: String,
    expr: String,
    labels: Pairs,
    annotations: Pairs,
    state: StateWord,
    /// A word of [`Cause`]; states of before have none.
    #[serde(default)]
    cause: String,
    value_bits: u64,
    active_at_ns: i64,
    at_ns: i64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateWord {
    Inactive,
    Pending,
    Firing,
    Resolved,
}

impl From<AlertState> for StateWord {
    fn from(state: AlertState) -> Self {
        match state {
            AlertState::Inactive => Self::Inactive,
            AlertState::Pending => Self::Pending,
            AlertState::Firing => Self::Firing,
            AlertState::Resolved => Self::Resolved,
        }
    }
}

impl From<StateWord> for AlertState {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Inactive => Self::Inactive,
            StateWord::Pending => Self::Pending,
            StateWord::Firing => Self::Firing,
            StateWord::Resolved => Self::Resolved,
        }
    }
}

fn pairs(labels: &Labels) -> Pairs {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn ns(at: Option<Timestamp>) -> Option<i64> {
    at.map(|at| at.0)
}

impl From<&Stored> for GroupBody {
    fn from(stored: &Stored) -> Self {
        Self {
            file: stored.file.clone(),
            group: stored.group.clone(),
            evaluated_at_ns: ns(stored.evaluated_at),
            rules: stored.rules.iter().map(RuleBody::from).collect(),
            outbox: stored.outbox.iter().map(TransitionBody::from).collect(),
        }
    }
}

impl GroupBody {
    fn into_stored(self) -> Result<Stored, String> {
        let outbox: Result<_, _> = self.outbox.into_iter().map(Transition::try_from).collect();
        Ok(Stored {
            file: self.file,
            group: self.group,
            evaluated_at: self.evaluated_at_ns.map(Timestamp),
            rules: self.rules.into_iter().map(StoredRule::from).collect(),
            outbox: outbox?,
        })
    }
}

impl From<&StoredRule> for RuleBody {
    fn from(rule: &StoredRule) -> Self {
        let alerts = rule.instances.iter().map(|(labels, instance)| AlertBody {
            labels: pairs(labels),
            annotations: pairs(&instance.annotations),
            state: instance.state.into(),
            value_bits: instance.value.to_bits(),
            active_at_ns: instance.active_at.0,
            fired_at_ns: ns(instance.fired_at),
            resolved_at_ns: ns(instance.resolved_at),
            keep_firing_since_ns: ns(instance.keep_firing_since),
            no_data_since_ns: ns(instance.no_data_since),
            seen_at_ns: instance.seen_at.0,
            fallbacks: instance.fallbacks,
        });
        Self {
            name: rule.name.clone(),
            expr: rule.expr.clone(),
            labels: rule.labels.clone(),
            alerts: alerts.collect(),
        }
    }
}

impl From<RuleBody> for StoredRule {
    fn from(body: RuleBody) -> Self {
        let instances = body.alerts.into_iter().map(|alert| {
            let instance = Instance {
                state: alert.state.into(),
                annotations: Labels::new(alert.annotations),
                value: f64::from_bits(alert.value_bits),
                active_at: Timestamp(alert.active_at_ns),
                fired_at: alert.fired_at_ns.map(Timestamp),
                resolved_at: alert.resolved_at_ns.map(Timestamp),
                keep_firing_since: alert.keep_firing_since_ns.map(Timestamp),
                no_data_since: alert.no_data_since_ns.map(Timestamp),
                seen_at: Timestamp(alert.seen_at_ns),
                fallbacks: alert.fallbacks,
            };
            (Labels::new(alert.labels), instance)
        });
        let instances = instances.collect();
        Self { name: body.name, expr: body.expr, labels: body.labels, instances }
    }
}

impl From<&Transition> for TransitionBody {
    fn from(transition: &Transition) -> Self {
        Self {
            id: format!("{:032x}", transition.id),
            group: transition.group.clone(),
            rule: transition.rule.clone(),
            expr: transition.expr.clone(),
            labels: pairs(&transition.labels),
            annotations: pairs(&transition.annotations),
            state: transition.state.into(),
            cause: transition.cause.word().to_owned(),
            value_bits: transition.value.to_bits(),
            active_at_ns: transition.active_at.0,
            at_ns: transition.at.0,
        }
    }
}

impl TryFrom<TransitionBody> for Transition {
    type Error = String;

    fn try_from(body: TransitionBody) -> Result<Self, String> {
        Ok(Self {
            id: u128::from_str_radix(&body.id, 16)
                .map_err(|_| format!("{:?} is no id", body.id))?,
            group: body.group,
            rule: body.rule,
            labels: Labels::new(body.labels),
            annotations: Labels::new(body.annotations),
            state: body.state.into(),
            cause: Cause::parse(&body.cause).unwrap_or_default(),
            value: f64::from_bits(body.value_bits),
            active_at: Timestamp(body.active_at_ns),
            at: Timestamp(body.at_ns),
            expr: body.expr,
        })
    }
}
