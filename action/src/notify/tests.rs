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
    uri: String,
    headers: HeaderMap,
    body: Value,
}

/// A receiver that gives these answers one after the other, the last for ever.
async fn receiver(answers: Vec<(u16, &'static str)>) -> (String, mpsc::Receiver<Got>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tx, rx) = mpsc::channel(100);
    let n_asked = Arc::new(AtomicUsize::new(0));
    let handler = move |uri: axum::http::Uri, headers: HeaderMap, body: Bytes| {
        let (tx, n_asked, answers) = (tx.clone(), Arc::clone(&n_asked), answers.clone());
        async move {
            let n = n_asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            let body = serde_json::from_slice(&body).unwrap();
            tx.send(Got { headers, body, uri: uri.to_string() }).await.unwrap();
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

pub(super) fn alert(name: &str, host: &str, ends_at: Option<i64>) -> MessageAlert {
    MessageAlert {
        labels: labels(&[("alertname", name), ("host", host), ("severity", "page")]),
        annotations: labels(&[("summary", &format!("{host} is slow"))]),
        starts_at: Timestamp::from_s(1_700_000_000),
        ends_at: ends_at.map(Timestamp::from_s),
        generator_url: "http://here/alerts".to_owned(),
        fingerprint: "00000000000000aa".to_owned(),
    }
}

pub(super) fn message(kind: &str, alerts: Vec<MessageAlert>) -> Message {
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

pub(super) fn open(
    kind: &str,
    settings: &Value,
    global: &Value,
) -> Result<Arc<Channels>, Vec<Problem>> {
    let config = Config { retry_wait_min: Duration::from_millis(1), ..Config::default() };
    let surroundings = Surroundings {
        global,
        templates: Vec::new(),
        external_url: "http://headrope.example".to_owned(),
    };
    let integrations = [Integration { receiver: "team", kind, index: 0, settings }];
    Channels::open(&config, surroundings, &integrations, Arc::new(|| Timestamp::from_s(0)))
}

pub(super) fn wrong(kind: &str, settings: Value) -> String {
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

/// What a channel of this kind posts for one firing alert, and for its end.
async fn posts(kind: &str, settings: &Value, answer: &'static str) -> [Got; 2] {
    let (url, mut got) = receiver(vec![(200, answer)]).await;
    let settings = serde_json::from_str(&settings.to_string().replace("URL", &url)).unwrap();
    let global = json!({"slack_api_url": url.clone() + "/global", "pagerduty_url": url.clone() + "/v2/enqueue",
        "telegram_api_url": url, "opsgenie_api_url": url, "opsgenie_api_key": "hunter2"});
    let channels = open(kind, &settings, &global).unwrap_or_else(|p| panic!("{p:?}"));
    let firing = message(kind, vec![alert("Slow", "a", None)]);
    channels.deliver(firing).await.unwrap();
    let resolved = message(kind, vec![alert("Slow", "a", Some(1_700_000_060))]);
    channels.deliver(resolved).await.unwrap();
    [got.recv().await.unwrap(), got.recv().await.unwrap()]
}

const SUBJECT: &str = "[FIRING:1] Slow (a page)";

#[tokio::test]
async fn slack_gets_an_attachment() {
    let settings = json!({"channel": "#ops-{{ .CommonLabels.severity }}", "title": "{{ .Labels }}", "text": "x"});
    let channels =
        open("slack", &settings, &json!({"slack_api_url": "http://127.0.0.1:9/"})).unwrap();
    let error =
        channels.deliver(message("slack", vec![alert("Slow", "a", None)])).await.unwrap_err();
    assert!(error.starts_with("template: title:1:"), "{error}");
    let settings = json!({
        "channel": "#ops-{{ .CommonLabels.severity }}",
        "fields": [{"title": "Host", "value": "{{ .CommonLabels.host }}"}],
        "short_fields": true,
    });
    let [firing, resolved] = posts("slack", &settings, "ok").await;
    assert_eq!(firing.uri, "/global");
    let wanted = json!({
        "channel": "#ops-page",
        "username": "Headrope",
        "attachments": [{
            "title": SUBJECT,
            "title_link": "http://headrope.example/alerts",
            "text": "a is slow\n",
            "fallback": format!("{SUBJECT} | http://headrope.example/alerts"),
            "color": "danger",
            "fields": [{"title": "Host", "value": "a", "short": true}],
            "mrkdwn_in": ["fallback", "pretext", "text"],
        }],
    });
    assert_eq!(firing.body, wanted);
    assert_eq!(resolved.body["attachments"][0]["color"], "good");
    assert_eq!(resolved.body["attachments"][0]["title"], "[RESOLVED] Slow (a page)");
    assert!(wrong("slack", json!({})).contains("no Slack API URL nor App token set"));
}

#[tokio::test]
async fn pagerduty_gets_events_of_one_incident() {
    let settings = json!({"routing_key": "hunter2", "severity": "{{ .CommonLabels.severity }}",
        "details": {"team": "db"}, "links": [{"href": "http://{{ .Receiver }}", "text": "here"}]});
    let [firing, resolved] = posts("pagerduty", &settings, "{}").await;
    assert_eq!(firing.uri, "/v2/enqueue");
    let body = &firing.body;
    assert_eq!(
        (&body["routing_key"], &body["event_action"]),
        (&"hunter2".into(), &"trigger".into())
    );
    assert_eq!(body["payload"]["summary"], SUBJECT);
    assert_eq!(body["payload"]["severity"], "page");
    assert_eq!(body["payload"]["source"], "Headrope");
    let details = &body["payload"]["custom_details"];
    assert_eq!((&details["num_firing"], &details["team"]), (&"1".into(), &"db".into()));
    assert!(details["firing"].as_str().unwrap().contains(" - host = a\n"), "{details}");
    assert_eq!(body["links"], json!([{"href": "http://team", "text": "here"}]));
    assert_eq!(body["client_url"], "http://headrope.example/alerts");
    assert_eq!(body["dedup_key"].as_str().unwrap().len(), 64);
    assert_eq!(resolved.body["event_action"], "resolve");
    assert_eq!(resolved.body["dedup_key"], body["dedup_key"]);
    let told = wrong("pagerduty", json!({}));
    assert!(told.contains("missing service or routing key in PagerDuty config"), "{told}");
}

#[tokio::test]
async fn opsgenie_gets_an_alert_and_its_close() {
    let settings = json!({"tags": "a, {{ .CommonLabels.host }},", "priority": "P2",
        "message": "{{ range (list 1 2 3 4 5 6 7 8 9) }}fifteen letters {{ end }}",
        "responders": [{"name": "{{ .Receiver }}", "type": "team"}]});
    let [firing, resolved] = posts("opsgenie", &settings, "{}").await;
    assert_eq!(
        (firing.uri.as_str(), &firing.headers["authorization"]),
        ("/v2/alerts", &"GenieKey hunter2".parse().unwrap())
    );
    let body = &firing.body;
    let message = body["message"].as_str().unwrap();
    assert!(message.chars().count() == 130 && message.ends_with('…'), "{message}");
    assert_eq!(body["tags"], json!(["a", "a"]));
    assert_eq!(body["priority"], "P2");
    assert_eq!(body["responders"], json!([{"name": "team", "type": "team"}]));
    assert_eq!(body["details"], json!({"alertname": "Slow", "host": "a", "severity": "page"}));
    assert!(body["description"].as_str().unwrap().starts_with("Firing:\na is slow\n"));
    let alias = body["alias"].as_str().unwrap();
    assert_eq!(resolved.uri, format!("/v2/alerts/{alias}/close?identifierType=alias"));
    assert_eq!(resolved.body, json!({"source": "http://headrope.example/alerts"}));
}

#[tokio::test]
async fn telegram_and_discord_get_their_documents() {
    let settings = json!({"bot_token": "1:hunter2", "chat_id": -100, "message_thread_id": 7, "message": "<b>{{ .Status }}</b> {{ \"1<2\" }}"});
    let [firing, _] = posts("telegram", &settings, "{\"ok\":true}").await;
    assert_eq!(firing.uri, "/bot1:hunter2/sendMessage");
    let wanted = json!({"chat_id": -100, "text": "<b>firing</b> 1&lt;2", "parse_mode": "HTML", "message_thread_id": 7,
        "disable_web_page_preview": true, "disable_notification": false});
    assert_eq!(firing.body, wanted);
    let told = wrong("telegram", json!({"bot_token": "x", "chat_id": 1, "parse_mode": "y"}));
    assert!(told.contains("unknown parse_mode on telegram_config"), "{told}");
    assert!(wrong("telegram", json!({"bot_token": "x"})).contains("missing chat_id"));

    let [firing, resolved] =
        posts("discord", &json!({"webhook_url": "URL/hook", "content": "hey"}), "").await;
    assert_eq!((firing.uri.as_str(), &firing.body["content"]), ("/hook", &"hey".into()));
    assert_eq!(firing.body["embeds"][0]["title"], SUBJECT);
    assert!(
        firing.body["embeds"][0]["description"].as_str().unwrap().starts_with("**a is slow**\n")
    );
    assert_ne!(firing.body["embeds"][0]["color"], resolved.body["embeds"][0]["color"]);
    assert!(
        wrong("discord", json!({"webhook_url": "http://h/", "secret": "x"}))
            .contains("unknown field `secret`")
    );
}

#[tokio::test]
async fn teams_gets_a_card() {
    let settings = json!({"webhook_url": "URL/flow"});
    let [firing, resolved] = posts("msteamsv2", &settings, "").await;
    let attachment = &firing.body["attachments"][0];
    assert_eq!(firing.body["type"], "message");
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let card = &attachment["content"];
    assert_eq!((&card["type"], &card["version"]), (&"AdaptiveCard".into(), &"1.4".into()));
    assert_eq!(
        (&card["body"][0]["text"], &card["body"][0]["color"]),
        (&SUBJECT.into(), &"Attention".into())
    );
    assert_eq!(resolved.body["attachments"][0]["content"]["body"][0]["color"], "Good");
    let [firing, _] = posts("msteams", &settings, "1").await;
    assert_eq!(
        (&firing.body["@type"], &firing.body["summary"]),
        (&"MessageCard".into(), &SUBJECT.into())
    );
}

#[tokio::test]
async fn robots_are_signed_and_their_code_decides() {
    let settings = json!({"webhook_url": "URL/robot/send?access_token=t", "secret": "SEC1", "mentions": ["138"]});
    let [firing, _] = posts("dingtalk", &settings, "{\"errcode\":0,\"errmsg\":\"ok\"}").await;
    // Of an independent tool: printf '0\nSEC1' | openssl dgst -sha256 -hmac SEC1 -binary | base64
    assert_eq!(
        firing.uri,
        "/robot/send?access_token=t&timestamp=0&sign=zebZx8rtBKd9IsQjaS%2FrZRNPmiigdiVuil5Kd9xYBm4%3D"
    );
    assert_eq!(firing.body["msgtype"], "markdown");
    assert_eq!(firing.body["markdown"]["title"], SUBJECT);
    assert!(firing.body["markdown"]["text"].as_str().unwrap().ends_with(" @138"));
    assert_eq!(firing.body["at"], json!({"atMobiles": ["138"], "isAtAll": false}));

    let settings = json!({"webhook_url": "URL/hook/x", "secret": "SEC1"});
    let [firing, resolved] = posts("feishu", &settings, "{\"code\":0}").await;
    // printf '' | openssl dgst -sha256 -hmac $'0\nSEC1' -binary | base64
    assert_eq!(
        (&firing.body["timestamp"], &firing.body["sign"]),
        (&"0".into(), &"0Zyg08ZRjC7n0Z+gsgHBDNQ2bMJA5TG9Kp1yD5rgcHM=".into())
    );
    assert_eq!(
        firing.body["card"]["header"]["title"],
        json!({"tag": "plain_text", "content": SUBJECT})
    );
    assert_eq!(firing.body["card"]["header"]["template"], "red");
    assert_eq!(resolved.body["card"]["header"]["template"], "green");

    let long = json!({"webhook_url": "URL/cgi-bin/webhook/send?key=k",
        "text": format!("{{{{ .Status }}}} {}", "文".repeat(2_000))});
    let [firing, _] = posts("wecom", &long, "{\"errcode\":0}").await;
    let content = firing.body["markdown"]["content"].as_str().unwrap();
    assert!(content.len() <= 4_096 && content.len() > 4_090 && content.ends_with('…'));

    for (kind, answer, retries) in [
        ("dingtalk", "{\"errcode\":310000,\"errmsg\":\"sign not match\"}", false),
        ("dingtalk", "{\"errcode\":130101,\"errmsg\":\"too fast\"}", true),
        ("feishu", "{\"code\":19021,\"msg\":\"sign match fail\"}", false),
        ("wecom", "{\"errcode\":93000,\"errmsg\":\"invalid webhook url\"}", false),
        ("wecom", "not a document", false),
    ] {
        let (url, _got) = receiver(vec![(200, answer)]).await;
        let channels = open(kind, &json!({"webhook_url": url}), &Value::Null).unwrap();
        let mut told = message(kind, vec![alert("Slow", "a", None)]);
        told.deadline = Timestamp(5_000_000);
        let error = channels.deliver(told).await.unwrap_err();
        assert!(error.contains("answered"), "{error}");
        assert_eq!(channels.counts()[kind].retries > 0, retries, "{kind} {answer}: {error}");
    }
}

#[tokio::test]
async fn webhooks_may_be_templates_of_people() {
    let (url, mut got) = receiver(vec![(200, "")]).await;
    let settings = json!({"url": url.clone() + "/{{ .RouteLabels.team }}",
        "payload": {"said": "{{ template \"mine\" . }}", "n": 3, "list": ["{{ .Status }}"]}});
    let surroundings = Surroundings {
        global: &Value::Null,
        templates: vec![(
            "mine.tmpl".to_owned(),
            "{{ define \"mine\" }}{{ len .Alerts }} for {{ .Receiver }}{{ end }}".to_owned(),
        )],
        external_url: String::new(),
    };
    let integrations =
        [Integration { receiver: "team", kind: "webhook", index: 0, settings: &settings }];
    let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::from_s(0));
    let channels =
        Channels::open(&Config::default(), surroundings, &integrations, Arc::clone(&clock))
            .unwrap();
    let mut told = message("webhook", vec![alert("Slow", "a", None)]);
    told.route_labels.insert("team".to_owned(), "{{ .CommonLabels.host }}-x".to_owned());
    channels.deliver(told.clone()).await.unwrap();
    let got = got.recv().await.unwrap();
    assert_eq!(got.uri, "/a-x");
    assert_eq!(got.body, json!({"said": "1 for team", "n": 3, "list": ["firing"]}));
    // A label of an alert cannot lead the message to where it may not go.
    let settings = json!({"url": "http://{{ .CommonLabels.host }}/"});
    let channels = open("webhook", &settings, &Value::Null).unwrap();
    let error =
        channels.deliver(message("webhook", vec![alert("Slow", "169.254.169.254", None)])).await;
    assert!(error.unwrap_err().contains("link-local"));
    let surroundings = Surroundings {
        global: &Value::Null,
        templates: vec![("bad.tmpl".to_owned(), "{{ define }}".to_owned())],
        external_url: String::new(),
    };
    let problems = Channels::open(&Config::default(), surroundings, &[], clock).err().unwrap();
    assert!(problems[0].text.starts_with("template: bad.tmpl:1:"), "{problems:?}");
}
