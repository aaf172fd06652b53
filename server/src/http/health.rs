//! Liveness, readiness, and our own counters for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName};

use super::App;
use crate::own;

/// The process answers.
pub(crate) async fn healthy() -> &'static str {
    "Headrope is healthy.\n"
}

/// The doors open only after replay, so being asked means being ready, unless the log takes nothing in just now.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    let store = app.store.stats();
    if store.disk_full {
        let words = "The disk is full: nothing is taken in until some space is free, queries are answered.\n";
        return (StatusCode::SERVICE_UNAVAILABLE, words);
    }
    if store.wal_poisoned {
        let words = "The log failed to reach the disk and takes nothing in: free or mend the disk, then restart.\n";
        return (StatusCode::SERVICE_UNAVAILABLE, words);
    }
    (StatusCode::OK, "Headrope is ready.\n")
}

/// What upstream's other lifecycle door would do, this server does at a signal only.
pub(crate) async fn fixed() -> (StatusCode, &'static str) {
    (StatusCode::FORBIDDEN, "This server is not ended over HTTP: send it SIGTERM.\n")
}

/// Reads rule files and scrape files anew, where that is allowed over HTTP.
pub(crate) async fn reload(State(app): State<Arc<App>>) -> (StatusCode, String) {
    if !app.lifecycle {
        let words = "Lifecycle API is not enabled: set `lifecycle = true`, or send SIGHUP.\n";
        return (StatusCode::FORBIDDEN, words.to_owned());
    }
    // A client that goes away does not stop it half way.
    let reloader = Arc::clone(&app.reloader);
    let reloading = tokio::spawn(async move { reloader.reload().await });
    match reloading.await {
        Ok(Ok(())) => (StatusCode::OK, String::new()),
        Ok(Err(error)) => {
            let words = format!("failed to reload config: {error:#}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, words)
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed to reload config\n".to_owned()),
    }
}

/// Our own telemetry, text format 0.0.4.
pub(crate) async fn metrics(
    State(app): State<Arc<App>>,
) -> ([(HeaderName, &'static str); 1], String) {
    let text = own::exposition(&own::samples(&app));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
