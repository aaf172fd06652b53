//! Looks at the size of the process, and at the shares whose owners count for themselves, often enough that a burst is
//! met before the limit is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::index;
use crate::memory::{Pressure, Share};

/// How often. At 1 GB/s, more than two cores decode, 50 MB come in between two looks.
const TICK: Duration = Duration::from_millis(50);

/// Watches until told to stop.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) {
    // Kept open: opening it anew each time costs more than reading it.
    let statm = File::open("/proc/self/statm").ok();
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut was = Pressure::Calm;
    loop {
        tokio::select! {
            biased; // Stop wins: nobody needs figures of a store that closes.
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let memory = &core.memory;
        memory.tell(Share::Head, core.live.load().bytes + core.registry.bytes());
        if let Some(wal) = core.wal.get() {
            let queued = wal.counters().queue_bytes.load(std::sync::atomic::Ordering::Relaxed);
            memory.tell(Share::Log, queued);
        }
        if let Some(pages) = statm.as_ref().and_then(resident_pages) {
            memory.observe(pages.saturating_mul(page));
        }
        let pressure = memory.pressure();
        if pressure > Pressure::Calm {
            core.flush_wanted.notify_one();
        }
        memory.tell(Share::Cache, index::cache_bytes());
        if pressure != was {
            let size = memory.size(Share::Cache);
            index::set_cache_limit(if pressure > Pressure::Calm { size / 4 } else { size });
            let (resident, _) = memory.resident();
            tracing::debug!(?pressure, resident, limit = memory.limit(), "memory pressure changed");
            was = pressure;
        }
    }
}

/// The second number of `/proc/self/statm` (proc(5)): resident pages.
fn resident_pages(statm: &File) -> Option<u64> {
    let mut text = [0; 96];
    let len = statm.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..len]).ok()?.split(' ').nth(1)?.parse().ok()
}
