//! `headrope rules backtest`: when rules would have fired, asked of a running server rule by rule.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use alert::rule::{Group, Kind};
use anyhow::{Context, Result, bail};
use api::backtest::{Backtest, BacktestQuery, Episode, RuleBacktest};
use clap::{Args, ValueEnum};
use model::time::Timestamp;
use serde_json::{Value, json};

use super::client::{Server, ServerArgs, moment};
use super::table::Table;
use super::{say, warn};

/// Alerts whose actions are rehearsed, the first ones: more are no request that the server takes.
const REHEARSED_MAX: usize = 4_000;
/// Actions shown in a table.
const ACTIONS_SHOWN: usize = 50;
/// Episodes shown of one rule in a table.
const EPISODES_SHOWN: usize = 10;

/// Options of `headrope rules backtest`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BacktestArgs {
    /// Prometheus rule files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// From when: -7d, now-6h, 2026-11-23T10:00:00Z or an epoch number
    #[arg(long, default_value = "-7d", allow_hyphen_values = true)]
    from: String,
    /// Until when
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// Only alerts of this name
    #[arg(long, value_name = "NAME")]
    alert: Option<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Fail when more alerts than this would have fired in all
    #[arg(long, value_name = "N")]
    fired_max: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line a rule, and the first times each fired
    Table,
    /// The server's JSON, of all rules
    Json,
}

const EXAMPLES: &str = "\
Examples:
  headrope rules backtest rules.yaml
  headrope rules backtest rules.yaml --from -30d --alert HighErrorRatio
  headrope rules backtest rules/*.yaml --from now-1d --fired-max 20    # fails where more would have fired";

/// Asks and prints.
///
/// # Errors
/// When a file is wrong, the server cannot be reached, a rule cannot be replayed, or too many alerts would have fired.
pub(crate) async fn backtest(args: &BacktestArgs) -> Result<()> {
    let at = |text: &str| match text.strip_prefix('-') {
        Some(ago) => moment(Some(&format!("now-{ago}")), "now"),
        None => moment(Some(text), "now"),
    };
    let (from_ms, to_ms) = (at(&args.from)?, at(&args.to)?);
    let wanted = wanted(args)?;
    let server = Server::new(&args.server)?;
    let mut all = Backtest { from_ms, to_ms, rules: Vec::new() };
    for (i, (text, group, rule)) in wanted.iter().enumerate() {
        progress(i, wanted.len(), &group.rules[*rule].name);
        let asked = BacktestQuery {
            rules: text.clone(),
            file: Some(group.file.clone()),
            group: Some(group.name.clone()),
            rule: Some(*rule),
            from_ms,
            to_ms,
        };
        let asked = serde_json::to_value(&asked)?;
        let answer = server.post("/api/headrope/v1/rules/backtest", &asked, "application/json");
        let answer: Backtest = serde_json::from_slice(&answer.await?)
            .context("the server's answer is no backtest; is it of this version?")?;
        all.rules.extend(answer.rules);
    }
    progress(wanted.len(), wanted.len(), "");
    let actions = rehearse(&server, &all).await?;
    match args.output {
        Output::Json => {
            let mut whole = serde_json::to_value(&all)?;
            whole["actions"] = actions;
            say(&serde_json::to_string_pretty(&whole)?)?;
        }
        Output::Table => say(&(told(&all) + &acted(&all, &actions)))?,
    }
    let fired: u64 = all.rules.iter().map(|rule| rule.fired).sum();
    if let Some(max) = args.fired_max.filter(|max| fired > *max) {
        bail!("{fired} alerts would have fired, --fired-max allows {max}");
    }
    let failed = all.rules.iter().filter(|rule| rule.error.is_some()).count();
    if failed > 0 {
        bail!("{failed} of {} rules could not be evaluated all the time", all.rules.len());
    }
    Ok(())
}

/// What the server's runbooks would have done about the alerts.
async fn rehearse(server: &Server, all: &Backtest) -> Result<Value> {
    let firings = all.rules.iter().flat_map(|rule| {
        rule.episodes.iter().map(|one| {
            json!({
                "rule": rule.name, "labels": one.labels,
                "fired_ms": one.fired_ms, "resolved_ms": one.resolved_ms,
            })
        })
    });
    let asked = json!({"firings": firings.take(REHEARSED_MAX).collect::<Vec<_>>()});
    let answer = server.post("/api/headrope/v1/actions/rehearse", &asked, "application/json");
    serde_json::from_slice(&answer.await?).context("the server's answer is no rehearsal")
}

/// What would have been done, as people read it; nothing where no runbook wants the alerts.
fn acted(all: &Backtest, actions: &Value) -> String {
    let episodes: Vec<&Episode> = all.rules.iter().flat_map(|rule| &rule.episodes).collect();
    let mut table = Table::new(["time", "alert", "runbook", "member", "decision", "why"]);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let decisions = actions["decisions"].as_array().map(Vec::as_slice).unwrap_or_default();
    for one in decisions.iter().take(ACTIONS_SHOWN) {
        let firing = one["firing"].as_u64().and_then(|i| usize::try_from(i).ok());
        let labels = firing.and_then(|i| episodes.get(i)).map(|one| &one.labels);
        let alert = labels.and_then(|labels| labels.get("alertname")).cloned();
        let decision = match (one["decision"].as_str(), one["decided_by"].as_str()) {
            (Some("refused"), Some(by)) => format!("refused by {by}"),
            (Some("admitted"), _) => "would act".to_owned(),
            (Some("awaiting"), _) => "would ask".to_owned(),
            (other, _) => other.unwrap_or_default().to_owned(),
        };
        table.rows.push(vec![
            time(one["at_ms"].as_i64().unwrap_or_default()),
            alert.unwrap_or_default(),
            word(&one["runbook"]),
            word(&one["place"]),
            decision,
            word(&one["why"]),
        ]);
    }
    if table.rows.is_empty() {
        return String::new();
    }
    let rest = decisions.len() - table.rows.len();
    let more = if rest > 0 { format!("and {rest} more\n") } else { String::new() };
    let not: Vec<String> =
        actions["not_rehearsed"].as_array().into_iter().flatten().map(word).collect();
    format!(
        "\nActions, the targets as they are now, taken for well; not asked: {}\n\n{}{more}",
        not.join(", "),
        table.aligned()
    )
}

/// The rules that alert, each with the text of its file.
fn wanted(args: &BacktestArgs) -> Result<Vec<(String, Group, usize)>> {
    let (mut wanted, mut n_wrong) = (Vec::new(), 0);
    for file in &args.files {
        let groups = match alert::rule::load(file) {
            Ok(groups) => groups,
            Err(error) => {
                n_wrong += 1;
                warn(&format!("{error}"));
                continue;
            }
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        for group in groups {
            for (rule, own) in group.rules.iter().enumerate() {
                let is_named = args.alert.as_ref().is_none_or(|name| *name == own.name);
                if matches!(own.kind, Kind::Alert(_)) && is_named {
                    wanted.push((text.clone(), group.clone(), rule));
                }
            }
        }
    }
    if n_wrong > 0 {
        bail!("{n_wrong} of {} files are wrong", args.files.len());
    }
    if wanted.is_empty() {
        bail!(
            "no rule that alerts is in these files{}",
            if args.alert.is_some() { " under this name" } else { "" }
        );
    }
    Ok(wanted)
}

/// How far it is, on a terminal; gone at the end.
fn progress(done: usize, of: usize, name: &str) {
    let mut terminal = std::io::stderr().lock();
    if !terminal.is_terminal() || of < 2 {
        return;
    }
    let line = if done == of { String::new() } else { format!("{} of {of}: {name}", done + 1) };
    // Only a picture: nothing is lost where it cannot be drawn.
    drop(write!(terminal, "\r\x1b[K{}", super::harmless(&line)));
    drop(terminal.flush());
}

fn told(all: &Backtest) -> String {
    let mut table =
        Table::new(["alert", "fired", "at once", "firing", "longest", "evaluations", "took"]);
    for rule in &all.rules {
        table.rows.push(vec![
            rule.name.clone(),
            rule.fired.to_string(),
            rule.at_once.to_string(),
            length(rule.firing_ms),
            length(rule.longest_ms),
            rule.evaluations.to_string(),
            format!("{} ms", rule.took_ms),
        ]);
    }
    let mut out = format!(
        "{} to {} UTC, {}\n\n{}",
        time(all.from_ms),
        time(all.to_ms),
        length(all.to_ms - all.from_ms),
        table.aligned()
    );
    for rule in &all.rules {
        out.push_str(&details(rule));
    }
    out
}

fn details(rule: &RuleBacktest) -> String {
    let mut out = String::new();
    let mut add = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    if let Some(error) = &rule.error {
        add(format!("\n{}: {} evaluations failed: {error}", rule.name, rule.failures));
    }
    rule.notes.iter().for_each(|note| add(format!("\n{}: {note}", rule.name)));
    if rule.episodes.is_empty() {
        return out;
    }
    let mut table = Table::new(["fired", "for", "value", "labels"]);
    table.rows.extend(rule.episodes.iter().take(EPISODES_SHOWN).map(row));
    let shown = u64::try_from(table.rows.len()).unwrap_or(u64::MAX);
    let rest = rule.fired - shown;
    let more = if rest > 0 { format!("and {rest} more\n") } else { String::new() };
    add(format!("\n{}\n{}{more}", rule.name, table.aligned()).trim_end().to_owned());
    out
}

fn row(one: &Episode) -> Vec<String> {
    let labels = one.labels.iter().filter(|(name, _)| *name != "alertname");
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
    let lasted = match one.resolved_ms {
        Some(end) if one.cause == "condition" => length(end - one.fired_ms),
        Some(end) => format!("{} ({})", length(end - one.fired_ms), one.cause.replace('_', " ")),
        None => "still".to_owned(),
    };
    vec![time(one.fired_ms), lasted, one.value.clone(), labels.join(" ")]
}

fn time(ms: i64) -> String {
    let text = Timestamp::from_ms(ms - ms.rem_euclid(1_000)).to_string();
    text.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ")
}

/// Two units at most, as `1d 4h`.
fn length(ms: i64) -> String {
    let s = ms / 1_000;
    let (d, h, m) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{}s", s % 60),
        (0, 0, m) => format!("{m}m {}s", s % 60),
        (0, h, m) => format!("{h}h {m}m"),
        (d, h, _) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_two_units() {
        let lengths = [0, 59, 61, 3_599, 7_260, 90_000].map(|s| length(s * 1_000));
        assert_eq!(lengths, ["0s", "59s", "1m 1s", "59m 59s", "2h 1m", "1d 1h"]);
        assert_eq!(time(1_800_000_000_500), "2027-01-15 08:00:00");
    }
}
