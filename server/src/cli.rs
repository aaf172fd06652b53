//! The command line. Exit status: 0 success, 1 failure, 2 wrong usage.

mod actions;
mod admin;
mod alertmanager;
mod backtest;
mod chart;
mod client;
mod files;
mod incidents;
mod queries;
mod rules;
mod table;

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{clock, config::Config, log, wire};

/// Headrope watches hosts, middleware and applications, answers questions about them, and acts on the answers.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

const EXAMPLES: &str = "\
Examples:
  headrope                                             watch this host, serve http://127.0.0.1:7300
  headrope run --config headrope.toml --data-dir /srv/headrope
  headrope query 'sum by (cpu_mode) (rate(system_cpu_time_seconds_total[1m]))'
  headrope query --sql \"SELECT service_name, count(*) FROM logs GROUP BY 1\" -o csv
  headrope rules check rules.yaml
  headrope rules test rules.test.yaml
  headrope rules backtest rules.yaml --from -7d";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (what `headrope` alone does)
    Run(RunArgs),
    /// Ask a running server, in PromQL, SQL or words, or for one trace
    Query(client::QueryArgs),
    /// List the queries a running server works on, or end one
    Queries(queries::QueriesArgs),
    /// Work with PromQL
    #[command(subcommand)]
    Promql(files::PromqlCommand),
    /// Work with rule files
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// Work with a configuration of notifications in Alertmanager's format
    #[command(subcommand)]
    Alertmanager(alertmanager::AlertmanagerCommand),
    /// See what was done about incidents and why, approve it, take it back, or stop it all
    Actions(actions::ActionsArgs),
    /// See incidents: when they began and ended, and what was done or refused
    Incidents(incidents::IncidentsArgs),
    /// Look into a data folder that no server is using, mend it, or delete rows from a running one
    #[command(subcommand)]
    Store(files::StoreCommand),
    /// Copy everything a running server keeps to a folder
    Backup(admin::BackupArgs),
    /// Make a data folder of a backup
    Restore(admin::RestoreArgs),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read the configuration and the rule files it names, and say what is wrong
    Check(RunArgs),
    /// Print the configuration in force, defaults filled in, secrets hidden
    Print(RunArgs),
}

/// Options of the server.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunArgs {
    /// Configuration file (TOML); `headrope config print` shows all fields
    #[arg(long, value_name = "FILE", env = "HEADROPE_CONFIG")]
    config: Option<PathBuf>,
    /// Folder that holds everything Headrope keeps [default: ~/.local/share/headrope]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Dashboard, APIs and OTLP/HTTP [default: 127.0.0.1:7300; port 0 takes any free one]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// OTLP over gRPC [default: 127.0.0.1:4317]
    #[arg(long, value_name = "ADDR")]
    otlp_grpc: Option<SocketAddr>,
    /// OTLP over HTTP [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDR")]
    otlp_http: Option<SocketAddr>,
    /// Do not watch this host
    #[arg(long)]
    no_agent: bool,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t)]
    log_format: log::Format,
}

impl RunArgs {
    /// The file, then the environment, then the options: the later wins.
    fn load(&self) -> Result<Config> {
        let mut config = Config::load(self.config.as_deref(), std::env::vars())?;
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        config.listen = self.listen.unwrap_or(config.listen);
        config.otlp_grpc = self.otlp_grpc.unwrap_or(config.otlp_grpc);
        config.otlp_http = self.otlp_http.unwrap_or(config.otlp_http);
        config.watch_host &= !self.no_agent;
        Ok(config)
    }
}

/// Runs what the command line asks for.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        None => run(&cli.run),
        Some(Command::Run(args)) => run(&args),
        Some(Command::Query(args)) => on_runtime(client::query(&args)),
        Some(Command::Queries(args)) => on_runtime(queries::queries(&args)),
        Some(Command::Promql(command)) => files::promql(&command),
        Some(Command::Rules(command)) => rules::run(&command),
        Some(Command::Alertmanager(command)) => alertmanager::run(&command),
        Some(Command::Actions(args)) => on_runtime(actions::actions(&args)),
        Some(Command::Incidents(args)) => on_runtime(incidents::incidents(&args)),
        Some(Command::Store(command)) => admin::store(&command),
        Some(Command::Backup(args)) => admin::backup(&args),
        Some(Command::Restore(args)) => admin::restore(&args),
        Some(Command::Config(ConfigCommand::Check(args))) => check(&args),
        Some(Command::Config(ConfigCommand::Print(args))) => print(&args),
        Some(Command::Completions { shell }) => completions(shell),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            warn(&format!("headrope: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs) -> Result<()> {
    log::start(args.log_format);
    let config = args.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(wire::run(config, clock::system()))
}

fn on_runtime(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn check(args: &RunArgs) -> Result<()> {
    let config = args.load()?;
    config.check()?;
    let rules = wire::rule_groups(&config)?;
    let routes = wire::notify::routes(&config)?;
    wire::notify::channels(&config, &routes, clock::system())?;
    let runbooks = wire::runbooks(&config)?.len();
    let scrape = agent::Scrape::load(&config.agent.scrape)?;
    let pools = scrape.handle().pool_names().len();
    let rules = rules.len();
    say(&format!(
        "the configuration is sound; {rules} rule groups, {pools} scrape jobs, {runbooks} runbooks"
    ))
}

fn print(args: &RunArgs) -> Result<()> {
    say(&args.load()?.print()?)
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "headrope", &mut text);
    std::io::stdout().write_all(&text).context("cannot write to standard output")
}

/// Prints to standard output. A reader that went away, as `head` does, ends us quietly.
pub(crate) fn say(text: &str) -> Result<()> {
    let text = text.trim_end_matches('\n');
    let is_terminal = std::io::stdout().is_terminal();
    let shown = if is_terminal { harmless(text) } else { Cow::Borrowed(text) };
    match writeln!(std::io::stdout().lock(), "{shown}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Prints to standard error; a closed one is nobody's problem here.
pub(crate) fn warn(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", harmless(text)));
}

/// `text` with control characters made visible: what was stored must not steer the terminal of who looks at it.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let escape =
        |c: char| if is_harmful(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(harmless("a\u{1b}[31m\tb\nc\u{9b}"), "a\\u{1b}[31m\tb\nc\\u{9b}");
        assert!(matches!(harmless("plain 文字"), Cow::Borrowed(_)));
    }

    #[test]
    fn options_stand_with_and_without_run() {
        for words in [&["headrope", "--no-agent"][..], &["headrope", "run", "--no-agent"]] {
            let cli = Cli::try_parse_from(words).unwrap();
            let args = if let Some(Command::Run(args)) = cli.command { args } else { cli.run };
            assert!(args.no_agent, "{words:?}");
        }
    }
}
