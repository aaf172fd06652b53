//! A sender that names its requests has each stored once, although answers get lost on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::server::{Home, Server, program, until};
use crate::telemetry::logs;

/// Records a request.
const BATCH: u64 = 5;

/// Passes requests on and loses answers: of each three connections one breaks when its first answer comes, one when its
/// second comes, and one is left alone for a few answers.
struct Lossy {
    url: String,
    lost: Arc<AtomicU64>,
}

impl Lossy {
    async fn before(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let lost = Arc::new(AtomicU64::new(0));
        let (server, count) = (address.to_owned(), Arc::clone(&lost));
        tokio::spawn(async move {
            for number in 0_u64.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let answers = [0, 1, 6][usize::try_from(number % 3).unwrap()];
                tokio::spawn(pass(client, server, answers, Arc::clone(&count)));
            }
        });
        Self { url, lost }
    }
}

/// Passes `answers` answers on; the next one is lost, with the connection.
async fn pass(mut client: TcpStream, mut server: TcpStream, answers: u64, lost: Arc<AtomicU64>) {
    let (mut asked, mut answered) = ([0; 16 << 10], [0; 16 << 10]);
    let mut passed = 0;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(n) if n > 0 => if server.write_all(&asked[..n]).await.is_err() { return },
                _ => return,
            },
            read = server.read(&mut answered) => match read {
                // Answers are so small that each arrives in one piece.
                Ok(n) if n > 0 && passed < answers => {
                    passed += 1;
                    if client.write_all(&answered[..n]).await.is_err() { return }
                }
                Ok(n) => {
                    lost.fetch_add(u64::from(n > 0), Ordering::SeqCst);
                    return;
                }
                Err(_) => return,
            },
        }
    }
}

async fn repeats(server: &Server) -> u64 {
    let text =
        server.client.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("headrope_store_repeated_batches_total "));
    line.unwrap_or_else(|| panic!("{text}")).trim().parse().unwrap()
}

/// Sends a batch under its name until it is acknowledged.
async fn deliver(client: &reqwest::Client, url: &str, seq: u64) {
    let bodies = (0..BATCH).map(|i| (seq * BATCH + i).to_string());
    let body = logs("named", bodies).encode_to_vec();
    let name = format!("{:032x}-{:016x}-{seq}", 0xa, 0xe);
    until("an acknowledgement", async || {
        let request = client.post(format!("{url}/v1/logs")).header("headrope-delivery", &name);
        let request = request.header("content-type", "application/x-protobuf").body(body.clone());
        let answer = request.send().await.ok()?;
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.bytes().await.ok().map(|_| ())
    })
    .await;
}

async fn assert_each_once(server: &Server, batches: u64) {
    let query = "SELECT body, count(*) FROM logs WHERE service_name = 'named' GROUP BY 1";
    let rows = server.sql(query).await;
    let doubled: Vec<_> =
        rows.iter().filter(|row| row[1].to_string().trim_matches('"') != "1").collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    assert_eq!(rows.len() as u64, batches * BATCH);
}

#[tokio::test]
async fn log_records_are_stored_once_although_answers_get_lost() {
    let home = Home::new();
    let config =
        "[store]\nflush_bytes_max = 4096\nflush_age = \"100ms\"\nflush_age_max = \"200ms\"\n";
    let mut batches = 0;
    for life in 0..3_u64 {
        let server = home.start(config).await;
        let lossy = Lossy::before(&server.addresses.otlp_http).await;
        if life > 0 {
            // The last answer of the life before may have been lost too: its batch comes again.
            deliver(&server.client, &lossy.url, batches).await;
        }
        for _ in 0..20 {
            batches += 1;
            deliver(&server.client, &lossy.url, batches).await;
        }
        assert!(lossy.lost.load(Ordering::SeqCst) > 3, "answers were lost");
        assert!(repeats(&server).await >= 4, "repeats were recognised");
        assert_each_once(&server, batches).await;
        if life == 0 {
            server.kill().await; // The name of the last batch is in the log alone...
        } else {
            server.stop().await; // ...or in the catalogue.
        }
    }
}

#[tokio::test]
async fn the_agent_names_its_requests() {
    let home = Home::new();
    let server = home.start("").await;
    let lossy = Lossy::before(&server.addresses.otlp_http).await;
    let agent = program().with_file_name("headrope-agent");
    assert!(
        agent.is_file(),
        "{} is missing: build it with `cargo build -p agent`",
        agent.display()
    );
    let mut agent = Command::new(agent)
        .args(["--interval", "100ms", "--server", &lossy.url, "--log", "error"])
        .env_clear()
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("repeats to be recognised", async || (repeats(&server).await >= 3).then_some(())).await;
    agent.kill().await.unwrap();
    assert!(lossy.lost.load(Ordering::SeqCst) >= 3);
    // Taken as often as there were ticks, not as often as they came.
    let counts = server.sql("SELECT count(*), count(DISTINCT time) FROM metrics WHERE metric = 'system.memory.limit'").await;
    assert_eq!(counts[0][0], counts[0][1], "{counts:?}");
    server.stop().await;
}
