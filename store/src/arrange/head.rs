//! Samples of the head to segments: counting sorts by series, no comparison where times came in order, an eighth of a window
//! at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
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
use crate::segment::value::choose;
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

/// Rows sorted at once, unless an eighth of the window is more: sorting them takes memory, finding them time.
const SLICE_ROWS: usize = 1 << 17;
const SLICES_MAX: usize = 8;
/// Rows of a batch at most.
const BATCH_ROWS: usize = 1 << 16;
/// Bytes of names in a batch: each row repeats its metric's.
const NAME_BYTES: usize = 32 << 20;

/// The samples of one window of a head, put in order slice by slice while they are written.
pub(crate) struct WindowSamples {
    chunks: Vec<Arc<Chunk>>,
    order: Arc<Order>,
    window: Window,
    /// Rows by rank, repeated ones included.
    counts: Vec<u32>,
    n_rows: usize,
}

/// The samples in `chunks` by window, oldest first.
pub(crate) fn from_chunks(chunks: &[Arc<Chunk>], registry: &Registry) -> Vec<WindowSamples> {
    let order = Arc::new(Order::of(chunks, registry));
    windows(chunks)
        .into_iter()
        .map(|window| WindowSamples::of(chunks, Arc::clone(&order), window))
        .collect()
}

impl WindowSamples {
    fn of(chunks: &[Arc<Chunk>], order: Arc<Order>, window: Window) -> Self {
        let range = window_ms(window);
        let is_within =
            |chunk: &&Arc<Chunk>| chunk.time_min < range.end && range.start <= chunk.time_max;
        let chunks: Vec<Arc<Chunk>> = chunks.iter().filter(is_within).map(Arc::clone).collect();
        let mut counts = vec![0_u32; order.keys.len()];
        let mut n_rows = 0;
        for chunk in &chunks {
            let is_whole = is_whole(chunk, &range);
            for (slot, time) in chunk.slots.iter().zip(&chunk.times) {
                let is_inside = is_whole || range.contains(time);
                counts[order.rank_of_slot[*slot as usize] as usize] += u32::from(is_inside);
                n_rows += usize::from(is_inside);
            }
        }
        Self { chunks, order, window, counts, n_rows }
    }

    pub(crate) const fn window(&self) -> Window {
        self.window
    }

    /// Rows at most; of equal (series, time) only one is written.
    pub(crate) const fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Gives all rows in segment order, batch by batch. Of equal (series, time) the later arrival wins.
    pub(crate) fn each(
        &self,
        mut take: impl FnMut(&RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let rows_max = SLICE_ROWS.max(self.n_rows / SLICES_MAX);
        let mut from = 0;
        while from < self.counts.len() {
            let (mut to, mut n_rows) = (from, 0);
            while to < self.counts.len()
                && (to == from || n_rows + self.counts[to] as usize <= rows_max)
            {
                n_rows += self.counts[to] as usize;
                to += 1;
            }
            if n_rows > 0 {
                self.slice(from..to, n_rows, &mut take)?;
            }
            from = to;
        }
        Ok(())
    }

    fn slice(
        &self,
        ranks: Range<usize>,
        n_rows: usize,
        take: &mut impl FnMut(&RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut samples, ends) = self.sorted(&ranks, n_rows);
        let mut batch = Builder::new(n_rows.min(BATCH_ROWS));
        let mut from = 0;
        for (key, end) in self.order.keys[ranks].iter().zip(ends) {
            let rows = &mut samples[from..end];
            from = end;
            if !rows.is_sorted_by(|a, b| a.time < b.time) {
                rows.sort_by_key(|row| row.time);
            }
            batch.series(key, rows, take)?;
        }
        batch.finish(take)
    }

    /// Samples of some ranks, by rank and arrival, with each rank's end.
    fn sorted(&self, ranks: &Range<usize>, n_rows: usize) -> (Vec<Sample>, Vec<usize>) {
        let range = window_ms(self.window);
        // Each entry is where its rank's next row goes, and so its end once all rows are placed.
        let mut ends = Vec::with_capacity(ranks.len());
        let mut end = 0;
        for count in &self.counts[ranks.clone()] {
            ends.push(end);
            end += *count as usize;
        }
        let mut samples = vec![Sample::default(); n_rows];
        for chunk in &self.chunks {
            let is_whole = is_whole(chunk, &range);
            for row in 0..chunk.len() {
                let rank = self.order.rank_of_slot[chunk.slots[row] as usize] as usize;
                let Some(next) = rank.checked_sub(ranks.start).and_then(|at| ends.get_mut(at))
                else {
                    continue;
                };
                let time = chunk.times[row];
                if is_whole || range.contains(&time) {
                    samples[*next] = Sample {
                        time,
                        value: chunk.values[row],
                        start: chunk.starts[row],
                        flags: chunk.flags[row],
                    };
                    *next += 1;
                }
            }
        }
        (samples, ends)
    }
}

fn window_ms(window: Window) -> Range<i64> {
    window.start.div_euclid(NS_PER_MS)..window.end().div_euclid(NS_PER_MS)
}

/// Whether all rows of `chunk` lie within `range`.
fn is_whole(chunk: &Chunk, range: &Range<i64>) -> bool {
    range.start <= chunk.time_min && chunk.time_max < range.end
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

/// The columns of a batch, filled series by series.
struct Builder {
    names: Names,
    ids: Vec<u64>,
    times: Vec<i64>,
    values: ValueBuilder,
    starts: TimestampMillisecondBuilder,
    flags: Vec<u8>,
    /// Values of the series under way.
    run: Vec<f64>,
    rows_max: usize,
}

impl Builder {
    fn new(rows_max: usize) -> Self {
        Self {
            names: Names::with_capacity(rows_max),
            ids: Vec::with_capacity(rows_max),
            times: Vec::with_capacity(rows_max),
            values: ValueBuilder::new(rows_max),
            starts: TimestampMillisecondBuilder::with_capacity(rows_max),
            flags: Vec::with_capacity(rows_max),
            run: Vec::new(),
            rows_max,
        }
    }

    /// Adds the rows of a series, sorted by time; of those with equal times the last. Full batches go to `take`.
    fn series(
        &mut self,
        key: &Key,
        rows: &[Sample],
        take: &mut impl FnMut(&RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.run.clear();
        let is_last = |i: usize| rows.get(i + 1).is_none_or(|next| next.time != rows[i].time);
        self.run.extend((0..rows.len()).filter(|i| is_last(*i)).map(|i| rows[i].value));
        let layout = choose(&self.run, key.kind);
        let mut winners = (0..rows.len()).filter(|i| is_last(*i)).map(|i| rows[i]);
        let mut done = 0;
        while done < self.run.len() {
            let n = self.room(&key.metric).min(self.run.len() - done);
            for row in winners.by_ref().take(n) {
                self.times.push(row.time);
                self.starts.append_option((row.start != i64::MIN).then_some(row.start));
                self.flags.push(row.flags);
            }
            self.values.extend(&self.run[done..done + n], layout);
            self.ids.resize(self.ids.len() + n, key.id);
            self.names.push(&key.metric, n);
            done += n;
            if self.room(&key.metric) == 0 {
                let run = std::mem::take(&mut self.run);
                let full = std::mem::replace(self, Self::new(self.rows_max));
                full.finish(take)?;
                self.run = run;
            }
        }
        Ok(())
    }

    /// Rows of `metric` it can still take. An empty batch takes one, however long the name is.
    fn room(&self, metric: &str) -> usize {
        let bytes = NAME_BYTES.saturating_sub(self.names.bytes.len());
        let by_name = (bytes / metric.len().max(1)).max(usize::from(self.ids.is_empty()));
        by_name.min(self.rows_max - self.ids.len())
    }

    fn finish(self, take: &mut impl FnMut(&RecordBatch) -> Result<(), Error>) -> Result<(), Error> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let Self { names, ids, times, values, mut starts, flags, .. } = self;
        let times = TimestampMillisecondArray::from(times).with_timezone("UTC");
        let mut arrays: Vec<ArrayRef> =
            vec![Arc::new(names.finish()), Arc::new(UInt64Array::from(ids)), Arc::new(times)];
        arrays.extend(values.finish());
        arrays.push(Arc::new(starts.finish().with_timezone("UTC")));
        arrays.push(Arc::new(UInt8Array::from(flags)));
        let batch = RecordBatch::try_new(segment_schema(Table::Samples), arrays);
        take(&batch.map_err(Error::arrow(CONTEXT))?)
    }
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
            let end = i32::try_from(self.bytes.len()).expect("names of a batch are bounded");
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
