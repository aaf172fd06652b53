//! `headrope-series-runs-v1`: where the rows of each series are.
//!
//! Little endian: series u32, then for each in the order of rows: id u64, number of rows, first time in ms as the
//! difference to a base (zigzag), time from its first to its last row in ms; then the base i64.
//!
//! Where series have few rows each, a page holds all of some thousand of them: pages tell apart what this index would,
//! and it would take more memory than it saves reading. Such segments have none.

use std::ops::Range;
use std::sync::OnceLock;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{TimestampMillisecondType, UInt64Type};

use crate::schema::columns;
use crate::varint::{Reader, put, unzigzag, zigzag};

/// Rows a series has on average where the index is worth its memory.
const ROWS_MIN: u64 = 8;
/// One search costs as much as so many looks at series that are not wanted.
const SEARCH_WORTH: usize = 32;

/// The rows of one series, as they are gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    id: u64,
    rows: u64,
    /// Earliest and latest time, ms.
    times: (i64, i64),
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
                    self.runs.push(Run { id: *id, rows: 1, times });
                }
            }
            self.rows += 1;
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.runs.len() * size_of::<Run>()
    }

    /// The blob, where it is worth having.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        if self.rows < self.runs.len() as u64 * ROWS_MIN {
            return None;
        }
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
        Some(out)
    }
}

/// The runs of one segment, in the order of rows: packed, for there may be a million of them in memory.
pub(crate) struct Runs {
    ids: Vec<u64>,
    /// Places in `ids`, by id; made when few series are asked for, which is when it is worth it.
    by_id: OnceLock<Box<[u32]>>,
    /// The row after the last of each.
    ends: Vec<u32>,
    /// The earliest time of the first series, ms.
    base: i64,
    /// From `base` to the earliest time, and from there to the latest, ms.
    times: Vec<(i32, u32)>,
}

impl Runs {
    /// `None` when the blob is damaged, says that there are other than `rows` rows, or reaches more than 24 days from its
    /// first time: segments span a day.
    pub(super) fn new(blob: &[u8], rows: u64) -> Option<Self> {
        let (body, base) = blob.split_last_chunk()?;
        let base = i64::from_le_bytes(*base);
        let mut reader = Reader(body);
        let n_series = u32::from_le_bytes(reader.bytes()?) as usize;
        let room = n_series.min(blob.len() / 11);
        let mut runs = Self {
            ids: Vec::with_capacity(room),
            by_id: OnceLock::new(),
            ends: Vec::with_capacity(room),
            base,
            times: Vec::with_capacity(room),
        };
        let mut end = 0_u64;
        for _ in 0..n_series {
            runs.ids.push(u64::from_le_bytes(reader.bytes()?));
            end = end.checked_add(reader.number()?)?;
            runs.ends.push(u32::try_from(end).ok()?);
            let from = i32::try_from(unzigzag(reader.number()?)).ok()?;
            runs.times.push((from, u32::try_from(reader.number()?).ok()?));
        }
        (end == rows && reader.0.is_empty()).then_some(runs)
    }

    pub(super) fn bytes(&self) -> usize {
        self.ids.len() * (size_of::<u64>() + 2 * size_of::<u32>() + size_of::<(i32, u32)>())
    }

    /// Rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// The rows of each series wanted that may have some in `range` (ms, both ends included), with its place, and whether all of
    /// them lie in it; ascending by row.
    ///
    /// `wanted` are ids with places, and `place` looks one up in them. Few are searched for here; of many, each series here is
    /// looked up there.
    pub(crate) fn ranges(
        &self,
        range: (i64, i64),
        wanted: &[(u64, usize)],
        place: impl Fn(u64) -> Option<usize>,
    ) -> Vec<(usize, Range<usize>, bool)> {
        let rows = |(at, place): (usize, usize)| {
            let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            let (from, length) = self.times[at];
            let first = self.base.saturating_add(from.into());
            let last = first.saturating_add(length.into());
            let is_whole = range.0 <= first && last <= range.1;
            let touches = first <= range.1 && range.0 <= last;
            touches.then(|| (place, start as usize..self.ends[at] as usize, is_whole))
        };
        if wanted.len() < self.ids.len() / SEARCH_WORTH {
            let search = |(id, place): &(u64, usize)| Some((self.at(*id)?, *place));
            let mut found: Vec<_> = wanted.iter().filter_map(search).collect();
            found.sort_unstable();
            found.into_iter().filter_map(rows).collect()
        } else {
            let all = self.ids.iter().enumerate();
            all.filter_map(|(at, id)| rows((at, place(*id)?))).collect()
        }
    }

    /// Place in `ids`.
    fn at(&self, id: u64) -> Option<usize> {
        let by_id = self.by_id.get_or_init(|| {
            let mut places: Box<[u32]> = (0..u32::MAX).take(self.ids.len()).collect();
            places.sort_unstable_by_key(|at| self.ids[*at as usize]);
            places
        });
        let found = by_id.binary_search_by_key(&id, |at| self.ids[*at as usize]).ok()?;
        Some(by_id[found] as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, TimestampMillisecondArray, UInt64Array};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    /// What `runs` say of the series wanted.
    fn ranges(
        runs: &Runs,
        range: (i64, i64),
        wanted: &[(u64, usize)],
    ) -> Vec<(usize, Range<usize>, bool)> {
        let wanted_one = |id| wanted.iter().find(|entry| entry.0 == id).map(|entry| entry.1);
        runs.ranges(range, wanted, wanted_one)
    }

    proptest! {
        #[test]
        fn runs_read_back(rows in proptest::collection::vec((0..4_u64, -9_000..9_000_i64), 1..90), range in (-9_500..9_500_i64, 0..9_000_i64)) {
            let mut sorted = rows;
            sorted.sort_unstable();
            let mut builder = RunsBuilder::default();
            for part in sorted.chunks(7) {
                let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(part.iter().map(|row| row.0)));
                let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(part.iter().map(|row| row.1)));
                builder.add(&RecordBatch::try_from_iter([(columns::SERIES_ID, ids), (columns::TIME, times)]).unwrap());
            }
            let n_series = sorted.chunk_by(|a, b| a.0 == b.0).count();
            let blob = builder.finish();
            prop_assert_eq!(blob.is_some(), sorted.len() >= 8 * n_series);
            let Some(blob) = blob else { return Ok(()) };
            let runs = Runs::new(&blob, sorted.len() as u64).unwrap();
            prop_assert_eq!(runs.rows(), sorted.len());
            let range = (range.0, range.0 + range.1);
            let mut row = 0;
            let mut wanted = Vec::new();
            for run in sorted.chunk_by(|a, b| a.0 == b.0) {
                let rows = row..row + run.len();
                row = rows.end;
                if run[0].0 != 2 && run[0].1 <= range.1 && range.0 <= run[run.len() - 1].1 {
                    let is_whole = range.0 <= run[0].1 && run[run.len() - 1].1 <= range.1;
                    wanted.push((usize::try_from(run[0].0).unwrap(), rows, is_whole));
                }
            }
            prop_assert_eq!(ranges(&runs, range, &[(0, 0), (1, 1), (3, 3)]), wanted);
            prop_assert!(Runs::new(&blob, sorted.len() as u64 + 1).is_none());
        }

        /// Metrics come before ids in the order of rows, so that ids do not ascend.
        #[test]
        fn few_are_found_as_many_are(ids in proptest::collection::hash_set(0..500_u64, 70..200), few in proptest::collection::btree_set(0..500_u64, 0..3), range in (-90..90_i64, 0..90_i64)) {
            let mut builder = RunsBuilder::default();
            for id in &ids {
                let times = (0..8).map(|ms| ms + i64::try_from(*id).unwrap() % 100);
                let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(times));
                let ids: ArrayRef = Arc::new(UInt64Array::from_value(*id, 8));
                builder.add(&RecordBatch::try_from_iter([(columns::SERIES_ID, ids), (columns::TIME, times)]).unwrap());
            }
            let runs = Runs::new(&builder.finish().unwrap(), ids.len() as u64 * 8).unwrap();
            let few: Vec<_> = few.into_iter().map(|id| (id, 1_000 - usize::try_from(id).unwrap())).collect();
            let range = (range.0, range.0 + range.1);
            let all: Vec<_> = (0..500).map(|id| (id, 1_000 - usize::try_from(id).unwrap())).collect();
            let mut wanted = ranges(&runs, range, &all);
            wanted.retain(|found| few.iter().any(|(_, place)| *place == found.0));
            prop_assert_eq!(ranges(&runs, range, &few), wanted);
        }

        #[test]
        fn hostile_bytes_give_nothing(blob in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(Runs::new(&blob, 7).is_none_or(|runs| runs.rows() == 7));
        }
    }
}
