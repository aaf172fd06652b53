//! Slack, by incoming webhooks: one attachment a message.
//!
//! Sources: <https://prometheus.io/docs/alerting/latest/configuration/#slack_config>,
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>.

use std::path::PathBuf;

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use template::Template;

use super::channel::{Attempt, Outgoing, Service};
use super::http::Sender;
use super::message::Message;
use super::render::{Render, Tree, field};
use super::settings::{Global, Problem, Span, Text, read, secret};
use crate::config::Secret;

/// Longest title, in characters.
const TITLE_CHARS_MAX: usize = 1_024;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    api_url: Option<Secret>,
    api_url_file: Option<PathBuf>,
    app_token: Option<Secret>,
    app_token_file: Option<PathBuf>,
    #[serde(rename = "app_url")]
    _app_url: Option<Text>,
    channel: Option<Text>,
    username: Option<Text>,
    color: Option<Text>,
    title: Option<Text>,
    title_link: Option<Text>,
    pretext: Option<Text>,
    text: Option<Text>,
    message_text: Option<Text>,
    fields: Option<Value>,
    short_fields: bool,
    footer: Option<Text>,
    fallback: Option<Text>,
    callback_id: Option<Text>,
    icon_emoji: Option<Text>,
    icon_url: Option<Text>,
    image_url: Option<Text>,
    thumb_url: Option<Text>,
    link_names: bool,
    mrkdwn_in: Option<Vec<Text>>,
    actions: Option<Value>,
    #[serde(rename = "timeout")]
    _timeout: Option<Span>,
    #[serde(rename = "send_resolved")]
    _send_resolved: Option<bool>,
    #[serde(rename = "http_config")]
    _http_config: Option<Value>,
}

/// A Slack channel.
pub(crate) struct Slack {
    url: Url,
    /// Of the message: name in the document and template.
    outer: Vec<(&'static str, Template)>,
    /// Of the attachment.
    inner: Vec<(&'static str, Template)>,
    title: Template,
    fields: Option<Tree>,
    actions: Option<Tree>,
    short_fields: bool,
    link_names: bool,
    mrkdwn_in: Vec<String>,
}

impl Slack {
    pub(crate) fn new(settings: &Value, global: &Global, sender: &Sender) -> Result<Self, Problem> {
        let s: Settings = read(settings)?;
        if s.app_token.is_some() || s.app_token_file.is_some() {
            let text = "app tokens are not supported yet: use api_url";
            return Err(Problem::new("app_token", text));
        }
        let own = secret("api_url", &s.api_url, &s.api_url_file)?;
        let url = match own {
            Some(url) => Some(url),
            None => secret("slack_api_url", &global.slack_api_url, &global.slack_api_url_file)?,
        };
        let url = url.ok_or_else(|| Problem {
            integration: None,
            field: None,
            text: "no Slack API URL nor App token set either inline or in a file".to_owned(),
        })?;
        let url = sender.url(url.reveal()).map_err(|why| Problem::new("api_url", why))?;
        let outer = [
            ("channel", s.channel, ""),
            ("username", s.username, r#"{{ template "slack.default.username" . }}"#),
            ("icon_emoji", s.icon_emoji, r#"{{ template "slack.default.iconemoji" . }}"#),
            ("icon_url", s.icon_url, r#"{{ template "slack.default.iconurl" . }}"#),
            ("text", s.message_text, ""),
        ];
        let colors = r#"{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}"#;
        let inner = [
            ("title_link", s.title_link, r#"{{ template "slack.default.titlelink" . }}"#),
            ("pretext", s.pretext, r#"{{ template "slack.default.pretext" . }}"#),
            ("text", s.text, r#"{{ template "slack.default.text" . }}"#),
            ("fallback", s.fallback, r#"{{ template "slack.default.fallback" . }}"#),
            ("callback_id", s.callback_id, r#"{{ template "slack.default.callbackid" . }}"#),
            ("footer", s.footer, r#"{{ template "slack.default.footer" . }}"#),
            ("color", s.color, colors),
            ("image_url", s.image_url, ""),
            ("thumb_url", s.thumb_url, ""),
        ];
        let all = |fields: Vec<(&'static str, Option<Text>, &str)>| {
            let made = fields.into_iter().map(|(n, text, d)| Ok((n, field(n, text.as_ref(), d)?)));
            made.collect::<Result<Vec<_>, Problem>>()
        };
        let tree =
            |name: &str, value: Option<Value>| value.map(|v| Tree::new(name, &v)).transpose();
        let markdown = s.mrkdwn_in.map(|names| names.into_iter().map(|name| name.0).collect());
        let by_default = || ["fallback", "pretext", "text"].map(str::to_owned).to_vec();
        Ok(Self {
            url,
            outer: all(outer.to_vec())?,
            inner: all(inner.to_vec())?,
            title: field("title", s.title.as_ref(), r#"{{ template "slack.default.title" . }}"#)?,
            fields: tree("fields", s.fields)?,
            actions: tree("actions", s.actions)?,
            short_fields: s.short_fields,
            link_names: s.link_names,
            mrkdwn_in: markdown.unwrap_or_else(by_default),
        })
    }
}

impl Service for Slack {
    fn request(&self, _message: &Message, render: &Render<'_>) -> Result<Outgoing, String> {
        let mut attachment = json!({
            "title": render.short(&self.title, TITLE_CHARS_MAX)?,
            "mrkdwn_in": self.mrkdwn_in,
        });
        let mut body = json!({});
        for (target, fields) in [(&mut attachment, &self.inner), (&mut body, &self.outer)] {
            for (name, template) in fields {
                let text = render.text(template)?;
                if !text.is_empty() {
                    target[*name] = text.into();
                }
            }
        }
        if let Some(fields) = &self.fields {
            let mut fields = fields.fill(render)?;
            for one in fields.as_array_mut().into_iter().flatten() {
                if one["short"].is_null() {
                    one["short"] = self.short_fields.into();
                }
            }
            attachment["fields"] = fields;
        }
        if let Some(actions) = &self.actions {
            attachment["actions"] = actions.fill(render)?;
        }
        if self.link_names {
            body["link_names"] = true.into();
        }
        body["attachments"] = json!([attachment]);
        Ok(Outgoing::json(self.url.clone(), &body))
    }

    /// A webhook answers `ok`, other doors of Slack a document that says so.
    fn judge(&self, body: &[u8]) -> Attempt {
        match serde_json::from_slice::<Value>(body) {
            Ok(answer) if answer["ok"] == false => {
                Attempt::Refused(format!("Slack answered {}", answer["error"]))
            }
            _ => Attempt::Taken,
        }
    }
}
