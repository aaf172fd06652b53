//! Rule tests in promtool's format: series in memory, the real evaluator and the real state machine, a simulated clock.
//!
//! Called by `headrope rules test`. Reads the test file and the rule files it names; nothing else is touched.

mod compare;
mod document;
mod histogram;
mod world;

use std::path::Path;
use std::time::Duration;

pub use compare::Mismatch;
use tokio::time::Instant;

use crate::rule::{Options, Position, Problem, Problems};
use document::{Case, Plan};
use world::World;

/// Largest test file, in bytes.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most evaluations of all groups in one test.
pub const STEPS_MAX: i64 = 10_000_000;
/// Most lines told of one test when everything is told.
const DEBUG_LINES_MAX: usize = 10_000;

/// How tests are run.
#[derive(Default)]
pub struct Settings<'a> {
    /// How rule files are read; whether unknown fields are passed over holds for test files as well.
    pub rules: Options,
    /// Which tests to run, by name; `None` runs all.
    pub is_wanted: Option<&'a dyn Fn(&str) -> bool>,
    /// Whether every evaluation is told.
    pub debug: bool,
}

/// What came of a test file.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong with the file or its rule files; then no test ran.
    pub problems: Vec<Problem>,
    /// What should be known although it fails nothing, as a pattern that fits no file.
    pub warnings: Vec<String>,
    /// The tests that ran, in the order of the file.
    pub tests: Vec<Outcome>,
}

/// What came of a test.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name; `unnamed#N` when it has none, N from 0.
    pub name: String,
    /// Why it failed; empty when it did not.
    pub failures: Vec<Failure>,
    /// One line an evaluation, when asked for.
    pub debug: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// One thing that is not as expected.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where the check stands in the test file.
    pub position: Position,
    /// What was checked, or evaluated.
    pub what: String,
    /// How it differs.
    pub why: Why,
}

/// How a check failed.
#[derive(Clone, Debug)]
pub enum Why {
    /// It could not be made.
    Error(String),
    /// Something else came than expected.
    Mismatch(Mismatch),
}

impl Report {
    /// Whether everything was as expected.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.problems.is_empty() && self.tests.iter().all(|test| test.failures.is_empty())
    }
}

/// Runs the tests of one file. Blocks.
#[must_use]
pub fn run(path: &Path, settings: &Settings<'_>) -> Report {
    let file = path.display().to_string();
    let mut report = Report::default();
    let plan = match document::load(path, &file, settings) {
        Ok(plan) => plan,
        Err(Problems(problems)) => return Report { problems, ..report },
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let files = rule_files(&plan, folder, &mut report.warnings);
    for (i, case) in plan.cases.iter().enumerate() {
        let name = if case.name.is_empty() { format!("unnamed#{i}") } else { case.name.clone() };
        if settings.is_wanted.is_some_and(|is_wanted| !is_wanted(&case.name)) {
            continue;
        }
        // Groups that name no interval have that of the test, as upstream.
        let interval = Duration::from_millis(case.interval_ms.unsigned_abs());
        let options =
            Options { interval: interval.max(crate::rule::INTERVAL_MIN), ..settings.rules };
        let groups = match crate::rule::load_all(&files, &options) {
            Ok(groups) => groups,
            Err(Problems(problems)) => return Report { problems, ..report },
        };
        let begun = Instant::now();
        let mut debug = Vec::new();
        let failures = match &case.problems[..] {
            [] => World::new(&plan, case, groups).run(settings.debug.then_some(&mut debug)),
            problems => problems.iter().map(refused).collect(),
        };
        debug.truncate(DEBUG_LINES_MAX);
        report.tests.push(Outcome { name, failures, debug, elapsed: begun.elapsed() });
    }
    report
}

fn refused(problem: &Problem) -> Failure {
    let why = match problem.remedy.as_str() {
        "" => String::new(),
        remedy => remedy.to_owned(),
    };
    Failure { position: problem.position, what: problem.text.clone(), why: Why::Error(why) }
}

/// The files the patterns of the test file stand for, each once, relative to its folder.
fn rule_files(plan: &Plan, folder: &Path, warnings: &mut Vec<String>) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for pattern in &plan.rule_files {
        let found = crate::rule::glob(&folder.join(pattern));
        if found.is_empty() {
            warnings.push(format!("no file matches pattern {pattern}"));
        }
        for path in found {
            if !files.contains(&path) {
                files.push(path);
            }
        }
    }
    files
}

/// When the last check of a test is made, in ms from its start.
fn last_check_ms(case: &Case) -> i64 {
    let alerts = case.alerts.iter().map(|check| check.at_ms);
    alerts.chain(case.exprs.iter().map(|check| check.at_ms)).max().unwrap_or(0)
}
