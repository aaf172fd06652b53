//! Attributes and values of log records and spans, read in place: text stays where it lies in the request.
//!
//! Text that is no UTF-8 is repaired with U+FFFD and counted: one bad byte is worth more than the record it stands in.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use opentelemetry_proto::tonic::common::v1 as owned;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use crate::admit::{Reason, Tally};
use crate::proto::{Fault, Field, Message};
use crate::value;

/// How deep values may nest in each other.
const DEPTH_MAX: usize = 100;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Any<'a> {
    /// Nothing was sent.
    Empty,
    Text(Cow<'a, str>),
    Truth(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    /// An array or a map, as JSON.
    Json(String),
}

/// An attribute that was not looked at: its key as bytes, its value as a message.
#[derive(Clone, Copy)]
pub(crate) struct RawPair<'a> {
    pub(crate) key: &'a [u8],
    value: Option<Message<'a>>,
}

/// `bytes` as text; repaired and counted if they are none.
#[inline]
pub(crate) fn text<'a>(bytes: &'a [u8], tally: &mut Tally) -> Cow<'a, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            tally.adjust(Reason::TextRepaired);
            String::from_utf8_lossy(bytes)
        }
    }
}

/// The list, emptied, its memory kept.
pub(crate) fn emptied<T>(list: &mut Vec<T>) -> Vec<T> {
    let mut list = std::mem::take(list);
    list.clear();
    list
}

impl<'a> RawPair<'a> {
    /// Reads a `KeyValue`.
    #[inline]
    pub(crate) fn read(message: Message<'a>) -> Result<Self, Fault> {
        let mut pair = Self { key: &[], value: None };
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => pair.key = field.bytes()?,
                2 => pair.value = Some(field.message()?),
                _ => {}
            }
        }
        Ok(pair)
    }

    /// Its value.
    #[inline]
    pub(crate) fn value(&self, tally: &mut Tally) -> Result<Any<'a>, Fault> {
        self.value.map_or(Ok(Any::Empty), |value| Any::read(value, tally))
    }
}

impl<'a> Any<'a> {
    /// Reads an `AnyValue`; of several values the last one counts.
    #[inline]
    pub(crate) fn read(message: Message<'a>, tally: &mut Tally) -> Result<Self, Fault> {
        let mut any = Self::Empty;
        for field in message.fields() {
            let field = field?;
            any = match field.number {
                1 => Self::Text(text(field.bytes()?, tally)),
                2 => Self::Truth(field.varint()? != 0),
                3 => Self::Int(field.varint()?.cast_signed()),
                4 => Self::Double(field.double()?),
                5 | 6 => Self::Json(json(&field, tally)?),
                7 => Self::Bytes(field.bytes()?),
                // String indices belong to profiles and point nowhere here.
                8 => Self::Empty,
                _ => any,
            };
        }
        Ok(any)
    }

    /// The value in text form: booleans as `true`, doubles shortest, bytes as base64, arrays and maps as JSON, nothing
    /// as the empty text.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Json(json) => Cow::Borrowed(json),
            Self::Truth(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Double(number) => Cow::Owned(value::double(*number)),
            Self::Bytes(bytes) => Cow::Owned(BASE64.encode(bytes)),
            Self::Empty => Cow::Borrowed(""),
        }
    }

    /// The value as an integer: an integer, or text that reads as one.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

/// The pairs of a value that is a map; none of any other.
pub(crate) fn map_pairs(
    message: Message<'_>,
) -> Result<impl Iterator<Item = Result<Message<'_>, Fault>>, Fault> {
    let mut map = None;
    for field in message.fields() {
        let field = field?;
        match field.number {
            6 => map = Some(field.message()?),
            1..=8 => map = None,
            _ => {}
        }
    }
    Ok(map.into_iter().flat_map(items))
}

/// The messages of field 1: the items of an array, a map, or a resource's attributes. Never listed: an empty one takes
/// two bytes on the wire.
fn items(message: Message<'_>) -> impl Iterator<Item = Result<Message<'_>, Fault>> {
    message.fields().filter_map(|field| match field {
        Ok(field) => (field.number == 1).then(|| field.message()),
        Err(fault) => Some(Err(fault)),
    })
}

/// An array or map as JSON.
fn json(field: &Field<'_>, tally: &mut Tally) -> Result<String, Fault> {
    let mut out = String::new();
    write_container(&mut out, tally, field, DEPTH_MAX)?;
    Ok(out)
}

fn write_container(
    out: &mut String,
    tally: &mut Tally,
    field: &Field<'_>,
    depth: usize,
) -> Result<(), Fault> {
    let message = field.message()?;
    let depth = depth.checked_sub(1).ok_or_else(|| message.too_deep())?;
    let is_map = field.number == 6;
    out.push(if is_map { '{' } else { '[' });
    for (i, item) in items(message).enumerate() {
        let item = item?;
        if i > 0 {
            out.push(',');
        }
        let value = if is_map {
            let pair = RawPair::read(item)?;
            value::write_quoted(out, &text(pair.key, tally));
            out.push(':');
            pair.value
        } else {
            Some(item)
        };
        match value {
            Some(value) => write_value(out, tally, value, depth)?,
            None => out.push_str("null"),
        }
    }
    out.push(if is_map { '}' } else { ']' });
    Ok(())
}

fn write_value(
    out: &mut String,
    tally: &mut Tally,
    message: Message<'_>,
    depth: usize,
) -> Result<(), Fault> {
    // Of several values the last one counts: it takes the place of the others.
    let start = out.len();
    out.push_str("null");
    for field in message.fields() {
        let field = field?;
        if (1..=8).contains(&field.number) {
            out.truncate(start);
        }
        match field.number {
            1 => value::write_quoted(out, &text(field.bytes()?, tally)),
            2 => out.push_str(if field.varint()? != 0 { "true" } else { "false" }),
            3 => out.push_str(&field.varint()?.cast_signed().to_string()),
            4 => match field.double()? {
                number if number.is_finite() => out.push_str(&value::double(number)),
                number => value::write_quoted(out, &value::double(number)),
            },
            5 | 6 => write_container(out, tally, &field, depth)?,
            7 => value::write_quoted(out, &BASE64.encode(field.bytes()?)),
            8 => out.push_str("null"),
            _ => {}
        }
    }
    Ok(())
}

/// The attributes of a resource as owned messages: looked at once for each distinct resource. After the first `max`
/// they are counted as over the limit, unread.
pub(crate) fn owned_pairs(
    resource: Message<'_>,
    max: usize,
    tally: &mut Tally,
) -> Result<Vec<owned::KeyValue>, Fault> {
    let mut pairs = Vec::new();
    for pair in items(resource) {
        let pair = pair?;
        if pairs.len() < max {
            pairs.push(owned_pair(pair, tally, DEPTH_MAX)?);
        } else {
            tally.adjust(Reason::AttributesOverLimit);
        }
    }
    Ok(pairs)
}

fn owned_pair(
    message: Message<'_>,
    tally: &mut Tally,
    depth: usize,
) -> Result<owned::KeyValue, Fault> {
    let pair = RawPair::read(message)?;
    let value = pair.value.map(|value| owned_value(value, tally, depth)).transpose()?;
    Ok(owned::KeyValue { key: text(pair.key, tally).into_owned(), value, key_strindex: 0 })
}

fn owned_value(
    message: Message<'_>,
    tally: &mut Tally,
    depth: usize,
) -> Result<owned::AnyValue, Fault> {
    let depth = depth.checked_sub(1).ok_or_else(|| message.too_deep())?;
    let mut value = None;
    for field in message.fields() {
        let field = field?;
        value = match field.number {
            1 => Some(Value::StringValue(text(field.bytes()?, tally).into_owned())),
            2 => Some(Value::BoolValue(field.varint()? != 0)),
            3 => Some(Value::IntValue(field.varint()?.cast_signed())),
            4 => Some(Value::DoubleValue(field.double()?)),
            5 => {
                let items = items(field.message()?);
                let values = items.map(|item| owned_value(item?, tally, depth));
                let values = values.collect::<Result<_, _>>()?;
                Some(Value::ArrayValue(owned::ArrayValue { values }))
            }
            6 => {
                let items = items(field.message()?);
                let values = items.map(|item| owned_pair(item?, tally, depth));
                let values = values.collect::<Result<_, _>>()?;
                Some(Value::KvlistValue(owned::KeyValueList { values }))
            }
            7 => Some(Value::BytesValue(field.bytes()?.to_vec())),
            8 => None,
            _ => value,
        };
    }
    Ok(owned::AnyValue { value })
}

#[cfg(test)]
pub(crate) mod tests;
