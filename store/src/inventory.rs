//! What the segments of a table are made of: by level, by column, beside them. Called by `headrope store stats`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Error;
use crate::schema::Table;
use crate::segment::read::Segment;

/// Live segments of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// Name of the table.
    pub table: &'static str,
    /// By how often rows were compacted, lowest first.
    pub levels: Vec<Level>,
    /// Bytes of sidecars.
    pub sidecar_bytes: u64,
    /// Encoded bytes of each column, largest first. What is missing to the whole are footers and indexes.
    pub columns: Vec<ColumnBytes>,
    /// Start of the oldest window, ns since the epoch; `None` without segments.
    pub first_ns: Option<i64>,
    /// End of the newest window, ns since the epoch; `None` without segments.
    pub last_ns: Option<i64>,
}

/// Segments of one level.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Level {
    /// 0 from a flush, higher after compaction.
    pub level: u8,
    /// Segments.
    pub segments: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes, without sidecars.
    pub bytes: u64,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnBytes {
    /// Its name; of a nested column, that of the outermost.
    pub column: String,
    /// Its encoded bytes.
    pub bytes: u64,
}

impl Inventory {
    pub(crate) fn new(table: Table) -> Self {
        Self { table: table.name(), ..Self::default() }
    }

    /// Adds a live segment. Reads its footer: blocks.
    pub(crate) fn add(&mut self, segment: &Segment) -> Result<(), Error> {
        let facts = segment.facts();
        let place = match self.levels.binary_search_by_key(&facts.level, |level| level.level) {
            Ok(place) => place,
            Err(place) => {
                self.levels.insert(place, Level { level: facts.level, ..Level::default() });
                place
            }
        };
        let level = &mut self.levels[place];
        level.segments += 1;
        level.rows += facts.rows;
        level.bytes += facts.bytes;
        self.sidecar_bytes += facts.sidecar_bytes;
        let (start, end) = (facts.window.start, facts.window.end());
        self.first_ns = Some(self.first_ns.map_or(start, |first| first.min(start)));
        self.last_ns = Some(self.last_ns.map_or(end, |last| last.max(end)));
        let blocks = segment.blocks()?;
        let reader = segment.reader(&blocks)?;
        let mut bytes: BTreeMap<String, u64> =
            self.columns.drain(..).map(|known| (known.column, known.bytes)).collect();
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let name = column.column_path().parts().first().cloned().unwrap_or_default();
                *bytes.entry(name).or_default() +=
                    u64::try_from(column.compressed_size()).unwrap_or(0);
            }
        }
        self.columns =
            bytes.into_iter().map(|(column, bytes)| ColumnBytes { column, bytes }).collect();
        self.columns.sort_by_key(|column| std::cmp::Reverse(column.bytes));
        Ok(())
    }
}
