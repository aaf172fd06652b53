//! Two servers that may act, of which one does: whoever is stopped in the middle of a run has no effect once the other has
//! taken over. HAProxy's socket is watched by who speaks to it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::haproxy::{HELPS, Proxy, RULES, Telemetry, actions, runbook};
use crate::postgres::Postgres;
use crate::server::{Home, Server, until};

/// Rounds of the short test and of the long one.
const ROUNDS: usize = 3;
const ROUNDS_LONG: usize = 20;

/// Stands between the servers and HAProxy.
struct Watch {
    task: JoinHandle<()>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Who said what, oldest first.
    commands: Vec<(i32, String)>,
    /// Whom to stop after how many commands of theirs; whether they count only from a change on.
    stop: Option<(i32, usize, bool)>,
    stopped: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn signal(pid: i32, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

impl Watch {
    fn start(own: &Path, haproxy: PathBuf) -> Self {
        let listener = UnixListener::bind(own).unwrap();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, haproxy.clone(), Arc::clone(&noted)));
            }
        });
        Self { task, seen }
    }

    fn sets_of(&self, pid: i32) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.commands
            .iter()
            .filter(|(by, command)| *by == pid && command.starts_with("set "))
            .count()
    }
}

async fn pass_on(client: UnixStream, haproxy: PathBuf, seen: Arc<Mutex<Seen>>) {
    let pid = client.peer_cred().unwrap().pid().unwrap();
    let mut client = BufReader::new(client);
    let mut command = String::new();
    if client.read_line(&mut command).await.unwrap_or_default() == 0 {
        return;
    }
    let mut answer = Vec::new();
    let mut server = UnixStream::connect(&haproxy).await.unwrap();
    server.write_all(command.as_bytes()).await.unwrap();
    server.read_to_end(&mut answer).await.unwrap();
    {
        let mut seen = seen.lock().unwrap();
        let is_change = command.starts_with("set ");
        seen.commands.push((pid, command));
        match &mut seen.stop {
            Some((of, _, from_change)) if *of != pid || (*from_change && !is_change) => {}
            Some((_, 0, _)) => {
                // It has had its effect, if it was one, and does not learn of it.
                signal(pid, Signal::STOP);
                (seen.stop, seen.stopped) = (None, true);
            }
            Some((_, left, from_change)) => (*left, *from_change) = (*left - 1, false),
            None => {}
        }
    }
    // The asker may have been stopped, or have given up.
    drop(client.into_inner().write_all(&answer).await);
}

async fn is_acting(server: &Server) -> bool {
    actions(server).await["observe_only"].is_null()
}

/// Two servers with one database.
async fn two(book: &str, postgres: &Postgres) -> ([Home; 2], Vec<Server>) {
    let config = format!(
        "[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"runbook.yaml\"]\ntrust = \"auto\"\n\
         [action.coordination]\npostgres = \"{}\"\nlease = \"2s\"\n",
        postgres.url()
    );
    let homes = [Home::new(), Home::new()];
    let mut servers = Vec::new();
    for home in &homes {
        home.write("rules.yaml", RULES);
        home.write("runbook.yaml", book);
        servers.push(home.start(&config).await);
    }
    (homes, servers)
}

async fn stop_the_actor_in_mid_run(rounds: usize) {
    let (postgres, home) = (Postgres::start().await, Home::new());
    let proxy = Proxy::start(&home).await;
    let watch = Watch::start(&home.path().join("watched.sock"), home.path().join("admin.sock"));
    let book = runbook(&home, HELPS, "{ttl: 10m}").replace("admin.sock", "watched.sock");
    let guard = "  guard: {cooldown: 0s, flap: {max_flips: 1000}, budget: \
                 {per_target: 1000/1h, per_rule: 1000/1h, per_kind: 1000/1h, global: 1000/1h}}\n  steps:";
    let (_homes, servers) = two(&book.replace("  steps:", guard), &postgres).await;
    let telemetry: Vec<Telemetry> =
        servers.iter().map(|server| Telemetry::start(server, [0.1, 0.1, 0.1])).collect();
    let slow = |s2: f64| telemetry.iter().for_each(|one| _ = one.slow.send_replace([0.1, s2, 0.1]));
    let mut n_in_effect = 0;
    for round in 0..rounds {
        let actor = until("one of them to act", async || {
            let acting = [is_acting(&servers[0]).await, is_acting(&servers[1]).await];
            assert!(acting != [true, true], "both act");
            acting.iter().position(|acts| *acts)
        })
        .await;
        let (pid, other) = (servers[actor].pid(), &servers[1 - actor]);
        let sets = watch.sets_of(pid);
        watch.seen.lock().unwrap().stop = Some((pid, round / 2 % 4, round % 2 == 0));
        slow(0.9);
        until("the actor to be stopped", async || watch.seen.lock().unwrap().stopped.then_some(()))
            .await;
        watch.seen.lock().unwrap().stopped = false;
        n_in_effect += usize::from(watch.sets_of(pid) > sets);
        until("the other to act", async || is_acting(other).await.then_some(())).await;
        proxy.until_weight("s2", 10, other).await;
        until("the other to hold it", async || {
            let all = actions(other).await;
            let runs = all["runs"].as_array().unwrap();
            runs.iter().any(|run| run["state"] == "holding").then_some(())
        })
        .await;
        let before = watch.sets_of(pid);
        signal(pid, Signal::CONT);
        until("the stopped one to stand by", async || {
            let said = actions(&servers[actor]).await["observe_only"].clone();
            said.as_str().is_some_and(|said| said.contains("stands by")).then_some(())
        })
        .await;
        slow(0.1);
        proxy.until_weight("s2", 100, other).await;
        until("the run to be over", async || {
            let all = actions(other).await;
            all["held"].as_array().unwrap().is_empty().then_some(())
        })
        .await;
        assert_eq!(watch.sets_of(pid), before, "an effect of one that was replaced, round {round}");
        let opens = actions(other).await["incidents"].as_array().unwrap().len();
        assert!(opens <= round + 1, "an incident twice, round {round}: {opens}");
    }
    assert!(n_in_effect > 0, "no stop hit a run that had begun to act");
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_was_stopped_has_no_effect_after_it_was_replaced() {
    stop_the_actor_in_mid_run(ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: twenty actors stopped in mid run"]
async fn twenty_actors_that_were_stopped_have_no_effect_after_they_were_replaced() {
    stop_the_actor_in_mid_run(ROUNDS_LONG).await;
}
