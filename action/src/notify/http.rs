//! The HTTP client of a channel: authorization, TLS and proxy as `http_config` asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Identity, Proxy, Url};
use serde::Deserialize;
use serde_json::Value;

use super::settings::{Problem, Text, read, secret};
use crate::address::{Allowed, Resolver};
use crate::config::Secret;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpConfig {
    basic_auth: Option<BasicAuth>,
    authorization: Option<Authorization>,
    bearer_token: Option<Secret>,
    bearer_token_file: Option<PathBuf>,
    oauth2: Option<Value>,
    tls_config: Option<Value>,
    proxy_url: Option<Secret>,
    no_proxy: Option<Text>,
    proxy_from_environment: bool,
    proxy_connect_header: Option<Value>,
    /// Redirects are never followed: they would carry secrets to other hosts.
    #[serde(rename = "follow_redirects")]
    _follow_redirects: Option<bool>,
    /// The server chooses.
    #[serde(rename = "enable_http2")]
    _enable_http2: Option<bool>,
    http_headers: BTreeMap<String, HeaderValues>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BasicAuth {
    username: Option<Secret>,
    username_file: Option<PathBuf>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Authorization {
    #[serde(rename = "type")]
    kind: Option<Text>,
    credentials: Option<Secret>,
    credentials_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HeaderValues {
    values: Vec<Text>,
    secrets: Vec<Secret>,
    files: Vec<PathBuf>,
}

/// The section `tls_config`, here and of mail.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsConfig {
    pub(crate) ca: Option<Text>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) cert: Option<Text>,
    pub(crate) cert_file: Option<PathBuf>,
    pub(crate) key: Option<Secret>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) server_name: Option<Text>,
    pub(crate) insecure_skip_verify: bool,
    pub(crate) min_version: Option<Text>,
    pub(crate) max_version: Option<Text>,
}

/// A client, and what every request of its channel carries.
pub(crate) struct Sender {
    pub(crate) client: Client,
    pub(crate) headers: HeaderMap,
    pub(crate) allowed: Allowed,
}

impl Sender {
    /// Makes what `settings`, or without them `default`, ask for.
    pub(crate) fn new(
        settings: Option<&Value>,
        default: Option<&Value>,
        allowed: &Allowed,
    ) -> Result<Self, Problem> {
        let settings = settings.filter(|settings| !settings.is_null());
        let config: HttpConfig = read(settings.or(default).unwrap_or(&Value::Null))?;
        if config.oauth2.is_some() {
            return Err(Problem::new("oauth2", "oauth2 is not supported yet: use authorization"));
        }
        if config.proxy_from_environment || config.proxy_connect_header.is_some() {
            let text = "only proxy_url is supported: name the proxy there";
            return Err(Problem::new("proxy_from_environment", text));
        }
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Resolver(Arc::new(allowed.clone()))))
            .pool_idle_timeout(Duration::from_secs(30));
        if let Some(url) = &config.proxy_url {
            let wrong =
                |error: reqwest::Error| Problem::new("proxy_url", error.without_url().to_string());
            let proxy = Proxy::all(url.reveal()).map_err(wrong)?;
            let skipped =
                config.no_proxy.as_ref().and_then(|text| reqwest::NoProxy::from_string(&text.0));
            builder = builder.proxy(proxy.no_proxy(skipped));
        }
        builder = tls(builder, config.tls_config.as_ref())?;
        let headers = headers(&config)?;
        let client = builder.build().map_err(|error| {
            let remedy =
                "install the system's root certificates (Debian: apt-get install ca-certificates)";
            Problem::new("http_config", format!("cannot prepare https: {error}; {remedy}"))
        })?;
        Ok(Self { client, headers, allowed: allowed.clone() })
    }

    /// Reads a URL; what is wrong is told without the URL, which may hold a token.
    pub(crate) fn url(&self, text: &str) -> Result<Url, String> {
        checked(text, &self.allowed)
    }
}

/// Reads a URL that may be sent to.
pub(crate) fn checked(text: &str, allowed: &Allowed) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("unsupported scheme: only http and https can be sent to".to_owned());
    }
    allowed.check(&url)?;
    Ok(url)
}

fn tls(
    builder: reqwest::ClientBuilder,
    settings: Option<&Value>,
) -> Result<reqwest::ClientBuilder, Problem> {
    let Some(settings) = settings else { return Ok(builder) };
    let config: TlsConfig = read(settings)?;
    if config.server_name.is_some() || config.max_version.is_some() || config.min_version.is_some()
    {
        let text = "server_name, min_version and max_version are not supported: remove them";
        return Err(Problem::new("tls_config", text));
    }
    let mut builder = builder.tls_danger_accept_invalid_certs(config.insecure_skip_verify);
    if let Some(pem) = pem("ca", config.ca.as_ref(), config.ca_file.as_ref())? {
        let certificates = Certificate::from_pem_bundle(pem.as_bytes());
        let certificates =
            certificates.map_err(|error| Problem::new("ca_file", error.to_string()))?;
        builder = builder.tls_certs_only(certificates);
    }
    let certificate = pem("cert", config.cert.as_ref(), config.cert_file.as_ref())?;
    let key = secret("key", &config.key, &config.key_file)?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let both = format!("{certificate}\n{}", key.reveal());
            let identity = Identity::from_pem(both.as_bytes());
            let identity =
                identity.map_err(|error| Problem::new("cert_file", error.to_string()))?;
            Ok(builder.identity(identity))
        }
        (None, None) => Ok(builder),
        _ => Err(Problem::new(
            "tls_config",
            "cert_file and key_file are given together or not at all",
        )),
    }
}

/// A certificate in the settings or in a file.
pub(crate) fn pem(
    name: &str,
    inline: Option<&Text>,
    file: Option<&PathBuf>,
) -> Result<Option<String>, Problem> {
    let inline = inline.map(|text| Secret::new(text.0.as_str()));
    let found = secret(name, &inline, &file.cloned())?;
    Ok(found.map(|text| text.reveal().to_owned()))
}

fn headers(config: &HttpConfig) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    for (name, values) in &config.http_headers {
        let key = HeaderName::from_bytes(name.as_bytes());
        let key =
            key.map_err(|_| Problem::new("http_headers", format!("{name:?} is no header")))?;
        let files = values.files.iter().map(|path| {
            let read = secret("http_headers", &None, &Some(path.clone()))?;
            Ok(read.map_or_else(String::new, |text| text.reveal().to_owned()))
        });
        let files = files.collect::<Result<Vec<_>, Problem>>()?;
        let plain = values.values.iter().map(|text| text.0.clone());
        let secrets = values.secrets.iter().map(|secret| secret.reveal().to_owned());
        for value in plain.chain(secrets).chain(files) {
            headers.append(key.clone(), header(name, &value)?);
        }
    }
    if let Some(value) = authorization(config)? {
        headers.insert(AUTHORIZATION, header("authorization", &value)?);
    }
    Ok(headers)
}

fn header(name: &str, value: &str) -> Result<HeaderValue, Problem> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Problem::new("http_config", format!("the value of {name} is no header")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn authorization(config: &HttpConfig) -> Result<Option<String>, Problem> {
    let bearer = secret("bearer_token", &config.bearer_token, &config.bearer_token_file)?;
    let given = [config.basic_auth.is_some(), config.authorization.is_some(), bearer.is_some()];
    if given.iter().filter(|given| **given).count() > 1 {
        let text = "at most one of basic_auth, authorization & bearer_token must be configured";
        return Err(Problem::new("http_config", text));
    }
    if let Some(token) = bearer {
        return Ok(Some(format!("Bearer {}", token.reveal())));
    }
    if let Some(basic) = &config.basic_auth {
        let username = secret("username", &basic.username, &basic.username_file)?;
        let password = secret("password", &basic.password, &basic.password_file)?;
        let text =
            |secret: Option<Secret>| secret.map_or_else(String::new, |s| s.reveal().to_owned());
        let pair = format!("{}:{}", text(username), text(password));
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        return Ok(Some(format!("Basic {encoded}")));
    }
    let Some(authorization) = &config.authorization else { return Ok(None) };
    let kind = authorization.kind.as_ref().map_or("Bearer", |kind| kind.0.trim());
    if kind.eq_ignore_ascii_case("basic") {
        let text = "authorization type cannot be set to \"basic\", use \"basic_auth\" instead";
        return Err(Problem::new("authorization", text));
    }
    let found = secret("credentials", &authorization.credentials, &authorization.credentials_file)?;
    Ok(found.map(|credentials| format!("{kind} {}", credentials.reveal())))
}
