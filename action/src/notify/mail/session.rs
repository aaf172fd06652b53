//! The client's side of SMTP, RFC 5321, with STARTTLS, RFC 3207: one connection, one message.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, lookup_host};

use super::auth::Credentials;
use super::tls::Connector;
use crate::address::{Allowed, refused};

/// Longest line of a reply; RFC 5321 allows 512.
const LINE_BYTES_MAX: u64 = 4_096;
/// Most lines of a reply.
const LINES_MAX: usize = 100;
/// Most of a reply that is told, in characters.
const TOLD_CHARS_MAX: usize = 300;
/// How long one address of the server may take to take the connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a message was not taken, in words.
#[derive(Debug)]
pub(super) enum Fault {
    /// It never will be.
    Permanent(String),
    /// It may be later.
    Passing(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Passing(error.to_string())
    }
}

/// Bytes both ways, in the clear or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// When a connection becomes private.
pub(super) enum Tls {
    Never,
    /// Before the first word.
    AtOnce(Connector),
    /// By STARTTLS.
    Started(Connector),
}

/// A server that takes mail.
pub(super) struct Relay {
    pub(super) host: String,
    pub(super) port: u16,
    /// How we name ourselves.
    pub(super) hello: String,
    pub(super) tls: Tls,
    pub(super) credentials: Option<Credentials>,
    pub(super) allowed: Allowed,
}

/// One message on its way.
pub(super) struct Envelope {
    pub(super) from: String,
    /// One address at least.
    pub(super) to: Vec<String>,
    /// Lines ended by CR LF.
    pub(super) data: String,
}

impl Relay {
    /// Host and port.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Sends one message; what was said about addresses the server would not take, while it took others.
    pub(super) async fn send(&self, envelope: &Envelope) -> Result<Vec<String>, Fault> {
        let mut session = self.open().await?;
        let done = session.deliver(envelope).await;
        // The message is taken or is not; nothing depends on the farewell.
        drop(tokio::time::timeout(FAREWELL, session.ask("QUIT")).await);
        done
    }

    /// A session in which messages may be sent.
    async fn open(&self) -> Result<Session, Fault> {
        let mut stream = self.connect().await?;
        if let Tls::AtOnce(connector) = &self.tls {
            stream = connector.connect(stream).await.map_err(Fault::Passing)?;
        }
        let is_private = matches!(self.tls, Tls::AtOnce(_));
        let mut session =
            Session { stream: BufReader::new(stream), offers: Vec::new(), is_private };
        let (code, text) = session.reply().await?;
        told("greeting", code, &text, 220)?;
        session.greet(&self.hello).await?;
        if let Tls::Started(connector) = &self.tls {
            if session.offer("STARTTLS").is_none() {
                return Err(Fault::Permanent(
                    "'require_tls' is true (default) but the server does not advertise the STARTTLS extension"
                        .to_owned(),
                ));
            }
            session.expect("STARTTLS", 220).await?;
            session = session.private(connector).await?;
            session.greet(&self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            credentials.prove(&mut session, &self.host).await?;
        }
        Ok(session)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Fault> {
        let found = lookup_host((self.host.as_str(), self.port)).await?;
        let found: Vec<SocketAddr> = found.collect();
        let mut why = Fault::Passing("the name has no address".to_owned());
        for address in found {
            if !self.allowed.allows(address.ip()) {
                why = Fault::Permanent(refused(address.ip()));
                continue;
            }
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(Box::new(stream)),
                Ok(Err(error)) => why = error.into(),
                Err(_) => why = Fault::Passing("no connection in time".to_owned()),
            }
        }
        Err(why)
    }
}

/// A conversation with a server.
pub(super) struct Session {
    stream: BufReader<Box<dyn Stream>>,
    offers: Vec<String>,
    /// Whether nobody else can listen.
    pub(super) is_private: bool,
}

impl Session {
    /// What follows the name of an extension the server offers.
    pub(super) fn offer(&self, name: &str) -> Option<String> {
        self.offers.iter().find_map(|line| {
            // Old servers write AUTH=LOGIN.
            let (word, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
            word.eq_ignore_ascii_case(name).then(|| rest.to_owned())
        })
    }

    /// A step of a proof of identity. What the server says when it refuses could repeat a secret and is not told.
    pub(super) async fn prove(&mut self, line: &str) -> Result<(u16, String), Fault> {
        let (code, text) = self.ask(line).await?;
        match code {
            200..=399 => Ok((code, text)),
            400..=499 => Err(Fault::Passing(format!("AUTH: {code}"))),
            _ => Err(Fault::Permanent(format!("AUTH: {code}: check auth_username and its secret"))),
        }
    }

    async fn greet(&mut self, hello: &str) -> Result<(), Fault> {
        let (code, text) = self.ask(&format!("EHLO {hello}")).await?;
        if (500..600).contains(&code) {
            self.offers.clear();
            return self.expect(&format!("HELO {hello}"), 250).await;
        }
        told("EHLO", code, &text, 250)?;
        self.offers = text.lines().skip(1).map(str::to_owned).collect();
        Ok(())
    }

    async fn private(self, connector: &Connector) -> Result<Self, Fault> {
        // Words from before the handshake could be anybody's.
        if !self.stream.buffer().is_empty() {
            let text = "STARTTLS: the server spoke before the handshake";
            return Err(Fault::Permanent(text.to_owned()));
        }
        let stream = connector.connect(self.stream.into_inner()).await.map_err(Fault::Passing)?;
        Ok(Self { stream: BufReader::new(stream), offers: Vec::new(), is_private: true })
    }

    async fn deliver(&mut self, envelope: &Envelope) -> Result<Vec<String>, Fault> {
        self.expect(&format!("MAIL FROM:<{}>", envelope.from), 250).await?;
        let (mut refused, mut may_pass) = (Vec::new(), false);
        for address in &envelope.to {
            let asked = format!("RCPT TO:<{address}>");
            let (code, text) = self.ask(&asked).await?;
            match told(&asked, code, &text, 250) {
                Ok(()) => {}
                Err(Fault::Permanent(why)) => refused.push(why),
                Err(Fault::Passing(why)) => {
                    may_pass = true;
                    refused.push(why);
                }
            }
        }
        if refused.len() == envelope.to.len() {
            let why = refused.join("; ");
            return Err(if may_pass { Fault::Passing(why) } else { Fault::Permanent(why) });
        }
        self.expect("DATA", 354).await?;
        let mut data = String::with_capacity(envelope.data.len() + 8);
        for line in envelope.data.split_inclusive("\r\n") {
            // A dot alone ends the message: lines that begin with one get another.
            if line.starts_with('.') {
                data.push('.');
            }
            data.push_str(line);
        }
        data.push('.');
        let (code, text) = self.ask(&data).await?;
        told("DATA", code, &text, 250)?;
        Ok(refused)
    }

    async fn expect(&mut self, line: &str, wanted: u16) -> Result<(), Fault> {
        let (code, text) = self.ask(line).await?;
        told(line, code, &text, wanted)
    }

    async fn ask(&mut self, line: &str) -> Result<(u16, String), Fault> {
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.write_all(b"\r\n").await?;
        self.stream.flush().await?;
        self.reply().await
    }

    /// Code and text of the next reply.
    async fn reply(&mut self) -> Result<(u16, String), Fault> {
        let strange = |what: &str| Fault::Passing(format!("not a mail server: {what}"));
        let mut texts = Vec::new();
        while texts.len() < LINES_MAX {
            let mut line = Vec::new();
            let mut bounded = (&mut self.stream).take(LINE_BYTES_MAX);
            bounded.read_until(b'\n', &mut line).await?;
            if line.is_empty() {
                return Err(Fault::Passing("the server hung up".to_owned()));
            }
            if line.last() != Some(&b'\n') {
                return Err(strange("its reply has a line without an end"));
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let Some(code) = code.filter(|code| (200..600).contains(code)) else {
                return Err(strange("its reply has no code"));
            };
            texts.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok((code, texts.join("\n")));
            }
        }
        Err(strange("its reply has no end"))
    }
}

/// What a reply means where `wanted` would be good.
fn told(asked: &str, code: u16, text: &str, wanted: u16) -> Result<(), Fault> {
    // 251: taken, and passed on.
    if code == wanted || (wanted == 250 && code == 251) {
        return Ok(());
    }
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text: String = text.chars().take(TOLD_CHARS_MAX).collect();
    let why = format!("{asked}: {code} {text}");
    if code >= 500 { Err(Fault::Permanent(why)) } else { Err(Fault::Passing(why)) }
}
