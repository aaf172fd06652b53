//! Taking the kernel's text apart: bytes in, no allocation, no panic whatever the content.

/// Lines without their line feeds; empty ones are skipped.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Fields separated by blanks and tabs.
pub(crate) fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty())
}

/// An unsigned decimal; `None` for anything else, or beyond 64 bits.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// A decimal fraction such as `0.25`; `None` for anything else, infinities and NaN included.
pub(crate) fn decimal(field: &[u8]) -> Option<f64> {
    let text = str::from_utf8(field).ok()?;
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The numbers of a line in order, as far as they are numbers.
pub(crate) fn numbers<const N: usize>(line: &[u8]) -> ([u64; N], usize) {
    let (mut values, mut len) = ([0; N], 0);
    for (slot, value) in values.iter_mut().zip(fields(line).map_while(number)) {
        *slot = value;
        len += 1;
    }
    (values, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_numbers() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"18446744073709551616", b"-1", b"1.0", b" 1", b"\xff"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
        assert_eq!(decimal(b"0.25"), Some(0.25));
        assert_eq!((decimal(b"inf"), decimal(b"NaN"), decimal(b"\xff")), (None, None, None));
        assert_eq!(numbers::<3>(b" 1 2\tx 4"), ([1, 2, 0], 2));
    }
}
