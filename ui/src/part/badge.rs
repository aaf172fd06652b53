//! States as a word, a colour and a shape: never colour alone.

use api::alert::State;
use api::host::HostState;
use leptos::prelude::*;

use crate::msg::{Msg, t};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Ok,
    Warn,
    Error,
    Unknown,
}

impl Tone {
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}

/// A word with the mark of its tone.
#[component]
pub(crate) fn Badge(tone: Tone, #[prop(into)] text: String) -> impl IntoView {
    view! { <span class=format!("badge {}", tone.class())><i class="mark"></i>{text}</span> }
}

/// Tone and word of a host's state.
pub(crate) fn host_state(state: HostState) -> (Tone, &'static str) {
    match state {
        HostState::Ok => (Tone::Ok, t(Msg::StateOk)),
        HostState::Warn => (Tone::Warn, t(Msg::StateWarn)),
        HostState::Error => (Tone::Error, t(Msg::StateError)),
        HostState::Unknown => (Tone::Unknown, t(Msg::StateUnknown)),
    }
}

/// Tone and word of an alert's state.
pub(crate) fn alert_state(state: State) -> (Tone, &'static str) {
    match state {
        State::Inactive => (Tone::Ok, t(Msg::StateInactive)),
        State::Pending => (Tone::Warn, t(Msg::StatePending)),
        State::NoData => (Tone::Unknown, t(Msg::StateNoData)),
        State::Firing => (Tone::Error, t(Msg::StateFiring)),
        State::Resolved => (Tone::Ok, t(Msg::StateResolved)),
    }
}

/// Name and tone of a log severity number.
pub(crate) fn severity(number: i32, text: &str) -> (Tone, String) {
    let (tone, name) = match number {
        1..=4 => (Tone::Unknown, "TRACE"),
        5..=8 => (Tone::Unknown, "DEBUG"),
        9..=12 => (Tone::Ok, "INFO"),
        13..=16 => (Tone::Warn, "WARN"),
        17..=20 => (Tone::Error, "ERROR"),
        21..=24 => (Tone::Error, "FATAL"),
        _ => (Tone::Unknown, ""),
    };
    (tone, if name.is_empty() { text.to_uppercase() } else { name.to_owned() })
}
