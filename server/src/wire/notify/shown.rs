//! A configuration of notifications as it may be shown: every secret masked, still readable as a configuration.

use serde_json::Value;

use crate::settings::write_yaml;

/// What stands for a secret; amtool reads it as one.
const MASK: &str = "<secret>";

/// Fields that are secret wherever they stand.
const SECRETS: [&str; 24] = [
    "api_key",
    "api_secret",
    "app_token",
    "auth_password",
    "auth_secret",
    "bearer_token",
    "bot_token",
    "client_secret",
    "credentials",
    "key",
    "password",
    "proxy_url",
    "routing_key",
    "secret",
    "secret_key",
    "secrets",
    "service_key",
    "slack_api_url",
    "slack_app_token",
    "token",
    "token_id",
    "user_key",
    "webhook_url",
    "alert_source_token",
];

/// The file with its secrets masked, as YAML.
pub(super) fn yaml(source: &str) -> String {
    let mut config: Value = serde_saphyr::from_str(source).unwrap_or_default();
    mask(&mut config, "");
    let mut out = String::new();
    write_yaml(&mut out, &config, 0);
    out
}

/// Masks what is below `section`, the nearest field above that is a list or a map.
fn mask(value: &mut Value, section: &str) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            for (name, value) in fields {
                let is_url = name == "url" && section == "webhook_configs"
                    || name == "api_url" && section == "slack_configs";
                let global = name.strip_prefix("smtp_").unwrap_or(name);
                let global = [
                    "opsgenie_",
                    "wechat_",
                    "victorops_",
                    "telegram_",
                    "rocketchat_",
                    "mattermost_",
                ]
                .iter()
                .find_map(|vendor| global.strip_prefix(vendor))
                .unwrap_or(global);
                if is_url || SECRETS.contains(&name.as_str()) || SECRETS.contains(&global) {
                    hide(value);
                } else {
                    mask(value, name);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, section)),
        _ => {}
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::String(text) if text.starts_with("http") => {
            // Of a URL its host may be seen.
            let origin = reqwest::Url::parse(text).map(|url| url.origin().ascii_serialization());
            *text = origin.map_or_else(|_| MASK.to_owned(), |origin| format!("{origin}/{MASK}"));
        }
        other => *other = MASK.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let shown = yaml(
            "global: {smtp_auth_password: hunter2, slack_api_url: 'https://h/hunter2', opsgenie_api_key: hunter2}\n\
             receivers:\n- name: a\n  webhook_configs:\n  - url: http://h/hunter2\n    http_config:\n      \
             basic_auth: {username: u, password: hunter2}\n      authorization: {credentials: hunter2}\n      \
             http_headers: {X: {secrets: [hunter2], values: [open]}}\n  slack_configs: [{api_url: 'http://u:hunter2@h/x'}]\n  \
             opsgenie_configs: [{api_url: 'http://open/', api_key: hunter2}]\n  telegram_configs: [{bot_token: hunter2}]\n  \
             pagerduty_configs: [{routing_key: hunter2, url: 'http://open/'}]\n",
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("username: \"u\"") && shown.contains("http://open/"), "{shown}");
        assert!(shown.contains("\"https://h/<secret>\""), "{shown}");
        assert_eq!(shown.matches("<secret>").count(), 11, "{shown}");
    }
}
