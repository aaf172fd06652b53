//! Chats that take a text by a URL: Telegram, Discord, Microsoft Teams, DingTalk, Feishu, WeCom.
//!
//! Sources: <https://core.telegram.org/bots/api#sendmessage>, <https://docs.discord.com/developers/resources/webhook>,
//! <https://learn.microsoft.com/power-automate/teams/send-a-message-in-teams>,
//! <https://open.dingtalk.com/document/robots/custom-robot-access>,
//! <https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot>,
//! <https://developer.work.weixin.qq.com/document/path/91770>.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;
use template::{Escape, Template};

use super::channel::{Attempt, Outgoing, Service};
use super::http::Sender;
use super::message::Message;
use super::render::{Render, field, shortened, shortened_bytes};
use super::settings::{Global, Problem, Text, read, secret};
use crate::config::Secret;

/// Which chat it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Telegram,
    Discord,
    Teams,
    TeamsCard,
    DingTalk,
    Feishu,
    WeCom,
}

/// Settings of all chats; each takes those of its own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    webhook_url: Option<Secret>,
    webhook_url_file: Option<PathBuf>,
    api_url: Option<Text>,
    bot_token: Option<Secret>,
    bot_token_file: Option<PathBuf>,
    chat_id: Option<Value>,
    message_thread_id: Option<Value>,
    disable_notifications: bool,
    parse_mode: Option<Text>,
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
    mentions: Option<Vec<Text>>,
    mention_all: bool,
    content: Option<Text>,
    username: Option<Text>,
    avatar_url: Option<Text>,
    title: Option<Text>,
    summary: Option<Text>,
    text: Option<Text>,
    message: Option<Text>,
    send_resolved: Option<bool>,
    http_config: Option<Value>,
}

impl Kind {
    /// The kind by the name of its settings.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "telegram" => Self::Telegram,
            "discord" => Self::Discord,
            "msteams" => Self::Teams,
            "msteamsv2" => Self::TeamsCard,
            "dingtalk" => Self::DingTalk,
            "feishu" => Self::Feishu,
            "wecom" => Self::WeCom,
            _ => return None,
        })
    }

    /// Settings besides `send_resolved` and `http_config`.
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Telegram => &[
                "api_url",
                "bot_token",
                "bot_token_file",
                "chat_id",
                "message_thread_id",
                "message",
                "disable_notifications",
                "parse_mode",
            ],
            Self::Discord => &[
                "webhook_url",
                "webhook_url_file",
                "title",
                "message",
                "content",
                "username",
                "avatar_url",
            ],
            Self::Teams => &["webhook_url", "webhook_url_file", "title", "summary", "text"],
            Self::TeamsCard => &["webhook_url", "webhook_url_file", "title", "text"],
            Self::DingTalk => &[
                "webhook_url",
                "webhook_url_file",
                "secret",
                "secret_file",
                "title",
                "text",
                "mentions",
                "mention_all",
            ],
            Self::Feishu => {
                &["webhook_url", "webhook_url_file", "secret", "secret_file", "title", "text"]
            }
            Self::WeCom => &["webhook_url", "webhook_url_file", "text"],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Telegram => "telegram",
            Self::Discord => "discord",
            Self::Teams => "msteams",
            Self::TeamsCard => "msteamsv2",
            Self::DingTalk => "dingtalk",
            Self::Feishu => "feishu",
            Self::WeCom => "wecom",
        }
    }
}

/// A chat.
pub(crate) struct Chat {
    kind: Kind,
    url: Url,
    secret: Option<Secret>,
    title: Template,
    summary: Template,
    text: Template,
    content: Template,
    /// Settings that stand in the document as they are.
    settings: Value,
}

impl Chat {
    pub(crate) fn new(
        kind: Kind,
        settings: &Value,
        global: &Global,
        sender: &Sender,
    ) -> Result<Self, Problem> {
        let s: Settings = read(settings)?;
        let common = ["send_resolved", "http_config"];
        for name in settings.as_object().into_iter().flatten().map(|(name, _)| name.as_str()) {
            if !kind.fields().contains(&name) && !common.contains(&name) {
                return Err(Problem::new(name, format!("unknown field `{name}`")));
            }
        }
        drop((s.send_resolved, s.http_config)); // Read elsewhere.
        let url = match kind {
            Kind::Telegram => {
                let token = match secret("bot_token", &s.bot_token, &s.bot_token_file)? {
                    Some(token) => Some(token),
                    None => secret(
                        "telegram_bot_token",
                        &global.telegram_bot_token,
                        &global.telegram_bot_token_file,
                    )?,
                };
                let token = token.ok_or_else(|| {
                    missing("missing bot_token or bot_token_file on telegram_config")
                })?;
                if s.chat_id.as_ref().is_none_or(|id| *id == 0 || *id == "") {
                    return Err(missing("missing chat_id on telegram_config"));
                }
                let base = s.api_url.or_else(|| global.telegram_api_url.clone());
                let base = base.map_or("https://api.telegram.org".to_owned(), |url| url.0);
                format!("{}/bot{}/sendMessage", base.trim_end_matches('/'), token.reveal())
            }
            _ => {
                let url = secret("webhook_url", &s.webhook_url, &s.webhook_url_file)?;
                let text = "one of webhook_url or webhook_url_file must be configured";
                url.ok_or_else(|| missing(text))?.reveal().to_owned()
            }
        };
        let url = sender.url(&url).map_err(|why| Problem::new("webhook_url", why))?;
        let mode = s.parse_mode.as_ref().map_or("HTML", |mode| &mode.0);
        if !["", "Markdown", "MarkdownV2", "HTML"].contains(&mode) {
            let text = "unknown parse_mode on telegram_config, must be Markdown, MarkdownV2, HTML or empty string";
            return Err(Problem::new("parse_mode", text));
        }
        let default =
            |part: &str| format!("{{{{ template \"{}.default.{part}\" . }}}}", kind.name());
        let (text_name, text) = match kind {
            Kind::Telegram | Kind::Discord => ("message", &s.message),
            _ => ("text", &s.text),
        };
        Ok(Self {
            kind,
            url,
            secret: secret("secret", &s.secret, &s.secret_file)?,
            title: field("title", s.title.as_ref(), &default("title"))?,
            summary: field("summary", s.summary.as_ref(), &default("summary"))?,
            text: field(text_name, text.as_ref(), &default(text_name))?,
            content: field("content", s.content.as_ref(), "")?,
            settings: json!({
                "chat_id": s.chat_id,
                "message_thread_id": s.message_thread_id,
                "disable_notification": s.disable_notifications,
                "parse_mode": mode,
                "mentions": s.mentions.unwrap_or_default().into_iter().map(|m| m.0).collect::<Vec<_>>(),
                "mention_all": s.mention_all,
                "username": s.username.map(|text| text.0),
                "avatar_url": s.avatar_url.map(|text| text.0),
            }),
        })
    }

    /// The base64 of HMAC-SHA256.
    fn signature(key: &str, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
            .expect("HMAC takes keys of every length");
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }

    fn telegram(&self, render: &Render<'_>) -> Result<Value, String> {
        let is_html = self.settings["parse_mode"] == "HTML";
        // A label with a `<` would be a tag, and refused.
        let escape = if is_html { Escape::Html } else { Escape::None };
        let mut body = json!({
            "chat_id": self.settings["chat_id"],
            "text": shortened(render.escaped(&self.text, escape)?, 4_096),
            "disable_web_page_preview": true,
            "disable_notification": self.settings["disable_notification"],
        });
        if self.settings["parse_mode"] != "" {
            body["parse_mode"] = self.settings["parse_mode"].clone();
        }
        if !self.settings["message_thread_id"].is_null() {
            body["message_thread_id"] = self.settings["message_thread_id"].clone();
        }
        Ok(body)
    }

    fn discord(&self, render: &Render<'_>, firing: bool) -> Result<Value, String> {
        let (red, green) = (0x99_2d_22, 0x2e_cc_71);
        let mut body = json!({
            "content": render.short(&self.content, 2_000)?,
            "embeds": [{
                "title": render.short(&self.title, 256)?,
                "description": render.short(&self.text, 4_096)?,
                "color": if firing { red } else { green },
            }],
        });
        for name in ["username", "avatar_url"] {
            if !self.settings[name].is_null() {
                body[name] = self.settings[name].clone();
            }
        }
        Ok(body)
    }

    fn card(&self, render: &Render<'_>, firing: bool) -> Result<Value, String> {
        let block = |text: String, more: Value| {
            let mut block = json!({"type": "TextBlock", "text": text, "wrap": true});
            for (name, value) in more.as_object().into_iter().flatten() {
                block[name] = value.clone();
            }
            block
        };
        let color = if firing { "Attention" } else { "Good" };
        let style =
            json!({"weight": "Bolder", "size": "Medium", "style": "heading", "color": color});
        let title = block(shortened(render.text(&self.title)?, 1_024), style);
        // A message may have 28 kB.
        let text = block(shortened_bytes(render.text(&self.text)?, 24_000), json!({}));
        Ok(json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [title, text],
                    "msteams": {"width": "full"},
                },
            }],
        }))
    }

    fn connector(&self, render: &Render<'_>, firing: bool) -> Result<Value, String> {
        Ok(json!({
            "@context": "http://schema.org/extensions",
            "@type": "MessageCard",
            "title": render.text(&self.title)?,
            "summary": render.text(&self.summary)?,
            "text": shortened_bytes(render.text(&self.text)?, 24_000),
            "themeColor": if firing { "8C1A1A" } else { "2DC72D" },
        }))
    }

    fn feishu(
        &self,
        message: &Message,
        render: &Render<'_>,
        firing: bool,
    ) -> Result<Value, String> {
        let title = render.short(&self.title, 500)?;
        let text = shortened_bytes(render.text(&self.text)?, 24_000);
        let mut body = json!({
            "msg_type": "interactive",
            "card": {
                "header": {
                    "title": {"tag": "plain_text", "content": title},
                    "template": if firing { "red" } else { "green" },
                },
                "elements": [{"tag": "markdown", "content": text}],
            },
        });
        if let Some(secret) = &self.secret {
            let seconds = message.at.s().to_string();
            // As they define it: the text is the key, and nothing is signed.
            body["sign"] = Self::signature(&format!("{seconds}\n{}", secret.reveal()), "").into();
            body["timestamp"] = seconds.into();
        }
        Ok(body)
    }

    fn dingtalk(&self, render: &Render<'_>) -> Result<Value, String> {
        let mut text = shortened_bytes(render.text(&self.text)?, 18_000);
        for mobile in self.settings["mentions"].as_array().into_iter().flatten() {
            // Only who stands in the text is told.
            text.push_str(&format!(" @{}", mobile.as_str().unwrap_or_default()));
        }
        Ok(json!({
            "msgtype": "markdown",
            "markdown": {"title": render.short(&self.title, 256)?, "text": text},
            "at": {"atMobiles": self.settings["mentions"], "isAtAll": self.settings["mention_all"]},
        }))
    }
}

fn missing(text: &str) -> Problem {
    Problem { integration: None, field: None, text: text.to_owned() }
}

impl Service for Chat {
    fn request(&self, message: &Message, render: &Render<'_>) -> Result<Outgoing, String> {
        let firing = message.status() == "firing";
        let mut url = self.url.clone();
        let body = match self.kind {
            Kind::Telegram => self.telegram(render)?,
            Kind::Discord => self.discord(render, firing)?,
            Kind::Teams => self.connector(render, firing)?,
            Kind::TeamsCard => self.card(render, firing)?,
            Kind::Feishu => self.feishu(message, render, firing)?,
            Kind::WeCom => {
                let text = shortened_bytes(render.text(&self.text)?, 4_096);
                json!({"msgtype": "markdown", "markdown": {"content": text}})
            }
            Kind::DingTalk => {
                if let Some(secret) = &self.secret {
                    let ms = message.at.ms();
                    let sign =
                        Self::signature(secret.reveal(), &format!("{ms}\n{}", secret.reveal()));
                    let ms = ms.to_string();
                    url.query_pairs_mut().append_pair("timestamp", &ms).append_pair("sign", &sign);
                }
                self.dingtalk(render)?
            }
        };
        Ok(Outgoing::json(url, &body))
    }

    /// The robots answer 200 to everything: the code in the document decides.
    fn judge(&self, body: &[u8]) -> Attempt {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let (code, text, busy) = match self.kind {
            Kind::DingTalk => (&answer["errcode"], &answer["errmsg"], 130_101),
            Kind::WeCom => (&answer["errcode"], &answer["errmsg"], 45_009),
            Kind::Feishu => (&answer["code"], &answer["msg"], 9_499),
            Kind::Telegram if answer["ok"] == false => {
                return Attempt::Refused(format!("answered {}", answer["description"]));
            }
            _ => return Attempt::Taken,
        };
        match code.as_i64() {
            Some(0) => Attempt::Taken,
            None if self.kind == Kind::Feishu && answer["StatusCode"] == 0 => Attempt::Taken,
            Some(code) if code == busy => Attempt::Retry(format!("answered {code}: {text}"), None),
            _ => Attempt::Refused(format!("answered {code}: {text}")),
        }
    }
}
