//! The sample scan: segments and heads merged, one sample for each (series, time), the later write winning.
//!
//! Parts of segments and groups of chunks are read on all cores, each into lists of its own; then every series gets its
//! samples out of them, in the order of commits.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::RowSelection;

use crate::definition::series_ids;
use crate::delete::kept::Kept;
use crate::error::Error;
use crate::head::chunk::Chunk;
use crate::live::Version;
use crate::parallel;
use crate::registry::{Registry, Series};
use crate::scan::blocks::{self, Block, UNKNOWN};
use crate::scan::pages::{self, PageReader, Wanted};
use crate::scan::{SampleScan, ScanLimit, SeriesSamples};
use crate::schema::Table;
use crate::segment::read::Segment;

/// Bytes a sample takes: time, value and start where it is met and where it is handed out, and its run.
const SAMPLE_BYTES: usize = 2 * 24 + size_of::<Run>();

/// Bytes a series takes besides its samples: its lists.
const SERIES_BYTES: usize = 256;

/// Chunks of a head that one task reads.
const CHUNKS: usize = 16;
/// Rows of a segment that one task decodes, at least a block.
const TASK_ROWS: usize = 65_536;
/// Rows of a chunk that are passed in the time one series is looked up.
const LOOK_ROWS: usize = 32;
/// Samples below which nothing is read or handed out in parallel: threads would cost more than they save.
const SHARE_SAMPLES: usize = 65_536;

/// Samples as they are met, oldest commit first.
#[derive(Default)]
struct Met {
    runs: Vec<Run>,
    samples: Block,
}

/// So many samples of one series.
struct Run {
    /// Place in the series wanted.
    place: u32,
    len: u32,
}

/// What one thread reads at a time.
enum Task<'a> {
    /// Rows of it, with the place of their series.
    Rows(&'a Segment, Vec<(usize, Range<usize>)>),
    /// What its pages or its index say, less what deletes hide.
    Pages(&'a Segment, Option<RowSelection>, Option<Kept>),
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
    let tasks = scan.tasks()?;
    let keeps = blocks::are_worth_keeping(tasks.iter().map(Task::block_rows).sum());
    let n_rows: usize = tasks.iter().map(|task| task.rows(&scan.slots)).sum();
    let read = |task| scan.read(task, keeps);
    let met = if n_rows < SHARE_SAMPLES {
        tasks.into_iter().map(read).collect::<Result<_, Error>>()?
    } else {
        parallel::map(tasks, read)?
    };
    let slices = handed_out(series, &met)?;
    Ok(SampleScan { slices: slices.into_iter() })
}

impl Task<'_> {
    /// Rows it looks at.
    fn rows(&self, slots: &Slots) -> usize {
        match self {
            Self::Rows(_, runs) => runs.iter().map(|(_, rows)| rows.len()).sum(),
            Self::Pages(segment, ..) => usize::try_from(segment.facts().rows).unwrap_or(usize::MAX),
            Self::Chunks(chunks) => {
                chunks.iter().map(|chunk| chunk.len().min(slots.ascending.len() * LOOK_ROWS)).sum()
            }
        }
    }

    /// Rows of the blocks it decodes.
    fn block_rows(&self) -> usize {
        match self {
            Self::Rows(segment, runs) => {
                let len = blocks::block_rows(segment);
                let mut numbers: Vec<_> =
                    runs.iter().flat_map(|(_, rows)| numbers(rows, len)).collect();
                numbers.dedup();
                numbers.len() * len
            }
            Self::Pages(..) | Self::Chunks(_) => 0,
        }
    }
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
    fn tasks(&self) -> Result<Vec<Task<'a>>, Error> {
        let (mut tasks, mut n_certain) = (Vec::new(), 0);
        for segment in self.version.segments.iter() {
            if segment.facts().table != Table::Samples || !self.wanted.touches(segment) {
                continue;
            }
            let kept = self.version.kept(segment)?;
            match (pages::known(segment, &self.wanted), kept) {
                (Some(rows), None) => {
                    // What is sure to be too much is refused before any of it is read.
                    n_certain += rows.n_whole as u64;
                    self.refuse_above(n_certain)?;
                    let tasks_of = by_blocks(segment, rows.runs).into_iter();
                    tasks.extend(tasks_of.map(|runs| Task::Rows(segment, runs)));
                }
                (rows, kept) => {
                    let selection = rows.map(|rows| rows.selection());
                    tasks.push(Task::Pages(segment, selection, kept));
                }
            }
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
        Ok(tasks)
    }

    fn read(&self, task: Task<'_>, keeps: bool) -> Result<Met, Error> {
        let mut met = Met::default();
        // Nothing yet, but whoever asked may have lost interest.
        self.limit.grow(0, 0)?;
        match task {
            Task::Rows(segment, runs) => self.add_rows(&mut met, segment, &runs, keeps)?,
            Task::Pages(segment, selection, kept) => {
                let columns = (&blocks::COLUMNS[..], kept);
                for batch in PageReader::new(segment, &self.wanted, columns, selection)? {
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
        self.refuse_above(self.n_samples.fetch_add(more as u64, Ordering::Relaxed) + more as u64)?;
        self.limit.grow(more, SAMPLE_BYTES)
    }

    fn refuse_above(&self, n_samples: u64) -> Result<(), Error> {
        let limit = self.limit.samples_max;
        if n_samples > limit {
            return Err(Error::ScanLimit { what: "samples", limit });
        }
        Ok(())
    }

    fn add_rows(
        &self,
        met: &mut Met,
        segment: &Segment,
        runs: &[(usize, Range<usize>)],
        keeps: bool,
    ) -> Result<(), Error> {
        let len = blocks::block_rows(segment);
        let mut numbers: Vec<usize> =
            runs.iter().flat_map(|(_, rows)| numbers(rows, len)).collect();
        numbers.dedup();
        let read = blocks::blocks(segment, &self.wanted, &numbers, keeps)?;
        let mut at = 0;
        for (place, rows) in runs {
            for number in self::numbers(rows, len) {
                at += numbers[at..].partition_point(|other| *other < number);
                let (block, start) = (&read[at], number * len);
                let rows = rows.start.max(start) - start..rows.end.min(start + len) - start;
                self.add_run(met, *place, block, rows)?;
            }
        }
        Ok(())
    }

    /// Adds those rows of one series that lie in the range: within a segment a series is in time order.
    fn add_run(
        &self,
        met: &mut Met,
        place: usize,
        block: &Block,
        rows: Range<usize>,
    ) -> Result<(), Error> {
        let (times, (first, last)) = (&block.t[rows.clone()], self.wanted.range_ms);
        let from = rows.start + times.partition_point(|ms| *ms < first);
        let to = rows.start + times.partition_point(|ms| *ms <= last);
        if from < to {
            self.count(to - from)?;
            met.begin(place, to - from);
            met.samples.extend_from(block, from..to);
        }
        Ok(())
    }

    fn add_batch(&self, met: &mut Met, batch: &RecordBatch) -> Result<(), Error> {
        let mut block = Block::default();
        block.extend(batch, 0..batch.num_rows());
        let mut row = 0;
        for run in series_ids(batch).chunk_by(|a, b| a == b) {
            let rows = row..row + run.len();
            row = rows.end;
            if let Some(place) = self.wanted.place(run[0]) {
                self.add_run(met, place, &block, rows)?;
            }
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
        if chunk.room() == 0 && slots.len() * LOOK_ROWS < chunk.len() {
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
            let samples = &mut met.samples;
            samples.put_starts(run.iter().map(|(_, row)| chunk.starts[*row]));
            samples.t.extend(run.iter().map(|(_, row)| chunk.times[*row]));
            samples.v.extend(run.iter().map(|(_, row)| chunk.values[*row]));
        }
        Ok(())
    }
}

/// Numbers of the blocks of `len` rows that `rows` lie in.
fn numbers(rows: &Range<usize>, len: usize) -> impl Iterator<Item = usize> {
    rows.start / len..rows.end.div_ceil(len)
}

/// Runs of rows in tasks of neighbouring blocks, cut where one task ends and the next begins.
fn by_blocks(
    segment: &Segment,
    runs: Vec<(usize, Range<usize>)>,
) -> Vec<Vec<(usize, Range<usize>)>> {
    let len = blocks::block_rows(segment);
    let len = len * (TASK_ROWS / len).max(1);
    let mut tasks: Vec<Vec<(usize, Range<usize>)>> = Vec::new();
    let mut current = None;
    for (place, rows) in runs {
        for number in numbers(&rows, len) {
            let part = rows.start.max(number * len)..rows.end.min((number + 1) * len);
            match tasks.last_mut().filter(|_| current == Some(number)) {
                Some(task) => task.push((place, part)),
                None => tasks.push(vec![(place, part)]),
            }
            current = Some(number);
        }
    }
    tasks
}

impl Met {
    /// Announces `len` samples of the series at `place`.
    fn begin(&mut self, place: usize, len: usize) {
        let place = u32::try_from(place).expect("a query selects fewer series");
        let len = u32::try_from(len).expect("a run lies in one block or chunk");
        self.runs.push(Run { place, len });
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
    let n_samples: usize = met.iter().map(|met| met.samples.t.len()).sum();
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
    let has_starts = met.iter().any(|met| !met.samples.starts.is_empty());
    let room = |len: &usize| Gathered {
        t: Vec::with_capacity(*len),
        v: Vec::with_capacity(*len),
        starts: Vec::with_capacity(if has_starts { *len } else { 0 }),
    };
    let mut gathered: Vec<Gathered> = lens.iter().map(room).collect();
    for met in met {
        for (place, samples) in met.runs_of(places) {
            let gathered = &mut gathered[place];
            gathered.t.extend_from_slice(&met.samples.t[samples.clone()]);
            gathered.v.extend_from_slice(&met.samples.v[samples.clone()]);
            if has_starts {
                gathered.starts.extend(met.samples.starts_of(samples));
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
