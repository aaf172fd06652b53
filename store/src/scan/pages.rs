//! Which pages of a metric segment may hold rows of some series in a range, and a reader of just those.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;

use crate::delete::kept::Kept;
use crate::error::Error;
use crate::index;
use crate::registry::Series;
use crate::schema::columns;
use crate::segment::read::{Blocks, Segment};

const BATCH_ROWS: usize = 8_192;

/// Series wanted from segments and heads, looked up by id.
pub(crate) struct Wanted<'a> {
    pub(crate) series: &'a [Arc<Series>],
    /// Ids, ascending, with their place in `series`.
    ids: Vec<(u64, usize)>,
    /// Native metric names, ascending, unique.
    metrics: Vec<&'a str>,
    /// A bit for the last 16 bits of each id: most others are told by one look.
    marks: Box<[u64; 1_024]>,
    /// Times in ms, both ends included.
    pub(crate) range_ms: (i64, i64),
}

/// Word and bit of an id among the marks.
const fn mark(id: u64) -> (usize, u64) {
    ((id >> 6) as usize % 1_024, 1 << (id % 64))
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(series: &'a [Arc<Series>], range_ms: (i64, i64)) -> Self {
        let mut ids: Vec<_> =
            series.iter().enumerate().map(|(i, series)| (series.id.0, i)).collect();
        ids.sort_unstable();
        let mut metrics: Vec<_> = series.iter().map(|series| series.def.metric.as_str()).collect();
        metrics.sort_unstable();
        metrics.dedup();
        let mut marks = Box::new([0; 1_024]);
        for (word, bit) in ids.iter().map(|(id, _)| mark(*id)) {
            marks[word] |= bit;
        }
        Self { series, ids, metrics, marks, range_ms }
    }

    /// Place in `series` of the series with this id.
    pub(crate) fn place(&self, id: u64) -> Option<usize> {
        let (word, bit) = mark(id);
        if self.marks[word] & bit == 0 {
            return None;
        }
        self.ids.binary_search_by_key(&id, |entry| entry.0).ok().map(|i| self.ids[i].1)
    }

    pub(crate) fn holds(&self, ms: i64) -> bool {
        self.range_ms.0 <= ms && ms <= self.range_ms.1
    }

    /// Whether a segment may hold any of it.
    pub(crate) fn touches(&self, segment: &Segment) -> bool {
        let ns = |ms| model::time::Timestamp::from_ms(ms);
        let is_tenant = self.series.iter().any(|series| series.tenant == segment.facts().tenant);
        // The end of the range is a whole millisecond: rows inside it count.
        let end = model::time::Timestamp(
            ns(self.range_ms.1).0.saturating_add(model::time::NS_PER_MS - 1),
        );
        is_tenant
            && segment.overlaps(ns(self.range_ms.0), end)
            && self.metrics.iter().any(|metric| segment.has_metric(metric))
    }

    fn has_id_in(&self, min: u64, max: u64) -> bool {
        let first = self.ids.partition_point(|entry| entry.0 < min);
        self.ids.get(first).is_some_and(|entry| entry.0 <= max)
    }

    fn has_metric_in(&self, min: &[u8], max: &[u8]) -> bool {
        let first = self.metrics.partition_point(|metric| metric.as_bytes() < min);
        self.metrics.get(first).is_some_and(|metric| metric.as_bytes() <= max)
    }
}

/// Batches of a segment's rows that may be wanted, with the columns named.
pub(crate) struct PageReader<'a> {
    segment: &'a Segment,
    blocks: Blocks,
    batches: Option<ParquetRecordBatchReader>,
}

impl<'a> PageReader<'a> {
    /// Reads the rows of `known`; `None` of it leaves the pages to be chosen by their statistics.
    pub(crate) fn new(
        segment: &'a Segment,
        wanted: &Wanted<'_>,
        (names, kept): (&[&str], Option<Kept>),
        known: Option<RowSelection>,
    ) -> Result<Self, Error> {
        let blocks = segment.blocks()?;
        if known.as_ref().is_some_and(|selection| !selection.selects_any()) {
            return Ok(Self { segment, blocks, batches: None });
        }
        let builder = segment.reader(&blocks)?;
        let mut selection = known.unwrap_or_else(|| select(builder.metadata(), wanted));
        if let Some(kept) = kept {
            selection = selection.intersection(&kept.selection);
        }
        if !selection.selects_any() {
            return Ok(Self { segment, blocks, batches: None });
        }
        let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
        let batches = builder
            .with_projection(mask)
            .with_row_selection(selection)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| segment.corrupt(&blocks, &error))?;
        Ok(Self { segment, blocks, batches: Some(batches) })
    }
}

impl Iterator for PageReader<'_> {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.as_mut()?.next()?;
        Some(batch.map_err(|error| self.segment.corrupt(&self.blocks, &error)))
    }
}

/// The rows of the series wanted, where the segment's index knows them.
pub(crate) fn known(segment: &Segment, wanted: &Wanted<'_>) -> Option<Rows> {
    let runs = index::runs(segment)?;
    let mut rows = Rows { runs: Vec::new(), n_whole: 0, n_file: runs.rows() };
    for (place, run, is_whole) in runs.ranges(wanted.range_ms, &wanted.ids, |id| wanted.place(id)) {
        rows.n_whole += if is_whole { run.len() } else { 0 };
        rows.runs.push((place, run));
    }
    Some(rows)
}

/// Rows of a file that hold what is wanted.
pub(crate) struct Rows {
    /// Place of the series among those wanted, and its rows; these ascend.
    pub(crate) runs: Vec<(usize, Range<usize>)>,
    /// Rows of those series that have none outside of the range.
    pub(crate) n_whole: usize,
    /// Rows of the whole file.
    n_file: usize,
}

impl Rows {
    pub(crate) fn selection(&self) -> RowSelection {
        let rows = self.runs.iter().map(|(_, rows)| rows.clone());
        RowSelection::from_consecutive_ranges(rows, self.n_file)
    }
}

/// Rows of pages that may hold wanted rows.
fn select(metadata: &ParquetMetaData, wanted: &Wanted<'_>) -> RowSelection {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut first_row = 0;
    for group in 0..metadata.num_row_groups() {
        let group_rows = usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
        for page in pages(metadata, group, group_rows, wanted) {
            ranges.push(first_row + page.start..first_row + page.end);
        }
        first_row += group_rows;
    }
    RowSelection::from_consecutive_ranges(ranges.into_iter(), first_row)
}

/// Row ranges, within the group, of pages that may hold wanted rows. Without an index the whole group may.
fn pages(
    metadata: &ParquetMetaData,
    group: usize,
    group_rows: usize,
    wanted: &Wanted<'_>,
) -> Vec<Range<usize>> {
    let column = |name: &str| {
        let schema = metadata.file_metadata().schema_descr();
        let leaf =
            (0..schema.num_columns()).find(|leaf| schema.column(*leaf).path().parts() == [name])?;
        let index = metadata.column_index()?.get(group)?.get(leaf)?;
        let offsets = metadata.offset_index()?.get(group)?.get(leaf)?;
        Some((index, offsets.page_locations()))
    };
    let whole = std::iter::once(0..group_rows).collect();
    let (Some((ids, places)), Some((metrics, metric_places)), Some((times, time_places))) =
        (column(columns::SERIES_ID), column(columns::METRIC), column(columns::TIME))
    else {
        return whole;
    };
    let (
        ColumnIndexMetaData::INT64(ids),
        ColumnIndexMetaData::BYTE_ARRAY(metrics),
        ColumnIndexMetaData::INT64(times),
    ) = (ids, metrics, times)
    else {
        return whole;
    };
    let n_pages = places.len();
    // Pages of all columns end on the same row, since the write batch divides the page's row limit. Another writer's
    // file may not keep to that.
    let are_aligned = |others: &[PageLocation]| {
        places
            .iter()
            .map(|place| place.first_row_index)
            .eq(others.iter().map(|place| place.first_row_index))
    };
    if !are_aligned(metric_places) || !are_aligned(time_places) {
        return whole;
    }
    let start = |page: usize| {
        places
            .get(page)
            .map_or(group_rows, |place| usize::try_from(place.first_row_index).unwrap_or(0))
    };
    (0..n_pages)
        .filter(|page| {
            let id = ids.min_value(*page).zip(ids.max_value(*page));
            let metric = metrics.min_value(*page).zip(metrics.max_value(*page));
            let time = times.min_value(*page).zip(times.max_value(*page));
            id.is_none_or(|(min, max)| wanted.has_id_in(min.cast_unsigned(), max.cast_unsigned()))
                && metric.is_none_or(|(min, max)| wanted.has_metric_in(min, max))
                && time
                    .is_none_or(|(min, max)| *min <= wanted.range_ms.1 && wanted.range_ms.0 <= *max)
        })
        .map(|page| start(page)..start(page + 1))
        .filter(|rows| rows.start < rows.end)
        .collect()
}
