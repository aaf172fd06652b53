//! The sample scan: segments and heads merged, one sample for each (series, time), the later write winning.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{TimestampMillisecondType, UInt8Type};

use crate::arrange::values::Values;
use crate::definition::{column, series_ids};
use crate::error::Error;
use crate::head::chunk::Chunk;
use crate::live::Version;
use crate::registry::{Registry, Series};
use crate::scan::pages::{PageReader, Wanted};
use crate::scan::{SampleScan, ScanLimit, SeriesSamples};
use crate::schema::{Table, columns};

const COLUMNS: [&str; 8] = [
    columns::SERIES_ID,
    columns::TIME,
    columns::SCALE,
    columns::V_CTR,
    columns::V_INT,
    columns::V_F64,
    columns::START_TIME,
    columns::FLAGS,
];

/// Bytes a gathered sample takes: time, value, start, flags, and the room vectors grow by.
const SAMPLE_BYTES: usize = 48;

/// Bytes a series takes besides its samples: its lists and the least room they have.
const SERIES_BYTES: usize = 256;

/// Samples of one series as they are met: oldest commit first.
#[derive(Default)]
struct Gathered {
    t: Vec<i64>,
    v: Vec<f64>,
    starts: Vec<i64>,
    flags: Vec<u8>,
}

struct Gather<'a> {
    wanted: Wanted<'a>,
    /// Slots of the wanted series that may have rows in heads, ascending, with their place in `wanted`.
    slots: Vec<(u32, usize)>,
    /// The place in `wanted` by slot, `usize::MAX` for the others; made for the first chunk that is read from end to end.
    places: Vec<usize>,
    series: Vec<Gathered>,
    n_samples: u64,
    limit: &'a ScanLimit,
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
    let mut gather = Gather {
        wanted: Wanted::new(series, range_ms),
        slots: Vec::new(),
        places: Vec::new(),
        series: series.iter().map(|_| Gathered::default()).collect(),
        n_samples: 0,
        limit,
    };
    for segment in version.segments.iter() {
        if segment.facts().table == Table::Samples && gather.wanted.touches(segment) {
            for batch in
                PageReader::new(segment, &gather.wanted, (&COLUMNS, version.kept(segment)?))?
            {
                gather.add_batch(&batch?)?;
            }
        }
    }
    gather.slots = places_in_heads(registry, series);
    let chunks = version
        .heads
        .iter()
        .flat_map(|head| head.tenants.values())
        .flat_map(|tenant| &tenant.chunks);
    for chunk in chunks {
        if chunk.time_min <= range_ms.1 && range_ms.0 <= chunk.time_max {
            gather.add_chunk(chunk)?;
        }
    }
    let slices: Vec<SeriesSamples> = series
        .iter()
        .zip(gather.series)
        .filter(|(_, gathered)| !gathered.t.is_empty())
        .map(|(series, gathered)| gathered.into_slice(Arc::clone(series)))
        .collect();
    Ok(SampleScan { slices: slices.into_iter() })
}

/// A slot that another series has taken since means no row in any head.
fn places_in_heads(registry: &Registry, series: &[Arc<Series>]) -> Vec<(u32, usize)> {
    let view = registry.view();
    let place = |(i, series): (usize, &Arc<Series>)| {
        let slot = series.slot.filter(|slot| view.is_at(*slot, series.id));
        slot.or_else(|| view.slot_of(series.id)).map(|slot| (slot, i))
    };
    let mut slots: Vec<(u32, usize)> = series.iter().enumerate().filter_map(place).collect();
    slots.sort_unstable();
    slots
}

impl Gather<'_> {
    fn count(&mut self, more: usize) -> Result<(), Error> {
        self.n_samples += more as u64;
        if self.n_samples > self.limit.samples_max {
            return Err(Error::ScanLimit { what: "samples", limit: self.limit.samples_max });
        }
        self.limit.grow(more, SAMPLE_BYTES)
    }

    fn add_batch(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let times =
            column(batch, columns::TIME).as_primitive::<TimestampMillisecondType>().values();
        let starts = column(batch, columns::START_TIME).as_primitive::<TimestampMillisecondType>();
        let flags = column(batch, columns::FLAGS).as_primitive::<UInt8Type>().values();
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
            let gathered = &mut self.series[place];
            gathered.t.extend_from_slice(run);
            gathered.flags.extend_from_slice(&flags[first..last]);
            for row in first..last {
                gathered.v.push(values.value(row).unwrap_or(f64::NAN));
                gathered.starts.push(if starts.is_null(row) {
                    i64::MIN
                } else {
                    starts.value(row)
                });
            }
        }
        Ok(())
    }

    fn add_chunk(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let before = self.n_samples;
        let slots = std::mem::take(&mut self.slots);
        let mut places = std::mem::take(&mut self.places);
        // A full chunk is sorted once for all readers; few series are looked up in it, many met on the way.
        if chunk.room() == 0 && slots.len() * 32 < chunk.len() {
            chunk.rows_of(&slots, |row, place| self.add_row(chunk, row, *place));
        } else if let Some((slot_max, _)) = slots.last() {
            if places.is_empty() {
                places.resize(*slot_max as usize + 1, usize::MAX);
                slots.iter().for_each(|(slot, place)| places[*slot as usize] = *place);
            }
            for (row, slot) in chunk.slots.iter().enumerate() {
                let place = places.get(*slot as usize).filter(|place| **place != usize::MAX);
                if let Some(place) = place {
                    self.add_row(chunk, row, *place);
                }
            }
        }
        self.slots = slots;
        self.places = places;
        let more = usize::try_from(self.n_samples - before).unwrap_or(usize::MAX);
        self.n_samples = before;
        self.count(more)
    }

    fn add_row(&mut self, chunk: &Chunk, row: usize, place: usize) {
        let ms = chunk.times[row];
        if self.wanted.holds(ms) && self.n_samples <= self.limit.samples_max {
            self.n_samples += 1;
            let gathered = &mut self.series[place];
            gathered.t.push(ms);
            gathered.v.push(chunk.values[row]);
            gathered.starts.push(chunk.starts[row]);
            gathered.flags.push(chunk.flags[row]);
        }
    }
}

impl Gathered {
    fn into_slice(mut self, series: Arc<Series>) -> SeriesSamples {
        if !self.t.is_sorted_by(|a, b| a < b) {
            self.fold();
        }
        let has_starts = self.starts.iter().any(|start| *start != i64::MIN);
        let start_t = has_starts.then_some(self.starts);
        SeriesSamples { series, t: self.t, v: self.v, start_t, flags: self.flags }
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
        let folded = Self {
            t: kept.iter().map(|i| self.t[*i]).collect(),
            v: kept.iter().map(|i| self.v[*i]).collect(),
            starts: kept.iter().map(|i| self.starts[*i]).collect(),
            flags: kept.iter().map(|i| self.flags[*i]).collect(),
        };
        *self = folded;
    }
}
