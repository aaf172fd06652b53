//! The catalogue: which segments are live, and how far the log is in them. One transaction is the only commit point.
//!
//! SQLite with one writer connection. The live version is mirrored in memory: planning never waits for SQL.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::id::TenantId;
use model::time::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::catalogue::schema::{FORMAT_VERSION, MIGRATIONS};
use crate::delivery::Deliveries;
use crate::error::Error;
use crate::schema::{SCHEMA_VERSION, Table, columns};
use crate::segment::puffin;
use crate::segment::write::{Facts, Origin, RETENTION, SORT_VERSION, Window, sidecar_path};

mod commit;
mod deliveries;
mod guard;
pub(crate) mod markers;
mod quarantine;
pub(crate) mod schema;

pub(crate) use commit::{Commit, CommitKind};

/// Name of the catalogue in the data directory.
pub(crate) const FILE: &str = "catalogue.sqlite";

/// The catalogue of one data directory.
pub(crate) struct Catalogue {
    path: PathBuf,
    connection: Mutex<SqliteConnection>,
    /// Name of this node, made with the store.
    pub(crate) node: Uuid,
}

/// A file as the catalogue knows it.
#[derive(Clone, Debug)]
pub(crate) struct DataFile {
    pub(crate) id: i64,
    pub(crate) commit_order: i64,
    pub(crate) begin_snapshot: i64,
    pub(crate) end_snapshot: Option<i64>,
    /// Failed its checksum: nobody reads it.
    pub(crate) is_quarantined: bool,
    pub(crate) origin: Origin,
    pub(crate) facts: Facts,
}

/// How far the log is in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) shard: u32,
    pub(crate) epoch: u64,
    pub(crate) watermark: u64,
}

impl Catalogue {
    /// Opens or creates the catalogue of `dir` and brings it to this release's version.
    pub(crate) async fn open(dir: &Path, now: Timestamp) -> Result<Self, Error> {
        refuse_orphans(dir, &dir.join(FILE))?;
        Self::create_anew(dir, now).await
    }

    /// Opens or creates the catalogue of `dir`, whatever else is in there.
    pub(crate) async fn create_anew(dir: &Path, now: Timestamp) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let wrap = || {
            let path = path.clone();
            move |source| Error::CatalogueUnreadable { path, source }
        };
        let mut connection = connect(&path, true).await.map_err(wrap())?;
        let check: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_one(&mut connection)
            .await
            .map_err(wrap())?;
        if check != "ok" {
            let reason = format!("{}: {check}: restore it from a backup", path.display());
            return Err(Error::CatalogueCorrupt { reason });
        }
        migrate(&mut connection, &path, now).await?;
        let node: String = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'node'")
            .fetch_one(&mut connection)
            .await
            .map_err(wrap())?;
        let node = Uuid::parse_str(&node).map_err(|error| Error::CatalogueCorrupt {
            reason: format!("node name `{node}`: {error}"),
        })?;
        Ok(Self { path, connection: Mutex::new(connection), node })
    }

    /// The connection, with no transaction open. A transaction that could not be rolled back, as on a full disk, would
    /// make every later one fail: its connection is given up for a new one.
    pub(crate) async fn connection(&self) -> Result<MutexGuard<'_, SqliteConnection>, Error> {
        let mut connection = self.connection.lock().await;
        // The ping waits for a rollback that is still under way.
        if connection.ping().await.is_err() || connection.is_in_transaction() {
            *connection =
                connect(&self.path, false).await.map_err(Error::catalogue("connect again"))?;
        }
        Ok(connection)
    }

    /// Takes the shard over: raises its epoch, so that an older owner can commit nothing any more.
    pub(crate) async fn begin_epoch(&self, shard: u32) -> Result<Checkpoint, Error> {
        let wrap = || Error::catalogue("take over the log");
        let mut connection = self.connection().await?;
        let mut tx = connection.begin().await.map_err(wrap())?;
        let node = self.node.to_string();
        let row = sqlx::query(
            "SELECT epoch, watermark, row_crc FROM wal_checkpoint WHERE node = $1 AND shard = $2",
        )
        .bind(&node)
        .bind(i64::from(shard))
        .fetch_optional(&mut *tx)
        .await
        .map_err(wrap())?;
        let old = match row {
            Some(row) => read_checkpoint(&row, &node, shard)?,
            None => Checkpoint { shard, epoch: 0, watermark: 0 },
        };
        let new = Checkpoint { epoch: old.epoch + 1, ..old };
        sqlx::query(
            "INSERT INTO wal_checkpoint (node, shard, epoch, watermark, row_crc) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (node, shard) DO UPDATE SET epoch = excluded.epoch, row_crc = excluded.row_crc",
        )
        .bind(&node)
        .bind(i64::from(shard))
        .bind(int(new.epoch))
        .bind(int(new.watermark))
        .bind(checkpoint_crc(&node, new))
        .execute(&mut *tx)
        .await
        .map_err(wrap())?;
        tx.commit().await.map_err(wrap())?;
        Ok(new)
    }

    /// Writes a copy of the whole to `path`, which must not exist.
    pub(crate) async fn copy(&self, path: &Path) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        sqlx::query("VACUUM INTO $1")
            .bind(path.display().to_string())
            .execute(&mut *connection)
            .await
            .map_err(Error::catalogue("copy itself"))?;
        Ok(())
    }

    /// Closes the file, its log taken in.
    pub(crate) async fn close(self) -> Result<(), Error> {
        self.connection.into_inner().close().await.map_err(Error::catalogue("close"))
    }

    /// Takes over the name of the node that wrote the segments.
    pub(crate) async fn take_name(&mut self, node: &str) -> Result<(), Error> {
        let name = Uuid::parse_str(node).map_err(|error| Error::CatalogueCorrupt {
            reason: format!("node name `{node}`: {error}"),
        })?;
        sqlx::query("UPDATE meta SET value = $1 WHERE key = 'node'")
            .bind(name.to_string())
            .execute(&mut *self.connection().await?)
            .await
            .map_err(Error::catalogue("take a name over"))?;
        self.node = name;
        Ok(())
    }

    /// Says how far the log is in segments, in a catalogue that says nothing yet.
    pub(crate) async fn put_checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Error> {
        let node = self.node.to_string();
        sqlx::query(
            "INSERT INTO wal_checkpoint (node, shard, epoch, watermark, row_crc) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&node)
        .bind(i64::from(checkpoint.shard))
        .bind(int(checkpoint.epoch))
        .bind(int(checkpoint.watermark))
        .bind(checkpoint_crc(&node, checkpoint))
        .execute(&mut *self.connection().await?)
        .await
        .map_err(Error::catalogue("note the watermark"))?;
        Ok(())
    }

    /// How far the log of `shard` is in segments.
    pub(crate) async fn checkpoint(&self, shard: u32) -> Result<Checkpoint, Error> {
        find_checkpoint(&mut *self.connection().await?, &self.node.to_string(), shard).await
    }

    /// How far numbered streams have come.
    pub(crate) async fn deliveries(&self) -> Result<Deliveries, Error> {
        deliveries::load(&mut *self.connection().await?).await
    }

    /// Every file that is live, and every ended one that still has to be deleted.
    pub(crate) async fn files(&self) -> Result<Vec<DataFile>, Error> {
        let wrap = || Error::catalogue("list segments");
        let mut connection = self.connection().await?;
        let rows = sqlx::query(
            "SELECT f.*, t.tenant AS tenant, t.name AS table_name, i.bytes AS sidecar_bytes, \
             s.min AS service_min, s.max AS service_max FROM data_file f JOIN tbl t ON t.id = f.tbl \
             LEFT JOIN index_file i ON i.file = f.id \
             LEFT JOIN file_col_stats s ON s.file = f.id AND s.col = 'service_name' ORDER BY f.commit_order, f.wal_lo, f.id",
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(wrap())?;
        let mut files: Vec<DataFile> = rows.iter().map(read_file).collect::<Result<_, _>>()?;
        let pairs: Vec<(i64, String)> =
            sqlx::query_as("SELECT file, metric FROM file_metric ORDER BY file, metric")
                .fetch_all(&mut *connection)
                .await
                .map_err(wrap())?;
        let mut metrics: HashMap<i64, Vec<Arc<str>>> = HashMap::new();
        for (file, metric) in pairs {
            metrics.entry(file).or_default().push(Arc::from(metric));
        }
        for file in &mut files {
            file.facts.metrics = metrics.remove(&file.id).unwrap_or_default().into();
        }
        guard::check(&mut connection, &self.node.to_string(), &files).await?;
        Ok(files)
    }

    /// Notes paths before anything is written to them, so that a crash leaves no unknown file.
    pub(crate) async fn add_pending(&self, paths: &[String], now: Timestamp) -> Result<(), Error> {
        let wrap = || Error::catalogue("note pending files");
        let mut connection = self.connection().await?;
        let mut tx = connection.begin().await.map_err(wrap())?;
        for path in paths {
            sqlx::query("INSERT INTO pending_file (path, owner, created) VALUES ($1, $2, $3)")
                .bind(path)
                .bind(self.node.to_string())
                .bind(now.0)
                .execute(&mut *tx)
                .await
                .map_err(wrap())?;
        }
        tx.commit().await.map_err(wrap())
    }

    /// Paths noted by a run that did not come to its commit.
    pub(crate) async fn pending(&self) -> Result<Vec<String>, Error> {
        let mut connection = self.connection().await?;
        sqlx::query_scalar("SELECT path FROM pending_file")
            .fetch_all(&mut *connection)
            .await
            .map_err(Error::catalogue("list pending files"))
    }

    /// Forgets pending paths whose files are gone.
    pub(crate) async fn forget_pending(&self, paths: &[String]) -> Result<(), Error> {
        let wrap = || Error::catalogue("forget pending files");
        let mut connection = self.connection().await?;
        let mut tx = connection.begin().await.map_err(wrap())?;
        for path in paths {
            sqlx::query("DELETE FROM pending_file WHERE path = $1")
                .bind(path)
                .execute(&mut *tx)
                .await
                .map_err(wrap())?;
        }
        tx.commit().await.map_err(wrap())
    }

    /// Commits all of `commit` or nothing. Returns the new files as the catalogue knows them.
    pub(crate) async fn commit(&self, commit: &Commit<'_>) -> Result<Vec<DataFile>, Error> {
        let wrap = || Error::catalogue("commit");
        let mut connection = self.connection().await?;
        // Dropping the transaction without a commit rolls everything back.
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(wrap())?;
        if let Some(checkpoint) = commit.checkpoint {
            self.move_watermark(&mut tx, checkpoint, commit.origin).await?;
        }
        deliveries::raise(&mut tx, commit.deliveries, commit.now).await?;
        let snapshot: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM snapshot")
            .fetch_one(&mut *tx)
            .await
            .map_err(wrap())?;
        sqlx::query("INSERT INTO snapshot (id, time, kind, author_node) VALUES ($1, $2, $3, $4)")
            .bind(snapshot)
            .bind(commit.now.0)
            .bind(commit.kind.name())
            .bind(self.node.to_string())
            .execute(&mut *tx)
            .await
            .map_err(wrap())?;
        end_files(&mut tx, commit.ended, snapshot).await?;
        let mut next_id: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM data_file")
            .fetch_one(&mut *tx)
            .await
            .map_err(wrap())?;
        let mut files = Vec::with_capacity(commit.new.len());
        for facts in commit.new {
            let file = DataFile {
                id: next_id,
                commit_order: commit.commit_order.unwrap_or(snapshot),
                begin_snapshot: snapshot,
                end_snapshot: None,
                is_quarantined: false,
                origin: Origin { replaces: Vec::new(), ..commit.origin.clone() },
                facts: facts.clone(),
            };
            insert_file(&mut tx, &file, commit.now).await?;
            sqlx::query("DELETE FROM pending_file WHERE path = $1")
                .bind(&facts.path)
                .execute(&mut *tx)
                .await
                .map_err(wrap())?;
            files.push(file);
            next_id += 1;
        }
        tx.commit().await.map_err(wrap())?;
        Ok(files)
    }

    /// Lets the catalogue grow by `pages` at most, as a full disk would, until it is opened again.
    #[cfg(test)]
    pub(crate) async fn limit_pages(&self, pages: u64) {
        let mut connection = self.connection.lock().await;
        let count: i64 =
            sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *connection).await.unwrap();
        let limit = format!("PRAGMA max_page_count = {}", int(pages) + count);
        sqlx::query(AssertSqlSafe(limit)).execute(&mut *connection).await.unwrap();
    }

    #[cfg(test)]
    pub(crate) async fn set_format_version(&self, version: u64) {
        let mut connection = self.connection.lock().await;
        sqlx::query("UPDATE meta SET value = $1 WHERE key = 'format_version'")
            .bind(version.to_string())
            .execute(&mut *connection)
            .await
            .unwrap();
    }

    async fn move_watermark(
        &self,
        tx: &mut SqliteConnection,
        from: Checkpoint,
        origin: &Origin,
    ) -> Result<(), Error> {
        let node = self.node.to_string();
        let to = Checkpoint { watermark: origin.hi, ..from };
        let moved = sqlx::query(
            "UPDATE wal_checkpoint SET watermark = $1, row_crc = $2 \
             WHERE node = $3 AND shard = $4 AND epoch = $5 AND watermark = $6",
        )
        .bind(int(to.watermark))
        .bind(checkpoint_crc(&node, to))
        .bind(&node)
        .bind(i64::from(from.shard))
        .bind(int(from.epoch))
        .bind(int(from.watermark))
        .execute(tx)
        .await
        .map_err(Error::catalogue("move the watermark"))?;
        if moved.rows_affected() == 1 {
            Ok(())
        } else {
            Err(Error::Fenced { shard: from.shard, expected: from.watermark })
        }
    }

    /// Ended files whose end was committed before `before`.
    pub(crate) async fn dead(&self, before: Timestamp) -> Result<Vec<(i64, String)>, Error> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query(
            "SELECT f.id, f.path FROM data_file f JOIN snapshot s ON s.id = f.end_snapshot WHERE s.time < $1",
        )
        .bind(before.0)
        .fetch_all(&mut *connection)
        .await
        .map_err(Error::catalogue("list dead files"))?;
        rows.iter()
            .map(|row| Ok((row.try_get("id")?, row.try_get("path")?)))
            .collect::<Result<_, sqlx::Error>>()
            .map_err(Error::catalogue("list dead files"))
    }

    /// Forgets files that are deleted, and snapshots nothing refers to.
    pub(crate) async fn bury(&self, ids: &[i64]) -> Result<(), Error> {
        let wrap = || Error::catalogue("forget dead files");
        let mut connection = self.connection().await?;
        let mut tx = connection.begin().await.map_err(wrap())?;
        for id in ids {
            for statement in [
                "DELETE FROM file_metric WHERE file = $1",
                "DELETE FROM file_col_stats WHERE file = $1",
                "DELETE FROM index_file WHERE file = $1",
                "DELETE FROM data_file WHERE id = $1",
            ] {
                sqlx::query(statement).bind(id).execute(&mut *tx).await.map_err(wrap())?;
            }
        }
        sqlx::query(
            "DELETE FROM snapshot WHERE id < (SELECT max(id) FROM snapshot) \
             AND id NOT IN (SELECT begin_snapshot FROM data_file) \
             AND id NOT IN (SELECT end_snapshot FROM data_file WHERE end_snapshot IS NOT NULL)",
        )
        .execute(&mut *tx)
        .await
        .map_err(wrap())?;
        tx.commit().await.map_err(wrap())
    }
}

async fn connect(path: &Path, create: bool) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging()
        .connect()
        .await
}

/// Refuses a directory that has log files or segments but no catalogue: a new one would take nothing of them over.
fn refuse_orphans(dir: &Path, path: &Path) -> Result<(), Error> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > 0 => return Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("open", path)(error));
        }
        Ok(_) | Err(_) => {}
    }
    let mut dirs = vec![dir.join("data"), dir.join("wal")];
    dirs.retain(|dir| dir.is_dir());
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).map_err(Error::io("list", &next))? {
            let found = entry.map_err(Error::io("list", &next))?.path();
            let ends = |extension| found.extension().is_some_and(|ending| ending == extension);
            if found.is_dir() {
                dirs.push(found);
            } else if ends("parquet") || ends("wal") {
                return Err(Error::CatalogueMissing { dir: dir.to_owned(), found });
            }
        }
    }
    Ok(())
}

/// Brings the catalogue to [`FORMAT_VERSION`], one transaction a step, a copy of the file taken before.
async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    now: Timestamp,
) -> Result<(), Error> {
    let wrap = || Error::catalogue("migrate");
    let has_meta: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(wrap())?;
    let mut version = 0;
    if has_meta > 0 {
        let text: String =
            sqlx::query_scalar("SELECT value FROM meta WHERE key = 'format_version'")
                .fetch_one(&mut *connection)
                .await
                .map_err(wrap())?;
        version = text.parse().map_err(|_| Error::CatalogueCorrupt {
            reason: format!("format version is `{text}`"),
        })?;
    }
    if version > FORMAT_VERSION {
        let supported = FORMAT_VERSION;
        return Err(Error::NewerFormat {
            what: "catalogue",
            path: path.to_owned(),
            found: version,
            supported,
        });
    }
    if version > 0 && version < FORMAT_VERSION {
        let copy: PathBuf = path.with_extension(format!("v{version}.sqlite"));
        let statement = format!("VACUUM INTO '{}'", copy.display().to_string().replace('\'', "''"));
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await.map_err(wrap())?;
    }
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    for (i, statements) in MIGRATIONS.iter().enumerate().skip(done) {
        let mut tx = connection.begin().await.map_err(wrap())?;
        for statement in *statements {
            sqlx::query(*statement).execute(&mut *tx).await.map_err(wrap())?;
        }
        let mut pairs = vec![("format_version", (i + 1).to_string())];
        if i == 0 {
            let s = u64::try_from(now.s()).unwrap_or(0);
            let fresh =
                || Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, s, 0)).to_string();
            pairs.extend([("store_uuid", fresh()), ("node", fresh())]);
        }
        for (key, value) in pairs {
            sqlx::query(
                "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )
            .bind(key)
            .bind(value)
            .execute(&mut *tx)
            .await
            .map_err(wrap())?;
        }
        tx.commit().await.map_err(wrap())?;
    }
    Ok(())
}

async fn find_checkpoint(
    connection: &mut SqliteConnection,
    node: &str,
    shard: u32,
) -> Result<Checkpoint, Error> {
    let row = sqlx::query(
        "SELECT epoch, watermark, row_crc FROM wal_checkpoint WHERE node = $1 AND shard = $2",
    )
    .bind(node)
    .bind(i64::from(shard))
    .fetch_optional(connection)
    .await
    .map_err(Error::catalogue("read the watermark"))?;
    match row {
        Some(row) => read_checkpoint(&row, node, shard),
        None => Ok(Checkpoint { shard, epoch: 0, watermark: 0 }),
    }
}

async fn end_files(
    tx: &mut SqliteConnection,
    files: &[DataFile],
    snapshot: i64,
) -> Result<(), Error> {
    for file in files {
        let ended = DataFile { end_snapshot: Some(snapshot), ..file.clone() };
        let changed = sqlx::query(
            "UPDATE data_file SET end_snapshot = $1, row_crc = $2, tier = $3 WHERE id = $4 AND end_snapshot IS NULL",
        )
        .bind(snapshot)
        .bind(file_crc(&ended))
        .bind(tier(ended.is_quarantined))
        .bind(file.id)
        .execute(&mut *tx)
        .await
        .map_err(Error::catalogue("end files"))?;
        if changed.rows_affected() != 1 {
            return Err(Error::Unavailable {
                reason: format!("segment {} is gone already", file.facts.path),
            });
        }
    }
    Ok(())
}

async fn insert_file(
    tx: &mut SqliteConnection,
    file: &DataFile,
    now: Timestamp,
) -> Result<(), Error> {
    let wrap = || Error::catalogue("add segments");
    let facts = &file.facts;
    let tenant = i64::from(facts.tenant.0);
    sqlx::query("INSERT INTO tenant (id, name, limits_json, created) VALUES ($1, $2, '{}', $3) ON CONFLICT DO NOTHING")
        .bind(tenant)
        .bind(tenant.to_string())
        .bind(now.0)
        .execute(&mut *tx)
        .await
        .map_err(wrap())?;
    sqlx::query("INSERT INTO tbl (id, tenant, name, schema_ver) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
        .bind(table_id(facts.tenant, facts.table))
        .bind(tenant)
        .bind(facts.table.name())
        .bind(i64::from(SCHEMA_VERSION))
        .execute(&mut *tx)
        .await
        .map_err(wrap())?;
    let mut insert = sqlx::query(
        "INSERT INTO data_file (id, tbl, path, window_start, window_len, level, tier, rows, bytes, footer_bytes, \
         min_time, max_time, schema_ver, sort_ver, commit_order, retention_class, begin_snapshot, end_snapshot, \
         wal_node, wal_shard, wal_epoch, wal_lo, wal_hi, crc, row_crc) VALUES ($1, $2, $3, $4, $5, $6, 'local', $7, \
         $8, $9, $10, $11, $12, $13, $14, $15, $16, NULL, $17, $18, $19, $20, $21, $22, $23)",
    )
    .bind(file.id)
    .bind(table_id(facts.tenant, facts.table))
    .bind(&facts.path);
    for number in [facts.window.start, facts.window.len, i64::from(facts.level)] {
        insert = insert.bind(number);
    }
    for number in [
        int(facts.rows),
        int(facts.bytes),
        int(facts.footer_bytes),
        facts.min_time.0,
        facts.max_time.0,
    ] {
        insert = insert.bind(number);
    }
    insert
        .bind(i64::from(SCHEMA_VERSION))
        .bind(i64::from(SORT_VERSION))
        .bind(file.commit_order)
        .bind(RETENTION)
        .bind(file.begin_snapshot)
        .bind(&file.origin.node)
        .bind(i64::from(file.origin.shard))
        .bind(int(file.origin.epoch))
        .bind(int(file.origin.lo))
        .bind(int(file.origin.hi))
        .bind(i64::from(facts.crc))
        .bind(file_crc(file))
        .execute(&mut *tx)
        .await
        .map_err(wrap())?;
    insert_stats(tx, file).await
}

async fn insert_stats(tx: &mut SqliteConnection, file: &DataFile) -> Result<(), Error> {
    let wrap = || Error::catalogue("add statistics");
    let facts = &file.facts;
    sqlx::query("INSERT INTO index_file (file, path, bytes, blobs) VALUES ($1, $2, $3, $4)")
        .bind(file.id)
        .bind(sidecar_path(&facts.path))
        .bind(int(facts.sidecar_bytes))
        .bind(puffin::BLOCKS_CRC)
        .execute(&mut *tx)
        .await
        .map_err(wrap())?;
    for metric in facts.metrics.iter() {
        sqlx::query("INSERT INTO file_metric (file, metric) VALUES ($1, $2)")
            .bind(file.id)
            .bind(metric.as_ref())
            .execute(&mut *tx)
            .await
            .map_err(wrap())?;
    }
    let mut stats =
        vec![(columns::TIME, facts.min_time.0.to_string(), facts.max_time.0.to_string())];
    if let (Some(first), Some(last)) = (facts.metrics.first(), facts.metrics.last()) {
        stats.push((columns::METRIC, first.to_string(), last.to_string()));
    }
    if let Some((first, last)) = &facts.services {
        stats.push((columns::SERVICE_NAME, first.clone(), last.clone()));
    }
    for (column, min, max) in stats {
        sqlx::query("INSERT INTO file_col_stats (file, col, min, max) VALUES ($1, $2, $3, $4)")
            .bind(file.id)
            .bind(column)
            .bind(min)
            .bind(max)
            .execute(&mut *tx)
            .await
            .map_err(wrap())?;
    }
    guard::seal(tx, file).await
}

fn table_id(tenant: TenantId, table: Table) -> i64 {
    (i64::from(tenant.0) << 8) | i64::from(table as u8)
}

/// Numbers of ours stay far below 2^63.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn checkpoint_crc(node: &str, checkpoint: Checkpoint) -> i64 {
    let Checkpoint { shard, epoch, watermark } = checkpoint;
    i64::from(crc32c::crc32c(format!("{node}|{shard}|{epoch}|{watermark}").as_bytes()))
}

/// Where the bytes of a file are to be had.
const fn tier(is_quarantined: bool) -> &'static str {
    if is_quarantined { "quarantine" } else { "local" }
}

/// CRC32C of a `data_file` row's other columns as text, joined with `|`; a null is empty.
fn file_crc(file: &DataFile) -> i64 {
    let DataFile { id, commit_order, begin_snapshot, end_snapshot, origin, facts, .. } = file;
    let tier = tier(file.is_quarantined);
    let Origin { node, shard, epoch, lo, hi, .. } = origin;
    let Window { start, len } = facts.window;
    let Facts { path, level, rows, bytes, footer_bytes, min_time, max_time, crc, .. } = facts;
    let tbl = table_id(facts.tenant, facts.table);
    let end = end_snapshot.map_or_else(String::new, |end| end.to_string());
    let (min, max) = (min_time.0, max_time.0);
    let text = format!(
        "{id}|{tbl}|{path}|{start}|{len}|{level}|{tier}|{rows}|{bytes}|{footer_bytes}|{min}|{max}|{SCHEMA_VERSION}|\
         {SORT_VERSION}|{commit_order}|{RETENTION}|{begin_snapshot}|{end}|{node}|{shard}|{epoch}|{lo}|{hi}|{crc}"
    );
    i64::from(crc32c::crc32c(text.as_bytes()))
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::CatalogueCorrupt { reason: what.to_string() }
}

fn read_checkpoint(row: &SqliteRow, node: &str, shard: u32) -> Result<Checkpoint, Error> {
    let number = |name: &str| -> Result<u64, Error> {
        let number: i64 = row.try_get(name).map_err(Error::catalogue("read the watermark"))?;
        u64::try_from(number).map_err(|_| damaged(format!("wal_checkpoint.{name} is {number}")))
    };
    let checkpoint = Checkpoint { shard, epoch: number("epoch")?, watermark: number("watermark")? };
    let crc: i64 = row.try_get("row_crc").map_err(Error::catalogue("read the watermark"))?;
    if crc == checkpoint_crc(node, checkpoint) {
        Ok(checkpoint)
    } else {
        Err(damaged(format!("row of shard {shard} in wal_checkpoint has a bad checksum")))
    }
}

fn read_file(row: &SqliteRow) -> Result<DataFile, Error> {
    let wrap = || Error::catalogue("read a segment's row");
    let int = |name: &str| row.try_get::<i64, _>(name).map_err(wrap());
    let text = |name: &str| row.try_get::<String, _>(name).map_err(wrap());
    let number = |name: &str| {
        let number = int(name)?;
        u64::try_from(number).map_err(|_| damaged(format!("data_file.{name} is {number}")))
    };
    let small = |name: &str| {
        let number = int(name)?;
        u32::try_from(number).map_err(|_| damaged(format!("data_file.{name} is {number}")))
    };
    let table = text("table_name")?;
    let table =
        Table::parse(&table).ok_or_else(|| damaged(format!("table `{table}` is unknown")))?;
    let services: (Option<String>, Option<String>) =
        (row.try_get("service_min").map_err(wrap())?, row.try_get("service_max").map_err(wrap())?);
    let sidecar_bytes: Option<i64> = row.try_get("sidecar_bytes").map_err(wrap())?;
    let facts = Facts {
        table,
        tenant: TenantId(small("tenant")?),
        window: Window { start: int("window_start")?, len: int("window_len")? },
        level: u8::try_from(small("level")?).map_err(damaged)?,
        path: text("path")?,
        rows: number("rows")?,
        bytes: number("bytes")?,
        footer_bytes: number("footer_bytes")?,
        min_time: Timestamp(int("min_time")?),
        max_time: Timestamp(int("max_time")?),
        crc: small("crc")?,
        sidecar_bytes: sidecar_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        metrics: Arc::from([]),
        services: services.0.zip(services.1),
    };
    let origin = Origin {
        node: text("wal_node")?,
        shard: small("wal_shard")?,
        epoch: number("wal_epoch")?,
        lo: number("wal_lo")?,
        hi: number("wal_hi")?,
        replaces: Vec::new(),
    };
    let file = DataFile {
        id: int("id")?,
        commit_order: int("commit_order")?,
        begin_snapshot: int("begin_snapshot")?,
        end_snapshot: row.try_get("end_snapshot").map_err(wrap())?,
        is_quarantined: text("tier")? == tier(true),
        origin,
        facts,
    };
    if int("row_crc")? == file_crc(&file) {
        Ok(file)
    } else {
        Err(damaged(format!("row of segment {} in data_file has a bad checksum", file.facts.path)))
    }
}
