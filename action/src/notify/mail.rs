//! E-mail: settings in, one message of text and HTML to a server out, over SMTP.
//!
//! Sources: <https://prometheus.io/docs/alerting/latest/configuration/#email_config>, RFC 5321 (SMTP), RFC 5322 (messages).

mod address;
mod auth;
mod compose;
mod session;
mod tls;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use template::{Escape, Template};

use super::channel::Attempt;
use super::message::Message;
use super::render::{Render, field, group_hash, shortened_bytes};
use super::settings::{Global, Problem, Text, read, secret};
use crate::address::Allowed;
use crate::config::Secret;
use address::{Mailbox, mailboxes};
use auth::Credentials;
use compose::{Parts, date, day};
use session::{Envelope, Fault, Relay};

/// The port on which TLS begins with the connection.
const IMPLICIT_TLS_PORT: u16 = 465;
/// Longest value of a header, in bytes.
const HEADER_BYTES_MAX: usize = 8 * 1024;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    to: Option<Text>,
    from: Option<Text>,
    smarthost: Option<Text>,
    hello: Option<Text>,
    auth_username: Option<Text>,
    auth_password: Option<Secret>,
    auth_password_file: Option<PathBuf>,
    auth_secret: Option<Secret>,
    auth_secret_file: Option<PathBuf>,
    auth_identity: Option<Text>,
    require_tls: Option<bool>,
    tls_config: Option<Value>,
    force_implicit_tls: Option<bool>,
    headers: BTreeMap<String, Text>,
    html: Option<Text>,
    text: Option<Text>,
    threading: Threading,
    #[serde(rename = "send_resolved")]
    _send_resolved: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Threading {
    enabled: bool,
    thread_by_date: Option<Text>,
}

/// What messages of one group share in mail programs that show threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    Never,
    OfTheDay,
    ForEver,
}

/// A channel by e-mail.
pub(crate) struct Mail {
    relay: Relay,
    from: Template,
    to: Template,
    headers: Vec<(String, Template)>,
    text: Template,
    html: Template,
    thread: Thread,
}

impl Mail {
    pub(crate) fn new(
        settings: &Value,
        global: &Global,
        allowed: &Allowed,
    ) -> Result<Self, Problem> {
        let s: Settings = read(settings)?;
        let given = |text: &&Text| !text.0.is_empty();
        let to = s.to.as_ref().filter(given);
        let to = to.ok_or_else(|| Problem::new("to", "missing to address in email config"))?;
        let from = s.from.as_ref().filter(given).or(global.smtp_from.as_ref()).filter(given);
        let from = from.ok_or_else(|| Problem::new("from", "no global SMTP from set"))?;
        for (name, text) in [("to", to), ("from", from)] {
            if !text.0.contains("{{") {
                mailboxes(&text.0).map_err(|why| Problem::new(name, why))?;
            }
        }
        let default_of = |name: &str| format!("{{{{ template \"email.default.{name}\" . }}}}");
        let thread = match s.threading.thread_by_date.as_ref().map_or("daily", |text| &text.0) {
            _ if !s.threading.enabled => Thread::Never,
            "daily" => Thread::OfTheDay,
            "none" => Thread::ForEver,
            other => {
                let text = format!("thread_by_date is daily or none, not {other:?}");
                return Err(Problem::new("threading", text));
            }
        };
        Ok(Self {
            relay: relay(&s, global, allowed)?,
            from: field("from", Some(from), "")?,
            to: field("to", Some(to), "")?,
            headers: headers(&s.headers, &default_of("subject"))?,
            text: field("text", s.text.as_ref(), &default_of("text"))?,
            html: field("html", s.html.as_ref(), &default_of("html"))?,
            thread,
        })
    }

    /// Tries once, for at most `limit`.
    pub(crate) async fn attempt(
        &self,
        message: &Message,
        render: &Render<'_>,
        limit: Duration,
    ) -> Attempt {
        let envelope = match self.envelope(message, render) {
            Ok(envelope) => envelope,
            Err(why) => return Attempt::Refused(why),
        };
        let told = |why: String| format!("smtp://{}: {why}", self.relay.name());
        let done = tokio::time::timeout(limit, self.relay.send(&envelope)).await;
        match done {
            Err(_) => {
                let why = format!("no answer within {} s", limit.as_secs());
                Attempt::Retry(told(why), None)
            }
            Ok(Ok(refused)) if refused.is_empty() => Attempt::Taken,
            Ok(Ok(refused)) => Attempt::Partly(refused.len(), told(refused.join("; "))),
            Ok(Err(Fault::Permanent(why))) => Attempt::Refused(told(why)),
            Ok(Err(Fault::Passing(why))) => Attempt::Retry(told(why), None),
        }
    }

    fn envelope(&self, message: &Message, render: &Render<'_>) -> Result<Envelope, String> {
        let in_field = |name: &'static str| move |why: String| format!("{name}: {why}");
        let from_text = render.text(&self.from).map_err(in_field("from"))?;
        let to_text = render.text(&self.to).map_err(in_field("to"))?;
        let from = match mailboxes(&from_text).map_err(in_field("from"))?.as_slice() {
            [one] => one.address.clone(),
            several => return Err(format!("from: one address is needed, not {}", several.len())),
        };
        let to = mailboxes(&to_text).map_err(in_field("to"))?;
        let mut headers = Vec::with_capacity(self.headers.len() + 6);
        for (name, template) in &self.headers {
            let value = render.text(template).map_err(|why| format!("headers: {name}: {why}"))?;
            headers.push((name.clone(), shortened_bytes(value, HEADER_BYTES_MAX)));
        }
        let host = from.rsplit_once('@').map_or("localhost", |(_, host)| host);
        let id = format!("<{}@{host}>", message.idempotency_key());
        let mut add = |name: &str, value: String| {
            if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                headers.push((name.to_owned(), value));
            }
        };
        add("From", from_text);
        add("To", to_text);
        // The same for every try: programs show a message that came twice once.
        add("Message-Id", id);
        add("Date", date(message.at));
        // Absence notes must not answer.
        add("Auto-Submitted", "auto-generated".to_owned());
        if let Some(thread) = self.thread_of(message) {
            add("References", thread.clone());
            add("In-Reply-To", thread);
        }
        let parts = Parts {
            headers,
            text: render.text(&self.text)?,
            html: render.escaped(&self.html, Escape::Html)?,
            key: message.idempotency_key(),
        };
        let to = to.into_iter().map(|Mailbox { address, .. }| address).collect();
        Ok(Envelope { from, to, data: parts.compose() })
    }

    fn thread_of(&self, message: &Message) -> Option<String> {
        let group = group_hash(message);
        match self.thread {
            Thread::Never => None,
            Thread::OfTheDay => Some(format!("<alert-{group}-{}@headrope>", day(message.at))),
            Thread::ForEver => Some(format!("<alert-{group}@headrope>")),
        }
    }
}

/// Names and templates of headers, the subject among them.
fn headers(
    given: &BTreeMap<String, Text>,
    subject: &str,
) -> Result<Vec<(String, Template)>, Problem> {
    let mut made: Vec<(String, Template)> = Vec::with_capacity(given.len() + 1);
    for (name, text) in given {
        let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(Problem::new("headers", format!("{name:?} is no name of a header")));
        }
        if made.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            let text = format!("duplicate header {name:?} in email config");
            return Err(Problem::new("headers", text));
        }
        let is_ours = ["content-type", "content-transfer-encoding", "mime-version"];
        if is_ours.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
            let text = format!("{name} follows from text and html: remove it");
            return Err(Problem::new("headers", text));
        }
        made.push((name.clone(), field("headers", Some(text), "")?));
    }
    if !made.iter().any(|(name, _)| name.eq_ignore_ascii_case("subject")) {
        made.push(("Subject".to_owned(), field("headers", None, subject)?));
    }
    Ok(made)
}

fn relay(s: &Settings, global: &Global, allowed: &Allowed) -> Result<Relay, Problem> {
    let given = |text: &&Text| !text.0.is_empty();
    let own_or = |own: &Option<Text>, global: &Option<Text>| {
        let text = own.as_ref().filter(given).or(global.as_ref()).filter(given);
        text.map(|text| text.0.clone())
    };
    let smarthost = own_or(&s.smarthost, &global.smtp_smarthost);
    let smarthost =
        smarthost.ok_or_else(|| Problem::new("smarthost", "no global SMTP smarthost set"))?;
    let (host, port) = host_and_port(&smarthost)
        .ok_or_else(|| Problem::new("smarthost", format!("{smarthost:?} is not host:port")))?;
    let hello = own_or(&s.hello, &global.smtp_hello).unwrap_or_else(|| "localhost".to_owned());
    if !hello.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::new("hello", format!("{hello:?} is no name of a host")));
    }
    let is_implicit = s.force_implicit_tls.or(global.smtp_force_implicit_tls);
    let is_implicit = is_implicit.unwrap_or(port == IMPLICIT_TLS_PORT);
    let is_required = s.require_tls.or(global.smtp_require_tls).unwrap_or(true);
    let tls = match (is_implicit, is_required) {
        (false, false) => session::Tls::Never,
        (true, _) => session::Tls::AtOnce(tls::Connector::new(tls_config(s, global), &host)?),
        (false, true) => session::Tls::Started(tls::Connector::new(tls_config(s, global), &host)?),
    };
    let credentials = credentials(s, global, own_or(&s.auth_username, &global.smtp_auth_username))?;
    Ok(Relay { host, port, hello, tls, credentials, allowed: allowed.clone() })
}

fn tls_config<'a>(s: &'a Settings, global: &'a Global) -> &'a Value {
    s.tls_config.as_ref().or(global.smtp_tls_config.as_ref()).unwrap_or(&Value::Null)
}

fn credentials(
    s: &Settings,
    global: &Global,
    username: Option<String>,
) -> Result<Option<Credentials>, Problem> {
    let password = match secret("auth_password", &s.auth_password, &s.auth_password_file)? {
        Some(own) => Some(own),
        None => secret(
            "smtp_auth_password",
            &global.smtp_auth_password,
            &global.smtp_auth_password_file,
        )?,
    };
    let shared = match secret("auth_secret", &s.auth_secret, &s.auth_secret_file)? {
        Some(own) => Some(own),
        None => {
            secret("smtp_auth_secret", &global.smtp_auth_secret, &global.smtp_auth_secret_file)?
        }
    };
    let identity = s.auth_identity.as_ref().or(global.smtp_auth_identity.as_ref());
    let identity = identity.map_or_else(String::new, |text| text.0.clone());
    let known = |secret: Option<Secret>| secret.filter(|secret| !secret.reveal().is_empty());
    let (password, shared) = (known(password), known(shared));
    Ok(username.map(|username| Credentials { username, password, shared, identity }))
}

/// `mail.example:587` or `[::1]:587`.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let is_host = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_graphic())
        && (bare.is_some() || !host.contains(':'));
    let port = port.parse().ok().filter(|port| *port != 0)?;
    is_host.then(|| (host.to_owned(), port))
}
