//! What can go wrong in the store, sorted by what a caller would do about it.

use std::io;
use std::path::PathBuf;

use crate::disk::is_full;

/// SQLite's code for a disk without room.
const SQLITE_FULL: &str = "13";

/// What a caller does about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Fix the request or the configuration.
    Invalid,
    /// Ask for less, or later.
    Exhausted,
    /// Retry later; the store cannot serve now.
    Unavailable,
    /// Page a human: data on disk is not what was written.
    Corrupt,
}

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A batch does not have the schema of its table.
    #[error("batch for table {table} is not valid: {reason}")]
    Batch {
        /// Name of the table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A batch names series by references that no longer hold: resolve them again and repeat it.
    #[error(
        "{count} of the series of a batch were let go after a long silence: resolve them again"
    )]
    StaleSeries {
        /// Number of samples that name such a series.
        count: usize,
    },
    /// A matcher's regular expression does not compile.
    #[error("regular expression of label {label} is not valid: {reason}")]
    Regex {
        /// Label the matcher is about.
        label: String,
        /// The compiler's words.
        reason: String,
    },
    /// Whoever asked for a scan ended it.
    #[error("the scan was ended by who asked for it")]
    Stopped,
    /// A data directory cannot be made anew.
    #[error("data directory {} cannot be made anew: {reason}", dir.display())]
    Restore {
        /// The data directory.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// A folder cannot take backups.
    #[error("backups cannot be kept in {}: {reason}", dir.display())]
    BackupFolder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// A delete makes no sense.
    #[error("the delete is not valid: {reason}")]
    Delete {
        /// Why.
        reason: String,
    },
    /// A setting makes no sense.
    #[error("setting {name} is not valid: {reason}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// Another process owns the data directory.
    #[error("data directory {} is in use by another process{}: stop it, or choose another directory", dir.display(), owner(pid))]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Process id of the owner, when known.
        pid: Option<u32>,
    },
    /// The data directory cannot be written.
    #[error("data directory {} cannot be used: {source}", dir.display())]
    Directory {
        /// The data directory.
        dir: PathBuf,
        /// Reason given by the system.
        source: io::Error,
    },
    /// The data was written by a newer release.
    #[error("{what} in {} has format version {found}, this release reads up to version {supported}: run a newer release", path.display())]
    NewerFormat {
        /// What was found: catalogue or log file.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Version found.
        found: u64,
        /// Newest version this release reads.
        supported: u64,
    },
    /// A limit is reached; the message names it.
    #[error("{what} is full: {used} of {limit} used")]
    Full {
        /// The limit: series registry, head, log queue or a share of the memory.
        what: &'static str,
        /// In use now, in the limit's unit.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// A batch can never be taken: it needs more of the log than one batch may.
    #[error("the batch needs {bytes} bytes of the log, {limit} are the most: send smaller batches")]
    BatchSize {
        /// Bytes of its log records.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The disk has no room.
    #[error("disk of {} is full: free some space, ingest then goes on by itself", dir.display())]
    DiskFull {
        /// Where there is no room.
        dir: PathBuf,
    },
    /// A query would read more than its limit.
    #[error("scan reads more than {limit} {what}: narrow the range or the selector")]
    ScanLimit {
        /// What is counted: samples, series or bytes.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The store is shut down or its log is poisoned.
    #[error("store is not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// Reading or writing a file failed.
    #[error("{action} {} failed: {source}", path.display())]
    Io {
        /// What was tried, as `write`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Reason given by the system.
        source: io::Error,
    },
    /// There are log files or segments, but no catalogue that says which of them count.
    #[error("data directory {} has no catalogue.sqlite, but segments or log files, as {}: make a new one with `headrope store rebuild`, restore a backup, or choose an empty directory", dir.display(), found.display())]
    CatalogueMissing {
        /// The data directory.
        dir: PathBuf,
        /// A file that the catalogue should know.
        found: PathBuf,
    },
    /// The catalogue's file cannot be opened.
    #[error("catalogue {} cannot be opened: {source}; if the file is damaged, restore it from a backup", path.display())]
    CatalogueUnreadable {
        /// The file.
        path: PathBuf,
        /// Reason given by the database.
        source: sqlx::Error,
    },
    /// The catalogue refused a statement.
    #[error("catalogue failed to {action}: {source}")]
    Catalogue {
        /// What was tried.
        action: &'static str,
        /// Reason given by the database.
        source: sqlx::Error,
    },
    /// Another owner moved the watermark.
    #[error(
        "watermark of shard {shard} is not {expected} any more: another owner writes to this store"
    )]
    Fenced {
        /// The shard.
        shard: u32,
        /// Watermark this owner expected.
        expected: u64,
    },
    /// Acknowledged records of the log are damaged.
    #[error("log file {} is damaged at byte {offset}: records from sequence {first_seq} up to {last_seq} were acknowledged but cannot be read; start with wal repair to quarantine the file and keep every other record", path.display())]
    WalDamaged {
        /// The log file.
        path: PathBuf,
        /// Where the first bad record begins.
        offset: u64,
        /// First sequence lost.
        first_seq: u64,
        /// Last sequence lost.
        last_seq: u64,
    },
    /// The log does not reach back to the catalogue's watermark.
    #[error("log in {} begins at sequence {first_seq} but the catalogue ends at {watermark}: the catalogue is older than the log, rebuild it", dir.display())]
    WalGap {
        /// Directory of the log.
        dir: PathBuf,
        /// First sequence found.
        first_seq: u64,
        /// Last sequence in segments.
        watermark: u64,
    },
    /// Bytes on disk are not what was written.
    #[error("{} is corrupt at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// How it shows.
        reason: String,
    },
    /// A segment that defines series, resources or bounds cannot be read: answers would lack what it names.
    #[error("{} cannot be read at byte {offset}: {reason}; it names series that nothing else does: restore it from a backup, or move it into {} to start without it, its series then answer nothing", path.display(), quarantine.display())]
    Definitions {
        /// The segment.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// How it shows.
        reason: String,
        /// Where to move it.
        quarantine: PathBuf,
    },
    /// Rows of the catalogue are not what was written.
    #[error("catalogue is corrupt: {reason}")]
    CatalogueCorrupt {
        /// How it shows.
        reason: String,
    },
    /// A column could not be built, encoded or decoded.
    #[error("{context}: {source}")]
    Arrow {
        /// What was being done.
        context: &'static str,
        /// Arrow's words.
        source: arrow::error::ArrowError,
    },
    /// A segment could not be encoded.
    #[error("{context}: {source}")]
    Parquet {
        /// What was being done.
        context: &'static str,
        /// Parquet's words.
        source: parquet::errors::ParquetError,
    },
}

fn owner(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

impl Error {
    /// What a caller does about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Batch { .. }
            | Self::BatchSize { .. }
            | Self::Regex { .. }
            | Self::Delete { .. }
            | Self::Restore { .. }
            | Self::BackupFolder { .. }
            | Self::Setting { .. }
            | Self::NewerFormat { .. } => ErrorKind::Invalid,
            Self::Full { .. } | Self::ScanLimit { .. } => ErrorKind::Exhausted,
            Self::Locked { .. }
            | Self::Directory { .. }
            | Self::DiskFull { .. }
            | Self::Unavailable { .. }
            | Self::StaleSeries { .. }
            | Self::Stopped
            | Self::Io { .. }
            | Self::Catalogue { .. }
            | Self::CatalogueUnreadable { .. }
            | Self::Fenced { .. }
            | Self::Arrow { .. }
            | Self::Parquet { .. } => ErrorKind::Unavailable,
            Self::WalDamaged { .. }
            | Self::WalGap { .. }
            | Self::Corrupt { .. }
            | Self::Definitions { .. }
            | Self::CatalogueMissing { .. }
            | Self::CatalogueCorrupt { .. } => ErrorKind::Corrupt,
        }
    }

    /// Whether it is for want of room on the disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Io { source, .. } => is_full(source),
            Self::Catalogue { source, .. } => source
                .as_database_error()
                .and_then(|error| error.code())
                .is_some_and(|code| code == SQLITE_FULL),
            _ => false,
        }
    }

    /// Wraps a system error with what was tried on which file.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Wraps an Arrow error.
    pub(crate) fn arrow(context: &'static str) -> impl FnOnce(arrow::error::ArrowError) -> Self {
        move |source| Self::Arrow { context, source }
    }

    /// Wraps a Parquet error.
    pub(crate) fn parquet(
        context: &'static str,
    ) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        move |source| Self::Parquet { context, source }
    }

    /// Wraps a database error.
    pub(crate) fn catalogue(action: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Catalogue { action, source }
    }
}
