//! Protobuf's wire format, read in place: fields of a message, texts as slices of the body.
//!
//! Source: "Encoding" of the Protocol Buffers documentation.

/// What was wrong, and at which byte of the body.
#[derive(Debug)]
pub(super) struct Oops {
    pub(super) at: usize,
    pub(super) reason: &'static str,
}

/// A message, or what is left of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    /// Where `bytes` begin in the body.
    at: usize,
}

/// A value with its field's number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u64,
    value: Value<'a>,
    at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(Message<'a>),
    Fixed32,
}

impl<'a> Message<'a> {
    pub(super) const fn of_body(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn oops(&self, reason: &'static str) -> Oops {
        Oops { at: self.at, reason }
    }

    /// A message that its length precedes.
    pub(super) fn delimited(&mut self) -> Result<Self, Oops> {
        let length = self.varint()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.bytes.len());
        let length = length.ok_or_else(|| self.oops("a length goes beyond the end"))?;
        let (inside, rest) = self.bytes.split_at(length);
        let message = Self { bytes: inside, at: self.at };
        *self = Self { bytes: rest, at: self.at + length };
        Ok(message)
    }

    /// The next field; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Oops> {
        if self.is_empty() {
            return Ok(None);
        }
        let at = self.at;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => Value::Bytes(self.delimited()?),
            5 => {
                let _: [u8; 4] = self.fixed()?;
                Value::Fixed32
            }
            _ => return Err(Oops { at, reason: "a field has no known type" }),
        };
        Ok(Some(Field { number: tag >> 3, value, at }))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Oops> {
        let Some((bytes, rest)) = self.bytes.split_first_chunk::<N>() else {
            return Err(self.oops("a number is cut off"));
        };
        *self = Self { bytes: rest, at: self.at + N };
        Ok(*bytes)
    }

    fn varint(&mut self) -> Result<u64, Oops> {
        let mut value = 0_u64;
        for (i, byte) in self.bytes.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                *self = Self { bytes: &self.bytes[i + 1..], at: self.at + i + 1 };
                return Ok(value);
            }
        }
        Err(self.oops("a number is cut off or too long"))
    }
}

impl<'a> Field<'a> {
    fn wrong(&self, reason: &'static str) -> Oops {
        Oops { at: self.at, reason }
    }

    pub(super) fn message(&self) -> Result<Message<'a>, Oops> {
        match self.value {
            Value::Bytes(message) => Ok(message),
            _ => Err(self.wrong("a message was expected")),
        }
    }

    pub(super) fn text(&self) -> Result<&'a str, Oops> {
        std::str::from_utf8(self.message()?.bytes).map_err(|_| self.wrong("a text is no UTF-8"))
    }

    pub(super) fn double(&self) -> Result<f64, Oops> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.wrong("a float was expected")),
        }
    }

    pub(super) fn uint(&self) -> Result<u64, Oops> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.wrong("an integer was expected")),
        }
    }

    pub(super) fn int(&self) -> Result<i64, Oops> {
        self.uint().map(u64::cast_signed)
    }

    /// A 32-bit integer in zigzag.
    pub(super) fn sint32(&self) -> Result<i32, Oops> {
        i32::try_from(zigzag(self.uint()?)).map_err(|_| self.wrong("an integer is too large"))
    }

    pub(super) fn uint32(&self) -> Result<u32, Oops> {
        u32::try_from(self.uint()?).map_err(|_| self.wrong("an integer is too large"))
    }

    /// Bytes of what is inside; 8 of a number.
    pub(super) fn len(&self) -> usize {
        match self.value {
            Value::Bytes(message) => message.len(),
            _ => 8,
        }
    }

    /// Integers in zigzag, packed or one.
    pub(super) fn sints(&self, out: &mut Vec<i64>) -> Result<(), Oops> {
        match self.value {
            Value::Varint(value) => out.push(zigzag(value)),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    out.push(zigzag(packed.varint()?));
                }
            }
            _ => return Err(self.wrong("integers were expected")),
        }
        Ok(())
    }

    /// Floats, packed or one.
    pub(super) fn doubles(&self, out: &mut Vec<f64>) -> Result<(), Oops> {
        match self.value {
            Value::Fixed64(bits) => out.push(f64::from_bits(bits)),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    out.push(f64::from_bits(u64::from_le_bytes(packed.fixed()?)));
                }
            }
            _ => return Err(self.wrong("floats were expected")),
        }
        Ok(())
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
