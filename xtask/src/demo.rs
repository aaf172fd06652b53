//! `make demo`: a small real shop under load, its middleware, a fault to inject, and the loop closing on screen.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{install, run, shell, ui};

/// `cargo xtask demo [OPTION...]` starts it; with `fault` or `measure` as the first word, speaks to the running one.
pub(crate) fn demo(args: &[String]) -> Result<()> {
    let is_up = args.first().is_none_or(|word| word.starts_with('-'));
    let program = program();
    if is_up || !program.exists() {
        install::install(&["build".to_owned(), "demo".to_owned()])?;
        shell::say("Building the dashboard (1 of 3)")?;
        ui::build()?;
        shell::say(
            "Building the server (2 of 3): the first build takes some 25 minutes on 2 cores, later ones a minute or less",
        )?;
        run::build(run::Profile::Release)?;
        shell::say("Building the shop (3 of 3)")?;
        shell::run(shell::cargo().args(["build", "--release", "--package", "demo"]))?;
    }
    let mut command = Command::new(program);
    command.args(is_up.then_some("up")).args(args);
    // Replaces this process, so that Ctrl-C reaches the demo itself.
    Err(command.exec().into())
}

fn program() -> PathBuf {
    shell::target_dir().join("release/headrope-demo")
}
