//! The reader against prost: the same bytes are taken, with the same values.

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use prost::Message as _;

use super::*;

/// One field of each wire type OTLP uses; what has other numbers is unknown and skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(uint64, tag = "1")]
    varint: u64,
    #[prost(fixed64, tag = "2")]
    fixed64: u64,
    #[prost(bytes = "vec", tag = "3")]
    bytes: Vec<u8>,
    #[prost(fixed32, tag = "4")]
    fixed32: u32,
    #[prost(double, tag = "5")]
    double: f64,
}

/// What [`Sample`] reads, by our reader.
fn read(body: &[u8]) -> Result<Sample, Fault> {
    let mut sample = Sample::default();
    for field in Message::of_body(body).fields() {
        let field = field?;
        match field.number {
            1 => sample.varint = field.varint()?,
            2 => sample.fixed64 = field.fixed64()?,
            3 => sample.bytes = field.bytes()?.to_vec(),
            4 => sample.fixed32 = field.fixed32()?,
            5 => sample.double = field.double()?,
            _ => {}
        }
    }
    Ok(sample)
}

#[track_caller]
fn check(body: &[u8]) {
    let (ours, prost) = (read(body), Sample::decode(body));
    match (&ours, &prost) {
        // Bits, so that NaN equals itself.
        (Ok(ours), Ok(prost)) => assert_eq!(ours.encode_to_vec(), prost.encode_to_vec()),
        (Err(_), Err(_)) => {}
        _ => panic!("{ours:?} but prost says {prost:?}"),
    }
}

/// `value` in `len` bytes, more than it needs.
fn wide_varint(value: u64, len: usize) -> Vec<u8> {
    let byte = |i: usize| {
        let bits = u8::try_from((value >> (7 * i)) & 0x7f).unwrap();
        if i + 1 < len { bits | 0x80 } else { bits }
    };
    (0..len).map(byte).collect()
}

/// A piece of a message: known and unknown fields, groups, wide varints, and noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let tag = (0_u64..9, 0_u64..8).prop_map(|(number, wire)| wide_varint(number << 3 | wire, 1));
    let varint = (any::<u64>(), 1_usize..12).prop_map(|(value, len)| {
        let value = if len < 10 { value & ((1 << (7 * len)) - 1) } else { value };
        let mut bytes = wide_varint(value, len.min(10));
        bytes.resize(len, 0x80);
        bytes
    });
    prop_oneof![
        4 => tag,
        2 => varint,
        2 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| [vec![0x1a, u8::try_from(bytes.len()).unwrap()], bytes].concat()),
        1 => Just(vec![0x33, 0x08, 0x01, 0x34]),
    ]
}

proptest! {
    #[test]
    fn what_prost_writes_is_read(varint: u64, fixed64: u64, bytes: Vec<u8>, fixed32: u32, bits: u64) {
        let sample = Sample { varint, fixed64, bytes, fixed32, double: f64::from_bits(bits) };
        let body = sample.encode_to_vec();
        prop_assert_eq!(read(&body).unwrap().encode_to_vec(), body);
    }

    #[test]
    fn the_same_bytes_are_taken_and_refused(pieces in prop::collection::vec(piece(), 0..12)) {
        check(&pieces.concat());
    }

    #[test]
    fn noise_ends_in_a_fault_inside_the_body(body: Vec<u8>) {
        check(&body);
        if let Err(fault) = read(&body) {
            prop_assert!(fault.at <= body.len());
        }
    }
}

#[test]
fn faults_name_their_byte() {
    let fault = |body: &[u8]| read(body).unwrap_err().to_string();
    assert_eq!(fault(&[0x08]), "a field is longer than the message that holds it (at byte 1)");
    assert_eq!(
        fault(&[0x08, 1, 0x1a, 9, 0]),
        "a field is longer than the message that holds it (at byte 3)"
    );
    assert_eq!(
        fault(&[0x09, 0, 0]),
        "a field is longer than the message that holds it (at byte 1)"
    );
    assert_eq!(fault(&[0x0e, 0]), "wire type 6 does not exist (at byte 0)");
    assert_eq!(fault(&[0x00]), "a field has no valid number (at byte 0)");
    assert_eq!(fault(&[0x10, 1]), "field 2 has another type than it should (at byte 0)");
    assert_eq!(fault(&[0x0c]), "a group ends that did not begin (at byte 0)");
    assert_eq!(fault(&[0xff; 11]), "a varint does not end within ten bytes (at byte 0)");
    assert_eq!(fault(&[0x33; 101]), "messages nest too deep (at byte 100)");
    let deep = Error::from(Message::of_body(&[0; 3]).too_deep()).to_string();
    assert!(deep.starts_with(
        "the body is not the protobuf that belongs here: messages nest too deep (at byte 0); check"
    ));
}
