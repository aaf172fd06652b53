//! `headrope-ids-v1`: for every 8,192 rows one filter of the ids in their text and attributes.
//!
//! Little endian: groups u32, then for each group where it ends u32, counted from the end of this list; then the groups.
//! A group is empty (it holds nothing), one byte (it may hold anything), or a binary fuse filter: its descriptor of 20
//! bytes, then its fingerprints.

use roaring::RoaringBitmap;
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable as _, Filter as _, FilterRef as _};

use super::{BLOCK_ROWS, GROUP_ROWS};
use crate::varint::Reader;

/// Blocks of a group.
const BLOCKS: u32 = 64;
const _: () = assert!(BLOCKS as usize * BLOCK_ROWS == GROUP_ROWS);
const DESCRIPTOR: usize = BinaryFuse8::DESCRIPTOR_LEN;

/// Gathers the ids of one segment.
#[derive(Default)]
pub(super) struct IdsBuilder {
    /// Of the group under way.
    keys: Vec<u64>,
    is_anything: bool,
    ends: Vec<u8>,
    groups: Vec<u8>,
}

impl IdsBuilder {
    pub(super) fn add(&mut self, key: u64) {
        self.keys.push(key);
    }

    /// The group under way holds something that has no keys.
    pub(super) fn add_anything(&mut self) {
        self.is_anything = true;
    }

    /// Ends the group under way.
    pub(super) fn end_group(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        let filter = match self.keys.is_empty() || self.is_anything {
            true => None,
            false => BinaryFuse8::try_from(&self.keys).ok(),
        };
        match filter {
            Some(filter) => {
                let mut descriptor = [0; DESCRIPTOR];
                filter.dma_copy_descriptor_to(&mut descriptor);
                self.groups.extend_from_slice(&descriptor);
                self.groups.extend_from_slice(filter.dma_fingerprints());
            }
            None if self.keys.is_empty() && !self.is_anything => {}
            None => self.groups.push(0),
        }
        // A segment of four billion bytes of filters is none of ours; its index then holds nothing back.
        let end = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        self.ends.extend_from_slice(&end.to_le_bytes());
        self.keys.clear();
        self.is_anything = false;
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let groups = u32::try_from(self.ends.len() / 4).unwrap_or(u32::MAX);
        [&groups.to_le_bytes()[..], &self.ends, &self.groups].concat()
    }
}

/// The filters of one segment.
pub(crate) struct Ids {
    bytes: Vec<u8>,
    /// Where each group lies in `bytes`.
    groups: Vec<std::ops::Range<usize>>,
}

impl Ids {
    pub(super) fn new(bytes: Vec<u8>) -> Option<Self> {
        let mut reader = Reader(&bytes);
        let n_groups = u32::from_le_bytes(reader.bytes()?) as usize;
        let base = n_groups.checked_mul(4)?.checked_add(4)?;
        let mut start = base;
        let mut groups = Vec::with_capacity(n_groups.min(bytes.len()));
        for _ in 0..n_groups {
            let end = base.checked_add(u32::from_le_bytes(reader.bytes()?) as usize)?;
            let is_filter = end.checked_sub(start)? < 2 || end - start >= DESCRIPTOR;
            if end > bytes.len() || !is_filter {
                return None;
            }
            groups.push(start..end);
            start = end;
        }
        Some(Self { bytes, groups })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Blocks of the groups that may hold all of `keys`.
    pub(super) fn blocks(&self, keys: &[u64]) -> RoaringBitmap {
        let mut blocks = RoaringBitmap::new();
        for (group, place) in (0_u32..).zip(&self.groups) {
            if may_hold(&self.bytes[place.clone()], keys) {
                let first = group.saturating_mul(BLOCKS);
                blocks.insert_range(first..first.saturating_add(BLOCKS));
            }
        }
        blocks
    }
}

fn may_hold(group: &[u8], keys: &[u64]) -> bool {
    match group.split_at_checked(DESCRIPTOR) {
        None => !group.is_empty(),
        Some((descriptor, fingerprints)) => {
            let filter = BinaryFuse8Ref::from_dma(descriptor, fingerprints);
            keys.iter().all(|key| filter.contains(key))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_what_was_added_and_little_else() {
        let mut builder = IdsBuilder::default();
        for group in 0..4_u64 {
            if group != 1 {
                (0..5_000).for_each(|key| builder.add(key << 8 | group));
            }
            if group == 2 {
                builder.add_anything();
            }
            builder.end_group();
        }
        let ids = Ids::new(builder.finish()).unwrap();
        assert_eq!(ids.groups.len(), 4);
        let groups = |key: u64| {
            let blocks = ids.blocks(&[key]);
            (0..4_u32).filter(|group| blocks.contains(group * 64 + 63)).collect::<Vec<_>>()
        };
        assert_eq!(groups(17 << 8), [0, 2]);
        assert_eq!(groups(17 << 8 | 3), [2, 3]);
        let false_hits = (0..10_000).filter(|key| groups(key << 20 | 77).len() > 1).count();
        assert!(false_hits < 200, "{false_hits}");
    }
}
