//! Batches that wait for the collector: oldest first, bounded in bytes. When full, the oldest that is not being sent is
//! dropped and counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::ledger::Ledger;

/// One export request, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// An `ExportMetricsServiceRequest`, Zstandard-compressed when `zstd`.
    pub body: Bytes,
    pub zstd: bool,
    /// Samples inside, for the account of losses.
    pub samples: u64,
}

/// Filled by the sampler, emptied by the exporter.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    bytes_max: usize,
    ledger: Arc<Ledger>,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    bytes: usize,
    /// The first batch is in the exporter's hands and must not be dropped: it may already have arrived.
    sending: bool,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize, ledger: Arc<Ledger>) -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new(), bytes_max, ledger }
    }

    /// Adds the newest batch; drops the oldest ones while there is no room. A batch too large for an empty queue is
    /// itself dropped.
    pub(crate) fn push(&self, batch: Batch) {
        let mut waiting = self.lock();
        if batch.body.len() > self.bytes_max {
            return self.ledger.dropped("too_large", batch.samples);
        }
        let oldest = usize::from(waiting.sending);
        while waiting.bytes + batch.body.len() > self.bytes_max {
            let Some(dropped) = waiting.batches.remove(oldest) else { break };
            waiting.bytes -= dropped.body.len();
            self.ledger.dropped("queue_full", dropped.samples);
        }
        waiting.bytes += batch.body.len();
        waiting.batches.push_back(batch);
        self.ledger.queued(waiting.bytes);
        drop(waiting);
        self.changed.notify_one();
    }

    /// No batch will follow: once the rest is sent, [`Self::next`] ends.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// The oldest batch, which stays queued until [`Self::done`]; `None` when the queue is closed and empty.
    pub(crate) async fn next(&self) -> Option<Batch> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(batch) = waiting.batches.front().cloned() {
                    waiting.sending = true;
                    return Some(batch);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Removes the batch that [`Self::next`] gave out: it was delivered, or never will be.
    pub(crate) fn done(&self) {
        let mut waiting = self.lock();
        waiting.sending = false;
        if let Some(batch) = waiting.batches.pop_front() {
            waiting.bytes -= batch.body.len();
        }
        self.ledger.queued(waiting.bytes);
    }

    /// Gives up what is left, counts it, and returns how many batches that were.
    pub(crate) fn abandon(&self) -> usize {
        let mut waiting = self.lock();
        let samples = waiting.batches.iter().map(|batch| batch.samples).sum();
        if samples > 0 {
            self.ledger.dropped("shutdown", samples);
        }
        let batches = waiting.batches.len();
        waiting.batches.clear();
        waiting.bytes = 0;
        batches
    }

    /// Batches that wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().batches.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whatever panicked in between, the batches themselves are whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize, samples: u64) -> Batch {
        Batch { body: vec![0; bytes].into(), zstd: false, samples }
    }

    fn queue(bytes_max: usize) -> (Queue, Arc<Ledger>) {
        let ledger = Arc::new(Ledger::new());
        (Queue::new(bytes_max, Arc::clone(&ledger)), ledger)
    }

    #[tokio::test]
    async fn the_oldest_is_dropped_and_counted_but_not_what_is_being_sent() {
        let (queue, ledger) = queue(10);
        queue.push(batch(4, 1));
        assert_eq!(queue.next().await.map(|b| b.samples), Some(1));
        queue.push(batch(4, 2));
        queue.push(batch(4, 3)); // No room: 2 goes, 1 is on its way.
        assert_eq!(ledger.account().dropped["queue_full"], 2);
        assert_eq!(ledger.account().queue_bytes, 8);
        queue.done();
        assert_eq!(queue.next().await.map(|b| b.samples), Some(3));
        queue.done();
        queue.close();
        assert_eq!(queue.next().await, None);
        assert_eq!(ledger.account().queue_bytes, 0);
    }

    #[tokio::test]
    async fn what_can_never_fit_and_what_is_left_are_counted() {
        let (queue, ledger) = queue(10);
        queue.push(batch(11, 7));
        queue.push(batch(5, 2));
        assert_eq!((queue.len(), queue.abandon(), queue.len()), (1, 1, 0));
        let dropped = ledger.account().dropped;
        assert_eq!((dropped["too_large"], dropped["shutdown"]), (7, 2));
    }
}
