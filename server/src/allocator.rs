//! Gives memory that is free back to the system at once when the process nears its limit.
//!
//! The allocator does so by itself, but keeps what was freed for a second in case it is asked for again.

use std::sync::Arc;
use std::time::Duration;

use store::{Pressure, Store};
use tokio_util::sync::CancellationToken;

/// How often the pressure is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Watches until told to stop.
pub(crate) async fn run(store: Arc<Store>, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            biased; // Stop wins: a process that ends gives everything back.
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(TICK) => {}
        }
        if store.memory().pressure() > Pressure::Calm {
            tokio::task::spawn_blocking(collect).await?;
        }
    }
}

/// Returns the free stretches of all arenas (jemalloc(3), `arena.<i>.purge` with `MALLCTL_ARENAS_ALL`).
fn collect() {
    let none = std::ptr::null_mut();
    #[expect(unsafe_code, reason = "the allocator has no safe door for it")]
    // SAFETY: the name ends with a zero, and this control neither reads nor writes a value.
    let status = unsafe {
        tikv_jemalloc_sys::mallctl(c"arena.4096.purge".as_ptr(), none, none.cast(), none, 0)
    };
    if status != 0 {
        tracing::debug!(status, "the allocator gave nothing back");
    }
}
