//! OTLP/JSON: proto3's JSON form with OTLP's exceptions (hexadecimal ids, enums as integers).
//!
//! Read into the same messages as protobuf. Accepted beyond the letter: enums by name, 64-bit integers as numbers or
//! text, keys in snake_case, `null` for an absent value; unknown keys are ignored. An error names line and column
//! where the text is no JSON, and the path where a value is not what OTLP has there.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use crate::error::Error;

mod attribute;
mod logs;
mod metrics;
mod node;
mod traces;

use node::{Fault, Node};

/// Reads the body of `POST /v1/metrics`.
pub(crate) fn metrics(body: &[u8]) -> Result<ExportMetricsServiceRequest, Error> {
    read(body, |root| {
        let resource_metrics = root.each("resourceMetrics", metrics::resource_metrics)?;
        Ok(ExportMetricsServiceRequest { resource_metrics })
    })
}

/// Reads the body of `POST /v1/logs`.
pub(crate) fn logs(body: &[u8]) -> Result<ExportLogsServiceRequest, Error> {
    read(body, |root| {
        let resource_logs = root.each("resourceLogs", logs::resource_logs)?;
        Ok(ExportLogsServiceRequest { resource_logs })
    })
}

/// Reads the body of `POST /v1/traces`.
pub(crate) fn traces(body: &[u8]) -> Result<ExportTraceServiceRequest, Error> {
    read(body, |root| {
        let resource_spans = root.each("resourceSpans", traces::resource_spans)?;
        Ok(ExportTraceServiceRequest { resource_spans })
    })
}

fn read<T>(body: &[u8], message: impl FnOnce(&Node<'_>) -> Result<T, Fault>) -> Result<T, Error> {
    let value: serde_json::Value = serde_json::from_slice(body).map_err(|cause| {
        // serde_json's words end with the line and the column.
        Error::Malformed(format!("the body is no JSON: {cause}; send one JSON object in UTF-8"))
    })?;
    message(&Node::root(&value)).map_err(|fault| {
        Error::Malformed(format!(
            "the JSON is no OTLP: {fault}; compare it with https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"
        ))
    })
}

#[cfg(test)]
mod tests;
