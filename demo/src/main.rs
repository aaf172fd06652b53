//! `headrope-demo`: a small real shop under load, its middleware, a Headrope that watches and mends it, and faults.
//!
//! It knows Headrope by its public doors alone: OTLP in, HTTP out, files of rules and runbooks. Everything listens on
//! loopback and works in one temporary folder; what it started ends with it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

mod files;
mod load;
mod measure;
mod output;
mod process;
mod redis;
mod shop;
mod state;
mod telemetry;
mod up;

use output::{say, warn};

const EXAMPLES: &str = "\
Examples:
  headrope-demo up                       start everything, until Ctrl-C
  headrope-demo fault slow s2 300ms      make an instance of the running shop slow
  headrope-demo fault none s2            and well again
  headrope-demo measure --rounds 10      how long from a fault to its cure, several times";

/// A small real shop for Headrope to watch.
#[derive(Parser)]
#[command(name = "headrope-demo", after_help = EXAMPLES)]
struct Cli {
    /// Where the running demo is written down; default: beside the folder of this program
    #[arg(long, global = true)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start PostgreSQL, Redis, three instances of the shop, HAProxy, load and Headrope, until Ctrl-C
    Up(up::Args),
    /// Make an instance of the running shop slow, or well again
    Fault {
        #[command(subcommand)]
        fault: Fault,
    },
    /// Put the same fault in several times; print how long each part of the cure took
    Measure(measure::Args),
    /// One instance of the shop; started by `up`
    #[command(hide = true)]
    Shop(shop::Args),
    /// The customers of the shop; started by `up`
    #[command(hide = true)]
    Load(load::Args),
}

#[derive(Subcommand)]
enum Fault {
    /// Every request of the instance takes this much longer
    Slow {
        /// Name of the instance: s1, s2 or s3
        instance: String,
        /// How much, as 300ms or 2s
        #[arg(value_parser = duration)]
        by: Duration,
    },
    /// The instance is as quick as before
    None {
        /// Name of the instance
        instance: String,
    },
}

fn main() -> ExitCode {
    // The TLS library wants its provider even where nothing is encrypted.
    drop(rustls::crypto::ring::default_provider().install_default());
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            warn(&format!("headrope-demo: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    // A child that is to end with us ends with the thread that started it: everything is started by this one.
    let mut runtime = match cli.command {
        Command::Shop(_) | Command::Load(_) => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(2);
            runtime
        }
        Command::Up(_) | Command::Fault { .. } | Command::Measure(_) => {
            tokio::runtime::Builder::new_current_thread()
        }
    };
    let runtime = runtime.enable_all().build().context("no runtime")?;
    let state = state::path(cli.state)?;
    runtime.block_on(async {
        match cli.command {
            Command::Up(args) => up::up(&args, &state).await,
            Command::Fault { fault } => change(&state::State::read(&state)?, &fault).await,
            Command::Measure(args) => measure::measure(&args, &state::State::read(&state)?).await,
            Command::Shop(args) => shop::run(args).await,
            Command::Load(args) => load::run(args).await,
        }
    })
}

async fn change(state: &state::State, fault: &Fault) -> Result<()> {
    let (instance, by) = match fault {
        Fault::Slow { instance, by } => (instance, *by),
        Fault::None { instance } => (instance, Duration::ZERO),
    };
    state.slow(instance, by).await?;
    if by.is_zero() {
        return say(&format!("{instance} is as quick as before"));
    }
    say(&format!("every request to {instance} takes {} ms longer", by.as_millis()))
}

/// `300ms`, `2s`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write it like 300ms or 2s");
    let (number, unit_ms) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1_000),
    };
    let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms));
    ms.filter(|ms| *ms <= 60_000).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_and_bounded() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for bad in ["300", "-1s", "1h", "61s", "ms", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
