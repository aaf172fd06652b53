//! A receiver as configured, checked: the secret read, the matchers compiled, the URL parsed.

use std::time::Duration;

use model::alert::Transition;
use model::matcher::{MatchOp, Matcher};
use model::metric::Labels;
use model::regexp;
use regex::{Regex, RegexBuilder};
use reqwest::Url;

use crate::address::Allowed;
use crate::config::{Config, WebhookReceiver};
use crate::error::Error;
use crate::sign::SigningKey;

/// Longest secret file; a longer one is something else.
const SECRET_FILE_BYTES_MAX: u64 = 4_096;

/// Whom to send to.
pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) url: Url,
    pub(crate) key: SigningKey,
    pub(crate) timeout: Duration,
    pub(crate) retry_max_age: Duration,
    conditions: Vec<Condition>,
}

/// A matcher whose regular expression is compiled.
pub(crate) struct Condition {
    label: String,
    test: Test,
    /// Whether the test must hold, or must not.
    wanted: bool,
}

enum Test {
    Text(String),
    Pattern(Regex),
}

/// Checks the whole section and returns its receivers.
pub(crate) fn check(config: &Config) -> Result<Vec<Receiver>, Error> {
    let positive = [
        ("queue_max", config.queue_max),
        ("queue_bytes_max", config.queue_bytes_max),
        ("history_max", config.history_max),
        ("in_flight_max", config.in_flight_max),
    ];
    if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(Error::config(*field, "0 would stop every message", "write 1 or more"));
    }
    if config.source.is_empty() {
        let remedy = "name this installation by a URI such as urn:headrope";
        return Err(Error::config("source", "it is empty", remedy));
    }
    if config.retry_wait_min.is_zero() || config.retry_wait_min > config.retry_wait_max {
        let remedy = "write a wait above 0s and not above retry_wait_max, such as \"1s\"";
        return Err(Error::config("retry_wait_min", "receivers would be flooded", remedy));
    }
    if let Some(url) = &config.external_url {
        parse_url("external_url", url)?;
    }
    let allowed = allowed(config)?;
    let mut receivers: Vec<Receiver> = Vec::with_capacity(config.receivers.len());
    for (i, receiver) in config.receivers.iter().enumerate() {
        let receiver = Receiver::new(&format!("receivers[{i}]"), receiver)?;
        if let Err(problem) = allowed.check(&receiver.url) {
            let field = format!("receivers[{i}].url");
            return Err(Error::config(field, problem, "or choose another address"));
        }
        if receivers.iter().any(|other| other.name == receiver.name) {
            let problem = format!("\"{}\" names two receivers", receiver.name);
            return Err(Error::config(
                format!("receivers[{i}].name"),
                problem,
                "give each its own name",
            ));
        }
        receivers.push(receiver);
    }
    Ok(receivers)
}

/// The addresses that may be sent to although they look dangerous.
pub(crate) fn allowed(config: &Config) -> Result<Allowed, Error> {
    let remedy = "write addresses such as 169.254.10.1 or nets such as fe80::/10";
    Allowed::parse(&config.allowed_addresses)
        .map_err(|problem| Error::config("allowed_addresses", problem, remedy))
}

impl Receiver {
    fn new(place: &str, config: &WebhookReceiver) -> Result<Self, Error> {
        let field = |name: &str| format!("{place}.{name}");
        if config.name.is_empty() || config.name.len() > 100 {
            let remedy = "give a name of 1 to 100 bytes, such as name = \"oncall\"";
            return Err(Error::config(field("name"), "it is empty or too long", remedy));
        }
        if config.timeout.is_zero() {
            return Err(Error::config(
                field("timeout"),
                "no answer is that quick",
                "write \"10s\"",
            ));
        }
        let conditions = config.matchers.iter().enumerate().map(|(i, text)| {
            let remedy = "write label=\"value\", or != =~ !~ in place of =";
            Condition::parse(text)
                .map_err(|problem| Error::config(field(&format!("matchers[{i}]")), problem, remedy))
        });
        Ok(Self {
            name: config.name.clone(),
            url: parse_url(&field("url"), &config.url)?,
            key: read_key(place, config)?,
            timeout: config.timeout,
            retry_max_age: config.retry_max_age,
            conditions: conditions.collect::<Result<_, _>>()?,
        })
    }

    /// Whether `transition` is to be told to this receiver.
    pub(crate) fn wants(&self, transition: &Transition) -> bool {
        self.takes(&transition.labels)
    }

    /// Whether an alert with these labels is to be told to this receiver.
    pub(crate) fn takes(&self, labels: &Labels) -> bool {
        self.conditions.iter().all(|condition| condition.holds(labels))
    }

    /// Scheme, host and port: what logs may show of the URL, whose path may hold a token.
    pub(crate) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

fn parse_url(field: &str, text: &str) -> Result<Url, Error> {
    let remedy =
        "write an absolute URL such as https://example.com/hook (redirects are not followed)";
    // The text itself stays out of the message: it may hold a token.
    let url = Url::parse(text).map_err(|error| Error::config(field, error.to_string(), remedy))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::config(field, "only http and https can be sent to", remedy));
    }
    Ok(url)
}

fn read_key(place: &str, config: &WebhookReceiver) -> Result<SigningKey, Error> {
    const REMEDY: &str = "make one with: echo \"whsec_$(head -c 32 /dev/urandom | base64)\"";
    let field = |name: &str| format!("{place}.{name}");
    let inline = config.secret.reveal();
    let Some(path) = &config.secret_file else {
        if inline.is_empty() {
            let remedy = format!("give secret or secret_file; {REMEDY}");
            return Err(Error::config(field("secret"), "messages are always signed", remedy));
        }
        return SigningKey::parse(inline)
            .map_err(|problem| Error::config(field("secret"), problem, REMEDY));
    };
    if !inline.is_empty() {
        let problem = "secret is given as well";
        return Err(Error::config(field("secret_file"), problem, "remove one of the two"));
    }
    let wrong = |problem: String| {
        let problem = format!("{}: {problem}", path.display());
        Error::config(
            field("secret_file"),
            problem,
            "name a readable file that holds whsec_ and base64",
        )
    };
    let len = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if len > SECRET_FILE_BYTES_MAX {
        return Err(wrong(format!("it has {len} bytes, a secret has less than 100")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    SigningKey::parse(&text).map_err(wrong)
}

impl Condition {
    /// Reads `label="value"`, with `=`, `!=`, `=~` or `!~`; quotes may be left out.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Matcher { name, op, value } = parse_matcher(text)?;
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::Text(value),
            MatchOp::Regex | MatchOp::NotRegex => {
                let form = regexp::translate_whole(&value).map_err(|error| error.to_string())?;
                let pattern = RegexBuilder::new(&form.rust).nest_limit(regexp::NEST_LIMIT).build();
                Test::Pattern(pattern.map_err(|error| format!("bad regular expression: {error}"))?)
            }
        };
        Ok(Self { label: name, test, wanted: matches!(op, MatchOp::Equal | MatchOp::Regex) })
    }

    pub(crate) fn holds(&self, labels: &Labels) -> bool {
        let value = labels.value(&self.label).unwrap_or_default();
        let found = match &self.test {
            Test::Text(text) => text == value,
            Test::Pattern(pattern) => pattern.is_match(value),
        };
        found == self.wanted
    }
}

fn parse_matcher(text: &str) -> Result<Matcher, String> {
    const OPS: [(&str, MatchOp); 4] = [
        ("=~", MatchOp::Regex),
        ("!~", MatchOp::NotRegex),
        ("!=", MatchOp::NotEqual),
        ("=", MatchOp::Equal),
    ];
    let complaint = || format!("`{text}` is no matcher");
    let at = text.find(['=', '!']).ok_or_else(complaint)?;
    let (name, rest) = text.split_at(at);
    let (sign, op) = OPS.iter().find(|(sign, _)| rest.starts_with(sign)).ok_or_else(complaint)?;
    let (name, value) = (name.trim(), rest[sign.len()..].trim());
    let mut letters = name.chars();
    let named = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
    if !named {
        return Err(complaint());
    }
    let value = match value.strip_prefix('"') {
        // A JSON string reads like a PromQL one for everything people write in matchers.
        Some(_) => serde_json::from_str(value).map_err(|_| complaint())?,
        None => value.to_owned(),
    };
    Ok(Matcher::new(name, *op, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(matcher: &str, value: &str) -> bool {
        let labels = [("severity".to_owned(), value.to_owned())].into_iter().collect();
        Condition::parse(matcher).unwrap().holds(&labels)
    }

    #[test]
    fn matchers_compare_as_promql_does() {
        assert!(holds("severity=\"page\"", "page") && !holds("severity=\"page\"", "pages"));
        assert!(holds("severity = page", "page") && holds("severity!=page", "ticket"));
        assert!(holds("severity=~\"pa.+\"", "page") && !holds("severity=~\"ag\"", "page"));
        assert!(holds("severity!~\"a|b\"", "c") && !holds("severity!~\"a|b\"", "b"));
        assert!(holds("team=\"\"", "page") && holds("team!=\"db\"", "page"));
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for bad in ["", "severity", "=x", "1a=x", "a!x", "a=\"x", "a=~\"(\"", "a b=c"] {
            assert!(Condition::parse(bad).is_err(), "{bad}");
        }
    }

    fn complaint(edit: impl FnOnce(&mut Config)) -> String {
        let mut config = Config {
            receivers: vec![WebhookReceiver {
                name: "oncall".into(),
                url: "http://127.0.0.1/hook?token=hunter2".into(),
                secret: crate::config::Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
                ..WebhookReceiver::default()
            }],
            ..Config::default()
        };
        assert!(check(&config).is_ok());
        assert!(!format!("{config:?}").contains("MfKQ"));
        edit(&mut config);
        check(&config).err().expect("refused").to_string()
    }

    #[test]
    fn a_bad_configuration_is_refused_with_field_and_remedy() {
        let says = |text: String, parts: &[&str]| {
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
            assert!(!text.contains("hunter2") && !text.contains("MfKQ"), "{text}");
        };
        let secret = crate::config::Secret::new;
        says(complaint(|c| c.queue_max = 0), &["action.queue_max", "write 1 or more"]);
        says(complaint(|c| c.retry_wait_min *= 1_000_000), &["action.retry_wait_min", "\"1s\""]);
        says(complaint(|c| c.receivers[0].name.clear()), &["action.receivers[0].name", "oncall"]);
        says(
            complaint(|c| c.receivers.push(c.receivers[0].clone())),
            &["receivers[1].name", "two receivers"],
        );
        says(complaint(|c| c.receivers[0].url = "ftp://h/".into()), &["receivers[0].url", "https"]);
        says(
            complaint(|c| c.receivers[0].url = "/hook?hunter2".into()),
            &["receivers[0].url", "absolute"],
        );
        says(
            complaint(|c| c.receivers[0].url = "http://169.254.169.254/hunter2".into()),
            &["receivers[0].url", "link-local", "action.allowed_addresses"],
        );
        says(complaint(|c| c.allowed_addresses = vec!["x".into()]), &["allowed_addresses", "fe80"]);
        says(complaint(|c| c.receivers[0].secret = secret("")), &["receivers[0].secret", "base64"]);
        says(complaint(|c| c.receivers[0].secret = secret("whsec_AAAA")), &["3 bytes", "24 to 64"]);
        says(
            complaint(|c| c.receivers[0].secret_file = Some("x".into())),
            &["secret_file", "one of the two"],
        );
        says(
            complaint(|c| {
                c.receivers[0].secret = secret("");
                c.receivers[0].secret_file = Some("/nowhere/secret".into());
            }),
            &["secret_file", "/nowhere/secret", "No such file"],
        );
        says(complaint(|c| c.receivers[0].matchers = vec!["a=~(".into()]), &["matchers[0]", "!~"]);
        says(complaint(|c| c.receivers[0].timeout = Duration::ZERO), &["timeout", "10s"]);
    }
}
