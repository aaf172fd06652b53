//! Channels against real receivers on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use model::metric::Labels;
use model::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;

/// What a receiver got.
struct Got {
    headers: HeaderMap,
    body: Value,
}

/// A receiver that gives these answers one after the other, the last for ever.
async fn receiver(answers: Vec<(u16, &'static str)>) -> (String, mpsc::Receiver<Got>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tx, rx) = mpsc::channel(100);
    let n_asked = Arc::new(AtomicUsize::new(0));
    let handler = move |headers: HeaderMap, body: Bytes| {
        let (tx, n_asked, answers) = (tx.clone(), Arc::clone(&n_asked), answers.clone());
        async move {
            let n = n_asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            let body = serde_json::from_slice(&body).unwrap();
            tx.send(Got { headers, body }).await.unwrap();
            (StatusCode::from_u16(answers[n].0).unwrap(), answers[n].1)
        }
    };
    let app = axum::Router::new().fallback(axum::routing::any(handler));
    // Ends with the test's runtime.
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, rx)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn alert(name: &str, host: &str, ends_at: Option<i64>) -> MessageAlert {
    MessageAlert {
        labels: labels(&[("alertname", name), ("host", host), ("severity", "page")]),
        annotations: labels(&[("summary", &format!("{host} is slow"))]),
        starts_at: Timestamp::from_s(1_700_000_000),
        ends_at: ends_at.map(Timestamp::from_s),
        generator_url: "http://here/alerts".to_owned(),
        fingerprint: "00000000000000aa".to_owned(),
    }
}

fn message(kind: &str, alerts: Vec<MessageAlert>) -> Message {
    Message {
        receiver: "team".to_owned(),
        kind: kind.to_owned(),
        index: 0,
        group_key: "{}:{alertname=\"Slow\"}".to_owned(),
        group_labels: labels(&[("alertname", "Slow")]),
        route_labels: BTreeMap::new(),
        reason: "first notification",
        alerts,
        at: Timestamp::from_s(0),
        deadline: Timestamp::from_s(60),
        idempotency: 7,
    }
}

fn open(kind: &str, settings: &Value, global: &Value) -> Result<Arc<Channels>, Vec<Problem>> {
    let config = Config { retry_wait_min: Duration::from_millis(1), ..Config::default() };
    let surroundings = Surroundings { global, external_url: "http://headrope.example".to_owned() };
    let integrations = [Integration { receiver: "team", kind, index: 0, settings }];
    Channels::open(&config, surroundings, &integrations, Arc::new(|| Timestamp::from_s(0)))
}

fn wrong(kind: &str, settings: Value) -> String {
    let problems = open(kind, &settings, &Value::Null).err().expect("it is refused");
    problems.into_iter().map(|p| format!("{}: {}", p.field.unwrap_or_default(), p.text)).collect()
}

#[tokio::test]
async fn a_webhook_gets_the_document_of_version_4() {
    let (url, mut got) = receiver(vec![(503, "busy"), (200, "")]).await;
    let settings = json!({"url": url, "max_alerts": 2, "http_config": {
        "authorization": {"credentials": "hunter2"}, "http_headers": {"X-Team": {"values": ["db"]}}}});
    let channels = open("webhook", &settings, &Value::Null).unwrap();
    let alerts = vec![
        alert("Slow", "a", None),
        alert("Slow", "b", Some(1_700_000_060)),
        alert("Slow", "c", None),
    ];
    channels.deliver(message("webhook", alerts)).await.unwrap();
    let (refused, taken) = (got.recv().await.unwrap(), got.recv().await.unwrap());
    assert_eq!(refused.body, taken.body);
    assert_eq!(refused.headers["idempotency-key"], taken.headers["idempotency-key"]);
    assert_eq!(taken.headers["authorization"], "Bearer hunter2");
    assert_eq!(taken.headers["x-team"], "db");
    assert_eq!(taken.headers["content-type"], "application/json");
    let one = |host: &str, status: &str, ends_at: &str| {
        json!({
            "status": status,
            "labels": {"alertname": "Slow", "host": host, "severity": "page"},
            "annotations": {"summary": format!("{host} is slow")},
            "startsAt": "2023-11-14T22:13:20.000000000Z",
            "endsAt": ends_at,
            "generatorURL": "http://here/alerts",
            "fingerprint": "00000000000000aa",
        })
    };
    let wanted = json!({
        "receiver": "team",
        "status": "firing",
        "alerts": [
            one("a", "firing", "0001-01-01T00:00:00Z"),
            one("b", "resolved", "2023-11-14T22:14:20.000000000Z"),
        ],
        "notification_reason": "first notification",
        "groupLabels": {"alertname": "Slow"},
        "commonLabels": {"alertname": "Slow", "severity": "page"},
        "commonAnnotations": {},
        "routeLabels": {},
        "externalURL": "http://headrope.example",
        "version": "4",
        "groupKey": "{}:{alertname=\"Slow\"}",
        "truncatedAlerts": 1,
    });
    assert_eq!(taken.body, wanted);
    let counts = channels.counts()["webhook"];
    assert_eq!((counts.messages, counts.delivered, counts.retries, counts.failed), (1, 1, 1, 0));
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_repeated() {
    let (url, mut got) = receiver(vec![(400, "no such team, token hunter2")]).await;
    let settings = json!({"url": format!("{url}/secret-path")});
    let channels = open("webhook", &settings, &Value::Null).unwrap();
    let error =
        channels.deliver(message("webhook", vec![alert("A", "a", None)])).await.unwrap_err();
    assert!(error.starts_with("400 Bad Request: no such team"), "{error}");
    assert!(got.recv().await.is_some() && got.try_recv().is_err());
    assert_eq!(channels.counts()["webhook"].failed, 1);
}

#[tokio::test]
async fn a_receiver_that_is_down_is_tried_until_the_deadline() {
    let settings = json!({"url": "http://127.0.0.1:9/secret-path"});
    let channels = open("webhook", &settings, &Value::Null).unwrap();
    let mut message = message("webhook", vec![alert("A", "a", None)]);
    message.deadline = Timestamp(20_000_000);
    let error = channels.deliver(message).await.unwrap_err();
    assert!(error.contains("http://127.0.0.1:9: cannot connect"), "{error}");
    assert!(error.contains("given up after") && !error.contains("secret-path"), "{error}");
    assert!(channels.counts()["webhook"].retries > 0);
}

#[test]
fn wrong_settings_are_told_with_their_field_and_without_secrets() {
    for (settings, wanted) in [
        (json!({}), "one of url or url_file must be configured"),
        (
            json!({"url": "x", "url_file": "y"}),
            "url: at most one of url & url_file must be configured",
        ),
        (json!({"url": "ftp://hunter2/"}), "url: unsupported scheme"),
        (json!({"url": "/hunter2"}), "url: no URL"),
        (json!({"urll": "x"}), "urll: unknown field `urll`"),
        (json!({"url": "http://169.254.169.254/"}), "url: 169.254.169.254 is link-local"),
        (json!({"url_file": "/nowhere/x"}), "url_file: /nowhere/x: No such file"),
        (json!({"url": "http://h/", "timeout": "soon"}), "not a valid duration"),
        (
            json!({"url": "http://h/", "http_config": {"oauth2": {}}}),
            "oauth2: oauth2 is not supported",
        ),
        (
            json!({"url": "http://h/", "http_config": {"basic_auth": {}, "authorization": {}}}),
            "at most one of basic_auth, authorization & bearer_token",
        ),
    ] {
        let told = wrong("webhook", settings.clone());
        assert!(told.contains(wanted) && !told.contains("hunter2"), "{settings}: {told}");
    }
    assert!(wrong("jira", json!({})).contains("jira_configs are not supported yet"));
}
