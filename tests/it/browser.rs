//! The dashboard in a real Chromium: charts that move, every page in both languages, themes and widths, and pictures
//! of all of them in `tests/out`.
//!
//! Pages tell that all their visible queries have settled by `data-state="ready"`.

use std::path::Path;

use serde_json::{Value, json};

use crate::server::{Home, Server, percent, until};
use crate::shop;
use crate::webdriver::Browser;

const RULES: &str = r#"
groups:
- name: shop
  interval: 1s
  rules:
  - alert: QueueGrows
    expr: queue_length > 100
    labels: {severity: page}
    annotations: {summary: 'the queue of {{ $labels.queue }} holds {{ $value }}'}
  - alert: HostHot
    expr: 'sum(rate(system_cpu_time_seconds_total{cpu_mode="idle"}[30s])) < 0'
    for: 1m
  - record: host:network:rate
    expr: sum by (host_name) (rate(system_network_io_bytes_total[30s]))
"#;

/// A page as it is named in the pictures, its path, and what it must show; `{host}` and `{trace}` are filled in.
const PAGES: [(&str, &str, &str); 15] = [
    ("home", "/?from=now-2m", "[data-testid=host-card]"),
    ("hosts", "/hosts", "main a[href*='/hosts/']"),
    ("host", "/hosts/{host}?from=now-2m", "[data-testid=process-row]"),
    (
        "metrics",
        "/explore/metrics?from=now-2m&q=sum%20by%20(cpu_mode)%20(rate(system_cpu_time_seconds_total%5B30s%5D))",
        "main canvas",
    ),
    (
        "values",
        "/explore/metrics?from=now-2m&view=table&q=system_memory_usage_bytes&q2=system_cpu_load_average_1m",
        "[data-testid=values] ~ [data-testid=values]",
    ),
    (
        "explain",
        "/explore/metrics?from=now-2m&view=explain&q=sum%20by%20(cpu_mode)%20(rate(system_cpu_time_seconds_total%5B30s%5D))%20%2F%20scalar(count(system_cpu_time_seconds_total))",
        "[data-testid=explain-row]",
    ),
    ("cardinality", "/explore/metrics?part=cardinality", "[data-testid=cardinality] .count-row"),
    (
        "sql",
        "/explore/sql?q=SELECT%20service_name%2C%20count(*)%20FROM%20logs%20GROUP%20BY%201",
        "[data-testid=sql-result]",
    ),
    ("logs", "/logs", "[data-testid=log-row]"),
    ("traces", "/traces", "[data-testid=trace-row]"),
    ("trace", "/trace/{trace}", "[data-testid=span-row]"),
    ("alerts", "/alerts", "[data-testid=delivery-row]"),
    ("incidents", "/incidents", "[data-testid=no-incidents]"),
    ("no-slos", "/slos", "[data-testid=no-slos]"),
    // Whoever watches may be asking something just then.
    ("queries", "/queries", "[data-testid=no-queries], [data-testid=query-row]"),
];

/// Whether every visible query has settled.
const READY: &str = r#"return document.readyState === "complete"
    && document.querySelector('[data-state="ready"]') !== null
    && document.querySelector('[data-state="loading"]') === null"#;

/// What charts and sparklines show; empty ones are left out.
const DRAWINGS: &str = r#"
    const drawn = canvas => {
        const blank = document.createElement("canvas");
        [blank.width, blank.height] = [canvas.width, canvas.height];
        const picture = canvas.toDataURL();
        return canvas.width > 50 && canvas.height > 20 && picture !== blank.toDataURL() ? [picture] : [];
    };
    return Array.from(document.querySelectorAll("main canvas")).flatMap(drawn)
        .concat(Array.from(document.querySelectorAll(".host-sparks path")).map(path => path.outerHTML));"#;

pub(crate) async fn is_ready(browser: &Browser) {
    let ready = async || browser.execute(READY).await.as_bool().filter(|ready| *ready);
    until("the page to be ready", ready).await;
}

async fn start(home: &Home) -> Server {
    home.write("rules.yaml", RULES);
    // Nobody listens on port 1: its deliveries stay pending, with the reason.
    let config = "[alert]\nrules = [\"rules.yaml\"]\n\n[[action.receivers]]\nname = \"oncall\"\n\
        url = \"http://127.0.0.1:1/hook\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n";
    let server = home.launch(home.command(config)).await;
    let page = server.client.get(server.url("/")).send().await.unwrap().text().await.unwrap();
    assert!(
        page.contains(".js") || page.contains(".wasm"),
        "the server holds no dashboard: build it with `cargo xtask ui` and the server after it, or run `make test`\n{page}"
    );
    server
}

/// Name of this host, once the agent has told it.
async fn host(server: &Server) -> String {
    until("this host to be seen", async || {
        let hosts = server.get("/api/headrope/v1/hosts").await;
        let hosts = hosts.as_array().or_else(|| hosts["hosts"].as_array())?;
        hosts.iter().find_map(|host| host["name"].as_str().map(str::to_owned))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_chart_moves() {
    let home = Home::new();
    let server = start(&home).await;
    let browser = Browser::start().await;
    browser.resize(1280, 900).await;
    // Sparklines of the overview follow at their own, slower pace.
    for (path, n_wanted) in [("/".to_owned(), 1), (format!("/hosts/{}", host(&server).await), 3)] {
        browser.goto(&server.url(&path)).await;
        is_ready(&browser).await;
        let mut last = Value::Null;
        let mut n_changes = 0;
        until("a chart to move", async || {
            let first = browser.execute(DRAWINGS).await.as_array()?.first()?.clone();
            n_changes += u32::from(first != last && !last.is_null());
            last = first;
            (n_changes == n_wanted).then_some(())
        })
        .await;
    }
    let console = browser.console().await;
    assert!(console.iter().all(|line| !line.starts_with("SEVERE")), "{console:#?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_told_and_its_return_noticed() {
    let home = Home::new();
    let server = start(&home).await;
    let address = server.addresses.http.clone();
    let browser = Browser::start().await;
    browser.resize(1280, 900).await;
    browser.goto(&server.url("/")).await;
    is_ready(&browser).await;
    assert!(!has(&browser, "[data-testid=banner-lost]").await);
    server.kill().await;
    let told = async || has(&browser, "[data-testid=banner-lost]").await.then_some(());
    until("the page to tell that the server is gone", told).await;
    let server = home.launch(home.command_at(&address, "")).await;
    let back = async || (!has(&browser, "[data-testid=banner-lost]").await).then_some(());
    until("the page to notice that it is back", back).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_in_both_languages_themes_and_widths() {
    let home = Home::new();
    let server = start(&home).await;
    shop::seed(&server).await;
    let host = host(&server).await;
    let trace = shop::trace_hex(3);
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
    std::fs::create_dir_all(&out).unwrap();
    let browser = Browser::start().await;
    let mut faults = Vec::new();
    for (width, height) in [(1280, 900), (390, 844)] {
        browser.resize(width, height).await;
        for (theme, lang) in [("light", "en"), ("dark", "en"), ("light", "zh"), ("dark", "zh")] {
            for (page, path, shown) in PAGES {
                let path = path.replace("{host}", &host).replace("{trace}", &trace);
                let mark = if path.contains('?') { '&' } else { '?' };
                browser.goto(&server.url(&format!("{path}{mark}lang={lang}&theme={theme}"))).await;
                is_ready(&browser).await;
                let name = format!("{page}-{theme}-{lang}-{width}");
                if !has(&browser, shown).await {
                    faults.push(format!("{name}: shows no {shown}"));
                }
                faults.extend(
                    inspect(&browser, &server)
                        .await
                        .into_iter()
                        .map(|fault| format!("{name}: {fault}")),
                );
                picture(&browser, &out.join(format!("{name}.png"))).await;
            }
        }
    }
    // For the README, now that there is a minute of data.
    browser.resize(1280, 900).await;
    browser.goto(&server.url(&format!("/hosts/{host}?from=now-1m&lang=en&theme=dark"))).await;
    is_ready(&browser).await;
    picture(&browser, &out.join("readme.png")).await;
    assert!(faults.is_empty(), "{faults:#?}");
    server.stop().await;
}

/// Takes hours: half a year of windows, each sorted; and is too long for a line of any screen.
const ENDLESS: &str = "quantile_over_time(0.5, quantile_over_time(0.5, vector(1)[1d:1s])[1d:1s])
  / on (service) group_left () count by (service) (http_server_request_duration_seconds_count{service=~\"checkout|cart|payment\"})";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_query_is_shown_everywhere_and_ended_by_its_button() {
    let home = Home::new();
    let server = home.start("[query]\ntimeout = \"1h\"\n").await;
    let question = server.url(&format!("/api/v1/query?query={}", percent(ENDLESS)));
    let asked = tokio::spawn(server.client.get(question).send());
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
    std::fs::create_dir_all(&out).unwrap();
    let browser = Browser::start().await;
    let mut faults = Vec::new();
    for (width, height) in [(1280, 900), (390, 844)] {
        browser.resize(width, height).await;
        for (theme, lang) in [("light", "en"), ("dark", "en"), ("light", "zh"), ("dark", "zh")] {
            let name = format!("running-{theme}-{lang}-{width}");
            browser.goto(&server.url(&format!("/queries?lang={lang}&theme={theme}"))).await;
            is_ready(&browser).await;
            until_shown(&browser, "[data-testid=query-row]", 1).await;
            let seen = inspect(&browser, &server).await.into_iter();
            faults.extend(seen.map(|fault| format!("{name}: {fault}")));
            // The whole text can be read, and the button is in reach.
            let inside = r#"const row = document.querySelector("[data-testid=query-row]");
                const button = row.querySelector("[data-testid=cancel-query]").getBoundingClientRect();
                const text = row.querySelector("th > *");
                return button.right <= window.innerWidth && text.scrollWidth <= text.clientWidth"#;
            if browser.execute(inside).await != true {
                faults.push(format!("{name}: the text or the button is cut off"));
            }
            picture(&browser, &out.join(format!("{name}.png"))).await;
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    click(&browser, "cancel-query").await;
    until_shown(&browser, "[data-testid=no-queries]", 1).await;
    assert_eq!(asked.await.unwrap().unwrap().status(), 499);
    server.stop().await;
}

/// Writes into the query editor with this number, as typing does.
async fn write(browser: &Browser, editor: usize, text: &str) {
    let text = json!(text);
    let script = format!(
        r#"const area = document.querySelectorAll(".editor-area")[{editor}];
        area.value = {text};
        area.dispatchEvent(new InputEvent("input", {{ bubbles: true }}));
        return true"#
    );
    assert_eq!(browser.execute(&script).await, true);
}

pub(crate) async fn click(browser: &Browser, testid: &str) {
    let script =
        format!("document.querySelector('[data-testid=\"{testid}\"]').click(); return true");
    assert_eq!(browser.execute(&script).await, true, "{testid}");
}

pub(crate) async fn until_shown(browser: &Browser, selector: &str, n: u64) {
    let quoted = json!(selector);
    let script = format!("return document.querySelectorAll({quoted}).length");
    let shown = async || (browser.execute(&script).await.as_u64()? == n).then_some(());
    until(&format!("{n} of {selector}"), shown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_explorer_asks_several_queries_and_remembers_them() {
    let home = Home::new();
    let server = start(&home).await;
    host(&server).await;
    let browser = Browser::start().await;
    browser.resize(1280, 900).await;
    browser.goto(&server.url("/explore/metrics?from=now-2m")).await;
    is_ready(&browser).await;
    until_shown(&browser, ".editor-area", 1).await;
    click(&browser, "add-query").await;
    until_shown(&browser, ".editor-area", 2).await;
    write(&browser, 0, "system_memory_usage_bytes").await;
    write(&browser, 1, "sum by (cpu_mode) (rate(system_cpu_time_seconds_total[30s]))").await;
    click(&browser, "run").await;
    until_shown(&browser, "[data-testid=chart-explore], [data-testid=chart-explore-more]", 2).await;
    click(&browser, "view-table").await;
    until_shown(&browser, "[data-testid=values]", 2).await;
    // The agent's metrics have no exemplars, and each of the two queries says so.
    click(&browser, "view-exemplars").await;
    until_shown(&browser, "[data-testid=empty]", 2).await;
    click(&browser, "view-explain").await;
    // One row of the first query; of the second the sum, the rate and what is selected.
    until_shown(&browser, "[data-testid=explain-row]", 4).await;
    // The mistake of one query does not take the other's answer away.
    write(&browser, 1, "sum by (cpu_mode) (").await;
    click(&browser, "run").await;
    until_shown(&browser, "[data-testid=error]", 1).await;
    until_shown(&browser, "[data-testid=explain-row]", 1).await;
    assert!(has(&browser, ".editor-text .wrong").await, "the place of the mistake is underlined");
    browser.goto(&server.url("/explore/metrics?part=history")).await;
    until_shown(&browser, "[data-testid=history-row]", 3).await;
    let newest = "return document.querySelector('[data-testid=history-row]').innerText";
    assert_eq!(browser.execute(newest).await, "system_memory_usage_bytes");
    server.stop().await;
}

/// Whether the page shows something that matches.
async fn has(browser: &Browser, selector: &str) -> bool {
    let quoted = json!(selector);
    browser.execute(&format!("return document.querySelector({quoted}) !== null")).await == true
}

/// What is wrong with the page as it stands.
pub(crate) async fn inspect(browser: &Browser, server: &Server) -> Vec<String> {
    let mut faults = browser.console().await;
    faults.retain(|line| line.starts_with("SEVERE"));
    let seen = browser
        .execute(
            r#"return {
                title: document.title,
                text: document.body.innerText.trim().length,
                errors: Array.from(document.querySelectorAll("[data-testid=error]")).map(note => note.innerText),
                overflow: document.documentElement.scrollWidth - window.innerWidth,
                requests: performance.getEntriesByType("resource").map(entry => entry.name),
            }"#,
        )
        .await;
    if seen["title"] == "" || seen["text"].as_u64().unwrap_or(0) < 20 {
        faults.push(format!("nothing to read: {}", seen["text"]));
    }
    if seen["overflow"].as_i64().unwrap_or(1) > 0 {
        faults.push(format!("{} px too wide", seen["overflow"]));
    }
    if seen["errors"] != json!([]) {
        faults.push(format!("shows errors: {}", seen["errors"]));
    }
    let origin = server.url("/");
    let foreign = |name: &&str| {
        !name.starts_with(&origin) && !name.starts_with("data:") && !name.starts_with("blob:")
    };
    let requests = seen["requests"].as_array().into_iter().flatten().filter_map(Value::as_str);
    faults.extend(requests.filter(foreign).map(|name| format!("asks {name}")));
    faults
}

pub(crate) async fn picture(browser: &Browser, path: &Path) {
    let shot = browser.devtools("Page.captureScreenshot", json!({"format": "png"})).await;
    let bytes = unbase64(shot["data"].as_str().unwrap());
    assert!(bytes.starts_with(b"\x89PNG"));
    std::fs::write(path, bytes).unwrap();
}

/// Decodes standard base64.
fn unbase64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').collect();
    let group = |four: &[u8]| {
        let bits =
            four.iter().fold(0, |bits, byte| bits << 6 | value(*byte)) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
