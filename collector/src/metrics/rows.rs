//! Rows of the metric tables on their way to becoming columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Float64Builder, Int8Array, Int32Array, Int64Array, ListBuilder,
    MapBuilder, RecordBatch, StringBuilder, UInt8Array, UInt64Array,
};
use model::id::{SpanId, TraceId};
use store::schema::{self, Table, columns as names};
use store::{Samples, SeriesRef};

use super::{BoundsById, Stamp, fold};
use crate::admit::{Reason, Tally};
use crate::attributes::end_row;
use crate::budget::Reservation;
use crate::columns::{self, Column};
use crate::error::Error;

/// `starts` of a sample whose start is not known.
const START_UNKNOWN: i64 = i64::MIN;
/// Rows are counted in steps of so many, and memory is held for each step.
const STEP_ROWS: usize = 256;
/// What a sample or a bucket takes at most about: vectors grow by doubling, and buckets become columns besides.
const ROW_BYTES: usize = 72;
/// How many times as much a histogram point or an exemplar takes.
const WIDE_ROW: usize = 8;

/// A row of `samples`.
#[derive(Clone, Copy)]
pub(crate) struct SampleRow {
    pub(crate) series: SeriesRef,
    pub(crate) stamp: Stamp,
    pub(crate) value: f64,
}

/// A row of `hist_points`; its buckets are `buckets` of [`Rows::buckets`].
#[derive(Clone)]
pub(crate) struct HistRow {
    pub(crate) series: u64,
    pub(crate) time_ms: i64,
    pub(crate) start_ms: Option<i64>,
    pub(crate) flags: u8,
    pub(crate) count: f64,
    pub(crate) sum: Option<f64>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) zero_count: Option<i64>,
    pub(crate) zero_threshold: f64,
    pub(crate) exp_scale: i8,
    pub(crate) bounds_id: Option<u64>,
    pub(crate) reset_hint: u8,
    pub(crate) buckets: std::ops::Range<usize>,
}

/// Part of a row of `hist_buckets`.
#[derive(Clone, Copy)]
pub(crate) struct BucketRow {
    pub(crate) side: i8,
    pub(crate) bucket: i32,
    pub(crate) count: f64,
}

/// A row of `exemplars`.
pub(crate) struct ExemplarRow {
    pub(crate) series: u64,
    pub(crate) time_ns: i64,
    pub(crate) value: f64,
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) span_id: Option<SpanId>,
    pub(crate) attributes: Vec<(String, String)>,
}

/// The rows of one request.
pub(crate) struct Rows<'r> {
    pub(crate) samples: Samples,
    /// Which samples are one of several of their data point, so that losing one loses no point. Ascending.
    parts: Vec<usize>,
    pub(crate) points: Vec<HistRow>,
    pub(crate) buckets: Vec<BucketRow>,
    pub(crate) bounds: BoundsById,
    pub(crate) exemplars: Vec<ExemplarRow>,
    /// Newest time of a row since this was last cleared, in ms.
    pub(crate) newest_ms: Option<i64>,
    held: &'r mut Reservation,
    /// How many rows memory is held for.
    n_held: usize,
}

impl<'r> Rows<'r> {
    /// No rows; memory for those to come is taken from `held`.
    pub(crate) fn new(held: &'r mut Reservation) -> Self {
        Self {
            samples: Samples::default(),
            parts: Vec::new(),
            points: Vec::new(),
            buckets: Vec::new(),
            bounds: BoundsById::new(),
            exemplars: Vec::new(),
            newest_ms: None,
            held,
            n_held: 0,
        }
    }

    /// Holds the memory of the rows so far. Called after each point: a point is small.
    #[inline]
    pub(crate) fn hold(&mut self) -> Result<(), Error> {
        let n_wide = self.points.len() + self.exemplars.len();
        let n_rows = self.samples.len() + self.buckets.len() + n_wide * WIDE_ROW;
        if n_rows <= self.n_held {
            return Ok(());
        }
        let more = (n_rows - self.n_held).next_multiple_of(STEP_ROWS);
        self.held.grow(more * ROW_BYTES)?;
        self.n_held += more;
        Ok(())
    }

    /// Holds memory for something besides rows.
    pub(crate) fn hold_bytes(&mut self, bytes: usize) -> Result<(), Error> {
        self.held.grow(bytes)
    }

    #[inline]
    pub(crate) fn push_sample(&mut self, row: SampleRow) {
        let SampleRow { series, stamp, value } = row;
        let time_ms = stamp.time.ms();
        self.newest_ms = self.newest_ms.max(Some(time_ms));
        self.samples.series.push(series);
        self.samples.times.push(time_ms);
        self.samples.values.push(value);
        self.samples.starts.push(stamp.start_ms.unwrap_or(START_UNKNOWN));
        self.samples.flags.push(stamp.flags);
    }

    /// Marks the last sample as one of several of its data point.
    pub(crate) fn last_is_part(&mut self) {
        self.parts.extend(self.samples.len().checked_sub(1));
    }

    pub(crate) fn push_point(&mut self, row: HistRow) {
        self.newest_ms = self.newest_ms.max(Some(row.time_ms));
        self.points.push(row);
    }

    /// Of two rows of one series in one millisecond the later one in the request stays.
    pub(crate) fn fold_duplicates(&mut self, tally: &mut Tally) {
        let double = fold::earlier_twins(&self.samples);
        let mut lost = double.iter().filter(|row| self.parts.binary_search(row).is_err()).count();
        fold::remove(&mut self.samples, &double);
        lost += keep_last(&mut self.points, |row| (row.series, row.time_ms));
        if lost > 0 {
            tally.reject_many(Reason::TimeDuplicate, lost, || {
                "two points of one metric with the same attributes in the same millisecond; give them \
                 attributes that tell them apart"
                    .to_owned()
            });
        }
    }

    /// The samples, and the batches of the other tables, none for a table without rows.
    pub(crate) fn finish(self) -> Result<(Samples, Vec<(Table, RecordBatch)>), Error> {
        let mut tables = Vec::new();
        if !self.points.is_empty() {
            tables.push(columns::batch(Table::HistPoints, points(&self.points))?);
            let buckets = buckets(&self.points, &self.buckets);
            if buckets.first().is_some_and(|(_, array)| !array.is_empty()) {
                tables.push(columns::batch(Table::HistBuckets, buckets)?);
            }
        }
        if !self.bounds.is_empty() {
            tables.push(columns::batch(Table::HistBounds, bounds(&self.bounds))?);
        }
        if !self.exemplars.is_empty() {
            tables.push(columns::batch(Table::Exemplars, exemplars(&self.exemplars)?)?);
        }
        Ok((self.samples, tables))
    }
}

/// Keeps the last row of each key, order unchanged. Returns how many went.
fn keep_last<T>(rows: &mut Vec<T>, key: impl Fn(&T) -> (u64, i64)) -> usize {
    let last: HashMap<_, _> = rows.iter().enumerate().map(|(i, row)| (key(row), i)).collect();
    let lost = rows.len() - last.len();
    if lost > 0 {
        let mut i = 0;
        rows.retain(|row| {
            i += 1;
            last.get(&key(row)) == Some(&(i - 1))
        });
    }
    lost
}

fn points(rows: &[HistRow]) -> Vec<Column> {
    vec![
        (names::SERIES_ID, array(rows, |row| row.series, UInt64Array::from)),
        (names::TIME, columns::times_ms(rows.iter().map(|row| row.time_ms).collect())),
        (names::START_TIME, columns::times_ms(rows.iter().map(|row| row.start_ms).collect())),
        (names::FLAGS, array(rows, |row| row.flags, UInt8Array::from)),
        (names::COUNT, array(rows, |row| row.count, Float64Array::from)),
        (names::SUM, array(rows, |row| row.sum, Float64Array::from)),
        (names::MIN, array(rows, |row| row.min, Float64Array::from)),
        (names::MAX, array(rows, |row| row.max, Float64Array::from)),
        (names::ZERO_COUNT, array(rows, |row| row.zero_count, Int64Array::from)),
        (names::ZERO_THRESHOLD, array(rows, |row| row.zero_threshold, Float64Array::from)),
        (names::EXP_SCALE, array(rows, |row| row.exp_scale, Int8Array::from)),
        (names::BOUNDS_ID, array(rows, |row| row.bounds_id, UInt64Array::from)),
        (names::RESET_HINT, array(rows, |row| row.reset_hint, UInt8Array::from)),
    ]
}

fn buckets(points: &[HistRow], buckets: &[BucketRow]) -> Vec<Column> {
    let rows: Vec<(&HistRow, BucketRow)> = points
        .iter()
        .flat_map(|point| buckets[point.buckets.clone()].iter().map(move |bucket| (point, *bucket)))
        .collect();
    vec![
        (names::SERIES_ID, array(&rows, |(point, _)| point.series, UInt64Array::from)),
        (names::TIME, columns::times_ms(rows.iter().map(|(point, _)| point.time_ms).collect())),
        (names::EXP_SCALE, array(&rows, |(point, _)| point.exp_scale, Int8Array::from)),
        (names::SIDE, array(&rows, |(_, bucket)| bucket.side, Int8Array::from)),
        (names::BUCKET, array(&rows, |(_, bucket)| bucket.bucket, Int32Array::from)),
        (names::COUNT, array(&rows, |(_, bucket)| bucket.count, Float64Array::from)),
    ]
}

fn bounds(bounds: &BoundsById) -> Vec<Column> {
    let mut lists = ListBuilder::new(Float64Builder::new());
    for bounds in bounds.values() {
        lists.values().append_slice(bounds);
        lists.append(true);
    }
    let ids: Vec<u64> = bounds.keys().copied().collect();
    vec![
        (names::BOUNDS_ID, Arc::new(UInt64Array::from(ids))),
        (names::BOUNDS, Arc::new(lists.finish())),
    ]
}

fn exemplars(rows: &[ExemplarRow]) -> Result<Vec<Column>, Error> {
    let mut maps: MapBuilder<StringBuilder, StringBuilder> =
        schema::map_builder(StringBuilder::new());
    for row in rows {
        for (key, value) in &row.attributes {
            maps.keys().append_value(key);
            maps.values().append_value(value);
        }
        end_row(&mut maps)?;
    }
    let trace_ids: Vec<_> = rows.iter().map(|row| row.trace_id).collect();
    let span_ids: Vec<_> = rows.iter().map(|row| row.span_id).collect();
    Ok(vec![
        (names::SERIES_ID, array(rows, |row| row.series, UInt64Array::from)),
        (names::TIME, columns::times_ns(rows.iter().map(|row| row.time_ns).collect())),
        (names::VALUE, array(rows, |row| row.value, Float64Array::from)),
        (names::TRACE_ID, columns::trace_ids(&trace_ids)?),
        (names::SPAN_ID, columns::span_ids(&span_ids)?),
        (names::ATTRIBUTES, Arc::new(maps.finish())),
    ])
}

fn array<R, T, A: arrow::array::Array + 'static>(
    rows: &[R],
    value: impl Fn(&R) -> T,
    make: impl Fn(Vec<T>) -> A,
) -> ArrayRef {
    Arc::new(make(rows.iter().map(value).collect()))
}
