//! Round trips, and what the decoder makes of cut, flipped and hostile bytes.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

fn sample(id: u32, n_times: i64) -> QueryAnswer {
    let times_ms: Vec<i64> = (0..n_times).map(|i| 1_700_000_000_000 + i * 1_000).collect();
    let labels: BTreeMap<_, _> = [("cpu_mode".to_owned(), "用户".to_owned())].into();
    let values = times_ms.iter().map(|t| if t % 3_000 == 0 { f64::NAN } else { *t as f64 });
    QueryAnswer {
        id,
        result: ResultKind::Matrix,
        unit: "By/s".to_owned(),
        step_ms: 1_000,
        series: vec![Series { labels, values: values.collect() }],
        times_ms,
        warnings: vec!["partial".to_owned()],
        stats: Stats { elapsed_ms: 1.5, series: 1, rows: 2, bytes: 3 },
        ..QueryAnswer::default()
    }
}

/// Equality by bits: NaN differs from itself, and the absent marker from other NaN.
fn check_same(a: &QueryAnswer, b: &QueryAnswer) {
    let bits = |answer: &QueryAnswer| {
        let series = answer.series.iter();
        series.map(|s| s.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    assert_eq!(bits(a), bits(b));
    let blank = |answer: &QueryAnswer| {
        let mut answer = answer.clone();
        answer.series.iter_mut().for_each(|series| series.values.clear());
        answer
    };
    assert_eq!(blank(a), blank(b));
}

#[test]
fn the_first_bytes_are_as_documented() {
    let bytes = encode(&[]);
    assert_eq!(bytes.len(), 24);
    assert_eq!(bytes[..8], *b"HRCO\x01\0\0\0");
    assert_eq!(bytes[8..], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 9, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn answers_and_errors_come_back() {
    let failed = QueryAnswer {
        id: 9,
        error: Some(ApiError::new(ErrorKind::Invalid, "unexpected end of input")),
        ..QueryAnswer::default()
    };
    let answers = [sample(3, 10), failed, sample(4, 0)];
    let back = decode(&encode(&answers)).unwrap();
    assert_eq!(back.len(), 3);
    answers.iter().zip(&back).for_each(|(a, b)| check_same(a, b));
}

#[test]
fn a_streamed_body_equals_a_whole_one() {
    let answers = [sample(1, 3), sample(2, 4)];
    let mut encoder = Encoder::new();
    let mut streamed = Vec::new();
    for answer in &answers {
        encoder.answer(answer);
        streamed.extend(encoder.take());
    }
    streamed.extend(encoder.finish());
    assert_eq!(streamed, encode(&answers));
}

#[test]
fn frames_of_later_kinds_are_skipped() {
    let mut bytes = encode(&[sample(1, 2)]);
    let end = bytes.len() - 16;
    let foreign = [3, 0, 0, 0, 1, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0];
    bytes.splice(8..8, foreign);
    assert!(bytes.len() > end);
    check_same(&decode(&bytes).unwrap()[0], &sample(1, 2));
}

#[test]
fn every_prefix_is_refused() {
    let bytes = encode(&[sample(1, 5)]);
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_err(), "prefix of {len} bytes");
    }
}

#[test]
fn hostile_counts_allocate_nothing() {
    let mut bytes = encode(&[]);
    let huge = [0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    bytes.splice(8..8, huge);
    assert!(matches!(decode(&bytes), Err(Error::Corrupt { at: 8, .. })));
}

fn any_answer() -> impl Strategy<Value = QueryAnswer> {
    let times = prop::collection::btree_set(-9_000_000_000_000i64..9_000_000_000_000, 0..40);
    let labels = prop::collection::btree_map(".{0,8}", ".{0,8}", 0..4);
    let bits = prop::collection::vec(any::<u64>(), 40);
    let series = prop::collection::vec((labels, bits), 0..5);
    (0u32..100, times, series, ".{0,10}").prop_map(|(id, times, series, unit)| {
        let n_times = times.len();
        let series = series.into_iter().map(|(labels, bits)| Series {
            labels,
            values: bits.into_iter().take(n_times).map(f64::from_bits).collect(),
        });
        let series = series.collect();
        QueryAnswer {
            id,
            unit,
            times_ms: times.into_iter().collect(),
            series,
            ..QueryAnswer::default()
        }
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(answer in any_answer()) {
        let back = decode(&encode(std::slice::from_ref(&answer))).unwrap();
        check_same(&back[0], &answer);
    }

    #[test]
    fn flipped_bytes_never_panic(at in 0usize..4096, mask in 1u8.., n in 0i64..20) {
        let mut bytes = encode(&[sample(1, n), sample(2, n)]);
        let at = at % bytes.len();
        bytes[at] ^= mask;
        drop(decode(&bytes));
    }

    #[test]
    fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..256)) {
        let mut bytes = b"HRCO\x01\0\0\0".to_vec();
        bytes.extend(tail);
        drop(decode(&bytes));
    }
}
