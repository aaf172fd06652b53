//! Notifications of groups of alerts, each by the channel its receiver is configured for.
//!
//! `server` makes [`Channels`] of an Alertmanager configuration and hands each [`Message`] over; whether it was taken
//! goes back to the router, which decides about repeating. Within its deadline a message is tried again here.

mod channel;
mod chat;
mod http;
mod mail;
mod message;
mod pager;
mod render;
mod settings;
mod slack;
mod webhook;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::time::Clock;
use render::Render;
use serde_json::Value;
use template::Template;
use tokio::sync::Semaphore;

use crate::address::Allowed;
use crate::backoff;
use crate::config::Config;
use channel::{Attempt, Channel};
pub use message::{Message, MessageAlert};
pub use settings::Problem;

/// One integration of a receiver as configured.
#[derive(Clone, Debug)]
pub struct Integration<'a> {
    /// Name of the receiver.
    pub receiver: &'a str,
    /// `webhook`, `slack`, …
    pub kind: &'a str,
    /// Number among those of its kind in the receiver.
    pub index: usize,
    /// Its settings.
    pub settings: &'a Value,
}

/// What all channels share.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// The section `global` of the configuration.
    pub global: &'a Value,
    /// Files of templates: name and text, the later over the earlier.
    pub templates: Vec<(String, String)>,
    /// Address under which people reach this server, for links.
    pub external_url: String,
}

/// Figures of one kind of channel since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Messages handed over.
    pub messages: u64,
    /// Messages a receiver took.
    pub delivered: u64,
    /// Messages given up.
    pub failed: u64,
    /// Requests beyond the first of a message.
    pub retries: u64,
    /// Addresses refused for good by a server that took the message for others.
    pub refused_addresses: u64,
}

type Place = (String, String, usize);

/// Every channel there is.
pub struct Channels {
    channels: HashMap<Place, Line>,
    library: Vec<Template>,
    external_url: Arc<str>,
    clock: Arc<dyn Clock>,
    wait_min: Duration,
    wait_max: Duration,
    counts: Mutex<BTreeMap<String, KindCounts>>,
}

/// A channel, and how many may use it at once.
struct Line {
    channel: Channel,
    permits: Semaphore,
}

impl Channels {
    /// Makes a channel of each integration.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn open(
        config: &Config,
        surroundings: Surroundings<'_>,
        integrations: &[Integration<'_>],
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Vec<Problem>> {
        // The first provider stays; whoever came first chose the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut problems = Vec::new();
        let allowed = Allowed::parse(&config.allowed_addresses).unwrap_or_else(|text| {
            let text = format!("action.allowed_addresses: {text}");
            problems.push(Problem { integration: None, field: None, text });
            Allowed::default()
        });
        let global = settings::Global::read(surroundings.global, &mut problems);
        let library = render::library(&surroundings.templates, &mut problems);
        let mut channels = HashMap::new();
        for (i, integration) in integrations.iter().enumerate() {
            let made = Channel::new(integration, &global, &allowed);
            match made {
                Ok(channel) => {
                    let place = (
                        integration.receiver.to_owned(),
                        integration.kind.to_owned(),
                        integration.index,
                    );
                    let permits = Semaphore::new(config.in_flight_max);
                    channels.insert(place, Line { channel, permits });
                }
                Err(wrong) => problems.push(wrong.at(i)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Arc::new(Self {
            channels,
            library,
            external_url: surroundings.external_url.into(),
            clock,
            wait_min: config.retry_wait_min,
            wait_max: config.retry_wait_max,
            counts: Mutex::default(),
        }))
    }

    /// Figures by kind of channel.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, KindCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, kind: &str, change: impl FnOnce(&mut KindCounts)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(counts.entry(kind.to_owned()).or_default());
    }

    /// Tries until the receiver takes the message, refuses it for good, or its deadline has passed.
    ///
    /// # Errors
    /// Why it was not taken, in words, without secrets.
    pub async fn deliver(&self, message: Message) -> Result<(), String> {
        let place = (message.receiver.clone(), message.kind.clone(), message.index);
        let Some(line) = self.channels.get(&place) else {
            return Err("there is no such channel".to_owned());
        };
        self.count(&message.kind, |counts| counts.messages += 1);
        let outcome = self.try_long(line, &message).await;
        self.count(&message.kind, |counts| match &outcome {
            Ok(()) => counts.delivered += 1,
            Err(_) => counts.failed += 1,
        });
        if let Err(error) = &outcome {
            let (receiver, kind) = (message.receiver.as_str(), message.kind.as_str());
            tracing::error!(
                receiver,
                kind,
                error,
                "a notification was given up, the next flush tries again"
            );
        }
        outcome
    }

    fn tell_refused(&self, message: &Message, n: usize, error: &str) {
        let refused = u64::try_from(n).unwrap_or(u64::MAX);
        self.count(&message.kind, |counts| counts.refused_addresses += refused);
        let (receiver, kind) = (message.receiver.as_str(), message.kind.as_str());
        tracing::error!(receiver, kind, error, "a notification did not reach every address");
    }

    /// Time until the deadline of a message.
    fn left(&self, message: &Message) -> Duration {
        let left = message.deadline.0.saturating_sub(self.clock.now().0);
        Duration::from_nanos(u64::try_from(left).unwrap_or(0))
    }

    async fn try_long(&self, line: &Line, message: &Message) -> Result<(), String> {
        let render = Render::new(&self.library, message, &self.external_url)?;
        let seed = u64::try_from(message.idempotency >> 64).unwrap_or(0);
        for attempt in 1.. {
            if attempt > 1 {
                self.count(&message.kind, |counts| counts.retries += 1);
            }
            // Others of this receiver may hang: waiting for them counts, and past the deadline nothing is tried.
            let permit =
                match tokio::time::timeout(self.left(message), line.permits.acquire()).await {
                    Ok(Ok(permit)) => permit,
                    Ok(Err(_)) => break,
                    Err(_) => return Err("its time passed while others were being sent".to_owned()),
                };
            let left = self.left(message);
            let made = line.channel.attempt(message, &render, left).await;
            drop(permit);
            let (why, asked) = match made {
                Attempt::Taken => return Ok(()),
                Attempt::Partly(n, why) => {
                    self.tell_refused(message, n, &why);
                    return Ok(());
                }
                Attempt::Refused(why) => return Err(why),
                Attempt::Retry(why, asked) => (why, asked),
            };
            let wait = backoff::wait(seed, attempt, self.wait_min, self.wait_max);
            let wait = asked.map_or(wait, |asked| asked.max(wait));
            let (receiver, kind) = (message.receiver.as_str(), message.kind.as_str());
            tracing::warn!(receiver, kind, attempt, error = why, "a notification was not taken");
            if wait >= left {
                return Err(format!("{why}; given up after {attempt} attempts, for now"));
            }
            tokio::time::sleep(wait).await;
        }
        Err("the server is stopping".to_owned())
    }
}
