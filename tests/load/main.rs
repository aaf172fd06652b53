//! `load`: what `cargo xtask bench` starts. Prints figures to standard output, or writes them where it is told.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use load::process::Process;
use load::record;
use load::step::{Setting, cost, ingest, query, search, series, soak};

const HELP: &str = "\
Usage: load TASK

  STEP HEADROPE DIR [--quick] [--alone]
                                one step of the bench against the program HEADROPE, working in DIR, small and short if quick, without
                                peers if alone; prints its part of the report:
                                cost, metrics, records (logs and spans), series, queries, search, soak
  record DIR AGENT SECONDS      record prometheus-node-exporter and the program AGENT at 1 s into DIR
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr().lock(), "load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["record", dir, agent, seconds] => {
            record_host(Path::new(dir), Path::new(agent), Duration::from_secs(seconds.parse()?))
        }
        [step, headrope, dir, rest @ ..] if step_named(step).is_some() => {
            std::fs::create_dir_all(dir)?;
            let is_quick = rest.contains(&"--quick");
            let is_alone = rest.contains(&"--alone");
            let setting =
                Setting { headrope: headrope.into(), dir: dir.into(), is_quick, is_alone };
            let measure = step_named(step).context("it was there")?;
            say(&measure(&setting)?)
        }
        [] | ["help" | "--help" | "-h"] => say(HELP),
        _ => bail!("no such task\n\n{HELP}"),
    }
}

type Step = fn(&Setting) -> Result<String>;

fn step_named(name: &str) -> Option<Step> {
    match name {
        "cost" => Some(cost::cost_step),
        "metrics" => Some(ingest::metrics_step),
        "records" => Some(ingest::records_step),
        "queries" => Some(query::query_step),
        "search" => Some(search::search_step),
        "series" => Some(series::series_step),
        "soak" => Some(soak::soak_step),
        _ => None,
    }
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{}", text.trim_end()).context("cannot write")
}

/// Both recordings of this host at once, so that they see the same minutes.
fn record_host(dir: &Path, agent: &Path, time: Duration) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let exporter = format!("127.0.0.1:{}", load::peer::free_port()?);
    let mut node = Command::new("prometheus-node-exporter");
    let _node = Process::start(
        node.arg(format!("--web.listen-address={exporter}")),
        &dir.join("node-exporter.log"),
    )?;
    let mut watcher = Command::new(agent);
    watcher.args(["--server", &format!("http://{}", listener.local_addr()?), "--interval", "1s"]);
    let _watcher = Process::start(&mut watcher, &dir.join("agent.log"))?;
    load::clock::pause(Duration::from_secs(2)); // Until the exporter listens.
    let listening = std::thread::spawn(move || record::listen(&listener, time));
    let scraped = record::scrape(&exporter, Duration::from_secs(1), time)?;
    let sent = listening.join().map_err(|_| anyhow::anyhow!("the listener panicked"))??;
    for (name, recording) in [("node-exporter-1s", scraped), ("agent-1s", sent)] {
        let path: PathBuf = dir.join(name).with_extension("rec");
        recording.write(&path)?;
        let bytes = std::fs::metadata(&path)?.len();
        say(&format!(
            "{}: {} series, {} samples, {bytes} bytes",
            path.display(),
            recording.series.len(),
            recording.len()
        ))?;
    }
    Ok(())
}
