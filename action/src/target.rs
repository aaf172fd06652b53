//! What can be acted on, and what speaks to it. Nothing outside of here changes the world for a run.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::net::TcpStream;

use crate::address::Allowed;
use crate::plan::{Change, Member};
use crate::runbook::{DriverKind, Group, Target};

pub mod flags;
pub(crate) mod haproxy;
pub(crate) mod supervisor;

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

/// Connects to an address that may be spoken to; names are checked when they are resolved.
async fn connect(allowed: &Allowed, address: &str) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host(address).await.map_err(|error| error.to_string())?;
    let mut last = "the name has no address".to_owned();
    for address in found {
        if !allowed.allows(address.ip()) {
            last = crate::address::refused(address.ip());
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Says what is wrong with a target.
pub(crate) fn check(target: &Target, allowed: &Allowed) -> Result<(), String> {
    if target.driver == DriverKind::Flags {
        let is_bare = target.endpoint.is_empty() && target.group == Group::default();
        let problem = "endpoint and group: flags have none, they are served by Headrope itself";
        return if is_bare { Ok(()) } else { Err(problem.to_owned()) };
    }
    if let Endpoint::Tcp(address) = Endpoint::parse(&target.endpoint)? {
        let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        if let Ok(ip) = host.parse::<std::net::IpAddr>()
            && !allowed.allows(ip)
        {
            return Err(crate::address::refused(ip));
        }
    }
    let Group { backend, processes } = &target.group;
    let only = |other: (&str, &str), name: &str| match other.1 {
        "" => Ok(()),
        _ => Err(format!("group.{}: this driver has group.{name}", other.0)),
    };
    match target.driver {
        DriverKind::Haproxy => {
            only(("processes", processes), "backend")?;
            haproxy::check_name(backend).map_err(|problem| format!("group.backend: {problem}"))
        }
        DriverKind::Flags => Ok(()),
        DriverKind::Supervisor => {
            only(("backend", backend), "processes")?;
            supervisor::check_name(processes)
                .map_err(|problem| format!("group.processes: {problem}"))
        }
        #[cfg(test)]
        DriverKind::Test => Ok(()),
    }
}
