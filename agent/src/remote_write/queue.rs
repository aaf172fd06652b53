//! Samples that wait for their receiver: oldest first, bounded in bytes. When full, the oldest are dropped and counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::point::Point;
use super::tally::Tally;

/// Filled by scrapes, emptied by one sender.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    bytes_max: usize,
    tally: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Waiting {
    points: VecDeque<Point>,
    /// Of what waits and of what the sender holds.
    bytes: usize,
    /// Samples the sender holds.
    sending: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize, tally: Arc<Tally>) -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new(), bytes_max, tally }
    }

    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Adds the samples of a scrape, then drops the oldest beyond the limit.
    pub(crate) fn push(&self, points: impl IntoIterator<Item = Point>) {
        let mut waiting = self.lock();
        for point in points {
            waiting.bytes += point.bytes();
            waiting.points.push_back(point);
        }
        let mut dropped = 0;
        while waiting.bytes > self.bytes_max {
            let Some(oldest) = waiting.points.pop_front() else { break };
            waiting.bytes -= oldest.bytes();
            dropped += 1;
        }
        drop(waiting);
        self.tally.dropped("queue_full", dropped);
        self.changed.notify_one();
    }

    /// No sample will follow: once the rest is taken, [`Self::take`] ends.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// The oldest samples, at most `n_max`, and about half of what the queue may hold; `None` when it is closed and empty.
    /// They take their room, and count as lost when [`Self::abandon`] comes, until [`Self::done`].
    pub(crate) async fn take(&self, n_max: usize) -> Option<Vec<Point>> {
        loop {
            {
                let mut waiting = self.lock();
                let (mut n, mut bytes) = (0, 0);
                while n < waiting.points.len().min(n_max) && bytes < self.bytes_max / 2 {
                    bytes += waiting.points[n].bytes();
                    n += 1;
                }
                if n > 0 {
                    let taken: Vec<Point> = waiting.points.drain(..n).collect();
                    waiting.sending += n;
                    return Some(taken);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// These of what [`Self::take`] gave out are dealt with.
    pub(crate) fn done(&self, points: &[Point]) {
        let bytes: usize = points.iter().map(Point::bytes).sum();
        let mut waiting = self.lock();
        waiting.sending = waiting.sending.saturating_sub(points.len());
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
    }

    /// What [`Self::take`] gave out has changed: so many samples are gone from it, and it takes `after` bytes, not `before`.
    pub(crate) fn changed(&self, n_gone: usize, before: usize, after: usize) {
        let mut waiting = self.lock();
        waiting.sending = waiting.sending.saturating_sub(n_gone);
        waiting.bytes = waiting.bytes.saturating_sub(before) + after;
    }

    /// Gives up what is left, counts it, and returns how many samples that were.
    pub(crate) fn abandon(&self) -> usize {
        let mut waiting = self.lock();
        let n = waiting.points.len() + waiting.sending;
        *waiting = Waiting { closed: true, ..Waiting::default() };
        drop(waiting);
        self.tally.dropped("shutdown", n);
        n
    }

    /// Samples that wait, and the bytes they and those being sent take.
    pub(crate) fn len_and_bytes(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.points.len(), waiting.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whatever panicked in between, the samples themselves are whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::point::Value;
    use super::*;

    fn point(at_ms: i64) -> Point {
        Point {
            labels: model::metric::Labels::default(),
            meta: None,
            at_ms,
            start_ms: 0,
            value: Value::Float(1.0),
            exemplars: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_is_no_room_and_are_counted() {
        let tally = Arc::new(Tally::default());
        let queue = Queue::new(3 * point(0).bytes(), Arc::clone(&tally));
        queue.push((0..5).map(point));
        let taken = queue.take(2).await.unwrap();
        assert_eq!(taken.iter().map(|p| p.at_ms).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(tally.read().2["queue_full"], 2);
        queue.push([point(5)]);
        assert_eq!(tally.read().2["queue_full"], 3, "what is being sent takes its room");
        queue.done(&taken);
        queue.push([point(6), point(7)]);
        assert_eq!(queue.take(1).await.map(|taken| taken[0].at_ms), Some(5));
        assert_eq!(queue.abandon(), 3, "one being sent, two waiting");
        assert_eq!(tally.read().2["shutdown"], 3);
        assert_eq!(queue.take(1).await, None);
    }
}
