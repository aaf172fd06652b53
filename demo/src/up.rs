//! Starts everything in its order, says where it is, and ends it in the opposite one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::files;
use crate::output::{say, warn};
use crate::process::{Process, Program, asked_to_end, find, free_port};
use crate::redis::Redis;
use crate::state::{State, client};

/// Names of the instances, in HAProxy and as `service.instance.id`.
const SHOPS: [&str; 3] = ["s1", "s2", "s3"];

/// What may be chosen.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Purchases a second
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Where Headrope's dashboard and API listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The program `headrope`; default: the one beside this program
    #[arg(long)]
    headrope: Option<PathBuf>,
    /// Do not watch this host
    #[arg(long)]
    no_agent: bool,
}

/// Everything that was started, in that order.
struct Shop {
    processes: Vec<Process>,
    state: State,
}

/// Until Ctrl-C, or until something of it ends by itself.
pub(crate) async fn up(args: &Args, written: &Path) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("headrope-demo-").tempdir()?;
    let mut processes = Vec::new();
    let started = tokio::select! {
        started = start(args, dir.path(), &mut processes) => started.map(Some),
        () = asked_to_end() => Ok(None),
    };
    let outcome = match started {
        Ok(Some(state)) => {
            state.write(written)?;
            let mut shop = Shop { processes, state };
            let outcome = shop.watch().await;
            drop(std::fs::remove_file(written));
            processes = shop.processes;
            outcome
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    while let Some(process) = processes.pop() {
        process.end().await;
    }
    outcome
}

impl Shop {
    /// Says where everything is; returns when it is to end.
    async fn watch(&mut self) -> Result<()> {
        let State { headrope, front, postgres, redis, dir, .. } = &self.state;
        let program = std::env::current_exe().context("where am I?")?;
        let program = program.display();
        say(&format!(
            "\nThe shop is open: three instances behind HAProxy, PostgreSQL and Redis, customers who buy without pause.

  Dashboard    {headrope}/alerts
  Front door   {front}/checkout?item=1
  PostgreSQL   {postgres}    Redis   {redis}    Logs   {}

  Make an instance slow, from another terminal:   {program} fault slow s2 300ms     or: make fault
  and well again:                                 {program} fault none s2           or: make heal
  How quick the cure is, ten times:               {program} measure --rounds 10

Ctrl-C ends everything.",
            dir.display()
        ))?;
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        let ended = async {
            loop {
                ticks.tick().await;
                if let Some(words) = self.processes.iter_mut().find_map(Process::ended) {
                    return words;
                }
            }
        };
        tokio::select! {
            () = asked_to_end() => {
                warn("ending everything");
                Ok(())
            }
            words = ended => bail!("{words}"),
        }
    }
}

/// `addresses.json` of Headrope.
#[derive(Deserialize)]
struct Addresses {
    http: String,
    otlp_grpc: String,
}

async fn start(args: &Args, dir: &Path, started: &mut Vec<Process>) -> Result<State> {
    let postgres = postgres(dir, started).await?;
    let redis = redis(dir, started).await?;
    let (front, metrics) = (free_port()?, free_port()?);
    let socket = dir.join("haproxy.sock");
    let addresses = headrope(args, dir, (metrics, &socket), started).await?;
    let otlp = format!("http://{}", addresses.otlp_grpc);
    let mut shops = Vec::new();
    for name in SHOPS {
        let at = free_port()?;
        let needs = [("--postgres", postgres), ("--redis", redis)];
        shop(dir, (name, at), (&otlp, &needs), started).await?;
        shops.push((name.to_owned(), at));
    }
    std::fs::write(dir.join("haproxy.cfg"), files::haproxy(&socket, (front, metrics), &shops))?;
    let program = Program::new(find("haproxy", &[], "haproxy")?);
    let program = program.args(["-db", "-f"]).args([dir.join("haproxy.cfg")]);
    let url = format!("http://{front}");
    let mut proxy = Process::start("haproxy", dir, &program)?;
    let http = client()?;
    // Until a purchase comes through: the checks have found somebody then.
    let buy = || async {
        let answer = http.get(format!("{url}/checkout?item=1")).send().await.ok()?;
        answer.status().is_success().then_some(())
    };
    proxy.until(async || buy().await).await?;
    started.push(proxy);
    let customers = own()?.args(["load", "--url", &url, "--otlp", &otlp]);
    let customers = customers.args(["--rate", &args.rate.to_string()]);
    started.push(Process::start("customers", dir, &customers)?);
    let shops: BTreeMap<String, String> =
        shops.into_iter().map(|(name, at)| (name, format!("http://{at}"))).collect();
    Ok(State {
        headrope: format!("http://{}", addresses.http),
        otlp,
        front: url,
        socket,
        shops,
        postgres: postgres.to_string(),
        redis: redis.to_string(),
        dir: dir.to_owned(),
    })
}

/// This program.
fn own() -> Result<Program> {
    Ok(Program::new(std::env::current_exe().context("where am I?")?))
}

/// A cluster of its own, quick and forgetful: nothing of it is kept.
async fn postgres(dir: &Path, started: &mut Vec<Process>) -> Result<SocketAddr> {
    let folders = server_folders();
    let data = dir.join("postgres");
    std::fs::create_dir(&data)?;
    if rustix::process::geteuid().is_root() {
        // It refuses to work for the superuser, and must reach its folder.
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711))?;
        Program::new("chown").args(["postgres:postgres"]).args([&data]).run().await?;
    }
    let init = Program::new(find("initdb", &folders, "postgresql")?).under_user("postgres");
    let init = init.args(["--auth=trust", "--username=shop", "--no-sync", "--no-locale"]);
    init.args(["--encoding=UTF8", "-D"]).args([&data]).run().await?;
    let at = free_port()?;
    let server = Program::new(find("postgres", &folders, "postgresql")?).under_user("postgres");
    let server = server.args(["-p", &at.port().to_string(), "-h", "127.0.0.1", "-D"]).args([&data]);
    let settings =
        ["unix_socket_directories=", "fsync=off", "shared_buffers=16MB", "autovacuum=off"];
    let server = server.args(settings.map(|setting| format!("--{setting}")));
    let mut process = Process::start("postgres", dir, &server)?;
    let mut wanted = tokio_postgres::Config::new();
    wanted.host("127.0.0.1").port(at.port()).user("shop").dbname("postgres");
    let ready = async || {
        let (client, connection) = wanted.connect(tokio_postgres::NoTls).await.ok()?;
        let connection = tokio::spawn(connection);
        let answered = client.simple_query("SELECT 1").await.is_ok();
        connection.abort();
        answered.then_some(())
    };
    process.until(ready).await?;
    started.push(process);
    Ok(at)
}

/// Where Debian keeps PostgreSQL's programs, the newest first.
fn server_folders() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

async fn redis(dir: &Path, started: &mut Vec<Process>) -> Result<SocketAddr> {
    let at = free_port()?;
    let program = Program::new(find("redis-server", &[], "redis-server")?);
    let program = program.args(["--bind", "127.0.0.1", "--port", &at.port().to_string()]);
    let program = program.args(["--save", "", "--appendonly", "no", "--dir"]).args([dir]);
    let mut process = Process::start("redis", dir, &program)?;
    let address = at.to_string();
    let ready = async || Redis::connect(&address).await.ok()?.ask(&["PING"]).await.ok()?;
    process.until(ready).await?;
    started.push(process);
    Ok(at)
}

async fn headrope(
    args: &Args,
    dir: &Path,
    (metrics, socket): (SocketAddr, &Path),
    started: &mut Vec<Process>,
) -> Result<Addresses> {
    let data = dir.join("data");
    std::fs::write(dir.join("headrope.toml"), files::HEADROPE)?;
    std::fs::write(dir.join("rules.yaml"), files::RULES)?;
    std::fs::write(dir.join("runbook.yaml"), files::runbook(socket))?;
    std::fs::write(dir.join("scrape.yaml"), files::scrape(metrics))?;
    let program = match &args.headrope {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("where am I?")?.with_file_name("headrope"),
    };
    if !program.is_file() {
        bail!("{} is missing: run `make demo`, or name it with --headrope", program.display());
    }
    let program = Program::new(program).args(["run", "--listen", &args.listen.to_string()]);
    let program = program.args(["--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"]);
    let mut program = program.args(["--config".into(), dir.join("headrope.toml")]);
    if args.no_agent {
        program = program.args(["--no-agent"]);
    }
    let program = program.args(["--data-dir".into(), data.clone()]);
    let mut process = Process::start("headrope", dir, &program)?;
    let file = data.join("addresses.json");
    let ready = async || serde_json::from_slice(&std::fs::read(&file).ok()?).ok();
    let addresses = process.until(ready).await?;
    started.push(process);
    Ok(addresses)
}

async fn shop(
    dir: &Path,
    (name, at): (&str, SocketAddr),
    (otlp, needs): (&str, &[(&str, SocketAddr)]),
    started: &mut Vec<Process>,
) -> Result<()> {
    let program = own()?.args(["shop", "--name", name, "--listen", &at.to_string()]);
    let mut program = program.args(["--otlp", otlp]);
    for (option, at) in needs {
        program = program.args([(*option).to_owned(), at.to_string()]);
    }
    let mut process = Process::start(name, dir, &program)?;
    let http = client()?;
    let url = format!("http://{at}/healthy");
    let ready = async || http.get(&url).send().await.ok()?.error_for_status().ok().map(drop);
    process.until(ready).await?;
    started.push(process);
    Ok(())
}
