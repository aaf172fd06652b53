//! What is told: a group of alerts, and the document webhooks get.

use std::collections::BTreeMap;

use model::metric::Labels;
use model::time::Timestamp;
use serde_json::{Map, Value, json};

/// An alert in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageAlert {
    /// Labels.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Labels,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it was resolved; `None` while it fires.
    pub ends_at: Option<Timestamp>,
    /// Link to where it was made.
    pub generator_url: String,
    /// Identity: 16 hex digits.
    pub fingerprint: String,
}

/// Something to tell someone.
#[derive(Clone, Debug)]
pub struct Message {
    /// Name of the receiver.
    pub receiver: String,
    /// `webhook`, `slack`, …
    pub kind: String,
    /// Number among those of its kind in the receiver.
    pub index: usize,
    /// Identity of the group.
    pub group_key: String,
    /// Labels the alerts are grouped by.
    pub group_labels: Labels,
    /// Labels of the route, templates as written.
    pub route_labels: BTreeMap<String, String>,
    /// Why it is told, in words.
    pub reason: &'static str,
    /// The alerts; one at least.
    pub alerts: Vec<MessageAlert>,
    /// When it is told.
    pub at: Timestamp,
    /// When trying ends.
    pub deadline: Timestamp,
    /// The same for every try of the same message.
    pub idempotency: u128,
}

/// How Go writes no time.
pub(crate) const NO_TIME: &str = "0001-01-01T00:00:00Z";

impl MessageAlert {
    /// `firing` or `resolved`.
    pub(crate) const fn status(&self) -> &'static str {
        if self.ends_at.is_some() { "resolved" } else { "firing" }
    }
}

impl Message {
    /// `firing` while any alert does.
    pub(crate) fn status(&self) -> &'static str {
        let fires = self.alerts.iter().any(|alert| alert.ends_at.is_none());
        if fires { "firing" } else { "resolved" }
    }

    /// Labels all alerts have in common.
    pub(crate) fn common_labels(&self) -> Labels {
        common(self.alerts.iter().map(|alert| &alert.labels))
    }

    /// Annotations all alerts have in common.
    pub(crate) fn common_annotations(&self) -> Labels {
        common(self.alerts.iter().map(|alert| &alert.annotations))
    }

    /// What receivers take for the identity of this message.
    pub(crate) fn idempotency_key(&self) -> String {
        format!("msg_{:032x}", self.idempotency)
    }

    /// The document of version 4, with at most `max` alerts; 0 for all.
    pub(crate) fn document(
        &self,
        max: usize,
        route_labels: &BTreeMap<String, String>,
        external_url: &str,
    ) -> Value {
        let shown = if max == 0 { self.alerts.len() } else { max.min(self.alerts.len()) };
        let alerts: Vec<Value> = self.alerts[..shown].iter().map(alert).collect();
        json!({
            "receiver": self.receiver,
            "status": self.status(),
            "alerts": alerts,
            "notification_reason": self.reason,
            "groupLabels": object(&self.group_labels),
            "commonLabels": object(&self.common_labels()),
            "commonAnnotations": object(&self.common_annotations()),
            "routeLabels": route_labels,
            "externalURL": external_url,
            "version": "4",
            "groupKey": self.group_key,
            "truncatedAlerts": self.alerts.len() - shown,
        })
    }
}

fn alert(alert: &MessageAlert) -> Value {
    json!({
        "status": alert.status(),
        "labels": object(&alert.labels),
        "annotations": object(&alert.annotations),
        "startsAt": alert.starts_at.to_string(),
        "endsAt": alert.ends_at.map_or_else(|| NO_TIME.to_owned(), |at| at.to_string()),
        "generatorURL": alert.generator_url,
        "fingerprint": alert.fingerprint,
    })
}

/// Labels as a JSON object.
pub(crate) fn object(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(first) = all.next() else { return Labels::default() };
    let rest: Vec<&Labels> = all.collect();
    let shared = first
        .iter()
        .filter(|(name, value)| rest.iter().all(|labels| labels.value(name) == Some(value)));
    shared.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
