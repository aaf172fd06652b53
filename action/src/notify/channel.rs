//! One way to tell someone: a service that knows its documents, and the request that carries them.

use std::time::Duration;

use model::time::Timestamp;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, USER_AGENT};

use super::Integration;
use super::chat::{self, Chat};
use super::http::Sender;
use super::mail::Mail;
use super::message::Message;
use super::pager::{Opsgenie, PagerDuty};
use super::render::Render;
use super::settings::{Global, Problem};
use super::slack::Slack;
use super::webhook::Webhook;
use crate::address::Allowed;
use crate::journal::record::Verdict;
use crate::send;

/// How long one request may take at most, unless the integration says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What one attempt led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The receiver has it.
    Taken,
    /// The receiver has it, but so many people behind it never will, and why.
    Partly(usize, String),
    /// It will never take it, and why.
    Refused(String),
    /// It may take it later: why it did not, and how long it asks us to wait.
    Retry(String, Option<Duration>),
}

/// One request to be posted.
pub(crate) struct Outgoing {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Outgoing {
    /// A document in JSON.
    pub(crate) fn json(url: Url, body: &serde_json::Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { url, headers: HeaderMap::new(), content_type: "application/json", body }
    }
}

/// What is known about a service that takes messages over HTTP.
pub(crate) trait Service: Send + Sync {
    /// The request that tells of `message`.
    fn request(&self, message: &Message, render: &Render<'_>) -> Result<Outgoing, String>;

    /// How long one request may take.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// What an answer of 2xx means, by its body; most services mean what the status says.
    fn judge(&self, _body: &[u8]) -> Attempt {
        Attempt::Taken
    }
}

/// One way to tell someone.
pub(crate) enum Channel {
    /// Over HTTP.
    Posted(Box<Poster>),
    /// By e-mail.
    Mailed(Box<Mail>),
}

impl Channel {
    pub(crate) fn new(
        integration: &Integration<'_>,
        global: &Global,
        allowed: &Allowed,
    ) -> Result<Self, Problem> {
        if integration.kind == "email" {
            let mail = Mail::new(integration.settings, global, allowed)?;
            return Ok(Self::Mailed(Box::new(mail)));
        }
        Poster::new(integration, global, allowed).map(Box::new).map(Self::Posted)
    }

    /// Tries once, for at most `left`.
    pub(crate) async fn attempt(
        &self,
        message: &Message,
        render: &Render<'_>,
        left: Duration,
    ) -> Attempt {
        let left = left.max(Duration::from_secs(1));
        match self {
            Self::Posted(poster) => poster.attempt(message, render, left).await,
            Self::Mailed(mail) => mail.attempt(message, render, TIMEOUT.min(left)).await,
        }
    }
}

/// A service and the client that reaches it.
pub(crate) struct Poster {
    sender: Sender,
    service: Box<dyn Service>,
}

impl Poster {
    fn new(
        integration: &Integration<'_>,
        global: &Global,
        allowed: &Allowed,
    ) -> Result<Self, Problem> {
        let settings = integration.settings;
        let sender =
            Sender::new(settings.get("http_config"), global.http_config.as_ref(), allowed)?;
        let service: Box<dyn Service> = match integration.kind {
            "webhook" => Box::new(Webhook::new(settings, &sender)?),
            "slack" => Box::new(Slack::new(settings, global, &sender)?),
            "pagerduty" => Box::new(PagerDuty::new(settings, global, &sender)?),
            "opsgenie" => Box::new(Opsgenie::new(settings, global, &sender)?),
            kind if let Some(chat) = chat::Kind::of(kind) => {
                Box::new(Chat::new(chat, settings, global, &sender)?)
            }
            kind => {
                let text = format!(
                    "{kind}_configs are not supported yet: remove them, or use webhook_configs"
                );
                return Err(Problem { integration: None, field: None, text });
            }
        };
        Ok(Self { sender, service })
    }

    async fn attempt(&self, message: &Message, render: &Render<'_>, left: Duration) -> Attempt {
        let outgoing = match self.service.request(message, render) {
            Ok(outgoing) => outgoing,
            Err(why) => return Attempt::Refused(why),
        };
        let timeout = self.service.timeout().unwrap_or(TIMEOUT).min(left);
        let origin = outgoing.url.origin().ascii_serialization();
        let request = self
            .sender
            .client
            .post(outgoing.url)
            .timeout(timeout)
            .headers(self.sender.headers.clone())
            .headers(outgoing.headers)
            .header(CONTENT_TYPE, outgoing.content_type)
            .header(USER_AGENT, concat!("Headrope/", env!("CARGO_PKG_VERSION")))
            .header("Idempotency-Key", message.idempotency_key())
            .body(outgoing.body);
        match request.send().await {
            Ok(response) => self.answered(response, message.at).await,
            Err(error) => {
                let why = send::reason(&error.without_url(), timeout);
                Attempt::Retry(format!("{origin}: {why}"), None)
            }
        }
    }

    async fn answered(&self, mut response: reqwest::Response, now: Timestamp) -> Attempt {
        if response.status().is_success() {
            let body = send::bytes(&mut response).await;
            return self.service.judge(&body);
        }
        let answer = send::judge(response, now).await;
        match answer.verdict {
            Verdict::Retry => Attempt::Retry(answer.error, answer.retry_after),
            _ => Attempt::Refused(answer.error),
        }
    }
}
