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
mod running;
mod runtime;
mod search;
mod sql;
mod workers;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use engine::{Engine, QueryLog, SqlQuery};
pub use error::{Blame, Error, ErrorKind, Position};
pub use prometheus::{
    Census, CompiledSet, Exemplar, ExemplarQuery, Exemplars, Families, Holding, InstantQuery,
    Listed, Metadata, NewestQuery, PromAnswer, RangeQuery, RawQuery, SeriesExemplars, SeriesQuery,
    StoreSource, matchers,
};
pub use result::{SqlAnswer, SqlStats};
pub use running::{AskedTimes, FinishedQuery, MetricUse, Origin, RunningQuery};
pub use runtime::Class;
pub use search::{
    Attributes, CountQuery, Counted, Host, HostState, LogBucket, LogCursor, LogHistogram, LogPage,
    LogQuery, LogRow, Order, Ranking, Resemblance, Span, SpanEvent, SpanLink, Trace, TracePage,
    TraceQuery, TraceSummary, VectorRow, Wish, check_search, check_sql, rank,
};
