//! Log records and spans of the head to segments: only what they are sorted by is sorted, rows are copied some thousand at
//! a time while they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{
    SortColumn, SortOptions, concat, interleave_record_batch, lexsort_to_indices,
};
use arrow::datatypes::TimestampNanosecondType;

use crate::arrange::rows::row_keys;
use crate::definition::column;
use crate::error::Error;
use crate::head::records::Batch;
use crate::schema::{Table, columns};
use crate::segment::write::Window;

/// Rows copied at once.
const BATCH_ROWS: usize = 8_192;
const CONTEXT: &str = "sorting records";

/// The records of one window of a head, put in order while they are written.
pub(crate) struct WindowRecords {
    batches: Vec<Arc<Batch>>,
    window: Window,
    /// Batch and row, in the order of the segment.
    order: Vec<(u32, u32)>,
}

/// The rows of `batches` by window, oldest first.
pub(crate) fn from_batches(
    table: Table,
    batches: &[Arc<Batch>],
) -> Result<Vec<WindowRecords>, Error> {
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Vec<_>> = batches.iter().map(|batch| row_keys(table, batch.rows())).collect();
    let n_keys = keys.first().map_or(0, Vec::len);
    let joined = |key: usize| {
        let parts: Vec<&dyn Array> = keys.iter().map(|keys| keys[key].as_ref()).collect();
        let options = Some(SortOptions { descending: false, nulls_first: true });
        Ok(SortColumn { values: concat(&parts).map_err(Error::arrow(CONTEXT))?, options })
    };
    let joined: Vec<SortColumn> = (0..n_keys).map(joined).collect::<Result<_, Error>>()?;
    drop(keys);
    let sorted = lexsort_to_indices(&joined, None).map_err(Error::arrow(CONTEXT))?;
    drop(joined);
    let places: Vec<(u32, u32)> = (0_u32..)
        .zip(batches)
        .flat_map(|(i, batch)| (0_u32..).take(batch.num_rows()).map(move |row| (i, row)))
        .collect();
    let times: Vec<&[i64]> = batches.iter().map(|batch| times(batch.rows())).collect();
    let mut windows: BTreeMap<Window, Vec<(u32, u32)>> = BTreeMap::new();
    for place in sorted.values() {
        let (batch, row) = places[*place as usize];
        let window = Window::at(table, times[batch as usize][row as usize]);
        windows.entry(window).or_default().push((batch, row));
    }
    let of_window = |(window, order)| WindowRecords { batches: batches.to_vec(), window, order };
    Ok(windows.into_iter().map(of_window).collect())
}

/// Windows that hold rows of `batches`, oldest first.
pub(crate) fn windows(table: Table, batches: &[Arc<Batch>]) -> BTreeSet<Window> {
    batches.iter().flat_map(|batch| times(batch.rows())).map(|ns| Window::at(table, *ns)).collect()
}

fn times(batch: &RecordBatch) -> &[i64] {
    column(batch, columns::TIME).as_primitive::<TimestampNanosecondType>().values()
}

impl WindowRecords {
    pub(crate) const fn window(&self) -> Window {
        self.window
    }

    pub(crate) const fn n_rows(&self) -> usize {
        self.order.len()
    }

    /// Gives all rows in the order of the segment, batch by batch.
    pub(crate) fn each(
        &self,
        mut take: impl FnMut(&RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let batches: Vec<&RecordBatch> = self.batches.iter().map(|batch| batch.rows()).collect();
        for order in self.order.chunks(BATCH_ROWS) {
            let places: Vec<(usize, usize)> =
                order.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
            let rows = interleave_record_batch(&batches, &places);
            take(&rows.map_err(Error::arrow(CONTEXT))?)?;
        }
        Ok(())
    }
}
