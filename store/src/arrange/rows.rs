//! Rows that are sorted as a whole by Arrow's kernels, and merged.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringBuilder, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::compute::{
    SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch,
};
use arrow::datatypes::{TimestampMillisecondType, TimestampNanosecondType, UInt64Type};
use arrow::row::{Row, RowConverter, SortField};
use model::time::NS_PER_S;

use crate::arrange::samples::{ids_of, keep_last};
use crate::arrange::{Ranks, SeriesKey};
use crate::definition::{column, series_ids};
use crate::error::Error;
use crate::registry::Registry;
use crate::schema::{Table, columns, segment_schema};
use crate::segment::recipe::sort_columns;
use crate::segment::write::Window;

/// Spans stand in buckets of this many ns, so that the ids of a trace stay close together.
const SPAN_BUCKET_NS: i64 = 300 * NS_PER_S;
const CONTEXT: &str = "sorting rows";

/// Segment batches of `table` from unsorted segment batches, oldest window first.
pub(crate) fn arrange<'a>(
    table: Table,
    batches: impl IntoIterator<Item = &'a RecordBatch>,
) -> Result<Vec<(Window, RecordBatch)>, Error> {
    let all = concat_batches(&segment_schema(table), batches).map_err(Error::arrow(CONTEXT))?;
    let times = column(&all, columns::TIME).as_primitive::<TimestampNanosecondType>().values();
    let mut windows: BTreeMap<Window, Vec<u32>> = BTreeMap::new();
    for (row, time) in (0_u32..).zip(times) {
        windows.entry(Window::at(table, *time)).or_default().push(row);
    }
    let has_one_window = windows.len() == 1;
    let of_window = |rows: Vec<u32>| match has_one_window {
        true => Ok(all.clone()),
        false => take_record_batch(&all, &UInt32Array::from(rows)).map_err(Error::arrow(CONTEXT)),
    };
    windows
        .into_iter()
        .map(|(window, rows)| Ok((window, sort(table, &of_window(rows)?)?)))
        .collect()
}

/// `batch` in the sort order of `table`.
pub(crate) fn sort(table: Table, batch: &RecordBatch) -> Result<RecordBatch, Error> {
    let key = |values: ArrayRef| SortColumn {
        values,
        options: Some(SortOptions { descending: false, nulls_first: true }),
    };
    let keys: Vec<_> = row_keys(table, batch).into_iter().map(key).collect();
    let order = lexsort_to_indices(&keys, None).map_err(Error::arrow(CONTEXT))?;
    take_record_batch(batch, &order).map_err(Error::arrow(CONTEXT))
}

/// What rows of `table` are sorted by.
pub(crate) fn row_keys(table: Table, batch: &RecordBatch) -> Vec<ArrayRef> {
    let named = |name: &str| Arc::clone(column(batch, name));
    match table {
        Table::Spans => {
            let times = column(batch, columns::TIME).as_primitive::<TimestampNanosecondType>();
            let bucket = times.values().iter().map(|time| time.div_euclid(SPAN_BUCKET_NS));
            let rest = [columns::SERVICE_NAME, columns::NAME, columns::TIME];
            let bucket: ArrayRef = Arc::new(Int64Array::from_iter_values(bucket));
            std::iter::once(bucket).chain(rest.map(named)).collect()
        }
        Table::Logs => {
            vec![named(columns::SERVICE_NAME), named(columns::TIME), named(columns::INGEST_SEQ)]
        }
        _ => sort_columns(table).iter().map(|name| named(name)).collect(),
    }
}

/// What rows that are arranged together have in common: of metric tables the series, else all they are sorted by.
pub(crate) fn group_keys(table: Table, batch: &RecordBatch) -> Vec<ArrayRef> {
    let mut keys = row_keys(table, batch);
    if matches!(table, Table::Samples | Table::HistPoints | Table::HistBuckets) {
        keys.truncate(2);
    }
    keys
}

/// What tells a row from every other of its table, where rows may come twice; empty where they may be equal.
fn identity(table: Table, batch: &RecordBatch) -> Vec<ArrayRef> {
    let names: &[&str] = match table {
        Table::Spans => &[columns::TRACE_ID, columns::SPAN_ID],
        Table::Exemplars => &[columns::VALUE, columns::TRACE_ID, columns::SPAN_ID],
        _ => &[],
    };
    names.iter().map(|name| Arc::clone(column(batch, name))).collect()
}

/// Rows of `n_runs` sorted runs, one after the other, as one. Of rows with one identity the last stays.
pub(crate) fn merge(
    table: Table,
    batch: &RecordBatch,
    n_runs: usize,
) -> Result<RecordBatch, Error> {
    let identity = identity(table, batch);
    if n_runs == 1 && identity.is_empty() {
        return Ok(batch.clone());
    }
    let mut keys = row_keys(table, batch);
    keys.extend(identity.iter().cloned());
    let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(Error::arrow(CONTEXT))?;
    let rows = converter.convert_columns(&keys).map_err(Error::arrow(CONTEXT))?;
    let mut order: Vec<(u32, Row<'_>)> = (0_u32..).zip(rows.iter()).collect();
    order.sort_by(|a, b| a.1.cmp(&b.1)); // A stable sort merges what is sorted already.
    if !identity.is_empty() {
        keep_last(&mut order, |(_, row)| *row);
    }
    let order = UInt32Array::from_iter_values(order.into_iter().map(|(place, _)| place));
    take_record_batch(batch, &order).map_err(Error::arrow(CONTEXT))
}

/// Exemplars with the metric of their series in front.
pub(crate) fn exemplars_with_metric(
    batch: &RecordBatch,
    registry: &Registry,
) -> Result<RecordBatch, Error> {
    let ranks =
        Ranks::new(ids_of([batch]).into_iter().map(|id| SeriesKey::new(registry, id, None)));
    let mut metrics = StringBuilder::new();
    series_ids(batch)
        .iter()
        .for_each(|id| metrics.append_value(&ranks.key(ranks.rank(*id)).metric));
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(metrics.finish())];
    arrays.extend(batch.columns().iter().cloned());
    RecordBatch::try_new(segment_schema(Table::Exemplars), arrays).map_err(Error::arrow(CONTEXT))
}

/// Rows of a definition table with one row for each id: earliest first time, latest last time.
pub(crate) fn fold_definitions(table: Table, batch: &RecordBatch) -> Result<RecordBatch, Error> {
    let id_column = match table {
        Table::Series => columns::SERIES_ID,
        Table::Resources => columns::RESOURCE_ID,
        _ => columns::BOUNDS_ID,
    };
    let ids = column(batch, id_column).as_primitive::<UInt64Type>().values();
    let mut first_rows: BTreeMap<u64, u32> = BTreeMap::new();
    for (row, id) in (0_u32..).zip(ids) {
        first_rows.entry(*id).or_insert(row);
    }
    let kept = UInt32Array::from_iter_values(first_rows.values().copied());
    let folded = take_record_batch(batch, &kept).map_err(Error::arrow(CONTEXT))?;
    let mut arrays = folded.columns().to_vec();
    for (name, pick) in
        [(columns::FIRST_TIME, i64::min as fn(i64, i64) -> i64), (columns::LAST_TIME, i64::max)]
    {
        let Ok(place) = batch.schema_ref().index_of(name) else { continue };
        let times = batch.column(place).as_primitive::<TimestampMillisecondType>().values();
        let mut bounds: BTreeMap<u64, i64> = BTreeMap::new();
        for (id, time) in ids.iter().zip(times) {
            let bound = bounds.entry(*id).or_insert(*time);
            *bound = pick(*bound, *time);
        }
        // Both maps are in id order.
        let times = TimestampMillisecondArray::from_iter_values(bounds.into_values());
        arrays[place] = Arc::new(times.with_timezone("UTC"));
    }
    let folded = RecordBatch::try_new(folded.schema(), arrays).map_err(Error::arrow(CONTEXT))?;
    sort(table, &folded)
}
