//! Answers compressed as the client asks for: zstd before gzip. Streams, small answers and what is compressed already
//! pass as they are.

use std::io::Write;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;

/// Below this, in bytes, headers cost more than compression saves.
const BYTES_MIN: u64 = 1_024;
/// Fast rather than small: most clients are near.
const ZSTD_LEVEL: i32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Zstd,
    Gzip,
}

/// Compresses what the rest answers.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let coding = accepted(request.headers());
    let answer = next.run(request).await;
    let Some(coding) = coding.filter(|_| is_worth(&answer)) else { return answer };
    let (mut parts, body) = answer.into_parts();
    let packed = match body.collect().await {
        // Megabytes take milliseconds: not on the threads of the network.
        Ok(whole) => {
            let bytes = whole.to_bytes();
            tokio::task::spawn_blocking(move || coding.pack(&bytes)).await
        }
        Err(error) => {
            tracing::warn!(%error, "an answer broke off before it was compressed");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let Ok(Ok(packed)) = packed else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, coding.name());
    parts.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(parts, Body::from(packed))
}

impl Coding {
    const fn name(self) -> HeaderValue {
        match self {
            Self::Zstd => HeaderValue::from_static("zstd"),
            Self::Gzip => HeaderValue::from_static("gzip"),
        }
    }

    fn pack(self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Zstd => zstd::encode_all(bytes, ZSTD_LEVEL),
            Self::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

/// Whether the answer is text of known, worthwhile size.
fn is_worth(answer: &Response) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_text = kind.is_some_and(|kind| {
        ["application/json", "application/x-ndjson", "application/openmetrics-text", "text/plain"]
            .iter()
            .any(|text| kind.starts_with(text))
    });
    let size = answer.body().size_hint().exact();
    is_text
        && !answer.headers().contains_key(CONTENT_ENCODING)
        && size.is_some_and(|size| size >= BYTES_MIN)
}

/// What the client takes, best for us first.
fn accepted(headers: &HeaderMap) -> Option<Coding> {
    let texts = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let entries: Vec<&str> = texts.flat_map(|text| text.split(',')).collect();
    let takes = |name: &str| {
        entries.iter().any(|entry| {
            let (coding, weight) = entry.split_once(';').unwrap_or((entry, ""));
            let is_none = weight
                .trim()
                .strip_prefix("q=")
                .and_then(|weight| weight.parse::<f64>().ok())
                .is_some_and(|weight| weight == 0.0);
            coding.trim().eq_ignore_ascii_case(name) && !is_none
        })
    };
    [("zstd", Coding::Zstd), ("gzip", Coding::Gzip)]
        .into_iter()
        .find(|(name, _)| takes(name))
        .map(|(_, coding)| coding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_coding_the_client_takes() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(text));
            accepted(&headers)
        };
        assert_eq!(of("gzip, deflate, br, zstd"), Some(Coding::Zstd));
        assert_eq!(of("GZIP;q=0.5, zstd;q=0"), Some(Coding::Gzip));
        assert_eq!(of("identity, gzipx"), None);
        assert_eq!(accepted(&HeaderMap::new()), None);
    }
}
