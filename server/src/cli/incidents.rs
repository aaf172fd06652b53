//! `headrope incidents`: what began with alerts, when, and what was done or refused.

use std::fmt::Write;

use anyhow::Result;
use api::incident::{IncidentDetail, Incidents, RunSummary};
use clap::{Args, Subcommand};
use model::time::Timestamp;

use super::client::{Server, ServerArgs};
use super::say;
use super::table::Table;

const PATH: &str = "/api/headrope/v1/incidents";

/// What is to be done.
#[derive(Args, Debug)]
pub(crate) struct IncidentsArgs {
    #[command(subcommand)]
    command: IncidentsCommand,
}

#[derive(Debug, Subcommand)]
enum IncidentsCommand {
    /// Every incident, open ones first
    List {
        /// The server's JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// One incident: its timeline, and what every guard said
    Show {
        /// Its id, or the start of it
        id: String,
        /// The server's JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Lists and shows.
///
/// # Errors
/// When the server cannot be reached, or knows no such incident.
pub(crate) async fn incidents(args: &IncidentsArgs) -> Result<()> {
    let (path, json, server) = match &args.command {
        IncidentsCommand::List { json, server } => (PATH.to_owned(), *json, server),
        IncidentsCommand::Show { id, json, server } => (format!("{PATH}/{id}"), *json, server),
    };
    let answer = Server::new(server)?.get(&path, &[]).await?;
    let text = match &args.command {
        _ if json => serde_json::to_string_pretty(&answer)?,
        IncidentsCommand::List { .. } => list(&serde_json::from_value(answer)?),
        IncidentsCommand::Show { .. } => show(&serde_json::from_value(answer)?),
    };
    say(&text)
}

fn time(at_ms: i64) -> String {
    let text = Timestamp(at_ms.saturating_mul(1_000_000)).to_string();
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// A unit variant as its JSON says it.
fn word(of: impl serde::Serialize) -> String {
    let value = serde_json::to_value(of).ok();
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn list(answer: &Incidents) -> String {
    let mut out = String::new();
    if let Some(off) = &answer.off {
        let _infallible = writeln!(out, "actions are off: {}", off.why);
    }
    if let Some(why) = &answer.observe_only {
        let _infallible = writeln!(out, "actions observe only: {why}");
    }
    let head = ["id", "opened", "resolved", "state", "severity", "rule", "acknowledged", "actions"];
    let mut table = Table::new(head);
    for one in &answer.incidents {
        table.rows.push(vec![
            short(&one.id),
            time(one.opened_ms),
            one.resolved_ms.map_or_else(String::new, time),
            word(one.state),
            one.severity.clone(),
            one.rule.clone(),
            one.acknowledged_by.clone().unwrap_or_default(),
            one.runs.iter().map(|run| run.state.as_str()).collect::<Vec<_>>().join(" "),
        ]);
    }
    if table.rows.is_empty() { out + "there is no incident" } else { out + &table.aligned() }
}

fn show(answer: &IncidentDetail) -> String {
    let one = &answer.incident;
    let labels = one.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
    let labels = labels.collect::<Vec<_>>().join(", ");
    let mut out = format!("{} {}: {}\n", one.rule, one.severity, word(one.state));
    let rest = [("", &one.summary), ("labels: ", &labels), ("rule: ", &answer.expr)];
    for (name, text) in rest.iter().filter(|(_, text)| !text.is_empty()) {
        let _infallible = writeln!(out, "{name}{text}");
    }
    if let Some(by) = &one.acknowledged_by {
        let _infallible = writeln!(out, "acknowledged by {by}");
    }
    let mut table = Table::new(["time", "kind", "what", "action", "text"]);
    for entry in &answer.timeline {
        table.rows.push(vec![
            time(entry.at_ms),
            word(entry.kind),
            entry.what.clone(),
            short(&entry.run),
            entry.text.clone(),
        ]);
    }
    let _infallible = write!(out, "\n{}", table.aligned());
    for run in &answer.runs {
        let _infallible = write!(out, "\n{}\n", named(&run.summary));
        if let Some(why) = &run.escalated {
            let _infallible = writeln!(out, "people were called: {why}");
        }
        let mut table = Table::new(["guard", "verdict", "observed", "wanted"]);
        for verdict in &run.verdicts {
            let cells = [&verdict.guard, &verdict.outcome, &verdict.observed, &verdict.threshold];
            table.rows.push(cells.map(Clone::clone).into());
        }
        out += &table.aligned();
    }
    out
}

fn named(run: &RunSummary) -> String {
    let finding = run.finding.as_ref().map_or_else(String::new, |found| format!(", {found}"));
    let place = format!("{}/{}", run.target, run.member);
    format!("{} {} on {place}: {}{finding}", short(&run.id), run.runbook, run.state)
}
