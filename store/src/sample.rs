//! Samples as columns: what `collector` hands to the store, and what stands in for a series there.

use model::id::SeriesId;

use crate::error::Error;
use crate::schema::Table;

/// A series of this process: dense and cheap; refused as stale once the registry let the series go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesRef {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl SeriesRef {
    /// A reference made up by a test double of the store; the store itself refuses what it did not give.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// Which of the series that had this number.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// Dense number of the series in this process.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }
}

/// What [`Store::resolve`](crate::Store::resolve) gives: who the series is, and how to name it in [`Samples`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resolved {
    /// Identity, the same for ever; batches of histograms and exemplars carry it.
    pub id: SeriesId,
    /// Its place in this process, until the series has been idle for long.
    pub at: SeriesRef,
}

/// Samples as columns of equal length, rows in any order. Of equal (series, time) the later row wins.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Whose sample.
    pub series: Vec<SeriesRef>,
    /// When, in ms since the epoch, UTC.
    pub times: Vec<i64>,
    /// How much; kept bit for bit, NaN payloads included.
    pub values: Vec<f64>,
    /// Since when a counter counts, in ms since the epoch; `i64::MIN` when unknown.
    pub starts: Vec<i64>,
    /// Flags (see [`schema::columns::FLAGS`](crate::schema::columns::FLAGS)).
    pub flags: Vec<u8>,
}

impl Samples {
    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Refuses columns of different lengths.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let n_rows = self.len();
        let lengths = [self.times.len(), self.values.len(), self.starts.len(), self.flags.len()];
        if lengths.iter().all(|len| *len == n_rows) {
            return Ok(());
        }
        let reason = format!("its columns have {n_rows} and {lengths:?} rows");
        Err(Error::Batch { table: Table::Samples.name(), reason })
    }
}

/// Samples inside the store, their series by slot. All columns have the same length.
#[derive(Clone, Debug, Default)]
pub(crate) struct SampleRows {
    pub(crate) slots: Vec<u32>,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) starts: Vec<i64>,
    pub(crate) flags: Vec<u8>,
}

impl SampleRows {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Cuts the rows from `at` on off and returns them.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        Self {
            slots: self.slots.split_off(at),
            times: self.times.split_off(at),
            values: self.values.split_off(at),
            starts: self.starts.split_off(at),
            flags: self.flags.split_off(at),
        }
    }
}
