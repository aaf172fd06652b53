//! A mail server for tests: RFC 5321 with STARTTLS, TLS from the start and AUTH; tells what clients said.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// When connections become private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Never,
    Started,
    AtOnce,
}

/// What to answer instead, in one connection: beginning of a command, or `.` for the message, and the reply.
pub(super) type Script = Vec<(&'static str, &'static str)>;

/// What one connection brought.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) said: Vec<String>,
    /// The message, its dots halved.
    pub(super) data: String,
    pub(super) is_private: bool,
}

pub(super) struct Server {
    pub(super) address: String,
    pub(super) security: Security,
    /// PEM of who signed its certificate.
    pub(super) authority: String,
    got: mpsc::Receiver<Got>,
}

#[derive(Clone)]
struct Manners {
    security: Security,
    offers: Vec<&'static str>,
    acceptor: TlsAcceptor,
}

impl Server {
    /// Connections follow `scripts` one after the other, later ones the last.
    pub(super) async fn start(
        security: Security,
        offers: &[&'static str],
        scripts: Vec<Script>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (authority, acceptor) = certified();
        let (tx, got) = mpsc::channel(100);
        let manners = Manners { security, offers: offers.to_vec(), acceptor };
        // Ends with the test's runtime.
        tokio::spawn(async move {
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let script = scripts.get(n).or(scripts.last()).cloned().unwrap_or_default();
                let mut got = Got::default();
                // A client may hang up in the middle: what it said until then counts.
                drop(manners.clone().serve(stream, &script, &mut got).await);
                tx.send(got).await.unwrap();
            }
        });
        Self { address, security, authority, got }
    }

    pub(super) async fn next(&mut self) -> Got {
        let got = tokio::time::timeout(std::time::Duration::from_secs(60), self.got.recv()).await;
        got.expect("a client comes").expect("the server runs")
    }
}

fn certified() -> (String, TlsAcceptor) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let of_host = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = of_host.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (pem, TlsAcceptor::from(Arc::new(config)))
}

impl Manners {
    async fn serve(self, stream: TcpStream, script: &Script, got: &mut Got) -> std::io::Result<()> {
        if self.security == Security::AtOnce {
            let stream = self.acceptor.accept(stream).await?;
            got.is_private = true;
            let mut stream = BufReader::new(stream);
            stream.write_all(b"220 ready\r\n").await?;
            return self.converse(&mut stream, script, got).await.map(drop);
        }
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220-a server\r\n220 for tests\r\n").await?;
        if self.converse(&mut stream, script, got).await? {
            let stream = self.acceptor.accept(stream.into_inner()).await?;
            got.is_private = true;
            self.converse(&mut BufReader::new(stream), script, got).await?;
        }
        Ok(())
    }

    /// Talks until the farewell, or until TLS is asked for: then `true`.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        script: &Script,
        got: &mut Got,
    ) -> std::io::Result<bool> {
        loop {
            let line = line(stream).await?;
            got.said.push(line.clone());
            let scripted = script.iter().find(|(at, _)| line.starts_with(at));
            let reply = match (scripted, line.split([' ', ':']).next().unwrap_or_default()) {
                (Some((_, reply)), _) => (*reply).to_owned(),
                (None, "EHLO") => self.greeting(got.is_private),
                (None, "STARTTLS") => {
                    stream.write_all(b"220 go ahead\r\n").await?;
                    return Ok(true);
                }
                (None, "AUTH") => authenticate(stream, &line, got).await?,
                (None, "DATA") => {
                    stream.write_all(b"354 go ahead\r\n").await?;
                    message(stream, got).await?;
                    let scripted = script.iter().find(|(at, _)| *at == ".");
                    scripted.map_or("250 taken", |(_, reply)| reply).to_owned()
                }
                (None, "QUIT") => {
                    stream.write_all(b"221 bye\r\n").await?;
                    return Ok(false);
                }
                (None, "MAIL" | "RCPT") => "250 good".to_owned(),
                (None, _) => "500 what?".to_owned(),
            };
            stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
    }

    fn greeting(&self, is_private: bool) -> String {
        let mut lines = vec!["for tests"];
        if self.security == Security::Started && !is_private {
            lines.push("STARTTLS");
        }
        lines.extend(&self.offers);
        lines.push("8BITMIME");
        let last = lines.pop().unwrap();
        let first: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
        format!("{first}250 {last}")
    }
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    assert!(line.ends_with("\r\n"), "{line:?}");
    assert!(line.len() <= 1_000, "{} bytes", line.len());
    Ok(line.trim_end_matches("\r\n").to_owned())
}

async fn message<S: AsyncRead + Unpin>(
    stream: &mut BufReader<S>,
    got: &mut Got,
) -> std::io::Result<()> {
    loop {
        let line = line(stream).await?;
        assert!(line.is_ascii(), "{line}");
        if line == "." {
            return Ok(());
        }
        got.data.push_str(line.strip_prefix('.').unwrap_or(&line));
        got.data.push_str("\r\n");
    }
}

async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    command: &str,
    got: &mut Got,
) -> std::io::Result<String> {
    let questions = match command {
        "AUTH LOGIN" => vec!["Username:", "Password:"],
        "AUTH CRAM-MD5" => vec!["<1@here>"],
        _ => vec![],
    };
    for question in questions {
        stream.write_all(format!("334 {}\r\n", STANDARD.encode(question)).as_bytes()).await?;
        got.said.push(line(stream).await?);
    }
    Ok("235 welcome".to_owned())
}

impl Got {
    /// The headers, line ends as here.
    pub(super) fn head(&self) -> String {
        let head = self.data.split("\r\n\r\n").next().unwrap();
        format!("{head}\n").replace("\r\n", "\n")
    }

    /// What a message of one part says.
    pub(super) fn decoded(&self) -> String {
        plain(self.data.split_once("\r\n\r\n").unwrap().1)
    }

    /// What the part of a message with several says.
    pub(super) fn part(&self, kind: &str) -> String {
        let boundary = self.data.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
        let separator = format!("--{boundary}");
        assert!(self.data.ends_with(&format!("{separator}--\r\n")));
        let head = format!("\r\nContent-Type: {kind};");
        let part = self.data.split(&separator).find(|part| part.starts_with(&head)).unwrap();
        plain(part.split_once("\r\n\r\n").unwrap().1)
    }
}

/// Quoted-printable as it reads.
fn plain(text: &str) -> String {
    let text = text.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'=' {
            let hex = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}
