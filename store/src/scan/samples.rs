//! The sample scan: segments and heads merged, one sample for each (series, time), the later write winning.
//!
//! Parts of segments and groups of chunks are read on all cores, each into lists of its own; then every series gets its
//! samples out of them, in the order of commits.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;

use crate::arrange::values::Values;
use crate::definition::{column, series_ids};
use crate::error::Error;
use crate::head::chunk::Chunk;
use crate::live::Version;
use crate::parallel;
use crate::registry::{Registry, Series};
use crate::scan::pages::{PageReader, Share, Wanted};
use crate::scan::{SampleScan, ScanLimit, SeriesSamples};
use crate::schema::{Table, columns};
use crate::segment::read::Segment;

const COLUMNS: [&str; 7] = [
    columns::SERIES_ID,
    columns::TIME,
    columns::SCALE,
    columns::V_CTR,
    columns::V_INT,
    columns::V_F64,
    columns::START_TIME,
];

/// Bytes a sample takes: time, value and start where it is met and where it is handed out, and its run.
const SAMPLE_BYTES: usize = 2 * 24 + size_of::<Run>();

/// Bytes a series takes besides its samples: its lists.
const SERIES_BYTES: usize = 256;

/// Chunks of a head that one task reads.
const CHUNKS: usize = 16;
/// Rows below which a segment is not worth another thread.
const SHARE_ROWS: u64 = 65_536;
/// Samples below which series are not handed out in parallel.
const SHARE_SAMPLES: usize = 65_536;

/// Start time of a sample that has none.
const UNKNOWN: i64 = i64::MIN;

/// Samples as they are met, oldest commit first.
#[derive(Default)]
struct Met {
    runs: Vec<Run>,
    t: Vec<i64>,
    v: Vec<f64>,
    /// Empty while none is known.
    starts: Vec<i64>,
}

/// So many samples of one series.
struct Run {
    /// Place in the series wanted.
    place: u32,
    len: u32,
}

/// What one thread reads at a time.
enum Task<'a> {
    Segment(&'a Segment, Share),
    Chunks(Vec<&'a Chunk>),
}

/// What all tasks of a scan share.
struct Scan<'a> {
    version: &'a Version,
    wanted: Wanted<'a>,
    slots: Slots,
    n_samples: AtomicU64,
    limit: &'a ScanLimit,
}

/// Which slots of heads are wanted.
struct Slots {
    /// Slots of the wanted series that may have rows in heads, ascending, with their place among those wanted.
    ascending: Vec<(u32, u32)>,
    /// The place by slot, [`u32::MAX`] for the others; made when a chunk is read from end to end.
    places: OnceLock<Vec<u32>>,
}

/// Scans `version` for `series`.
pub(crate) fn scan(
    version: &Version,
    registry: &Registry,
    series: &[Arc<Series>],
    range_ms: (i64, i64),
    limit: &ScanLimit,
) -> Result<SampleScan, Error> {
    limit.grow(series.len(), SERIES_BYTES)?;
    let scan = Scan {
        version,
        wanted: Wanted::new(series, range_ms),
        slots: Slots::of(registry, series),
        n_samples: AtomicU64::new(0),
        limit,
    };
    let met = parallel::map(scan.tasks(), |task| scan.read(task))?;
    let slices = handed_out(series, &met)?;
    Ok(SampleScan { slices: slices.into_iter() })
}

impl Slots {
    /// A slot that another series has taken since means no row in any head.
    fn of(registry: &Registry, series: &[Arc<Series>]) -> Self {
        let view = registry.view();
        let place = |(series, i): (&Arc<Series>, u32)| {
            let slot = series.slot.filter(|slot| view.is_at(*slot, series.id));
            slot.or_else(|| view.slot_of(series.id)).map(|slot| (slot, i))
        };
        let mut ascending: Vec<(u32, u32)> = series.iter().zip(0..).filter_map(place).collect();
        ascending.sort_unstable();
        Self { ascending, places: OnceLock::new() }
    }

    fn places(&self) -> &[u32] {
        self.places.get_or_init(|| {
            let end = self.ascending.last().map_or(0, |(slot, _)| *slot as usize + 1);
            let mut places = vec![u32::MAX; end];
            self.ascending.iter().for_each(|(slot, place)| places[*slot as usize] = *place);
            places
        })
    }
}

impl<'a> Scan<'a> {
    /// Everything there is to read, oldest commit first.
    fn tasks(&self) -> Vec<Task<'a>> {
        let segments: Vec<&Arc<Segment>> = self
            .version
            .segments
            .iter()
            .filter(|segment| {
                segment.facts().table == Table::Samples && self.wanted.touches(segment)
            })
            .collect();
        let mut tasks = Vec::new();
        for segment in &segments {
            let worth = segment.facts().rows.div_ceil(SHARE_ROWS);
            let of = parallel::cores().min(usize::try_from(worth).unwrap_or(1)).max(1);
            tasks.extend((0..of).map(|nth| Task::Segment(segment, Share { nth, of })));
        }
        let (first, last) = self.wanted.range_ms;
        let chunks: Vec<&Chunk> = self
            .version
            .heads
            .iter()
            .flat_map(|head| head.tenants.values())
            .flat_map(|tenant| &tenant.chunks)
            .map(AsRef::as_ref)
            .filter(|chunk: &&Chunk| chunk.time_min <= last && first <= chunk.time_max)
            .collect();
        tasks.extend(chunks.chunks(CHUNKS).map(|chunks| Task::Chunks(chunks.to_vec())));
        tasks
    }

    fn read(&self, task: Task<'_>) -> Result<Met, Error> {
        let mut met = Met::default();
        match task {
            Task::Segment(segment, share) => {
                let kept = self.version.kept(segment)?;
                for batch in PageReader::new(segment, &self.wanted, (&COLUMNS, kept, share))? {
                    self.add_batch(&mut met, &batch?)?;
                }
            }
            Task::Chunks(chunks) => {
                for chunk in chunks {
                    self.add_chunk(&mut met, chunk)?;
                }
            }
        }
        Ok(met)
    }

    /// Asks for room for `more` samples.
    fn count(&self, more: usize) -> Result<(), Error> {
        let max = self.limit.samples_max;
        if self.n_samples.fetch_add(more as u64, Ordering::Relaxed) + more as u64 > max {
            return Err(Error::ScanLimit { what: "samples", limit: max });
        }
        self.limit.grow(more, SAMPLE_BYTES)
    }

    fn add_batch(&self, met: &mut Met, batch: &RecordBatch) -> Result<(), Error> {
        let times =
            column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>().values();
        let starts = column(batch, columns::START_TIME).as_primitive::<TimestampMillisecondType>();
        let values = Values::new(batch, "").expect("the segment has the value columns");
        let mut row = 0;
        for run in series_ids(batch).chunk_by(|a, b| a == b) {
            let rows = row..row + run.len();
            row = rows.end;
            let Some(place) = self.wanted.place(run[0]) else { continue };
            // Within a segment a series is in time order: the rows wanted are neighbours.
            let first =
                rows.start + times[rows.clone()].partition_point(|ms| *ms < self.wanted.range_ms.0);
            let last = rows.start + times[rows].partition_point(|ms| *ms <= self.wanted.range_ms.1);
            let Some(run) = times.get(first..last).filter(|run| !run.is_empty()) else { continue };
            self.count(run.len())?;
            met.begin(place, run.len());
            if starts.null_count() < starts.len() {
                let start = |row| if starts.is_null(row) { UNKNOWN } else { starts.value(row) };
                met.put_starts((first..last).map(start));
            }
            met.t.extend_from_slice(run);
            values.extend(first..last, &mut met.v);
        }
        Ok(())
    }

    fn add_chunk(&self, met: &mut Met, chunk: &Chunk) -> Result<(), Error> {
        let slots = &self.slots.ascending;
        let mut rows: Vec<(u32, usize)> = Vec::new();
        let mut take = |row: usize, place: u32| {
            if self.wanted.holds(chunk.times[row]) {
                rows.push((place, row));
            }
        };
        // A full chunk is sorted once for all readers; few series are looked up in it, many met on the way.
        if chunk.room() == 0 && slots.len() * 32 < chunk.len() {
            chunk.rows_of(slots, |row, place| take(row, *place));
        } else {
            let places = self.slots.places();
            for (row, slot) in chunk.slots.iter().enumerate() {
                let place = places.get(*slot as usize).filter(|place| **place != u32::MAX);
                place.into_iter().for_each(|place| take(row, *place));
            }
        }
        self.count(rows.len())?;
        for run in rows.chunk_by(|a, b| a.0 == b.0) {
            met.begin(run[0].0 as usize, run.len());
            met.put_starts(run.iter().map(|(_, row)| chunk.starts[*row]));
            met.t.extend(run.iter().map(|(_, row)| chunk.times[*row]));
            met.v.extend(run.iter().map(|(_, row)| chunk.values[*row]));
        }
        Ok(())
    }
}

impl Met {
    /// Announces `len` samples of the series at `place`.
    fn begin(&mut self, place: usize, len: usize) {
        let place = u32::try_from(place).expect("a query selects fewer series");
        let len = u32::try_from(len).expect("a run lies in one batch or chunk");
        self.runs.push(Run { place, len });
    }

    /// Notes the start times of the samples announced, before their times are put.
    fn put_starts(&mut self, starts: impl Iterator<Item = i64>) {
        for (at, start) in (self.t.len()..).zip(starts) {
            if start != UNKNOWN {
                self.starts.resize(at, UNKNOWN);
                self.starts.push(start);
            }
        }
    }

    /// Start times of the samples in `range`.
    fn starts(&self, range: Range<usize>) -> impl Iterator<Item = i64> {
        range.map(|at| self.starts.get(at).copied().unwrap_or(UNKNOWN))
    }

    /// The runs of series at `places`, with their samples.
    fn runs_of(&self, places: &Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let mut end = 0;
        let placed = self.runs.iter().map(move |run| {
            let from = end;
            end += run.len as usize;
            (run.place as usize, from..end)
        });
        let places = places.clone();
        placed.filter_map(move |(place, samples)| {
            places.contains(&place).then(|| (place - places.start, samples))
        })
    }
}

/// What was met, series by series.
fn handed_out(series: &[Arc<Series>], met: &[Met]) -> Result<Vec<SeriesSamples>, Error> {
    let n_samples: usize = met.iter().map(|met| met.t.len()).sum();
    let n_parts = if n_samples < SHARE_SAMPLES { 1 } else { parallel::cores() };
    let len = series.len().div_ceil(n_parts).max(1);
    let parts = (0..series.len()).step_by(len).map(|from| from..(from + len).min(series.len()));
    let slices = parallel::map(parts.collect(), |places: Range<usize>| {
        Ok(of_places(&series[places.clone()], &places, met))
    })?;
    Ok(slices.into_iter().flatten().collect())
}

fn of_places(series: &[Arc<Series>], places: &Range<usize>, met: &[Met]) -> Vec<SeriesSamples> {
    let mut lens = vec![0; series.len()];
    for (place, samples) in met.iter().flat_map(|met| met.runs_of(places)) {
        lens[place] += samples.len();
    }
    let has_starts = met.iter().any(|met| !met.starts.is_empty());
    let room = |len: &usize| Gathered {
        t: Vec::with_capacity(*len),
        v: Vec::with_capacity(*len),
        starts: Vec::with_capacity(if has_starts { *len } else { 0 }),
    };
    let mut gathered: Vec<Gathered> = lens.iter().map(room).collect();
    for met in met {
        for (place, samples) in met.runs_of(places) {
            let gathered = &mut gathered[place];
            gathered.t.extend_from_slice(&met.t[samples.clone()]);
            gathered.v.extend_from_slice(&met.v[samples.clone()]);
            if has_starts {
                gathered.starts.extend(met.starts(samples));
            }
        }
    }
    series
        .iter()
        .zip(gathered)
        .filter(|(_, gathered)| !gathered.t.is_empty())
        .map(|(series, gathered)| gathered.into_slice(Arc::clone(series)))
        .collect()
}

/// Samples of one series, oldest commit first.
struct Gathered {
    t: Vec<i64>,
    v: Vec<f64>,
    /// As long as `t`, or empty.
    starts: Vec<i64>,
}

impl Gathered {
    fn into_slice(mut self, series: Arc<Series>) -> SeriesSamples {
        if !self.t.is_sorted_by(|a, b| a < b) {
            self.fold();
        }
        let has_starts = self.starts.iter().any(|start| *start != UNKNOWN);
        let start_t = has_starts.then_some(self.starts);
        SeriesSamples { series, t: self.t, v: self.v, start_t }
    }

    /// Sorts by time; of equal times the one met last, the latest write, stays.
    fn fold(&mut self) {
        let mut order: Vec<usize> = (0..self.t.len()).collect();
        order.sort_by_key(|i| self.t[*i]);
        let kept: Vec<usize> = order
            .iter()
            .zip(order.iter().skip(1).map(Some).chain([None]))
            .filter(|(this, next)| next.is_none_or(|next| self.t[*next] != self.t[**this]))
            .map(|(this, _)| *this)
            .collect();
        let starts: Vec<i64> = kept.iter().filter_map(|i| self.starts.get(*i)).copied().collect();
        let t = kept.iter().map(|i| self.t[*i]).collect();
        let v = kept.iter().map(|i| self.v[*i]).collect();
        *self = Self { t, v, starts };
    }
}
