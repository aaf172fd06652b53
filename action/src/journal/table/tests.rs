//! Two who want to write, before a real PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::register::Deed;

/// A PostgreSQL in a folder of its own, reached by a socket in it.
struct Server {
    child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once, as a crash would: nothing of it is wanted any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn programs() -> PathBuf {
    let all = std::fs::read_dir("/usr/lib/postgresql");
    let all = all.expect("postgresql is installed by `cargo xtask install test`");
    let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path().join("bin")).collect();
    all.sort();
    all.pop().unwrap()
}

/// The server refuses to be root.
fn as_nobody(program: &str, dir: &Path) -> Command {
    let program = programs().join(program);
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--pdeathsig=KILL",
        ]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        if rustix::process::geteuid().is_root() {
            let mut chown = Command::new("chown");
            assert!(
                chown.args(["-R", "postgres:postgres"]).arg(dir.path()).status().unwrap().success()
            );
        }
        let mut init = as_nobody("initdb", dir.path());
        init.args(["--no-sync", "--auth=trust", "--username=headrope", "--pgdata"]).arg(&data);
        assert!(init.status().unwrap().success(), "initdb");
        let mut server = as_nobody("postgres", dir.path());
        server.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"]);
        server
            .arg(format!("unix_socket_directories={}", dir.path().display()))
            .arg("-D")
            .arg(&data);
        Self { child: server.spawn().unwrap(), dir }
    }

    async fn table(&self, holder: &str) -> Table {
        let mut config = Config::new();
        config.host_path(self.dir.path()).user("headrope").dbname("postgres");
        let patience = Instant::now() + Duration::from_secs(60);
        while connect(&config).await.is_err() {
            assert!(Instant::now() < patience, "PostgreSQL does not answer");
            tokio::task::yield_now().await;
        }
        Table::new(config, "test", holder, Duration::from_secs(3))
    }
}

async fn until_ours(table: &mut Table) -> u64 {
    loop {
        if let Held::Ours(epoch) = table.take().await.unwrap() {
            return epoch;
        }
    }
}

fn started(epoch: u64) -> Event {
    Event::deed(&Deed::Started { epoch }).unwrap()
}

fn epochs(rows: Vec<Rows>) -> Vec<u64> {
    let events = rows.into_iter().flat_map(|rows| rows.events);
    let epoch = |event: Event| match event {
        Event::Deed(deed) => match *deed {
            Deed::Started { epoch } => epoch,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    events.map(epoch).collect()
}

#[tokio::test]
async fn one_writes_and_who_was_replaced_writes_no_more() {
    let server = Server::start();
    let (mut a, mut b) = (server.table("a").await, server.table("b").await);
    let at = Timestamp(7);
    assert_eq!(a.take().await.unwrap(), Held::Ours(1));
    assert_eq!(a.take().await.unwrap(), Held::Ours(1), "kept");
    assert_eq!(b.take().await.unwrap(), Held::Theirs("a".to_owned()));
    a.add(at, &[&started(1), &started(2)]).await.unwrap();
    assert_eq!(b.add(at, &[&started(9)]).await, Err(Refused::Fenced));
    assert_eq!(epochs(b.follow().await.unwrap()), [1, 2]);

    // It is stopped for longer than its lease; its own clock tells it nothing.
    assert_eq!(until_ours(&mut b).await, 2);
    a.until = Instant::now() + Duration::from_secs(60);
    assert_eq!(a.add(at, &[&started(9)]).await, Err(Refused::Fenced));
    b.add(at, &[&started(3)]).await.unwrap();
    assert_eq!(a.take().await.unwrap(), Held::Theirs("b".to_owned()));
    assert_eq!(epochs(a.follow().await.unwrap()), [3]);

    // Given back, it is taken at once.
    b.leave().await;
    assert_eq!(a.take().await.unwrap(), Held::Ours(3));
    a.replace(at, &[&started(4), &started(5)]).await.unwrap();
    a.add(at, &[&started(6)]).await.unwrap();
    let found = b.follow().await.unwrap();
    assert!(found[0].is_base);
    assert_eq!(epochs(found), [4, 5, 6]);
    let mut new = server.table("c").await;
    assert_eq!(epochs(new.follow().await.unwrap()), [4, 5, 6]);
}

#[tokio::test]
async fn rows_that_were_changed_are_not_believed() {
    let server = Server::start();
    let mut a = server.table("a").await;
    a.take().await.unwrap();
    a.add(Timestamp(7), &[&started(1), &started(2), &started(3)]).await.unwrap();
    let client = connect(&a.config).await.unwrap();
    let change = "UPDATE headrope_action_journal SET record = overlay(record placing '8' from 26) WHERE seq = 2";
    client.batch_execute(change).await.unwrap();
    let found = server.table("b").await.follow().await;
    assert_eq!(found.unwrap_err(), "row 2 of the journal is damaged");
    client.batch_execute("DELETE FROM headrope_action_journal WHERE seq = 2").await.unwrap();
    let found = server.table("b").await.follow().await;
    assert_eq!(found.unwrap_err(), "row 2 of the journal is missing");
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_in_words() {
    let mut config = Config::new();
    config.host_path("/nonexistent").user("headrope");
    let mut table = Table::new(config, "test", "a", Duration::from_secs(3));
    let said = table.take().await.unwrap_err();
    assert!(said.starts_with("PostgreSQL: ") && said.contains("No such file"), "{said}");
}
