//! Routing with Alertmanager's semantics: which alerts are told to whom, together with which others, when, and what
//! keeps them quiet.
//!
//! [`Router`] is pure: what happens goes in together with the time, deliveries and the next wake-up come out.
//! [`Dispatcher`] is the thin shell that keeps time and makes the state durable; `action` delivers.

mod check;
pub mod config;
mod dedup;
mod dispatch;
mod file;
mod held;
mod inhibit;
pub mod interval;
mod journal;
pub mod matcher;
mod record;
mod router;
mod silence;
mod view;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use dedup::Reason;
pub use dispatch::{Deliver, Dispatcher, Outcome, Refusal};
pub use held::{Held, Posted, fingerprint, instant};
pub use record::Record;
pub use router::{Counts, Delivery, Full, Limits, Muting, Router, Shown, Ticket};
pub use silence::{Silence, SilenceState, Unsilenced};
pub use view::{AlertView, GroupView};
