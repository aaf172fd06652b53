//! Backup, restore and a lost catalogue: the same rows, once.

use super::*;
use crate::backup::folder;
use crate::delete::{Delete, DeleteFrom};
use std::slice::from_ref;

async fn open_at(bench: &Bench, dir: &Path) -> Result<Arc<Store>, Error> {
    Store::open_with(config(dir), bench.seams()).await
}

async fn rebuild(bench: &Bench, is_forced: bool) -> Result<Rebuilt, Error> {
    Store::rebuild(bench.dir.path().to_owned(), &bench.time, is_forced).await
}

fn lose_catalogue(bench: &Bench) {
    for ending in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(bench.dir.path().join(format!("catalogue.sqlite{ending}"))));
    }
}

/// Rows in merged and fresh segments, in dead ones, and in the log.
async fn filled(bench: &Bench) -> (Arc<Store>, Resolved) {
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    for s in 0..6 {
        put(&store, &[(id, START_MS + SECOND * s, s as f64)]).await.unwrap();
        store.flush().await.unwrap();
        if s == 4 {
            store.compact().await.unwrap();
        }
    }
    put(&store, &[(id, START_MS + SECOND * 6, 6.0)]).await.unwrap();
    (store, id)
}

/// The first four seconds of host `a`.
fn delete_of_host_a() -> Delete {
    Delete {
        tenant: TENANT,
        from: DeleteFrom::Metrics,
        matchers: vec![Matcher::new("host", MatchOp::Equal, "a")],
        first: Timestamp::from_ms(START_MS),
        last: Timestamp::from_ms(START_MS + 4 * SECOND),
        requested_by: "test".to_owned(),
    }
}

#[tokio::test]
async fn a_restored_store_without_a_log_is_whole_before_it_is_opened() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("up", "a")).unwrap();
    put(&store, &[(id, START_MS, 1.0)]).await.unwrap();
    store.flush().await.unwrap();
    crash(store).await;
    // Nothing is written to the log of this life.
    let store = bench.open().await;
    let expected = read(&store);
    let backup = store.begin_backup().await.unwrap();
    let (to, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    folder::write(&backup, to.path(), |_| {}).unwrap();
    store.end_backup(Timestamp(backup.created)).await.unwrap();
    assert!(!to.path().join("wal").exists(), "there was nothing to keep");
    let target = made.path().join("data");
    folder::restore(to.path(), &target, |_| {}).unwrap();
    assert_eq!(Store::verify(target.clone()).await.unwrap().problems, []);
    let restored = open_at(&bench, &target).await.unwrap();
    assert_eq!(read(&restored), expected);
}

#[tokio::test]
async fn a_backup_holds_what_was_acknowledged_before_it_and_the_next_one_copies_what_is_new() {
    let bench = Bench::new();
    let (store, id) = filled(&bench).await;
    let expected = read(&store);
    let backup = store.begin_backup().await.unwrap();
    // The store goes on, merges and deletes files while they are copied.
    for s in 7..12 {
        put(&store, &[(id, START_MS + SECOND * s, s as f64)]).await.unwrap();
        store.flush().await.unwrap();
    }
    let later = |h: i64| bench.time.0.store(START_MS + h * 3_600 * SECOND, Ordering::SeqCst);
    later(3);
    store.compact().await.unwrap();
    later(5);
    store.compact().await.unwrap();
    let (to, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, created) =
        (folder::write(&backup, to.path(), |_| {}).unwrap(), Timestamp(backup.created));
    assert_eq!((first.kept, first.files), (0, first.files_all));
    store.end_backup(created).await.unwrap();
    let target = made.path().join("data");
    folder::restore(to.path(), &target, |_| {}).unwrap();
    let restored = open_at(&bench, &target).await.unwrap();
    assert_eq!(read(&restored), expected);
    crash(restored).await;
    let report = Store::verify(target.clone()).await.unwrap();
    assert_eq!(report.problems, [], "a restored store is whole");
    // The next backup into the same folder.
    let backup = store.begin_backup().await.unwrap();
    let all = read(&store);
    let second = folder::write(&backup, to.path(), |_| {}).unwrap();
    let backup = store.begin_backup().await.unwrap();
    let third = folder::write(&backup, to.path(), |_| {}).unwrap();
    assert!(third.kept > 0 && third.bytes < second.bytes, "{second:?} {third:?}");
    let error = folder::restore(to.path(), &target, |_| {}).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    let target = made.path().join("again");
    folder::restore(to.path(), &target, |_| {}).unwrap();
    assert_eq!(read(&open_at(&bench, &target).await.unwrap()), all);
}

#[tokio::test]
async fn a_damaged_backup_is_not_restored() {
    let bench = Bench::new();
    let (store, _) = filled(&bench).await;
    let backup = store.begin_backup().await.unwrap();
    let to = tempfile::tempdir().unwrap();
    folder::write(&backup, to.path(), |_| {}).unwrap();
    let manifest = folder::manifest(to.path()).unwrap();
    let file = manifest.files.iter().rfind(|file| file.path.ends_with(".parquet")).unwrap();
    let path = to.path().join(&file.path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let target = to.path().join("restored");
    let error = folder::restore(to.path(), &target, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    // What was copied so far is not taken for a store.
    assert!(open_at(&bench, &target).await.is_err());
}

#[tokio::test]
async fn a_lost_catalogue_is_made_anew_from_the_files() {
    let bench = Bench::new();
    let (store, id) = filled(&bench).await;
    let expected = read(&store);
    crash(store).await;
    assert!(rebuild(&bench, false).await.is_err(), "there is a catalogue");
    lose_catalogue(&bench);
    let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("store rebuild"), "{error}");
    let rebuilt = rebuild(&bench, false).await.unwrap();
    assert!(rebuilt.quarantined.is_empty(), "{rebuilt:?}");
    let aside = std::fs::read_dir(bench.dir.path().join("quarantine/superseded")).unwrap();
    let aside = aside.map(|entry| entry.unwrap().path());
    let n_aside = aside.filter(|path| path.extension().unwrap() == "parquet").count();
    assert!(rebuilt.superseded > 0 && n_aside as u64 == rebuilt.superseded, "{rebuilt:?}");
    let store = bench.open().await;
    assert_eq!(read(&store), expected);
    // It goes on as before: the later write wins.
    put(&store, &[(id, START_MS, 99.0)]).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(read(&store)[&("a".to_owned(), START_MS)], 99_f64.to_bits());
    let expected = read(&store);
    store.shutdown().await.unwrap();
    crash(store).await;
    rebuild(&bench, true).await.unwrap();
    let store = bench.open().await;
    assert_eq!(read(&store), expected, "a second time, by force");
}

#[tokio::test]
async fn a_catalogue_made_anew_goes_on_hiding_what_was_deleted() {
    for is_clean in [false, true] {
        let bench = Bench::new();
        let (store, id) = filled(&bench).await;
        store.delete(delete_of_host_a()).await.unwrap();
        put(&store, &[(id, START_MS + SECOND, 7.0)]).await.unwrap();
        if is_clean {
            store.clean_deleted().await.unwrap();
        }
        let expected = read(&store);
        assert_eq!(expected.len(), 3);
        crash(store).await;
        lose_catalogue(&bench);
        rebuild(&bench, false).await.unwrap();
        let store = bench.open().await;
        assert_eq!(read(&store), expected);
        store.clean_deleted().await.unwrap();
        assert_eq!(read(&store), expected);
    }
}

#[tokio::test]
async fn a_store_with_segments_in_quarantine_can_be_backed_up() {
    let bench = Bench::new();
    let store = bench.open().await;
    let hosts = ["a", "b"].map(|host| store.resolve(TENANT, &def("cpu", host)).unwrap());
    for (id, day) in hosts.into_iter().zip(0..) {
        let at = START_MS + day * 86_400 * SECOND;
        bench.time.0.store(at, Ordering::SeqCst);
        put(&store, &[(id, at, 1.0)]).await.unwrap();
        store.flush().await.unwrap();
    }
    let segments = |table| store.snapshot().segments(table, TimeRange::ALL);
    let (bad, aside) = (segments(Table::Samples).remove(0), segments(Table::Series).remove(0));
    let mut bytes = std::fs::read(&bad.path).unwrap();
    bytes[50] ^= 0x10;
    std::fs::write(&bad.path, &bytes).unwrap();
    bad.read(from_ref(&(0..bytes.len() as u64))).unwrap_err();
    assert_eq!(store.quarantine().await.unwrap(), 1);
    crash(store).await;
    let quarantine = bench.dir.path().join("quarantine");
    std::fs::rename(&aside.path, quarantine.join(aside.path.file_name().unwrap())).unwrap();
    let store = bench.open().await;
    let backup = store.begin_backup().await.unwrap();
    let to = tempfile::tempdir().unwrap();
    folder::write(&backup, to.path(), |_| {}).unwrap();
    let target = to.path().join("restored");
    folder::restore(to.path(), &target, |_| {}).unwrap();
    let restored = open_at(&bench, &target).await.unwrap();
    let missing =
        |store: &Store| store.snapshot().missing(TENANT, Table::Samples, TimeRange::ALL).len();
    assert_eq!((missing(&store), missing(&restored)), (1, 1));
    assert_eq!((read(&restored), read(&store).len()), (read(&store), 1));
    assert_eq!(restored.stats().quarantined_segments, store.stats().quarantined_segments);
}

#[tokio::test]
async fn a_backup_keeps_what_was_deleted_out_of_a_catalogue_made_anew() {
    let bench = Bench::new();
    let (store, _) = filled(&bench).await;
    store.delete(delete_of_host_a()).await.unwrap();
    let backup = store.begin_backup().await.unwrap();
    let expected = read(&store);
    let to = tempfile::tempdir().unwrap();
    folder::write(&backup, to.path(), |_| {}).unwrap();
    let target = to.path().join("restored");
    folder::restore(to.path(), &target, |_| {}).unwrap();
    Store::rebuild(target.clone(), &bench.time, true).await.unwrap();
    assert_eq!(read(&open_at(&bench, &target).await.unwrap()), expected);
}

#[tokio::test]
async fn a_folder_that_holds_something_else_keeps_it() {
    let bench = Bench::new();
    let (store, _) = filled(&bench).await;
    let backup = store.begin_backup().await.unwrap();
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(bench.dir.path(), home.path().join("data")).unwrap();
    for to in [bench.dir.path(), home.path()] {
        let error = folder::write(&backup, to, |_| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let to = tempfile::tempdir().unwrap();
    let data = to.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    for name in ["notes.txt", "mine.parquet"] {
        std::fs::write(data.join(name), "x").unwrap();
    }
    folder::write(&backup, to.path(), |_| {}).unwrap();
    assert!(data.join("mine.parquet").exists(), "nothing there was of a backup");
    folder::write(&backup, to.path(), |_| {}).unwrap();
    assert!(data.join("notes.txt").exists());
}

#[tokio::test]
async fn a_backup_is_ended_by_who_began_it_or_after_a_day() {
    let bench = Bench::new();
    let (store, _) = filled(&bench).await;
    let first = store.begin_backup().await.unwrap();
    bench.time.0.fetch_add(SECOND, Ordering::SeqCst);
    let second = store.begin_backup().await.unwrap();
    store.end_backup(Timestamp(first.created)).await.unwrap();
    assert!(second.dir.join("catalogue.sqlite").exists(), "another's");
    for (hours, is_there) in [(23, true), (2, false)] {
        bench.time.0.fetch_add(hours * 3_600 * SECOND, Ordering::SeqCst);
        store.compact().await.unwrap();
        assert_eq!(second.dir.exists(), is_there);
    }
    let third = store.begin_backup().await.unwrap();
    store.end_backup(Timestamp(third.created)).await.unwrap();
    assert!(!third.dir.exists());
}
