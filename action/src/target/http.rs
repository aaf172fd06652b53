//! What speaks JSON over HTTP: addresses tried one after the other, no redirects, bounded answers, tokens from files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::{Certificate, Client, Method, Request, StatusCode, Url};
use serde_json::Value;

use super::Failure;
use crate::address::{Allowed, Resolver};
use crate::journal::record::cut;
use crate::runbook::Target;
use crate::send;

/// Longest answer: a deployment has about 10 kB, and 500 of them are asked for at once.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Longest file with a token or a secret.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Speaks HTTP to targets.
pub(crate) struct Http {
    allowed: Arc<Allowed>,
    /// By the file of certificates.
    clients: Mutex<BTreeMap<String, Client>>,
}

/// What is asked.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Behind the address of the target, from its first `/`.
    pub(crate) path: &'a str,
    /// Kind of the body, and the body.
    pub(crate) body: Option<(&'a str, Vec<u8>)>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl<'a> Ask<'a> {
    pub(crate) const fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, headers: Vec::new() }
    }

    pub(crate) fn send(method: Method, path: &'a str, kind: &'a str, body: &Value) -> Self {
        let body = Some((kind, body.to_string().into_bytes()));
        Self { method, path, body, headers: Vec::new() }
    }
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The JSON of a good answer.
    pub(crate) fn json(&self) -> Result<Value, String> {
        if !self.status.is_success() {
            return Err(self.words());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("the answer is no JSON: {error}"))
    }

    /// Status and the start of the text, in one line.
    pub(crate) fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let words: Vec<&str> = text.split_whitespace().collect();
        format!("{}: {}", self.status, cut(&words.join(" "), 300))
    }
}

impl Http {
    pub(crate) fn new(allowed: Arc<Allowed>) -> Self {
        Self { allowed, clients: Mutex::default() }
    }

    fn client(&self, target: &Target) -> Result<Client, String> {
        let file = target.ca_file.as_ref().map(|path| path.display().to_string());
        let needs_tls = target.endpoint.contains("https:");
        let key = format!("{needs_tls} {}", file.unwrap_or_default());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        // The first provider stays; whoever came first chose the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Resolver(Arc::clone(&self.allowed))));
        let builder = match &target.ca_file {
            Some(path) => {
                let certificates = Certificate::from_pem_bundle(&read(path)?);
                let certificates =
                    certificates.map_err(|error| format!("{}: {error}", path.display()))?;
                builder.tls_certs_only(certificates)
            }
            None if needs_tls => builder,
            None => builder.tls_certs_only([]),
        };
        let client = builder.build().map_err(|error| error.to_string())?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// Asks the first address that can be reached. What was refused before it was sent is told from what nobody knows.
    pub(crate) async fn ask(
        &self,
        target: &Target,
        ask: Ask<'_>,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let client = self.client(target).map_err(Failure::Refused)?;
        let mut last = Failure::Refused("endpoint: there is none".to_owned());
        for base in addresses(&target.endpoint) {
            let request = request(&client, target, base, &ask).map_err(Failure::Refused)?;
            let exchange = async {
                let mut answer = client.execute(request).await?;
                let status = answer.status();
                let mut body = Vec::new();
                while let Some(chunk) = answer.chunk().await? {
                    body.extend_from_slice(
                        &chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())],
                    );
                    if body.len() == ANSWER_BYTES_MAX {
                        break;
                    }
                }
                Ok::<_, reqwest::Error>(Answer { status, body })
            };
            last = match tokio::time::timeout(timeout, exchange).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if error.is_connect() => {
                    Failure::Refused(format!("{base}: {}", send::reason(&error, timeout)))
                }
                Ok(Err(error)) => {
                    let why = send::reason(&error.without_url(), timeout);
                    return Err(Failure::Unknown(format!("{base}: {why}")));
                }
                Err(_) => {
                    return Err(Failure::Unknown(format!("{base}: no answer within {timeout:?}")));
                }
            };
        }
        Err(last)
    }

    /// The JSON at `path`.
    pub(crate) async fn get(
        &self,
        target: &Target,
        path: &str,
        timeout: Duration,
    ) -> Result<Value, String> {
        let answer = self.ask(target, Ask::get(path), timeout).await.map_err(Failure::words)?;
        answer.json().map_err(|error| format!("{path}: {error}"))
    }
}

fn request(client: &Client, target: &Target, base: &str, ask: &Ask<'_>) -> Result<Request, String> {
    let url = format!("{}{}", base.trim_end_matches('/'), ask.path);
    let url = Url::parse(&url).map_err(|error| format!("{url}: {error}"))?;
    let mut request = client.request(ask.method.clone(), url);
    request = request.header(USER_AGENT, concat!("Headrope/", env!("CARGO_PKG_VERSION")));
    if let Some((kind, body)) = &ask.body {
        request = request.header(CONTENT_TYPE, *kind).body(body.clone());
    }
    for (name, value) in &ask.headers {
        request = request.header(*name, value);
    }
    if let Some(path) = &target.token_file {
        request = request.header(AUTHORIZATION, credentials(path)?);
    }
    request.build().map_err(|error| error.to_string())
}

/// `Basic` for `user:password`, `Bearer` for a token.
fn credentials(path: &Path) -> Result<HeaderValue, String> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    let header = match text.split_once(':') {
        Some(_) => format!("Basic {}", STANDARD.encode(text)),
        None => format!("Bearer {text}"),
    };
    let value = HeaderValue::from_str(&header);
    let mut value = value.map_err(|_| format!("{}: it holds no token", path.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A small file, whole.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let len = std::fs::metadata(path).map_err(wrong)?.len();
    if len > FILE_BYTES_MAX {
        return Err(format!("{}: {len} bytes are too many", path.display()));
    }
    std::fs::read(path).map_err(wrong)
}

/// Each address of a target.
pub(super) fn addresses(endpoint: &str) -> impl Iterator<Item = &str> {
    endpoint.split(',').map(str::trim).filter(|base| !base.is_empty())
}

/// Says what is wrong with the addresses of a target, and with its files.
pub(super) fn check(target: &Target, allowed: &Allowed) -> Result<(), String> {
    let mut n = 0;
    for base in addresses(&target.endpoint) {
        let url = Url::parse(base).map_err(|error| format!("endpoint: {base}: {error}"))?;
        if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
            return Err(format!("endpoint: {base} is no http:// or https:// address"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("endpoint: credentials belong into token_file".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("endpoint: {base} ends with its path"));
        }
        allowed.check(&url).map_err(|problem| format!("endpoint: {problem}"))?;
        n += 1;
    }
    if n == 0 {
        return Err("endpoint: there is no address".to_owned());
    }
    for (name, file) in [("token_file", &target.token_file), ("ca_file", &target.ca_file)] {
        if let Some(path) = file {
            read(path).map_err(|problem| format!("{name}: {problem}"))?;
        }
    }
    Ok(())
}
