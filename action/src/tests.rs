//! The notifier against real receivers on loopback, verified with another implementation of Standard Webhooks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use model::alert::{AlertState, Cause, Transition};
use model::time::{Clock, Timestamp};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Secret;
use crate::{Config, Delivery, DeliveryStatus, Error, ErrorKind, Notifier, WebhookReceiver};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver saw.
#[derive(Debug)]
struct Seen {
    id: String,
    body: serde_json::Value,
    bytes: Bytes,
}

/// How a receiver answers its n-th request (from 0).
type Answers = fn(usize) -> Response;

struct Hook {
    address: SocketAddr,
    seen: mpsc::Receiver<Seen>,
    server: JoinHandle<()>,
}

impl Hook {
    async fn start(answers: Answers) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tx, seen) = mpsc::channel(1_000);
        let count = Arc::new(Mutex::new(0));
        let handler = move |headers: HeaderMap, bytes: Bytes| {
            let n = {
                let mut count = count.lock().unwrap();
                *count += 1;
                *count - 1
            };
            let tx = tx.clone();
            async move {
                standardwebhooks::Webhook::new(SECRET).unwrap().verify(&bytes, &headers).unwrap();
                assert_eq!(headers["content-type"], "application/cloudevents+json; charset=utf-8");
                let id = headers["webhook-id"].to_str().unwrap().to_owned();
                let body = serde_json::from_slice(&bytes).unwrap();
                tx.send(Seen { id, body, bytes }).await.unwrap();
                answers(n)
            }
        };
        let app = axum::Router::new().route("/hook", axum::routing::post(handler));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, seen, server }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(Duration::from_secs(20), self.seen.recv());
        next.await.expect("a request within 20 s").expect("the receiver runs")
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Real time plus an offset that tests may move.
#[derive(Clone)]
struct TestClock {
    start: tokio::time::Instant,
    offset: watch::Sender<i64>,
}

impl TestClock {
    fn new() -> Self {
        // `standardwebhooks` compares with the real time.
        #[expect(
            clippy::disallowed_methods,
            reason = "the verifier under test reads the system clock"
        )]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let offset = i64::try_from(now.as_nanos()).unwrap();
        Self { start: tokio::time::Instant::now(), offset: watch::Sender::new(offset) }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.start.elapsed().as_nanos()).unwrap();
        Timestamp(*self.offset.borrow() + elapsed)
    }
}

fn config(receivers: &[(&str, String)]) -> Config {
    let receiver = |(name, url): &(&str, String)| WebhookReceiver {
        name: (*name).to_owned(),
        url: url.clone(),
        secret: Secret::new(SECRET),
        ..WebhookReceiver::default()
    };
    Config {
        receivers: receivers.iter().map(receiver).collect(),
        retry_wait_min: Duration::from_millis(2),
        retry_wait_max: Duration::from_millis(20),
        ..Config::default()
    }
}

fn transition(id: u128, alert: &str, state: AlertState) -> Transition {
    let pairs = [("alertname", "Hot"), ("instance", alert), ("severity", "page")];
    Transition {
        id,
        group: "host".into(),
        rule: "Hot".into(),
        labels: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        annotations: [("summary".to_owned(), "it is hot".to_owned())].into_iter().collect(),
        state,
        cause: Cause::Condition,
        value: 0.5,
        active_at: Timestamp::from_s(1),
        at: Timestamp::from_s(2),
        expr: "cpu > 0.4".into(),
    }
}

/// A notifier that runs until it is dropped or stopped.
struct Running {
    notifier: Arc<Notifier>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn open(config: Config, dir: &Path) -> Self {
        let notifier = Notifier::open(config, dir, Arc::new(TestClock::new())).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&notifier).run(stop.clone()));
        Self { notifier, stop, task }
    }

    async fn accept(&self, transition: Transition) {
        self.notifier.accept(transition).await.unwrap();
    }

    /// Waits until the delivery to `receiver` has an outcome of the kind asked for.
    async fn until(&self, receiver: &str, wanted: impl Fn(&Delivery) -> bool) -> Delivery {
        let found = async {
            loop {
                let all = self.notifier.deliveries(100);
                if let Some(found) = all.into_iter().find(|d| d.receiver == receiver && wanted(d)) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        found.unwrap_or_else(|_| panic!("{:#?}", self.notifier.deliveries(100)))
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        assert_eq!(Arc::strong_count(&self.notifier), 1, "nothing outlives run");
    }

    /// A copy of the journal as a crash at this moment leaves it.
    async fn crash(self, dir: &Path) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        self.stop().await;
        copy
    }
}

fn ok(_: usize) -> Response {
    StatusCode::NO_CONTENT.into_response()
}

#[tokio::test]
async fn failures_are_retried_with_the_same_bytes_until_taken() {
    let mut hook = Hook::start(|n| match n {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        1 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
        2 => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(config(&[("a", hook.url())]), dir.path());
    running.accept(transition(1, "x", AlertState::Firing)).await;
    let first = hook.next().await;
    assert_eq!(first.body["type"], "io.headrope.alert.firing");
    assert_eq!(first.body["data"]["labels"]["instance"], "x");
    for _ in 0..3 {
        let again = hook.next().await;
        assert_eq!((&again.id, &again.bytes), (&first.id, &first.bytes));
    }
    let done = running.until("a", |d| d.status == DeliveryStatus::Delivered).await;
    assert_eq!((done.attempts, done.last_status, &done.id), (4, Some(200), &first.id));
    let stats = running.notifier.stats();
    assert_eq!((stats.attempts, stats.delivered, stats.retried), (4, 1, 3));
    assert_eq!((stats.pending, stats.given_up, stats.journal_records), (0, 0, 9));
    running.stop().await;
}

#[tokio::test]
async fn a_message_cut_off_by_a_crash_is_sent_again_under_its_id() {
    let mut hook = Hook::start(|n| match n {
        0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(config(&[("a", hook.url())]), dir.path());
    // Accepted and crashed before anything is sent: the notifier is opened but never runs.
    running.stop.cancel();
    running.accept(transition(1, "x", AlertState::Firing)).await;
    let crashed = running.crash(dir.path()).await;
    let running = Running::open(config(&[("a", hook.url())]), crashed.path());
    let first = hook.next().await;
    running.until("a", |d| d.last_status == Some(503) || d.attempts > 1).await;
    let crashed = running.crash(crashed.path()).await;
    let running = Running::open(config(&[("a", hook.url())]), crashed.path());
    // The transition is told again, as `alert` does when it crashed before it saw our answer.
    running.accept(transition(1, "x", AlertState::Firing)).await;
    let second = hook.next().await;
    assert_eq!((second.id, second.bytes), (first.id, first.bytes));
    let done = running.until("a", |d| d.status == DeliveryStatus::Delivered).await;
    assert!(done.attempts >= 2);
    running.accept(transition(1, "x", AlertState::Firing)).await;
    assert_eq!(running.notifier.deliveries(9).len(), 1);
    assert_eq!(running.notifier.stats().duplicates, 2);
    running.stop().await;
}

#[tokio::test]
async fn firing_comes_before_resolved_however_often_it_fails() {
    let mut hook = Hook::start(|n| match n {
        0..5 => StatusCode::BAD_GATEWAY.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(config(&[("a", hook.url())]), dir.path());
    running.accept(transition(1, "x", AlertState::Firing)).await;
    running.accept(transition(2, "x", AlertState::Resolved)).await;
    for n in 0..7 {
        let status = if n < 6 { "firing" } else { "resolved" };
        assert_eq!(hook.next().await.body["data"]["status"], status, "request {n}");
    }
    running
        .until("a", |d| d.state == AlertState::Resolved && d.status == DeliveryStatus::Delivered)
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_is_final_and_says_why() {
    let mut hook =
        Hook::start(|_| (StatusCode::BAD_REQUEST, "no\n such\x07 field").into_response()).await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(config(&[("a", hook.url())]), dir.path());
    running.accept(transition(1, "x", AlertState::Firing)).await;
    hook.next().await;
    let done = running.until("a", |d| d.status == DeliveryStatus::Refused).await;
    assert_eq!((done.attempts, done.last_error.as_str()), (1, "400 Bad Request: no such field"));
    assert_eq!(running.notifier.stats().given_up, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_gets_nothing_more_until_the_next_start() {
    let mut hook = Hook::start(|n| match n {
        0 => StatusCode::GONE.into_response(),
        _ => StatusCode::OK.into_response(),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(config(&[("a", hook.url())]), dir.path());
    running.accept(transition(1, "x", AlertState::Firing)).await;
    hook.next().await;
    running.until("a", |d| d.status == DeliveryStatus::Gone).await;
    running.accept(transition(2, "y", AlertState::Firing)).await;
    let second =
        running.until("a", |d| d.transition_id == 2 && d.status == DeliveryStatus::Gone).await;
    assert_eq!(second.attempts, 0);
    running.stop().await;
    let running = Running::open(config(&[("a", hook.url())]), dir.path());
    running.accept(transition(3, "z", AlertState::Firing)).await;
    assert_eq!(hook.next().await.body["data"]["labels"]["instance"], "z");
    running.stop().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up_after_its_time_and_holds_up_nobody() {
    // Accepts connections by the kernel's backlog, and never answers.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut quick = Hook::start(ok).await;
    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}/hook?token=hunter2", mute.local_addr().unwrap());
    let mut config = config(&[("mute", url), ("quick", quick.url())]);
    config.receivers[0].timeout = Duration::from_millis(30);
    config.receivers[0].retry_max_age = Duration::from_millis(120);
    let running = Running::open(config, dir.path());
    running.accept(transition(1, "x", AlertState::Firing)).await;
    quick.next().await;
    let done = running.until("mute", |d| d.status == DeliveryStatus::Expired).await;
    assert!(done.attempts >= 1 && done.last_status.is_none());
    assert!(done.last_error.contains("no answer within 30ms"), "{}", done.last_error);
    assert!(done.last_error.contains("retry_max_age"), "{}", done.last_error);
    assert!(!done.last_error.contains("hunter2"), "{}", done.last_error);
    running.stop().await;
}

#[tokio::test]
async fn a_closed_port_is_tried_again_until_someone_listens() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(config(&[("a", format!("http://{port}/hook"))]), dir.path());
    running.accept(transition(1, "x", AlertState::Firing)).await;
    let failing = running.until("a", |d| d.attempts >= 3).await;
    assert_eq!(failing.status, DeliveryStatus::Pending);
    let wanted = format!("http://{port}: cannot connect: Connection refused (os error 111)");
    assert_eq!(failing.last_error, wanted);
    running.stop().await;
}

#[tokio::test]
async fn only_receivers_whose_matchers_hold_are_told() {
    let (mut a, mut b) = (Hook::start(ok).await, Hook::start(ok).await);
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&[("a", a.url()), ("b", b.url())]);
    config.receivers[0].matchers = vec!["severity=\"page\"".into(), "instance!~\"y.*\"".into()];
    config.receivers[1].matchers = vec!["severity=ticket".into()];
    let running = Running::open(config, dir.path());
    running.accept(transition(1, "yy", AlertState::Firing)).await;
    running.accept(transition(2, "xx", AlertState::Firing)).await;
    assert_eq!(a.next().await.body["data"]["labels"]["instance"], "xx");
    running.until("a", |d| d.status == DeliveryStatus::Delivered).await;
    assert_eq!(running.notifier.stats().unrouted, 1);
    assert!(b.seen.try_recv().is_err());
    running.stop().await;
}

#[tokio::test]
async fn deliveries_to_a_receiver_no_longer_configured_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let gone = config(&[("old", "http://127.0.0.1:9/hook".into())]);
    let notifier = Notifier::open(gone, dir.path(), clock).unwrap();
    notifier.accept(transition(1, "x", AlertState::Firing)).await.unwrap();
    drop(notifier);
    let running = Running::open(config(&[]), dir.path());
    let done = running.until("old", |d| d.status == DeliveryStatus::Dropped).await;
    assert_eq!(done.attempts, 0);
    running.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&[("a", "http://127.0.0.1:9/hook".into())]);
    config.queue_max = 2;
    let notifier = Notifier::open(config, dir.path(), Arc::new(TestClock::new())).unwrap();
    for id in 1..=2 {
        notifier.accept(transition(id, "x", AlertState::Firing)).await.unwrap();
    }
    let error = notifier.accept(transition(3, "x", AlertState::Firing)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert_eq!(
        error.to_string(),
        "2 messages wait for delivery and 2 may: try again when receivers answer"
    );
    notifier.accept(transition(1, "x", AlertState::Firing)).await.unwrap(); // Known: no room needed.
    assert_eq!(notifier.stats().pending, 2);
}

#[tokio::test]
async fn accepts_that_come_together_share_syncs_and_all_survive() {
    let dir = tempfile::tempdir().unwrap();
    let make = || config(&[("a", "http://127.0.0.1:9/hook".into())]);
    let notifier = Notifier::open(make(), dir.path(), Arc::new(TestClock::new())).unwrap();
    let accepts = (0..300)
        .map(|id| notifier.accept(transition(id % 200, &id.to_string(), AlertState::Firing)));
    assert!(futures::future::join_all(accepts).await.iter().all(Result::is_ok));
    let stats = notifier.stats();
    assert!(stats.journal_syncs < 200, "{stats:?}");
    drop(notifier);
    let notifier = Notifier::open(make(), dir.path(), Arc::new(TestClock::new())).unwrap();
    assert_eq!(notifier.stats().pending, 200);
}

#[tokio::test]
async fn the_journal_stays_small_and_keeps_what_is_pending() {
    let mut hook = Hook::start(ok).await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&[("a", hook.url()), ("closed", "http://127.0.0.1:1/".into())]);
    config.receivers[1].matchers = vec!["instance=first".into()];
    (config.journal_bytes_max, config.history_max) = (8_192, 5);
    let running = Running::open(config.clone(), dir.path());
    running.accept(transition(0, "first", AlertState::Firing)).await;
    for id in 1..60 {
        running.accept(transition(id, "x", AlertState::Firing)).await;
        hook.next().await;
    }
    running.until("a", |d| d.transition_id == 59 && d.status == DeliveryStatus::Delivered).await;
    let stats = running.notifier.stats();
    assert!(stats.journal_rewrites >= 1 && stats.journal_bytes < 40_000, "{stats:?}");
    running.stop().await;
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let running = Running::open(config, dir.path());
    let pending = running.until("closed", |d| d.status == DeliveryStatus::Pending).await;
    assert_eq!(pending.transition_id, 0);
    assert!(running.notifier.deliveries(100).len() <= 7);
    running.stop().await;
}

#[tokio::test]
async fn https_is_spoken_and_an_unknown_certificate_is_an_error_that_is_retried() {
    // Answers TLS with something that is not TLS.
    let hook = Hook::start(ok).await;
    let dir = tempfile::tempdir().unwrap();
    let url = hook.url().replace("http:", "https:");
    let running = Running::open(config(&[("a", url)]), dir.path());
    running.accept(transition(1, "x", AlertState::Firing)).await;
    let failing = running.until("a", |d| d.attempts >= 2).await;
    assert_eq!(failing.status, DeliveryStatus::Pending);
    assert!(!failing.last_error.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn an_unusable_directory_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let place = dir.path().join("file").join("action");
    let error =
        Notifier::open(config(&[]), &place, Arc::new(TestClock::new())).err().expect("refused");
    assert!(
        matches!(error, Error::Io { .. }) && error.to_string().contains("file/action"),
        "{error}"
    );
}

#[test]
fn the_guide_shows_a_configuration_that_is_read() {
    let text = include_str!("../../docs/guide/webhooks.md");
    let toml = text.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let mut sections: HashMap<String, Config> = toml::from_str(toml).unwrap();
    let mut config = sections.remove("action").unwrap();
    config.receivers.iter_mut().for_each(|receiver| receiver.secret_file = None);
    config.receivers.iter_mut().for_each(|receiver| receiver.secret = Secret::new(SECRET));
    assert!(crate::receiver::check(&config).is_ok());
    let error = toml::from_str::<Config>("receiver = []").unwrap_err().to_string();
    assert!(error.contains("unknown field `receiver`"), "{error}");
}
