//! Sidecar files in the Puffin container: blobs, then a footer in JSON that names them.

use serde::{Deserialize, Serialize};

const MAGIC: [u8; 4] = *b"PFA1";
/// Type of the blob with one CRC32C for each 64 KiB of the segment.
pub(crate) const BLOCKS_CRC: &str = "headrope-blocks-crc-v1";
/// Bytes a block checksum covers.
pub(crate) const BLOCK: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Footer {
    blobs: Vec<Blob>,
}

#[derive(Serialize, Deserialize)]
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

#[derive(Default, Serialize, Deserialize)]
struct Properties {
    /// CRC32C of the blob, in hexadecimal.
    #[serde(default)]
    crc32c: String,
}

/// A sidecar holding `blobs` (type, bytes), in order.
pub(crate) fn encode(blobs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut footer = Footer { blobs: Vec::new() };
    for (name, bytes) in blobs {
        footer.blobs.push(Blob {
            r#type: (*name).to_owned(),
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

/// The bytes of the first blob of type `name`; `None` when there is none or it is damaged.
pub(crate) fn blob<'a>(file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let body = file.strip_suffix(&MAGIC)?;
    let (body, tail) = body.split_at_checked(body.len().checked_sub(8)?)?;
    let len = u32::from_le_bytes(*tail.first_chunk()?) as usize;
    let json = body.get(body.len().checked_sub(len)?..)?;
    if !body[..body.len() - len].ends_with(&MAGIC) {
        return None;
    }
    let footer: Footer = serde_json::from_slice(json).ok()?;
    let blob = footer.blobs.into_iter().find(|blob| blob.r#type == name)?;
    let start = usize::try_from(blob.offset).ok()?;
    let bytes = file.get(start..start.checked_add(usize::try_from(blob.length).ok()?)?)?;
    (format!("{:08x}", crc32c::crc32c(bytes)) == blob.properties.crc32c).then_some(bytes)
}

/// The block checksums of a segment, as the blob holds them.
pub(crate) fn block_crcs(segment: &[u8]) -> Vec<u8> {
    segment.chunks(BLOCK).flat_map(|block| crc32c::crc32c(block).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn blobs_read_back(first in prop::collection::vec(any::<u8>(), 0..50), second in prop::collection::vec(any::<u8>(), 0..50)) {
            let file = encode(&[("a", &first), ("b", &second)]);
            prop_assert_eq!(blob(&file, "a"), Some(&first[..]));
            prop_assert_eq!(blob(&file, "b"), Some(&second[..]));
            prop_assert_eq!(blob(&file, "c"), None);
        }

        #[test]
        fn a_damaged_or_hostile_sidecar_never_gives_wrong_bytes(
            bytes in prop::collection::vec(any::<u8>(), 1..50), at in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<prop::sample::Index>(),
        ) {
            let mut file = encode(&[("a", &bytes)]);
            prop_assert!(blob(&file[..cut.index(file.len())], "a").is_none());
            let at = at.index(file.len());
            file[at] ^= flip;
            prop_assert!(blob(&file, "a").is_none_or(|found| found == bytes));
            prop_assert!(blob(&bytes, "a").is_none());
        }
    }
}
