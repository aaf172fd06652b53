//! `status/*`, `features`, `alertmanagers`: what this server is, in upstream's shapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use model::matcher::{MatchOp, Matcher};
use query::promql::functions::Function;
use serde::Serialize;
use serde_json::{Value, json};
use store::schema::Table;

use super::answer::Failure;
use super::params::Params;
use super::{App, ok};
use crate::own;

/// Entries of each list of `status/tsdb` when nobody says, and at most.
const CENSUS_DEFAULT: usize = 10;
const CENSUS_MAX: usize = 10_000;

#[derive(Serialize)]
struct BuildInfo {
    version: &'static str,
    revision: &'static str,
    branch: String,
    #[serde(rename = "buildUser")]
    build_user: &'static str,
    #[serde(rename = "buildDate")]
    build_date: &'static str,
    #[serde(rename = "goVersion")]
    go_version: &'static str,
}

/// The version of the API we speak: clients switch features by it. Our own stands in `branch`.
pub(super) async fn build_info() -> Response {
    ok(BuildInfo {
        version: "3.14.0",
        revision: "",
        branch: format!("headrope-{}", env!("CARGO_PKG_VERSION")),
        build_user: "",
        build_date: "",
        go_version: "",
    })
}

/// The configuration in force; fixed since the start.
pub(super) async fn config(State(app): State<Arc<App>>) -> Response {
    ok(json!({"yaml": app.settings.yaml}))
}

/// Upstream's flags as far as they mean something here.
pub(super) async fn flags(State(app): State<Arc<App>>) -> Response {
    ok(&app.settings.flags)
}

/// What upstream says of Go's runtime is said of ours: tasks, threads, memory.
pub(super) async fn runtime_info(State(app): State<Arc<App>>) -> Response {
    let stats = app.store.stats();
    let here = std::env::current_dir().unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    ok(json!({
        "startTime": app.started.to_string(),
        "CWD": here.display().to_string(),
        "hostname": host,
        "serverTime": app.clock.now().to_string(),
        "reloadConfigSuccess": app.reloader.is_successful(),
        "lastConfigTime": app.reloader.succeeded_at().to_string(),
        "corruptionCount": stats.quarantined_segments,
        "goroutineCount": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": stats.memory.limit,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": app.settings.retention,
    }))
}

/// The doors open after replay: there is nothing left to do.
pub(super) async fn wal_replay(State(app): State<Arc<App>>) -> Response {
    let stats = app.store.stats();
    let last = stats.wal_sequence;
    ok(json!({"min": stats.wal_watermark.min(last), "max": last, "current": last}))
}

#[derive(Serialize)]
struct Stat {
    name: String,
    value: u64,
}

fn stats(entries: Vec<(String, u64)>) -> Vec<Stat> {
    entries.into_iter().map(|(name, value)| Stat { name, value }).collect()
}

/// Which metrics and labels make the most series, of those active.
pub(super) async fn tsdb(State(app): State<Arc<App>>, params: Params) -> Result<Response, Failure> {
    let limit = match params.first("limit") {
        None => CENSUS_DEFAULT,
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if limit > 0 && limit <= CENSUS_MAX => limit,
            Ok(limit) if limit > 0 => {
                return Err(Failure::bad_data(format!("limit must not exceed {CENSUS_MAX}")));
            }
            _ => return Err(Failure::bad_data("limit must be a positive number")),
        },
    };
    let census = app.engine.census(app.clock.now(), limit).await?;
    let head = app.store.stats();
    ok_census(census, &head)
}

fn ok_census(census: query::Census, head: &store::Stats) -> Result<Response, Failure> {
    let (first, last) = census.range_ms.unwrap_or((0, 0));
    Ok(ok(json!({
        "headStats": {
            "numSeries": census.series,
            "numLabelPairs": census.label_pairs,
            "chunkCount": head.head_rows,
            "minTime": first,
            "maxTime": last,
        },
        "seriesCountByMetricName": stats(census.series_by_metric),
        "labelValueCountByLabelName": stats(census.values_by_label),
        "memoryInBytesByLabelName": stats(census.bytes_by_label),
        "seriesCountByLabelValuePair": stats(census.series_by_pair),
    })))
}

/// Segments of samples and histograms as upstream shows blocks.
pub(super) async fn blocks(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.store.snapshot();
    let tables = [(Table::Samples, "numFloatSamples"), (Table::HistPoints, "numHistogramSamples")];
    let mut blocks = Vec::new();
    for (table, counted) in tables {
        for segment in snapshot.segments(table, model::time::TimeRange::ALL) {
            let name = segment.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            blocks.push((
                segment.min_time,
                json!({
                    "ulid": name,
                    "minTime": segment.min_time.ms(),
                    "maxTime": segment.max_time.ms(),
                    "stats": {"numSamples": segment.rows, counted: segment.rows},
                    "compaction": {"level": segment.level.saturating_add(1), "sources": [name]},
                    "version": 1,
                }),
            ));
        }
    }
    blocks.sort_by_key(|(start, _)| *start);
    let blocks: Vec<Value> = blocks.into_iter().map(|(_, block)| block).collect();
    ok(json!({"blocks": blocks}))
}

/// Our own numbers in the JSON form of Prometheus' metric families.
pub(super) async fn self_metrics(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let pattern = params.first("metric_name_pattern");
    let pattern = pattern.map(|text| Matcher::new("__name__", MatchOp::Regex, text));
    let wanted = app.engine.compiled(vec![pattern.into_iter().collect()]).await;
    let wanted = wanted.map_err(|error| Failure::of_parameter("metric_name_pattern", error))?;
    let is_wanted = |name: &str| wanted.iter().flatten().all(|(_, test)| test.matches(name));
    let mut families: Vec<Value> = Vec::new();
    for sample in own::samples(&app) {
        if !is_wanted(sample.name) {
            continue;
        }
        let kind = if sample.is_counter() { "counter" } else { "gauge" };
        let labels =
            sample.labels.iter().map(|(name, value)| json!({"name": name, "value": value}));
        let mut metric = json!({"label": labels.collect::<Vec<_>>()});
        metric[kind] = json!({"value": sample.value});
        match families.last_mut().filter(|family| family["name"] == sample.name) {
            Some(family) => {
                if let Some(metrics) = family["metric"].as_array_mut() {
                    metrics.push(metric);
                }
            }
            None => families.push(json!({
                "name": sample.name, "help": "", "type": kind.to_uppercase(), "metric": [metric],
            })),
        }
    }
    Ok(ok(families))
}

/// What of this API is served, as OpenAPI describes it; written by hand, held to the truth by a test.
pub(super) async fn openapi() -> Response {
    let headers = [(CONTENT_TYPE, "application/yaml; charset=utf-8")];
    (headers, include_str!("openapi.yaml")).into_response()
}

/// We send alerts to webhooks, not to Alertmanagers.
pub(super) async fn alertmanagers() -> Response {
    ok(json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}))
}

/// What of upstream's features is there, by category.
pub(super) async fn features(State(app): State<Arc<App>>) -> Response {
    let experimental = app.settings.experimental_functions;
    let functions: BTreeMap<&str, bool> =
        Function::all().iter().map(|f| (f.name, experimental || !f.is_experimental())).collect();
    ok(json!({
        "api": {
            "admin": app.admin,
            "exclude_alerts": true,
            "label_values_match": true,
            "lifecycle": app.lifecycle,
            "otlp_write_receiver": true,
            "query_stats": true,
            "query_warnings": true,
            "remote_read": true,
            "remote_write_receiver": true,
            "search": true,
            "time_range_labels": true,
            "time_range_series": true,
        },
        "promql": {
            "anchored": true,
            "at_modifier": true,
            "bool": true,
            "delayed_name_removal": false,
            "duration_expr": true,
            "experimental_functions": experimental,
            "negative_offset": true,
            "per_step_stats": true,
            "smoothed": true,
            "subqueries": true,
            "type_and_unit_labels": false,
        },
        "promql_functions": functions,
        "tsdb": {"delayed_compaction": false, "exemplar_storage": true, "native_histograms": true},
    }))
}
