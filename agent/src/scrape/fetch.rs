//! Asks a target for its samples: headers, status, limits of the body, compression and format.

use std::io::Read;

use ::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use ::http::{HeaderMap, StatusCode};

use super::config::{BODY_BYTES_MAX, Job, Protocol};
use super::exposition::Format;
use super::target::Target;
use crate::export::chain;
use crate::http_client::HttpClient;

/// What a target answered.
#[derive(Debug)]
pub(crate) struct Body {
    pub bytes: Vec<u8>,
    pub format: Format,
}

/// Why there is nothing to read.
#[derive(Debug)]
pub(crate) struct Failure {
    pub reason: String,
    /// Whether the body was over its limit.
    pub too_large: bool,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self { reason, too_large: false }
    }
}

/// One request. Cancelled by dropping it; the caller has the deadline.
pub(crate) async fn fetch(
    client: &HttpClient,
    job: &Job,
    target: &Target,
) -> Result<Body, Failure> {
    let protocols = job.scrape_protocols.as_deref().unwrap_or(&Protocol::DEFAULT);
    let accept = Protocol::accept(protocols, job.metric_name_escaping_scheme.unwrap_or_default());
    let encoding = if job.enable_compression.unwrap_or(true) { "gzip" } else { "identity" };
    let request = client
        .get(&target.url)
        .await?
        .header(ACCEPT, accept)
        .header(ACCEPT_ENCODING, encoding)
        .header(USER_AGENT, concat!("headrope/", env!("CARGO_PKG_VERSION")))
        .header("x-prometheus-scrape-timeout-seconds", target.timeout.as_secs_f64().to_string());
    let mut response = request.send().await.map_err(|error| chain(&error))?;
    let status = response.status();
    if status != StatusCode::OK {
        let name = status.canonical_reason().unwrap_or_default();
        return Err(format!("server returned HTTP status {} {name}", status.as_u16()).into());
    }
    let limit = job.body_size_limit.map_or(0, |size| size.0);
    let limit = if limit == 0 { BODY_BYTES_MAX } else { limit };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    let headers = response.headers();
    let format = format(headers, job.fallback_scrape_protocol)?;
    if is_gzip(headers) {
        bytes = tokio::task::spawn_blocking(move || inflate(&bytes, limit))
            .await
            .map_err(|error| Failure::from(format!("cannot inflate the body: {error}")))??;
    }
    Ok(Body { bytes, format })
}

fn too_large(limit: usize) -> Failure {
    Failure {
        reason: format!("body size limit exceeded: more than {limit} bytes"),
        too_large: true,
    }
}

fn is_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_ENCODING)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"))
}

/// Step by step: a small body may inflate to a thousandfold.
fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::with_capacity(bytes.len().saturating_mul(4).min(limit));
    let mut decoder = flate2::read::MultiGzDecoder::new(bytes).take(limit as u64 + 1);
    let read = decoder.read_to_end(&mut out);
    read.map_err(|error| Failure::from(format!("the body is no gzip: {error}")))?;
    if out.len() > limit { Err(too_large(limit)) } else { Ok(out) }
}

/// The format of the body, by its type, or by what the job falls back to.
fn format(headers: &HeaderMap, fallback: Option<Protocol>) -> Result<Format, String> {
    let written =
        headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = written.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let parameter = |name: &str| {
        let found = written.split(';').skip(1).filter_map(|part| part.split_once('='));
        found
            .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    let by_type = match media.as_str() {
        "application/openmetrics-text" => Some(Format::OpenMetrics),
        "text/plain" => Some(Format::Text),
        "application/vnd.google.protobuf" => {
            let family =
                parameter("proto").is_none_or(|proto| proto == "io.prometheus.client.MetricFamily");
            let delimited = parameter("encoding").is_none_or(|encoding| encoding == "delimited");
            (family && delimited).then_some(Format::Protobuf)
        }
        _ => None,
    };
    if let Some(format) = by_type {
        return Ok(format);
    }
    match fallback {
        Some(protocol) => Ok(of_protocol(protocol)),
        None if written.is_empty() => {
            Err("non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target".to_owned())
        }
        None => Err(format!(
            "received unsupported Content-Type {written:?} and no fallback_scrape_protocol specified for target"
        )),
    }
}

const fn of_protocol(protocol: Protocol) -> Format {
    match protocol {
        Protocol::PrometheusProto => Format::Protobuf,
        Protocol::Text100 | Protocol::Text004 => Format::Text,
        Protocol::OpenMetrics100 | Protocol::OpenMetrics001 => Format::OpenMetrics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_the_body_decides_else_the_fallback() {
        let check = |written: &str, fallback| {
            let mut headers = HeaderMap::new();
            if !written.is_empty() {
                headers.insert(CONTENT_TYPE, written.parse().expect(written));
            }
            format(&headers, fallback)
        };
        assert_eq!(check("text/plain; version=0.0.4; charset=utf-8", None), Ok(Format::Text));
        assert_eq!(
            check("application/openmetrics-text; version=1.0.0", None),
            Ok(Format::OpenMetrics)
        );
        let proto =
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=";
        assert_eq!(check(&format!("{proto}delimited"), None), Ok(Format::Protobuf));
        assert!(check(&format!("{proto}text"), None).is_err());
        assert!(
            check("text/html", None)
                .unwrap_err()
                .contains("unsupported Content-Type \"text/html\"")
        );
        assert!(check("", None).unwrap_err().contains("blank Content-Type"));
        assert_eq!(check("", Some(Protocol::Text004)), Ok(Format::Text));
        assert_eq!(check("text/html", Some(Protocol::OpenMetrics100)), Ok(Format::OpenMetrics));
    }

    #[test]
    fn what_inflates_beyond_the_limit_is_refused() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![b'a'; 1 << 20]).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(inflate(&packed, 1 << 20).unwrap().len(), 1 << 20);
        assert!(inflate(&packed, (1 << 20) - 1).unwrap_err().too_large);
        assert!(
            inflate(&packed[..packed.len() / 2], 1 << 20).unwrap_err().reason.contains("no gzip")
        );
    }
}
