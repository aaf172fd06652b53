//! PagerDuty (Events API v2) and Opsgenie: services that keep an incident a group.
//!
//! Sources: <https://developer.pagerduty.com/docs/send-alert-event>, <https://docs.opsgenie.com/docs/alert-api>,
//! <https://prometheus.io/docs/alerting/latest/configuration/>.

use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use template::Template;

use super::channel::{Outgoing, Service};
use super::http::Sender;
use super::message::Message;
use super::render::{Render, Tree, field, group_hash, shortened};
use super::settings::{Global, Problem, Span, Text, read, secret};
use crate::config::Secret;

/// Longest summary of PagerDuty, in characters.
const SUMMARY_CHARS_MAX: usize = 1_024;
/// Largest event of PagerDuty, in bytes: beyond it the details are left out.
const EVENT_BYTES_MAX: usize = 512_000;
/// Longest message of Opsgenie, in characters.
const MESSAGE_CHARS_MAX: usize = 130;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PagerSettings {
    routing_key: Option<Secret>,
    routing_key_file: Option<PathBuf>,
    service_key: Option<Secret>,
    service_key_file: Option<PathBuf>,
    url: Option<Text>,
    client: Option<Text>,
    client_url: Option<Text>,
    description: Option<Text>,
    details: Option<Value>,
    images: Option<Value>,
    links: Option<Value>,
    source: Option<Text>,
    severity: Option<Text>,
    class: Option<Text>,
    component: Option<Text>,
    group: Option<Text>,
    #[serde(rename = "timeout")]
    _timeout: Option<Span>,
    #[serde(rename = "send_resolved")]
    _send_resolved: Option<bool>,
    #[serde(rename = "http_config")]
    _http_config: Option<Value>,
}

/// A PagerDuty service.
pub(crate) struct PagerDuty {
    url: Url,
    key: Secret,
    outer: Vec<(&'static str, Template)>,
    payload: Vec<(&'static str, Template)>,
    summary: Template,
    details: Tree,
    images: Option<Tree>,
    links: Option<Tree>,
}

type Fields = Vec<(&'static str, Template)>;

fn fields(given: Vec<(&'static str, Option<Text>, &str)>) -> Result<Fields, Problem> {
    given.into_iter().map(|(name, text, d)| Ok((name, field(name, text.as_ref(), d)?))).collect()
}

/// Fills in fields, leaving out those that are empty.
fn fill(target: &mut Value, fields: &Fields, render: &Render<'_>) -> Result<(), String> {
    for (name, template) in fields {
        let text = render.text(template)?;
        if !text.is_empty() {
            target[*name] = text.into();
        }
    }
    Ok(())
}

impl PagerDuty {
    pub(crate) fn new(settings: &Value, global: &Global, sender: &Sender) -> Result<Self, Problem> {
        let s: PagerSettings = read(settings)?;
        if s.service_key.is_some() || s.service_key_file.is_some() {
            let text = "keys of the first API are not supported: use routing_key";
            return Err(Problem::new("service_key", text));
        }
        let key = secret("routing_key", &s.routing_key, &s.routing_key_file)?;
        let key = key.ok_or_else(|| Problem {
            integration: None,
            field: None,
            text: "missing service or routing key in PagerDuty config".to_owned(),
        })?;
        let url = s.url.or_else(|| global.pagerduty_url.clone());
        let url = url.map_or("https://events.pagerduty.com/v2/enqueue".to_owned(), |url| url.0);
        let url = sender.url(&url).map_err(|why| Problem::new("url", why))?;
        let by_default = json!({
            "firing": r#"{{ template "pagerduty.default.instances" .Alerts.Firing }}"#,
            "resolved": r#"{{ template "pagerduty.default.instances" .Alerts.Resolved }}"#,
            "num_firing": "{{ .Alerts.Firing | len }}",
            "num_resolved": "{{ .Alerts.Resolved | len }}",
        });
        let mut details = by_default;
        for (name, value) in s.details.as_ref().and_then(Value::as_object).into_iter().flatten() {
            details[name] = value.clone();
        }
        let tree =
            |name: &str, value: Option<Value>| value.map(|v| Tree::new(name, &v)).transpose();
        let client = r#"{{ template "pagerduty.default.client" . }}"#;
        let client_url = r#"{{ template "pagerduty.default.clientURL" . }}"#;
        let summary = r#"{{ template "pagerduty.default.description" . }}"#;
        Ok(Self {
            url,
            key,
            outer: fields(vec![
                ("client", s.client, client),
                ("client_url", s.client_url, client_url),
            ])?,
            payload: fields(vec![
                ("source", s.source, client),
                ("severity", s.severity, "error"),
                ("class", s.class, ""),
                ("component", s.component, ""),
                ("group", s.group, ""),
            ])?,
            summary: field("description", s.description.as_ref(), summary)?,
            details: Tree::new("details", &details)?,
            images: tree("images", s.images)?,
            links: tree("links", s.links)?,
        })
    }
}

impl Service for PagerDuty {
    fn request(&self, message: &Message, render: &Render<'_>) -> Result<Outgoing, String> {
        let firing = message.status() == "firing";
        let mut payload = json!({
            "summary": render.short(&self.summary, SUMMARY_CHARS_MAX)?,
            "custom_details": self.details.fill(render)?,
        });
        fill(&mut payload, &self.payload, render)?;
        let mut event = json!({
            "routing_key": self.key.reveal(),
            "dedup_key": group_hash(message),
            "event_action": if firing { "trigger" } else { "resolve" },
            "payload": payload,
        });
        fill(&mut event, &self.outer, render)?;
        for (name, tree) in [("images", &self.images), ("links", &self.links)] {
            if let Some(tree) = tree {
                event[name] = tree.fill(render)?;
            }
        }
        if event.to_string().len() > EVENT_BYTES_MAX {
            event["payload"]["custom_details"] =
                json!({"error": "the details are left out: the event would exceed 512 kB"});
        }
        Ok(Outgoing::json(self.url.clone(), &event))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OpsgenieSettings {
    api_key: Option<Secret>,
    api_key_file: Option<PathBuf>,
    api_url: Option<Text>,
    message: Option<Text>,
    description: Option<Text>,
    source: Option<Text>,
    details: Option<Value>,
    entity: Option<Text>,
    actions: Option<Text>,
    responders: Option<Value>,
    tags: Option<Text>,
    note: Option<Text>,
    priority: Option<Text>,
    update_alerts: bool,
    #[serde(rename = "send_resolved")]
    _send_resolved: Option<bool>,
    #[serde(rename = "http_config")]
    _http_config: Option<Value>,
}

/// An Opsgenie account.
pub(crate) struct Opsgenie {
    url: Url,
    headers: HeaderMap,
    message: Template,
    source: Template,
    texts: Fields,
    /// Texts that are lists, by commas.
    lists: Fields,
    details: Tree,
    responders: Option<Tree>,
}

impl Opsgenie {
    pub(crate) fn new(settings: &Value, global: &Global, sender: &Sender) -> Result<Self, Problem> {
        let s: OpsgenieSettings = read(settings)?;
        if s.update_alerts {
            return Err(Problem::new("update_alerts", "updates are not supported yet: remove it"));
        }
        let key = match secret("api_key", &s.api_key, &s.api_key_file)? {
            Some(key) => Some(key),
            None => {
                secret("opsgenie_api_key", &global.opsgenie_api_key, &global.opsgenie_api_key_file)?
            }
        };
        let key = key.ok_or_else(|| Problem {
            integration: None,
            field: None,
            text: "no global OpsGenie API Key set either inline or in a file".to_owned(),
        })?;
        let mut value = HeaderValue::from_str(&format!("GenieKey {}", key.reveal()))
            .map_err(|_| Problem::new("api_key", "it is no text that a header can hold"))?;
        value.set_sensitive(true);
        let url = s.api_url.or_else(|| global.opsgenie_api_url.clone());
        let url = url.map_or("https://api.opsgenie.com/".to_owned(), |url| url.0);
        let url = format!("{}/v2/alerts", url.trim_end_matches('/'));
        let url = sender.url(&url).map_err(|why| Problem::new("api_url", why))?;
        let message = r#"{{ template "opsgenie.default.message" . }}"#;
        let source = r#"{{ template "opsgenie.default.source" . }}"#;
        let description = r#"{{ template "opsgenie.default.description" . }}"#;
        let details = s.details.unwrap_or_else(|| json!({}));
        Ok(Self {
            url,
            headers: HeaderMap::from_iter([(AUTHORIZATION, value)]),
            message: field("message", s.message.as_ref(), message)?,
            source: field("source", s.source.as_ref(), source)?,
            texts: fields(vec![
                ("description", s.description, description),
                ("note", s.note, ""),
                ("priority", s.priority, ""),
                ("entity", s.entity, ""),
            ])?,
            lists: fields(vec![("tags", s.tags, ""), ("actions", s.actions, "")])?,
            details: Tree::new("details", &details)?,
            responders: s.responders.map(|list| Tree::new("responders", &list)).transpose()?,
        })
    }
}

impl Service for Opsgenie {
    fn request(&self, message: &Message, render: &Render<'_>) -> Result<Outgoing, String> {
        let alias = group_hash(message);
        let source = render.text(&self.source)?;
        if message.status() == "resolved" {
            let mut url = self.url.clone();
            url.set_path(&format!("{}/{alias}/close", self.url.path()));
            url.set_query(Some("identifierType=alias"));
            let body = json!({"source": source});
            return Ok(Outgoing { headers: self.headers.clone(), ..Outgoing::json(url, &body) });
        }
        // Labels all alerts share are details; what is configured goes over them.
        let mut details = Value::Object(super::message::object(&message.common_labels()));
        for (name, value) in self.details.fill(render)?.as_object().into_iter().flatten() {
            details[name] = value.clone();
        }
        let mut body = json!({
            "alias": alias,
            "message": shortened(render.text(&self.message)?, MESSAGE_CHARS_MAX),
            "source": source,
            "details": details,
        });
        fill(&mut body, &self.texts, render)?;
        for (name, template) in &self.lists {
            let text = render.text(template)?;
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let parts: Vec<&str> = parts.collect();
            if !parts.is_empty() {
                body[*name] = json!(parts);
            }
        }
        if let Some(responders) = &self.responders {
            body["responders"] = responders.fill(render)?;
        }
        Ok(Outgoing { headers: self.headers.clone(), ..Outgoing::json(self.url.clone(), &body) })
    }
}
