//! Frames of the columns format: the 16-byte header, and the packing of times and values.

use model::metric::STALE_NAN_BITS;

use super::{Error, MAGIC, NS_PER_MS, VERSION};

const HEADER_BYTES: usize = 8;
const FRAME_HEADER_BYTES: usize = 16;
const ALIGN_BYTES: usize = 8;

/// What a frame holds. The numbers are on the wire; 4 to 6 are reserved for strings and annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Schema = 1,
    Times = 2,
    Values = 3,
    Stats = 7,
    Error = 8,
    End = 9,
}

impl Kind {
    const fn from_u8(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Schema),
            2 => Some(Self::Times),
            3 => Some(Self::Values),
            7 => Some(Self::Stats),
            8 => Some(Self::Error),
            9 => Some(Self::End),
            _ => None,
        }
    }
}

/// One frame in place.
pub(super) struct Frame<'a> {
    /// Byte offset in the body.
    pub(super) at: usize,
    pub(super) id: u32,
    /// `None` for a kind of a later version.
    pub(super) kind: Option<Kind>,
    /// Times or values in the payload.
    pub(super) count: usize,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    pub(super) const fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt { at: self.at, what }
    }
}

/// Appends one frame, padded to eight bytes so that the next payload is aligned.
pub(super) fn write(out: &mut Vec<u8>, id: u32, kind: Kind, count: u32, payload: &[u8]) {
    let len =
        u32::try_from(payload.len()).expect("an answer is far below 4 GiB by the query limits");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(payload);
    out.resize(out.len() + padding(payload.len()), 0);
}

const fn padding(len: usize) -> usize {
    len.wrapping_neg() % ALIGN_BYTES
}

/// Walks the frames of a body.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() < HEADER_BYTES {
            return Err(Error::Truncated(bytes.len()));
        }
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(Error::Magic);
        }
        if bytes[MAGIC.len()] != VERSION {
            return Err(Error::Version(bytes[MAGIC.len()]));
        }
        Ok(Self { bytes, at: HEADER_BYTES })
    }

    fn read(&mut self) -> Result<Frame<'a>, Error> {
        let cut = Error::Truncated(self.bytes.len());
        let rest = &self.bytes[self.at..];
        let (header, rest) = rest.split_at_checked(FRAME_HEADER_BYTES).ok_or(cut.clone())?;
        let len = usize::try_from(word(header, 0)).map_err(|_| cut.clone())?;
        let payload = rest.get(..len).ok_or(cut.clone())?;
        let padded = len.checked_add(padding(len)).filter(|n| *n <= rest.len()).ok_or(cut)?;
        let frame = Frame {
            at: self.at,
            id: word(header, 4),
            kind: Kind::from_u8(header[8]),
            count: usize::try_from(word(header, 12)).unwrap_or(usize::MAX),
            payload,
        };
        self.at += FRAME_HEADER_BYTES + padded;
        Ok(frame)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.bytes.len()).then(|| {
            let frame = self.read();
            if frame.is_err() {
                self.at = self.bytes.len(); // Nothing after damage can be trusted.
            }
            frame
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Times as zigzag varints of the difference to the time before, in ns; the first one to the epoch.
pub(super) fn pack_times(times_ms: &[i64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(times_ms.len() * 5 + 9);
    let mut last = 0i64;
    for ms in times_ms {
        let ns = ms.saturating_mul(NS_PER_MS);
        let delta = ns.wrapping_sub(last);
        let mut zigzag = ((delta << 1) ^ (delta >> 63)).cast_unsigned();
        while zigzag >= 0x80 {
            out.push(low_bits(zigzag) | 0x80);
            zigzag >>= 7;
        }
        out.push(low_bits(zigzag));
        last = ns;
    }
    out
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).expect("seven bits fit")
}

pub(super) fn unpack_times(frame: &Frame<'_>) -> Result<Vec<i64>, Error> {
    if frame.count > frame.payload.len() {
        return Err(frame.corrupt("more times than bytes"));
    }
    let mut times_ms = Vec::with_capacity(frame.count);
    let (mut ns, mut rest) = (0i64, frame.payload);
    for _ in 0..frame.count {
        let (zigzag, after) = varint(rest).ok_or_else(|| frame.corrupt("a time is cut off"))?;
        rest = after;
        ns = ns.wrapping_add((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
        times_ms.push(ns.div_euclid(NS_PER_MS));
    }
    if rest.is_empty() { Ok(times_ms) } else { Err(frame.corrupt("bytes after the last time")) }
}

/// The varint at the front and the bytes after it; `None` when cut off or longer than ten bytes.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// The series' number, four zero bytes, then `count` doubles.
pub(super) fn pack_values(series_idx: u32, values: &[f64], count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + count * 8);
    out.extend_from_slice(&series_idx.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let absent = f64::from_bits(STALE_NAN_BITS);
    for value in values.iter().copied().chain(std::iter::repeat(absent)).take(count) {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out
}

pub(super) fn unpack_values(frame: &Frame<'_>) -> Result<(usize, Vec<f64>), Error> {
    let (head, body) =
        frame.payload.split_at_checked(8).ok_or_else(|| frame.corrupt("values are cut off"))?;
    if body.len() != frame.count.saturating_mul(8) {
        return Err(frame.corrupt("the number of values does not match the length"));
    }
    let double = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
    let series_idx = usize::try_from(word(head, 0)).unwrap_or(usize::MAX);
    Ok((series_idx, body.chunks_exact(8).map(double).collect()))
}
