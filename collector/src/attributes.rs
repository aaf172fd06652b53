//! Attributes of resources, log records, spans, events and links: limits applied, then built into typed map columns.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, MapBuilder, StringBuilder,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use store::schema::{self, columns};

use crate::admit::{Reason, Tally};
use crate::config::Config;
use crate::error::Error;
use crate::value;

/// Attributes within the limits: each key once, none empty or over-long, at most `attributes_max`. Of repeated keys the
/// last one stays.
pub(crate) fn within_limits<'a>(
    pairs: &'a [KeyValue],
    config: &Config,
    tally: &mut Tally,
) -> Vec<&'a KeyValue> {
    let mut out: Vec<&KeyValue> = Vec::with_capacity(pairs.len().min(config.attributes_max));
    for pair in pairs {
        if pair.key.is_empty() || pair.key.len() > config.key_bytes_max {
            tally.adjust(Reason::AttributeInvalid);
        } else if out.len() >= config.attributes_max {
            tally.adjust(Reason::AttributesOverLimit); // First, so that a flood of attributes costs no look-ups.
        } else if let Some(seen) = out.iter_mut().find(|seen| seen.key == pair.key) {
            tally.adjust(Reason::AttributeInvalid);
            *seen = pair;
        } else {
            out.push(pair);
        }
    }
    out
}

/// `text` cut to at most `bytes_max` bytes between two characters; a cut is noted under `reason`.
pub(crate) fn cut<'a>(
    text: &'a str,
    bytes_max: usize,
    reason: Reason,
    tally: &mut Tally,
) -> &'a str {
    if text.len() <= bytes_max {
        return text;
    }
    tally.adjust(reason);
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Likewise for text that may be owned.
pub(crate) fn cut_cow<'a>(
    text: Cow<'a, str>,
    bytes_max: usize,
    reason: Reason,
    tally: &mut Tally,
) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text, bytes_max, reason, tally)),
        Cow::Owned(mut text) => {
            let len = cut(&text, bytes_max, reason, tally).len();
            text.truncate(len);
            Cow::Owned(text)
        }
    }
}

/// The text form of an attribute's value, cut to the limit.
pub(crate) fn text<'a>(pair: &'a KeyValue, config: &Config, tally: &mut Tally) -> Cow<'a, str> {
    let text = pair.value.as_ref().map_or(Cow::Borrowed(""), value::text);
    cut_cow(text, config.attribute_bytes_max, Reason::AttributeCut, tally)
}

/// Builds the five typed attribute maps of logs and spans, one entry per row and map.
pub(crate) struct TypedMaps {
    text: MapBuilder<StringBuilder, StringBuilder>,
    int: MapBuilder<StringBuilder, Int64Builder>,
    double: MapBuilder<StringBuilder, Float64Builder>,
    truth: MapBuilder<StringBuilder, BooleanBuilder>,
    json: MapBuilder<StringBuilder, StringBuilder>,
}

impl TypedMaps {
    pub(crate) fn new() -> Self {
        Self {
            text: schema::map_builder(StringBuilder::new()),
            int: schema::map_builder(Int64Builder::new()),
            double: schema::map_builder(Float64Builder::new()),
            truth: schema::map_builder(BooleanBuilder::new()),
            json: schema::map_builder(StringBuilder::new()),
        }
    }

    /// Adds one attribute to the present row, in the map of its type.
    pub(crate) fn push(&mut self, pair: &KeyValue, config: &Config, tally: &mut Tally) {
        match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::IntValue(number)) => {
                self.int.keys().append_value(&pair.key);
                self.int.values().append_value(*number);
            }
            Some(Value::DoubleValue(number)) => {
                self.double.keys().append_value(&pair.key);
                self.double.values().append_value(*number);
            }
            Some(Value::BoolValue(truth)) => {
                self.truth.keys().append_value(&pair.key);
                self.truth.values().append_value(*truth);
            }
            Some(Value::ArrayValue(_) | Value::KvlistValue(_) | Value::BytesValue(_)) => {
                self.push_json(pair, config, tally);
            }
            Some(Value::StringValue(_) | Value::StringValueStrindex(_)) | None => {
                self.push_text(&pair.key, &text(pair, config, tally));
            }
        }
    }

    /// Adds a text attribute to the present row.
    pub(crate) fn push_text(&mut self, key: &str, value: &str) {
        self.text.keys().append_value(key);
        self.text.values().append_value(value);
    }

    /// JSON cut in the middle is none any more, so what is too long is kept as cut text.
    fn push_json(&mut self, pair: &KeyValue, config: &Config, tally: &mut Tally) {
        let value = pair.value.as_ref().map_or_else(String::new, value::json);
        if value.len() > config.attribute_bytes_max {
            let kept = cut(&value, config.attribute_bytes_max, Reason::AttributeCut, tally);
            self.push_text(&pair.key, kept);
        } else {
            self.json.keys().append_value(&pair.key);
            self.json.values().append_value(value);
        }
    }

    /// Ends the present row.
    pub(crate) fn end_row(&mut self) -> Result<(), Error> {
        end_row(&mut self.text)?;
        end_row(&mut self.int)?;
        end_row(&mut self.double)?;
        end_row(&mut self.truth)?;
        end_row(&mut self.json)
    }

    /// The columns under their names.
    pub(crate) fn finish(mut self) -> Vec<(&'static str, ArrayRef)> {
        vec![
            (columns::ATTRS_STR, Arc::new(self.text.finish())),
            (columns::ATTRS_INT, Arc::new(self.int.finish())),
            (columns::ATTRS_F64, Arc::new(self.double.finish())),
            (columns::ATTRS_BOOL, Arc::new(self.truth.finish())),
            (columns::ATTRS_JSON, Arc::new(self.json.finish())),
        ]
    }
}

/// Ends a row of a map column.
pub(crate) fn end_row<V: arrow::array::ArrayBuilder>(
    map: &mut MapBuilder<StringBuilder, V>,
) -> Result<(), Error> {
    map.append(true).map_err(|cause| Error::Internal(format!("a map column is uneven: {cause}")))
}

/// An attribute with a text value.
#[cfg(test)]
pub(crate) fn text_pair(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

/// An attribute.
#[cfg(test)]
pub(crate) fn pair(key: &str, value: Value) -> KeyValue {
    let value = opentelemetry_proto::tonic::common::v1::AnyValue { value: Some(value) };
    KeyValue { key: key.to_owned(), value: Some(value), key_strindex: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Signal;

    #[test]
    fn surplus_repeated_and_nameless_attributes_are_dropped_and_counted() {
        let config = Config { attributes_max: 2, key_bytes_max: 4, ..Config::default() };
        let mut tally = Tally::new(Signal::Logs);
        let pairs = [("a", "1"), ("", "2"), ("a", "3"), ("b", "4"), ("longer", "5"), ("c", "6")]
            .map(|(key, value)| text_pair(key, value));
        let kept = within_limits(&pairs, &config, &mut tally);
        let kept: Vec<_> = kept.iter().map(|pair| text(pair, &config, &mut tally)).collect();
        assert_eq!(kept, ["3", "4"]);
        assert_eq!(tally.count(Reason::AttributeInvalid), 3);
        assert_eq!(tally.count(Reason::AttributesOverLimit), 1);
    }

    #[test]
    fn text_is_cut_between_characters() {
        let mut tally = Tally::new(Signal::Logs);
        assert_eq!(cut("größe", 3, Reason::AttributeCut, &mut tally), "gr");
        assert_eq!(cut("größe", 7, Reason::AttributeCut, &mut tally), "größe");
        assert_eq!(tally.count(Reason::AttributeCut), 1);
    }
}
