//! The closed loop through maps of a real HAProxy: while customers wait, a part of the shop answers less and another takes
//! fewer requests; afterwards both are as before.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::haproxy::{Telemetry, until_state};
use crate::server::{Home, until};

fn start(home: &Home) -> Child {
    let dir = home.path().display();
    home.write("reco.map", "/reco off\n");
    home.write("limit.map", "rps 0\n");
    let config = format!(
        "global\n  stats socket {dir}/admin.sock mode 600 level admin\ndefaults\n  mode http\n  timeout connect 1s\n  \
         timeout client 5s\n  timeout server 5s\nfrontend fe\n  bind unix@{dir}/front.sock\n  \
         http-request return status 200 content-type text/plain string less if {{ path,map_beg({dir}/reco.map,off) -m str on }}\n  \
         http-request set-var(txn.limit) str(rps),map_str_int({dir}/limit.map,0)\n  \
         stick-table type integer size 10 expire 1m store gpc0,gpc0_rate(10s)\n  http-request track-sc0 int(1)\n  \
         http-request set-var(txn.over) sc0_gpc0_rate,sub(txn.limit)\n  \
         http-request deny deny_status 429 if {{ var(txn.limit) -m int gt 0 }} {{ var(txn.over) -m int ge 0 }}\n  \
         http-request sc-inc-gpc0(0)\n  http-request return status 200 content-type text/plain string whole\n"
    );
    let config = home.write("haproxy.cfg", &config);
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config).stdin(Stdio::null()).kill_on_drop(true);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.expect("haproxy is installed by `cargo xtask install test`")
}

/// Status and body of a request at the front door.
async fn ask(dir: &Path, path: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(dir.join("front.sock")).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

const RULES: &str = "groups:\n- name: shop\n  interval: 1s\n  rules:\n  - alert: Busy\n    expr: max(member_latency_seconds) > 0.3\n";

fn book(home: &Home) -> String {
    let one = |name: &str, key: &str, value: &str| {
        format!(
            "kind: Target\nmetadata: {{name: {name}}}\nspec:\n  driver: haproxy\n  endpoint: unix:{dir}/admin.sock\n  \
             group: {{map: {dir}/{name}.map}}\n---\nkind: Runbook\nmetadata: {{name: {name}}}\nspec:\n  trust: auto\n  \
             alerts: ['alertname=\"Busy\"']\n  target: {{ref: {name}, member: '{key}'}}\n  \
             steps: [{{id: less, do: haproxy.map, with: {{value: {value}}}}}]\n  \
             verify: {{success: 'max(member_latency_seconds) < 0.3', within: 30s}}\n  revert: {{ttl: 10m}}\n",
            dir = home.path().display()
        )
    };
    format!("{}---\n{}", one("reco", "/reco", "\"on\""), one("limit", "rps", "5"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_answers_less_and_takes_less_while_customers_wait() {
    let home = Home::new();
    let _haproxy = start(&home);
    let whole = Some((200, "whole".to_owned()));
    until("haproxy to answer", async || (ask(home.path(), "/reco").await == whole).then_some(()))
        .await;
    home.write("rules.yaml", RULES);
    home.write("book.yaml", &book(&home));
    let config = "[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"book.yaml\"]\ntrust = \"auto\"\n";
    let server = home.start(config).await;
    let telemetry = Telemetry::start(&server, [0.9; 3]);
    let less = Some((200, "less".to_owned()));
    until("less to be answered", async || (ask(home.path(), "/reco").await == less).then_some(()))
        .await;
    until("fewer to be taken", async || {
        ask(home.path(), "/cart").await.filter(|(status, _)| *status == 429).map(drop)
    })
    .await;
    telemetry.slow.send_replace([0.1; 3]);
    until("all to be answered", async || (ask(home.path(), "/reco").await == whole).then_some(()))
        .await;
    until("all to be taken", async || (ask(home.path(), "/cart").await == whole).then_some(()))
        .await;
    until_state(&server, "closed").await;
    server.stop().await;
}
