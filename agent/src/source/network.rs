//! Network interfaces: traffic from `net/dev`, state from `sys/class/net`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Context, Pace, ROWS_MAX, Source, malformed};
use crate::kernel::{KernelFile, Roots, text};
use crate::round::{Metric, Round, attr};

static IO: Metric = Metric::counter("system.network.io", "By", "Bytes received and sent.");
static PACKETS: Metric =
    Metric::counter("system.network.packet.count", "{packet}", "Packets received and sent.");
static ERRORS: Metric =
    Metric::counter("system.network.errors", "{error}", "Packets damaged or not sent.");
static DROPPED: Metric = Metric::counter(
    "system.network.packet.dropped",
    "{packet}",
    "Packets dropped for want of room.",
);
static UP: Metric =
    Metric::gauge("system.network.interface.up", "1", "1 when the interface carries traffic.");
static SPEED: Metric =
    Metric::gauge("system.network.interface.speed", "By/s", "Negotiated speed of the link.");
static MTU: Metric =
    Metric::gauge("system.network.interface.mtu", "By", "Largest packet the interface takes.");

const INTERFACE: &str = "network.interface.name";
const DIRECTION: &str = "network.io.direction";
/// One end of a pair per container, with a random name: their traffic is seen again on the bridge and in the container.
const PAIRS: [&str; 4] = ["veth", "cali", "lxc", "tap"];

/// Reads `net/dev`.
pub(crate) struct Network {
    dev: KernelFile,
    names: BTreeMap<Vec<u8>, Option<Arc<str>>>,
}

impl Network {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self { dev: KernelFile::new(roots.view("net/dev")), names: BTreeMap::new() }
    }
}

impl Source for Network {
    fn name(&self) -> &'static str {
        "network"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let content = self.dev.read(&mut context.buffer)?;
        let mut understood = false;
        if self.names.len() > ROWS_MAX * 8 {
            self.names.clear(); // Interfaces come and go for months; only a few are there at a time.
        }
        for line in text::lines(content).take(ROWS_MAX * 8) {
            // A name may hold colons itself, as old alias interfaces do.
            let Some(colon) = line.iter().rposition(|byte| *byte == b':') else { continue };
            let name = line[..colon].trim_ascii();
            let (columns, len) = text::numbers::<12>(&line[colon + 1..]);
            if len < 12 {
                continue;
            }
            understood = true;
            if !self.names.contains_key(name) {
                self.names.insert(name.to_vec(), shown(name));
            }
            if let Some(Some(name)) = self.names.get(name) {
                record(name, columns, round);
            }
        }
        if understood { Ok(()) } else { Err(malformed("`net/dev` has no line as expected")) }
    }
}

/// The interface's name as an attribute; `None` when it is not shown.
fn shown(name: &[u8]) -> Option<Arc<str>> {
    let name = String::from_utf8_lossy(name);
    (!PAIRS.iter().any(|prefix| name.starts_with(prefix))).then(|| name.into())
}

fn record(name: &Arc<str>, columns: [u64; 12], round: &mut Round) {
    let [in_bytes, in_packets, in_errors, in_drops, _, _, _, _, bytes, packets, errors, drops] =
        columns;
    if columns.iter().all(|count| *count == 0) {
        return; // Never used, as the tunnels a kernel module brings along.
    }
    let metrics = [
        (&IO, INTERFACE, in_bytes, bytes),
        (&PACKETS, "system.device", in_packets, packets),
        (&ERRORS, INTERFACE, in_errors, errors),
        (&DROPPED, INTERFACE, in_drops, drops),
    ];
    for (metric, key, received, sent) in metrics {
        round.record(metric, [attr(key, name), attr(DIRECTION, "receive")], received);
        round.record(metric, [attr(key, name), attr(DIRECTION, "transmit")], sent);
    }
}

/// Reads `sys/class/net`.
pub(crate) struct Interface {
    class: PathBuf,
}

impl Interface {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self { class: roots.sys("class/net") }
    }
}

impl Source for Interface {
    fn name(&self) -> &'static str {
        "interface"
    }

    fn pace(&self) -> Pace {
        Pace::Storage
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.class)?.take(ROWS_MAX) {
            let entry = entry?;
            let Some(name) = shown(entry.file_name().as_encoded_bytes()) else { continue };
            let mut field = |file: &str| {
                let mut file = KernelFile::new(entry.path().join(file));
                let content = file.read(&mut context.buffer).ok()?.trim_ascii();
                Some(content.to_vec())
            };
            let Some(state) = field("operstate") else { continue };
            // Loopback and tunnels have no carrier to speak of and say `unknown` while they work.
            let up = u64::from(state == b"up" || state == b"unknown");
            round.record(&UP, [attr(INTERFACE, &name)], up);
            // In Mbit/s; -1 or an error while there is no link.
            if let Some(speed) = field("speed").as_deref().and_then(text::number) {
                let bytes_per_s = speed.saturating_mul(125_000);
                round.record(&SPEED, [attr(INTERFACE, &name)], bytes_per_s);
            }
            if let Some(mtu) = field("mtu").as_deref().and_then(text::number) {
                round.record(&MTU, [attr(INTERFACE, &name)], mtu);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    const DEV: &str = "Inter-|   Receive      |  Transmit\n face |bytes packets|bytes packets\n\
        lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\neth0:5000000000 7 2 3 0 0 0 0 600 5 4 1 0 0 0 0\n\
        ifb0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\nveth12ab: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\nbad: 1 2\n";

    #[test]
    fn traffic_is_reported_for_interfaces_in_use() {
        let fixture = Fixture::new(&[("proc/1/net/dev", DEV)]);
        let round = fixture.sample(&mut Network::new(fixture.roots()));
        let eth0 =
            |metric, direction| round.value(metric, &[(INTERFACE, "eth0"), (DIRECTION, direction)]);
        assert_eq!(eth0("system.network.io", "receive"), 5e9);
        assert_eq!(eth0("system.network.errors", "transmit"), 4.0);
        assert_eq!(eth0("system.network.packet.dropped", "receive"), 3.0);
        let packets = [("system.device", "eth0"), (DIRECTION, "transmit")];
        assert_eq!(round.value("system.network.packet.count", &packets), 5.0);
        assert_eq!(round.count("system.network.io"), 4, "only lo and eth0");
        fixture.write("proc/1/net/dev", "nothing here\n");
        assert!(fixture.try_sample(&mut Network::new(fixture.roots())).is_err());
    }

    #[test]
    fn a_link_without_a_speed_is_still_up_or_down() {
        let fixture = Fixture::new(&[
            ("sys/class/net/eth0/operstate", "up\n"),
            ("sys/class/net/eth0/speed", "1000\n"),
            ("sys/class/net/eth0/mtu", "1500\n"),
            ("sys/class/net/eth1/operstate", "down\n"),
            ("sys/class/net/eth1/speed", "-1\n"),
        ]);
        let round = fixture.sample(&mut Interface::new(fixture.roots()));
        assert_eq!(round.value("system.network.interface.speed", &[]), 125_000_000.0);
        assert_eq!(round.value("system.network.interface.up", &[(INTERFACE, "eth1")]), 0.0);
        assert_eq!(round.value("system.network.interface.mtu", &[]), 1500.0);
    }
}
