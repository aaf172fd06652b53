//! Logs in OTLP/JSON.

use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};

use super::attribute;
use super::node::{Fault, Node};

pub(super) fn resource_logs(node: &Node<'_>) -> Result<ResourceLogs, Fault> {
    Ok(ResourceLogs {
        resource: node.message("resource", attribute::resource)?,
        scope_logs: node.each("scopeLogs", scope_logs)?,
        schema_url: node.text("schemaUrl")?,
    })
}

fn scope_logs(node: &Node<'_>) -> Result<ScopeLogs, Fault> {
    Ok(ScopeLogs {
        scope: node.message("scope", attribute::scope)?,
        log_records: node.each("logRecords", log_record)?,
        schema_url: node.text("schemaUrl")?,
    })
}

fn log_record(node: &Node<'_>) -> Result<LogRecord, Fault> {
    let severity = |name: &str| SeverityNumber::from_str_name(name).map(|number| number as i32);
    Ok(LogRecord {
        time_unix_nano: node.u64("timeUnixNano")?,
        observed_time_unix_nano: node.u64("observedTimeUnixNano")?,
        severity_number: node.code("severityNumber", severity)?,
        severity_text: node.text("severityText")?,
        body: node.message("body", attribute::any_value)?,
        attributes: node.each("attributes", attribute::key_value)?,
        dropped_attributes_count: node.u32("droppedAttributesCount")?,
        flags: node.u32("flags")?,
        trace_id: node.id("traceId")?,
        span_id: node.id("spanId")?,
        event_name: node.text("eventName")?,
    })
}
