//! Sidecar files in the Puffin container: blobs, then a footer in JSON that names them.
//!
//! Read by ranges: the last [`TAIL`] bytes give the footer, then each blob by itself, checked against its checksum. What
//! is damaged reads as absent.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const MAGIC: [u8; 4] = *b"PFA1";
/// Type of the blob with one CRC32C for each 64 KiB of the segment.
pub(crate) const BLOCKS_CRC: &str = "headrope-blocks-crc-v1";
/// Bytes a block checksum covers.
pub(crate) const BLOCK: usize = 64 << 10;
/// Bytes read to find the footer.
const TAIL: u64 = 16 << 10;
/// Bytes after the footer's JSON: its length, flags, magic.
const TRAILER: usize = 12;

#[derive(Serialize, Deserialize)]
struct Footer {
    blobs: Vec<Blob>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Blob {
    r#type: String,
    fields: Vec<i32>,
    snapshot_id: i64,
    sequence_number: i64,
    offset: u64,
    length: u64,
    #[serde(default)]
    properties: Properties,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Properties {
    /// CRC32C of the blob, in hexadecimal.
    #[serde(default)]
    crc32c: String,
}

/// A sidecar holding `blobs` (type, bytes), in order.
pub(crate) fn encode<'a>(blobs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut footer = Footer { blobs: Vec::new() };
    for (name, bytes) in blobs {
        footer.blobs.push(Blob {
            r#type: name.to_owned(),
            fields: Vec::new(),
            snapshot_id: -1,
            sequence_number: -1,
            offset: out.len() as u64,
            length: bytes.len() as u64,
            properties: Properties { crc32c: format!("{:08x}", crc32c::crc32c(bytes)) },
        });
        out.extend_from_slice(bytes);
    }
    let json = serde_json::to_vec(&footer).expect("plain data always has a JSON form");
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&json);
    out.extend_from_slice(&u32::try_from(json.len()).expect("a footer is small").to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&MAGIC);
    out
}

/// A sidecar: its footer read, its blobs not.
#[derive(Debug)]
pub(crate) struct Sidecar {
    path: PathBuf,
    blobs: Vec<Blob>,
}

impl Sidecar {
    /// The sidecar at `path`; `None` when it is missing or its footer damaged. Blocks.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len();
        let mut tail = read(&file, len.saturating_sub(TAIL), len.min(TAIL))?;
        let json = json_len(&tail)?;
        let whole = (json + TRAILER + MAGIC.len()) as u64;
        if whole > tail.len() as u64 {
            tail = read(&file, len.checked_sub(whole)?, whole)?;
        }
        let blobs = footer(&tail, json)?.blobs;
        Some(Self { path: path.to_owned(), blobs })
    }

    /// The bytes of the first blob of type `name`; `None` when there is none or it is damaged. Blocks.
    pub(crate) fn blob(&self, name: &str) -> Option<Vec<u8>> {
        let blob = self.find(name)?;
        let bytes = read(&File::open(&self.path).ok()?, blob.offset, blob.length)?;
        (format!("{:08x}", crc32c::crc32c(&bytes)) == blob.properties.crc32c).then_some(bytes)
    }

    /// Some bytes of a blob that has checksums of its own: they are not checked here. Blocks.
    pub(crate) fn range(&self, name: &str, offset: u64, len: usize) -> Option<Vec<u8>> {
        let blob = self.find(name)?;
        if offset.checked_add(len as u64)? > blob.length {
            return None;
        }
        read(&File::open(&self.path).ok()?, blob.offset.checked_add(offset)?, len as u64)
    }

    fn find(&self, name: &str) -> Option<&Blob> {
        self.blobs.iter().find(|blob| blob.r#type == name)
    }

    /// Types and sizes of its blobs.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.blobs.iter().map(|blob| (blob.r#type.as_str(), blob.length))
    }
}

fn read(file: &File, offset: u64, len: u64) -> Option<Vec<u8>> {
    // A length out of a damaged footer must not reserve memory that the file does not fill.
    if offset.checked_add(len)? > file.metadata().ok()?.len() {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// Length of the JSON of the footer that `tail` ends with.
fn json_len(tail: &[u8]) -> Option<usize> {
    let body = tail.strip_suffix(&MAGIC)?;
    let (_, trailer) = body.split_at_checked(body.len().checked_sub(TRAILER - MAGIC.len())?)?;
    Some(u32::from_le_bytes(*trailer.first_chunk()?) as usize)
}

/// The footer that `tail` ends with, its JSON `json` bytes long.
fn footer(tail: &[u8], json: usize) -> Option<Footer> {
    let end = tail.len().checked_sub(TRAILER)?;
    let start = end.checked_sub(json)?;
    if !tail[..start].ends_with(&MAGIC) {
        return None;
    }
    serde_json::from_slice(&tail[start..end]).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    /// The file goes with the first value.
    fn open(bytes: &[u8]) -> (tempfile::NamedTempFile, Option<Sidecar>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let sidecar = Sidecar::open(file.path());
        (file, sidecar)
    }

    fn blob(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
        let (_file, sidecar) = open(bytes);
        sidecar?.blob(name)
    }

    proptest! {
        #[test]
        fn blobs_read_back(first in prop::collection::vec(any::<u8>(), 0..50), second in prop::collection::vec(any::<u8>(), 0..50)) {
            let file = encode([("a", &first[..]), ("b", &second[..])]);
            prop_assert_eq!(blob(&file, "a"), Some(first));
            prop_assert_eq!(blob(&file, "b"), Some(second));
            prop_assert_eq!(blob(&file, "c"), None);
        }

        #[test]
        fn a_damaged_or_hostile_sidecar_never_gives_wrong_bytes(
            bytes in prop::collection::vec(any::<u8>(), 1..50), at in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<prop::sample::Index>(),
        ) {
            let mut file = encode([("a", &bytes[..])]);
            prop_assert!(blob(&file[..cut.index(file.len())], "a").is_none());
            let at = at.index(file.len());
            file[at] ^= flip;
            prop_assert!(blob(&file, "a").is_none_or(|found| found == bytes));
            prop_assert!(blob(&bytes, "a").is_none());
        }
    }

    #[test]
    fn a_footer_longer_than_the_first_read_is_read_again() {
        let names: Vec<String> = (0..400).map(|i| format!("blob-{i}")).collect();
        let (_file, sidecar) =
            open(&encode(names.iter().map(|name| (name.as_str(), name.as_bytes()))));
        let sidecar = sidecar.unwrap();
        assert_eq!(sidecar.sizes().count(), 400);
        assert_eq!(sidecar.range("blob-70", 5, 2), Some(b"70".to_vec()));
        assert_eq!(sidecar.range("blob-70", 5, 3), None);
        assert_eq!(sidecar.blob("blob-7"), Some(b"blob-7".to_vec()));
    }
}
