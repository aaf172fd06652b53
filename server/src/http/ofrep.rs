//! Flags for applications, by the OpenFeature Remote Evaluation Protocol 0.3: one, or all of them with a tag.

use std::sync::Arc;

use action::flags::Evaluation;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::{ETAG, IF_NONE_MATCH};
use serde_json::{Value, json};

use super::App;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/evaluate/flags/{key}", post(one))
        .route("/v1/evaluate/flags", post(all))
}

async fn one(State(app): State<Arc<App>>, Path(key): Path<String>, body: Bytes) -> Response {
    if let Err((code, details)) = context(&body) {
        return refused(StatusCode::BAD_REQUEST, Some(&key), (code, &details));
    }
    match app.actions.flags().evaluate(&key) {
        Some(found) => axum::Json(shown(found)).into_response(),
        None => {
            let details = format!("there is no flag {key}");
            refused(StatusCode::NOT_FOUND, Some(&key), ("FLAG_NOT_FOUND", &details))
        }
    }
}

async fn all(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err((code, details)) = context(&body) {
        return refused(StatusCode::BAD_REQUEST, None, (code, &details));
    }
    let flags = app.actions.flags();
    let tag = format!("\"{}\"", flags.tag());
    let known = headers.get(IF_NONE_MATCH).and_then(|text| text.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag)) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    let found: Vec<Value> = flags.all().into_iter().map(shown).collect();
    ([(ETAG, tag)], axum::Json(json!({"flags": found, "metadata": {}}))).into_response()
}

fn shown(found: Evaluation) -> Value {
    json!({
        "key": found.key,
        "value": found.value,
        "variant": found.variant,
        "reason": "STATIC",
        "metadata": {"headrope.held": found.is_held},
    })
}

/// Nothing depends on the context yet, but what is none is told.
fn context(body: &[u8]) -> Result<(), (&'static str, String)> {
    let asked: Value =
        serde_json::from_slice(body).map_err(|error| ("PARSE_ERROR", error.to_string()))?;
    match asked.get("context") {
        None | Some(Value::Object(_)) if asked.is_object() => Ok(()),
        _ => Err(("INVALID_CONTEXT", "the context must be an object".to_owned())),
    }
}

fn refused(status: StatusCode, key: Option<&str>, (code, details): (&str, &str)) -> Response {
    let mut body = json!({"errorCode": code, "errorDetails": details});
    if let Some(key) = key {
        body["key"] = json!(key);
    }
    (status, axum::Json(body)).into_response()
}
