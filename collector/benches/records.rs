//! Log records and spans per CPU second, from an OTLP body to durable rows, and what they take on disk.
//!
//! `cargo bench -p collector --bench records` prints a line for each load and a table of bytes by column, for
//! `docs/guide/performance.md`. Four clients send at once and wait for each answer, which comes after the fdatasync. CPU
//! time is the whole process's while they send, flushes included, making the bodies excluded.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use collector::{Collector, Config};
use model::time::{NS_PER_S, TimeRange, Timestamp};
use parquet::file::reader::{FileReader, SerializedFileReader};
use rustix::time::{ClockId, clock_gettime};
use store::Store;
use store::schema::Table;
use tokio::time::Instant;
use tower::ServiceExt;

#[path = "records/load.rs"]
mod load;

type Failure = Box<dyn std::error::Error>;

/// The present; the hour that ends here holds all rows.
const NOW: Timestamp = Timestamp(1_800_000_000 * NS_PER_S - 1);
const N_CLIENTS: usize = 4;
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// One load.
struct Scenario {
    name: &'static str,
    table: Table,
    path: &'static str,
    content_type: &'static str,
    encoding: &'static str,
    rows: usize,
}

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

const SCENARIOS: [Scenario; 7] = [
    logs("logs, protobuf", PROTOBUF, "", 1_000_000),
    logs("logs, protobuf, zstd", PROTOBUF, "zstd", 400_000),
    logs("logs, JSON", JSON, "", 400_000),
    logs("logs, JSON, gzip", JSON, "gzip", 400_000),
    logs("logs, JSON, zstd", JSON, "zstd", 400_000),
    spans("spans, protobuf", PROTOBUF, 500_000),
    spans("spans, JSON", JSON, 200_000),
];

const fn logs(
    name: &'static str,
    content_type: &'static str,
    encoding: &'static str,
    rows: usize,
) -> Scenario {
    Scenario { name, table: Table::Logs, path: "/v1/logs", content_type, encoding, rows }
}

const fn spans(name: &'static str, content_type: &'static str, rows: usize) -> Scenario {
    Scenario { name, table: Table::Spans, path: "/v1/traces", content_type, encoding: "", rows }
}

fn main() -> Result<(), Failure> {
    let wanted = std::env::args().nth(1).filter(|name| !name.starts_with('-'));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for scenario in &SCENARIOS {
        if wanted.as_ref().is_none_or(|name| scenario.name.contains(name)) {
            let report = runtime.block_on(measure(scenario))?;
            writeln!(std::io::stdout().lock(), "{report}")?;
        }
    }
    Ok(())
}

async fn measure(scenario: &Scenario) -> Result<String, Failure> {
    let dir = tempfile::tempdir()?;
    let clock: Arc<dyn model::time::Clock> = Arc::new(|| NOW);
    let config = store::Config { data_dir: dir.path().to_owned(), ..store::Config::default() };
    let store = Store::open(config, Arc::clone(&clock)).await?;
    let collector = Collector::new(Arc::clone(&store), Config::default(), clock);
    let bodies = load::bodies(scenario.table, scenario.rows, scenario.content_type == JSON);
    let plain_bytes: usize = bodies.iter().map(Vec::len).sum();
    let bodies = bodies.into_iter().map(|body| compressed(body, scenario.encoding));
    let bodies: Arc<[Bytes]> = bodies.collect::<Result<_, _>>()?;

    let next = Arc::new(AtomicUsize::new(0));
    let (cpu, start) = (cpu_seconds(), Instant::now());
    let clients: Vec<_> = (0..N_CLIENTS)
        .map(|_| {
            let (collector, bodies, next) =
                (Arc::clone(&collector), Arc::clone(&bodies), Arc::clone(&next));
            let (path, content_type, encoding) =
                (scenario.path, scenario.content_type, scenario.encoding);
            tokio::spawn(async move {
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let request = || {
                        Request::post(path)
                            .header("content-type", content_type)
                            .header("content-encoding", encoding)
                            .body(Body::from(body.clone()))
                            .map_err(|error| error.to_string())
                    };
                    // A full head says so until a flush has made room, as it does to every client.
                    while !send(&collector, request()?).await? {
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    for client in clients {
        client.await??;
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let stats = collector.stats();
    let accepted = stats.logs.accepted + stats.traces.accepted;
    if accepted != u64::try_from(scenario.rows)? {
        return Err(format!("only {accepted} of {} rows were accepted", scenario.rows).into());
    }
    let rows = scenario.rows as f64;
    let line = format!(
        "{}: {:.0} rows and {:.1} MB per CPU second, {:.0} rows per second ({} rows of {:.0} B, {} requests)",
        scenario.name,
        rows / cpu,
        plain_bytes as f64 / cpu / 1e6,
        rows / wall,
        scenario.rows,
        plain_bytes as f64 / rows,
        bodies.len(),
    );
    let cpu = cpu_seconds();
    store.flush().await?;
    store.compact().await?;
    let settling = (cpu_seconds() - cpu) / rows * 1e6;
    let sizes = if scenario.encoding.is_empty() && scenario.content_type == PROTOBUF {
        sizes(&store, scenario)?
    } else {
        String::new()
    };
    store.shutdown().await?;
    Ok(format!("{line}; last flush and compaction {settling:.2} us of CPU a row\n{sizes}"))
}

/// Whether the request was taken; false when there was no room for it.
async fn send(collector: &Arc<Collector>, request: Request<Body>) -> Result<bool, String> {
    let Ok(response) = collector.http_routes().oneshot(request).await;
    let status = response.status();
    let answer = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Ok(false);
    }
    if !status.is_success() || answer.len() > 2 {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&answer)));
    }
    Ok(true)
}

fn compressed(body: Vec<u8>, encoding: &str) -> Result<Bytes, Failure> {
    Ok(match encoding {
        "zstd" => zstd::encode_all(&body[..], 3)?.into(),
        "gzip" => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(&body)?;
            out.finish()?.into()
        }
        _ => body.into(),
    })
}

/// Bytes a row in the segments of a table, in all and by column.
fn sizes(store: &Arc<Store>, scenario: &Scenario) -> Result<String, Failure> {
    let range = TimeRange::new(Timestamp(0), Timestamp(i64::MAX));
    let (mut columns, mut file_bytes) = (BTreeMap::<String, i64>::new(), 0);
    let segments = store.snapshot().segments(scenario.table, range);
    for segment in &segments {
        file_bytes += segment.bytes;
        let file = SerializedFileReader::new(std::fs::File::open(&segment.path)?)?;
        for group in file.metadata().row_groups() {
            for column in group.columns() {
                let path = column.column_path().parts();
                let name = path.first().cloned().unwrap_or_default();
                *columns.entry(name).or_default() += column.compressed_size();
            }
        }
    }
    let rows = scenario.rows as f64;
    let mut columns: Vec<_> = columns.into_iter().collect();
    columns.sort_by_key(|(_, bytes)| -bytes);
    let columns: Vec<String> = columns
        .into_iter()
        .filter(|(_, bytes)| *bytes as f64 / rows >= 0.01)
        .map(|(name, bytes)| format!("{name} {:.2}", bytes as f64 / rows))
        .collect();
    Ok(format!(
        "  {:.2} B a row in {} segments: {}\n",
        file_bytes as f64 / rows,
        segments.len(),
        columns.join(", ")
    ))
}

/// CPU time of this process, user and system, in seconds.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
