//! The closed loop against a real HAProxy: a member turns slow, the rule fires by what was measured, its weight is taken
//! down through the runtime socket, verified, and given back when the alert ends; through kills of the server, a person's
//! no, a stop, and data that goes stale.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use load::proto::{bytes, fixed, integer, message};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::server::{Home, Server, now_ns, program, until};

/// A real HAProxy with three servers, in a folder of its own.
pub(crate) struct Proxy {
    _child: Child,
    socket: PathBuf,
}

impl Proxy {
    pub(crate) async fn start(home: &Home) -> Self {
        let socket = home.path().join("admin.sock");
        let front = home.path().join("front.sock");
        let config = format!(
            "global\n  stats socket {} mode 600 level admin\ndefaults\n  mode http\n  timeout connect 1s\n  \
             timeout client 5s\n  timeout server 5s\nfrontend fe\n  bind unix@{}\n  default_backend be_shop\n\
             backend be_shop\n  server s1 127.0.0.1:1 weight 100\n  server s2 127.0.0.1:1 weight 100\n  \
             server s3 127.0.0.1:1 weight 100\n",
            socket.display(),
            front.display(),
        );
        let config = home.write("haproxy.cfg", &config);
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(config).stdin(Stdio::null()).kill_on_drop(true);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("haproxy is installed by `cargo xtask install test`");
        let proxy = Self { _child: child, socket };
        until("haproxy to answer", async || UnixStream::connect(&proxy.socket).await.ok()).await;
        proxy
    }

    pub(crate) async fn ask(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        stream.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.trim().to_owned()
    }

    /// Weight of a server as HAProxy says it, such as `10 (initial 100)`.
    pub(crate) async fn weight(&self, server: &str) -> String {
        self.ask(&format!("get weight be_shop/{server}")).await
    }

    pub(crate) async fn until_weight(&self, server: &str, wanted: u32, of: &Server) {
        let wanted = format!("{wanted} (initial 100)");
        let reached = until("the weight to be set", async || {
            (self.weight(server).await == wanted).then_some(())
        });
        tokio::select! {
            () = reached => {}
            () = tokio::time::sleep(Duration::from_secs(60)) => {
                let actions = of.get("/api/headrope/v1/actions").await;
                panic!("{server} is {}, not {wanted}: {actions:#}\n{}", self.weight(server).await, of.stderr());
            }
        }
    }
}

/// Latencies of three members, sent several times a second until it is dropped.
pub(crate) struct Telemetry {
    task: JoinHandle<()>,
    pub(crate) slow: tokio::sync::watch::Sender<[f64; 3]>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn write_request(names: &[String; 3], latencies: [f64; 3]) -> Vec<u8> {
    let now_ms = now_ns() / 1_000_000;
    let mut request = Vec::new();
    for (i, latency) in latencies.iter().enumerate() {
        let member = names[i].as_str();
        message(&mut request, 1, |series| {
            for (name, value) in [("__name__", "member_latency_seconds"), ("member", member)] {
                message(series, 1, |label| {
                    bytes(label, 1, name.as_bytes());
                    bytes(label, 2, value.as_bytes());
                });
            }
            message(series, 2, |sample| {
                fixed(sample, 1, latency.to_bits());
                integer(sample, 2, now_ms);
            });
        });
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

impl Telemetry {
    pub(crate) fn start(server: &Server, latencies: [f64; 3]) -> Self {
        Self::of(server, ["s1", "s2", "s3"].map(str::to_owned), latencies)
    }

    pub(crate) fn of(server: &Server, names: [String; 3], latencies: [f64; 3]) -> Self {
        let (slow, seen) = tokio::sync::watch::channel(latencies);
        let (client, url) = (server.client.clone(), server.url("/api/v1/write"));
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(200));
            loop {
                ticks.tick().await;
                let body = write_request(&names, *seen.borrow());
                let request = client.post(&url).body(body);
                let request = request.header("content-encoding", "snappy");
                let request = request.header("content-type", "application/x-protobuf");
                // A server that is being killed takes nothing; the next one has a sender of its own.
                drop(request.header("x-prometheus-remote-write-version", "0.1.0").send().await);
            }
        });
        Self { task, slow }
    }
}

pub(crate) const RULES: &str = "
groups:
- name: shop
  interval: 1s
  rules:
  - alert: MemberSlow
    expr: member_latency_seconds > 0.3
    labels: {severity: page}
";

/// What the tests vary is marked.
pub(crate) fn runbook(home: &Home, verify: &str, revert: &str) -> String {
    format!(
        "apiVersion: headrope/v1
kind: Target
metadata: {{name: web-pool}}
spec:
  driver: haproxy
  endpoint: unix:{}
  group: {{backend: be_shop}}
---
apiVersion: headrope/v1
kind: Runbook
metadata: {{name: soften-slow-member}}
spec:
  trust: auto
  alerts: ['alertname=\"MemberSlow\"']
  target: {{ref: web-pool, member: '{{{{ alert.labels.member }}}}'}}
  quality: {{max_staleness: 5s}}
  preconditions:
  - query: 'count(member_latency_seconds < 0.3) >= 2'
  steps:
  - {{id: soften, do: haproxy.weight, with: {{percent: 10}}}}
  verify: {verify}
  revert: {revert}
",
        home.path().join("admin.sock").display()
    )
}

pub(crate) const HELPS: &str =
    "{success: 'min(member_latency_seconds) < 0.3', for: 1s, within: 20s}";
const HURTS: &str = "{success: 'max(member_latency_seconds) < 0.3', within: 2s}";

async fn start(home: &Home, trust: &str) -> Server {
    home.write("rules.yaml", RULES);
    let config = format!(
        "[alert]\nrules = [\"rules.yaml\"]\nrestore_grace = \"2s\"\n[action]\nrunbooks = [\"runbook.yaml\"]\ntrust = \"{trust}\"\n"
    );
    home.start(&config).await
}

pub(crate) async fn actions(server: &Server) -> Value {
    server.get("/api/headrope/v1/actions").await
}

/// The newest action once it is in `state`.
pub(crate) async fn until_state(server: &Server, state: &str) -> Value {
    until(&format!("an action that is {state}"), async || {
        let all = actions(server).await;
        let runs = all["runs"].as_array().unwrap();
        runs.iter().find(|run| run["state"] == state).cloned()
    })
    .await
}

/// What the program says on its command line, against `server`.
async fn cli(server: &Server, arguments: &[&str]) -> String {
    program_says(server, &[&["actions"], arguments].concat()).await
}

async fn program_says(server: &Server, arguments: &[&str]) -> String {
    let mut command = Command::new(program());
    command.args(arguments).args(["--server", &server.url("")]);
    let output = command.env("USER", "ada").stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_member_loses_weight_and_gets_it_back_when_it_has_recovered() {
    let home = Home::new();
    let proxy = Proxy::start(&home).await;
    let revert = "{ttl: 10m, ramp: [50%, 100%], ramp_every: 1s, ramp_gate: 'max(member_latency_seconds) < 0.3'}";
    home.write("runbook.yaml", &runbook(&home, HELPS, revert));
    let server = start(&home, "auto").await;
    let telemetry = Telemetry::start(&server, [0.1, 0.1, 0.1]);
    telemetry.slow.send_replace([0.1, 0.9, 0.1]);
    proxy.until_weight("s2", 10, &server).await;
    let run = until_state(&server, "holding").await;
    assert_eq!((&run["finding"], &run["member"]), (&"verified".into(), &"s2".into()), "{run:#}");
    for other in ["s1", "s3"] {
        assert_eq!(proxy.weight(other).await, "100 (initial 100)");
    }
    let held = cli(&server, &["held"]).await;
    assert!(held.contains("s2") && held.contains("weight"), "{held}");
    let explained = cli(&server, &["explain", run["id"].as_str().unwrap()]).await;
    for words in ["preconditions", "blast_radius", "weight 100 -> 10", "dispatched", "it helped"] {
        assert!(explained.contains(words), "{words}: {explained}");
    }
    let incident = run["incident"].as_str().unwrap();
    let listed = program_says(&server, &["incidents", "list"]).await;
    assert!(listed.contains("MemberSlow") && listed.contains("holding"), "{listed}");
    let shown = program_says(&server, &["incidents", "show", &incident[..8]]).await;
    for words in ["firing", "admitted", "s2 weight 100 -> 10", "verified", "blast_radius"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let all = server.get("/api/headrope/v1/incidents").await;
    assert_eq!(all["held"][0]["value"], "10", "{all:#}");
    let before = server.promql("headrope_action_overrides").await;
    assert!(before.len() <= 1, "our own numbers: {before:?}");

    // A reload, or somebody at the socket, wipes it: it is set again.
    proxy.ask("set server be_shop/s2 weight 100").await;
    proxy.until_weight("s2", 10, &server).await;

    telemetry.slow.send_replace([0.1, 0.1, 0.1]);
    proxy.until_weight("s2", 100, &server).await;
    let closed = until_state(&server, "closed").await;
    let id = closed["id"].as_str().unwrap();
    let whole = server.get(&format!("/api/headrope/v1/actions/{id}")).await;
    let arrows = whole["run"]["arrows"].as_array().unwrap();
    let values = arrows.iter().filter(|arrow| arrow["to"] == "revert_dispatched");
    let values: Vec<&str> =
        values.map(|arrow| arrow["payload"]["change"]["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["50", "100"], "by the ramp: {arrows:#?}");
    assert_eq!(whole["run"]["plan"]["verdicts"].as_array().unwrap().len(), 16);
    server.stop().await;
}

/// Whether an action gets the credit is for the members to show that nobody touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_recovers_with_everybody_else_was_not_helped() {
    for (others, finding) in [([0.01, 0.01], "inconclusive"), ([0.1, 0.1], "verified")] {
        let home = Home::new();
        let proxy = Proxy::start(&home).await;
        let slow =
            |not: &str| format!("avg(member_latency_seconds{{member{not}=\"{{{{ member }}}}\"}})");
        let control =
            format!("{{treated: '{}', untouched: '{}', before: 3s}}", slow(""), slow("!"));
        let verify = format!(
            "{{success: 'min(member_latency_seconds) < 0.3', for: 1s, within: 6s, control: {control}}}"
        );
        home.write("runbook.yaml", &runbook(&home, &verify, "{ttl: 10m, when: ttl}"));
        home.write("rules.yaml", &RULES.replace("    labels", "    for: 4s\n    labels"));
        let server = home
            .start("[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"runbook.yaml\"]\ntrust = \"auto\"\n")
            .await;
        let telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
        proxy.until_weight("s2", 10, &server).await;
        // The slow one is a tenth of what it was; so are the others, or they are as before.
        telemetry.slow.send_replace([others[0], 0.09, others[1]]);
        let run = until_state(&server, "holding").await;
        assert_eq!(run["finding"], finding, "{run:#}");
        let explained = cli(&server, &["explain", run["id"].as_str().unwrap()]).await;
        assert!(explained.contains("than what was left alone"), "{explained}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_help_is_taken_back_though_the_alert_fires() {
    let home = Home::new();
    let proxy = Proxy::start(&home).await;
    home.write("runbook.yaml", &runbook(&home, HURTS, "{ttl: 10m}"));
    let server = start(&home, "auto").await;
    let _telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    let closed = until_state(&server, "closed").await;
    assert_eq!(closed["finding"], "ineffective", "{closed:#}");
    assert!(closed["escalated"].is_string(), "{closed:#}");
    assert_eq!(proxy.weight("s2").await, "100 (initial 100)");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_it_only_observes_and_says_why() {
    let home = Home::new();
    let proxy = Proxy::start(&home).await;
    home.write("runbook.yaml", &runbook(&home, HELPS, "{ttl: 10m}"));
    home.write("rules.yaml", RULES);
    let config = "[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"*book.yaml\"]\n";
    let server = home.start(config).await;
    let _telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    let run = until_state(&server, "refused").await;
    assert_eq!(run["decided_by"], "trust", "{run:#}");
    let listed = cli(&server, &["list"]).await;
    assert!(listed.contains("refused") && listed.contains("trust"), "{listed}");
    assert_eq!(proxy.weight("s2").await, "100 (initial 100)");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_approve_and_take_back_and_stop_everything() {
    let home = Home::new();
    let proxy = Proxy::start(&home).await;
    home.write("runbook.yaml", &runbook(&home, HELPS, "{ttl: 10m}"));
    let server = start(&home, "approve").await;
    let _telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    let run = until_state(&server, "awaiting").await;
    let id = run["id"].as_str().unwrap();
    assert_eq!(proxy.weight("s2").await, "100 (initial 100)");
    cli(&server, &["pause", "--why", "a test"]).await;
    cli(&server, &["approve", &id[..8]]).await;
    let refused = until_state(&server, "refused").await;
    assert!(refused["why"].as_str().unwrap().contains("switch"), "{refused:#}");
    cli(&server, &["resume"]).await;
    // The alert fires still: it is planned anew, and an approval of the former plan is worth nothing.
    let again = until_state(&server, "awaiting").await;
    assert_ne!(again["id"], run["id"]);
    cli(&server, &["approve", again["id"].as_str().unwrap()]).await;
    proxy.until_weight("s2", 10, &server).await;
    cli(&server, &["revert", again["id"].as_str().unwrap(), "--why", "enough"]).await;
    proxy.until_weight("s2", 100, &server).await;
    let closed = until_state(&server, "closed").await;
    assert_eq!(closed["id"], again["id"]);
    // Nobody may ask for what is over.
    let url = server.url(&format!("/api/headrope/v1/actions/{id}/approve"));
    let answer = server.client.post(url).json(&json!({"by": "eve"})).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_link_shows_first_and_approves_by_its_button() {
    let home = Home::new();
    let proxy = Proxy::start(&home).await;
    let book = runbook(&home, HELPS, "{ttl: 10m}");
    home.write("runbook.yaml", &book.replace("  steps:", "  approval: {by: [ada]}\n  steps:"));
    let server = start(&home, "approve").await;
    let _telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    until_state(&server, "awaiting").await;
    let link = until("the message with the link", async || {
        let alerts = server.get("/api/v2/alerts").await;
        let alerts = alerts.as_array()?;
        let alert = alerts.iter().find(|alert| alert["labels"]["approver"] == "ada")?;
        Some(alert["annotations"]["approve"].as_str().unwrap().to_owned())
    })
    .await;
    // The port was not known when the address for links was configured.
    let path = link.find("/api/").map(|at| link[at..].to_owned()).unwrap();
    let (get, post) = (server.client.get(server.url(&path)), server.client.post(server.url(&path)));
    let page = get.send().await.unwrap().text().await.unwrap();
    for words in ["Approve as ada", "soften-slow-member", "web-pool/s2", "haproxy.weight"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(proxy.weight("s2").await, "100 (initial 100)", "looking is no yes");
    let forged = server.client.post(server.url(&path.replace("by=ada", "by=eve")));
    assert_eq!(forged.send().await.unwrap().status().as_u16(), 409);
    let cut = server.client.post(server.url(&path[..path.len() - 3]));
    assert_eq!(cut.send().await.unwrap().status().as_u16(), 409);
    let by_name = server
        .client
        .post(server.url(&path[..path.find('?').unwrap()].replace("approval", "approve")));
    assert_eq!(by_name.json(&json!({"by": "ada"})).send().await.unwrap().status().as_u16(), 400);
    let answer = post.send().await.unwrap();
    assert!(answer.status().is_success());
    assert!(answer.text().await.unwrap().contains("1 / 1"));
    proxy.until_weight("s2", 10, &server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_leave_nothing_behind_that_is_not_taken_back() {
    let home = Home::new();
    let proxy = Proxy::start(&home).await;
    home.write(
        "runbook.yaml",
        &runbook(&home, HELPS, "{ttl: 10m, ramp: [50%, 100%], ramp_every: 1s}"),
    );
    let server = start(&home, "auto").await;
    {
        let _telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
        proxy.until_weight("s2", 10, &server).await;
    }
    let mut server = server;
    for _ in 0..2 {
        server.kill().await;
        server = start(&home, "auto").await;
        let _telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
        until_state(&server, "holding").await;
        assert_eq!(proxy.weight("s2").await, "10 (initial 100)");
    }
    {
        let _telemetry = Telemetry::start(&server, [0.1, 0.1, 0.1]);
        proxy.until_weight("s2", 50, &server).await;
    }
    server.kill().await;
    let server = start(&home, "auto").await;
    let _telemetry = Telemetry::start(&server, [0.1, 0.1, 0.1]);
    proxy.until_weight("s2", 100, &server).await;
    until_state(&server, "closed").await;
    let all = actions(&server).await;
    assert_eq!(all["runs"].as_array().unwrap().len(), 1, "{all:#}");
    server.stop().await;
}
