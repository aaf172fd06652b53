//! Samples of the head to drafts of segments: one counting sort by series, no comparison where times came in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    TimestampMillisecondBuilder, UInt8Array, UInt64Array, new_null_array,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use model::metric::MetricKind;
use model::time::{NS_PER_MS, Timestamp};

use crate::arrange::values::ValueBuilder;
use crate::error::Error;
use crate::head::chunk::Chunk;
use crate::registry::Registry;
use crate::schema::{Table, segment_schema};
use crate::segment::write::Window;

const CONTEXT: &str = "building samples";

/// What a segment row needs besides its series.
#[derive(Clone, Copy, Default)]
struct Sample {
    time: i64,
    value: f64,
    start: i64,
    flags: u8,
}

struct Key {
    metric: Arc<str>,
    id: u64,
    kind: MetricKind,
}

/// Series of some chunks in (metric, id) order.
struct Order {
    keys: Vec<Key>,
    rank_of_slot: Vec<u32>,
}

/// Segment batches of the samples in `chunks`, oldest window first. Of equal (series, time) the later arrival wins.
pub(crate) fn from_chunks(
    chunks: &[Arc<Chunk>],
    registry: &Registry,
) -> Result<Vec<(Window, RecordBatch)>, Error> {
    let order = Order::of(chunks, registry);
    windows(chunks)
        .into_iter()
        .map(|window| {
            let samples = sorted(chunks, &order, window);
            Ok((window, columns(&order, samples)?))
        })
        .collect()
}

impl Order {
    fn of(chunks: &[Arc<Chunk>], registry: &Registry) -> Self {
        let slot_max = chunks.iter().flat_map(|chunk| &chunk.slots).copied().max();
        let mut rank_of_slot = vec![0; slot_max.map_or(0, |slot| slot as usize + 1)];
        let slots = chunks.iter().flat_map(|chunk| &chunk.slots);
        slots.for_each(|slot| rank_of_slot[*slot as usize] = 1);
        let view = registry.view();
        let mut metrics: HashMap<u32, (Arc<str>, MetricKind)> = HashMap::new();
        let mut met: Vec<(u32, u64, u32)> = Vec::new();
        for (slot, _) in (0_u32..).zip(&rank_of_slot).filter(|(_, is_met)| **is_met == 1) {
            let metric = view.metric(slot);
            metrics.entry(metric).or_insert_with(|| {
                let (name, kind, _) = view.nature(slot);
                (name, MetricKind::from_u8(kind))
            });
            met.push((metric, view.id(slot), slot));
        }
        drop(view);
        let names: BTreeSet<&str> = metrics.values().map(|(name, _)| &**name).collect();
        let place: BTreeMap<&str, u32> = names.into_iter().zip(0..).collect();
        let places: HashMap<u32, u32> =
            metrics.iter().map(|(metric, (name, _))| (*metric, place[&**name])).collect();
        met.sort_unstable_by_key(|(metric, id, _)| (places[metric], *id));
        let mut keys = Vec::with_capacity(met.len());
        for (rank, (metric, id, slot)) in (0..).zip(met) {
            rank_of_slot[slot as usize] = rank;
            let (name, kind) = &metrics[&metric];
            keys.push(Key { metric: Arc::clone(name), id, kind: *kind });
        }
        Self { keys, rank_of_slot }
    }
}

/// Windows that hold rows, oldest first.
fn windows(chunks: &[Arc<Chunk>]) -> BTreeSet<Window> {
    let mut windows = BTreeSet::new();
    for chunk in chunks {
        let at = |ms| Window::at(Table::Samples, Timestamp::from_ms(ms).0);
        let ends = [at(chunk.time_min), at(chunk.time_max)];
        windows.extend(ends);
        if ends[1].start > ends[0].end() {
            windows.extend(chunk.times.iter().map(|ms| at(*ms)));
        }
    }
    windows
}

/// Samples of one window by rank, each with the rank's end in the samples.
fn sorted(chunks: &[Arc<Chunk>], order: &Order, window: Window) -> (Vec<Sample>, Vec<usize>) {
    let first_ms = window.start.div_euclid(NS_PER_MS);
    let range = first_ms..window.end().div_euclid(NS_PER_MS);
    let mut ends = vec![0_usize; order.keys.len()];
    let within: Vec<&Chunk> = chunks
        .iter()
        .map(AsRef::as_ref)
        .filter(|chunk| chunk.time_min < range.end && range.start <= chunk.time_max)
        .collect();
    let is_whole = |chunk: &Chunk| range.start <= chunk.time_min && chunk.time_max < range.end;
    for chunk in &within {
        let is_whole = is_whole(chunk);
        for (slot, time) in chunk.slots.iter().zip(&chunk.times) {
            ends[order.rank_of_slot[*slot as usize] as usize] +=
                usize::from(is_whole || range.contains(time));
        }
    }
    let mut n_rows = 0;
    for end in &mut ends {
        n_rows += std::mem::replace(end, n_rows);
    }
    // Each entry is where its rank's next row goes, and so its end once all rows are placed.
    let mut samples = vec![Sample::default(); n_rows];
    for chunk in &within {
        let is_whole = is_whole(chunk);
        for row in 0..chunk.len() {
            let time = chunk.times[row];
            if !is_whole && !range.contains(&time) {
                continue;
            }
            let next = &mut ends[order.rank_of_slot[chunk.slots[row] as usize] as usize];
            samples[*next] = Sample {
                time,
                value: chunk.values[row],
                start: chunk.starts[row],
                flags: chunk.flags[row],
            };
            *next += 1;
        }
    }
    (samples, ends)
}

/// The columns of a segment, one winner for each (series, time).
fn columns(
    order: &Order,
    (mut samples, ends): (Vec<Sample>, Vec<usize>),
) -> Result<RecordBatch, Error> {
    let mut names = Names::with_capacity(samples.len());
    let mut ids = Vec::with_capacity(samples.len());
    let mut times = Vec::with_capacity(samples.len());
    let mut values = ValueBuilder::new(samples.len());
    let mut starts = TimestampMillisecondBuilder::with_capacity(samples.len());
    let mut flags = Vec::with_capacity(samples.len());
    let (mut run, mut from) = (Vec::new(), 0);
    for (key, end) in order.keys.iter().zip(ends) {
        let rows = &mut samples[from..end];
        from = end;
        if !rows.is_sorted_by(|a, b| a.time < b.time) {
            rows.sort_by_key(|row| row.time);
        }
        run.clear();
        for (i, row) in rows.iter().enumerate() {
            if rows.get(i + 1).is_some_and(|next| next.time == row.time) {
                continue;
            }
            run.push(row.value);
            times.push(row.time);
            starts.append_option((row.start != i64::MIN).then_some(row.start));
            flags.push(row.flags);
        }
        ids.resize(ids.len() + run.len(), key.id);
        names.push(&key.metric, run.len());
        values.push(&run, key.kind);
    }
    let times = TimestampMillisecondArray::from(times).with_timezone("UTC");
    let mut arrays: Vec<ArrayRef> =
        vec![Arc::new(names.finish()), Arc::new(UInt64Array::from(ids)), Arc::new(times)];
    arrays.extend(values.finish());
    arrays.push(Arc::new(starts.finish().with_timezone("UTC")));
    arrays.push(Arc::new(UInt8Array::from(flags)));
    RecordBatch::try_new(segment_schema(Table::Samples), arrays).map_err(Error::arrow(CONTEXT))
}

/// A text column of long runs.
struct Names {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Names {
    fn with_capacity(n_rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(n_rows + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(16 * n_rows), offsets }
    }

    fn push(&mut self, name: &str, n_rows: usize) {
        for _ in 0..n_rows {
            self.bytes.extend_from_slice(name.as_bytes());
            let end = i32::try_from(self.bytes.len()).expect("a head is far below 2 GiB");
            self.offsets.push(end);
        }
    }

    fn finish(self) -> StringArray {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        StringArray::new(offsets, Buffer::from_vec(self.bytes), None)
    }
}

/// The head's samples in arrival order, in the segment schema, values in `v_f64`.
pub(crate) fn head_batch(chunk: &Chunk, registry: &Registry) -> Result<RecordBatch, Error> {
    let n_rows = chunk.len();
    let mut names = Names::with_capacity(n_rows);
    let mut ids = Vec::with_capacity(n_rows);
    let view = registry.view();
    for run in chunk.slots.chunk_by(|a, b| a == b) {
        names.push(&view.nature(run[0]).0, run.len());
        ids.resize(ids.len() + run.len(), view.id(run[0]));
    }
    drop(view);
    let starts = chunk.starts.iter().map(|start| (*start != i64::MIN).then_some(*start));
    let times = TimestampMillisecondArray::from(chunk.times.clone());
    let none = |data_type| new_null_array(&data_type, n_rows);
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(names.finish()),
        Arc::new(UInt64Array::from(ids)),
        Arc::new(times.with_timezone("UTC")),
        none(DataType::Int8),
        none(DataType::Int64),
        none(DataType::Int64),
        Arc::new(Float64Array::from(chunk.values.clone())),
        Arc::new(starts.collect::<TimestampMillisecondArray>().with_timezone("UTC")),
        Arc::new(UInt8Array::from(chunk.flags.clone())),
    ];
    RecordBatch::try_new(segment_schema(Table::Samples), arrays)
        .map_err(Error::arrow("building head samples"))
}
