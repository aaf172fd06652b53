//! Reading a request's body under a size limit, a deadline and the memory budget. Shared by both doors.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::budget::Reservation;
use crate::config::Config;
use crate::error::Error;

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
            held.grow(data.len())?;
            out.extend_from_slice(&data);
        }
    }
}

fn too_large(limit: usize) -> Error {
    Error::TooLarge(format!(
        "the body is larger than {limit} bytes; send smaller batches, or raise `wire_bytes_max`"
    ))
}
