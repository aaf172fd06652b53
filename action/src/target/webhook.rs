//! Whoever takes signed messages (Standard Webhooks 1.0, CloudEvents 1.0), does what they ask in a way of its own, and says
//! so in its answer or later by a signed message back. What each member last confirmed is in a file.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use model::time::{Clock, Timestamp};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::http::{self, Ask};
use super::{Driver, Failure, Http, Order, RetryClass};
use crate::error::Error;
use crate::journal::record::cut;
use crate::plan::Member;
use crate::runbook::{Target, hash_of};
use crate::sign::SigningKey;

/// Questions whose answers are waited for or still taken.
const ASKED_MAX: usize = 1_000;
/// How far the clock of a receiver may be off (Standard Webhooks names no number; its libraries take five minutes).
const CLOCK_S_MAX: i64 = 300;
/// Longest word of a receiver that is kept.
const WHY_BYTES_MAX: usize = 300;

/// What was asked of whom, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Asked {
    id: String,
    target: String,
    member: String,
    state: String,
    /// Unset while nothing is known.
    #[serde(default)]
    done: Option<Result<(), String>>,
}

/// What the file holds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Known {
    /// By target and member.
    states: BTreeMap<String, BTreeMap<String, String>>,
    /// Oldest first.
    asked: VecDeque<Asked>,
}

/// What receivers have confirmed.
pub(crate) struct Confirmed {
    path: PathBuf,
    known: Mutex<Known>,
    news: Notify,
}

impl Confirmed {
    pub(crate) fn open(dir: &Path) -> Result<Arc<Self>, Error> {
        let path = dir.join("webhooks.json");
        let known = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| Error::Corrupt {
                path: path.clone(),
                at: 0,
                problem: "it holds no states of webhooks",
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Known::default(),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        Ok(Arc::new(Self { path, known: Mutex::new(known), news: Notify::new() }))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> Result<T, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = known.clone();
        let out = change(&mut next);
        super::persist(&self.path, &next)
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        *known = next;
        Ok(out)
    }

    fn look<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of a question before it is sent. One that is asked again keeps what is known of it.
    fn ask(&self, asked: Asked) -> Result<Option<Result<(), String>>, String> {
        let same = self.look(|known| known.asked.iter().find(|one| one.id == asked.id).cloned());
        if let Some(same) = same {
            return Ok(same.done);
        }
        self.change(|known| {
            known.asked.push_back(asked);
            while known.asked.len() > ASKED_MAX {
                known.asked.pop_front();
            }
            None
        })
    }

    /// Takes note of what came of a question. One that was followed by another about the same member changes nothing.
    fn confirm(&self, id: &str, target: &str, done: Result<(), String>) -> Result<bool, String> {
        let known =
            self.look(|known| known.asked.iter().any(|one| one.id == id && one.target == target));
        if !known {
            return Ok(false);
        }
        self.change(|known| {
            let place = known.asked.iter().position(|one| one.id == id && one.target == target);
            let Some(place) = place else { return };
            let one = known.asked[place].clone();
            let is_last = known
                .asked
                .iter()
                .skip(place + 1)
                .all(|other| (&other.target, &other.member) != (&one.target, &one.member));
            if done.is_ok() && is_last {
                let states = known.states.entry(one.target).or_default();
                states.insert(one.member, one.state);
            }
            known.asked[place].done = Some(done);
        })?;
        self.news.notify_waiters();
        Ok(true)
    }

    /// Waits until something is known of a question.
    async fn wait(&self, id: &str) -> Result<(), String> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let done = self.look(|known| known.asked.iter().find(|one| one.id == id)?.done.clone());
            if let Some(done) = done {
                return done;
            }
            news.await;
        }
    }
}

/// Sends messages.
pub(crate) struct Webhook {
    pub(crate) http: Arc<Http>,
    pub(crate) confirmed: Arc<Confirmed>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Who we are, in messages.
    pub(crate) source: String,
    /// Where people and receivers reach this server; empty when that is not known.
    pub(crate) external_url: String,
}

impl Driver for Webhook {
    fn class(&self, target: &Target) -> RetryClass {
        if target.honours_id { RetryClass::Set } else { RetryClass::Opaque }
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>> {
        let states = self
            .confirmed
            .look(|known| known.states.get(&target.name).cloned().unwrap_or_default());
        let initial = &target.group.initial;
        let field = |value: &str| BTreeMap::from([("state".to_owned(), value.to_owned())]);
        let member = |name: &String| Member {
            name: name.clone(),
            up: true,
            serving: true,
            fields: field(states.get(name).unwrap_or(initial)),
            configured: field(initial),
            ..Member::default()
        };
        let members = target.group.members.iter().map(member).collect();
        Box::pin(async move { Ok(members) })
    }

    fn apply<'a>(
        &'a self,
        target: &'a Target,
        order: Order<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let talk = self.talk(target, order);
            let said = tokio::time::timeout(order.timeout, talk).await;
            said.unwrap_or_else(|_| {
                let timeout = order.timeout;
                Err(Failure::Unknown(format!("it has not said within {timeout:?} that it is done")))
            })
        })
    }
}

impl Webhook {
    async fn talk(
        &self,
        target: &Target,
        Order { change, token, timeout }: Order<'_>,
    ) -> Result<(), Failure> {
        let id = format!("act_{}", &hash_of(&(token, &target.name, change))[..32]);
        let key = key(target).map_err(Failure::Refused)?;
        let asked = Asked {
            id: id.clone(),
            target: target.name.clone(),
            member: change.member.clone(),
            state: change.value.clone(),
            done: None,
        };
        match self.confirmed.ask(asked).map_err(Failure::Refused)? {
            Some(Ok(())) => return Ok(()),
            Some(Err(why)) => return Err(Failure::Refused(why)),
            None => {}
        }
        let now = self.clock.now();
        let body = self.message(target, order_of(change), (&id, now)).to_string().into_bytes();
        let headers = vec![
            ("webhook-id", id.clone()),
            ("webhook-timestamp", now.s().to_string()),
            ("webhook-signature", key.signature(&id, now.s(), &body)),
        ];
        let kind = "application/cloudevents+json; charset=utf-8";
        let ask = Ask { method: Method::POST, path: "", body: Some((kind, body)), headers };
        let answer = self.http.ask(target, ask, timeout).await?;
        match answer.status {
            // It will tell.
            StatusCode::ACCEPTED => self.confirmed.wait(&id).await.map_err(Failure::Refused),
            status if status.is_success() => {
                let known = self.confirmed.confirm(&id, &target.name, Ok(()));
                known.map(drop).map_err(Failure::Unknown)
            }
            status if status.is_client_error() && !is_passing(status) => {
                let why = answer.words();
                drop(self.confirmed.confirm(&id, &target.name, Err(why.clone())));
                Err(Failure::Refused(why))
            }
            _ => Err(Failure::Unknown(answer.words())),
        }
    }

    fn message(&self, target: &Target, data: Value, (id, now): (&str, Timestamp)) -> Value {
        let mut data = data;
        data["target"] = json!(target.name);
        if !self.external_url.is_empty() {
            let base = self.external_url.trim_end_matches('/');
            data["callback"] =
                json!(format!("{base}/api/headrope/v1/actions/callback/{}", target.name));
        }
        json!({
            "specversion": "1.0",
            "type": "dev.headrope.action",
            "source": self.source,
            "id": id,
            "time": now.to_string(),
            "subject": target.name,
            "datacontenttype": "application/json",
            "data": data,
        })
    }
}

fn order_of(change: &crate::plan::Change) -> Value {
    json!({"member": change.member, "state": change.value, "before": change.before})
}

/// Whether a refusal is only for now.
fn is_passing(status: StatusCode) -> bool {
    [408, 425, 429].contains(&status.as_u16())
}

/// What a receiver says of something it was asked.
#[derive(Deserialize)]
struct Said {
    /// The `webhook-id` it was asked by.
    id: String,
    done: bool,
    #[serde(default)]
    why: String,
}

/// Why a message back is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackError {
    /// It is not signed with the target's secret, or too old.
    Unsigned(String),
    /// It answers nothing that was asked.
    Unknown,
    /// It cannot be read or kept.
    Bad(String),
}

impl Confirmed {
    /// Takes a message back: `signed` is its id, time and signature.
    pub(crate) fn callback(
        &self,
        target: &Target,
        (id, at, signature): (&str, &str, &str),
        (body, now): (&[u8], Timestamp),
    ) -> Result<(), CallbackError> {
        let unsigned = |why: &str| CallbackError::Unsigned(why.to_owned());
        let at: i64 = at.parse().map_err(|_| unsigned("webhook-timestamp is no number"))?;
        if at.abs_diff(now.s()) > CLOCK_S_MAX.unsigned_abs() {
            return Err(unsigned("webhook-timestamp is more than five minutes off"));
        }
        let key = key(target).map_err(CallbackError::Bad)?;
        if !key.is_good(signature, (id, at, body)) {
            return Err(unsigned("webhook-signature is not by this target's secret"));
        }
        let said: Said = serde_json::from_slice(body).map_err(|error| {
            CallbackError::Bad(format!("the body is not as asked for: {error}"))
        })?;
        let why = cut(&said.why, WHY_BYTES_MAX);
        let why = if why.is_empty() { "it could not be done" } else { why };
        let done = if said.done { Ok(()) } else { Err(why.to_owned()) };
        match self.confirm(&said.id, &target.name, done) {
            Ok(true) => Ok(()),
            Ok(false) => Err(CallbackError::Unknown),
            Err(error) => Err(CallbackError::Bad(error)),
        }
    }
}

fn key(target: &Target) -> Result<SigningKey, String> {
    let path = target.secret_file.as_ref().ok_or("secret_file is missing")?;
    let text = String::from_utf8(http::read(path)?).map_err(|_| "the secret is no text")?;
    SigningKey::parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))
}

/// Says what is wrong with a target.
pub(super) fn check(target: &Target, members: &[String], initial: &str) -> Result<(), String> {
    key(target).map_err(|problem| format!("secret_file: {problem}"))?;
    if target.endpoint.contains(',') {
        return Err("endpoint: a webhook has one address".to_owned());
    }
    if members.is_empty() {
        return Err("group.members: there is none".to_owned());
    }
    if !crate::wish::is_word(initial) {
        return Err("group.initial: say what the members are at first, as `normal`".to_owned());
    }
    match members.iter().find(|name| !crate::wish::is_word(name)) {
        Some(name) => Err(format!("group.members: {name:?} is no name")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(id: &str, member: &str, state: &str) -> Asked {
        let [id, target, member, state] = [id, "t", member, state].map(str::to_owned);
        Asked { id, target, member, state, done: None }
    }

    fn state(of: &Confirmed, member: &str) -> Option<String> {
        of.look(|known| known.states.get("t").and_then(|all| all.get(member)).cloned())
    }

    #[test]
    fn what_was_confirmed_survives_and_late_words_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let confirmed = Confirmed::open(dir.path()).unwrap();
        assert_eq!(confirmed.ask(asked("1", "m", "degraded")).unwrap(), None);
        assert_eq!(confirmed.confirm("2", "t", Ok(())), Ok(false), "never asked");
        assert_eq!(confirmed.confirm("1", "other", Ok(())), Ok(false), "not of this target");
        assert_eq!(confirmed.confirm("1", "t", Ok(())), Ok(true));
        let again = Confirmed::open(dir.path()).unwrap();
        assert_eq!(state(&again, "m").as_deref(), Some("degraded"));
        assert_eq!(
            again.ask(asked("1", "m", "degraded")).unwrap(),
            Some(Ok(())),
            "not asked twice"
        );
        // Asked for one thing, then for another: the word about the first comes last.
        again.ask(asked("3", "m", "off")).unwrap();
        again.ask(asked("4", "m", "normal")).unwrap();
        again.confirm("4", "t", Ok(())).unwrap();
        again.confirm("3", "t", Ok(())).unwrap();
        assert_eq!(state(&again, "m").as_deref(), Some("normal"));
        again.ask(asked("5", "m", "off")).unwrap();
        again.confirm("5", "t", Err("no".to_owned())).unwrap();
        assert_eq!(state(&again, "m").as_deref(), Some("normal"));
    }

    #[test]
    fn questions_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let confirmed = Confirmed::open(dir.path()).unwrap();
        let many = (0..ASKED_MAX + 5).map(|i| asked(&i.to_string(), "m", "x")).collect();
        confirmed.change(|known| known.asked = many).unwrap();
        confirmed.ask(asked("last", "m", "x")).unwrap();
        assert_eq!(confirmed.look(|known| known.asked.len()), ASKED_MAX);
        assert!(confirmed.confirm("last", "t", Ok(())).unwrap());
        assert!(!confirmed.confirm("0", "t", Ok(())).unwrap());
    }

    #[test]
    fn only_the_targets_own_word_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let confirmed = Confirmed::open(dir.path()).unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let text = json!({"driver": "webhook", "secret_file": secret});
        let mut target: Target = serde_json::from_value(text).unwrap();
        "t".clone_into(&mut target.name);
        confirmed.ask(asked("1", "m", "off")).unwrap();
        let now = Timestamp(1_800_000_000_000_000_000);
        let body = br#"{"id": "1", "done": true}"#;
        let good = key(&target).unwrap().signature("msg", now.s(), body);
        let at = now.s().to_string();
        let tell = |at: &str, signature: &str, body: &[u8]| {
            confirmed.callback(&target, ("msg", at, signature), (body, now))
        };
        let unsigned = |result| matches!(result, Err(CallbackError::Unsigned(_)));
        assert!(unsigned(tell(&at, "v1,AAAA", body)));
        assert!(unsigned(tell(&at, "", body)));
        assert!(unsigned(tell(&at, &good, br#"{"id": "1", "done": true }"#)));
        assert!(unsigned(tell("1800000400", &good, body)), "too old");
        assert!(unsigned(tell("soon", &good, body)));
        assert_eq!(state(&confirmed, "m"), None);
        assert_eq!(tell(&at, &format!("v1,AAAA v1a,xx {good}"), body), Ok(()));
        assert_eq!(state(&confirmed, "m").as_deref(), Some("off"));
        let other = br#"{"id": "9", "done": true}"#;
        let signature = key(&target).unwrap().signature("msg", now.s(), other);
        assert_eq!(tell(&at, &signature, other), Err(CallbackError::Unknown));
    }
}
