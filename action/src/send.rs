//! One HTTP request, and what its answer means. Decides nothing about when; journals nothing.

use std::sync::Arc;
use std::time::Duration;

use model::time::Timestamp;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Response, StatusCode};

use crate::address::{Allowed, Resolver};
use crate::backoff;
use crate::duration;
use crate::error::Error;
use crate::journal::record::Verdict;
use crate::receiver::Receiver;

/// Bytes of an answer that are read: enough to see why a message was refused.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of an answer kept in the journal.
const ANSWER_CHARS_KEPT: usize = 300;

/// What a request led to.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Never `Expired` or `Dropped`.
    pub(crate) verdict: Verdict,
    /// 0 when nothing was answered.
    pub(crate) http_status: u16,
    /// How long the receiver asks us to wait.
    pub(crate) retry_after: Option<Duration>,
    /// Why it failed; empty on success.
    pub(crate) error: String,
}

/// A client that follows no redirect, uses no proxy, and trusts the system's root certificates.
pub(crate) fn client(receivers: &[Receiver], allowed: Allowed) -> Result<Client, Error> {
    // The first provider stays; whoever came first chose the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(Resolver(Arc::new(allowed))))
        .pool_idle_timeout(Duration::from_secs(30));
    // Without an https receiver a machine without root certificates is no obstacle.
    let needs_tls = receivers.iter().any(|receiver| receiver.url.scheme() == "https");
    let builder = if needs_tls { builder } else { builder.tls_certs_only([]) };
    builder.build().map_err(|error| Error::Client { reason: causes(&error) })
}

/// Posts `body` once. The whole exchange takes at most the receiver's timeout.
pub(crate) async fn post(
    client: &Client,
    receiver: &Receiver,
    id: &str,
    body: Vec<u8>,
    now: Timestamp,
) -> Answer {
    let request = client
        .post(receiver.url.clone())
        .timeout(receiver.timeout)
        .header(CONTENT_TYPE, "application/cloudevents+json; charset=utf-8")
        .header(USER_AGENT, concat!("Headrope/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", id)
        .header("webhook-timestamp", now.s().to_string())
        .header("webhook-signature", receiver.key.signature(id, now.s(), &body))
        .body(body);
    match request.send().await {
        Ok(response) => judge(response, now).await,
        Err(error) => Answer {
            verdict: Verdict::Retry,
            http_status: 0,
            retry_after: None,
            error: format!(
                "{}: {}",
                receiver.origin(),
                reason(&error.without_url(), receiver.timeout)
            ),
        },
    }
}

/// What an answer means.
pub(crate) async fn judge(response: Response, now: Timestamp) -> Answer {
    let status = response.status();
    let verdict = verdict(status);
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| backoff::retry_after(value, now));
    let error = if verdict == Verdict::Delivered {
        String::new()
    } else if status.is_redirection() {
        format!("{status}: redirects are not followed, configure the final URL")
    } else {
        let text = beginning(response).await;
        if text.is_empty() { status.to_string() } else { format!("{status}: {text}") }
    };
    Answer { verdict, http_status: status.as_u16(), retry_after, error }
}

fn verdict(status: StatusCode) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        410 => Verdict::Gone,
        408 | 425 | 429 => Verdict::Retry,
        400..=499 => Verdict::Refused,
        _ => Verdict::Retry,
    }
}

/// The start of the answer as one line of printable text.
async fn beginning(mut response: Response) -> String {
    let bytes = bytes(&mut response).await;
    let text = String::from_utf8_lossy(&bytes);
    let words =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").chars().take(ANSWER_CHARS_KEPT).collect()
}

/// The first bytes of the answer; one that breaks off still has a beginning.
pub(crate) async fn bytes(response: &mut Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - bytes.len())]);
        if bytes.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    bytes
}

/// Why a request got no answer, in as many words as an operator needs. The URL stays out: its path may hold a token.
pub(crate) fn reason(error: &reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() {
        return format!("no answer within {}", duration::text(timeout));
    }
    // The layers above only say that a request failed.
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    if error.is_connect() { format!("cannot connect: {innermost}") } else { innermost.to_string() }
}

/// An error with everything that led to it: reqwest's own text stops before the interesting part.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_meaning() {
        let check = |statuses: &[u16], expected| {
            for status in statuses {
                assert_eq!(verdict(StatusCode::from_u16(*status).unwrap()), expected, "{status}");
            }
        };
        check(&[200, 202, 204, 299], Verdict::Delivered);
        check(&[408, 425, 429, 500, 502, 503, 504, 301, 302, 307, 600], Verdict::Retry);
        check(&[400, 401, 403, 404, 405, 413, 415, 422], Verdict::Refused);
        check(&[410], Verdict::Gone);
    }
}
