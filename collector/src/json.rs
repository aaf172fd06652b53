//! OTLP/JSON: proto3's JSON form with OTLP's exceptions (hexadecimal ids, enums as integers).
//!
//! Rewritten as protobuf while it is read, without a tree in between, so that what follows knows one form only. Accepted
//! beyond the letter: enums by name, 64-bit integers as numbers or text, keys in snake_case, `null` for an absent value;
//! unknown keys are ignored. An error names line and column where the text is no JSON, and the path where a value is not
//! what OTLP has there.

use bytes::Bytes;
use serde::de::DeserializeSeed;

use crate::budget::Reservation;
use crate::error::Error;
use crate::stats::Signal;

mod read;
mod scalar;
mod shape;

use read::{Output, Value};

/// The body of a request as protobuf. The memory it takes is held as it grows.
pub(crate) fn to_protobuf(
    signal: Signal,
    body: &[u8],
    held: &mut Reservation,
) -> Result<Bytes, Error> {
    let root = match signal {
        Signal::Metrics => &shape::METRICS,
        Signal::Logs => &shape::LOGS,
        Signal::Traces => &shape::TRACES,
    };
    let mut output = Output::new(held);
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Value::root(&mut output, root).deserialize(&mut json).and_then(|()| json.end());
    match (read, output.finish()?) {
        (Ok(()), Ok(bytes)) => Ok(bytes.into()),
        (_, Err(fault)) => Err(Error::Malformed(format!(
            "the JSON is no OTLP: {fault}; compare it with https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding"
        ))),
        // serde_json's words end with the line and the column.
        (Err(cause), Ok(_)) => Err(Error::Malformed(format!(
            "the body is no JSON: {cause}; send one JSON object in UTF-8"
        ))),
    }
}

#[cfg(test)]
mod tests;
