//! What requests carry, where they go and whom they trust, against servers on this host.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::*;

/// An authority of this test's own, and a certificate of it for `127.0.0.1` with its key: `ca.pem`, `cert.pem`, `key.pem`.
fn certificates() -> TempDir {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", authority.self_signed(&authority_key).unwrap().pem());
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let of_host = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    write("cert.pem", of_host.signed_by(&key, &issuer).unwrap().pem());
    write("key.pem", key.serialize_pem());
    dir
}

fn options(yaml: &str) -> HttpOptions {
    with_http! {
        pub(crate) struct Inline {
            pub other: String,
        }
    }
    let inline: Inline =
        serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
    drop(inline.other.clone());
    inline.http()
}

/// The head of a request, in lower case but for its first line; then answers.
fn converse(stream: &mut (impl std::io::Read + Write), answer: &str) -> Option<String> {
    let mut head = String::new();
    {
        let mut reader = BufReader::new(&mut *stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
    }
    stream.write_all(answer.as_bytes()).ok()?;
    stream.flush().ok()?;
    Some(head)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// A server that gives these answers one after the other, and tells the requests.
fn server(answers: Vec<String>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, told) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            if let Some(head) = converse(&mut stream, &answer) {
                drop(heads.send(head)); // A test that has seen enough.
            }
        }
    });
    (address, told)
}

async fn get(options: &HttpOptions, folder: &Path, url: &str) -> Result<u16, String> {
    let client = HttpClient::new(options, folder)?;
    let answer = client.get(url).await?.send().await.map_err(|error| chain(&error))?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn credentials_and_headers_are_those_of_the_files_as_they_are_now() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let (address, told) = server(vec![OK.to_owned(); 5]);
    let url = format!("http://{address}/");
    let header = |head: String, name: &str| {
        let line = head
            .lines()
            .find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))
            .map(str::to_owned);
        line.map(|line| line.split_once(": ").unwrap().1.to_owned())
    };
    write("token", "one\n");
    let bearer = options(
        "{authorization: {credentials_file: token}, http_headers: {X-A: {values: [b], files: [token]}}}",
    );
    let client = HttpClient::new(&bearer, dir.path()).unwrap();
    client.get(&url).await.unwrap().send().await.unwrap();
    let head = told.recv().unwrap();
    assert_eq!(head.to_lowercase().matches("x-a: ").count(), 2, "{head}");
    assert_eq!(header(head, "authorization").as_deref(), Some("Bearer one"));
    write("token", "two\n");
    client.get(&url).await.unwrap().send().await.unwrap();
    assert_eq!(header(told.recv().unwrap(), "authorization").as_deref(), Some("Bearer two"));
    write("password", "b\n");
    for (yaml, expected) in [
        ("{basic_auth: {username: a, password_file: password}}", Some("Basic YTpi")),
        ("{authorization: {type: Token, credentials: x}}", Some("Token x")),
        ("{}", None),
    ] {
        get(&options(yaml), dir.path(), &url).await.unwrap();
        assert_eq!(header(told.recv().unwrap(), "authorization").as_deref(), expected, "{yaml}");
    }
    let missing = options("{bearer_token_file: none}");
    assert!(get(&missing, dir.path(), &url).await.unwrap_err().contains("cannot read"));
}

#[tokio::test]
async fn redirects_are_followed_unless_told_otherwise_and_proxies_are_asked() {
    let (end, _told) = server(vec![OK.to_owned()]);
    let moved = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{end}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let (start, _told_too) = server(vec![moved; 2]);
    let url = format!("http://{start}/");
    assert_eq!(get(&options("{}"), "".as_ref(), &url).await, Ok(200));
    assert_eq!(get(&options("{follow_redirects: false}"), "".as_ref(), &url).await, Ok(302));
    let (proxy, told) = server(vec![OK.to_owned()]);
    let proxied = options(&format!("{{proxy_url: 'http://{proxy}'}}"));
    assert_eq!(get(&proxied, "".as_ref(), "http://target.test:9/metrics").await, Ok(200));
    let head = told.recv().unwrap();
    assert!(head.starts_with("GET http://target.test:9/metrics HTTP/1.1"), "{head}");
}

/// A server of TLS; with `mutual` it wants a certificate of the client.
fn tls_server(pem: &Path, n: usize, mutual: bool) -> SocketAddr {
    drop(rustls::crypto::ring::default_provider().install_default());
    let certificates = vec![CertificateDer::from_pem_file(pem.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pem.join("key.pem")).unwrap();
    let builder = rustls::ServerConfig::builder();
    let builder = if mutual {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pem.join("ca.pem")).unwrap()).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let config = Arc::new(builder.with_single_cert(certificates, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for _ in 0..n {
            let (stream, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            drop(converse(&mut stream, OK));
            stream.conn.send_close_notify();
            drop(stream.flush());
        }
    });
    address
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_or_without_question() {
    let certificates = certificates();
    let pem = certificates.path();
    let url = format!("https://{}/", tls_server(pem, 3, false));
    let trusting = options("{tls_config: {ca_file: ca.pem, min_version: TLS13}}");
    assert_eq!(get(&trusting, pem, &url).await, Ok(200));
    assert_eq!(
        get(&options("{tls_config: {insecure_skip_verify: true}}"), pem, &url).await,
        Ok(200)
    );
    let error = get(&options("{}"), pem, &url).await.unwrap_err();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let certificates = certificates();
    let pem = certificates.path();
    let url = format!("https://{}/", tls_server(pem, 2, true));
    let known = options("{tls_config: {ca_file: ca.pem, cert_file: cert.pem, key_file: key.pem}}");
    assert_eq!(get(&known, pem, &url).await, Ok(200));
    assert!(get(&options("{tls_config: {ca_file: ca.pem}}"), pem, &url).await.is_err());
}

#[test]
fn what_contradicts_itself_is_refused() {
    let certificates = certificates();
    for (yaml, words) in [
        ("{basic_auth: {username: a}, bearer_token: b}", "give one of `basic_auth`"),
        ("{authorization: {type: Basic, credentials: a}}", "cannot be `basic`"),
        ("{authorization: {type: Bearer}}", "needs `credentials`"),
        ("{basic_auth: {password: a, password_file: b}}", "give one of `password`"),
        ("{proxy_url: 'http://a', proxy_from_environment: true}", "give one of `proxy_url`"),
        ("{no_proxy: a}", "`no_proxy` goes with `proxy_url`"),
        ("{http_headers: {Host: {values: [a]}}}", "is not allowed"),
        ("{tls_config: {cert_file: cert.pem}}", "needs both `cert` and `key`"),
        ("{tls_config: {ca_file: none.pem}}", "cannot read"),
    ] {
        let error = HttpClient::new(&options(yaml), certificates.path())
            .err()
            .unwrap_or_else(|| panic!("accepted: {yaml}"));
        assert!(error.contains(words), "{yaml}: {error}");
    }
}
