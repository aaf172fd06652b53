//! Discoveries against files, and servers of HTTP and DNS on this host.

use std::collections::HashMap;
use std::net::SocketAddr;

use proptest::prelude::*;
use tokio::net::UdpSocket;

use super::dns::RecordType;
use super::file::Known;
use super::*;

/// Addresses and one more label, sorted.
fn shown(targets: &[LabelSet], label: &str) -> Vec<String> {
    let none = String::new();
    let one = |labels: &LabelSet| {
        format!("{} {}", labels["__address__"], labels.get(label).unwrap_or(&none))
    };
    let mut shown: Vec<_> = targets.iter().map(one).collect();
    shown.sort();
    shown
}

#[test]
fn files_are_read_when_they_change_and_keep_what_they_said_while_broken() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let config: FileConfig = serde_saphyr::from_str("{files: ['*.json', one.yml]}").unwrap();
    config.check().unwrap();
    let mut known = Known::default();
    let mut look = |all| known.look(dir.path(), &config, all);
    assert_eq!(look(false), (Vec::new(), Vec::new()), "files may come later");
    write("a.json", r#"[{"targets": ["h:1", "h:2"], "labels": {"env": "t"}}]"#);
    write("one.yml", "- targets: ['y:1']\n");
    let (targets, faults) = look(false);
    assert_eq!(
        (shown(&targets, "env"), faults.len()),
        (vec!["h:1 t".into(), "h:2 t".into(), "y:1 ".into()], 0)
    );
    let path = dir.path().join("one.yml").display().to_string();
    assert!(targets.iter().any(|labels| labels["__meta_filepath"] == path));
    write("a.json", "[{]");
    let (targets, faults) = look(false);
    assert_eq!((targets.len(), faults.len()), (3, 1), "{faults:?}");
    assert!(faults[0].contains("a.json: "), "{faults:?}");
    assert_eq!(look(false).1.len(), 0, "told once");
    std::fs::remove_file(dir.path().join("a.json")).unwrap();
    assert_eq!(shown(&look(false).0, "env"), ["y:1 "]);
    let bad: FileConfig = serde_saphyr::from_str("{files: [a.txt]}").unwrap();
    assert!(bad.check().unwrap_err().contains("a.txt must end in"));
}

/// A server of DNS that answers from a table: (name, number of the type) to the data of its records.
async fn dns_server(table: HashMap<(&'static str, u16), Vec<Vec<u8>>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
            let question = &buffer[..n];
            let (mut at, mut parts) = (12, Vec::new());
            while question[at] != 0 {
                let length = usize::from(question[at]);
                parts.push(String::from_utf8(question[at + 1..=at + length].to_vec()).unwrap());
                at += length + 1;
            }
            let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
            let name = parts.join(".");
            let found =
                table.iter().find(|((known, known_kind), _)| *known == name && *known_kind == kind);
            let records = found.map(|(_, records)| records.clone()).unwrap_or_default();
            let code = if found.is_some() { 0x80 } else { 0x83 };
            let mut answer = [
                &question[..2],
                &[0x81, code, 0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0],
            ]
            .concat();
            answer.extend(&question[12..at + 5]);
            for data in records {
                answer.extend([0xc0, 12]); // The name of the question.
                answer.extend(kind.to_be_bytes());
                answer.extend([0, 1, 0, 0, 0, 60]);
                answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
                answer.extend(data);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

fn resolver(server: SocketAddr) -> dns::Resolver {
    let mut resolver = dns::Resolver::read("nameserver 127.0.0.1\nsearch example.org\n");
    resolver.servers = vec![server];
    resolver
}

#[tokio::test]
async fn names_are_resolved_with_their_ports_and_the_suffixes_of_the_system() {
    let service =
        [&[0, 1, 0, 2, 0x23, 0x8c, 4][..], b"node", &[7], b"example", &[3], b"org", &[0]].concat();
    let server = dns_server(HashMap::from([
        (("_m._tcp.example.org", 33), vec![service]),
        (("h.example.org", 1), vec![vec![10, 0, 0, 1], vec![10, 0, 0, 2]]),
        (("six.test", 28), vec![[&[0x20, 1][..], &[0; 13], &[1]].concat()]),
    ]))
    .await;
    let check = async |yaml: &str| {
        let config: DnsConfig = serde_saphyr::from_str(yaml).unwrap();
        config.check().unwrap();
        dns::targets(&resolver(server), &config).await.unwrap()
    };
    let found = check("{names: [_m._tcp.example.org]}").await;
    assert_eq!(
        shown(&found, "__meta_dns_srv_record_target"),
        ["node.example.org:9100 node.example.org."]
    );
    assert_eq!(found[0]["__meta_dns_srv_record_port"], "9100");
    let found = check("{names: [h], type: A, port: 80}").await;
    assert_eq!(shown(&found, "__meta_dns_name"), ["10.0.0.1:80 h", "10.0.0.2:80 h"]);
    let found = check("{names: [six.test], type: AAAA, port: 80}").await;
    assert_eq!(shown(&found, "__meta_dns_name"), ["[2001::1]:80 six.test"]);
    assert!(check("{names: [none.test], type: A, port: 80}").await.is_empty());
    let bad: DnsConfig = serde_saphyr::from_str("{names: [a], type: A}").unwrap();
    assert!(bad.check().unwrap_err().contains("a `port` is required"));
}

#[test]
fn the_systems_file_is_read() {
    let resolver = dns::Resolver::read(
        "# words\nnameserver 1.2.3.4\nnameserver ::1\nnameserver no\nsearch a.b c\noptions ndots:5\n",
    );
    let servers: Vec<_> = resolver.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["1.2.3.4:53", "[::1]:53"]);
    assert_eq!(resolver.search, ["a.b", "c"]);
    assert_eq!(dns::Resolver::read("").servers[0].to_string(), "127.0.0.1:53");
}

/// A server that answers GETs by path; what was asked comes through the channel.
async fn json_server(
    answers: &[(&'static str, &'static str)],
) -> (SocketAddr, mpsc::Receiver<String>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers: HashMap<_, _> = answers.iter().copied().collect();
    let (asked, asks) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            let target = request.split(' ').nth(1).unwrap();
            let body = answers.get(target.split('?').next().unwrap());
            let (status, body) = body.map_or(("404 Not Found", "{}"), |body| ("200 OK", body));
            let head = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + body).as_bytes()).await.unwrap();
            drop(asked.send(request).await); // A test that has seen enough.
        }
    });
    (address, asks)
}

#[tokio::test]
async fn instances_of_consuls_services_are_found() {
    let instances = r#"[{"Node": {"Node": "n1", "Address": "10.0.0.1"}, "Service": {"ID": "w", "Service": "web", "Tags": ["a"], "Port": 80}}]"#;
    let (server, mut asks) = json_server(&[
        ("/v1/catalog/services", r#"{"web": ["a"], "other": [], "more": null}"#),
        ("/v1/health/service/web", instances),
    ])
    .await;
    let yaml = format!("{{server: '{server}', token: t, tags: [a], datacenter: d}}");
    let config: ConsulConfig = serde_saphyr::from_str(&yaml).unwrap();
    let (updates, mut found) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let job = Arc::new(serde_saphyr::from_str("{job_name: c}").unwrap());
    let poll = Poll { job, number: 0, updates, stop: stop.clone(), counters: Arc::default() };
    let task = tokio::spawn(consul::run(poll, config));
    let update = found.recv().await.unwrap();
    assert_eq!(shown(&update.targets, "__meta_consul_tags"), ["10.0.0.1:80 ,a,"]);
    let first = asks.recv().await.unwrap();
    assert!(first.starts_with("GET /v1/catalog/services?dc=d&stale HTTP"), "{first}");
    assert!(first.to_lowercase().contains("authorization: bearer t\r\n"), "{first}");
    let second = asks.recv().await.unwrap();
    assert!(second.starts_with("GET /v1/health/service/web?dc=d&tag=a&stale HTTP"), "{second}");
    stop.cancel();
    task.await.unwrap();
}

proptest! {
    #[test]
    fn no_answer_makes_the_resolver_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in [RecordType::A, RecordType::Aaaa, RecordType::Srv, RecordType::Mx, RecordType::Ns] {
            drop(dns::read_answer(&bytes, kind));
            // One question of the root, then whatever.
            drop(dns::read_answer(&[&[0, 0, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0, 1][..], &bytes].concat(), kind));
        }
    }
}
