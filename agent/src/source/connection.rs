//! TCP connections by state. Asked of the kernel over netlink (`sock_diag`), whose answer is a tenth of the text tables';
//! those stand in where the observed kernel or namespace is not ours.

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Context, Pace, Source, malformed};
use crate::kernel::{KernelFile, Roots, text};
use crate::round::{Metric, Round, attr};

static COUNT: Metric = Metric::up_down(
    "system.network.connection.count",
    "{connection}",
    "TCP connections and listening sockets by state, over IPv4 and IPv6.",
);

/// In the order of the kernel's numbers, which begin at 1; 12, a request not yet a connection, counts as 3.
const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_received",
    "fin_wait_1",
    "fin_wait_2",
    "time_wait",
    "closed",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

type Counts = [u64; STATES.len()];

/// Asks netlink, or reads `net/tcp` and `net/tcp6`.
pub(crate) struct Connections {
    /// `None` when netlink is of no use here.
    netlink: Option<Netlink>,
    tables: [KernelFile; 2],
}

impl Connections {
    pub(crate) fn new(roots: &Roots) -> Self {
        let table = |path| KernelFile::new(roots.view(path));
        let netlink = if roots.live() { Netlink::open().ok() } else { None };
        Self { netlink, tables: [table("net/tcp"), table("net/tcp6")] }
    }
}

impl Source for Connections {
    fn name(&self) -> &'static str {
        "connections"
    }

    fn pace(&self) -> Pace {
        Pace::Process
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let counted = self.netlink.as_mut().and_then(|netlink| netlink.count().ok());
        let counts = match counted {
            Some(counts) => counts,
            None => {
                // A kernel without the diagnostics module will not grow one.
                self.netlink = None;
                self.read_tables(context)?
            }
        };
        for (state, count) in STATES.into_iter().zip(counts) {
            let attributes =
                [attr("network.transport", "tcp"), attr("network.connection.state", state)];
            round.record(&COUNT, attributes, count);
        }
        Ok(())
    }
}

impl Connections {
    fn read_tables(&mut self, context: &mut Context) -> io::Result<Counts> {
        let mut counts = Counts::default();
        let [v4, v6] = &mut self.tables;
        count_table(v4.read(&mut context.buffer)?, &mut counts)?;
        match v6.read(&mut context.buffer) {
            Ok(content) => count_table(content, &mut counts)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // No IPv6.
            Err(error) => return Err(error),
        }
        Ok(counts)
    }
}

/// After the heading a line each; its fourth field is the state, two hexadecimal digits.
fn count_table(content: &[u8], counts: &mut Counts) -> io::Result<()> {
    for line in text::lines(content).skip(1) {
        let state = text::fields(line).nth(3).and_then(|f| str::from_utf8(f).ok());
        let state = state.and_then(|text| usize::from_str_radix(text, 16).ok());
        count(state.ok_or_else(|| malformed("a line of `net/tcp` has no state"))?, counts);
    }
    Ok(())
}

fn count(state: usize, counts: &mut Counts) {
    let state = if state == 12 { 3 } else { state };
    if let Some(count) = state.checked_sub(1).and_then(|place| counts.get_mut(place)) {
        *count += 1;
    }
}

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 72;
/// The kernel fills at most this much at a time.
const ANSWER_BYTES: usize = 32 << 10;
const PATIENCE: Duration = Duration::from_secs(1);

struct Netlink {
    socket: Socket,
    answer: Vec<u8>,
    seq: u32,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let protocol = Some(Protocol::from(NETLINK_SOCK_DIAG));
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, protocol)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, answer: vec![0; ANSWER_BYTES], seq: 0 })
    }

    fn count(&mut self) -> io::Result<Counts> {
        let mut counts = Counts::default();
        for family in [AF_INET, AF_INET6] {
            self.seq = self.seq.wrapping_add(1);
            self.socket.write_all(&request(family, self.seq))?;
            loop {
                let len = self.socket.read(&mut self.answer)?;
                if read_answer(&self.answer[..len], self.seq, &mut counts)? {
                    break;
                }
            }
        }
        Ok(counts)
    }
}

/// A netlink header and an `inet_diag_req_v2` that asks for every TCP socket, without details.
fn request(family: u8, seq: u32) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0; REQUEST_BYTES];
    bytes[0..4].copy_from_slice(&72_u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes[8..12].copy_from_slice(&seq.to_ne_bytes());
    bytes[HEADER_BYTES] = family;
    bytes[HEADER_BYTES + 1] = IPPROTO_TCP;
    bytes[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&u32::MAX.to_ne_bytes());
    bytes
}

/// Counts the messages of one datagram; `true` when the dump is complete.
fn read_answer(mut bytes: &[u8], seq: u32, counts: &mut Counts) -> io::Result<bool> {
    let short = || malformed("a netlink message is short");
    let u32_at = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
    };
    while !bytes.is_empty() {
        let len = u32_at(bytes, 0).and_then(|len| usize::try_from(len).ok()).ok_or_else(short)?;
        if len < HEADER_BYTES || len > bytes.len() {
            return Err(short());
        }
        let message = &bytes[..len];
        let ours = u32_at(message, 8) == Some(seq); // Else the rest of a dump we gave up.
        match u16::from_ne_bytes([message[4], message[5]]) {
            NLMSG_DONE if ours => return Ok(true),
            NLMSG_ERROR if ours => {
                let code = u32_at(message, HEADER_BYTES).ok_or_else(short)?.cast_signed();
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            SOCK_DIAG_BY_FAMILY if ours => {
                count(usize::from(*message.get(HEADER_BYTES + 1).ok_or_else(short)?), counts);
            }
            _ => {}
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue\n\
        0: 0100007F:0CEA 00000000:0000 0A 0:0\n1: 0100007F:A 0100007F:B 01 0:0\n2: x y 0C z\n3: x y FF z\n";

    #[test]
    fn the_text_tables_are_counted_by_state() {
        let fixture = Fixture::new(&[("proc/1/net/tcp", TCP), ("proc/1/net/tcp6", TCP)]);
        let round = fixture.sample(&mut Connections::new(fixture.roots()));
        let state =
            |s| round.value("system.network.connection.count", &[("network.connection.state", s)]);
        assert_eq!(
            ["listen", "established", "syn_received", "closed"].map(state),
            [2.0, 2.0, 2.0, 0.0]
        );
        assert_eq!(round.count("system.network.connection.count"), 11);
        fixture.write("proc/1/net/tcp", "heading\n0: too short\n");
        assert!(fixture.try_sample(&mut Connections::new(fixture.roots())).is_err());
    }

    #[test]
    fn netlink_finds_our_own_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let Ok(mut netlink) = Netlink::open() else { return };
        let Ok(counts) = netlink.count() else { return }; // A kernel without the module.
        assert!(counts[9] >= 1, "{listener:?} {counts:?}");
        assert!(netlink.count().is_ok(), "the socket serves again");
    }

    #[test]
    fn hostile_answers_are_errors() {
        let mut counts = Counts::default();
        let mut message = request(AF_INET, 7).to_vec();
        assert!(!read_answer(&message, 7, &mut counts).expect("well formed"));
        message[0..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(read_answer(&message, 7, &mut counts).is_err());
        message[0..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert!(read_answer(&message, 7, &mut counts).is_err());
        message[0..4].copy_from_slice(&16_u32.to_ne_bytes());
        assert!(read_answer(&message, 7, &mut counts).is_err(), "no room for the state");
        assert!(read_answer(&[1, 2], 7, &mut counts).is_err());
    }
}
