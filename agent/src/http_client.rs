//! The HTTP client of scrapes, discoveries and remote write, set up as Prometheus' `http_config` says.
//!
//! Secrets in files are read anew for each request, so that they can be exchanged while we run. Requests go by HTTP/1.1.
//! Source: "http_config" and "tls_config" of Prometheus' configuration reference.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::export::chain;

mod options;
pub(crate) mod redact;

pub(crate) use options::{HttpOptions, with_http};
pub(crate) use redact::redacted;

use options::TlsVersion;
pub(crate) use options::{Authorization, BasicAuth, Header, TlsOptions};

/// A secret that stands in the configuration or in a file.
enum Source {
    Text(String),
    File(PathBuf),
}

impl Source {
    async fn read(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                let text =
                    text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                Ok(text.trim().to_owned())
            }
        }
    }
}

/// What goes into `Authorization`.
enum Credentials {
    None,
    Basic { username: Source, password: Option<Source> },
    Other { scheme: String, credentials: Source },
}

/// A client and what each of its requests carries.
pub(crate) struct HttpClient {
    client: reqwest::Client,
    credentials: Credentials,
    headers: Vec<(HeaderName, Source)>,
}

impl HttpClient {
    /// Builds it; `folder` is where relative paths begin.
    pub(crate) fn new(options: &HttpOptions, folder: &Path) -> Result<Self, String> {
        // A server around us may have installed one already: that is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(30))
            .pool_idle_timeout(Duration::from_secs(300))
            .http1_only();
        builder = match options.follow_redirects.unwrap_or(true) {
            true => builder.redirect(reqwest::redirect::Policy::limited(10)),
            false => builder.redirect(reqwest::redirect::Policy::none()),
        };
        builder = proxy(builder, options)?;
        builder = tls(builder, &options.tls_config, folder)?;
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(Self {
            client,
            credentials: credentials(options, folder)?,
            headers: headers(options, folder)?,
        })
    }

    /// A GET with everything that is configured.
    pub(crate) async fn get(&self, url: &str) -> Result<reqwest::RequestBuilder, String> {
        self.dress(self.client.get(url)).await
    }

    /// A POST with everything that is configured.
    pub(crate) async fn post(&self, url: &str) -> Result<reqwest::RequestBuilder, String> {
        self.dress(self.client.post(url)).await
    }

    async fn dress(
        &self,
        mut request: reqwest::RequestBuilder,
    ) -> Result<reqwest::RequestBuilder, String> {
        for (name, value) in &self.headers {
            let text = value.read().await?;
            let value = HeaderValue::from_str(&text);
            request = request.header(
                name,
                value.map_err(|_| format!("the value of header `{name}` is not printable"))?,
            );
        }
        let text = match &self.credentials {
            Credentials::None => return Ok(request),
            Credentials::Basic { username, password } => {
                let password = match password {
                    Some(password) => password.read().await?,
                    None => String::new(),
                };
                let pair = format!("{}:{password}", username.read().await?);
                format!("Basic {}", STANDARD.encode(pair))
            }
            Credentials::Other { scheme, credentials } => {
                format!("{scheme} {}", credentials.read().await?)
            }
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "the credentials hold characters a header cannot carry")?;
        value.set_sensitive(true);
        Ok(request.header(AUTHORIZATION, value))
    }
}

/// `text` or `file`, whichever is given; both are too many.
fn source(
    field: &str,
    text: Option<&str>,
    file: Option<&PathBuf>,
    folder: &Path,
) -> Result<Option<Source>, String> {
    match (text, file) {
        (Some(_), Some(_)) => Err(format!("give one of `{field}` and `{field}_file`")),
        (Some(text), None) => Ok(Some(Source::Text(text.to_owned()))),
        (None, Some(path)) => Ok(Some(Source::File(folder.join(path)))),
        (None, None) => Ok(None),
    }
}

fn credentials(options: &HttpOptions, folder: &Path) -> Result<Credentials, String> {
    let bearer = source(
        "bearer_token",
        options.bearer_token.as_ref().map(|secret| secret.reveal()),
        options.bearer_token_file.as_ref(),
        folder,
    )?;
    match (&options.basic_auth, &options.authorization, bearer) {
        (None, None, None) => Ok(Credentials::None),
        (Some(basic), None, None) => basic_auth(basic, folder),
        (None, Some(authorization), None) => other(authorization, folder),
        (None, None, Some(credentials)) => {
            Ok(Credentials::Other { scheme: "Bearer".to_owned(), credentials })
        }
        _ => {
            Err("give one of `basic_auth`, `authorization`, `bearer_token` and `bearer_token_file`"
                .to_owned())
        }
    }
}

fn basic_auth(basic: &BasicAuth, folder: &Path) -> Result<Credentials, String> {
    let username =
        source("username", basic.username.as_deref(), basic.username_file.as_ref(), folder)?;
    let password = basic.password.as_ref().map(|secret| secret.reveal());
    let password = source("password", password, basic.password_file.as_ref(), folder)?;
    Ok(Credentials::Basic { username: username.unwrap_or(Source::Text(String::new())), password })
}

fn other(authorization: &Authorization, folder: &Path) -> Result<Credentials, String> {
    let scheme = authorization.scheme.as_deref().map_or("Bearer", str::trim);
    let scheme = if scheme.is_empty() { "Bearer" } else { scheme };
    if scheme.eq_ignore_ascii_case("basic") {
        return Err("authorization type cannot be `basic`: use `basic_auth`".to_owned());
    }
    let text = authorization.credentials.as_ref().map(|secret| secret.reveal());
    let credentials = source("credentials", text, authorization.credentials_file.as_ref(), folder)?;
    let credentials =
        credentials.ok_or("`authorization` needs `credentials` or `credentials_file`")?;
    Ok(Credentials::Other { scheme: scheme.to_owned(), credentials })
}

fn headers(options: &HttpOptions, folder: &Path) -> Result<Vec<(HeaderName, Source)>, String> {
    let mut headers = Vec::new();
    for (name, header) in &options.http_headers {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let parsed =
            parsed.map_err(|_| format!("`{name}` in `http_headers` is not a header name"))?;
        let reserved = [
            "authorization",
            "host",
            "content-encoding",
            "content-length",
            "content-type",
            "user-agent",
            "connection",
            "keep-alive",
            "accept",
            "accept-encoding",
            "transfer-encoding",
            "x-prometheus-scrape-timeout-seconds",
            "x-prometheus-remote-write-version",
        ];
        if reserved.contains(&parsed.as_str()) {
            return Err(format!("setting header `{name}` in `http_headers` is not allowed"));
        }
        let texts = header
            .values
            .iter()
            .cloned()
            .chain(header.secrets.iter().map(|s| s.reveal().to_owned()));
        let files = header.files.iter().map(|path| Source::File(folder.join(path)));
        headers.extend(texts.map(Source::Text).chain(files).map(|source| (parsed.clone(), source)));
    }
    Ok(headers)
}

fn proxy(
    builder: reqwest::ClientBuilder,
    options: &HttpOptions,
) -> Result<reqwest::ClientBuilder, String> {
    let url = options.proxy_url.as_deref().filter(|url| !url.is_empty());
    match (url, options.proxy_from_environment) {
        (Some(_), true) => Err("give one of `proxy_url` and `proxy_from_environment`".to_owned()),
        (None, true) if options.no_proxy.is_some() => {
            Err("`no_proxy` goes with `proxy_url`; the environment has a NO_PROXY of its own"
                .to_owned())
        }
        (None, true) => environment_proxy(builder),
        (None, false) if options.no_proxy.is_some() => {
            Err("`no_proxy` goes with `proxy_url`".to_owned())
        }
        (None, false) => Ok(builder.no_proxy()),
        (Some(url), false) => {
            let proxy = reqwest::Proxy::all(url)
                .map_err(|error| format!("`proxy_url`: {}", chain(&error)))?;
            let but = options.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            Ok(builder.proxy(proxy.no_proxy(but)))
        }
    }
}

/// `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in capitals or not.
fn environment_proxy(builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, String> {
    let variable = |name: &str| {
        let value = std::env::var(name).or_else(|_| std::env::var(name.to_lowercase()));
        value.ok().filter(|value| !value.is_empty())
    };
    let wrong = |error: reqwest::Error| format!("the proxy of the environment: {}", chain(&error));
    let but = variable("NO_PROXY").and_then(|text| reqwest::NoProxy::from_string(&text));
    let mut builder = builder.no_proxy();
    if let Some(url) = variable("HTTP_PROXY") {
        builder = builder.proxy(reqwest::Proxy::http(url).map_err(wrong)?.no_proxy(but.clone()));
    }
    if let Some(url) = variable("HTTPS_PROXY") {
        builder = builder.proxy(reqwest::Proxy::https(url).map_err(wrong)?.no_proxy(but));
    }
    Ok(builder)
}

fn tls(
    builder: reqwest::ClientBuilder,
    options: &TlsOptions,
    folder: &Path,
) -> Result<reqwest::ClientBuilder, String> {
    let mut builder = builder;
    let read = |field: &str,
                text: Option<&str>,
                file: Option<&PathBuf>|
     -> Result<Option<Vec<u8>>, String> {
        match (text, file) {
            (Some(_), Some(_)) => {
                Err(format!("`tls_config`: give one of `{field}` and `{field}_file`"))
            }
            (Some(text), None) => Ok(Some(text.as_bytes().to_vec())),
            (None, Some(path)) => {
                let path = folder.join(path);
                let text = std::fs::read(&path);
                text.map(Some).map_err(|error| {
                    format!("`tls_config`: cannot read {}: {error}", path.display())
                })
            }
            (None, None) => Ok(None),
        }
    };
    let wrong = |error: reqwest::Error| format!("`tls_config`: {}", chain(&error));
    if let Some(pem) = read("ca", options.ca.as_deref(), options.ca_file.as_ref())? {
        // As in Prometheus these replace the system's authorities.
        builder =
            builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).map_err(wrong)?);
    }
    let cert = read("cert", options.cert.as_deref(), options.cert_file.as_ref())?;
    let key = read("key", options.key.as_ref().map(|key| key.reveal()), options.key_file.as_ref())?;
    match (cert, key) {
        (None, None) => {}
        (Some(mut pem), Some(key)) => {
            pem.push(b'\n');
            pem.extend(key);
            builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(wrong)?);
        }
        _ => {
            return Err("`tls_config`: a client certificate needs both `cert` and `key`".to_owned());
        }
    }
    if options.insecure_skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if let Some(version) = options.min_version {
        builder = builder.tls_version_min(version.of_reqwest());
    }
    if let Some(version) = options.max_version {
        builder = builder.tls_version_max(version.of_reqwest());
    }
    Ok(builder)
}

impl TlsVersion {
    const fn of_reqwest(self) -> reqwest::tls::Version {
        match self {
            Self::V12 => reqwest::tls::Version::TLS_1_2,
            Self::V13 => reqwest::tls::Version::TLS_1_3,
        }
    }
}

#[cfg(test)]
mod tests;
