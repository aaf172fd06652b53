//! `GET hosts`.

use std::sync::Arc;

use api::host::{Host, HostState};
use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::App;
use super::error::Failure;

/// Hosts silent for longer than this are not listed by default.
const RANGE_DEFAULT_MS: i64 = 24 * 3_600_000;

#[derive(Debug, Deserialize)]
pub(crate) struct Range {
    from: Option<i64>,
    to: Option<i64>,
}

pub(crate) async fn hosts(
    State(app): State<Arc<App>>,
    Query(range): Query<Range>,
) -> Result<Json<Vec<Host>>, Failure> {
    let to = range.to.unwrap_or_else(|| app.clock.now().ms() + 1);
    let from = range.from.unwrap_or(to - RANGE_DEFAULT_MS);
    let found = app.engine.hosts(super::range(from, to)?).await?;
    Ok(Json(found.into_iter().map(host).collect()))
}

fn host(found: query::Host) -> Host {
    Host {
        name: found.name,
        host_id: found.host_id,
        os: found.os,
        arch: found.arch,
        last_seen_ms: found.last_seen.map_or(0, |at| at.ms()),
        state: match found.state {
            query::HostState::Ok => HostState::Ok,
            query::HostState::Warn => HostState::Warn,
            query::HostState::Error => HostState::Error,
            query::HostState::Unknown => HostState::Unknown,
        },
        cpu_utilization: found.cpu_utilization,
        memory_utilization: found.memory_utilization,
        filesystem_utilization: found.filesystem_utilization,
        load_1m: found.load_1m,
        cpus: found.cpus,
        uptime_s: found.uptime_s,
        reasons: found.reasons,
    }
}
