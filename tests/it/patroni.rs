//! The closed loop against a real Patroni with PostgreSQL and etcd: a leader that turned slow hands over to its replica, and
//! no acknowledged row is lost.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::haproxy::{Telemetry, actions, until_state};
use crate::postgres::programs;
use crate::server::{Home, Server, until};

/// A cluster of two, `s1` and `s2`.
struct Cluster {
    children: Vec<Child>,
    dir: TempDir,
    rest: [u16; 2],
    sql: [u16; 2],
}

/// A port that is free now; what is started on it may be told of no other way.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Nobody's child outlives the test, and PostgreSQL refuses to be root.
fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    // Not killed: Patroni takes its PostgreSQL with it only where it is asked to end.
    command.args(["--pdeathsig=TERM", program]).current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn config(dir: &Path, etcd: u16, name: &str, (rest, sql): (u16, u16)) -> String {
    let own = dir.join(name);
    let trusted = "[host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust, local all all trust]";
    format!(
        "scope: shop\nname: {name}\nrestapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}\n\
         etcd3: {{hosts: '127.0.0.1:{etcd}'}}\nbootstrap:\n  dcs:\n    ttl: 20\n    loop_wait: 1\n    retry_timeout: 5\n    \
         postgresql: {{use_pg_rewind: true, parameters: {{wal_keep_size: 64MB}}}}\n  initdb: [{{encoding: UTF8}}, {{auth: trust}}, no-sync]\n\
         postgresql:\n  listen: '127.0.0.1:{sql}'\n  connect_address: '127.0.0.1:{sql}'\n  data_dir: {data}\n  bin_dir: {bin}\n  \
         pgpass: {own}.pgpass\n  pg_hba: {trusted}\n  authentication:\n    replication: {{username: replicator, password: r}}\n    \
         superuser: {{username: postgres, password: s}}\n  parameters: {{unix_socket_directories: {dir}, shared_buffers: 16MB}}\n",
        data = own.display(),
        own = own.display(),
        bin = programs().display(),
        dir = dir.display(),
    )
}

impl Cluster {
    async fn start(client: &reqwest::Client) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            let mut chown = Command::new("chown");
            let status = chown.arg("postgres:postgres").arg(dir.path()).status().await.unwrap();
            assert!(status.success(), "chown");
        }
        let [door, peers] = [free_port(), free_port()];
        let mut etcd = command("etcd", dir.path());
        etcd.arg("--data-dir").arg(dir.path().join("etcd")).arg("--unsafe-no-fsync");
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        for (name, port) in [("client", door), ("peer", peers)] {
            etcd.args([format!("--listen-{name}-urls"), url(port)]);
        }
        etcd.args(["--advertise-client-urls".to_owned(), url(door)]);
        etcd.args(["--initial-advertise-peer-urls".to_owned(), url(peers)]);
        etcd.args(["--initial-cluster".to_owned(), format!("default={}", url(peers))]);
        let etcd = etcd.spawn().expect("etcd-server is installed by `cargo xtask install test`");
        let mut own = Self {
            children: vec![etcd],
            rest: [free_port(), free_port()],
            sql: [free_port(), free_port()],
            dir,
        };
        for i in 0..2 {
            own.add(door, i).await;
            // The second copies the first.
            until("a leader", async || {
                own.members(client).await.iter().any(is_leader).then_some(())
            })
            .await;
        }
        until("the replica to stream", async || {
            let members = own.members(client).await;
            let streams = members.iter().any(|one| !is_leader(one) && one["lag"] == 0 && runs(one));
            (members.len() == 2 && streams).then_some(())
        })
        .await;
        own
    }

    async fn add(&mut self, etcd: u16, i: usize) {
        let (name, ports) = (format!("s{}", i + 1), (self.rest[i], self.sql[i]));
        let dir = self.dir.path();
        let file = dir.join(format!("{name}.yml"));
        tokio::fs::write(&file, config(dir, etcd, &name, ports)).await.unwrap();
        let child = command("patroni", dir).arg(file).spawn();
        self.children.push(child.expect("patroni is installed by `cargo xtask install test`"));
    }

    async fn members(&self, client: &reqwest::Client) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/cluster", self.rest[0]);
        let Ok(answer) = client.get(url).send().await else { return Vec::new() };
        let cluster: Value = answer.json().await.unwrap_or_default();
        cluster["members"].as_array().cloned().unwrap_or_default()
    }

    async fn leader(&self, client: &reqwest::Client) -> Option<String> {
        let members = self.members(client).await;
        members.iter().find(|one| is_leader(one))?["name"].as_str().map(str::to_owned)
    }

    /// A connection to whoever takes writes.
    async fn connect(&self) -> Option<tokio_postgres::Client> {
        let [a, b] = self.sql;
        let text = format!(
            "host=127.0.0.1,127.0.0.1 port={a},{b} user=postgres dbname=postgres target_session_attrs=read-write connect_timeout=2"
        );
        let (client, connection) =
            tokio_postgres::connect(&text, tokio_postgres::NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    /// Stops everything in order: PostgreSQL is a grandchild.
    async fn stop(mut self) {
        for mut child in self.children.drain(..).rev() {
            let pid = child.id().and_then(|id| i32::try_from(id).ok());
            let pid = pid.and_then(rustix::process::Pid::from_raw).expect("it runs");
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            let ended = tokio::time::timeout(Duration::from_secs(60), child.wait()).await;
            ended.expect("it ends").unwrap();
        }
    }
}

fn is_leader(one: &Value) -> bool {
    one["role"] == "leader" && runs(one)
}

fn runs(one: &Value) -> bool {
    ["running", "streaming"].contains(&one["state"].as_str().unwrap_or_default())
}

/// Writes rows one after the other until told to stop; returns those that were acknowledged.
async fn write(cluster: &Cluster, mut stop: tokio::sync::watch::Receiver<bool>) -> Vec<i64> {
    let (mut acked, mut client) = (Vec::new(), None);
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    for n in 0..i64::MAX {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => {}
        }
        if client.is_none() {
            client = cluster.connect().await;
        }
        let Some(own) = &client else { continue };
        let insert = async { own.execute("insert into rows values ($1)", &[&n]).await };
        match tokio::time::timeout(Duration::from_secs(3), insert).await {
            Ok(Ok(_)) => acked.push(n),
            _ => client = None,
        }
    }
    acked
}

fn book(cluster: &Cluster) -> String {
    format!(
        "kind: Target\nmetadata: {{name: db}}\nspec:\n  driver: patroni\n  endpoint: 'http://127.0.0.1:{}, http://127.0.0.1:{}'\n  \
         group: {{cluster: shop}}\n---\nkind: Runbook\nmetadata: {{name: hand-over}}\nspec:\n  trust: auto\n  \
         alerts: ['alertname=\"Slow\"']\n  target: {{ref: db, member: '{{{{ alert.labels.member }}}}'}}\n  \
         steps: [{{id: over, do: patroni.switchover, timeout: 30s}}]\n  \
         verify: {{success: 'max(member_latency_seconds) < 0.3', within: 30s}}\n",
        cluster.rest[0], cluster.rest[1]
    )
}

const RULES: &str = "groups:\n- name: db\n  interval: 1s\n  rules:\n  - alert: Slow\n    expr: member_latency_seconds > 0.3\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_leader_hands_over_and_no_row_is_lost() {
    let (home, client) = (Home::new(), crate::server::client());
    let cluster = Cluster::start(&client).await;
    let first = cluster.leader(&client).await.unwrap();
    let own = until("the leader to take writes", async || cluster.connect().await).await;
    own.batch_execute("create table rows (n bigint primary key)").await.unwrap();
    home.write("rules.yaml", RULES);
    home.write("book.yaml", &book(&cluster));
    let config = "[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"book.yaml\"]\ntrust = \"auto\"\n";
    let server: Server = home.start(config).await;
    let slow = |is: bool| {
        let of = |name: &str| if is && name == first { 0.9 } else { 0.1 };
        [of("s1"), of("s2"), 0.1]
    };
    let telemetry = Telemetry::start(&server, slow(false));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let watch = async {
        telemetry.slow.send_replace(slow(true));
        let moved = until("another leader", async || {
            let leader = cluster.leader(&client).await?;
            (leader != first).then_some(())
        });
        tokio::select! {
            () = moved => {}
            () = tokio::time::sleep(Duration::from_secs(80)) => {
                panic!("{:#}\n{}", actions(&server).await, server.stderr());
            }
        }
        telemetry.slow.send_replace(slow(false));
        let run = until_state(&server, "closed").await;
        stop.send_replace(true);
        run
    };
    let (acked, run) = tokio::join!(write(&cluster, stopped), watch);
    let id = run["id"].as_str().unwrap();
    let whole = server.get(&format!("/api/headrope/v1/actions/{id}")).await;
    let found = (&run["finding"], &run["member"]);
    assert_eq!(found, (&"verified".into(), &first.into()), "{:#}", whole["run"]["arrows"]);
    let own = until("the new leader to take writes", async || cluster.connect().await).await;
    let rows = own.query("select n from rows order by n", &[]).await.unwrap();
    let there: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let lost: Vec<&i64> = acked.iter().filter(|n| there.binary_search(n).is_err()).collect();
    assert!(lost.is_empty() && acked.len() > 10, "{} acknowledged, lost {lost:?}", acked.len());
    drop(own);
    server.stop().await;
    cluster.stop().await;
}
