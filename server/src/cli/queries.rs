//! `headrope queries`: what a running server is being asked, and an end to one of it.

use anyhow::{Context, Result};
use api::running::RunningQueries;
use clap::{Args, Subcommand, ValueEnum};

use super::client::{Server, ServerArgs};
use super::say;
use super::table::Table;

/// What is to be done.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QueriesArgs {
    #[command(subcommand)]
    command: Option<QueriesCommand>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum QueriesCommand {
    /// End a query; whoever asked is told
    Cancel {
        /// Its number, as the list shows it
        id: u64,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const EXAMPLES: &str = "\
Examples:
  headrope queries              what is asked just now, the oldest first
  headrope queries -o json
  headrope queries cancel 17";

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    /// Aligned columns
    #[default]
    Table,
    /// The server's JSON
    Json,
    /// Comma-separated values
    Csv,
}

/// Lists queries under way, or ends one.
///
/// # Errors
/// When the server cannot be reached, or no query of that number is running.
pub(crate) async fn queries(args: &QueriesArgs) -> Result<()> {
    if let Some(QueriesCommand::Cancel { id, server }) = &args.command {
        Server::new(server)?.delete(&format!("/api/headrope/v1/queries/{id}")).await?;
        return say(&format!("query {id} was ended"));
    }
    let answer = Server::new(&args.server)?.get("/api/headrope/v1/queries", &[]).await?;
    if matches!(args.output, Output::Json) {
        return say(&serde_json::to_string_pretty(&answer)?);
    }
    let running: RunningQueries = serde_json::from_value(answer).context("unexpected answer")?;
    let table = table(&running);
    match args.output {
        Output::Csv => say(&table.csv()),
        Output::Table | Output::Json if running.queries.is_empty() => say("no query is running"),
        Output::Table | Output::Json => say(&table.aligned()),
    }
}

fn table(running: &RunningQueries) -> Table {
    let mut table =
        Table::new(["id", "age_s", "language", "client", "source", "samples", "bytes", "query"]);
    for query in &running.queries {
        table.rows.push(vec![
            query.id.to_string(),
            format!("{:.1}", query.age_s),
            query.language.clone(),
            query.client.clone(),
            query.source.clone(),
            query.samples.to_string(),
            query.bytes.to_string(),
            query.text.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use api::running::RunningQuery;
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_query_is_a_line_with_its_text_last() {
        let query = RunningQuery {
            id: 17,
            language: "promql".to_owned(),
            text: "sum(\n  up)".to_owned(),
            client: "10.0.0.1".to_owned(),
            source: "/api/v1/query".to_owned(),
            age_s: 3.25,
            samples: 1_000,
            bytes: 65_536,
        };
        expect![[r"
            id  age_s  language  client    source         samples  bytes  query
            ──  ─────  ────────  ────────  ─────────────  ───────  ─────  ──────────
            17  3.2    promql    10.0.0.1  /api/v1/query  1000     65536  sum(⏎  up)
        "]]
        .assert_eq(&table(&RunningQueries { queries: vec![query] }).aligned());
    }
}
