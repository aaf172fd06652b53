//! One request and what its answer means.

use std::time::Duration;

use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use model::time::{Timestamp, days_from_civil};

use crate::export::chain;
use crate::http_client::{HttpClient, redacted};

/// Which messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `prometheus.WriteRequest`, remote write 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`, remote write 2.0.
    V2,
}

impl Version {
    const fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    const fn number(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Success; `unseen` when a 2.0 request was answered without a count of what was written.
    Taken { unseen: bool },
    /// It may succeed later, not before `after` if given.
    Retry { after: Option<Duration>, message: String },
    /// 429: too much at once.
    Busy { after: Option<Duration>, message: String },
    /// It never will; `written` samples and histograms of it are stored all the same.
    Refused { reason: &'static str, message: String, written: usize },
    /// 413: so much at once never will be taken, but its parts may.
    TooLarge { message: String },
    /// 415: the receiver does not know these messages.
    OtherVersion { message: String },
}

impl Answer {
    pub(crate) fn timeout(after: Duration) -> Self {
        Self::Retry { after: None, message: format!("no answer within {after:?}") }
    }
}

/// A receiver.
pub(crate) struct Client {
    http: HttpClient,
    url: String,
    /// The same without a password.
    shown: String,
}

/// Of an error page the beginning is enough.
const ANSWER_BYTES_MAX: usize = 4 << 10;
const SENTENCE_CHARS_MAX: usize = 300;
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

impl Client {
    pub(crate) fn new(http: HttpClient, url: String) -> Self {
        let shown = redacted(&url).into_owned();
        Self { http, url, shown }
    }

    /// Where requests go, as it may be shown.
    pub(crate) fn shown_url(&self) -> &str {
        &self.shown
    }

    /// Try number `tries` (0 is the first) of a request.
    pub(crate) async fn send(
        &self,
        version: Version,
        body: Bytes,
        tries: u32,
        now: Timestamp,
    ) -> Answer {
        let request = async {
            let mut request = self
                .http
                .post(&self.url)
                .await?
                .header(CONTENT_TYPE, version.content_type())
                .header(CONTENT_ENCODING, "snappy")
                .header("x-prometheus-remote-write-version", version.number())
                .header(USER_AGENT, concat!("headrope-agent/", env!("CARGO_PKG_VERSION")))
                .body(body);
            if tries > 0 {
                request = request.header("retry-attempt", tries);
            }
            let mut response = request.send().await.map_err(|error| chain(&error))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut text = Vec::new();
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = ANSWER_BYTES_MAX - text.len();
                text.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if text.len() == ANSWER_BYTES_MAX {
                    break;
                }
            }
            Ok::<_, String>(judge(version, status, &headers, &text, now))
        };
        request.await.unwrap_or_else(|message| Answer::Retry { after: None, message })
    }
}

pub(super) fn judge(
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Answer {
    let text = String::from_utf8_lossy(body);
    let text: String = text.chars().filter(|c| !c.is_control()).take(SENTENCE_CHARS_MAX).collect();
    let message = format!("HTTP status {}: {text}", status.as_u16());
    let refused =
        |reason| Answer::Refused { reason, message: message.clone(), written: written(headers) };
    match status.as_u16() {
        200..=299 => Answer::Taken { unseen: version == Version::V2 && !has_written(headers) },
        413 => Answer::TooLarge { message },
        415 => Answer::OtherVersion { message },
        429 => Answer::Busy { after: retry_after(headers, now), message },
        500..=599 => Answer::Retry { after: retry_after(headers, now), message },
        401 => refused("unauthenticated"),
        403 => refused("permission_denied"),
        _ => refused("refused"),
    }
}

/// The count in a header of 2.0; 0 without it.
fn count(headers: &HeaderMap, name: &str) -> u64 {
    headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0)
}

/// Whether the answer counts anything as written, as 2.0 demands.
fn has_written(headers: &HeaderMap) -> bool {
    WRITTEN.iter().any(|name| count(headers, name) > 0)
}

/// Samples and histograms that the answer counts as written.
fn written(headers: &HeaderMap) -> usize {
    let n = count(headers, WRITTEN[0]).saturating_add(count(headers, WRITTEN[1]));
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// What `Retry-After` asks for: seconds, or the time until an HTTP date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let seconds = http_date_s(text)?.saturating_sub(now.s());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Seconds since the epoch of `Mon, 23 Nov 2026 14:25:07 GMT` (RFC 9110, 5.6.7; the obsolete forms are not read).
fn http_date_s(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let number = |min: i64, max: i64, word: Option<&str>| {
        word?.parse::<i64>().ok().filter(|number| (min..=max).contains(number))
    };
    let day = number(1, 31, words.next())?;
    let word = words.next()?;
    let month = MONTHS.iter().position(|month| *month == word)?;
    let year = number(1970, 9999, words.next())?;
    let mut clock = words.next()?.split(':');
    let hour = number(0, 23, clock.next())?;
    let minute = number(0, 59, clock.next())?;
    let second = number(0, 60, clock.next())?;
    if clock.next().is_some() || words.next() != Some("GMT") || words.next().is_some() {
        return None;
    }
    let days = days_from_civil(year, i64::try_from(month).ok()? + 1, day);
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}
