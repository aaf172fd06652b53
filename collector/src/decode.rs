//! From a body to OTLP's messages. The framing of the whole body is checked before anything of it is admitted.

use bytes::Bytes;

use crate::budget::Reservation;
use crate::error::Error;
use crate::json;
use crate::remote::Version;
use crate::stats::Signal;

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
    /// Protobuf of Prometheus, metrics only.
    RemoteWrite(Version),
}

/// A request as protobuf, not looked at.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Metrics(Bytes),
    Write(Version, Bytes),
    Logs(Bytes),
    Traces(Bytes),
}

/// The request in a body; of JSON an error says at which line or path it is wrong.
///
/// Protobuf is read in place, and rows hold their memory as they are made. What JSON takes is held before it is parsed.
pub(crate) fn decode(
    signal: Signal,
    format: Format,
    body: &Bytes,
    held: &mut Reservation,
) -> Result<Request, Error> {
    let body = match format {
        Format::RemoteWrite(version) => return Ok(Request::Write(version, body.clone())),
        Format::Protobuf => body.clone(),
        Format::Json => json::to_protobuf(signal, body, held)?,
    };
    Ok(match signal {
        Signal::Metrics => Request::Metrics(body),
        Signal::Logs => Request::Logs(body),
        Signal::Traces => Request::Traces(body),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::any;
    use proptest::{prop_assert, proptest};

    use super::*;
    use crate::budget::Budget;
    use crate::fixture::{Desk, good, good_json};

    fn read(signal: Signal, format: Format, body: Vec<u8>) -> Result<Request, Error> {
        let mut held = Budget::new(64 << 20, store::Memory::new(1 << 30)).reserve(0).unwrap();
        decode(signal, format, &body.into(), &mut held)
    }

    #[test]
    fn protobuf_and_json_of_one_request_are_the_same_rows() {
        for signal in Signal::ALL {
            let protobuf = read(signal, Format::Protobuf, good(signal)).unwrap();
            let json = read(signal, Format::Json, good_json(signal).into_bytes()).unwrap();
            let rows = |request| Desk::new().take(&request).unwrap().text();
            assert_eq!(rows(protobuf), rows(json));
        }
    }

    #[test]
    fn a_malformed_body_is_refused_with_the_byte_where_it_breaks() {
        let refusal = |signal, body: Vec<u8>| {
            let request = read(signal, Format::Protobuf, body).unwrap();
            Desk::new().take(&request).err().unwrap().to_string()
        };
        let mut body = good(Signal::Traces);
        body.truncate(60);
        expect!["the body is not the protobuf that belongs here: a field is longer than the message that holds it (at byte 1); check that the body was sent whole, to the path of its kind, and that Content-Encoding names its compression"].assert_eq(&refusal(Signal::Traces, body));
        let json = b"{\"resourceLogs\":[]}".to_vec();
        expect!["the body is not the protobuf that belongs here: a field is longer than the message that holds it (at byte 2); check that the body was sent whole, to the path of its kind, and that Content-Encoding names its compression"].assert_eq(&refusal(Signal::Logs, json));
    }

    #[test]
    fn a_request_that_would_take_too_much_memory_is_too_large() {
        // Two bytes each on the wire, hundreds as a row.
        let spans = [0x12, 0].repeat(200_000);
        let scope = [&[0x12, 0x80, 0xb5, 0x18][..], &spans].concat();
        let body = [&[0x0a, 0x84, 0xb5, 0x18][..], &scope].concat();
        for signal in [Signal::Logs, Signal::Traces] {
            let request = read(signal, Format::Protobuf, body.clone()).unwrap();
            let error = Desk::new().within(64 << 20).take(&request).err().unwrap();
            assert!(matches!(error, Error::TooLarge(_)), "{error}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_or_admitted_but_never_panic(
            which in 0..3_usize, at in any::<proptest::sample::Index>(), byte: u8, len in any::<proptest::sample::Index>()
        ) {
            let signal = Signal::ALL[which];
            let mut body = good(signal);
            let at = at.index(body.len());
            body[at] = byte;
            let whole = read(signal, Format::Protobuf, body.clone());
            body.truncate(len.index(body.len()));
            for request in [whole, read(signal, Format::Protobuf, body)].into_iter().flatten() {
                if let Ok(seen) = Desk::new().take(&request) {
                    prop_assert!(seen.tally.rejected() <= seen.tally.received());
                }
            }
        }

        #[test]
        fn random_bytes_never_panic(body: Vec<u8>) {
            for signal in Signal::ALL {
                if let Ok(request) = read(signal, Format::Protobuf, body.clone()) {
                    let _refused = Desk::new().take(&request).is_err();
                }
            }
        }
    }
}
