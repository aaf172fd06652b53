//! Settings of integrations as Alertmanager's files have them: read strictly, secrets kept out of sight.

use std::path::PathBuf;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::config::Secret;

/// Longest file with a secret.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Something wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which integration of those given; `None` for the section `global`.
    pub integration: Option<usize>,
    /// The field it is about, where it is about one.
    pub field: Option<String>,
    /// What is wrong, and what to write instead.
    pub text: String,
}

impl Problem {
    pub(crate) fn new(field: &str, text: impl Into<String>) -> Self {
        Self { integration: None, field: Some(field.to_owned()), text: text.into() }
    }

    pub(crate) fn at(self, integration: usize) -> Self {
        Self { integration: Some(integration), ..self }
    }
}

/// Reads settings; unknown fields are refused.
pub(crate) fn read<T: DeserializeOwned + Default>(settings: &Value) -> Result<T, Problem> {
    if settings.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(settings.clone()).map_err(|error| {
        let text = error.to_string();
        let field = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let field = field.map(str::to_owned);
        Problem { integration: None, field, text }
    })
}

/// A text; numbers and truth values stand for themselves, as YAML writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::String(text) => Ok(Self(text)),
            Value::Null => Ok(Self::default()),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(Self(value.to_string())),
            _ => Err(D::Error::custom("a text is expected here")),
        }
    }
}

/// A length of time as Prometheus writes it, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) std::time::Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(from)?.0;
        let ms = template::duration::parse_ms(&text).and_then(|ms| u64::try_from(ms).ok());
        ms.map(|ms| Self(std::time::Duration::from_millis(ms)))
            .ok_or_else(|| D::Error::custom(format!("not a valid duration string: {text:?}")))
    }
}

/// A secret in the file or in one of its own.
pub(crate) fn secret(
    name: &str,
    inline: &Option<Secret>,
    file: &Option<PathBuf>,
) -> Result<Option<Secret>, Problem> {
    match (inline, file) {
        (Some(_), Some(_)) => Err(Problem::new(
            name,
            format!("at most one of {name} & {name}_file must be configured"),
        )),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, None) => Ok(None),
        (None, Some(path)) => read_secret(path).map(Some).map_err(|why| {
            Problem::new(&format!("{name}_file"), format!("{}: {why}", path.display()))
        }),
    }
}

fn read_secret(path: &PathBuf) -> Result<Secret, String> {
    let len = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if len > SECRET_FILE_BYTES_MAX {
        return Err(format!("it has {len} bytes, the limit is {SECRET_FILE_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(Secret::new(text.trim()))
}

/// The section `global`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Global {
    /// Read by `alert`.
    #[serde(rename = "resolve_timeout")]
    _resolve_timeout: Option<Text>,
    pub(crate) http_config: Option<Value>,
    pub(crate) smtp_from: Option<Text>,
    pub(crate) smtp_hello: Option<Text>,
    pub(crate) smtp_smarthost: Option<Text>,
    pub(crate) smtp_auth_username: Option<Text>,
    pub(crate) smtp_auth_password: Option<Secret>,
    pub(crate) smtp_auth_password_file: Option<PathBuf>,
    pub(crate) smtp_auth_secret: Option<Secret>,
    pub(crate) smtp_auth_secret_file: Option<PathBuf>,
    pub(crate) smtp_auth_identity: Option<Text>,
    pub(crate) smtp_require_tls: Option<bool>,
    pub(crate) smtp_tls_config: Option<Value>,
    pub(crate) smtp_force_implicit_tls: Option<bool>,
    pub(crate) slack_api_url: Option<Secret>,
    pub(crate) slack_api_url_file: Option<PathBuf>,
    pub(crate) slack_app_token: Option<Secret>,
    pub(crate) slack_app_token_file: Option<PathBuf>,
    pub(crate) slack_app_url: Option<Text>,
    pub(crate) pagerduty_url: Option<Text>,
    pub(crate) opsgenie_api_url: Option<Text>,
    pub(crate) opsgenie_api_key: Option<Secret>,
    pub(crate) opsgenie_api_key_file: Option<PathBuf>,
    pub(crate) wechat_api_url: Option<Text>,
    pub(crate) wechat_api_secret: Option<Secret>,
    pub(crate) wechat_api_secret_file: Option<PathBuf>,
    pub(crate) wechat_api_corp_id: Option<Text>,
    pub(crate) victorops_api_url: Option<Text>,
    pub(crate) victorops_api_key: Option<Secret>,
    pub(crate) victorops_api_key_file: Option<PathBuf>,
    pub(crate) telegram_api_url: Option<Text>,
    pub(crate) telegram_bot_token: Option<Secret>,
    pub(crate) telegram_bot_token_file: Option<PathBuf>,
    pub(crate) webex_api_url: Option<Text>,
    pub(crate) jira_api_url: Option<Text>,
    pub(crate) rocketchat_api_url: Option<Text>,
    pub(crate) rocketchat_token: Option<Secret>,
    pub(crate) rocketchat_token_file: Option<PathBuf>,
    pub(crate) rocketchat_token_id: Option<Secret>,
    pub(crate) rocketchat_token_id_file: Option<PathBuf>,
    pub(crate) mattermost_webhook_url: Option<Secret>,
    pub(crate) mattermost_webhook_url_file: Option<PathBuf>,
}

impl Global {
    /// Reads the section; what is wrong goes to `problems`.
    pub(crate) fn read(section: &Value, problems: &mut Vec<Problem>) -> Self {
        read(section).unwrap_or_else(|problem| {
            problems.push(problem);
            Self::default()
        })
    }
}
