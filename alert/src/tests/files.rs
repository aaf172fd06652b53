//! State files: round trip, damage of every kind, and what a crash may leave behind.

use model::alert::{AlertState, Cause, Transition};
use model::metric::Labels;
use model::time::Timestamp;
use proptest::prelude::*;

use crate::codec::{Stored, StoredRule, from_bytes, to_bytes};
use crate::state::{Instance, Instances};
use crate::state_dir::StateDir;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn stored() -> Stored {
    let instance = Instance {
        state: AlertState::Firing,
        annotations: labels(&[("summary", "ü \u{0} \"quoted\"")]),
        value: f64::INFINITY,
        active_at: Timestamp(i64::MIN),
        fired_at: Some(Timestamp(i64::MAX)),
        resolved_at: None,
        keep_firing_since: Some(Timestamp(-1)),
        no_data_since: Some(Timestamp(9)),
        seen_at: Timestamp(7),
        fallbacks: u32::MAX,
    };
    let transition = Transition {
        id: u128::MAX - 1,
        group: "g".to_owned(),
        rule: "R".to_owned(),
        labels: labels(&[("a", "b")]),
        annotations: Labels::default(),
        state: AlertState::Resolved,
        cause: Cause::NoData,
        value: -0.0,
        active_at: Timestamp(1),
        at: Timestamp(2),
        expr: "up == 0".to_owned(),
    };
    Stored {
        file: "rules.yml".to_owned(),
        group: "g".to_owned(),
        evaluated_at: Some(Timestamp(3)),
        rules: vec![StoredRule {
            name: "R".to_owned(),
            expr: "up == 0".to_owned(),
            labels: vec![("severity".to_owned(), "page".to_owned())],
            instances: Instances::from([(labels(&[("alertname", "R")]), instance)]),
        }],
        outbox: vec![transition],
    }
}

#[test]
fn what_is_written_is_read() {
    let bytes = to_bytes(&stored()).expect("it encodes");
    assert!(bytes.starts_with(b"headrope-alert-state 1 "));
    assert_eq!(from_bytes(&bytes), Ok(stored()));
}

#[test]
fn every_prefix_and_every_flipped_byte_is_refused() {
    let bytes = to_bytes(&stored()).expect("it encodes");
    for end in 0..bytes.len() {
        assert!(from_bytes(&bytes[..end]).is_err(), "a prefix of {end} bytes");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(from_bytes(&flipped).is_err(), "byte {at}");
    }
    let newer = String::from_utf8(bytes).expect("it is text").replacen(" 1 ", " 2 ", 1);
    let error = from_bytes(newer.as_bytes()).expect_err("a newer version");
    assert_eq!(error, "its version is 2, this program knows 1");
}

proptest! {
    #[test]
    fn hostile_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), body in "[\\[\\]{}\":,0-9a-z]{0,40}") {
        prop_assert!(from_bytes(&bytes).is_err());
        let header = format!("headrope-alert-state 1 {:08x} {}\n", crc32c::crc32c(body.as_bytes()), body.len());
        let whole = header + &body;
        prop_assert!(from_bytes(whole.as_bytes()).is_err());
    }
}

#[test]
fn a_damaged_file_is_moved_aside_and_the_others_stay() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = StateDir::open(folder.path()).expect("it opens");
    dir.write(&stored()).expect("it writes");
    let other = Stored { group: "other".to_owned(), ..stored() };
    dir.write(&other).expect("it writes");
    assert_eq!(dir.read_all().expect("it reads").len(), 2);
    let names = |suffix: &str| -> Vec<_> {
        let entries = std::fs::read_dir(folder.path()).expect("it lists");
        let names =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains(suffix)).collect()
    };
    let first = folder.path().join(&names(".alerts")[0]);
    std::fs::write(&first, b"garbage").expect("it writes");
    assert_eq!(dir.read_all().expect("it reads").len(), 1);
    assert_eq!((names(".alerts").len(), names(".damaged-1").len()), (1, 1));
    assert_eq!(dir.read_all().expect("it reads").len(), 1);
}

#[test]
fn a_half_written_file_is_removed_and_the_old_one_counts() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = StateDir::open(folder.path()).expect("it opens");
    dir.write(&stored()).expect("it writes");
    std::fs::write(folder.path().join("0000000000000000.tmp"), b"half").expect("it writes");
    let dir = StateDir::open(folder.path()).expect("it opens again");
    assert_eq!(dir.read_all().expect("it reads"), [stored()]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("it lists").count(), 1);
    dir.remove("rules.yml", "g").expect("it removes");
    assert!(dir.read_all().expect("it reads").is_empty());
}

#[test]
fn a_file_under_the_wrong_name_is_corrupt() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = StateDir::open(folder.path()).expect("it opens");
    let bytes = to_bytes(&stored()).expect("it encodes");
    std::fs::write(folder.path().join("0123456789abcdef.alerts"), bytes).expect("it writes");
    assert!(dir.read_all().expect("it reads").is_empty());
}
