//! A headless Chromium of its own, spoken to in WebDriver's JSON. Just what `browser` needs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::server::client;

/// Reproducible pictures, and no request to anyone but the page's own server.
const SWITCHES: [&str; 12] = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--font-render-hinting=none",
    "--hide-scrollbars",
    "--no-proxy-server",
];

/// A browser window. Dropping it ends the browser and its driver.
pub(crate) struct Browser {
    client: reqwest::Client,
    driver: Child,
    /// Kept, because the driver must not write into a closed pipe.
    _said: Lines<BufReader<ChildStdout>>,
    port: u16,
    session: String,
    profile: TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.kill_on_drop(true).spawn().expect(
            "chromedriver is missing: install Debian's chromium and chromium-driver, or run `make test`",
        );
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = said.next_line().await.unwrap().expect("chromedriver tells its port");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        let profile = tempfile::tempdir().unwrap();
        let mut switches: Vec<String> = SWITCHES.map(str::to_owned).to_vec();
        switches.push(format!("--user-data-dir={}", profile.path().display()));
        if rustix::process::geteuid().is_root() {
            // Chromium's sandbox refuses to work for the superuser.
            switches.push("--no-sandbox".to_owned());
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": switches},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let mut browser =
            Self { client: client(), driver, _said: said, port, session: String::new(), profile };
        let answer = browser.call("/session", wanted).await;
        browser.session = answer["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    async fn call(&self, path: &str, body: Value) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{path}: {}: {}", value["error"], value["message"]);
        value
    }

    async fn in_session(&self, path: &str, body: Value) -> Value {
        self.call(&format!("/session/{}{path}", self.session), body).await
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.in_session("/url", json!({"url": url})).await;
    }

    /// The value a script returns.
    pub(crate) async fn execute(&self, script: &str) -> Value {
        self.in_session("/execute/sync", json!({"script": script, "args": []})).await
    }

    /// Sets the size of the page, in CSS pixels.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let params =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": params});
        self.in_session("/goog/cdp/execute", command).await;
    }

    /// A DevTools command and its result.
    pub(crate) async fn devtools(&self, command: &str, params: Value) -> Value {
        self.in_session("/goog/cdp/execute", json!({"cmd": command, "params": params})).await
    }

    /// What the pages wrote to the console since the last call, as `LEVEL: text`.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self.in_session("/se/log", json!({"type": "browser"})).await;
        let line = |entry: &Value| {
            format!("{}: {}", entry["level"].as_str().unwrap(), entry["message"].as_str().unwrap())
        };
        entries.as_array().unwrap().iter().map(line).collect()
    }
}

impl Drop for Browser {
    /// Ends the session first: a driver that is killed leaves its browser behind.
    fn drop(&mut self) {
        let quit = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let path = format!("/session/{}", self.session);
            write!(
                stream,
                "DELETE {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
            )?;
            stream.read_to_end(&mut Vec::new()).map(drop)
        };
        // Nothing can be done about a driver that is already gone.
        drop(quit());
        drop(self.driver.start_kill());
    }
}

#[tokio::test]
async fn a_browser_shows_pages_and_ends_with_its_test() {
    let browser = Browser::start().await;
    let profile = browser.profile.path().to_owned();
    browser.resize(500, 400).await;
    browser.goto("data:text/html,<title>t</title><script>console.error('no')</script>").await;
    assert_eq!(browser.execute("return [document.title, innerWidth]").await, json!(["t", 500]));
    assert!(
        browser
            .console()
            .await
            .iter()
            .any(|line| line.starts_with("SEVERE") && line.contains("no"))
    );
    drop(browser);
    let uses = |entry: std::fs::DirEntry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&*profile.to_string_lossy())
    };
    crate::server::until("the browser to be gone", async || {
        let none = !std::fs::read_dir("/proc").unwrap().flatten().any(uses);
        none.then_some(())
    })
    .await;
}
