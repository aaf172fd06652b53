//! The journal of routing on disk: one checked line a record, rewritten as a snapshot when it has grown. Blocking.
//!
//! The bytes are described in `docs/format/route-journal.md`.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::record::Record;
use crate::error::Error;

const MAGIC: &str = "headrope-route-journal";
/// Version of the format.
const VERSION: u32 = 1;
const NAME: &str = "routes.journal";
/// Largest journal that is read.
const BYTES_MAX: u64 = 4 << 30;
/// A journal below this is never rewritten.
const REWRITE_BYTES_MIN: u64 = 4 << 20;

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Length after the last rewrite.
    snapshot_bytes: u64,
    /// Whether the end of the file may not be what was meant: only a rewrite helps.
    torn: bool,
}

impl Journal {
    /// Opens the journal in `dir`, making it when it is missing, and reads it whole.
    ///
    /// A last line that a crash cut off is dropped. Other lines that are not what was written are left out and told of,
    /// and a copy of the file is kept.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Record>), Error> {
        fs::create_dir_all(dir).map_err(failed("create", dir))?;
        let path = dir.join(NAME);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => {
                let read = file.take(BYTES_MAX).read_to_end(&mut bytes);
                read.map_err(failed("read", &path))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("open", &path)(error)),
        }
        let (records, damaged) = read(&bytes).map_err(|reason| Error::Corrupt {
            path: path.clone(),
            reason: reason
                + "; move it away to start with no silences and no memory of what was told",
        })?;
        if damaged > 0 {
            let aside = path.with_extension("damaged");
            fs::copy(&path, &aside).map_err(failed("copy", &path))?;
            let (file, kept_as) = (path.display(), aside.display());
            tracing::error!(%file, damaged, %kept_as, "lines of the route journal are corrupt and left out");
        }
        let (file, bytes) = create(&path, &records)?;
        let journal = Self { path, file, bytes, snapshot_bytes: bytes, torn: false };
        Ok((journal, records))
    }

    /// Adds records; once this returns they survive a power cut.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        let bytes = lines(records).map_err(failed("encode", &self.path))?;
        self.torn = true; // Until it is known to be whole.
        self.file.write_all(&bytes).map_err(failed("write", &self.path))?;
        self.file.sync_data().map_err(failed("sync", &self.path))?;
        self.torn = false;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Whether it is time for a snapshot.
    pub(crate) fn is_long(&self) -> bool {
        self.torn || self.bytes > REWRITE_BYTES_MIN.max(self.snapshot_bytes.saturating_mul(3))
    }

    /// Replaces all that is written by `records`.
    pub(crate) fn rewrite(&mut self, records: &[Record]) -> Result<(), Error> {
        (self.file, self.bytes) = create(&self.path, records)?;
        (self.snapshot_bytes, self.torn) = (self.bytes, false);
        Ok(())
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::State { doing, path, source }
}

/// Writes a fresh file with `records` in place of what is there.
fn create(path: &Path, records: &[Record]) -> Result<(File, u64), Error> {
    let fresh = path.with_extension("tmp");
    let mut bytes = format!("{MAGIC} {VERSION}\n").into_bytes();
    bytes.extend(lines(records).map_err(failed("encode", path))?);
    let mut file = File::create(&fresh).map_err(failed("create", &fresh))?;
    file.write_all(&bytes).map_err(failed("write", &fresh))?;
    file.sync_all().map_err(failed("sync", &fresh))?;
    fs::rename(&fresh, path).map_err(failed("replace", path))?;
    // A rename is not durable before its directory is.
    let dir = path.parent().unwrap_or(Path::new("."));
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(failed("sync", dir))?;
    let file = OpenOptions::new().append(true).open(path).map_err(failed("open", path))?;
    Ok((file, bytes.len() as u64))
}

fn lines(records: &[Record]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(records.len() * 256);
    for record in records {
        let json = record.to_json()?;
        writeln!(bytes, "{:08x} {json}", crc32c::crc32c(json.as_bytes()))?;
    }
    Ok(bytes)
}

/// Records, and how many lines were none; a last line without its end does not count.
fn read(bytes: &[u8]) -> Result<(Vec<Record>, usize), String> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let Some(header) = lines.next() else { return Ok((Vec::new(), 0)) };
    let header = String::from_utf8_lossy(header);
    if header.trim_end() != format!("{MAGIC} {VERSION}") {
        let found: String = header.chars().take(60).collect();
        return Err(format!("it begins with {found:?}, not \"{MAGIC} {VERSION}\""));
    }
    let (mut records, mut damaged) = (Vec::new(), 0);
    for line in lines {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        match record(line) {
            Some(record) => records.push(record),
            None => damaged += 1,
        }
    }
    Ok((records, damaged))
}

fn record(line: &[u8]) -> Option<Record> {
    let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let is_whole = u32::from_str_radix(sum, 16) == Ok(crc32c::crc32c(json.as_bytes()));
    is_whole.then(|| Record::from_json(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::metric::Labels;
    use model::time::Timestamp;

    use super::*;
    use crate::route::dedup::Told;
    use crate::route::matcher::parse;
    use crate::route::{Held, Silence};

    fn records() -> Vec<Record> {
        let labels: Labels = [("a".to_owned(), "é\n\"x".to_owned())].into_iter().collect();
        vec![
            Record::Alert(Held {
                labels: labels.clone(),
                annotations: labels.clone(),
                starts_at: Timestamp(i64::MIN),
                ends_at: Some(Timestamp(7)),
                updated_at: Timestamp(8),
                timeout: true,
                generator_url: "http://x/?a=b".to_owned(),
            }),
            Record::AlertGone(labels),
            Record::Silence(Silence {
                id: "1-2".to_owned(),
                conditions: parse(r#"{a=~"x.*","b.c"!="y",d!~z,e=""}"#).unwrap(),
                starts_at: Timestamp(1),
                ends_at: Timestamp(2),
                updated_at: Timestamp(3),
                author: "me".to_owned(),
                comment: "why".to_owned(),
                annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            }),
            Record::Group { key: "{}:{}".to_owned(), next: Timestamp(9), flushed: true },
            Record::GroupGone("{}:{}".to_owned()),
            Record::Told {
                key: ("g".to_owned(), "r".to_owned(), "webhook[0]".to_owned()),
                told: Told {
                    seq: 3,
                    at: Timestamp(1),
                    expires_at: Timestamp(2),
                    firing: vec![1, u128::MAX],
                    resolved: vec![2],
                    owed: vec![3],
                },
            },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, found) = Journal::open(dir.path()).unwrap();
        assert!(found.is_empty());
        journal.append(&records()[..2]).unwrap();
        journal.append(&records()[2..]).unwrap();
        drop(journal);
        let (mut journal, found) = Journal::open(dir.path()).unwrap();
        assert_eq!(found, records());
        journal.rewrite(&records()[3..]).unwrap();
        journal.append(&records()[..1]).unwrap();
        drop(journal);
        let (_, found) = Journal::open(dir.path()).unwrap();
        assert_eq!(found, [&records()[3..], &records()[..1]].concat());
    }

    #[test]
    fn a_journal_cut_anywhere_keeps_what_was_whole() {
        let mut bytes = format!("{MAGIC} {VERSION}\n").into_bytes();
        let start = bytes.len();
        bytes.extend(lines(&records()).unwrap());
        for end in (start..=bytes.len()).step_by(7) {
            let (found, damaged) = read(&bytes[..end]).unwrap();
            assert_eq!((found.as_slice(), damaged), (&records()[..found.len()], 0));
        }
        assert_eq!(read(&bytes).unwrap().0.len(), records().len());
    }

    #[test]
    fn a_damaged_line_costs_itself_only() {
        let mut bytes = format!("{MAGIC} {VERSION}\n").into_bytes();
        let start = bytes.len();
        bytes.extend(lines(&records()).unwrap());
        bytes[start + 12] ^= 0x20;
        assert_eq!(read(&bytes).unwrap(), (records()[1..].to_vec(), 1));
        assert!(read(b"something else\n").is_err());
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), bytes).unwrap();
        let (_, found) = Journal::open(dir.path()).unwrap();
        assert_eq!(found.len(), records().len() - 1);
        assert!(dir.path().join("routes.damaged").is_file());
    }
}
