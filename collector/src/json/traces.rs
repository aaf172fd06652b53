//! Traces in OTLP/JSON.

use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::attribute;
use super::node::{Fault, Node};

pub(super) fn resource_spans(node: &Node<'_>) -> Result<ResourceSpans, Fault> {
    Ok(ResourceSpans {
        resource: node.message("resource", attribute::resource)?,
        scope_spans: node.each("scopeSpans", scope_spans)?,
        schema_url: node.text("schemaUrl")?,
    })
}

fn scope_spans(node: &Node<'_>) -> Result<ScopeSpans, Fault> {
    Ok(ScopeSpans {
        scope: node.message("scope", attribute::scope)?,
        spans: node.each("spans", span)?,
        schema_url: node.text("schemaUrl")?,
    })
}

fn span(node: &Node<'_>) -> Result<Span, Fault> {
    let kind = |name: &str| SpanKind::from_str_name(name).map(|kind| kind as i32);
    Ok(Span {
        trace_id: node.id("traceId")?,
        span_id: node.id("spanId")?,
        trace_state: node.text("traceState")?,
        parent_span_id: node.id("parentSpanId")?,
        flags: node.u32("flags")?,
        name: node.text("name")?,
        kind: node.code("kind", kind)?,
        start_time_unix_nano: node.u64("startTimeUnixNano")?,
        end_time_unix_nano: node.u64("endTimeUnixNano")?,
        attributes: node.each("attributes", attribute::key_value)?,
        dropped_attributes_count: node.u32("droppedAttributesCount")?,
        events: node.each("events", event)?,
        dropped_events_count: node.u32("droppedEventsCount")?,
        links: node.each("links", link)?,
        dropped_links_count: node.u32("droppedLinksCount")?,
        status: node.message("status", status)?,
    })
}

fn event(node: &Node<'_>) -> Result<Event, Fault> {
    Ok(Event {
        time_unix_nano: node.u64("timeUnixNano")?,
        name: node.text("name")?,
        attributes: node.each("attributes", attribute::key_value)?,
        dropped_attributes_count: node.u32("droppedAttributesCount")?,
    })
}

fn link(node: &Node<'_>) -> Result<Link, Fault> {
    Ok(Link {
        trace_id: node.id("traceId")?,
        span_id: node.id("spanId")?,
        trace_state: node.text("traceState")?,
        attributes: node.each("attributes", attribute::key_value)?,
        dropped_attributes_count: node.u32("droppedAttributesCount")?,
        flags: node.u32("flags")?,
    })
}

fn status(node: &Node<'_>) -> Result<Status, Fault> {
    let code = |name: &str| StatusCode::from_str_name(name).map(|code| code as i32);
    Ok(Status { message: node.text("message")?, code: node.code("code", code)? })
}
