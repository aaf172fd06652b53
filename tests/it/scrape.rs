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
    let mut response = (status, headers, body).into_response();
    if answer.content_type.is_empty() {
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response
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
            "global: {{scrape_interval: 500ms}}\nscrape_configs:\n- job_name: shop\n  params: {{who: [me]}}\n  static_configs:\n  \
             - targets: ['{}']\n    labels: {{env: test}}\n",
            target.address
        ),
    )
    .await;
    expect(&server, "up", &[1.0]).await;
    expect(&server, "jobs_done_total{queue=\"fast\",job=\"shop\",env=\"test\"}", &[7.0]).await;
    expect(&server, "temperature", &[36.6]).await;
    expect(&server, "scrape_samples_scraped", &[3.0]).await;
    expect(&server, "scrape_samples_post_metric_relabeling", &[3.0]).await;
    expect(&server, "scrape_series_added", &[0.0]).await;
    let moved = labels(&server, "jobs_done_total{queue=\"slow\"}").await;
    assert_eq!(moved[0]["exported_job"], "own");
    assert_eq!((&*moved[0]["instance"], &*moved[0]["job"]), (&*target.address, "shop"));
    // What was asked of the target.
    let (headers, uri) = target.asked();
    assert_eq!(uri, "/metrics?who=me");
    assert_eq!(headers["x-prometheus-scrape-timeout-seconds"], "0.5");
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
        &format!("scrape_configs:\n- job_name: t\n  scrape_interval: 500ms\n  static_configs: [{{targets: ['{}']}}]\n", target.address),
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

/// One target, one job, this often; `rest` is more of the job.
fn job(target: &Target, rest: &str) -> String {
    let address = &target.address;
    format!(
        "scrape_configs:\n- job_name: t\n  scrape_interval: 500ms\n  static_configs: [{{targets: ['{address}']}}]\n{rest}"
    )
}

/// The one active target as the API shows it.
async fn shown_target(server: &Server) -> serde_json::Value {
    server.get("/api/v1/targets").await["data"]["activeTargets"][0].clone()
}

#[tokio::test]
async fn each_way_to_fail_is_told_and_undoes_the_scrape() {
    let home = Home::new();
    let good = Answer::text("a 1\n");
    let target = Target::start(good.clone()).await;
    let rest = "  body_size_limit: 64B\n  sample_limit: 2\n  label_limit: 4\n  scrape_timeout: 400ms\n  extra_scrape_metrics: true\n";
    let server = start(&home, &job(&target, rest)).await;
    let failures = [
        (Answer { status: 404, ..good.clone() }, "server returned HTTP status 404 Not Found"),
        (
            Answer { content_type: "text/html", ..good.clone() },
            "received unsupported Content-Type \"text/html\"",
        ),
        (
            Answer { content_type: "", ..good.clone() },
            "non-compliant scrape target sending blank Content-Type",
        ),
        (Answer::text("a 1\nb one\n"), "line 2, column 3: \"one\" is no number"),
        (Answer::text(&"a 1\n".repeat(20)), "body size limit exceeded"),
        (Answer { gzip: true, ..Answer::text(&"a 1\n".repeat(20)) }, "body size limit exceeded"),
        (Answer::text("a 1\nb 1\nc 1\n"), "sample limit exceeded"),
        (Answer::text("a{x=\"1\",y=\"2\"} 1\n"), "label_limit exceeded"),
        (
            Answer { pause: Duration::from_millis(900), ..good.clone() },
            "no complete answer within the scrape timeout",
        ),
        (
            Answer { content_type: "application/openmetrics-text", ..good.clone() },
            "does not end with # EOF",
        ),
    ];
    for (answer, words) in failures {
        target.set(good.clone());
        expect(&server, "a", &[1.0]).await;
        expect(&server, "up", &[1.0]).await;
        target.set(answer);
        until(words, async || {
            let error = shown_target(&server).await["lastError"].as_str().unwrap().to_owned();
            error.contains(words).then_some(())
        })
        .await;
        expect(&server, "up", &[0.0]).await;
        expect(&server, "a", &[]).await;
        assert_eq!(server.promql("count({__name__=~\"b|c\"})").await, [0.0; 0], "{words}");
        if words.starts_with("body size") {
            expect(&server, "scrape_body_size_bytes", &[-1.0]).await;
        }
    }
    expect(&server, "scrape_sample_limit", &[2.0]).await;
    expect(&server, "scrape_timeout_seconds", &[0.4]).await;
    server.stop().await;
}

#[tokio::test]
async fn open_metrics_brings_exemplars_starts_and_units() {
    let home = Home::new();
    let body = "# TYPE req_seconds counter\n# UNIT req_seconds seconds\n# HELP req_seconds Time.\n\
        req_seconds_total{path=\"/\"} 5 # {trace_id=\"abc\"} 0.25\nreq_seconds_created{path=\"/\"} 1600000000\n# EOF\n";
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let target = Target::start(Answer { content_type: open_metrics, ..Answer::text(body) }).await;
    let server = start(&home, &job(&target, "")).await;
    expect(&server, "req_seconds_total", &[5.0]).await;
    assert_eq!(
        server.promql("req_seconds_created").await,
        [0.0; 0],
        "it became the start of the counter"
    );
    let exemplars = server.sql("SELECT count(*) FROM exemplars").await;
    assert_ne!(exemplars[0][0], 0);
    let meta = server.get("/api/v1/targets/metadata").await;
    let entry = &meta["data"][0];
    assert_eq!(
        (&entry["metric"], &entry["unit"], &entry["type"]),
        (&"req_seconds".into(), &"seconds".into(), &"counter".into())
    );
    server.stop().await;
}

#[tokio::test]
async fn native_histograms_come_from_protobuf_and_from_folded_classic_ones() {
    let home = Home::new();
    let body = "# TYPE lat histogram\nlat_bucket{le=\"1\"} 1\nlat_bucket{le=\"2\"} 3\nlat_bucket{le=\"+Inf\"} 4\nlat_sum 9\nlat_count 4\n";
    let classic = Target::start(Answer::text(body)).await;
    // Family h of one histogram: count 3, sum 2.5, schema 0, zero threshold 0.001, one span of 2 buckets with 1 and 2.
    let histogram = [
        &[0x08, 3, 0x11][..],
        &2.5_f64.to_le_bytes(),
        &[0x28, 0, 0x31],
        &0.001_f64.to_le_bytes(),
        &[0x62, 4, 0x08, 0, 0x10, 2],
        &[0x6a, 2, 2, 2],
    ]
    .concat();
    let metric = [&[0x3a, u8::try_from(histogram.len()).unwrap()][..], &histogram].concat();
    let family =
        [&[0x0a, 1, b'h', 0x18, 4, 0x22, u8::try_from(metric.len()).unwrap()][..], &metric]
            .concat();
    let body = [&[u8::try_from(family.len()).unwrap()][..], &family].concat();
    let content_type = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let native = Target::start(Answer { content_type, body, ..Answer::text("") }).await;
    let yaml = format!(
        "global: {{scrape_interval: 500ms}}\nscrape_configs:\n\
         - {{job_name: native, scrape_native_histograms: true, static_configs: [{{targets: ['{}']}}]}}\n\
         - {{job_name: classic, convert_classic_histograms_to_nhcb: true, static_configs: [{{targets: ['{}']}}]}}\n",
        native.address, classic.address
    );
    let server = start(&home, &yaml).await;
    expect(&server, "histogram_count(h)", &[3.0]).await;
    expect(&server, "histogram_sum(h)", &[2.5]).await;
    let accept = native.asked().0["accept"].to_str().unwrap().to_owned();
    assert!(accept.starts_with("application/vnd.google.protobuf;"), "{accept}");
    expect(&server, "histogram_count(lat)", &[4.0]).await;
    expect(&server, "histogram_quantile(0.25, lat)", &[1.0]).await;
    assert_eq!(server.promql("lat_bucket").await, [0.0; 0]);
    // When it is gone, its end is that of a histogram.
    native.set(Answer { status: 500, ..Answer::text("") });
    expect(&server, "histogram_count(h)", &[]).await;
    server.stop().await;
}

#[tokio::test]
async fn targets_in_a_file_come_and_go_and_their_series_end() {
    let home = Home::new();
    let (one, two) =
        (Target::start(Answer::text("a 1\n")).await, Target::start(Answer::text("a 2\n")).await);
    let list = |targets: &[&Target]| {
        let addresses: Vec<_> = targets.iter().map(|target| target.address.as_str()).collect();
        home.write("targets.json", &serde_json::json!([{"targets": addresses}]).to_string());
    };
    list(&[&one, &two]);
    let yaml = "scrape_configs:\n- job_name: f\n  scrape_interval: 500ms\n  file_sd_configs: [{files: ['targets*.json']}]\n  \
        relabel_configs: [{source_labels: [__meta_filepath], regex: '.*/(.+).json', target_label: list}]\n";
    let server = start(&home, yaml).await;
    expect(&server, "sort(a{list=\"targets\"})", &[1.0, 2.0]).await;
    list(&[&one]);
    // Two intervals and a tenth after it is gone its series have ended, `up` too.
    expect(&server, "a", &[1.0]).await;
    expect(&server, "up", &[1.0]).await;
    assert_eq!(
        server.get("/api/v1/targets").await["data"]["activeTargets"].as_array().unwrap().len(),
        1
    );
    server.stop().await;
}

#[tokio::test]
async fn targets_come_from_a_server_and_credentials_go_to_them() {
    let home = Home::new();
    let target = Target::start(Answer::text("a 1\n")).await;
    let list =
        serde_json::json!([{"targets": [target.address, "dropped:1"], "labels": {"zone": "z"}}])
            .to_string();
    let discovery =
        Target::start(Answer { content_type: "application/json", ..Answer::text(&list) }).await;
    home.write("password", "s3cret\n");
    let yaml = format!(
        "scrape_configs:\n- job_name: h\n  scrape_interval: 500ms\n  basic_auth: {{username: me, password_file: password}}\n  \
         http_headers: {{X-Scope: {{values: [a]}}}}\n  \
         http_sd_configs: [{{url: 'http://{}/list', refresh_interval: 1s}}]\n  \
         relabel_configs: [{{source_labels: [__address__], regex: 'dropped.*', action: drop}}]\n",
        discovery.address
    );
    let server = start(&home, &yaml).await;
    expect(&server, "a{zone=\"z\"}", &[1.0]).await;
    let (headers, _) = target.asked();
    assert_eq!(headers["authorization"], "Basic bWU6czNjcmV0");
    assert_eq!(headers["x-scope"], "a");
    let targets = server.get("/api/v1/targets").await;
    assert_eq!(targets["data"]["droppedTargetCounts"]["h"], 1);
    assert_eq!(
        targets["data"]["droppedTargets"][0]["discoveredLabels"]["__address__"],
        "dropped:1"
    );
    let config =
        server.get("/api/v1/scrape_pools/config?scrapePool=h").await["data"]["yaml"].clone();
    let config = config.as_str().unwrap();
    assert!(config.contains("scrape_interval: \"500ms\"\n"), "{config}");
    assert!(
        config.contains("password_file: \"password\"") && !config.contains("s3cret"),
        "{config}"
    );
    // A discovery that fails keeps what it said.
    discovery.set(Answer { status: 500, ..Answer::text("") });
    until("a failed discovery", async || {
        let metrics =
            server.client.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
        metrics.contains("headrope_scrape_discovery_failures_total").then_some(())
    })
    .await;
    expect(&server, "a", &[1.0]).await;
    server.stop().await;
}

#[tokio::test]
async fn more_targets_than_allowed_all_fail() {
    let home = Home::new();
    let target = Target::start(Answer::text("a 1\n")).await;
    let yaml = format!(
        "scrape_configs:\n- job_name: l\n  scrape_interval: 500ms\n  target_limit: 1\n  static_configs: [{{targets: ['{}', '127.0.0.1:1']}}]\n",
        target.address
    );
    let server = start(&home, &yaml).await;
    expect(&server, "up", &[0.0, 0.0]).await;
    let error = shown_target(&server).await["lastError"].clone();
    assert_eq!(error, "target_limit exceeded (number of targets: 2, limit: 1)");
    server.stop().await;
}

#[tokio::test]
async fn a_file_with_a_mistake_is_refused_with_its_line() {
    let home = Home::new();
    home.write("prometheus.yml", "scrape_configs:\n- job_name: a\n  ec2_sd_configs: []\n");
    let command = home.command("[agent.scrape]\nconfig_files = [\"prometheus.yml\"]\n");
    let (code, said) = home.refused(command).await;
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("prometheus.yml: 3:3: field `ec2_sd_configs` is not supported here"),
        "{said}"
    );
}

#[tokio::test]
async fn the_agent_scrapes_node_exporter_and_writes_to_a_server() {
    let home = Home::new();
    let server = home.start("").await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let mut exporter = tokio::process::Command::new("prometheus-node-exporter");
    exporter.arg(format!("--web.listen-address={address}"));
    exporter
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true);
    let _exporter =
        exporter.spawn().expect("node_exporter is installed by `cargo xtask install test`");
    home.write(
        "prometheus.yml",
        &format!("global: {{scrape_interval: 500ms, external_labels: {{site: lab}}}}\nscrape_configs:\n- job_name: node\n  static_configs: [{{targets: ['{address}']}}]\n"),
    );
    let config = home.write(
        "agent.toml",
        &format!(
            "endpoint = \"http://{}\"\n[scrape]\nconfig_files = [\"prometheus.yml\"]\nwrite_url = \"{}\"\n",
            server.addresses.otlp_grpc,
            server.url("/api/v1/write")
        ),
    );
    let agent = crate::server::program().with_file_name("headrope-agent");
    let mut agent = tokio::process::Command::new(agent);
    agent.arg("--config").arg(config).kill_on_drop(true);
    let _agent = agent.spawn().expect("the agent is built beside the server");
    expect(&server, "up{job=\"node\",site=\"lab\"}", &[1.0]).await;
    expect(&server, "count(node_uname_info{site=\"lab\"})", &[1.0]).await;
    let memory = server.promql("node_memory_MemTotal_bytes").await;
    assert!(memory[0] > 1e6, "{memory:?}");
    until("a rate of a counter", async || {
        let rate = server.promql("sum(rate(node_cpu_seconds_total[1m]))").await;
        rate.first().copied().filter(|rate| *rate > 0.0)
    })
    .await;
    server.stop().await;
}
