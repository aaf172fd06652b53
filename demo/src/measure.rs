//! How long from a fault to its cure: the times are those of the fault and of Headrope's journal, all of one clock.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::output::say;
use crate::state::{State, client};

/// Longest wait for any part of a cure.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often, and which fault.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many faults, one after the other
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How much longer requests take
    #[arg(long, default_value = "300ms", value_parser = crate::duration)]
    by: Duration,
}

/// What is measured, in the order of the report.
const PARTS: [&str; 5] = ["fires", "weight down", "drained", "verified", "given back"];

/// Puts the fault into one instance after the other; prints each round, then p50 and p95.
pub(crate) async fn measure(args: &Args, state: &State) -> Result<()> {
    let names: Vec<&String> = state.shops.keys().collect();
    let mut rounds: Vec<[f64; 5]> = Vec::new();
    say(&format!("{:>8} {}", "instance", PARTS.map(|part| format!("{part:>12}")).concat()))?;
    for (_, name) in (0..args.rounds).zip(names.iter().cycle()) {
        let round = round(state, name, args.by).await;
        if round.is_err() {
            drop(state.slow(name, Duration::ZERO).await);
        }
        let round = round.with_context(|| format!("the fault in {name}"))?;
        say(&row(name, &round))?;
        rounds.push(round);
    }
    for (word, share) in [("p50", 50), ("p95", 95)] {
        let at: [f64; 5] = std::array::from_fn(|part| {
            let mut sorted: Vec<f64> = rounds.iter().map(|round| round[part]).collect();
            sorted.sort_by(f64::total_cmp);
            sorted
                .get((sorted.len() * share).div_ceil(100).saturating_sub(1))
                .copied()
                .unwrap_or(f64::NAN)
        });
        say(&row(word, &at))?;
    }
    say("Seconds: the first four from the fault, the last from its end.")
}

fn row(name: &str, values: &[f64; 5]) -> String {
    format!("{name:>8} {}", values.map(|value| format!("{value:>12.2}")).concat())
}

async fn round(state: &State, name: &str, by: Duration) -> Result<[f64; 5]> {
    let begun = state.slow(name, by).await?.at_ns;
    let verified = until_run(state, begun, "holding").await?;
    let (incident, run) = (&verified["incident"], &verified["run"]);
    if run["finding"] != "verified" {
        bail!("it was not verified: {}", run["finding"]);
    }
    let since = |at: Option<i64>, from: i64| -> Result<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a few seconds in ns")]
        let ns = (at.context("the journal lacks a time")? - from) as f64;
        Ok(ns / 1e9)
    };
    let observed = |step: u64| arrow(run, "observed", step);
    let ended = state.slow(name, Duration::ZERO).await?.at_ns;
    let closed = until_run(state, begun, "closed").await?;
    Ok([
        since(incident["opened_ns"].as_i64(), begun)?,
        since(observed(0), begun)?,
        since(observed(1), begun)?,
        since(arrow(run, "holding", 0), begun)?,
        since(last(&closed["run"]), ended)?,
    ])
}

/// When the run came to a state at a step.
fn arrow(run: &Value, to: &str, step: u64) -> Option<i64> {
    let found = run["arrows"].as_array()?.iter().find(|a| a["to"] == to && a["step"] == step);
    found?["at_ns"].as_i64()
}

fn last(run: &Value) -> Option<i64> {
    run["arrows"].as_array()?.last()?["at_ns"].as_i64()
}

/// The action that was planned after `begun`, once it is in `wanted`.
async fn until_run(state: &State, begun: i64, wanted: &str) -> Result<Value> {
    let (http, base) = (client()?, format!("{}/api/headrope/v1/actions", state.headrope));
    let get = async |url: &str| -> Result<Value> {
        Ok(http.get(url).send().await?.error_for_status()?.json().await?)
    };
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            let all = get(&base).await?;
            let of_this = |run: &&Value| {
                let planned = run["planned_ns"].as_str().and_then(|text| text.parse::<i64>().ok());
                planned.is_some_and(|at| at > begun) && run["state"] == wanted
            };
            let found = all["runs"].as_array().into_iter().flatten().find(of_this);
            if let Some(id) = found.and_then(|run| run["id"].as_str()) {
                return get(&format!("{base}/{id}")).await;
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, asking).await;
    waited.unwrap_or_else(|_| bail!("no action is {wanted} after {PATIENCE:?}"))
}
