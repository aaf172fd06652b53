//! Logs and spans in our store: bytes a row, after everything is flushed, compacted and indexed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Result, ensure};
use axum::body::Body;
use axum::http::Request;
use collector::Collector;
use load::clock;
use load::report::{Table, count};
use load::stream::{Stream, logs, spans};
use model::time::{Clock, Timestamp};
use store::schema::Table as StoreTable;
use store::{Config, Store};
use tower::ServiceExt;

use crate::shelf::{Weight, settle, weigh};

/// Bytes a row of logs and spans made up by `load`, beside the goals.
pub(crate) fn measure(work: &Path, is_quick: bool) -> Result<String> {
    let (n_logs, n_spans) = if is_quick { (10, 10) } else { (200, 105) };
    let end_ns = clock::epoch_ms().unsigned_abs() * 1_000_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut table = Table::new(&[
        "Rows",
        "number",
        "ours, B/row",
        "goal",
        "sidecars, B/row",
        "B/row by column",
    ]);
    let sets = [
        (StoreTable::Logs, logs(n_logs, 1, end_ns, work)?, "45"),
        (StoreTable::Spans, spans(n_spans, 1, end_ns, work)?, "36"),
    ];
    for (kind, stream, goal) in sets {
        let weights = runtime.block_on(fill(&stream, kind, work))?;
        for (of, weight) in weights {
            let each = |bytes: u64| bytes as f64 / weight.rows as f64;
            let mut columns = weight.columns.clone();
            columns.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
            let columns: Vec<String> = columns
                .iter()
                .take(8)
                .map(|(name, bytes)| format!("{name} {:.2}", each(*bytes)))
                .collect();
            table.row(&[
                of.name().to_owned(),
                count(weight.rows as f64),
                format!("**{:.1}**", each(weight.bytes)),
                if of == kind { goal.to_owned() } else { "-".to_owned() },
                format!("{:.2}", each(weight.sidecars)),
                columns.join(", "),
            ]);
        }
    }
    let head = "Logs (93-byte bodies, three attributes, a third with trace ids) and spans (traces of six), the eight largest columns:\n\n";
    Ok(format!("{head}{}", table.finish()))
}

async fn fill(stream: &Stream, kind: StoreTable, work: &Path) -> Result<Vec<(StoreTable, Weight)>> {
    let dir = tempfile::tempdir_in(work)?;
    let now_ms = Arc::new(AtomicI64::new(clock::epoch_ms()));
    let ticks = Arc::clone(&now_ms);
    let clock: Arc<dyn Clock> = Arc::new(move || Timestamp::from_ms(ticks.load(Ordering::SeqCst)));
    let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
    let store = Store::open(config, Arc::clone(&clock)).await?;
    let collector = Collector::new(Arc::clone(&store), collector::Config::default(), clock);
    let mut body = Vec::new();
    for request in stream.clients.iter().flatten() {
        stream.body(*request, &mut body)?;
        let post = Request::post(stream.path).header("content-type", "application/x-protobuf");
        let post = post.body(Body::from(body.clone()))?;
        let status = collector.http_routes().oneshot(post).await?.status();
        ensure!(status.is_success(), "{}: {status}", stream.path);
    }
    settle(&store, &now_ms).await?;
    let mut weights = vec![(kind, weigh(&store, kind)?)];
    ensure!(
        weights[0].1.rows == stream.items(),
        "{} of {} rows",
        weights[0].1.rows,
        stream.items()
    );
    if kind == StoreTable::Spans {
        weights.push((StoreTable::TraceIndex, weigh(&store, StoreTable::TraceIndex)?));
    }
    store.shutdown().await?;
    Ok(weights)
}
