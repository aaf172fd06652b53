//! The closed loop against real Redis under real Sentinels: the master moves away from a slow node and no acknowledged write
//! is lost, through a crash in the middle as well; beside it, what the plain command loses.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::haproxy::{Telemetry, actions};
use crate::server::{Home, Server, until};

/// Three nodes and three Sentinels.
struct Redis {
    _children: Vec<Child>,
    _dir: TempDir,
    nodes: [u16; 3],
    sentinels: [u16; 3],
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A connection that asks one thing after the other.
struct Link(BufReader<TcpStream>);

impl Link {
    async fn open(port: u16) -> Option<Self> {
        Some(Self(BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.ok()?)))
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let n = self.0.read_line(&mut line).await.ok()?;
        (n > 0).then(|| line.trim_end().to_owned())
    }

    /// The answer as lines of text.
    async fn ask(&mut self, command: &str) -> Option<Vec<String>> {
        self.0.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
        let first = self.line().await?;
        let n = match first.strip_prefix('*') {
            Some(n) => n.parse::<usize>().ok()?,
            None => return self.item(first).await.map(|one| vec![one]),
        };
        let mut lines = Vec::new();
        for _ in 0..n {
            let head = self.line().await?;
            lines.push(self.item(head).await?);
        }
        Some(lines)
    }

    async fn item(&mut self, head: String) -> Option<String> {
        let Some(length) = head.strip_prefix('$') else { return Some(head) };
        let Ok(length) = length.parse::<usize>() else { return Some(String::new()) };
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes).await.ok()?;
        bytes.truncate(length);
        String::from_utf8(bytes).ok()
    }
}

impl Redis {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [nodes, sentinels] = [(); 2].map(|()| [(); 3].map(|()| free_port()));
        let mut children = Vec::new();
        for (i, port) in nodes.iter().enumerate() {
            let own = dir.path().join(format!("n{i}"));
            std::fs::create_dir(&own).unwrap();
            let of =
                if i > 0 { format!("replicaof 127.0.0.1 {}\n", nodes[0]) } else { String::new() };
            let config = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsave \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n{of}",
                own.display()
            );
            children.push(launch(&own, &config, false));
        }
        for (i, port) in sentinels.iter().enumerate() {
            let own = dir.path().join(format!("s{i}"));
            std::fs::create_dir(&own).unwrap();
            let config = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor shop 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds shop 2000\nsentinel failover-timeout shop 10000\n\
                 sentinel parallel-syncs shop 1\n",
                own.display(),
                nodes[0]
            );
            children.push(launch(&own, &config, true));
        }
        let own = Self { _children: children, _dir: dir, nodes, sentinels };
        until("the Sentinels to know each other and all nodes", async || {
            own.is_whole().await.then_some(())
        })
        .await;
        own
    }

    /// Whether every Sentinel knows all nodes, and all of them stream.
    async fn is_whole(&self) -> bool {
        for port in self.sentinels {
            let Some(mut link) = Link::open(port).await else { return false };
            let Some(fields) = link.ask("SENTINEL MASTER shop").await else { return false };
            let field = |name: &str| {
                let at = fields.iter().position(|field| field == name);
                at.and_then(|at| fields.get(at + 1)).map(String::as_str)
            };
            let known = (field("num-slaves"), field("num-other-sentinels"), field("flags"));
            if known != (Some("2"), Some("2"), Some("master")) {
                return false;
            }
        }
        let Some(master) = self.master().await else { return false };
        let Some(mut link) = Link::open(master).await else { return false };
        let info = link.ask("INFO replication").await.unwrap_or_default().concat();
        info.matches("state=online").count() == 2
    }

    /// Port of the master, as the first Sentinel says.
    async fn master(&self) -> Option<u16> {
        let mut link = Link::open(self.sentinels[0]).await?;
        link.ask("SENTINEL GET-MASTER-ADDR-BY-NAME shop").await?.get(1)?.parse().ok()
    }

    fn endpoint(&self) -> String {
        self.sentinels.map(|port| format!("tcp:127.0.0.1:{port}")).join(", ")
    }

    /// Writes keys one after the other to whoever Sentinel names, until told to stop; those that were acknowledged.
    async fn write(&self, mut stop: watch::Receiver<bool>, prefix: &str) -> BTreeSet<String> {
        let (mut acked, mut to) = (BTreeSet::new(), None);
        let Some(mut sentinel) = Link::open(self.sentinels[0]).await else { return acked };
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        for n in 0_u64.. {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = ticks.tick() => {}
            }
            let named = sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME shop").await;
            let Some(port) = named.and_then(|named| named.get(1)?.parse::<u16>().ok()) else {
                continue;
            };
            if to.as_ref().is_none_or(|(known, _)| *known != port) {
                to = Link::open(port).await.map(|link| (port, link));
            }
            let Some((_, link)) = &mut to else { continue };
            let key = format!("{prefix}{n}");
            let command = format!("SET {key} 1");
            let answer = tokio::time::timeout(Duration::from_secs(2), link.ask(&command)).await;
            match answer {
                Ok(Some(lines)) if lines == ["+OK"] => _ = acked.insert(key),
                // Its answer would be taken for the next one's.
                _ => to = None,
            }
        }
        acked
    }

    /// How many of `keys` the master does not have once everything is whole again.
    async fn lost(&self, keys: &BTreeSet<String>) -> usize {
        until("everything to be whole again", async || self.is_whole().await.then_some(())).await;
        let mut link = Link::open(self.master().await.unwrap()).await.unwrap();
        let mut lost = 0;
        for key in keys {
            let there = link.ask(&format!("EXISTS {key}")).await.unwrap();
            lost += usize::from(there != [":1"]);
        }
        lost
    }
}

fn launch(dir: &std::path::Path, config: &str, is_sentinel: bool) -> Child {
    let file = dir.join("redis.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("redis-server");
    command.arg(file).kill_on_drop(true);
    if is_sentinel {
        command.arg("--sentinel");
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed by `cargo xtask install test`")
}

const RULES: &str = "groups:\n- name: cache\n  interval: 1s\n  rules:\n  - alert: Slow\n    expr: member_latency_seconds > 0.3\n";

fn book(redis: &Redis) -> String {
    format!(
        "kind: Target\nmetadata: {{name: cache}}\nspec:\n  driver: redis\n  endpoint: '{}'\n  group: {{master: shop}}\n---\n\
         kind: Runbook\nmetadata: {{name: hand-over}}\nspec:\n  trust: auto\n  alerts: ['alertname=\"Slow\"']\n  \
         target: {{ref: cache, member: '{{{{ alert.labels.member }}}}'}}\n  \
         guard: {{cooldown: 0s, budget: {{per_target: 99/1h, per_rule: 99/1h, per_kind: 99/1h, global: 99/1h}}, flap: {{max_flips: 99}}}}\n  \
         steps: [{{id: over, do: redis.switchover, timeout: 20s}}]\n  \
         verify: {{success: 'max(member_latency_seconds) < 0.3', within: 30s}}\n",
        redis.endpoint()
    )
}

async fn start(home: &Home, redis: &Redis) -> (Server, Telemetry) {
    home.write("rules.yaml", RULES);
    home.write("book.yaml", &book(redis));
    let config = "[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"book.yaml\"]\ntrust = \"auto\"\n";
    let server = home.start(config).await;
    let names = redis.nodes.map(|port| format!("127.0.0.1:{port}"));
    let telemetry = Telemetry::of(&server, names, [0.1; 3]);
    (server, telemetry)
}

/// Which nodes are slow: the master, or nobody.
fn slow(redis: &Redis, port: Option<u16>) -> [f64; 3] {
    redis.nodes.map(|node| if Some(node) == port { 0.9 } else { 0.1 })
}

/// Makes the master slow and waits until another one is it and the action is closed; what verification found.
async fn hand_over(redis: &Redis, server: &Server, telemetry: &Telemetry) -> String {
    let closed = |all: &serde_json::Value| {
        let runs = all["runs"].as_array().unwrap();
        runs.iter().filter(|run| run["state"] == "closed").cloned().collect::<Vec<_>>()
    };
    let (first, before) = (redis.master().await.unwrap(), closed(&actions(server).await).len());
    telemetry.slow.send_replace(slow(redis, Some(first)));
    let moved = until("another master", async || {
        redis.master().await.filter(|port| *port != first).map(drop)
    });
    tokio::select! {
        () = moved => {}
        () = tokio::time::sleep(Duration::from_secs(80)) => {
            panic!("{:#}\n{}", actions(server).await, server.stderr());
        }
    }
    telemetry.slow.send_replace(slow(redis, None));
    let run = until("the action to be over", async || {
        let runs = closed(&actions(server).await);
        (runs.len() > before).then(|| runs[0].clone())
    })
    .await;
    until("the incident to be over", async || {
        let all = server.get("/api/headrope/v1/incidents").await;
        all["incidents"].as_array()?.iter().all(|one| one["state"] != "open").then_some(())
    })
    .await;
    run["finding"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_master_hands_over_and_no_acknowledged_write_is_lost() {
    let (home, redis) = (Home::new(), Redis::start().await);
    let (server, telemetry) = start(&home, &redis).await;
    let (stop, stopped) = watch::channel(false);
    let moving = async {
        let finding = hand_over(&redis, &server, &telemetry).await;
        stop.send_replace(true);
        finding
    };
    let (acked, finding) = tokio::join!(redis.write(stopped, "a"), moving);
    assert_eq!(finding, "verified");
    assert!(acked.len() > 100, "{}", acked.len());
    assert_eq!(redis.lost(&acked).await, 0, "of {}", acked.len());
    server.stop().await;
}

/// Between the moment Sentinel names another master and the one the old one obeys, nobody is there to finish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_loses_no_write_and_moves_nothing_twice() {
    let (home, redis) = (Home::new(), Redis::start().await);
    let (server, telemetry) = start(&home, &redis).await;
    let first = redis.master().await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let moving = async {
        telemetry.slow.send_replace(slow(&redis, Some(first)));
        let mut old = Link::open(first).await.unwrap();
        until("writes to be paused", async || {
            let info = old.ask("INFO clients").await?.concat();
            let of = |name: &str| {
                info.lines().find_map(|line| line.strip_prefix(name)?.parse::<u32>().ok())
            };
            (of("blocked_clients:")? > 0).then_some(())
        })
        .await;
        server.kill().await;
        drop(telemetry);
        let (server, telemetry) = start(&home, &redis).await;
        telemetry.slow.send_replace(slow(&redis, Some(first)));
        until("another master", async || {
            redis.master().await.filter(|port| *port != first).map(drop)
        })
        .await;
        let second = redis.master().await;
        telemetry.slow.send_replace(slow(&redis, None));
        until("the action to be over", async || {
            let all = actions(&server).await;
            let is_over =
                |run: &serde_json::Value| ["closed", "refused"].iter().any(|s| run["state"] == *s);
            all["runs"].as_array()?.iter().all(is_over).then_some(())
        })
        .await;
        until("everything to be whole again", async || redis.is_whole().await.then_some(())).await;
        assert_eq!(redis.master().await, second, "moved twice");
        stop.send_replace(true);
        server.stop().await;
    };
    let (acked, ()) = tokio::join!(redis.write(stopped, "b"), moving);
    assert!(acked.len() > 100, "{}", acked.len());
    assert_eq!(redis.lost(&acked).await, 0, "of {}", acked.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: twenty switchovers by the recipe, and five by the plain command beside them"]
async fn twenty_switchovers_beside_the_plain_command() {
    let (home, redis) = (Home::new(), Redis::start().await);
    let (server, telemetry) = start(&home, &redis).await;
    let (mut n_acked, mut n_lost) = (0, 0);
    for round in 0..20 {
        let (stop, stopped) = watch::channel(false);
        let moving = async {
            let finding = hand_over(&redis, &server, &telemetry).await;
            stop.send_replace(true);
            finding
        };
        let prefix = format!("r{round}-");
        let (acked, finding) = tokio::join!(redis.write(stopped, &prefix), moving);
        assert_eq!(finding, "verified", "round {round}");
        n_lost += redis.lost(&acked).await;
        n_acked += acked.len();
    }
    server.stop().await;
    let (mut plain_acked, mut plain_lost) = (0, Vec::new());
    for round in 0..5 {
        let (stop, stopped) = watch::channel(false);
        let moving = async {
            let first = redis.master().await;
            let mut sentinel = Link::open(redis.sentinels[0]).await.unwrap();
            assert_eq!(sentinel.ask("SENTINEL FAILOVER shop").await.unwrap(), ["+OK"]);
            until("another master", async || {
                redis.master().await.filter(|port| Some(*port) != first)
            })
            .await;
            until("everything to be whole again", async || redis.is_whole().await.then_some(()))
                .await;
            stop.send_replace(true);
        };
        let prefix = format!("p{round}-");
        let (acked, ()) = tokio::join!(redis.write(stopped, &prefix), moving);
        plain_lost.push(redis.lost(&acked).await);
        plain_acked += acked.len();
    }
    println!("recipe: 20 switchovers, {n_acked} acknowledged writes, {n_lost} lost");
    println!("plain: 5 switchovers, {plain_acked} acknowledged writes, {plain_lost:?} lost");
    assert_eq!(n_lost, 0);
    assert!(plain_lost.iter().sum::<usize>() > 0, "the meter measures nothing");
}
