//! The system clock: the one place in `headrope` where wall time comes from.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::time::{Clock, Timestamp};

/// The system's wall clock. Before 1970 reads as 1970, after 2262 as 2262.
#[must_use]
pub fn system() -> Arc<dyn Clock> {
    Arc::new(now)
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
}
