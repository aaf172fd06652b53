//! The test language of PromQL: `load`, `eval`, expectations. Runs a file against the evaluator with a source in memory.
//!
//! Every instant case is also run pinned by `@` at other times, and as the middle step of a range query.

mod judge;
mod load;
mod read;
mod run;

use super::source::MemorySource;
pub use load::with_stored_hints;
use read::Command;

/// What came of a file.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that held.
    pub passed: usize,
    /// Cases that did not.
    pub failed: usize,
    /// One line a failure: `file:line: what was expected, what came`.
    pub failures: Vec<String>,
}

/// Runs a test file; `file` is its name in messages.
#[must_use]
pub fn run(text: &str, file: &str) -> Report {
    run_over(MemorySource::default(), text, file)
}

/// Likewise over a source that was chosen.
pub(crate) fn run_over(mut source: MemorySource, text: &str, file: &str) -> Report {
    let mut report = Report::default();
    for (line, command) in read::commands(text) {
        let outcome = match command {
            Ok(Command::Clear) => {
                source.clear();
                continue;
            }
            Ok(Command::Load(load)) => match load.store(&mut source) {
                Ok(()) => continue,
                Err(error) => Err(error),
            },
            Ok(Command::Eval(case)) => run::run(&case, &source),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => report.passed += 1,
            Err(what) => {
                report.failed += 1;
                report.failures.push(format!("{file}:{line}: {what}"));
            }
        }
    }
    report
}
