//! The log of PromQL queries: a file of JSON lines, as Prometheus writes them.
//!
//! Told by the engine through a bounded queue; when the disk cannot keep up, lines are dropped and counted, never
//! queries delayed.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use model::time::{Clock, Timestamp};
use query::{FinishedQuery, Origin};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Lines waiting for the disk, and the bytes they take; further ones are dropped.
const QUEUE: usize = 4_096;
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// Bytes of a query's text, and of its error, that are written.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// How many lines did not reach the file.
#[derive(Debug, Default)]
pub struct Dropped(AtomicU64);

impl Dropped {
    /// Lines since the start.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, lines: u64) {
        self.0.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Opens the log at `path` for appending and lets `engine` tell it of every query.
///
/// # Errors
/// When the file cannot be opened.
pub fn open(
    path: &Path,
    engine: &query::Engine,
    clock: Arc<dyn Clock>,
    dropped: &Arc<Dropped>,
) -> Result<Writer> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot open the query log {}", path.display()))?;
    let (queue, writer) = queue(file, dropped);
    engine.log_to(Box::new(move |query| queue.push(line(&query, clock.now()))));
    Ok(writer)
}

fn queue(file: File, dropped: &Arc<Dropped>) -> (Queue, Writer) {
    let (tx, lines) = mpsc::channel(QUEUE);
    let bytes = Arc::<AtomicUsize>::default();
    let queue = Queue { lines: tx, bytes: Arc::clone(&bytes), dropped: Arc::clone(dropped) };
    (queue, Writer { file, lines, bytes, dropped: Arc::clone(dropped) })
}

/// Where lines wait.
struct Queue {
    lines: mpsc::Sender<String>,
    /// Of the lines that wait.
    bytes: Arc<AtomicUsize>,
    dropped: Arc<Dropped>,
}

impl Queue {
    /// Adds a line, or drops and counts it when there is no room.
    fn push(&self, line: String) {
        let length = line.len();
        let before = self.bytes.fetch_add(length, Ordering::Relaxed);
        let is_full = before.saturating_add(length) > QUEUE_BYTES_MAX;
        if is_full || self.lines.try_send(line).is_err() {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            self.dropped.add(1);
        }
    }
}

/// Writes lines as they come.
#[derive(Debug)]
pub struct Writer {
    file: File,
    lines: mpsc::Receiver<String>,
    bytes: Arc<AtomicUsize>,
    dropped: Arc<Dropped>,
}

impl Writer {
    /// Writes until `stop`, then what is still there.
    ///
    /// # Errors
    /// Never: a line that cannot be written is dropped and counted.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        loop {
            let mut batch = Vec::new();
            let n = tokio::select! {
                biased; // What is there is written before the end.
                n = self.lines.recv_many(&mut batch, QUEUE) => n,
                () = stop.cancelled() => return Ok(()),
            };
            if n == 0 {
                return Ok(());
            }
            let (text, file) = (batch.concat(), self.file.try_clone());
            drop(batch);
            let length = text.len();
            // Not on the threads of the network: a disk may be slow.
            let write = move || file?.write_all(text.as_bytes());
            let written = tokio::task::spawn_blocking(write).await;
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            if !matches!(written, Ok(Ok(()))) {
                tracing::warn!(lines = n, "the query log cannot be written");
                self.dropped.add(n as u64);
            }
        }
    }
}

/// One query as Prometheus logs it.
fn line(query: &FinishedQuery, now: Timestamp) -> String {
    let time = |ms: i64| {
        // Three decimals, as Go prints them.
        let text = Timestamp::from_ms(ms).to_string();
        text.get(..23).map_or_else(|| text.clone(), |seconds| format!("{seconds}Z"))
    };
    let s = |time: Duration| time.as_secs_f64();
    let (stats, timings) = (&query.stats, &query.timings);
    let mut out = json!({
        "time": now.to_string(),
        "level": "INFO",
        "msg": "promql query logged",
        "params": {
            "query": cut(&query.text),
            "start": time(query.times.start_ms),
            "end": time(query.times.end_ms),
            "step": query.times.step_ms / 1_000,
        },
        "stats": {
            "timings": {
                "evalTotalTime": s(timings.prepare + timings.eval),
                "resultSortTime": s(stats.sort_time),
                "queryPreparationTime": s(timings.prepare),
                "innerEvalTime": s(timings.eval.saturating_sub(stats.sort_time)),
                "execQueueTime": s(timings.queue),
                "execTotalTime": s(timings.total),
            },
            "samples": {
                "totalQueryableSamples": stats.samples_queryable,
                "peakSamples": stats.samples_peak,
            },
        },
    });
    if let Some(error) = &query.error {
        out["error"] = json!(cut(error));
    }
    match &query.origin {
        Origin::Inside => {}
        Origin::Rule => out["ruleGroup"] = json!({}),
        Origin::Http { client, method, path } => {
            out["httpRequest"] = json!({"clientIP": client, "method": method, "path": path});
        }
    }
    format!("{out}\n")
}

/// The text, or its beginning and how long it was.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let begin = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    Cow::Owned(format!("{begin}… (cut: {} bytes)", text.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn long_texts_are_cut_and_say_so() {
        let text = "é".repeat(TEXT_BYTES_MAX);
        let shown = cut(&text);
        assert!(shown.ends_with("é… (cut: 32768 bytes)"), "{}", &shown[shown.len() - 40..]);
        assert!(shown.len() < TEXT_BYTES_MAX + 40);
        assert_eq!(cut("up"), "up");
    }

    #[tokio::test]
    async fn lines_beyond_the_memory_for_them_are_dropped_and_room_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let dropped = Arc::<Dropped>::default();
        let (queue, writer) = queue(File::create(&path).unwrap(), &dropped);
        let line = || "x".repeat(QUEUE_BYTES_MAX / 4);
        (0..6).for_each(|_| queue.push(line()));
        assert_eq!(dropped.total(), 2);
        drop(queue.lines);
        let bytes = Arc::clone(&writer.bytes);
        writer.run(CancellationToken::new()).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), QUEUE_BYTES_MAX as u64);
        assert_eq!(bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_line_names_query_times_cost_and_client() {
        let query = FinishedQuery {
            text: "up == 0".to_owned(),
            origin: Origin::Http {
                client: "127.0.0.1".to_owned(),
                method: "GET".to_owned(),
                path: "/api/v1/query_range".to_owned(),
            },
            times: query::AskedTimes { start_ms: 1_500, end_ms: 61_500, step_ms: 5_000 },
            stats: query::promql::EvalStats { samples_queryable: 9, ..Default::default() },
            timings: query::promql::Timings::default(),
            error: Some("query timed out in query execution".to_owned()),
        };
        let text = line(&query, Timestamp::from_ms(0));
        let line: Value = serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(line["params"]["start"], "1970-01-01T00:00:01.500Z");
        assert_eq!(line["params"]["step"], 5);
        assert_eq!(line["stats"]["samples"]["totalQueryableSamples"], 9);
        assert_eq!(line["httpRequest"]["clientIP"], "127.0.0.1");
        assert_eq!(line["error"], "query timed out in query execution");
    }
}
