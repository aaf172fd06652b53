//! OTLP's `AnyValue` as text, as JSON, as a number, and as the bytes a series is recognised by.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::attribute::{Attribute, AttributeValue};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// The value in text form: booleans as `true`, doubles shortest, bytes as base64, arrays and maps as JSON, nothing as
/// the empty text.
pub(crate) fn text(value: &AnyValue) -> Cow<'_, str> {
    match &value.value {
        Some(Value::StringValue(text)) => Cow::Borrowed(text),
        Some(Value::BoolValue(truth)) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        Some(Value::IntValue(number)) => Cow::Owned(number.to_string()),
        Some(Value::DoubleValue(number)) => Cow::Owned(double(*number)),
        Some(Value::BytesValue(bytes)) => Cow::Owned(BASE64.encode(bytes)),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => Cow::Owned(json(value)),
        // String indices belong to profiles and point nowhere here.
        Some(Value::StringValueStrindex(_)) | None => Cow::Borrowed(""),
    }
}

/// The shortest text that reads back as the same double, with an exponent below 1e-6 and from 1e21 on.
pub(crate) fn double(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        if size >= 1e21 { text.replacen('e', "e+", 1) } else { text }
    } else {
        number.to_string()
    }
}

/// The value as JSON: bytes as base64 text, doubles that JSON lacks as text, nothing as `null`.
pub(crate) fn json(value: &AnyValue) -> String {
    let mut out = String::new();
    write_json(&mut out, value);
    out
}

fn write_json(out: &mut String, value: &AnyValue) {
    match &value.value {
        Some(Value::IntValue(number)) => out.push_str(&number.to_string()),
        Some(Value::BoolValue(truth)) => out.push_str(if *truth { "true" } else { "false" }),
        Some(Value::DoubleValue(number)) if number.is_finite() => out.push_str(&double(*number)),
        Some(Value::ArrayValue(array)) => {
            out.push('[');
            for (i, item) in array.values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(out, item);
            }
            out.push(']');
        }
        Some(Value::KvlistValue(map)) => {
            out.push('{');
            for (i, pair) in map.values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_quoted(out, &pair.key);
                out.push(':');
                write_json(out, pair.value.as_ref().unwrap_or(&AnyValue { value: None }));
            }
            out.push('}');
        }
        Some(Value::StringValue(_) | Value::DoubleValue(_) | Value::BytesValue(_)) => {
            write_quoted(out, &text(value));
        }
        Some(Value::StringValueStrindex(_)) | None => out.push_str("null"),
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn write_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The attribute as the model has it; `None` for one without key.
pub(crate) fn attribute(pair: &KeyValue) -> Option<Attribute> {
    let value = pair.value.as_ref().map_or_else(|| AttributeValue::Str(String::new()), model_value);
    (!pair.key.is_empty()).then(|| Attribute { key: pair.key.clone(), value })
}

fn model_value(value: &AnyValue) -> AttributeValue {
    match &value.value {
        Some(Value::StringValue(text)) => AttributeValue::Str(text.clone()),
        Some(Value::BoolValue(truth)) => AttributeValue::Bool(*truth),
        Some(Value::IntValue(number)) => AttributeValue::Int(*number),
        Some(Value::DoubleValue(number)) => AttributeValue::Double(*number),
        Some(Value::BytesValue(bytes)) => AttributeValue::Bytes(bytes.clone()),
        Some(Value::ArrayValue(array)) => {
            AttributeValue::Array(array.values.iter().map(model_value).collect())
        }
        Some(Value::KvlistValue(map)) => {
            AttributeValue::Map(map.values.iter().filter_map(attribute).collect())
        }
        Some(Value::StringValueStrindex(_)) | None => AttributeValue::Str(String::new()),
    }
}

/// Appends the pairs in a form that differs whenever keys, types, values or their order do.
pub(crate) fn write_key(out: &mut Vec<u8>, pairs: &[KeyValue]) {
    write_length(out, pairs.len());
    for pair in pairs {
        write_bytes(out, 0, pair.key.as_bytes());
        write_value_key(out, pair.value.as_ref());
    }
}

fn write_value_key(out: &mut Vec<u8>, value: Option<&AnyValue>) {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => write_bytes(out, 1, text.as_bytes()),
        Some(Value::BoolValue(truth)) => out.extend([2, u8::from(*truth)]),
        Some(Value::IntValue(number)) => {
            out.push(3);
            out.extend(number.to_le_bytes());
        }
        Some(Value::DoubleValue(number)) => {
            out.push(4);
            out.extend(number.to_bits().to_le_bytes());
        }
        Some(Value::BytesValue(bytes)) => write_bytes(out, 5, bytes),
        Some(Value::ArrayValue(array)) => {
            out.push(6);
            write_length(out, array.values.len());
            array.values.iter().for_each(|value| write_value_key(out, Some(value)));
        }
        Some(Value::KvlistValue(map)) => {
            out.push(7);
            write_key(out, &map.values);
        }
        Some(Value::StringValueStrindex(_)) | None => out.push(8),
    }
}

/// Appends `tag`, the length and the bytes.
pub(crate) fn write_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    write_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    #[test]
    fn doubles_are_short_and_read_back() {
        let cases: [(f64, &str); 10] = [
            (0.5, "0.5"),
            (1.0, "1"),
            (-0.0, "-0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (0.000_001, "0.000001"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (number, text) in cases {
            assert_eq!(double(number), text);
            assert!(number.is_nan() || text.parse() == Ok(number));
        }
    }

    #[test]
    fn structures_become_json_that_reads_back() {
        let inner =
            ArrayValue { values: vec![any(Value::IntValue(i64::MAX)), AnyValue { value: None }] };
        let pairs = vec![
            KeyValue {
                key: "a\"\u{1}".into(),
                value: Some(any(Value::ArrayValue(inner))),
                key_strindex: 0,
            },
            KeyValue {
                key: "b".into(),
                value: Some(any(Value::BytesValue(vec![0, 255]))),
                key_strindex: 0,
            },
            KeyValue {
                key: "c".into(),
                value: Some(any(Value::DoubleValue(f64::NAN))),
                key_strindex: 0,
            },
        ];
        let text = json(&any(Value::KvlistValue(KeyValueList { values: pairs })));
        assert_eq!(text, r#"{"a\"\u0001":[9223372036854775807,null],"b":"AP8=","c":"NaN"}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn keys_differ_by_type_and_by_where_one_value_ends() {
        let key = |pairs: &[(&str, Value)]| {
            let pairs: Vec<KeyValue> = pairs
                .iter()
                .map(|(key, value)| KeyValue {
                    key: (*key).into(),
                    value: Some(any(value.clone())),
                    key_strindex: 0,
                })
                .collect();
            let mut out = Vec::new();
            write_key(&mut out, &pairs);
            out
        };
        let text = |text: &str| Value::StringValue(text.into());
        assert_ne!(key(&[("a", text("1"))]), key(&[("a", Value::IntValue(1))]));
        assert_ne!(key(&[("a", text("bc"))]), key(&[("ab", text("c"))]));
        assert_ne!(key(&[("a", text(""))]), key(&[]));
    }
}
