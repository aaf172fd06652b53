//! Who may ask: programs and our own pages, not pages of other origins; and nobody for ever.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::Home;

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let home = Home::new();
    let server = home.start("").await;
    let sql = server.url("/api/headrope/v1/sql");
    let ask = |header: &'static str, value: &'static str| {
        server.client.post(&sql).header(header, value).json(&json!({"query": "SELECT 1"})).send()
    };
    // A rebound name carries no foreign origin, only a foreign host.
    for (header, value) in [
        ("host", "evil.example"),
        ("origin", "http://evil.example"),
        ("origin", "http://203.0.113.5"),
        ("origin", "http://localhost:3000"),
    ] {
        let answer = ask(header, value).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{header}: {value}");
        let words = answer.text().await.unwrap();
        assert!(words.contains(value) && words.contains("`hosts`"), "{words}");
    }
    assert_eq!(ask("host", "localhost:7300").await.unwrap().status(), StatusCode::OK);
    let logs =
        server.client.post(server.otlp_url("/v1/logs")).header("origin", "http://evil.example");
    let answer = logs.header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    server.stop().await;
}

#[tokio::test]
async fn a_configured_name_is_known() {
    let home = Home::new();
    let server = home.start("hosts = [\"headrope.example.org\"]").await;
    let status = server.client.get(server.url("/api/headrope/v1/status"));
    let answer = status.header("host", "headrope.example.org").send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["version"], json!(env!("CARGO_PKG_VERSION")));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_finishes_its_headers_is_cut_off() {
    let home = Home::new();
    let server = home.start("").await;
    let address = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut silent = TcpStream::connect(&address).await.unwrap();
    let mut slow = TcpStream::connect(&address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    // Both end by the server's own timer; the reads end when it does.
    let mut said = Vec::new();
    silent.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"");
    slow.read_to_end(&mut said).await.unwrap();
    assert!(
        said.is_empty() || said.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&said)
    );
    server.stop().await;
}
