//! Files that were cut, flipped, half written and rewritten.

use super::*;
use crate::delivery::Key;

fn attempt(n: u32) -> Event {
    Event::Attempt { key: Key([7; 16]), attempt: n, deadline: Timestamp(0) }
}

fn append(log: &mut Log, range: std::ops::Range<u32>) {
    let events: Vec<_> = range.map(attempt).collect();
    let events: Vec<_> = events.iter().collect();
    assert!(log.append(Timestamp(5), &events).is_ok());
}

fn attempts(opened: &Opened) -> Vec<u32> {
    let number = |event: &Event| match event {
        Event::Attempt { attempt, .. } => *attempt,
        other => panic!("{other:?}"),
    };
    opened.events.iter().map(number).collect()
}

fn newest(dir: &Path) -> PathBuf {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.pop().unwrap()
}

#[test]
fn what_was_appended_is_read_back_and_appending_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    append(&mut Log::open(dir.path()).unwrap().log, 0..3);
    let mut opened = Log::open(dir.path()).unwrap();
    assert_eq!(attempts(&opened), [0, 1, 2]);
    append(&mut opened.log, 3..4);
    let opened = Log::open(dir.path()).unwrap();
    assert_eq!((attempts(&opened), opened.torn_bytes), (vec![0, 1, 2, 3], 0));
}

#[test]
fn any_prefix_of_the_file_gives_the_records_it_holds_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap().log;
    append(&mut log, 0..1);
    append(&mut log, 1..2);
    let path = newest(dir.path());
    let bytes = fs::read(&path).unwrap();
    let record_len = (bytes.len() - HEADER_BYTES) / 2;
    for len in HEADER_BYTES..=bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let mut opened = Log::open(dir.path()).unwrap();
        let whole = (len - HEADER_BYTES) / record_len;
        assert_eq!(attempts(&opened), (0..u32::try_from(whole).unwrap()).collect::<Vec<_>>());
        assert_eq!(opened.torn_bytes, ((len - HEADER_BYTES) % record_len) as u64);
        append(&mut opened.log, 9..10);
        assert_eq!(attempts(&Log::open(dir.path()).unwrap()).last(), Some(&9));
    }
}

#[test]
fn a_flipped_byte_is_torn_at_the_end_and_corrupt_where_it_was_once_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap().log;
    append(&mut log, 0..1);
    append(&mut log, 1..3); // One write of two records.
    let path = newest(dir.path());
    let bytes = fs::read(&path).unwrap();
    let record_len = (bytes.len() - HEADER_BYTES) / 3;
    for at in HEADER_BYTES..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        let damaged = (at - HEADER_BYTES) / record_len;
        match (damaged, Log::open(dir.path())) {
            (0, Err(Error::Corrupt { at, .. })) => assert_eq!(at, HEADER_BYTES as u64),
            // The second record went out with the third: nothing proves that either was acknowledged.
            (1 | 2, Ok(opened)) => assert_eq!(opened.events.len(), damaged, "{at}"),
            (record, Ok(opened)) => {
                panic!("record {record}, byte {at}: {} read", opened.events.len())
            }
            (record, Err(error)) => panic!("record {record}, byte {at}: {error}"),
        }
    }
}

#[test]
fn records_swapped_or_taken_out_break_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    append(&mut Log::open(dir.path()).unwrap().log, 0..3);
    let path = newest(dir.path());
    let bytes = fs::read(&path).unwrap();
    let record_len = (bytes.len() - HEADER_BYTES) / 3;
    let without_second =
        [&bytes[..HEADER_BYTES + record_len], &bytes[HEADER_BYTES + 2 * record_len..]];
    fs::write(&path, without_second.concat()).unwrap();
    let error = Log::open(dir.path()).err().expect("refused").to_string();
    assert!(
        error.contains("chain of hashes is broken") && error.contains("move it away"),
        "{error}"
    );
}

#[test]
fn headers_that_are_damaged_newer_or_of_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Log::open(dir.path()).unwrap());
    let path = newest(dir.path());
    let bytes = fs::read(&path).unwrap();
    let open_with = |at: usize, byte: u8| {
        let mut changed = bytes.clone();
        changed[at] = byte;
        fs::write(&path, changed).unwrap();
        Log::open(dir.path()).err().expect("refused")
    };
    assert!(matches!(open_with(0, b'X'), Error::Corrupt { at: 0, .. }));
    assert!(matches!(open_with(8, 2), Error::Newer { found: 2, known: 1, .. }));
    for at in 9..HEADER_BYTES {
        assert!(matches!(open_with(at, 0xee), Error::Corrupt { .. } | Error::Newer { .. }), "{at}");
    }
    fs::write(&path, &bytes[..HEADER_BYTES - 1]).unwrap();
    assert!(Log::open(dir.path()).is_err());
}

#[test]
fn a_rewrite_replaces_the_file_and_a_crash_in_it_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap().log;
    append(&mut log, 0..100);
    assert!(log.is_long(1_000) && !log.is_long(1 << 20));
    let old = fs::read(newest(dir.path())).unwrap();
    assert!(log.rewrite(&[(Timestamp(1), attempt(98)), (Timestamp(1), attempt(99))]).is_ok());
    assert!(!log.is_long(1_000) || log.len() > 2_000);
    append(&mut log, 100..101);
    // A crash left the old file and an unfinished temporary one behind.
    fs::write(dir.path().join("journal-00000001.log"), old).unwrap();
    fs::write(dir.path().join("journal-00000003.tmp"), b"half").unwrap();
    let opened = Log::open(dir.path()).unwrap();
    assert_eq!(attempts(&opened), [98, 99, 100]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_documented_bytes_are_the_written_bytes() {
    let text = include_str!("../../../../docs/format/journal.md");
    assert!(text.contains(&format!("\nVersion: {FORMAT}\n")));
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap().log;
    append(&mut log, 0..1);
    let bytes = fs::read(newest(dir.path())).unwrap();
    assert_eq!(&bytes[0..8], b"HRACTJNL");
    assert_eq!(bytes[HEADER_BYTES..HEADER_BYTES + 4], MARKER);
    assert_eq!(u32_at(&bytes, HEADER_BYTES + 4), Some(56 + 1 + 16 + 4 + 8));
    assert_eq!(bytes.len(), HEADER_BYTES + FRAME_BYTES + 56 + 1 + 16 + 4 + 8);
    let payload = &bytes[HEADER_BYTES + FRAME_BYTES..];
    assert_eq!(u64_at(payload, 32), Some(0), "sequence number");
    assert_eq!(u64_at(payload, 40), Some(HEADER_BYTES as u64), "durable length");
    assert_eq!(u64_at(payload, 48), Some(5), "time");
    assert_eq!(payload[56], 2, "kind");
}
