//! The pass over the JSON: every value is written as its field as soon as it was read.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::scalar::{self, BYTES, Scalar, write_len, write_tag};
use super::shape::{Field, Kind, Shape};
use crate::budget::Reservation;
use crate::error::Error;

/// What is wrong, and where: `$.resourceSpans[0].scopeSpans[1].spans[2].traceId: …`.
#[derive(Debug)]
pub(super) struct Fault {
    /// Steps from the place of the fault to the root.
    steps: Vec<String>,
    words: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.steps.iter().rev().try_for_each(|step| f.write_str(step))?;
        write!(f, ": {}", self.words)
    }
}

/// The protobuf so far, and why it ended early.
pub(super) struct Output<'h> {
    bytes: Vec<u8>,
    held: &'h mut Reservation,
    /// Bytes of memory that are held for it.
    bytes_held: usize,
    fault: Option<Fault>,
    refusal: Option<Error>,
}

impl<'h> Output<'h> {
    pub(super) fn new(held: &'h mut Reservation) -> Self {
        Self { bytes: Vec::new(), held, bytes_held: 0, fault: None, refusal: None }
    }

    /// The protobuf; the outer error is memory that was refused, the inner one a value that OTLP has not.
    pub(super) fn finish(self) -> Result<Result<Vec<u8>, Fault>, Error> {
        match (self.refusal, self.fault) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(fault)) => Ok(Err(fault)),
            (None, None) => Ok(Ok(self.bytes)),
        }
    }

    /// Ends a message that began at `start` with one byte of room for its length.
    fn close(&mut self, start: usize) {
        let len = self.bytes.len() - start - 1;
        if let Ok(short @ 0..0x80) = u8::try_from(len) {
            self.bytes[start] = short;
            return;
        }
        let mut prefix = Vec::with_capacity(5);
        write_len(&mut prefix, len);
        self.bytes.splice(start..=start, prefix);
    }

    /// Holds what the buffer has grown by; false when there is no more memory.
    fn hold(&mut self) -> bool {
        let more = self.bytes.capacity().saturating_sub(self.bytes_held);
        if more > 0 {
            self.bytes_held += more;
            self.refusal = self.held.grow(more).err();
        }
        self.refusal.is_none()
    }

    fn step_out(&mut self, step: impl FnOnce() -> String) {
        if let Some(fault) = &mut self.fault {
            fault.steps.push(step());
        }
    }
}

/// Reads the value of one field, or one item of it.
pub(super) struct Value<'o, 'h> {
    output: &'o mut Output<'h>,
    /// `None` for the whole document, which has no head.
    field: Option<&'static Field>,
    kind: Kind,
    is_list: bool,
}

impl<'o, 'h> Value<'o, 'h> {
    /// The whole document.
    pub(super) fn root(output: &'o mut Output<'h>, shape: &'static Shape) -> Self {
        Self { output, field: None, kind: Kind::Message(shape), is_list: false }
    }

    fn of(output: &'o mut Output<'h>, field: &'static Field) -> Self {
        Self { output, field: Some(field), kind: field.kind, is_list: field.is_repeated }
    }

    fn item_of(output: &'o mut Output<'h>, field: &'static Field) -> Self {
        Self { is_list: false, ..Self::of(output, field) }
    }

    fn scalar<E: serde::de::Error>(self, value: Scalar<'_>) -> Result<(), E> {
        let written = match self.field {
            Some(_) if self.is_list => Err(format!("an array is expected, not {}", value.kind())),
            Some(field) => scalar::write(&mut self.output.bytes, field, value),
            None => Err(format!("an object is expected, not {}", value.kind())),
        };
        written.map_err(|words| {
            self.output.fault = Some(Fault { steps: Vec::new(), words });
            E::custom("a value that OTLP has not")
        })
    }

    fn message<'de, A: MapAccess<'de>>(
        output: &mut Output<'h>,
        shape: &'static Shape,
        map: &mut A,
    ) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Key(shape))? {
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if let Err(error) = map.next_value_seed(Value::of(output, field)) {
                output.step_out(|| format!(".{}", field.name));
                return Err(error);
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of OTLP")
    }

    /// `null` is an absent value, but no item of a list.
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        match self.field {
            Some(field) if field.is_repeated == self.is_list => Ok(()),
            _ => self.scalar(Scalar::Null),
        }
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<(), E> {
        self.scalar(Scalar::Truth(truth))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.scalar(Scalar::Unsigned(number))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.scalar(Scalar::Signed(number))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.scalar(Scalar::Double(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some(field) = self.field.filter(|_| self.is_list) else {
            return self.scalar(Scalar::Array);
        };
        let output = self.output;
        for i in 0_usize.. {
            match items.next_element_seed(Value::item_of(output, field)) {
                Ok(Some(())) if output.hold() => {}
                Ok(Some(())) => return Err(A::Error::custom("no memory")),
                Ok(None) => break,
                Err(error) => {
                    output.step_out(|| format!("[{i}]"));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Kind::Message(shape) = self.kind else { return self.scalar(Scalar::Object) };
        if self.is_list {
            return self.scalar(Scalar::Object);
        }
        let output = self.output;
        let Some(field) = self.field else { return Self::message(output, shape, &mut map) };
        write_tag(&mut output.bytes, field.number, BYTES);
        let start = output.bytes.len();
        output.bytes.push(0);
        Self::message(output, shape, &mut map)?;
        output.close(start);
        Ok(())
    }
}

/// The field a key names, if any.
struct Key(&'static Shape);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.find(key))
    }
}
