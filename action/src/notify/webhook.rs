//! Alertmanager's webhook: the document of version 4.
//!
//! Source: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use template::Template;

use super::channel::{Outgoing, Service};
use super::http::{Sender, checked};
use super::message::Message;
use super::render::{Render, Tree, field};
use super::settings::{Problem, Span, Text, read, secret};
use crate::address::Allowed;
use crate::config::Secret;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    url: Option<Secret>,
    url_file: Option<PathBuf>,
    max_alerts: usize,
    timeout: Option<Span>,
    payload: Option<Value>,
    #[serde(rename = "send_resolved")]
    _send_resolved: Option<bool>,
    #[serde(rename = "http_config")]
    _http_config: Option<Value>,
}

/// A URL that gets documents.
pub(crate) struct Webhook {
    url: Target,
    max_alerts: usize,
    timeout: Option<Duration>,
    payload: Option<Tree>,
}

/// Where it goes.
enum Target {
    Fixed(Url),
    /// Depends on the message; checked anew for each.
    Made(Box<Template>, Allowed),
}

impl Webhook {
    pub(crate) fn new(settings: &Value, sender: &Sender) -> Result<Self, Problem> {
        let settings: Settings = read(settings)?;
        let url = secret("url", &settings.url, &settings.url_file)?;
        let url = url.ok_or_else(|| Problem {
            integration: None,
            field: None,
            text: "one of url or url_file must be configured".to_owned(),
        })?;
        let url = if url.reveal().contains("{{") {
            let template = field("url", Some(&Text(url.reveal().to_owned())), "")?;
            Target::Made(Box::new(template), sender.allowed.clone())
        } else {
            Target::Fixed(sender.url(url.reveal()).map_err(|why| Problem::new("url", why))?)
        };
        let payload =
            settings.payload.as_ref().map(|tree| Tree::new("payload", tree)).transpose()?;
        let timeout = settings.timeout.map(|span| span.0).filter(|span| !span.is_zero());
        Ok(Self { url, max_alerts: settings.max_alerts, timeout, payload })
    }

    fn sender_url(&self, render: &Render<'_>) -> Result<Url, String> {
        match &self.url {
            Target::Fixed(url) => Ok(url.clone()),
            Target::Made(template, allowed) => checked(&render.text(template)?, allowed),
        }
    }
}

impl Service for Webhook {
    fn request(&self, message: &Message, render: &Render<'_>) -> Result<Outgoing, String> {
        let url = self.sender_url(render)?;
        let body = match &self.payload {
            Some(payload) => payload.fill(render)?,
            None => message.document(self.max_alerts, &render.route_labels, render.external_url),
        };
        Ok(Outgoing::json(url, &body))
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}
