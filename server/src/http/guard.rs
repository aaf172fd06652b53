//! Who may ask at all: names we go by (against DNS rebinding), origins we know, bodies that arrive in time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode};

use super::{App, BODY_MAX};

/// How long a client may take to send the body of a query.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Refuses requests for a name that is not ours: a page of another origin whose name was rebound to our address.
pub(super) async fn known_host(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let host = host.or_else(|| text(request.headers(), &HOST)).unwrap_or_default();
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
    if let Some(origin) = text(request.headers(), &ORIGIN) {
        let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host);
        if !is_ours(host, &app.hosts) {
            return refusal("origin", &origin);
        }
    }
    next.run(request).await
}

/// Reads the body whole, in bounded time, before anybody waits for it.
pub(super) async fn whole_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(_)) => {
            let words = format!("the body was cut off or is longer than {BODY_MAX} bytes\n");
            (StatusCode::PAYLOAD_TOO_LARGE, words).into_response()
        }
        Err(_) => {
            let words = format!("the body did not arrive within {} s\n", BODY_TIMEOUT.as_secs());
            (StatusCode::REQUEST_TIMEOUT, words).into_response()
        }
    }
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

/// Whether `host`, with or without a port, is an address, `localhost`, or one of `hosts`.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let is_local = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
    is_local || hosts.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(name))
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
}
