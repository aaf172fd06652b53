//! Rules beyond Prometheus through a real server: on logs, traces and SQL, and where the data goes missing; and that
//! `rules check` says what is wrong with them.

use serde_json::{Value, json};

use crate::server::{Home, Server, now_ns, program, until};

const RULES: &str = r#"
groups:
- name: own
  interval: 1s
  rules:
  - alert: Declined
    expr: level:error "card declined"
    labels: {severity: page}
    annotations: {summary: '{{ $labels.service }}: {{ $value }}'}
    headrope: {lang: logs, window: 1h, by: [service], above: 1}
  - alert: Slow
    expr: service:shop duration:>500ms error:true
    headrope: {lang: traces, window: 1h, by: [service, name]}
  - alert: Errors
    expr: |
      SELECT service_name AS service, count(*) AS value FROM logs
      WHERE $__range AND severity_number >= 17 GROUP BY 1
    headrope: {lang: sql, window: 1h, all: [{expr: queue_depth > 5}]}
  - record: logs:errors
    expr: SELECT count(*) AS value FROM logs WHERE $__range
    headrope: {lang: sql, window: 1h}
  - alert: Held
    expr: last_over_time(queue_depth[5s]) > 5
    headrope: {no_data: hold}
"#;

async fn post(server: &Server, path: &str, body: &Value) {
    let sent =
        server.client.post(server.otlp_url(path)).json(body).send().await.expect("it is sent");
    let (status, text) = (sent.status(), sent.text().await.expect("an answer"));
    assert!(status.is_success() && !text.contains("rejected"), "{path}: {status}: {text}");
}

fn resource() -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]})
}

async fn log(server: &Server, body: &str) {
    let record = json!({"timeUnixNano": now_ns().to_string(), "severityNumber": 17, "body": {"stringValue": body}});
    let scope = json!([{"logRecords": [record]}]);
    let request = json!({"resourceLogs": [{"resource": resource(), "scopeLogs": scope}]});
    post(server, "/v1/logs", &request).await;
}

async fn span(server: &Server, id: u8, ms: u64) {
    let end = now_ns();
    let span = json!({
        "traceId": format!("{id:032x}"), "spanId": format!("{id:016x}"), "name": "pay", "kind": 2,
        "startTimeUnixNano": (end - ms * 1_000_000).to_string(), "endTimeUnixNano": end.to_string(),
        "status": {"code": 2},
    });
    let scope = json!([{"spans": [span]}]);
    let request = json!({"resourceSpans": [{"resource": resource(), "scopeSpans": scope}]});
    post(server, "/v1/traces", &request).await;
}

async fn depth(server: &Server, value: i64) {
    let point = json!({"timeUnixNano": now_ns().to_string(), "asInt": value.to_string()});
    let metrics = json!([{"name": "queue_depth", "gauge": {"dataPoints": [point]}}]);
    let request = json!({"resourceMetrics": [{"resource": resource(), "scopeMetrics": [{"metrics": metrics}]}]});
    post(server, "/v1/metrics", &request).await;
}

/// The rule of this name once it stands as `state`.
async fn rule(server: &Server, name: &str, state: &str) -> Value {
    until(&format!("{name} to be {state}"), async || {
        let alerts = server.get("/api/headrope/v1/alerts").await;
        let rules = alerts["groups"][0]["rules"].as_array()?.clone();
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:#?}");
        rules.into_iter().find(|rule| rule["name"] == name && rule["state"] == state)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_on_logs_traces_and_sql_fire_and_missing_data_is_a_state() {
    let home = Home::new();
    home.write("rules.yaml", RULES);
    let server = home.start("[alert]\nrules = [\"rules.yaml\"]\n").await;
    rule(&server, "Declined", "inactive").await;
    log(&server, "card declined for order 1").await;
    log(&server, "out of paper").await;
    span(&server, 1, 900).await;
    span(&server, 2, 100).await;
    let slow = rule(&server, "Slow", "firing").await;
    assert_eq!(slow["alerts"][0]["labels"]["name"], "pay", "{slow:#}");
    assert_eq!(slow["alerts"][0]["value"], "1", "the quick one does not count: {slow:#}");
    rule(&server, "Declined", "inactive").await; // One record is not above one.
    rule(&server, "Errors", "inactive").await; // Nothing queues.
    log(&server, "Card declined for order 2").await;
    depth(&server, 9).await;
    let declined = rule(&server, "Declined", "firing").await;
    assert_eq!(
        declined["alerts"][0]["labels"],
        json!({"alertname": "Declined", "service": "shop", "severity": "page"})
    );
    assert_eq!(declined["alerts"][0]["annotations"]["summary"], "shop: 2");
    let errors = rule(&server, "Errors", "firing").await;
    assert_eq!(errors["alerts"][0]["value"], "3", "{errors:#}");
    until("the records to be counted", async || {
        (server.promql("logs:errors").await == [3.0]).then_some(())
    })
    .await;

    rule(&server, "Held", "firing").await;
    let held = rule(&server, "Held", "no_data").await;
    assert!(held["no_data_since_ms"].is_i64(), "{held:#}");
    assert_eq!(held["alerts"][0]["state"], "no_data");
    assert_eq!(
        server.promql("ALERTS{alertname=\"Held\", alertstate=\"firing\"}").await,
        [1.0],
        "it is not over"
    );
    depth(&server, 1).await;
    rule(&server, "Held", "inactive").await;
    server.stop().await;
}

#[test]
fn rules_check_says_where_and_what() {
    let home = Home::new();
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: SELECT FROM\n    headrope: {lang: sql, no_data: hold}\n  \
                - alert: B\n    expr: level:loud\n    headrope: {lang: logs, by: [service], windw: 5m}\n  \
                - record: c\n    expr: up\n    headrope: {clear_expr: up, above: ten}\n  \
                - alert: D\n    expr: up\n    headrope: {lang: logql, quality: {min_reporting: lots}, all: [{above: 1}]}\n";
    let path = home.write("rules.yaml", text);
    let check = std::process::Command::new(program()).args(["rules", "check"]).arg(&path).output();
    let check = check.unwrap();
    assert_eq!(check.status.code(), Some(1));
    let told = String::from_utf8(check.stderr).unwrap();
    for wanted in [
        "rules.yaml:5:11: group \"g\", rule 1, \"A\": could not parse expression: ",
        "rules.yaml:6:36: group \"g\", rule 1, \"A\": what data a query in SQL misses cannot be told",
        "rules.yaml:8:11: group \"g\", rule 2, \"B\": could not parse expression: `loud` is no level",
        "rules.yaml:9:43: field windw not found in type headrope; did you mean \"window\"?",
        "rules.yaml:12:28: group \"g\", rule 3, \"c\": invalid field 'clear_expr' in recording rule",
        "rules.yaml:12:39: group \"g\", rule 3, \"c\": \"ten\" is not a number; write it like 10 or 0.5",
        "rules.yaml:15:22: group \"g\", rule 4, \"D\": no language is called \"logql\"; write promql, sql, logs or traces",
        "min_reporting \"lots\" is no share; write it like 90% or 0.9",
        "field 'expr' must be set in condition",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
}

#[test]
fn rules_test_runs_promtools_files() {
    let home = Home::new();
    home.write("r.yml", "groups: [{name: g, rules: [{alert: Down, expr: up == 0}]}]");
    let case = |name: &str, expected: &str| {
        format!(
            "  - name: {name}\n    input_series: [{{series: up, values: 1 0}}]\n    alert_rule_test: [{{eval_time: 1m, alertname: Down{expected}}}]\n"
        )
    };
    let good = case("fires", ", exp_alerts: [{exp_labels: {}}]");
    let path = home
        .write("t.yml", &format!("rule_files: ['r*.yml']\ntests:\n{good}{}", case("fails", "")));
    let junit = home.path().join("junit.xml");
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(program());
        let output = command.args(["rules", "test"]).args(args).arg(&path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, told) = run(&["--run", "^fires$"]);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("SUCCESS"), "{told}");
    let (status, told) = run(&["--diff", "--junit", junit.to_str().unwrap()]);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("alertname: Down, time: 1m") && told.contains("+ labels: {"), "{told}");
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
}

const SLOW: &str = "
groups:
- name: slow
  interval: 1y
  rules:
  - record: depth:max
    expr: max(queue_depth)
  - {alert: Full, expr: depth:max > 5}
  - {alert: Other, expr: other_depth > 5}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_arrives_has_its_rules_evaluated_long_before_their_slot() {
    let home = Home::new();
    home.write("rules.yaml", SLOW);
    let server = home.start("[alert]\nrules = [\"rules.yaml\"]\nevent_driven = true\n").await;
    until("the rules to be there", async || {
        let alerts = server.get("/api/headrope/v1/alerts").await;
        (!alerts["groups"].as_array()?.is_empty()).then_some(())
    })
    .await;
    let mut latencies_ms = Vec::new();
    for round in 0..20 {
        let (value, wanted) = if round % 2 == 0 { (9, "firing") } else { (1, "inactive") };
        let begun = tokio::time::Instant::now();
        depth(&server, value).await;
        let full = until("the alert to follow", async || {
            let alerts = server.get("/api/headrope/v1/alerts").await;
            let rules = alerts["groups"][0]["rules"].as_array()?.clone();
            let is_other_asleep = rules[2]["last_evaluation_ms"].is_null();
            assert!(is_other_asleep, "nothing it reads came: {rules:#?}");
            rules.into_iter().find(|rule| rule["name"] == "Full" && rule["state"] == wanted)
        })
        .await;
        assert_ne!(full["health"], "err", "{full:#}");
        latencies_ms.push(begun.elapsed().as_millis());
    }
    latencies_ms.sort_unstable();
    let at = |share: usize| latencies_ms[(latencies_ms.len() - 1) * share / 100];
    eprintln!("from sending to the state in the API: p50 {} ms, p95 {} ms", at(50), at(95));
    server.stop().await;
}
