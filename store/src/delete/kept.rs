//! Rows of a segment that deletes leave. Found once a segment and marker, then kept in memory.

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;

use crate::delete::DeleteFrom;
use crate::delete::marker::Marker;
use crate::delete::matching::hits;
use crate::error::Error;
use crate::live::Version;
use crate::rollup::Resolution;
use crate::schema::columns;
use crate::segment::read::Segment;

const BATCH_ROWS: usize = 8_192;

/// Row ranges of a segment, ascending, apart from each other.
pub(crate) type Ranges = Arc<[Range<usize>]>;

/// Rows of a segment that are left.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Which rows of the file, over all row groups.
    pub selection: RowSelection,
    /// How many.
    pub rows: u64,
}

impl Version {
    /// Rows of `segment` that this version has; `None` when all. Blocks on disk reads.
    pub(crate) fn kept(&self, segment: &Segment) -> Result<Option<Kept>, Error> {
        segment.kept(&self.markers)
    }
}

impl Segment {
    /// Rows that `markers` leave; `None` when all. Blocks on disk reads.
    pub(crate) fn kept(&self, markers: &[Arc<Marker>]) -> Result<Option<Kept>, Error> {
        let mut deleted: Vec<Range<usize>> = Vec::new();
        for marker in markers.iter().filter(|marker| marker.touches(self)) {
            deleted.extend(self.deleted(marker)?.iter().cloned());
        }
        if deleted.is_empty() {
            return Ok(None);
        }
        deleted.sort_unstable_by_key(|range| range.start);
        let n_rows = usize::try_from(self.facts().rows).unwrap_or(usize::MAX);
        let mut left = Vec::new();
        let mut next = 0;
        for range in deleted {
            if next < range.start {
                left.push(next..range.start);
            }
            next = next.max(range.end);
        }
        if next < n_rows {
            left.push(next..n_rows);
        }
        let rows = left.iter().map(|range| range.len() as u64).sum();
        let selection = RowSelection::from_consecutive_ranges(left.into_iter(), n_rows);
        Ok(Some(Kept { selection, rows }))
    }

    /// Rows that `marker` deletes. Blocks on disk reads.
    pub(crate) fn deleted(&self, marker: &Marker) -> Result<Ranges, Error> {
        if !marker.touches(self) {
            return Ok(Arc::from([]));
        }
        let id = marker.record.id;
        let known = |deleted: &Vec<(i64, Ranges)>| {
            deleted.iter().find(|(known, _)| *known == id).map(|(_, ranges)| Arc::clone(ranges))
        };
        if let Some(ranges) = known(&self.deleted.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(ranges);
        }
        let ranges = self.find_deleted(marker)?;
        let mut deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ranges) = known(&deleted) {
            return Ok(ranges); // Another reader was faster.
        }
        deleted.push((id, Arc::clone(&ranges)));
        Ok(ranges)
    }

    fn find_deleted(&self, marker: &Marker) -> Result<Ranges, Error> {
        let blocks = self.blocks()?;
        let builder = self.reader(&blocks)?;
        let schema = Arc::clone(builder.schema());
        let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let names = match marker.record.delete.from {
            DeleteFrom::Metrics => vec![columns::SERIES_ID, columns::TIME],
            DeleteFrom::Logs | DeleteFrom::Spans => marker.conditions.columns(&known),
        };
        let wanted =
            (0..).zip(schema.fields()).filter(|(_, field)| names.contains(&field.name().as_str()));
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.map(|(place, _)| place));
        let batches = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| self.corrupt(&blocks, &error))?;
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut row = 0;
        for batch in batches {
            let batch = batch.map_err(|error| self.corrupt(&blocks, &error))?;
            for hit in hits(marker, &batch, Resolution::reach_ns(self.facts().table))? {
                match ranges.last_mut() {
                    Some(last) if hit && last.end == row => last.end += 1,
                    _ if hit => ranges.push(row..row + 1),
                    _ => {}
                }
                row += 1;
            }
        }
        Ok(Arc::from(ranges))
    }
}
