//! The closed loop through a receiver of signed messages: it does what it is asked, and says so by a signed message back.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::haproxy::{Telemetry, until_state};
use crate::server::{Home, Server, now_ns, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Messages in order: their id and data.
type Got = Arc<Mutex<Vec<(String, Value)>>>;

struct Receiver {
    url: String,
    got: Got,
}

impl Receiver {
    async fn start() -> Self {
        let got = Got::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let taken = Arc::clone(&got);
        let handler = move |headers: HeaderMap, body: Bytes| {
            let taken = Arc::clone(&taken);
            async move {
                // The library of the specification says whether it is signed.
                Webhook::new(SECRET).unwrap().verify(&body, &headers).unwrap();
                let event: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(event["type"], "dev.headrope.action");
                let id = headers["webhook-id"].to_str().unwrap().to_owned();
                taken.lock().unwrap().push((id, event["data"].clone()));
                StatusCode::ACCEPTED
            }
        };
        let app = axum::Router::new().route("/hook", axum::routing::post(handler));
        // Ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, got }
    }

    /// The message at `place`, once it is there.
    async fn message(&self, place: usize) -> (String, Value) {
        until("a message", async || self.got.lock().unwrap().get(place).cloned()).await
    }
}

/// Says what came of a message; the answer's status.
async fn call_back(server: &Server, id: &str, done: bool, secret: &str) -> u16 {
    let body = json!({"id": id, "done": done, "why": "no room"}).to_string();
    let at = i64::try_from(now_ns() / 1_000_000_000).unwrap();
    let signature = Webhook::new(secret).unwrap().sign("back", at, body.as_bytes()).unwrap();
    let request = server.client.post(server.url("/api/headrope/v1/actions/callback/ops"));
    let request = request.header("webhook-id", "back").header("webhook-timestamp", at.to_string());
    let request = request.header("webhook-signature", signature).body(body);
    request.send().await.unwrap().status().as_u16()
}

const RULES: &str = "groups:\n- name: shop\n  interval: 1s\n  rules:\n  - alert: Busy\n    expr: member_latency_seconds > 0.3\n";

async fn start(home: &Home, receiver: &Receiver, timeout: &str) -> Server {
    let secret = home.write("secret", SECRET);
    home.write("rules.yaml", RULES);
    let book = format!(
        "kind: Target\nmetadata: {{name: ops}}\nspec:\n  driver: webhook\n  endpoint: {}\n  secret_file: {}\n  \
         group: {{members: [s1, s2, s3], initial: normal}}\n---\nkind: Runbook\nmetadata: {{name: ask}}\nspec:\n  trust: auto\n  \
         alerts: ['alertname=\"Busy\"']\n  target: {{ref: ops, member: '{{{{ alert.labels.member }}}}'}}\n  \
         steps: [{{id: less, do: webhook.call, with: {{state: degraded}}, timeout: {timeout}}}]\n  \
         verify: {{success: 'max(member_latency_seconds) < 0.3', within: 30s}}\n  revert: {{ttl: 10m}}\n",
        receiver.url,
        secret.display()
    );
    home.write("book.yaml", &book);
    let config = "[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"book.yaml\"]\ntrust = \"auto\"\n\
                  external_url = \"https://ops.example\"\n";
    home.start(config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_says_by_a_signed_message_that_it_is_done() {
    let (home, receiver) = (Home::new(), Receiver::start().await);
    let server = start(&home, &receiver, "60s").await;
    let telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    let (id, data) = receiver.message(0).await;
    assert_eq!((&data["member"], &data["state"]), (&json!("s2"), &json!("degraded")));
    assert_eq!(data["before"], "normal");
    let callback = data["callback"].as_str().unwrap();
    assert!(callback.ends_with("/api/headrope/v1/actions/callback/ops"), "{callback}");
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(call_back(&server, &id, true, other).await, 400, "signed by somebody else");
    assert_eq!(call_back(&server, "act_0", true, SECRET).await, 404, "never asked");
    assert_eq!(call_back(&server, &id, true, SECRET).await, 204);
    telemetry.slow.send_replace([0.1, 0.1, 0.1]);
    let (back, data) = receiver.message(1).await;
    assert_eq!((&data["state"], &data["before"]), (&json!("normal"), &json!("degraded")));
    assert_ne!(id, back);
    assert_eq!(call_back(&server, &back, true, SECRET).await, 204);
    let run = until_state(&server, "closed").await;
    assert_eq!(run["finding"], "verified", "{run:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_could_not_do_is_no_effect() {
    let (home, receiver) = (Home::new(), Receiver::start().await);
    let server = start(&home, &receiver, "60s").await;
    let _telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    let (id, _) = receiver.message(0).await;
    assert_eq!(call_back(&server, &id, false, SECRET).await, 204);
    let run = until_state(&server, "closed").await;
    let id = run["id"].as_str().unwrap();
    let whole = server.get(&format!("/api/headrope/v1/actions/{id}")).await;
    assert!(whole["run"]["arrows"].to_string().contains("no room"), "{whole:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_twice_because_of_a_crash() {
    let (home, receiver) = (Home::new(), Receiver::start().await);
    let server = start(&home, &receiver, "60s").await;
    let telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    let (id, _) = receiver.message(0).await;
    drop(telemetry);
    server.kill().await;
    // The word comes to the next process.
    let server = start(&home, &receiver, "60s").await;
    let _telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    assert_eq!(call_back(&server, &id, true, SECRET).await, 204);
    until("what was asked to be found done", async || {
        let all = server.get("/api/headrope/v1/actions").await;
        let runs = all["runs"].as_array()?;
        runs.iter().find(|run| run["state"] == "verifying").map(drop)
    })
    .await;
    assert_eq!(receiver.got.lock().unwrap().len(), 1);
    server.stop().await;
}
