//! Requests as receivers see them, and what each answer leads to.

use std::collections::VecDeque;
use std::sync::Mutex;

use ::http::{HeaderMap, StatusCode};
use model::time::Timestamp;
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::judge;
use super::message::{RequestV1, RequestV2};
use super::*;
use crate::http_client::{HttpClient, HttpOptions};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn point(name: &str, value: f64) -> Point {
    let meta = Meta {
        family: name.to_owned(),
        kind: Kind::Gauge,
        help: "help".to_owned(),
        unit: String::new(),
    };
    Point {
        labels: labels(&[("__name__", name), ("job", "j")]),
        meta: Some(Arc::new(meta)),
        at_ms: 1_700_000_000_000,
        start_ms: 5,
        value: Value::Float(value),
        exemplars: vec![Exemplar { labels: labels(&[("trace_id", "t")]), value: 0.5, at_ms: 7 }],
    }
}

fn inflate(body: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(body).unwrap()
}

#[test]
fn version_2_has_each_text_once_and_sorted_labels() {
    let external = labels(&[("a", "1"), ("job", "other")]);
    let stale = f64::from_bits(model::metric::STALE_NAN_BITS);
    let body = encode::body(Version::V2, &[point("m", -0.0), point("m", stale)], &external);
    let request = RequestV2::decode(inflate(&body).as_slice()).unwrap();
    let mut texts = request.symbols.clone();
    assert_eq!(texts[0], "");
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), request.symbols.len());
    let series = &request.timeseries[0];
    let text = |n: &u32| request.symbols[*n as usize].as_str();
    let pairs: Vec<_> = series.labels_refs.iter().map(text).collect();
    assert_eq!(pairs, ["__name__", "m", "a", "1", "job", "j"]);
    let sample = &series.samples[0];
    assert_eq!(sample.value.map(f64::to_bits), Some((-0.0_f64).to_bits()));
    assert_eq!((sample.timestamp, sample.start_timestamp), (1_700_000_000_000, 5));
    assert_eq!(request.timeseries[1].samples[0].value.map(f64::to_bits), Some(stale.to_bits()));
    assert_eq!(
        series.metadata.as_ref().map(|meta| (meta.kind, text(&meta.help_ref))),
        Some((2, "help"))
    );
    assert_eq!(
        series.exemplars[0].labels_refs.iter().map(text).collect::<Vec<_>>(),
        ["trace_id", "t"]
    );
}

#[test]
fn version_1_tells_metadata_once_for_each_family() {
    let body = encode::body(
        Version::V1,
        &[point("m", 1.0), point("m", 2.0), point("n", 3.0)],
        &Labels::default(),
    );
    let request = RequestV1::decode(inflate(&body).as_slice()).unwrap();
    assert_eq!(
        request.metadata.iter().map(|m| m.metric_family_name.as_str()).collect::<Vec<_>>(),
        ["m", "n"]
    );
    assert_eq!(request.timeseries.len(), 3);
    assert_eq!(request.timeseries[0].samples[0].start_timestamp, 0);
}

#[test]
fn answers_are_judged_as_the_specification_says() {
    let check = |version, status: u16, header: Option<(&'static str, &'static str)>| {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        judge(
            version,
            StatusCode::from_u16(status).unwrap(),
            &headers,
            b"why",
            Timestamp::from_s(1_700_000_000),
        )
    };
    let written = Some(("x-prometheus-remote-write-samples-written", "2"));
    assert_eq!(check(Version::V2, 204, written), Answer::Taken { unseen: false });
    assert_eq!(check(Version::V2, 204, None), Answer::Taken { unseen: true });
    let zero = Some(("x-prometheus-remote-write-samples-written", "0"));
    assert_eq!(check(Version::V2, 200, zero), Answer::Taken { unseen: true });
    assert_eq!(check(Version::V1, 200, None), Answer::Taken { unseen: false });
    let message = "HTTP status 503: why".to_owned();
    let after = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(
        check(Version::V2, 503, Some(("retry-after", "7"))),
        Answer::Retry { after: after(7), message: message.clone() }
    );
    // 1,700,000,000 s after the epoch and a minute.
    let date = Some(("retry-after", "Tue, 14 Nov 2023 22:14:20 GMT"));
    assert_eq!(
        check(Version::V2, 503, date),
        Answer::Retry { after: after(60), message: message.clone() }
    );
    let gone = Some(("retry-after", "Tue, 14 Nov 2000 22:14:20 GMT"));
    assert_eq!(
        check(Version::V2, 503, gone),
        Answer::Retry { after: after(0), message: message.clone() }
    );
    let nonsense = Some(("retry-after", "soon"));
    assert_eq!(check(Version::V2, 503, nonsense), Answer::Retry { after: None, message });
    assert!(matches!(check(Version::V2, 429, None), Answer::Busy { .. }));
    assert!(matches!(check(Version::V2, 415, None), Answer::OtherVersion { .. }));
    assert!(matches!(check(Version::V2, 400, None), Answer::Refused { reason: "refused", .. }));
}

/// Heads and bodies.
type Requests = Vec<(String, Vec<u8>)>;

/// A receiver that answers as told, and keeps what it was sent: head and body.
struct Receiver {
    url: String,
    requests: Arc<Mutex<Requests>>,
}

impl Receiver {
    async fn start(answers: &[&'static str]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/write", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Requests>> = Arc::default();
        let kept = Arc::clone(&requests);
        let mut answers: VecDeque<&'static str> = answers.iter().copied().collect();
        tokio::spawn(async move {
            while let Some(answer) = answers.pop_front() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                kept.lock().unwrap().push(request);
                let text =
                    format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        });
        Self { url, requests }
    }

    /// Sends one point and stops; the requests and the account.
    async fn check(self, policy: Policy) -> (Requests, Arc<Tally>) {
        let tally = Arc::new(Tally::default());
        let queue = Arc::new(Queue::new(1 << 20, Arc::clone(&tally)));
        queue.push([point("m", 1.0)]);
        queue.close();
        let http = HttpClient::new(&HttpOptions::default(), "".as_ref()).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::from_s(1_700_000_000));
        let sender = Sender::new(
            Client::new(http, self.url.clone()),
            policy,
            External::default(),
            queue,
            clock,
        );
        sender.run(CancellationToken::new()).await;
        (self.requests.lock().unwrap().clone(), tally)
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..n]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if bytes.len() >= end + 4 + length.parse::<usize>().unwrap() {
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

const TAKEN: &str = "204 No Content\r\nx-prometheus-remote-write-samples-written: 1";

fn quick() -> Policy {
    let pause = Duration::from_millis(1);
    Policy { backoff_min: pause, backoff_max: pause, ..Policy::default() }
}

#[tokio::test]
async fn a_request_is_repeated_until_it_is_taken() {
    let receiver = Receiver::start(&["500 Oops", "429 Too Many", TAKEN]).await;
    let (requests, tally) = receiver.check(quick()).await;
    let has = |i: usize, line: &str| requests[i].0.lines().any(|own| own == line);
    assert!(
        has(0, "content-type: application/x-protobuf;proto=io.prometheus.write.v2.request"),
        "{}",
        requests[0].0
    );
    assert!(
        has(0, "content-encoding: snappy") && has(0, "x-prometheus-remote-write-version: 2.0.0")
    );
    assert!(!requests[0].0.contains("retry-attempt"));
    assert!(has(1, "retry-attempt: 1") && has(2, "retry-attempt: 2"));
    assert_eq!(requests[0].1, requests[2].1, "the same body");
    assert_eq!(tally.read(), (1, 2, std::collections::BTreeMap::new()));
}

#[tokio::test]
async fn a_receiver_that_knows_only_version_1_gets_it() {
    let receiver = Receiver::start(&["415 Unsupported Media Type", "200 OK"]).await;
    let (requests, tally) = receiver.check(quick()).await;
    assert!(
        requests[1].0.contains("x-prometheus-remote-write-version: 0.1.0"),
        "{}",
        requests[1].0
    );
    assert_eq!(RequestV1::decode(inflate(&requests[1].1).as_slice()).unwrap().timeseries.len(), 1);
    assert_eq!(tally.read().0, 1);
}

#[tokio::test]
async fn what_is_refused_or_not_written_is_lost_and_counted() {
    for (answer, policy, reason) in [
        ("400 Bad Request", quick(), "refused"),
        ("204 No Content", quick(), "not_written"),
        ("429 Too Many", Policy { retry_on_429: false, ..quick() }, "too_many_requests"),
    ] {
        let (requests, tally) = Receiver::start(&[answer]).await.check(policy).await;
        assert_eq!(requests.len(), 1, "{answer}");
        assert_eq!(tally.read().2.get(reason), Some(&1), "{answer}");
    }
    let old = Policy { age_max: Duration::from_secs(1), ..quick() };
    let receiver = Receiver::start(&[TAKEN]).await;
    let tally = Arc::new(Tally::default());
    let queue = Arc::new(Queue::new(1 << 20, Arc::clone(&tally)));
    queue.push([Point { at_ms: 1, ..point("m", 1.0) }]);
    queue.close();
    let http = HttpClient::new(&HttpOptions::default(), "".as_ref()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::from_s(1_700_000_000));
    Sender::new(Client::new(http, receiver.url), old, External::default(), queue, clock)
        .run(CancellationToken::new())
        .await;
    assert_eq!(tally.read().2["too_old"], 1);
}

#[tokio::test]
async fn a_backlog_goes_in_several_requests_at_once_and_each_series_stays_in_order() {
    let (n_series, n_samples) = (10, 30);
    let receiver = Receiver::start(&[TAKEN; 40]).await;
    let tally = Arc::new(Tally::default());
    let queue = Arc::new(Queue::new(1 << 20, Arc::clone(&tally)));
    for at_ms in 0..n_samples {
        queue
            .push((0..n_series).map(|series| Point { at_ms, ..point(&format!("m{series}"), 1.0) }));
    }
    queue.close();
    let http = HttpClient::new(&HttpOptions::default(), "".as_ref()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::from_s(1_700_000_000));
    let policy = Policy { samples_max: 40, shards_max: 4, ..quick() };
    let client = Client::new(http, receiver.url.clone());
    Sender::new(client, policy, External::default(), queue, clock)
        .run(CancellationToken::new())
        .await;
    assert_eq!(tally.read().0, 300);
    let mut times: std::collections::BTreeMap<String, Vec<i64>> = std::collections::BTreeMap::new();
    let mut largest = 0;
    for (_, body) in receiver.requests.lock().unwrap().iter() {
        let request = RequestV2::decode(inflate(body).as_slice()).unwrap();
        largest = largest.max(request.timeseries.len());
        for series in &request.timeseries {
            let name = request.symbols[series.labels_refs[1] as usize].clone();
            times.entry(name).or_default().push(series.samples[0].timestamp);
        }
    }
    assert!(largest <= 40, "{largest}");
    assert_eq!(times.len(), 10);
    for (name, times) in times {
        assert_eq!(times, (0..n_samples).collect::<Vec<_>>(), "{name}");
    }
}

/// Sends `points` as one shard; the metrics of each request, and the account.
async fn requests_of(
    answers: &[&'static str],
    policy: Policy,
    points: Vec<Point>,
) -> (Vec<Vec<String>>, Arc<Tally>) {
    let receiver = Receiver::start(answers).await;
    let tally = Arc::new(Tally::default());
    let queue = Arc::new(Queue::new(64 << 20, Arc::clone(&tally)));
    queue.push(points);
    queue.close();
    let http = HttpClient::new(&HttpOptions::default(), "".as_ref()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::from_s(1_700_000_000));
    let client = Client::new(http, receiver.url.clone());
    let sender = Sender::new(client, policy, External::default(), queue, clock);
    sender.run(CancellationToken::new()).await;
    let requests = receiver.requests.lock().unwrap();
    let names = |(_, body): &(String, Vec<u8>)| {
        let request = RequestV2::decode(inflate(body).as_slice()).unwrap();
        let name =
            |series: &message::SeriesV2| request.symbols[series.labels_refs[1] as usize].clone();
        request.timeseries.iter().map(name).collect()
    };
    (requests.iter().map(names).collect(), tally)
}

#[tokio::test]
async fn a_request_that_is_too_large_goes_in_halves_and_only_the_point_too_large_by_itself_is_lost()
{
    const LARGE: &str = "413 Payload Too Large";
    // All four; the first half, its two halves; the second half.
    let answers = [LARGE, LARGE, LARGE, TAKEN, TAKEN];
    let points = (0..4).map(|i| point(&format!("m{i}"), 1.0)).collect();
    let (requests, tally) = requests_of(&answers, quick(), points).await;
    let names: Vec<_> = requests.iter().map(|names| names.join(" ")).collect();
    assert_eq!(names, ["m0 m1 m2 m3", "m0 m1", "m0", "m1", "m2 m3"]);
    let (sent, retried, dropped) = tally.read();
    assert_eq!((sent, retried, dropped["too_large"], dropped.len()), (3, 2, 1, 1));
}

#[tokio::test]
async fn a_request_is_bounded_in_bytes_and_one_point_may_be_more() {
    let long = |i: usize, length| {
        let name = format!("m{i}");
        let pairs = [("__name__", name.as_str()), ("text", &"x".repeat(length))];
        Point { labels: labels(&pairs), meta: None, ..point("m", 1.0) }
    };
    let points = vec![long(0, 400), long(1, 400), long(2, 9_000), long(3, 400), long(4, 400)];
    let least = points[0].bytes();
    assert!(points[2].bytes() > least + 8_000, "labels count");
    let policy = Policy { bytes_max: 2 * least + 1, shards_max: 1, ..quick() };
    let (requests, tally) = requests_of(&[TAKEN; 3], policy, points).await;
    let names: Vec<_> = requests.iter().map(|names| names.join(" ")).collect();
    assert_eq!(names, ["m0 m1", "m2", "m3 m4"]);
    assert_eq!(tally.read().0, 5);
}

#[tokio::test]
async fn rules_rewrite_and_drop_series_before_they_are_sent() {
    let rules = "[{source_labels: [region, __name__], regex: 'eu;b', action: drop}, \
                  {regex: region, action: labeldrop}, \
                  {source_labels: [__name__], target_label: __name__, replacement: 'x_$1'}]";
    let relabel = serde_saphyr::from_str(rules).unwrap();
    let receiver = Receiver::start(&[TAKEN]).await;
    let tally = Arc::new(Tally::default());
    let queue = Arc::new(Queue::new(1 << 20, Arc::clone(&tally)));
    queue.push([point("a", 1.0), point("b", 1.0), point("a", 2.0)]);
    queue.close();
    let http = HttpClient::new(&HttpOptions::default(), "".as_ref()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::from_s(1_700_000_000));
    let client = Client::new(http, receiver.url.clone());
    let external = External::new(RwLock::new(labels(&[("region", "eu")])));
    let policy = Policy { relabel, ..quick() };
    let sender = Sender::new(client, policy, external, Arc::clone(&queue), clock);
    sender.run(CancellationToken::new()).await;
    let requests = receiver.requests.lock().unwrap();
    let request = RequestV2::decode(inflate(&requests[0].1).as_slice()).unwrap();
    let text = |n: &u32| request.symbols[*n as usize].as_str();
    let series = request.timeseries.iter();
    let series: Vec<Vec<&str>> = series.map(|s| s.labels_refs.iter().map(text).collect()).collect();
    assert_eq!(series, [["__name__", "x_a", "job", "j"], ["__name__", "x_a", "job", "j"]]);
    assert_eq!((tally.read().0, tally.read().2["relabelling"]), (2, 1));
    assert_eq!(queue.len_and_bytes(), (0, 0), "nothing is held any more");
}
