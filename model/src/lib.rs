//! The nouns of Headrope, shared by every crate: no I/O, no async, no serde, no dependencies.
//!
//! Types that cross a wire or reach a disk are converted at that boundary, in the crate that owns it.

pub mod alert;
pub mod attribute;
pub mod id;
pub mod matcher;
pub mod metric;
pub mod regexp;
pub mod semconv;
pub mod time;
