//! `actions`: what was decided about incidents and what came of it; approvals, ways back, and the switch.
//!
//! Looking is open to everyone; doors that change something are shut where `admin` shuts them.

use std::sync::Arc;

use action::CallbackError;
use action::actions::ask::Refusal;
use action::actions::rehearse::{Firing, NOT_REHEARSED};
use api::error::{ApiError, ErrorKind};
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Failure;
use super::{App, admin, approval};

type Asked = Result<Json<Request>, JsonRejection>;
type Answered = Result<Json<Value>, Failure>;

/// All of them.
pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let open = axum::middleware::from_fn_with_state(Arc::clone(app), admin::is_open);
    let changing = Router::new()
        .route("/actions/pause", post(pause))
        .route("/actions/resume", post(resume))
        .route("/actions/trust", post(trust))
        .route("/actions/{id}/approve", post(approve))
        .route("/actions/{id}/revert", post(revert))
        .route("/incidents/{id}/acknowledge", post(acknowledge))
        .layer(open);
    Router::new()
        .route("/actions", get(list))
        .route("/actions/rehearse", post(rehearse))
        .route("/actions/{id}", get(explain))
        .route("/actions/{id}/approval", get(approval::show).post(approval::approve))
        .route("/actions/callback/{target}", post(callback))
        .merge(changing)
}

/// What may be said with a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// Who asks.
    by: String,
    /// Why.
    #[serde(default)]
    why: String,
    /// Whether a stop holds for ways back as well.
    #[serde(default)]
    freeze: bool,
    #[serde(default)]
    runbook: String,
    #[serde(default)]
    target: String,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::Unknown(_) => ErrorKind::NotFound,
            Refusal::Unfit(_) => ErrorKind::Invalid,
            Refusal::Journal(_) => ErrorKind::Unavailable,
        };
        Self(ApiError::new(kind, refusal.to_string()))
    }
}

async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.actions.list())
}

async fn explain(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answered {
    Ok(Json(app.actions.explain(&id)?))
}

/// What a receiver of messages says of something it was asked: signed, so open where the rest is shut.
async fn callback(
    State(app): State<Arc<App>>,
    Path(target): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Failure> {
    let header = |name: &str| headers.get(name).and_then(|text| text.to_str().ok()).unwrap_or("");
    let signed = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let taken = app.actions.callback(&target, signed, &body);
    let refused = |kind, why: &str| Failure(ApiError::new(kind, why));
    match taken {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(CallbackError::Unknown) => {
            Err(refused(ErrorKind::NotFound, "nothing was asked by this id of this target"))
        }
        Err(CallbackError::Unsigned(why) | CallbackError::Bad(why)) => {
            Err(refused(ErrorKind::Invalid, &why))
        }
    }
}

/// Alerts of the past.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rehearsal {
    firings: Vec<Firing>,
}

async fn rehearse(
    State(app): State<Arc<App>>,
    asked: Result<Json<Rehearsal>, JsonRejection>,
) -> Answered {
    let Json(asked) = asked?;
    let decisions = app.actions.rehearse(&asked.firings).await.map_err(Failure::invalid)?;
    Ok(Json(json!({"decisions": decisions, "not_rehearsed": NOT_REHEARSED})))
}

async fn approve(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answered {
    let Json(asked) = asked?;
    Ok(Json(app.actions.approve(&id, &asked.by, false).await?))
}

async fn revert(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answered {
    let Json(asked) = asked?;
    Ok(Json(app.actions.revert(&id, &asked.by, &asked.why).await?))
}

async fn pause(State(app): State<Arc<App>>, asked: Asked) -> Answered {
    let Json(asked) = asked?;
    app.actions.pause(asked.freeze, &asked.by, &asked.why).await?;
    Ok(Json(app.actions.list()))
}

async fn resume(State(app): State<Arc<App>>, asked: Asked) -> Answered {
    let Json(asked) = asked?;
    app.actions.resume(&asked.by).await?;
    Ok(Json(app.actions.list()))
}

async fn trust(State(app): State<Arc<App>>, asked: Asked) -> Answered {
    let Json(asked) = asked?;
    app.actions.restore_trust(&asked.runbook, &asked.target, &asked.by).await?;
    Ok(Json(app.actions.list()))
}

async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    asked: Asked,
) -> Answered {
    let Json(asked) = asked?;
    app.actions.acknowledge(&id, &asked.by).await?;
    Ok(Json(app.actions.list()))
}
