//! Damaged files: refused or left out by name, never a wrong answer. Newer formats are refused.

use std::fs;
use std::path::PathBuf;
use std::slice::from_ref;

use super::*;

fn wal_files(bench: &Bench) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(bench.dir.path().join("wal/0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    files.sort();
    files
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// A log of ten acknowledged samples, ended without a marker when `is_clean` is false.
async fn ten(bench: &Bench, is_clean: bool) -> PathBuf {
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    for i in 0..10 {
        put(&store, &[(id, START_MS + i, 1.0)]).await.unwrap();
    }
    if is_clean {
        store.shutdown().await.unwrap();
    }
    crash(store).await;
    wal_files(bench)[0].clone()
}

#[tokio::test]
async fn damage_to_acknowledged_records_is_refused_with_path_and_offset() {
    let bench = Bench::new();
    let file = ten(&bench, true).await;
    flip(&file, 64 + 40);
    let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(text.contains(file.to_str().unwrap()) && text.contains("byte 64"), "{text}");
    // Repair keeps every other record and a copy of the file.
    let config = Config { wal_repair: true, ..bench.config() };
    let store = Store::open_with(config, bench.seams()).await.unwrap();
    assert!(bench.dir.path().join("quarantine").join(file.file_name().unwrap()).exists());
    // The first record defined the series: the rows of the others have lost their name.
    assert_eq!(read(&store).len(), 0);
    assert_eq!(store.snapshot().head(Table::Samples).unwrap().len(), 0);
}

#[tokio::test]
async fn damage_to_flushed_records_loses_nothing_behind_it() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    for i in 0..10 {
        put(&store, &[(id, START_MS + i, 1.0)]).await.unwrap();
        if i == 4 {
            store.flush().await.unwrap();
        }
    }
    let expected = read(&store);
    store.shutdown().await.unwrap();
    crash(store).await;
    let file = wal_files(&bench)[0].clone();
    flip(&file, 64 + 40);
    let report = Store::verify(bench.dir.path().to_owned()).await.unwrap();
    let found: Vec<_> =
        report.problems.iter().map(|problem| (&problem.path, problem.offset)).collect();
    assert_eq!(found, [(&file, 64)]);
    for _ in 0..2 {
        let store = bench.open().await;
        assert_eq!(read(&store), expected);
        crash(store).await;
    }
}

#[tokio::test]
async fn repair_keeps_every_other_record() {
    let bench = Bench::new();
    let file = ten(&bench, true).await;
    let bytes = fs::read(&file).unwrap();
    let first = u32::from_le_bytes(bytes[64..68].try_into().unwrap()) as usize;
    flip(&file, 64 + first.next_multiple_of(8) + 40);
    assert!(Store::open_with(bench.config(), bench.seams()).await.is_err());
    let config = Config { wal_repair: true, ..bench.config() };
    let store = Store::open_with(config, bench.seams()).await.unwrap();
    assert_eq!(read(&store).len(), 9);
    store.flush().await.unwrap();
    crash(store).await;
    assert_eq!(read(&*bench.open().await).len(), 9, "and from then on it opens without repair");
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_everything_before_it_kept() {
    let bench = Bench::new();
    let file = ten(&bench, false).await;
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for cut in [1, 20, 60] {
        bytes[end - cut..].fill(0);
        fs::write(&file, &bytes).unwrap();
        let store = bench.open().await;
        let n_found = read(&store).len();
        assert!((9..=10).contains(&n_found), "cut {cut}: {n_found}");
        crash(store).await;
    }
}

#[tokio::test]
async fn a_torn_group_is_cut_but_a_copy_kept() {
    use crate::wal::record::{Codec, Encoded, Kind, Seed};
    let bench = Bench::new();
    let path = ten(&bench, true).await;
    let log = crate::wal::replay::scan(path.parent().unwrap(), 0).unwrap();
    let (file, last) = (&log.files[0], log.last_seq(0));
    let mut group = Vec::new();
    for seq in [last + 1, last + 2] {
        let seed = Seed::new(file.epoch, file.number);
        Encoded::new(Kind::Checkpoint, Codec::None, 0, vec![0; 8]).put(&mut group, seed, seq, last);
    }
    group[33] ^= 1; // The first of the two.
    let mut bytes = fs::read(&path).unwrap();
    let end = usize::try_from(file.end).unwrap();
    bytes.truncate(end);
    bytes.extend_from_slice(&group);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&*bench.open().await).len(), 10);
    assert_eq!(fs::read(&path).unwrap(), bytes[..end]);
    let copy = bench.dir.path().join("quarantine").join(path.file_name().unwrap());
    assert_eq!(fs::read(copy).unwrap(), bytes);
}

#[tokio::test]
async fn log_files_of_earlier_runs_keep_no_reserved_space() {
    let bench = Bench::new();
    let file = ten(&bench, false).await;
    let whole = fs::read(&file).unwrap();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(id, START_MS + 10, 1.0)]).await.unwrap();
    let rest = fs::read(&file).unwrap();
    assert!(rest.len() < whole.len() / 4, "{} of {}", rest.len(), whole.len());
    assert!(whole.starts_with(&rest) && whole[rest.len()..].iter().all(|byte| *byte == 0));
    crash(store).await;
    let store = bench.open().await;
    assert_eq!(read(&store).len(), 11);
    let bytes =
        || -> u64 { wal_files(&bench).iter().map(|path| fs::metadata(path).unwrap().len()).sum() };
    assert!(bytes() < 1 << 15, "{} in all", bytes());
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(id, START_MS + 11, 1.0)]).await.unwrap();
    assert!(bytes() > 1 << 16, "a file in use is whole: {}", bytes());
    store.shutdown().await.unwrap();
    assert!(bytes() < 1 << 15, "{} after a clean stop", bytes());
}

#[tokio::test]
async fn every_flipped_bit_of_the_log_is_seen_or_harmless() {
    let bench = Bench::new();
    let file = ten(&bench, true).await;
    let bytes = fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for at in (0..end).step_by(97) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&file, &flipped).unwrap();
        match Store::open_with(bench.config(), bench.seams()).await {
            Ok(store) => {
                assert_eq!(read(&store).len(), 10, "flip at {at}");
                crash(store).await;
                wal_files(&bench)
                    .iter()
                    .filter(|path| **path != file)
                    .for_each(|path| fs::remove_file(path).unwrap());
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "flip at {at}: {error}"),
        }
    }
}

/// Puts 500 samples of one series into one segment.
async fn put_500(store: &Store) {
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    let rows: Vec<_> = (0..500).map(|i| (id, START_MS + i, i as f64)).collect();
    put(store, &rows).await.unwrap();
    store.flush().await.unwrap();
}

#[tokio::test]
async fn a_flipped_bit_in_a_segment_is_never_an_answer() {
    let bench = Bench::new();
    let store = bench.open().await;
    put_500(&store).await;
    let expected = read(&store);
    let segment = store.snapshot().segments(Table::Samples, TimeRange::ALL).remove(0);
    crash(store).await;
    let bytes = fs::read(&segment.path).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        fs::write(&segment.path, &flipped).unwrap();
        crate::set_cache_limit(0); // What was read when it was whole.
        let store = bench.open().await;
        let snapshot = store.snapshot();
        let series = snapshot.select(TENANT, &[]).unwrap();
        let refused = snapshot
            .samples(&series, (i64::MIN, i64::MAX), &ScanLimit::default())
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "flip at {at}: {refused}");
        crash(store).await;
    }
    fs::write(&segment.path, &bytes).unwrap();
    // Without its sidecar the whole file is checked against the catalogue.
    fs::remove_file(segment.path.with_extension("puffin")).unwrap();
    assert_eq!(read(&*bench.open().await), expected);
}

#[tokio::test]
async fn what_is_sure_to_be_too_much_is_refused_unread() {
    let bench = Bench::new();
    let store = bench.open().await;
    put_500(&store).await;
    let segment = store.snapshot().segments(Table::Samples, TimeRange::ALL).remove(0);
    let mut bytes = fs::read(&segment.path).unwrap();
    bytes[4..].fill(0);
    fs::write(&segment.path, &bytes).unwrap();
    let snapshot = store.snapshot();
    let series = snapshot.select(TENANT, &[]).unwrap();
    let refused = |samples_max: u64| {
        let limit = ScanLimit { samples_max, ..ScanLimit::default() };
        let scan = snapshot.samples(&series, (START_MS, START_MS + 1_000), &limit);
        scan.map(|_| ()).unwrap_err()
    };
    let error = refused(499);
    assert!(matches!(error, Error::ScanLimit { limit: 499, .. }), "{error}");
    assert_eq!(refused(500).kind(), ErrorKind::Corrupt, "read, for it may fit");
    crash(store).await;
}

#[tokio::test]
async fn damaged_definitions_are_refused_until_somebody_gives_them_up() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(id, START_MS, 1.0)]).await.unwrap();
    store.flush().await.unwrap();
    let segment = store.snapshot().segments(Table::Series, TimeRange::ALL).remove(0);
    crash(store).await;
    flip(&segment.path, 50);
    let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    let quarantine = bench.dir.path().join("quarantine");
    for part in [segment.path.to_str().unwrap(), "at byte 0", quarantine.to_str().unwrap()] {
        assert!(text.contains(part), "{text}");
    }
    let moved = quarantine.join(segment.path.file_name().unwrap());
    fs::rename(&segment.path, &moved).unwrap();
    let store = bench.open().await;
    assert_eq!((read(&store).len(), store.stats().quarantined_segments), (0, 1));
    store.compact().await.unwrap();
    crash(store).await;
    fs::remove_file(moved).unwrap();
    let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Definitions { .. }), "a file that is just gone: {error}");
}

#[tokio::test]
async fn a_store_without_its_catalogue_is_refused() {
    let bench = Bench::new();
    ten(&bench, true).await;
    let path = bench.dir.path().join("catalogue.sqlite");
    let saved = bench.dir.path().join("saved");
    fs::rename(&path, &saved).unwrap();
    let refused = async || {
        let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
        let is_missing = matches!(error, Error::CatalogueMissing { .. });
        (is_missing, error.to_string())
    };
    let (is_missing, text) = refused().await;
    assert!(is_missing && text.contains(bench.dir.path().to_str().unwrap()), "{text}");
    assert!(!path.exists(), "no new one takes its place");
    assert!(Store::verify(bench.dir.path().to_owned()).await.is_err());
    fs::write(&path, "").unwrap();
    assert!(refused().await.0, "an empty file is no catalogue either");
    fs::rename(&saved, &path).unwrap();
    assert_eq!(read(&*bench.open().await).len(), 10);
}

#[tokio::test]
async fn a_catalogue_that_is_none_is_refused_by_path() {
    let bench = Bench::new();
    let path = bench.dir.path().join("catalogue.sqlite");
    fs::write(&path, [7; 8_192]).unwrap();
    let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("backup"), "{text}");
}

#[tokio::test]
async fn newer_formats_are_refused_by_version() {
    let bench = Bench::new();
    let file = ten(&bench, true).await;
    let mut bytes = fs::read(&file).unwrap();
    bytes[7] = 9;
    fs::write(&file, &bytes).unwrap();
    let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("format version 9, this release reads up to version 2"),
        "{error}"
    );
    bytes[7] = 2;
    fs::write(&file, &bytes).unwrap();
    let catalogue =
        crate::catalogue::Catalogue::open(bench.dir.path(), Timestamp(0)).await.unwrap();
    let newer = crate::catalogue::schema::FORMAT_VERSION + 1;
    catalogue.set_format_version(newer).await;
    drop(catalogue);
    let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(error, Error::NewerFormat { what: "catalogue", found, .. } if found == newer),
        "{error}"
    );
}

#[tokio::test]
async fn a_log_that_does_not_reach_back_is_refused() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    for batch in 0..60 {
        let rows: Vec<_> = (0..300)
            .map(|i| (id, START_MS + batch * 300 + i, f64::from_bits(i as u64 * 7_919)))
            .collect();
        put(&store, &rows).await.unwrap();
    }
    crash(store).await;
    let files = wal_files(&bench);
    assert!(files.len() > 2, "{files:?}");
    fs::remove_file(&files[0]).unwrap();
    let error = Store::open_with(bench.config(), bench.seams()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::WalGap { .. }), "{error}");
    let written_ahead = bench.dir.path().join("catalogue.sqlite-wal");
    assert!(!written_ahead.exists(), "the catalogue is closed by then, not some time later");
}

#[tokio::test]
async fn verify_names_every_damaged_file() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(id, START_MS, 1.0)]).await.unwrap();
    store.flush().await.unwrap();
    for i in 0..10 {
        put(&store, &[(id, START_MS + i, 1.0)]).await.unwrap();
    }
    let segment = store.snapshot().segments(Table::Samples, TimeRange::ALL).remove(0);
    assert!(matches!(Store::verify(bench.dir.path().to_owned()).await, Err(Error::Locked { .. })));
    store.shutdown().await.unwrap();
    crash(store).await;
    let verify = || Store::verify(bench.dir.path().to_owned());
    let report = verify().await.unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.segments, report.tables[Table::Samples as usize].segment_rows), (2, 1));
    assert!(report.last_sequence >= 11);
    flip(&segment.path, 100);
    let log = wal_files(&bench).remove(0);
    let middle = fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap() - 400;
    flip(&log, middle);
    let stranger = segment.path.with_file_name("stranger.parquet");
    fs::write(&stranger, "?").unwrap();
    let mut found: Vec<_> =
        verify().await.unwrap().problems.into_iter().map(|problem| problem.path).collect();
    found.sort();
    let mut expected = vec![segment.path, log, stranger];
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn segments_read_as_objects_are_checked_too() {
    use object_store::{ObjectStore as _, ObjectStoreExt as _};
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(id, START_MS, 1.0)]).await.unwrap();
    store.flush().await.unwrap();
    let segments = store.snapshot().segments(Table::Samples, TimeRange::ALL);
    let files = crate::scan::SegmentFiles::new(&segments);
    let path = object_store::path::Path::from_absolute_path(&segments[0].path).unwrap();
    let bytes = fs::read(&segments[0].path).unwrap();
    assert_eq!(files.get(&path).await.unwrap().bytes().await.unwrap(), bytes);
    let end = bytes.len() as u64;
    let parts = files.get_ranges(&path, &[0..4, end - 4..end]).await.unwrap();
    assert_eq!((&parts[0][..], &parts[1][..]), (&b"PAR1"[..], &b"PAR1"[..]));
    assert_eq!(files.head(&path).await.unwrap().size, end);
    assert!(files.get_range(&path, end..end + 1).await.is_err());
    flip(&segments[0].path, 50);
    let error = files.get_range(&path, 0..4).await.unwrap_err();
    assert!(error.to_string().contains("corrupt at byte 0: bad checksum"), "{error}");
}

#[tokio::test]
async fn a_damaged_segment_stays_in_quarantine_until_its_time_is_over() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    put(&store, &[(id, START_MS, 1.0)]).await.unwrap();
    store.flush().await.unwrap();
    put(&store, &[(id, START_MS + 1, 2.0)]).await.unwrap();
    store.flush().await.unwrap();
    let segment = store.snapshot().segments(Table::Samples, TimeRange::ALL).remove(0);
    assert_eq!(store.quarantine().await.unwrap(), 0, "nothing was found damaged");
    flip(&segment.path, 50);
    assert_eq!(segment.read(from_ref(&(0..segment.bytes))).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.quarantine().await.unwrap(), 1);
    assert_eq!(store.quarantine().await.unwrap(), 0);
    let check = |store: &Store| {
        let snapshot = store.snapshot();
        let missing = snapshot.missing(TENANT, Table::Samples, TimeRange::ALL);
        let [missing] = &missing[..] else { panic!("{missing:?}") };
        assert_eq!((missing.rows, &missing.path), (1, &segment.path));
        assert_eq!(snapshot.missing(TENANT, Table::Logs, TimeRange::ALL), []);
        assert_eq!(snapshot.segments(Table::Samples, TimeRange::ALL).len(), 1);
        assert_eq!(read(store).len(), 1, "the other sample is there");
        assert_eq!(store.stats().quarantined_segments, 1);
    };
    check(&store);
    store.compact().await.unwrap();
    check(&store);
    crash(store).await;
    let report = Store::verify(bench.dir.path().to_owned()).await.unwrap();
    let about: Vec<_> = report.problems.iter().filter(|p| p.path == segment.path).collect();
    assert!(about.iter().any(|problem| problem.reason.contains("quarantine")), "{report:?}");
    let store = bench.open().await;
    check(&store);
    bench.time.0.fetch_add(400 * 86_400 * SECOND, Ordering::SeqCst);
    store.compact().await.unwrap();
    let missing = store.snapshot().missing(TENANT, Table::Samples, TimeRange::ALL);
    assert_eq!(missing, [], "retention ends it as any other");
    crash(store).await;
    bench.open().await;
}

#[tokio::test]
async fn a_segment_that_is_gone_is_missing_from_answers_and_no_reason_for_none() {
    let bench = Bench::new();
    let store = bench.open().await;
    let id = store.resolve(TENANT, &def("cpu", "a")).unwrap();
    for i in 0..2 {
        put(&store, &[(id, START_MS + i, 1.0)]).await.unwrap();
        store.flush().await.unwrap();
    }
    let segment = store.snapshot().segments(Table::Samples, TimeRange::ALL).remove(0);
    fs::remove_file(&segment.path).unwrap();
    segment.read(from_ref(&(0..4))).unwrap_err();
    assert_eq!(store.quarantine().await.unwrap(), 1);
    let missing = store.snapshot().missing(TENANT, Table::Samples, TimeRange::ALL);
    assert!(missing[0].to_string().contains("is gone"), "{missing:?}");
    assert_eq!(read(&store).len(), 1);
    store.begin_backup().await.unwrap();
}
