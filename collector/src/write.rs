//! Remote write over HTTP: `POST /api/v1/write`. Negotiation, and the answers senders act on.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;

use crate::decode::Format;
use crate::error::Error;
use crate::http::{self, Refusal};
use crate::inflate::Encoding;
use crate::remote::{Version, Written};
use crate::stats::Signal;
use crate::{Collector, Outcome};

/// How many rows of each kind were stored; 2.0 asks for them, refusals included.
const WRITTEN: [HeaderName; 3] = [
    HeaderName::from_static("x-prometheus-remote-write-samples-written"),
    HeaderName::from_static("x-prometheus-remote-write-histograms-written"),
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written"),
];

/// The route, below both prefixes of the Prometheus API.
pub(crate) fn routes(collector: &Arc<Collector>) -> Router {
    Router::new()
        .route("/api/v1/write", any(write))
        .route("/prometheus/api/v1/write", any(write))
        .with_state(Arc::clone(collector))
}

async fn write(State(collector): State<Arc<Collector>>, request: Request) -> Response {
    let outcome = match negotiate(&request) {
        Ok(version) => {
            let kind = (Signal::Metrics, Format::RemoteWrite(version));
            let snappy = |body| Ok((Encoding::Snappy, body));
            let outcome = http::take(&collector, kind, request, snappy).await;
            let refuse = |error| Refusal::of(&error, collector.config().retry_after);
            (version, outcome.map_err(refuse))
        }
        Err((status, message)) => {
            collector.refuse(Signal::Metrics, &Error::Malformed(message.clone()));
            (Version::V1, Err(Refusal::plain(status, message)))
        }
    };
    match outcome {
        (version, Ok(outcome)) => accepted(version, &outcome),
        (version, Err(refusal)) => {
            let mut response = answer(version, refusal.status, (refusal.message.clone(), None));
            refusal.headers(response.headers_mut());
            response
        }
    }
}

/// The good part is stored. 400 tells the sender that there was another, and that repeating it is of no use.
fn accepted(version: Version, outcome: &Outcome) -> Response {
    let status =
        if outcome.message.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::BAD_REQUEST };
    answer(version, status, (outcome.message.clone(), Some(outcome.written)))
}

fn answer(
    version: Version,
    status: StatusCode,
    (message, written): (String, Option<Written>),
) -> Response {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    if version == Version::V2 {
        let Written { samples, histograms, exemplars } = written.unwrap_or_default();
        for (name, count) in WRITTEN.into_iter().zip([samples, histograms, exemplars]) {
            headers.insert(name, HeaderValue::from(count));
        }
    }
    response
}

fn negotiate(request: &Request) -> Result<Version, (StatusCode, String)> {
    if request.method() != Method::POST {
        let message = format!("{} is not allowed here; send a POST", request.method());
        return Err((StatusCode::METHOD_NOT_ALLOWED, message));
    }
    let headers = request.headers();
    let unsupported = |message| (StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    let Some(version) = version(headers) else {
        let given = http::text(headers.get(CONTENT_TYPE)).unwrap_or("no text");
        return Err(unsupported(format!(
            "Content-Type is {given}; send application/x-protobuf, with proto=prometheus.WriteRequest or \
             proto=io.prometheus.write.v2.Request"
        )));
    };
    let encoding =
        headers.get(CONTENT_ENCODING).map_or(Some("snappy"), |value| value.to_str().ok());
    if !encoding.is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("snappy")) {
        let given = encoding.unwrap_or("no text");
        return Err(unsupported(format!(
            "Content-Encoding is {given}; send snappy, its block format"
        )));
    }
    Ok(version)
}

/// The version a Content-Type names: 1.0 unless it says more.
fn version(headers: &HeaderMap) -> Option<Version> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Some(Version::V1) };
    let mut parts = value.to_str().ok()?.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
        return None;
    }
    let is_proto = |(name, _): &(&str, &str)| name.trim().eq_ignore_ascii_case("proto");
    let proto = parts.filter_map(|part| part.split_once('=')).find(is_proto);
    match proto.map(|(_, proto)| proto.trim().trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Some(Version::V1),
        Some("io.prometheus.write.v2.Request") => Some(Version::V2),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
