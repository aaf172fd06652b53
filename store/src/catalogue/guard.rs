//! What SQLite does not see of a flipped bit: rows that say something else than was written, or are gone. Page checksums
//! it has none; `row_crc` covers a segment's own row, this the rows beside it and what must hold between rows.

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::catalogue::{DataFile, damaged};
use crate::error::Error;
use crate::segment::write::Facts;

/// CRC32C of what other tables say of a segment: bytes of its sidecar, service names, metrics.
fn stats_crc(facts: &Facts) -> i64 {
    let (first, last) = facts.services.clone().unwrap_or_default();
    let text = format!("{}|{first}|{last}|{}", facts.sidecar_bytes, facts.metrics.join("\n"));
    i64::from(crc32c::crc32c(text.as_bytes()))
}

/// Notes the checksum of a new segment's statistics.
pub(super) async fn seal(tx: &mut SqliteConnection, file: &DataFile) -> Result<(), Error> {
    sqlx::query("UPDATE data_file SET stats_crc = $1 WHERE id = $2")
        .bind(stats_crc(&file.facts))
        .bind(file.id)
        .execute(tx)
        .await
        .map(drop)
        .map_err(Error::catalogue("add statistics"))
}

/// Checks the statistics of `files`, which must be all there are. Those of version 1 have no checksum.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    node: &str,
    files: &[DataFile],
) -> Result<(), Error> {
    let wrap = || Error::catalogue("check segments");
    let rows = sqlx::query("SELECT id, stats_crc FROM data_file ORDER BY commit_order, wal_lo, id")
        .fetch_all(&mut *connection)
        .await
        .map_err(wrap())?;
    if rows.len() != files.len() {
        return Err(damaged("rows of data_file belong to no table"));
    }
    for (row, file) in rows.iter().zip(files) {
        let (id, crc) = (row.try_get::<i64, _>("id"), row.try_get::<Option<i64>, _>("stats_crc"));
        let is_good = crc.map_err(wrap())?.is_none_or(|crc| crc == stats_crc(&file.facts));
        if id.map_err(wrap())? != file.id || !is_good {
            let path = &file.facts.path;
            return Err(damaged(format!("statistics of segment {path} have a bad checksum")));
        }
    }
    // The log would be replayed over segments that hold its rows.
    let ahead: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM data_file f JOIN wal_checkpoint c ON c.node = f.wal_node AND c.shard = f.wal_shard \
         WHERE c.watermark < f.wal_hi",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(wrap())?;
    let ours: i64 = sqlx::query_scalar("SELECT count(*) FROM wal_checkpoint WHERE node = $1")
        .bind(node)
        .fetch_one(&mut *connection)
        .await
        .map_err(wrap())?;
    if ahead > 0 || (ours == 0 && !files.is_empty()) {
        return Err(damaged("segments hold sequences above the watermark, or of an unknown node"));
    }
    Ok(())
}
