//! The shop of `make demo`, with its real PostgreSQL, Redis and HAProxy: an instance turns slow, is drained, the cure is
//! verified, and what was changed is given back when the instance is well again. All times are those of the events.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::browser::{is_ready, picture};
use crate::browser_incident::until_text;
use crate::server::{Home, client, percent, program, until};
use crate::webdriver::Browser;

/// How long after the fault the instance gets no customers any more, ns. What it takes is printed.
const DRAINED_NS: i64 = 3_000_000_000;
/// A machine whose cores are busy with other tests is given more.
const DRAINED_BUSY_NS: i64 = 15_000_000_000;

/// The running demo; dropping it ends everything it started.
struct Demo {
    home: Home,
    child: Child,
    state: Value,
    client: reqwest::Client,
}

impl Demo {
    async fn start() -> Self {
        let home = Home::new();
        let mut child = Self::command(&home, &["up", "--no-agent"]).spawn().unwrap();
        let path = home.path().join("demo.json");
        let state = until("the shop to open", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the demo ended with {status}; `cargo xtask install demo` installs its middleware");
            }
            serde_json::from_slice(&std::fs::read(&path).ok()?).ok()
        })
        .await;
        Self { home, child, state, client: client() }
    }

    fn command(home: &Home, args: &[&str]) -> Command {
        let mut command = Command::new(program().with_file_name("headrope-demo"));
        command.arg("--state").arg(home.path().join("demo.json")).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Puts a fault in, through the command that people use.
    async fn fault(&self, words: &[&str]) {
        let status = Self::command(&self.home, &[&["fault"], words].concat()).status().await;
        assert!(status.unwrap().success(), "{words:?}");
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.state["headrope"].as_str().unwrap());
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The action on s2, once it is in `state`.
    async fn until_run(&self, state: &str) -> Value {
        let what = format!("an action that is {state}");
        let found = until(&what, async || {
            let all = self.get("/api/headrope/v1/actions").await;
            let runs = all["runs"].as_array().unwrap();
            runs.iter().find(|run| run["state"] == state && run["member"] == "s2").cloned()
        });
        let id = found.await["id"].as_str().unwrap().to_owned();
        self.get(&format!("/api/headrope/v1/actions/{id}")).await
    }
}

/// Pictures of what a person sees of it, in `tests/out`: the incident, and what customers felt.
struct Pictures {
    browser: Browser,
    base: String,
    incident: String,
}

impl Pictures {
    async fn start(demo: &Demo, incident: &str) -> Self {
        let browser = Browser::start().await;
        browser.resize(1280, 1_000).await;
        let base = demo.state["headrope"].as_str().unwrap().to_owned();
        Self { browser, base, incident: incident.to_owned() }
    }

    /// Both pages, once the incident's says `words`.
    async fn take(&self, name: &str, words: &str) {
        let out = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
        std::fs::create_dir_all(&out).unwrap();
        let p99 = "histogram_quantile(0.99, sum by (instance, le) (rate(http_server_request_duration_seconds_bucket{job=\"shop\"}[2s])))";
        let of = "lang=en&theme=light";
        let pages = [
            ("incident", format!("/incidents/{}?{of}&refresh=1s", self.incident)),
            ("latency", format!("/explore/metrics?from=now-2m&{of}&q={}", percent(p99))),
        ];
        for (page, path) in pages {
            self.browser.goto(&format!("{}{path}", self.base)).await;
            is_ready(&self.browser).await;
            if page == "incident" {
                until_text(&self.browser, "[data-testid=run]", words).await;
            }
            picture(&self.browser, &out.join(format!("demo-{name}-{page}.png"))).await;
        }
    }
}

/// When the run came to a state first, ns since the epoch.
fn at(run: &Value, to: &str, step: u64) -> i64 {
    let arrows = run["arrows"].as_array().unwrap();
    let found = arrows.iter().find(|arrow| arrow["to"] == to && arrow["step"] == step);
    let found = found.unwrap_or_else(|| panic!("never {to} at step {step}: {arrows:#?}"));
    found["at_ns"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_instance_of_the_shop_is_drained_verified_and_given_back() {
    let mut demo = Demo::start().await;
    // Not before there is something to compare with: every instance has sold.
    let sold = "count(rate(http_server_request_duration_seconds_count{job=\"shop\"}[2s]) > 0)";
    let sold = format!("/api/v1/query?query={}", percent(sold));
    until("all three instances to sell", async || {
        (demo.get(&sold).await["data"]["result"][0]["value"][1] == "3").then_some(())
    })
    .await;
    let begun = i64::try_from(crate::server::now_ns()).unwrap();
    demo.fault(&["slow", "s2", "300ms"]).await;
    let holding = demo.until_run("holding").await;
    let run = &holding["run"];
    assert_eq!(run["finding"], "verified", "{holding:#}");
    assert_eq!(run["plan"]["member"], "s2");
    let held: Vec<_> = run["held"].as_array().unwrap().iter().collect();
    let held: Vec<_> = held.iter().map(|one| (&one["field"], &one["value"])).collect();
    assert_eq!(held, [(&"weight".into(), &"10".into()), (&"state".into(), &"drain".into())]);
    let fired = holding["incident"]["opened_ns"].as_i64().unwrap();
    let times =
        [begun, fired, at(run, "observed", 0), at(run, "observed", 1), at(run, "holding", 0)];
    assert!(times.is_sorted(), "fault, alert, weight, drain, verified: {times:?}");
    let ms = times.map(|time| (time - begun) / 1_000_000);
    eprintln!(
        "from the fault: alert {} ms, weight {} ms, drained {} ms, verified {} ms",
        ms[1], ms[2], ms[3], ms[4]
    );
    let drained = times[3] - begun;
    if drained > DRAINED_NS {
        eprintln!("that is more than {} s: this machine is busy", DRAINED_NS / 1_000_000_000);
    }
    assert!(drained < DRAINED_BUSY_NS, "drained only after {} ms", ms[3]);

    let pictures = Pictures::start(&demo, run["plan"]["incident"].as_str().unwrap()).await;
    pictures.take("1-held", "it helped").await;

    // Drained, it has no customers, and so no latency: the alert goes on by HAProxy's own checks, until it is well.
    demo.fault(&["none", "s2"]).await;
    let closed = demo.until_run("closed").await;
    let arrows = closed["run"]["arrows"].as_array().unwrap();
    let back = arrows.iter().filter(|arrow| arrow["to"] == "revert_dispatched");
    let back: Vec<_> = back.map(|arrow| &arrow["payload"]["change"]["value"]).collect();
    assert_eq!(back, ["ready", "50", "100"], "{arrows:#?}");
    assert_eq!(closed["run"]["calls"], serde_json::json!([]), "nobody was called: {closed:#}");

    pictures.take("2-given-back", "over · it helped").await;
    drop(pictures);

    // It ends what it started, and leaves nothing.
    let dir = std::path::PathBuf::from(demo.state["dir"].as_str().unwrap());
    assert!(dir.is_dir());
    let pid = demo.child.id().and_then(|id| i32::try_from(id).ok()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(demo.child.wait().await.unwrap().success());
    assert!(!dir.exists(), "its folder is gone");
}
