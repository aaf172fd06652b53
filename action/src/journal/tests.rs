//! A file that cannot be synced is given up for a new one, and nothing acknowledged is lost by that.

use super::*;
use crate::register::Deed;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

fn writer(dir: &Path) -> Writer {
    let opened = Log::open(dir).unwrap();
    let (ledger, register) = (Ledger::new(&Config::default()), Register::default());
    let stats = JournalStats::default();
    let mut shared = Shared { ledger, register, closed: None, lease: None, stats };
    opened.events.into_iter().for_each(|event| shared.apply(event));
    Writer {
        log: opened.log,
        shared: Arc::new(Mutex::new(shared)),
        clock: Arc::new(Fixed),
        bytes_max: u64::MAX,
        closed: None,
    }
}

fn record(writer: &mut Writer, epoch: u64, at_s: i64) -> bool {
    let (reply, mut answer) = oneshot::channel();
    let event = Event::deed(&Deed::Started { epoch }).unwrap();
    writer.write(Timestamp(at_s * 1_000_000_000), vec![Request { event, reply }]);
    answer.try_recv().unwrap().is_ok()
}

fn epoch(writer: &Writer) -> u64 {
    lock(&writer.shared).register.epoch
}

#[test]
fn a_file_that_cannot_be_written_is_given_up_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    assert!(record(&mut writer, 1, 0));
    writer.log.break_file();
    assert!(!record(&mut writer, 2, 1));
    assert!(lock(&writer.shared).closed.is_some());
    assert!(!record(&mut writer, 3, 2), "not at once again");
    assert_eq!(epoch(&writer), 1);
    assert!(record(&mut writer, 4, 7));
    assert_eq!((epoch(&writer), lock(&writer.shared).closed.clone()), (4, None));
    drop(writer);
    assert_eq!(epoch(&self::writer(dir.path())), 4);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the old file is gone");
}

#[test]
fn while_no_new_file_can_be_made_it_stays_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    assert!(record(&mut writer, 1, 0));
    writer.log.break_file();
    assert!(!record(&mut writer, 2, 1));
    // The name of the new file's draft is taken by a folder.
    let draft = dir.path().join("journal-00000002.tmp");
    std::fs::create_dir(&draft).unwrap();
    assert!(!record(&mut writer, 3, 7));
    std::fs::remove_dir(&draft).unwrap();
    assert!(!record(&mut writer, 3, 8), "tried each five seconds");
    assert!(record(&mut writer, 3, 12));
    assert_eq!(epoch(&writer), 3);
}
