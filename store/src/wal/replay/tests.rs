//! Tests of reading the log back.

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::wal::record::{Codec, Encoded, Kind};
use crate::wal::writer::file_name;

/// A log file with records of sequences `first..first + n`, one group each.
fn file(epoch: u64, number: u64, first: u64, n: u64) -> Vec<u8> {
    let header = FileHeader { node: [0; 16], epoch, shard: 0, number, created_ns: 0 };
    let mut bytes = header.encode().to_vec();
    for seq in first..first + n {
        let payload = vec![seq as u8; seq as usize % 30];
        Encoded::new(Kind::Data, Codec::None, 0, payload).put(
            &mut bytes,
            Seed::new(epoch, number),
            seq,
            seq - 1,
        );
    }
    bytes
}

fn scanned(files: &[(u64, u64, Vec<u8>)]) -> Log {
    scanned_above(0, files)
}

fn scanned_above(watermark: u64, files: &[(u64, u64, Vec<u8>)]) -> Log {
    let dir = tempfile::tempdir().unwrap();
    for (epoch, number, bytes) in files {
        fs::write(dir.path().join(file_name(*epoch, *number)), bytes).unwrap();
    }
    scan(dir.path(), watermark).unwrap()
}

#[test]
fn whole_files_have_no_damage() {
    let log =
        scanned(&[(1, 1, file(1, 1, 1, 5)), (1, 2, file(1, 2, 6, 3)), (2, 1, file(2, 1, 9, 2))]);
    assert_eq!(log.damages(0), []);
    assert_eq!(log.last_seq(0), 10);
    assert_eq!((log.gap(0), log.gap(7)), (None, None));
    let log = scanned(&[(1, 2, file(1, 2, 6, 3))]);
    assert_eq!((log.gap(5), log.gap(4)), (None, Some(6)));
}

#[test]
fn a_missing_file_in_the_middle_is_damage() {
    let log = scanned(&[(1, 1, file(1, 1, 1, 5)), (1, 3, file(1, 3, 9, 2))]);
    let damages = log.damages(0);
    assert_eq!((damages[0].first_seq, damages[0].last_seq), (6, 8));
    assert_eq!(log.damages(8), [], "what is in segments is not missed");
}

#[test]
fn damage_below_the_watermark_hides_nothing_behind_it() {
    let end = |n| file(1, 1, 1, n).len();
    let mut bytes = file(1, 1, 1, 9);
    bytes[end(2) + 12] ^= 1; // Sequence 3.
    let log = scanned_above(4, &[(1, 1, bytes.clone())]);
    assert_eq!((log.damages(4), log.last_seq(4)), (vec![], 9));
    let scanned = &log.files[0];
    assert_eq!((scanned.range, scanned.is_broken), (Some((1, 9)), false));
    assert_eq!(scanned.end as usize, bytes.len());
    let healed = log.healed(4);
    assert_eq!((healed.len(), healed[0].first_seq, healed[0].last_seq), (1, 3, 3));
    assert_eq!(healed[0].offset as usize, end(2));
    // A second break above the watermark is still refused, at its own place.
    bytes[end(6) + 12] ^= 1; // Sequence 7.
    let damages = scanned_above(4, &[(1, 1, bytes.clone())]).damages(4);
    assert_eq!((damages.len(), damages[0].first_seq, damages[0].last_seq), (1, 7, 7));
    assert_eq!(damages[0].offset as usize, end(6));
    // A break across the watermark loses what is above it.
    bytes[end(3) + 12] ^= 1;
    bytes[end(4) + 12] ^= 1; // Sequences 3 to 5.
    let damages = scanned_above(4, &[(1, 1, bytes)]).damages(4);
    assert_eq!((damages[0].first_seq, damages[0].offset as usize), (5, end(2)));
}

#[test]
fn files_used_again_show_none_of_their_old_records() {
    let mut bytes = file(1, 1, 1, 20);
    let header = FileHeader { node: [0; 16], epoch: 1, shard: 0, number: 2, created_ns: 0 };
    bytes[..64].copy_from_slice(&header.encode());
    let log = scanned(&[(1, 2, bytes)]);
    assert_eq!((log.files.len(), log.empty.len()), (0, 1));
}

proptest! {
    #[test]
    fn a_torn_tail_is_no_damage(n in 1_u64..12, cut in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..64)) {
        // Only the last record may be unacknowledged: whatever happens to it is no damage.
        let whole = file(1, 1, 1, n);
        let last = if n == 1 { FILE_HEADER } else { file(1, 1, 1, n - 1).len() };
        let mut bytes = whole[..last + cut.index(whole.len() - last)].to_vec();
        bytes.extend_from_slice(&noise);
        let log = scanned(&[(1, 1, bytes)]);
        prop_assert_eq!(log.damages(0), vec![]);
        prop_assert!(log.last_seq(0) >= n - 1);
    }

    #[test]
    fn a_flipped_bit_in_an_acknowledged_record_is_damage(n in 3_u64..12, at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = file(1, 1, 1, n);
        // All but the last two records are vouched for by a later one that stays whole.
        let end = file(1, 1, 1, n - 2).len();
        let at = FILE_HEADER + at.index(end - FILE_HEADER);
        bytes[at] ^= 1_u8 << bit;
        let log = scanned(&[(1, 1, bytes)]);
        let damages = log.damages(0);
        // Zeros that fill a record up are not part of it.
        let is_filling = damages.is_empty() && log.last_seq(0) == n;
        prop_assert!(is_filling || damages.len() == 1, "{:?}", damages);
        if let Some(damage) = damages.first() {
            prop_assert_eq!(damage.first_seq, damage.last_seq);
            prop_assert!(damage.offset as usize <= at);
        }
    }

    #[test]
    fn hostile_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let log = scanned(&[(1, 1, bytes)]);
        prop_assert!(log.files.is_empty());
    }
}
