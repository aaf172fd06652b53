//! The main port: dashboard, own API, Prometheus API, health and metrics. Maps requests and answers, nothing else.

mod actions;
mod admin;
mod alertmanager;
mod alerts;
mod approval;
mod assets;
mod backtest;
mod complete;
mod compress;
mod error;
mod explore;
mod guard;
mod health;
mod hosts;
mod incidents;
mod logs;
mod ofrep;
mod prometheus;
mod queries;
mod slos;
mod sql;
mod status;
mod traces;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};
pub(crate) use guard::{cross_origin, no_foreign_origin};
use http::header::{HeaderName, HeaderValue};
use model::time::{Clock, TimeRange, Timestamp};

pub use prometheus::Notices;
use prometheus::PrometheusFailure;
use tokio_util::sync::CancellationToken;

use crate::listen::Addresses;
use crate::query_log::Dropped;
use crate::settings::Settings;
use crate::wire::telemetry::Rate;
use crate::wire::{Reloader, Rules};

/// Largest request body of the query APIs, in bytes; a query is text. What axum takes by default is no less.
const BODY_MAX: usize = 2 << 20;

/// Labels as a JSON object holds them.
fn object<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What the handlers share.
pub struct App {
    /// The columns.
    pub store: Arc<store::Store>,
    /// Answers questions.
    pub engine: Arc<query::Engine>,
    /// Counts what came in.
    pub collector: Arc<collector::Collector>,
    /// Rules and their states.
    pub alerts: Arc<Rules>,
    /// Webhook deliveries.
    pub notifier: Arc<action::Notifier>,
    /// Notifications of groups.
    pub notify: Arc<crate::wire::notify::Notify>,
    /// Incidents and actions.
    pub actions: Arc<action::Actions>,
    /// What is scraped.
    pub scrape: agent::ScrapeHandle,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Where we listen.
    pub addresses: Addresses,
    /// Names of ours besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Whether deletes and backups may be asked for.
    pub admin: bool,
    /// When the process started.
    pub started: Timestamp,
    /// Samples a second over the last minute.
    pub rate: Rate,
    /// The configuration as the Prometheus API shows it.
    pub settings: Settings,
    /// Since when there are problems.
    pub notices: Notices,
    /// Lines that the query log lost.
    pub log_dropped: Arc<Dropped>,
    /// Reads rule files and scrape files anew.
    pub reloader: Arc<Reloader>,
    /// Whether that may be asked for over HTTP.
    pub lifecycle: bool,
    /// Cancelled when the server stops: streams end then.
    pub stop: CancellationToken,
}

/// All routes of the main port but OTLP's.
pub fn router(app: Arc<App>) -> Router {
    let own = Router::new()
        .route("/status", get(status::status))
        .route("/hosts", get(hosts::hosts))
        .route("/query", post(explore::query))
        .route("/complete", post(complete::complete))
        .route("/sql", post(sql::sql))
        .route("/logs", post(logs::logs))
        .route("/traces", post(traces::search))
        .route("/trace/{id}", get(traces::trace))
        .route("/alerts", get(alerts::alerts))
        .route("/slos", get(slos::slos))
        .route("/rules/backtest", post(backtest::backtest))
        .route("/queries", get(queries::list))
        .route("/queries/metrics", get(queries::metrics))
        .route("/queries/{id}", delete(queries::cancel))
        .merge(admin::routes(&app))
        .merge(actions::routes(&app))
        .merge(incidents::routes())
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method);
    Router::new()
        .nest("/api/headrope/v1", own)
        .nest("/api/v1", prometheus::routes().merge(admin::prometheus_routes(&app)))
        .nest("/prometheus/api/v1", prometheus::routes().merge(admin::prometheus_routes(&app)))
        .nest("/ofrep", ofrep::routes())
        .nest("/api/v2", alertmanager::routes())
        .nest("/alertmanager/api/v2", alertmanager::routes())
        .route("/alertmanager/-/healthy", get(health::healthy))
        .route("/alertmanager/-/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/federate", get(prometheus::federate::federate))
        .route("/prometheus/federate", get(prometheus::federate::federate))
        .route("/-/healthy", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .route("/-/reload", post(health::reload).put(health::reload))
        .route("/-/quit", post(health::fixed).put(health::fixed))
        .route("/graph", get(assets::home))
        .route("/prometheus", get(assets::home))
        .route("/prometheus/", get(assets::home))
        .route("/prometheus/graph", get(assets::home))
        .route("/prometheus/-/healthy", get(health::healthy))
        .route("/prometheus/-/ready", get(health::ready))
        .route("/prometheus/-/reload", post(health::reload).put(health::reload))
        .fallback(assets::serve)
        .layer(middleware::from_fn(compress::compress))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::whole_body))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::known_host))
        .layer(middleware::from_fn(secure))
        .with_state(app)
}

/// The range `[from_ms, to_ms)` of a request.
fn range(from_ms: i64, to_ms: i64) -> Result<TimeRange, error::Failure> {
    if to_ms <= from_ms {
        return Err(error::Failure::invalid(format!(
            "the range ends ({to_ms}) before it begins ({from_ms})"
        )));
    }
    Ok(TimeRange::new(Timestamp::from_ms(from_ms), Timestamp::from_ms(to_ms)))
}

const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        http::header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
             style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; \
             base-uri 'self'; frame-ancestors 'none'",
        ),
    ),
    (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (http::header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// Adds the security headers to every answer.
async fn secure(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(value);
    }
    answer
}
