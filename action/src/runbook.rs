//! The language runbooks are written in: targets, and what may be done to them when an alert fires. Checked whole when
//! it is read; what is not understood is refused, never ignored.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::amount::{Budget, Share};
use crate::duration;

mod read;

pub(crate) use read::{Book, read};

/// How far a runbook may go by itself. The lower of several counts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// It is decided and recorded, nothing more.
    #[default]
    Observe,
    /// Also recorded as what would have been done.
    Shadow,
    /// Done once people have approved it.
    Approve,
    /// Done at once.
    Auto,
}

/// What can be acted on: a group of members behind one door.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name, from the document's metadata.
    #[serde(default)]
    pub name: String,
    /// What speaks to it.
    pub driver: DriverKind,
    /// Where: `unix:/run/haproxy/admin.sock` or `tcp:10.0.0.5:9999`; a URL, or several behind commas, for what speaks HTTP;
    /// nothing for flags.
    #[serde(default)]
    pub endpoint: String,
    /// File with a token or `user:password` to show there, read each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// File with the certificates that are trusted there. Unset: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// File with the secret that messages are signed with, `whsec_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Whether a receiver of messages does what it was asked once for each `webhook-id`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub honours_id: bool,
    /// Which members; nothing for flags.
    #[serde(default)]
    pub group: Group,
}

/// What speaks to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// HAProxy's runtime socket.
    Haproxy,
    /// supervisord's XML-RPC.
    Supervisor,
    /// Our own flags.
    Flags,
    /// Redis under Sentinel.
    Redis,
    /// Patroni's REST API.
    Patroni,
    /// The API server of Kubernetes.
    Kubernetes,
    /// Whoever takes signed messages and answers by one.
    Webhook,
    /// A machine of tests, of retry class C.
    #[cfg(test)]
    Test,
}

/// The members of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// HAProxy: the backend whose servers they are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub backend: String,
    /// HAProxy: the map whose entries they are, by its path as the configuration has it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub map: String,
    /// supervisord: the group whose processes they are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub processes: String,
    /// Redis: what Sentinel calls the master.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub master: String,
    /// Patroni: name of the cluster, as it calls its scope.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Kubernetes: the namespace whose deployments they are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Kubernetes: labels that they have, as `app=shop,tier=web`. Empty: all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Webhook: their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// Webhook: what each of them is at first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub initial: String,
}

/// What may be done when an alert fires, under which conditions, and how it is taken back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Runbook {
    /// Name, from the document's metadata.
    #[serde(default)]
    pub name: String,
    /// SHA-256 over everything else, in hexadecimal.
    #[serde(default)]
    pub hash: String,
    /// Conditions on labels of the alert; all must hold.
    pub alerts: Vec<String>,
    /// How far it may go by itself.
    #[serde(default)]
    pub trust: Trust,
    /// What it acts on.
    pub target: TargetRef,
    /// What must hold of the data it decides by.
    #[serde(default)]
    pub quality: Quality,
    /// When it must not act.
    #[serde(default)]
    pub guard: Guard,
    /// Comparisons that must hold before it acts.
    #[serde(default)]
    pub preconditions: Vec<Precondition>,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// How it is known to have helped.
    pub verify: Option<Verify>,
    /// How it is taken back.
    pub revert: Option<Revert>,
    /// Said when there is no way back, which asks for two approvals.
    #[serde(default)]
    pub irreversible: bool,
    /// Who approves.
    #[serde(default)]
    pub approval: Approval,
    /// What it must have shown before it goes as far as `trust`. Unset: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earn: Option<Earn>,
}

/// What a runbook must have shown on a target before it goes further by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Earn {
    /// Plans in a row that were only recorded, and without which the alert went on for longer than they may take to help.
    pub approve: u32,
    /// Runs in a row that helped.
    pub auto: u32,
}

/// A member of a target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRef {
    /// Name of the target.
    #[serde(rename = "ref")]
    pub name: String,
    /// The member, as `{{ alert.labels.member }}`.
    pub member: String,
}

/// What must hold of the series that the rule and the queries of the runbook read.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quality {
    /// Oldest newest sample of a series that counts as reporting. Default `15s`.
    #[serde(with = "duration")]
    pub max_staleness: Duration,
    /// Share of the series seen of late that must be reporting. Default 90 %.
    pub min_reporting: Share,
}

impl Default for Quality {
    fn default() -> Self {
        Self { max_staleness: Duration::from_secs(15), min_reporting: Share(0.9) }
    }
}

/// When it must not act.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Rest of a target's member after it was acted on. Default `10m`.
    #[serde(with = "duration")]
    pub cooldown: Duration,
    /// How often.
    pub budget: Budgets,
    /// How many at once.
    pub concurrency: Concurrency,
    /// How much may be out of service.
    pub blast_radius: BlastRadius,
    /// When so many are unwell that no member is to blame.
    pub storm: Storm,
    /// When it goes to and fro.
    pub flap: Flap,
    /// Whether the load fits on what stays. Default: not asked.
    pub capacity: Option<Capacity>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            cooldown: Duration::from_secs(600),
            budget: Budgets::default(),
            concurrency: Concurrency::default(),
            blast_radius: BlastRadius::default(),
            storm: Storm::default(),
            flap: Flap::default(),
            capacity: None,
        }
    }
}

/// Runs a stretch of time, for each of four scopes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// On one member. Default `2/1h`.
    pub per_target: Budget,
    /// For alerts of one rule. Default `6/1h`.
    pub per_rule: Budget,
    /// Of one driver. Default `10/1h`.
    pub per_kind: Budget,
    /// Of all. Default `20/1h`.
    pub global: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        let hourly = |count| Budget { count, per: Duration::from_secs(3_600) };
        Self {
            per_target: hourly(2),
            per_rule: hourly(6),
            per_kind: hourly(10),
            global: hourly(20),
        }
    }
}

/// Runs at once; one that only waits for the alert's end counts as well.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Concurrency {
    /// On one target. Default 1.
    pub per_group: usize,
    /// Of all. Default 3.
    pub global: usize,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { per_group: 1, global: 3 }
    }
}

/// How much may be out of service afterwards, whoever took it out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlastRadius {
    /// Share of the members. Default 34 %.
    pub max_unavailable: Share,
    /// Members left in service at least. Default 2.
    pub min_healthy: usize,
}

impl Default for BlastRadius {
    fn default() -> Self {
        Self { max_unavailable: Share(0.34), min_healthy: 2 }
    }
}

/// When so many members are unwell that none of them is to blame.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storm {
    /// Share of members out of service or alerting. Default 40 %.
    pub if_unhealthy_over: Share,
}

impl Default for Storm {
    fn default() -> Self {
        Self { if_unhealthy_over: Share(0.4) }
    }
}

/// When a member was acted on too often, nobody acts on it until the window has passed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flap {
    /// Runs on one member. Default 3.
    pub max_flips: usize,
    /// In how long. Default `30m`.
    #[serde(with = "duration")]
    pub window: Duration,
}

impl Default for Flap {
    fn default() -> Self {
        Self { max_flips: 3, window: Duration::from_secs(1_800) }
    }
}

/// A comparison of the load on what stays with what it can carry.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// PromQL: share of the group's capacity in use now, all members in service together, from 0 to 1.
    pub utilisation: String,
    /// Most of it that may be in use once the member is out.
    pub max_predicted_utilisation: Share,
}

/// A comparison that must hold before it acts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Precondition {
    /// PromQL whose outermost operator compares.
    pub query: String,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Name, unique in the runbook.
    pub id: String,
    /// What, such as `haproxy.weight`.
    #[serde(rename = "do")]
    pub action: String,
    /// How.
    #[serde(default)]
    pub with: BTreeMap<String, serde_json::Value>,
    /// How long the target may take to answer. Default `2s`.
    #[serde(default = "two_seconds", with = "duration")]
    pub timeout: Duration,
    /// Rest after it.
    #[serde(default, with = "duration")]
    pub settle: Duration,
    /// How long requests under way may take to end before the next step; unset: not waited for.
    #[serde(default, with = "duration")]
    pub drain_timeout: Duration,
}

const fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

impl Runbook {
    /// Texts of queries that are asked once something was done.
    pub(crate) fn later_queries(&self) -> impl Iterator<Item = &str> {
        let control = self.verify.iter().filter_map(|verify| verify.control.as_ref());
        let measured = control.flat_map(|control| [&control.treated, &control.untouched]);
        let success = self.verify.iter().map(|verify| &verify.success);
        let gates = self.revert.iter().filter_map(|revert| revert.ramp_gate.as_ref());
        success.chain(measured).chain(gates).map(String::as_str)
    }

    /// Whether it only adds: nobody is out of service by any of its steps.
    pub(crate) fn only_adds(&self) -> bool {
        let takes_out = ["haproxy.weight", "haproxy.state", "supervisor.stop", "test.bump"];
        self.steps.iter().all(|step| !takes_out.contains(&&*step.action))
    }
}

/// How it is known to have helped.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// PromQL whose outermost operator compares.
    pub success: String,
    /// How long that must hold without a break.
    #[serde(default, rename = "for", with = "duration")]
    pub hold: Duration,
    /// Rest between the last step and the first look.
    #[serde(default, with = "duration")]
    pub after: Duration,
    /// When it must have held, from the first look on. Default `5m`.
    #[serde(default = "five_minutes", with = "duration")]
    pub within: Duration,
    /// What shows that it was the change that helped. Unset: not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
}

/// What was changed beside what was not, before and after.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// PromQL: what is to get better.
    pub treated: String,
    /// PromQL: the same of what is left alone; several series count as their mean.
    pub untouched: String,
    /// Which way is better. Default: lower.
    #[serde(default)]
    pub better: Better,
    /// Least gain beyond what was left alone, as a share of the value before. Default 20 %.
    #[serde(default = "one_fifth")]
    pub min_effect: Share,
    /// How long before the first step is compared with; not longer than it was unwell. Default `1m`.
    #[serde(default = "one_minute", with = "duration")]
    pub before: Duration,
}

const fn one_fifth() -> Share {
    Share(0.2)
}

const fn one_minute() -> Duration {
    Duration::from_secs(60)
}

/// Which way is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// As of latencies and errors.
    #[default]
    Lower,
    /// As of rates of success.
    Higher,
}

const fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

/// How it is taken back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Revert {
    /// When. Default: when the alert is resolved.
    #[serde(default)]
    pub when: RevertWhen,
    /// Shares of the weight before, one after the other. Default: all at once.
    #[serde(default)]
    pub ramp: Vec<Share>,
    /// Rest between two of them. Default `15s`.
    #[serde(default = "fifteen_seconds", with = "duration")]
    pub ramp_every: Duration,
    /// PromQL that must hold for the next of them, while there is time.
    pub ramp_gate: Option<String>,
    /// When at the latest.
    #[serde(with = "duration")]
    pub ttl: Duration,
}

const fn fifteen_seconds() -> Duration {
    Duration::from_secs(15)
}

/// What ends an override before its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RevertWhen {
    /// The alert's end.
    #[default]
    Resolved,
    /// Nothing but a person.
    Ttl,
}

/// Who approves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Approval {
    /// Approvals by different people. Default 1.
    pub need: usize,
    /// Whose; empty: anybody's who may use the door.
    pub by: Vec<String>,
    /// How long it is waited for. Default `1h`.
    #[serde(with = "duration")]
    pub within: Duration,
}

impl Default for Approval {
    fn default() -> Self {
        Self { need: 1, by: Vec::new(), within: Duration::from_secs(3_600) }
    }
}

/// SHA-256 of what `value` is as JSON, in hexadecimal.
pub(crate) fn hash_of<T: Serialize>(value: &T) -> String {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
