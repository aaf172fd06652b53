//! Attributes of resources, log records, spans, events and links: limits applied, then built into typed map columns.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, MapBuilder, StringBuilder,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use store::schema::columns;
use xxhash_rust::xxh3::xxh3_64;

use crate::admit::{Reason, Tally};
use crate::any::{self, Any, RawPair};
use crate::config::Config;
use crate::error::Error;
use crate::proto::{Fault, Message};
use crate::sparse::MapKeys;
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

/// An attribute within the limits.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Any<'a>,
    /// Of the key.
    pub(crate) hash: u64,
}

impl Pair<'_> {
    /// The text form of the value, cut to the limit.
    pub(crate) fn text(&self, config: &Config, tally: &mut Tally) -> Cow<'_, str> {
        cut_cow(self.value.text(), config.attribute_bytes_max, Reason::AttributeCut, tally)
    }
}

/// The attributes of one record as far as they are kept: each key once, none empty or over-long, at most
/// `attributes_max`. Of repeated keys the last one stays.
#[derive(Debug, Default)]
pub(crate) struct Kept<'a>(Vec<Pair<'a>>);

impl<'a> Kept<'a> {
    /// Begins a new record with these attributes.
    pub(crate) fn refill(
        &mut self,
        messages: &[Message<'a>],
        config: &Config,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        self.0.clear();
        for message in messages {
            let raw = RawPair::read(*message)?;
            if raw.key.is_empty() || raw.key.len() > config.key_bytes_max {
                tally.adjust(Reason::AttributeInvalid);
                continue;
            }
            if self.0.len() >= config.attributes_max {
                // Before any look-up, so that a flood of attributes costs none.
                tally.adjust(Reason::AttributesOverLimit);
                continue;
            }
            let pair = Self::pair(&raw, tally)?;
            match self.position(&pair) {
                Some(at) => {
                    tally.adjust(Reason::AttributeInvalid);
                    self.0[at] = pair;
                }
                None => self.0.push(pair),
            }
        }
        Ok(())
    }

    /// Adds what stands in the body as well: no key that is there already, nothing over the limits, and nothing
    /// counted, since the body keeps it all.
    pub(crate) fn add_of_body(
        &mut self,
        messages: impl Iterator<Item = Result<Message<'a>, Fault>>,
        config: &Config,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        for message in messages {
            let raw = RawPair::read(message?)?;
            if self.0.len() >= config.attributes_max {
                break;
            }
            if (1..=config.key_bytes_max).contains(&raw.key.len()) {
                let pair = Self::pair(&raw, tally)?;
                if self.position(&pair).is_none() {
                    self.0.push(pair);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn pairs(&self) -> &[Pair<'a>] {
        &self.0
    }

    pub(crate) fn into_pairs(self) -> Vec<Pair<'a>> {
        self.0
    }

    fn pair(raw: &RawPair<'a>, tally: &mut Tally) -> Result<Pair<'a>, Fault> {
        let key = any::text(raw.key, tally);
        Ok(Pair { hash: xxh3_64(key.as_bytes()), key, value: raw.value(tally)? })
    }

    /// Where the key stands already. By hash first: records of many attributes must not cost the square of them.
    fn position(&self, pair: &Pair<'_>) -> Option<usize> {
        self.0.iter().position(|seen| seen.hash == pair.hash && seen.key == pair.key)
    }
}

/// Builds the five typed attribute maps of logs and spans, one entry per row and map.
pub(crate) struct TypedMaps {
    text: (MapKeys, StringBuilder),
    int: (MapKeys, Int64Builder),
    double: (MapKeys, Float64Builder),
    truth: (MapKeys, BooleanBuilder),
    json: (MapKeys, StringBuilder),
}

impl TypedMaps {
    pub(crate) fn new() -> Self {
        Self {
            text: (MapKeys::new(), StringBuilder::with_capacity(0, 0)),
            int: (MapKeys::new(), Int64Builder::with_capacity(0)),
            double: (MapKeys::new(), Float64Builder::with_capacity(0)),
            truth: (MapKeys::new(), BooleanBuilder::with_capacity(0)),
            json: (MapKeys::new(), StringBuilder::with_capacity(0, 0)),
        }
    }

    /// Adds one attribute to `row`, in the map of its type: a key may come with another type in every record.
    #[inline]
    pub(crate) fn push(
        &mut self,
        row: usize,
        (key, value): (&str, &Any<'_>),
        config: &Config,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let bytes_max = config.attribute_bytes_max;
        match value {
            Any::Int(number) => self.push_int(row, key, *number),
            Any::Double(number) => {
                self.double.1.append_value(*number);
                self.double.0.add(row, key)
            }
            Any::Truth(truth) => {
                self.truth.1.append_value(*truth);
                self.truth.0.add(row, key)
            }
            Any::Text(text) => {
                self.push_text(row, key, cut(text, bytes_max, Reason::AttributeCut, tally))
            }
            Any::Empty => self.push_text(row, key, ""),
            Any::Json(json) => self.push_json(row, key, json, (bytes_max, tally)),
            Any::Bytes(_) => {
                let mut json = String::new();
                value::write_quoted(&mut json, &value.text());
                self.push_json(row, key, &json, (bytes_max, tally))
            }
        }
    }

    /// Adds a text attribute to `row`.
    #[inline]
    pub(crate) fn push_text(&mut self, row: usize, key: &str, value: &str) -> Result<(), Error> {
        self.text.1.append_value(value);
        self.text.0.add(row, key)
    }

    /// Adds an integer attribute to `row`.
    #[inline]
    pub(crate) fn push_int(&mut self, row: usize, key: &str, value: i64) -> Result<(), Error> {
        self.int.1.append_value(value);
        self.int.0.add(row, key)
    }

    /// JSON cut in the middle is none any more, so what is too long is kept as cut text.
    fn push_json(
        &mut self,
        row: usize,
        key: &str,
        json: &str,
        (bytes_max, tally): (usize, &mut Tally),
    ) -> Result<(), Error> {
        if json.len() > bytes_max {
            let kept = cut(json, bytes_max, Reason::AttributeCut, tally);
            return self.push_text(row, key, kept);
        }
        self.json.1.append_value(json);
        self.json.0.add(row, key)
    }

    /// The columns of `rows` rows under their names.
    pub(crate) fn finish(mut self, rows: usize) -> Result<Vec<(&'static str, ArrayRef)>, Error> {
        let text = self.text.0.finish(rows, Arc::new(self.text.1.finish()))?;
        let int = self.int.0.finish(rows, Arc::new(self.int.1.finish()))?;
        let double = self.double.0.finish(rows, Arc::new(self.double.1.finish()))?;
        let truth = self.truth.0.finish(rows, Arc::new(self.truth.1.finish()))?;
        let json = self.json.0.finish(rows, Arc::new(self.json.1.finish()))?;
        Ok(vec![
            (columns::ATTRS_STR, text),
            (columns::ATTRS_INT, int),
            (columns::ATTRS_F64, double),
            (columns::ATTRS_BOOL, truth),
            (columns::ATTRS_JSON, json),
        ])
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
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    pair(key, Value::StringValue(value.to_owned()))
}

/// An attribute.
#[cfg(test)]
pub(crate) fn pair(
    key: &str,
    value: opentelemetry_proto::tonic::common::v1::any_value::Value,
) -> KeyValue {
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
