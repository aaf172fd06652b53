//! The `[action]` section of the configuration. Checked once, by [`crate::Notifier::open`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::duration;
use crate::error::Error;
use crate::journal::table::Table;
use crate::runbook::Trust;

/// Shortest and longest lease.
const LEASE_MIN: Duration = Duration::from_secs(1);
const LEASE_MAX: Duration = Duration::from_secs(60);

/// Whom to notify, and how hard to try.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Webhook receivers; each transition goes to every one whose matchers hold. Default: none.
    pub receivers: Vec<WebhookReceiver>,
    /// Link-local addresses and addresses of cloud metadata that may be sent to all the same, as `169.254.10.1` or
    /// `fe80::/10`. Default: none.
    pub allowed_addresses: Vec<String>,
    /// Files with targets and runbooks; relative paths start at this file's folder, and `*` may stand in the last part.
    /// Default: none, nothing is ever acted on.
    pub runbooks: Vec<PathBuf>,
    /// How far any runbook may go by itself: `observe`, `shadow`, `approve` or `auto`. Default `observe`.
    pub trust: Trust,
    /// File that stops every action while it is there; with the word `freeze` in it even ways back. Default: `stop` in the
    /// folder `action` of the data folder.
    pub stop_file: Option<PathBuf>,
    /// Where several processes agree which of them acts. Default: none, this one does.
    pub coordination: Option<Coordination>,
    /// CloudEvents `source` of every message: a URI that names this installation. Default `urn:headrope`.
    pub source: String,
    /// Address under which people reach the dashboard, for links in messages. Default: none, no links.
    pub external_url: Option<String>,
    /// Messages that may wait for delivery, over all receivers; more are refused and asked for again. Default 10000.
    pub queue_max: usize,
    /// Bytes of messages that may wait for delivery, over all receivers. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// Finished deliveries remembered, for the API and to recognise a transition told twice. Default 10000.
    pub history_max: usize,
    /// Finished deliveries older than this are forgotten when the journal is next rewritten. Default `7d`.
    #[serde(with = "duration")]
    pub history_age: Duration,
    /// Bytes from which the journal is rewritten without what is forgotten. Default 16 MiB.
    pub journal_bytes_max: u64,
    /// Requests to one receiver under way at once. Default 4.
    pub in_flight_max: usize,
    /// Wait before the first retry; doubles from then on, with jitter. Default `1s`.
    #[serde(with = "duration")]
    pub retry_wait_min: Duration,
    /// Longest wait between two retries, unless the receiver asks for more by `Retry-After`. Default `5m`.
    #[serde(with = "duration")]
    pub retry_wait_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            receivers: Vec::new(),
            allowed_addresses: Vec::new(),
            runbooks: Vec::new(),
            trust: Trust::Observe,
            stop_file: None,
            coordination: None,
            source: "urn:headrope".to_owned(),
            external_url: None,
            queue_max: 10_000,
            queue_bytes_max: 64 << 20,
            history_max: 10_000,
            history_age: Duration::from_secs(7 * 86_400),
            journal_bytes_max: 16 << 20,
            in_flight_max: 4,
            retry_wait_min: Duration::from_secs(1),
            retry_wait_max: Duration::from_secs(300),
        }
    }
}

/// Several processes, of which one acts: the holder of a lease in PostgreSQL, where the journal of actions is as well.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Coordination {
    /// The database, as `host=/run/postgresql user=headrope dbname=headrope`; not encrypted.
    pub postgres: String,
    /// File that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// What the processes agree on; others may use the same database under other names. Default `default`.
    #[serde(default = "default_name")]
    pub name: String,
    /// How long another waits for one that is gone, and how long this one may act on its last word. Default `6s`.
    #[serde(default = "six_seconds", with = "duration")]
    pub lease: Duration,
}

fn default_name() -> String {
    "default".to_owned()
}

const fn six_seconds() -> Duration {
    Duration::from_secs(6)
}

impl Coordination {
    /// The rows in the database; it is not asked yet.
    pub(crate) fn table(&self) -> Result<Table, Error> {
        let invalid = |problem: String| {
            let remedy = "see docs/guide/actions.md, \"Several processes\"";
            Error::config("coordination", problem, remedy)
        };
        let mut config: tokio_postgres::Config =
            self.postgres.parse().map_err(|error| invalid(format!("postgres: {error}")))?;
        if config.get_password().is_some() {
            return Err(invalid("postgres: the password belongs into password_file".to_owned()));
        }
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| invalid(format!("{}: {error}", path.display())))?;
            config.password(text.trim_end());
        }
        if !(LEASE_MIN..=LEASE_MAX).contains(&self.lease) {
            let (min, max) = (LEASE_MIN.as_secs(), LEASE_MAX.as_secs());
            return Err(invalid(format!("lease: it must be from {min} s to {max} s")));
        }
        config.application_name("headrope");
        let host = rustix::system::uname();
        let holder =
            format!("{} (process {})", host.nodename().to_string_lossy(), std::process::id());
        Ok(Table::new(config, &self.name, &holder, self.lease))
    }
}

/// One URL that gets messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookReceiver {
    /// Name, unique among receivers; part of the identity of every message, so renaming sends anew.
    pub name: String,
    /// Where messages are posted: `http://` or `https://`. Redirects are not followed. Shown without its path, which may
    /// hold a token.
    #[serde(serialize_with = "without_path")]
    pub url: String,
    /// Signing secret, `whsec_` and base64 of 24 to 64 bytes; several, separated by spaces, while one replaces another.
    pub secret: Secret,
    /// File that holds the secret instead; relative paths start at the working directory.
    pub secret_file: Option<PathBuf>,
    /// Conditions on labels of the alert, as `severity="page"` or `team=~"db.*"`; all must hold. Default: none, everything matches.
    pub matchers: Vec<String>,
    /// How long one request may take, connecting included. Default `10s`.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long after the transition a message is still retried. Default `24h`.
    #[serde(with = "duration")]
    pub retry_max_age: Duration,
}

impl Default for WebhookReceiver {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            secret: Secret::default(),
            secret_file: None,
            matchers: Vec::new(),
            timeout: Duration::from_secs(10),
            retry_max_age: Duration::from_secs(86_400),
        }
    }
}

/// Text that is never printed: neither `Debug` nor `Serialize` shows it.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    const fn mask(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "(hidden)" }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mask())
    }
}

/// Scheme, host and port; that there is more, but not what.
fn without_path<S: Serializer>(url: &str, to: S) -> Result<S::Ok, S::Error> {
    let Ok(parsed) = reqwest::Url::parse(url) else { return to.serialize_str("") };
    let origin = parsed.origin().ascii_serialization();
    let is_bare = parsed.path() == "/" && parsed.query().is_none();
    to.serialize_str(&if is_bare { origin } else { format!("{origin}/(hidden)") })
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.mask())
    }
}
