//! The evaluator: a checked expression, a source and times in; an answer with annotations out.
//!
//! Synchronous and without I/O of its own. The owner runs it on a blocking pool and stops it through [`Stop`].

mod aggregate;
mod binary;
mod binary_set;
mod call;
mod classic;
mod column;
mod dates;
mod explain;
mod extended;
mod info;
mod instant;
mod label_functions;
mod matching;
mod native;
mod over_time;
mod plan;
mod rate;
mod select;
mod steady;
mod subquery;
mod tally;
mod topk;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::annotate::Annotations;
use super::ast::{Expr, ValueType};
use super::duration::QueryTimes;
use super::place::ParseError;
use super::source::{SeriesSource, SourceError};
use super::value::{Reading, Sample, SeriesValues, Value};
use crate::runtime::QueryMemory;
use column::{Cell, Column, Grid, drop_names, sort_by_labels};
pub use explain::Explained;
use explain::Profile;
pub use steady::{Reach, reach};
pub use tally::StepSamples;
use tally::Tally;

/// Steps a range query may have.
pub const STEPS_MAX: i64 = 11_000;
/// Annotations of one kind in an answer.
const ANNOTATIONS_MAX: usize = 10;

/// A parsed and checked query with its text, which annotations point into.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expr: Expr,
}

impl Query {
    /// Reads and checks `text`.
    ///
    /// # Errors
    /// What is not PromQL.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { text: text.to_owned(), expr: super::parse(text)? })
    }

    /// The text as given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The checked tree.
    #[must_use]
    pub const fn expr(&self) -> &Expr {
        &self.expr
    }
}

/// How an evaluation is ended from outside.
#[derive(Debug, Default)]
pub struct Stop(AtomicU8);

impl Stop {
    /// The client has gone.
    pub fn cancel(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// The deadline has passed.
    pub fn time_out(&self) {
        self.0.store(2, Ordering::Relaxed);
    }

    /// Whether the evaluation is to end.
    pub(crate) fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Why the evaluation is to end, if it is.
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            1 => Err(EvalError::Canceled),
            _ => Err(EvalError::Timeout),
        }
    }
}

/// How far an evaluation has come, for others to look at.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    fn add(&self, samples: u64) {
        self.0.fetch_add(samples, Ordering::Relaxed);
    }

    /// Samples read so far.
    pub fn samples(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Memory that a step of a series takes.
pub(crate) const CELL_BYTES: usize = size_of::<Cell>();

/// What steers an evaluation.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// How old the newest sample of an instant selector may be, ms.
    pub lookback_ms: i64,
    /// Whether metric names are dropped at the end of the query instead of at each node.
    pub delayed_name_removal: bool,
    /// Whether counter functions use start timestamps.
    pub use_start_timestamps: bool,
    /// Step of subqueries that name none, ms.
    pub subquery_step_ms: i64,
    /// Samples held at one time.
    pub max_samples: usize,
    /// Steps of all series one node may give, those without a sample included: each takes memory.
    pub max_cells: usize,
    /// Series one selector may return.
    pub max_series: usize,
    /// Whether samples are counted step by step.
    pub per_step_stats: bool,
    /// Where samples read so far are shown to others.
    pub progress: Arc<Progress>,
    /// Ends the evaluation from outside.
    pub stop: Arc<Stop>,
    /// Whether the answer says what each node cost.
    pub explain: bool,
    /// Whose memory it is; `None` counts nowhere.
    pub(crate) memory: Option<Arc<QueryMemory>>,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 300_000,
            delayed_name_removal: false,
            use_start_timestamps: true,
            subquery_step_ms: 60_000,
            max_samples: 50_000_000,
            max_cells: 100_000_000,
            max_series: 1_000_000,
            per_step_stats: false,
            progress: Arc::default(),
            stop: Arc::default(),
            explain: false,
            memory: None,
        }
    }
}

/// Why there is no answer; the HTTP status follows from the variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The parameters make no sense.
    #[error("{0}")]
    BadData(String),
    /// Raised while evaluating, limits included.
    #[error("{0}")]
    Execution(String),
    /// The deadline passed.
    #[error("query timed out in query execution")]
    Timeout,
    /// The client has gone.
    #[error("query was canceled in query execution")]
    Canceled,
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What an evaluation cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvalStats {
    /// Series read from the source.
    pub series: u64,
    /// Samples read from the source.
    pub samples: u64,
    /// Most samples held at one time.
    pub samples_peak: u64,
    /// Samples looked at, those of overlapping windows each time.
    pub samples_queryable: u64,
    /// Samples looked at for the first time by their selector.
    pub samples_first: u64,
    /// Steps that were not evaluated because their answer was kept from before.
    pub steps_kept: u64,
    /// Time spent sorting the result.
    pub sort_time: Duration,
}

/// How long the parts of a query took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Waiting for a free place.
    pub queue: Duration,
    /// Parsing, and opening the store.
    pub prepare: Duration,
    /// Evaluating, sorting included.
    pub eval: Duration,
    /// All of it.
    pub total: Duration,
}

/// A value with what was noticed on the way.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// Rendered warnings, at most 10 and a line that counts the rest.
    pub warnings: Vec<String>,
    /// Rendered infos, likewise.
    pub infos: Vec<String>,
    /// Its cost.
    pub stats: EvalStats,
    /// The cost of each node, where that was asked for.
    pub explained: Option<Explained>,
    /// Samples of each step, oldest first; empty unless asked for.
    pub per_step: Vec<(i64, StepSamples)>,
    /// How long its parts took; zero where nobody measured.
    pub timings: Timings,
}

/// Evaluates at one time, ms since the epoch.
///
/// # Errors
/// What evaluation raises; see [`EvalError`].
pub fn instant(
    source: &dyn SeriesSource,
    query: &Query,
    at_ms: i64,
    options: &EvalOptions,
) -> Result<Answer, EvalError> {
    let times = QueryTimes { start_ms: at_ms, end_ms: at_ms, step_ms: 0 };
    let expr = plan::prepare(query, times)?;
    let grid = Grid { start: at_ms, step: 1, len: 1 };
    let mut evaluator = Evaluator::new(source, options, (times, grid));
    let value = match expr.value_type() {
        ValueType::Scalar => {
            let value = evaluator.scalar(&expr, grid)?.first().copied().unwrap_or(f64::NAN);
            Value::Scalar { t_ms: at_ms, value }
        }
        ValueType::String => Value::String { t_ms: at_ms, value: call::string(&expr) },
        ValueType::Matrix => Value::Matrix(evaluator.bare_range(&expr, grid)?),
        ValueType::Vector => {
            let columns = evaluator.vector(&expr, grid)?;
            Value::Vector(samples(drop_names(columns)?, at_ms))
        }
    };
    Ok(evaluator.answer(value, query, grid))
}

/// Evaluates at `start_ms`, then every `step_ms` up to `end_ms`.
///
/// # Errors
/// What evaluation raises, and times that make no sense; see [`EvalError`].
pub fn range(
    source: &dyn SeriesSource,
    query: &Query,
    times: QueryTimes,
    options: &EvalOptions,
) -> Result<Answer, EvalError> {
    let QueryTimes { start_ms, end_ms, step_ms } = times;
    if end_ms < start_ms {
        return Err(EvalError::BadData("end timestamp must not be before start time".to_owned()));
    }
    if step_ms <= 0 {
        let text = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(EvalError::BadData(text.to_owned()));
    }
    let steps = end_ms.saturating_sub(start_ms) / step_ms;
    if steps > STEPS_MAX {
        let text = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(EvalError::BadData(text.to_owned()));
    }
    let len = usize::try_from(steps).unwrap_or(0) + 1;
    let grid = Grid { start: start_ms, step: step_ms, len };
    let found = query.expr.value_type();
    if !matches!(found, ValueType::Scalar | ValueType::Vector) {
        return Err(EvalError::BadData(format!(
            "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
            found.phrase()
        )));
    }
    let expr = plan::prepare(query, times)?;
    let mut evaluator = Evaluator::new(source, options, (times, grid));
    let columns = if found == ValueType::Scalar {
        let cells = evaluator.scalar(&expr, grid)?.into_iter().map(Cell::Float).collect();
        vec![Column { labels: super::labels::Labels::empty(), drop_name: false, cells }]
    } else {
        drop_names(evaluator.vector(&expr, grid)?)?
    };
    let sorting = tokio::time::Instant::now();
    let columns = sort_by_labels(columns);
    evaluator.stats.sort_time = sorting.elapsed();
    let matrix = columns.into_iter().filter_map(|column| series(column, grid)).collect();
    Ok(evaluator.answer(Value::Matrix(matrix), query, grid))
}

fn samples(columns: Vec<Column>, t_ms: i64) -> Vec<Sample> {
    let sample = |mut column: Column| {
        let reading = match column.cells.pop()? {
            Cell::None => return None,
            Cell::Float(value) => Reading::Float(value),
            Cell::Histogram(histogram) => Reading::Histogram(histogram),
        };
        Some(Sample { labels: column.labels, t_ms, reading })
    };
    columns.into_iter().filter_map(sample).collect()
}

fn series(column: Column, grid: Grid) -> Option<SeriesValues> {
    let mut out = SeriesValues { labels: column.labels, ..SeriesValues::default() };
    for (i, cell) in column.cells.into_iter().enumerate() {
        match cell {
            Cell::None => {}
            Cell::Float(value) => out.floats.push((grid.time(i), value)),
            Cell::Histogram(histogram) => out.histograms.push((grid.time(i), histogram)),
        }
    }
    (!out.floats.is_empty() || !out.histograms.is_empty()).then_some(out)
}

/// One evaluation on its way.
struct Evaluator<'a> {
    source: &'a dyn SeriesSource,
    options: &'a EvalOptions,
    /// The whole query's times, whatever subquery is being evaluated.
    times: QueryTimes,
    annotations: Annotations,
    stats: EvalStats,
    /// Samples held now.
    held: usize,
    profile: Option<Profile>,
    tally: Tally,
}

impl<'a> Evaluator<'a> {
    fn new(
        source: &'a dyn SeriesSource,
        options: &'a EvalOptions,
        (times, grid): (QueryTimes, Grid),
    ) -> Self {
        Self {
            source,
            options,
            times,
            annotations: Annotations::default(),
            stats: EvalStats::default(),
            held: 0,
            profile: options.explain.then(Profile::new),
            tally: Tally::new(grid.len, options.per_step_stats),
        }
    }

    /// One that works on some series of a selector, beside others.
    fn part(&self) -> Self {
        Self {
            annotations: Annotations::default(),
            stats: EvalStats::default(),
            profile: None,
            tally: self.tally.part(),
            ..*self
        }
    }

    /// Takes in what a part found.
    fn join(&mut self, part: Self) {
        self.annotations.join(part.annotations);
        self.stats.series += part.stats.series;
        self.stats.samples += part.stats.samples;
        self.stats.samples_peak = self.stats.samples_peak.max(part.stats.samples_peak);
        self.tally.join(&part.tally);
    }

    fn answer(self, value: Value, query: &Query, grid: Grid) -> Answer {
        let (warnings, infos) = self.annotations.render(&query.text);
        let total = self.tally.total();
        let stats = EvalStats {
            samples_queryable: total.queryable,
            samples_first: total.read,
            ..self.stats
        };
        Answer {
            value,
            warnings: bounded(warnings, "warning"),
            infos: bounded(infos, "info"),
            stats,
            per_step: grid.times().zip(self.tally.into_steps()).collect(),
            timings: Timings::default(),
            explained: self.profile.and_then(Profile::finish),
        }
    }

    /// Accounts for `more` samples on top of those held.
    fn hold(&mut self, more: usize) -> Result<(), EvalError> {
        let held = self.held + more;
        self.stats.samples_peak = self.stats.samples_peak.max(held as u64);
        if held > self.options.max_samples { Err(too_many_samples()) } else { Ok(()) }
    }

    /// Refuses columns whose cells, empty ones included, would take too much memory. Asked before they are made.
    fn room(&self, n_columns: usize, grid: Grid) -> Result<(), EvalError> {
        let cells = n_columns.saturating_mul(grid.len);
        if cells > self.options.max_cells {
            return Err(too_many_samples());
        }
        // The columns of a node and of what it is made of are there together.
        let bytes = (cells as u64).saturating_mul(2 * CELL_BYTES as u64);
        self.take(|memory| memory.grow_to(bytes))
    }

    /// Asks for memory, where it counts.
    fn take(
        &self,
        more: impl Fn(&QueryMemory) -> Result<(), store::Error>,
    ) -> Result<(), EvalError> {
        let refused = |error: store::Error| SourceError::Exhausted(error.to_string());
        Ok(self.options.memory.iter().try_for_each(|memory| more(memory)).map_err(refused)?)
    }

    /// Evaluates a vector expression at every step of `grid`.
    fn vector(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<Column>, EvalError> {
        self.options.stop.check()?;
        let expr = expr.bare();
        let held = self.held;
        let begun = self.begin(expr, grid);
        let is_once = grid.len > 1 && plan::is_step_invariant(expr);
        let columns = if is_once {
            let once = Grid { len: 1, ..grid };
            let before = self.tally.total();
            let columns = self.vector_once(expr, once)?;
            self.tally.repeat_since(before, grid.len);
            self.room(columns.len(), grid)?;
            columns.into_iter().map(|column| column.repeated(grid.len)).collect()
        } else {
            self.vector_once(expr, grid)?
        };
        self.end(begun, if is_once { 1 } else { grid.len }, &columns);
        self.held = held;
        let samples = columns.iter().map(Column::samples).sum();
        self.hold(samples)?;
        self.held = held + samples;
        Ok(columns)
    }

    fn vector_once(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<Column>, EvalError> {
        match expr {
            Expr::Vector(selector) => self.instant_selector(selector, grid),
            Expr::Call(call) => self.call(call, grid),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, grid),
            Expr::Binary(binary) => self.binary(binary, grid),
            Expr::Unary(unary) => self.unary(unary, grid),
            Expr::Paren(inner, _) => self.vector(inner, grid),
            Expr::Number(_) | Expr::String(_) | Expr::Matrix(_) | Expr::Subquery(_) => {
                Err(execution("the expression is not an instant vector"))
            }
        }
    }
}

/// The first of `texts`, and a line that counts the rest.
fn bounded(mut texts: Vec<String>, kind: &str) -> Vec<String> {
    if let Some(more) = texts.len().checked_sub(ANNOTATIONS_MAX).filter(|more| *more > 0) {
        texts.truncate(ANNOTATIONS_MAX);
        texts.push(format!("{more} more {kind} annotations omitted"));
    }
    texts
}

/// Prometheus' own sentence: clients know it.
pub(crate) const TOO_MANY_SAMPLES: &str =
    "query processing would load too many samples into memory in query execution";

fn too_many_samples() -> EvalError {
    execution(TOO_MANY_SAMPLES)
}

fn execution(text: impl Into<String>) -> EvalError {
    EvalError::Execution(text.into())
}
