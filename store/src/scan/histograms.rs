//! The histogram scan: points with their buckets and bounds, segments and heads merged, the later write winning.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{
    Float64Type, Int8Type, Int32Type, Int64Type, TimestampMillisecondType, UInt8Type, UInt64Type,
};

use crate::arrange::histograms::to_ingest;
use crate::definition::{column, series_ids};
use crate::error::Error;
use crate::live::Version;
use crate::registry::Series;
use crate::scan::pages::{self, PageReader, Wanted};
use crate::scan::{Bucket, HistogramPoint, HistogramScan, ScanLimit, SeriesHistograms};
use crate::schema::{Table, columns, segment_schema};

/// Points by time; buckets by (side, index), so that a later write replaces an earlier one.
type Points = BTreeMap<i64, (Option<HistogramPoint>, BTreeMap<(i8, i32), f64>)>;

/// Bytes a gathered point takes in its map, and once more in the answer.
const POINT_BYTES: usize = 2 * size_of::<(i64, HistogramPoint)>() + 64;
/// Likewise a bucket.
const BUCKET_BYTES: usize = 64;

struct Gather<'a> {
    wanted: Wanted<'a>,
    series: Vec<Points>,
    n_points: u64,
    limit: &'a ScanLimit,
}

/// Scans `version` for `series`.
pub(crate) fn scan(
    version: &Version,
    bounds_of: impl Fn(u64) -> Result<Option<Arc<[f64]>>, Error>,
    series: &[Arc<Series>],
    range_ms: (i64, i64),
    limit: &ScanLimit,
) -> Result<HistogramScan, Error> {
    let mut gather = Gather {
        wanted: Wanted::new(series, range_ms),
        series: series.iter().map(|_| Points::new()).collect(),
        n_points: 0,
        limit,
    };
    for table in [Table::HistPoints, Table::HistBuckets] {
        let schema = segment_schema(table);
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        for segment in version.segments.iter() {
            if segment.facts().table == table && gather.wanted.touches(segment) {
                let kept = version.kept(segment)?;
                let rows = pages::known(segment, &gather.wanted).map(|rows| rows.selection());
                for batch in PageReader::new(segment, &gather.wanted, (&names, kept), rows)? {
                    gather.add(table, &to_ingest(table, &batch?)?)?;
                }
            }
        }
        for tenant in version.heads.iter().flat_map(|head| head.tenants.values()) {
            for batch in tenant.batches(table) {
                gather.add(table, batch)?;
            }
        }
    }
    let ids: BTreeSet<u64> = gather
        .series
        .iter()
        .flat_map(BTreeMap::values)
        .filter_map(|(point, _)| point.as_ref()?.bounds_id)
        .collect();
    let mut bounds = HashMap::new();
    for id in ids {
        bounds.extend(bounds_of(id)?.map(|values| (id, values)));
    }
    let slices: Vec<SeriesHistograms> = series
        .iter()
        .zip(gather.series)
        .map(|(series, points)| SeriesHistograms {
            series: Arc::clone(series),
            points: finish(points, &bounds),
        })
        .filter(|slice| !slice.points.is_empty())
        .collect();
    Ok(HistogramScan { slices: slices.into_iter() })
}

impl Gather<'_> {
    fn add(&mut self, table: Table, batch: &RecordBatch) -> Result<(), Error> {
        let before = self.n_points;
        let bytes = match table {
            Table::HistBuckets => {
                self.add_buckets(batch);
                BUCKET_BYTES
            }
            _ => {
                self.add_points(batch);
                POINT_BYTES
            }
        };
        if self.n_points > self.limit.samples_max {
            return Err(Error::ScanLimit {
                what: "histogram points and buckets",
                limit: self.limit.samples_max,
            });
        }
        self.limit.grow(usize::try_from(self.n_points - before).unwrap_or(usize::MAX), bytes)
    }

    fn add_points(&mut self, batch: &RecordBatch) {
        let times =
            column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>().values();
        for (row, id) in series_ids(batch).iter().enumerate() {
            let Some(place) = self.wanted.place(*id).filter(|_| self.wanted.holds(times[row]))
            else {
                continue;
            };
            self.n_points += 1;
            let entry = self.series[place].entry(times[row]).or_default();
            entry.0 = Some(point(batch, row));
        }
    }

    fn add_buckets(&mut self, batch: &RecordBatch) {
        let times =
            column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>().values();
        let scales = column(batch, columns::EXP_SCALE).as_primitive::<Int8Type>().values();
        let sides = column(batch, columns::SIDE).as_primitive::<Int8Type>().values();
        let indices = column(batch, columns::BUCKET).as_primitive::<Int32Type>().values();
        let counts = column(batch, columns::COUNT).as_primitive::<Float64Type>().values();
        for (row, id) in series_ids(batch).iter().enumerate() {
            let Some(place) = self.wanted.place(*id).filter(|_| self.wanted.holds(times[row]))
            else {
                continue;
            };
            let Some((Some(point), buckets)) = self.series[place].get_mut(&times[row]) else {
                continue;
            };
            // Buckets of an earlier write at another scale do not belong to this point.
            if point.exp_scale == scales[row] {
                self.n_points += 1;
                buckets.insert((sides[row], indices[row]), counts[row]);
            }
        }
    }
}

fn point(batch: &RecordBatch, row: usize) -> HistogramPoint {
    let float = |name: &str| -> &Float64Array { column(batch, name).as_primitive::<Float64Type>() };
    let optional = |name: &str| float(name).is_valid(row).then(|| float(name).value(row));
    let time = |name: &str| column(batch, name).as_primitive::<TimestampMillisecondType>();
    let byte = |name: &str| column(batch, name).as_primitive::<UInt8Type>().value(row);
    let zero_count = column(batch, columns::ZERO_COUNT).as_primitive::<Int64Type>();
    let bounds_id = column(batch, columns::BOUNDS_ID).as_primitive::<UInt64Type>();
    let start = time(columns::START_TIME);
    HistogramPoint {
        t: time(columns::TIME).value(row),
        start_t: start.is_valid(row).then(|| start.value(row)),
        flags: byte(columns::FLAGS),
        count: float(columns::COUNT).value(row),
        sum: optional(columns::SUM),
        min: optional(columns::MIN),
        max: optional(columns::MAX),
        zero_count: zero_count.is_valid(row).then(|| zero_count.value(row)),
        zero_threshold: float(columns::ZERO_THRESHOLD).value(row),
        exp_scale: column(batch, columns::EXP_SCALE).as_primitive::<Int8Type>().value(row),
        bounds_id: bounds_id.is_valid(row).then(|| bounds_id.value(row)),
        reset_hint: byte(columns::RESET_HINT),
        bounds: None,
        buckets: Vec::new(),
    }
}

fn finish(points: Points, bounds: &HashMap<u64, Arc<[f64]>>) -> Vec<HistogramPoint> {
    let complete = |(point, buckets): (Option<HistogramPoint>, BTreeMap<(i8, i32), f64>)| {
        let mut point = point?;
        point.bounds = point.bounds_id.and_then(|id| bounds.get(&id)).map(Arc::clone);
        point.buckets = buckets
            .into_iter()
            .map(|((side, index), count)| Bucket { side, index, count })
            .collect();
        Some(point)
    };
    points.into_values().filter_map(complete).collect()
}
