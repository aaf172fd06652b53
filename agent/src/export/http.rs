//! OTLP over HTTP, protobuf bodies.

use std::error::Error as StdError;
use std::time::Duration;

use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;

use super::{Answer, Target};
use crate::queue::Batch;
use crate::{Config, Error};

/// The answer holds a count and a sentence; of an error page the beginning is enough.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const SENTENCE_CHARS_MAX: usize = 300;

/// A pool of at most one connection.
pub(super) struct Client {
    client: reqwest::Client,
    url: String,
}

impl Client {
    pub(super) fn new(target: &Target, config: &Config) -> Result<Self, Error> {
        let failed = |error: reqwest::Error| Error::Export {
            endpoint: config.endpoint.clone(),
            reason: chain(&error),
        };
        let mut builder = reqwest::Client::builder()
            .default_headers(target.headers.clone())
            .user_agent(concat!("headrope-agent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.timeout)
            .pool_max_idle_per_host(1)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(pem) = &target.authorities {
            let authorities = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| Error::field("ca_file", chain(&error)))?;
            builder = builder.tls_certs_merge(authorities);
        }
        Ok(Self { client: builder.build().map_err(failed)?, url: target.url.clone() })
    }

    /// One try.
    pub(super) async fn send(&self, batch: &Batch, name: &HeaderValue) -> Answer {
        let mut request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
            .header(super::delivery::HEADER, name)
            .body(batch.body.clone());
        if batch.zstd {
            request = request.header(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        }
        let answer = async {
            let mut response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                let room = ANSWER_BYTES_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if body.len() == ANSWER_BYTES_MAX {
                    break;
                }
            }
            Ok::<_, reqwest::Error>(judge(status, &headers, &body, batch.zstd))
        };
        answer.await.unwrap_or_else(|error| Answer::Retry {
            after: None,
            reason: "unavailable",
            message: chain(&error),
        })
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], zstd: bool) -> Answer {
    let message = || {
        let text = String::from_utf8_lossy(body);
        let text: String =
            text.chars().filter(|c| !c.is_control()).take(SENTENCE_CHARS_MAX).collect();
        format!("HTTP status {}: {text}", status.as_u16())
    };
    match status.as_u16() {
        200..=299 => accepted(body),
        415 if zstd => Answer::Incompressible,
        429 => retry(headers, "resource_exhausted", message()),
        502..=504 => retry(headers, "unavailable", message()),
        401 => Answer::Refused { reason: "unauthenticated", message: message() },
        403 => Answer::Refused { reason: "permission_denied", message: message() },
        413 => Answer::Refused { reason: "too_large", message: message() },
        400..=499 => Answer::Refused { reason: "invalid_argument", message: message() },
        _ => Answer::Refused { reason: "internal", message: message() },
    }
}

fn retry(headers: &HeaderMap, reason: &'static str, message: String) -> Answer {
    // The header's other form, a date, would need the collector's clock: our own backoff does as well.
    let after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    Answer::Retry { after, reason, message }
}

/// Reads an `ExportMetricsServiceResponse`. A body that is none comes from a collector that stored the batch and answers
/// in another format: it is accepted all the same.
pub(super) fn accepted(body: &[u8]) -> Answer {
    let partial = ExportMetricsServiceResponse::decode(body).ok().and_then(|r| r.partial_success);
    let (rejected, message) =
        partial.map(|p| (p.rejected_data_points, p.error_message)).unwrap_or_default();
    Answer::Accepted { rejected: u64::try_from(rejected).unwrap_or(0), message }
}

/// An error with its causes: the outermost alone says `transport error`.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
