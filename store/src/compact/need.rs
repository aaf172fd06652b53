//! How much memory a compaction needs, and how many of its runs fit.

use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use crate::compact::due::{Job, Run};
use crate::compact::duplicates;
use crate::compact::merge::{BATCH_ROWS, GROUP_ROWS_MAX};
use crate::error::Error;
use crate::index;
use crate::schema::Table;
use crate::segment::read::Segment;
use crate::segment::recipe::{PROBE_ROWS, group_rows, is_probed, page_rows};

/// Buffers of encoders and of the file, whatever is written.
const FIXED: u64 = 8 << 20;
/// Copies of rows there are while they are taken from their runs, put in order and built.
const COPIES: u64 = 4;

/// What reading a run takes.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    /// Decoded bytes of a row.
    row: u64,
    /// Bytes of one page of each column, and of the one being inflated as stored.
    pages: u64,
}

/// `job` with as many neighbouring runs as `budget` bytes allow, the cheapest of them, and what they need. `None` when
/// that makes no progress. Reads footers: blocks.
pub(crate) fn fit(mut job: Job, budget: u64) -> Result<Option<(Job, u64)>, Error> {
    let needs: Vec<Need> = job.runs.iter().map(need).collect::<Result<_, _>>()?;
    let mut n_runs = job.runs.len();
    let (mut first, mut bytes) = cheapest(&job, &needs, n_runs);
    while bytes > budget && n_runs > 2 {
        n_runs -= 1;
        (first, bytes) = cheapest(&job, &needs, n_runs);
    }
    if bytes > budget {
        let table = job.plan.table;
        tracing::warn!(%table, bytes, budget, "too little memory to compact, segments stay apart");
        return Ok(None);
    }
    if n_runs < job.runs.len() {
        job.runs = job.runs[first..first + n_runs].to_vec();
        job.is_whole = false;
        job.plan.rows_max = job.runs.iter().map(Run::rows).sum();
    }
    Ok(Some((job, bytes)))
}

/// The `n_runs` neighbours with the fewest bytes on disk, and the memory they need.
fn cheapest(job: &Job, needs: &[Need], n_runs: usize) -> (usize, u64) {
    let stored =
        |first: &usize| -> u64 { job.runs[*first..first + n_runs].iter().map(Run::bytes).sum() };
    let first = (0..=job.runs.len() - n_runs).min_by_key(stored).unwrap_or(0);
    (first, sum(job, &job.runs[first..first + n_runs], &needs[first..first + n_runs]))
}

fn sum(job: &Job, runs: &[Run], needs: &[Need]) -> u64 {
    let rows: u64 = runs.iter().map(Run::rows).sum();
    let stored: u64 = runs.iter().map(Run::bytes).sum();
    let row = needs.iter().map(|need| need.row).max().unwrap_or(0);
    let table = job.plan.table;
    let read: u64 = needs.iter().map(|need| need.pages + 2 * need.row * BATCH_ROWS as u64).sum();
    // Rows of a series are gathered to be laid out together; of other tables a batch of each run at most is in hand.
    let group = if is_probed(table) { GROUP_ROWS_MAX } else { 0 };
    let in_order = rows.min((runs.len() * BATCH_ROWS + group) as u64) * row * COPIES;
    let probe = if is_probed(table) { rows.min(PROBE_ROWS as u64) * row * 2 } else { 0 };
    let group = stored * rows.min(group_rows(table) as u64) / rows.max(1) * 3 / 2;
    let page = rows.min(page_rows(table, job.plan.level) as u64) * row;
    let index = index::memory_max(table, job.plan.level, rows);
    let merging = in_order + probe.max(group + page) + index;
    // Both copies of a repeated span are found before anything is merged.
    let comparing = if table == Table::Spans { duplicates::memory_max(rows) } else { 0 };
    FIXED + read + merging.max(comparing)
}

fn need(run: &Run) -> Result<Need, Error> {
    let mut most = Need::default();
    for file in &run.files {
        let need = of_file(file)?;
        most = Need { row: most.row.max(need.row), pages: most.pages.max(need.pages) };
    }
    Ok(most)
}

fn of_file(file: &Segment) -> Result<Need, Error> {
    let blocks = file.blocks()?;
    let metadata = file.reader(&blocks)?;
    let metadata: &ParquetMetaData = metadata.metadata();
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0).max(1);
    let mut need = Need::default();
    let mut decoded = 0;
    for (i, group) in metadata.row_groups().iter().enumerate() {
        let mut pages = 0;
        let mut stored = 0;
        for (j, column) in group.columns().iter().enumerate() {
            decoded += decoded_bytes(column);
            let n_pages = metadata.offset_index().and_then(|index| index.get(i)?.get(j));
            let n_pages = n_pages.map_or(1, |index| index.page_locations.len().max(1));
            let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0) / n_pages as u64;
            let page = bytes(column.uncompressed_size());
            // Pages differ, but a single one is as large as the column.
            pages += if n_pages == 1 { page } else { page * 3 / 2 };
            stored = stored.max(2 * bytes(column.compressed_size()));
        }
        need.pages = need.pages.max(pages + stored);
    }
    need.row = decoded / rows + 1;
    Ok(need)
}

/// Bytes of a column's values in memory.
fn decoded_bytes(column: &ColumnChunkMetaData) -> u64 {
    let n_values = u64::try_from(column.num_values()).unwrap_or(0);
    let width = match column.column_type() {
        PhysicalType::BOOLEAN => 1,
        PhysicalType::INT32 | PhysicalType::FLOAT => 4,
        PhysicalType::INT64 | PhysicalType::DOUBLE | PhysicalType::BYTE_ARRAY => 8,
        PhysicalType::INT96 | PhysicalType::FIXED_LEN_BYTE_ARRAY => 16,
    };
    let text = match column.column_type() {
        PhysicalType::BYTE_ARRAY => column
            .unencoded_byte_array_data_bytes()
            .unwrap_or_else(|| column.uncompressed_size().saturating_mul(4)),
        _ => 0,
    };
    n_values * width + u64::try_from(text).unwrap_or(0)
}
