//! Debian's amtool asks us about alerts, silences and routes, and our answers are what the OpenAPI document says.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::server::{Home, Server, program, until};

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

const ROUTES: &str = "
global: {slack_api_url: 'https://hooks.example/hunter2'}
route:
  receiver: default
  group_by: [alertname]
  routes:
  - matchers: [severity=\"page\", team=~\"shop|pay\"]
    receiver: pager
receivers:
- name: default
- name: pager
  webhook_configs: [{url: 'http://127.0.0.1:9/hunter2'}]
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

#[tokio::test]
async fn amtool_makes_edits_and_ends_silences() {
    let home = Home::new();
    let server = home.start("").await;
    let add = ["alert", "add", "Slow", "site=a", "--annotation=summary=waits"];
    amtool(&server, &add).await;
    let alerts = amtool(&server, &["alert", "query", "-o", "json"]).await;
    let alerts: Value = serde_json::from_str(&alerts).unwrap();
    assert_eq!(alerts[0]["labels"], serde_json::json!({"alertname": "Slow", "site": "a"}));
    assert_eq!(alerts[0]["annotations"]["summary"], "waits");
    let add = ["silence", "add", "--author=me", "--comment=planned", "--duration=2h"];
    let id = amtool(&server, &[&add[..], &["alertname=Slow", "site=~a|b"]].concat()).await;
    let id = id.trim();
    let muted = amtool(&server, &["alert", "query", "--silenced", "-o", "json"]).await;
    let muted: Value = serde_json::from_str(&muted).unwrap();
    assert_eq!(muted[0]["status"]["silencedBy"], serde_json::json!([id]));
    let shown = amtool(&server, &["alert", "query", "Slow"]).await;
    assert_eq!(shown.lines().count(), 1, "a header: {shown}");
    let listed = amtool(&server, &["silence", "query", "-o", "json", "site=a"]).await;
    assert_eq!(listed.trim(), "[]", "matchers ask for silences that have them");
    let query = |words: &'static [&'static str]| {
        let server = &server;
        async move {
            let listed = amtool(server, &[&["silence", "query", "-q"], words].concat()).await;
            listed.lines().map(str::to_owned).collect::<Vec<_>>()
        }
    };
    assert_eq!(query(&["alertname=Slow"]).await, [id]);
    amtool(&server, &["silence", "update", "--comment=longer", "--duration=5h", id]).await;
    assert_eq!(query(&[]).await, [id], "the same silence goes on");
    let silence = server.get(&format!("/api/v2/silence/{id}")).await;
    assert_eq!(silence["comment"], "longer");
    check_answers(&server).await;
    amtool(&server, &["silence", "expire", id]).await;
    assert_eq!(query(&[]).await, Vec::<String>::new());
    assert_eq!(query(&["--expired"]).await, [id]);
    let file = home.write(
        "silences.json",
        r#"[{"matchers": [{"name": "a", "value": "b", "isRegex": false}], "startsAt": "2020-01-01T00:00:00Z",
            "endsAt": "2200-01-01T00:00:00Z", "createdBy": "me", "comment": "kept"}]"#,
    );
    amtool(&server, &["silence", "import", "--force", file.to_str().unwrap()]).await;
    assert_eq!(query(&["a=b"]).await.len(), 1);
    let all = server.client.post(server.url("/api/v2/silences"));
    let bad = all.json(&serde_json::json!({"matchers": [], "startsAt": "", "endsAt": ""}));
    assert_eq!(bad.send().await.unwrap().status(), 400);
    let nobody = server.client.get(server.url("/api/v2/silence/nobody")).send().await.unwrap();
    assert_eq!(nobody.status(), 404);
    server.stop().await;
}

#[tokio::test]
async fn amtool_reads_our_routes() {
    let home = Home::new();
    let file = home.write("alertmanager.yml", ROUTES);
    let server = home.start("[alert]\nalertmanager_config = \"alertmanager.yml\"\n").await;
    let shown = amtool(&server, &["config", "show"]).await;
    assert!(shown.contains("severity") && !shown.contains("hunter2"), "{shown}");
    let routes = amtool(&server, &["config", "routes", "show"]).await;
    assert!(routes.contains("receiver: pager"), "{routes}");
    for (labels, wanted) in
        [(&["severity=page", "team=pay"][..], "pager"), (&["severity=page"][..], "default")]
    {
        let words = [&["config", "routes", "test"], labels].concat();
        assert_eq!(amtool(&server, &words).await.trim(), wanted);
        let ours = Command::new(program())
            .args(["alertmanager", "routes", "test"])
            .arg(&file)
            .args(labels)
            .output()
            .await
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&ours.stdout).trim(), wanted);
    }
    let run = |program: std::path::PathBuf, words: &'static [&'static str]| {
        let file = file.clone();
        async move { Command::new(program).args(words).arg(file).output().await.unwrap() }
    };
    assert!(run("amtool".into(), &["check-config"]).await.status.success());
    let ours = run(program(), &["alertmanager", "check"]).await;
    let said = String::from_utf8_lossy(&ours.stdout);
    assert!(said.contains("2 receivers, 2 routes"), "{said}");
    home.write("alertmanager.yml", "route: {receiver: a}\nreceivers: [{name: b}]\n");
    let ours = run(program(), &["alertmanager", "check"]).await;
    let said = String::from_utf8_lossy(&ours.stderr);
    assert!(!ours.status.success() && said.contains(":1:19: undefined receiver"), "{said}");
    check_answers(&server).await;
    server.stop().await;
}

/// Every list the API gives, against the document Alertmanager publishes.
async fn check_answers(server: &Server) {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/alertmanager/openapi.yaml");
    // A checkout may lack the data beside it.
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let document: Value = serde_saphyr::from_str(&text).expect("the document is YAML");
    for path in ["/status", "/receivers", "/silences", "/alerts", "/alerts/groups"] {
        let answer = server.get(&format!("/api/v2{path}")).await;
        let schema = &document["paths"][path]["get"]["responses"]["200"]["schema"];
        let faults = crate::openapi::faults(&document, schema, &answer);
        assert!(faults.is_empty(), "{path}: {faults:#?}");
        for item in answer.as_array().into_iter().flatten() {
            for part in parts(&document, &schema["items"], schema) {
                let faults = crate::openapi::faults(&document, &part, item);
                assert!(faults.is_empty(), "{path}: {faults:#?}");
            }
        }
    }
}

/// The schemas an item of a list must fulfil: those of `allOf`, which the check of a single schema passes over.
fn parts(document: &Value, items: &Value, schema: &Value) -> Vec<Value> {
    let follow = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    let list = follow(schema);
    let item = follow(if items.is_object() { items } else { &list["items"] });
    let all = item["allOf"].as_array().cloned().unwrap_or_else(|| vec![item.clone()]);
    all.iter().map(follow).collect()
}
