//! The log: what was acknowledged is here until it is in segments. Layout in `docs/format/wal.md`.
//!
//! One thread writes: it takes what requests have queued, writes it with one call, syncs once, and only then applies
//! it to the head and acknowledges it. Requests encode their records themselves.

pub(crate) mod payload;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod samples;
pub(crate) mod writer;
