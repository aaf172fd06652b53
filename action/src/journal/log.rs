//! One journal file: header, framed records, the chain of hashes over them, and how the file is read
//! back after a crash. Synchronous; only the journal's own thread calls it once it is open.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::time::Timestamp;
use sha2::{Digest, Sha256};

use super::record::{Event, PAYLOAD_BYTES_MAX};
use crate::error::Error;

/// Version of the format; `docs/format/journal.md` states the same number.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"HRACTJNL";
pub(crate) const HEADER_BYTES: usize = 64;
const MARKER: [u8; 4] = *b"HRj\x01";
/// Marker, length, checksum.
pub(crate) const FRAME_BYTES: usize = 12;
/// Chain hash, sequence number, durable length, time.
const PREFIX_BYTES: usize = 56;

type Hash = [u8; 32];

/// The file records are appended to.
pub(crate) struct Log {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    generation: u64,
    /// Everything before this offset is on disk.
    len: u64,
    /// Length when the file was made: what a rewrite cannot save.
    base_len: u64,
    seq: u64,
    chain: Hash,
}

/// What opening found.
pub(crate) struct Opened {
    pub(crate) log: Log,
    /// All records, oldest first.
    pub(crate) events: Vec<Event>,
    /// Bytes of an unfinished write that were cut off.
    pub(crate) torn_bytes: u64,
}

/// Why an append failed, and whether another may succeed.
pub(crate) enum AppendError {
    /// The file is as it was before: try again.
    Undone(std::io::Error),
    /// What is on disk is unknown: nothing more may be written.
    Unknown(std::io::Error),
}

impl Log {
    /// Opens the newest file of `dir`, or makes the first one.
    pub(crate) fn open(dir: &Path) -> Result<Opened, Error> {
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let mut generations = Vec::new();
        for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
            let path = entry.map_err(Error::io("read", dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("journal-") && name.ends_with(".tmp") {
                // A rewrite that a crash cut short; the file it should have replaced is whole.
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            } else if let Some(generation) = generation_of(name) {
                generations.push(generation);
            }
        }
        generations.sort_unstable();
        let Some(newest) = generations.pop() else {
            let log = Self::create(dir, 1, [0; 32], 0, &[])?;
            return Ok(Opened { log, events: Vec::new(), torn_bytes: 0 });
        };
        let opened = Self::read(dir, newest)?;
        for old in generations {
            let path = file_path(dir, old);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(opened)
    }

    /// Writes the whole file under a temporary name, then gives it its own: it exists whole or not at all.
    fn create(
        dir: &Path,
        generation: u64,
        chain: Hash,
        seq: u64,
        events: &[(Timestamp, Event)],
    ) -> Result<Self, Error> {
        let path = file_path(dir, generation);
        let temporary = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        // Messages hold what the monitored systems say of themselves: not for everyone's eyes.
        let options = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&temporary).map_err(Error::io("create", &temporary))?;
        let mut bytes = header(generation, &chain).to_vec();
        let mut tail = Tail { chain, seq, durable: 0 };
        events.iter().for_each(|(time, event)| tail.encode(*time, event, &mut bytes));
        file.write_all_at(&bytes, 0).map_err(Error::io("write", &temporary))?;
        file.sync_all().map_err(Error::io("sync", &temporary))?;
        fs::rename(&temporary, &path).map_err(Error::io("rename", &temporary))?;
        sync_dir(dir)?;
        let len = bytes.len() as u64;
        let (seq, chain) = (tail.seq, tail.chain);
        Ok(Self { dir: dir.to_owned(), path, file, generation, len, base_len: len, seq, chain })
    }

    fn read(dir: &Path, generation: u64) -> Result<Opened, Error> {
        let path = file_path(dir, generation);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        let chain = check_header(&path, generation, &bytes)?;
        let mut replay = Replay { bytes: &bytes, at: HEADER_BYTES, chain, seq: None };
        let mut events = Vec::new();
        let corrupt =
            |at: usize, problem| Error::Corrupt { path: path.clone(), at: at as u64, problem };
        loop {
            match replay.next() {
                Step::Event(event) => events.push(event),
                Step::End => break,
                Step::Broken(problem) => return Err(corrupt(replay.at, problem)),
                Step::Torn if replay.was_durable() => {
                    return Err(corrupt(replay.at, "records that were once on disk are damaged"));
                }
                Step::Torn => break,
            }
        }
        let (at, chain, seq) =
            (replay.at as u64, replay.chain, replay.seq.map_or(0, |seq| seq + 1));
        let torn_bytes = bytes.len() as u64 - at;
        if torn_bytes > 0 {
            file.set_len(at).map_err(Error::io("truncate", &path))?;
            file.sync_all().map_err(Error::io("sync", &path))?;
        }
        let dir = dir.to_owned();
        let log = Self { dir, path, file, generation, len: at, base_len: 0, seq, chain };
        Ok(Opened { log, events, torn_bytes })
    }

    /// Appends all of `events` or none, and returns once they are on disk.
    pub(crate) fn append(&mut self, now: Timestamp, events: &[&Event]) -> Result<(), AppendError> {
        let mut tail = Tail { chain: self.chain, seq: self.seq, durable: self.len };
        let mut bytes = Vec::new();
        events.iter().for_each(|event| tail.encode(now, event, &mut bytes));
        if let Err(error) = self.file.write_all_at(&bytes, self.len) {
            // A part may have been written: without it, the next append starts where this one did.
            return Err(match self.file.set_len(self.len) {
                Ok(()) => AppendError::Undone(error),
                Err(_) => AppendError::Unknown(error),
            });
        }
        // After a failed sync the kernel may have dropped the pages: a second one would lie.
        self.file.sync_data().map_err(AppendError::Unknown)?;
        self.len += bytes.len() as u64;
        (self.seq, self.chain) = (tail.seq, tail.chain);
        Ok(())
    }

    /// Whether rewriting is due: above `limit` and at least doubled since the last time.
    pub(crate) const fn is_long(&self, limit: u64) -> bool {
        self.len > limit && self.len / 2 > self.base_len
    }

    /// Makes a new file that begins with `events` and replaces this one.
    ///
    /// On an error before the new file has its name, this one stays in use; after it, nothing may be
    /// appended to either, which the second value tells.
    pub(crate) fn rewrite(&mut self, events: &[(Timestamp, Event)]) -> Result<(), (Error, bool)> {
        let generation = self.generation + 1;
        let next = match Self::create(&self.dir, generation, self.chain, self.seq, events) {
            Ok(next) => next,
            Err(error) => {
                self.base_len = self.len; // The next try comes when it has doubled again.
                return Err((error, file_path(&self.dir, generation).exists()));
            }
        };
        let old = std::mem::replace(self, next);
        // Not being able to remove the old file harms nothing: the higher generation wins at open.
        fs::remove_file(&old.path).map_err(|source| (Error::io("remove", &old.path)(source), false))
    }

    /// From now on nothing can be written to the file, nor cut off it.
    #[cfg(test)]
    pub(crate) fn break_file(&mut self) {
        self.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    }

    /// Bytes of the file.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }
}

fn file_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("journal-{generation:08}.log"))
}

fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(".log")?;
    digits.parse().ok().filter(|generation| *generation > 0)
}

/// A new name is durable only once its directory is.
fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))
}

fn header(generation: u64, chain: &Hash) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&generation.to_le_bytes());
    header[24..56].copy_from_slice(chain);
    let crc = crc32c::crc32c(&header[..60]);
    header[60..64].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Returns the hash the chain of this file begins with.
fn check_header(path: &Path, generation: u64, bytes: &[u8]) -> Result<Hash, Error> {
    let corrupt = |problem| Error::Corrupt { path: path.to_owned(), at: 0, problem };
    let (Some(head), Some(found)) = (bytes.get(..HEADER_BYTES), u32_at(bytes, 8)) else {
        return Err(corrupt("the header is cut short"));
    };
    if head[..8] != MAGIC {
        return Err(corrupt("this is no action journal"));
    }
    // Told before the checksum is: a newer format may well place it elsewhere.
    if found > FORMAT {
        return Err(Error::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    let mut chain = [0; 32];
    chain.copy_from_slice(&head[24..56]);
    let whole = header(generation, &chain) == *head;
    if whole { Ok(chain) } else { Err(corrupt("bad header")) }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(field.try_into().ok()?))
}

/// Covers the length as well: a flipped length is damage like any other.
fn checksum(length: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(length), payload)
}

fn chained(previous: &Hash, rest: &[u8]) -> Hash {
    Sha256::new().chain_update(previous).chain_update(rest).finalize().into()
}

/// Where encoding stands: what the next record refers back to.
struct Tail {
    chain: Hash,
    seq: u64,
    durable: u64,
}

impl Tail {
    fn encode(&mut self, time: Timestamp, event: &Event, out: &mut Vec<u8>) {
        let mut rest = Vec::with_capacity(256);
        rest.extend(self.seq.to_le_bytes());
        rest.extend(self.durable.to_le_bytes());
        rest.extend(time.0.to_le_bytes());
        event.encode(&mut rest);
        self.chain = chained(&self.chain, &rest);
        self.seq += 1;
        let payload = [&self.chain[..], &rest].concat();
        let length = u32::try_from(payload.len()).expect("payloads are bounded").to_le_bytes();
        out.extend(MARKER);
        out.extend(length);
        out.extend(checksum(&length, &payload).to_le_bytes());
        out.extend(payload);
    }
}

/// Reads records one by one.
struct Replay<'a> {
    bytes: &'a [u8],
    at: usize,
    chain: Hash,
    seq: Option<u64>,
}

enum Step {
    Event(Event),
    End,
    /// What follows was not completely written, or was damaged since.
    Torn,
    /// It is as it was written, but not by us, or not here.
    Broken(&'static str),
}

impl Replay<'_> {
    fn next(&mut self) -> Step {
        if self.at == self.bytes.len() {
            return Step::End;
        }
        let Some(payload) = frame(self.bytes, self.at) else { return Step::Torn };
        let (chain, rest) = payload.split_at(32);
        let expected = chained(&self.chain, rest);
        if chain != expected {
            return Step::Broken("the chain of hashes is broken");
        }
        let seq = u64_at(rest, 0).unwrap_or_default();
        if self.seq.is_some_and(|last| seq != last + 1) {
            return Step::Broken("a record is missing");
        }
        let Some(event) = Event::decode(&payload[PREFIX_BYTES..]) else {
            return Step::Broken("unknown record");
        };
        (self.chain, self.seq) = (expected, Some(seq));
        self.at += FRAME_BYTES + payload.len();
        Step::Event(event)
    }

    /// Whether a later whole record tells that the bytes at `at` had once reached the disk.
    ///
    /// Without one, the bad bytes are the end of a write that was never acknowledged: the pages of one
    /// write may reach the disk in any order, so whole records after a torn one prove nothing by themselves.
    fn was_durable(&self) -> bool {
        let rest = &self.bytes[self.at..];
        let starts = rest.windows(MARKER.len()).enumerate().filter(|(_, window)| *window == MARKER);
        starts
            .filter_map(|(offset, _)| frame(self.bytes, self.at + offset))
            .filter_map(|payload| u64_at(payload, 40))
            .any(|durable| durable > self.at as u64)
    }
}

/// The payload of the frame at `at`, if it is whole.
fn frame(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let head = bytes.get(at..at + FRAME_BYTES)?;
    let len = usize::try_from(u32_at(head, 4)?).ok()?;
    if head[..4] != MARKER || !(PREFIX_BYTES..=PAYLOAD_BYTES_MAX).contains(&len) {
        return None;
    }
    let payload = bytes.get(at + FRAME_BYTES..at + FRAME_BYTES + len)?;
    (checksum(&head[4..8], payload) == u32_at(head, 8)?).then_some(payload)
}

#[cfg(test)]
mod tests;
