//! Shapes against prost: the same bytes are taken and refused.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::{Strategy, any, prop};
use proptest::{prop_assert_eq, proptest};

use super::super::{zigzag_32, zigzag_64};
use super::*;

/// Whether prost reads `bytes` as an `M`, and whether they have the shape.
fn both<M: prost::Message + Default>(bytes: &[u8], shape: &Shape) -> (bool, bool) {
    (M::decode(bytes).is_ok(), check(Raw::of_body(bytes), shape, DEPTH_MAX).is_ok())
}

fn all(bytes: &[u8]) -> [(bool, bool); 7] {
    [
        both::<KeyValue>(bytes, &KEY_VALUE),
        both::<Resource>(bytes, &RESOURCE),
        both::<NumberDataPoint>(bytes, &NUMBER_POINT),
        both::<HistogramDataPoint>(bytes, &HISTOGRAM_POINT),
        both::<ExponentialHistogramDataPoint>(bytes, &EXPONENTIAL_POINT),
        both::<SummaryDataPoint>(bytes, &SUMMARY_POINT),
        both::<Exemplar>(bytes, &EXEMPLAR),
    ]
}

/// Bytes that are often nearly protobuf: small field numbers, all wire types, short lengths, nested.
pub(crate) fn nearly_protobuf() -> impl Strategy<Value = Vec<u8>> {
    let leaf = field();
    leaf.prop_recursive(4, 64, 6, |inner| {
        (1_u32..16, prop::collection::vec(inner, 0..4), any::<bool>()).prop_map(
            |(number, parts, is_group)| {
                let inside = parts.concat();
                let mut out = Vec::new();
                if is_group && number % 5 == 0 {
                    prost::encoding::encode_varint(u64::from(number << 3 | 3), &mut out);
                    out.extend(inside);
                    prost::encoding::encode_varint(u64::from(number << 3 | 4), &mut out);
                } else {
                    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut out);
                    prost::encoding::encode_varint(inside.len() as u64, &mut out);
                    out.extend(inside);
                }
                out
            },
        )
    })
}

fn field() -> impl Strategy<Value = Vec<u8>> {
    let number = 1_u32..16;
    (number, 0_u32..7, any::<u64>(), prop::collection::vec(any::<u8>(), 0..6), any::<u8>())
        .prop_map(|(number, wire, value, bytes, odd)| {
            let mut out = Vec::new();
            prost::encoding::encode_varint(u64::from(number << 3 | wire), &mut out);
            match wire {
                0 => prost::encoding::encode_varint(value, &mut out),
                1 => out.extend(value.to_le_bytes()),
                2 => {
                    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
                    // A length that is not minimal now and then.
                    if odd == 0 {
                        let last = out.len() - 1;
                        out[last] |= 0x80;
                        out.push(0);
                    }
                    out.extend(&bytes);
                }
                5 => out.extend([1, 2, 3, 4]),
                _ => {}
            }
            out
        })
}

proptest! {
    #[test]
    fn what_prost_reads_has_the_shape_and_nothing_else(
        fields in prop::collection::vec(nearly_protobuf(), 0..6), cut in any::<prop::sample::Index>(), is_cut: bool
    ) {
        let mut bytes = fields.concat();
        if is_cut && !bytes.is_empty() {
            bytes.truncate(cut.index(bytes.len()));
        }
        for (theirs, ours) in all(&bytes) {
            prop_assert_eq!(theirs, ours);
        }
    }

    #[test]
    fn arbitrary_bytes_are_judged_as_prost_judges_them(bytes: Vec<u8>) {
        for (theirs, ours) in all(&bytes) {
            prop_assert_eq!(theirs, ours);
        }
    }

    #[test]
    fn signed_numbers_come_back(value: i64, small: i32) {
        prop_assert_eq!(zigzag_64((value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned()), value);
        let bits = (small.wrapping_shl(1) ^ (small >> 31)).cast_unsigned();
        prop_assert_eq!(zigzag_32(u64::from(bits) | 1 << 40), small);
    }
}

/// An array in an array in an array …: `n` of them.
fn nested_arrays(n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..n {
        for number in [1_u64, 5] {
            let inside = std::mem::take(&mut out);
            prost::encoding::encode_varint(number << 3 | 2, &mut out);
            prost::encoding::encode_varint(inside.len() as u64, &mut out);
            out.extend(inside);
        }
    }
    let mut pair = vec![0x12];
    prost::encoding::encode_varint(out.len() as u64, &mut pair);
    pair.extend(out);
    pair
}

#[test]
fn nesting_ends_where_prost_ends_it() {
    for n in 40..60 {
        let bytes = nested_arrays(n);
        let (theirs, ours) = both::<KeyValue>(&bytes, &KEY_VALUE);
        assert_eq!(theirs, ours, "{n} arrays");
    }
    assert!(both::<KeyValue>(&nested_arrays(40), &KEY_VALUE).1);
    assert!(!both::<KeyValue>(&nested_arrays(59), &KEY_VALUE).1);
}

#[test]
fn packed_and_single_numbers_are_the_same() {
    let mut seen = Vec::new();
    // The second field's packed bytes end within a number.
    let body = [0x08, 1, 0x0a, 2, 2, 3, 0x0a, 1, 0x83];
    let results: Vec<_> = Raw::of_body(&body)
        .fields()
        .map(|field| field.unwrap().each_varint(|number| seen.push(number)).is_ok())
        .collect();
    assert_eq!(results, [true, true, false]);
    assert_eq!(seen, [1, 2, 3]);
}
