//! `make run`: everything from a fresh checkout to a living page.

use std::path::PathBuf;

use anyhow::Result;

use crate::{install, shell, ui};

/// How the server is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Optimised: what users run.
    Release,
    /// Quick to build.
    Dev,
}

/// Builds the dashboard and the server, then becomes the server.
pub(crate) fn run(args: &[String], profile: Profile) -> Result<()> {
    install::install(&["build".to_owned()])?;
    if profile == Profile::Release && !shell::target_dir().join("release/headrope").exists() {
        shell::say(
            "First build: about 550 crates, the query engine being most of it. On 2 cores expect some 25 minutes;\n\
             later builds take a minute or less. Progress follows.",
        )?;
    }
    shell::say("Building the dashboard (1 of 2)")?;
    ui::build()?;
    shell::say("Building the server (2 of 2)")?;
    let binary = build(profile)?;
    let mut server = std::process::Command::new(binary);
    let server = server.current_dir(shell::root()).arg("run").args(args);
    // Replaces this process, so that signals reach the server itself.
    let error = std::os::unix::process::CommandExt::exec(server);
    Err(error.into())
}

/// Builds server and agent; returns the server's path.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    let mut cargo = shell::cargo();
    cargo.args(["build", "--package", "server", "--package", "agent"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    let folder = if profile == Profile::Release { "release" } else { "debug" };
    Ok(shell::target_dir().join(folder).join("headrope"))
}
