//! `make bench`: release binaries measured on this machine, against the peers Debian packages. Writes a report.
//!
//! The measuring is done by the program `load` of `tests`; here are its steps, and the page they are put on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{install, run, shell, ui};

/// What is measured, in the order of the report.
const STEPS: [&str; 10] = [
    "cost", "metrics", "records", "series", "density", "queries", "search", "soak", "kills",
    "faults",
];
/// Tests that need so many rounds to be of use that they are steps here: package and target, its short form, its long one.
type Rounds = (&'static [&'static str], &'static str, &'static str);
const KILLS: Rounds = (
    &["--package", "tests", "--test", "it"],
    "crash::nothing_acknowledged_is_lost_or_doubled_over_20_kills",
    "crash::a_thousand_kills",
);
const FAULTS: Rounds = (
    &["--package", "store", "--lib"],
    "store::tests::simulation::every_acknowledged_row_is_there_once_after_any_crash",
    "store::tests::simulation::every_acknowledged_row_is_there_once_after_many_crashes",
);
/// How long this host is recorded when nobody says otherwise.
const RECORD_SECONDS: &str = "900";

/// `cargo xtask bench [--quick] [STEP...]` or `cargo xtask bench record [SECONDS]`.
pub(crate) fn bench(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let is_quick = words.contains(&"--quick");
    let wanted: Vec<&str> = words.iter().copied().filter(|word| *word != "--quick").collect();
    if let ["record", rest @ ..] = &wanted[..] {
        return record(rest.first().copied().unwrap_or(RECORD_SECONDS));
    }
    if let Some(unknown) = wanted.iter().find(|step| !STEPS.contains(step)) {
        bail!("no step named `{unknown}`; there are {} and record", STEPS.join(", "));
    }
    let bench = prepare()?;
    let report = bench.dir.join("report.md");
    let mut page = heading()?;
    for step in STEPS.into_iter().filter(|step| wanted.is_empty() || wanted.contains(step)) {
        shell::say(&format!("== {step}"))?;
        let section = match step {
            "density" => bench.density(is_quick)?,
            "kills" => rounds("Kills of the server under load", KILLS, is_quick)?,
            "faults" => rounds("Crashes at any operation on the disk", FAULTS, is_quick)?,
            _ => bench.load(step, is_quick)?,
        };
        shell::say(&section)?;
        page.push_str(&section);
        page.push('\n');
        fs::write(&report, &page)?; // After each step: a later one may fail.
    }
    shell::say(&format!("Written to {}", report.display()))
}

/// The programs, built, and the folder below `target` that holds what they leave.
struct Bench {
    release: PathBuf,
    dir: PathBuf,
}

fn prepare() -> Result<Bench> {
    install::install(&["build".to_owned(), "bench".to_owned()])?;
    ui::build()?;
    run::build(run::Profile::Release)?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "tests", "--bin", "load"]))?;
    let dir = shell::target_dir().join("bench");
    fs::create_dir_all(&dir)?;
    Ok(Bench { release: shell::target_dir().join("release"), dir })
}

impl Bench {
    /// A step of the program `load`; returns what it prints.
    fn load(&self, step: &str, is_quick: bool) -> Result<String> {
        let mut command = Command::new(self.release.join("load"));
        command.arg(step).arg(self.release.join("headrope")).arg(self.dir.join("work"));
        if is_quick {
            command.arg("--quick");
        }
        shell::read(&mut command)
    }

    /// Bytes a sample, through the store itself, against VictoriaMetrics.
    fn density(&self, is_quick: bool) -> Result<String> {
        let mut command = shell::cargo();
        command.args(["bench", "--quiet", "--package", "tests", "--bench", "density", "--"]);
        command.arg(self.dir.join("recordings")).arg(self.dir.join("work"));
        if is_quick {
            command.arg("--quick");
        }
        shell::read(&mut command)
    }
}

/// Runs a test of many rounds, and gives what it says of them.
fn rounds(title: &str, (target, short, long): Rounds, is_quick: bool) -> Result<String> {
    let mut command = shell::cargo();
    command.args(["test", "--quiet"]).args(target);
    command.args(["--", "--include-ignored", "--nocapture", "--exact"]);
    let said = shell::read(command.arg(if is_quick { short } else { long }))?;
    let is_figure = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit());
    let Some(figures) = said.lines().find(is_figure) else {
        bail!("the test said nothing of its rounds:\n{said}");
    };
    Ok(format!("## {title}\n\n{figures}\n"))
}

fn record(seconds: &str) -> Result<()> {
    let bench = prepare()?;
    shell::say(&format!("Recording this host for {seconds} s"))?;
    let mut command = Command::new(bench.release.join("load"));
    command.arg("record").arg(bench.dir.join("recordings"));
    shell::run(command.arg(bench.release.join("headrope-agent")).arg(seconds))
}

/// The machine, and the versions of what ran on it.
fn heading() -> Result<String> {
    let line = |path: &str, name: &str| -> Option<String> {
        let text = fs::read_to_string(Path::new(path)).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cpu = line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let memory = line("/proc/meminfo", "MemTotal").unwrap_or_default();
    let cores = std::thread::available_parallelism().context("no count of cores")?;
    let ask = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        shell::read(command.current_dir(shell::root()).args(args))
            .map(|text| text.trim().to_owned())
    };
    let kernel = ask("uname", &["-sr"])?;
    let date = ask("date", &["-u", "+%Y-%m-%d %H:%M UTC"])?;
    let commit = ask("git", &["describe", "--always", "--dirty"]).unwrap_or_default();
    let rustc = ask("rustc", &["--version"])?;
    let peers = ask(
        "dpkg-query",
        &[
            "-W",
            "-f",
            "${Package} ${Version}\n",
            "prometheus",
            "prometheus-node-exporter",
            "victoria-metrics",
        ],
    )
    .unwrap_or_default()
    .replace('\n', ", ");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!(
        "# Bench\n\n{date}, commit {commit}, {rustc}. {cpu}, {cores} cores, {memory}, {kernel}. {peers}. \
         Load of the machine when it began: {load}; where others work on it, trust CPU seconds and sizes, not wall time.\n\n"
    ))
}
