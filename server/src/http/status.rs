//! `GET status`.

use std::sync::Arc;

use api::status::{Addresses, Ingest, Problem, Severity, Status, Store};
use axum::Json;
use axum::extract::State;

use super::App;

pub(crate) async fn status(State(app): State<Arc<App>>) -> Json<Status> {
    let collector = app.collector.stats();
    let store = app.store.stats();
    let signals = [&collector.metrics, &collector.logs, &collector.traces];
    let rejected = signals.iter().flat_map(|signal| &signal.rejected).map(|(_, count)| count).sum();
    let url = |address| format!("http://{address}");
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: app.started.ms(),
        uptime_s: u64::try_from(app.clock.now().s() - app.started.s()).unwrap_or(0),
        addresses: Addresses {
            http: url(app.addresses.http),
            otlp_grpc: url(app.addresses.otlp_grpc),
            otlp_http: url(app.addresses.otlp_http),
        },
        ingest: Ingest {
            samples_per_s: app.rate.per_second(),
            samples_total: collector.metrics.accepted,
            log_rows_total: collector.logs.accepted,
            span_rows_total: collector.traces.accepted,
            rejected_total: rejected,
        },
        store: Store {
            segments: store.tables.iter().map(|table| table.segments).sum(),
            bytes: store.tables.iter().map(|table| table.segment_bytes).sum(),
            series: store.series,
            wal_bytes: store.wal_behind_bytes,
            head_bytes: store.head_bytes,
        },
        problems: problems(&store, rejected),
    })
}

/// What a person should look at now, worst first.
pub(super) fn present_problems(app: &App) -> Vec<Problem> {
    let collector = app.collector.stats();
    let signals = [&collector.metrics, &collector.logs, &collector.traces];
    let rejected = signals.iter().flat_map(|signal| &signal.rejected).map(|(_, count)| count).sum();
    let mut found = problems(&app.store.stats(), rejected);
    if !app.reloader.is_successful() {
        let reason = super::error::bounded(app.reloader.error());
        let message = format!("changed files were not taken, those before stay in force: {reason}");
        let remedy = "mend the file, then reload again".to_owned();
        found.insert(0, Problem { severity: Severity::Error, message, remedy });
    }
    found
}

/// What a person should look at, worst first.
fn problems(store: &store::Stats, rejected: u64) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut note = |severity, message: String, remedy: &str| {
        found.push(Problem { severity, message, remedy: remedy.to_owned() });
    };
    if store.wal_poisoned {
        let message = "the log failed to reach the disk: nothing is taken in".to_owned();
        note(Severity::Error, message, "free or mend the disk, then restart");
    }
    if store.disk_full {
        let message = "the disk is full: nothing is taken in, queries are answered".to_owned();
        note(Severity::Error, message, "free some space, ingest then goes on by itself");
    }
    for (limit, count) in store.refused_total.iter().filter(|(_, count)| *count > 0) {
        let message = format!("{count} requests were refused because {limit} is full");
        note(Severity::Error, message, "raise the limit in [store], or send less");
    }
    if store.quarantined_segments > 0 {
        let message =
            format!("{} segments are in quarantine: answers lack them", store.quarantined_segments);
        note(Severity::Error, message, "restore the files from a backup, then restart");
    }
    if rejected > 0 {
        let message = format!("{rejected} items were rejected since the start");
        note(Severity::Warn, message, "headrope_collector_rejected_items_total tells the reasons");
    }
    if store.flush_failures_total > 0 {
        let message = format!("{} flushes failed and were tried again", store.flush_failures_total);
        note(Severity::Warn, message, "look at the log for the reason, mostly a full disk");
    }
    found.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    found
}
