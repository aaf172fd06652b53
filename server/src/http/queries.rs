//! `GET queries`, `DELETE queries/{id}`, `GET queries/metrics`: what is asked, by whom, and an end to it.

use std::sync::Arc;
use std::time::Duration;

use api::running::{MetricUse, MetricUses, RunningQueries, RunningQuery};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use http::StatusCode;
use query::Origin;

use super::App;
use super::error::Failure;

pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<RunningQueries> {
    Json(RunningQueries { queries: app.engine.running().into_iter().map(shown).collect() })
}

fn shown(query: query::RunningQuery) -> RunningQuery {
    let (client, source) = match query.origin {
        Origin::Inside => (String::new(), "inside".to_owned()),
        Origin::Rule => (String::new(), "rule".to_owned()),
        Origin::Http { client, path, .. } => (client, path),
    };
    RunningQuery {
        id: query.id,
        language: query.language.to_owned(),
        text: query.text,
        client,
        source,
        age_s: query.age.as_secs_f64(),
        samples: query.samples,
        bytes: query.bytes,
    }
}

/// Its client gets `query was canceled in query execution`.
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let Path(id) = id.map_err(|error| Failure::invalid(error.body_text()))?;
    if app.engine.cancel(id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Failure::not_found(format!("no query {id} is running; it may have ended")))
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Json<MetricUses> {
    let (uses, uncounted) = app.engine.metric_uses();
    let now_ms = app.clock.now().ms();
    let ms = |age: Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let shown = |used: query::MetricUse| MetricUse {
        last_ms: now_ms.saturating_sub(ms(used.age)),
        metric: used.metric,
        queries: used.queries,
    };
    Json(MetricUses { metrics: uses.into_iter().map(shown).collect(), uncounted })
}
