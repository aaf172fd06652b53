//! Rollups: the samples of a series in a stretch of time as one row, from which sums, extremes and increases over whole
//! stretches follow as from the samples themselves.
//!
//! A bucket holds the times after its start up to and with its end, as the windows of PromQL do. Its samples may stand
//! in two windows of segments (the one at its very end): then it has a row from each, and the two are joined.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringBuilder,
    TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
use model::metric::{MetricKind, is_stale};

use crate::arrange::SeriesKey;
use crate::arrange::values::{ValueBuilder, Values};
use crate::definition::{column, series_ids};
use crate::error::Error;
use crate::registry::Registry;
use crate::schema::{Table, columns, segment_schema};
use crate::segment::write::Facts;

/// Whether `raw` holds the samples that `rollup` was made of: late ones, which no merge took in yet, are not in it.
pub(crate) fn is_source(raw: &Facts, rollup: &Facts) -> bool {
    let (of, window) = (raw.window, rollup.window);
    raw.table == Table::Samples
        && raw.tenant == rollup.tenant
        && raw.level > 0
        && of.start <= window.start
        && window.end() <= of.end()
}

/// Rows gathered before they are given out.
const BATCH_ROWS: usize = 8_192;

/// How long the buckets of a rollup are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// Five minutes.
    FiveMinutes,
    /// One hour.
    Hour,
}

impl Resolution {
    /// Both, the finer first.
    pub const ALL: [Self; 2] = [Self::FiveMinutes, Self::Hour];

    /// Length of a bucket in ms.
    #[must_use]
    pub const fn ms(self) -> i64 {
        match self {
            Self::FiveMinutes => 300_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The resolution of a rollup's table; `None` for any other.
    #[must_use]
    pub fn of(table: Table) -> Option<Self> {
        Self::ALL.into_iter().find(|resolution| resolution.table() == table)
    }

    /// How much later than its time a row of `table` may speak of, in ns: the length of a bucket, or nothing.
    pub(crate) fn reach_ns(table: Table) -> i64 {
        Self::of(table).map_or(0, |resolution| resolution.ms() * model::time::NS_PER_MS)
    }

    /// The table its rows stand in.
    #[must_use]
    pub const fn table(self) -> Table {
        match self {
            Self::FiveMinutes => Table::Samples5m,
            Self::Hour => Table::Samples1h,
        }
    }

    /// Start of the bucket a sample at `ms` belongs to: the sample is later than it, by a bucket's length at most.
    #[must_use]
    pub const fn start(self, ms: i64) -> i64 {
        ms.saturating_sub(1).div_euclid(self.ms()).saturating_mul(self.ms())
    }
}

/// The samples of a series in a stretch of time, stale markers left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Where the stretch starts, ms since the epoch; no sample stands there itself.
    pub start: i64,
    /// Number of samples, at least 1.
    pub count: u64,
    /// Time of the first sample, ms.
    pub first_t: i64,
    /// Time of the last sample, ms.
    pub last_t: i64,
    /// Start time of the first sample, ms; 0 when unknown.
    pub first_start: i64,
    /// Start time of the last sample, ms; 0 when unknown.
    pub last_start: i64,
    /// Value of the first sample.
    pub first: f64,
    /// Value of the last sample.
    pub last: f64,
    /// Smallest value; NaN only when all are.
    pub min: f64,
    /// Largest value; NaN only when all are.
    pub max: f64,
    /// Sum of the values and what rounding took from it; `None` when it was not kept.
    pub sum: Option<(f64, f64)>,
    /// Sum of the values right before each fall or new start: with it `last - first` is the increase of a counter.
    pub resets: f64,
}

impl Bucket {
    /// One sample: its time, value, and start time (0 when unknown).
    #[must_use]
    pub const fn of(start: i64, (t, v, since): (i64, f64, i64)) -> Self {
        Self {
            start,
            count: 1,
            first_t: t,
            last_t: t,
            first_start: since,
            last_start: since,
            first: v,
            last: v,
            min: v,
            max: v,
            sum: Some((v, 0.0)),
            resets: 0.0,
        }
    }

    /// Takes in what follows: all of `later` is after all of this.
    pub fn join(&mut self, later: &Self) {
        let is_anew =
            starts_anew((self.last_t, self.last_start), (later.first_t, later.first_start));
        if later.first < self.last || is_anew {
            self.resets += self.last;
        }
        self.resets += later.resets;
        if later.min < self.min || self.min.is_nan() {
            self.min = later.min;
        }
        if later.max > self.max || self.max.is_nan() {
            self.max = later.max;
        }
        self.sum = self.sum.zip(later.sum).map(|(sum, later)| {
            let (total, low) = add(sum.0, sum.1, later.0);
            (total, low + later.1)
        });
        self.count += later.count;
        self.last_t = later.last_t;
        self.last_start = later.last_start;
        self.last = later.last;
    }
}

/// Whether a sample (time, start time) does not continue the one before; a start that contradicts it tells nothing.
const fn starts_anew((t_before, start_before): (i64, i64), (t, start): (i64, i64)) -> bool {
    if start == 0 || start >= t || start < t_before {
        return false;
    }
    start > t_before || (start_before != 0 && start_before != t_before && start_before <= t_before)
}

/// Adds to a sum and to what rounding took from it.
fn add(sum: f64, low: f64, value: f64) -> (f64, f64) {
    let total = sum + value;
    let lost = if total.is_infinite() {
        0.0
    } else if sum.abs() >= value.abs() {
        (sum - total) + value
    } else {
        (value - total) + sum
    };
    (total, low + lost)
}

/// Buckets of one series' samples (time, value, start time or `i64::MIN`) in time order; stale markers are left out.
pub(crate) fn buckets_of(
    resolution: Resolution,
    samples: impl IntoIterator<Item = (i64, f64, i64)>,
    into: &mut Vec<Bucket>,
) {
    for (t, v, start) in samples {
        if is_stale(v) {
            continue;
        }
        let since = if start == i64::MIN { 0 } else { start };
        let one = Bucket::of(resolution.start(t), (t, v, since));
        match into.last_mut() {
            Some(bucket) if bucket.start == one.start => bucket.join(&one),
            _ => into.push(one),
        }
    }
}

/// Makes the rows of a rollup of sorted samples.
pub(crate) struct Rollup {
    resolution: Resolution,
    registry: Arc<Registry>,
    /// Series in order; the last one may have more samples.
    series: Vec<Rolled>,
    rows: usize,
}

struct Rolled {
    key: SeriesKey,
    /// Whether its samples were laid out as a counter's.
    is_counter: bool,
    buckets: Vec<Bucket>,
}

impl Rollup {
    pub(crate) fn new(resolution: Resolution, registry: Arc<Registry>) -> Self {
        Self { resolution, registry, series: Vec::new(), rows: 0 }
    }

    /// Takes samples in the segment schema; gives rows once there are enough.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>, Error> {
        let values = Values::new(batch, "").expect("the batch was checked against its schema");
        let times =
            column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>().values();
        let metrics = column(batch, columns::METRIC).as_string::<i32>();
        let counts = column(batch, columns::V_CTR);
        let starts = column(batch, columns::START_TIME).as_primitive::<TimestampMillisecondType>();
        let start = |row: usize| if starts.is_valid(row) { starts.value(row) } else { i64::MIN };
        let mut row = 0;
        for run in series_ids(batch).chunk_by(|a, b| a == b) {
            let rows = row..row + run.len();
            row = rows.end;
            if self.series.last().is_none_or(|series| series.key.id != run[0]) {
                let key = SeriesKey::new(&self.registry, run[0], Some(metrics.value(rows.start)));
                self.series.push(Rolled { key, is_counter: false, buckets: Vec::new() });
            }
            let series = self.series.last_mut().expect("one was just pushed");
            series.is_counter |= rows.clone().any(|row| counts.is_valid(row));
            let n_before = series.buckets.len();
            let samples =
                rows.map(|row| (times[row], values.value(row).unwrap_or(f64::NAN), start(row)));
            buckets_of(self.resolution, samples, &mut series.buckets);
            self.rows += series.buckets.len() - n_before;
        }
        if self.rows < BATCH_ROWS {
            return Ok(None);
        }
        let last = self.series.pop(); // It may go on.
        let batch = self.build()?;
        self.rows = last.as_ref().map_or(0, |series| series.buckets.len());
        self.series = last.into_iter().collect();
        Ok(Some(batch))
    }

    /// What is left.
    pub(crate) fn finish(self) -> Result<RecordBatch, Error> {
        self.build()
    }

    fn build(&self) -> Result<RecordBatch, Error> {
        let all = || self.series.iter().flat_map(|series| &series.buckets);
        let n_rows = all().count();
        let mut metrics = StringBuilder::new();
        let mut ids = Vec::with_capacity(n_rows);
        let mut values = columns::ROLLED.map(|_| ValueBuilder::new(n_rows));
        for series in &self.series {
            for _ in &series.buckets {
                metrics.append_value(&series.key.metric);
                ids.push(series.key.id);
            }
            let kind = if series.is_counter { MetricKind::Counter } else { MetricKind::Gauge };
            // What a counter adds up to means nothing.
            let has_sum = series.key.kind() != MetricKind::Counter;
            for (builder, pick) in values.iter_mut().zip(PICKS) {
                let picked: Vec<Option<f64>> =
                    series.buckets.iter().map(|bucket| pick(bucket, has_sum)).collect();
                builder.push_optional(&picked, kind);
            }
        }
        let time = |pick: fn(&Bucket) -> i64| -> ArrayRef {
            let times = TimestampMillisecondArray::from_iter_values(all().map(pick));
            Arc::new(times.with_timezone("UTC"))
        };
        let known = |pick: fn(&Bucket) -> i64| -> ArrayRef {
            let times = all().map(|bucket| Some(pick(bucket)).filter(|start| *start != 0));
            Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
        };
        let count = |bucket: &Bucket| i64::try_from(bucket.count).unwrap_or(i64::MAX);
        let resets = |bucket: &Bucket| (bucket.resets != 0.0).then_some(bucket.resets);
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(metrics.finish()),
            Arc::new(UInt64Array::from(ids)),
            time(|bucket| bucket.start),
            Arc::new(Int64Array::from_iter_values(all().map(count))),
            time(|bucket| bucket.first_t),
            time(|bucket| bucket.last_t),
            known(|bucket| bucket.first_start),
            known(|bucket| bucket.last_start),
        ];
        arrays.extend(values.into_iter().flat_map(ValueBuilder::finish));
        arrays.push(Arc::new(all().map(resets).collect::<Float64Array>()));
        RecordBatch::try_new(segment_schema(self.resolution.table()), arrays)
            .map_err(Error::arrow("building a rollup"))
    }
}

type Pick = fn(&Bucket, bool) -> Option<f64>;

/// What the value columns hold, in the order of [`columns::ROLLED`].
const PICKS: [Pick; 5] = [
    |bucket, _| Some(bucket.first),
    |bucket, _| Some(bucket.last),
    |bucket, _| (bucket.min.to_bits() != bucket.first.to_bits()).then_some(bucket.min),
    |bucket, _| (bucket.max.to_bits() != bucket.last.to_bits()).then_some(bucket.max),
    |bucket, has_sum| bucket.sum.filter(|_| has_sum).map(|(sum, low)| total(sum, low)),
];

/// A sum with what rounding took from it.
fn total(sum: f64, low: f64) -> f64 {
    if sum.is_infinite() { sum } else { sum + low }
}

/// Rows of a rollup, to be read one by one.
pub(crate) struct RolledRows<'a> {
    starts: &'a [i64],
    counts: &'a [i64],
    first_t: &'a [i64],
    last_t: &'a [i64],
    first_start: &'a TimestampMillisecondArray,
    last_start: &'a TimestampMillisecondArray,
    values: [Values<'a>; 5],
    resets: &'a Float64Array,
}

impl<'a> RolledRows<'a> {
    /// The rows of `batch`; `None` when it lacks a column.
    pub(crate) fn new(batch: &'a RecordBatch) -> Option<Self> {
        let times = |name: &str| -> Option<&'a TimestampMillisecondArray> {
            batch.column_by_name(name)?.as_primitive_opt::<TimestampMillisecondType>()
        };
        let time = |name: &str| -> Option<&'a [i64]> { Some(times(name)?.values()) };
        let [first, last, min, max, sum] = columns::ROLLED;
        Some(Self {
            starts: time(columns::TIME)?,
            counts: batch.column_by_name(columns::COUNT)?.as_primitive_opt::<Int64Type>()?.values(),
            first_t: time(columns::FIRST_TIME)?,
            last_t: time(columns::LAST_TIME)?,
            first_start: times(columns::FIRST_START)?,
            last_start: times(columns::LAST_START)?,
            values: [
                Values::new(batch, first)?,
                Values::new(batch, last)?,
                Values::new(batch, min)?,
                Values::new(batch, max)?,
                Values::new(batch, sum)?,
            ],
            resets: batch.column_by_name(columns::RESETS)?.as_primitive_opt::<Float64Type>()?,
        })
    }

    pub(crate) fn start(&self, row: usize) -> i64 {
        self.starts[row]
    }

    pub(crate) fn bucket(&self, row: usize) -> Bucket {
        let [first, last, min, max, sum] =
            [0, 1, 2, 3, 4].map(|column| self.values[column].value(row));
        let known = |times: &TimestampMillisecondArray| {
            if times.is_valid(row) { times.value(row) } else { 0 }
        };
        let (first, last) = (first.unwrap_or(f64::NAN), last.unwrap_or(f64::NAN));
        Bucket {
            start: self.starts[row],
            count: u64::try_from(self.counts[row]).unwrap_or(0),
            first_t: self.first_t[row],
            last_t: self.last_t[row],
            first_start: known(self.first_start),
            last_start: known(self.last_start),
            first,
            last,
            min: min.unwrap_or(first),
            max: max.unwrap_or(last),
            sum: sum.map(|sum| (sum, 0.0)),
            resets: if self.resets.is_valid(row) { self.resets.value(row) } else { 0.0 },
        }
    }
}
