//! Tests of reading the log back.
