//! How long it takes from a fault to the first protective effect: the loop beside Debian's Prometheus and Alertmanager with a
//! webhook that does the same, against the same HAProxy and the same exporter.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, post};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::haproxy::{HELPS, Proxy, Telemetry, runbook};
use crate::server::{Home, Server, client, until};

/// Latencies of three members, as an exporter and as whoever sets them sees them.
type Latencies = watch::Sender<[f64; 3]>;

/// An exporter of the latencies; its address.
async fn exporter(latencies: &Arc<Latencies>) -> String {
    let latencies = Arc::clone(latencies);
    let page = move || {
        let now = *latencies.borrow();
        let line =
            |i: usize| format!("member_latency_seconds{{member=\"s{}\"}} {}\n", i + 1, now[i]);
        let text = format!(
            "# TYPE member_latency_seconds gauge\n{}",
            (0..3).map(line).collect::<String>()
        );
        async move { ([("content-type", "text/plain; version=0.0.4")], text) }
    };
    let app = axum::Router::new().route("/metrics", get(page));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Ends with the test's runtime.
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// A webhook that takes weight from the member of each alert that fires, and gives it back when it is over; its address.
async fn webhook(proxy: &Arc<Proxy>) -> String {
    let proxy = Arc::clone(proxy);
    let take = move |body: axum::Json<Value>| {
        let proxy = Arc::clone(&proxy);
        async move {
            for alert in body["alerts"].as_array().unwrap() {
                let member = alert["labels"]["member"].as_str().unwrap();
                let weight = if alert["status"] == "firing" { 10 } else { 100 };
                proxy.ask(&format!("set server be_shop/{member} weight {weight}")).await;
            }
        }
    };
    let app = axum::Router::new().route("/hook", post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// Seconds between the fault of a member and the effect.
async fn fault(proxy: &Proxy, latencies: &Latencies, member: usize) -> f64 {
    let mut now = [0.1; 3];
    now[member] = 0.9;
    let (name, begin) = (format!("s{}", member + 1), Instant::now());
    latencies.send_replace(now);
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    while proxy.weight(&name).await != "10 (initial 100)" {
        ticks.tick().await;
        assert!(begin.elapsed() < Duration::from_secs(180), "nothing was done");
    }
    let took = begin.elapsed().as_secs_f64();
    latencies.send_replace([0.1; 3]);
    took
}

async fn healed(proxy: &Proxy, member: usize) {
    let name = format!("s{}", member + 1);
    until("the weight to be given back", async || {
        (proxy.weight(&name).await == "100 (initial 100)").then_some(())
    })
    .await;
}

fn told(name: &str, mut took: Vec<f64>) -> String {
    took.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few rounds"
        )]
        let place = ((took.len() as f64 * share).ceil() as usize).clamp(1, took.len()) - 1;
        took[place]
    };
    format!(
        "{name}: {} faults, p50 {:.2} s, p95 {:.2} s, most {:.2} s",
        took.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    )
}

/// Debian's programs, with `interval` between scrapes and evaluations.
async fn debian(
    home: &Home,
    (target, hook): (&str, &str),
    interval: &str,
    routing: &str,
) -> [Child; 2] {
    let port = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let (manager, server) = (port(), port());
    let rule = |member: &str| {
        format!(
            "  - alert: Slow_{member}\n    expr: member_latency_seconds{{member=\"{member}\"}} > 0.3\n"
        )
    };
    let rules = ["s1", "s2", "s3"].map(rule).concat();
    home.write("baseline-rules.yml", &format!("groups:\n- name: shop\n  rules:\n{rules}"));
    let config = format!(
        "global: {{scrape_interval: {interval}, evaluation_interval: {interval}}}\nrule_files: [baseline-rules.yml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{manager}']}}]}}]}}\n\
         scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    let config = home.write("baseline.yml", &config);
    let routes = format!(
        "route: {{receiver: hook, group_by: [alertname]{routing}}}\nreceivers: [{{name: hook, webhook_configs: [{{url: '{hook}'}}]}}]\n"
    );
    let routes = home.write("baseline-routes.yml", &routes);
    let quiet = |mut command: Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().expect("installed by `cargo xtask install test`")
    };
    let mut alertmanager = Command::new("prometheus-alertmanager");
    alertmanager.arg(format!("--config.file={}", routes.display()));
    alertmanager.arg(format!("--storage.path={}", home.path().join("am").display()));
    alertmanager.args([&format!("--web.listen-address={manager}"), "--cluster.listen-address="]);
    let mut prometheus = Command::new("prometheus");
    prometheus.arg(format!("--config.file={}", config.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", home.path().join("tsdb").display()));
    prometheus.arg(format!("--web.listen-address={server}"));
    let children = [quiet(alertmanager), quiet(prometheus)];
    let asked = client();
    until("Prometheus to have scraped", async || {
        let url = format!("http://{server}/api/v1/query?query=member_latency_seconds");
        let answer: Value = asked.get(url).send().await.ok()?.json().await.ok()?;
        (answer["data"]["result"].as_array()?.len() == 3).then_some(())
    })
    .await;
    children
}

const RULES: &str = "
groups:
- name: shop
  interval: 1s
  rules:
  - alert: MemberSlow
    expr: member_latency_seconds > 0.3
";

/// Headrope with the same exporter, or with latencies sent to it.
async fn headrope(home: &Home, target: Option<&str>) -> Server {
    let book = runbook(home, HELPS, "{ttl: 10m}");
    let guard = "  guard: {cooldown: 0s, budget: {per_target: 99/1h, per_rule: 99/1h, per_kind: 99/1h, global: 99/1h}, flap: {max_flips: 99}}\n  steps:";
    home.write("runbook.yaml", &book.replacen("  steps:", guard, 1));
    home.write("rules.yaml", RULES);
    let mut config = "[alert]\nrules = [\"rules.yaml\"]\nevent_driven = true\n\
                      [action]\nrunbooks = [\"runbook.yaml\"]\ntrust = \"auto\"\n"
        .to_owned();
    if let Some(target) = target {
        home.write(
            "scrape.yml",
            &format!(
                "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{target}']}}]}}]\n"
            ),
        );
        config.push_str("[agent.scrape]\nconfig_files = [\"scrape.yml\"]\n");
    }
    let server = home.start(&config).await;
    if target.is_some() {
        until("the exporter to be scraped", async || {
            (server.promql("member_latency_seconds").await.len() == 3).then_some(())
        })
        .await;
    }
    server
}

async fn idle(server: &Server) {
    until("everything to be over", async || {
        let all = server.get("/api/headrope/v1/incidents").await;
        let is_over = |one: &Value| {
            let runs = one["runs"].as_array().unwrap();
            one["state"] != "open"
                && runs.iter().all(|run| ["closed", "refused"].iter().any(|s| run["state"] == *s))
        };
        all["incidents"].as_array()?.iter().all(is_over).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: sixty faults and more"]
async fn from_a_fault_to_its_effect_beside_debian() {
    let home = Home::new();
    let proxy = Arc::new(Proxy::start(&home).await);
    let latencies = Arc::new(Latencies::new([0.1; 3]));
    let (target, hook) = (exporter(&latencies).await, webhook(&proxy).await);
    let mut lines = Vec::new();

    let server = headrope(&home, None).await;
    let telemetry = Telemetry::start(&server, [0.1; 3]);
    let mut took = Vec::new();
    for i in 0..20 {
        took.push(fault(&proxy, &telemetry.slow, i % 3).await);
        healed(&proxy, i % 3).await;
        idle(&server).await;
    }
    lines.push(told("Headrope, latencies sent each 200 ms", took));
    drop(telemetry);
    server.stop().await;

    let home_of_scrape = Home::new();
    std::fs::hard_link(home.path().join("haproxy.cfg"), home_of_scrape.path().join("haproxy.cfg"))
        .unwrap();
    std::os::unix::fs::symlink(
        home.path().join("admin.sock"),
        home_of_scrape.path().join("admin.sock"),
    )
    .unwrap();
    let server = headrope(&home_of_scrape, Some(&target)).await;
    let mut took = Vec::new();
    for i in 0..20 {
        took.push(fault(&proxy, &latencies, i % 3).await);
        healed(&proxy, i % 3).await;
        idle(&server).await;
    }
    lines.push(told("Headrope, scraping each second", took));
    server.stop().await;

    let quick = ", group_wait: 0s, group_interval: 1s";
    let children = debian(&home, (&target, &hook), "1s", quick).await;
    let mut took = Vec::new();
    for i in 0..20 {
        took.push(fault(&proxy, &latencies, i % 3).await);
        healed(&proxy, i % 3).await;
    }
    lines.push(told(
        "Prometheus and Alertmanager, each second, group_wait 0s, group_interval 1s",
        took,
    ));
    drop(children);

    let again = Home::new();
    let children = debian(&again, (&target, &hook), "15s", "").await;
    let mut took = Vec::new();
    for i in 0..3 {
        took.push(fault(&proxy, &latencies, i).await);
        proxy.ask(&format!("set server be_shop/s{} weight 100", i + 1)).await;
    }
    lines.push(told("Prometheus and Alertmanager as Debian sets them (15s, group_wait 30s)", took));
    drop(children);
    println!("{}", lines.join("\n"));
}
