//! HAProxy's runtime socket: one command a connection, success is silence, and everything is read back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Driver, Endpoint, Failure, Order, RetryClass, connect};
use crate::address::Allowed;
use crate::plan::{Change, Member};
use crate::runbook::Target;

pub(crate) mod map;

/// Longest answer: a row of `show servers state` has about 150 bytes.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Largest weight HAProxy takes.
const WEIGHT_MAX: u64 = 256;
/// Bits of `srv_admin_state` that the socket sets.
const FORCED_MAINT: u64 = 0x01;
const FORCED_DRAIN: u64 = 0x08;
/// `srv_op_state` of a server that runs.
const RUNNING: u64 = 2;

/// Speaks to HAProxy.
pub(crate) struct Haproxy {
    pub(crate) allowed: Arc<Allowed>,
}

impl Driver for Haproxy {
    fn class(&self, _: &Target) -> RetryClass {
        RetryClass::Set
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>> {
        Box::pin(async move {
            let (backend, file) = (&target.group.backend, &target.group.map);
            if !file.is_empty() {
                map::check_file(file)?;
                let answer = self.ask(target, &format!("show map {file}"), timeout).await?;
                return map::entries_of(&answer, file);
            }
            check_name(backend)?;
            let command = format!("show servers state {backend}");
            let mut members = states_of(&self.ask(target, &command, timeout).await?, backend)?;
            // 4: servers; -1: of all processes.
            let command = format!("show stat {backend} 4 -1");
            let sessions = sessions_of(&self.ask(target, &command, timeout).await?, backend)?;
            for member in &mut members {
                member.sessions = sessions.get(&member.name).copied().unwrap_or_default();
            }
            Ok(members)
        })
    }

    fn apply<'a>(
        &'a self,
        target: &'a Target,
        Order { change, timeout, .. }: Order<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let group = &target.group;
            let command = match group.map.as_str() {
                "" => command(&group.backend, change),
                file => map::command(file, change),
            };
            let command = command.map_err(Failure::Refused)?;
            let answer = self.ask(target, &command, timeout).await?;
            match answer.trim() {
                "" => Ok(()),
                words => Err(Failure::Refused(format!("`{command}` was refused: {}", cut(words)))),
            }
        })
    }
}

/// The command that makes `change`.
fn command(backend: &str, change: &Change) -> Result<String, String> {
    let Change { member, field, value, .. } = change;
    check_name(backend)?;
    check_name(member)?;
    let is_known = match field.as_str() {
        "weight" => value.parse::<u64>().is_ok_and(|weight| weight <= WEIGHT_MAX),
        "state" => ["ready", "drain", "maint"].contains(&value.as_str()),
        _ => false,
    };
    if is_known {
        Ok(format!("set server {backend}/{member} {field} {value}"))
    } else {
        Err(format!("{field} {value} is nothing that can be set"))
    }
}

/// Refuses names that would be more than a name in a command.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !name.is_empty() && name.len() <= 256 && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(format!("{name:?} is no name of HAProxy: letters, digits and -_.:"))
}

impl Haproxy {
    async fn ask(
        &self,
        target: &Target,
        command: &str,
        timeout: Duration,
    ) -> Result<String, String> {
        let place = &target.endpoint;
        let talk = async {
            match Endpoint::parse(place)? {
                Endpoint::Unix(path) => {
                    let stream = UnixStream::connect(path).await;
                    converse(stream.map_err(|error| error.to_string())?, command).await
                }
                Endpoint::Tcp(address) => {
                    converse(connect(&self.allowed, &address).await?, command).await
                }
            }
        };
        let answer = tokio::time::timeout(timeout, talk).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
        answer.map_err(|error| format!("{place}: {error}"))
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    command: &str,
) -> Result<String, String> {
    let talk = async {
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        (&mut stream).take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = talk.await.map_err(|error| error.to_string())?;
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
    }
    String::from_utf8(answer).map_err(|_| "the answer is no text".to_owned())
}

fn cut(text: &str) -> &str {
    crate::journal::record::cut(text, 200)
}

/// The rows of `show servers state`: a version, `# ` and the names of columns, the rows.
fn states_of(text: &str, backend: &str) -> Result<Vec<Member>, String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let version = lines.next().unwrap_or_default();
    let columns: Vec<&str> = match lines.next().and_then(|line| line.strip_prefix("# ")) {
        Some(columns) if version == "1" => columns.split(' ').collect(),
        _ => return Err(format!("`show servers state {backend}` said: {}", cut(text.trim()))),
    };
    let mut members = Vec::new();
    for line in lines {
        let row: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split(' ')).collect();
        let text = |name: &str| row.get(name).copied().unwrap_or_default();
        let number = |name: &str| {
            let read = text(name).parse::<u64>();
            read.map_err(|_| format!("{name} of {} is {:?}", text("srv_name"), text(name)))
        };
        if text("be_name") != backend {
            continue;
        }
        let (admin, weight) = (number("srv_admin_state")?, number("srv_uweight")?);
        let state = match admin {
            bits if bits & FORCED_MAINT != 0 => "maint",
            bits if bits & FORCED_DRAIN != 0 => "drain",
            _ => "ready",
        };
        let up = number("srv_op_state")? == RUNNING;
        let pair = |weight: &str, state: &str| {
            BTreeMap::from(
                [("weight", weight), ("state", state)].map(|(k, v)| (k.to_owned(), v.to_owned())),
            )
        };
        members.push(Member {
            name: text("srv_name").to_owned(),
            up,
            serving: up && admin == 0 && weight > 0,
            fields: pair(text("srv_uweight"), state),
            configured: pair(text("srv_iweight"), "ready"),
            sessions: 0,
            owner: None,
        });
    }
    if members.is_empty() {
        return Err(format!("backend {backend} has no server, or there is no such backend"));
    }
    Ok(members)
}

/// Current sessions of each server, from the CSV of `show stat`.
fn sessions_of(text: &str, backend: &str) -> Result<BTreeMap<String, u64>, String> {
    let mut lines = text.lines();
    let header = lines.next().and_then(|line| line.strip_prefix("# "));
    let columns: Vec<&str> = header.ok_or("`show stat` gave no table")?.split(',').collect();
    let at = |name: &str| {
        let found = columns.iter().position(|column| *column == name);
        found.ok_or_else(|| format!("`show stat` has no {name}"))
    };
    let (proxy, server, current) = (at("pxname")?, at("svname")?, at("scur")?);
    let rows = lines.map(|line| line.split(',').collect::<Vec<_>>());
    let of = rows.filter(|row| row.get(proxy) == Some(&backend));
    Ok(of
        .filter_map(|row| Some(((*row.get(server)?).to_owned(), row.get(current)?.parse().ok()?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight\n\
        3 be_shop 1 s1 127.0.0.1 2 0 100 100\n3 be_shop 2 s2 127.0.0.1 2 8 10 100\n3 be_shop 3 s3 127.0.0.1 0 1 0 100\n";

    #[test]
    fn states_are_read_by_the_names_of_columns() {
        let members = states_of(STATE, "be_shop").unwrap();
        let short = |m: &Member| {
            (m.name.clone(), m.up, m.serving, m.fields["weight"].clone(), m.fields["state"].clone())
        };
        let row = |name: &str, up, serving, weight: &str, state: &str| {
            (name.to_owned(), up, serving, weight.to_owned(), state.to_owned())
        };
        assert_eq!(
            members.iter().map(short).collect::<Vec<_>>(),
            [
                row("s1", true, true, "100", "ready"),
                row("s2", true, false, "10", "drain"),
                row("s3", false, false, "0", "maint"),
            ]
        );
        assert!(states_of("Can't find backend.\n", "x").unwrap_err().contains("find backend"));
        assert!(states_of(STATE, "other").unwrap_err().contains("no server"));
        let broken = STATE.replace(" 10 100", " x 100");
        assert!(states_of(&broken, "be_shop").unwrap_err().contains("srv_uweight of s2"));
    }

    #[test]
    fn no_name_or_value_is_more_than_one_word_of_a_command() {
        let change = |member: &str, field: &str, value: &str| {
            let text = |text: &str| text.to_owned();
            command(
                "be",
                &Change {
                    member: text(member),
                    field: text(field),
                    before: text(""),
                    value: text(value),
                },
            )
        };
        assert_eq!(change("s1", "weight", "10").unwrap(), "set server be/s1 weight 10");
        assert_eq!(change("s1", "state", "drain").unwrap(), "set server be/s1 state drain");
        for (member, field, value) in [
            ("s1; shutdown sessions server be/s2", "weight", "1"),
            ("s1\nset", "weight", "1"),
            ("", "weight", "1"),
            ("s1", "weight", "1; show info"),
            ("s1", "weight", "257"),
            ("s1", "state", "ready\n"),
            ("s1", "agent", "up"),
        ] {
            assert!(change(member, field, value).is_err(), "{member} {field} {value}");
        }
    }

    #[test]
    fn sessions_are_read_from_the_table() {
        let text = "# pxname,svname,qcur,qmax,scur,smax\nbe,s1,0,0,3,9\nbe,s2,0,0,0,9\nother,s1,0,0,7,9\n\n";
        let found = sessions_of(text, "be").unwrap();
        assert_eq!(found, BTreeMap::from([("s1".to_owned(), 3), ("s2".to_owned(), 0)]));
        assert!(sessions_of("Permission denied\n", "be").is_err());
    }
}
