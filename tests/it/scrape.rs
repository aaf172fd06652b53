//! Scraping: a real server of metrics, a real Headrope, and what PromQL finds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::task::JoinHandle;

use crate::server::{Home, Server, percent, until};

/// What a target answers next.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) gzip: bool,
    /// Pause before the answer.
    pub(crate) pause: Duration,
}

impl Answer {
    pub(crate) fn text(body: &str) -> Self {
        Self {
            status: 200,
            content_type: "text/plain; version=0.0.4",
            body: body.as_bytes().to_vec(),
            gzip: false,
            pause: Duration::ZERO,
        }
    }
}

#[derive(Debug)]
struct Shown {
    answer: Answer,
    /// Headers of the last request, and its path with query.
    asked: Option<(HeaderMap, String)>,
}

/// A server of metrics that says what it is told to say. Dropping it closes its door.
pub(crate) struct Target {
    pub(crate) address: String,
    shown: Arc<Mutex<Shown>>,
    task: JoinHandle<()>,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Target {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shown = Arc::new(Mutex::new(Shown { answer, asked: None }));
        let routes = axum::Router::new().fallback(show).with_state(Arc::clone(&shown));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, shown, task }
    }

    pub(crate) fn set(&self, answer: Answer) {
        self.shown.lock().unwrap().answer = answer;
    }

    pub(crate) fn asked(&self) -> (HeaderMap, String) {
        self.shown.lock().unwrap().asked.clone().expect("it was asked")
    }
}

async fn show(State(shown): State<Arc<Mutex<Shown>>>, request: axum::extract::Request) -> Response {
    let answer = {
        let mut shown = shown.lock().unwrap();
        shown.asked = Some((request.headers().clone(), request.uri().to_string()));
        shown.answer.clone()
    };
    tokio::time::sleep(answer.pause).await;
    let status = StatusCode::from_u16(answer.status).unwrap();
    let mut headers = HeaderMap::new();
    if !answer.content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, answer.content_type.parse().unwrap());
    }
    let mut body = answer.body;
    if answer.gzip {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body).unwrap();
        body = encoder.finish().unwrap();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    }
    (status, headers, body).into_response()
}

/// A server that scrapes as `yaml` says.
pub(crate) async fn start(home: &Home, yaml: &str) -> Server {
    home.write("prometheus.yml", yaml);
    home.start("[agent.scrape]\nconfig_files = [\"prometheus.yml\"]\n").await
}

/// Waits until `expr` has these values.
pub(crate) async fn expect(server: &Server, expr: &str, values: &[f64]) {
    let mut last = Vec::new();
    let found = async {
        until(expr, async || {
            last = server.promql(expr).await;
            (last == values).then_some(())
        })
        .await;
    };
    let patience = Duration::from_secs(60);
    if tokio::time::timeout(patience, found).await.is_err() {
        panic!("{expr} is {last:?}, not {values:?}:\n{}", server.stderr());
    }
}

/// Labels of the series of an instant query.
pub(crate) async fn labels(server: &Server, expr: &str) -> Vec<BTreeMap<String, String>> {
    let answer = server.get(&format!("/api/v1/query?query={}", percent(expr))).await;
    let result = answer["data"]["result"].as_array().unwrap().clone();
    result.iter().map(|sample| serde_json::from_value(sample["metric"].clone()).unwrap()).collect()
}

const EXPOSITION: &str = "\
# HELP jobs_done_total Jobs that were done.
# TYPE jobs_done_total counter
jobs_done_total{queue=\"fast\"} 7
jobs_done_total{queue=\"slow\",job=\"own\"} 2
# TYPE temperature gauge
temperature 36.6
";

#[tokio::test]
async fn a_target_is_scraped_and_its_series_are_there_to_be_asked_for() {
    let home = Home::new();
    let target = Target::start(Answer { gzip: true, ..Answer::text(EXPOSITION) }).await;
    let server = start(
        &home,
        &format!(
            "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: shop\n  params: {{who: [me]}}\n  static_configs:\n  \
             - targets: ['{}']\n    labels: {{env: test}}\n",
            target.address
        ),
    )
    .await;
    expect(&server, "up", &[1.0]).await;
    expect(&server, "jobs_done_total{queue=\"fast\",job=\"shop\",env=\"test\"}", &[7.0]).await;
    assert_eq!(server.promql("temperature").await, [36.6]);
    assert_eq!(server.promql("scrape_samples_scraped").await, [3.0]);
    assert_eq!(server.promql("scrape_samples_post_metric_relabeling").await, [3.0]);
    expect(&server, "scrape_series_added", &[0.0]).await;
    let moved = labels(&server, "jobs_done_total{queue=\"slow\"}").await;
    assert_eq!(moved[0]["exported_job"], "own");
    assert_eq!((&*moved[0]["instance"], &*moved[0]["job"]), (&*target.address, "shop"));
    // What was asked of the target.
    let (headers, uri) = target.asked();
    assert_eq!(uri, "/metrics?who=me");
    assert_eq!(headers["x-prometheus-scrape-timeout-seconds"], "0.2");
    assert_eq!(headers["accept-encoding"], "gzip");
    let accept = headers["accept"].to_str().unwrap();
    assert!(
        accept
            .starts_with("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"),
        "{accept}"
    );
    // What the API says of it.
    let targets = server.get("/api/v1/targets").await;
    let active = &targets["data"]["activeTargets"][0];
    assert_eq!(active["health"], "up", "{targets}");
    assert_eq!(active["scrapeUrl"], format!("http://{}/metrics?who=me", target.address));
    assert_eq!(active["discoveredLabels"]["__param_who"], "me");
    assert_eq!(active["labels"]["env"], "test");
    assert_eq!(server.get("/api/v1/scrape_pools").await["data"]["scrapePools"][0], "shop");
    let meta = server.get("/api/v1/targets/metadata?metric=jobs_done_total").await;
    assert_eq!(meta["data"][0]["help"], "Jobs that were done.", "{meta}");
    assert_eq!(meta["data"][0]["type"], "counter", "{meta}");
    let meta = server.get("/api/v1/metadata?metric=jobs_done_total").await;
    assert_eq!(meta["data"]["jobs_done_total"][0]["help"], "Jobs that were done.", "{meta}");
    server.stop().await;
}

#[tokio::test]
async fn what_vanishes_or_fails_is_stale_at_once() {
    let home = Home::new();
    let target = Target::start(Answer::text("a 1\nb 2\n")).await;
    let server = start(
        &home,
        &format!("scrape_configs:\n- job_name: t\n  scrape_interval: 200ms\n  static_configs: [{{targets: ['{}']}}]\n", target.address),
    )
    .await;
    expect(&server, "a", &[1.0]).await;
    expect(&server, "b", &[2.0]).await;
    target.set(Answer::text("a 1\n"));
    expect(&server, "b", &[]).await;
    expect(&server, "a", &[1.0]).await;
    target.set(Answer { status: 500, ..Answer::text("a 1\n") });
    expect(&server, "a", &[]).await;
    expect(&server, "up", &[0.0]).await;
    let targets = server.get("/api/v1/targets?state=active").await;
    assert_eq!(targets["data"]["activeTargets"][0]["health"], "down");
    let error = "server returned HTTP status 500 Internal Server Error";
    assert_eq!(targets["data"]["activeTargets"][0]["lastError"], error);
    target.set(Answer::text("a 3\n"));
    expect(&server, "a", &[3.0]).await;
    expect(&server, "up", &[1.0]).await;
    server.stop().await;
}

#[tokio::test]
async fn without_jobs_the_lists_are_empty() {
    let home = Home::new();
    let server = home.start("").await;
    let targets = server.get("/api/v1/targets").await;
    let empty =
        serde_json::json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}});
    assert_eq!(targets["data"], empty);
    assert_eq!(
        server.get("/api/v1/scrape_pools").await["data"],
        serde_json::json!({"scrapePools": []})
    );
    assert_eq!(server.get("/api/v1/targets/metadata").await["data"], serde_json::json!([]));
    server.stop().await;
}
