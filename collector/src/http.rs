//! OTLP over HTTP: negotiation, and answers in the encoding of the question.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use tonic::Code;

use crate::decode::Format;
use crate::error::{Error, ErrorKind};
use crate::inflate::Encoding;
use crate::stats::Signal;
use crate::status::RpcStatus;
use crate::{Collector, Outcome, Received, body, delivery, success};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The three routes, and the address that Prometheus gives its OTLP receiver. Methods are judged here, so that a refusal is a google.rpc.Status like every other.
pub(crate) fn routes(collector: &Arc<Collector>) -> Router {
    Router::new()
        .route("/v1/metrics", any(metrics))
        .route("/api/v1/otlp/v1/metrics", any(metrics))
        .route("/prometheus/api/v1/otlp/v1/metrics", any(metrics))
        .route("/v1/logs", any(logs))
        .route("/v1/traces", any(traces))
        .with_state(Arc::clone(collector))
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

/// A refusal before or after the body was looked at.
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    code: Code,
    pub(crate) message: String,
    retry: Option<Duration>,
}

async fn export(collector: Arc<Collector>, signal: Signal, request: Request) -> Response {
    let format = format(request.headers());
    let answer = match negotiate(&request, signal) {
        Ok((format, encoding)) => {
            let plain = |body| Ok((encoding, body));
            let outcome = take(&collector, (signal, format), request, plain).await;
            outcome.map_err(|error| Refusal::of(&error, collector.config().retry_after))
        }
        Err(refusal) => {
            collector.refuse(signal, &Error::Malformed(refusal.message.clone()));
            Err(refusal)
        }
    };
    match answer {
        Ok(outcome) => {
            let body = match format {
                Some(Format::Protobuf) => success::protobuf(signal, &outcome),
                Some(Format::Json | Format::RemoteWrite(_)) | None => {
                    success::json(signal, &outcome)
                }
            };
            respond(StatusCode::OK, format, body)
        }
        Err(refusal) => refusal.respond(format),
    }
}

/// Reads the body and stores what it holds. `unframe` takes the message out of it and says how that is compressed.
pub(crate) async fn take(
    collector: &Arc<Collector>,
    (signal, format): (Signal, Format),
    request: Request,
    unframe: impl FnOnce(Bytes) -> Result<(Encoding, Bytes), Error>,
) -> Result<Outcome, Error> {
    let read = async {
        let declared = content_length(request.headers());
        let delivery = delivery::read(request.headers())?;
        let mut held = match collector.budget().reserve(0) {
            Ok(held) => held,
            Err(refused) => {
                body::pass(request.into_body()).await;
                return Err(refused);
            }
        };
        let body = body::read(request.into_body(), declared, collector.config(), &mut held).await?;
        let (encoding, body) = unframe(body)?;
        Ok(Received { signal, format, encoding, body, delivery, held })
    };
    match read.await {
        Ok(received) => collector.ingest(received).await,
        Err(error) => {
            collector.refuse(signal, &error);
            Err(error)
        }
    }
}

fn negotiate(request: &Request, signal: Signal) -> Result<(Format, Encoding), Refusal> {
    let headers = request.headers();
    let refuse = |status, code, message| Refusal { status, code, message, retry: None };
    if request.method() != Method::POST {
        let message =
            format!("{} is not allowed on /v1/{}; send a POST", request.method(), signal.name());
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, message));
    }
    let unsupported =
        |message| refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, message);
    let Some(format) = format(headers) else {
        let given = text(headers.get(CONTENT_TYPE)).unwrap_or("missing");
        let message = format!("Content-Type is {given}; send {PROTOBUF} or {JSON}");
        return Err(unsupported(message));
    };
    let name = headers.get(CONTENT_ENCODING).map_or(Some(""), |value| value.to_str().ok());
    let Some(encoding) = name.and_then(Encoding::parse) else {
        let given = name.unwrap_or("no text");
        let message = format!("Content-Encoding is {given}; send identity, gzip or zstd");
        return Err(unsupported(message));
    };
    Ok((format, encoding))
}

/// The format a Content-Type names, parameters aside.
fn format(headers: &HeaderMap) -> Option<Format> {
    let essence = text(headers.get(CONTENT_TYPE))?.split(';').next()?.trim().to_ascii_lowercase();
    match essence.as_str() {
        PROTOBUF | "application/protobuf" => Some(Format::Protobuf),
        JSON => Some(Format::Json),
        _ => None,
    }
}

/// The Content-Length, if it is there and a number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers.get(CONTENT_LENGTH))?.parse().ok()
}

/// A header's value, if it is text.
pub(crate) fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}

impl Refusal {
    /// A refusal that retrying does not mend.
    pub(crate) fn plain(status: StatusCode, message: String) -> Self {
        Self { status, code: Code::InvalidArgument, message, retry: None }
    }

    pub(crate) fn of(error: &Error, retry_after: Duration) -> Self {
        let code = crate::grpc::code(error);
        let status = match (error, error.kind()) {
            (Error::TooLarge(_), _) => StatusCode::PAYLOAD_TOO_LARGE,
            (Error::TooSlow(_), _) => StatusCode::REQUEST_TIMEOUT,
            (_, ErrorKind::Invalid) => StatusCode::BAD_REQUEST,
            (_, ErrorKind::Exhausted) => StatusCode::TOO_MANY_REQUESTS,
            (_, ErrorKind::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            (_, ErrorKind::Corrupt) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let is_transient = matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::Unavailable);
        Self {
            status,
            code,
            message: error.to_string(),
            retry: is_transient.then_some(retry_after),
        }
    }

    /// In the encoding of the request; to a type we do not know in JSON, which people can read.
    fn respond(&self, format: Option<Format>) -> Response {
        let status = RpcStatus::new(self.code, self.message.clone(), self.retry);
        let body = match format {
            Some(Format::Protobuf) => status.to_protobuf(),
            Some(Format::Json | Format::RemoteWrite(_)) | None => status.to_json(self.retry),
        };
        let mut response = respond(self.status, format, body);
        self.headers(response.headers_mut());
        response
    }

    /// The headers that go with the status.
    pub(crate) fn headers(&self, headers: &mut HeaderMap) {
        if let Some(delay) = self.retry {
            // Whole seconds, rounded up: coming back early would be refused again.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
    }
}

fn respond(status: StatusCode, format: Option<Format>, body: Bytes) -> Response {
    let content_type = match format {
        Some(Format::Protobuf) => PROTOBUF,
        Some(Format::Json | Format::RemoteWrite(_)) | None => JSON,
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
