//! OTLP's Export…ServiceResponse: empty when all is well, else a partial success with the count and the reasons.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;

use crate::Outcome;
use crate::stats::Signal;

/// The answer as protobuf.
pub(crate) fn protobuf(signal: Signal, outcome: &Outcome) -> Bytes {
    let Outcome { rejected, message, .. } = outcome;
    let error_message = message.clone();
    let is_partial = !message.is_empty();
    let body = match signal {
        Signal::Metrics => {
            let partial =
                ExportMetricsPartialSuccess { rejected_data_points: *rejected, error_message };
            ExportMetricsServiceResponse { partial_success: is_partial.then_some(partial) }
                .encode_to_vec()
        }
        Signal::Logs => {
            let partial =
                ExportLogsPartialSuccess { rejected_log_records: *rejected, error_message };
            ExportLogsServiceResponse { partial_success: is_partial.then_some(partial) }
                .encode_to_vec()
        }
        Signal::Traces => {
            let partial = ExportTracePartialSuccess { rejected_spans: *rejected, error_message };
            ExportTraceServiceResponse { partial_success: is_partial.then_some(partial) }
                .encode_to_vec()
        }
    };
    body.into()
}

/// The answer as JSON, the count in quotes as proto3's JSON has 64-bit integers.
pub(crate) fn json(signal: Signal, outcome: &Outcome) -> Bytes {
    if outcome.message.is_empty() {
        return Bytes::from_static(b"{}");
    }
    let rejected = match signal {
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
        Signal::Traces => "rejectedSpans",
    };
    let partial =
        json!({ rejected: outcome.rejected.to_string(), "errorMessage": outcome.message });
    json!({ "partialSuccess": partial }).to_string().into()
}
