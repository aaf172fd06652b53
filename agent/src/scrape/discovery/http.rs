//! `http_sd_configs`: groups of targets as JSON from a server that is asked again and again.

use std::time::Duration;

use super::{Poll, Source, of_groups};
use crate::export::chain;
use crate::http_client::{HttpClient, redacted, with_http};
use crate::scrape::config::{Span, StaticGroup};
use crate::scrape::relabel::LabelSet;

with_http! {
    /// One of `http_sd_configs`.
    pub(crate) struct HttpConfig {
        #[serde(serialize_with = "crate::http_client::redact::shown")]
        pub url: String,
        /// Default: 1 min.
        pub refresh_interval: Option<Span>,
    }
}

/// Largest answer of a discovery, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

impl HttpConfig {
    /// What is wrong with it that no type can say.
    pub(crate) fn check(&self) -> Result<(), String> {
        match reqwest::Url::parse(&self.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
            _ => Err(format!(
                "`http_sd_configs`: `url` {:?} is no URL such as http://host/targets",
                redacted(&self.url)
            )),
        }
    }

    fn interval(&self) -> Duration {
        self.refresh_interval.map_or(Duration::from_secs(60), |span| span.0)
    }
}

/// Asks until everything stops.
pub(super) async fn run(poll: Poll, config: HttpConfig) {
    let client = match HttpClient::new(&config.http(), poll.folder()) {
        Ok(client) => client,
        Err(reason) => return poll.complain(&reason), // It could be built when the configuration was checked.
    };
    poll.every(config.interval(), Asked { client, config }).await;
}

struct Asked {
    client: HttpClient,
    config: HttpConfig,
}

impl Source for Asked {
    async fn ask(&mut self) -> Result<Vec<LabelSet>, String> {
        ask(&self.client, &self.config).await
    }
}

async fn ask(client: &HttpClient, config: &HttpConfig) -> Result<Vec<LabelSet>, String> {
    let seconds = config.interval().as_secs_f64().to_string();
    let headers =
        [("accept", "application/json"), ("x-prometheus-refresh-interval-seconds", &seconds)];
    let (kind, body) = get(client, &config.url, &headers, config.interval()).await?;
    if !kind.trim_start().to_ascii_lowercase().starts_with("application/json") {
        return Err(format!(
            "{}: unsupported content type {kind:?}, application/json is expected",
            redacted(&config.url)
        ));
    }
    let groups: Vec<StaticGroup> = serde_json::from_slice(&body)
        .map_err(|error| format!("{}: {error}", redacted(&config.url)))?;
    let mut targets = of_groups(&groups);
    for labels in &mut targets {
        labels.insert("__meta_url".to_owned(), redacted(&config.url).into_owned());
    }
    Ok(targets)
}

/// Content type and body of a GET that must succeed.
pub(super) async fn get(
    client: &HttpClient,
    url: &str,
    headers: &[(&str, &str)],
    deadline: Duration,
) -> Result<(String, Vec<u8>), String> {
    let request = async {
        let mut request = client
            .get(url)
            .await?
            .header("user-agent", concat!("headrope/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send().await.map_err(|error| chain(&error))?;
        if response.status() != ::http::StatusCode::OK {
            return Err(format!("server returned HTTP status {}", response.status()));
        }
        let kind = response.headers().get(::http::header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((kind, body))
    };
    let answer = tokio::time::timeout(deadline.max(Duration::from_secs(10)), request).await;
    let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    answer.map_err(|reason| format!("{}: {reason}", redacted(url)))
}
