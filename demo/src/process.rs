//! Children: each writes its own log, ends with us even where we are killed, and is asked before it is made to end.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// How long a child may take to end before it is made to.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How long anything may take to be ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Lines of a log that are shown when its child has failed.
const LINES_SHOWN: usize = 12;

/// Something we have started.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; its words go to a log in `dir`.
    pub(crate) fn start(name: &str, dir: &Path, program: &Program) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = program.command();
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A group of its own: Ctrl-C reaches us alone, and we end the others in their order.
        let child = command.process_group(0).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Asks until there is an answer, unless the process ends before.
    pub(crate) async fn until<T>(&mut self, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T> {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let asking = async {
            loop {
                ticks.tick().await;
                if let Some(answer) = ask().await {
                    return Ok(answer);
                }
                if let Some(status) = self.child.try_wait()? {
                    bail!("{} ended with {status}:\n{}", self.name, self.last_words());
                }
            }
        };
        let waited = tokio::time::timeout(START_PATIENCE, asking).await;
        waited.unwrap_or_else(|_| {
            bail!("{} is not ready after {START_PATIENCE:?}", self.name);
        })
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("{} ended with {status}:\n{}", self.name, self.last_words()))
    }

    fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    /// Asks it to end, and makes it where it does not.
    pub(crate) async fn end(mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself meanwhile.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(END_PATIENCE, self.child.wait()).await.is_err() {
            drop(self.child.kill().await);
        }
    }
}

/// A program with its arguments, and whether it refuses to work for the superuser.
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<std::ffi::OsString>,
    user: Option<&'static str>,
}

impl Program {
    /// A program by path or by name.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), args: Vec::new(), user: None }
    }

    /// With arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// As this user where we are the superuser.
    pub(crate) fn under_user(mut self, user: &'static str) -> Self {
        self.user = Some(user).filter(|_| rustix::process::geteuid().is_root());
        self
    }

    /// By `setpriv` of util-linux, which ends it when we end.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        if let Some(user) = self.user {
            command.arg(format!("--reuid={user}")).arg(format!("--regid={user}"));
            command.arg("--clear-groups");
        }
        command.arg("--").arg(&self.path).args(&self.args);
        command
    }

    /// Runs it to its end, which must be a good one.
    pub(crate) async fn run(&self) -> Result<()> {
        let name = self.path.display();
        let output = self.command().stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.with_context(|| format!("cannot start {name}"))?;
        if !output.status.success() {
            bail!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// The first of these programs that is there, by path or on the path of commands.
pub(crate) fn find(name: &str, folders: &[PathBuf], package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = folders.to_vec();
    all.extend(std::env::split_paths(&path));
    // Debian keeps servers where only the superuser's path leads.
    all.push(PathBuf::from("/usr/sbin"));
    all.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file()).with_context(|| {
        format!("{name} is missing: install Debian's package {package}, or run `make demo`")
    })
}

/// A port of loopback that nobody has just now.
pub(crate) fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?)
}

/// Returns when somebody presses Ctrl-C or ends us.
pub(crate) async fn asked_to_end() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
