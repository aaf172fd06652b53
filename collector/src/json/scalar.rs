//! What stands in JSON where OTLP has a number, a text or bytes; and how protobuf writes it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::shape::{Field, Kind};
use crate::series::crop;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
/// The wire type of messages, texts and bytes.
pub(super) const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// One JSON value; arrays and objects without what is in them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Null,
    Truth(bool),
    Unsigned(u64),
    Signed(i64),
    Double(f64),
    Text(&'a str),
    Array,
    Object,
}

/// Appends `value` as `field`, or says in which words it is none.
pub(super) fn write(out: &mut Vec<u8>, field: &Field, value: Scalar<'_>) -> Result<(), String> {
    let number = field.number;
    match field.kind {
        Kind::Text => {
            let text = value.text()?;
            write_tag(out, number, BYTES);
            write_len(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Kind::Truth => {
            let Scalar::Truth(truth) = value else {
                return Err(format!("true or false is expected, not {}", value.kind()));
            };
            write_tag(out, number, VARINT);
            out.push(u8::from(truth));
        }
        Kind::U32 => write_varint_field(out, number, value.unsigned32()?.into()),
        Kind::U64 => write_varint_field(out, number, value.unsigned()?),
        Kind::I64 => write_varint_field(out, number, value.signed()?.cast_unsigned()),
        Kind::Sint32 => {
            let wide = i64::from(value.signed32()?);
            write_varint_field(out, number, ((wide << 1) ^ (wide >> 63)).cast_unsigned());
        }
        Kind::Code(named) => {
            let by_name = if let Scalar::Text(name) = value { named(name) } else { None };
            let code = by_name.map_or_else(|| value.signed32(), Ok)?;
            write_varint_field(out, number, i64::from(code).cast_unsigned());
        }
        Kind::Fixed32 => {
            let value = value.unsigned32()?;
            write_tag(out, number, FIXED32);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Kind::Fixed64 => write_fixed64(out, number, value.unsigned()?),
        Kind::Sfixed64 => write_fixed64(out, number, value.signed()?.cast_unsigned()),
        Kind::Double => write_fixed64(out, number, value.double()?.to_bits()),
        Kind::Id => write_id(out, number, value.text()?)?,
        Kind::Base64 => {
            let bytes = base64(value.text()?)?;
            write_tag(out, number, BYTES);
            write_len(out, bytes.len());
            out.extend_from_slice(&bytes);
        }
        Kind::Message(_) => return Err(format!("an object is expected, not {}", value.kind())),
    }
    Ok(())
}

impl<'a> Scalar<'a> {
    /// In words.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Truth(_) => "a truth value",
            Self::Unsigned(_) | Self::Signed(_) | Self::Double(_) => "a number",
            Self::Text(_) => "text",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }

    fn shown(self) -> String {
        match self {
            Self::Text(text) => format!("\"{}\"", crop(text)),
            Self::Unsigned(number) => number.to_string(),
            Self::Signed(number) => number.to_string(),
            Self::Double(number) => number.to_string(),
            Self::Null | Self::Truth(_) | Self::Array | Self::Object => self.kind().to_owned(),
        }
    }

    fn text(self) -> Result<&'a str, String> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(format!("text is expected, not {}", self.kind())),
        }
    }

    /// 64-bit integers come as text, since JavaScript's numbers cannot hold them, or as numbers.
    fn unsigned(self) -> Result<u64, String> {
        let number = match self {
            Self::Unsigned(number) => Some(number),
            Self::Double(number) => whole(number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.no_integer("an unsigned integer"))
    }

    fn unsigned32(self) -> Result<u32, String> {
        u32::try_from(self.unsigned()?).map_err(|_| "it exceeds 32 bits".to_owned())
    }

    fn signed(self) -> Result<i64, String> {
        let number = match self {
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Signed(number) => Some(number),
            Self::Double(number) => {
                let size = whole(number.abs()).and_then(|size| i64::try_from(size).ok());
                size.map(|size| if number < 0.0 { -size } else { size })
            }
            Self::Text(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.no_integer("an integer"))
    }

    fn signed32(self) -> Result<i32, String> {
        i32::try_from(self.signed()?).map_err(|_| "it exceeds 32 bits".to_owned())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "JSON has one kind of number: beyond 2^53 the nearest double is meant"
    )]
    fn double(self) -> Result<f64, String> {
        let number = match self {
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::Double(number) => Some(number),
            Self::Text("NaN") => Some(f64::NAN),
            Self::Text("Infinity" | "+Infinity") => Some(f64::INFINITY),
            Self::Text("-Infinity") => Some(f64::NEG_INFINITY),
            Self::Text(text) if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                text.parse().ok()
            }
            _ => None,
        };
        number.ok_or_else(|| format!("a number is expected, or \"NaN\", not {}", self.shown()))
    }

    fn no_integer(self, expected: &str) -> String {
        format!("{expected} is expected, as a number or in quotes, not {}", self.shown())
    }
}

/// The integer that a double is, below 2^53 so that no digit was lost.
fn whole(double: f64) -> Option<u64> {
    let is_whole = double.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&double);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked just above"
    )]
    is_whole.then_some(double as u64)
}

/// Bytes in base64, of either alphabet, padded or not.
fn base64(text: &str) -> Result<Vec<u8>, String> {
    let standard = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
    let any = standard.or_else(|_| URL_SAFE.decode(text));
    any.or_else(|_| URL_SAFE_NO_PAD.decode(text))
        .map_err(|cause| format!("the text is no base64: {cause}"))
}

/// An id in hexadecimal. Its length is judged with the record it belongs to.
fn write_id(out: &mut Vec<u8>, number: u32, text: &str) -> Result<(), String> {
    let no_id = || format!("`{}` is no hexadecimal id", crop(text));
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(no_id()) };
    write_tag(out, number, BYTES);
    write_len(out, pairs.len());
    for [high, low] in pairs {
        let byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low);
        out.push(byte.ok_or_else(no_id)?);
    }
    Ok(())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Appends the head of a field.
pub(super) fn write_tag(out: &mut Vec<u8>, number: u32, wire: u32) {
    write_varint(out, u64::from(number << 3 | wire));
}

/// Appends a length.
pub(super) fn write_len(out: &mut Vec<u8>, len: usize) {
    write_varint(out, u64::try_from(len).expect("lengths have at most 64 bits"));
}

fn write_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    write_tag(out, number, VARINT);
    write_varint(out, value);
}

fn write_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    write_tag(out, number, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
