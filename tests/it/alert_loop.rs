//! The whole loop: load on this host, the agent sees it, the rule fires, a receiver is told and verifies the message;
//! the server is killed and started anew while the alert fires; the load ends and the receiver is told that too.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::server::{Home, Server, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Short enough for the 15 characters the kernel keeps of a name.
const BURNER: &str = "hr-burner";

/// This process's share of a core, while the host as a whole is busy too. The threshold is low because other
/// tests may want the cores at the same time.
const RULES: &str = r#"
groups:
- name: host
  interval: 1s
  rules:
  - record: job:burn:rate
    expr: sum by (host_name) (rate(process_cpu_time_seconds_total{process_executable_name="hr-burner"}[8s]))
  - alert: HostBurns
    expr: job:burn:rate > 0.02 and on (host_name) sum by (host_name) (rate(system_cpu_time_seconds_total{cpu_mode="user"}[8s])) > 0.02
    for: 2s
    keep_firing_for: 15s
    labels: {severity: page}
    annotations:
      summary: '{{ $labels.host_name }} burns {{ $value | printf "%.2f" }} cores'
"#;

struct Message {
    id: String,
    body: Value,
}

/// A receiver that refuses its first request, so that the message it takes is a retry.
async fn receiver() -> (String, mpsc::Receiver<Message>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tx, rx) = mpsc::channel(100);
    let is_first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let handler = move |headers: HeaderMap, body: Bytes| {
        let (tx, is_first) = (tx.clone(), Arc::clone(&is_first));
        async move {
            let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
            verifier.verify(&body, &headers).expect("a signature that holds");
            if is_first.swap(false, std::sync::atomic::Ordering::SeqCst) {
                return axum::http::StatusCode::SERVICE_UNAVAILABLE;
            }
            let id = headers["webhook-id"].to_str().unwrap().to_owned();
            let body = serde_json::from_slice(&body).unwrap();
            tx.send(Message { id, body }).await.unwrap();
            axum::http::StatusCode::OK
        }
    };
    let app = axum::Router::new().route("/hook", axum::routing::post(handler));
    // Ends with the test's runtime.
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, rx)
}

/// A process of its own name that does nothing but count.
fn burn(folder: &Path) -> Child {
    let shell = folder.join(BURNER);
    std::fs::copy("/bin/sh", &shell).unwrap();
    let mut command = Command::new(shell);
    command.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap()
}

async fn start(home: &Home, url: &str) -> Server {
    home.write("rules.yaml", RULES);
    let config = format!(
        "[alert]\nrules = [\"rules.yaml\"]\n\n[agent]\nprocess_interval = \"1s\"\n\n\
         [action]\nretry_wait_min = \"100ms\"\n\n\
         [[action.receivers]]\nname = \"test\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nmatchers = ['severity=\"page\"']\n"
    );
    home.launch(home.command(&config)).await
}

async fn next(messages: &mut mpsc::Receiver<Message>, server: &Server) -> Message {
    let message = tokio::time::timeout(std::time::Duration::from_secs(120), messages.recv()).await;
    message
        .unwrap_or_else(|_| panic!("no message:\n{}", server.stderr()))
        .expect("the receiver runs")
}

/// The only rule that alerts, as the API shows it.
async fn rule(server: &Server) -> Value {
    let alerts = server.get("/api/headrope/v1/alerts").await;
    let rules = alerts["groups"][0]["rules"].as_array().unwrap_or_else(|| panic!("{alerts:#}"));
    rules
        .iter()
        .find(|rule| rule["name"] == "HostBurns")
        .unwrap_or_else(|| panic!("{alerts:#}"))
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_fires_a_rule_and_its_end_resolves_it_over_a_restart() {
    let (home, (url, mut messages)) = (Home::new(), receiver().await);
    let server = start(&home, &url).await;
    let mut load = burn(home.path());
    let firing = next(&mut messages, &server).await;
    let data = &firing.body["data"];
    assert_eq!(firing.body["type"], "io.headrope.alert.firing");
    assert_eq!(
        (&data["labels"]["alertname"], &data["labels"]["severity"]),
        (&"HostBurns".into(), &"page".into())
    );
    assert!(data["value"].as_f64().unwrap() > 0.02, "{data:#}");
    let summary = data["annotations"]["summary"].as_str().unwrap();
    assert!(summary.ends_with("cores") && !summary.contains("{{"), "{summary}");
    let active_at = rule(&server).await["alerts"][0].clone();
    assert_eq!(rule(&server).await["state"], "firing");
    assert!(
        !server.promql("ALERTS{alertname=\"HostBurns\", alertstate=\"firing\"}").await.is_empty()
    );
    assert!(!server.promql("job:burn:rate").await.is_empty());

    server.kill().await;
    let server = start(&home, &url).await;
    let after = until("the rule to be evaluated after the restart", async || {
        let rule = rule(&server).await;
        (rule["state"] != "inactive" && !rule["last_evaluation_ms"].is_null()).then_some(rule)
    })
    .await;
    assert_eq!(after["state"], "firing", "{after:#}");
    let since = |alert: &Value| alert["active_ms"].clone();
    assert_eq!(since(&after["alerts"][0]), since(&active_at), "{after:#}\n{active_at:#}");

    load.kill().await.unwrap();
    let resolved = next(&mut messages, &server).await;
    assert_eq!(resolved.body["type"], "io.headrope.alert.resolved", "{:#}", resolved.body);
    assert_eq!(resolved.body["data"]["fingerprint"], data["fingerprint"]);
    assert_eq!(resolved.body["data"]["activeAt"], data["activeAt"]);
    assert!(resolved.body["data"]["endsAt"].is_string());
    assert_ne!(resolved.id, firing.id);
    let deliveries = until("both deliveries to be recorded", async || {
        let alerts = server.get("/api/headrope/v1/alerts").await;
        let deliveries = alerts["deliveries"].as_array().unwrap().clone();
        deliveries.iter().all(|one| one["status"] == "delivered").then_some(deliveries)
    })
    .await;
    assert_eq!(deliveries.len(), 2, "{deliveries:#?}");
    let told = deliveries.iter().find(|one| one["state"] == "firing").unwrap();
    assert_eq!(told["attempts"], 2, "the first request was refused: {told:#}");
    assert!(messages.try_recv().is_err(), "nothing is told twice");
    server.stop().await;
}
