//! Backtests through the command line and HTTP, over what was written to a real server.

use std::fmt::Write;
use std::process::Stdio;

use load::proto::{bytes, fixed, integer, message};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::haproxy::{HELPS, Proxy, actions, runbook};
use crate::server::{Home, Server, now_ns, program};

const RULES: &str = "
groups:
- name: shop
  interval: 30s
  rules:
  - alert: Slow
    expr: latency_seconds > 0.5
    for: 1m
    labels: {severity: page}
    annotations: {summary: '{{ $labels.member }} takes {{ $value }} s'}
  - record: latency:max
    expr: max(latency_seconds)
  - alert: Quiet
    expr: latency_seconds > 100
  - alert: Recorded
    expr: latency:max > 0.5
";

/// Writes a series with a sample every `every_s`, the last one now; `value` is asked with the age in seconds.
async fn write(
    server: &Server,
    member: &str,
    (n, every_s): (i64, i64),
    value: impl Fn(i64) -> f64,
) {
    let now_ms = i64::try_from(now_ns() / 1_000_000).unwrap();
    for first in (0..n).step_by(5_000) {
        let mut request = Vec::new();
        message(&mut request, 1, |series| {
            for (name, value) in [("__name__", "latency_seconds"), ("member", member)] {
                message(series, 1, |label| {
                    bytes(label, 1, name.as_bytes());
                    bytes(label, 2, value.as_bytes());
                });
            }
            for i in first..(first + 5_000).min(n) {
                let age_s = (n - 1 - i) * every_s;
                message(series, 2, |sample| {
                    fixed(sample, 1, value(age_s).to_bits());
                    integer(sample, 2, u64::try_from(now_ms - age_s * 1_000).unwrap());
                });
            }
        });
        let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        let request = server.client.post(server.url("/api/v1/write")).body(body);
        let request = request.header("content-encoding", "snappy");
        let request = request.header("content-type", "application/x-protobuf");
        let answer = request.header("x-prometheus-remote-write-version", "0.1.0").send().await;
        assert!(answer.unwrap().status().is_success());
    }
}

/// Exit status, standard output and standard error of `headrope rules backtest`.
async fn cli(server: &Server, arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(program());
    command.args(["rules", "backtest"]).args(arguments).args(["--server", &server.url("")]);
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_replayed_over_what_is_stored_and_nothing_is_written() {
    let home = Home::new();
    let server = home.start("").await;
    // Slow from 90 to 60 minutes ago, and once more for too short a time.
    let value =
        |age_s: i64| if (3_600..5_400).contains(&age_s) || age_s == 600 { 0.9 } else { 0.1 };
    write(&server, "s1", (480, 15), value).await;
    write(&server, "s2", (480, 15), |_| 0.1).await;
    let file = home.write("rules.yaml", RULES);
    let file = file.to_str().unwrap();
    let (is_good, out, error) = cli(&server, &[file, "--from", "-2h", "-o", "json"]).await;
    assert!(is_good, "{error}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    let rules = answer["rules"].as_array().unwrap();
    let fired: Vec<_> = rules.iter().map(|rule| (&rule["name"], &rule["fired"])).collect();
    let names = [json!("Slow"), json!("Quiet"), json!("Recorded")];
    assert_eq!(fired, [(&names[0], &json!(1)), (&names[1], &json!(0)), (&names[2], &json!(0))]);
    let (slow, evaluations) = (&rules[0], rules[0]["evaluations"].as_u64().unwrap());
    assert!((239..=241).contains(&evaluations), "{slow:#}");
    let episode = &slow["episodes"][0];
    assert_eq!(episode["labels"], json!({"alertname": "Slow", "member": "s1", "severity": "page"}));
    assert_eq!(episode["annotations"]["summary"], "s1 takes 0.9 s");
    let ms = |name: &str| episode[name].as_i64().unwrap();
    assert_eq!(ms("fired_ms") - ms("active_ms"), 60_000);
    let lasted = ms("resolved_ms") - ms("active_ms");
    assert!((1_800_000 - 30_000..=1_800_000 + 45_000).contains(&lasted), "{lasted}");
    assert!(rules[2]["notes"][0].as_str().unwrap().contains("latency:max"));

    let (is_good, out, error) = cli(&server, &[file, "--from", "-2h", "--alert", "Slow"]).await;
    assert!(is_good && out.contains("Slow") && out.contains("member=\"s1\""), "{out}{error}");
    assert!(!out.contains("Quiet"), "{out}");
    let (is_good, _, error) = cli(&server, &[file, "--from", "-2h", "--fired-max", "0"]).await;
    assert!(!is_good && error.contains("1 alerts would have fired"), "{error}");
    assert!(server.promql("count({__name__=~\"ALERTS.*|latency:max\"})").await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_are_rehearsed_and_nothing_is_done() {
    let home = Home::new();
    let proxy = Proxy::start(&home).await;
    let book = runbook(&home, HELPS, "{ttl: 1h}").replace("MemberSlow", "Slow");
    home.write("runbook.yaml", &book);
    let server = home.start("[action]\nrunbooks = [\"runbook.yaml\"]\ntrust = \"auto\"\n").await;
    // Twice, five minutes apart: the second is within the cooldown of ten.
    let value = |age_s: i64| if matches!(age_s, 3_600..3_780 | 3_300..3_480) { 0.9 } else { 0.1 };
    write(&server, "s1", (480, 15), value).await;
    let file = home.write("rules.yaml", RULES);
    let (is_good, out, error) = cli(&server, &[file.to_str().unwrap(), "--from", "-2h"]).await;
    assert!(is_good && out.contains("would act"), "{out}{error}");
    assert!(out.contains("refused by cooldown") && out.contains("web-pool/s1"), "{out}");
    assert!(out.contains("not asked: switch, quality, silence"), "{out}");
    assert_eq!(proxy.weight("s1").await, "100 (initial 100)");
    assert_eq!(actions(&server).await["runs"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_replayed_is_refused_in_words() {
    let home = Home::new();
    let server = home.start("").await;
    let refused = async |body: Value| {
        let url = server.url("/api/headrope/v1/rules/backtest");
        let answer = server.client.post(url).json(&body).send().await.unwrap();
        let (status, answer) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 400, "{answer:#}");
        answer["error"]["message"].as_str().unwrap().to_owned()
    };
    let ask = |rules: &str, from_ms: i64, to_ms: i64| json!({"rules": rules, "from_ms": from_ms, "to_ms": to_ms});
    for (body, words) in [
        (ask(RULES, 5, 5), "ends before it begins"),
        (ask("groups: [{name: g, rulez: []}]", 0, 5), "rulez"),
        (ask("groups: []", 0, 5), "no rule that alerts"),
        (ask("groups: [{name: g, rules: [{alert: A, expr: 'sum('}]}]", 0, 5), "parse"),
        (ask(RULES, 0, 1_000_000_000_000), "ask for less time"),
        (json!({"rules": RULES, "from_ms": 0, "to_ms": 5, "group": "other"}), "\"other\""),
        (json!({"rules": RULES, "from_ms": 0, "to_ms": 5, "rule": 1}), "records a series"),
        (json!({"rules": RULES, "from_ms": 0, "to_ms": 5, "rule": 9}), "no such rule"),
    ] {
        let said = refused(body).await;
        assert!(said.contains(words), "{words}: {said}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a week of a hundred rules, and a figure"]
async fn a_week_of_a_hundred_rules() {
    let home = Home::new();
    let server = home.start("").await;
    for i in 0..500 {
        let value = move |age_s: i64| if (age_s / 60 + i * 37) % 4_000 < 7 { 0.9 } else { 0.1 };
        write(&server, &format!("s{i}"), (10_080, 60), value).await;
    }
    let mut rules = "groups:\n- name: many\n  interval: 1m\n  rules:\n".to_owned();
    for i in 0..100 {
        let expr = match i % 5 {
            0 => format!("latency_seconds > 0.{}", 20 + i / 2),
            1 => format!("avg_over_time(latency_seconds[5m]) > 0.{}", 20 + i / 2),
            2 => format!("max(latency_seconds) > 0.{}", 20 + i / 2),
            3 => format!("latency_seconds{{member=~\"s{i}.*\"}} > 0.5"),
            _ => format!("quantile(0.9, latency_seconds) > 0.{}", 20 + i / 2),
        };
        writeln!(rules, "  - {{alert: A{i}, expr: '{expr}', for: 2m}}").unwrap();
    }
    let file = home.write("rules.yaml", &rules);
    let begun = tokio::time::Instant::now();
    let (is_good, out, error) =
        cli(&server, &[file.to_str().unwrap(), "--from", "-7d", "-o", "json", "--timeout", "600"])
            .await;
    let took = begun.elapsed();
    assert!(is_good, "{error}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    let fired: u64 =
        answer["rules"].as_array().unwrap().iter().map(|r| r["fired"].as_u64().unwrap()).sum();
    eprintln!(
        "100 rules, 7 days at 1 min, 500 series: {:.1} s, {fired} alerts fired",
        took.as_secs_f64()
    );
    server.stop().await;
}
