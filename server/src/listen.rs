//! Opens the doors and tells where they are: `DATA_DIR/addresses.json`, written once everything is ready.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use tokio::net::TcpListener;

/// The bound addresses, as `host:port`.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// Dashboard, APIs, OTLP/HTTP.
    pub http: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
}

/// The file's name below the data folder.
pub const ADDRESSES_FILE: &str = "addresses.json";

/// Binds `address`; `setting` names it in the error.
///
/// # Errors
/// When the port is taken or not ours to take, with the remedy.
pub async fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "cannot listen on {address}: the port is taken; stop the program that holds it (`ss -ltnp` names it) \
             or choose another with `--{setting} {}:0`",
            address.ip()
        ),
        std::io::ErrorKind::PermissionDenied => anyhow!(
            "cannot listen on {address}: ports below 1024 need privileges; choose another with `--{setting}`"
        ),
        _ => anyhow!("cannot listen on {address} (`--{setting}`): {error}"),
    })
}

/// Writes the addresses for scripts, whole or not at all.
///
/// # Errors
/// When the data folder cannot be written.
pub fn publish(data_dir: &Path, addresses: &Addresses) -> Result<()> {
    let path = data_dir.join(ADDRESSES_FILE);
    let temporary = data_dir.join(".addresses.json.new");
    let text = serde_json::to_vec_pretty(addresses).context("addresses have a JSON form")?;
    let write = || -> std::io::Result<()> {
        std::fs::File::create(&temporary)?.write_all(&text)?;
        std::fs::rename(&temporary, &path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Removes what a crash left, so that nobody reads addresses of a server that is not ready.
///
/// # Errors
/// When the file is there and cannot be removed.
pub fn withdraw(data_dir: &Path) -> Result<()> {
    let path = data_dir.join(ADDRESSES_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
