//! `headrope-trace-rows-v1`: in which blocks of rows the spans of a trace are.
//!
//! Little endian: chunks u32, CRC32C of the list u32, the list, the chunks. The list has for each chunk of up to 128
//! traces the first 8 bytes of its first trace id as a number u64, where it ends u32, counted from the end of the list,
//! and its CRC32C u32. A chunk has for each trace, in the order of those numbers: the difference to the one before (from
//! zero for the first of a chunk), the number of its blocks, and for each block the difference to the one before.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use roaring::RoaringBitmap;

use super::BLOCK_ROWS;
use crate::schema::columns;
use crate::varint::{Reader, put};

const TRACES: usize = 128;
const ENTRY: usize = 16;
const HEAD: usize = 8;

/// Gathers where the traces of one segment are.
#[derive(Default)]
pub(super) struct TracesBuilder {
    rows: usize,
    /// First bytes of ids, and blocks.
    places: Vec<(u64, u32)>,
}

/// What stands for a trace id in the index.
fn prefix(id: &[u8]) -> u64 {
    id.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

impl TracesBuilder {
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        let ids =
            batch.column_by_name(columns::TRACE_ID).and_then(|ids| ids.as_fixed_size_binary_opt());
        let Some(ids) = ids else { return };
        for row in 0..ids.len() {
            let block = u32::try_from((self.rows + row) / BLOCK_ROWS).unwrap_or(u32::MAX);
            self.places.push((prefix(ids.value(row)), block));
        }
        self.rows += batch.num_rows();
    }

    /// Bytes of memory held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.places.capacity() * size_of::<(u64, u32)>()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.places.sort_unstable();
        self.places.dedup();
        let (mut list, mut chunks) = (Vec::new(), Vec::new());
        let mut traces = self.places.chunk_by(|a, b| a.0 == b.0).peekable();
        while let Some(first) = traces.peek().and_then(|places| places.first()).map(|place| place.0)
        {
            let start = chunks.len();
            let mut last = 0;
            for places in traces.by_ref().take(TRACES) {
                let prefix = places.first().map_or(last, |place| place.0);
                put(&mut chunks, prefix - last);
                last = prefix;
                put(&mut chunks, places.len() as u64);
                let mut before = 0;
                for (_, block) in places {
                    put(&mut chunks, u64::from(block - before));
                    before = *block;
                }
            }
            list.extend_from_slice(&first.to_le_bytes());
            let end = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
            list.extend_from_slice(&end.to_le_bytes());
            list.extend_from_slice(&crc32c::crc32c(&chunks[start..]).to_le_bytes());
        }
        let n_chunks = u32::try_from(list.len() / ENTRY).unwrap_or(u32::MAX).to_le_bytes();
        [&n_chunks[..], &crc32c::crc32c(&list).to_le_bytes(), &list, &chunks].concat()
    }
}

/// The list of chunks of one segment.
pub(crate) struct Traces {
    chunks: Vec<Chunk>,
}

#[derive(Clone, Copy)]
struct Chunk {
    first: u64,
    start: u64,
    end: u64,
    crc: u32,
}

impl Traces {
    /// Reads the list through `read` (offset in the blob, bytes).
    pub(super) fn new(read: &dyn Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Self> {
        let head = read(0, HEAD)?;
        let mut reader = Reader(&head);
        let n_chunks = u32::from_le_bytes(reader.bytes()?) as usize;
        let crc = u32::from_le_bytes(reader.bytes()?);
        let list = read(HEAD as u64, n_chunks.checked_mul(ENTRY)?)?;
        if crc32c::crc32c(&list) != crc {
            return None;
        }
        let base = (HEAD + list.len()) as u64;
        let mut reader = Reader(&list);
        let mut chunks = Vec::with_capacity(n_chunks);
        let mut start = base;
        while !reader.0.is_empty() {
            let first = u64::from_le_bytes(reader.bytes()?);
            let end = base.checked_add(u64::from(u32::from_le_bytes(reader.bytes()?)))?;
            let crc = u32::from_le_bytes(reader.bytes()?);
            chunks.push(Chunk { first, start, end, crc });
            start = end;
        }
        Some(Self { chunks })
    }

    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * size_of::<Chunk>()
    }

    /// The blocks that may hold spans of the trace `id`; `None` when the blob is damaged.
    pub(super) fn blocks(
        &self,
        id: &[u8],
        read: &dyn Fn(u64, usize) -> Option<Vec<u8>>,
    ) -> Option<RoaringBitmap> {
        let wanted = prefix(id);
        let mut blocks = RoaringBitmap::new();
        let place = self.chunks.partition_point(|chunk| chunk.first <= wanted);
        let Some(chunk) = place.checked_sub(1).and_then(|place| self.chunks.get(place)) else {
            return Some(blocks);
        };
        let bytes = read(chunk.start, usize::try_from(chunk.end.checked_sub(chunk.start)?).ok()?)?;
        if crc32c::crc32c(&bytes) != chunk.crc {
            return None;
        }
        let mut reader = Reader(&bytes);
        let mut at = 0_u64;
        while !reader.0.is_empty() {
            at = at.checked_add(reader.number()?)?;
            let n_blocks = reader.number()?;
            let mut block = 0;
            for _ in 0..n_blocks {
                block = u32::checked_add(block, u32::try_from(reader.number()?).ok()?)?;
                if at == wanted {
                    blocks.insert(block);
                }
            }
            if at >= wanted {
                break;
            }
        }
        Some(blocks)
    }
}
