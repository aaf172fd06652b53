//! The dashboard's files, embedded: hashed names live for a year, `index.html` is asked for again each time.

use axum::body::Body;
use axum::extract::OriginalUri;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../ui/dist"]
#[allow_missing = true]
struct Dist;

/// First segments that belong to APIs, ours and those that we speak or will: never a page (ui.md 7.1).
const RESERVED: [&str; 14] = [
    "api",
    "v1",
    "v1development",
    "loki",
    "prometheus",
    "alertmanager",
    "jaeger",
    "tempo",
    "zipkin",
    "pyroscope",
    "elasticsearch",
    "ofrep",
    "federate",
    "-",
];

/// What is served when the server was built without the dashboard.
const PLACEHOLDER: &str = "<!doctype html><meta charset=utf-8><title>Headrope</title>\
    <h1>Headrope is running</h1><p>This binary was built without its dashboard. Build it with \
    <code>cargo xtask ui</code>, then the server again; <code>make run</code> does both.</p>\
    <p>The APIs work: try <a href=/api/headrope/v1/status>/api/headrope/v1/status</a>.</p>";

const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Answers a path no API claims: a file of the dashboard, or its one page for anything without a dot.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if RESERVED.contains(&path.split('/').next().unwrap_or_default()) {
        return super::error::no_such_route(OriginalUri(uri)).await.into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return super::error::wrong_method(method).await;
    }
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    if is_file && path != "index.html" {
        return file(path, &headers).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response());
    }
    page(&headers)
}

/// Where the addresses of upstream's pages lead.
pub(crate) async fn home() -> Redirect {
    Redirect::temporary("/explore/metrics")
}

fn page(headers: &HeaderMap) -> Response {
    let Some(index) = Dist::get("index.html") else {
        return ([(CONTENT_TYPE, "text/html; charset=utf-8")], PLACEHOLDER).into_response();
    };
    let tag = format!("\"{}\"", hex(&index.metadata.sha256_hash()[..8]));
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    let mut answer = Response::new(Body::from(index.data));
    let out = answer.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    out.insert(CACHE_CONTROL, NO_CACHE);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(ETAG, tag);
    }
    answer
}

fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let accepts = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    let takes_brotli = accepts.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("br") && parts.next() != Some("q=0")
    });
    let small = takes_brotli.then(|| Dist::get(&format!("{path}.br"))).flatten();
    let is_small = small.is_some();
    let content = small.or_else(|| Dist::get(path))?;
    let mut answer = Response::new(Body::from(content.data));
    let out = answer.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    out.insert(CACHE_CONTROL, IMMUTABLE);
    out.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if is_small {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    Some(answer)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("wasm") => "application/wasm",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
