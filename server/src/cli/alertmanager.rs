//! Subcommands that work on a configuration of notifications, without a server.

use std::path::PathBuf;

use alert::route;
use anyhow::{Context, Result, anyhow};
use clap::Subcommand;
use model::metric::Labels;

use super::{say, warn};
use crate::clock;
use crate::config::Config;
use crate::wire::notify;

/// `headrope alertmanager …`
#[derive(Debug, Subcommand)]
pub(crate) enum AlertmanagerCommand {
    /// Read configurations, settings of receivers included, and say what is wrong
    Check {
        /// Files in Alertmanager's format
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// See where alerts go
    #[command(subcommand)]
    Routes(RoutesCommand),
}

/// `headrope alertmanager routes …`
#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    /// Print the tree of routes
    Show {
        /// File in Alertmanager's format
        file: PathBuf,
    },
    /// Print the receivers of an alert with these labels
    Test {
        /// File in Alertmanager's format
        file: PathBuf,
        /// Labels as name=value
        labels: Vec<String>,
    },
}

pub(super) fn run(command: &AlertmanagerCommand) -> Result<()> {
    match command {
        AlertmanagerCommand::Check { files } => check(files),
        AlertmanagerCommand::Routes(RoutesCommand::Show { file }) => {
            let config = notify::read(file)?;
            let mut lines = Vec::new();
            tree(&config, 0, 0, &mut lines);
            say(&lines.join("\n"))
        }
        AlertmanagerCommand::Routes(RoutesCommand::Test { file, labels }) => test(file, labels),
    }
}

fn check(files: &[PathBuf]) -> Result<()> {
    let mut n_wrong = 0;
    for file in files {
        let checked = notify::read(file).and_then(|config| {
            notify::channels(&Config::default(), &config, clock::system())?;
            Ok(config)
        });
        match checked {
            Ok(config) => {
                for warning in &config.warnings {
                    warn(&format!("{}: {warning}", file.display()));
                }
                let (n_receivers, n_routes) = (config.receivers.len(), config.routes.len());
                say(&format!("{}: {n_receivers} receivers, {n_routes} routes", file.display()))?;
            }
            Err(error) => {
                n_wrong += 1;
                warn(&format!("{error:#}"));
            }
        }
    }
    if n_wrong > 0 {
        return Err(anyhow!("{n_wrong} of {} files are wrong", files.len()));
    }
    Ok(())
}

fn test(file: &std::path::Path, labels: &[String]) -> Result<()> {
    let config = notify::read(file)?;
    let pair = |text: &String| {
        let (name, value) =
            text.split_once('=').with_context(|| format!("{text:?} is not name=value"))?;
        Ok((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    let labels: Labels = labels.iter().map(pair).collect::<Result<Vec<_>>>()?.into_iter().collect();
    let routes = config.routes_of(&labels);
    let names: Vec<&str> =
        routes.iter().map(|route| config.routes[*route].receiver.as_str()).collect();
    say(&names.join(","))
}

/// The route at `at` and those below it, a line each.
fn tree(config: &route::Config, at: usize, depth: usize, lines: &mut Vec<String>) {
    let route = &config.routes[at];
    let matchers = route::matcher::braces(&route.conditions);
    let goes_on = if route.goes_on { "  continue: true" } else { "" };
    let indent = "  ".repeat(depth);
    lines.push(format!("{indent}{matchers}  receiver: {}{goes_on}", route.receiver));
    for child in &route.children {
        tree(config, *child, depth + 1, lines);
    }
}
