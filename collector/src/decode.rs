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

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::any;
    use proptest::{prop_assert, proptest};

    use super::*;
    use crate::budget::Budget;
    use crate::fixture::{Desk, good, good_json};

    fn read(signal: Signal, format: Format, body: Vec<u8>) -> Result<Request, Error> {
        let mut held = Budget::new(64 << 20).reserve(0).unwrap();
        decode(signal, format, &body.into(), &mut held)
    }

    #[test]
    fn protobuf_and_json_of_one_request_are_equal() {
        for signal in Signal::ALL {
            let protobuf = read(signal, Format::Protobuf, good(signal)).unwrap();
            let json = read(signal, Format::Json, good_json(signal).into_bytes()).unwrap();
            assert_eq!(protobuf, json);
        }
    }

    #[test]
    fn a_malformed_body_is_refused_with_the_byte_where_it_breaks() {
        let mut body = good(Signal::Traces);
        body.truncate(60);
        let error = read(Signal::Traces, Format::Protobuf, body).unwrap_err();
        expect!["the body of 60 bytes is no protobuf ExportTraceServiceRequest: failed to decode Protobuf message: ExportTraceServiceRequest.resource_spans: buffer underflow (at byte 3); check that the body was sent whole, to the path of its signal, and that Content-Encoding names its compression"].assert_eq(&error.to_string());
        let error =
            read(Signal::Logs, Format::Protobuf, b"{\"resourceLogs\":[]}".to_vec()).unwrap_err();
        expect!["the body of 19 bytes is no protobuf ExportLogsServiceRequest: failed to decode Protobuf message: buffer underflow (at byte 3); check that the body was sent whole, to the path of its signal, and that Content-Encoding names its compression"].assert_eq(&error.to_string());
    }

    #[test]
    fn a_request_that_would_take_too_much_memory_is_too_large() {
        // Two bytes each on the wire, hundreds decoded.
        let spans = [0x12, 0].repeat(200_000);
        let scope = [&[0x12, 0x80, 0xb5, 0x18][..], &spans].concat();
        let body = [&[0x0a, 0x84, 0xb5, 0x18][..], &scope].concat();
        let error = read(Signal::Traces, Format::Protobuf, body).unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error}");
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_or_admitted_but_never_panic(
            which in 0..3_usize, at in any::<proptest::sample::Index>(), byte: u8, len in any::<proptest::sample::Index>()
        ) {
            let signal = Signal::ALL[which];
            let mut body = good(signal);
            let at = at.index(body.len());
            body[at] = byte;
            let whole = read(signal, Format::Protobuf, body.clone());
            body.truncate(len.index(body.len()));
            for request in [whole, read(signal, Format::Protobuf, body)].into_iter().flatten() {
                let seen = Desk::new().take(&request);
                prop_assert!(seen.tally.rejected() <= seen.tally.received());
            }
        }

        #[test]
        fn random_bytes_never_panic(body: Vec<u8>) {
            for signal in Signal::ALL {
                if let Ok(request) = read(signal, Format::Protobuf, body.clone()) {
                    Desk::new().take(&request);
                }
            }
        }
    }
}
