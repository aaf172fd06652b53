//! The body of a message: a CloudEvent 1.0 in structured JSON. Made once, when a transition is
//! accepted, and journalled: every retry sends the same bytes.

use std::borrow::Cow;

use model::alert::{AlertState, Transition};
use model::metric::Labels;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::error::Error;

/// Longest body: it must fit into one record of the journal.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest annotation; the rest is cut off and marked by `…`.
const ANNOTATION_CHARS_MAX: usize = 8_192;

/// Identity of an alert over its whole life: 32 hexadecimal digits in messages (`fingerprint`).
pub(crate) fn fingerprint(transition: &Transition) -> u128 {
    let mut hash = Sha256::new();
    let labels = transition.labels.iter().flat_map(|(name, value)| [name, value]);
    for part in [transition.group.as_str(), transition.rule.as_str()].into_iter().chain(labels) {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    u128::from_be_bytes(bytes)
}

/// The body that tells of `transition`.
pub(crate) fn body(config: &Config, transition: &Transition) -> Result<Vec<u8>, Error> {
    let annotations = |labels: &Labels| -> Map<String, Value> {
        labels.iter().map(|(name, value)| (name.to_owned(), json!(shortened(value)))).collect()
    };
    let whole = event(config, transition, annotations(&transition.annotations)).to_string();
    if whole.len() <= BODY_BYTES_MAX {
        return Ok(whole.into_bytes());
    }
    // Without annotations the message still says what happened; losing it altogether would not.
    let bare = event(config, transition, Map::new()).to_string();
    if bare.len() <= BODY_BYTES_MAX {
        return Ok(bare.into_bytes());
    }
    let rule = transition.rule.clone();
    Err(Error::TooLong { rule, bytes: bare.len(), limit: BODY_BYTES_MAX })
}

fn event(config: &Config, transition: &Transition, annotations: Map<String, Value>) -> Value {
    let status = transition.state.word();
    let labels: Map<String, Value> =
        transition.labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let resolved = transition.state == AlertState::Resolved;
    let mut data = json!({
        "status": status,
        "cause": transition.cause.word(),
        "fingerprint": format!("{:032x}", fingerprint(transition)),
        "group": transition.group,
        "rule": transition.rule,
        "labels": labels,
        "annotations": annotations,
        "value": number(transition.value),
        "expr": transition.expr,
        "activeAt": transition.active_at.to_string(),
        "endsAt": resolved.then(|| transition.at.to_string()),
    });
    if let Some(external_url) = &config.external_url {
        let link = format!(
            "{}/alerts?rule={}",
            external_url.trim_end_matches('/'),
            percent(&transition.rule)
        );
        data["generatorUrl"] = json!(link);
    }
    json!({
        "specversion": "1.0",
        "id": format!("{:032x}", transition.id),
        "source": config.source,
        "type": format!("io.headrope.alert.{status}"),
        "subject": transition.rule,
        "time": transition.at.to_string(),
        "datacontenttype": "application/json",
        "data": data,
    })
}

/// JSON has no NaN and no infinity: those become the text PromQL prints.
fn number(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => json!("NaN"),
        None if value > 0.0 => json!("+Inf"),
        None => json!("-Inf"),
    }
}

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(ANNOTATION_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986).
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use model::alert::Cause;
    use model::time::Timestamp;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn transition(state: AlertState) -> Transition {
        Transition {
            id: 0xfeed,
            group: "host".into(),
            rule: "CPU hot".into(),
            labels: labels(&[("alertname", "CPU hot"), ("host_name", "a")]),
            annotations: labels(&[("summary", "busy: 97%")]),
            state,
            cause: Cause::Condition,
            value: 0.97,
            active_at: Timestamp::from_s(1_700_000_000),
            at: Timestamp::from_s(1_700_000_030),
            expr: "cpu > 0.9".into(),
        }
    }

    #[test]
    fn a_resolved_alert_reads_like_this() {
        let config =
            Config { external_url: Some("https://h.example/".into()), ..Config::default() };
        let body = body(&config, &transition(AlertState::Resolved)).unwrap();
        let value: Value = serde_json::from_slice(&body).unwrap();
        expect![[r#"
            {
              "data": {
                "activeAt": "2023-11-14T22:13:20.000000000Z",
                "annotations": {
                  "summary": "busy: 97%"
                },
                "cause": "condition",
                "endsAt": "2023-11-14T22:13:50.000000000Z",
                "expr": "cpu > 0.9",
                "fingerprint": "d4063f78a4d3a6b1de32a933672d2281",
                "generatorUrl": "https://h.example/alerts?rule=CPU%20hot",
                "group": "host",
                "labels": {
                  "alertname": "CPU hot",
                  "host_name": "a"
                },
                "rule": "CPU hot",
                "status": "resolved",
                "value": 0.97
              },
              "datacontenttype": "application/json",
              "id": "0000000000000000000000000000feed",
              "source": "urn:headrope",
              "specversion": "1.0",
              "subject": "CPU hot",
              "time": "2023-11-14T22:13:50.000000000Z",
              "type": "io.headrope.alert.resolved"
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&value).unwrap());
    }

    #[test]
    fn firing_and_resolved_share_a_fingerprint_and_nothing_else_does() {
        let firing = transition(AlertState::Firing);
        assert_eq!(fingerprint(&firing), fingerprint(&transition(AlertState::Resolved)));
        let other = Transition {
            labels: labels(&[("alertname", "CPU hot"), ("host_name", "b")]),
            ..firing.clone()
        };
        assert_ne!(fingerprint(&firing), fingerprint(&other));
    }

    #[test]
    fn values_json_cannot_write_become_text_and_long_annotations_are_cut() {
        for (value, text) in
            [(f64::NAN, "NaN"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf")]
        {
            assert_eq!(number(value), json!(text));
        }
        let long = Transition {
            annotations: labels(&[("a", &"é".repeat(100_000)), ("b", "x")]),
            ..transition(AlertState::Firing)
        };
        let value: Value =
            serde_json::from_slice(&body(&Config::default(), &long).unwrap()).unwrap();
        assert_eq!(
            value["data"]["annotations"]["a"].as_str().unwrap().chars().count(),
            ANNOTATION_CHARS_MAX + 1
        );
        assert_eq!(value["data"]["endsAt"], Value::Null);
    }

    #[test]
    fn a_message_that_cannot_fit_is_refused_and_annotations_go_first() {
        let many =
            |n: usize| (0..n).map(|i| (format!("l{i:04}"), "v".repeat(8_000))).collect::<Labels>();
        let heavy = Transition { annotations: many(200), ..transition(AlertState::Firing) };
        let value: Value =
            serde_json::from_slice(&body(&Config::default(), &heavy).unwrap()).unwrap();
        assert_eq!(value["data"]["annotations"], json!({}));
        let hopeless = Transition { labels: many(200), ..transition(AlertState::Firing) };
        assert!(matches!(body(&Config::default(), &hopeless), Err(Error::TooLong { .. })));
    }
}
