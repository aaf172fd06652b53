//! Counters of the write path, under names that stay. Written by the doors and by admission, read by the server.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::time::Timestamp;

use crate::admit::{Reason, Tally};

/// Which of OTLP's signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Metrics; the items are data points.
    Metrics = 0,
    /// Logs; the items are log records.
    Logs = 1,
    /// Traces; the items are spans.
    Traces = 2,
}

impl Signal {
    /// Every signal, in discriminant order.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Traces];

    /// The word in paths, messages and counter attributes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    /// What one item is called, in the plural.
    #[must_use]
    pub const fn items(self) -> &'static str {
        match self {
            Self::Metrics => "data points",
            Self::Logs => "log records",
            Self::Traces => "spans",
        }
    }
}

/// Totals of one signal since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalStats {
    /// Requests answered with success, partial success included.
    pub requests: u64,
    /// Requests refused as a whole: malformed, too large, or no room.
    pub requests_refused: u64,
    /// Bytes of bodies as they came over the wire; of gRPC messages as inflated.
    pub wire_bytes: u64,
    /// Bytes of bodies once inflated.
    pub decoded_bytes: u64,
    /// Items in requests that could be decoded.
    pub received: u64,
    /// Items acknowledged: durable in the store.
    pub accepted: u64,
    /// Rows made durable of them: a summary or a histogram is more than one.
    pub rows: u64,
    /// Items rejected, by reason, in a fixed order; zeros included.
    pub rejected: Vec<(&'static str, u64)>,
    /// Items kept in part (a value cut, an invalid id dropped), by reason, in a fixed order; zeros included.
    pub adjusted: Vec<(&'static str, u64)>,
}

/// A snapshot of all counters and gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Metrics.
    pub metrics: SignalStats,
    /// Logs.
    pub logs: SignalStats,
    /// Traces.
    pub traces: SignalStats,
    /// Data points whose series was known.
    pub series_cache_hits: u64,
    /// Data points whose series had to be translated and resolved.
    pub series_cache_misses: u64,
    /// Memory requests in flight hold, in bytes.
    pub in_flight_bytes: u64,
}

/// One counter or gauge by name, for our own metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Stable name; `_total` at the end marks a counter.
    pub name: &'static str,
    /// Attributes, values from a bounded set.
    pub attributes: Vec<(&'static str, &'static str)>,
    /// Present value.
    pub value: u64,
}

impl Stats {
    /// Every number by its stable name, in a fixed order.
    #[must_use]
    pub fn counters(&self) -> Vec<Counter> {
        let mut out = Vec::new();
        let signals = [&self.metrics, &self.logs, &self.traces];
        for (signal, stats) in Signal::ALL.into_iter().zip(signals) {
            for (name, value) in [
                ("headrope_collector_requests_total", stats.requests),
                ("headrope_collector_refused_requests_total", stats.requests_refused),
                ("headrope_collector_wire_bytes_total", stats.wire_bytes),
                ("headrope_collector_decoded_bytes_total", stats.decoded_bytes),
                ("headrope_collector_received_items_total", stats.received),
                ("headrope_collector_accepted_items_total", stats.accepted),
                ("headrope_collector_rows_total", stats.rows),
            ] {
                out.push(Counter { name, attributes: vec![("signal", signal.name())], value });
            }
            for (name, by_reason) in [
                ("headrope_collector_rejected_items_total", &stats.rejected),
                ("headrope_collector_adjusted_items_total", &stats.adjusted),
            ] {
                out.extend(by_reason.iter().map(|&(reason, value)| Counter {
                    name,
                    attributes: vec![("signal", signal.name()), ("reason", reason)],
                    value,
                }));
            }
        }
        for (name, value) in [
            ("headrope_collector_series_cache_hits_total", self.series_cache_hits),
            ("headrope_collector_series_cache_misses_total", self.series_cache_misses),
            ("headrope_collector_in_flight_bytes", self.in_flight_bytes),
        ] {
            out.push(Counter { name, attributes: Vec::new(), value });
        }
        out
    }
}

/// The live counters of one signal.
#[derive(Debug, Default)]
pub(crate) struct SignalCounters {
    pub(crate) requests: AtomicU64,
    pub(crate) requests_refused: AtomicU64,
    pub(crate) wire_bytes: AtomicU64,
    pub(crate) decoded_bytes: AtomicU64,
    received: AtomicU64,
    accepted: AtomicU64,
    rows: AtomicU64,
    by_reason: [AtomicU64; Reason::ALL.len()],
    warned_minute: AtomicI64,
}

impl SignalCounters {
    /// Adds what became of one request whose batch is durable, holding `rows` rows.
    pub(crate) fn count(&self, tally: &Tally, rows: usize) {
        add(&self.requests, 1);
        add(&self.received, tally.received());
        add(&self.accepted, tally.received().saturating_sub(tally.rejected()));
        add(&self.rows, u64::try_from(rows).unwrap_or(u64::MAX));
        for (reason, total) in Reason::ALL.into_iter().zip(&self.by_reason) {
            add(total, tally.count(reason));
        }
    }

    /// Whether a warning may be logged: once a minute, so that a sender who is always wrong cannot fill the log.
    pub(crate) fn may_warn(&self, now: Timestamp) -> bool {
        let minute = now.s().div_euclid(60);
        self.warned_minute.swap(minute, Ordering::Relaxed) != minute
    }

    pub(crate) fn snapshot(&self) -> SignalStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let reasons = |rejects: bool| {
            let all = Reason::ALL.into_iter().zip(&self.by_reason);
            all.filter(|(reason, _)| reason.rejects() == rejects)
                .map(|(reason, total)| (reason.name(), load(total)))
                .collect()
        };
        SignalStats {
            requests: load(&self.requests),
            requests_refused: load(&self.requests_refused),
            wire_bytes: load(&self.wire_bytes),
            decoded_bytes: load(&self.decoded_bytes),
            received: load(&self.received),
            accepted: load(&self.accepted),
            rows: load(&self.rows),
            rejected: reasons(true),
            adjusted: reasons(false),
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}
