//! Redis under Sentinel: the nodes behind one master name, and a switchover that loses no acknowledged write. Plain
//! `SENTINEL FAILOVER` on a healthy master does: it goes on taking writes that its successor never sees.
//!
//! The recipe: writes are paused, every replica has caught up, Sentinel moves the master, the old one is made a replica of
//! the new one, and only then its clients go on. The pause is longer than Sentinel needs to demote the old master by itself, so
//! one who dies in between loses nothing either.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Driver, Endpoint, Failure, Order, RetryClass, connect, http};
use crate::address::Allowed;
use crate::plan::{Change, Member};
use crate::runbook::Target;
use resp::{Answer, Connection};

mod resp;

/// How long writes wait at most: longer than the nine seconds Sentinel takes to demote the old master.
const PAUSE_MS: &str = "15000";
/// How long replicas may take to catch up, and Sentinel to move the master.
const STAGE: Duration = Duration::from_secs(5);
/// Between two looks at how a stage goes.
const LOOK: Duration = Duration::from_millis(50);
/// How long a node may take to be reached: an unreachable one must not hide the others.
const NODE: Duration = Duration::from_millis(800);
/// Most nodes behind one name.
const NODES_MAX: usize = 64;

/// Speaks to Sentinels and the nodes they know.
pub(crate) struct Redis {
    pub(crate) allowed: Arc<Allowed>,
}

type Link = Connection<TcpStream>;

impl Driver for Redis {
    fn class(&self, _: &Target) -> RetryClass {
        RetryClass::Probe
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>> {
        Box::pin(async move {
            let look = async {
                let mut sentinel = self.sentinel(target).await?;
                let master = master(&mut sentinel, target).await?;
                let nodes = nodes(&mut sentinel, target, &master).await?;
                let members = nodes.iter().map(|node| self.member(target, node, &master));
                Ok(futures::future::join_all(members).await)
            };
            within(timeout, look).await
        })
    }

    fn obstacle<'a>(
        &'a self,
        target: &'a Target,
        change: &'a Change,
        timeout: Duration,
    ) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move {
            let look = async {
                let mut sentinel = self.sentinel(target).await?;
                self.ready(target, change, &mut sentinel).await
            };
            within(timeout, look).await.err()
        })
    }

    fn apply<'a>(
        &'a self,
        target: &'a Target,
        Order { change, timeout, .. }: Order<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let moving = self.switch_over(target, change);
            let moved = tokio::time::timeout(timeout, moving).await;
            moved.unwrap_or_else(|_| Err(Failure::Unknown(format!("not done within {timeout:?}"))))
        })
    }
}

async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let done = tokio::time::timeout(timeout, work).await;
    done.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")))
}

/// An error of a server as one of ours.
fn ok(answer: Answer) -> Result<String, String> {
    let text = answer.text()?;
    if text.starts_with("OK") { Ok(text) } else { Err(text) }
}

/// `host:port` of the master, as a Sentinel says.
async fn master(sentinel: &mut Link, target: &Target) -> Result<String, String> {
    let name = &target.group.master;
    let answer = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]).await?;
    let Answer::List(pair) = answer else {
        return Err(format!("Sentinel knows no master {name}"));
    };
    let texts: Result<Vec<String>, String> = pair.into_iter().map(Answer::text).collect();
    match texts?.as_slice() {
        [host, port] => Ok(address(host, port)),
        _ => Err("the master has no address".to_owned()),
    }
}

fn address(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// All nodes behind the name.
async fn nodes(sentinel: &mut Link, target: &Target, master: &str) -> Result<Vec<String>, String> {
    let replicas = sentinel.ask(&["SENTINEL", "REPLICAS", &target.group.master]).await?.list()?;
    let mut nodes = vec![master.to_owned()];
    for replica in replicas.into_iter().take(NODES_MAX) {
        let fields = replica.pairs()?;
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, v)| &**v);
        if let (Some(host), Some(port)) = (field("ip"), field("port")) {
            nodes.push(address(host, port));
        }
    }
    nodes.sort();
    nodes.dedup();
    Ok(nodes)
}

/// Lines `name:value` of `INFO`.
fn info(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(':')).collect()
}

/// What each replica has taken in, and what the master has written; an error where one is not online.
fn offsets(text: &str) -> Result<(u64, Vec<u64>), String> {
    let fields = info(text);
    if fields.get("role") != Some(&"master") {
        return Err("it is no master".to_owned());
    }
    let written = fields.get("master_repl_offset").and_then(|text| text.parse().ok());
    let written = written.ok_or("it does not say what it has written")?;
    let mut taken = Vec::new();
    for (name, value) in &fields {
        let number = name.strip_prefix("slave").is_some_and(|n| n.parse::<usize>().is_ok());
        if !number {
            continue;
        }
        let parts: BTreeMap<&str, &str> =
            value.split(',').filter_map(|part| part.split_once('=')).collect();
        if parts.get("state") != Some(&"online") {
            return Err(format!("a replica is not online: {value}"));
        }
        let offset = parts.get("offset").and_then(|text| text.parse().ok());
        taken.push(offset.ok_or("a replica has no offset")?);
    }
    if taken.is_empty() { Err("it has no replica".to_owned()) } else { Ok((written, taken)) }
}

impl Redis {
    async fn link(&self, target: &Target, address: &str) -> Result<Link, String> {
        let open = async {
            let mut link = Connection::new(connect(&self.allowed, address).await?);
            if let Some(path) = &target.token_file {
                let bytes = http::read(path)?;
                let text = String::from_utf8_lossy(&bytes);
                let words: Vec<&str> = match text.trim().split_once(':') {
                    Some((user, password)) => vec!["AUTH", user, password],
                    None => vec!["AUTH", text.trim()],
                };
                let answer = link.ask(&words).await?;
                // A Sentinel often has no password where its nodes have one.
                match answer {
                    Answer::Error(why) if !why.contains("without any password") => {
                        return Err(why);
                    }
                    _ => {}
                }
            }
            Ok(link)
        };
        within(NODE, open).await.map_err(|error| format!("{address}: {error}"))
    }

    /// The first Sentinel that answers and knows the master.
    async fn sentinel(&self, target: &Target) -> Result<Link, String> {
        let mut last = "endpoint: there is none".to_owned();
        for endpoint in http::addresses(&target.endpoint) {
            let Ok(Endpoint::Tcp(address)) = Endpoint::parse(endpoint) else { continue };
            let found = async {
                let mut link = self.link(target, &address).await?;
                within(NODE, master(&mut link, target)).await?;
                Ok(link)
            };
            match found.await {
                Ok(link) => return Ok(link),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A node; who is the master is for Sentinel to say.
    async fn member(&self, target: &Target, node: &str, master: &str) -> Member {
        let role = if node == master { "master" } else { "replica" };
        let asked = async {
            let mut link = self.link(target, node).await?;
            let text = link.ask(&["INFO"]).await?.text()?;
            let fields = info(&text);
            let is_loading = fields.get("loading").is_some_and(|is| *is != "0");
            let is_linked = fields.get("master_link_status").is_none_or(|is| *is == "up");
            let clients = fields.get("connected_clients").and_then(|n| n.parse().ok());
            Ok((!is_loading && is_linked, clients.unwrap_or_default()))
        };
        let (up, sessions) = within(NODE, asked).await.unwrap_or((false, 0));
        Member {
            name: node.to_owned(),
            up,
            serving: up,
            fields: BTreeMap::from([("role".to_owned(), role.to_owned())]),
            sessions,
            ..Member::default()
        }
    }

    /// Whether the master can be moved now without a loss.
    async fn ready(
        &self,
        target: &Target,
        change: &Change,
        sentinel: &mut Link,
    ) -> Result<(), String> {
        if (change.field.as_str(), change.value.as_str()) != ("role", "replica") {
            return Err(format!("{} {} is nothing that can be set", change.field, change.value));
        }
        let name = &target.group.master;
        ok(sentinel.ask(&["SENTINEL", "CKQUORUM", name]).await?)?;
        let fields = sentinel.ask(&["SENTINEL", "MASTER", name]).await?.pairs()?;
        let flags = fields.iter().find(|(field, _)| field == "flags").map(|(_, v)| v.as_str());
        if flags != Some("master") {
            return Err(format!(
                "Sentinel says {}: {name} is in no state to be moved",
                flags.unwrap_or("?")
            ));
        }
        let mut old = self.link(target, &change.member).await?;
        let text = old.ask(&["INFO", "replication"]).await?.text()?;
        offsets(&text).map(drop).map_err(|error| format!("{}: {error}", change.member))
    }

    async fn switch_over(&self, target: &Target, change: &Change) -> Result<(), Failure> {
        let refused = Failure::Refused;
        let mut sentinel = self.sentinel(target).await.map_err(refused)?;
        let is = master(&mut sentinel, target).await.map_err(refused)?;
        if is != change.member {
            return Ok(());
        }
        self.ready(target, change, &mut sentinel).await.map_err(refused)?;
        let mut old = self.link(target, &change.member).await.map_err(refused)?;
        let paused = old.ask(&["CLIENT", "PAUSE", PAUSE_MS, "WRITE"]).await;
        paused.and_then(ok).map_err(refused)?;
        let name = &target.group.master;
        let moved = async {
            caught_up(&mut old).await.map_err(refused)?;
            let answer = sentinel.ask(&["SENTINEL", "FAILOVER", name]).await;
            // A refusal is certain; silence is not.
            answer.map_err(Failure::Unknown).and_then(|said| ok(said).map_err(refused))?;
            moved_from(&mut sentinel, target, &change.member).await.map_err(Failure::Unknown)
        };
        let new = match moved.await {
            Ok(new) => new,
            Err(failure) => {
                // Where the master moved after all, the old one stays shut until Sentinel has demoted it.
                let is_still = master(&mut sentinel, target).await;
                if is_still.is_ok_and(|is| is == change.member) {
                    drop(old.ask(&["CLIENT", "UNPAUSE"]).await);
                }
                return Err(failure);
            }
        };
        follow(&mut old, &new).await.map_err(Failure::Unknown)
    }
}

/// Waits until every replica has what the paused master has written.
async fn caught_up(old: &mut Link) -> Result<(), String> {
    let end = Instant::now() + STAGE;
    loop {
        let text = old.ask(&["INFO", "replication"]).await?.text()?;
        let (written, taken) = offsets(&text)?;
        if taken.iter().all(|offset| *offset == written) {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(format!("its replicas have not caught up within {STAGE:?}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until Sentinel names another master.
async fn moved_from(sentinel: &mut Link, target: &Target, old: &str) -> Result<String, String> {
    let end = Instant::now() + STAGE;
    loop {
        let is = master(sentinel, target).await?;
        if is != old {
            return Ok(is);
        }
        if Instant::now() >= end {
            return Err(format!("Sentinel names no other master within {STAGE:?}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Makes the old master a replica of the new one, then lets its clients go on.
async fn follow(old: &mut Link, new: &str) -> Result<(), String> {
    let (host, port) = new.rsplit_once(':').ok_or("the new master has no port")?;
    let host = host.trim_matches(['[', ']']);
    ok(old.ask(&["REPLICAOF", host, port]).await?)?;
    ok(old.ask(&["CLIENT", "UNPAUSE"]).await?)?;
    Ok(())
}

/// Says what is wrong with a target.
pub(super) fn check(target: &Target) -> Result<(), String> {
    let name = &target.group.master;
    // As Sentinel's own configuration asks for.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 256 || !name.chars().all(is_plain) {
        return Err(format!(
            "group.master: {name:?} is no name of a master in Sentinel: letters, digits and -_."
        ));
    }
    let mut n = 0;
    for endpoint in http::addresses(&target.endpoint) {
        match Endpoint::parse(endpoint)? {
            Endpoint::Tcp(_) => n += 1,
            Endpoint::Unix(_) => return Err("endpoint: Sentinels are tcp:host:port".to_owned()),
        }
    }
    if n == 0 { Err("endpoint: there is no Sentinel".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_redis_7_says_them() {
        let text = "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
                    slave0:ip=127.0.0.1,port=6380,state=online,offset=5684,lag=0\r\n\
                    slave1:ip=127.0.0.1,port=6381,state=online,offset=5600,lag=1\r\n\
                    master_failover_state:no-failover\r\nmaster_repl_offset:5684\r\n";
        assert_eq!(offsets(text).unwrap(), (5684, vec![5684, 5600]));
        let waits = text.replacen("state=online", "state=wait_bgsave", 1);
        assert!(offsets(&waits).unwrap_err().contains("not online"));
        assert!(offsets(&text.replace("role:master", "role:slave")).is_err());
        assert!(
            offsets("role:master\r\nmaster_repl_offset:1\r\n").unwrap_err().contains("no replica")
        );
    }

    #[test]
    fn addresses_of_both_families_are_one_text() {
        assert_eq!(address("10.0.0.1", "6379"), "10.0.0.1:6379");
        assert_eq!(address("fe80::1", "6379"), "[fe80::1]:6379");
    }
}
