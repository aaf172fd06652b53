//! What must be durable about routing, one record a line of the journal (`docs/format/route-journal.md`).

use std::collections::BTreeMap;

use model::matcher::MatchOp;
use model::metric::Labels;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::dedup::Told;
use super::held::Held;
use super::matcher::Condition;
use super::router::LogKey;
use super::silence::Silence;

/// One change of the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An alert as it is now.
    Alert(Held),
    /// An alert nobody has to be told of any more.
    AlertGone(Labels),
    /// A silence as it is now.
    Silence(Silence),
    /// When a group is due next; written once a flush has ended.
    Group {
        /// Its identity.
        key: String,
        /// When it is due.
        next: Timestamp,
        /// Whether it ever was flushed.
        flushed: bool,
    },
    /// A group without alerts.
    GroupGone(String),
    /// What a receiver was told.
    Told {
        /// Whom, and of what.
        key: LogKey,
        /// What.
        told: Told,
    },
}

type Pairs = Vec<(String, String)>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Body {
    Alert {
        labels: Pairs,
        annotations: Pairs,
        starts_at_ns: i64,
        ends_at_ns: Option<i64>,
        updated_at_ns: i64,
        timeout: bool,
        generator_url: String,
    },
    AlertGone(Pairs),
    Silence {
        id: String,
        /// Name, sign and value of each matcher.
        matchers: Vec<(String, String, String)>,
        starts_at_ns: i64,
        ends_at_ns: i64,
        updated_at_ns: i64,
        author: String,
        comment: String,
        annotations: BTreeMap<String, String>,
    },
    Group {
        key: String,
        next_ns: i64,
        flushed: bool,
    },
    GroupGone(String),
    Told {
        group: String,
        receiver: String,
        integration: String,
        seq: u64,
        at_ns: i64,
        expires_at_ns: i64,
        /// 32 hex digits each.
        firing: Vec<String>,
        resolved: Vec<String>,
        owed: Vec<String>,
    },
}

impl Record {
    /// The record as one line of JSON, without its end.
    ///
    /// # Errors
    /// Never for what this program makes.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.body())
    }

    /// Reads what [`Record::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        let body: Body = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::of(body)
    }

    fn body(&self) -> Body {
        let hex = |ids: &[u128]| ids.iter().map(|id| format!("{id:032x}")).collect();
        match self.clone() {
            Self::Alert(held) => Body::Alert {
                labels: pairs(&held.labels),
                annotations: pairs(&held.annotations),
                starts_at_ns: held.starts_at.0,
                ends_at_ns: held.ends_at.map(|at| at.0),
                updated_at_ns: held.updated_at.0,
                timeout: held.timeout,
                generator_url: held.generator_url,
            },
            Self::AlertGone(labels) => Body::AlertGone(pairs(&labels)),
            Self::Silence(silence) => Body::Silence {
                matchers: silence
                    .conditions
                    .iter()
                    .map(|c| (c.name.clone(), c.sign().to_owned(), c.value.clone()))
                    .collect(),
                id: silence.id,
                starts_at_ns: silence.starts_at.0,
                ends_at_ns: silence.ends_at.0,
                updated_at_ns: silence.updated_at.0,
                author: silence.author,
                comment: silence.comment,
                annotations: silence.annotations,
            },
            Self::Group { key, next, flushed } => Body::Group { key, next_ns: next.0, flushed },
            Self::GroupGone(key) => Body::GroupGone(key),
            Self::Told { key: (group, receiver, integration), told } => Body::Told {
                group,
                receiver,
                integration,
                seq: told.seq,
                at_ns: told.at.0,
                expires_at_ns: told.expires_at.0,
                firing: hex(&told.firing),
                resolved: hex(&told.resolved),
                owed: hex(&told.owed),
            },
        }
    }

    fn of(body: Body) -> Result<Self, String> {
        Ok(match body {
            Body::Alert {
                labels,
                annotations,
                starts_at_ns,
                ends_at_ns,
                updated_at_ns,
                timeout,
                generator_url,
            } => Self::Alert(Held {
                labels: Labels::new(labels),
                annotations: Labels::new(annotations),
                starts_at: Timestamp(starts_at_ns),
                ends_at: ends_at_ns.map(Timestamp),
                updated_at: Timestamp(updated_at_ns),
                timeout,
                generator_url,
            }),
            Body::AlertGone(labels) => Self::AlertGone(Labels::new(labels)),
            Body::Silence {
                id,
                matchers,
                starts_at_ns,
                ends_at_ns,
                updated_at_ns,
                author,
                comment,
                annotations,
            } => Self::Silence(Silence {
                id,
                conditions: conditions(&matchers)?,
                starts_at: Timestamp(starts_at_ns),
                ends_at: Timestamp(ends_at_ns),
                updated_at: Timestamp(updated_at_ns),
                author,
                comment,
                annotations,
            }),
            Body::Group { key, next_ns, flushed } => {
                Self::Group { key, next: Timestamp(next_ns), flushed }
            }
            Body::GroupGone(key) => Self::GroupGone(key),
            Body::Told {
                group,
                receiver,
                integration,
                seq,
                at_ns,
                expires_at_ns,
                firing,
                resolved,
                owed,
            } => Self::Told {
                key: (group, receiver, integration),
                told: Told {
                    seq,
                    at: Timestamp(at_ns),
                    expires_at: Timestamp(expires_at_ns),
                    firing: ids(&firing)?,
                    resolved: ids(&resolved)?,
                    owed: ids(&owed)?,
                },
            },
        })
    }
}

fn pairs(labels: &Labels) -> Pairs {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn conditions(matchers: &[(String, String, String)]) -> Result<Vec<Condition>, String> {
    let read = |(name, sign, value): &(String, String, String)| {
        let op = match sign.as_str() {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            "!~" => MatchOp::NotRegex,
            _ => return Err(format!("{sign:?} is no comparison")),
        };
        Condition::new(name, op, value)
    };
    matchers.iter().map(read).collect()
}

fn ids(texts: &[String]) -> Result<Vec<u128>, String> {
    let read =
        |text: &String| u128::from_str_radix(text, 16).map_err(|_| format!("{text:?} is no id"));
    texts.iter().map(read).collect()
}
