//! Rows of sample segments, decoded page by page and kept for the next query: pages are what Parquet decodes anyway.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;
use parquet::arrow::arrow_reader::RowSelection;

use crate::arrange::values::Values;
use crate::definition::column;
use crate::error::Error;
use crate::index::cache::Cache;
use crate::scan::pages::{PageReader, Wanted};
use crate::schema::{Table, columns};
use crate::segment::read::Segment;
use crate::segment::recipe::page_rows;

/// One a process: its budget is the process's.
pub(crate) static KEPT: LazyLock<Cache> = LazyLock::new(|| Cache::new(0));

/// What samples are read from; the series is known from elsewhere where the first is left out.
pub(crate) const COLUMNS: [&str; 7] = [
    columns::SERIES_ID,
    columns::TIME,
    columns::SCALE,
    columns::V_CTR,
    columns::V_INT,
    columns::V_F64,
    columns::START_TIME,
];

/// Start time of a sample that has none.
pub(crate) const UNKNOWN: i64 = i64::MIN;

/// Bytes a decoded row takes, without start time.
const ROW_BYTES: usize = size_of::<i64>() + size_of::<f64>();

/// Neighbouring rows of a segment.
#[derive(Default)]
pub(crate) struct Block {
    /// Times in ms.
    pub(crate) t: Vec<i64>,
    /// As long as `t`.
    pub(crate) v: Vec<f64>,
    /// Start times in ms, [`UNKNOWN`] where there is none and from its end on.
    pub(crate) starts: Vec<i64>,
}

impl Block {
    /// Appends rows of a batch.
    pub(crate) fn extend(&mut self, batch: &RecordBatch, rows: Range<usize>) {
        let times = column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>();
        let starts = column(batch, columns::START_TIME).as_primitive::<TimestampMillisecondType>();
        let values = Values::new(batch, "").expect("the segment has the value columns");
        if starts.null_count() < starts.len() {
            let start = |row| if starts.is_null(row) { UNKNOWN } else { starts.value(row) };
            self.put_starts(rows.clone().map(start));
        }
        self.t.extend_from_slice(&times.values()[rows.clone()]);
        values.extend(rows, &mut self.v);
    }

    /// Appends rows of another.
    pub(crate) fn extend_from(&mut self, other: &Self, rows: Range<usize>) {
        if rows.start < other.starts.len() {
            self.put_starts(
                other.starts[rows.start..rows.end.min(other.starts.len())].iter().copied(),
            );
        }
        self.t.extend_from_slice(&other.t[rows.clone()]);
        self.v.extend_from_slice(&other.v[rows]);
    }

    /// Notes the start times of rows whose times come next.
    pub(crate) fn put_starts(&mut self, starts: impl Iterator<Item = i64>) {
        for (at, start) in (self.t.len()..).zip(starts) {
            if start != UNKNOWN {
                self.starts.resize(at, UNKNOWN);
                self.starts.push(start);
            }
        }
    }

    /// Start times of rows.
    pub(crate) fn starts_of(&self, rows: Range<usize>) -> impl Iterator<Item = i64> {
        rows.map(|at| self.starts.get(at).copied().unwrap_or(UNKNOWN))
    }

    /// Makes room for `rows` in all, and no more: it may be kept.
    fn reserve(&mut self, rows: usize) {
        self.t.reserve_exact(rows - self.t.len());
        self.v.reserve_exact(rows - self.v.len());
    }

    fn bytes(&self) -> usize {
        (self.t.capacity() + self.v.capacity() + self.starts.capacity()) * size_of::<u64>()
    }
}

/// Whether so many rows may be kept: what would push out most of the rest is not.
pub(crate) fn are_worth_keeping(n_rows: usize) -> bool {
    n_rows as u64 * ROW_BYTES as u64 <= KEPT.limit() / 2
}

/// Rows a block of `segment` has, its last one perhaps fewer.
pub(crate) fn block_rows(segment: &Segment) -> usize {
    page_rows(Table::Samples, segment.facts().level)
}

/// The blocks with these numbers, which ascend: those kept, the others read, and kept if `keeps`. Blocks.
pub(crate) fn blocks(
    segment: &Segment,
    wanted: &Wanted<'_>,
    numbers: &[usize],
    keeps: bool,
) -> Result<Vec<Arc<Block>>, Error> {
    let n_rows = usize::try_from(segment.facts().rows).unwrap_or(usize::MAX);
    let len = block_rows(segment);
    let rows = |number: usize| number * len..((number + 1) * len).min(n_rows);
    let kept = |number: usize| KEPT.find::<Block>(&segment.file, "samples", number);
    let mut found: Vec<Option<Arc<Block>>> = numbers.iter().map(|number| kept(*number)).collect();
    let missing = || numbers.iter().zip(&found).filter(|(_, found)| found.is_none());
    let ranges: Vec<Range<usize>> = missing().map(|(number, _)| rows(*number)).collect();
    if !ranges.is_empty() {
        let selection = RowSelection::from_consecutive_ranges(ranges.iter().cloned(), n_rows);
        let mut read = Vec::with_capacity(ranges.len());
        let mut block = Block::default();
        for batch in PageReader::new(segment, wanted, (&COLUMNS[1..], None), Some(selection))? {
            let batch = batch?;
            let mut from = 0;
            while let Some(range) = ranges.get(read.len()).filter(|_| from < batch.num_rows()) {
                let to = batch.num_rows().min(from + range.len() - block.t.len());
                block.reserve(range.len());
                block.extend(&batch, from..to);
                from = to;
                if block.t.len() == range.len() {
                    read.push(Arc::new(std::mem::take(&mut block)));
                }
            }
        }
        if read.len() < ranges.len() {
            return Err(segment.lacks_rows());
        }
        let mut read = read.into_iter();
        for (number, found) in numbers.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            *found = read.next();
            if let Some(block) = found.as_ref().filter(|_| keeps) {
                KEPT.keep(&segment.file, ("samples", *number), Arc::clone(block), block.bytes());
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}
