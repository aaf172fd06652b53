//! The Prometheus HTTP API: maps parameters, envelopes and errors, evaluates nothing.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/querying/api/>, version 3.14.

mod answer;
mod encode;
mod exemplars;
pub(super) mod federate;
mod metadata;
mod notifications;
mod params;
mod read;
mod rules;
mod search;
mod status;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use query::{AskedTimes, InstantQuery, RangeQuery};

use super::App;
pub(super) use answer::Failure as PrometheusFailure;
use answer::{Failure, Success};
pub use notifications::Notices;
pub(super) use params::Params;
use params::Stats;

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
        .route("/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
        .route("/read", post(read::read))
        .route("/search/metric_names", get(search::metric_names).post(search::metric_names))
        .route("/search/label_names", get(search::label_names).post(search::label_names))
        .route("/search/label_values", get(search::label_values).post(search::label_values))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(status::alertmanagers))
        .route("/features", get(status::features))
        .route("/openapi.yaml", get(status::openapi))
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
        .route("/scrape_pools/config", get(targets::pool_config))
        .fallback(answer::no_such_route)
        .method_not_allowed_fallback(answer::wrong_method)
}

async fn instant(State(app): State<Arc<App>>, params: Params) -> Result<Response, Failure> {
    let (stats, warning) = params.stats();
    let query = InstantQuery {
        expr: params.required("query")?.to_owned(),
        at_ms: params.time("time")?.unwrap_or_else(|| app.clock.now().ms()),
        lookback_ms: params.lookback()?,
        timeout: params.timeout()?,
        limit: params.limit()?,
        explain: params.wants_explain(),
        origin: params.origin.clone(),
        per_step_stats: stats == Stats::PerStep,
        ..InstantQuery::default()
    };
    let mut answer = app.engine.instant(query).await?;
    answer.warnings.extend(warning);
    Ok(encode::answer(&answer, stats))
}

async fn range(State(app): State<Arc<App>>, params: Params) -> Result<Response, Failure> {
    let (stats, warning) = params.stats();
    let (times, coarser) = times(&params)?;
    let query = RangeQuery {
        expr: params.required("query")?.to_owned(),
        start_ms: times.start_ms,
        end_ms: times.end_ms,
        step_ms: times.step_ms,
        lookback_ms: params.lookback()?,
        timeout: params.timeout()?,
        limit: params.limit()?,
        origin: params.origin.clone(),
        per_step_stats: stats == Stats::PerStep,
        explain: params.wants_explain(),
        no_cache: params.no_cache(),
    };
    let mut answer = app.engine.range(query).await?;
    answer.warnings.extend(warning.into_iter().chain(coarser));
    Ok(encode::answer(&answer, stats))
}

/// The times of a range query, and a warning where its step was made coarser, as the client asked for.
fn times(params: &Params) -> Result<(AskedTimes, Option<String>), Failure> {
    let missing = |name: &str| Failure::parameter(name, "cannot parse \"\" to a valid timestamp");
    let start_ms = params.time("start")?.ok_or_else(|| missing("start"))?;
    let end_ms = params.time("end")?.ok_or_else(|| missing("end"))?;
    if end_ms < start_ms {
        return Err(Failure::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.duration("step")?;
    let step_ms = step_ms
        .ok_or_else(|| Failure::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step_ms <= 0 {
        let sentence = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Failure::parameter("step", sentence));
    }
    let times = AskedTimes { start_ms, end_ms, step_ms };
    let length_ms = end_ms.saturating_sub(start_ms);
    if length_ms / step_ms <= POINTS_MAX {
        return Ok((times, None));
    }
    if !params.coarsens {
        return Err(Failure::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)",
        ));
    }
    let step_ms = finest_step(length_ms);
    let seconds = Duration::from_millis(step_ms.unsigned_abs()).as_secs_f64();
    let warning = format!("the step was made coarser to stay within 11,000 points: {seconds} s");
    Ok((AskedTimes { step_ms, ..times }, Some(warning)))
}

/// The shortest step that gives no more points than allowed; whole seconds where that is at least one.
fn finest_step(length_ms: i64) -> i64 {
    let step = length_ms / (POINTS_MAX + 1) + 1;
    if step <= 1_000 { step } else { (step + 999) / 1_000 * 1_000 }
}

/// A successful answer around `data`, without warnings.
fn ok(data: impl serde::Serialize) -> Response {
    Success::new(data).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finest_step_is_legal_and_the_next_finer_is_not() {
        for length_ms in [11_001, 86_400_000, 31_536_000_000, i64::MAX / 2] {
            let step = finest_step(length_ms);
            assert!(length_ms / step <= POINTS_MAX, "{length_ms} {step}");
            if step <= 1_000 && step > 1 {
                assert!(length_ms / (step - 1) > POINTS_MAX, "{length_ms} {step}");
            }
        }
    }
}
