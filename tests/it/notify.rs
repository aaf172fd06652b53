//! Notifications through a real server: rules on real data and alerts of other servers, routed by an Alertmanager
//! configuration to a real receiver, over restarts and crashes.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::server::{Home, Server, now_ns, until};

const RULES: &str = "
groups:
- name: shop
  interval: 1s
  rules:
  - alert: QueueLong
    expr: last_over_time(queue_depth[1h]) > 5
    labels: {severity: page}
    annotations: {summary: '{{ $labels.queue }} holds {{ $value }}'}
";

const ROUTES: &str = "
global: {resolve_timeout: 5m}
route:
  receiver: default
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
  routes:
  - matchers: [severity=\"page\"]
    receiver: pager
receivers:
- name: default
  webhook_configs: [{url: 'URL/default'}]
- name: pager
  webhook_configs: [{url: 'URL/pager'}]
inhibit_rules:
- source_matchers: [alertname=\"Outage\"]
  target_matchers: [alertname=\"Symptom\"]
  equal: [site]
";

/// What a receiver got.
struct Got {
    path: String,
    key: String,
    body: Value,
}

struct Receiver {
    url: String,
    got: mpsc::Receiver<Got>,
    seen: Vec<String>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tx, got) = mpsc::channel(1_000);
        let handler = move |uri: axum::http::Uri, headers: HeaderMap, body: Bytes| {
            let tx = tx.clone();
            async move {
                let (path, body) = (uri.path().to_owned(), serde_json::from_slice(&body).unwrap());
                let key = headers["idempotency-key"].to_str().unwrap().to_owned();
                tx.send(Got { path, key, body }).await.unwrap();
            }
        };
        let app = axum::Router::new().fallback(axum::routing::any(handler));
        // Ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, got, seen: Vec::new() }
    }

    /// The next message; a repetition of an earlier one, which a crash may cause, is passed over.
    async fn next(&mut self, server: &Server) -> Got {
        loop {
            let got = tokio::time::timeout(std::time::Duration::from_secs(90), self.got.recv());
            let got = got.await.unwrap_or_else(|_| panic!("no message:\n{}", server.stderr()));
            let got = got.expect("the receiver runs");
            if !self.seen.contains(&got.key) {
                self.seen.push(got.key.clone());
                return got;
            }
        }
    }
}

async fn start(home: &Home, receiver: &Receiver) -> Server {
    home.write("rules.yaml", RULES);
    home.write("alertmanager.yml", &ROUTES.replace("URL", &receiver.url));
    let config = "[alert]\nrules = [\"rules.yaml\"]\nalertmanager_config = \"alertmanager.yml\"\n\
                  [action]\nretry_wait_min = \"50ms\"\nexternal_url = \"http://headrope.example\"\n";
    home.start(config).await
}

async fn depth(server: &Server, queue: &str, value: i64) {
    let point = json!({"timeUnixNano": now_ns().to_string(), "asInt": value.to_string(),
        "attributes": [{"key": "queue", "value": {"stringValue": queue}}]});
    let request = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "queue_depth", "gauge": {"dataPoints": [point]}}]}]}]});
    let sent = server.client.post(server.otlp_url("/v1/metrics")).json(&request).send().await;
    assert_eq!(sent.unwrap().status(), 200);
}

async fn post(server: &Server, alerts: Value) -> u16 {
    let sent = server.client.post(server.url("/api/v2/alerts")).json(&alerts).send().await;
    sent.unwrap().status().as_u16()
}

fn names(got: &Got) -> Vec<(&str, &str)> {
    let alerts = got.body["alerts"].as_array().unwrap().iter();
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned().leak() as &str;
    alerts.map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["status"]))).collect()
}

#[tokio::test]
async fn a_rule_is_told_through_its_route_and_its_end_over_a_crash() {
    let (home, mut receiver) = (Home::new(), Receiver::start().await);
    let server = start(&home, &receiver).await;
    depth(&server, "mail", 9).await;
    let firing = receiver.next(&server).await;
    assert_eq!((firing.path.as_str(), names(&firing)), ("/pager", vec![("QueueLong", "firing")]));
    let alert = &firing.body["alerts"][0];
    assert_eq!(firing.body["groupKey"], "{}/{severity=\"page\"}:{alertname=\"QueueLong\"}");
    assert_eq!(firing.body["version"], "4");
    assert_eq!(firing.body["externalURL"], "http://headrope.example");
    assert_eq!(alert["labels"]["queue"], "mail");
    assert_eq!(alert["annotations"]["summary"], "mail holds 9");
    assert_eq!(alert["generatorURL"], "http://headrope.example/alerts?rule=QueueLong");
    let told = until("the message to be noted", async || {
        let metrics = server.client.get(server.url("/metrics")).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let line = "headrope_notify_delivered_total{integration=\"webhook\"} 1\n";
        metrics.contains(line).then_some(metrics)
    });
    assert!(told.await.contains("headrope_notify_held{what=\"alerts\"} 1\n"));

    server.kill().await;
    let server = start(&home, &receiver).await;
    depth(&server, "news", 7).await;
    let both = receiver.next(&server).await;
    assert_eq!(names(&both), [("QueueLong", "firing"), ("QueueLong", "firing")]);
    assert_eq!(both.body["notification_reason"], "new alerts added to the group");
    assert_eq!(both.body["alerts"][0]["startsAt"], alert["startsAt"], "{:#}", both.body);

    depth(&server, "mail", 1).await;
    depth(&server, "news", 1).await;
    let mut resolved = BTreeMap::new();
    while resolved.len() < 2 {
        let got = receiver.next(&server).await;
        for alert in got.body["alerts"].as_array().unwrap() {
            if alert["status"] == "resolved" {
                let ends_at = alert["endsAt"].as_str().unwrap().to_owned();
                resolved.insert(alert["labels"]["queue"].as_str().unwrap().to_owned(), ends_at);
            }
        }
    }
    assert!(resolved["mail"].starts_with("20") && resolved["news"].starts_with("20"));
    until("the alerts to be forgotten", async || {
        let alerts = server.get("/api/v2/alerts/groups").await;
        (alerts == json!([])).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn alerts_of_other_servers_are_routed_inhibited_silenced_and_kept() {
    let (home, mut receiver) = (Home::new(), Receiver::start().await);
    let server = start(&home, &receiver).await;
    let alert = |name: &str| json!({"labels": {"alertname": name, "site": "a", "empty": ""}});
    assert_eq!(post(&server, json!([alert("Outage"), {"labels": {}}])).await, 400);
    assert_eq!(names(&receiver.next(&server).await), [("Outage", "firing")], "the good one stays");
    assert_eq!(post(&server, json!([alert("Symptom"), alert("Quiet")])).await, 200);
    assert_eq!(names(&receiver.next(&server).await), [("Quiet", "firing")]);
    let silence = json!({
        "matchers": [{"name": "alertname", "value": "Lou.", "isRegex": true}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2200-01-01T00:00:00Z",
        "createdBy": "me", "comment": "planned",
    });
    let made = server.client.post(server.url("/api/v2/silences")).json(&silence).send().await;
    let made: Value = made.unwrap().json().await.unwrap();
    assert_eq!(post(&server, json!([alert("Loud")])).await, 200);

    server.kill().await;
    let server = start(&home, &receiver).await;
    let alerts = server.get("/api/v2/alerts").await;
    let state = |name: &str| {
        let alerts = alerts.as_array().unwrap().iter();
        let found = alerts.clone().find(|alert| alert["labels"]["alertname"] == name);
        let found = found.unwrap_or_else(|| panic!("{alerts:?}"));
        assert_eq!(found["receivers"], json!([{"name": "default"}]));
        assert_eq!(found["labels"], json!({"alertname": name, "site": "a"}));
        found["status"].clone()
    };
    assert_eq!(state("Outage")["state"], "active");
    assert_eq!(state("Loud")["silencedBy"], json!([made["silenceID"]]));
    let outage = alerts.as_array().unwrap().iter().find(|a| a["labels"]["alertname"] == "Outage");
    assert_eq!(state("Symptom")["inhibitedBy"], json!([outage.unwrap()["fingerprint"]]));

    let now = server.get("/api/v2/status").await["uptime"].clone();
    let end = json!({"labels": {"alertname": "Outage", "site": "a"}, "startsAt": "2025-01-01T00:00:00Z", "endsAt": now});
    assert_eq!(post(&server, json!([end])).await, 200);
    let mut told = Vec::new();
    while told.len() < 2 {
        let got = receiver.next(&server).await;
        told.extend(names(&got).into_iter().map(|(n, s)| format!("{n} {s}")));
    }
    told.sort();
    assert_eq!(told, ["Outage resolved", "Symptom firing"]);
    let id = made["silenceID"].as_str().unwrap();
    let url = server.url(&format!("/api/v2/silence/{id}"));
    assert_eq!(server.client.delete(&url).send().await.unwrap().status(), 200);
    assert_eq!(names(&receiver.next(&server).await), [("Loud", "firing")]);
    server.stop().await;
}

/// Whatever is acknowledged is told, although the server is killed right after it said so, time and again; and what is
/// told twice for that has the same key and says the same.
#[tokio::test]
async fn nothing_acknowledged_is_lost_over_crashes() {
    let (home, mut receiver) = (Home::new(), Receiver::start().await);
    let mut server = start(&home, &receiver).await;
    let mut said: BTreeMap<String, Value> = BTreeMap::new();
    for round in 0..4 {
        let name = format!("Round{round}");
        let starts_at = json!("2026-01-01T00:00:00Z");
        for (status, ends_at) in
            [("firing", json!("2200-01-01T00:00:00Z")), ("resolved", json!("2026-01-02T00:00:00Z"))]
        {
            let alert =
                json!({"labels": {"alertname": name}, "startsAt": starts_at, "endsAt": ends_at});
            assert_eq!(post(&server, json!([alert])).await, 200);
            server.kill().await;
            server = start(&home, &receiver).await;
            loop {
                let got =
                    tokio::time::timeout(std::time::Duration::from_secs(90), receiver.got.recv());
                let got =
                    got.await.unwrap_or_else(|_| panic!("{name} {status}:\n{}", server.stderr()));
                let got = got.expect("the receiver runs");
                let alerts = got.body["alerts"].clone();
                let is_it =
                    alerts[0]["labels"]["alertname"] == *name && alerts[0]["status"] == status;
                assert_eq!(*said.entry(got.key).or_insert_with(|| alerts.clone()), alerts);
                if is_it {
                    break;
                }
            }
        }
    }
    until("all to be forgotten", async || {
        (server.get("/api/v2/alerts").await == json!([])).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn templates_of_files_stand_in_messages() {
    let (home, mut receiver) = (Home::new(), Receiver::start().await);
    std::fs::create_dir(home.path().join("texts")).unwrap();
    home.write("texts/ours.tmpl", "{{ define \"slack.default.title\" }}{{ .Status }}: {{ .GroupLabels.alertname }} at {{ .RouteLabels.site }}{{ end }}");
    home.write("url", &format!("{}/slack\n", receiver.url));
    let routes = format!(
        "templates: ['texts/*.tmpl']\nroute: {{receiver: chat, group_by: [alertname], group_wait: 0s, labels: {{site: north}}}}\n\
         receivers: [{{name: chat, slack_configs: [{{api_url_file: '{}'}}]}}]\n",
        home.path().join("url").display()
    );
    home.write("alertmanager.yml", &routes);
    let server = home.start("[alert]\nalertmanager_config = \"alertmanager.yml\"\n").await;
    assert_eq!(post(&server, json!([{"labels": {"alertname": "Slow"}}])).await, 200);
    let got = receiver.next(&server).await;
    assert_eq!(got.path, "/slack");
    assert_eq!(got.body["attachments"][0]["title"], "firing: Slow at north");
    server.stop().await;
}

#[tokio::test]
async fn a_prometheus_tells_us_of_its_alerts() {
    let (home, mut receiver) = (Home::new(), Receiver::start().await);
    let server = start(&home, &receiver).await;
    home.write(
        "foreign.yml",
        "groups: [{name: g, rules: [{alert: Foreign, expr: vector(1) > 0, labels: {severity: page}}]}]",
    );
    let address = &server.addresses.http;
    let config = home.write(
        "prometheus.yml",
        &format!(
            "global: {{evaluation_interval: 1s, external_labels: {{site: far}}}}\nrule_files: [foreign.yml]\n\
             alerting: {{alertmanagers: [{{path_prefix: /alertmanager, static_configs: [{{targets: ['{address}']}}]}}]}}\n"
        ),
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut prometheus = tokio::process::Command::new("prometheus");
    prometheus.arg(format!("--config.file={}", config.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", home.path().join("tsdb").display()));
    prometheus.arg(format!("--web.listen-address={port}")).kill_on_drop(true);
    prometheus.arg("--rules.alert.resend-delay=1s"); // The first time it may not know us yet.
    prometheus.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut prometheus = prometheus.spawn().expect("prometheus is installed");
    let got = receiver.next(&server).await;
    assert_eq!((got.path.as_str(), names(&got)), ("/pager", vec![("Foreign", "firing")]));
    let alert = &got.body["alerts"][0];
    assert_eq!(alert["labels"], json!({"alertname": "Foreign", "severity": "page", "site": "far"}));
    assert!(alert["generatorURL"].as_str().unwrap().contains("/graph?"), "{alert:#}");
    prometheus.kill().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_configuration_is_told_with_its_place() {
    let home = Home::new();
    let write = |text: &str| {
        home.write("alertmanager.yml", text);
        home.command("[alert]\nalertmanager_config = \"alertmanager.yml\"\n")
    };
    let routes = "route: {receiver: a}\nreceivers:\n- name: a\n  webhook_configs:\n";
    for (text, wanted) in [
        (
            "route: {receiver: b}\nreceivers: [{name: a}]\n".to_owned(),
            "alertmanager.yml:1:19: undefined receiver \"b\" used in route",
        ),
        (
            format!("{routes}  - urll: http://hunter2/\n"),
            "alertmanager.yml:5:5: unknown field `urll`",
        ),
        (
            format!("{routes}  - url: http://169.254.169.254/hunter2\n"),
            "alertmanager.yml:5:5: 169.254.169.254 is link-local",
        ),
        (
            format!("global: {{smpt_from: x}}\n{routes}  - url: http://x/\n"),
            "alertmanager.yml:1:10: unknown field `smpt_from`",
        ),
    ] {
        let (status, told) = home.refused(write(&text)).await;
        assert!(status != 0 && told.contains(wanted), "{text}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
