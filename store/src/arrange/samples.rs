//! Samples of segments, merged to drafts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringBuilder, TimestampMillisecondArray,
    TimestampMillisecondBuilder, UInt8Array, UInt64Array,
};
use arrow::datatypes::{TimestampMillisecondType, UInt8Type};

use crate::arrange::values::{ValueBuilder, Values};
use crate::arrange::{Ranks, SeriesKey, distinct};
use crate::definition::{column, series_ids};
use crate::error::Error;
use crate::registry::Registry;
use crate::schema::{Table, columns, segment_schema};

/// One sample's place: rank of its series, time in ms, row in its source.
type Place = (u32, i64, u32);

/// What a place does not tell of a sample.
struct Payload {
    value: f64,
    start: i64,
    flags: u8,
}

/// One batch of the samples in segment batches, later ones winning.
pub(crate) fn from_segments(
    batches: &[RecordBatch],
    registry: &Registry,
) -> Result<RecordBatch, Error> {
    let ranks = Ranks::new(keys_of(batches, registry));
    let mut places = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    let mut payloads = Vec::with_capacity(places.capacity());
    let mut arrival = 0_u32;
    for batch in batches {
        let times =
            column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>().values();
        let starts = column(batch, columns::START_TIME).as_primitive::<TimestampMillisecondType>();
        let flags = column(batch, columns::FLAGS).as_primitive::<UInt8Type>();
        let values = Values::new(batch, "").expect("the batch was checked against its schema");
        for (row, id) in series_ids(batch).iter().enumerate() {
            places.push((ranks.rank(*id), times[row], arrival));
            payloads.push(Payload {
                value: values.value(row).unwrap_or(f64::NAN),
                start: if starts.is_null(row) { i64::MIN } else { starts.value(row) },
                flags: flags.value(row),
            });
            arrival += 1;
        }
    }
    build(places, &ranks, |arrival| {
        let Payload { value, start, flags } = payloads[arrival as usize];
        Payload { value, start, flags }
    })
}

/// Keys of the series in segment batches. One that the registry forgot is a counter if it was written as one.
pub(crate) fn keys_of(batches: &[RecordBatch], registry: &Registry) -> Vec<SeriesKey> {
    let mut keys = Vec::new();
    for batch in batches {
        let metrics = column(batch, columns::METRIC).as_string::<i32>();
        let counts =
            batch.column_by_name(columns::V_CTR).or_else(|| batch.column_by_name("count_v_ctr"));
        let mut row = 0;
        for run in series_ids(batch).chunk_by(|a, b| a == b) {
            let is_counter =
                counts.is_some_and(|counts| (row..row + run.len()).any(|row| counts.is_valid(row)));
            let key = SeriesKey::new(registry, run[0], Some(metrics.value(row)));
            keys.push(if is_counter { key.or_counter() } else { key });
            row += run.len();
        }
    }
    keys
}

/// Sorts `places`, keeps one winner for each (series, time), and builds the segment's columns.
fn build(
    mut places: Vec<Place>,
    ranks: &Ranks,
    payload: impl Fn(u32) -> Payload,
) -> Result<RecordBatch, Error> {
    places.sort(); // A stable sort merges what is sorted already.
    keep_last(&mut places, |place| (place.0, place.1));
    let n_rows = places.len();
    let mut metrics = StringBuilder::with_capacity(n_rows, 16 * n_rows);
    let mut ids = Vec::with_capacity(n_rows);
    let mut values = ValueBuilder::new(n_rows);
    let mut starts = TimestampMillisecondBuilder::with_capacity(n_rows);
    let mut flags = Vec::with_capacity(n_rows);
    let mut run = Vec::new();
    for places in places.chunk_by(|a, b| a.0 == b.0) {
        let key = ranks.key(places[0].0);
        run.clear();
        for (_, _, arrival) in places {
            let sample = payload(*arrival);
            metrics.append_value(&key.metric);
            ids.push(key.id);
            run.push(sample.value);
            starts.append_option((sample.start != i64::MIN).then_some(sample.start));
            flags.push(sample.flags);
        }
        values.push(&run, key.kind());
    }
    let times = TimestampMillisecondArray::from_iter_values(places.iter().map(|place| place.1));
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(metrics.finish()),
        Arc::new(UInt64Array::from(ids)),
        Arc::new(times.with_timezone("UTC")),
    ];
    arrays.extend(values.finish());
    arrays.push(Arc::new(starts.finish().with_timezone("UTC")));
    arrays.push(Arc::new(UInt8Array::from(flags)));
    RecordBatch::try_new(segment_schema(Table::Samples), arrays)
        .map_err(Error::arrow("building samples"))
}

/// Of neighbours with equal keys keeps the last.
pub(crate) fn keep_last<T: Copy, K: PartialEq>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut kept = 0;
    for i in 0..items.len() {
        if items.get(i + 1).is_none_or(|next| key(next) != key(&items[i])) {
            items[kept] = items[i];
            kept += 1;
        }
    }
    items.truncate(kept);
}

/// Distinct series ids of `batches`.
pub(crate) fn ids_of<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Vec<u64> {
    let all: Vec<u64> = batches.into_iter().flat_map(|batch| distinct(series_ids(batch))).collect();
    distinct(&all)
}
