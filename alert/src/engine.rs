//! The query engine behind the seam.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use model::metric::Labels;
use model::time::{TimeRange, Timestamp};
use query::promql::{Reading, SeriesValues, Value};
use query::{
    Class, CountQuery, Counted, Engine, InstantQuery, Origin, RangeQuery, SqlQuery, VectorRow,
};

use crate::backtest::{History, Line};
use crate::rule::Language;
use crate::source::{Answer, Ask, Evaluate, Row};
use crate::state::nanoseconds;

/// Rows of SQL, and counts, at which an answer is refused.
const ROWS_MAX: usize = 100_000;

impl Evaluate for Engine {
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        let back = |window: Duration| {
            let end = Timestamp(ask.at.0.saturating_add(1)); // What is stamped with this very instant counts.
            TimeRange::new(Timestamp(ask.at.0.saturating_sub(nanoseconds(window))), end)
        };
        let (counted, counting) = match &ask.language {
            Language::PromQl => return promql(self, &ask, (Class::Rule, Origin::Rule)),
            Language::Sql { window } => {
                let query = SqlQuery {
                    text: ask.expr.to_string(),
                    rows_max: Some(ROWS_MAX),
                    timeout: Some(ask.timeout),
                    range: Some(back(*window)),
                    ..SqlQuery::default()
                };
                return vector(self.vector(query));
            }
            Language::Logs(counting) => (Counted::Logs, counting),
            Language::Traces(counting) => (Counted::Spans, counting),
        };
        vector(self.counts(CountQuery {
            counted,
            text: ask.expr.to_string(),
            by: counting.by.clone(),
            range: back(counting.window),
            rows_max: ROWS_MAX,
            timeout: ask.timeout,
        }))
    }
}

/// The engine as a person asks it about what was: in PromQL, rules at work go first.
pub struct Past<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// Who asks.
    pub origin: Origin,
}

impl Evaluate for Past<'_> {
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        match ask.language {
            Language::PromQl => {
                promql(self.engine, &ask, (Class::Interactive, self.origin.clone()))
            }
            _ => Evaluate::instant(self.engine, ask),
        }
    }
}

impl History for Past<'_> {
    fn range(
        &self,
        expr: Arc<str>,
        (start_ms, end_ms): (i64, i64),
        step_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<Line>, String>> {
        let query = RangeQuery {
            expr: expr.to_string(),
            start_ms,
            end_ms,
            step_ms,
            origin: self.origin.clone(),
            no_cache: true,
            ..RangeQuery::default()
        };
        let answer = self.engine.range(query);
        Box::pin(async move {
            let answer = answer.await.map_err(|error| error.to_string())?;
            lines_of(answer.value)
        })
    }
}

/// The lines of a range query.
pub(crate) fn lines_of(value: Value) -> Result<Vec<Line>, String> {
    let Value::Matrix(series) = value else {
        return Err("a query over a range yielded no series".to_owned());
    };
    let line = |series: SeriesValues| {
        let floats = series.floats.iter().map(|(ms, value)| (*ms, *value, None));
        let histograms = series.histograms.into_iter().map(|(ms, one)| (ms, 0.0, Some(one)));
        let pairs = series.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Line { labels: pairs.collect(), points: floats.chain(histograms).collect() }
    };
    Ok(series.into_iter().map(line).collect())
}

fn promql<'a>(
    engine: &'a Engine,
    ask: &Ask,
    (class, origin): (Class, Origin),
) -> BoxFuture<'a, Result<Answer, String>> {
    let query = InstantQuery {
        expr: ask.expr.to_string(),
        at_ms: ask.at.ms(),
        timeout: Some(ask.timeout),
        class,
        origin,
        ..InstantQuery::default()
    };
    let answer = engine.instant(query);
    Box::pin(async move {
        let answer = answer.await.map_err(|error| error.to_string())?;
        Ok(answer_of(answer.value))
    })
}

fn vector<'a>(
    rows: BoxFuture<'a, Result<Vec<VectorRow>, query::Error>>,
) -> BoxFuture<'a, Result<Answer, String>> {
    Box::pin(async move {
        let rows = rows.await.map_err(|error| error.to_string())?;
        let row = |row: VectorRow| {
            let labels = row.labels.into_iter().collect();
            Row { labels, value: row.value, histogram: None }
        };
        Ok(Answer::Vector(rows.into_iter().map(row).collect()))
    })
}

/// The part of a result rules can use.
pub(crate) fn answer_of(value: Value) -> Answer {
    match value {
        Value::Scalar { value, .. } => Answer::Scalar(value),
        Value::Vector(samples) => {
            Answer::Vector(samples.iter().map(|s| row(&s.labels, &s.reading)).collect())
        }
        Value::Matrix(series) => Answer::Series(series.iter().map(times).collect()),
        Value::String { .. } => Answer::Other(value.value_type().word()),
    }
}

fn row(labels: &query::promql::Labels, reading: &Reading) -> Row {
    let pairs = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let labels: Labels = pairs.collect();
    match reading {
        Reading::Float(value) => Row { labels, value: *value, histogram: None },
        Reading::Histogram(histogram) => {
            Row { labels, value: 0.0, histogram: Some(Arc::clone(histogram)) }
        }
    }
}

/// When the samples of a series were taken.
fn times(series: &SeriesValues) -> (Labels, Vec<i64>) {
    let floats = series.floats.iter().map(|(t, _)| *t);
    let mut times: Vec<i64> = floats.chain(series.histograms.iter().map(|(t, _)| *t)).collect();
    times.sort_unstable();
    ((&series.labels).into(), times)
}
