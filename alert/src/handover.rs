//! What leaves this crate: transitions to `action`, recorded samples to the store.

use std::sync::Arc;

use model::alert::Transition;
use model::metric::{Labels, STALE_NAN_BITS};
use model::time::Timestamp;
use query::promql::histogram::Histogram;
use tokio::sync::{mpsc, oneshot};

/// A transition on its way to `action`.
///
/// It is written to the state before it is sent, and sent again, with the same id, until `accepted` says that the
/// receiver has made it durable. Dropping `accepted` means "again, please".
#[derive(Debug)]
pub struct Handover {
    /// What happened.
    pub transition: Transition,
    /// To be answered once the transition is in the receiver's journal.
    pub accepted: oneshot::Sender<()>,
}

/// One sample a rule has made.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Metric name.
    pub name: String,
    /// Labels, without the name.
    pub labels: Labels,
    /// Value; the stale marker where a series ends, 0 for a native histogram.
    pub value: f64,
    /// The native histogram, when it is one.
    pub histogram: Option<Arc<Histogram>>,
    /// Its time: that of the evaluation less the group's query offset.
    pub at: Timestamp,
}

impl Recorded {
    /// The marker that ends a series.
    pub(crate) fn end(name: String, labels: Labels, at: Timestamp) -> Self {
        Self { name, labels, value: f64::from_bits(STALE_NAN_BITS), histogram: None, at }
    }
}

/// Samples of one rule and evaluation, to be ingested all or nothing.
///
/// The next rule of the group is evaluated only when `stored` was answered, so that it sees these samples.
#[derive(Debug)]
pub struct RecordedBatch {
    /// The samples; never empty.
    pub samples: Vec<Recorded>,
    /// To be answered once they can be queried, or with why they were refused.
    pub stored: oneshot::Sender<Result<(), String>>,
}

/// Where transitions and samples go. Both channels are bounded; when one is full the group waits, at most 10 s a
/// transition and the rest of its timeout a batch, and then tries again at its next evaluation.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// To `action`.
    pub handover: mpsc::Sender<Handover>,
    /// To the store, by the one door.
    pub recorded: mpsc::Sender<RecordedBatch>,
}
