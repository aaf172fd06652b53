//! The binary as a person meets it: what it prints, how it ends.

use std::process::{Child, Command, Output, Stdio};

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headrope-agent"));
    command.args(arguments).env_clear();
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = agent(arguments).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn one_round_as_json_and_as_a_table() {
    let (code, json, _) = output(&["--once", "--output", "json", "--interval", "100ms"]);
    assert_eq!(code, Some(0));
    let survey: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(survey["resource"]["service.name"], "headrope-agent");
    let samples = survey["samples"].as_array().expect("samples");
    let metrics: Vec<_> = samples.iter().filter_map(|s| s["metric"].as_str()).collect();
    for metric in ["system.cpu.time", "system.cpu.utilization", "process.memory.usage"] {
        assert!(metrics.contains(&metric), "{metric}");
    }
    let (code, table, _) = output(&["--once", "--interval", "100ms"]);
    assert_eq!(code, Some(0));
    assert!(
        table.lines().any(|line| line.starts_with("system.memory.limit ") && line.ends_with(" By"))
    );
}

#[test]
fn wrong_usage_and_configuration_end_with_2_and_a_reason() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, "interval = 5\n").expect("written");
    let path = path.to_str().expect("UTF-8");
    let cases: [(&[&str], &str); 5] = [
        (&["--nonsense"], "unexpected argument '--nonsense'"),
        (&["--interval", "1 day"], "write a number and a unit"),
        (&["--server", "collector"], "`endpoint`: `collector` is not a URL"),
        (&["--config", "/does/not/exist"], "/does/not/exist: No such file"),
        (&["--config", path], "line 1"),
    ];
    for (arguments, reason) in cases {
        let (code, stdout, stderr) = output(arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(stderr.contains(reason), "{arguments:?}: {stderr}");
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a pid"), signal).expect("it runs");
}

/// Starts an agent whose collector does not exist, and waits until it says that it has begun.
fn start() -> (Child, std::io::BufReader<std::process::ChildStderr>) {
    use std::io::BufRead;
    // Port 9 is `discard`: nothing listens there.
    let arguments = ["--server", "http://127.0.0.1:9", "--log-format", "json"];
    let mut child = agent(&arguments).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut log = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("agent started") {
        line.clear();
        assert!(log.read_line(&mut line).expect("readable") > 0, "it ended early");
        let _: serde_json::Value = serde_json::from_str(&line).expect("every line is JSON");
    }
    (child, log)
}

#[test]
fn a_signal_stops_it() {
    let (mut child, _log) = start();
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "nothing was queued yet");
}

#[test]
fn a_second_signal_does_not_wait_for_the_flush() {
    use std::io::{BufRead, Read};
    let (mut child, mut log) = start();
    let mut line = String::new();
    while !line.contains("cannot reach the collector") {
        line.clear();
        assert!(log.read_line(&mut line).expect("readable") > 0, "it ended early");
    }
    signal(&child, rustix::process::Signal::TERM);
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let mut rest = String::new();
    log.read_to_string(&mut rest).expect("readable");
    assert!(rest.contains("stopped before the queue was sent"), "{rest}");
}
