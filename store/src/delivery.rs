//! Batches with a name: a sender that numbers its batches has each taken in once, however often it repeats one.
//!
//! The log's thread asks before it writes and notes after the sync; a flush carries what it notes into the catalogue,
//! in the transaction that moves the watermark. So the numbers are exactly as durable as the rows they stand for.

use std::collections::HashMap;

use model::time::{NS_PER_S, Timestamp};

/// Exactly-once identity of a batch: a repeat of a sequence already durable is acknowledged without rows.
///
/// A sender that uses it sends the batches of an epoch one after the other, in the order of their sequence: the next one
/// only when the one before was acknowledged or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// The agent, as it named itself.
    pub agent: u128,
    /// Which life of the agent's queue: sequences begin anew with each.
    pub epoch: u64,
    /// Number of the batch within the epoch.
    pub seq: u64,
}

/// Streams remembered, also by the catalogue; above it the ones longest silent are forgotten.
pub(crate) const STREAMS_MAX: usize = if cfg!(test) { 1_000 } else { 100_000 };
/// Silence after which a stream is forgotten.
pub(crate) const SILENCE_NS: i64 = 7 * 86_400 * NS_PER_S;

/// One life of one sender: its batches come one after the other, with rising numbers.
pub(crate) type Stream = (u128, u64);

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) seq: u64,
    /// When its last batch came.
    pub(crate) at: Timestamp,
}

/// How far each stream has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deliveries(HashMap<Stream, Reached>);

impl Delivery {
    pub(crate) fn stream(&self) -> Stream {
        (self.agent, self.epoch)
    }
}

impl Deliveries {
    /// Whether this batch, or a later one of its stream, was noted before.
    pub(crate) fn is_repeat(&self, delivery: &Delivery) -> bool {
        self.0.get(&delivery.stream()).is_some_and(|reached| delivery.seq <= reached.seq)
    }

    /// Notes a batch that is durable.
    pub(crate) fn note(&mut self, delivery: &Delivery, at: Timestamp) {
        if self.0.len() >= STREAMS_MAX && !self.0.contains_key(&delivery.stream()) {
            self.forget();
        }
        let reached = self.0.entry(delivery.stream()).or_insert(Reached { seq: 0, at });
        *reached = Reached { seq: reached.seq.max(delivery.seq), at: reached.at.max(at) };
    }

    /// Makes room: a tenth of the streams go, those that have been silent for longest.
    fn forget(&mut self) {
        // By rank, not by time: all of one head, and all that one flush raised, have the same.
        let mut order: Vec<(Timestamp, Stream)> =
            self.0.iter().map(|(stream, reached)| (reached.at, *stream)).collect();
        let n_gone = order.len() / 10;
        order.select_nth_unstable(n_gone);
        for (_, stream) in &order[..n_gone] {
            self.0.remove(stream);
        }
    }

    pub(crate) fn insert(&mut self, stream: Stream, reached: Reached) {
        self.0.insert(stream, reached);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Streams in order, so that a commit writes the same for the same.
    pub(crate) fn sorted(&self) -> Vec<(Stream, Reached)> {
        let mut streams: Vec<_> =
            self.0.iter().map(|(stream, reached)| (*stream, *reached)).collect();
        streams.sort_unstable_by_key(|(stream, _)| *stream);
        streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(agent: u128, epoch: u64, seq: u64) -> Delivery {
        Delivery { agent, epoch, seq }
    }

    #[test]
    fn a_repeat_is_known_by_agent_epoch_and_number() {
        let mut known = Deliveries::default();
        known.note(&delivery(1, 5, 3), Timestamp(0));
        for (name, is_repeat) in [
            (delivery(1, 5, 3), true),
            (delivery(1, 5, 2), true),
            (delivery(1, 5, 4), false),
            (delivery(1, 6, 1), false),
            (delivery(2, 5, 3), false),
        ] {
            assert_eq!(known.is_repeat(&name), is_repeat, "{name:?}");
        }
        known.note(&delivery(1, 5, 2), Timestamp(1));
        assert!(known.is_repeat(&delivery(1, 5, 3)), "a lower number takes nothing back");
    }

    #[test]
    fn the_longest_silent_are_forgotten_first() {
        let mut known = Deliveries::default();
        for agent in 0..STREAMS_MAX {
            known.note(&delivery(agent as u128, 0, 1), Timestamp::from_s(agent as i64));
        }
        known.note(&delivery(u128::MAX, 0, 1), Timestamp(0));
        assert!(known.0.len() < STREAMS_MAX);
        assert!(!known.is_repeat(&delivery(0, 0, 1)));
        let newest = STREAMS_MAX as u128 - 1;
        assert!(
            known.is_repeat(&delivery(newest, 0, 1)) && known.is_repeat(&delivery(u128::MAX, 0, 1))
        );
    }

    #[test]
    fn of_equal_times_a_tenth_is_forgotten() {
        let mut known = Deliveries::default();
        for agent in 0..=STREAMS_MAX {
            known.note(&delivery(agent as u128, 0, 1), Timestamp(0));
        }
        assert_eq!(known.0.len(), STREAMS_MAX / 10 * 9 + 1);
    }
}
