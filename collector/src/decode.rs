//! From a body to OTLP's messages. The framing of the whole body is checked before anything of it is admitted.

use bytes::{Buf, Bytes};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::budget::Reservation;
use crate::error::Error;
use crate::footprint;
use crate::json;
use crate::stats::Signal;

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

/// A decoded request.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
    Traces(ExportTraceServiceRequest),
}

/// Decodes a body; an error says at which byte, line or path it is wrong.
///
/// The memory the messages take is held before they are made.
pub(crate) fn decode(
    signal: Signal,
    format: Format,
    body: &Bytes,
    held: &mut Reservation,
) -> Result<Request, Error> {
    held.grow(match format {
        Format::Protobuf => footprint::of_protobuf(signal, body),
        Format::Json => footprint::of_json(body),
    })?;
    Ok(match (signal, format) {
        (Signal::Metrics, Format::Protobuf) => Request::Metrics(protobuf(body)?),
        (Signal::Logs, Format::Protobuf) => Request::Logs(protobuf(body)?),
        (Signal::Traces, Format::Protobuf) => Request::Traces(protobuf(body)?),
        (Signal::Metrics, Format::Json) => Request::Metrics(json::metrics(body)?),
        (Signal::Logs, Format::Json) => Request::Logs(json::logs(body)?),
        (Signal::Traces, Format::Json) => Request::Traces(json::traces(body)?),
    })
}

fn protobuf<M: Message + Default>(body: &Bytes) -> Result<M, Error> {
    let mut rest: &[u8] = body;
    M::decode(&mut rest).map_err(|cause| {
        // prost stops where it stumbles: what it has not read yet tells where that was.
        let offset = body.len() - rest.remaining();
        let name = std::any::type_name::<M>().rsplit("::").next().unwrap_or_default();
        Error::Malformed(format!(
            "the body of {} bytes is no protobuf {name}: {cause} (at byte {offset}); check that the body was sent \
             whole, to the path of its signal, and that Content-Encoding names its compression",
            body.len()
        ))
    })
}
