//! The dispatcher with a real journal: what is answered is on disk, and a disk that fails does not keep alerts quiet.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::BoxFuture;
use model::time::{NS_PER_S, Timestamp};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::route::config::Reading;
use crate::route::matcher::parse;
use crate::route::{Config, Deliver, Delivery, Dispatcher, Limits, Posted, Refusal, Silence};

const CONFIG: &str = "
route: {receiver: a, group_wait: 0s, group_interval: 1s}
receivers: [{name: a, webhook_configs: [{url: 'http://localhost/'}]}]
";

struct Inbox(mpsc::Sender<String>);

impl Deliver for Inbox {
    fn deliver(&self, delivery: Delivery) -> BoxFuture<'static, bool> {
        let tx = self.0.clone();
        Box::pin(async move {
            let names = delivery.alerts.iter().map(|one| {
                let name = one.alert.labels.value("alertname").unwrap_or_default();
                format!("{name}{}", if one.resolved { "-" } else { "+" })
            });
            tx.send(names.collect::<Vec<_>>().join(" ")).await.is_ok()
        })
    }
}

struct Shell {
    dispatcher: Arc<Dispatcher>,
    told: mpsc::Receiver<String>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Shell {
    fn open(dir: &Path, now: &Arc<AtomicI64>) -> Self {
        let config = Config::parse(CONFIG, "am.yml", &Reading::default()).unwrap();
        let now = Arc::clone(now);
        let clock = Arc::new(move || Timestamp(now.load(Ordering::SeqCst)));
        let dispatcher = Dispatcher::open(Arc::new(config), Limits::default(), dir, clock).unwrap();
        let (tx, told) = mpsc::channel(10);
        let stop = CancellationToken::new();
        let run = Arc::clone(&dispatcher).run(Arc::new(Inbox(tx)), stop.clone());
        Self { dispatcher, told, stop, running: tokio::spawn(run) }
    }

    async fn post(&self, name: &str) -> Result<(), Refusal> {
        let labels = vec![("alertname".to_owned(), name.to_owned())];
        let posted = Posted { labels, ..Posted::default() };
        self.dispatcher.post(vec![posted]).await.map(drop)
    }

    async fn close(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn silence(now: i64) -> Silence {
    Silence {
        id: String::new(),
        conditions: parse("alertname=B").unwrap(),
        starts_at: Timestamp(now),
        ends_at: Timestamp(now + 1_000 * NS_PER_S),
        updated_at: Timestamp(now),
        author: "me".to_owned(),
        comment: "planned".to_owned(),
        annotations: BTreeMap::new(),
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_700_000_000 * NS_PER_S));
    let mut shell = Shell::open(dir.path(), &now);
    shell.post("A").await.unwrap();
    assert_eq!(shell.told.recv().await.unwrap(), "A+");
    let id = shell.dispatcher.silence(silence(now.load(Ordering::SeqCst))).await.unwrap();
    shell.running.abort(); // Nothing is written on the way out.
    drop(shell);

    now.fetch_add(5 * NS_PER_S, Ordering::SeqCst);
    let mut shell = Shell::open(dir.path(), &now);
    let held = shell.dispatcher.look(|router, now| router.alerts(now).len());
    assert_eq!(held, 1);
    shell.post("B").await.unwrap();
    shell.post("C").await.unwrap();
    now.fetch_add(NS_PER_S, Ordering::SeqCst);
    shell.post("D").await.unwrap();
    let told = shell.told.recv().await.unwrap();
    assert!(told.starts_with("A+ C+") && !told.contains('B'), "{told}");
    shell.dispatcher.expire(id.clone()).await.unwrap();
    assert!(matches!(shell.dispatcher.expire("x".to_owned()).await, Err(Refusal::Silence(_))));
    shell.close().await;
}

#[tokio::test]
async fn alerts_are_told_although_the_disk_fails_and_are_kept_once_it_works() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("alert");
    let now = Arc::new(AtomicI64::new(1_700_000_000 * NS_PER_S));
    let mut shell = Shell::open(&place, &now);
    // So much that the journal is due to be written anew, with a directory in the way of the new file.
    let large = (0..80).map(|i| Posted {
        labels: vec![("alertname".to_owned(), "A".to_owned()), ("n".to_owned(), i.to_string())],
        annotations: vec![("text".to_owned(), "x".repeat(60_000))],
        ..Posted::default()
    });
    shell.dispatcher.post(large.collect()).await.unwrap();
    assert_eq!(shell.told.recv().await.unwrap().len(), 80 * 3 - 1);
    std::fs::create_dir(place.join("routes.tmp")).unwrap();
    now.fetch_add(2 * NS_PER_S, Ordering::SeqCst);
    assert!(matches!(shell.post("A").await, Err(Refusal::Unavailable(_))));
    assert_eq!(shell.told.recv().await.unwrap().len(), 81 * 3 - 1);
    std::fs::remove_dir(place.join("routes.tmp")).unwrap();
    shell.post("A").await.unwrap();
    shell.close().await;
    let shell = Shell::open(&place, &now);
    assert_eq!(shell.dispatcher.look(|router, now| router.alerts(now).len()), 81);
    shell.close().await;
}
