//! The Prometheus API by its published contract: every path is called on a real server with real data, or the guide says
//! why there is no such path.

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Histogram, HistogramDataPoint, Metric, exemplar,
};
use prost::Message;
use serde_json::Value;

use crate::openapi;
use crate::scrape::{self, Answer, Target};
use crate::server::{Home, Server, now_ns, percent, until};
use crate::telemetry::{gauge, metrics};

const RULES: &str = "
groups:
- name: contract
  interval: 1s
  rules:
  - record: job:queue:max
    expr: max by (job) (queue_depth)
  - alert: QueueIsThere
    expr: queue_depth > 0
    labels: {severity: page}
    annotations: {summary: '{{ $value }} wait'}
- name: second
  interval: 1s
  rules:
  - record: job:queue:min
    expr: min by (job) (queue_depth)
";

/// One target that is there and one that is dropped.
const SCRAPE: &str = "
scrape_configs:
- job_name: contract
  scrape_interval: 1s
  static_configs: [{targets: ['TARGET', 'dropped:1']}]
  relabel_configs: [{source_labels: [__address__], regex: 'dropped:.*', action: drop}]
";

/// What is called with what; `{name}` of a path stands in it already.
const CALLS: &[(&str, &[Param])] = &[
    ("/query", &[("query", "queue_depth"), ("stats", "all"), ("limit", "5")]),
    ("/query", &[("query", "1+1"), ("lookback_delta", "1m"), ("timeout", "5s")]),
    ("/query", &[("query", "queue_depth[5m]")]),
    ("/query_range", &[("query", "queue_depth"), ("stats", "all"), RANGE.0, RANGE.1, RANGE.2]),
    (
        "/query_exemplars",
        &[("query", "rate(request_duration_seconds_bucket[5m])"), RANGE.0, RANGE.1],
    ),
    (
        "/search/metric_names",
        &[("search[]", "queue"), ("include_metadata", "true"), ("include_score", "true")],
    ),
    ("/search/label_names", &[("search[]", "jo"), ("sort_by", "score")]),
    ("/search/label_values", &[("label", "job"), ("limit", "1")]),
    ("/format_query", &[("query", "sum by(job)(up)")]),
    ("/parse_query", &[("query", "sum by(job)(rate(up[5m] offset 1m))")]),
    ("/labels", &[]),
    ("/labels", &[("match[]", "queue_depth"), ("limit", "1"), RANGE.0, RANGE.1]),
    ("/label/{name}/values", &[("match[]", "queue_depth")]),
    ("/series", &[("match[]", "queue_depth"), RANGE.0, RANGE.1]),
    ("/metadata", &[("limit", "2"), ("limit_per_metric", "1")]),
    ("/rules", &[]),
    ("/rules", &[("type", "alert"), ("group_limit", "1"), ("match[]", "{severity=\"page\"}")]),
    ("/alerts", &[]),
    ("/alertmanagers", &[]),
    ("/status/config", &[]),
    ("/status/runtimeinfo", &[]),
    ("/status/buildinfo", &[]),
    ("/status/flags", &[]),
    ("/status/tsdb", &[("limit", "3")]),
    ("/status/tsdb/blocks", &[]),
    ("/status/walreplay", &[]),
    ("/status/self_metrics", &[("metric_name_pattern", "headrope_.*")]),
    ("/notifications", &[]),
    ("/features", &[]),
    ("/targets", &[]),
    ("/targets", &[("state", "active"), ("scrapePool", "contract")]),
    ("/targets/metadata", &[("match_target", "{job=\"contract\"}"), ("limit", "5")]),
    (
        "/targets/relabel_steps",
        &[("scrapePool", "contract"), ("labels", "{\"__address__\":\"h:1\",\"env\":\"t\"}")],
    ),
    ("/scrape_pools", &[]),
    ("/scrape_pools/config", &[("scrapePool", "contract")]),
];
type Param = (&'static str, &'static str);
/// The last hour.
const RANGE: (Param, Param, Param) = (("start", "START"), ("end", "END"), ("step", "1m"));
/// Called by tests of their own: no JSON comes back, or none goes in.
const ELSEWHERE: &[&str] = &[
    "/notifications/live",
    "/write",
    "/read",
    "/otlp/v1/metrics",
    "/admin/tsdb/delete_series",
    "/admin/tsdb/clean_tombstones",
];

/// A gauge, a histogram with an exemplar.
async fn feed(server: &Server) {
    let now = now_ns();
    let exemplar = Exemplar {
        time_unix_nano: now - 2_000_000_000,
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        value: Some(exemplar::Value::AsDouble(0.3)),
        ..Exemplar::default()
    };
    let point = HistogramDataPoint {
        start_time_unix_nano: now - 60_000_000_000,
        time_unix_nano: now - 1_000_000_000,
        count: 3,
        sum: Some(1.5),
        bucket_counts: vec![1, 1, 1],
        explicit_bounds: vec![0.1, 0.5],
        exemplars: vec![exemplar],
        ..HistogramDataPoint::default()
    };
    let histogram = Histogram { data_points: vec![point], aggregation_temporality: 2 };
    let histogram = Metric {
        name: "request.duration".to_owned(),
        unit: "s".to_owned(),
        data: Some(Data::Histogram(histogram)),
        ..Metric::default()
    };
    let depth = gauge("queue.depth", &[("zone", "a")], &[(now - 1_000_000_000, 4.0)]);
    let request = metrics("shop", vec![depth, histogram]);
    // By the address that Prometheus gives its OTLP receiver.
    let url = server.url("/api/v1/otlp/v1/metrics");
    let sent = server.client.post(url).header("content-type", "application/x-protobuf");
    let answer = sent.body(request.encode_to_vec()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

fn form(params: &[(&str, &str)]) -> String {
    let now_s = now_ns() / 1_000_000_000;
    let value = |value: &str| match value {
        "START" => format!("{}.000", now_s - 3_600),
        "END" => now_s.to_string(),
        other => percent(other),
    };
    let pair = |(name, text): &(&str, &str)| format!("{}={}", percent(name), value(text));
    params.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Status, content type and text of a call.
async fn call(server: &Server, method: &str, path: &str, form: &str) -> (u16, String, String) {
    let path = path.replace("{name}", "job");
    let request = match method {
        "get" => server.client.get(server.url(&format!("/prometheus/api/v1{path}?{form}"))),
        "put" => server.client.put(server.url(&format!("/api/v1{path}?{form}"))),
        _ => server
            .client
            .post(server.url(&format!("/api/v1{path}")))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned()),
    };
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let kind = headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
    (status, kind.to_owned(), answer.text().await.unwrap())
}

/// Paths that the guide lists as left out.
fn left_out() -> Vec<String> {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/prometheus-api.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, table) = guide.split_once("## Left out").expect("the guide says what is left out");
    let table = table.split("\n## ").next().unwrap_or_default();
    table
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect()
}

#[tokio::test]
async fn every_path_of_the_contract_answers_in_its_shape_or_is_listed_as_left_out() {
    let Some(document) = openapi::document() else {
        eprintln!("skipped: the published contract is not beside this checkout");
        return;
    };
    let home = Home::new();
    home.write("rules.yaml", RULES);
    let target = Target::start(Answer::text("# TYPE a gauge\n# HELP a b\na 1\n")).await;
    home.write("prometheus.yml", &SCRAPE.replace("TARGET", &target.address));
    let config =
        "[alert]\nrules = [\"rules.yaml\"]\n[agent.scrape]\nconfig_files = [\"prometheus.yml\"]\n";
    let server = home.start(config).await;
    feed(&server).await;
    scrape::expect(&server, "up{job=\"contract\"}", &[1.0]).await;
    until("the alert to fire", async || {
        let alerts = server.get("/api/v1/alerts").await;
        (alerts["data"]["alerts"][0]["state"] == "firing").then_some(())
    })
    .await;
    let left_out = left_out();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let calls: Vec<_> = CALLS.iter().filter(|(called, _)| called == path).collect();
        let is_left_out = left_out.contains(path);
        let is_called = !calls.is_empty() || ELSEWHERE.contains(&path.as_str());
        assert!(is_called != is_left_out, "{path} is called: {is_called}, left out: {is_left_out}");
        for method in methods.as_object().unwrap().keys() {
            for (_, params) in &calls {
                check(&document, &server, (method, path), params).await;
            }
            if !calls.is_empty() {
                // What is wrong with a request is told in the error's shape.
                let (status, _, text) = call(&server, method, path, "query=%28&match[]=%28&limit=x&metric_name_pattern=%28&search[]=x&label=x&start=2&end=1&type=x").await;
                if status == 200 {
                    continue; // Nothing of it is this path's.
                }
                let answer: Value = serde_json::from_str(&text).unwrap();
                let schema = serde_json::json!({"$ref": "#/components/schemas/Error"});
                assert_eq!(openapi::faults(&document, &schema, &answer), [""; 0], "{path}: {text}");
                assert_eq!(
                    (status, answer["errorType"].as_str()),
                    (400, Some("bad_data")),
                    "{path}: {text}"
                );
            }
        }
    }
    server.stop().await;
}

/// The description that the server itself gives names every path it serves, and no other.
#[tokio::test]
async fn our_own_description_is_true() {
    let home = Home::new();
    let server = home.start("").await;
    let answer = server.client.get(server.url("/api/v1/openapi.yaml")).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/yaml"));
    let ours: Value = serde_saphyr::from_str(&answer.text().await.unwrap()).unwrap();
    for (path, methods) in ours["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let url = server.url(&format!("/prometheus/api/v1{}", path.replace("{name}", "job")));
            let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = server.client.request(method.clone(), url).send().await.unwrap();
            assert!(![404, 405].contains(&answer.status().as_u16()), "{method} {path}");
        }
    }
    if let Some(published) = openapi::document() {
        let left_out = left_out();
        for (path, methods) in published["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let is_ours = ours["paths"][path][method].is_object();
                assert_ne!(is_ours, left_out.contains(path), "{method} {path}");
            }
        }
    }
    server.stop().await;
}

async fn check(
    document: &Value,
    server: &Server,
    (method, path): (&str, &str),
    params: &[(&str, &str)],
) {
    let (status, kind, text) = call(server, method, path, &form(params)).await;
    assert_eq!(status, 200, "{method} {path} {params:?}: {text}");
    let content = &document["paths"][path][method]["responses"]["200"]["content"];
    if content["application/x-ndjson"].is_object() {
        assert!(kind.starts_with("application/x-ndjson"), "{path}: {kind}");
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let (last, batches) = lines.split_last().unwrap();
        assert_eq!(last["status"], "success", "{path}: {text}");
        assert!(last["has_more"].is_boolean(), "{path}: {text}");
        assert!(batches.iter().all(|batch| batch["results"].is_array()), "{path}: {text}");
        assert!(!batches.is_empty(), "{path}: nothing was found: {text}");
        return;
    }
    assert!(kind.starts_with("application/json"), "{path}: {kind}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let faults = openapi::faults(document, &content["application/json"]["schema"], &answer);
    assert_eq!(faults, [""; 0], "{method} {path} {params:?}: {text}");
    let is_empty = match &answer["data"] {
        Value::Array(items) => items.is_empty() && path != "/notifications",
        Value::Object(fields) => {
            fields.is_empty() || fields.get("result") == Some(&Value::Array(vec![]))
        }
        _ => false,
    };
    assert!(!is_empty, "{method} {path} {params:?} found nothing: {text}");
}
