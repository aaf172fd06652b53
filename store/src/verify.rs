//! Checking everything a data directory holds against its checksums. Called by `headrope store verify` and `stats`.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use model::time::Timestamp;
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::core::{SHARD, blocking};
use crate::error::Error;
use crate::inventory::Inventory;
use crate::open::lock_dir;
use crate::quarantine::Missing;
use crate::schema::Table;
use crate::segment::read::Segment;
use crate::segment::write::sidecar_path;
use crate::stats::TableStats;
use crate::wal::replay::{Log, scan};

/// What was found in a data directory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Highest sequence in segments.
    pub watermark: u64,
    /// Highest whole sequence in the log; the watermark when the log has none above it.
    pub last_sequence: u64,
    /// Log files with records.
    pub wal_files: u64,
    /// Segments checked.
    pub segments: u64,
    /// Bytes of segments checked.
    pub segment_bytes: u64,
    /// Segments by table.
    pub tables: Vec<TableStats>,
    /// What they are made of, by table.
    pub inventory: Vec<Inventory>,
    /// Whatever is not as it was written; empty when all is well.
    pub problems: Vec<Problem>,
}

/// One thing that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Where in it, when known.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

/// Checks catalogue rows, log and segments of `dir`, which no process may have open.
pub(crate) async fn verify(dir: PathBuf) -> Result<Report, Error> {
    let root = dir.clone();
    if !root.join("catalogue.sqlite").is_file() {
        let source =
            std::io::Error::new(std::io::ErrorKind::NotFound, "there is no catalogue.sqlite in it");
        return Err(Error::Directory { dir, source });
    }
    let lock = blocking(move || lock_dir(&root)).await?;
    let catalogue = Catalogue::open(&dir, Timestamp::default()).await?;
    let watermark = catalogue.checkpoint(SHARD).await?.watermark;
    let files = catalogue.files().await?;
    let pending: HashSet<String> = catalogue.pending().await?.into_iter().collect();
    let segments: Vec<Segment> = files.into_iter().map(|file| Segment::new(file, &dir)).collect();
    blocking(move || {
        let log = scan(&dir.join("wal").join(SHARD.to_string()), watermark)?;
        let mut report = Report {
            watermark,
            last_sequence: log.last_seq(watermark),
            wal_files: log.files.len() as u64,
            tables: Table::ALL.into_iter().map(TableStats::new).collect(),
            inventory: Table::ALL.into_iter().map(Inventory::new).collect(),
            ..Report::default()
        };
        check_log(&dir, &log, &mut report);
        segments.iter().for_each(|segment| check_segment(segment, &mut report));
        find_strangers(&dir, &segments, &pending, &mut report)?;
        drop(lock);
        Ok(report)
    })
    .await
}

fn check_log(dir: &Path, log: &Log, report: &mut Report) {
    for damage in log.damages(report.watermark) {
        let reason = format!(
            "acknowledged sequences {} to {} cannot be read",
            damage.first_seq, damage.last_seq
        );
        report.problems.push(Problem { path: damage.path, offset: damage.offset, reason });
    }
    for damage in log.healed(report.watermark) {
        let reason = format!(
            "sequences {} to {} cannot be read; their rows are in segments",
            damage.first_seq, damage.last_seq
        );
        report.problems.push(Problem { path: damage.path, offset: damage.offset, reason });
    }
    if let Some(first) = log.gap(report.watermark) {
        let reason =
            format!("the log begins at sequence {first}, segments end at {}", report.watermark);
        report.problems.push(Problem { path: dir.join("wal"), offset: 0, reason });
    }
}

fn check_segment(segment: &Segment, report: &mut Report) {
    let facts = segment.facts();
    report.segments += 1;
    report.segment_bytes += facts.bytes;
    if segment.data.end_snapshot.is_none() {
        let stats = &mut report.tables[facts.table as usize];
        stats.segments += 1;
        stats.segment_rows += facts.rows;
        stats.segment_bytes += facts.bytes + facts.sidecar_bytes;
    }
    let listed = match segment.data.end_snapshot {
        None => report.inventory[facts.table as usize].add(segment),
        Some(_) => Ok(()),
    };
    if let Err(error) = listed.and_then(|()| segment.check()) {
        let (path, offset, reason) = match error {
            Error::Corrupt { path, offset, reason } => (path, offset, reason),
            other => (segment.file.clone(), 0, other.to_string()),
        };
        report.problems.push(Problem { path, offset, reason });
    }
    if segment.data.is_quarantined && segment.data.end_snapshot.is_none() {
        let reason = format!("{}", Missing::new(segment));
        report.problems.push(Problem { path: segment.file.clone(), offset: 0, reason });
    }
    if !segment.sidecar_path().is_file() {
        report.problems.push(Problem {
            path: segment.sidecar_path(),
            offset: 0,
            reason: "it is missing".to_owned(),
        });
    }
}

/// Reports files below `data/` that neither the catalogue nor its pending list names.
fn find_strangers(
    dir: &Path,
    segments: &[Segment],
    pending: &HashSet<String>,
    report: &mut Report,
) -> Result<(), Error> {
    let mut known: HashSet<PathBuf> = HashSet::new();
    for path in segments.iter().map(|segment| &segment.facts().path).chain(pending) {
        known.insert(dir.join(path));
        known.insert(dir.join(sidecar_path(path)));
    }
    let mut dirs = vec![dir.join("data")];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).map_err(Error::io("list", &next))? {
            let path = entry.map_err(Error::io("list", &next))?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if !known.contains(&path) {
                report.problems.push(Problem {
                    path,
                    offset: 0,
                    reason: "no commit names it".to_owned(),
                });
            }
        }
    }
    Ok(())
}
