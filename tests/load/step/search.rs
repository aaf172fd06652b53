//! SQL, a needle among logs, and traces by their id: what only we answer, over settled segments and after a restart.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Setting;
use crate::client::{Answer, Client};
use crate::clock;
use crate::drive::send;
use crate::fleet::Fleet;
use crate::peer::{Kind, Peer};
use crate::report::{Table, count, median};
use crate::stream::{Load, Protocol, logs, metrics, spans};

/// Connections that send.
const CLIENTS: usize = 4;
/// How long head and compaction may take to come to rest.
const SETTLING: Duration = Duration::from_secs(300);

pub(super) const SQL: [&str; 10] = [
    "SELECT count(*) FROM metrics",
    "SELECT metric, count(*) AS n FROM metrics GROUP BY metric ORDER BY n DESC LIMIT 10",
    "SELECT max(value) FROM metrics WHERE metric = 'node_load1'",
    "SELECT date_trunc('minute', time) AS t, avg(value) FROM metrics WHERE metric = 'node_load5' GROUP BY t ORDER BY t",
    "SELECT count(*) FROM logs",
    "SELECT service_name, severity_text, count(*) FROM logs GROUP BY 1, 2 ORDER BY 3 DESC",
    "SELECT time, body FROM logs WHERE body LIKE '%user 4711 %' ORDER BY time LIMIT 100",
    "SELECT time, body FROM logs WHERE service_name = 'cart' ORDER BY time DESC LIMIT 50",
    "SELECT service_name, count(*), approx_percentile_cont(duration, 0.99) FROM spans GROUP BY service_name ORDER BY 2 DESC",
    "SELECT name, count(*) FROM spans WHERE is_error GROUP BY name ORDER BY 2 DESC",
];

/// How often each statement is measured.
const ROUNDS: usize = 5;

/// Ten SQL statements, needles and traces.
///
/// # Errors
///
/// When the server does not start, or refuses the load or a query.
pub fn search_step(setting: &Setting) -> Result<String> {
    let ours = Peer::start(Kind::Headrope, &setting.headrope, &setting.dir)?;
    let (n_logs, n_spans, n_samples) = fill(setting, &ours)?;
    let rest = settle(&ours)?;
    let data = ours.stop()?;
    let home = data.parent().context("data lies in a folder")?.to_owned();
    let ours = Peer::resume(Kind::Headrope, &setting.headrope, &home)?;
    let mut table = Table::new(&["Question", "rows", "first ms", "median ms"]);
    // Needles and traces first: only then are caches cold.
    let found = sql(&ours, "SELECT body FROM logs WHERE trace_id IS NOT NULL LIMIT 5")?;
    let needles: Vec<String> = found
        .iter()
        .filter_map(|row| Some(row[0].as_str()?.rsplit(' ').next()?.to_owned()))
        .collect();
    row(&mut table, "a request id among all logs, `LIKE '%...%'`", |round| {
        let needle = &needles[round % needles.len()];
        let rows =
            sql(&ours, &format!("SELECT time, body FROM logs WHERE body LIKE '%{needle}%'"))?;
        ensure!(rows.len() == 1, "{} records with {needle}", rows.len());
        Ok(rows.len())
    })?;
    let ids = sql(&ours, "SELECT DISTINCT trace_id FROM spans LIMIT 5")?;
    row(&mut table, "a trace by its id, no time given", |round| {
        let id = ids[round % ids.len()][0].as_str().context("an id")?;
        let answer = Client::new(&ours.http).get(&format!("/api/headrope/v1/trace/{id}"))?;
        let trace: Value = serde_json::from_slice(&answer.body)?;
        trace["spans"].as_array().map(Vec::len).context("no spans")
    })?;
    for statement in SQL {
        row(&mut table, &format!("`{statement}`"), |_| Ok(sql(&ours, statement)?.len()))?;
    }
    drop(fs::remove_dir_all(ours.stop()?));
    let head = format!(
        "## SQL and search\n\n{} samples, {} logs, {} spans; {rest}. The server was started anew before the first question: its caches \
         were cold, the system's were not.\n\n",
        count(n_samples as f64),
        count(n_logs as f64),
        count(n_spans as f64)
    );
    Ok(head + &table.finish())
}

/// Measures `ask`, which gets the number of the round and returns how many rows there were.
fn row(table: &mut Table, title: &str, ask: impl Fn(usize) -> Result<usize>) -> Result<()> {
    let (mut times_ms, mut rows) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let begin = clock::now();
        rows = ask(round).with_context(|| title.to_owned())?;
        times_ms.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let first = format!("{:.1}", times_ms[0]);
    table.row(&[title.to_owned(), rows.to_string(), first, format!("{:.1}", median(times_ms))]);
    Ok(())
}

fn fill(setting: &Setting, ours: &Peer) -> Result<(u64, u64, u64)> {
    let (n_logs, n_spans, scrapes) =
        if setting.is_quick { (10, 10, 20) } else { (2_000, 200, 240) };
    let end_ns = clock::epoch_ms().unsigned_abs() * 1_000_000;
    let start_ms = clock::epoch_ms() - (scrapes + 1) * 15_000;
    let mut fleet = Fleet::new(5_000, 15_000, start_ms);
    let protocol = Protocol::Otlp;
    let load = Load { protocol, first: 0, scrapes, clients: CLIENTS, targets_per_request: 10 };
    let samples = send(&metrics(&mut fleet, load, &setting.dir)?, ours)?.items;
    let logs = send(&logs(n_logs, CLIENTS, end_ns, &setting.dir)?, ours)?.items;
    let spans = send(&spans(n_spans, CLIENTS, end_ns, &setting.dir)?, ours)?.items;
    Ok((logs, spans, samples))
}

/// Waits until the head is empty and compaction has nothing due, and says which of it came about.
fn settle(ours: &Peer) -> Result<String> {
    let mut client = Client::new(&ours.http);
    let begin = clock::now();
    loop {
        let text = client.get("/metrics")?.body;
        let text = String::from_utf8_lossy(&text);
        let figure = |name: &str| -> Option<f64> {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        let head = figure("headrope_store_head_rows").context("no figure of the head's rows")?;
        let lag = figure("headrope_store_compact_lag_seconds").unwrap_or(0.0);
        let waited_s = begin.elapsed().as_secs();
        if head < 1_000.0 && lag == 0.0 {
            return Ok(format!("flushed and compacted {waited_s} s later"));
        }
        if begin.elapsed() > SETTLING {
            return Ok(format!(
                "after {waited_s} s {head} rows in the head, compaction {lag} s behind"
            ));
        }
        clock::pause(Duration::from_millis(500));
    }
}

/// Rows of a statement.
fn sql(ours: &Peer, statement: &str) -> Result<Vec<Value>> {
    let answer = send_sql(ours, statement)?;
    if !answer.is_success() {
        bail!("{statement}: {}: {}", answer.status, answer.text());
    }
    let mut answer: Value = serde_json::from_slice(&answer.body)?;
    match answer["rows"].take() {
        Value::Array(rows) => Ok(rows),
        other => bail!("{statement}: {other}"),
    }
}

/// The answer to a statement, whatever it is.
pub(super) fn send_sql(ours: &Peer, statement: &str) -> Result<Answer> {
    let body = json!({"query": statement, "limit": 10_000}).to_string();
    let headers = "content-type: application/json\r\n";
    Client::new(&ours.http).post("/api/headrope/v1/sql", headers, body.as_bytes())
}
