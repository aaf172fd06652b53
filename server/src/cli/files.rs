//! Subcommands that work on files, without a server: PromQL tests, rule files, data folders.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use super::admin::DeleteArgs;
use super::client::ServerArgs;
use super::say;

/// `headrope promql …`
#[derive(Debug, Subcommand)]
pub(crate) enum PromqlCommand {
    /// Run test files in Prometheus' promqltest language
    Test {
        /// Files to run
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print a query in its canonical form, or say where it is wrong
    Format {
        /// The query
        expr: String,
    },
}

/// `headrope store …`
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Check the sums of every log file, segment and catalogue entry
    Verify {
        /// The data folder
        dir: PathBuf,
        /// Print everything as JSON
        #[arg(long)]
        json: bool,
    },
    /// Rows and bytes by table, level and column
    Stats {
        /// The data folder
        dir: PathBuf,
        /// Print everything as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a lost catalogue anew from segments and log
    Rebuild {
        /// The data folder
        dir: PathBuf,
        /// Move a catalogue that is there aside
        #[arg(long)]
        force: bool,
    },
    /// Delete rows from a running server: hidden at once, out of the files before a deadline
    Delete(DeleteArgs),
    /// List deletes and how far they are
    Deletes {
        /// Print everything as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

pub(super) fn promql(command: &PromqlCommand) -> Result<()> {
    match command {
        PromqlCommand::Test { files } => promql_test(files),
        PromqlCommand::Format { expr } => match query::promql::parse(expr) {
            Ok(expr) => say(&expr.to_string()),
            Err(error) => bail!("{error}\n{}", caret(expr, error.place.start)),
        },
    }
}

/// The line of `text` that holds byte `at`, with a caret below it.
pub(super) fn caret(text: &str, at: usize) -> String {
    let at = text.floor_char_boundary(at.min(text.len()));
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let indent = text[line_start..at].chars().count();
    format!("  {line}\n  {}^", " ".repeat(indent))
}

fn promql_test(files: &[PathBuf]) -> Result<()> {
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        let report = query::promql::testlang::run(&text, &name);
        passed += report.passed;
        failed += report.failed;
        report.failures.iter().try_for_each(|failure| say(failure))?;
    }
    say(&format!("{passed} passed, {failed} failed"))?;
    if failed > 0 {
        bail!("{failed} cases failed");
    }
    Ok(())
}
