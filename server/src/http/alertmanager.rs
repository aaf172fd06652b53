//! Alertmanager's API v2 over our own router: for amtool, karma, Grafana, and any Prometheus that sends alerts.
//!
//! Source: <https://github.com/prometheus/alertmanager>, `api/v2/openapi.yaml`.

mod alerts;
mod silences;

use std::sync::Arc;

use alert::route::matcher::{self, Condition};
use alert::route::{Refusal, Unsilenced};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use model::matcher::MatchOp;
use serde_json::{Value, json};

use super::App;
use super::prometheus::Params;

/// Matchers of one request at most.
const FILTERS_MAX: usize = 100;

/// The routes, without their prefix.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/status", get(status))
        .route("/receivers", get(receivers))
        .route("/alerts", get(alerts::list).post(alerts::post))
        .route("/alerts/groups", get(alerts::groups))
        .route("/silences", get(silences::list).post(silences::post))
        .route("/silence/{id}", get(silences::one).delete(silences::expire))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
}

/// Errors of this API are a JSON string.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<super::PrometheusFailure> for Failure {
    fn from(failure: super::PrometheusFailure) -> Self {
        wrong(failure.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Silence(Unsilenced::Unknown) => {
                Self(StatusCode::NOT_FOUND, "silence not found".to_owned())
            }
            Refusal::Silence(Unsilenced::Wrong(words)) => wrong(words),
            Refusal::Unavailable(words) => Self(StatusCode::SERVICE_UNAVAILABLE, words),
        }
    }
}

fn wrong(words: impl Into<String>) -> Failure {
    Failure(StatusCode::BAD_REQUEST, words.into())
}

async fn no_such_route() -> StatusCode {
    StatusCode::NOT_FOUND
}

async fn wrong_method() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

async fn status(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "cluster": {"status": "disabled", "peers": []},
        "versionInfo": {
            "version": "0.28.0",
            "revision": "",
            "branch": format!("headrope-{}", env!("CARGO_PKG_VERSION")),
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
        "config": {"original": app.notify.shown.as_ref().unwrap_or(&app.settings.yaml)},
        "uptime": app.started.to_string(),
    }))
}

async fn receivers(State(app): State<Arc<App>>, params: Params) -> Result<Json<Value>, Failure> {
    let filters = filters(&app, &params, "receiver_matchers").await?;
    let routed = app.notify.dispatcher.look(|router, _| router.config().receivers.clone());
    let routed = routed.into_iter().filter(|_| app.notify.is_configured());
    let direct = app.notifier.receivers().into_iter();
    let direct = direct.map(|name| (name.to_owned(), std::collections::BTreeMap::new()));
    let all = routed.map(|receiver| (receiver.name, receiver.labels)).chain(direct);
    let fitting = all.filter(|(_, labels)| {
        let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        matcher::all_hold(&filters, &labels)
    });
    Ok(Json(fitting.map(|(name, labels)| json!({"name": name, "labels": labels})).collect()))
}

/// The matchers of the parameters named `name`, read where they hold up nobody.
async fn filters(app: &App, params: &Params, name: &str) -> Result<Vec<Condition>, Failure> {
    let texts = params.all(name);
    let (n, limit) = (texts.len(), FILTERS_MAX);
    if n > FILTERS_MAX {
        return Err(wrong(format!("{n} matchers, the limit is {limit}")));
    }
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    apart(app, move || {
        let mut found = Vec::new();
        for text in &texts {
            let parsed = matcher::parse(text);
            found.extend(parsed.map_err(|why| format!("bad matcher format: {text}: {why}"))?);
            if found.len() > FILTERS_MAX {
                return Err(format!("more than {FILTERS_MAX} matchers"));
            }
        }
        Ok(found)
    })
    .await
}

/// The regular expression of the parameter `receiver`.
async fn receiver(app: &App, params: &Params) -> Result<Option<Condition>, Failure> {
    let Some(text) = params.first("receiver").map(str::to_owned) else { return Ok(None) };
    apart(app, move || Condition::new("receiver", MatchOp::Regex, &text)).await.map(Some)
}

/// What `work` gives on the threads of queries: a regular expression may take its time.
async fn apart<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Failure> {
    let done = app.engine.apart(move |_| Ok(work())).await;
    done.map_err(|error| Failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?
        .map_err(wrong)
}

/// A flag that is on unless it is said to be off.
fn on(params: &Params, name: &str) -> Result<bool, Failure> {
    Ok(params.first(name).is_none() || params.flag(name)?)
}
