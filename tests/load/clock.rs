//! Real time, for programs that measure it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, to measure a span from.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since the epoch.
#[must_use]
pub fn epoch_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the servers under load read the real clock too")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Waits without a runtime.
#[expect(clippy::disallowed_methods, reason = "there is no runtime here to sleep on")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
