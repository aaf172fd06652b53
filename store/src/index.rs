//! Indexes beside segments: what to read for a query, and what to leave. An index may only skip, never decide: whatever
//! it points at is read, and the query's own condition is asked of every row.
//!
//! Built by the segment writer batch by batch, kept as blobs in the sidecar (`docs/format/segment.md`), used by scans. A
//! blob that is missing or damaged costs speed.

use std::any::Any;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, MapArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use roaring::RoaringBitmap;

use crate::scan::blocks::KEPT;
use crate::schema::{Table, columns};
use crate::segment::read::Segment;

pub(crate) mod cache;
mod ids;
mod needle;
mod runs;
mod token;
mod traces;
mod words;

#[cfg(test)]
mod tests;

pub use needle::Needle;
pub(crate) use runs::Runs;

use ids::{Ids, IdsBuilder};
use runs::RunsBuilder;
use token::{Edges, Sink};
use traces::{Traces, TracesBuilder};
use words::{Words, WordsBuilder};

/// Rows the indexes of words and traces tell apart.
pub(crate) const BLOCK_ROWS: usize = 128;
/// Rows the filter of ids tells apart.
const GROUP_ROWS: usize = 8_192;
/// Share of a segment's rows, in percent, above which picking them costs more than it saves.
const SHARE_MAX: u64 = 35;

const RUNS: &str = "headrope-series-runs-v1";
const WORDS: &str = "headrope-words-v1";
const IDS: &str = "headrope-ids-v1";
const TRACES: &str = "headrope-trace-rows-v1";

/// What others make of segments and heads, by a name of theirs; they see to it that it is still true.
static MADE: LazyLock<cache::Cache> = LazyLock::new(|| cache::Cache::new(0));

/// Changes how many bytes of indexes, footers, decoded samples and values given to [`keep`] stay in memory between
/// queries; what is above goes at once. Half is for the samples, an eighth for what was given.
pub fn set_cache_limit(bytes: u64) {
    KEPT.set_limit(bytes / 2);
    MADE.set_limit(bytes / 8);
    cache::CACHE.set_limit(bytes - bytes / 2 - bytes / 8);
}

/// Bytes of indexes, footers, decoded samples and values given to [`keep`] held in memory between queries.
#[must_use]
pub fn cache_bytes() -> u64 {
    cache::CACHE.bytes() + KEPT.bytes() + MADE.bytes()
}

/// The value kept under `name` by `owner`, unless it had to make room.
#[must_use]
pub fn kept<T: Any + Send + Sync>(name: &str, owner: usize) -> Option<Arc<T>> {
    MADE.find(Path::new(name), "made", owner)
}

/// Keeps a value of `bytes` under `name` for `owner` until others that are used more push it out.
pub fn keep<T: Any + Send + Sync>(name: &str, owner: usize, value: Arc<T>, bytes: usize) {
    MADE.keep(Path::new(name), ("made", owner), value, name.len() + bytes);
}

/// Bytes that all values given to [`keep`] may take.
#[must_use]
pub fn kept_limit() -> u64 {
    MADE.limit()
}

/// Bytes of memory that building the indexes of a segment of so many rows takes.
pub(crate) fn memory_max(table: Table, level: u8, rows: u64) -> u64 {
    const TEXT: u64 = 4 << 20;
    const STRETCH_ROWS: u64 = 131_072;
    match table {
        Table::Samples | Table::HistPoints | Table::HistBuckets => rows * 5,
        _ if level == 0 => 0,
        Table::Logs => TEXT + rows.min(STRETCH_ROWS) * 96 + rows * 8,
        Table::Spans => TEXT + rows.min(STRETCH_ROWS) * 32 + rows * 32,
        _ => 0,
    }
}

/// Builds the indexes of one segment while its rows are written.
#[derive(Default)]
pub(crate) struct Builder {
    runs: Option<RunsBuilder>,
    text: Option<TextBuilder>,
    traces: Option<TracesBuilder>,
}

impl Builder {
    /// For a segment of `table` at `level`. Fresh segments are small, soon merged and scanned: of indexes they have only
    /// that of series, as queries of what is new read little of each.
    pub(crate) fn new(table: Table, level: u8) -> Self {
        let when = |is_wanted: bool| is_wanted && level > 0;
        let has_series = matches!(table, Table::Samples | Table::HistPoints | Table::HistBuckets);
        Self {
            runs: has_series.then(RunsBuilder::default),
            text: when(matches!(table, Table::Logs | Table::Spans)).then(TextBuilder::default),
            traces: when(table == Table::Spans).then(TracesBuilder::default),
        }
    }

    /// Adds rows in the order of the segment.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        if let Some(runs) = &mut self.runs {
            runs.add(batch);
        }
        if let Some(text) = &mut self.text {
            text.add(batch);
        }
        if let Some(traces) = &mut self.traces {
            traces.add(batch);
        }
    }

    /// Bytes of memory held, roughly.
    pub(crate) fn memory(&self) -> usize {
        let runs = self.runs.as_ref().map_or(0, RunsBuilder::memory);
        let text = self.text.as_ref().map_or(0, |text| text.parts.words.memory());
        runs + text + self.traces.as_ref().map_or(0, TracesBuilder::memory)
    }

    /// The blobs: type, bytes.
    pub(crate) fn finish(self) -> Vec<(&'static str, Vec<u8>)> {
        let mut blobs = Vec::new();
        blobs.extend(self.runs.and_then(RunsBuilder::finish).map(|runs| (RUNS, runs)));
        blobs.extend(self.traces.map(|traces| (TRACES, traces.finish())));
        if let Some(text) = self.text {
            let (words, ids) = text.finish();
            blobs.extend(words.map(|words| (WORDS, words)));
            blobs.push((IDS, ids));
        }
        blobs
    }
}

/// Gathers words and ids of texts and attributes.
#[derive(Default)]
struct TextBuilder {
    rows: usize,
    parts: Parts,
    buffer: String,
}

#[derive(Default)]
struct Parts {
    words: WordsBuilder,
    ids: IdsBuilder,
}

impl Sink for Parts {
    fn word(&mut self, word: &str, edges: Edges) {
        self.words.add_word(word, edges.is_mixed);
    }

    fn pair(&mut self, pair: &str) {
        self.words.add_word(pair, false);
    }

    fn long_word(&mut self) {
        self.words.add_odd();
    }

    fn id(&mut self, key: u64) {
        self.ids.add(key);
    }

    fn long_id(&mut self) {
        self.ids.add_anything();
    }
}

/// Attributes of one type with their values as text, in the form queries compare.
pub(crate) struct Attributes {
    map: MapArray,
    names: StringArray,
    values: StringArray,
}

impl Attributes {
    /// Those in a map; `None` when it has none.
    pub(crate) fn of(column: &ArrayRef) -> Option<Self> {
        let map = column.as_map_opt()?.clone();
        if map.keys().is_empty() {
            return None;
        }
        let names = map.keys().as_string_opt()?.clone();
        let values = cast(map.values(), &DataType::Utf8).ok()?.as_string_opt()?.clone();
        Some(Self { map, names, values })
    }

    /// Names and values of one row.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (&str, &str)> {
        let at = |i: usize| usize::try_from(self.map.value_offsets()[i]).unwrap_or(0);
        (at(row)..at(row + 1))
            .filter(|entry| self.values.is_valid(*entry))
            .map(|entry| (self.names.value(entry), self.values.value(entry)))
    }
}

impl TextBuilder {
    fn add(&mut self, batch: &RecordBatch) {
        let texts =
            batch.column_by_name(columns::BODY).and_then(|body| body.as_string_opt::<i32>());
        let attributes: Vec<Attributes> = columns::ATTRIBUTE_MAPS
            .iter()
            .filter_map(|name| Attributes::of(batch.column_by_name(name)?))
            .collect();
        for row in 0..batch.num_rows() {
            if let Some(texts) = texts.filter(|texts| texts.is_valid(row)) {
                let folded = token::fold(texts.value(row), &mut self.buffer);
                token::cut(folded, &mut self.parts);
            }
            for (name, value) in attributes.iter().flat_map(|attributes| attributes.row(row)) {
                if words::is_term(name, value) {
                    self.parts.words.add_attribute(name, value);
                } else {
                    self.parts.ids.add(token::attribute_key(name, value));
                }
            }
            self.rows += 1;
            if self.rows.is_multiple_of(BLOCK_ROWS) {
                self.parts.words.end_block();
            }
            if self.rows.is_multiple_of(GROUP_ROWS) {
                self.parts.ids.end_group();
            }
        }
    }

    fn finish(mut self) -> (Option<Vec<u8>>, Vec<u8>) {
        if !self.rows.is_multiple_of(BLOCK_ROWS) {
            self.parts.words.end_block();
        }
        if !self.rows.is_multiple_of(GROUP_ROWS) {
            self.parts.ids.end_group();
        }
        (self.parts.words.finish(), self.parts.ids.finish())
    }
}

/// The rows of `segment` that may satisfy `needle`, in ascending ranges; `None` for all. Blocks.
pub(crate) fn rows(segment: &Segment, needle: &Needle) -> Option<Vec<Range<u64>>> {
    let blocks = needle.blocks(&Index { segment })?;
    let rows = segment.facts().rows;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut n_rows = 0;
    for block in blocks {
        let start = u64::from(block) * BLOCK_ROWS as u64;
        let end = (start + BLOCK_ROWS as u64).min(rows);
        if start >= end {
            continue;
        }
        n_rows += end - start;
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    (n_rows * 100 <= rows * SHARE_MAX).then_some(ranges)
}

/// Where the rows of each series of `segment` are, if it has that index. Blocks.
pub(crate) fn runs(segment: &Segment) -> Option<Arc<Runs>> {
    cache::CACHE.value(&segment.file, RUNS, || {
        let runs = Runs::new(&segment.sidecar()?.blob(RUNS)?, segment.facts().rows)?;
        let bytes = runs.bytes();
        Some((runs, bytes))
    })
}

/// The indexes of one segment, read when they are asked.
struct Index<'a> {
    segment: &'a Segment,
}

impl Index<'_> {
    /// Blocks there are.
    fn n_blocks(&self) -> u64 {
        self.segment.facts().rows.div_ceil(BLOCK_ROWS as u64)
    }

    fn ids(&self) -> Option<Arc<Ids>> {
        cache::CACHE.value(&self.segment.file, IDS, || {
            let ids = Ids::new(self.segment.sidecar()?.blob(IDS)?)?;
            let bytes = ids.bytes();
            Some((ids, bytes))
        })
    }

    fn words(&self) -> Option<Arc<Words>> {
        let words = cache::CACHE.value(&self.segment.file, WORDS, || {
            let words = Words::new(&self.segment.sidecar()?.blob(WORDS)?)?;
            let bytes = words.bytes();
            Some((words, bytes))
        })?;
        (u64::from(words.n_blocks()) == self.n_blocks()).then_some(words)
    }

    /// Blocks that may hold spans of the trace.
    fn trace(&self, id: &[u8]) -> Option<RoaringBitmap> {
        let sidecar = self.segment.sidecar()?;
        let read = |offset, bytes| sidecar.range(TRACES, offset, bytes);
        let traces = cache::CACHE.value(&self.segment.file, TRACES, || {
            let traces = Traces::new(&read)?;
            let bytes = traces.bytes();
            Some((traces, bytes))
        })?;
        traces.blocks(id, &read)
    }
}
