//! An incident in a real Chromium, over a real HAProxy: it fills itself, says what every guard said, and its buttons approve
//! and take back.

use std::path::Path;

use serde_json::json;

use crate::browser::{click, inspect, is_ready, picture, until_shown};
use crate::haproxy::{HELPS, Proxy, RULES, Telemetry, runbook, until_state};
use crate::server::{Home, Server, until};
use crate::webdriver::Browser;

/// Writes into an input, as typing does.
async fn fill(browser: &Browser, testid: &str, text: &str) {
    let text = json!(text);
    let script = format!(
        r#"const input = document.querySelector("[data-testid={testid}]");
        input.value = {text};
        input.dispatchEvent(new InputEvent("input", {{ bubbles: true }}));
        return true"#
    );
    assert_eq!(browser.execute(&script).await, true);
}

pub(crate) async fn until_text(browser: &Browser, selector: &str, part: &str) {
    let (selector, wanted) = (json!(selector), json!(part));
    let script = format!(
        "return Array.from(document.querySelectorAll({selector})).some(one => one.textContent.includes({wanted}))"
    );
    until(&format!("{selector} with {part}"), async || {
        browser.execute(&script).await.as_bool().filter(|is| *is)
    })
    .await;
}

/// Both pages in every theme, language and width; what is wrong with them.
async fn look(browser: &Browser, server: &Server, incident: &str) {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
    std::fs::create_dir_all(&out).unwrap();
    let mut faults = Vec::new();
    for (width, height) in [(1280, 900), (390, 844)] {
        browser.resize(width, height).await;
        for (theme, lang) in [("light", "en"), ("dark", "en"), ("light", "zh"), ("dark", "zh")] {
            let pages = [
                ("incidents", "/incidents".to_owned(), "[data-testid=incident-row]"),
                ("incident", format!("/incidents/{incident}"), "[data-testid=run]"),
            ];
            for (name, path, mark) in pages {
                let name = format!("{name}-{theme}-{lang}-{width}");
                browser.goto(&server.url(&format!("{path}?lang={lang}&theme={theme}"))).await;
                is_ready(browser).await;
                until_shown(browser, mark, 1).await;
                let seen = inspect(browser, server).await.into_iter();
                faults.extend(seen.map(|fault| format!("{name}: {fault}")));
                picture(browser, &out.join(format!("{name}.png"))).await;
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_is_approved_seen_and_taken_back_by_its_buttons() {
    let home = Home::new();
    let proxy = Proxy::start(&home).await;
    home.write("runbook.yaml", &runbook(&home, HELPS, "{ttl: 10m, when: ttl}"));
    home.write("rules.yaml", RULES);
    let config = "[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"runbook.yaml\"]\ntrust = \"approve\"\n";
    let server = home.start(config).await;
    let telemetry = Telemetry::start(&server, [0.1, 0.1, 0.1]);
    telemetry.slow.send_replace([0.1, 0.9, 0.1]);
    let run = until_state(&server, "awaiting").await;
    let incident = run["incident"].as_str().unwrap();
    let browser = Browser::start().await;
    browser.resize(1280, 900).await;
    browser.goto(&server.url("/incidents?lang=en&theme=light&refresh=1s")).await;
    is_ready(&browser).await;
    until_text(&browser, "[data-testid=incident-row]", "waits for approval").await;
    click(&browser, "incident-row").await;
    until_shown(&browser, "[data-testid=page-incident]", 1).await;
    until_text(&browser, "[data-testid=verdict-row]", "approval").await;
    // Nobody may do anything without a name.
    click(&browser, "approve").await;
    until_shown(&browser, "[data-testid=ask-send]:disabled", 1).await;
    fill(&browser, "ask-name", "ada").await;
    until_shown(&browser, "[data-testid=ask-send]:disabled", 0).await;
    click(&browser, "ask-send").await;
    proxy.until_weight("s2", 10, &server).await;
    until_state(&server, "holding").await;
    until_text(&browser, "[data-testid=held-row]", "100").await;
    until_text(&browser, "[data-testid=run]", "it helped").await;
    until_text(&browser, "[data-testid=timeline]", "ada").await;
    look(&browser, &server, incident).await;
    browser.resize(1280, 900).await;
    browser
        .goto(&server.url(&format!("/incidents/{incident}?lang=en&theme=light&refresh=1s")))
        .await;
    is_ready(&browser).await;
    click(&browser, "acknowledge").await;
    // The name is remembered.
    until_shown(&browser, "[data-testid=ask-send]:disabled", 0).await;
    click(&browser, "ask-send").await;
    until_text(&browser, ".page-head", "acknowledged by ada").await;
    click(&browser, "revert").await;
    fill(&browser, "ask-why", "enough").await;
    click(&browser, "ask-send").await;
    proxy.until_weight("s2", 100, &server).await;
    until_text(&browser, "[data-testid=timeline]", "asked for by ada: enough").await;
    until_shown(&browser, "[data-testid=held-row]", 0).await;
    click(&browser, "silence").await;
    until_text(&browser, ".page-head", "Silenced until").await;
    let silences = server.get("/api/v2/silences").await;
    assert_eq!(silences[0]["status"]["state"], "active", "{silences:#}");
    browser.goto(&server.url("/incidents?lang=en&theme=light&refresh=1s")).await;
    is_ready(&browser).await;
    click(&browser, "switch").await;
    fill(&browser, "ask-why", "a test").await;
    click(&browser, "ask-send").await;
    until_text(&browser, "[data-testid=actions-off]", "a test").await;
    server.stop().await;
}
