//! What the endpoint, headers and token of the configuration come to.

use ::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Protocol;
use crate::http_client::redacted;
use crate::{Config, Error};

/// Where requests go, checked.
#[derive(Debug)]
pub(crate) struct Target {
    /// `http` or `https` URL; for HTTP with the full path.
    pub url: String,
    /// gRPC instead of HTTP.
    pub grpc: bool,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Configured headers and the authorization.
    pub headers: HeaderMap,
    /// PEM text of further certificate authorities.
    pub authorities: Option<Vec<u8>>,
}

const METRICS_PATH: &str = "/v1/metrics";

impl Target {
    /// Takes the configuration apart.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let endpoint = config.endpoint.trim();
        let not_a_url = || {
            Error::field(
                "endpoint",
                format!("`{}` is not a URL such as http://127.0.0.1:4317", redacted(endpoint)),
            )
        };
        let (scheme, rest) = endpoint.split_once("://").ok_or_else(not_a_url)?;
        let (tls, says_grpc) = match scheme {
            "http" => (false, false),
            "https" => (true, false),
            "grpc" => (false, true),
            "grpcs" => (true, true),
            other => {
                let reason = format!("the scheme `{other}` is none of http, https, grpc, grpcs");
                return Err(Error::field("endpoint", reason));
            }
        };
        let scheme = if tls { "https" } else { "http" };
        let uri: ::http::Uri = format!("{scheme}://{rest}").parse().map_err(|_| not_a_url())?;
        let authority = uri.authority().filter(|a| !a.host().is_empty()).ok_or_else(not_a_url)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            let reason = "must not hold credentials or a query; use `token` or `headers`";
            return Err(Error::field("endpoint", reason));
        }
        let grpc = match config.protocol {
            Protocol::Auto => says_grpc || authority.port_u16() == Some(4317),
            Protocol::Grpc => true,
            Protocol::Http => false,
        };
        let path = uri.path().trim_end_matches('/');
        let path = match (grpc, path.ends_with(METRICS_PATH)) {
            (true, _) => String::new(),
            (false, true) => path.to_owned(),
            (false, false) => format!("{path}{METRICS_PATH}"),
        };
        let url = format!("{scheme}://{authority}{path}");
        Ok(Self { url, grpc, tls, headers: headers(config)?, authorities: authorities(config)? })
    }
}

fn headers(config: &Config) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let name = HeaderName::from_lowercase(name.as_bytes()).map_err(|_| {
            Error::field("headers", format!("`{name}` is not a header name in lower case"))
        })?;
        let value = HeaderValue::from_str(value).map_err(|_| {
            Error::field("headers", format!("the value of `{name}` is not printable"))
        })?;
        headers.insert(name, value);
    }
    if let Some(token) = token(config)? {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Error::field("token", "holds characters a header cannot carry"))?;
        value.set_sensitive(true);
        headers.insert(::http::header::AUTHORIZATION, value);
    }
    Ok(headers)
}

fn token(config: &Config) -> Result<Option<String>, Error> {
    let Some(path) = &config.token_file else {
        return Ok(config.token.as_ref().map(|token| token.reveal().to_owned()));
    };
    if config.token.is_some() {
        return Err(Error::field("token_file", "excludes `token`: give one of the two"));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::File { path: path.clone(), source })?;
    Ok(Some(text.trim().to_owned()))
}

fn authorities(config: &Config) -> Result<Option<Vec<u8>>, Error> {
    let Some(path) = &config.ca_file else { return Ok(None) };
    let pem = std::fs::read(path).map_err(|source| Error::File { path: path.clone(), source })?;
    Ok(Some(pem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_scheme_and_override_choose_the_protocol() {
        let check = |endpoint: &str, protocol, url: &str, grpc| {
            let config = Config { endpoint: endpoint.into(), protocol, ..Config::default() };
            let target = Target::new(&config).expect(endpoint);
            assert_eq!((target.url.as_str(), target.grpc), (url, grpc), "{endpoint}");
        };
        check("http://h:4317", Protocol::Auto, "http://h:4317", true);
        check("grpcs://h", Protocol::Auto, "https://h", true);
        check("http://h:4318/", Protocol::Auto, "http://h:4318/v1/metrics", false);
        check("https://h/otlp", Protocol::Auto, "https://h/otlp/v1/metrics", false);
        check(
            "http://[::1]:7300/v1/metrics",
            Protocol::Auto,
            "http://[::1]:7300/v1/metrics",
            false,
        );
        check("http://h:4317", Protocol::Http, "http://h:4317/v1/metrics", false);
        check("https://h:443/x", Protocol::Grpc, "https://h:443", true);
    }
}
