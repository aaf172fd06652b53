//! Values read in place against the same values decoded by prost.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
use prost::Message as _;

use super::*;
use crate::stats::Signal;

/// Any value, nested a few levels deep.
pub(crate) fn values() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        "[ -~äλ\\x00\\n\"\\\\]{0,12}".prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|truth| Some(Value::BoolValue(truth))),
        any::<i64>().prop_map(|number| Some(Value::IntValue(number))),
        any::<f64>().prop_map(|number| Some(Value::DoubleValue(number))),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Some(Value::BytesValue(bytes))),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 4, |inner| {
        let array = prop::collection::vec(inner.clone(), 0..4)
            .prop_map(|values| Value::ArrayValue(ArrayValue { values }));
        let pair = ("[a-c.\"]{0,3}", prop::option::of(inner)).prop_map(|(key, value)| KeyValue {
            key,
            value,
            key_strindex: 0,
        });
        let map = prop::collection::vec(pair, 0..4)
            .prop_map(|values| Value::KvlistValue(KeyValueList { values }));
        prop_oneof![array, map].prop_map(|value| AnyValue { value: Some(value) })
    })
}

proptest! {
    #[test]
    fn values_are_read_as_prost_reads_them(value in values()) {
        let body = value.encode_to_vec();
        let mut tally = Tally::new(Signal::Logs);
        let any = Any::read(Message::of_body(&body), &mut tally).unwrap();
        prop_assert_eq!(any.text(), value::text(&value));
        let owned = owned_value(Message::of_body(&body), &mut tally, DEPTH_MAX).unwrap();
        prop_assert_eq!(format!("{owned:?}"), format!("{value:?}"));
        prop_assert_eq!(tally.count(Reason::TextRepaired), 0);
    }
}

#[test]
fn text_that_is_no_utf8_is_repaired_and_counted() {
    // stringValue, and an array with a map with such a key and text.
    let mut tally = Tally::new(Signal::Logs);
    let text = Any::read(Message::of_body(b"\x0a\x03a\xffb"), &mut tally).unwrap();
    assert_eq!(text, Any::Text("a\u{fffd}b".into()));
    let map = b"\x32\x0a\x0a\x08\x0a\x01\xfe\x12\x03\x0a\x01\xc3";
    let json = Any::read(Message::of_body(map), &mut tally).unwrap();
    assert_eq!(json, Any::Json("{\"\u{fffd}\":\"\u{fffd}\"}".to_owned()));
    assert_eq!(tally.count(Reason::TextRepaired), 3);
}

#[test]
fn values_nest_to_a_limit() {
    let nested = |depth| {
        let mut value = AnyValue { value: Some(Value::BoolValue(true)) };
        for _ in 0..depth {
            value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        }
        value.encode_to_vec()
    };
    let mut tally = Tally::new(Signal::Logs);
    let mut read =
        |depth| Any::read(Message::of_body(&nested(depth)), &mut tally).map(|any| any.text().len());
    assert_eq!(read(100), Ok(204));
    assert!(read(101).unwrap_err().to_string().starts_with("messages nest too deep"));
}
