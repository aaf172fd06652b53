//! `check` and `test`: what must pass before a change lands, and what CI runs.

use std::process::Command;

use anyhow::Result;

use crate::{install, shell, tidy, ui};

/// fmt, tidy, clippy, docs, wasm check, and cargo-deny where it is installed.
pub(crate) fn check() -> Result<()> {
    step("format")?;
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    step("tidy")?;
    tidy::tidy()?;
    step("clippy")?;
    shell::run(shell::cargo().args([
        "clippy",
        "--quiet",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    step("docs")?;
    let mut doc = shell::cargo();
    doc.args(["doc", "--quiet", "--no-deps", "--document-private-items"]);
    shell::run(doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))?;
    step("dashboard")?;
    install::wasm_target()?;
    let mut wasm = shell::cargo();
    wasm.args(["clippy", "--quiet", "--package", "ui", "--target", "wasm32-unknown-unknown"]);
    wasm.arg("--target-dir").arg(shell::target_dir().join("ui")).args(["--", "-D", "warnings"]);
    shell::run(&mut wasm)?;
    if shell::exists("cargo-deny") {
        step("licences and advisories")?;
        shell::run(shell::cargo().args(["deny", "check"]))?;
    }
    shell::say("check passed")
}

/// Installs what the tests need, builds the dashboard and the binaries they start, runs every test.
pub(crate) fn test(args: &[String]) -> Result<()> {
    install::install(&["build".to_owned()])?;
    install::for_tests()?;
    step("tidy")?;
    tidy::tidy()?;
    step("dashboard")?;
    ui::build()?;
    step("build")?;
    // With the tests, so that the binaries are built from the same crates and nothing is compiled twice.
    shell::run(shell::cargo().args(["build", "--quiet", "--bins", "--tests"]))?;
    step("tests")?;
    if shell::exists("cargo-nextest") {
        shell::run(shell::cargo().args(["nextest", "run", "--no-fail-fast"]).args(args))
    } else {
        shell::run(shell::cargo().args(["test", "--no-fail-fast"]).args(args))
    }
}

fn step(name: &str) -> Result<()> {
    let seconds = shell::read(Command::new("date").arg("+%T"))?;
    shell::say(&format!("== {name} ({})", seconds.trim()))
}
