//! Rule files and scrape files read anew while the server runs.

use serde_json::Value;

use crate::scrape::{Answer, Target, expect};
use crate::server::{Home, Server, until};

fn rules(names: &[&str]) -> String {
    let rule = |name: &&str| {
        format!("  - alert: {name}\n    expr: vector(1) > 0\n    labels: {{severity: page}}\n")
    };
    let rules: String = names.iter().map(rule).collect();
    format!("groups:\n- name: all\n  interval: 1s\n  rules:\n{rules}")
}

fn scrapes(jobs: &[(&str, &Target)]) -> String {
    let job = |(name, target): &(&str, &Target)| {
        let address = &target.address;
        format!("- {{job_name: {name}, static_configs: [{{targets: ['{address}']}}]}}\n")
    };
    let jobs: String = jobs.iter().map(job).collect();
    format!("global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}\nscrape_configs:\n{jobs}")
}

/// Name and start of each firing alert.
async fn firing(server: &Server) -> Vec<(String, String)> {
    let alerts = server.get("/api/v1/alerts").await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = alerts["data"]["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["activeAt"])))
        .collect();
    found.sort();
    found
}

async fn reload(server: &Server) -> (u16, String) {
    let answer = server.client.post(server.url("/-/reload")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn pools(server: &Server) -> Value {
    server.get("/api/v1/scrape_pools").await["data"]["scrapePools"].clone()
}

async fn metric(server: &Server, name: &str) -> String {
    let text =
        server.client.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().to_owned()
}

#[tokio::test]
async fn new_files_take_effect_keep_states_and_one_that_is_wrong_changes_nothing() {
    let home = Home::new();
    let (one, two) = (
        Target::start(Answer::text("a 1\nb 1\n")).await,
        Target::start(Answer::text("c 3\n")).await,
    );
    home.write("rules.yaml", &rules(&["First"]));
    home.write("scrape.yaml", &scrapes(&[("one", &one)]));
    let config = "lifecycle = true\n[alert]\nrules = [\"rules.yaml\"]\n[agent.scrape]\nconfig_files = [\"scrape.yaml\"]\n";
    let server = home.start(config).await;
    expect(&server, "a{job=\"one\"}", &[1.0]).await;
    let first = until("the alert to fire", async || firing(&server).await.pop()).await;
    assert_eq!(first.0, "First");

    home.write("rules.yaml", &rules(&["First", "Second"]));
    home.write("scrape.yaml", &scrapes(&[("one", &one), ("two", &two)]));
    assert_eq!(reload(&server).await, (200, String::new()));
    expect(&server, "c{job=\"two\"}", &[3.0]).await;
    let both = until("both alerts to fire", async || {
        let found = firing(&server).await;
        (found.len() == 2).then_some(found)
    });
    assert_eq!(both.await[0], first, "it fires since when it began");
    assert_eq!(metric(&server, "headrope_config_last_reload_successful").await, "1");

    // A job that is gone: its series end, those of the other do not.
    home.write("scrape.yaml", &scrapes(&[("two", &two)]));
    assert_eq!(reload(&server).await.0, 200);
    assert_eq!(pools(&server).await, serde_json::json!(["two"]));
    expect(&server, "a{job=\"one\"} or up{job=\"one\"}", &[]).await;
    expect(&server, "c + on () group_left up{job=\"two\"}", &[4.0]).await;

    for (file, text, wanted) in [
        (
            "rules.yaml",
            "groups:\n- name: all\n  rules: [{record: x, expr: 'sum('}]\n",
            "rules.yaml",
        ),
        ("scrape.yaml", "scrape_configs: [{job_name: x, scrap_interval: 1s}]\n", "scrap_interval"),
    ] {
        let before = std::fs::read_to_string(home.path().join(file)).unwrap();
        home.write(file, text);
        let (status, said) = reload(&server).await;
        assert_eq!(status, 500);
        assert!(said.starts_with("failed to reload config: ") && said.contains(wanted), "{said}");
        assert_eq!(metric(&server, "headrope_config_last_reload_successful").await, "0");
        let info = server.get("/api/v1/status/runtimeinfo").await;
        assert_eq!(info["data"]["reloadConfigSuccess"], false);
        let notes = server.get("/api/v1/notifications").await.to_string();
        assert!(notes.contains("changed files were not taken"), "{notes}");
        home.write(file, &before);
    }
    assert_eq!(pools(&server).await, serde_json::json!(["two"]));
    assert_eq!(firing(&server).await.len(), 2);
    // By signal, too.
    home.write("scrape.yaml", &scrapes(&[("two", &two), ("three", &one)]));
    server.hang_up();
    expect(&server, "b{job=\"three\"}", &[1.0]).await;
    assert_eq!(metric(&server, "headrope_config_last_reload_successful").await, "1");
    server.stop().await;
}
