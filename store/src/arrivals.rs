//! What was taken in since somebody last asked: for those who act when data arrives. Costs an atomic load a batch while
//! nobody listens.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::UInt64Type;
use tokio::sync::Notify;

use crate::sample::SeriesRef;
use crate::schema::{Table, columns};

/// Most series kept between two looks; beyond it anything may have come.
const SERIES_MAX: usize = 1_000_000;

/// What came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Series of samples, one for each sample, in the order taken in.
    pub series: Vec<SeriesRef>,
    /// Ids of series of histograms, one for each point.
    pub histograms: Vec<u64>,
    /// Tables that got rows.
    pub tables: BTreeSet<Table>,
    /// Whether more came than is told: anything may have.
    pub is_cut: bool,
}

/// What a batch brings, noted before it is written.
pub(crate) type Note = Option<Arrived>;

/// The listener's end, and the writers'.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    is_listening: AtomicBool,
    waiting: Mutex<Arrived>,
    wake: Notify,
}

impl Arrivals {
    /// What is to be told of a batch once it is durable; `None` while nobody listens.
    pub(crate) fn note(&self, series: &[SeriesRef], tables: &[(Table, RecordBatch)]) -> Note {
        if !self.is_listening.load(Ordering::Relaxed) {
            return None;
        }
        let mut histograms = Vec::new();
        let points = tables.iter().filter(|(table, _)| *table == Table::HistPoints);
        for (_, batch) in points {
            let ids = batch.column_by_name(columns::SERIES_ID);
            if let Some(ids) = ids.and_then(|ids| ids.as_primitive_opt::<UInt64Type>()) {
                histograms.extend_from_slice(ids.values());
            }
        }
        let tables = tables.iter().filter(|(_, rows)| rows.num_rows() > 0);
        let tables = tables.map(|(table, _)| *table).collect();
        Some(Arrived { series: series.to_vec(), histograms, tables, is_cut: false })
    }

    /// Tells what came.
    pub(crate) fn tell(&self, note: Note) {
        let Some(mut note) = note else { return };
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.series.len() + waiting.histograms.len() > SERIES_MAX {
                waiting.is_cut = true;
            } else {
                waiting.series.append(&mut note.series);
                waiting.histograms.append(&mut note.histograms);
            }
            waiting.tables.append(&mut note.tables);
        }
        self.wake.notify_one();
    }

    /// What came since the last call; waits until something did. For one listener. Cancel-safe.
    pub(crate) async fn next(&self) -> Arrived {
        self.is_listening.store(true, Ordering::Relaxed);
        loop {
            let arrived = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *waiting)
            };
            if arrived != Arrived::default() {
                return arrived;
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_between_two_looks_is_told_once() {
        let arrivals = Arrivals::default();
        assert_eq!(arrivals.note(&[SeriesRef::new(1, 1)], &[]), None, "nobody listens");
        arrivals.is_listening.store(true, Ordering::Relaxed);
        for slot in [1, 2] {
            arrivals.tell(arrivals.note(&[SeriesRef::new(slot, 1)], &[]));
        }
        let arrived = arrivals.next().await;
        assert_eq!(arrived.series, [SeriesRef::new(1, 1), SeriesRef::new(2, 1)]);
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, arrivals.next()).await;
        assert!(waiting.is_err(), "{waiting:?}");
    }
}
