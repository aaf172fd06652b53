//! DuckDB as PyPI has it reads our segments: what went in comes out, bit for bit, by the formula that is documented.

mod records;
mod samples;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::time::{Clock, TimeRange, Timestamp};
use serde_json::Value;
use store::schema::Table;
use store::{Config, Store};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::python::{python, sources};

/// When the tests happen, in ms since the epoch: on the hour.
const START_MS: i64 = 1_795_410_000_000;
const HOUR_MS: i64 = 3_600_000;

/// A store with a clock that tests move.
struct Bench {
    store: Arc<Store>,
    now_ms: Arc<AtomicI64>,
    clock: Arc<dyn Clock>,
    _dir: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let ticks = Arc::clone(&now_ms);
        let clock: Arc<dyn Clock> =
            Arc::new(move || Timestamp::from_ms(ticks.load(Ordering::SeqCst)));
        let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        let store = Store::open(config, Arc::clone(&clock)).await.unwrap();
        Self { store, now_ms, clock, _dir: dir }
    }

    /// Lets `hours` pass and compacts until there is nothing left to do.
    async fn settle(&self, hours: i64) {
        self.now_ms.fetch_add(hours * HOUR_MS, Ordering::SeqCst);
        loop {
            let before = self.store.stats().compactions_total;
            self.store.compact().await.unwrap();
            if self.store.stats().compactions_total == before {
                return;
            }
        }
    }

    /// Rows of `statement`, in which `{table}` stands for each table's live segments, and doubles come as bits.
    async fn duckdb(&self, statement: &str) -> Vec<Vec<Value>> {
        let snapshot = self.store.snapshot();
        let mut statement = statement.to_owned();
        for table in Table::ALL {
            let name = format!("{{{table}}}");
            if statement.contains(&name) {
                let segments = snapshot.segments(table, TimeRange::ALL);
                assert!(!segments.is_empty(), "no segments of {table}");
                let paths: Vec<String> =
                    segments.iter().map(|segment| quoted(&segment.path)).collect();
                let source = format!("read_parquet([{}]) AS {table}", paths.join(", "));
                statement = statement.replace(&name, &source);
            }
        }
        run(&statement).await
    }

    /// Highest and lowest level of the live segments of `table`.
    fn levels(&self, table: Table) -> (u8, u8) {
        let segments = self.store.snapshot().segments(table, TimeRange::ALL);
        let levels: Vec<u8> = segments.iter().map(|segment| segment.level).collect();
        (*levels.iter().min().unwrap(), *levels.iter().max().unwrap())
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

async fn run(statement: &str) -> Vec<Vec<Value>> {
    let mut command = Command::new(python().await);
    command.arg(sources().join("read.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(statement.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{statement}\n{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The formula of docs/format/segment.md, its columns prefixed with `prefix`.
fn value(prefix: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format/segment.md");
    let page = std::fs::read_to_string(page).unwrap();
    let formula = page.split("```sql").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    ["v_ctr", "v_int", "v_f64", "scale"].iter().fold(formula.to_owned(), |formula, column| {
        formula.replace(column, &format!("{prefix}{column}"))
    })
}

/// The text form of the bits of a double, as `read.py` prints it.
fn bits(value: f64) -> Value {
    Value::String(format!("{:016x}", value.to_bits()))
}
