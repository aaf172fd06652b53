//! Who may ask at all: names we go by (against DNS rebinding), origins we know, bodies that arrive in time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, HOST, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use store::{Held, Memory, Share};

use super::error::Failure;
use super::{App, BODY_MAX};

/// How long a client may take to send the body of a query.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// What pages of other origins that may ask may use.
const METHODS: &str = "GET, POST, DELETE, OPTIONS";
const HEADERS: &str = "Accept, Authorization, Content-Type, Origin, X-Headrope-Coarsen";

/// Refuses requests for a name that is not ours: a page of another origin whose name was rebound to our address.
pub(super) async fn known_host(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let host = asked_host(&request);
    if !is_ours(&host, &app.hosts) {
        return refusal("host", &host);
    }
    next.run(request).await
}

/// Refuses what a page of another origin sends; programs send no origin.
pub(crate) async fn no_foreign_origin(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(origin) = text(request.headers(), &ORIGIN)
        && !is_known_origin(&origin, &asked_host(&request), &app.hosts)
    {
        return refusal("origin", &origin);
    }
    next.run(request).await
}

/// Answers `OPTIONS` everywhere, and lets pages of the hosts in the configuration read answers. Inside of
/// [`no_foreign_origin`], so that every origin seen here may ask.
pub(crate) async fn cross_origin(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let is_preflight = request.method() == Method::OPTIONS;
    let mut answer =
        if is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = answer.headers_mut();
    let is_listed = origin.as_ref().and_then(|origin| origin.to_str().ok()).is_some_and(|origin| {
        is_named(origin.split_once("://").map_or(origin, |(_, host)| host), &app.hosts)
    });
    if let Some(origin) = origin.filter(|_| is_listed) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(VARY, HeaderValue::from_static("origin"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date"));
    }
    if is_preflight {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
        headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    }
    answer
}

/// Reads the body whole, in bounded time, before anybody waits for it; its bytes count as the query's until the answer.
pub(super) async fn whole_body(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIMEOUT, read(body, app.store.memory())).await {
        Ok(Ok((bytes, _held))) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(refusal)) => refusal,
        Err(_) => {
            let words = format!("the body did not arrive within {} s\n", BODY_TIMEOUT.as_secs());
            (StatusCode::REQUEST_TIMEOUT, words).into_response()
        }
    }
}

/// The bytes of a body with the memory held for them, or the answer that refuses it.
async fn read(body: Body, memory: &Arc<Memory>) -> Result<(Vec<u8>, Held), Response> {
    let refused = |error| Failure::from(query::Error::from(error)).into_response();
    let held = memory.take(Share::Query, 0).map_err(refused)?;
    let (mut bytes, mut body) = (Vec::new(), Limited::new(body, BODY_MAX));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            let words = format!("the body was cut off or is longer than {BODY_MAX} bytes\n");
            (StatusCode::PAYLOAD_TOO_LARGE, words).into_response()
        })?;
        if let Ok(data) = frame.into_data() {
            // By what has arrived: a slow client must not hold memory it does not fill.
            held.grow(data.len() as u64).map_err(refused)?;
            bytes.extend_from_slice(&data);
        }
    }
    Ok((bytes, held))
}

/// The host the request was sent to, by its target (HTTP/2) or its header.
fn asked_host(request: &Request) -> String {
    let target = request.uri().authority().map(|authority| authority.as_str().to_owned());
    target.or_else(|| text(request.headers(), &HOST)).unwrap_or_default()
}

fn text(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn refusal(what: &str, name: &str) -> Response {
    let words = format!(
        "the {what} {name:?} is not known here: ask by address or localhost, or add its name to `hosts` in the configuration\n"
    );
    (StatusCode::FORBIDDEN, words).into_response()
}

/// Whether pages of `origin` may ask: those of the host they ask, which must be ours, and those of one of `hosts`. Being
/// an address is not enough: whoever has a server has one, and a page of another port is another program's.
fn is_known_origin(origin: &str, asked: &str, hosts: &[String]) -> bool {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    is_named(host, hosts) || (host.eq_ignore_ascii_case(asked) && is_ours(asked, hosts))
}

/// Whether `host`, with or without a port, is an address, `localhost`, or one of `hosts`.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    let name = name(host);
    let is_local = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
    is_local || is_named(host, hosts)
}

/// Whether `host`, with or without a port, is one of `hosts`.
fn is_named(host: &str, hosts: &[String]) -> bool {
    hosts.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(name(host)))
}

/// A host without its port.
fn name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_configured_names_are_ours() {
        let hosts = ["headrope.example.org".to_owned()];
        for ours in [
            "127.0.0.1:7300",
            "[::1]:7300",
            "localhost",
            "LOCALHOST:80",
            "10.0.0.7",
            "headrope.example.org:443",
        ] {
            assert!(is_ours(ours, &hosts), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "evil.example:7300",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_ours(foreign, &hosts), "{foreign}");
        }
        assert!(is_ours("any.name", &["*".to_owned()]));
    }

    #[test]
    fn an_origin_is_known_by_the_host_it_asks_or_by_name() {
        let hosts = ["headrope.example.org".to_owned()];
        for (origin, asked) in [
            ("http://127.0.0.1:7300", "127.0.0.1:7300"),
            ("http://LOCALHOST:7300", "localhost:7300"),
            ("http://[::1]:7300", "[::1]:7300"),
            ("https://headrope.example.org", "127.0.0.1:7300"), // A proxy that asks by address.
        ] {
            assert!(is_known_origin(origin, asked, &hosts), "{origin} asks {asked}");
        }
        for (origin, asked) in [
            ("http://203.0.113.5", "127.0.0.1:7300"),
            ("http://localhost:3000", "localhost:7300"),
            ("http://127.0.0.1:7300", "localhost:7300"),
            ("http://evil.example:7300", "evil.example:7300"), // A rebound name.
            ("null", "127.0.0.1:7300"),
            ("", ""),
        ] {
            assert!(!is_known_origin(origin, asked, &hosts), "{origin} asks {asked}");
        }
    }

    #[tokio::test]
    async fn a_body_is_held_until_its_answer_and_refused_when_memory_is_spent() {
        let memory = Memory::new(store::LIMIT_MIN);
        let (bytes, held) = read(Body::from(vec![7; 1_000]), &memory).await.unwrap();
        assert_eq!((bytes.len(), memory.held(Share::Query)), (1_000, 1_000));
        drop(held);
        let others = memory.take(Share::Query, memory.size(Share::Query) - 10).unwrap();
        let refused = read(Body::from("eleven byte"), &memory).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(others);
        let long = read(Body::from(vec![0; BODY_MAX + 1]), &memory).await.unwrap_err();
        assert_eq!(long.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(memory.held(Share::Query), 0);
    }
}
