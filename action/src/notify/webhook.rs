//! Alertmanager's webhook: the document of version 4.
//!
//! Source: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::channel::{Outgoing, Service};
use super::http::Sender;
use super::message::Message;
use super::settings::{Problem, Span, read, secret};
use crate::config::Secret;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    url: Option<Secret>,
    url_file: Option<PathBuf>,
    max_alerts: usize,
    timeout: Option<Span>,
    #[serde(rename = "send_resolved")]
    _send_resolved: Option<bool>,
    #[serde(rename = "http_config")]
    _http_config: Option<Value>,
}

/// A URL that gets documents.
pub(crate) struct Webhook {
    url: Url,
    max_alerts: usize,
    timeout: Option<Duration>,
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
        let url = sender.url(url.reveal()).map_err(|why| Problem::new("url", why))?;
        let timeout = settings.timeout.map(|span| span.0).filter(|span| !span.is_zero());
        Ok(Self { url, max_alerts: settings.max_alerts, timeout })
    }
}

impl Service for Webhook {
    fn request(&self, message: &Message, external_url: &str) -> Result<Outgoing, String> {
        let document = message.document(self.max_alerts, &message.route_labels, external_url);
        Ok(Outgoing {
            url: self.url.clone(),
            headers: HeaderMap::new(),
            content_type: "application/json",
            body: document.to_string().into_bytes(),
        })
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}
