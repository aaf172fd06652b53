//! What is said on the terminal.

use std::io::Write;

use anyhow::{Context, Result};

/// Prints a line to standard output.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Prints a line to standard error; a closed one is nobody's problem here.
pub(crate) fn warn(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
