//! Memory under a limit: metrics, bursts of logs and spans, and queries all the while; the most the server ever took.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Setting, query, search};
use crate::client::Answer;
use crate::clock;
use crate::drive::{Run, send};
use crate::fleet::Fleet;
use crate::peer::Peer;
use crate::process::memory_bytes;
use crate::report::{Table, count, megabytes};
use crate::stream::{Load, Protocol, Stream, logs, metrics, spans};

/// Time between two scrapes of a target, and between two bursts of logs and spans.
const INTERVAL: Duration = Duration::from_secs(5);
/// Connections of each kind of sender.
const CLIENTS: usize = 4;
/// Requests of 5,000 records in a burst; each eighth burst is [`FLOOD`] times as large.
const BURST: u64 = 4;
const FLOOD: u64 = 20;
/// Pause of a client whose query was refused.
const PAUSE: Duration = Duration::from_millis(200);

/// What a soak is made of.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// Series, all of them active.
    pub series: usize,
    /// How long.
    pub time: Duration,
    /// The server's `memory_limit` in MiB.
    pub limit_mib: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Resident bytes at most.
    pub peak: u64,
    /// Resident bytes when it ended.
    pub resident: u64,
    /// Samples, log records and spans acknowledged.
    pub items: [u64; 3],
    /// Requests to write that were refused with a pause, and sent again.
    pub refused: u64,
    /// Queries answered.
    pub answered: u64,
    /// Queries refused for their memory or for want of it.
    pub queries_refused: u64,
    /// The longest wait for the answer to a query.
    pub slowest: Duration,
    /// CPU seconds of the server.
    pub cpu_s: f64,
}

/// Half an hour of it, or half a minute.
///
/// # Errors
///
/// When the server ends, or a request fails for good.
pub fn soak_step(setting: &Setting) -> Result<String> {
    let time = Duration::from_secs(if setting.is_quick { 30 } else { 1_800 });
    let what = Soak { series: 200_000, time, limit_mib: 512 };
    let outcome = soak(setting, what)?;
    let mut table = Table::new(&["What", "Figure"]);
    let [samples, records, spans] = outcome.items.map(|n| count(n as f64));
    for (name, figure) in [
        ("limit", megabytes(what.limit_mib << 20)),
        ("resident at most", megabytes(outcome.peak)),
        ("resident at the end", megabytes(outcome.resident)),
        ("samples, logs, spans acknowledged", format!("{samples}, {records}, {spans}")),
        ("writes refused with a pause, sent again", count(outcome.refused as f64)),
        ("queries answered", count(outcome.answered as f64)),
        ("queries refused", count(outcome.queries_refused as f64)),
        ("slowest answer", format!("{:.1} s", outcome.slowest.as_secs_f64())),
        ("CPU seconds", format!("{:.0}", outcome.cpu_s)),
    ] {
        table.row(&[name.to_owned(), figure]);
    }
    let head = format!(
        "## Memory under a limit\n\n{} series every {} s by remote write, bursts of logs and spans in between, every eighth of them {FLOOD} times \
         as large, PromQL and SQL one after the other without a pause; {} s.\n\n",
        count(what.series as f64),
        INTERVAL.as_secs(),
        time.as_secs()
    );
    Ok(head + &table.finish())
}

/// Lets a server of ours live with `what` and looks at its memory.
///
/// # Errors
///
/// When the server ends, or a request fails for good.
pub fn soak(setting: &Setting, what: Soak) -> Result<Outcome> {
    let limit = format!("{}MiB", what.limit_mib);
    let peer = Peer::ours(setting, "soak", &[("HEADROPE_MEMORY_LIMIT", &limit)])?;
    let begin = clock::now();
    let soaking = Soaking { setting, peer: &peer, what, begin, sent: Mutex::default() };
    let asked = Asked::default();
    std::thread::scope(|scope| {
        let tasks = [
            scope.spawn(|| soaking.scrapes()),
            scope.spawn(|| soaking.bursts()),
            scope.spawn(|| soaking.promql(&asked)),
            scope.spawn(|| soaking.sql(&asked)),
        ];
        let mut ends = tasks.into_iter().map(|task| task.join());
        ends.try_for_each(|end| end.map_err(|_| anyhow::anyhow!("a sender panicked"))?)
    })?;
    let (resident, peak) = memory_bytes(peer.id())?;
    let mut outcome = soaking.sent.into_inner().unwrap_or_else(|sent| sent.into_inner());
    (outcome.resident, outcome.peak, outcome.cpu_s) = (resident, peak, peer.cpu_seconds()?);
    outcome.answered = asked.answered.into_inner();
    outcome.queries_refused = asked.refused.into_inner();
    outcome.slowest = Duration::from_millis(asked.slowest_ms.into_inner());
    drop(fs::remove_dir_all(peer.stop()?));
    Ok(outcome)
}

/// Counts of the queries.
#[derive(Default)]
struct Asked {
    answered: AtomicU64,
    refused: AtomicU64,
    slowest_ms: AtomicU64,
}

struct Soaking<'a> {
    setting: &'a Setting,
    peer: &'a Peer,
    what: Soak,
    begin: Instant,
    sent: Mutex<Outcome>,
}

impl Soaking<'_> {
    fn is_over(&self) -> bool {
        self.begin.elapsed() >= self.what.time
    }

    /// Waits for the time of round `n`.
    fn pace(&self, n: u32) {
        clock::pause((INTERVAL * n).saturating_sub(self.begin.elapsed()));
    }

    fn send(&self, stream: &Stream, kind: usize) -> Result<()> {
        let run: Run = send(stream, self.peer)?;
        let mut sent = self.sent.lock().unwrap_or_else(|sent| sent.into_inner());
        sent.items[kind] += run.items;
        sent.refused += run.refused;
        Ok(())
    }

    fn scrapes(&self) -> Result<()> {
        let interval_ms = i64::try_from(INTERVAL.as_millis())?;
        let start_ms = clock::epoch_ms() - interval_ms;
        let mut fleet = Fleet::new(self.what.series, interval_ms, start_ms);
        for n in 0.. {
            if self.is_over() {
                break;
            }
            let load = Load {
                protocol: Protocol::RemoteWrite1,
                first: n.into(),
                scrapes: 1,
                clients: CLIENTS,
                targets_per_request: 10,
            };
            self.send(&metrics(&mut fleet, load, &self.setting.dir)?, 0)?;
            self.pace(n + 1);
        }
        Ok(())
    }

    fn bursts(&self) -> Result<()> {
        for n in 0.. {
            if self.is_over() {
                break;
            }
            let size = if n % 8 == 7 { BURST * FLOOD } else { BURST };
            let end_ns = clock::epoch_ms().unsigned_abs() * 1_000_000;
            self.send(&logs(size, CLIENTS, end_ns, &self.setting.dir)?, 1)?;
            self.send(&spans(size, CLIENTS, end_ns, &self.setting.dir)?, 2)?;
            self.pace(n + 1);
        }
        Ok(())
    }

    fn promql(&self, asked: &Asked) -> Result<()> {
        for (expression, form, _) in query::questions::HOUR.iter().cycle() {
            let now_s = clock::epoch_ms() / 1_000;
            let hour_s = (now_s - 3_600, now_s);
            asked.ask(expression, || query::send_query(self.peer, expression, *form, hour_s))?;
            if self.is_over() {
                break;
            }
        }
        Ok(())
    }

    fn sql(&self, asked: &Asked) -> Result<()> {
        for statement in search::SQL.iter().cycle() {
            asked.ask(statement, || search::send_sql(self.peer, statement))?;
            if self.is_over() {
                break;
            }
        }
        Ok(())
    }
}

impl Asked {
    fn ask(&self, text: &str, query: impl FnOnce() -> Result<Answer>) -> Result<()> {
        let begin = clock::now();
        let answer = query().with_context(|| text.to_owned())?;
        self.slowest_ms.fetch_max(u64::try_from(begin.elapsed().as_millis())?, Ordering::Relaxed);
        if answer.is_success() {
            self.answered.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        // Over a limit, or no room now; anything else is a fault.
        ensure!(
            matches!(answer.status, 422 | 429 | 503),
            "{text}: {}: {}",
            answer.status,
            answer.text()
        );
        self.refused.fetch_add(1, Ordering::Relaxed);
        clock::pause(PAUSE);
        Ok(())
    }
}
