//! The exporter against a real gRPC server and a real HTTP socket on free ports.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Response, Status};

use super::*;

/// A request, and the `authorization` and name that came with it.
type Sighting = (ResourceMetrics, Option<String>, String);
type Reply = Result<ExportMetricsServiceResponse, Status>;

/// Answers as scripted, then with success, and remembers what it was sent.
#[derive(Clone, Default)]
struct Collector {
    script: Arc<Mutex<VecDeque<Reply>>>,
    seen: Arc<Mutex<Vec<Sighting>>>,
    arrived: Arc<tokio::sync::Notify>,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let token = request.metadata().get("authorization");
        let token = token.map(|value| value.to_str().expect("text").to_owned());
        let name = request.metadata().get(delivery::HEADER).expect("each request is named");
        let name = name.to_str().expect("text").to_owned();
        let metrics = request.into_inner().resource_metrics.remove(0);
        self.seen.lock().expect("no panic").push((metrics, token, name));
        self.arrived.notify_one();
        let reply = self.script.lock().expect("no panic").pop_front();
        reply.unwrap_or_else(|| Ok(ExportMetricsServiceResponse::default())).map(Response::new)
    }
}

impl Collector {
    fn scripted(script: impl IntoIterator<Item = Reply>) -> Self {
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        Self { script, ..Self::default() }
    }

    async fn serve(&self, listener: TcpListener, zstd: bool) {
        let mut service = MetricsServiceServer::new(self.clone());
        if zstd {
            service = service.accept_compressed(CompressionEncoding::Zstd);
        }
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(incoming).await.expect("serves until it is dropped");
    }

    fn names(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").iter().map(|(m, ..)| m.schema_url.clone()).collect()
    }
}

fn batch(name: &str, zstd: bool) -> Batch {
    let metrics = ResourceMetrics { schema_url: name.into(), ..ResourceMetrics::default() };
    let body = ExportMetricsServiceRequest { resource_metrics: vec![metrics] }.encode_to_vec();
    let body = if zstd { zstd::bulk::compress(&body, 3).expect("compressed") } else { body };
    Batch { body: body.into(), zstd, samples: 10 }
}

fn config(endpoint: String) -> Config {
    Config {
        endpoint,
        protocol: crate::Protocol::Grpc,
        token: Some("t0ken".into()),
        retry_min: Duration::from_millis(1),
        retry_max: Duration::from_millis(2),
        ..Config::default()
    }
}

fn deliveries() -> Deliveries {
    Deliveries::begin("host", "boot", model::time::Timestamp(7))
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// Sends `batches` to `server` and returns the account of it.
async fn export(
    config: Config,
    batches: Vec<Batch>,
    server: impl Future<Output = ()>,
) -> crate::ledger::Account {
    let ledger = Arc::new(Ledger::new());
    let queue = Queue::new(1 << 20, Arc::clone(&ledger));
    batches.into_iter().for_each(|batch| queue.push(batch));
    queue.close();
    let exporter = Exporter::new(&config, deliveries(), Arc::clone(&ledger)).expect("set up");
    let stop = CancellationToken::new();
    tokio::select! {
        () = exporter.run(&queue, &stop) => {}
        () = server => panic!("the server ended"),
    }
    ledger.account()
}

#[tokio::test]
async fn what_fails_for_now_is_sent_again_in_order_and_compressed() {
    let unavailable = || Err(Status::unavailable("starting"));
    let throttled = Status::with_details(Code::ResourceExhausted, "slow", grpc::retry_details(0));
    let collector = Collector::scripted([
        unavailable(),
        unavailable(),
        Ok(ExportMetricsServiceResponse::default()),
        Err(throttled),
    ]);
    let (listener, address) = listener().await;
    let batches = ["a", "b", "c"].map(|name| batch(name, true)).into();
    let config = config(format!("http://{address}"));
    let account = export(config, batches, collector.serve(listener, true)).await;
    assert_eq!(collector.names(), ["a", "a", "a", "b", "b", "c"]);
    assert_eq!((account.batches, account.retries), (3, 3));
    assert_eq!((account.errors["unavailable"], account.errors["resource_exhausted"]), (2, 1));
    assert_eq!(account.duration.counts.iter().sum::<u64>(), 6);
    assert!(account.dropped.is_empty() && account.queue_bytes == 0);
    let seen = collector.seen.lock().expect("no panic");
    assert!(seen.iter().all(|(_, token, _)| token.as_deref() == Some("Bearer t0ken")));
    let ends = |(_, _, name): &Sighting| name.rsplit('-').next().map(str::to_owned);
    let numbers: Vec<String> = seen.iter().filter_map(ends).collect();
    assert_eq!(
        numbers,
        ["1", "1", "1", "2", "2", "3"],
        "a repeat carries the name of the first try"
    );
}

#[tokio::test]
async fn what_is_refused_is_counted_and_the_next_batch_follows() {
    let partial = ExportMetricsPartialSuccess {
        rejected_data_points: 4,
        error_message: "4 samples are too old".into(),
    };
    let collector = Collector::scripted([
        Err(Status::invalid_argument("no")),
        Ok(ExportMetricsServiceResponse { partial_success: Some(partial) }),
        Err(Status::resource_exhausted("message too large")),
        Err(Status::unauthenticated("who are you")),
    ]);
    let (listener, address) = listener().await;
    let batches = ["a", "b", "c", "d", "e"].map(|name| batch(name, false)).into();
    let config = config(format!("http://{address}"));
    let account = export(config, batches, collector.serve(listener, false)).await;
    assert_eq!(collector.names(), ["a", "b", "c", "d", "e"]);
    assert_eq!((account.batches, account.retries), (2, 0));
    let expected = [
        ("invalid_argument", 10),
        ("rejected", 4),
        ("resource_exhausted", 10),
        ("unauthenticated", 10),
    ];
    assert_eq!(account.dropped, expected.into());
}

#[tokio::test]
async fn a_collector_without_zstd_gets_plain_bodies() {
    let collector = Collector::default();
    let (listener, address) = listener().await;
    let batches = ["a", "b"].map(|name| batch(name, true)).into();
    let config = config(format!("http://{address}"));
    let account = export(config, batches, collector.serve(listener, false)).await;
    assert_eq!(collector.names(), ["a", "b"]);
    assert_eq!(account.errors, [("unsupported_encoding", 1)].into());
    assert!(account.dropped.is_empty());
}

#[tokio::test]
async fn a_collector_that_comes_late_gets_everything() {
    let (reserved, address) = listener().await;
    drop(reserved); // Nobody listens at first.
    let collector = Collector::default();
    let late = async {
        let config = config(format!("http://{address}"));
        let probe = Target::new(&config).expect("valid");
        let mut client = grpc::Client::new(&probe, &config).expect("set up");
        let refused = client.send(&batch("probe", true), &deliveries().next()).await;
        assert!(matches!(refused, Answer::Retry { reason: "unavailable", .. }), "{refused:?}");
        let listener = TcpListener::bind(address).await.expect("still free");
        collector.serve(listener, true).await;
    };
    let batches = ["a", "b"].map(|name| batch(name, true)).into();
    let account = export(config(format!("http://{address}")), batches, late).await;
    assert_eq!(collector.names(), ["a", "b"]);
    assert!(account.retries > 0 && account.errors["unavailable"] == account.retries);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_flush_but_no_longer() {
    let ledger = Arc::new(Ledger::new());
    let queue = Queue::new(1 << 20, Arc::clone(&ledger));
    queue.push(batch("a", true));
    queue.close();
    // Accepts connections and never says a word.
    let (_listener, address) = listener().await;
    let config = Config { timeout: Duration::from_mins(1), ..config(format!("http://{address}")) };
    let exporter = Exporter::new(&config, deliveries(), Arc::clone(&ledger)).expect("set up");
    let stop = CancellationToken::new();
    stop.cancel();
    let begun = Instant::now();
    exporter.run(&queue, &stop).await;
    assert_eq!(begun.elapsed().as_secs(), config.flush_timeout.as_secs());
    assert_eq!(ledger.account().dropped, [("shutdown", 10)].into());
}

/// Answers each request on a connection with the next of `replies`, and returns the heads it saw.
async fn http_server(listener: TcpListener, replies: &[&str], heads: &Mutex<Vec<String>>) {
    let mut replies = replies.iter();
    loop {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        while let Some((head, _body)) = read_request(&mut socket).await {
            heads.lock().expect("no panic").push(head);
            let reply =
                replies.next().copied().unwrap_or("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            socket.write_all(reply.as_bytes()).await.expect("the agent still listens");
        }
    }
}

async fn read_request(socket: &mut tokio::net::TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let len = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let mut body = bytes.split_off(end);
    while body.len() < len? {
        socket.read_buf(&mut body).await.ok()?;
    }
    Some((head, body))
}

#[tokio::test]
async fn http_honours_retry_after_and_falls_back_to_plain() {
    let (listener, address) = listener().await;
    let heads = Mutex::default();
    let replies = [
        "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 415 No\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 400 Bad\r\ncontent-length: 4\r\n\r\nwhat",
    ];
    let config =
        Config { protocol: crate::Protocol::Http, ..config(format!("http://{address}/otlp")) };
    let batches = vec![batch("a", true), batch("b", true)];
    let account = export(config, batches, http_server(listener, &replies, &heads)).await;
    let heads = heads.into_inner().expect("no panic");
    assert!(heads.iter().all(|head| head.starts_with("post /otlp/v1/metrics ")), "{heads:?}");
    assert!(heads.iter().all(|head| head.contains("authorization: bearer t0ken")), "{heads:?}");
    let name = |head: &String| {
        head.lines().find_map(|l| Some(l.strip_prefix("headrope-delivery: ")?.to_owned()))
    };
    let names: Vec<_> = heads.iter().filter_map(name).collect();
    assert!(names[0] == names[1] && names[1] == names[2] && names[2] != names[3], "{names:?}");
    let zstd: Vec<_> = heads.iter().map(|h| h.contains("content-encoding: zstd")).collect();
    assert_eq!(zstd, [true, true, false, false]);
    assert_eq!((account.batches, account.retries), (1, 1));
    assert_eq!(account.dropped, [("invalid_argument", 10)].into());
}

#[tokio::test]
async fn a_whole_agent_delivers_its_host_until_it_is_stopped() {
    let collector = Collector::scripted([Err(Status::unavailable("starting"))]);
    let (listener, address) = listener().await;
    let config = Config {
        interval: Duration::from_millis(100),
        host_name: Some("db-7".into()),
        ..config(format!("http://{address}"))
    };
    let begun = Instant::now();
    let clock = move || {
        let ns = i64::try_from(begun.elapsed().as_nanos()).expect("short");
        model::time::Timestamp(1_800_000_000_000_000_000 + ns)
    };
    let stop = CancellationToken::new();
    let enough = async {
        while collector.seen.lock().expect("no panic").len() < 4 {
            collector.arrived.notified().await;
        }
        stop.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = crate::run(config, Arc::new(clock), stop.clone()) => outcome.expect("stopped as asked"),
        () = collector.serve(listener, true) => panic!("the server ended"),
        () = enough => {}
    }
    let seen = collector.seen.lock().expect("no panic");
    assert_eq!(seen[0].0, seen[1].0, "what failed came again");
    let mut last = 0;
    for (batch, ..) in &seen[1..] {
        let resource = batch.resource.as_ref().expect("a resource");
        let host = resource.attributes.iter().find(|pair| pair.key == "host.name");
        assert!(format!("{host:?}").contains("db-7"), "{host:?}");
        let metrics = &batch.scope_metrics[0].metrics;
        let limit = metrics.iter().find(|m| m.name == "system.memory.limit").expect("memory");
        let Some(opentelemetry_proto::tonic::metrics::v1::metric::Data::Sum(sum)) = &limit.data
        else {
            panic!("not a sum: {limit:?}");
        };
        let at = sum.data_points[0].time_unix_nano;
        assert!(at > last && at % 100_000_000 == 0, "{at} after {last}");
        last = at;
    }
}
