//! `cargo xtask TASK`: the project's own chores, without a tool to install. Called by the Makefile, by CI and by hand.

mod bench;
mod check;
mod demo;
mod install;
mod layers;
mod run;
mod shell;
mod tidy;
mod ui;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask TASK

  run [ARGS]     build the dashboard and the release binary, start Headrope on this host (ARGS go to `headrope`)
  dev [ARGS]     the same with the dev profile: quick to build, slow to run
  ui             build the dashboard into ui/dist
  test           install what the tests need, run every test
  check          fmt, clippy, tidy, docs, wasm check: what must pass before a commit lands
  tidy           layers, versions, file shape: the part of `check` that needs no compiler
  bench [--quick] [STEP...]  measure against peers, write target/bench/report.md; steps: cost metrics records series density
                 queries search soak kills faults
  bench record [SECONDS]     record this host's exporter and agent for the density step
  demo [ARGS]    build and start a small shop with its middleware, load and Headrope, until Ctrl-C
  demo fault ... | demo measure ...   speak to the running one
  install WHAT   install Debian packages: build, test, demo or bench
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match args.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", &args[..]),
    };
    let outcome = match task {
        "run" => run::run(rest, run::Profile::Release),
        "dev" => run::run(rest, run::Profile::Dev),
        "ui" => ui::build(),
        "test" => check::test(rest),
        "check" => check::check(),
        "tidy" => tidy::tidy(),
        "bench" => bench::bench(rest),
        "demo" => demo::demo(rest),
        "install" => install::install(rest),
        "help" | "--help" | "-h" => shell::say(HELP),
        other => {
            shell::warn(&format!("xtask: no task named `{other}`\n\n{HELP}"));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::warn(&format!("xtask {task}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
