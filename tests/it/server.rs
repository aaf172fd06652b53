//! A running `headrope` with its own folder, and what tests ask of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longest wait for anything: generous, because all cores may be busy compiling.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where a server listens, as it writes it into `addresses.json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) http: String,
    pub(crate) otlp_grpc: String,
    pub(crate) otlp_http: String,
}

/// A folder to run servers in, one after the other.
pub(crate) struct Home {
    dir: TempDir,
}

/// A running server. Dropping it kills it, as does [`Server::kill`].
pub(crate) struct Server {
    child: Child,
    stderr: PathBuf,
    pub(crate) addresses: Addresses,
    pub(crate) client: reqwest::Client,
}

/// The program under test, beside the test program itself.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).expect("tests run from target/<profile>/deps");
    let program = profile.join("headrope");
    assert!(
        program.is_file(),
        "{} is missing: build it with `cargo build -p server`, or run everything by `make test`",
        program.display()
    );
    program
}

/// The folder of build products, for what is worth keeping between runs.
pub(crate) fn target_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).expect("tests run from target/<profile>/deps").to_owned()
}

/// The client tests use; the TLS library wants its provider even where nothing is encrypted.
pub(crate) fn client() -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build().unwrap()
}

/// Nanoseconds since the epoch, now: telemetry far from now is refused.
pub(crate) fn now_ns() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the server under test reads the real clock too")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// Asks until there is an answer; `what` names it in the failure.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let asking = async {
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| panic!("waited {} s for {what}", PATIENCE.as_secs()))
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Writes a file into this folder and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program with free ports and this folder; `config` is written to a file when there is one.
    pub(crate) fn command(&self, config: &str) -> Command {
        self.command_at("127.0.0.1:0", config)
    }

    /// The same with a main port that is known.
    pub(crate) fn command_at(&self, listen: &str, config: &str) -> Command {
        let mut command = Command::new(program());
        command.args(["run", "--listen", listen, "--otlp-grpc", "127.0.0.1:0"]);
        command.args(["--otlp-http", "127.0.0.1:0", "--data-dir"]).arg(self.data());
        if !config.is_empty() {
            command.arg("--config").arg(self.write("headrope.toml", config));
        }
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts a server that does not watch this host.
    pub(crate) async fn start(&self, config: &str) -> Server {
        let mut command = self.command(config);
        command.arg("--no-agent");
        self.launch(command).await
    }

    /// Starts `command` and waits until it says where it listens.
    pub(crate) async fn launch(&self, mut command: Command) -> Server {
        let file = self.data().join("addresses.json");
        // Of a server that was killed: its addresses are nobody's now.
        drop(std::fs::remove_file(&file));
        let stderr = self.dir.path().join("stderr");
        let mut child = command.stderr(File::create(&stderr).unwrap()).spawn().unwrap();
        let addresses = until("the server to be ready", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("headrope ended with {status}:\n{}", read(&stderr));
            }
            serde_json::from_slice(&std::fs::read(&file).ok()?).ok()
        })
        .await;
        Server { child, stderr, addresses, client: client() }
    }

    /// Runs the program until it gives up, and returns its exit status and what it said.
    pub(crate) async fn refused(&self, mut command: Command) -> (i32, String) {
        let stderr = self.dir.path().join("stderr");
        let mut child = command.stderr(File::create(&stderr).unwrap()).spawn().unwrap();
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        let status =
            status.unwrap_or_else(|_| panic!("still running:\n{}", read(&stderr))).unwrap();
        (status.code().expect("not ended by a signal"), read(&stderr))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.http)
    }

    pub(crate) fn otlp_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.otlp_http)
    }

    /// What it wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Ends it as a power cut would: no handler runs.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to read its files anew.
    pub(crate) fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Number of its process.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a process has a number");
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status =
            status.unwrap_or_else(|_| panic!("does not stop:\n{}", self.stderr())).unwrap();
        assert!(status.success(), "{status}:\n{}", self.stderr());
    }

    /// Rows of a SQL statement.
    pub(crate) async fn sql(&self, statement: &str) -> Vec<Vec<Value>> {
        let (status, answer) = self.try_sql(statement).await;
        assert_eq!(status, 200, "{statement}\n{answer:#}\n{}", self.stderr());
        assert_eq!(answer["truncated"], false, "{statement}");
        let rows = answer["rows"].as_array().unwrap();
        rows.iter().map(|row| row.as_array().unwrap().clone()).collect()
    }

    /// HTTP status and JSON body of a SQL statement.
    pub(crate) async fn try_sql(&self, statement: &str) -> (u16, Value) {
        let body = serde_json::json!({"query": statement, "limit": 1_000_000});
        let request = self.client.post(self.url("/api/headrope/v1/sql")).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The one value of a SQL statement that has one.
    pub(crate) async fn sql_value(&self, statement: &str) -> Value {
        let rows = self.sql(statement).await;
        assert!(rows.len() == 1 && rows[0].len() == 1, "{statement}: {rows:?}");
        rows[0][0].clone()
    }

    /// The JSON of a GET, which must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status}: {text}\n{}", self.stderr());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// Values of an instant PromQL query, in the server's order.
    pub(crate) async fn promql(&self, expr: &str) -> Vec<f64> {
        let request = self.client.post(self.url("/api/v1/query"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(format!("query={}", percent(expr))).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{expr}: {answer:#}\n{}", self.stderr());
        let result = answer["data"]["result"].as_array().unwrap();
        result.iter().map(|sample| sample["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }
}

/// Percent-encodes everything but letters and digits.
pub(crate) fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
