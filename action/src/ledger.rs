//! What the journal says, in memory: every delivery, and which are due. Pure: no clock, no I/O; the
//! same calls in the same order give the same ledger.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::time::Timestamp;

use crate::config::Config;
use crate::delivery::{Delivery, Entry, Key};
use crate::error::Error;
use crate::journal::record::{Accepted, Event};

/// Whether an event is to be written.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Yes; it adds this many deliveries.
    New(usize),
    /// No: it says nothing new.
    Known,
    /// No: there is no room.
    Full(Error),
}

/// A delivery that is due, lent to whoever sends it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) key: Key,
    pub(crate) receiver: Arc<str>,
    pub(crate) accepted: Arc<Accepted>,
    /// Attempts already made.
    pub(crate) attempts: u32,
}

/// Everything of one receiver.
#[derive(Default)]
struct Queue {
    /// Pending deliveries of one alert, oldest first: only the first may be sent.
    lanes: HashMap<u128, VecDeque<u64>>,
    /// First of each lane, by when it is due; without those lent out.
    due: BTreeSet<(Timestamp, u64)>,
    lent: usize,
}

/// All deliveries.
pub(crate) struct Ledger {
    queue_max: usize,
    queue_bytes_max: usize,
    history_max: usize,
    history_age: Duration,
    next_number: u64,
    entries: BTreeMap<u64, Entry>,
    by_key: HashMap<Key, u64>,
    queues: HashMap<Arc<str>, Queue>,
    /// Finished, in the order they finished.
    finished: VecDeque<u64>,
    n_pending: usize,
    /// Bytes of their messages; one that goes to several receivers counts for each.
    pending_bytes: usize,
}

impl Ledger {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            queue_max: config.queue_max,
            queue_bytes_max: config.queue_bytes_max,
            history_max: config.history_max,
            history_age: config.history_age,
            next_number: 0,
            entries: BTreeMap::new(),
            by_key: HashMap::new(),
            queues: HashMap::new(),
            finished: VecDeque::new(),
            n_pending: 0,
            pending_bytes: 0,
        }
    }

    /// Whether `event` is to be written when `incoming` deliveries are about to be added before it.
    /// Receivers that know the transition already are taken out of it.
    pub(crate) fn admit(&self, event: &mut Event, incoming: usize) -> Admission {
        let Event::Accepted(accepted) = event else { return Admission::New(0) };
        let id = accepted.transition_id;
        accepted.receivers.retain(|receiver| !self.by_key.contains_key(&Key::new(id, receiver)));
        if accepted.receivers.is_empty() {
            return Admission::Known;
        }
        let pending = self.n_pending + incoming;
        if pending + accepted.receivers.len() > self.queue_max {
            return Admission::Full(Error::Full {
                pending,
                unit: "messages",
                limit: self.queue_max,
            });
        }
        let pending = self.pending_bytes;
        if pending + accepted.receivers.len() * accepted.body.len() > self.queue_bytes_max {
            return Admission::Full(Error::Full {
                pending,
                unit: "bytes",
                limit: self.queue_bytes_max,
            });
        }
        Admission::New(accepted.receivers.len())
    }

    /// Takes in one event that is on disk. What refers to a forgotten delivery is ignored.
    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Accepted(accepted) => self.add(accepted),
            Event::Attempt { key, attempt, .. } => {
                if let Some(entry) = self.entry(key) {
                    entry.attempts = entry.attempts.max(attempt);
                }
            }
            Event::Outcome(outcome) => {
                let key = outcome.key;
                let Some(entry) = self.entry(key).filter(|entry| entry.is_pending()) else {
                    return;
                };
                entry.attempts = entry.attempts.max(outcome.attempt);
                let was_due = entry.due_at();
                entry.outcome = Some(outcome);
                if let Some(number) = self.by_key.get(&key).copied() {
                    self.reschedule(number, was_due);
                }
            }
            // The register's.
            Event::Deed(_) => {}
        }
    }

    fn entry(&mut self, key: Key) -> Option<&mut Entry> {
        self.by_key.get(&key).and_then(|number| self.entries.get_mut(number))
    }

    fn add(&mut self, accepted: Accepted) {
        let accepted = Arc::new(accepted);
        for receiver in &accepted.receivers {
            let key = Key::new(accepted.transition_id, receiver);
            if self.by_key.contains_key(&key) {
                continue;
            }
            let number = self.next_number;
            self.next_number += 1;
            let receiver: Arc<str> = Arc::from(receiver.as_str());
            let queue = self.queues.entry(Arc::clone(&receiver)).or_default();
            let lane = queue.lanes.entry(accepted.fingerprint).or_default();
            lane.push_back(number);
            if lane.len() == 1 {
                queue.due.insert((accepted.accepted_at, number));
            }
            self.n_pending += 1;
            self.pending_bytes += accepted.body.len();
            let accepted = Arc::clone(&accepted);
            let entry = Entry { key, receiver, accepted, attempts: 0, outcome: None };
            self.entries.insert(number, entry);
            self.by_key.insert(key, number);
        }
    }

    /// Moves a delivery whose outcome came in to where it belongs now.
    fn reschedule(&mut self, number: u64, was_due: Timestamp) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let Some(queue) = self.queues.get_mut(&entry.receiver) else { return };
        queue.due.remove(&(was_due, number));
        if entry.is_pending() {
            queue.due.insert((entry.due_at(), number));
            return;
        }
        let fingerprint = entry.accepted.fingerprint;
        self.n_pending -= 1;
        self.pending_bytes -= entry.accepted.body.len();
        entry.accepted = Arc::new(entry.accepted.without_body());
        if let Some(lane) = queue.lanes.get_mut(&fingerprint) {
            lane.retain(|waiting| *waiting != number);
            match lane.front().and_then(|next| self.entries.get_key_value(next)) {
                Some((next, entry)) => _ = queue.due.insert((entry.due_at(), *next)),
                None => _ = queue.lanes.remove(&fingerprint),
            }
        }
        self.finished.push_back(number);
        while self.finished.len() > self.history_max {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.finished.pop_front().and_then(|old| self.entries.remove(&old)) {
            self.by_key.remove(&entry.key);
        }
    }

    /// Drops what finished longer than `history_age` ago.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        let age_ns = i64::try_from(self.history_age.as_nanos()).unwrap_or(i64::MAX);
        let horizon = Timestamp(now.0.saturating_sub(age_ns));
        while let Some(oldest) = self.finished.front().and_then(|number| self.entries.get(number)) {
            if oldest.outcome.as_ref().is_none_or(|outcome| outcome.at >= horizon) {
                break;
            }
            self.forget_oldest();
        }
    }

    /// Events from which [`Ledger::apply`] makes this ledger again; finished ones without their body.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = Vec::with_capacity(self.entries.len() * 2);
        // Finished ones first and in their order, so that the oldest is forgotten first again.
        let pending =
            self.entries.iter().filter(|(_, entry)| entry.is_pending()).map(|(number, _)| number);
        for entry in
            self.finished.iter().chain(pending).filter_map(|number| self.entries.get(number))
        {
            let receivers = vec![entry.receiver.to_string()];
            let body = entry.accepted.body.clone();
            let accepted = Accepted { receivers, body, ..entry.accepted.without_body() };
            events.push(Event::Accepted(accepted));
            events.extend(entry.outcome.clone().map(Event::Outcome));
            if entry.attempts > entry.outcome.as_ref().map_or(0, |outcome| outcome.attempt) {
                let (key, attempt) = (entry.key, entry.attempts);
                let deadline = entry.accepted.accepted_at;
                events.push(Event::Attempt { key, attempt, deadline });
            }
        }
        events
    }

    /// Lends out what is due at `now`, at most `in_flight_max` a receiver.
    pub(crate) fn take_due(&mut self, now: Timestamp, in_flight_max: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        for queue in self.queues.values_mut() {
            while queue.lent < in_flight_max
                && let Some(&(at, number)) = queue.due.first()
                && at <= now
            {
                queue.due.pop_first();
                if let Some(entry) = self.entries.get(&number) {
                    queue.lent += 1;
                    jobs.push(Job {
                        number,
                        key: entry.key,
                        receiver: Arc::clone(&entry.receiver),
                        accepted: Arc::clone(&entry.accepted),
                        attempts: entry.attempts,
                    });
                }
            }
        }
        jobs
    }

    /// Takes a lent delivery back. If it is still pending and has no later date, it is due at `at`.
    pub(crate) fn give_back(&mut self, job: &Job, at: Timestamp) {
        let Some(queue) = self.queues.get_mut(&job.receiver) else { return };
        queue.lent = queue.lent.saturating_sub(1);
        let Some(entry) = self.entries.get(&job.number).filter(|entry| entry.is_pending()) else {
            return;
        };
        let scheduled = (entry.due_at(), job.number);
        if !queue.due.contains(&scheduled) {
            queue.due.insert((at, job.number));
        }
    }

    /// When the next delivery is due that a receiver has room for; `None` when all rests.
    pub(crate) fn next_due(&self, in_flight_max: usize) -> Option<Timestamp> {
        let free = self.queues.values().filter(|queue| queue.lent < in_flight_max);
        free.filter_map(|queue| queue.due.first()).map(|(at, _)| *at).min()
    }

    /// The latest `limit` deliveries, newest first.
    pub(crate) fn latest(&self, limit: usize) -> Vec<Delivery> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(number, entry)| Reverse((entry.accepted.accepted_at, **number)));
        entries.into_iter().take(limit).map(|(_, entry)| entry.to_public()).collect()
    }

    /// Deliveries not yet finished.
    pub(crate) const fn n_pending(&self) -> usize {
        self.n_pending
    }

    /// Deliveries lent out.
    pub(crate) fn n_lent(&self) -> usize {
        self.queues.values().map(|queue| queue.lent).sum()
    }
}

#[cfg(test)]
mod tests;
