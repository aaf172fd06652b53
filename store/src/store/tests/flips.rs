//! One flipped bit anywhere in a data directory: refused, or harmless; never another answer, never a panic.

use std::path::PathBuf;

use super::simulation::ingest;
use super::simulation::model::{Batch, Row, rows, try_rows};
use super::*;
use crate::disk::sim::{Dice, Tree, files, plant};

/// Flips in a plain test run, for each kind of file.
const FLIPS: u64 = 30;

/// A cleanly ended store with rows in segments of two levels and in its log.
async fn stored(bench: &Bench) -> Vec<Row> {
    let store = bench.open().await;
    let mut number = 0;
    for batch in 0..9 {
        let mut row = || {
            number += 1;
            let host = format!("h{}", number % 3);
            match number % 4 {
                0 => Row::Log(number),
                1 => Row::Span(number),
                _ => Row::Sample { host, time: START_MS + number.cast_signed(), value: number },
            }
        };
        let sent = Batch::loose((0..20).map(|_| row()).collect(), START_MS);
        store.ingest(ingest(&store, &sent)).await.unwrap();
        if batch < 7 {
            store.flush().await.unwrap();
        }
        if batch == 5 {
            store.compact().await.unwrap();
        }
    }
    let rows = rows(&store.snapshot());
    store.shutdown().await.unwrap();
    crash(store).await;
    rows
}

/// Opens the store in `dir` and reads everything; an error is fine, another answer is not.
async fn answers(bench: &Bench, dir: &Path) -> Result<Vec<Row>, Error> {
    let store = Store::open_idle(config(dir), bench.seams()).await?;
    let found = try_rows(&store.snapshot());
    crash(store).await;
    found
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_refused_or_harmless() {
    let bench = Bench::new();
    let expected = stored(&bench).await;
    assert_eq!(expected.len(), 180);
    let below = |path: &PathBuf| path.strip_prefix(bench.dir.path()).unwrap().to_owned();
    let is_kept =
        |path: &PathBuf| !path.ends_with("LOCK") && !path.ends_with("catalogue.sqlite-shm");
    let whole: Tree = files(bench.dir.path())
        .iter()
        .filter(|path| is_kept(path))
        .map(|path| (below(path), std::fs::read(path).unwrap()))
        .collect();
    let times = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(FLIPS);
    let mut dice = Dice::new(3);
    for ending in ["wal", "parquet", "puffin", "sqlite"] {
        let of_kind = |path: &&PathBuf| path.extension().is_some_and(|found| found == ending);
        let paths: Vec<&PathBuf> = whole.keys().filter(of_kind).collect();
        assert!(!paths.is_empty(), "{ending}: {:?}", whole.keys());
        let mut n_refused = 0;
        for _ in 0..times {
            let path = paths[dice.below(paths.len())];
            let mut tree = whole.clone();
            let bytes = tree.get_mut(path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let bit = dice.below(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            plant(&tree, dir.path());
            match answers(&bench, dir.path()).await {
                Ok(found) => {
                    assert!(found == expected, "{} bit {bit}: another answer", path.display())
                }
                Err(error) => {
                    n_refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        println!("{ending}: {n_refused} of {times} refused, the others harmless");
    }
}
