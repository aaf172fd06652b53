//! The kernel's account of TCP and UDP: `net/snmp`, `net/netstat`, `net/sockstat` and connection tracking.

use std::io;

use super::{Context, Pace, Source, malformed};
use crate::kernel::{KernelFile, Roots, text};
use crate::round::{Metric, Round, attr};

const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric::counter(name, unit, help)
}

static RETRANSMITS: Metric =
    counter("system.network.linux.tcp.retransmits", "{segment}", "TCP segments sent again.");
static RESETS: Metric = counter(
    "system.network.linux.tcp.resets",
    "{connection}",
    "Established TCP connections that were reset.",
);
static LISTEN_OVERFLOWS: Metric = counter(
    "system.network.linux.tcp.listen_overflows",
    "{connection}",
    "Connections refused because the accept queue was full.",
);
static LISTEN_DROPS: Metric = counter(
    "system.network.linux.tcp.listen_drops",
    "{connection}",
    "Connection requests dropped for any reason.",
);
static SYNCOOKIES: Metric =
    counter("system.network.linux.tcp.syncookies", "{event}", "SYN cookies sent.");
static TIMEOUTS: Metric = counter(
    "system.network.linux.tcp.timeouts",
    "{event}",
    "TCP retransmission timers that ran out.",
);
static ZERO_WINDOW: Metric = counter(
    "system.network.linux.tcp.zero_window",
    "{event}",
    "Times this host told a peer to stop sending.",
);
static UDP_ERRORS: Metric = counter(
    "system.network.linux.udp.errors",
    "{datagram}",
    "UDP datagrams that were not delivered.",
);
static UDP_RCVBUF: Metric = counter(
    "system.network.linux.udp.rcvbuf_errors",
    "{datagram}",
    "UDP datagrams dropped because the receiver was too slow.",
);
static UDP_NO_PORTS: Metric = counter(
    "system.network.linux.udp.no_ports",
    "{datagram}",
    "UDP datagrams for which nobody listened.",
);
static SOCKETS: Metric = Metric::up_down(
    "system.network.linux.socket.count",
    "{socket}",
    "Sockets by protocol and state.",
);
static SOCKET_MEMORY: Metric =
    Metric::up_down("system.network.linux.socket.memory", "By", "Memory of socket buffers.");
static CONNTRACK: Metric =
    Metric::up_down("system.network.conntrack.count", "{entry}", "Tracked connections.");
static CONNTRACK_MAX: Metric =
    Metric::up_down("system.network.conntrack.max", "{entry}", "Connections that can be tracked.");

/// Protocol, column, metric.
type Column = (&'static [u8], &'static [u8], &'static Metric);

static SNMP: [Column; 5] = [
    (b"Tcp:", b"RetransSegs", &RETRANSMITS),
    (b"Tcp:", b"EstabResets", &RESETS),
    (b"Udp:", b"InErrors", &UDP_ERRORS),
    (b"Udp:", b"RcvbufErrors", &UDP_RCVBUF),
    (b"Udp:", b"NoPorts", &UDP_NO_PORTS),
];
static NETSTAT: [Column; 5] = [
    (b"TcpExt:", b"ListenOverflows", &LISTEN_OVERFLOWS),
    (b"TcpExt:", b"ListenDrops", &LISTEN_DROPS),
    (b"TcpExt:", b"SyncookiesSent", &SYNCOOKIES),
    (b"TcpExt:", b"TCPTimeouts", &TIMEOUTS),
    (b"TcpExt:", b"TCPToZeroWindowAdv", &ZERO_WINDOW),
];

/// Reads `net/snmp` and `net/netstat`.
pub(crate) struct Protocols {
    snmp: KernelFile,
    netstat: KernelFile,
}

impl Protocols {
    pub(crate) fn new(roots: &Roots) -> Self {
        let file = |path| KernelFile::new(roots.view(path));
        Self { snmp: file("net/snmp"), netstat: file("net/netstat") }
    }
}

impl Source for Protocols {
    fn name(&self) -> &'static str {
        "protocols"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        columns(self.snmp.read(&mut context.buffer)?, &SNMP, round)?;
        columns(self.netstat.read(&mut context.buffer)?, &NETSTAT, round)
    }
}

/// Lines come in pairs, names above values. A column the kernel does not have is left out; signed ones are never ours.
fn columns(content: &[u8], wanted: &[Column], round: &mut Round) -> io::Result<()> {
    let (mut lines, mut found) = (text::lines(content), false);
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (mut names, mut values) = (text::fields(names), text::fields(values));
        let protocol = names.next();
        if protocol != values.next() {
            return Err(malformed("a line of values does not belong to its line of names"));
        }
        for (name, value) in names.zip(values) {
            let column = wanted.iter().find(|c| Some(c.0) == protocol && c.1 == name);
            if let (Some((_, _, metric)), Some(value)) = (column, text::number(value)) {
                found = true;
                round.record(metric, [], value);
            }
        }
    }
    if found { Ok(()) } else { Err(malformed("none of the expected columns is there")) }
}

/// Reads `net/sockstat` and `net/sockstat6`.
pub(crate) struct Sockets {
    v4: KernelFile,
    v6: KernelFile,
}

impl Sockets {
    pub(crate) fn new(roots: &Roots) -> Self {
        let file = |path| KernelFile::new(roots.view(path));
        Self { v4: file("net/sockstat"), v6: file("net/sockstat6") }
    }
}

impl Source for Sockets {
    fn name(&self) -> &'static str {
        "sockets"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        sockstat(self.v4.read(&mut context.buffer)?, round);
        // A kernel without IPv6 has no such file.
        if let Ok(content) = self.v6.read(&mut context.buffer) {
            sockstat(content, round);
        }
        Ok(())
    }
}

/// A line is `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 130`; memory in pages.
fn sockstat(content: &[u8], round: &mut Round) {
    const PROTOCOLS: [(&[u8], &str); 6] = [
        (b"TCP:", "tcp"),
        (b"UDP:", "udp"),
        (b"RAW:", "raw"),
        (b"TCP6:", "tcp6"),
        (b"UDP6:", "udp6"),
        (b"RAW6:", "raw6"),
    ];
    for line in text::lines(content) {
        let mut fields = text::fields(line);
        let Some(name) = fields.next() else { continue };
        let Some((_, protocol)) = PROTOCOLS.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        while let (Some(key), Some(value)) = (fields.next(), fields.next().and_then(text::number)) {
            let state = match key {
                b"inuse" => "in_use",
                b"orphan" => "orphan",
                b"tw" => "time_wait",
                b"alloc" => "allocated",
                b"mem" => {
                    let bytes = value.saturating_mul(rustix::param::page_size() as u64);
                    round.record(&SOCKET_MEMORY, [attr("protocol", *protocol)], bytes);
                    continue;
                }
                _ => continue,
            };
            round.record(&SOCKETS, [attr("protocol", *protocol), attr("state", state)], value);
        }
    }
}

/// Reads `nf_conntrack_count` and `nf_conntrack_max`, where the module is loaded.
pub(crate) struct Conntrack {
    count: KernelFile,
    max: KernelFile,
}

impl Conntrack {
    pub(crate) fn new(roots: &Roots) -> Self {
        let file =
            |name| KernelFile::new(roots.proc(&format!("sys/net/netfilter/nf_conntrack_{name}")));
        Self { count: file("count"), max: file("max") }
    }
}

impl Source for Conntrack {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        for (metric, file) in [(&CONNTRACK, &mut self.count), (&CONNTRACK_MAX, &mut self.max)] {
            let content = file.read(&mut context.buffer)?;
            let value = text::fields(content).next().and_then(text::number);
            round.record(metric, [], value.ok_or_else(|| malformed("not a number"))?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    const SNMP: &str = "Tcp: RtoMin MaxConn RetransSegs EstabResets\nTcp: 200 -1 42 7\n\
        Udp: NoPorts InErrors RcvbufErrors\nUdp: 1 2 3\n";
    const NETSTAT: &str = "TcpExt: ListenOverflows TCPTimeouts\nTcpExt: 5 6\nIpExt: A\nIpExt: 1\n";

    #[test]
    fn columns_are_found_by_name() {
        let fixture = Fixture::new(&[("proc/1/net/snmp", SNMP), ("proc/1/net/netstat", NETSTAT)]);
        let round = fixture.sample(&mut Protocols::new(fixture.roots()));
        assert_eq!(round.value("system.network.linux.tcp.retransmits", &[]), 42.0);
        assert_eq!(round.value("system.network.linux.tcp.resets", &[]), 7.0);
        assert_eq!(round.value("system.network.linux.udp.rcvbuf_errors", &[]), 3.0);
        assert_eq!(round.value("system.network.linux.tcp.timeouts", &[]), 6.0);
        assert_eq!(round.count("system.network.linux.tcp.zero_window"), 0);
    }

    #[test]
    fn lines_that_do_not_pair_up_are_an_error() {
        for bad in
            ["", "Tcp: RetransSegs\n", "Tcp: RetransSegs\nUdp: 1\n", "Tcp: RetransSegs\nTcp: x\n"]
        {
            let fixture =
                Fixture::new(&[("proc/1/net/snmp", bad), ("proc/1/net/netstat", NETSTAT)]);
            assert!(fixture.try_sample(&mut Protocols::new(fixture.roots())).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sockets_and_tracked_connections_are_counted() {
        let fixture = Fixture::new(&[
            (
                "proc/1/net/sockstat",
                "sockets: used 17\nTCP: inuse 3 orphan 0 tw 9 alloc 5 mem 2\nUDP: inuse\n",
            ),
            ("proc/sys/net/netfilter/nf_conntrack_count", "12\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
        ]);
        let round = fixture.sample(&mut Sockets::new(fixture.roots()));
        let state = |state| round.value("system.network.linux.socket.count", &[("state", state)]);
        assert_eq!(["in_use", "time_wait", "allocated"].map(state), [3.0, 9.0, 5.0]);
        assert!(round.value("system.network.linux.socket.memory", &[]) >= 8192.0);
        let round = fixture.sample(&mut Conntrack::new(fixture.roots()));
        assert_eq!(round.value("system.network.conntrack.max", &[]), 262_144.0);
    }
}
