//! Segments that fail their checksum: taken out of all answers, remembered over restarts, named in warnings.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::time::Timestamp;

use crate::catalogue::DataFile;
use crate::core::Core;
use crate::error::Error;
use crate::schema::Table;
use crate::segment::read::Segment;

/// Rows that answers lack: their segment is gone or failed its checksum. Prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Of which table.
    pub table: Table,
    /// How many rows.
    pub rows: u64,
    /// Time of the earliest.
    pub from: Timestamp,
    /// Time of the latest.
    pub to: Timestamp,
    /// The segment, which stays where it is.
    pub path: PathBuf,
}

impl Missing {
    pub(crate) fn new(segment: &Segment) -> Self {
        let facts = segment.facts();
        Self {
            table: facts.table,
            rows: facts.rows,
            from: facts.min_time,
            to: facts.max_time,
            path: segment.file.clone(),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, rows, from, to, path } = self;
        let path = path.display();
        write!(
            f,
            "{rows} rows of {table} from {from} to {to} are missing: {path} is gone or failed its checksum and is in quarantine"
        )
    }
}

/// Puts segments in quarantine that were found damaged since the last call. Returns how many.
///
/// Definitions stay: without them answers would be too small and nobody could say by how much.
pub(crate) async fn quarantine(core: &Arc<Core>) -> Result<usize, Error> {
    let is_data = |table| !matches!(table, Table::Series | Table::Resources | Table::HistBounds);
    let segments = core.live.segments();
    let damaged: Vec<&Arc<Segment>> = segments
        .iter()
        .filter(|segment| segment.is_damaged() && is_data(segment.facts().table))
        .collect();
    if damaged.is_empty() {
        return Ok(0);
    }
    let files: Vec<DataFile> = damaged.iter().map(|segment| segment.data.clone()).collect();
    core.catalogue.quarantine(&files).await?;
    let marked = files.into_iter().map(|file| DataFile { is_quarantined: true, ..file });
    let marked = marked.map(|file| Arc::new(Segment::new(file, &core.dir)));
    core.live.quarantine(marked.collect());
    core.counters.quarantined.fetch_add(damaged.len() as u64, Ordering::Relaxed);
    for segment in &damaged {
        tracing::error!(missing = %Missing::new(segment), "segment in quarantine");
    }
    Ok(damaged.len())
}
