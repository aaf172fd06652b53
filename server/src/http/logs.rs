//! `POST logs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::log::{LogBar, LogPage, LogRequest, LogRow};
use api::query::Stats;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use query::{LogBucket, LogCursor, LogHistogram, LogQuery};
use serde_json::{Map, Value};

use super::App;
use super::error::Failure;
use super::sql::count;

/// Most bars of the histogram.
const BARS_MAX: usize = 120;

pub(crate) async fn logs(
    State(app): State<Arc<App>>,
    request: Result<Json<LogRequest>, JsonRejection>,
) -> Result<Json<LogPage>, Failure> {
    let Json(request) = request?;
    let started = tokio::time::Instant::now();
    let cursor = request.cursor.as_deref().map(|text| {
        LogCursor::parse(text)
            .ok_or_else(|| Failure::invalid(format!("`{text}` is no cursor of ours")))
    });
    let query = LogQuery {
        text: request.query,
        range: super::range(request.from_ms, request.to_ms)?,
        limit: request.limit,
        before: cursor.transpose()?,
    };
    let (page, bars) = if query.before.is_some() {
        (app.engine.logs(query).await?, LogHistogram::default())
    } else {
        let bars = app.engine.log_histogram(query.clone(), BARS_MAX);
        tokio::try_join!(app.engine.logs(query), bars)?
    };
    let warnings: BTreeSet<String> = page.warnings.into_iter().chain(bars.warnings).collect();
    let stats = Stats {
        elapsed_ms: started.elapsed().as_secs_f64() * 1000.0,
        rows: count(page.rows.len()),
        ..Stats::default()
    };
    let cursor = page.cursor.map(|cursor| cursor.to_string());
    Ok(Json(LogPage {
        rows: page.rows.into_iter().map(row).collect(),
        cursor,
        histogram: bars.buckets.iter().map(bar).collect(),
        stats,
        warnings: warnings.into_iter().collect(),
    }))
}

fn row(row: query::LogRow) -> LogRow {
    LogRow {
        time_ns: row.time.0,
        severity_number: i32::from(row.severity_number),
        severity_text: row.severity_text,
        service: row.service,
        body: row.body,
        trace_id: row.trace_id.map(|id| id.to_string()),
        span_id: row.span_id.map(|id| id.to_string()),
        attributes: attributes(row.attributes),
        resource: attributes(row.resource),
    }
}

fn bar(bucket: &LogBucket) -> LogBar {
    LogBar {
        t_ms: bucket.start.ms(),
        total: bucket.total(),
        warn: bucket.levels[4],
        error: bucket.errors(),
    }
}

/// Attributes as a JSON object.
pub(super) fn attributes(pairs: Vec<(String, String)>) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key, Value::String(value))).collect()
}
