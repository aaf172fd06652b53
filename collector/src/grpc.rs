//! OTLP over gRPC: the three Export calls. One message in and one out need no more than a frame's five bytes: so bodies
//! are read, inflated and decoded as those of the HTTP door are, under the same bounds.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::{Code, Status};

use crate::decode::Format;
use crate::error::{Error, ErrorKind};
use crate::inflate::Encoding;
use crate::stats::Signal;
use crate::status::RpcStatus;
use crate::{Collector, http, len_u64, success};

/// Before each message: compressed or not, and its length.
const FRAME_HEADER_BYTES: usize = 5;
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// How messages may be compressed.
const ENCODINGS: &str = "identity,gzip,zstd";

/// The three services. No fallback, so that the routes can stand beside others: gRPC clients take the 404 of a service
/// that is not there for `UNIMPLEMENTED`.
pub(crate) fn routes(collector: &Arc<Collector>) -> Router {
    let service = |package: &str, service: &str| {
        format!("/opentelemetry.proto.collector.{package}.v1.{service}")
    };
    let (of_metrics, of_logs, of_traces) = (
        service("metrics", "MetricsService"),
        service("logs", "LogsService"),
        service("trace", "TraceService"),
    );
    let mut router = Router::new()
        .route(&format!("{of_metrics}/Export"), any(metrics))
        .route(&format!("{of_logs}/Export"), any(logs))
        .route(&format!("{of_traces}/Export"), any(traces));
    for service in [of_metrics, of_logs, of_traces] {
        router = router.route(&format!("{service}/{{method}}"), any(unknown));
    }
    router.with_state(Arc::clone(collector))
}

async fn metrics(State(collector): State<Arc<Collector>>, request: Request) -> Response {
    export(collector, Signal::Metrics, request).await
}

async fn logs(State(collector): State<Arc<Collector>>, request: Request) -> Response {
    export(collector, Signal::Logs, request).await
}

async fn traces(State(collector): State<Arc<Collector>>, request: Request) -> Response {
    export(collector, Signal::Traces, request).await
}

async fn unknown(request: Request) -> Response {
    let message = format!(
        "{} is not served here; the services of OTLP have one method, Export",
        request.uri().path()
    );
    answer(Status::unimplemented(message))
}

/// The code of a refusal. What is too large is `RESOURCE_EXHAUSTED` without `RetryInfo`: OTLP retries `OUT_OF_RANGE`.
pub(crate) fn code(error: &Error) -> Code {
    match (error, error.kind()) {
        (Error::TooLarge(_), _) | (_, ErrorKind::Exhausted) => Code::ResourceExhausted,
        (Error::TooSlow(_), _) => Code::DeadlineExceeded,
        (_, ErrorKind::Invalid) => Code::InvalidArgument,
        (_, ErrorKind::Unavailable) => Code::Unavailable,
        (_, ErrorKind::Corrupt) => Code::Internal,
    }
}

fn status(error: &Error, collector: &Collector) -> Status {
    let is_transient = matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::Unavailable);
    let retry = is_transient.then_some(collector.config().retry_after);
    let details = RpcStatus::new(code(error), error.to_string(), retry).encode_to_vec();
    Status::with_details(code(error), error.to_string(), details.into())
}

async fn export(collector: Arc<Collector>, signal: Signal, request: Request) -> Response {
    let headers = request.headers();
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if !content_type.starts_with(b"application/grpc") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let name = headers.get(GRPC_ENCODING).map_or(Some(""), |value| value.to_str().ok());
    let Some(encoding) = name.and_then(Encoding::parse) else {
        let given = name.unwrap_or("no text");
        let message = format!("grpc-encoding is {given}; send identity, gzip or zstd");
        collector.refuse(signal, &Error::Malformed(message.clone()));
        let mut response = answer(Status::unimplemented(message));
        response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ENCODINGS));
        return response;
    };
    let unframe = |body: Bytes| unframe(&body, encoding);
    match http::take(&collector, (signal, Format::Protobuf), request, unframe).await {
        Ok(outcome) => message(&success::protobuf(signal, &outcome)),
        Err(error) => answer(status(&error, &collector)),
    }
}

/// The one message of a call, and how it is compressed: as `named`, or not at all.
fn unframe(body: &Bytes, named: Encoding) -> Result<(Encoding, Bytes), Error> {
    let malformed =
        |words: &str| Error::Malformed(format!("{words}; send one message, as a call has it"));
    let Some((&[flag, a, b, c, d], message)) = body.split_first_chunk::<FRAME_HEADER_BYTES>()
    else {
        return Err(malformed("the body holds no message"));
    };
    let claimed = u32::from_be_bytes([a, b, c, d]);
    if u64::from(claimed) != len_u64(message.len()) {
        let words = format!("a message of {claimed} bytes in a body of {}", message.len());
        return Err(malformed(&words));
    }
    let encoding = match (flag, named) {
        (0, _) => Encoding::Identity,
        (1, Encoding::Identity) => {
            return Err(malformed("the message is compressed, and grpc-encoding does not say how"));
        }
        (1, named) => named,
        _ => return Err(malformed("the message is neither compressed nor not")),
    };
    Ok((encoding, body.slice(FRAME_HEADER_BYTES..)))
}

/// The answer to a call that went well.
fn message(message: &Bytes) -> Response {
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a response is a few words"));
    frame.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(frame.freeze()).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The answer to one that did not.
fn answer(status: Status) -> Response {
    status.into_http::<Body>()
}

#[cfg(test)]
mod tests;
