//! Subcommands that work on rule files and tests of rules, without a server.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use alert::rule::{Options, Problems};
use alert::unit_test::{self, Failure, Outcome, Report, Settings, Why};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use regex::Regex;

use super::{say, warn};

/// `headrope rules …`
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Read rule files and say what is wrong
    Check {
        /// Prometheus rule files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run tests of rules in promtool's format
    Test(TestArgs),
    /// Say when rules would have fired, over what a running server has stored
    Backtest(super::backtest::BacktestArgs),
}

/// Options of `headrope rules test`.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Test files; they name the rule files they test
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Run only tests whose name fits, may be given several times
    #[arg(long, value_name = "REGEX")]
    run: Vec<String>,
    /// Show differences line by line instead of both sides
    #[arg(long)]
    diff: bool,
    /// Tell what every evaluation found
    #[arg(long)]
    debug: bool,
    /// Write the results as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Pass over fields nobody knows, in test files and rule files
    #[arg(long)]
    ignore_unknown_fields: bool,
}

pub(super) fn run(command: &RulesCommand) -> Result<()> {
    match command {
        RulesCommand::Check { files } => check(files),
        RulesCommand::Test(args) => test(args),
        RulesCommand::Backtest(args) => super::on_runtime(super::backtest::backtest(args)),
    }
}

fn check(files: &[PathBuf]) -> Result<()> {
    let mut n_wrong = 0;
    for file in files {
        let name = file.display();
        match alert::rule::load(file) {
            Ok(groups) => {
                let n_rules: usize = groups.iter().map(|group| group.rules.len()).sum();
                say(&format!("{name}: {} groups, {n_rules} rules", groups.len()))?;
            }
            Err(error) => {
                n_wrong += 1;
                warn(&format!("{error}"));
            }
        }
    }
    if n_wrong > 0 {
        bail!("{n_wrong} of {} files are wrong", files.len());
    }
    Ok(())
}

fn test(args: &TestArgs) -> Result<()> {
    let patterns: Vec<Regex> = args
        .run
        .iter()
        .map(|pattern| Regex::new(pattern).with_context(|| format!("--run {pattern}")))
        .collect::<Result<_>>()?;
    let is_wanted = |name: &str| patterns.iter().any(|pattern| pattern.is_match(name));
    let rules = Options { ignore_unknown_fields: args.ignore_unknown_fields, ..Options::default() };
    let settings = Settings {
        rules,
        is_wanted: (!patterns.is_empty()).then_some(&is_wanted),
        debug: args.debug,
    };
    let mut reports = Vec::new();
    for file in &args.files {
        say(&format!("Unit Testing:  {}", file.display()))?;
        let report = unit_test::run(file, &settings);
        say(&told(file, &report, args.diff))?;
        reports.push((file.clone(), report));
    }
    if let Some(path) = &args.junit {
        let written = std::fs::write(path, junit(&reports));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let n_failed = reports.iter().filter(|(_, report)| !report.is_success()).count();
    if n_failed > 0 {
        bail!("{n_failed} of {} test files failed", reports.len());
    }
    Ok(())
}

/// What came of a file, as people read it.
fn told(file: &Path, report: &Report, as_diff: bool) -> String {
    let mut out = String::new();
    for warning in &report.warnings {
        line(&mut out, &format!("  WARNING: {warning}"));
    }
    for test in &report.tests {
        test.debug.iter().for_each(|told| line(&mut out, &format!("  {}: {told}", test.name)));
    }
    if report.is_success() {
        line(&mut out, "  SUCCESS");
        return out;
    }
    line(&mut out, "  FAILED:");
    if !report.problems.is_empty() {
        let problems = Problems(report.problems.clone()).to_string();
        problems.lines().for_each(|problem| line(&mut out, &format!("    {problem}")));
    }
    for test in &report.tests {
        for failure in &test.failures {
            let position = failure.position;
            let place = format!("{}:{}:{}", file.display(), position.line, position.column);
            line(&mut out, &format!("    {place}: name: {}, {}", test.name, failure.what));
            lines_of(failure, as_diff)
                .iter()
                .for_each(|told| line(&mut out, &format!("        {told}")));
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes all text");
}

fn lines_of(failure: &Failure, as_diff: bool) -> Vec<String> {
    match &failure.why {
        Why::Error(error) => error.lines().map(|line| format!("err: {line}")).collect(),
        Why::Mismatch(mismatch) if as_diff => mismatch.diff(),
        Why::Mismatch(mismatch) => mismatch.to_string().lines().map(ToOwned::to_owned).collect(),
    }
}

/// The results in the form test servers read: a suite a file, a case a test. A file that could not be read is a suite
/// with one error.
fn junit(reports: &[(PathBuf, Report)]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (file, report) in reports {
        let name = escaped(&file.display().to_string());
        let n_tests = report.tests.len();
        let n_failed = report.tests.iter().filter(|test| !test.failures.is_empty()).count();
        let n_errors = report.problems.len();
        let seconds: f64 = report.tests.iter().map(|test| test.elapsed.as_secs_f64()).sum();
        line(
            &mut out,
            &format!(
                "  <testsuite name=\"{name}\" tests=\"{n_tests}\" failures=\"{n_failed}\" errors=\"{n_errors}\" time=\"{seconds:.3}\">"
            ),
        );
        for problem in &report.problems {
            let text = escaped(&problem.to_string());
            line(&mut out, &format!("    <system-err>{text}</system-err>"));
        }
        report.tests.iter().for_each(|test| case(&mut out, test));
        line(&mut out, "  </testsuite>");
    }
    out.push_str("</testsuites>\n");
    out
}

fn case(out: &mut String, test: &Outcome) {
    let (name, seconds) = (escaped(&test.name), test.elapsed.as_secs_f64());
    let head = format!("    <testcase name=\"{name}\" time=\"{seconds:.3}\"");
    if test.failures.is_empty() {
        return line(out, &format!("{head}/>"));
    }
    line(out, &format!("{head}>"));
    for failure in &test.failures {
        let what = escaped(&failure.what);
        let body = escaped(&lines_of(failure, false).join("\n"));
        line(out, &format!("      <failure message=\"{what}\">{body}</failure>"));
    }
    line(out, "    </testcase>");
}

/// Text for XML; what XML cannot hold becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_holds_any_text() {
        let test = Outcome {
            name: "a <b> & \"c\"\u{1}".to_owned(),
            failures: vec![Failure {
                position: alert::rule::Position::default(),
                what: "expr: \"x\"".to_owned(),
                why: Why::Error("1 < 2\n3".to_owned()),
            }],
            debug: Vec::new(),
            elapsed: std::time::Duration::from_millis(1_500),
        };
        let report = Report { tests: vec![test], ..Report::default() };
        let xml = junit(&[(PathBuf::from("a.yml"), report)]);
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  \
            <testsuite name=\"a.yml\" tests=\"1\" failures=\"1\" errors=\"0\" time=\"1.500\">\n    \
            <testcase name=\"a &lt;b&gt; &amp; &quot;c&quot;\u{fffd}\" time=\"1.500\">\n      \
            <failure message=\"expr: &quot;x&quot;\">err: 1 &lt; 2\nerr: 3</failure>\n    \
            </testcase>\n  </testsuite>\n</testsuites>\n";
        assert_eq!(xml, expected);
    }
}
