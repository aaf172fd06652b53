//! PromQL over the store: the questions of Prometheus' HTTP API, each over one snapshot, on blocking threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use model::matcher::Matcher;
use model::time::TimeRange;
use tokio::time::Instant;

use crate::catalog::View;
use crate::engine::Engine;
use crate::error::{Error, Position};
use crate::promql::duration::QueryTimes;
use crate::promql::source::SourceError;
use crate::promql::{self, EvalError, EvalOptions, EvalStats, Labels, Stop, Timings};
use crate::running::{AskedTimes, FinishedQuery, Origin, Ticket};
use crate::runtime::{self, Class};

mod apart;
mod census;
mod cut;
mod exemplars;
mod kept;
mod raw;
mod rolled;
mod source;
mod twins;
mod virtual_series;

use apart::Account;

pub use apart::{CompiledSet, Holding};
pub use census::Census;
pub use exemplars::{Exemplar, ExemplarQuery, Exemplars, SeriesExemplars};
pub use raw::{NewestQuery, RawQuery};
pub use source::StoreSource;

/// The answer to a PromQL query.
pub type PromAnswer = promql::Answer;

/// A question about one instant.
#[derive(Clone, Debug, Default)]
pub struct InstantQuery {
    /// PromQL.
    pub expr: String,
    /// When, ms since the epoch.
    pub at_ms: i64,
    /// How far back the newest sample may lie; unset: as configured.
    pub lookback_ms: Option<i64>,
    /// Time the query may take, at most as configured; unset: as configured.
    pub timeout: Option<Duration>,
    /// Most series in the answer; the rest is cut with a warning. 0 and unset mean all.
    pub limit: Option<usize>,
    /// Whose memory it takes.
    pub class: Class,
    /// Whether the answer says what each node of the expression cost.
    pub explain: bool,
    /// Who asks.
    pub origin: Origin,
    /// Whether samples are counted step by step.
    pub per_step_stats: bool,
}

/// A question about a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct RangeQuery {
    /// PromQL.
    pub expr: String,
    /// First step, ms since the epoch.
    pub start_ms: i64,
    /// The last step is not after this, ms since the epoch.
    pub end_ms: i64,
    /// Distance of steps, ms.
    pub step_ms: i64,
    /// How far back the newest sample may lie; unset: as configured.
    pub lookback_ms: Option<i64>,
    /// Time the query may take, at most as configured; unset: as configured.
    pub timeout: Option<Duration>,
    /// Most series in the answer; the rest is cut with a warning. 0 and unset mean all.
    pub limit: Option<usize>,
    /// Whether the answer says what each node of the expression cost.
    pub explain: bool,
    /// Who asks.
    pub origin: Origin,
    /// Whether samples are counted step by step.
    pub per_step_stats: bool,
    /// Whether every step is evaluated, whatever is kept from before.
    pub no_cache: bool,
}

/// What both questions say besides their times.
struct Asked {
    expr: String,
    lookback_ms: Option<i64>,
    timeout: Option<Duration>,
    limit: Option<usize>,
    class: Class,
    explain: bool,
    origin: Origin,
    per_step_stats: bool,
    times: AskedTimes,
}

/// A question about series, not samples: every set of matchers selects, the answer is their union.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    /// Sets of matchers; none at all selects every series.
    pub matchers: Vec<Vec<Matcher>>,
    /// Series that ended before it are left out, where that is known.
    pub range: TimeRange,
    /// Most items in the answer; 0 means all.
    pub limit: usize,
}

/// What a metadata or series question gives.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The items, sorted.
    pub items: Vec<T>,
    /// Whether the limit cut some off.
    pub truncated: bool,
    /// Their memory and that of their text in an answer.
    pub memory: Holding,
}

/// What is known of metric families, by Prometheus name.
#[derive(Clone, Debug)]
pub struct Families {
    /// Entries that differ, of each.
    pub by_name: BTreeMap<String, BTreeSet<Metadata>>,
    /// Their memory and that of their text in an answer.
    pub memory: Holding,
}

/// What is known about one metric family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata {
    /// Prometheus' word: counter, gauge, histogram, summary or unknown.
    pub kind: &'static str,
    /// Description.
    pub help: String,
    /// Unit.
    pub unit: String,
}

impl Engine {
    /// Evaluates an expression at one instant.
    ///
    /// # Errors
    /// `Invalid` for what is not PromQL, `Execution` for what cannot be evaluated, `Exhausted`, `Timeout`.
    pub fn instant(&self, query: InstantQuery) -> BoxFuture<'_, Result<PromAnswer, Error>> {
        let at_ms = query.at_ms;
        let asked = Asked {
            expr: query.expr,
            lookback_ms: query.lookback_ms,
            timeout: query.timeout,
            limit: query.limit,
            class: query.class,
            origin: if query.class == Class::Rule { Origin::Rule } else { query.origin },
            per_step_stats: query.per_step_stats,
            explain: query.explain,
            times: AskedTimes { start_ms: at_ms, end_ms: at_ms, step_ms: 0 },
        };
        self.evaluate(asked, move |source, query, options| {
            promql::instant(source, query, at_ms, options)
        })
    }

    /// Evaluates an expression at every step of a stretch of time.
    ///
    /// # Errors
    /// As [`Self::instant`], and `Invalid` for times that make no sense.
    pub fn range(&self, query: RangeQuery) -> BoxFuture<'_, Result<PromAnswer, Error>> {
        let RangeQuery { start_ms, end_ms, step_ms, no_cache, .. } = query;
        let owner = self.number;
        let asked = Asked {
            expr: query.expr,
            lookback_ms: query.lookback_ms,
            timeout: query.timeout,
            limit: query.limit,
            class: Class::Interactive,
            origin: query.origin,
            per_step_stats: query.per_step_stats,
            explain: query.explain,
            times: AskedTimes { start_ms, end_ms, step_ms },
        };
        let times = QueryTimes { start_ms, end_ms, step_ms };
        self.evaluate(asked, move |source, query, options| match no_cache {
            true => promql::range(source, query, times, options),
            false => kept::range(source, query, times, (options, owner)),
        })
    }

    /// What `evaluation` makes of the expression over one snapshot.
    fn evaluate(
        &self,
        asked: Asked,
        evaluation: impl Fn(&StoreSource, &promql::Query, &EvalOptions) -> Result<PromAnswer, EvalError>
        + Copy
        + Send
        + Sync
        + 'static,
    ) -> BoxFuture<'_, Result<PromAnswer, Error>> {
        let longest = match asked.class {
            Class::Interactive => self.config.timeout,
            Class::Rule => Duration::MAX,
        };
        let time = asked.timeout.unwrap_or(self.config.timeout).min(longest);
        Box::pin(async move {
            let asking = Instant::now();
            let ticket = self.running.enter("promql", &asked.expr, asked.origin.clone());
            let work = self.sound(|view| self.attempt(&asked, view, (time, &ticket), evaluation));
            let mut logged = Logged { engine: self, asked: Some(&asked), asking };
            let answer = Self::until_cancelled(&ticket, work).await;
            let answer = answer.map(|answer| {
                let timings = Timings { total: asking.elapsed(), ..answer.timings };
                PromAnswer { timings, ..answer }
            });
            logged.told(&answer);
            answer
        })
    }

    /// One evaluation over `view`.
    fn attempt(
        &self,
        asked: &Asked,
        view: Arc<View>,
        (time, ticket): (Duration, &Ticket),
        evaluation: impl Fn(&StoreSource, &promql::Query, &EvalOptions) -> Result<PromAnswer, EvalError>
        + Send
        + 'static,
    ) -> impl Future<Output = Result<PromAnswer, Error>> {
        let memory = self.memory(asked.class);
        let (expr, limit, text_max) = (asked.expr.clone(), asked.limit, self.config.text_bytes_max);
        let experimental = self.config.experimental_functions;
        let mut options = self.options(asked.lookback_ms);
        options.per_step_stats = asked.per_step_stats;
        options.explain = asked.explain;
        options.progress = ticket.progress();
        let (ticket, running) = (ticket.clone(), Arc::clone(&self.running));
        let waiting = Instant::now();
        self.workers.run_blocking(time, move |stop| {
            let begun = Instant::now();
            options.stop = stop.clone();
            let memory = memory?;
            ticket.holds(&memory);
            options.memory = Some(Arc::clone(&memory));
            let query = parse(&expr, text_max)?;
            refuse_experimental(&query, experimental)?;
            running.count(query.expr());
            let source = StoreSource::new(view.clone(), options.max_samples, &memory).until(stop);
            let prepared = Instant::now();
            let answer = evaluation(&source, &query, &options);
            // A scan that was ended cannot say why.
            let answer = answer.map_err(|error| stop.check().err().unwrap_or(error));
            let mut answer = cut_series(answer.map_err(|error| eval_error(error, time))?, limit);
            answer.warnings.extend(view.warnings());
            answer.timings = Timings {
                queue: begun.duration_since(waiting),
                prepare: prepared.duration_since(begun),
                eval: prepared.elapsed(),
                total: Duration::ZERO,
            };
            drop(ticket); // Listed until now, whoever still waits for it.
            Ok(answer)
        })
    }

    /// Names of the labels of the series selected.
    ///
    /// # Errors
    /// `Invalid` when a regular expression is wrong, `Timeout`.
    pub fn label_names(&self, query: SeriesQuery) -> BoxFuture<'_, Result<Listed<String>, Error>> {
        self.list(query, |source, query, stop, account| {
            let mut names = BTreeSet::new();
            for set in sets(&query.matchers) {
                source.each_identity(set, query.range, stop, &mut |labels| {
                    for (name, _) in labels.iter() {
                        if !names.contains(name) {
                            account.entry(name.len());
                            names.insert(name.to_owned());
                        }
                    }
                })?;
            }
            Ok(names.into_iter().collect())
        })
    }

    /// Values of the label `name` of the series selected.
    ///
    /// # Errors
    /// As [`Self::label_names`].
    pub fn label_values(
        &self,
        name: String,
        query: SeriesQuery,
    ) -> BoxFuture<'_, Result<Listed<String>, Error>> {
        self.list(query, move |source, query, stop, account| {
            let mut values: BTreeSet<String> = BTreeSet::new();
            for set in sets(&query.matchers) {
                let mut add = |labels: &Labels| {
                    let value = labels.value(&name);
                    if !value.is_empty() && !values.contains(value) {
                        account.entry(value.len());
                        values.insert(value.to_owned());
                    }
                };
                if name == "le" {
                    source.each_series(set, query.range, stop, &mut add)?;
                } else {
                    source.each_identity(set, query.range, stop, &mut add)?;
                }
            }
            Ok(values.into_iter().collect())
        })
    }

    /// The label sets of the series selected, sorted.
    ///
    /// # Errors
    /// As [`Self::label_names`].
    pub fn series(&self, query: SeriesQuery) -> BoxFuture<'_, Result<Listed<Labels>, Error>> {
        self.list(query, |source, query, stop, account| {
            let mut found: BTreeSet<Labels> = BTreeSet::new();
            for set in sets(&query.matchers) {
                source.each_series(set, query.range, stop, &mut |labels| {
                    if found.insert(labels.clone()) {
                        account.entry(labels.iter().map(|(k, v)| k.len() + v.len() + 32).sum());
                    }
                })?;
            }
            Ok(found.into_iter().collect())
        })
    }

    /// What is known of each metric family, by Prometheus name; of one family only if `metric` is given.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub fn metadata(&self, metric: Option<String>) -> BoxFuture<'_, Result<Families, Error>> {
        let (time, max) = (self.config.timeout, self.options(None).max_samples);
        Box::pin(self.sound(move |view| {
            let (metric, memory) = (metric.clone(), self.memory(Class::Interactive));
            self.workers.run_blocking(time, move |stop| {
                let memory = memory?;
                let by_name = StoreSource::new(view, max, &memory).metadata(metric.as_deref())?;
                let mut account = Account::new(&memory, stop);
                for (name, entries) in &by_name {
                    account.entry(name.len());
                    entries
                        .iter()
                        .for_each(|entry| account.entry(entry.help.len() + entry.unit.len()));
                }
                account.settle(Ok(()))?;
                Ok(Families { by_name, memory: Holding::new(&memory) })
            })
        }))
    }

    fn list<T: Send + 'static>(
        &self,
        query: SeriesQuery,
        work: impl Fn(&StoreSource, &SeriesQuery, &Stop, &mut Account<'_>) -> Result<Vec<T>, Error>
        + Send
        + Sync
        + 'static,
    ) -> BoxFuture<'_, Result<Listed<T>, Error>> {
        let (time, max) = (self.config.timeout, self.options(None).max_samples);
        let work = Arc::new(work);
        Box::pin(self.sound(move |view| {
            let (query, work) = (query.clone(), Arc::clone(&work));
            let memory = self.memory(Class::Interactive);
            self.workers.run_blocking(time, move |stop| {
                let memory = memory?;
                let source = StoreSource::new(view, max, &memory);
                let mut account = Account::new(&memory, stop);
                let outcome = work(&source, &query, stop, &mut account);
                let mut items = account.settle(outcome)?;
                let truncated = query.limit > 0 && items.len() > query.limit;
                if truncated {
                    items.truncate(query.limit);
                }
                Ok(Listed { items, truncated, memory: Holding::new(&memory) })
            })
        }))
    }

    fn options(&self, lookback_ms: Option<i64>) -> EvalOptions {
        let configured = i64::try_from(self.config.lookback.as_millis()).unwrap_or(i64::MAX);
        let share = runtime::share(self.store.memory(), Class::Interactive);
        let memory_max =
            self.config.memory_bytes_max.min(usize::try_from(share).unwrap_or(usize::MAX));
        EvalOptions {
            lookback_ms: lookback_ms.unwrap_or(configured),
            max_samples: usize::try_from(self.config.samples_max).unwrap_or(usize::MAX),
            // A query has some nodes' cells in memory at once.
            max_cells: memory_max / 4 / promql::CELL_BYTES,
            ..EvalOptions::default()
        }
    }
}

/// Tells the log of a query once: when it has its answer, or when nobody waits for that any more.
struct Logged<'a> {
    engine: &'a Engine,
    /// `None` once told.
    asked: Option<&'a Asked>,
    asking: Instant,
}

impl Logged<'_> {
    fn told(&mut self, answer: &Result<PromAnswer, Error>) {
        if let (Some(asked), Some(log)) = (self.asked.take(), self.engine.log.get()) {
            log(finished(asked, answer, self.asking.elapsed()));
        }
    }
}

impl Drop for Logged<'_> {
    fn drop(&mut self) {
        self.told(&Err(Error::Canceled));
    }
}

/// What the log is told.
fn finished(asked: &Asked, answer: &Result<PromAnswer, Error>, total: Duration) -> FinishedQuery {
    let (stats, timings) = match answer {
        Ok(answer) => (answer.stats, answer.timings),
        Err(_) => (EvalStats::default(), Timings { total, ..Timings::default() }),
    };
    FinishedQuery {
        text: asked.expr.clone(),
        origin: asked.origin.clone(),
        times: asked.times,
        stats,
        timings,
        error: answer.as_ref().err().map(ToString::to_string),
    }
}

/// One empty set, which selects everything, where none is given.
fn sets(matchers: &[Vec<Matcher>]) -> impl Iterator<Item = &[Matcher]> {
    let everything: Option<&[Matcher]> = matchers.is_empty().then_some(&[]);
    matchers.iter().map(Vec::as_slice).chain(everything)
}

fn parse(text: &str, text_max: usize) -> Result<promql::Query, Error> {
    if text.len() > text_max {
        let length = text.len();
        return Err(Error::invalid(format!(
            "the query is {length} bytes long, the limit is {text_max}"
        )));
    }
    promql::Query::parse(text).map_err(|error| parse_error(&error, text))
}

fn refuse_experimental(query: &promql::Query, is_enabled: bool) -> Result<(), Error> {
    let found = query.expr().experimental().filter(|_| !is_enabled);
    let Some((sentence, place)) = found else { return Ok(()) };
    let (line, column) = place.line_col(query.text());
    let text = format!(
        "{line}:{column}: parse error: {sentence}: `query.experimental_functions` is false"
    );
    Err(Error::invalid_at(text, Position::of(query.text(), place.start, place.end)))
}

/// The matchers of a selector such as `up{job="a"}`, as `match[]` parameters hold them.
///
/// # Errors
/// `Invalid` for anything that is no plain selector, has a modifier, or selects everything.
pub fn matchers(selector: &str) -> Result<Vec<Matcher>, Error> {
    let expr = promql::parse(selector).map_err(|error| parse_error(&error, selector))?;
    match expr {
        promql::Expr::Vector(found) if found.is_unmodified() => Ok(found.all_matchers()),
        promql::Expr::Vector(_) => Err(Error::invalid(format!(
            "{selector} has a modifier, which a selector of series cannot"
        ))),
        _ => Err(Error::invalid(format!("{selector} is no selector of series"))),
    }
}

fn parse_error(error: &promql::ParseError, text: &str) -> Error {
    let position = Position::of(text, error.place.start, error.place.end);
    Error::invalid_at(error.to_string(), position)
}

fn eval_error(error: EvalError, time: Duration) -> Error {
    match error {
        EvalError::BadData(text) => Error::invalid(text),
        EvalError::Execution(text) if text.contains("too many") => Error::Exhausted(text),
        EvalError::Execution(text) => Error::Execution(text),
        EvalError::Timeout => Error::Timeout { after: time },
        EvalError::Canceled => Error::Canceled,
        EvalError::Source(error) => source_error(error),
    }
}

fn source_error(error: SourceError) -> Error {
    match error {
        SourceError::Exhausted(text) => Error::Exhausted(text),
        SourceError::Unavailable(text) => Error::Unavailable(text),
        SourceError::Corrupt(text) => Error::Corrupt(text),
        SourceError::Invalid(text) => Error::Execution(text),
    }
}

/// Cuts an answer to `limit` series, with Prometheus' warning.
fn cut_series(mut answer: PromAnswer, limit: Option<usize>) -> PromAnswer {
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let series = match &mut answer.value {
        promql::Value::Vector(samples) => {
            let all = samples.len();
            samples.truncate(limit);
            all
        }
        promql::Value::Matrix(series) => {
            let all = series.len();
            series.truncate(limit);
            all
        }
        promql::Value::Scalar { .. } | promql::Value::String { .. } => 0,
    };
    if series > limit {
        answer.warnings.push("results truncated due to limit".to_owned());
    }
    answer
}
