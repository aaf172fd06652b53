//! How fast a compaction goes: at a quarter of one core while others have work, freely when they do not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::Core;

/// Rests for each stretch of work while others wait: a quarter of the time is left.
const RESTS: u32 = 3;
/// Longest rest at once.
const REST_MAX: Duration = Duration::from_millis(500);

/// The pace of one compaction.
pub(crate) struct Pace {
    core: Arc<Core>,
    /// Requests of others when last looked at.
    requests: u64,
    since: Instant,
}

impl Pace {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        let requests = core.counters.requests.load(Ordering::Relaxed);
        Self { core: Arc::clone(core), requests, since: Instant::now() }
    }

    /// Rests as long as it should after the work since the last call. Blocks.
    pub(crate) fn breathe(&mut self) {
        let requests = self.core.counters.requests.load(Ordering::Relaxed);
        if requests != self.requests {
            self.requests = requests;
            let worked = Instant::now().duration_since(self.since);
            std::thread::park_timeout((worked * RESTS).min(REST_MAX));
        }
        self.since = Instant::now();
    }
}
