//! Rows of the metric tables on their way to becoming columns.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Float64Builder, Int8Array, Int32Array, Int64Array, ListBuilder,
    MapBuilder, RecordBatch, StringBuilder, UInt8Array, UInt64Array,
};
use model::id::{SpanId, TraceId};
use store::schema::{self, Table, columns as names};
use store::{Resolved, Samples};

use super::{BoundsById, Stamp};
use crate::admit::{Reason, Tally};
use crate::attributes::end_row;
use crate::columns::{self, Column};
use crate::error::Error;

/// A row of `samples`.
#[derive(Clone, Copy)]
pub(super) struct SampleRow {
    series: Resolved,
    time_ms: i64,
    start_ms: Option<i64>,
    value: f64,
    flags: u8,
    /// Whether losing it loses a data point; of a summary's rows that is one.
    is_item: bool,
}

/// A row of `hist_points`; its buckets are `buckets` of [`Rows::buckets`].
#[derive(Clone)]
pub(super) struct HistRow {
    pub(super) series: u64,
    pub(super) time_ms: i64,
    pub(super) start_ms: Option<i64>,
    pub(super) flags: u8,
    pub(super) count: f64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) zero_count: Option<i64>,
    pub(super) zero_threshold: f64,
    pub(super) exp_scale: i8,
    pub(super) bounds_id: Option<u64>,
    pub(super) reset_hint: u8,
    pub(super) buckets: std::ops::Range<usize>,
}

/// Part of a row of `hist_buckets`.
#[derive(Clone, Copy)]
pub(super) struct BucketRow {
    pub(super) side: i8,
    pub(super) bucket: i32,
    pub(super) count: f64,
}

/// A row of `exemplars`.
pub(super) struct ExemplarRow {
    pub(super) series: u64,
    pub(super) time_ns: i64,
    pub(super) value: f64,
    pub(super) trace_id: Option<TraceId>,
    pub(super) span_id: Option<SpanId>,
    pub(super) attributes: Vec<(String, String)>,
}

/// The rows of one request.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) samples: Vec<SampleRow>,
    pub(super) points: Vec<HistRow>,
    pub(super) buckets: Vec<BucketRow>,
    pub(super) bounds: BoundsById,
    pub(super) exemplars: Vec<ExemplarRow>,
    /// Newest time of a row since this was last cleared, in ms.
    pub(super) newest_ms: Option<i64>,
}

impl SampleRow {
    pub(super) fn new(series: Resolved, stamp: Stamp, value: f64) -> Self {
        Self {
            series,
            time_ms: stamp.time.ms(),
            start_ms: stamp.start_ms,
            value,
            flags: stamp.flags,
            is_item: true,
        }
    }

    /// The row as one of several of its data point.
    pub(super) fn as_part(self) -> Self {
        Self { is_item: false, ..self }
    }
}

impl Rows {
    pub(super) fn push_sample(&mut self, row: SampleRow) {
        self.newest_ms = self.newest_ms.max(Some(row.time_ms));
        self.samples.push(row);
    }

    pub(super) fn push_point(&mut self, row: HistRow) {
        self.newest_ms = self.newest_ms.max(Some(row.time_ms));
        self.points.push(row);
    }

    /// Of two rows of one series in one millisecond the later one in the request stays.
    pub(super) fn fold_duplicates(&mut self, tally: &mut Tally) {
        let mut lost = 0;
        let is_item: Vec<bool> = self.samples.iter().map(|row| row.is_item).collect();
        keep_last(
            &mut self.samples,
            |row| (row.series.id.0, row.time_ms),
            |i| {
                lost += usize::from(is_item[i]);
            },
        );
        keep_last(&mut self.points, |row| (row.series, row.time_ms), |_| lost += 1);
        if lost > 0 {
            tally.reject_many(Reason::TimeDuplicate, lost, || {
                "two points of one metric with the same attributes in the same millisecond; give them \
                 attributes that tell them apart"
                    .to_owned()
            });
        }
    }

    /// The samples, and the batches of the other tables, none for a table without rows.
    pub(super) fn finish(self) -> Result<(Samples, Vec<(Table, RecordBatch)>), Error> {
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
        Ok((samples(&self.samples), tables))
    }
}

/// Keeps the last row of each key, order unchanged; `lose` gets the index of each row that goes.
fn keep_last<T>(rows: &mut Vec<T>, key: impl Fn(&T) -> (u64, i64), mut lose: impl FnMut(usize)) {
    let mut last = HashMap::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        if let Some(earlier) = last.insert(key(row), i) {
            lose(earlier);
        }
    }
    if last.len() < rows.len() {
        let mut i = 0;
        rows.retain(|row| {
            i += 1;
            last.get(&key(row)) == Some(&(i - 1))
        });
    }
}

fn samples(rows: &[SampleRow]) -> Samples {
    Samples {
        series: rows.iter().map(|row| row.series.at).collect(),
        times: rows.iter().map(|row| row.time_ms).collect(),
        values: rows.iter().map(|row| row.value).collect(),
        starts: rows.iter().map(|row| row.start_ms.unwrap_or(i64::MIN)).collect(),
        flags: rows.iter().map(|row| row.flags).collect(),
    }
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
