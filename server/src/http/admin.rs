//! Doors that change what is stored: deletes and backups of the own API, and Prometheus' admin API.
//!
//! Shut unless `admin` says otherwise where the main port can be reached from elsewhere: there is no login yet.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use model::id::TenantId;
use model::matcher::{MatchOp, Matcher};
use model::time::{NS_PER_MS, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Delete, DeleteFrom, DeleteRecord};

use super::App;
use super::error::Failure;
use super::prometheus::{Params, PrometheusFailure};

/// The own API's doors.
pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/delete", post(delete))
        .route("/delete/clean", post(clean))
        .route("/deletes", get(deletes))
        .route("/backup", post(begin_backup).delete(end_backup))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(app), is_open))
}

/// Prometheus' doors, below its prefix.
pub(super) fn prometheus_routes(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/admin/tsdb/delete_series", post(delete_series).put(delete_series))
        .route("/admin/tsdb/clean_tombstones", post(clean_tombstones).put(clean_tombstones))
        .route("/admin/tsdb/snapshot", post(snapshot).put(snapshot))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(app), is_open))
}

pub(super) async fn is_open(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.admin {
        return next.run(request).await;
    }
    let words = "deletes, backups and requests to actions are shut, because the server listens on more than this host; \
                 `admin = true` in the configuration opens them to whoever reaches it\n";
    (StatusCode::FORBIDDEN, words).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteRequest {
    /// `metrics`, `logs` or `spans`.
    from: String,
    /// As in PromQL: `{service_name="shop"}`.
    selector: String,
    /// First and last time in ms since the epoch; unset: all.
    start_ms: Option<i64>,
    end_ms: Option<i64>,
}

async fn delete(
    State(app): State<Arc<App>>,
    request: Result<Json<DeleteRequest>, JsonRejection>,
) -> Result<Json<Value>, Failure> {
    let Json(request) = request?;
    let from = DeleteFrom::parse(&request.from).ok_or_else(|| {
        Failure::invalid(format!("`{}` is none of metrics, logs and spans", request.from))
    })?;
    let matchers = app.engine.selector(request.selector).await?;
    let delete = asked(from, matchers, (request.start_ms, request.end_ms), "api");
    let record = app.store.delete(delete).await.map_err(query::Error::from)?;
    Ok(Json(shown(&record)))
}

/// The delete of what `matchers` select in a range in ms, both ends included.
fn asked(
    from: DeleteFrom,
    matchers: Vec<Matcher>,
    (start_ms, end_ms): (Option<i64>, Option<i64>),
    requested_by: &str,
) -> Delete {
    let last = |ms: i64| Timestamp(Timestamp::from_ms(ms).0.saturating_add(NS_PER_MS - 1));
    Delete {
        tenant: TenantId::default(),
        from,
        matchers,
        first: start_ms.map_or(Timestamp(i64::MIN), Timestamp::from_ms),
        last: end_ms.map_or(Timestamp(i64::MAX), last),
        requested_by: requested_by.to_owned(),
    }
}

async fn deletes(State(app): State<Arc<App>>) -> Result<Json<Value>, Failure> {
    let records = app.store.deletes().await.map_err(query::Error::from)?;
    Ok(Json(json!({ "deletes": records.iter().map(shown).collect::<Vec<_>>() })))
}

async fn clean(State(app): State<Arc<App>>) -> Result<StatusCode, Failure> {
    app.store.clean_deleted().await.map_err(query::Error::from)?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(record: &DeleteRecord) -> Value {
    let delete = &record.delete;
    let operator = |op| match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    let matchers: Vec<[&str; 3]> =
        delete.matchers.iter().map(|m| [m.name.as_str(), operator(m.op), &m.value]).collect();
    json!({
        "id": record.id,
        "from": delete.from.name(),
        "matchers": matchers,
        "first_ns": delete.first.0.to_string(),
        "last_ns": delete.last.0.to_string(),
        "requested_by": delete.requested_by,
        "created_ns": record.created.0.to_string(),
        "deadline_ns": record.deadline.0.to_string(),
        "done_ns": record.done.map(|done| done.0.to_string()),
        "state": if record.done.is_some() { "rewritten" } else { "hidden" },
    })
}

async fn begin_backup(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let backup = app.store.begin_backup().await.map_err(query::Error::from)?;
    Ok(Json(backup).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndBackup {
    /// Which backup, as its beginning was answered.
    created: i64,
}

async fn end_backup(
    State(app): State<Arc<App>>,
    Query(EndBackup { created }): Query<EndBackup>,
) -> Result<StatusCode, Failure> {
    app.store.end_backup(Timestamp(created)).await.map_err(query::Error::from)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_series(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<StatusCode, PrometheusFailure> {
    let selectors = params.all("match[]");
    if selectors.is_empty() {
        return Err(PrometheusFailure::bad_data("no match[] parameter provided"));
    }
    let range = (params.time("start")?, params.time("end")?);
    // All are read before the first deletes anything.
    for matchers in app.engine.selectors(selectors).await? {
        let delete = asked(DeleteFrom::Metrics, matchers, range, "Prometheus admin API");
        app.store.delete(delete).await.map_err(query::Error::from)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn clean_tombstones(State(app): State<Arc<App>>) -> Result<StatusCode, PrometheusFailure> {
    app.store.clean_deleted().await.map_err(query::Error::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A snapshot would be a folder beside the data that nobody ends and that lacks the states of rules.
async fn snapshot() -> PrometheusFailure {
    PrometheusFailure::bad_data(
        "snapshots are taken by `headrope backup DIR`, which copies logs, traces and rules' states as well",
    )
}
