//! Runs one case, with its repetitions: pinned at other times, and inside a range query.

use std::sync::LazyLock;

use regex::Regex;

use super::judge;
use super::read::{Case, Remarks, When};
use crate::promql::ast::{At, Expr};
use crate::promql::duration::QueryTimes;
use crate::promql::eval::{Answer, EvalError, EvalOptions, Query, instant, range};
use crate::promql::source::MemorySource;
use crate::promql::value::{Reading, Sample, SeriesValues, Value};

static TIME_WORDS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(start|end|range|step)\(\)").expect("the pattern is a constant"));

fn options() -> EvalOptions {
    EvalOptions { delayed_name_removal: true, max_samples: 10_000, ..EvalOptions::default() }
}

pub(super) fn run(case: &Case, source: &MemorySource) -> Result<(), String> {
    let query = Query::parse(&case.expr).map_err(|error| format!("{}: {error}", case.expr))?;
    match case.when {
        When::Range { start, end, step } => {
            let times = QueryTimes { start_ms: start, end_ms: end, step_ms: step };
            let result = range(source, &query, times, &options());
            let Some(answer) = outcome(case, &query, result)? else { return Ok(()) };
            if case.ordered {
                return Err("a matrix cannot be ordered".to_owned());
            }
            if let Value::Matrix(matrix) = &answer.value {
                sorted(matrix)?;
            }
            judge::value(case, &answer.value)
                .map_err(|what| format!("{}: {what}", query.text()))?;
            remarks(case, &query, &answer)
        }
        When::Instant(at) => {
            instant_case(case, source, &query, at)?;
            let Some(pinned) = pinned(query.expr(), at) else { return Ok(()) };
            let query =
                Query::parse(&pinned).map_err(|error| format!("printed {pinned}: {error}"))?;
            let times = if at == 0 {
                vec![-1_000, 0, 1_000]
            } else {
                vec![-10 * at, 0, at / 5, at, 10 * at]
            };
            times.into_iter().try_for_each(|t| instant_case(case, source, &query, t))
        }
    }
}

/// Judges an error; gives back the answer when there is one and it may be.
fn outcome(
    case: &Case,
    query: &Query,
    result: Result<Answer, EvalError>,
) -> Result<Option<Answer>, String> {
    let text = query.text();
    match (result, &case.fail) {
        (Ok(answer), None) => Ok(Some(answer)),
        (Ok(_), Some(_)) => Err(format!("{text}: expected an error, got a result")),
        (Err(error), None) => Err(format!("{text}: {error}")),
        (Err(error), Some(wording)) if wording.fits(&error.to_string()) => Ok(None),
        (Err(error), Some(wording)) => Err(format!("{text}: expected {wording:?}, got {error}")),
    }
}

fn instant_case(case: &Case, source: &MemorySource, query: &Query, at: i64) -> Result<(), String> {
    let Some(answer) = outcome(case, query, instant(source, query, at, &options()))? else {
        return Ok(());
    };
    let say = |what: String| format!("{} at {at} ms: {what}", query.text());
    judge::value(case, &answer.value).map_err(say)?;
    remarks(case, query, &answer)?;
    let skip = case.ordered
        || matches!(answer.value, Value::String { .. } | Value::Matrix(_))
        || TIME_WORDS.is_match(query.text());
    if skip {
        return Ok(());
    }
    let times = QueryTimes { start_ms: at - 60_000, end_ms: at + 60_000, step_ms: 60_000 };
    let say = |what: String| format!("{} in a range query around {at} ms: {what}", query.text());
    let ranged = range(source, query, times, &options()).map_err(|error| say(error.to_string()))?;
    let Value::Matrix(matrix) = ranged.value else {
        return Err(say("expected a matrix".to_owned()));
    };
    sorted(&matrix).map_err(say)?;
    let middle = if matches!(answer.value, Value::Scalar { .. }) {
        let value = matrix.first().and_then(|series| at_time(series, at));
        match value {
            Some(Reading::Float(value)) => Value::Scalar { t_ms: at, value },
            _ => return Err(say("expected a scalar at the middle step".to_owned())),
        }
    } else {
        let sample = |series: &SeriesValues| {
            let reading = at_time(series, at)?;
            Some(Sample { labels: series.labels.clone(), t_ms: at, reading })
        };
        Value::Vector(matrix.iter().filter_map(sample).collect())
    };
    judge::value(case, &middle).map_err(say)
}

fn at_time(series: &SeriesValues, t_ms: i64) -> Option<Reading> {
    let float = series.floats.iter().find(|(t, _)| *t == t_ms).map(|(_, v)| Reading::Float(*v));
    float.or_else(|| {
        let found = series.histograms.iter().find(|(t, _)| *t == t_ms);
        found.map(|(_, histogram)| Reading::Histogram(histogram.clone()))
    })
}

fn sorted(matrix: &[SeriesValues]) -> Result<(), String> {
    match matrix.windows(2).find(|pair| pair[0].labels >= pair[1].labels) {
        Some(pair) => Err(format!("series {} stands before {}", pair[0].labels, pair[1].labels)),
        None => Ok(()),
    }
}

fn remarks(case: &Case, query: &Query, answer: &Answer) -> Result<(), String> {
    for (kind, wanted, got) in
        [("warning", &case.warnings, &answer.warnings), ("info", &case.infos, &answer.infos)]
    {
        judge_remarks(wanted, got).map_err(|what| format!("{}: {kind}: {what}", query.text()))?;
    }
    Ok(())
}

fn judge_remarks(wanted: &Remarks, got: &[String]) -> Result<(), String> {
    if wanted.forbidden && !got.is_empty() {
        return Err(format!("expected none, got {got:?}"));
    }
    if wanted.expected.is_empty() {
        return Ok(());
    }
    if let Some(missing) = wanted.expected.iter().find(|w| !got.iter().any(|text| w.fits(text))) {
        return Err(format!("expected {missing:?}, got {got:?}"));
    }
    match got.iter().find(|text| !wanted.expected.iter().any(|w| w.fits(text))) {
        Some(extra) => Err(format!("unexpected {extra:?}")),
        None => Ok(()),
    }
}

/// The query with `@ at` on every selector and subquery that has none and is in no pinned subquery, printed.
fn pinned(expr: &Expr, at: i64) -> Option<String> {
    if depends_on_time(expr) {
        return None;
    }
    let mut expr = expr.clone();
    pin(&mut expr, at);
    Some(expr.to_string())
}

fn depends_on_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Call(call) if call.function.depends_on_time())
        || expr.children().into_iter().any(depends_on_time)
}

fn pin(expr: &mut Expr, at_ms: i64) {
    let at = Some(At::Ms(at_ms));
    let unpinned = |at: Option<At>| !matches!(at, Some(At::Ms(_)));
    match expr {
        Expr::Vector(selector) if unpinned(selector.at) => selector.at = at,
        Expr::Matrix(matrix) if unpinned(matrix.selector.at) => matrix.selector.at = at,
        Expr::Subquery(subquery) => {
            if unpinned(subquery.at) {
                subquery.at = at;
            }
            return;
        }
        _ => {}
    }
    for child in expr.children_mut() {
        pin(child, at_ms);
    }
}
