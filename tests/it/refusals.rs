//! What the server refuses at start, and in which words: the thing, the reason, the remedy.

use std::path::Path;

use tokio::process::Command;

use crate::server::{Home, program};

/// Asserts that starting fails with status 1 and says all of `parts`.
async fn refuses(home: &Home, command: Command, parts: &[&str]) {
    let (status, said) = home.refused(command).await;
    assert_eq!(status, 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn with_config(home: &Home, config: &str) -> Command {
    let mut command = home.command(config);
    command.arg("--no-agent");
    command
}

#[tokio::test]
async fn a_taken_port() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--listen", "--otlp-grpc", "--otlp-http"] {
        let mut command = Command::new(program());
        for other in ["--listen", "--otlp-grpc", "--otlp-http"] {
            command.args([other, if other == option { address.as_str() } else { "127.0.0.1:0" }]);
        }
        command.arg("--data-dir").arg(home.data()).kill_on_drop(true);
        refuses(&home, command, &[&address, "the port is taken", option]).await;
    }
}

#[tokio::test]
async fn a_data_folder_in_use() {
    let home = Home::new();
    let server = home.start("").await;
    let folder = home.data().display().to_string();
    let (status, said) = home.refused(with_config(&home, "")).await;
    assert_eq!(status, 1, "{said}");
    assert!(said.contains(&folder) && said.contains("another"), "{said}");
    // The one that runs is not disturbed.
    assert_eq!(server.sql_value("SELECT 1").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_written() {
    let home = Home::new();
    let file = home.write("file", "");
    for folder in [file.join("data"), Path::new("/proc/headrope").to_owned()] {
        let mut command = Command::new(program());
        for option in ["--listen", "--otlp-grpc", "--otlp-http"] {
            command.args([option, "127.0.0.1:0"]);
        }
        command.arg("--data-dir").arg(&folder).kill_on_drop(true);
        refuses(&home, command, &[&folder.display().to_string()]).await;
    }
}

#[tokio::test]
async fn a_newer_format() {
    let home = Home::new();
    home.start("").await.stop().await;
    let newest = |folder: &str| {
        let files = std::fs::read_dir(home.data().join(folder)).unwrap();
        let named = |path: &std::path::PathBuf| {
            path.extension().is_some_and(|end| end == "log" || end == "wal")
        };
        files.map(|entry| entry.unwrap().path()).filter(named).max().expect("a file")
    };
    // Where the bytes state their format.
    for (path, at) in [(newest("action"), 8), (newest("wal/0"), 7)] {
        let bytes = std::fs::read(&path).unwrap();
        let mut newer = bytes.clone();
        assert!((1..10).contains(&newer[at]), "{} has no version at {at}", path.display());
        newer[at] += 1;
        let version = format!("version {}", newer[at]);
        std::fs::write(&path, newer).unwrap();
        let name = path.display().to_string();
        refuses(&home, with_config(&home, ""), &[&name, &version, "newer release"]).await;
        std::fs::write(&path, bytes).unwrap();
    }
    home.start("").await.stop().await;
}

#[tokio::test]
async fn a_bad_configuration() {
    let home = Home::new();
    let place = |rest: &str| format!("headrope.toml:{rest}");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let cases = [
        ("[store]\nflushh = 1\n".to_owned(), vec![place("2:1"), "flushh".into()]),
        ("listen = \n".to_owned(), vec![place("1:")]),
        ("listen = \"nowhere\"\n".to_owned(), vec![place("1:10")]),
        ("[store]\nflush_age = \"10 bananas\"\n".to_owned(), vec![place("2:"), "10 bananas".into()]),
        (
            "[[action.receivers]]\nname = \"a\"\nurl = \"http://127.0.0.1/\"\nsecret = \"whsec_AAAA\"\n".to_owned(),
            vec!["action.receivers[0].secret".into(), "24 to 64".into()],
        ),
        (
            format!("[[action.receivers]]\nname = \"a\"\nurl = \"smtp://h\"\nsecret = \"{secret}\"\n"),
            vec!["action.receivers[0].url".into(), "https".into()],
        ),
    ];
    for (config, parts) in cases {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        refuses(&home, with_config(&home, &config), &parts).await;
    }
    let mut command = Command::new(program());
    command.args(["run", "--config", "/nowhere/headrope.toml"]).kill_on_drop(true);
    refuses(&home, command, &["/nowhere/headrope.toml", "No such file"]).await;
}

#[tokio::test]
async fn a_bad_rule_file() {
    let home = Home::new();
    let config = "[alert]\nrules = [\"rules.yaml\"]\n";
    let rule = |lines: &str| format!("groups:\n- name: host\n  rules:\n  - alert: Hot\n{lines}");
    let cases = [
        (rule("    expr: up > 0\n    fro: 1m\n"), vec!["rules.yaml:6", "fro"]),
        (rule("    expr: sum(up\n"), vec!["rules.yaml:5"]),
        (rule("    for: 1m\n"), vec!["rules.yaml", "expr"]),
        ("groups: [\n".to_owned(), vec!["rules.yaml"]),
    ];
    for (text, parts) in cases {
        home.write("rules.yaml", &text);
        refuses(&home, with_config(&home, config), &parts).await;
    }
    std::fs::remove_file(home.path().join("rules.yaml")).unwrap();
    refuses(&home, with_config(&home, config), &["rules.yaml"]).await;
}

#[tokio::test]
async fn a_wrong_command_line() {
    let home = Home::new();
    for words in [vec!["--no-such-option"], vec!["--listen", "here"], vec!["no-such-command"]] {
        let mut command = Command::new(program());
        command.args(&words).kill_on_drop(true);
        let (status, said) = home.refused(command).await;
        assert_eq!(status, 2, "{words:?}: {said}");
        assert!(said.contains(words[words.len() - 1]), "{words:?}: {said}");
    }
}
