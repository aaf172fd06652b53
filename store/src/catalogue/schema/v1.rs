//! Version 1: segments, snapshots, checkpoints.

/// From nothing to version 1.
pub(super) const STATEMENTS: &[&str] = &[
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE tenant (id BIGINT PRIMARY KEY, name TEXT NOT NULL, limits_json TEXT NOT NULL, created BIGINT NOT NULL)",
    "CREATE TABLE tbl (id BIGINT PRIMARY KEY, tenant BIGINT NOT NULL REFERENCES tenant (id), name TEXT NOT NULL, \
     schema_ver BIGINT NOT NULL)",
    "CREATE TABLE snapshot (id BIGINT PRIMARY KEY, time BIGINT NOT NULL, kind TEXT NOT NULL, author_node TEXT NOT NULL)",
    "CREATE TABLE data_file (id BIGINT PRIMARY KEY, tbl BIGINT NOT NULL REFERENCES tbl (id), path TEXT NOT NULL UNIQUE, \
     window_start BIGINT NOT NULL, window_len BIGINT NOT NULL, level BIGINT NOT NULL, tier TEXT NOT NULL, \
     rows BIGINT NOT NULL, bytes BIGINT NOT NULL, footer_bytes BIGINT NOT NULL, min_time BIGINT NOT NULL, \
     max_time BIGINT NOT NULL, schema_ver BIGINT NOT NULL, sort_ver BIGINT NOT NULL, commit_order BIGINT NOT NULL, \
     retention_class TEXT NOT NULL, begin_snapshot BIGINT NOT NULL, end_snapshot BIGINT, wal_node TEXT NOT NULL, \
     wal_shard BIGINT NOT NULL, wal_epoch BIGINT NOT NULL, wal_lo BIGINT NOT NULL, wal_hi BIGINT NOT NULL, \
     crc BIGINT NOT NULL, row_crc BIGINT NOT NULL)",
    "CREATE INDEX data_file_end ON data_file (end_snapshot)",
    "CREATE TABLE file_col_stats (file BIGINT NOT NULL REFERENCES data_file (id) ON DELETE CASCADE, col TEXT NOT NULL, \
     min TEXT, max TEXT, nulls BIGINT, distinct_count BIGINT, PRIMARY KEY (file, col))",
    "CREATE TABLE file_metric (file BIGINT NOT NULL REFERENCES data_file (id) ON DELETE CASCADE, metric TEXT NOT NULL, \
     PRIMARY KEY (file, metric))",
    "CREATE TABLE index_file (file BIGINT PRIMARY KEY REFERENCES data_file (id) ON DELETE CASCADE, path TEXT NOT NULL, \
     bytes BIGINT NOT NULL, blobs TEXT NOT NULL)",
    "CREATE TABLE wal_checkpoint (node TEXT NOT NULL, shard BIGINT NOT NULL, epoch BIGINT NOT NULL, \
     watermark BIGINT NOT NULL, row_crc BIGINT NOT NULL, PRIMARY KEY (node, shard))",
    "CREATE TABLE pending_file (path TEXT PRIMARY KEY, owner TEXT NOT NULL, created BIGINT NOT NULL)",
];
