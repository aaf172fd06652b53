//! The merge: runs of sorted rows become one, in memory that does not grow with them.
//!
//! Each run is read batch by batch. Of every run the rows below the smallest of their last keys are complete: no later
//! batch can hold a row that belongs among them. They are taken, arranged as a flush arranges its rows, and written.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::row::{OwnedRow, RowConverter, SortField};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use roaring::RoaringBitmap;

use crate::arrange::{histograms, rows, samples, traces};
use crate::compact::due::Run;
use crate::error::Error;
use crate::promote;
use crate::registry::Registry;
use crate::schema::{Table, segment_schema};
use crate::segment::read::{Blocks, Segment};
use crate::segment::write::Window;

/// Rows of a batch read from a run.
pub(crate) const BATCH_ROWS: usize = if cfg!(test) { 64 } else { 8_192 };
/// Rows of one series gathered before they are cut by time; each part then gets a value layout of its own.
pub(crate) const GROUP_ROWS_MAX: usize = if cfg!(test) { 256 } else { 131_072 };

const CONTEXT: &str = "merging segments";

/// A merge under way.
pub(crate) struct Merge<'a> {
    table: Table,
    window: Window,
    registry: &'a Registry,
    cursors: Vec<Cursor>,
    /// Of rows that are arranged together: of metric tables a series, else one row.
    group: Keys,
    row: Keys,
    /// Bytes of the batch last given out.
    taken: usize,
}

impl<'a> Merge<'a> {
    /// A merge of `runs` (oldest commit first) to rows of `window`; rows in `losers` (by run) are left out.
    pub(crate) fn new(
        (table, window): (Table, Window),
        runs: &[Run],
        losers: Vec<RoaringBitmap>,
        registry: &'a Registry,
    ) -> Result<Self, Error> {
        let mut losers = losers.into_iter();
        let cursors = runs.iter().map(|run| Cursor::new(run, losers.next().unwrap_or_default()));
        Ok(Self {
            table,
            window,
            registry,
            cursors: cursors.collect(),
            group: Keys::new(table, rows::group_keys)?,
            row: Keys::new(table, rows::row_keys)?,
            taken: 0,
        })
    }

    /// The next sorted rows, in the segment schema; `None` after the last. Blocks.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            for cursor in &mut self.cursors {
                while cursor.rows.is_empty() && cursor.read()? {}
            }
            if self.cursors.iter().all(|cursor| cursor.rows.is_empty()) {
                return Ok(None);
            }
            let n_rows: usize = self.cursors.iter().map(Cursor::n_rows).sum();
            let n_full = self.cursors.len() * BATCH_ROWS;
            let is_much = n_rows > GROUP_ROWS_MAX + n_full;
            let keys = if is_much { &self.row } else { &self.group };
            let horizon = self.horizon(keys)?;
            let is_below = |row: &OwnedRow| horizon.as_ref().is_none_or(|horizon| row < horizon);
            let mut slices = take(&mut self.cursors, keys, is_below)?;
            if slices.is_empty() && is_much && is_loose(self.table) {
                // So many rows with one key, as of a device without a clock: any order of them is right.
                let is_met = |row: &OwnedRow| horizon.as_ref().is_none_or(|horizon| row <= horizon);
                slices = take(&mut self.cursors, keys, is_met)?;
            }
            if !slices.is_empty() {
                let batch = self.arrange(&slices)?;
                let bytes = |batch: &RecordBatch| batch.get_array_memory_size();
                self.taken = bytes(&batch) + slices.iter().map(bytes).sum::<usize>();
                if batch.num_rows() > 0 {
                    return Ok(Some(batch));
                }
            } else {
                self.read_on(horizon.as_ref())?;
            }
        }
    }

    /// Bytes of memory held by rows.
    pub(crate) fn memory(&self) -> u64 {
        let buffered = self.cursors.iter().flat_map(|cursor| &cursor.rows);
        (self.taken + buffered.map(RecordBatch::get_array_memory_size).sum::<usize>()) as u64
    }

    /// The smallest of the last keys read; `None` when every run is read to its end.
    fn horizon(&self, keys: &Keys) -> Result<Option<OwnedRow>, Error> {
        let mut least: Option<OwnedRow> = None;
        for cursor in self.cursors.iter().filter(|cursor| !cursor.is_read) {
            let Some(batch) = cursor.rows.back() else { continue };
            let key = keys.of(batch, batch.num_rows() - 1)?;
            if least.as_ref().is_none_or(|least| key < *least) {
                least = Some(key);
            }
        }
        Ok(least)
    }

    /// Reads on where nothing was complete: one group of rows filled all that had been read of some run.
    fn read_on(&mut self, horizon: Option<&OwnedRow>) -> Result<(), Error> {
        for cursor in self.cursors.iter_mut().filter(|cursor| !cursor.is_read) {
            let Some(batch) = cursor.rows.back() else { continue };
            let n_rows = batch.num_rows();
            // The key of a row begins with the key of its group: the comparison holds for both.
            let at = self.group.of(batch, n_rows - 1)?;
            let is_least = horizon
                .is_some_and(|horizon| horizon.row().as_ref().starts_with(at.row().as_ref()));
            if is_least {
                cursor.read()?;
            }
        }
        Ok(())
    }

    /// Sorted rows, one winner for each key, from slices that hold all rows of their keys, oldest commit first.
    fn arrange(&self, slices: &[RecordBatch]) -> Result<RecordBatch, Error> {
        let whole =
            || concat_batches(&segment_schema(self.table), slices).map_err(Error::arrow(CONTEXT));
        match self.table {
            Table::Samples => samples::from_segments(slices, self.registry),
            Table::HistPoints | Table::HistBuckets => {
                histograms::from_segments(self.table, slices, self.registry)
            }
            // Rollups are made anew with the samples they come from.
            Table::Samples5m | Table::Samples1h => whole(),
            Table::TraceIndex => traces::fold(self.window, slices),
            Table::Series | Table::Resources | Table::HistBounds => {
                rows::fold_definitions(self.table, &whole()?)
            }
            Table::Exemplars | Table::Logs | Table::Spans => {
                rows::merge(self.table, &whole()?, slices.len())
            }
        }
    }
}

/// Whether rows with equal keys stay as they are: nothing is folded that stands apart.
fn is_loose(table: Table) -> bool {
    matches!(table, Table::Logs | Table::Spans)
}

/// The first rows for which `is_taken` holds, in the order of the cursors.
fn take(
    cursors: &mut [Cursor],
    keys: &Keys,
    is_taken: impl Fn(&OwnedRow) -> bool,
) -> Result<Vec<RecordBatch>, Error> {
    let mut slices = Vec::new();
    for cursor in cursors {
        while let Some(batch) = cursor.rows.pop_front() {
            let n_below = keys.n_first(&batch, &is_taken)?;
            if n_below > 0 {
                slices.push(batch.slice(0, n_below));
            }
            if n_below < batch.num_rows() {
                cursor.rows.push_front(batch.slice(n_below, batch.num_rows() - n_below));
                break;
            }
        }
    }
    Ok(slices)
}

/// The key of the first row of `segment`, as bytes that compare as the rows do; `None` when it has none. Blocks.
pub(crate) fn first_key(segment: &Segment) -> Result<Option<OwnedRow>, Error> {
    let table = segment.facts().table;
    let blocks = segment.blocks()?;
    let reader = segment.reader(&blocks)?.with_batch_size(1).build();
    let mut reader = reader.map_err(|error| segment.corrupt(&blocks, &error))?;
    let Some(batch) = reader.next() else { return Ok(None) };
    let batch = batch.map_err(|error| segment.corrupt(&blocks, &error))?;
    let batch = promote::fold(table, batch)?;
    Keys::new(table, rows::row_keys)?.of(&batch, 0).map(Some)
}

/// Keys of rows, as bytes that compare as the rows do.
struct Keys {
    table: Table,
    columns: fn(Table, &RecordBatch) -> Vec<arrow::array::ArrayRef>,
    converter: RowConverter,
}

impl Keys {
    fn new(
        table: Table,
        columns: fn(Table, &RecordBatch) -> Vec<arrow::array::ArrayRef>,
    ) -> Result<Self, Error> {
        let empty = RecordBatch::new_empty(segment_schema(table));
        let fields = columns(table, &empty)
            .iter()
            .map(|array| SortField::new(array.data_type().clone()))
            .collect();
        let converter = RowConverter::new(fields).map_err(Error::arrow(CONTEXT))?;
        Ok(Self { table, columns, converter })
    }

    fn of(&self, batch: &RecordBatch, row: usize) -> Result<OwnedRow, Error> {
        let columns = (self.columns)(self.table, &batch.slice(row, 1));
        let rows = self.converter.convert_columns(&columns).map_err(Error::arrow(CONTEXT))?;
        Ok(rows.row(0).owned())
    }

    /// For how many rows at the beginning of a sorted batch `is_taken` holds.
    fn n_first(
        &self,
        batch: &RecordBatch,
        is_taken: impl Fn(&OwnedRow) -> bool,
    ) -> Result<usize, Error> {
        let (mut low, mut high) = (0, batch.num_rows());
        while low < high {
            let middle = low.midpoint(high);
            if is_taken(&self.of(batch, middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// A run as it is read.
struct Cursor {
    /// Files not begun yet.
    files: VecDeque<Arc<Segment>>,
    reader: Option<(Arc<Segment>, Blocks, ParquetRecordBatchReader)>,
    /// Read and not taken yet.
    rows: VecDeque<RecordBatch>,
    /// Whether all of it was read.
    is_read: bool,
    losers: RoaringBitmap,
    /// Rows read so far.
    n_read: u32,
}

impl Cursor {
    fn new(run: &Run, losers: RoaringBitmap) -> Self {
        let files = run.files.iter().cloned().collect();
        Self { files, reader: None, rows: VecDeque::new(), is_read: false, losers, n_read: 0 }
    }

    fn n_rows(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum()
    }

    /// Reads one more batch; `false` after the last.
    fn read(&mut self) -> Result<bool, Error> {
        loop {
            let Some((segment, blocks, reader)) = &mut self.reader else {
                let Some(segment) = self.files.pop_front() else {
                    self.is_read = true;
                    return Ok(false);
                };
                let blocks = segment.blocks()?;
                let reader = segment.reader(&blocks)?.with_batch_size(BATCH_ROWS).build();
                let reader = reader.map_err(|error| segment.corrupt(&blocks, &error))?;
                self.reader = Some((segment, blocks, reader));
                continue;
            };
            match reader.next() {
                Some(Ok(batch)) => {
                    let batch = promote::fold(segment.facts().table, batch)?;
                    let batch = self.keep(batch)?;
                    if batch.num_rows() > 0 {
                        self.rows.push_back(batch);
                        return Ok(true);
                    }
                }
                Some(Err(error)) => return Err(segment.corrupt(blocks, &error)),
                None => self.reader = None,
            }
        }
    }

    /// The rows of the next batch that have not lost.
    fn keep(&mut self, batch: RecordBatch) -> Result<RecordBatch, Error> {
        let first = self.n_read;
        self.n_read = first.saturating_add(u32::try_from(batch.num_rows()).unwrap_or(u32::MAX));
        if self.losers.range_cardinality(first..self.n_read) == 0 {
            return Ok(batch);
        }
        let kept: BooleanArray =
            (first..self.n_read).map(|row| Some(!self.losers.contains(row))).collect();
        filter_record_batch(&batch, &kept).map_err(Error::arrow(CONTEXT))
    }
}
