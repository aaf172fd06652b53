//! Gives memory that is free back to the system when the process nears its limit.
//!
//! The allocator keeps what was freed for a second in case it is asked for again, and looks at it only when something is
//! allocated: a process that refuses everything for want of memory would never get any back.

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

/// Returns the free stretches of all arenas.
fn collect() {
    #[expect(unsafe_code, reason = "the allocator has no safe door for it; it takes no pointers")]
    // SAFETY: `mi_collect` may be called by any thread at any time.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
