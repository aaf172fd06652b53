//! What can be acted on, and what speaks to it. Nothing outside of here changes the world for a run.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::address::Allowed;
use crate::plan::{Change, Member};
use crate::runbook::{DriverKind, Target};

pub(crate) mod haproxy;

/// What repeating an effect means: after a crash this decides, never a retry for its own sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryClass {
    /// Twice is once.
    Set,
    /// Not so, but whether it took place can be seen.
    Probe,
}

/// Speaks to targets of one kind.
pub(crate) trait Driver: Send + Sync {
    /// What repeating its effects means.
    fn class(&self) -> RetryClass;

    /// Every member as it is now.
    fn observe<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>>;

    /// Makes one change. An error says that it was refused, or that nobody knows.
    fn apply<'a>(
        &'a self,
        target: &'a Target,
        change: &'a Change,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(), String>>;
}

/// Where a target listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Unix(String),
    Tcp(String),
}

impl Endpoint {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let complaint =
            || format!("endpoint: {text:?} is neither unix:/path/to/socket nor tcp:host:port");
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.to_owned())),
            Some(("tcp", address)) => {
                let (host, port) = address.rsplit_once(':').ok_or_else(complaint)?;
                let whole = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
                if whole { Ok(Self::Tcp(address.to_owned())) } else { Err(complaint()) }
            }
            _ => Err(complaint()),
        }
    }
}

/// Says what is wrong with a target.
pub(crate) fn check(target: &Target, allowed: &Allowed) -> Result<(), String> {
    if let Endpoint::Tcp(address) = Endpoint::parse(&target.endpoint)? {
        let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        if let Ok(ip) = host.parse::<std::net::IpAddr>()
            && !allowed.allows(ip)
        {
            return Err(crate::address::refused(ip));
        }
    }
    match target.driver {
        DriverKind::Haproxy => haproxy::check_name(&target.group.backend)
            .map_err(|problem| format!("group.backend: {problem}")),
        #[cfg(test)]
        DriverKind::Test => Ok(()),
    }
}
