//! What can be read about a host: one file a source. Sources hold their kernel files open, fill a round, and know nothing
//! of each other, of time, or of what becomes of the points.

use std::io;
use std::sync::Arc;

use model::time::Timestamp;

use crate::Config;
use crate::kernel::{Buffer, Roots};
use crate::ledger::Ledger;
use crate::round::Round;

mod connection;
mod cpu;
mod disk;
mod filesystem;
mod host;
mod memory;
mod network;
mod own;
mod paging;
mod pressure;
pub(crate) mod process;
mod processor;
mod protocol;
mod sensor;

#[cfg(test)]
pub(crate) mod fixture;

/// How often a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Every tick (`interval`).
    Base,
    /// `process_interval`.
    Process,
    /// `filesystem_interval`.
    Storage,
}

/// What all sources share.
pub(crate) struct Context {
    /// Kernel files are read into it.
    pub buffer: Buffer,
    /// Where missing rights are noted.
    pub ledger: Arc<Ledger>,
}

/// One part of the host.
pub(crate) trait Source: Send {
    /// Name in `headrope.agent.source.up` and in the log.
    fn name(&self) -> &'static str;

    /// How often to call [`Self::sample`].
    fn pace(&self) -> Pace;

    /// Records the present values. May have recorded some of them when it fails.
    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()>;
}

/// Most devices, interfaces or file systems a source reports; what is beyond has no series of its own.
pub(crate) const ROWS_MAX: usize = 512;

/// `part` of `whole` as a share, to 0.001 %. Digits beyond are noise of the division, and cost eight bytes where these
/// cost one: a fifth of all that our samples take on disk was theirs.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    const STEPS: f64 = 1e5;
    (part / whole * STEPS).round() / STEPS
}

/// All sources, in the order in which they are read.
pub(crate) fn all(
    config: &Config,
    roots: &Roots,
    now: Timestamp,
    ledger: &Arc<Ledger>,
) -> Vec<Box<dyn Source>> {
    vec![
        Box::new(cpu::Cpu::new(roots)),
        Box::new(processor::Scheduler::new(roots)),
        Box::new(processor::Topology::new(roots)),
        Box::new(host::Load::new(roots)),
        Box::new(host::Uptime::new(roots)),
        Box::new(host::Limits::new(roots)),
        Box::new(memory::Memory::new(roots)),
        Box::new(paging::Paging::new(roots)),
        Box::new(paging::Swap::new(roots)),
        Box::new(pressure::Pressure::new(roots)),
        Box::new(disk::Disk::new(roots)),
        Box::new(disk::Size::new(roots)),
        Box::new(network::Network::new(roots)),
        Box::new(network::Interface::new(roots)),
        Box::new(protocol::Protocols::new(roots)),
        Box::new(protocol::Sockets::new(roots)),
        Box::new(protocol::Conntrack::new(roots)),
        Box::new(connection::Connections::new(roots)),
        Box::new(filesystem::FileSystem::new(roots)),
        Box::new(process::Processes::new(roots, config.process_top_n)),
        Box::new(sensor::Sensors::new(roots)),
        Box::new(own::Own::new(roots, now, Arc::clone(ledger), config.queue_bytes_max)),
    ]
}

/// The content did not have the expected form.
fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
