//! `POST traces` and `GET trace/{id}`.

use std::sync::Arc;

use api::query::Stats;
use api::trace::{
    Span, SpanEvent, SpanLink, SpanStatus, Trace, TraceSummary, Traces, TracesRequest,
};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use model::id::TraceId;
use query::TraceQuery;

use super::App;
use super::error::Failure;
use super::logs::attributes;
use super::sql::count;

pub(crate) async fn search(
    State(app): State<Arc<App>>,
    request: Result<Json<TracesRequest>, JsonRejection>,
) -> Result<Json<Traces>, Failure> {
    let Json(request) = request?;
    let started = tokio::time::Instant::now();
    let range = super::range(request.from_ms, request.to_ms)?;
    let query = TraceQuery {
        service: request.service.clone().filter(|name| !name.is_empty()),
        operation: request.operation.filter(|name| !name.is_empty()),
        min_duration_ns: request.min_ms.map(ns),
        max_duration_ns: request.max_ms.map(ns),
        errors_only: request.errors,
        range,
        limit: request.limit,
    };
    let service = query.service.clone();
    let (found, services, operations) = tokio::try_join!(
        app.engine.traces(query),
        app.engine.services(range),
        app.engine.operations(service.as_deref(), range)
    )?;
    let traces: Vec<TraceSummary> = found.traces.into_iter().map(summary).collect();
    let stats = Stats {
        elapsed_ms: started.elapsed().as_secs_f64() * 1000.0,
        rows: count(traces.len()),
        ..Stats::default()
    };
    Ok(Json(Traces { traces, services, operations, stats, warnings: found.warnings }))
}

pub(crate) async fn trace(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Trace>, Failure> {
    // Shorter ids, as 64-bit tracers print them, are padded on the left.
    let Some(trace_id) = TraceId::parse(&format!("{id:0>32}")) else {
        return Err(Failure::invalid(format!(
            "`{id}` is no trace id: write 32 hexadecimal digits"
        )));
    };
    let Some(found) = app.engine.trace(trace_id).await? else {
        return Err(Failure::not_found(format!("there is no trace {trace_id} here, or no longer")));
    };
    Ok(Json(Trace {
        trace_id: found.trace_id.to_string(),
        spans: found.spans.into_iter().map(span).collect(),
        warnings: found.warnings,
    }))
}

#[expect(clippy::cast_possible_truncation, reason = "a bound beyond the range of i64 is no bound")]
fn ns(ms: f64) -> i64 {
    (ms * 1e6) as i64
}

fn summary(found: query::TraceSummary) -> TraceSummary {
    TraceSummary {
        trace_id: found.trace_id.to_string(),
        root_service: found.root_service,
        root_name: found.root_name,
        start_ns: found.start.0,
        duration_ns: found.duration_ns,
        spans: found.spans,
        errors: found.errors,
        services: found.services,
    }
}

fn span(span: query::Span) -> Span {
    Span {
        span_id: span.span_id.to_string(),
        parent_span_id: span.parent_span_id.map(|id| id.to_string()),
        service: span.service,
        name: span.name,
        kind: if span.kind == "unspecified" { String::new() } else { span.kind },
        start_ns: span.start.0,
        duration_ns: span.duration_ns,
        status: match span.status.as_str() {
            _ if span.is_error => SpanStatus::Error,
            "ok" => SpanStatus::Ok,
            _ => SpanStatus::Unset,
        },
        status_message: span.status_message,
        attributes: attributes(span.attributes),
        resource: attributes(span.resource),
        events: span.events.into_iter().map(event).collect(),
        links: span.links.into_iter().map(link).collect(),
    }
}

fn event(event: query::SpanEvent) -> SpanEvent {
    SpanEvent { time_ns: event.time.0, name: event.name, attributes: attributes(event.attributes) }
}

fn link(link: query::SpanLink) -> SpanLink {
    SpanLink {
        trace_id: link.trace_id.to_string(),
        span_id: link.span_id.to_string(),
        attributes: attributes(link.attributes),
    }
}
