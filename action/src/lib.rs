//! Acts on what `alert` decided: the only crate that changes the outside world.
//!
//! A [`Notifier`] takes transitions from `server`, keeps them in a journal and posts a signed message
//! (Standard Webhooks) to every webhook receiver whose matchers hold. Nothing is sent that the journal
//! does not already hold on disk, nothing accepted is forgotten over a crash, and a receiver sees the
//! same `webhook-id` on every repetition of a message.
//!
//! The bytes of the journal are described in `docs/format/journal.md`, the message in
//! `docs/guide/webhooks.md`.

mod address;
mod backoff;
pub mod config;
mod delivery;
mod duration;
mod error;
mod journal;
mod ledger;
mod message;
mod notifier;
pub mod notify;
mod receiver;
mod send;
mod sign;

#[cfg(test)]
mod tests;

pub use config::{Config, WebhookReceiver};
pub use delivery::{Delivery, DeliveryStatus};
pub use error::{Error, ErrorKind};
pub use notifier::{Notifier, Stats};
