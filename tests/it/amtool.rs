//! Debian's amtool asks us about alerts.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::server::{Home, Server, until};

const RULES: &str = "
groups:
- name: amtool
  interval: 1s
  rules:
  - alert: Always
    expr: vector(7)
    labels: {severity: page}
    annotations: {summary: 'it is {{ $value }}'}
  - alert: Seldom
    expr: vector(1)
    for: 1d
";

const CONFIG: &str = "
[alert]
rules = [\"rules.yaml\"]

[[action.receivers]]
name = \"oncall\"
url = \"http://127.0.0.1:1/hook\"
secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"
";

async fn amtool(server: &Server, arguments: &[&str]) -> String {
    let url = format!("--alertmanager.url={}", server.url("/alertmanager"));
    let mut command = Command::new("amtool");
    let output = command.args(arguments).arg(url).stdin(Stdio::null()).output().await;
    let output = output.expect("amtool is installed by `cargo xtask install test`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn amtool_lists_what_fires() {
    let home = Home::new();
    home.write("rules.yaml", RULES);
    let server = home.start(CONFIG).await;
    until("the alert to fire", async || {
        let alerts = server.get("/api/v2/alerts").await;
        alerts[0].is_object().then_some(())
    })
    .await;
    let listed = amtool(&server, &["alert", "query", "-o", "json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
    assert_eq!(listed[0]["labels"]["alertname"], "Always");
    assert_eq!(listed[0]["annotations"]["summary"], "it is 7");
    assert_eq!(listed[0]["receivers"][0]["name"], "oncall");
    assert_eq!(listed[0]["status"]["state"], "active");
    let found = amtool(&server, &["alert", "query", "-o", "json", "severity=~\"pa.*\""]).await;
    assert!(found.contains("Always"), "{found}");
    let none = amtool(&server, &["alert", "query", "-o", "json", "alertname=Seldom"]).await;
    assert!(!none.contains("Always"), "{none}");
    let config = amtool(&server, &["config", "show"]).await;
    assert!(config.contains("rules.yaml"), "{config}");
    assert_eq!(amtool(&server, &["silence", "query", "-q"]).await.trim(), "");
    let groups = server.get("/api/v2/alerts/groups?receiver=on.*").await;
    assert_eq!(groups[0]["alerts"][0]["fingerprint"], listed[0]["fingerprint"]);
    for nothing in ["receiver=on", "active=false", "filter=severity!%3D%22page%22"] {
        let alerts = server.get(&format!("/api/v2/alerts?{nothing}")).await;
        assert_eq!(alerts, serde_json::json!([]), "{nothing}");
    }
    let wrong = server.client.get(server.url("/api/v2/alerts?filter=%28")).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    assert!(wrong.json::<Value>().await.unwrap().is_string());
    server.stop().await;
}
