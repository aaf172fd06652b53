//! Objectives through the program and in a real Chromium: requests that fail, a budget that is spent, an alert that says so.

use std::path::Path;
use std::time::Duration;

use load::proto::{bytes, fixed, integer, message};
use serde_json::Value;

use crate::browser::{inspect, is_ready, picture, until_shown};
use crate::server::{Home, Server, now_ns, until};
use crate::webdriver::Browser;

const SLO: &str = "
apiVersion: headrope/v1
kind: SLO
metadata: {name: checkout, labels: {team: shop}}
spec:
  service: shop
  description: Purchases succeed.
  objective: 99.9%
  interval: 1s
  delay: 1s
  indicator:
    ratio:
      bad: sum(increase(http_requests_total{code=~\"5..\"}[$window]))
      total: sum(increase(http_requests_total[$window]))
";

fn write_request(counts: [f64; 2]) -> Vec<u8> {
    let (now_ms, mut request) = (now_ns() / 1_000_000, Vec::new());
    for (code, count) in ["200", "500"].iter().zip(counts) {
        message(&mut request, 1, |series| {
            for (name, value) in [("__name__", "http_requests_total"), ("code", code)] {
                message(series, 1, |label| {
                    bytes(label, 1, name.as_bytes());
                    bytes(label, 2, value.as_bytes());
                });
            }
            message(series, 2, |sample| {
                fixed(sample, 1, count.to_bits());
                integer(sample, 2, now_ms);
            });
        });
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

/// A hundred requests a second, a fifth of which fails, until it is dropped.
fn requests(server: &Server) -> tokio::task::JoinHandle<()> {
    let (client, url) = (server.client.clone(), server.url("/api/v1/write"));
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        let mut counts = [0.0, 0.0];
        loop {
            ticks.tick().await;
            counts = [counts[0] + 16.0, counts[1] + 4.0];
            let request = client.post(&url).body(write_request(counts));
            let request = request.header("content-encoding", "snappy");
            let request = request.header("content-type", "application/x-protobuf");
            drop(request.header("x-prometheus-remote-write-version", "0.1.0").send().await);
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_objective_shows_its_budget_and_the_alert_that_spends_it() {
    let home = Home::new();
    home.write("slo.yaml", SLO);
    let server = home.start("[alert]\nslos = [\"slo.yaml\"]\n").await;
    let sender = requests(&server);
    let firing = |tier: &Value| tier["state"] == "firing";
    let slo = until("the page to be due", async || {
        let all = server.get("/api/headrope/v1/slos").await;
        let slo = all["slos"][0].clone();
        let tiers = slo["tiers"].as_array()?;
        tiers.iter().any(|tier| tier["alert"] == "SloActionFast" && firing(tier)).then_some(slo)
    })
    .await;
    assert_eq!((&slo["name"], &slo["objective"]), (&"checkout".into(), &99.9.into()), "{slo:#}");
    let fast = &slo["tiers"][0];
    let burn = fast["burn_short"].as_f64().unwrap();
    // A fifth of a thousandth's budget is 200 times too fast; the interval's lower end is below.
    assert!((100.0..200.0).contains(&burn), "{slo:#}");
    let browser = Browser::start().await;
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
    std::fs::create_dir_all(&out).unwrap();
    let mut faults = Vec::new();
    for (width, height) in [(1280, 900), (390, 844)] {
        browser.resize(width, height).await;
        for (theme, lang) in [("light", "en"), ("dark", "en"), ("light", "zh"), ("dark", "zh")] {
            let name = format!("slos-{theme}-{lang}-{width}");
            let path = format!("/slos?from=now-2m&lang={lang}&theme={theme}");
            browser.goto(&server.url(&path)).await;
            is_ready(&browser).await;
            until_shown(&browser, "[data-testid=slo-tier]", 6).await;
            // The alert, and the objective by its worst one.
            let firing =
                "[data-testid=slo-tier]:first-child .badge.error, .slo > .panel-head .badge.error";
            until_shown(&browser, firing, 2).await;
            let seen = inspect(&browser, &server).await.into_iter();
            faults.extend(seen.map(|fault| format!("{name}: {fault}")));
            picture(&browser, &out.join(format!("{name}.png"))).await;
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    sender.abort();
    server.stop().await;
}
