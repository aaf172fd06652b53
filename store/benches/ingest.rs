//! What the store's share of ingest costs, in CPU time of this process: from `Store::ingest` to rows in segments.
//!
//! `cargo bench -p store --bench ingest` prints one line for each load; `-- series` also the memory of a million active
//! series with ten labels. Figures go to `docs/guide/performance.md`.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::id::{ResourceId, TenantId};
use model::metric::{Labels, MetricKind, SeriesDef, Temporality};
use model::time::{Clock, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use store::scan::ScanLimit;
use store::{Config, Ingest, Samples, SeriesRef, Store};

/// 2026-11-23T00:00:00Z.
const START_MS: i64 = 1_795_392_000_000;
const STEP_MS: i64 = 15_000;
const BATCH_ROWS: usize = 10_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let wants_series = std::env::args().any(|arg| arg == "series");
    runtime.block_on(async {
        ingest(10_000, 300).await?;
        ingest(200_000, 20).await?;
        if wants_series {
            ingest(1_000_000, 6).await?;
        }
        Ok(())
    })
}

/// CPU time of this process, user and system, in seconds.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident bytes of this process.
fn resident() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split(' ').nth(1).ok_or("statm is cut short")?.parse()?;
    Ok(pages * 4_096.0)
}

/// A series as a cluster of many pods sends it: ten labels, one unique to the pod, several to the target.
fn definition(i: usize) -> SeriesDef {
    let (target, metric) = (i / 100, i % 100);
    let labels: Labels = [
        ("job", format!("service-{}", target % 50)),
        (
            "instance",
            format!("10.{}.{}.{}:9090", target >> 16 & 255, target >> 8 & 255, target & 255),
        ),
        ("pod", format!("service-{}-7d9f8b6c5-{target:06x}", target % 50)),
        ("namespace", format!("team-{}", target % 20)),
        ("node", format!("node-{}.example", target % 300)),
        ("cluster", "eu-1".to_owned()),
        ("container", "app".to_owned()),
        ("method", ["GET", "POST", "PUT", "DELETE"][metric % 4].to_owned()),
        ("code", ["200", "404", "500"][metric % 3].to_owned()),
        ("le", format!("{}", metric / 10)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let name = format!("http_requests_{}_total", metric / 10);
    SeriesDef {
        metric: name.clone(),
        prom_name: name,
        prom_labels: labels.clone(),
        labels,
        resource_id: ResourceId(0),
        kind: MetricKind::Counter,
        temporality: Temporality::Cumulative,
        unit: String::new(),
        help: "Requests by method and code.".to_owned(),
    }
}

async fn ingest(n_series: usize, n_ticks: i64) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let now = Arc::new(AtomicI64::new(START_MS));
    let ticks = Arc::clone(&now);
    let clock: Arc<dyn Clock> = Arc::new(move || Timestamp::from_ms(ticks.load(Ordering::Relaxed)));
    let series_max = n_series.max(1_000_000);
    let config = Config { data_dir: dir.path().to_owned(), series_max, ..Config::default() };
    let store = Store::open(config, clock).await?;
    let before = resident()?;
    let refs = resolve(&store, n_series)?;
    let held = resident()? - before;
    let said = store.stats().registry_bytes;
    put(&store, &refs, START_MS).await?; // Carries the definitions.

    let (cpu, start) = (cpu_seconds(), store.stats());
    for tick in 1..=n_ticks {
        let ms = START_MS + tick * STEP_MS;
        now.store(ms, Ordering::Relaxed);
        put(&store, &refs, ms).await?;
    }
    let ingested = cpu_seconds() - cpu;
    store.flush().await?;
    let n = n_series as f64 * n_ticks as f64;
    let (flushed, end) = (cpu_seconds() - cpu, store.stats());
    let wal = (end.wal_bytes_total - start.wal_bytes_total) as f64 / n;
    let (scan, n_scanned) = scan(&store, START_MS + n_ticks * STEP_MS)?;
    store.shutdown().await?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{n_series} series x {n_ticks}: ingest {:.0} ns, with flushes {:.0} ns CPU a sample, log {wal:.1} B a sample, \
         scan {:.1} M samples/s; registry {:.0} B a series ({:.0} B resident)",
        ingested / n * 1e9,
        flushed / n * 1e9,
        n_scanned as f64 / scan / 1e6,
        said as f64 / n_series as f64,
        held / n_series as f64,
    )?;
    Ok(())
}

fn resolve(store: &Store, n_series: usize) -> Result<Vec<SeriesRef>, Failure> {
    let resolved = (0..n_series).map(|i| store.resolve(TenantId(0), &definition(i)));
    Ok(resolved.map(|series| series.map(|series| series.at)).collect::<Result<_, _>>()?)
}

/// One scrape of all series, in batches.
async fn put(store: &Store, refs: &[SeriesRef], ms: i64) -> Result<(), Failure> {
    for (chunk, refs) in refs.chunks(BATCH_ROWS).enumerate() {
        let tick = (ms - START_MS) / 1_000;
        let value = |i: usize| ((chunk * BATCH_ROWS + i) % 977) as f64 * tick as f64;
        let samples = Samples {
            series: refs.to_vec(),
            times: vec![ms; refs.len()],
            values: (0..refs.len()).map(value).collect(),
            starts: vec![START_MS; refs.len()],
            flags: vec![0; refs.len()],
        };
        store.ingest(Ingest { samples, ..Ingest::default() }).await?;
    }
    Ok(())
}

/// CPU seconds to read every sample of at most 10,000 series, and how many those were. Blocks.
fn scan(store: &Store, last_ms: i64) -> Result<(f64, usize), Failure> {
    let snapshot = store.snapshot();
    let mut series = snapshot.select(TenantId(0), &[])?;
    series.truncate(10_000);
    let cpu = cpu_seconds();
    let limit = ScanLimit { samples_max: u64::MAX, ..ScanLimit::default() };
    let mut n = 0;
    for slice in snapshot.samples(&series, (START_MS, last_ms), &limit)? {
        n += slice?.t.len();
    }
    Ok((cpu_seconds() - cpu, n))
}
