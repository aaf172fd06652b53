//! Protobuf as it lies on the wire, read in place: fields in the order they were sent, nothing allocated, nothing copied.
//!
//! Called by the walkers of metrics, logs and spans. Accepts what prost accepts (varints of any length up to ten bytes,
//! unknown fields, groups, which are skipped); every [`Fault`] names the byte of the body where it stands.

use std::fmt;
use std::ops::Range;

use crate::error::Error;

pub(crate) mod shape;

/// How deep groups may nest, as in prost.
const GROUP_DEPTH_MAX: usize = 100;

/// What is wrong with the bytes, and at which byte of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    at: usize,
    what: What,
}

/// The ways in which bytes are no protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Varint,
    Cut,
    FieldNumber,
    WireType(u64),
    Unexpected(u32),
    Group,
    Depth,
    Text,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Varint => f.write_str("a varint does not end within ten bytes"),
            What::Cut => f.write_str("a field is longer than the message that holds it"),
            What::FieldNumber => f.write_str("a field has no valid number"),
            What::WireType(wire) => write!(f, "wire type {wire} does not exist"),
            What::Unexpected(number) => write!(f, "field {number} has another type than it should"),
            What::Group => f.write_str("a group ends that did not begin"),
            What::Depth => f.write_str("messages nest too deep"),
            What::Text => f.write_str("a text is no UTF-8"),
        }?;
        write!(f, " (at byte {})", self.at)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Malformed(format!(
            "the body is not the protobuf that belongs here: {fault}; check that the body was sent whole, to the path of its \
             kind, and that Content-Encoding names its compression"
        ))
    }
}

/// The bytes of one message, at their place in the body.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// The body up to the end of the message: an index into it is a byte of the body.
    body: &'a [u8],
    start: usize,
}

/// The fields of a message in the order they were sent; ends after the first fault.
pub(crate) struct Fields<'a> {
    body: &'a [u8],
    at: usize,
}

/// One field.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    /// Its number, 1 or more.
    pub(crate) number: u32,
    /// Its value.
    pub(crate) value: Wire<'a>,
    at: usize,
}

/// A value by its wire type.
#[derive(Clone, Copy)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// A message, text, bytes or packed numbers.
    Bytes(Message<'a>),
    /// A group, which was skipped: nothing we know of is one.
    Group,
}

impl<'a> Message<'a> {
    /// The message a whole body is.
    pub(crate) fn of_body(body: &'a [u8]) -> Self {
        Self { body, start: 0 }
    }

    /// Its bytes.
    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        &self.body[self.start..]
    }

    /// Bytes of the body, up to the end of the message at most.
    #[inline]
    pub(crate) fn slice(self, span: Range<usize>) -> &'a [u8] {
        &self.body[span]
    }

    /// What is left of it from `field` on.
    #[inline]
    pub(crate) fn from(self, field: &Field<'a>) -> Self {
        Self { body: self.body, start: field.at }
    }

    /// Its end, without fields.
    #[inline]
    pub(crate) fn end(self) -> Self {
        Self { body: self.body, start: self.body.len() }
    }

    /// Its fields.
    #[inline]
    pub(crate) fn fields(self) -> Fields<'a> {
        Fields { body: self.body, at: self.start }
    }

    /// The fault of a message that stands too deep in others.
    pub(crate) fn too_deep(self) -> Fault {
        Fault { at: self.start, what: What::Depth }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Fault>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.body.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.body.len();
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    /// Passes the fields right behind `field` that are like it: messages of the same number, shorter than 128 bytes.
    /// Returns the byte of the body where the run of them ends.
    #[inline]
    pub(crate) fn pass_alike(&mut self, field: &Field<'a>) -> usize {
        let tag = self.body[field.at];
        if tag < 0x80 && matches!(field.value, Wire::Bytes(_)) {
            while let Some([next, len]) = self.body.get(self.at..self.at + 2)
                && *next == tag
                && *len < 0x80
                && self.at + 2 + usize::from(*len) <= self.body.len()
            {
                self.at += 2 + usize::from(*len);
            }
        }
        self.at
    }

    #[inline]
    fn field(&mut self) -> Result<Field<'a>, Fault> {
        let at = self.at;
        let (number, wire) = self.tag()?;
        let value = match wire {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => Wire::Bytes(self.message()?),
            5 => Wire::Fixed32(u32::from_le_bytes(self.fixed()?)),
            _ => {
                self.group(at, (number, wire))?;
                Wire::Group
            }
        };
        Ok(Field { number, value, at })
    }

    /// A field's number and wire type.
    #[inline]
    fn tag(&mut self) -> Result<(u32, u64), Fault> {
        let at = self.at;
        let tag = self.varint()?;
        match u32::try_from(tag >> 3) {
            Ok(number) if number > 0 && tag <= u64::from(u32::MAX) => Ok((number, tag & 7)),
            _ => Err(Fault { at, what: What::FieldNumber }),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Fault> {
        match self.body.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for i in 0..10 {
            let Some(byte) = self.body.get(self.at + i) else {
                return Err(Fault { at: self.at, what: What::Cut });
            };
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                // The tenth byte has room for one bit.
                if i == 9 && *byte > 1 {
                    break;
                }
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(Fault { at: self.at, what: What::Varint })
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let cut = Fault { at: self.at, what: What::Cut };
        let bytes = self.body.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or(cut)?;
        self.at += N;
        Ok(*bytes)
    }

    #[inline]
    fn message(&mut self) -> Result<Message<'a>, Fault> {
        let at = self.at;
        let len = self.varint()?;
        let start = self.at;
        let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len));
        let body = end.and_then(|end| self.body.get(..end)).ok_or(Fault { at, what: What::Cut })?;
        self.at = body.len();
        Ok(Message { body, start })
    }

    /// Skips a group to its end: nothing in OTLP is one.
    #[cold]
    fn group(&mut self, at: usize, (number, wire): (u32, u64)) -> Result<(), Fault> {
        let mut open = match wire {
            3 => vec![number],
            4 => return Err(Fault { at, what: What::Group }),
            wire => return Err(Fault { at, what: What::WireType(wire) }),
        };
        while let Some(innermost) = open.last() {
            let at = self.at;
            let (number, wire) = self.tag()?;
            match wire {
                0 => drop(self.varint()?),
                1 => drop(self.fixed::<8>()?),
                2 => drop(self.message()?),
                3 if open.len() >= GROUP_DEPTH_MAX => return Err(Fault { at, what: What::Depth }),
                3 => open.push(number),
                4 if number == *innermost => drop(open.pop()),
                4 => return Err(Fault { at, what: What::Group }),
                5 => drop(self.fixed::<4>()?),
                wire => return Err(Fault { at, what: What::WireType(wire) }),
            }
        }
        Ok(())
    }
}

impl<'a> Field<'a> {
    /// An integer, enum or truth value as sent.
    #[inline]
    pub(crate) fn varint(&self) -> Result<u64, Fault> {
        match self.value {
            Wire::Varint(value) => Ok(value),
            _ => Err(self.unexpected()),
        }
    }

    /// An integer or enum of 32 bits: what is longer loses its upper bits, as in every protobuf.
    #[inline]
    pub(crate) fn varint32(&self) -> Result<u32, Fault> {
        let low = self.varint()? & u64::from(u32::MAX);
        Ok(u32::try_from(low).expect("the upper bits are gone"))
    }

    /// Eight fixed bytes as an integer.
    #[inline]
    pub(crate) fn fixed64(&self) -> Result<u64, Fault> {
        match self.value {
            Wire::Fixed64(value) => Ok(value),
            _ => Err(self.unexpected()),
        }
    }

    /// Four fixed bytes as an integer.
    #[inline]
    pub(crate) fn fixed32(&self) -> Result<u32, Fault> {
        match self.value {
            Wire::Fixed32(value) => Ok(value),
            _ => Err(self.unexpected()),
        }
    }

    /// A double.
    #[inline]
    pub(crate) fn double(&self) -> Result<f64, Fault> {
        self.fixed64().map(f64::from_bits)
    }

    /// A message.
    #[inline]
    pub(crate) fn message(&self) -> Result<Message<'a>, Fault> {
        match self.value {
            Wire::Bytes(message) => Ok(message),
            _ => Err(self.unexpected()),
        }
    }

    /// Bytes, or text that was not checked to be UTF-8.
    #[inline]
    pub(crate) fn bytes(&self) -> Result<&'a [u8], Fault> {
        self.message().map(Message::bytes)
    }

    /// Text.
    pub(crate) fn text(&self) -> Result<&'a str, Fault> {
        let message = self.message()?;
        std::str::from_utf8(message.bytes())
            .map_err(|cause| Fault { at: message.start + cause.valid_up_to(), what: What::Text })
    }

    /// Where the field stands in the body, from its tag to the end of its bytes; only of a field that holds bytes.
    #[inline]
    pub(crate) fn span(&self) -> Result<Range<usize>, Fault> {
        Ok(self.at..self.message()?.body.len())
    }

    /// Gives each of repeated 64-bit numbers, packed or not.
    pub(crate) fn each_fixed64(&self, mut take: impl FnMut(u64)) -> Result<(), Fault> {
        let Wire::Bytes(message) = self.value else {
            take(self.fixed64()?);
            return Ok(());
        };
        let (numbers, rest) = message.bytes().as_chunks();
        if !rest.is_empty() {
            return Err(Fault { at: message.body.len() - rest.len(), what: What::Cut });
        }
        numbers.iter().for_each(|number| take(u64::from_le_bytes(*number)));
        Ok(())
    }

    /// Gives each of repeated varints, packed or not.
    pub(crate) fn each_varint(&self, mut take: impl FnMut(u64)) -> Result<(), Fault> {
        let Wire::Bytes(message) = self.value else {
            take(self.varint()?);
            return Ok(());
        };
        let mut numbers = message.fields();
        while numbers.at < numbers.body.len() {
            take(numbers.varint()?);
        }
        Ok(())
    }

    #[cold]
    fn unexpected(&self) -> Fault {
        Fault { at: self.at, what: What::Unexpected(self.number) }
    }
}

/// The 32 low bits, which is what 32-bit fields keep of a varint.
pub(crate) const fn low_u32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// An `sint32`.
pub(crate) const fn zigzag_32(value: u64) -> i32 {
    let bits = low_u32(value);
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}

/// An `sint64`.
pub(crate) const fn zigzag_64(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests;
