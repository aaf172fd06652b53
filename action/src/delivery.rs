//! One message to one receiver, and what became of it.

use std::sync::Arc;

use model::alert::AlertState;
use model::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::journal::record::{Accepted, Outcome, Verdict};

/// Identity of a delivery: the same transition to the same receiver is the same delivery for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) [u8; 16]);

impl Key {
    /// Hash of the transition's id and the receiver's name.
    pub(crate) fn new(transition_id: u128, receiver: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"headrope delivery 1\0");
        hash.update(transition_id.to_be_bytes());
        hash.update(receiver);
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        Self(key)
    }

    /// The idempotency key receivers see as `webhook-id`.
    pub(crate) fn webhook_id(self) -> String {
        format!("msg_{:032x}", u128::from_be_bytes(self.0))
    }

    /// Start of this delivery's jitter.
    pub(crate) fn seed(self) -> u64 {
        self.0.iter().fold(0, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte))
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// To be sent, or sent again.
    Pending,
    /// The receiver answered 2xx.
    Delivered,
    /// The receiver refused for good (4xx other than 408, 410, 425 and 429).
    Refused,
    /// The receiver did not take it within `retry_max_age`.
    Expired,
    /// The receiver answered 410 Gone: it gets nothing more until the next start.
    Gone,
    /// The receiver is no longer configured.
    Dropped,
}

impl DeliveryStatus {
    /// The lowercase word used in APIs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Gone => "gone",
            Self::Dropped => "dropped",
        }
    }
}

/// One message to one receiver, as the API shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The `webhook-id` the receiver sees, the same on every attempt.
    pub id: String,
    /// Name of the receiver.
    pub receiver: String,
    /// Which transition it tells of.
    pub transition_id: u128,
    /// Rule group.
    pub group: String,
    /// Rule name.
    pub rule: String,
    /// State the alert entered.
    pub state: AlertState,
    /// Where the delivery stands.
    pub status: DeliveryStatus,
    /// Requests sent so far, one under way included.
    pub attempts: u32,
    /// HTTP status of the last answer; `None` when there was none.
    pub last_status: Option<u16>,
    /// Why the last attempt failed; empty when none did.
    pub last_error: String,
    /// When the transition was accepted.
    pub accepted_at: Timestamp,
    /// When it is tried next; `None` once finished.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was finished; `None` while pending.
    pub finished_at: Option<Timestamp>,
}

/// A delivery as the ledger keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) receiver: Arc<str>,
    pub(crate) accepted: Arc<Accepted>,
    pub(crate) attempts: u32,
    pub(crate) outcome: Option<Outcome>,
}

impl Entry {
    pub(crate) fn status(&self) -> DeliveryStatus {
        match self.outcome.as_ref().map(|outcome| outcome.verdict) {
            None | Some(Verdict::Retry) => DeliveryStatus::Pending,
            Some(Verdict::Delivered) => DeliveryStatus::Delivered,
            Some(Verdict::Refused) => DeliveryStatus::Refused,
            Some(Verdict::Expired) => DeliveryStatus::Expired,
            Some(Verdict::Gone) => DeliveryStatus::Gone,
            Some(Verdict::Dropped) => DeliveryStatus::Dropped,
        }
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.status() == DeliveryStatus::Pending
    }

    /// When it may be sent: at once, or when the last outcome says.
    pub(crate) fn due_at(&self) -> Timestamp {
        self.outcome.as_ref().map_or(self.accepted.accepted_at, |outcome| outcome.next_at)
    }

    pub(crate) fn to_public(&self) -> Delivery {
        let pending = self.is_pending();
        let outcome = self.outcome.as_ref();
        Delivery {
            id: self.key.webhook_id(),
            receiver: self.receiver.to_string(),
            transition_id: self.accepted.transition_id,
            group: self.accepted.group.clone(),
            rule: self.accepted.rule.clone(),
            state: self.accepted.state,
            status: self.status(),
            attempts: self.attempts,
            last_status: outcome.map(|outcome| outcome.http_status).filter(|status| *status != 0),
            last_error: outcome.map(|outcome| outcome.error.clone()).unwrap_or_default(),
            accepted_at: self.accepted.accepted_at,
            next_attempt_at: pending.then(|| self.due_at()),
            finished_at: outcome.filter(|_| !pending).map(|outcome| outcome.at),
        }
    }
}
