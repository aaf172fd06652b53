//! PromQL: the language and its evaluator. Rules, the HTTP API and the tests all come through here.
//!
//! Knows nothing of the store, of DataFusion or of HTTP: samples come from a [`source::SeriesSource`].

mod annotate;
pub mod ast;
mod check;
pub mod duration;
pub mod eval;
pub mod functions;
pub mod histogram;
pub mod inputs;
pub mod labels;
mod lex;
pub mod matchers;
pub mod number;
mod parse;
pub mod place;
pub mod print;
pub mod series_desc;
pub mod source;
pub mod testlang;
mod value;

#[cfg(test)]
mod tests;

pub use ast::Expr;
pub(crate) use eval::CELL_BYTES;
pub(crate) use eval::TOO_MANY_SAMPLES;
pub use eval::{
    Answer, EvalError, EvalOptions, EvalStats, Explained, Progress, Query, Reach, StepSamples,
    Stop, Timings, instant, range, reach,
};
pub use labels::Labels;
pub use parse::{QUERY_BYTES_MAX, parse, parse_syntax};
pub use place::{ParseError, Place};
pub use value::{Reading, Sample, SeriesValues, Value};
