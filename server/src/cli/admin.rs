//! Commands that change or copy what is stored: deletes and backups ask a running server, restore and rebuild do not.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use model::time::Timestamp;
use serde_json::{Value, json};
use store::backup::Backup;
use store::backup::folder::{self, Progress};

use super::client::{Server, ServerArgs, moment};
use super::files::StoreCommand;
use super::table::Table;
use super::{on_runtime, say, warn};
use crate::clock;

/// `headrope backup`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  headrope backup --to /mnt/backup/headrope      copies what is new since the last time; the server goes on
  headrope restore --from /mnt/backup/headrope --data-dir /srv/headrope")]
pub(crate) struct BackupArgs {
    /// Folder to copy to; the next backup into it copies only what is new
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// `headrope restore`
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// Folder of a backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// New data folder; must be empty or not there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// `headrope store delete`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  headrope store delete --match '{instance=\"web-1\"}'
  headrope store delete --table logs --where '{service_name=\"shop\",body=~\".*bob@example.org.*\"}' --end now-1d
  headrope store delete --table spans --where '{\"user.id\"=\"42\"}' --clean")]
pub(crate) struct DeleteArgs {
    /// Which rows, as in PromQL: series by label, log records and spans by column or attribute
    #[arg(long = "match", alias = "where", value_name = "SELECTOR")]
    selector: String,
    /// Of what
    #[arg(long, value_enum, default_value_t)]
    table: From,
    /// First time deleted: now-1h, 2026-11-23T10:00:00Z or an epoch number [default: ever]
    #[arg(long)]
    start: Option<String>,
    /// Last time deleted [default: ever]
    #[arg(long)]
    end: Option<String>,
    /// Take the rows out of the files now, instead of before the deadline
    #[arg(long)]
    clean: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum From {
    /// Samples, histograms and exemplars
    #[default]
    Metrics,
    /// Log records
    Logs,
    /// Spans
    Spans,
}

pub(super) fn backup(args: &BackupArgs) -> Result<()> {
    on_runtime(async {
        let server = Server::new(&args.server)?;
        let body = server.post("/api/headrope/v1/backup", &json!({}), "application/json").await?;
        let backup: Backup = serde_json::from_slice(&body).context("the answer is no backup")?;
        let to = args.to.clone();
        std::fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
        let end = format!("/api/headrope/v1/backup?created={}", backup.created);
        let copied = copy(backup, to).await;
        let ended = server.delete(&end).await;
        let (done, seq) = copied?;
        ended?;
        say(&format!(
            "{} files, {} of them new ({} bytes); every row acknowledged up to sequence {seq} is in {}",
            done.files,
            done.files - done.kept,
            done.bytes,
            args.to.display()
        ))
    })
}

async fn copy(backup: Backup, to: PathBuf) -> Result<(Progress, u64)> {
    let seq = backup.seq;
    let home = backup.dir.clone();
    let copied = tokio::task::spawn_blocking(move || folder::write(&backup, &to, tell)).await?;
    let done = copied.with_context(|| {
        format!(
            "cannot copy from {}; run this on the server's host, as a user who may read it",
            home.display()
        )
    })?;
    Ok((done, seq))
}

pub(super) fn restore(args: &RestoreArgs) -> Result<()> {
    let manifest = folder::manifest(&args.from)?;
    let done = folder::restore(&args.from, &args.data_dir, tell)?;
    say(&format!(
        "{} files ({} bytes) of {}; start with `headrope --data-dir {}`",
        done.files,
        done.bytes,
        Timestamp(manifest.created),
        args.data_dir.display()
    ))
}

/// How far it is, for whoever looks on.
fn tell(progress: Progress) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let Progress { files, files_all, bytes, .. } = progress;
        let end = if files == files_all { "\n" } else { "" };
        drop(write!(stderr, "\r{files} of {files_all} files, {bytes} bytes{end}"));
    }
}

pub(super) fn store(command: &StoreCommand) -> Result<()> {
    match command {
        StoreCommand::Verify { dir, json } => on_runtime(verify(dir, *json)),
        StoreCommand::Stats { dir, json } => on_runtime(stats(dir, *json)),
        StoreCommand::Rebuild { dir, force } => on_runtime(rebuild(dir, *force)),
        StoreCommand::Delete(args) => on_runtime(delete(args)),
        StoreCommand::Deletes { server, json } => on_runtime(deletes(server, *json)),
    }
}

async fn verify(dir: &Path, json: bool) -> Result<()> {
    let report = store::Store::verify(dir.to_owned()).await?;
    if json {
        say(&serde_json::to_string_pretty(&report)?)?;
    } else {
        tell_problems(&report);
        say(&format!(
            "{} segments ({} bytes), {} log files up to sequence {}",
            report.segments, report.segment_bytes, report.wal_files, report.last_sequence
        ))?;
    }
    outcome(&report)
}

fn tell_problems(report: &store::Report) {
    for problem in &report.problems {
        let path = problem.path.display();
        warn(&format!("{path} at byte {}: {}", problem.offset, problem.reason));
    }
}

fn outcome(report: &store::Report) -> Result<()> {
    match report.problems.len() {
        0 => Ok(()),
        n => bail!("{n} problems"),
    }
}

async fn stats(dir: &Path, json: bool) -> Result<()> {
    let report = store::Store::verify(dir.to_owned()).await?;
    if json {
        say(&serde_json::to_string_pretty(&report.inventory)?)?;
        return outcome(&report);
    }
    tell_problems(&report);
    let header =
        ["table", "level", "segments", "rows", "bytes", "bytes/row", "sidecars", "from", "to"];
    let mut levels = Table::new(header);
    let mut columns = Table::new(["table", "column", "bytes", "bytes/row"]);
    for table in report.inventory.iter().filter(|table| !table.levels.is_empty()) {
        let rows: u64 = table.levels.iter().map(|level| level.rows).sum();
        let window = |ns: Option<i64>| ns.map_or_else(String::new, |ns| Timestamp(ns).to_string());
        for level in &table.levels {
            levels.rows.push(vec![
                table.table.to_owned(),
                level.level.to_string(),
                level.segments.to_string(),
                level.rows.to_string(),
                level.bytes.to_string(),
                per(level.bytes, level.rows),
                table.sidecar_bytes.to_string(),
                window(table.first_ns),
                window(table.last_ns),
            ]);
        }
        for column in &table.columns {
            columns.rows.push(vec![
                table.table.to_owned(),
                column.column.clone(),
                column.bytes.to_string(),
                per(column.bytes, rows),
            ]);
        }
    }
    say(&levels.aligned())?;
    say("")?;
    say(&columns.aligned())?;
    outcome(&report)
}

fn per(bytes: u64, rows: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let ratio = bytes as f64 / rows.max(1) as f64;
    format!("{ratio:.3}")
}

async fn rebuild(dir: &Path, force: bool) -> Result<()> {
    let rebuilt = store::Store::rebuild(dir.to_owned(), &*clock::system(), force).await?;
    for (path, reason) in &rebuilt.quarantined {
        warn(&format!("{} is in quarantine: {reason}", path.display()));
    }
    say(&format!(
        "{} segments with {} rows up to sequence {}; {} segments moved to quarantine/superseded, for others or the log hold their rows; {} in quarantine",
        rebuilt.segments,
        rebuilt.rows,
        rebuilt.watermark,
        rebuilt.superseded,
        rebuilt.quarantined.len()
    ))
}

async fn delete(args: &DeleteArgs) -> Result<()> {
    let server = Server::new(&args.server)?;
    let from = match args.table {
        From::Metrics => "metrics",
        From::Logs => "logs",
        From::Spans => "spans",
    };
    let at =
        |text: &Option<String>| text.as_deref().map(|text| moment(Some(text), "now")).transpose();
    let body = json!({
        "from": from,
        "selector": args.selector,
        "start_ms": at(&args.start)?,
        "end_ms": at(&args.end)?,
    });
    let answer = server.post("/api/headrope/v1/delete", &body, "application/json").await?;
    let mut record: Value = serde_json::from_slice(&answer).context("the answer is no delete")?;
    if args.clean {
        server.post("/api/headrope/v1/delete/clean", &json!({}), "application/json").await?;
        record["state"] = json!("rewritten");
    }
    say(&table([&record]).aligned())
}

async fn deletes(args: &ServerArgs, json: bool) -> Result<()> {
    let answer = Server::new(args)?.get("/api/headrope/v1/deletes", &[]).await?;
    if json {
        return say(&serde_json::to_string_pretty(&answer)?);
    }
    say(&table(answer["deletes"].as_array().into_iter().flatten()).aligned())
}

fn table<'a>(records: impl IntoIterator<Item = &'a Value>) -> Table {
    let mut table =
        Table::new(["id", "state", "from", "rows", "asked", "by", "out of files before"]);
    for record in records {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let time = |key: &str| {
            record[key]
                .as_str()
                .and_then(|ns| ns.parse().ok())
                .map_or_else(String::new, |ns| Timestamp(ns).to_string())
        };
        let matchers = record["matchers"].as_array().into_iter().flatten().map(|matcher| {
            let part = |i: usize| matcher[i].as_str().unwrap_or_default();
            format!("{}{}{:?}", part(0), part(1), part(2))
        });
        table.rows.push(vec![
            record["id"].to_string(),
            text("state"),
            text("from"),
            matchers.collect::<Vec<_>>().join(","),
            time("created_ns"),
            text("requested_by"),
            time("deadline_ns"),
        ]);
    }
    table
}
