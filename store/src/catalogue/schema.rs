//! Tables of the catalogue and its numbered migrations (`docs/format/catalogue.md`), one file a version.
//!
//! Until a version is released, what it needs is added to its file.

mod v1;
mod v2;

/// Version this release writes and the newest it reads.
pub(crate) const FORMAT_VERSION: u64 = 2;

/// Statements that lead from version `i` to `i + 1`; each group runs in one transaction.
#[expect(clippy::cast_possible_truncation, reason = "a version is a small number")]
pub(crate) const MIGRATIONS: [&[&str]; FORMAT_VERSION as usize] = [v1::STATEMENTS, v2::STATEMENTS];
