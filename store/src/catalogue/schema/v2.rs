//! Version 2: deletes, how far numbered streams have come, and a checksum of what other tables say of a segment.

/// From version 1 to version 2.
pub(super) const STATEMENTS: &[&str] = &[
    "CREATE TABLE agent_seq (agent TEXT NOT NULL, epoch BIGINT NOT NULL, seq BIGINT NOT NULL, \
     seen BIGINT NOT NULL, row_crc BIGINT NOT NULL, PRIMARY KEY (agent, epoch))",
    "ALTER TABLE data_file ADD COLUMN stats_crc BIGINT",
    "CREATE TABLE delete_marker (id BIGINT PRIMARY KEY, tenant BIGINT NOT NULL, kind TEXT NOT NULL, matchers TEXT NOT NULL, \
     from_time BIGINT NOT NULL, to_time BIGINT NOT NULL, wal_seq BIGINT NOT NULL, requested_by TEXT NOT NULL, \
     created BIGINT NOT NULL, deadline BIGINT NOT NULL, done BIGINT, row_crc BIGINT NOT NULL)",
];
