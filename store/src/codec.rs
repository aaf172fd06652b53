//! Columns of samples as bytes: runs of equal numbers and values at their natural width. In log records and in the head.
//!
//! Made to be cheap first: a few ns a value in either direction, no tables, no compressor. Byte by byte in
//! `docs/format/wal.md`.

use crate::varint::{self, unzigzag, zigzag};

/// Integers beyond this are not all doubles.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Bytes that are read from front to back.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

/// The bytes end before what they promise, or promise what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Bytes<'a> {
    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        varint::take(&mut self.0).ok_or(Malformed)
    }
}

/// Appends numbers as runs: difference to the run before, zigzag, then the run's length less one, both LEB128.
pub(crate) fn put_runs(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let mut numbers = numbers.peekable();
    let mut before = 0_i64;
    while let Some(number) = numbers.next() {
        let mut more = 0_u64;
        while numbers.next_if_eq(&number).is_some() {
            more += 1;
        }
        varint::put(out, zigzag(number.wrapping_sub(before)));
        varint::put(out, more);
        before = number;
    }
}

/// Reads `n` numbers that [`put_runs`] wrote, appending them to `numbers`.
pub(crate) fn take_runs<T: Copy>(
    bytes: &mut Bytes<'_>,
    n: usize,
    numbers: &mut Vec<T>,
    convert: impl Fn(i64) -> Option<T>,
) -> Result<(), Malformed> {
    let (mut left, mut number) = (n, 0_i64);
    while left > 0 {
        number = number.wrapping_add(unzigzag(bytes.varint()?));
        let more = usize::try_from(bytes.varint()?).map_err(|_| Malformed)?;
        if more >= left {
            return Err(Malformed);
        }
        let value = convert(number).ok_or(Malformed)?;
        numbers.resize(numbers.len() + more + 1, value);
        left -= more + 1;
    }
    Ok(())
}

/// Appends values, each bit for bit: first one code of 4 bits each, low half of a byte first, then their bytes.
///
/// Codes 0 to 7: an integer, zigzag, in that many bytes, little endian. Codes 8 to 15: the highest 1 to 8 bytes of the
/// double's bits, big endian, the rest zero.
pub(crate) fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    let codes_at = out.len();
    out.resize(codes_at + values.len().div_ceil(2), 0);
    out.reserve(values.len() * 4);
    for (i, value) in values.iter().enumerate() {
        let (code, bytes, n) = code_of(*value);
        out[codes_at + i / 2] |= code << (4 * (i % 2));
        out.extend_from_slice(&bytes[..n]);
    }
}

/// Code, bytes and how many of them count.
fn code_of(value: f64) -> (u8, [u8; 8], usize) {
    let bits = value.to_bits();
    if value.abs() < EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "checked to lie within 2^53")]
        let whole = value as i64;
        #[expect(clippy::cast_precision_loss, reason = "within 2^53 nothing is lost")]
        if (whole as f64).to_bits() == bits {
            let zigzag = zigzag(whole);
            let n_bits = u64::BITS - zigzag.leading_zeros();
            let n = n_bits.div_ceil(8);
            return (n.to_le_bytes()[0], zigzag.to_le_bytes(), n as usize);
        }
    }
    // At least one byte, so that the code says which kind it is.
    let n = (u64::BITS - bits.trailing_zeros().min(63)).div_ceil(8).max(1);
    (n.to_le_bytes()[0] + 7, bits.to_be_bytes(), n as usize)
}

/// Reads `n` values that [`put_values`] wrote, appending them to `values`.
pub(crate) fn take_values(
    bytes: &mut Bytes<'_>,
    n: usize,
    values: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let codes = bytes.take(n.div_ceil(2))?;
    values.reserve(n);
    let mut rest = bytes.0;
    for i in 0..n {
        let code = (codes[i / 2] >> (4 * (i % 2))) & 0xf;
        let n_bytes = usize::from(if code < 8 { code } else { code - 7 });
        // Eight bytes are read whenever there are as many: the common case needs no loop.
        let word = match rest.first_chunk::<8>() {
            Some(word) => *word,
            None => {
                let mut word = [0; 8];
                let n = rest.len().min(8);
                word[..n].copy_from_slice(&rest[..n]);
                word
            }
        };
        rest = rest.get(n_bytes..).ok_or(Malformed)?;
        let kept = u64::MAX.checked_shr(64 - 8 * u32::from(n_bytes_u8(n_bytes))).unwrap_or(0);
        values.push(if code < 8 {
            let whole = unzigzag(u64::from_le_bytes(word) & kept);
            #[expect(clippy::cast_precision_loss, reason = "the writer kept within 2^53")]
            let value = whole as f64;
            value
        } else {
            let drop = 64 - 8 * u32::from(n_bytes_u8(n_bytes));
            f64::from_bits((u64::from_be_bytes(word) >> drop) << drop)
        });
    }
    bytes.0 = rest;
    Ok(())
}

/// A count of at most eight bytes.
fn n_bytes_u8(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{
        Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1_000_000_i32..1_000_000).prop_map(f64::from),
            (0_i32..1_000_000).prop_map(|i| f64::from(i) / 1_000.0),
            prop::sample::select(vec![
                0.0,
                -0.0,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::MIN_POSITIVE,
                5e-324,
                EXACT_MAX,
                -EXACT_MAX,
                EXACT_MAX - 1.0,
                0.5,
                f64::from_bits(model::metric::STALE_NAN_BITS),
                f64::from_bits(0x7ff8_0000_0000_0001),
            ]),
        ]
    }

    proptest! {
        #[test]
        fn values_read_back_bit_for_bit(values in prop::collection::vec(value(), 0..200)) {
            let mut out = vec![7];
            put_values(&mut out, &values);
            let mut bytes = Bytes(&out[1..]);
            let mut read = Vec::new();
            take_values(&mut bytes, values.len(), &mut read).unwrap();
            prop_assert!(bytes.0.is_empty());
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read), bits(&values));
        }

        #[test]
        fn runs_read_back(runs in prop::collection::vec((any::<i64>(), 1_usize..9), 0..50)) {
            let numbers: Vec<i64> = runs.iter().flat_map(|(number, n)| vec![*number; *n]).collect();
            let mut out = Vec::new();
            put_runs(&mut out, numbers.iter().copied());
            let mut bytes = Bytes(&out);
            let mut read = Vec::new();
            take_runs(&mut bytes, numbers.len(), &mut read, Some).unwrap();
            prop_assert!(bytes.0.is_empty());
            prop_assert_eq!(read, numbers);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..100), n in 0_usize..300) {
            let mut numbers: Vec<i64> = Vec::new();
            let mut values = Vec::new();
            if take_runs(&mut Bytes(&noise), n, &mut numbers, Some).is_ok() {
                prop_assert_eq!(numbers.len(), n);
            }
            if take_values(&mut Bytes(&noise), n, &mut values).is_ok() {
                prop_assert_eq!(values.len(), n);
            }
        }
    }

    #[test]
    fn small_integers_and_short_fractions_take_few_bytes() {
        let size = |values: &[f64]| {
            let mut out = Vec::new();
            put_values(&mut out, values);
            out.len()
        };
        assert_eq!(size(&[0.0; 10]), 5);
        assert_eq!(size(&[1.0, 100.0]), 1 + 1 + 1);
        assert_eq!(size(&[0.5]), 1 + 2);
        assert_eq!(size(&[0.1]), 1 + 8);
    }
}
