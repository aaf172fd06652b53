//! Reading segments: every block is checked against its checksum when it enters memory.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::FieldRef;
use bytes::Bytes;
use model::time::Timestamp;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::{ChunkReader, Length};

use crate::catalogue::DataFile;
use crate::delete::kept::Ranges;
use crate::error::Error;
use crate::index::cache::CACHE;
use crate::promote::COUNTS_KEY;
use crate::schema::columns::PROMOTED;
use crate::segment::puffin::{self, BLOCK, Sidecar};
use crate::segment::write::{Facts, sidecar_path};

/// Ranges are read in one go up to this many bytes.
const RUN_BYTES_MAX: u64 = 4 << 20;

/// A live segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) data: DataFile,
    pub(crate) file: PathBuf,
    crcs: OnceLock<Arc<[u32]>>,
    /// Rows that deletes hide, by number of the delete, as far as somebody asked.
    pub(crate) deleted: Mutex<Vec<(i64, Ranges)>>,
    /// Where the first bad block began, once one was met.
    bad: Arc<Mutex<Option<u64>>>,
}

impl Segment {
    pub(crate) fn new(data: DataFile, dir: &Path) -> Self {
        let file = dir.join(&data.facts.path);
        let (crcs, deleted, bad) = (OnceLock::new(), Mutex::default(), Arc::default());
        Self { data, file, crcs, deleted, bad }
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.data.facts
    }

    /// Number in the catalogue.
    pub(crate) fn id(&self) -> i64 {
        self.data.id
    }

    /// Later commits win over earlier ones.
    pub(crate) fn commit_order(&self) -> i64 {
        self.data.commit_order
    }

    /// Its place among segments, oldest first. Of one commit order what reaches further back comes first: it holds rows
    /// of earlier commits as well, so what the others say of an instant is the later word.
    pub(crate) fn order(&self) -> (i64, u64, i64) {
        (self.data.commit_order, self.data.origin.lo, self.data.id)
    }

    /// Whether a row may lie in `[min, max]` (ns, both ends included).
    pub(crate) fn overlaps(&self, min: Timestamp, max: Timestamp) -> bool {
        self.data.facts.min_time <= max && min <= self.data.facts.max_time
    }

    pub(crate) fn has_metric(&self, metric: &str) -> bool {
        self.data.facts.metrics.binary_search_by(|known| known.as_ref().cmp(metric)).is_ok()
    }

    /// A reader of its rows, page index loaded. Blocks.
    pub(crate) fn reader(
        &self,
        blocks: &Blocks,
    ) -> Result<ParquetRecordBatchReaderBuilder<Blocks>, Error> {
        let mut failure = None;
        let footer = CACHE.value(&self.file, "footer", || {
            let options =
                ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
            match ArrowReaderMetadata::load(blocks, options) {
                Ok(footer) => {
                    let bytes = footer.metadata().memory_size();
                    Some((footer, bytes))
                }
                Err(error) => {
                    failure = Some(self.corrupt(blocks, &error));
                    None
                }
            }
        });
        match (footer, failure) {
            (Some(footer), _) => Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(
                blocks.clone(),
                ArrowReaderMetadata::clone(&footer),
            )),
            (None, Some(error)) => Err(error),
            (None, None) => Err(self.corrupt(blocks, &"its footer cannot be read")),
        }
    }

    /// How many of its rows have which attributes, as its metadata says. Blocks.
    pub(crate) fn attribute_counts(&self) -> Result<Option<String>, Error> {
        let reader = self.reader(&self.blocks()?)?;
        let pairs = reader.metadata().file_metadata().key_value_metadata();
        let pair = pairs.into_iter().flatten().find(|pair| pair.key == COUNTS_KEY);
        Ok(pair.and_then(|pair| pair.value.clone()))
    }

    /// Its columns beyond those of its table: promoted attributes. Blocks.
    pub(crate) fn promoted(&self) -> Result<Arc<Vec<FieldRef>>, Error> {
        let mut failure = None;
        let columns = CACHE.value(&self.file, "promoted", || {
            let reader = self.blocks().and_then(|blocks| self.reader(&blocks));
            match reader {
                Ok(reader) => {
                    let fields = reader.schema().fields().iter();
                    let is_promoted = |field: &&FieldRef| field.name().starts_with(PROMOTED);
                    let columns: Vec<FieldRef> = fields.filter(is_promoted).cloned().collect();
                    let bytes = columns.len() * 128;
                    Some((columns, bytes))
                }
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        });
        match (columns, failure) {
            (Some(columns), _) => Ok(columns),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Arc::default()),
        }
    }

    /// All of its rows. Blocks.
    pub(crate) fn rows(&self) -> Result<Vec<RecordBatch>, Error> {
        let blocks = self.blocks()?;
        let batches =
            self.reader(&blocks)?.build().map_err(|error| self.corrupt(&blocks, &error))?;
        batches.map(|batch| batch.map_err(|error| self.corrupt(&blocks, &error))).collect()
    }

    /// Checked bytes of some ranges, for readers of their own. Blocks.
    pub(crate) fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
        let blocks = self.blocks()?;
        blocks.ranges(ranges).map_err(|error| self.corrupt(&blocks, &error))
    }

    /// Whether bytes read of it were not those written.
    pub(crate) fn is_damaged(&self) -> bool {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn damage(&self, offset: u64) {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(offset);
    }

    /// What a failed read of this segment means.
    pub(crate) fn corrupt(&self, blocks: &Blocks, error: &dyn std::fmt::Display) -> Error {
        let offset = blocks.bad.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(0);
        Error::Corrupt { path: self.file.clone(), offset, reason: error.to_string() }
    }

    /// It gives fewer rows than its catalogue says.
    pub(crate) fn lacks_rows(&self) -> Error {
        let reason = "it has fewer rows than the catalogue says".to_owned();
        Error::Corrupt { path: self.file.clone(), offset: 0, reason }
    }

    pub(crate) fn blocks(&self) -> Result<Blocks, Error> {
        let file = File::open(&self.file).map_err(|error| {
            // A file goes only when nobody may read it any more: of one that is read, all is lost.
            if error.kind() == io::ErrorKind::NotFound {
                self.damage(0);
            }
            Error::io("open", &self.file)(error)
        })?;
        let len = file.metadata().map_err(Error::io("open", &self.file))?.len();
        if len != self.data.facts.bytes {
            let reason =
                format!("it has {len} bytes, the catalogue says {}", self.data.facts.bytes);
            self.damage(len);
            return Err(Error::Corrupt { path: self.file.clone(), offset: len, reason });
        }
        let crcs = match self.crcs.get() {
            Some(crcs) => Arc::clone(crcs),
            None => {
                let crcs = self.load_crcs(&file)?;
                Arc::clone(self.crcs.get_or_init(|| crcs))
            }
        };
        Ok(Blocks { file: Arc::new(file), len, crcs, bad: Arc::clone(&self.bad) })
    }

    /// Block checksums from the sidecar, or, without one, from the file once all of it matched the catalogue.
    fn load_crcs(&self, file: &File) -> Result<Arc<[u32]>, Error> {
        let n_blocks = self.data.facts.bytes.div_ceil(BLOCK as u64);
        if let Some(sidecar) = self.sidecar()
            && let Some(blob) = sidecar.blob(puffin::BLOCKS_CRC)
        {
            let crcs: Arc<[u32]> = blob
                .chunks_exact(4)
                .map(|crc| u32::from_le_bytes([crc[0], crc[1], crc[2], crc[3]]))
                .collect();
            if crcs.len() as u64 == n_blocks {
                return Ok(crcs);
            }
        }
        tracing::warn!(path = %self.file.display(), "sidecar missing or damaged, whole segment checked");
        let mut crcs = Vec::new();
        let mut whole = 0;
        let mut block = vec![0; BLOCK];
        for i in 0..n_blocks {
            let at = i * BLOCK as u64;
            let len =
                usize::try_from((self.data.facts.bytes - at).min(BLOCK as u64)).unwrap_or(BLOCK);
            file.read_exact_at(&mut block[..len], at).map_err(Error::io("read", &self.file))?;
            crcs.push(crc32c::crc32c(&block[..len]));
            whole = crc32c::crc32c_append(whole, &block[..len]);
        }
        if whole != self.data.facts.crc {
            self.damage(0);
            let reason = "bad checksum of the whole file".to_owned();
            return Err(Error::Corrupt { path: self.file.clone(), offset: 0, reason });
        }
        Ok(Arc::from(crcs))
    }

    /// Its sidecar; `None` when that is missing or damaged. Blocks.
    pub(crate) fn sidecar(&self) -> Option<Arc<Sidecar>> {
        CACHE.value(&self.file, "sidecar", || {
            let sidecar = Sidecar::open(&self.sidecar_path())?;
            let bytes = 128 * sidecar.sizes().count();
            Some((sidecar, bytes))
        })
    }

    pub(crate) fn sidecar_path(&self) -> PathBuf {
        let path = sidecar_path(&self.data.facts.path);
        let name = Path::new(&path).file_name().unwrap_or_default();
        self.file.with_file_name(name)
    }

    /// Checks every block, for `verify`. Blocks.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let blocks = self.blocks()?;
        let mut at = 0;
        while at < self.data.facts.bytes {
            let len = (self.data.facts.bytes - at).min(16 * BLOCK as u64);
            blocks
                .checked(at, usize::try_from(len).unwrap_or(BLOCK))
                .map_err(|error| self.corrupt(&blocks, &error))?;
            at += len;
        }
        Ok(())
    }
}

/// Numbers of ranges, put together whose blocks overlap or follow each other, as far as one read of them stays small.
fn runs(ranges: &[Range<u64>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&i| ranges[i].start);
    let (mut runs, mut from, mut to) = (Vec::<Vec<usize>>::new(), 0, 0);
    for i in order {
        let range = &ranges[i];
        let is_near = range.start / BLOCK as u64 <= to;
        match runs.last_mut() {
            Some(run) if is_near && range.end.saturating_sub(from) <= RUN_BYTES_MAX => run.push(i),
            _ => {
                runs.push(vec![i]);
                (from, to) = (range.start, 0);
            }
        }
        to = to.max(range.end.div_ceil(BLOCK as u64));
    }
    runs
}

/// Exactly `len` bytes at `at`, into memory that nobody has to clear first.
fn read_at(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let next = at + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), next) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// A segment file whose blocks are checked as they are read.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    file: Arc<File>,
    len: u64,
    crcs: Arc<[u32]>,
    /// Where the first bad block began.
    bad: Arc<Mutex<Option<u64>>>,
}

impl Blocks {
    /// The bytes of each range; a block that several of them touch is read once.
    fn ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let mut found = vec![Bytes::new(); ranges.len()];
        for run in runs(ranges) {
            let from = run.iter().map(|&i| ranges[i].start).min().unwrap_or(0);
            let to = run.iter().map(|&i| ranges[i].end).max().unwrap_or(0);
            let bytes =
                self.checked(from, usize::try_from(to - from).map_err(io::Error::other)?)?;
            let place = |at: u64| usize::try_from(at - from).map_err(io::Error::other);
            for i in run {
                found[i] = bytes.slice(place(ranges[i].start)?..place(ranges[i].end)?);
            }
        }
        Ok(found)
    }

    /// The bytes at `start`, read as whole blocks and checked.
    fn checked(&self, start: u64, len: usize) -> io::Result<Bytes> {
        let end = start.checked_add(len as u64).filter(|end| *end <= self.len);
        let end = end
            .ok_or_else(|| io::Error::other(format!("{len} bytes at {start} are past the end")))?;
        let first = start / BLOCK as u64;
        let from = first * BLOCK as u64;
        let to = end.next_multiple_of(BLOCK as u64).min(self.len);
        let size = usize::try_from(to - from).map_err(io::Error::other)?;
        let bytes = read_at(&self.file, from, size)?;
        for (i, block) in (first..).zip(bytes.chunks(BLOCK)) {
            let known = usize::try_from(i).ok().and_then(|i| self.crcs.get(i));
            if known != Some(&crc32c::crc32c(block)) {
                let at = i * BLOCK as u64;
                self.bad.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(at);
                return Err(io::Error::other("bad checksum"));
            }
        }
        let skip = usize::try_from(start - from).map_err(io::Error::other)?;
        Ok(Bytes::from(bytes).slice(skip..skip + len))
    }
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Blocks {
    type T = BlockRead;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BlockRead { blocks: self.clone(), at: start, buffer: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.checked(start, length).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Sequential reading, block by block.
pub(crate) struct BlockRead {
    blocks: Blocks,
    at: u64,
    buffer: Bytes,
}

impl Read for BlockRead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffer.is_empty() && self.at < self.blocks.len {
            let end = (self.at + 1).next_multiple_of(BLOCK as u64).min(self.blocks.len);
            let len = usize::try_from(end - self.at).map_err(io::Error::other)?;
            self.buffer = self.blocks.checked(self.at, len)?;
            self.at = end;
        }
        let len = out.len().min(self.buffer.len());
        out[..len].copy_from_slice(&self.buffer.split_to(len));
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const LEN: usize = 5 * BLOCK + 777;

    fn blocks(bytes: &[u8]) -> (tempfile::NamedTempFile, Blocks) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let crcs = bytes.chunks(BLOCK).map(crc32c::crc32c).collect();
        let (len, bad) = (bytes.len() as u64, Arc::default());
        let opened = Arc::new(File::open(file.path()).unwrap());
        (file, Blocks { file: opened, len, crcs, bad })
    }

    #[test]
    fn a_read_past_the_end_is_refused() {
        let (_file, blocks) = blocks(&[7; 100]);
        assert_eq!(blocks.checked(90, 10).unwrap().len(), 10);
        blocks.checked(90, 11).unwrap_err();
        blocks.checked(u64::MAX, 1).unwrap_err();
    }

    proptest! {
        #[test]
        fn ranges_read_back_whatever_they_share(ends in prop::collection::vec((0..LEN, 0..LEN), 0..20)) {
            let bytes: Vec<u8> = (0..LEN).map(|i| u8::try_from(i * 31 / 7 % 251).unwrap()).collect();
            let (_file, blocks) = blocks(&bytes);
            let ranges: Vec<Range<usize>> = ends.iter().map(|&(a, b)| a.min(b)..a.max(b)).collect();
            let wanted: Vec<Range<u64>> = ranges.iter().map(|r| r.start as u64..r.end as u64).collect();
            let found = blocks.ranges(&wanted).unwrap();
            prop_assert_eq!(found.len(), ranges.len());
            for (found, range) in found.iter().zip(ranges) {
                prop_assert!(found[..] == bytes[range]);
            }
        }

        #[test]
        fn no_block_is_read_twice(starts in prop::collection::vec(0..4_000_000_u64, 1..20)) {
            let ranges: Vec<Range<u64>> = starts.iter().map(|&at| at..at + 100).collect();
            let mut read: Vec<u64> = Vec::new();
            for run in runs(&ranges) {
                let from = run.iter().map(|&i| ranges[i].start).min().unwrap() / BLOCK as u64;
                let to = run.iter().map(|&i| ranges[i].end).max().unwrap().div_ceil(BLOCK as u64);
                read.extend(from..to);
            }
            let n_read = read.len();
            read.sort_unstable();
            read.dedup();
            prop_assert_eq!(n_read, read.len());
        }
    }
}
