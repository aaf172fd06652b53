//! `POST query`: all queries of a page at once, as columns or JSON, each answered or refused by itself.

use std::sync::Arc;

use api::columns;
use api::query::{
    Explained, Query, QueryAnswer, QueryRequest, QueryResponse, ResultKind, Series, Stats,
};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use futures::stream::{FuturesUnordered, StreamExt};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use model::metric::STALE_NAN_BITS;
use query::promql::{Answer, Reading, SeriesValues, Value};
use query::{InstantQuery, Origin, RangeQuery};

use super::error::{Failure, describe};
use super::{App, object};

/// Most queries of one request.
const QUERIES_MAX: usize = 100;
/// Most points a pixel (ui.md, D5).
const POINTS_PER_PIXEL: i64 = 4;
/// Most points a series when nobody says how wide the drawing is.
const POINTS_DEFAULT: i64 = 1_000;

pub(crate) async fn query(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    request: Result<Json<QueryRequest>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(request) = request?;
    if request.queries.len() > QUERIES_MAX {
        return Err(Failure::invalid(format!("at most {QUERIES_MAX} queries a request")));
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wants_columns = accept.contains(columns::MEDIA_TYPE);
    let mut running: FuturesUnordered<_> =
        request.queries.iter().map(|query| answer(&app, query)).collect();
    let mut answers = Vec::with_capacity(request.queries.len());
    while let Some(answer) = running.next().await {
        answers.push(answer);
    }
    if wants_columns {
        let body = columns::encode(&answers);
        return Ok(([(CONTENT_TYPE, columns::MEDIA_TYPE)], body).into_response());
    }
    Ok(Json(QueryResponse { answers }).into_response())
}

/// The dashboard asks, whoever sits before it.
fn origin() -> Origin {
    Origin::Http {
        client: String::new(),
        method: "POST".to_owned(),
        path: "/api/headrope/v1/query".to_owned(),
    }
}

/// A query's answer; its error takes the place of the answer and spoils no other.
async fn answer(app: &App, query: &Query) -> QueryAnswer {
    let started = tokio::time::Instant::now();
    let step_ms = step(query);
    let found = if query.instant {
        let query = InstantQuery {
            expr: query.text.clone(),
            at_ms: query.to_ms,
            explain: query.explain,
            origin: origin(),
            ..InstantQuery::default()
        };
        app.engine.instant(query).await
    } else {
        // Steps lie on multiples of the step, so that a chart does not flicker as its range moves.
        let range = RangeQuery {
            expr: query.text.clone(),
            start_ms: query.from_ms.div_euclid(step_ms) * step_ms,
            end_ms: query.to_ms.div_euclid(step_ms) * step_ms,
            step_ms,
            explain: query.explain,
            origin: origin(),
            ..RangeQuery::default()
        };
        app.engine.range(range).await
    };
    let mut answer = match found {
        Ok(found) => shape(&found),
        Err(error) => QueryAnswer { error: Some(describe(&error)), ..QueryAnswer::default() },
    };
    answer.id = query.id;
    answer.step_ms = if query.instant { 0 } else { step_ms };
    answer.stats.elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
    answer
}

/// The step asked for, but never more points than the drawing can show.
fn step(query: &Query) -> i64 {
    let points =
        query.width_px.map_or(POINTS_DEFAULT, |px| i64::from(px) * POINTS_PER_PIXEL).max(1);
    let least = (query.to_ms.saturating_sub(query.from_ms) / points).max(1);
    let whole_seconds = (least + 999) / 1000 * 1000;
    query.step_ms.filter(|step_ms| *step_ms >= least).unwrap_or(whole_seconds)
}

/// Series of unequal times on one axis; where a series has no sample it holds the staleness marker.
fn shape(found: &Answer) -> QueryAnswer {
    let (result, text, series) = match &found.value {
        Value::String { value, .. } => (ResultKind::String, Some(value.to_string()), Vec::new()),
        Value::Scalar { t_ms, value } => {
            let floats = vec![(*t_ms, *value)];
            (ResultKind::Scalar, None, vec![SeriesValues { floats, ..SeriesValues::default() }])
        }
        Value::Vector(samples) => {
            let one = |sample: &query::promql::Sample| {
                let labels = sample.labels.clone();
                let histograms = Vec::new();
                match &sample.reading {
                    Reading::Float(value) => {
                        SeriesValues { labels, floats: vec![(sample.t_ms, *value)], histograms }
                    }
                    // A chart shows numbers: of a histogram, how much it holds.
                    Reading::Histogram(held) => {
                        SeriesValues { labels, floats: vec![(sample.t_ms, held.count)], histograms }
                    }
                }
            };
            (ResultKind::Vector, None, samples.iter().map(one).collect())
        }
        Value::Matrix(series) => (ResultKind::Matrix, None, series.clone()),
    };
    let mut times_ms: Vec<i64> = series.iter().flat_map(times).collect();
    times_ms.sort_unstable();
    times_ms.dedup();
    let series = series.iter().map(|one| spread(one, &times_ms)).collect();
    let stats = Stats { series: found.stats.series, rows: found.stats.samples, ..Stats::default() };
    let (warnings, infos) = (found.warnings.clone(), found.infos.clone());
    let explain = found.explained.as_ref().map(explained);
    let answer = QueryAnswer { result, text, times_ms, series, ..QueryAnswer::default() };
    QueryAnswer { warnings, infos, stats, explain, ..answer }
}

/// The cost of a node and of what it was made of.
pub(crate) fn explained(node: &query::promql::Explained) -> Explained {
    Explained {
        node: node.node.clone(),
        place: (node.place.start, node.place.end),
        steps: node.steps,
        series: node.series,
        samples: node.samples,
        bytes: node.bytes,
        elapsed_ms: node.elapsed.as_secs_f64() * 1_000.0,
        inputs: node.inputs.iter().map(explained).collect(),
    }
}

fn times(series: &SeriesValues) -> impl Iterator<Item = i64> {
    let histograms = series.histograms.iter().map(|(t_ms, _)| *t_ms);
    series.floats.iter().map(|(t_ms, _)| *t_ms).chain(histograms)
}

fn spread(series: &SeriesValues, times_ms: &[i64]) -> Series {
    let mut values = vec![f64::from_bits(STALE_NAN_BITS); times_ms.len()];
    let mut put = |t_ms: i64, value: f64| {
        if let Ok(idx) = times_ms.binary_search(&t_ms) {
            values[idx] = value;
        }
    };
    series.floats.iter().for_each(|(t_ms, value)| put(*t_ms, *value));
    series.histograms.iter().for_each(|(t_ms, held)| put(*t_ms, held.count));
    Series { labels: object(series.labels.iter()), values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_never_gives_more_points_than_pixels_allow() {
        let query = |range_ms, step_ms, width_px| Query {
            to_ms: range_ms,
            step_ms,
            width_px,
            ..Query::default()
        };
        assert_eq!(step(&query(60_000, Some(1_000), Some(600))), 1_000);
        assert_eq!(step(&query(86_400_000, Some(1_000), Some(600))), 36_000);
        assert_eq!(step(&query(86_400_000, None, Some(600))), 36_000);
        assert_eq!(step(&query(0, None, None)), 1_000);
    }

    #[test]
    fn series_share_one_axis() {
        let one = |floats: &[(i64, f64)]| SeriesValues {
            floats: floats.to_vec(),
            ..SeriesValues::default()
        };
        let (a, b) = (one(&[(1, 1.0), (3, 3.0)]), one(&[(2, 2.0)]));
        let spread_b = spread(&b, &[1, 2, 3]);
        assert!(model::metric::is_stale(spread_b.values[0]));
        assert_eq!(spread_b.values[1].to_bits(), 2.0_f64.to_bits());
        assert_eq!(times(&a).collect::<Vec<_>>(), [1, 3]);
    }
}
