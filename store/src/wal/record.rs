//! File header and records of the log, byte by byte (`docs/format/wal.md`). Little endian, 8-byte aligned.

use crate::delivery::Delivery;

/// First bytes of a log file; the last one is the format version.
pub(crate) const MAGIC: [u8; 8] = *b"HRWAL\0\0\x02";
/// Bytes of a file header.
pub(crate) const FILE_HEADER: usize = 64;
/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER: usize = 32;
/// Most bytes a record may have, header included.
pub(crate) const RECORD_MAX: usize = 16 << 20;

/// Flag: the batch goes on in the next record, and counts only when all of it is there.
pub(crate) const FLAG_CONTINUES: u16 = 1 << 1;
/// Flag: a [`Delivery`] stands before the payload.
pub(crate) const FLAG_AGENT: u16 = 1;
/// Bytes of a [`Delivery`].
const DELIVERY: usize = 32;
/// Most bytes of a payload.
pub(crate) const PAYLOAD_MAX: usize = RECORD_MAX - RECORD_HEADER - DELIVERY;

/// Start of a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) node: [u8; 16],
    pub(crate) epoch: u64,
    pub(crate) shard: u32,
    pub(crate) number: u64,
    pub(crate) created_ns: i64,
}

/// Why a header was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// It is not one, or damaged.
    Damaged,
    /// It has this newer format version.
    Newer(u8),
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.node);
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.shard.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.number.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.created_ns.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..56]);
        bytes[56..60].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; FILE_HEADER] = bytes.first_chunk().ok_or(HeaderError::Damaged)?;
        if bytes[..7] != MAGIC[..7] {
            return Err(HeaderError::Damaged);
        }
        if bytes[7] > MAGIC[7] {
            return Err(HeaderError::Newer(bytes[7]));
        }
        if u32_at(bytes, 56) != Some(crc32c::crc32c(&bytes[..56])) || bytes[7] == 0 {
            return Err(HeaderError::Damaged);
        }
        let field = |at| u64_at(bytes, at).ok_or(HeaderError::Damaged);
        Ok(Self {
            node: *bytes[8..].first_chunk().ok_or(HeaderError::Damaged)?,
            epoch: field(24)?,
            shard: u32_at(bytes, 32).ok_or(HeaderError::Damaged)?,
            number: field(40)?,
            created_ns: field(48)?.cast_signed(),
        })
    }
}

/// What the checksums of a file's records begin with, so that records left in a recycled file never pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(epoch: u64, number: u64) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&epoch.to_le_bytes()), &number.to_le_bytes()))
    }
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Rows and definitions.
    Data = 1,
    /// Delete marker.
    Tombstone = 2,
    /// The catalogue's watermark as u64; also written when idle and at a clean stop, to vouch for what is before it.
    Checkpoint = 3,
    /// A new owner.
    Epoch = 4,
    /// End of an owner, on object storage.
    Seal = 5,
}

impl Kind {
    fn from_u8(code: u8) -> Option<Self> {
        [Self::Data, Self::Tombstone, Self::Checkpoint, Self::Epoch, Self::Seal]
            .into_iter()
            .find(|kind| *kind as u8 == code)
    }
}

/// How the buffers inside a payload are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    /// Not at all.
    None = 0,
    /// LZ4 frames.
    Lz4 = 1,
}

impl Codec {
    fn from_u8(code: u8) -> Option<Self> {
        [Self::None, Self::Lz4].into_iter().find(|codec| *codec as u8 == code)
    }
}

/// A record before it has a place in the log. Made by the request, so that the writer only copies.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    pub(crate) flags: u16,
    pub(crate) tenant: u32,
    /// Which batch of which sender this record ends.
    pub(crate) delivery: Option<Delivery>,
    payload: Vec<u8>,
    payload_crc: u32,
}

impl Encoded {
    pub(crate) fn new(kind: Kind, codec: Codec, tenant: u32, payload: Vec<u8>) -> Self {
        let payload_crc = crc32c::crc32c(&payload);
        Self { kind, codec, flags: 0, tenant, delivery: None, payload, payload_crc }
    }

    /// Bytes it takes in the log.
    pub(crate) fn len(&self) -> usize {
        self.exact_len().next_multiple_of(8)
    }

    fn exact_len(&self) -> usize {
        RECORD_HEADER + self.delivery.map_or(0, |_| DELIVERY) + self.payload.len()
    }

    /// Appends the record to `out`, whose length must be a multiple of 8.
    pub(crate) fn put(&self, out: &mut Vec<u8>, seed: Seed, seq: u64, durable_seq: u64) {
        let start = out.len();
        let len = u32::try_from(self.exact_len()).expect("a record is at most 16 MiB");
        let flags = self.flags | self.delivery.map_or(0, |_| FLAG_AGENT);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&seq.to_le_bytes());
        out.extend_from_slice(&durable_seq.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, self.codec as u8]);
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.tenant.to_le_bytes());
        if let Some(Delivery { agent, epoch, seq }) = self.delivery {
            out.extend_from_slice(&agent.to_le_bytes());
            out.extend_from_slice(&epoch.to_le_bytes());
            out.extend_from_slice(&seq.to_le_bytes());
        }
        let head_crc = crc32c::crc32c_append(seed.0, &out[start + 8..]);
        let crc = crc32c::crc32c_combine(head_crc, self.payload_crc, self.payload.len());
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&self.payload);
        out.resize(out.len().next_multiple_of(8), 0);
    }
}

/// A record as read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    pub(crate) flags: u16,
    pub(crate) tenant: u32,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes it takes in the log.
    pub(crate) fn len(&self) -> usize {
        let delivery = self.delivery.map_or(0, |_| DELIVERY);
        (RECORD_HEADER + delivery + self.payload.len()).next_multiple_of(8)
    }
}

/// What stands at a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A record with a good checksum.
    Record(Record<'a>),
    /// Length zero, or no room for a record: the log ends here.
    End,
    /// Anything else.
    Invalid,
}

/// Reads the record at the start of `bytes`.
pub(crate) fn read(bytes: &[u8], seed: Seed) -> Found<'_> {
    let Some(len) = u32_at(bytes, 0) else { return Found::End };
    if len == 0 {
        return Found::End;
    }
    parse(bytes, len as usize, seed).map_or(Found::Invalid, Found::Record)
}

fn parse(bytes: &[u8], len: usize, seed: Seed) -> Option<Record<'_>> {
    if !(RECORD_HEADER..=RECORD_MAX).contains(&len) {
        return None;
    }
    let bytes = bytes.get(..len)?;
    let kind = Kind::from_u8(bytes[24])?;
    let (seq, durable_seq) = (u64_at(bytes, 8)?, u64_at(bytes, 16)?);
    if durable_seq >= seq {
        return None; // Cheaper to see than a bad checksum, when every place of a file is tried.
    }
    if u32_at(bytes, 4)? != crc32c::crc32c_append(seed.0, &bytes[8..]) {
        return None;
    }
    let flags = u16::from_le_bytes([bytes[26], bytes[27]]);
    let rest = &bytes[RECORD_HEADER..];
    let (delivery, payload) = match flags & FLAG_AGENT {
        0 => (None, rest),
        _ => (Some(read_delivery(rest)?), &rest[DELIVERY..]),
    };
    Some(Record {
        seq,
        durable_seq,
        kind,
        codec: Codec::from_u8(bytes[25])?,
        flags,
        tenant: u32_at(bytes, 28)?,
        delivery,
        payload,
    })
}

fn read_delivery(bytes: &[u8]) -> Option<Delivery> {
    let agent = u128::from_le_bytes(*bytes.first_chunk()?);
    Some(Delivery { agent, epoch: u64_at(bytes, 16)?, seq: u64_at(bytes, 24)? })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn header() -> FileHeader {
        FileHeader { node: [3; 16], epoch: 5, shard: 1, number: 9, created_ns: -7 }
    }

    fn log(payloads: &[Vec<u8>], seed: Seed) -> Vec<u8> {
        let mut out = Vec::new();
        for (seq, payload) in payloads.iter().enumerate() {
            let seq = seq as u64;
            Encoded::new(Kind::Data, Codec::None, 4, payload.clone()).put(
                &mut out,
                seed,
                seq + 1,
                seq,
            );
        }
        out
    }

    fn read_all(mut bytes: &[u8], seed: Seed) -> Vec<(u64, Vec<u8>)> {
        let mut records = Vec::new();
        while let Found::Record(record) = read(bytes, seed) {
            records.push((record.seq, record.payload.to_vec()));
            bytes = bytes.get(record.len()..).unwrap_or(&[]);
        }
        records
    }

    #[test]
    fn a_record_carries_the_name_of_its_batch() {
        let seed = Seed::new(1, 2);
        let name = Delivery { agent: u128::MAX - 5, epoch: 6, seq: 7 };
        for len in 0..20_u8 {
            let mut record = Encoded::new(Kind::Data, Codec::None, 4, vec![9; len.into()]);
            record.delivery = Some(name);
            let mut out = Vec::new();
            record.put(&mut out, seed, 3, 2);
            assert_eq!(out.len(), record.len());
            let Found::Record(found) = read(&out, seed) else { panic!("no record") };
            assert_eq!((found.delivery, found.payload.len()), (Some(name), len.into()));
            assert_eq!(found.len(), record.len());
            for bit in 0..(RECORD_HEADER + DELIVERY) * 8 {
                let mut flipped = out.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(!matches!(read(&flipped, seed), Found::Record(_)), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_is_seen() {
        let bytes = header().encode();
        assert_eq!(FileHeader::decode(&bytes), Ok(header()));
        for bit in 0..60 * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&flipped).is_err(), "bit {bit}");
        }
        assert_eq!(FileHeader::decode(&bytes[..63]), Err(HeaderError::Damaged));
        let mut newer = bytes;
        newer[7] = MAGIC[7] + 1;
        assert_eq!(FileHeader::decode(&newer), Err(HeaderError::Newer(MAGIC[7] + 1)));
    }

    proptest! {
        #[test]
        fn any_prefix_gives_a_prefix_of_the_records(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let seed = Seed::new(1, 2);
            let bytes = log(&payloads, seed);
            let whole = read_all(&bytes, seed);
            prop_assert_eq!(whole.len(), payloads.len());
            let cut = if bytes.is_empty() { 0 } else { cut.index(bytes.len()) };
            let part = read_all(&bytes[..cut], seed);
            prop_assert_eq!(&whole[..part.len()], &part[..]);
        }

        #[test]
        fn a_flipped_bit_never_gives_a_wrong_record(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let seed = Seed::new(1, 2);
            let mut bytes = log(&payloads, seed);
            let whole = read_all(&bytes, seed);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            for record in read_all(&bytes, seed) {
                prop_assert!(whole.contains(&record));
            }
        }

        #[test]
        fn records_of_another_file_or_epoch_never_pass(payload in prop::collection::vec(any::<u8>(), 0..40), epoch in 0_u64..4, number in 0_u64..4) {
            let bytes = log(&[payload], Seed::new(7, 7));
            prop_assert_eq!(read(&bytes, Seed::new(epoch, number)), Found::Invalid);
        }

        #[test]
        fn hostile_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!matches!(read(&bytes, Seed::new(0, 0)), Found::Record(_)));
        }
    }
}
