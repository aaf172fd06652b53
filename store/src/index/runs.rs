//! `headrope-series-runs-v1`: where the rows of each series are.
//!
//! Little endian: series u32, then for each in the order of rows: id u64, number of rows, first time in ms as the
//! difference to a base (zigzag), time from its first to its last row in ms; then the base i64.

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{TimestampMillisecondType, UInt64Type};

use crate::schema::columns;
use crate::varint::{Reader, put, unzigzag, zigzag};

/// The rows of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) id: u64,
    pub(crate) first_row: u64,
    pub(crate) rows: u64,
    /// Earliest and latest time, ms.
    pub(crate) times: (i64, i64),
}

/// Gathers the runs of one segment.
#[derive(Default)]
pub(super) struct RunsBuilder {
    rows: u64,
    runs: Vec<Run>,
}

impl RunsBuilder {
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        let ids = batch.column_by_name(columns::SERIES_ID);
        let times = batch.column_by_name(columns::TIME);
        let (Some(ids), Some(times)) = (
            ids.and_then(|ids| ids.as_primitive_opt::<UInt64Type>()),
            times.and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>()),
        ) else {
            return;
        };
        for (id, time) in ids.values().iter().zip(times.values()) {
            match self.runs.last_mut().filter(|run| run.id == *id) {
                Some(run) => {
                    run.rows += 1;
                    run.times = (run.times.0.min(*time), run.times.1.max(*time));
                }
                None => {
                    let times = (*time, *time);
                    self.runs.push(Run { id: *id, first_row: self.rows, rows: 1, times });
                }
            }
            self.rows += 1;
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.runs.len() * size_of::<Run>()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = u32::try_from(self.runs.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        let base = self.runs.first().map_or(0, |run| run.times.0);
        for run in &self.runs {
            out.extend_from_slice(&run.id.to_le_bytes());
            put(&mut out, run.rows);
            let from = run.times.0.wrapping_sub(base);
            put(&mut out, zigzag(from));
            put(&mut out, run.times.1.wrapping_sub(run.times.0).cast_unsigned());
        }
        out.extend_from_slice(&base.to_le_bytes());
        out
    }
}

/// The runs of one segment, in the order of rows.
pub(crate) struct Runs(pub(crate) Vec<Run>);

impl Runs {
    /// `None` when the blob is damaged, or says that there are other than `rows` rows.
    pub(super) fn new(blob: &[u8], rows: u64) -> Option<Self> {
        let (body, base) = blob.split_last_chunk()?;
        let base = i64::from_le_bytes(*base);
        let mut reader = Reader(body);
        let n_series = u32::from_le_bytes(reader.bytes()?);
        let mut runs = Vec::with_capacity((n_series as usize).min(blob.len() / 11));
        let mut first_row = 0_u64;
        for _ in 0..n_series {
            let id = u64::from_le_bytes(reader.bytes()?);
            let rows = reader.number()?;
            let first = base.wrapping_add(unzigzag(reader.number()?));
            let times = (first, first.wrapping_add(reader.number()?.cast_signed()));
            runs.push(Run { id, first_row, rows, times });
            first_row = first_row.checked_add(rows)?;
        }
        (first_row == rows && reader.0.is_empty()).then_some(Self(runs))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * size_of::<Run>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, TimestampMillisecondArray, UInt64Array};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn runs_read_back(rows in proptest::collection::vec((0..4_u64, any::<i64>()), 0..60)) {
            let mut sorted = rows;
            sorted.sort_unstable();
            let mut builder = RunsBuilder::default();
            for part in sorted.chunks(7) {
                let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(part.iter().map(|row| row.0)));
                let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(part.iter().map(|row| row.1)));
                builder.add(&RecordBatch::try_from_iter([(columns::SERIES_ID, ids), (columns::TIME, times)]).unwrap());
            }
            let wanted = builder.runs.clone();
            let blob = builder.finish();
            prop_assert_eq!(Runs::new(&blob, sorted.len() as u64).unwrap().0, wanted);
            prop_assert!(Runs::new(&blob, sorted.len() as u64 + 1).is_none());
        }

        #[test]
        fn hostile_bytes_give_nothing(blob in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(Runs::new(&blob, 7).is_none_or(|runs| runs.0.iter().map(|run| run.rows).sum::<u64>() == 7));
        }
    }
}
