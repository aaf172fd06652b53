//! The YAML of an Alertmanager configuration as it stands: every value with the place it was written at.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::rule::{FILE_BYTES_MAX, Position, Problem};
use crate::yaml::{self, Pairs, Scalar, problem};

/// The page that describes the format.
const GUIDE: &str = "notifications.md";

/// A list of texts; one text stands for a list of one, nothing for an empty one.
#[derive(Debug, Default)]
pub(super) struct Texts(pub(super) Vec<Scalar>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Option::<Vec<Scalar>>::deserialize(from)?.unwrap_or_default()))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) global: Option<Spanned<Value>>,
    #[serde(default)]
    pub(super) templates: Texts,
    pub(super) route: Option<Spanned<RouteBody>>,
    pub(super) receivers: Option<Vec<Spanned<ReceiverBody>>>,
    pub(super) inhibit_rules: Option<Vec<Spanned<InhibitBody>>>,
    pub(super) time_intervals: Option<Vec<Spanned<NamedBody>>>,
    pub(super) mute_time_intervals: Option<Vec<Spanned<NamedBody>>>,
    pub(super) tracing: Option<Value>,
    pub(super) event_recorder: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteBody {
    pub(super) receiver: Option<Scalar>,
    pub(super) group_by: Option<Texts>,
    #[serde(rename = "match")]
    pub(super) equal: Option<Pairs>,
    pub(super) match_re: Option<Pairs>,
    #[serde(default)]
    pub(super) matchers: Texts,
    #[serde(default)]
    pub(super) mute_time_intervals: Texts,
    #[serde(default)]
    pub(super) active_time_intervals: Texts,
    #[serde(rename = "continue")]
    pub(super) goes_on: Option<bool>,
    pub(super) routes: Option<Vec<Spanned<Self>>>,
    pub(super) group_wait: Option<Scalar>,
    pub(super) group_interval: Option<Scalar>,
    pub(super) repeat_interval: Option<Scalar>,
    pub(super) labels: Option<Pairs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InhibitBody {
    pub(super) name: Option<Scalar>,
    pub(super) source_match: Option<Pairs>,
    pub(super) source_match_re: Option<Pairs>,
    #[serde(default)]
    pub(super) source_matchers: Texts,
    pub(super) target_match: Option<Pairs>,
    pub(super) target_match_re: Option<Pairs>,
    #[serde(default)]
    pub(super) target_matchers: Texts,
    #[serde(default)]
    pub(super) equal: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedBody {
    pub(super) name: Option<Scalar>,
    pub(super) time_intervals: Option<Vec<Spanned<IntervalBody>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntervalBody {
    pub(super) times: Option<Vec<Spanned<TimesBody>>>,
    #[serde(default)]
    pub(super) weekdays: Texts,
    #[serde(default)]
    pub(super) days_of_month: Texts,
    #[serde(default)]
    pub(super) months: Texts,
    #[serde(default)]
    pub(super) years: Texts,
    pub(super) location: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimesBody {
    pub(super) start_time: Option<Scalar>,
    pub(super) end_time: Option<Scalar>,
}

/// A receiver: its name, and a list of settings for each kind of integration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiverBody {
    pub(super) name: Option<Scalar>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    discord_configs: Settings,
    email_configs: Settings,
    incidentio_configs: Settings,
    jira_configs: Settings,
    mattermost_configs: Settings,
    msteams_configs: Settings,
    msteamsv2_configs: Settings,
    opsgenie_configs: Settings,
    pagerduty_configs: Settings,
    pushover_configs: Settings,
    rocketchat_configs: Settings,
    slack_configs: Settings,
    sns_configs: Settings,
    telegram_configs: Settings,
    victorops_configs: Settings,
    webex_configs: Settings,
    webhook_configs: Settings,
    wechat_configs: Settings,
    dingtalk_configs: Settings,
    feishu_configs: Settings,
    wecom_configs: Settings,
}

type Settings = Option<Vec<Spanned<Value>>>;

impl ReceiverBody {
    /// Its integrations by kind, in the order Alertmanager numbers them.
    pub(super) fn integrations(self) -> impl Iterator<Item = (&'static str, Spanned<Value>)> {
        let kinds = [
            ("webhook", self.webhook_configs),
            ("email", self.email_configs),
            ("pagerduty", self.pagerduty_configs),
            ("opsgenie", self.opsgenie_configs),
            ("wechat", self.wechat_configs),
            ("slack", self.slack_configs),
            ("victorops", self.victorops_configs),
            ("pushover", self.pushover_configs),
            ("sns", self.sns_configs),
            ("telegram", self.telegram_configs),
            ("discord", self.discord_configs),
            ("webex", self.webex_configs),
            ("msteams", self.msteams_configs),
            ("msteamsv2", self.msteamsv2_configs),
            ("jira", self.jira_configs),
            ("rocketchat", self.rocketchat_configs),
            ("mattermost", self.mattermost_configs),
            ("incidentio", self.incidentio_configs),
            ("dingtalk", self.dingtalk_configs),
            ("feishu", self.feishu_configs),
            ("wecom", self.wecom_configs),
        ];
        kinds.into_iter().flat_map(|(kind, list)| {
            list.unwrap_or_default().into_iter().map(move |settings| (kind, settings))
        })
    }
}

/// The only document of `text`.
pub(super) fn read(text: &str, file: &str) -> Result<File, Problem> {
    if text.len() > FILE_BYTES_MAX {
        let reason = format!("the file has {} bytes, limit is {FILE_BYTES_MAX}", text.len());
        return Err(problem(file, Position::default(), reason, "split its receivers off"));
    }
    // A snippet would repeat the file, secrets included; place and text are enough.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options::<Option<File>>(text, options)
        .map(Option::unwrap_or_default)
        .map_err(|error| yaml::describe(&error, (text, file), GUIDE, unknown))
}

/// Which type lacks the field, as Alertmanager calls it, and what was probably meant.
fn unknown(field: &str, expected: &[&'static str]) -> (&'static str, String) {
    let fields = || format!("known here are {}", expected.join(", "));
    (kind_of(expected), yaml::did_you_mean(field, expected).unwrap_or_else(fields))
}

fn kind_of(expected: &[&'static str]) -> &'static str {
    match expected {
        e if e.contains(&"receivers") => "config.Config",
        e if e.contains(&"group_wait") => "config.Route",
        e if e.contains(&"webhook_configs") => "config.Receiver",
        e if e.contains(&"target_matchers") => "config.InhibitRule",
        e if e.contains(&"days_of_month") => "config.TimeInterval",
        e if e.contains(&"start_time") => "config.TimeRange",
        _ => "config.TimeIntervals",
    }
}
