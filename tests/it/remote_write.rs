//! Remote write from the unmodified Prometheus of Debian: what it scrapes and sends is there to be asked for.

use std::fs::File;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::server::{Home, Server, percent, until};

/// A Prometheus that scrapes our own `/metrics` and writes to us. Dropping it kills it.
fn prometheus(home: &Home, server: &Server) -> Child {
    let config = format!(
        "global:\n  scrape_interval: 1s\n  external_labels: {{replica: a}}\n\
         scrape_configs:\n- job_name: headrope\n  static_configs:\n  - targets: ['{address}']\n\
         - job_name: gone\n  static_configs:\n  - targets: ['127.0.0.1:1']\n\
         remote_write:\n- url: http://{address}/api/v1/write\n  metadata_config: {{send_interval: 1s}}\n  \
         queue_config: {{batch_send_deadline: 200ms}}\n",
        address = server.addresses.http
    );
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", home.write("prometheus.yml", &config).display()));
    command.arg(format!("--storage.tsdb.path={}", home.path().join("tsdb").display()));
    command.args(["--web.listen-address=127.0.0.1:0", "--log.level=warn"]);
    let stderr = File::create(home.path().join("prometheus.log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).kill_on_drop(true);
    command.spawn().expect("Prometheus is installed by `cargo xtask install test`")
}

#[tokio::test]
async fn prometheus_writes_to_us_and_finds_its_series_here() {
    let home = Home::new();
    let server = home.start("").await;
    let mut prometheus = prometheus(&home, &server);
    let log = || std::fs::read_to_string(home.path().join("prometheus.log")).unwrap_or_default();
    until("three samples of `up`", async || {
        let ended = prometheus.try_wait().unwrap();
        assert!(ended.is_none(), "Prometheus ended: {}", log());
        let count = server.promql("count_over_time(up{job=\"headrope\",replica=\"a\"}[5m])").await;
        count.first().copied().filter(|count| *count >= 3.0)
    })
    .await;
    assert_eq!(server.promql("up{job=\"headrope\"}").await, [1.0]);
    let gone = until("the other target", async || {
        server.promql("up{job=\"gone\",replica=\"a\"}").await.first().copied()
    });
    assert_eq!(gone.await, 0.0);
    // What it scraped of us is what it wrote to us, under the same names, with its labels.
    let instance = &server.addresses.http;
    let expr =
        format!("headrope_build_info{{instance=\"{instance}\",job=\"headrope\",replica=\"a\"}}");
    assert_eq!(server.promql(&expr).await, [1.0]);
    until("a rate of a counter that it scraped", async || {
        let expr =
            format!("rate(process_cpu_seconds_total{{instance=\"{instance}\",replica=\"a\"}}[5m])");
        server.promql(&expr).await.first().copied().filter(|rate| *rate > 0.0)
    })
    .await;
    // Nothing of it was refused: a sender would log that and drop it.
    assert!(!log().contains("non-recoverable"), "{}", log());
    prometheus.kill().await.unwrap();
    let series =
        server.get(&format!("/api/v1/series?match[]={}", percent("{job=\"headrope\"}"))).await;
    let series = series["data"].as_array().unwrap();
    let names = series.iter().filter_map(|labels| labels["__name__"].as_str());
    assert!(
        names.clone().any(|name| name == "scrape_duration_seconds"),
        "{:?}",
        names.collect::<Vec<_>>()
    );
    server.stop().await;
}

#[tokio::test]
async fn the_door_is_guarded_like_every_other_and_says_what_it_wants() {
    let home = Home::new();
    let server = home.start("").await;
    for path in ["/api/v1/write", "/prometheus/api/v1/write"] {
        let url = server.url(path);
        let foreign =
            server.client.post(&url).header("origin", "https://evil.example").send().await;
        assert_eq!(foreign.unwrap().status(), 403);
        let got = server.client.get(&url).send().await.unwrap();
        assert_eq!(
            (got.status().as_u16(), got.headers()["allow"].to_str().unwrap()),
            (405, "POST")
        );
        let body = "no snappy";
        let refused = server.client.post(&url).body(body).send().await.unwrap();
        assert_eq!(refused.status(), 400);
        let empty = snap::raw::Encoder::new().compress_vec(b"").unwrap();
        let taken = server.client.post(&url).body(empty).send().await.unwrap();
        assert_eq!(taken.status(), 204);
    }
    // The API beside it answers as before.
    let answer: Value = server.get("/api/v1/query?query=1").await;
    assert_eq!(answer["status"], "success");
    server.stop().await;
}
