//! Templates of messages: those of the settings, those people define, and ours below them.

use std::collections::BTreeMap;

use model::metric::Labels;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use template::{Context, Escape, Template, Value};

use super::message::Message;
use super::settings::{Problem, Text};

/// What channels say where nobody says otherwise; the names are Alertmanager's.
const DEFAULTS: &str = include_str!("default.tmpl");

/// Templates by which all others may be defined, ours first.
pub(crate) fn library(files: &[(String, String)], problems: &mut Vec<Problem>) -> Vec<Template> {
    let ours = [("default.tmpl", DEFAULTS)].into_iter();
    let theirs = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let parsed = ours.chain(theirs).filter_map(|(name, text)| {
        let parsed = Template::parse(name, text, &[]);
        let wrong = |error: template::Error| Problem {
            integration: None,
            field: None,
            text: error.to_string(),
        };
        parsed.map_err(|error| problems.push(wrong(error))).ok()
    });
    parsed.collect()
}

/// A template of a field, or what stands for it by default.
pub(crate) fn field(name: &str, given: Option<&Text>, default: &str) -> Result<Template, Problem> {
    let text = given.map_or(default, |text| &text.0);
    Template::parse(name, text, &[]).map_err(|error| Problem::new(name, error.to_string()))
}

/// The data of one message, and what templates need besides.
pub(crate) struct Render<'a> {
    library: &'a [Template],
    data: Value,
    now_ns: i64,
    pub(crate) external_url: &'a str,
    pub(crate) route_labels: BTreeMap<String, String>,
}

impl<'a> Render<'a> {
    /// Fails when a label of the route is a template that fails.
    pub(crate) fn new(
        library: &'a [Template],
        message: &Message,
        external_url: &'a str,
    ) -> Result<Self, String> {
        let now_ns = message.at.0;
        let route_labels = BTreeMap::new();
        let plain = data(message, &route_labels, external_url);
        let mut render = Self { library, data: plain, now_ns, external_url, route_labels };
        if !message.route_labels.is_empty() {
            let mut labels = BTreeMap::new();
            for (name, text) in &message.route_labels {
                labels.insert(name.clone(), render.own(name, text)?);
            }
            render.data = data(message, &labels, external_url);
            render.route_labels = labels;
        }
        Ok(render)
    }

    fn own(&self, name: &str, text: &str) -> Result<String, String> {
        let template = Template::parse(name, text, &[]).map_err(|error| error.to_string())?;
        self.text(&template)
    }

    /// What `template` says.
    pub(crate) fn text(&self, template: &Template) -> Result<String, String> {
        self.escaped(template, Escape::None)
    }

    /// The same, with its values escaped as `escape` asks.
    pub(crate) fn escaped(&self, template: &Template, escape: Escape) -> Result<String, String> {
        let context = Context {
            data: self.data.clone(),
            variables: Vec::new(),
            now_ns: self.now_ns,
            external_url: self.external_url,
            query: &|_| Err("queries are for rules, not for notifications".to_owned()),
        };
        let done = template.execute_with(self.library, &context, escape);
        done.map_err(|error| error.to_string())
    }

    /// The same, at most `chars` characters, the last of which is `…` when something is missing.
    pub(crate) fn short(&self, template: &Template, chars: usize) -> Result<String, String> {
        self.text(template).map(|text| shortened(text, chars))
    }
}

/// At most `chars` characters of `text`.
pub(crate) fn shortened(text: String, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text;
    }
    let kept: String = text.chars().take(chars.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// At most `bytes` bytes of `text`.
pub(crate) fn shortened_bytes(text: String, bytes: usize) -> String {
    if text.len() <= bytes {
        return text;
    }
    let end = text.floor_char_boundary(bytes.saturating_sub("…".len()));
    format!("{}…", &text[..end])
}

/// What pagers take for the identity of a group: SHA-256 of its key in hex.
pub(crate) fn group_hash(message: &Message) -> String {
    let hash = Sha256::digest(message.group_key.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pairs(labels: &Labels) -> Value {
    Value::pairs(labels.iter())
}

fn data(message: &Message, route_labels: &BTreeMap<String, String>, external_url: &str) -> Value {
    let alerts = message.alerts.iter().map(|alert| {
        Value::record(
            "template.Alert",
            [
                ("Status", Value::text(alert.status())),
                ("Labels", pairs(&alert.labels)),
                ("Annotations", pairs(&alert.annotations)),
                ("StartsAt", Value::Time(alert.starts_at.0)),
                ("EndsAt", Value::Time(alert.ends_at.map_or(0, |at| at.0))),
                ("GeneratorURL", Value::text(alert.generator_url.as_str())),
                ("Fingerprint", Value::text(alert.fingerprint.as_str())),
            ],
        )
    });
    let routes = route_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Value::record(
        "template.Data",
        [
            ("Receiver", Value::text(message.receiver.as_str())),
            ("Status", Value::text(message.status())),
            ("Alerts", Value::list(alerts.collect())),
            ("GroupLabels", pairs(&message.group_labels)),
            ("CommonLabels", pairs(&message.common_labels())),
            ("CommonAnnotations", pairs(&message.common_annotations())),
            ("RouteLabels", Value::pairs(routes)),
            ("ExternalURL", Value::text(external_url)),
            ("NotificationReason", Value::text(message.reason)),
        ],
    )
}

/// A tree of settings whose texts are templates.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Text(Box<Template>),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
    Plain(Json),
}

impl Tree {
    pub(crate) fn new(name: &str, value: &Json) -> Result<Self, Problem> {
        Ok(match value {
            Json::String(text) => Self::Text(Box::new(field(name, Some(&Text(text.clone())), "")?)),
            Json::Array(items) => Self::List(
                items.iter().map(|item| Self::new(name, item)).collect::<Result<_, _>>()?,
            ),
            Json::Object(fields) => {
                let fields =
                    fields.iter().map(|(key, item)| Ok((key.clone(), Self::new(name, item)?)));
                Self::Map(fields.collect::<Result<_, _>>()?)
            }
            plain => Self::Plain(plain.clone()),
        })
    }

    /// The tree with its texts filled in.
    pub(crate) fn fill(&self, render: &Render<'_>) -> Result<Json, String> {
        Ok(match self {
            Self::Text(template) => Json::String(render.text(template)?),
            Self::List(items) => {
                Json::Array(items.iter().map(|item| item.fill(render)).collect::<Result<_, _>>()?)
            }
            Self::Map(fields) => {
                let filled = fields.iter().map(|(key, item)| Ok((key.clone(), item.fill(render)?)));
                Json::Object(filled.collect::<Result<_, String>>()?)
            }
            Self::Plain(plain) => plain.clone(),
        })
    }
}
