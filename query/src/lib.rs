//! The read path: questions to answers, and the only home of DataFusion. Called by `server` and `alert`.
//!
//! [`Engine`] answers SQL, PromQL and searches over one consistent snapshot of the store each. Nothing here writes.

mod catalog;
mod config;
mod engine;
mod error;
mod function;
mod prometheus;
pub mod promql;
mod result;
mod runtime;
mod search;
mod sql;
mod workers;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use engine::{Engine, SqlQuery};
pub use error::{Blame, Error, ErrorKind, Position};
pub use prometheus::{
    Census, InstantQuery, Listed, Metadata, PromAnswer, RangeQuery, SeriesQuery, StoreSource,
    matchers,
};
pub use result::{SqlAnswer, SqlStats};
pub use runtime::Class;
pub use search::{
    Attributes, Host, HostState, LogBucket, LogCursor, LogHistogram, LogPage, LogQuery, LogRow,
    Span, SpanEvent, SpanLink, Trace, TracePage, TraceQuery, TraceSummary,
};
