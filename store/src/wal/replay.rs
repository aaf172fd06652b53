//! Reading the log back: which records are whole, and whether what is missing was ever acknowledged.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::wal::record::{FILE_HEADER, FileHeader, Found, HeaderError, MAGIC, Record, Seed, read};
use crate::wal::writer::parse_name;

/// Most bytes read of one log file: larger ones were not written by us.
const FILE_BYTES_MAX: u64 = 128 << 20;
const ZEROS: [u8; 4096] = [0; 4096];

/// A log file after its records were checked.
#[derive(Clone, Debug)]
pub(crate) struct Scanned {
    pub(crate) path: PathBuf,
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    /// File size in bytes.
    pub(crate) bytes: u64,
    /// First and last sequence of the whole records up to the first break that matters; `None` when there are none.
    pub(crate) range: Option<(u64, u64)>,
    /// Where the whole records end.
    pub(crate) end: u64,
    /// Whether only zeros follow, at least one: space that was reserved and not used.
    pub(crate) has_reserved_tail: bool,
    /// Whether something else than a clean end follows.
    pub(crate) is_broken: bool,
    /// First sequence of whole records behind the break, if any.
    pub(crate) after_break: Option<u64>,
    /// Breaks within `range` whose every record is at or below the watermark.
    pub(crate) healed: Vec<Damage>,
    /// Highest sequence any of its records vouches for.
    pub(crate) durable_seq: u64,
}

/// A whole log after it was checked.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Files with records, oldest first.
    pub(crate) files: Vec<Scanned>,
    /// Files that never held an acknowledged record.
    pub(crate) empty: Vec<Scanned>,
}

/// Acknowledged records that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
}

/// Checks every log file in `dir`. A break that lost nothing above `watermark` is passed over: its rows are in segments.
///
/// # Errors
///
/// When a file cannot be read or has a newer format.
pub(crate) fn scan(dir: &Path, watermark: u64) -> Result<Log, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_name);
        names.extend(name.map(|name| (name, path)));
    }
    names.sort();
    let mut log = Log::default();
    for ((epoch, number), path) in names {
        let file = scan_file(&path, (epoch, number), watermark)?;
        if file.range.is_some() || file.after_break.is_some() {
            log.files.push(file);
        } else {
            log.empty.push(file);
        }
    }
    Ok(log)
}

/// The bytes of a log file.
pub(crate) fn load(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// The first whole record at or behind `at`, with its offset, whatever stands before it.
pub(crate) fn next_record(bytes: &[u8], mut at: usize, seed: Seed) -> Option<(usize, Record<'_>)> {
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match read(rest, seed) {
            Found::Record(record) => return Some((at, record)),
            // What stands behind a break or an end may still be whole: look at every place a record can begin.
            Found::End if rest.get(..ZEROS.len()).is_some_and(|page| page == ZEROS) => {
                at += ZEROS.len()
            }
            Found::End | Found::Invalid => at += 8,
        }
    }
    None
}

fn scan_file(path: &Path, (epoch, number): (u64, u64), watermark: u64) -> Result<Scanned, Error> {
    let bytes = load(path)?;
    if let Err(HeaderError::Newer(found)) = FileHeader::decode(&bytes) {
        let supported = u64::from(MAGIC[7]);
        return Err(Error::NewerFormat {
            what: "log file",
            path: path.to_owned(),
            found: found.into(),
            supported,
        });
    }
    let mut file = Scanned {
        path: path.to_owned(),
        epoch,
        number,
        bytes: bytes.len() as u64,
        range: None,
        end: FILE_HEADER as u64,
        has_reserved_tail: false,
        is_broken: false,
        after_break: None,
        healed: Vec::new(),
        durable_seq: 0,
    };
    // Seeds come from the name: a damaged header loses no record, and a recycled file shows none of its old ones.
    let seed = Seed::new(epoch, number);
    let mut next = FILE_HEADER;
    let mut from = FILE_HEADER;
    while let Some((at, record)) = next_record(&bytes, from, seed) {
        from = at + record.len();
        file.durable_seq = file.durable_seq.max(record.durable_seq);
        let follows = file.range.is_none_or(|(_, last)| record.seq == last + 1);
        let is_next = at == next && follows;
        // Behind a break whose records are all in segments the log goes on.
        let is_healed =
            record.seq <= watermark + 1 && file.range.is_none_or(|(_, last)| record.seq > last);
        if file.after_break.is_none() && (is_next || is_healed) {
            if !is_next {
                file.healed.push(Damage {
                    path: path.to_owned(),
                    offset: next as u64,
                    first_seq: file.range.map_or(record.seq, |(_, last)| last + 1),
                    last_seq: record.seq - 1,
                });
            }
            next = from;
            file.range = Some((file.range.map_or(record.seq, |(first, _)| first), record.seq));
        } else {
            file.after_break.get_or_insert(record.seq);
        }
    }
    file.end = next as u64;
    file.has_reserved_tail = next < bytes.len()
        && bytes[next..].chunks(ZEROS.len()).all(|page| *page == ZEROS[..page.len()]);
    file.is_broken = file.after_break.is_some()
        || bytes.get(next..).is_some_and(|rest| matches!(read(rest, seed), Found::Invalid));
    Ok(file)
}

impl Log {
    /// Highest sequence of a whole record at its place, or `watermark` when the log has none above it.
    pub(crate) fn last_seq(&self, watermark: u64) -> u64 {
        self.files
            .iter()
            .filter_map(|file| file.range)
            .map(|(_, last)| last)
            .max()
            .unwrap_or(0)
            .max(watermark)
    }

    /// Acknowledged records above `watermark` that cannot be read; torn tails are none.
    pub(crate) fn damages(&self, watermark: u64) -> Vec<Damage> {
        let vouched = self.files.iter().map(|file| file.durable_seq).max().unwrap_or(0);
        let mut damages = Vec::new();
        let mut expected = watermark + 1;
        for (i, file) in self.files.iter().enumerate() {
            if let Some((_, last)) = file.range {
                expected = expected.max(last + 1);
            }
            // The next whole record tells how far the hole reaches; with none left, what is vouched for does.
            let next = file.after_break.or_else(|| {
                self.files[i + 1..]
                    .iter()
                    .find_map(|later| later.range.map(|(first, _)| first).or(later.after_break))
            });
            let last_lost = next.map_or(vouched, |next| next.saturating_sub(1)).min(vouched);
            if last_lost >= expected {
                damages.push(Damage {
                    path: file.path.clone(),
                    offset: file.end,
                    first_seq: expected,
                    last_seq: last_lost,
                });
                expected = last_lost + 1;
            }
        }
        damages
    }

    /// Records at or below `watermark` that cannot be read any more: nothing is lost, but the disk is not to be trusted.
    pub(crate) fn healed(&self, watermark: u64) -> Vec<Damage> {
        let mut healed: Vec<Damage> =
            self.files.iter().flat_map(|file| file.healed.clone()).collect();
        for pair in self.files.windows(2) {
            let (Some((_, last)), Some((first, _))) = (pair[0].range, pair[1].range) else {
                continue;
            };
            if pair[0].is_broken && last + 1 < first && first <= watermark + 1 {
                healed.push(Damage {
                    path: pair[0].path.clone(),
                    offset: pair[0].end,
                    first_seq: last + 1,
                    last_seq: first - 1,
                });
            }
        }
        healed
    }

    /// The first sequence, when it leaves a hole above `watermark`.
    pub(crate) fn gap(&self, watermark: u64) -> Option<u64> {
        let (first, _) = self.files.first()?.range?;
        (first > watermark + 1).then_some(first)
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "numbers in tests are small")]
mod tests;
