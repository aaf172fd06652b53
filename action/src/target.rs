//! What can be acted on, and what speaks to it. Nothing outside of here changes the world for a run.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use tokio::net::TcpStream;

use crate::address::Allowed;
use crate::plan::{Change, Member};
use crate::runbook::{DriverKind, Group, Target};

pub mod flags;
pub(crate) mod haproxy;
mod http;
pub(crate) mod kubernetes;
pub(crate) mod patroni;
pub(crate) mod redis;
pub(crate) mod supervisor;
pub(crate) mod webhook;

pub(crate) use http::Http;

/// What repeating an effect means: after a crash this decides, never a retry for its own sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryClass {
    /// Twice is once.
    Set,
    /// Not so, but whether it took place can be seen.
    Probe,
    /// Neither: it is asked for once at most.
    Opaque,
}

/// What a driver is told to do.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) change: &'a Change,
    /// The same whenever the same effect is asked for again.
    pub(crate) token: &'a str,
    pub(crate) timeout: Duration,
}

/// Why a change was not made, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It was not.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

impl Failure {
    pub(crate) fn words(self) -> String {
        match self {
            Self::Refused(why) | Self::Unknown(why) => why,
        }
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Unknown(why)
    }
}

/// Speaks to targets of one kind.
pub(crate) trait Driver: Send + Sync {
    /// What repeating its effects on a target means.
    fn class(&self, target: &Target) -> RetryClass;

    /// Every member as it is now.
    fn observe<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>>;

    /// Why a change cannot be made as things stand: asked before it is announced, so that it may be planned again.
    fn obstacle<'a>(
        &'a self,
        _: &'a Target,
        _: &'a Change,
        _: Duration,
    ) -> BoxFuture<'a, Option<String>> {
        Box::pin(async { None })
    }

    /// Makes one change.
    fn apply<'a>(
        &'a self,
        target: &'a Target,
        order: Order<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Writes a small file of ours under another name first: it is there whole or not at all.
fn persist(path: &Path, what: &impl Serialize) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(what)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
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
    check_fields(target)?;
    let Group { backend, map, processes, namespace, members, initial, .. } = &target.group;
    match target.driver {
        DriverKind::Flags => Ok(()),
        DriverKind::Haproxy => {
            check_endpoint(target, allowed)?;
            match (backend.as_str(), map.as_str()) {
                (_, "") => haproxy::check_name(backend)
                    .map_err(|problem| format!("group.backend: {problem}")),
                ("", file) => haproxy::map::check_file(file)
                    .map_err(|problem| format!("group.map: {problem}")),
                _ => Err("group: a backend and a map are two targets".to_owned()),
            }
        }
        DriverKind::Supervisor => {
            check_endpoint(target, allowed)?;
            supervisor::check_name(processes)
                .map_err(|problem| format!("group.processes: {problem}"))
        }
        DriverKind::Patroni => http::check(target, allowed),
        DriverKind::Redis => redis::check(target),
        DriverKind::Kubernetes => {
            http::check(target, allowed)?;
            kubernetes::check_name(namespace)
                .map_err(|problem| format!("group.namespace: {problem}"))
        }
        DriverKind::Webhook => {
            http::check(target, allowed)?;
            webhook::check(target, members, initial)
        }
        #[cfg(test)]
        DriverKind::Test => check_endpoint(target, allowed),
    }
}

fn check_endpoint(target: &Target, allowed: &Allowed) -> Result<(), String> {
    if let Endpoint::Tcp(address) = Endpoint::parse(&target.endpoint)? {
        let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        if let Ok(ip) = host.parse::<std::net::IpAddr>()
            && !allowed.allows(ip)
        {
            return Err(crate::address::refused(ip));
        }
    }
    Ok(())
}

/// Refuses fields that are for other drivers.
fn check_fields(target: &Target) -> Result<(), String> {
    let group = &target.group;
    let fields = [
        ("endpoint", !target.endpoint.is_empty()),
        ("token_file", target.token_file.is_some()),
        ("ca_file", target.ca_file.is_some()),
        ("secret_file", target.secret_file.is_some()),
        ("honours_id", target.honours_id),
        ("group.backend", !group.backend.is_empty()),
        ("group.map", !group.map.is_empty()),
        ("group.processes", !group.processes.is_empty()),
        ("group.master", !group.master.is_empty()),
        ("group.cluster", !group.cluster.is_empty()),
        ("group.namespace", !group.namespace.is_empty()),
        ("group.selector", !group.selector.is_empty()),
        ("group.members", !group.members.is_empty()),
        ("group.initial", !group.initial.is_empty()),
    ];
    let own: &[&str] = match target.driver {
        DriverKind::Flags => &[],
        DriverKind::Haproxy => &["endpoint", "group.backend", "group.map"],
        DriverKind::Supervisor => &["endpoint", "group.processes"],
        DriverKind::Redis => &["endpoint", "token_file", "group.master"],
        DriverKind::Patroni => &["endpoint", "token_file", "ca_file", "group.cluster"],
        DriverKind::Kubernetes => {
            &["endpoint", "token_file", "ca_file", "group.namespace", "group.selector"]
        }
        DriverKind::Webhook => {
            &["endpoint", "ca_file", "secret_file", "honours_id", "group.members", "group.initial"]
        }
        #[cfg(test)]
        DriverKind::Test => &["endpoint", "group.backend"],
    };
    let other = fields.iter().find(|(name, is_set)| *is_set && !own.contains(name));
    match (other, own.is_empty()) {
        (None, _) => Ok(()),
        (Some(_), true) => {
            Err("endpoint and group: flags have none, they are served by Headrope itself"
                .to_owned())
        }
        (Some((name, _)), false) => {
            Err(format!("{name}: not for this driver, which has {}", own.join(", ")))
        }
    }
}
