//! What our agent scrapes, in the shapes of Prometheus: targets, what they say of their metrics, jobs, relabelling.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::{ActiveTarget, Health, RelabelStep};
use axum::extract::State;
use axum::response::Response;
use model::metric::Labels;
use serde::Serialize;

use super::answer::Failure;
use super::params::Params;
use super::{App, ok};
use crate::http::object;
use crate::settings::write_yaml;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    active_targets: Vec<Active>,
    dropped_targets: Vec<Dropped>,
    dropped_target_counts: BTreeMap<String, usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Active {
    discovered_labels: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dropped {
    discovered_labels: BTreeMap<String, String>,
    scrape_pool: String,
}

/// `GET /targets`.
pub(super) async fn targets(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let state = params.first("state").unwrap_or_default().to_lowercase();
    let (active, dropped) = match state.as_str() {
        "" | "any" => (true, true),
        "active" => (true, false),
        "dropped" => (false, true),
        _ => {
            return Err(Failure::parameter(
                "state",
                &format!("{state:?} is none of active, dropped, any"),
            ));
        }
    };
    let pool = params.first("scrapePool");
    let all = app.scrape.active(pool);
    let gone = |target: agent::DroppedTarget| Dropped {
        discovered_labels: target.discovered,
        scrape_pool: target.pool,
    };
    Ok(ok(Targets {
        active_targets: if active { all.into_iter().map(shown).collect() } else { Vec::new() },
        dropped_targets: if dropped {
            app.scrape.dropped(pool).into_iter().map(gone).collect()
        } else {
            Vec::new()
        },
        dropped_target_counts: if dropped { app.scrape.dropped_counts() } else { BTreeMap::new() },
    }))
}

fn shown(target: ActiveTarget) -> Active {
    let never = "0001-01-01T00:00:00Z".to_owned(); // What Go writes for no time.
    Active {
        discovered_labels: target.discovered,
        labels: object(target.labels.iter()),
        scrape_pool: target.pool,
        global_url: target.url.clone(),
        scrape_url: target.url,
        last_error: target.last_error,
        last_scrape: target.last_scrape.map_or(never, |at| at.to_string()),
        last_scrape_duration: target.last_duration_s,
        health: match target.health {
            Health::Up => "up",
            Health::Down => "down",
            Health::Unknown => "unknown",
        },
        scrape_interval: target.interval,
        scrape_timeout: target.timeout,
    }
}

#[derive(Serialize)]
struct Metadata {
    target: BTreeMap<String, String>,
    /// Not there when the request names a metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    help: String,
    unit: String,
}

/// `GET /targets/metadata`.
pub(super) async fn metadata(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let matchers = match params.first("match_target") {
        None => Vec::new(),
        Some(selector) => {
            let wrong = |error| Failure::of_parameter("match_target", error);
            let matchers = app.engine.selector(selector.to_owned()).await.map_err(wrong)?;
            app.engine.compiled(vec![matchers]).await.map_err(wrong)?.concat()
        }
    };
    let wanted = |labels: &Labels| {
        matchers.iter().all(|(name, test)| test.matches(labels.value(name).unwrap_or_default()))
    };
    let metric = params.first("metric");
    let limit = params.limit()?.unwrap_or(usize::MAX);
    let found = app
        .scrape
        .metadata(wanted)
        .into_iter()
        .filter(|entry| metric.is_none_or(|name| name == entry.metric));
    let entries = found.take(limit).map(|entry| Metadata {
        target: object(entry.target.iter()),
        metric: metric.is_none().then_some(entry.metric),
        kind: entry.kind,
        help: entry.help,
        unit: entry.unit,
    });
    Ok(ok(entries.collect::<Vec<_>>()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pools {
    scrape_pools: Vec<String>,
}

/// `GET /scrape_pools`.
pub(super) async fn pools(State(app): State<Arc<App>>) -> Response {
    ok(Pools { scrape_pools: app.scrape.pool_names() })
}

#[derive(Serialize)]
struct PoolConfig {
    yaml: String,
}

/// `GET /scrape_pools/config`.
pub(super) async fn pool_config(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let pool = scrape_pool(&params)?;
    let config = app.scrape.config(pool).ok_or_else(|| not_found(pool))?;
    let mut yaml = String::new();
    write_yaml(&mut yaml, &config, 0);
    Ok(ok(PoolConfig { yaml }))
}

fn scrape_pool(params: &Params) -> Result<&str, Failure> {
    params.first("scrapePool").ok_or_else(|| Failure::bad_data("no scrapePool parameter provided"))
}

fn not_found(pool: &str) -> Failure {
    Failure::bad_data(format!("scrape pool {pool:?} not found"))
}

#[derive(Serialize)]
struct Steps {
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    rule: Rule,
    output: BTreeMap<String, String>,
    keep: bool,
}

#[derive(Serialize)]
struct Rule {
    source_labels: Vec<String>,
    separator: String,
    regex: String,
    #[serde(skip_serializing_if = "is_zero")]
    modulus: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    target_label: String,
    replacement: String,
    action: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// `GET /targets/relabel_steps`.
pub(super) async fn relabel_steps(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let pool = scrape_pool(&params)?;
    let labels: BTreeMap<String, String> = serde_json::from_str(params.required("labels")?)
        .map_err(|error| {
            Failure::parameter("labels", &format!("no JSON object of texts: {error}"))
        })?;
    let steps = app.scrape.relabel_steps(pool, &labels);
    let steps = steps.ok_or_else(|| not_found(pool))?;
    let step = |step: RelabelStep| Step {
        rule: Rule {
            source_labels: step.source_labels,
            separator: step.separator,
            regex: step.regex,
            modulus: step.modulus,
            target_label: step.target_label,
            replacement: step.replacement,
            action: step.action,
        },
        output: step.output,
        keep: step.keep,
    };
    Ok(ok(Steps { steps: steps.into_iter().map(step).collect() }))
}
