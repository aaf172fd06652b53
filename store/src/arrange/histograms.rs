//! Histogram points and buckets: from ingest batches of the head, or from segments, to segment batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringBuilder, UInt32Array,
};
use arrow::array::{Float64Builder, Int64Builder};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Float64Type, Int8Type, Int32Type, TimestampMillisecondType};
use model::metric::MetricKind;
use model::time::Timestamp;

use crate::arrange::samples::{ids_of, keep_last, keys_of};
use crate::arrange::values::{ValueBuilder, Values};
use crate::arrange::{Ranks, SeriesKey};
use crate::definition::{column, series_ids};
use crate::error::Error;
use crate::registry::Registry;
use crate::schema::{Table, columns, ingest_schema, segment_schema};
use crate::segment::value::split;
use crate::segment::write::Window;

const CONTEXT: &str = "building histograms";

/// Segment batches of `table`'s rows in ingest batches, oldest window first. Of equal keys the later row wins.
pub(crate) fn arrange<'a>(
    table: Table,
    batches: impl IntoIterator<Item = &'a RecordBatch>,
    registry: &Registry,
) -> Result<Vec<(Window, RecordBatch)>, Error> {
    let plain = concat_batches(&ingest_schema(table), batches).map_err(Error::arrow(CONTEXT))?;
    let ranks =
        Ranks::new(ids_of([&plain]).into_iter().map(|id| SeriesKey::new(registry, id, None)));
    let times = times(&plain);
    let mut windows: BTreeMap<Window, Vec<u32>> = BTreeMap::new();
    for (row, time) in (0_u32..).zip(times) {
        windows.entry(Window::at(table, Timestamp::from_ms(*time).0)).or_default().push(row);
    }
    windows
        .into_iter()
        .map(|(window, rows)| Ok((window, build(table, &plain, &rows, &ranks)?)))
        .collect()
}

/// Rows of segments, later ones winning, as one segment batch.
pub(crate) fn from_segments(
    table: Table,
    batches: &[RecordBatch],
    registry: &Registry,
) -> Result<RecordBatch, Error> {
    let plain: Vec<RecordBatch> =
        batches.iter().map(|batch| to_ingest(table, batch)).collect::<Result<_, _>>()?;
    let plain = concat_batches(&ingest_schema(table), &plain).map_err(Error::arrow(CONTEXT))?;
    let ranks = Ranks::new(keys_of(batches, registry));
    let rows: Vec<u32> = (0_u32..).take(plain.num_rows()).collect();
    build(table, &plain, &rows, &ranks)
}

fn times(batch: &RecordBatch) -> &[i64] {
    column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>().values()
}

/// Sorts `rows` of `plain`, keeps one winner for each key, and builds the segment's columns.
fn build(
    table: Table,
    plain: &RecordBatch,
    rows: &[u32],
    ranks: &Ranks,
) -> Result<RecordBatch, Error> {
    let sorted = match table {
        Table::HistBuckets => sorted_buckets(plain, rows, ranks),
        _ => sorted_points(plain, rows, ranks),
    };
    let taken =
        take_record_batch(plain, &UInt32Array::from(sorted)).map_err(Error::arrow(CONTEXT))?;
    match table {
        Table::HistBuckets => buckets(&taken, ranks),
        _ => points(&taken, ranks),
    }
}

fn sorted_points(plain: &RecordBatch, rows: &[u32], ranks: &Ranks) -> Vec<u32> {
    let (ids, times) = (series_ids(plain), times(plain));
    let mut places: Vec<(u32, i64, u32)> = rows
        .iter()
        .map(|row| (ranks.rank(ids[*row as usize]), times[*row as usize], *row))
        .collect();
    places.sort(); // A stable sort merges what is sorted already.
    keep_last(&mut places, |place| (place.0, place.1));
    places.into_iter().map(|place| place.2).collect()
}

fn sorted_buckets(plain: &RecordBatch, rows: &[u32], ranks: &Ranks) -> Vec<u32> {
    let (ids, times) = (series_ids(plain), times(plain));
    let scales = column(plain, columns::EXP_SCALE).as_primitive::<Int8Type>().values();
    let sides = column(plain, columns::SIDE).as_primitive::<Int8Type>().values();
    let indices = column(plain, columns::BUCKET).as_primitive::<Int32Type>().values();
    let place = |row: &u32| {
        let i = *row as usize;
        ((ranks.rank(ids[i]), scales[i], sides[i], indices[i], times[i]), *row)
    };
    let mut places: Vec<_> = rows.iter().map(place).collect();
    places.sort();
    keep_last(&mut places, |place| place.0);
    places.into_iter().map(|place| place.1).collect()
}

/// How the values of a cumulative series are laid out, and of any other.
fn kind(key: &SeriesKey) -> MetricKind {
    if key.is_cumulative() { MetricKind::Counter } else { MetricKind::Gauge }
}

fn metric_column(batch: &RecordBatch, ranks: &Ranks) -> ArrayRef {
    let mut metrics = StringBuilder::new();
    series_ids(batch)
        .iter()
        .for_each(|id| metrics.append_value(&ranks.key(ranks.rank(*id)).metric));
    Arc::new(metrics.finish())
}

fn points(sorted: &RecordBatch, ranks: &Ranks) -> Result<RecordBatch, Error> {
    let ids = series_ids(sorted);
    let counts = column(sorted, columns::COUNT).as_primitive::<Float64Type>().values();
    let sums = column(sorted, columns::SUM).as_primitive::<Float64Type>();
    let mut count = ValueBuilder::new(ids.len());
    let mut sum = ValueBuilder::new(ids.len());
    let mut from = 0;
    for run in ids.chunk_by(|a, b| a == b) {
        let (to, kind) = (from + run.len(), kind(ranks.key(ranks.rank(run[0]))));
        count.push(&counts[from..to], kind);
        let present: Vec<Option<f64>> =
            (from..to).map(|row| sums.is_valid(row).then(|| sums.value(row))).collect();
        sum.push_optional(&present, kind);
        from = to;
    }
    let schema = segment_schema(Table::HistPoints);
    let (mut count, mut sum) = (count.finish().into_iter(), sum.finish().into_iter());
    let arrays = schema.fields().iter().map(|field| match field.name().as_str() {
        columns::METRIC => metric_column(sorted, ranks),
        name if name.starts_with("count_") => count.next().expect("four count columns"),
        name if name.starts_with("sum_") => sum.next().expect("four sum columns"),
        name => Arc::clone(column(sorted, name)),
    });
    RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).map_err(Error::arrow(CONTEXT))
}

fn buckets(sorted: &RecordBatch, ranks: &Ranks) -> Result<RecordBatch, Error> {
    let n_rows = sorted.num_rows();
    let counts = column(sorted, columns::COUNT).as_primitive::<Float64Type>().values();
    let mut ctr = Int64Builder::with_capacity(n_rows);
    let mut int = Int64Builder::with_capacity(n_rows);
    let mut float = Float64Builder::with_capacity(n_rows);
    for (id, count) in series_ids(sorted).iter().zip(counts) {
        let whole = split(*count, 0);
        let is_cumulative = ranks.key(ranks.rank(*id)).is_cumulative();
        ctr.append_option(whole.filter(|_| is_cumulative));
        int.append_option(whole.filter(|_| !is_cumulative));
        float.append_option(whole.is_none().then_some(*count));
    }
    let mut values: std::vec::IntoIter<ArrayRef> =
        vec![Arc::new(ctr.finish()) as ArrayRef, Arc::new(int.finish()), Arc::new(float.finish())]
            .into_iter();
    let schema = segment_schema(Table::HistBuckets);
    let arrays = schema.fields().iter().map(|field| match field.name().as_str() {
        columns::METRIC => metric_column(sorted, ranks),
        columns::V_CTR | columns::V_INT | columns::V_F64 => {
            values.next().expect("three value columns")
        }
        name => Arc::clone(column(sorted, name)),
    });
    RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).map_err(Error::arrow(CONTEXT))
}

/// A segment batch in the ingest schema again.
pub(crate) fn to_ingest(table: Table, batch: &RecordBatch) -> Result<RecordBatch, Error> {
    let schema = ingest_schema(table);
    let join = |prefix: &str| -> ArrayRef {
        let values = Values::new(batch, prefix).expect("the batch was checked against its schema");
        Arc::new((0..batch.num_rows()).map(|row| values.value(row)).collect::<Float64Array>())
    };
    let is_point = table == Table::HistPoints;
    let arrays = schema.fields().iter().map(|field| match field.name().as_str() {
        columns::COUNT => join(if is_point { "count_" } else { "" }),
        columns::SUM => join("sum_"),
        name => Arc::clone(column(batch, name)),
    });
    RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).map_err(Error::arrow(CONTEXT))
}

/// The head's histograms in arrival order, in the segment schema, values as floats.
pub(crate) fn head_batch(
    table: Table,
    batch: &RecordBatch,
    registry: &Registry,
) -> Result<RecordBatch, Error> {
    let ranks =
        Ranks::new(ids_of([batch]).into_iter().map(|id| SeriesKey::new(registry, id, None)));
    let schema = segment_schema(table);
    let arrays = schema.fields().iter().map(|field| match field.name().as_str() {
        columns::METRIC => metric_column(batch, &ranks),
        "count_v_f64" | columns::V_F64 => Arc::clone(column(batch, columns::COUNT)),
        "sum_v_f64" => Arc::clone(column(batch, columns::SUM)),
        name => match batch.column_by_name(name) {
            Some(array) => Arc::clone(array),
            None => arrow::array::new_null_array(field.data_type(), batch.num_rows()),
        },
    });
    RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).map_err(Error::arrow(CONTEXT))
}
