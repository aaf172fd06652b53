//! The servers that are measured: ours and its peers, each on free ports with a folder of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::client::Client;
use crate::clock;
use crate::process::{self, Process};
use crate::step::Setting;

/// How long a server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours, the log synced before every acknowledgement.
    Headrope,
    /// `victoria-metrics` as Debian ships it.
    VictoriaMetrics,
    /// `prometheus` as Debian ships it, with its remote-write receiver.
    Prometheus,
}

impl Kind {
    /// All of them, ours first.
    pub const ALL: [Self; 3] = [Self::Headrope, Self::VictoriaMetrics, Self::Prometheus];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Headrope => "Headrope",
            Self::VictoriaMetrics => "VictoriaMetrics",
            Self::Prometheus => "Prometheus",
        }
    }
}

/// A running server.
pub struct Peer {
    /// What it is.
    pub kind: Kind,
    /// `host:port` of its API.
    pub http: String,
    /// `host:port` of OTLP over HTTP; peers have none.
    pub otlp: Option<String>,
    /// Its data.
    pub data: PathBuf,
    process: Process,
}

impl Peer {
    /// Starts a server with an empty folder below `dir` and waits until it is ready. `headrope` is our program.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(kind: Kind, headrope: &Path, dir: &Path) -> Result<Self> {
        let home = empty(dir, &kind.name().to_lowercase())?;
        Self::launch(kind, headrope, &home, &[])
    }

    /// Starts ours in the empty folder `name`, with variables in its environment.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn ours(setting: &Setting, name: &str, environment: &[(&str, &str)]) -> Result<Self> {
        let home = empty(&setting.dir, name)?;
        Self::launch(Kind::Headrope, &setting.headrope, &home, environment)
    }

    /// Starts a server on the folder `home`, whatever it holds.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn resume(kind: Kind, headrope: &Path, home: &Path) -> Result<Self> {
        Self::launch(kind, headrope, home, &[])
    }

    fn launch(
        kind: Kind,
        headrope: &Path,
        home: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let (data, log) = (home.join("data"), home.join("log"));
        let mut http = format!("127.0.0.1:{}", free_port()?);
        let addresses = data.join("addresses.json");
        drop(fs::remove_file(&addresses)); // Of a server that ended.
        let mut command = match kind {
            Kind::Headrope => ours(headrope, &data),
            Kind::VictoriaMetrics => victoria_metrics(&http, &data),
            Kind::Prometheus => prometheus(&http, &data, home)?,
        };
        command.envs(environment.iter().copied());
        let mut process = Process::start(&mut command, &log)?;
        let mut otlp = None;
        let begin = clock::now();
        loop {
            process.check().with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
            if kind == Kind::Headrope {
                if let Some(found) = read_addresses(&addresses) {
                    (http, otlp) = (found.0, Some(found.1));
                    break;
                }
            } else if is_ready(kind, &http) {
                break;
            }
            if begin.elapsed() > PATIENCE {
                bail!("{} is not ready after {} s", kind.name(), PATIENCE.as_secs());
            }
            clock::pause(Duration::from_millis(2));
        }
        Ok(Self { kind, http, otlp, data, process })
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// CPU seconds so far.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        process::cpu_seconds(self.id())
    }

    /// Makes everything sent visible to queries, where that does not come with the acknowledgement.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn publish(&self) -> Result<()> {
        if self.kind == Kind::VictoriaMetrics {
            Client::new(&self.http).get("/internal/force_flush")?;
        }
        Ok(())
    }

    /// Merges what VictoriaMetrics has into as few files as it can, and waits until it has; others do it by themselves.
    ///
    /// # Errors
    ///
    /// When it does not answer, or merges for ever.
    pub fn merge(&self) -> Result<()> {
        if self.kind != Kind::VictoriaMetrics {
            return Ok(());
        }
        let mut client = Client::new(&self.http);
        client.get("/internal/force_merge")?;
        let begin = clock::now();
        let mut quiet = 0;
        while quiet < 3 {
            clock::pause(Duration::from_millis(500));
            let text = client.get("/metrics")?.body;
            let text = String::from_utf8_lossy(&text);
            let merging =
                |line: &str| line.starts_with("vm_active_force_merges") && !line.ends_with(" 0");
            quiet = if text.lines().any(merging) { 0 } else { quiet + 1 };
            if begin.elapsed() > 5 * PATIENCE {
                bail!("it merges for ever");
            }
        }
        Ok(())
    }

    /// Waits until it has nothing to do any more.
    ///
    /// # Errors
    ///
    /// When it has ended, or works for ever.
    pub fn settle(&self) -> Result<()> {
        let (begin, mut quiet, mut before) = (clock::now(), 0, self.cpu_seconds()?);
        while quiet < 4 {
            clock::pause(Duration::from_millis(500));
            let now = self.cpu_seconds()?;
            quiet = if now - before < 0.05 { quiet + 1 } else { 0 };
            before = now;
            if begin.elapsed() > 5 * PATIENCE {
                bail!("{} is busy for ever", self.kind.name());
            }
        }
        Ok(())
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub fn stop(self) -> Result<PathBuf> {
        self.process.stop()?;
        Ok(self.data)
    }
}

/// The folder `name` below `dir`, empty.
fn empty(dir: &Path, name: &str) -> Result<PathBuf> {
    let home = dir.join(name);
    drop(fs::remove_dir_all(&home)); // Absent at first.
    fs::create_dir_all(&home)?;
    Ok(home)
}

fn ours(program: &Path, data: &Path) -> Command {
    let any = "127.0.0.1:0";
    let mut command = Command::new(program);
    command.args(["run", "--no-agent", "--listen", any, "--otlp-grpc", any, "--otlp-http", any]);
    command.arg("--data-dir").arg(data);
    // As long as the peers.
    command.env("HEADROPE_COLLECTOR__SAMPLE_AGE_MAX", "90d");
    command.env("HEADROPE_STORE__RETAIN_SAMPLES", "90d");
    command
}

fn victoria_metrics(http: &str, data: &Path) -> Command {
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-storageDataPath={}", data.display()));
    command.arg(format!("-httpListenAddr={http}"));
    // In months; queries see the newest samples.
    command.args(["-retentionPeriod=3", "-search.latencyOffset=0s", "-loggerLevel=ERROR"]);
    command
}

fn prometheus(http: &str, data: &Path, home: &Path) -> Result<Command> {
    let config = home.join("prometheus.yml");
    fs::write(&config, "global:\n  scrape_interval: 1h\n")?;
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", data.display()));
    command.arg(format!("--web.listen-address={http}"));
    command.args(["--storage.tsdb.retention.time=90d", "--web.enable-remote-write-receiver"]);
    command.arg("--log.level=error");
    Ok(command)
}

fn is_ready(kind: Kind, http: &str) -> bool {
    let path = if kind == Kind::Prometheus { "/-/ready" } else { "/health" };
    Client::new(http).get(path).is_ok_and(|answer| answer.is_success())
}

fn read_addresses(file: &Path) -> Option<(String, String)> {
    let all: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let text = |name: &str| all[name].as_str().map(str::to_owned);
    Some((text("http")?, text("otlp_http")?))
}

/// A port nobody listens on now.
///
/// # Errors
///
/// When loopback has none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// First line of what `program --version` prints.
#[must_use]
pub fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}
