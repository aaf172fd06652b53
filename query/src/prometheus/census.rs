//! Where series come from: counts by metric, label and value over the active series.

use std::cmp::Reverse;
use std::collections::HashMap;

use futures::future::BoxFuture;
use model::time::{NS_PER_S, TimeRange, Timestamp};

use super::StoreSource;
use super::apart::Account;
use crate::engine::Engine;
use crate::error::Error;
use crate::promql::{Labels, Stop};
use crate::runtime::{Class, QueryMemory};

/// Series with samples in this time are active.
const ACTIVE_NS: i64 = 2 * 3_600 * NS_PER_S;

/// Counts over the active series; every list best first, ties by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Series, a histogram's parts counted each, its buckets as one.
    pub series: u64,
    /// Different pairs of a label and its value.
    pub label_pairs: u64,
    /// First and last time active series are looked for, ms since the epoch; `None` without any.
    pub range_ms: Option<(i64, i64)>,
    /// Series of each metric.
    pub series_by_metric: Vec<(String, u64)>,
    /// Different values of each label.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of the values of each label, each series counted.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series of each `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}

impl Engine {
    /// Counts the series active at `now`; lists have at most `limit` entries.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub fn census(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Census, Error>> {
        let (time, max) = (self.config.timeout, self.options(None).max_samples);
        let range = TimeRange::new(Timestamp(now.0.saturating_sub(ACTIVE_NS)), now);
        Box::pin(self.sound(move |view| {
            let memory = self.memory(Class::Interactive);
            self.workers.run_blocking(time, move |stop| {
                let memory = memory?;
                count(&StoreSource::new(view, max, &memory), range, limit, (&memory, stop))
            })
        }))
    }
}

fn count(
    source: &StoreSource,
    range: TimeRange,
    limit: usize,
    (memory, stop): (&QueryMemory, &Stop),
) -> Result<Census, Error> {
    let (mut counts, mut account) = (Counts::default(), Account::new(memory, stop));
    let counted =
        source.each_identity(&[], range, stop, &mut |labels| counts.add(labels, &mut account));
    account.settle(counted)?;
    let mut census = counts.census(limit);
    census.range_ms = (census.series > 0).then(|| (range.start.ms(), range.end.ms()));
    Ok(census)
}

#[derive(Default)]
struct Counts {
    series: u64,
    metrics: HashMap<String, u64>,
    labels: HashMap<String, OfLabel>,
}

#[derive(Default)]
struct OfLabel {
    bytes: u64,
    values: HashMap<String, u64>,
}

impl Counts {
    fn add(&mut self, labels: &Labels, account: &mut Account<'_>) {
        self.series += 1;
        bump(&mut self.metrics, labels.name(), account);
        for (name, value) in labels.iter() {
            if !self.labels.contains_key(name) {
                self.labels.insert(name.to_owned(), OfLabel::default());
            }
            if let Some(of_label) = self.labels.get_mut(name) {
                of_label.bytes += value.len() as u64;
                bump(&mut of_label.values, value, account);
            }
        }
    }

    fn census(self, limit: usize) -> Census {
        let values = |label: &OfLabel| label.values.len() as u64;
        let by_label = |of: &dyn Fn(&OfLabel) -> u64| {
            let all = self.labels.iter().map(|(name, label)| (name.clone(), of(label)));
            most(all.collect(), limit)
        };
        let pairs = self.labels.iter().flat_map(|(name, label)| {
            // Only the most of each label can be among the most of all.
            let of_label = label.values.iter().map(|(value, n)| (value.clone(), *n)).collect();
            most(of_label, limit).into_iter().map(move |(value, n)| (format!("{name}={value}"), n))
        });
        Census {
            series: self.series,
            label_pairs: self.labels.values().map(values).sum(),
            range_ms: None,
            series_by_pair: most(pairs.collect(), limit),
            values_by_label: by_label(&values),
            bytes_by_label: by_label(&|label| label.bytes),
            series_by_metric: most(self.metrics.into_iter().collect(), limit),
        }
    }
}

fn bump(counts: &mut HashMap<String, u64>, name: &str, account: &mut Account<'_>) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            account.entry(name.len());
            counts.insert(name.to_owned(), 1);
        }
    }
}

fn most(mut all: Vec<(String, u64)>, limit: usize) -> Vec<(String, u64)> {
    all.sort_unstable_by(|(a, n), (b, m)| (Reverse(n), a).cmp(&(Reverse(m), b)));
    all.truncate(limit);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_takes_memory_and_ends_where_there_is_none() {
        let all = store::Memory::new(store::LIMIT_MIN);
        let memory = QueryMemory::new(&all, Class::Interactive).unwrap();
        let stop = Stop::default();
        let (mut counts, mut account) = (Counts::default(), Account::new(&memory, &stop));
        let text = "x".repeat(1 << 20);
        let mut n = 0;
        while !stop.is_told() {
            n += 1;
            assert!(n < 1_000, "no end of memory");
            counts.add(&Labels::from_texts([("id", format!("{n}{text}").as_str())]), &mut account);
        }
        let outcome = account.settle::<()>(Err(Error::Canceled));
        assert!(matches!(outcome, Err(Error::Exhausted(_))), "{outcome:?}");
    }

    #[test]
    fn series_are_counted_by_metric_label_and_value() {
        let memory = QueryMemory::new(&store::Memory::new(1 << 30), Class::Interactive).unwrap();
        let stop = Stop::default();
        let (mut counts, mut account) = (Counts::default(), Account::new(&memory, &stop));
        for code in ["200", "404"] {
            for verb in ["GET", "PUT", "GETS"] {
                let pairs = [("__name__", "requests_total"), ("code", code), ("verb", verb)];
                counts.add(&Labels::from_texts(pairs), &mut account);
            }
        }
        counts.add(&Labels::from_texts([("__name__", "up")]), &mut account);
        account.settle(Ok(())).unwrap();
        assert!(memory.held_bytes() > 0);
        let census = counts.census(2);
        let text = |name: &str, n| (name.to_owned(), n);
        assert_eq!((census.series, census.label_pairs), (7, 7));
        assert_eq!(census.series_by_metric, [text("requests_total", 6), text("up", 1)]);
        assert_eq!(census.values_by_label, [text("verb", 3), text("__name__", 2)]);
        assert_eq!(census.bytes_by_label, [text("__name__", 86), text("verb", 20)]);
        assert_eq!(
            census.series_by_pair,
            [text("__name__=requests_total", 6), text("code=200", 3)]
        );
    }
}
