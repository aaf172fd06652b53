//! The Prometheus doors as the real clients of Debian use them, and queries that are seen, ended and logged.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use prost::Message as _;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::server::{Home, Server, client, now_ns, percent, program, until};
use crate::telemetry::{gauge, metrics};

/// Sends a gauge of 300 samples, 1 to 300, a second apart, up to now.
async fn feed(server: &Server) -> u64 {
    let now_s = now_ns() / 1_000_000_000;
    let points: Vec<(u64, f64)> = (1_u32..=300)
        .map(|i| ((now_s - 300 + u64::from(i)) * 1_000_000_000, f64::from(i)))
        .collect();
    let request = metrics("shop", vec![gauge("queue.depth", &[("zone", "a")], &points)]);
    let sent = server.client.post(server.url("/api/v1/otlp/v1/metrics"));
    let sent = sent.header("content-type", "application/x-protobuf").body(request.encode_to_vec());
    assert_eq!(sent.send().await.unwrap().status(), 200);
    now_s
}

/// What `promtool` prints, which must succeed.
async fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).stdin(Stdio::null()).output().await;
    let output = output.expect("promtool is installed by `cargo xtask install test`");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What our own command line prints, which must succeed.
async fn headrope(arguments: &[&str]) -> String {
    let output = Command::new(program()).args(arguments).stdin(Stdio::null()).output().await;
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test]
async fn promtool_asks_and_understands_every_answer() {
    let home = Home::new();
    let server = home.start("").await;
    let now_s = feed(&server).await;
    for prefix in ["", "/prometheus"] {
        let url = server.url(prefix);
        let time = format!("--time={now_s}");
        let instant = promtool(&["query", "instant", &time, &url, "queue_depth * 2"]).await;
        assert!(instant.contains(r#"zone="a""#) && instant.contains("=> 600 @["), "{instant}");
        let (start, end) = (format!("--start={}", now_s - 60), format!("--end={now_s}"));
        let expr = "sum(queue_depth)";
        let range = promtool(&["query", "range", &start, &end, "--step=30s", &url, expr]).await;
        assert!(range.contains("240 @[") && range.contains("300 @["), "{range}");
        let series =
            promtool(&["query", "series", "--match=queue_depth", "--match=nothing", &url]).await;
        assert!(series.contains(r#"__name__="queue_depth""#), "{series}");
        let labels = promtool(&["query", "labels", &url, "zone"]).await;
        assert_eq!(labels.trim(), "a");
    }
    // Our own page and what we federate: linted for style, but nothing in it is a mistake.
    for path in ["/metrics", "/federate?match[]=queue_depth"] {
        let text = server.client.get(server.url(path)).send().await.unwrap().text().await.unwrap();
        let mut check = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = check.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stdin, text.as_bytes()).await.unwrap();
        drop(stdin);
        let checked = check.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert_ne!(checked.status.code(), Some(1), "{path}: {said}\n{text}");
    }
    server.stop().await;
}

/// A Prometheus that reads from us and federates us. Dropping it kills it.
struct Peer {
    child: Child,
    log: PathBuf,
    url: String,
}

impl Peer {
    async fn start(home: &Home, server: &Server) -> Self {
        let address = &server.addresses.http;
        let config = format!(
            "global:\n  scrape_interval: 1s\n\
             scrape_configs:\n- job_name: federate\n  honor_labels: true\n  metrics_path: /federate\n  \
             params:\n    'match[]': ['{{__name__=\"queue_depth\"}}']\n  static_configs:\n  - targets: ['{address}']\n  \
             metric_relabel_configs: [{{target_label: via, replacement: federation}}]\n\
             remote_read:\n- url: http://{address}/api/v1/read\n  read_recent: true\n"
        );
        let log = home.path().join("peer.log");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", home.write("peer.yml", &config).display()));
        command.arg(format!("--storage.tsdb.path={}", home.path().join("peer").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let url = until("Prometheus to listen", async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none(), "Prometheus ended: {text}");
            let said = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut listening = said.filter(|line| line["msg"] == "Listening on");
            Some(format!("http://{}", listening.next()?["address"].as_str()?))
        })
        .await;
        until("Prometheus to be ready", async || {
            let ready = client().get(format!("{url}/-/ready")).send().await.ok()?;
            ready.status().is_success().then_some(())
        })
        .await;
        Self { child, log, url }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = client().get(format!("{}{path}", self.url)).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}\n{log}"))
    }
}

#[tokio::test]
async fn prometheus_reads_from_us_and_federates_us() {
    let home = Home::new();
    let server = home.start("").await;
    let now_s = feed(&server).await;
    let mut peer = Peer::start(&home, &server).await;
    // 300 samples are three chunks; every one of them arrives with its time and value.
    for (expr, wanted) in [
        ("count_over_time(queue_depth{job=\"shop\"}[10m])", "300"),
        ("sum_over_time(queue_depth{job=\"shop\"}[10m])", "45150"),
        ("timestamp(queue_depth{job=~\"sho.\",zone!=\"b\"})", &now_s.to_string()),
    ] {
        let path = format!("/api/v1/query?time={now_s}&query={}", percent(expr));
        let answer = peer.get(&path).await;
        assert_eq!(answer["data"]["result"][0]["value"][1], wanted, "{expr}: {answer}");
        assert!(answer["warnings"].is_null(), "{answer}");
    }
    let up = until("a scrape of what we federate", async || {
        let targets = peer.get("/api/v1/targets").await;
        let target = targets["data"]["activeTargets"][0].clone();
        (target["health"] != "unknown" && target["health"].is_string()).then_some(target)
    });
    let up = up.await;
    assert_eq!((&up["health"], &up["lastError"]), (&"up".into(), &"".into()), "{up}");
    // The label is the peer's own: a remote read would find nothing of that name with us.
    let path = format!("/api/v1/query?query={}", percent("queue_depth{via=\"federation\"}"));
    let arrived = until("a federated sample", async || {
        let answer = peer.get(&path).await;
        let found = answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty());
        found.then_some(answer)
    });
    let sample = &arrived.await["data"]["result"][0];
    assert_eq!((&sample["value"][1], &sample["metric"]["zone"]), (&"300".into(), &"a".into()));
    assert_eq!(sample["metric"]["job"], "shop", "{sample}");
    peer.child.kill().await.unwrap();
    server.stop().await;
}

/// Takes hours: half a year of windows, each sorted.
const ENDLESS: &str = "quantile_over_time(0.5, quantile_over_time(0.5, vector(1)[1d:1s])[1d:1s])";

async fn running(server: &Server) -> Vec<Value> {
    server.get("/api/headrope/v1/queries").await["queries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_query_is_seen_and_ended_by_hand_or_when_its_client_goes() {
    let home = Home::new();
    let log = home.path().join("queries.log");
    let config =
        format!("query_log = {:?}\n[query]\ntimeout = \"1h\"\n", log.display().to_string());
    let server = home.start(&config).await;
    let ask = || {
        server.client.get(server.url(&format!("/api/v1/query?query={}", percent(ENDLESS)))).send()
    };
    let asked = async { ask().await.unwrap() };
    let ended = async {
        let query = until("the query to be listed", async || running(&server).await.pop()).await;
        assert_eq!(query["text"], ENDLESS);
        assert_eq!((&query["language"], &query["client"]), (&"promql".into(), &"127.0.0.1".into()));
        let url = server.url(&format!("/api/headrope/v1/queries/{}", query["id"]));
        assert_eq!(server.client.delete(&url).send().await.unwrap().status(), 204);
    };
    let (answer, ()) = tokio::join!(asked, ended);
    assert_eq!(answer.status(), 499);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["errorType"], "canceled");
    assert_eq!(answer["error"], "query was canceled in query execution");
    until("its work to end", async || running(&server).await.is_empty().then_some(())).await;
    // The same from the command line.
    let asking = tokio::spawn(ask());
    let query = until("the query to be listed again", async || running(&server).await.pop()).await;
    let listed = headrope(&["queries", "-o", "csv", "--server", &server.url("")]).await;
    assert!(listed.contains("promql,127.0.0.1,/api/v1/query,"), "{listed}");
    let id = query["id"].to_string();
    let said = headrope(&["queries", "cancel", &id, "--server", &server.url("")]).await;
    assert_eq!(said.trim(), format!("query {id} was ended"));
    assert_eq!(asking.await.unwrap().unwrap().status(), 499);
    until("its work to end", async || running(&server).await.is_empty().then_some(())).await;
    // A client that goes away is not told, but its query ends all the same.
    let asking = tokio::spawn(ask());
    until("the next query to be listed", async || running(&server).await.pop()).await;
    asking.abort();
    until("its work to end", async || running(&server).await.is_empty().then_some(())).await;
    let none = server.client.delete(server.url("/api/headrope/v1/queries/1")).send().await.unwrap();
    assert_eq!(none.status(), 404);
    // Each has a line: with an answer, with an error, and without anybody who waits for either.
    assert_eq!(server.promql("queue_depth or vector(2)").await, [2.0]);
    let line = until("a line of the last query", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.rfind(|line| line["params"]["query"] == "queue_depth or vector(2)")
    });
    let line = line.await;
    assert_eq!(line["httpRequest"]["clientIP"], "127.0.0.1");
    assert_eq!(line["httpRequest"]["path"], "/api/v1/query");
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("query was canceled in query execution").count(), 3, "{text}");
    let uses = server.get("/api/headrope/v1/queries/metrics").await;
    assert_eq!(
        (&uses["metrics"][0]["metric"], &uses["metrics"][0]["queries"]),
        (&"queue_depth".into(), &1.into())
    );
    server.stop().await;
}

#[tokio::test]
async fn answers_are_packed_coarsened_and_open_to_listed_pages() {
    let home = Home::new();
    let server = home.start("hosts = [\"grafana.example.org\"]\n").await;
    let now_s = feed(&server).await;
    let range = format!("/api/v1/query_range?query=queue_depth&start={}&end={now_s}", now_s - 299);
    let get = |path: String| server.client.get(server.url(&path));
    let plain = get(format!("{range}&step=1")).send().await.unwrap().bytes().await.unwrap();
    for (coding, unpack) in [("gzip", gunzip as fn(&[u8]) -> Vec<u8>), ("zstd", unzstd)] {
        let packed = get(format!("{range}&step=1")).header("accept-encoding", coding);
        let packed = packed.send().await.unwrap();
        assert_eq!(packed.headers()["content-encoding"], coding);
        let bytes = packed.bytes().await.unwrap();
        assert!(bytes.len() * 2 < plain.len(), "{coding}: {} of {}", bytes.len(), plain.len());
        assert_eq!(unpack(&bytes), plain);
    }
    let fine = format!("{range}&step=0.001");
    let refused = get(fine.clone()).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let coarse = get(fine).header("x-headrope-coarsen", "1").send().await.unwrap();
    let coarse: Value = coarse.json().await.unwrap();
    let n_points = coarse["data"]["result"][0]["values"].as_array().unwrap().len();
    assert!((10_000..=11_001).contains(&n_points), "{n_points}");
    assert!(coarse["warnings"][0].as_str().unwrap().contains("coarser"), "{}", coarse["warnings"]);
    // Pages: a listed host may ask and read, others may not, and OPTIONS says so beforehand.
    let listed = "https://grafana.example.org";
    for path in ["/api/v1/query", "/api/v1/write", "/federate"] {
        let asked = server.client.request(reqwest::Method::OPTIONS, server.url(path));
        let asked = asked.header("origin", listed).send().await.unwrap();
        assert_eq!(asked.status(), 204, "{path}");
        assert_eq!(asked.headers()["access-control-allow-origin"], listed);
        assert!(asked.headers().contains_key("access-control-allow-methods"));
    }
    let asked = get("/api/v1/query?query=1".to_owned()).header("origin", listed).send().await;
    assert_eq!(asked.unwrap().headers()["access-control-allow-origin"], listed);
    let foreign = server.client.request(reqwest::Method::OPTIONS, server.url("/api/v1/query"));
    let foreign = foreign.header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 403);
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    // Lifecycle doors are shut; the old addresses of pages lead to ours.
    let reload = server.client.post(server.url("/-/reload")).send().await.unwrap();
    assert_eq!(reload.status(), 403);
    for path in ["/graph", "/prometheus/graph"] {
        let page = server.client.get(server.url(path)).send().await.unwrap();
        assert_eq!((page.status().as_u16(), page.url().path()), (200, "/explore/metrics"));
    }
    server.stop().await;
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut out).unwrap();
    out
}

fn unzstd(bytes: &[u8]) -> Vec<u8> {
    zstd::decode_all(bytes).unwrap()
}

#[tokio::test]
async fn notifications_are_streamed_until_the_server_stops() {
    let home = Home::new();
    let server = home.start("").await;
    let url = server.url("/api/v1/notifications/live");
    let mut live = server.client.get(&url).send().await.unwrap();
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    let first = live.chunk().await.unwrap().unwrap();
    assert_eq!(first, ":\n\n", "nothing is wrong with a new server");
    // An open stream does not keep the server from stopping at once.
    let begun = tokio::time::Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    while live.chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
}
