//! A real PostgreSQL in a folder of its own, reached by a socket in it. Nothing of it is left.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::server::until;

/// The server; killed when it is dropped.
pub(crate) struct Postgres {
    _child: Child,
    dir: TempDir,
}

/// Where PostgreSQL's programs are.
pub(crate) fn programs() -> PathBuf {
    let all = std::fs::read_dir("/usr/lib/postgresql");
    let all = all.expect("postgresql is installed by `cargo xtask install test`");
    let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path().join("bin")).collect();
    all.sort();
    all.pop().unwrap()
}

/// The server refuses to be root.
fn as_postgres(program: &str, dir: &Path) -> Command {
    let program = programs().join(program);
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig=KILL"]).arg(program).current_dir(dir).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            let mut chown = Command::new("chown");
            let status = chown.arg("postgres:postgres").arg(dir.path()).status().await.unwrap();
            assert!(status.success(), "chown");
        }
        let data = dir.path().join("data");
        let mut init = as_postgres("initdb", dir.path());
        init.args(["--no-sync", "--auth=trust", "--username=headrope", "--pgdata"]).arg(&data);
        assert!(init.status().await.unwrap().success(), "initdb");
        let mut server = as_postgres("postgres", dir.path());
        server.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"]);
        server.arg(format!("unix_socket_directories={}", dir.path().display()));
        let child = server.arg("-D").arg(&data).spawn().unwrap();
        let socket = dir.path().join(".s.PGSQL.5432");
        until("PostgreSQL to listen", async || UnixStream::connect(&socket).await.ok()).await;
        Self { _child: child, dir }
    }

    /// What libpq calls a connection string.
    pub(crate) fn url(&self) -> String {
        format!("host={} user=headrope dbname=postgres", self.dir.path().display())
    }
}
