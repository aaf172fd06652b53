//! A disk without room: ingest is refused with the reason, queries go on, and all is well again once there is room.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use prost::Message;

use crate::server::{Home, Server, until};
use crate::telemetry::logs;

const SIZE: &str = "size=24m";
/// Small log files, so that a small disk has room for several.
const CONFIG: &str = "[store]\nwal_file_bytes = 1048576\nflush_bytes_max = 4194304\n";
/// Bytes of a body: incompressible, or the disk would never fill.
const BODY: usize = 2_000;

/// A file system of its own, gone with this value.
struct Mount(PathBuf);

impl Mount {
    /// `None` where we may not mount.
    fn new(dir: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&dir);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let path = self.0.join("ballast");
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// A body with its number in front.
fn body(number: usize) -> String {
    let mut bits = number as u64 + 1;
    let mut next = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from(bits >> 60).unwrap())
    };
    format!("{number} {}", (0..BODY).map(|_| next()).collect::<String>())
}

struct Load<'a> {
    server: &'a Server,
    acknowledged: Vec<usize>,
    sent: usize,
}

impl Load<'_> {
    /// Sends one record; gives back status, `Retry-After` and body of a refusal.
    async fn send(&mut self) -> Option<(u16, String, String)> {
        self.sent += 1;
        let request = logs("full", [body(self.sent)].into_iter()).encode_to_vec();
        let post = self.server.client.post(self.server.otlp_url("/v1/logs"));
        let answer = post.header("content-type", "application/x-protobuf").body(request);
        let answer = answer.send().await.unwrap();
        if answer.status().is_success() {
            self.acknowledged.push(self.sent);
            return None;
        }
        let retry = answer.headers().get("retry-after").map(|value| value.to_str().unwrap());
        let (status, retry) = (answer.status().as_u16(), retry.unwrap_or_default().to_owned());
        Some((status, retry, String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned()))
    }

    async fn check(&self) {
        assert_each_once(self.server, &self.acknowledged).await;
    }
}

async fn assert_each_once(server: &Server, acknowledged: &[usize]) {
    let query = "SELECT body, count(*) FROM logs WHERE service_name = 'full' GROUP BY 1";
    let mut found = Vec::new();
    for row in server.sql(query).await {
        let number = row[0].as_str().unwrap().split(' ').next().unwrap().parse::<usize>().unwrap();
        assert_eq!(row[1].to_string().trim_matches('"'), "1", "{number} is there more than once");
        found.push(number);
    }
    found.sort_unstable();
    let lost: Vec<_> = acknowledged.iter().filter(|n| found.binary_search(n).is_err()).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

async fn ready(server: &Server) -> (u16, String) {
    let answer = server.client.get(server.url("/-/ready")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn over_grpc(server: &Server) -> Result<(), tonic::Status> {
    let url = format!("http://{}", server.addresses.otlp_grpc);
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let mut client = LogsServiceClient::new(channel);
    client.export(logs("grpc", [body(0)].into_iter())).await.map(|_| ())
}

fn is_mountable(home: &Home) -> Option<Mount> {
    let mount = Mount::new(home.data());
    if mount.is_none() {
        eprintln!("skipped: this process may not mount a file system");
    }
    mount
}

#[tokio::test]
async fn a_full_disk_refuses_ingest_and_recovers_by_itself() {
    let home = Home::new();
    let Some(mount) = is_mountable(&home) else { return };
    let server = home.start(CONFIG).await;
    let mut load = Load { server: &server, acknowledged: Vec::new(), sent: 0 };
    for _ in 0..20 {
        assert_eq!(load.send().await, None);
    }
    for round in 0..3 {
        // The log gives back its reserve when it is refused space: fill that too.
        let (status, retry, words) = until("ingest to be refused", async || {
            mount.fill();
            load.send().await
        })
        .await;
        assert_eq!(status, 503, "{words}");
        assert!(retry.parse::<u64>().unwrap() > 0, "Retry-After: {retry}");
        assert!(words.contains("full") && words.contains(&*display(&mount.0)), "{words}");
        let words = until("readiness to say so", async || {
            mount.fill();
            load.send().await;
            let (status, words) = ready(&server).await;
            (status == 503).then_some(words)
        })
        .await;
        assert!(words.contains("disk is full"), "{words}");
        let status = until("gRPC to be refused", async || {
            mount.fill();
            over_grpc(&server).await.err()
        })
        .await;
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
        assert!(status.message().contains("full") && !status.details().is_empty(), "{status:?}");
        load.check().await; // Queries go on.
        mount.free();
        until("ingest to go on", async || load.send().await.is_none().then_some(())).await;
        // A flush that met the full disk is tried again after a pause of its own.
        let back = async || (ready(&server).await.0 == 200).then_some(());
        until(&format!("readiness in round {round}"), back).await;
        load.check().await;
    }
    let acknowledged = load.acknowledged;
    server.kill().await;
    let server = home.start(CONFIG).await;
    assert_each_once(&server, &acknowledged).await;
    server.stop().await;
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
