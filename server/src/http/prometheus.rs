//! The Prometheus HTTP API: maps parameters, envelopes and errors, evaluates nothing.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/querying/api/>, version 3.14.

mod answer;
mod encode;
mod metadata;
mod notifications;
mod params;
mod rules;
mod status;
mod targets;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use query::{InstantQuery, RangeQuery};

use super::App;
pub(super) use answer::Failure as PrometheusFailure;
use answer::{Failure, Success};
pub use notifications::Notices;
pub(super) use params::Params;

/// Most points a series may have in a range query; clients match on the sentence.
const POINTS_MAX: i64 = 11_000;

/// The routes, without their prefix.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/query", get(instant).post(instant))
        .route("/query_range", get(range).post(range))
        .route("/labels", get(metadata::labels).post(metadata::labels))
        .route("/label/{name}/values", get(metadata::values))
        .route("/series", get(metadata::series).post(metadata::series))
        .route("/metadata", get(metadata::metadata))
        .route("/format_query", get(metadata::format).post(metadata::format))
        .route("/parse_query", get(metadata::parse).post(metadata::parse))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(status::alertmanagers))
        .route("/features", get(status::features))
        .route("/notifications", get(notifications::list))
        .route("/notifications/live", get(notifications::live))
        .route("/status/buildinfo", get(status::build_info))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/runtimeinfo", get(status::runtime_info))
        .route("/status/self_metrics", get(status::self_metrics))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/tsdb/blocks", get(status::blocks))
        .route("/status/walreplay", get(status::wal_replay))
        .route("/targets", get(targets::targets))
        .route("/targets/metadata", get(targets::metadata))
        .route("/targets/relabel_steps", get(targets::relabel_steps))
        .route("/scrape_pools", get(targets::pools))
        .fallback(answer::no_such_route)
        .method_not_allowed_fallback(answer::wrong_method)
}

async fn instant(State(app): State<Arc<App>>, params: Params) -> Result<Response, Failure> {
    let query = InstantQuery {
        expr: params.required("query")?.to_owned(),
        at_ms: params.time("time")?.unwrap_or_else(|| app.clock.now().ms()),
        lookback_ms: params.duration("lookback_delta")?,
        timeout: params.timeout()?,
        limit: params.limit()?,
        explain: params.wants_explain(),
        ..InstantQuery::default()
    };
    let answer = app.engine.instant(query).await?;
    Ok(encode::answer(&answer, params.wants_stats()).into_response())
}

async fn range(State(app): State<Arc<App>>, params: Params) -> Result<Response, Failure> {
    let missing = |name: &str| Failure::parameter(name, "cannot parse \"\" to a valid timestamp");
    let start_ms = params.time("start")?.ok_or_else(|| missing("start"))?;
    let end_ms = params.time("end")?.ok_or_else(|| missing("end"))?;
    let step_ms = params.duration("step")?;
    let step_ms = step_ms
        .ok_or_else(|| Failure::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if end_ms < start_ms {
        return Err(Failure::parameter("end", "end timestamp must not be before start time"));
    }
    if step_ms <= 0 {
        let sentence = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Failure::parameter("step", sentence));
    }
    if (end_ms - start_ms) / step_ms > POINTS_MAX {
        return Err(Failure::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)",
        ));
    }
    let query = RangeQuery {
        expr: params.required("query")?.to_owned(),
        start_ms,
        end_ms,
        step_ms,
        lookback_ms: params.duration("lookback_delta")?,
        timeout: params.timeout()?,
        limit: params.limit()?,
        explain: params.wants_explain(),
    };
    let answer = app.engine.range(query).await?;
    Ok(encode::answer(&answer, params.wants_stats()).into_response())
}

/// A successful answer around `data`, without warnings.
fn ok(data: impl serde::Serialize) -> Response {
    Success::new(data).into_response()
}
