//! Acts on what `alert` decided: the only crate that changes the outside world.
//!
//! [`Actions`] acts on incidents by runbooks: plans are pure decisions, runs are state machines whose every arrow is a
//! record of the journal, and no effect comes before its record.
//!
//! A [`Notifier`] takes transitions from `server`, keeps them in a journal and posts a signed message
//! (Standard Webhooks) to every webhook receiver whose matchers hold. Nothing is sent that the journal
//! does not already hold on disk, nothing accepted is forgotten over a crash, and a receiver sees the
//! same `webhook-id` on every repetition of a message.
//!
//! The bytes of the journal are described in `docs/format/journal.md`, the message in
//! `docs/guide/webhooks.md`.

pub mod actions;
mod address;
mod amount;
mod approval;
mod backoff;
pub mod config;
mod delivery;
mod duration;
pub mod effect;
mod error;
pub mod guard;
mod journal;
mod ledger;
mod message;
mod notifier;
pub mod notify;
pub mod plan;
mod receiver;
pub mod register;
pub mod run;
pub mod runbook;
mod send;
mod sign;
mod target;
mod wish;
pub mod world;

#[cfg(test)]
mod tests;

pub use actions::{Actions, Runbooks};
pub use config::{Config, WebhookReceiver};
pub use delivery::{Delivery, DeliveryStatus};
pub use error::{Error, ErrorKind};
pub use notifier::{Notifier, Stats};
pub use target::flags;
pub use target::webhook::CallbackError;
