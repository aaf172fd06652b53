//! `dns_sd_configs`: addresses from A, AAAA, SRV, MX and NS records, asked of the servers in `resolv.conf`.
//!
//! A small resolver of our own: it needs the records' own fields, which the system's does not give. Source: RFC 1035,
//! RFC 2782, RFC 3596.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::{Poll, Source};
use crate::scrape::config::Span;
use crate::scrape::relabel::LabelSet;

mod message;

#[cfg(test)]
pub(super) use message::records as read_answer;
pub(super) use message::{Data, Record};

/// One of `dns_sd_configs`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DnsConfig {
    pub names: Vec<String>,
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// Of A, AAAA, MX and NS records, which have none.
    pub port: u16,
    /// Default: 30 s.
    pub refresh_interval: Option<Span>,
}

/// Which records are asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum RecordType {
    #[default]
    Srv,
    A,
    Aaaa,
    Mx,
    Ns,
}

/// How long one server is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const SERVERS_MAX: usize = 3;

impl DnsConfig {
    /// What is wrong with it that no type can say.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.names.is_empty() {
            return Err("`dns_sd_configs` must contain at least one of `names`".to_owned());
        }
        if self.kind != RecordType::Srv && self.port == 0 {
            return Err("`dns_sd_configs`: a `port` is required for every type but SRV".to_owned());
        }
        Ok(())
    }
}

/// Servers and suffixes of the system.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resolver {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    ndots: usize,
}

impl Resolver {
    /// As `resolv.conf` says; without one, the server on this host.
    pub(super) fn of_system(path: &Path) -> Self {
        Self::read(&std::fs::read_to_string(path).unwrap_or_default())
    }

    pub(super) fn read(text: &str) -> Self {
        let mut resolver = Self { ndots: 1, ..Self::default() };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(address.map(|ip| SocketAddr::new(ip, 53)));
                }
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    resolver.ndots = ndots.unwrap_or(resolver.ndots);
                }
                _ => {}
            }
        }
        resolver.servers.truncate(SERVERS_MAX);
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::from(([127, 0, 0, 1], 53)));
        }
        resolver
    }

    /// Records of `name`, tried with the suffixes of the system as the system would; none if there is no such name.
    pub(super) async fn look_up(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<Vec<Record>, String> {
        for name in self.candidates(name) {
            let records = self.ask(&name, kind).await?;
            if !records.is_empty() {
                return Ok(records);
            }
        }
        Ok(Vec::new())
    }

    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let mut names: Vec<String> = self
            .search
            .iter()
            .map(|suffix| format!("{name}.{}", suffix.trim_matches('.')))
            .collect();
        let at = if name.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(at, name.to_owned());
        names
    }

    /// The answer of the first server that gives one.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, String> {
        let mut reasons = Vec::new();
        for server in &self.servers {
            let question = message::question(name, kind)?;
            let answer = tokio::time::timeout(PATIENCE, exchange(*server, &question)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            match answer.and_then(|bytes| message::records(&bytes, kind)) {
                Ok(records) => return Ok(records),
                Err(reason) => reasons.push(format!("{server}: {reason}")),
            }
        }
        Err(format!("could not resolve {name:?}: {}", reasons.join("; ")))
    }
}

/// By UDP, and by TCP when the answer was too long for it.
async fn exchange(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| error.to_string();
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(local).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    socket.send(question).await.map_err(failed)?;
    let mut answer = vec![0; 4096];
    loop {
        let n = socket.recv(&mut answer).await.map_err(failed)?;
        if n > 3 && answer[..2] == question[..2] {
            answer.truncate(n);
            break;
        } // Else it is an answer to somebody else.
    }
    if answer[2] & 0x02 == 0 {
        return Ok(answer);
    }
    let mut stream = TcpStream::connect(server).await.map_err(failed)?;
    let length = u16::try_from(question.len()).map_err(|_| "the name is too long".to_owned())?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await.map_err(failed)?;
    let length = stream.read_u16().await.map_err(failed)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    Ok(answer)
}

/// Asks until everything stops.
pub(super) async fn run(poll: Poll, config: DnsConfig) {
    let interval = config.refresh_interval.map_or(Duration::from_secs(30), |span| span.0);
    poll.every(interval, config).await;
}

impl Source for DnsConfig {
    async fn ask(&mut self) -> Result<Vec<LabelSet>, String> {
        // Read anew: networks come and go.
        let resolver = Resolver::of_system(Path::new("/etc/resolv.conf"));
        targets(&resolver, self).await
    }
}

/// The targets of all names; a name that cannot be resolved fails all, so that none vanishes for a moment.
pub(super) async fn targets(
    resolver: &Resolver,
    config: &DnsConfig,
) -> Result<Vec<LabelSet>, String> {
    let mut targets = Vec::new();
    for name in &config.names {
        let records = resolver.look_up(name, config.kind).await?;
        targets.extend(records.iter().map(|record| labels(name, record, config.port)));
    }
    targets.sort();
    Ok(targets)
}

fn labels(name: &str, record: &Record, port: u16) -> LabelSet {
    let dotted = |host: &str| format!("{host}.");
    let mut labels = LabelSet::from([("__meta_dns_name".to_owned(), name.to_owned())]);
    let mut set = |label: &str, value: String| drop(labels.insert(label.to_owned(), value));
    let address = match &record.data {
        Data::Address(ip) => SocketAddr::new(*ip, port).to_string(),
        Data::Service { host, port } => {
            set("__meta_dns_srv_record_target", dotted(host));
            set("__meta_dns_srv_record_port", port.to_string());
            format!("{host}:{port}")
        }
        Data::Mail { host } => {
            set("__meta_dns_mx_record_target", dotted(host));
            format!("{host}:{port}")
        }
        Data::Server { host } => {
            set("__meta_dns_ns_record_target", dotted(host));
            format!("{host}:{port}")
        }
    };
    set("__address__", address);
    labels
}
