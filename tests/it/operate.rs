//! What an operator does to a store: backup under load, restore, delete, a lost catalogue. With the real program.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use prost::Message;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::server::{Home, Server, now_ns, percent, program};
use crate::telemetry::{gauge, logs, metrics};

/// Flushes and merges are frequent, so that a backup meets them.
const CONFIG: &str = r#"
[store]
flush_bytes_max = 65536
flush_bytes_min = 4096
flush_age = "200ms"
flush_age_max = "1s"
"#;
const BATCH: u64 = 5;

/// Runs a command of the program and returns what it printed; it must succeed.
async fn run(args: &[&str]) -> String {
    let output = Command::new(program()).args(args).env_remove("HEADROPE_SERVER").output().await;
    let output = output.unwrap();
    let (said, told) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {}\n{said}\n{told}", output.status);
    said.into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// First numbers of acknowledged requests.
#[derive(Default)]
struct Acknowledged {
    firsts: Mutex<Vec<u64>>,
    more: Notify,
}

impl Acknowledged {
    fn firsts(&self) -> Vec<u64> {
        self.firsts.lock().unwrap().clone()
    }

    async fn reach(&self, count: usize) {
        while self.firsts().len() < count {
            self.more.notified().await;
        }
    }
}

/// Sends numbered log records, request after request, until it is dropped.
async fn write(client: reqwest::Client, url: String, mut first: u64, acked: Arc<Acknowledged>) {
    loop {
        let bodies = (first..first + BATCH).map(|number| number.to_string());
        let body = logs("load", bodies).encode_to_vec();
        let request = client.post(&url).header("content-type", "application/x-protobuf");
        let answer = request.body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.bytes().await.unwrap();
        acked.firsts.lock().unwrap().push(first);
        acked.more.notify_one();
        first += BATCH;
    }
}

/// How often each numbered record is there.
async fn counts(server: &Server) -> HashMap<u64, u64> {
    let rows =
        server.sql("SELECT body, count(*) FROM logs WHERE service_name = 'load' GROUP BY 1").await;
    let number = |value: &Value| -> u64 {
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).expect("a number")
    };
    rows.iter().map(|row| (number(&row[0]), number(&row[1]))).collect()
}

async fn check(server: &Server, firsts: &[u64], when: &str) {
    let counts = counts(server).await;
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{when}: more than once: {twice:?}");
    let lost: Vec<u64> = firsts
        .iter()
        .flat_map(|first| *first..first + BATCH)
        .filter(|number| !counts.contains_key(number))
        .collect();
    assert!(lost.is_empty(), "{when}: acknowledged and lost: {lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_restores_to_what_was_acknowledged_before_it_once() {
    let (home, made) = (Home::new(), Home::new());
    let server = home.start(CONFIG).await;
    let acked = Arc::new(Acknowledged::default());
    let mut writers = JoinSet::new();
    for writer in 0..3 {
        let url = server.otlp_url("/v1/logs");
        writers.spawn(write(server.client.clone(), url, writer * 1_000_000, Arc::clone(&acked)));
    }
    let folder = made.path().join("backup");
    let url = server.url("");
    let mut before = Vec::new();
    for round in 1..=3 {
        acked.reach(round * 60).await;
        before = acked.firsts();
        run(&["backup", "--to", text(&folder), "--server", &url]).await;
    }
    writers.shutdown().await;
    let all = acked.firsts();
    assert!(all.len() > before.len(), "it took records while it was copied");
    check(&server, &all, "the server itself").await;
    server.stop().await;
    run(&["restore", "--from", text(&folder), "--data-dir", text(&made.data())]).await;
    run(&["store", "verify", text(&made.data())]).await;
    let restored = made.start(CONFIG).await;
    check(&restored, &before, "restored").await;
    restored.stop().await;
    // The same data folder with its catalogue lost.
    let lost = made.data().join("catalogue.sqlite");
    std::fs::remove_file(&lost).unwrap();
    let (_, words) = made.refused(made.command(CONFIG)).await;
    assert!(words.contains("headrope store rebuild"), "{words}");
    run(&["store", "rebuild", text(&made.data())]).await;
    let rebuilt = made.start(CONFIG).await;
    check(&rebuilt, &before, "rebuilt").await;
    rebuilt.stop().await;
    let stats = run(&["store", "stats", "--json", text(&made.data())]).await;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let logs = stats.as_array().unwrap().iter().find(|table| table["table"] == "logs").unwrap();
    let body = logs["columns"].as_array().unwrap().iter().find(|column| column["column"] == "body");
    assert!(body.unwrap()["bytes"].as_u64().unwrap() > 0, "{logs}");
    assert!(run(&["store", "stats", text(&made.data())]).await.contains("bytes/row"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_hide_at_once_in_every_language_and_survive_restarts() {
    let home = Home::new();
    let server = home.start("").await;
    let post = async |path: &str, body: Vec<u8>| {
        let request = server.client.post(server.otlp_url(path));
        let request = request.header("content-type", "application/x-protobuf").body(body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    let now = now_ns();
    let series = |host: &str| gauge("room.heat", &[("room", host)], &[(now, 20.0)]);
    let both = metrics("house", vec![series("bath"), series("hall")]).encode_to_vec();
    post("/v1/metrics", both.clone()).await;
    let names = ["bob was here", "nobody was here"].map(str::to_owned);
    post("/v1/logs", logs("house", names.into_iter()).encode_to_vec()).await;
    assert_eq!(server.promql("count(room_heat)").await, [2.0]);
    // Prometheus' door.
    let path = format!("/api/v1/admin/tsdb/delete_series?match[]={}", percent("{room=\"bath\"}"));
    let answer = server.client.post(server.url(&path)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 204, "{}", answer.text().await.unwrap());
    assert_eq!(server.promql("count(room_heat)").await, [1.0]);
    let rooms = "SELECT count(*) FROM metrics WHERE metric = 'room.heat'";
    assert_eq!(server.sql_value(rooms).await.to_string().trim_matches('"'), "1");
    let nothing = server.client.post(server.url("/api/v1/admin/tsdb/delete_series"));
    assert_eq!(nothing.send().await.unwrap().status().as_u16(), 400);
    // The command.
    let url = server.url("");
    let predicate = r#"{service_name="house",body=~"bob.*"}"#;
    let said = ["store", "delete", "--table", "logs", "--where", predicate, "--server", &url];
    assert!(run(&said).await.contains("hidden"));
    let bodies = "SELECT body FROM logs WHERE service_name = 'house'";
    assert_eq!(server.sql(bodies).await, [["nobody was here"]]);
    let listed = run(&["store", "deletes", "--server", &url]).await;
    assert!(listed.contains("bob") && listed.contains("metrics"), "{listed}");
    server.kill().await;
    let server = home.start("").await;
    assert_eq!(server.promql("count(room_heat)").await, [1.0]);
    assert_eq!(server.sql(bodies).await, [["nobody was here"]]);
    let clean = server.client.put(server.url("/api/v1/admin/tsdb/clean_tombstones"));
    assert_eq!(clean.send().await.unwrap().status().as_u16(), 204);
    let listed = run(&["store", "deletes", "--json", "--server", &server.url("")]).await;
    assert!(listed.contains("rewritten") && !listed.contains("hidden"), "{listed}");
    // Sent again after the delete: a new row.
    let request = server.client.post(server.otlp_url("/v1/metrics"));
    let request = request.header("content-type", "application/x-protobuf").body(both);
    assert!(request.send().await.unwrap().status().is_success());
    assert_eq!(server.promql("count(room_heat)").await, [2.0]);
    server.stop().await;
}

#[tokio::test]
async fn admin_doors_are_shut_where_others_can_reach_them() {
    let home = Home::new();
    let mut command = home.command_at("0.0.0.0:0", "");
    command.arg("--no-agent");
    let server = home.launch(command).await;
    let port = server.addresses.http.rsplit_once(':').unwrap().1.to_owned();
    for path in ["/api/v1/admin/tsdb/clean_tombstones", "/api/headrope/v1/backup"] {
        let answer = server.client.post(format!("http://127.0.0.1:{port}{path}")).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status().as_u16(), 403, "{path}");
        assert!(answer.text().await.unwrap().contains("admin = true"), "{path}");
    }
    server.stop().await;
}
