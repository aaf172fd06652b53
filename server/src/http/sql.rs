//! `POST sql`: JSON, CSV or an Arrow stream, by `Accept`.

use std::sync::Arc;

use api::query::Stats;
use api::sql::{Column, SqlRequest};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use query::{SqlAnswer, SqlQuery};

use super::App;
use super::error::Failure;

/// Tells a reader of CSV or Arrow that rows were left out.
const TRUNCATED: HeaderName = HeaderName::from_static("x-headrope-truncated");

pub(crate) async fn sql(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    request: Result<Json<SqlRequest>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(request) = request?;
    let format = format(&headers)?;
    let query = SqlQuery { text: request.query, rows_max: request.limit, ..SqlQuery::default() };
    let answer = app.engine.sql(query).await?;
    let truncated = answer.truncated.to_string();
    let (media_type, body) = match format {
        Format::Json => ("application/json", json(&answer)?.into_bytes()),
        Format::Csv => ("text/csv; charset=utf-8", answer.csv()?.into_bytes()),
        Format::Arrow => (ARROW, answer.arrow_stream()?),
    };
    Ok(([(CONTENT_TYPE, media_type.to_owned()), (TRUNCATED, truncated)], body).into_response())
}

/// The rows are written as text once, never as a tree of values ([`api::sql::SqlAnswer`] is the shape).
fn json(answer: &SqlAnswer) -> Result<String, Failure> {
    let columns =
        answer.columns().map(|(name, data_type)| Column { name: name.to_owned(), data_type });
    let columns = serde_json::to_string(&columns.collect::<Vec<_>>());
    let stats = serde_json::to_string(&stats(&answer.stats));
    let (Ok(columns), Ok(stats)) = (columns, stats) else {
        return Err(Failure::invalid("the answer has no JSON form"));
    };
    let warnings = match answer.warnings.is_empty() {
        true => String::new(),
        false => format!(r#","warnings":{}"#, serde_json::Value::from(answer.warnings.clone())),
    };
    let (rows, truncated) = (answer.rows_json()?, answer.truncated);
    Ok(format!(
        r#"{{"columns":{columns},"rows":{rows},"truncated":{truncated},"stats":{stats}{warnings}}}"#
    ))
}

const ARROW: &str = "application/vnd.apache.arrow.stream";

#[derive(Clone, Copy)]
enum Format {
    Json,
    Csv,
    Arrow,
}

fn format(headers: &HeaderMap) -> Result<Format, Failure> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    for media_type in
        accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim())
    {
        match media_type {
            "application/json" | "application/*" | "*/*" => return Ok(Format::Json),
            "text/csv" | "text/*" => return Ok(Format::Csv),
            ARROW => return Ok(Format::Arrow),
            _ => {}
        }
    }
    Err(Failure::invalid(format!(
        "cannot answer as {accept}: choose application/json, text/csv or {ARROW}"
    )))
}

/// What a query cost, in the API's words.
pub(crate) fn stats(stats: &query::SqlStats) -> Stats {
    Stats {
        elapsed_ms: stats.elapsed.as_secs_f64() * 1000.0,
        series: 0,
        rows: count(stats.rows_scanned),
        bytes: count(stats.bytes_scanned),
    }
}

/// A length as the API counts.
pub(crate) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
