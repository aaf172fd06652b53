//! The running demo as it is written down for the other commands, and the door by which faults get in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Longest wait for an answer of anything of the demo.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where everything of a running demo listens.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct State {
    /// Headrope: dashboard and API.
    pub(crate) headrope: String,
    /// OTLP over gRPC.
    pub(crate) otlp: String,
    /// The shop's front door.
    pub(crate) front: String,
    /// HAProxy's runtime socket.
    pub(crate) socket: PathBuf,
    /// Instances of the shop by name.
    pub(crate) shops: BTreeMap<String, String>,
    /// `host:port` of PostgreSQL.
    pub(crate) postgres: String,
    /// `host:port` of Redis.
    pub(crate) redis: String,
    /// Folder of everything.
    pub(crate) dir: PathBuf,
}

/// What an instance says to a fault.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Faulty {
    /// How much longer each request takes, ms.
    pub(crate) slow_ms: u64,
    /// Since when, ns since the epoch.
    pub(crate) at_ns: i64,
}

/// Where it is written down: as asked, or beside the folder this program lies in.
pub(crate) fn path(asked: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = asked {
        return Ok(path);
    }
    let program = std::env::current_exe().context("where am I?")?;
    let folder = program.ancestors().nth(2).context("this program lies in no folder")?;
    Ok(folder.join("demo.json"))
}

/// A client of everything that listens here.
pub(crate) fn client() -> Result<reqwest::Client> {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
    client.build().context("no HTTP client")
}

impl State {
    /// Reads what is written at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| {
            format!("no demo is running: {} is missing; start one with `make demo`", path.display())
        })?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Writes it whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&new, path).with_context(|| path.display().to_string())
    }

    /// Makes every request of an instance take `by` longer.
    pub(crate) async fn slow(&self, instance: &str, by: Duration) -> Result<Faulty> {
        let Some(url) = self.shops.get(instance) else {
            let known = self.shops.keys().cloned().collect::<Vec<_>>().join(", ");
            bail!("there is no instance {instance:?}, there are {known}");
        };
        let url = format!("{url}/fault?slow_ms={}", by.as_millis());
        let answer = client()?.post(url).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }
}
