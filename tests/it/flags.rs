//! Degradation by a flag: an application with the real OpenFeature SDK sees it turned on while customers wait, and off
//! again when they no longer do; also across a kill of the server.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::haproxy::{Telemetry, actions, until_state};
use crate::python::{python, run, sources};
use crate::server::{Home, Server, until};

const RULES: &str = "groups:\n- name: shop\n  interval: 1s\n  rules:\n  - alert: Busy\n    \
                     expr: max(member_latency_seconds) > 0.3\n";

const BOOK: &str = r#"
kind: Flag
metadata: {name: reco-degraded}
spec: {variants: {"on": true, "off": false}, default: "off"}
---
kind: Target
metadata: {name: flags}
spec: {driver: flags}
---
kind: Runbook
metadata: {name: degrade}
spec:
  trust: auto
  alerts: ['alertname="Busy"']
  target: {ref: flags, member: reco-degraded}
  steps: [{id: degrade, do: flag.set, with: {variant: "on"}}]
  verify: {success: 'max(member_latency_seconds) < 5', within: 20s}
  revert: {ttl: 10m}
"#;

const CONFIG: &str = "[alert]\nrules = [\"rules.yaml\"]\nrestore_grace = \"1s\"\n[action]\nrunbooks = [\"book.yaml\"]\ntrust = \"auto\"\n";

async fn application(server: &Server, wished: &str) -> String {
    let mut script = Command::new(python().await);
    script.arg(sources().join("flags.py")).args([&server.url(""), "reco-degraded", wished]);
    run(script).await
}

/// Status, tag and body of an evaluation.
async fn ask(server: &Server, path: &str, body: &str, known: &str) -> (u16, String, Value) {
    let request = server.client.post(server.url(&format!("/ofrep/v1/evaluate/flags{path}")));
    let request = request.header("content-type", "application/json").header("if-none-match", known);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let tag = answer.headers().get("etag").map_or("", |tag| tag.to_str().unwrap()).to_owned();
    let status = answer.status().as_u16();
    (status, tag, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_is_degraded_while_customers_wait() {
    let home = Home::new();
    home.write("rules.yaml", RULES);
    home.write("book.yaml", BOOK);
    let server = home.start(CONFIG).await;
    assert_eq!(application(&server, "false").await.trim(), "off STATIC");
    let (status, before, all) =
        ask(&server, "", "{\"context\":{\"targetingKey\":\"u\"}}", "").await;
    assert_eq!((status, &all["flags"][0]["value"]), (200, &json!(false)));
    assert_eq!(ask(&server, "", "{}", &before).await.0, 304);
    let telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    assert_eq!(application(&server, "true").await.trim(), "on STATIC");
    let (status, after, _) = ask(&server, "", "{}", &before).await;
    assert!(status == 200 && after != before);
    until_state(&server, "holding").await;

    drop(telemetry);
    server.kill().await;
    let server = home.start(CONFIG).await;
    let (_, _, one) = ask(&server, "/reco-degraded", "{}", "").await;
    assert_eq!((&one["value"], &one["metadata"]["headrope.held"]), (&json!(true), &json!(true)));
    let _telemetry = Telemetry::start(&server, [0.1, 0.1, 0.1]);
    application(&server, "false").await;
    until("nothing to be held", async || {
        actions(&server).await["held"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_question_is_refused_as_the_protocol_says() {
    let home = Home::new();
    home.write("book.yaml", BOOK);
    let server = home.start("[action]\nrunbooks = [\"book.yaml\"]\n").await;
    for (path, body, status, code) in [
        ("/other", "{}", 404, "FLAG_NOT_FOUND"),
        ("/reco-degraded", "{", 400, "PARSE_ERROR"),
        ("/reco-degraded", "{\"context\": 5}", 400, "INVALID_CONTEXT"),
        ("", "[]", 400, "INVALID_CONTEXT"),
    ] {
        let (found, _, answer) = ask(&server, path, body, "").await;
        assert_eq!((found, &answer["errorCode"]), (status, &json!(code)), "{path} {body}");
    }
    server.stop().await;
    for (from, to, words) in [
        ("variant: \"on\"}", "variant: maybe}", "no flag has a variant maybe"),
        ("variant: \"on\"}", "variant: on}", "put names in quotes"),
        ("default: \"off\"", "default: off", "put names in quotes"),
        ("default: \"off\"", "default: never", "is none of off, on"),
        ("driver: flags}", "driver: flags, endpoint: 'unix:/x'}", "endpoint"),
        ("with: {variant: \"on\"}", "with: {value: 1}", "`value` is not for flag.set"),
    ] {
        home.write("book.yaml", &BOOK.replace(from, to));
        let mut command = home.command("[action]\nrunbooks = [\"book.yaml\"]\n");
        command.arg("--no-agent");
        let (_, said) = home.refused(command).await;
        assert!(said.contains(words), "{words}: {said}");
    }
}
