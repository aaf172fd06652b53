//! Prometheus' XOR chunk: timestamps as differences of differences, values as differences in bits.
//!
//! Written for remote read, never stored. Layout: <https://github.com/prometheus/prometheus>, `tsdb/docs/format/chunks.md`:
//! number of samples (u16, big-endian), first time (zigzag varint) and value (64 bits), then a stream of bits.

/// Samples of one chunk at most, as upstream cuts them.
pub(super) const SAMPLES_MAX: usize = 120;

/// The chunk of `samples`, (ms, value), at most [`SAMPLES_MAX`] of them, oldest first.
pub(super) fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut bits = Bits::default();
    let n = u16::try_from(samples.len()).unwrap_or(u16::MAX);
    bits.push(u64::from(n), 16);
    let mut before: Option<(i64, f64)> = None;
    let mut step: Option<i64> = None;
    let mut window = Window::default();
    for (t, value) in samples.iter().copied() {
        match (before, step) {
            (None, _) => {
                bits.varint(zigzag(t));
                bits.push(value.to_bits(), 64);
            }
            (Some((last, _)), None) => {
                let rise = t.wrapping_sub(last);
                bits.varint(rise.cast_unsigned());
                step = Some(rise);
            }
            (Some((last, _)), Some(previous)) => {
                let rise = t.wrapping_sub(last);
                bits.change(rise.wrapping_sub(previous));
                step = Some(rise);
            }
        }
        if let Some((_, last)) = before {
            window.push(&mut bits, value.to_bits() ^ last.to_bits());
        }
        before = Some((t, value));
    }
    bits.bytes
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Bits, first bit highest.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are free.
    free: u32,
}

impl Bits {
    /// Appends the lowest `count` bits of `value`, highest first.
    fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let part = (value >> (left - taken)) & ((1 << taken) - 1);
            if let (Some(last), Ok(part)) = (self.bytes.last_mut(), u8::try_from(part)) {
                *last |= part << (self.free - taken);
            }
            self.free -= taken;
            left -= taken;
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push((value & 0x7f) | 0x80, 8);
            value >>= 7;
        }
        self.push(value, 8);
    }

    /// A difference of differences: short where it is small.
    fn change(&mut self, change: i64) {
        let fits = |bits: u32| {
            let half = 1_i64 << (bits - 1);
            (-(half - 1)..=half).contains(&change)
        };
        let (mark, mark_bits, bits) = match change {
            0 => (0, 1, 0),
            _ if fits(14) => (0b10, 2, 14),
            _ if fits(17) => (0b110, 3, 17),
            _ if fits(20) => (0b1110, 4, 20),
            _ => (0b1111, 4, 64),
        };
        self.push(mark, mark_bits);
        self.push(change.cast_unsigned(), bits);
    }
}

/// Where the bits lay that differed last.
#[derive(Default)]
struct Window {
    /// Zero bits before and after them; `None` until some differed.
    around: Option<(u32, u32)>,
}

impl Window {
    fn push(&mut self, bits: &mut Bits, difference: u64) {
        if difference == 0 {
            bits.push(0, 1);
            return;
        }
        bits.push(1, 1);
        // Five bits say how many lead.
        let (leading, trailing) = (difference.leading_zeros().min(31), difference.trailing_zeros());
        if let Some((before, after)) = self.around
            && leading >= before
            && trailing >= after
        {
            bits.push(0, 1);
            bits.push(difference >> after, 64 - before - after);
            return;
        }
        self.around = Some((leading, trailing));
        let count = 64 - leading - trailing;
        bits.push(1, 1);
        bits.push(u64::from(leading), 5);
        // 64 does not fit six bits and stands as 0.
        bits.push(u64::from(count & 63), 6);
        bits.push(difference >> trailing, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads what [`encode`] wrote, by the published layout.
    fn decode(bytes: &[u8]) -> Vec<(i64, f64)> {
        let mut at = 0;
        let mut take = |count: usize| {
            let bit = |i: usize| u64::from(bytes[i / 8] >> (7 - i % 8) & 1);
            let value = (at..at + count).fold(0, |value, i| value << 1 | bit(i));
            at += count;
            value
        };
        let n = take(16);
        let varint = |take: &mut dyn FnMut(usize) -> u64| {
            let (mut value, mut shift) = (0_u64, 0);
            loop {
                let byte = take(8);
                value |= (byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        let (mut t, mut step, mut value) = (0_i64, 0_i64, 0_u64);
        let (mut leading, mut trailing) = (0, 0);
        let mut out = Vec::new();
        for i in 0..n {
            if i == 0 {
                let raw = varint(&mut take);
                t = (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed();
                value = take(64);
            } else {
                if i == 1 {
                    step = varint(&mut take).cast_signed();
                } else {
                    let mut marks = 0;
                    while marks < 4 && take(1) == 1 {
                        marks += 1;
                    }
                    let count = [0, 14, 17, 20, 64][marks];
                    let raw = take(count);
                    let is_negative = count < 64 && count > 0 && raw > 1 << (count - 1);
                    let change = if is_negative {
                        raw.cast_signed() - (1 << count)
                    } else {
                        raw.cast_signed()
                    };
                    step = step.wrapping_add(change);
                }
                t = t.wrapping_add(step);
                if take(1) == 1 {
                    if take(1) == 1 {
                        leading = usize::try_from(take(5)).unwrap();
                        let count = usize::try_from(take(6)).unwrap();
                        trailing = 64 - leading - if count == 0 { 64 } else { count };
                    }
                    value ^= take(64 - leading - trailing) << trailing;
                }
            }
            out.push((t, f64::from_bits(value)));
        }
        out
    }

    fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
        samples.iter().map(|(t, v)| (*t, v.to_bits())).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let stale = f64::from_bits(model::metric::STALE_NAN_BITS);
        let cases: &[&[(i64, f64)]] = &[
            &[],
            &[(-5, 1.5)],
            &[(0, 0.0), (15_000, 0.0), (30_000, 0.0), (45_001, 1.0), (60_000, stale)],
            &[(1, f64::NAN), (i64::MAX / 2, -0.0), (i64::MAX - 1, f64::MAX), (i64::MAX, 3.3)],
            &[
                (0, 1e300),
                (1, -1e-300),
                (8_194, 5e-324),
                (16_386, 7.0),
                (150_000, 7.1),
                (900_000, 7.2),
            ],
        ];
        for case in cases {
            assert_eq!(bits(&decode(&encode(case))), bits(case));
        }
        let mut state = 7_u64;
        let random: Vec<(i64, f64)> = (0..120_i64)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (i * 15_000 + i64::try_from(state >> 52).unwrap(), f64::from_bits(state))
            })
            .collect();
        assert_eq!(bits(&decode(&encode(&random))), bits(&random));
    }
}
