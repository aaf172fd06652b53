//! `headrope-agent`: the agent as a process of its own.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent::{Config, Error, ErrorKind};
use clap::{Parser, ValueEnum};
use model::time::{Clock, Timestamp};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

const EXAMPLES: &str = "\
Examples:
  headrope-agent --server http://collector.example:4317
      send this host's metrics over OTLP/gRPC
  headrope-agent --server https://collector.example/ --token-file /etc/headrope/token
      the same over OTLP/HTTP with TLS and a token
  headrope-agent --once
      print what would be sent, and exit
  headrope-agent --once --output json | jq '.samples[] | select(.metric == \"system.cpu.time\")'

Exit status: 0 stopped as asked, 1 failed while running, 2 wrong usage or configuration.";

/// Watches this host and sends its metrics to a collector by OTLP.
#[derive(Parser)]
#[command(name = "headrope-agent", version, after_help = EXAMPLES)]
struct Args {
    /// Configuration file (TOML); options given here win over it.
    #[arg(long, value_name = "FILE", env = "HEADROPE_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// Collector: port 4317 or grpc(s):// for OTLP/gRPC, anything else for OTLP/HTTP.
    #[arg(long, value_name = "URL", env = "HEADROPE_AGENT_SERVER")]
    server: Option<String>,
    /// File with the token that is sent as `Bearer`.
    #[arg(long, value_name = "FILE", env = "HEADROPE_AGENT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Time between two rounds, as 500ms or 1s [default: 1s].
    #[arg(long, value_name = "DURATION", value_parser = agent::parse_duration)]
    interval: Option<Duration>,
    /// Print one round to the terminal and exit; nothing is sent.
    #[arg(long, visible_alias = "print")]
    once: bool,
    /// Form of what --once prints.
    #[arg(long, value_enum, default_value_t = Output::Table, requires = "once")]
    output: Output,
    /// Form of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Lowest level that is logged: error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "HEADROPE_AGENT_LOG")]
    log: tracing::Level,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[expect(clippy::disallowed_methods, reason = "the one place where wall-clock time enters")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ns = since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    Timestamp(ns)
}

fn main() -> ExitCode {
    let args = Args::parse();
    start_log(args.log_format, args.log);
    let outcome = configure(&args).map_err(Failure::Agent).and_then(|config| {
        // The default of 1024 descriptors would do for 500 processes; the hard limit is ours to use.
        raise_descriptor_limit();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .thread_name("headrope-agent")
            .build()
            .map_err(Failure::System)?;
        runtime.block_on(work(&args, config))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to do when even standard error is closed.
            drop(writeln!(std::io::stderr().lock(), "headrope-agent: {failure}"));
            failure.code()
        }
    }
}

/// Why the process ends with a failure.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Agent(Error),
    #[error("{0}")]
    System(std::io::Error),
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Self::Agent(error) if error.kind() == ErrorKind::Invalid => ExitCode::from(2),
            Self::Agent(_) | Self::System(_) => ExitCode::from(1),
        }
    }
}

fn configure(args: &Args) -> Result<Config, Error> {
    let mut config = args.config.as_deref().map_or_else(|| Ok(Config::default()), Config::load)?;
    if let Some(server) = &args.server {
        config.endpoint.clone_from(server);
    }
    if let Some(path) = &args.token_file {
        (config.token, config.token_file) = (None, Some(path.clone()));
    }
    if let Some(interval) = args.interval {
        // A longer base interval takes the slower ones along instead of being refused for their defaults.
        config.interval = interval;
        config.process_interval = config.process_interval.max(interval);
        config.filesystem_interval = config.filesystem_interval.max(interval);
    }
    config.check()?;
    Ok(config)
}

async fn work(args: &Args, config: Config) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(now);
    if args.once {
        let survey = agent::survey(config, clock).await.map_err(Failure::Agent)?;
        let text = match args.output {
            Output::Table => survey.to_table(),
            Output::Json => survey.to_json() + "\n",
        };
        return match std::io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::System(error))
            }
            _ => Ok(()), // Whoever reads may stop early, as `head` does.
        };
    }
    let stop = CancellationToken::new();
    // Before anything else: from now on a signal stops the agent instead of killing it.
    let signals = Signals::new().map_err(Failure::System)?;
    let scrape = agent::Scrape::load(&config.scrape).map_err(Failure::Agent)?;
    let reloading = reload_at(Signals::hangup().map_err(Failure::System)?, scrape.reloader());
    let agent = agent::run(config, Arc::clone(&clock), stop.clone());
    // Either that fails ends the other: an agent that does half of its work would look well.
    let scraping = async { end_with(&stop, scrape.run(clock, stop.clone()).await) };
    let work = async { tokio::join!(async { end_with(&stop, agent.await) }, scraping) };
    tokio::select! {
        biased; // An agent that has ended needs no more signals.
        (watched, scraped) = work => watched.and(scraped).map_err(Failure::Agent),
        () = reloading => Ok(()),
        outcome = signals.stop(stop.clone()) => Err(Failure::System(outcome)),
    }
}

/// Reads the files of scrapes anew at each signal; never ends.
async fn reload_at(mut hangup: Signal, reloader: agent::ScrapeReloader) {
    while hangup.recv().await.is_some() {
        let reading = reloader.clone();
        match tokio::task::spawn_blocking(move || reading.read()).await {
            Ok(Ok(plan)) => reloader.follow(plan).await,
            Ok(Err(error)) => {
                tracing::error!(%error, "the files of scrapes were not taken, those before stay in force");
            }
            Err(error) => tracing::error!(%error, "the files of scrapes could not be read"),
        }
    }
    std::future::pending().await
}

/// Stops everything after a failure.
fn end_with(stop: &CancellationToken, outcome: Result<(), Error>) -> Result<(), Error> {
    outcome.inspect_err(|_| stop.cancel())
}

/// SIGTERM and SIGINT.
struct Signals(Signal, Signal);

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    /// SIGHUP.
    fn hangup() -> std::io::Result<Signal> {
        signal(SignalKind::hangup())
    }

    /// Cancels `stop` at the first signal and returns at the second: whoever asks twice does not want to wait for the
    /// flush.
    async fn stop(mut self, stop: CancellationToken) -> std::io::Error {
        for _ in 0..2 {
            let _: Option<()> = tokio::select! {
                received = self.0.recv() => received,
                received = self.1.recv() => received,
            };
            stop.cancel();
        }
        std::io::Error::new(std::io::ErrorKind::Interrupted, "stopped before the queue was sent")
    }
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files, fewer are kept open");
    }
}

fn start_log(format: LogFormat, level: tracing::Level) {
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
