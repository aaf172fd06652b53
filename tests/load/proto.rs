//! Protobuf by hand, both ways: small, and no decoder of the system under test is shared with it.

/// Appends a varint.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends an integer field.
pub fn integer(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

/// Appends a fixed64 or double field, given as bits.
pub fn fixed(out: &mut Vec<u8>, field: u64, bits: u64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Appends a bytes or string field.
pub fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a message field that `fill` writes.
pub fn message(out: &mut Vec<u8>, field: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    varint(out, field << 3 | 2);
    let start = out.len();
    fill(out);
    let mut len = Vec::with_capacity(5);
    varint(&mut len, (out.len() - start) as u64);
    out.splice(start..start, len);
}

/// A value on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Varint, or fixed32 widened.
    Integer(u64),
    /// Eight bytes.
    Fixed(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message in order; ends at the first byte that makes no sense.
pub fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let key = take_varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Integer(take_varint(&mut rest)?),
            1 => Value::Fixed(u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?)),
            2 => {
                let len = usize::try_from(take_varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, len)?)
            }
            5 => Value::Integer(u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?).into()),
            _ => return None,
        };
        Some((key >> 3, value))
    })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_back() {
        let mut out = Vec::new();
        integer(&mut out, 1, 300);
        fixed(&mut out, 2, u64::MAX);
        message(&mut out, 3, |inner| bytes(inner, 1, &[7; 200]));
        let found: Vec<_> = fields(&out).collect();
        assert_eq!(found[..2], [(1, Value::Integer(300)), (2, Value::Fixed(u64::MAX))]);
        let Value::Bytes(inner) = found[2].1 else { panic!("{found:?}") };
        assert_eq!(fields(inner).collect::<Vec<_>>(), [(1, Value::Bytes(&[7; 200]))]);
    }
}
