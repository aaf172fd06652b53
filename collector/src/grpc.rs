//! OTLP over gRPC: the three Export calls. tonic speaks the protocol, our codec hands over the message's bytes, so that
//! both doors share one decoder, and a malformed message is answered with where it is wrong.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::{Buf, BufMut, Bytes};
use futures::future::BoxFuture;
use http_body_util::Full;
use prost::Message;
use store::Delivery;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};

use crate::budget::Reservation;
use crate::decode::Format;
use crate::error::{Error, ErrorKind};
use crate::inflate::Encoding;
use crate::stats::Signal;
use crate::status::RpcStatus;
use crate::{Collector, Received, body, delivery, http, success};

/// Before each message: compressed or not, and its length.
const FRAME_HEADER_BYTES: usize = 5;

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
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if !content_type.starts_with(b"application/grpc") {
        return axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let read = async {
        let config = collector.config();
        let mut held = collector.budget().reserve(0)?;
        let declared = http::content_length(&parts.headers);
        let delivery = delivery::read(&parts.headers)?;
        let body = body::read(body, declared, config, &mut held).await?;
        // tonic would answer `OUT_OF_RANGE`, which senders repeat for ever.
        if body.len().saturating_sub(FRAME_HEADER_BYTES) > config.decoded_bytes_max {
            return Err(body::too_large(config.decoded_bytes_max));
        }
        Ok((body, delivery, held))
    };
    let (body, delivery, held) = match read.await {
        Ok(read) => read,
        Err(error) => {
            collector.refuse(signal, &error);
            return answer(status(&error, &collector));
        }
    };
    let request = axum::http::Request::from_parts(parts, Full::new(body));
    let mut grpc = Grpc::new(Raw)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(collector.config().decoded_bytes_max);
    let held = Arc::new(Mutex::new(Some(held)));
    let (of_export, held_there) = (Arc::clone(&collector), Arc::clone(&held));
    let export = Export { collector: of_export, signal, delivery, held: held_there };
    let response = grpc.unary(export, request).await;
    if take(&held).is_none() {
        return response.map(Body::new);
    }
    // tonic refused before it called us: a message that does not inflate, or an encoding it does not know.
    let status = Status::from_header_map(response.headers());
    let message = status.as_ref().map_or("no message", Status::message);
    collector.refuse(signal, &Error::Malformed(message.to_owned()));
    match status {
        // Not our fault, as `INTERNAL` would say.
        Some(status) if status.code() == Code::Internal => answer(Status::invalid_argument(
            format!("{}; send one message, compressed as grpc-encoding says", status.message()),
        )),
        _ => response.map(Body::new),
    }
}

/// Takes the reservation unless the call has it already.
fn take(held: &Mutex<Option<Reservation>>) -> Option<Reservation> {
    held.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn answer(status: Status) -> Response {
    status.into_http::<Body>()
}

/// One call.
struct Export {
    collector: Arc<Collector>,
    signal: Signal,
    delivery: Option<Delivery>,
    /// Taken by the call: what is left here after the answer was never called for.
    held: Arc<Mutex<Option<Reservation>>>,
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (collector, signal) = (Arc::clone(&self.collector), self.signal);
        let delivery = self.delivery;
        let held = take(&self.held);
        Box::pin(async move {
            let body = request.into_inner();
            let outcome = async {
                let mut held = match held {
                    Some(held) => held,
                    None => collector.budget().reserve(0)?,
                };
                held.grow_to(body.len())?;
                let (format, encoding) = (Format::Protobuf, Encoding::Identity);
                collector.ingest(Received { signal, format, encoding, body, delivery, held }).await
            };
            match outcome.await {
                Ok(outcome) => Ok(tonic::Response::new(success::protobuf(signal, &outcome))),
                Err(error) => Err(status(&error, &collector)),
            }
        })
    }
}

/// Passes messages as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}

#[cfg(test)]
mod tests;
