//! Reading a request's body under a size limit, a deadline and the memory budget. Shared by both doors.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::budget::Reservation;
use crate::config::Config;
use crate::error::Error;

/// Bytes of a refused body that are read nevertheless, and the time that may take.
const PASS_BYTES: usize = 16 << 20;
const PASS_TIME: Duration = Duration::from_secs(5);

/// Reads to the end. `declared` is the Content-Length, if there is one.
pub(crate) async fn read(
    mut body: Body,
    declared: Option<u64>,
    config: &Config,
    held: &mut Reservation,
) -> Result<Bytes, Error> {
    let limit = config.wire_bytes_max;
    if declared.is_some_and(|bytes| bytes > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(too_large(limit));
    }
    let deadline = Instant::now() + config.body_timeout;
    let mut out = BytesMut::new();
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(Error::TooSlow(config.body_timeout)),
            Ok(None) => return Ok(out.freeze()),
            Ok(Some(Err(cause))) => {
                let words = format!("the body ended after {} bytes: {cause}", out.len());
                return Err(Error::Malformed(words));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data() {
            if data.len() > limit - out.len() {
                return Err(too_large(limit));
            }
            // By what has arrived, not by what was declared: a slow client must not hold memory it does not fill.
            if let Err(refused) = held.grow(data.len()) {
                drop((out, data));
                pass(body).await;
                return Err(refused);
            }
            out.extend_from_slice(&data);
        }
    }
}

/// Reads what is left of a body that is refused, and keeps nothing of it: many clients read the answer only once all is
/// sent, and take a connection closed before for a fault. Gives up on long and slow bodies.
pub(crate) async fn pass(mut body: Body) {
    let deadline = Instant::now() + PASS_TIME;
    let mut n_bytes = 0;
    while n_bytes < PASS_BYTES
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        n_bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

fn too_large(limit: usize) -> Error {
    Error::TooLarge(format!(
        "the body is larger than {limit} bytes; send smaller batches, or raise `wire_bytes_max`"
    ))
}
