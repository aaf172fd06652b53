//! `headrope actions`: what a running server did about incidents and why; approvals, ways back, and the switch.

use std::fmt::Write;

use anyhow::Result;
use clap::{Args, Subcommand};
use model::time::Timestamp;
use serde_json::{Value, json};

use super::client::{Server, ServerArgs};
use super::say;
use super::table::Table;

const PATH: &str = "/api/headrope/v1/actions";

/// What is to be done.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ActionsArgs {
    #[command(subcommand)]
    command: ActionsCommand,
}

#[derive(Debug, Subcommand)]
enum ActionsCommand {
    /// Every action, the ones under way first
    List {
        /// The server's JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// What is held just now, by which action, until when
    Held {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Why it was done or not done: every guard's verdict, every step
    Explain {
        /// Its id, or the start of it
        id: String,
        /// The server's JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Say yes to an action that waits for approval
    Approve {
        /// Its id, or the start of it
        id: String,
        #[command(flatten)]
        who: Who,
    },
    /// Take back what an action has changed, or refuse one that waits
    Revert {
        /// Its id, or the start of it
        id: String,
        #[command(flatten)]
        who: Who,
    },
    /// Stop every new action
    Pause {
        /// Ways back stand still as well
        #[arg(long)]
        freeze: bool,
        #[command(flatten)]
        who: Who,
    },
    /// Let actions go on
    Resume {
        #[command(flatten)]
        who: Who,
    },
    /// Let a runbook act by itself again on a target, after its record has cost it that
    Trust {
        /// Name of the runbook
        runbook: String,
        /// Name of the target
        target: String,
        #[command(flatten)]
        who: Who,
    },
}

/// Who asks whom, and why.
#[derive(Args, Debug)]
struct Who {
    /// Your name, for the record
    #[arg(long, env = "USER")]
    by: String,
    /// Why, for the record
    #[arg(long, default_value = "")]
    why: String,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  headrope actions list
  headrope actions explain 3f2a
  headrope actions approve 3f2a --by ada
  headrope actions revert 3f2a --why 'the deploy is done'
  headrope actions pause --why 'network maintenance'";

/// Looks, approves, takes back, stops.
///
/// # Errors
/// When the server cannot be reached, or refuses.
pub(crate) async fn actions(args: &ActionsArgs) -> Result<()> {
    match &args.command {
        ActionsCommand::List { json, server } => {
            let answer = Server::new(server)?.get(PATH, &[]).await?;
            say(&if *json { serde_json::to_string_pretty(&answer)? } else { list(&answer) })
        }
        ActionsCommand::Held { server } => {
            let answer = Server::new(server)?.get(PATH, &[]).await?;
            say(&held(&answer))
        }
        ActionsCommand::Explain { id, json, server } => {
            let answer = Server::new(server)?.get(&format!("{PATH}/{id}"), &[]).await?;
            say(&if *json { serde_json::to_string_pretty(&answer)? } else { explain(&answer) })
        }
        ActionsCommand::Approve { id, who } => {
            post(who, &format!("/{id}/approve"), json!({})).await?;
            say("approved")
        }
        ActionsCommand::Revert { id, who } => {
            post(who, &format!("/{id}/revert"), json!({"why": who.why})).await?;
            say("it is taken back")
        }
        ActionsCommand::Pause { freeze, who } => {
            post(who, "/pause", json!({"freeze": freeze, "why": who.why})).await?;
            say(if *freeze { "everything stands still" } else { "nothing new is done" })
        }
        ActionsCommand::Resume { who } => {
            post(who, "/resume", json!({})).await?;
            say("actions go on")
        }
        ActionsCommand::Trust { runbook, target, who } => {
            post(who, "/trust", json!({"runbook": runbook, "target": target})).await?;
            say("it may act by itself again")
        }
    }
}

async fn post(who: &Who, path: &str, mut body: Value) -> Result<()> {
    body["by"] = who.by.clone().into();
    let path = format!("{PATH}{path}");
    Server::new(&who.server)?.post(&path, &body, "application/json").await.map(drop)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn time(ns: &Value) -> String {
    let parsed = ns.as_i64().or_else(|| ns.as_str().and_then(|text| text.parse().ok()));
    parsed.map_or_else(String::new, |ns| Timestamp(ns).to_string()[..19].replace('T', " "))
}

fn list(answer: &Value) -> String {
    let mut out = String::new();
    if let Some(why) = answer["off"]["why"].as_str() {
        let _infallible = writeln!(out, "actions are off: {why}");
    }
    if let Some(why) = answer["observe_only"].as_str() {
        let _infallible = writeln!(out, "actions observe only: {why}");
    }
    let mut table = Table::new(["id", "planned", "state", "runbook", "target", "member", "why"]);
    for run in answer["runs"].as_array().into_iter().flatten() {
        table.rows.push(vec![
            text(&run["id"])[..8].to_owned(),
            time(&run["planned_ns"]),
            text(&run["state"]),
            text(&run["runbook"]),
            text(&run["target"]),
            text(&run["member"]),
            text(&run["why"]),
        ]);
    }
    if table.rows.is_empty() { out + "there is no action" } else { out + &table.aligned() }
}

fn held(answer: &Value) -> String {
    let mut table = Table::new(["action", "target", "member", "field", "value", "before", "until"]);
    for one in answer["held"].as_array().into_iter().flatten() {
        table.rows.push(vec![
            text(&one["action"])[..8].to_owned(),
            text(&one["target"]),
            text(&one["member"]),
            text(&one["field"]),
            text(&one["value"]),
            text(&one["before"]),
            time(&one["expires_ns"]),
        ]);
    }
    if table.rows.is_empty() { "nothing is held".to_owned() } else { table.aligned() }
}

fn explain(answer: &Value) -> String {
    let (summary, run) = (&answer["summary"], &answer["run"]);
    let word = |name: &str| text(&summary[name]);
    let mut out = format!(
        "{} on {}/{}: {}\n{}\n\n",
        word("runbook"),
        word("target"),
        word("member"),
        word("state"),
        word("why")
    );
    if let Some(why) = summary["escalated"].as_str() {
        let _infallible = writeln!(out, "people were called: {why}\n");
    }
    let mut table = Table::new(["guard", "verdict", "observed", "wanted"]);
    for verdict in run["plan"]["verdicts"].as_array().into_iter().flatten() {
        let cells = ["guard", "outcome", "observed", "threshold"];
        table.rows.push(cells.map(|name| text(&verdict[name])).into());
    }
    out += &table.aligned();
    let mut table = Table::new(["time", "to", "step", "attempt", "epoch", "why", "change"]);
    for arrow in run["arrows"].as_array().into_iter().flatten() {
        let change = &arrow["payload"]["change"];
        let change = change["field"].as_str().map_or_else(String::new, |field| {
            format!("{field} {} -> {}", text(&change["before"]), text(&change["value"]))
        });
        table.rows.push(vec![
            time(&arrow["at_ns"]),
            text(&arrow["to"]),
            text(&arrow["step"]),
            text(&arrow["attempt"]),
            text(&arrow["epoch"]),
            text(&arrow["why"]),
            change,
        ]);
    }
    if !table.rows.is_empty() {
        out.push('\n');
        out += &table.aligned();
    }
    out
}
