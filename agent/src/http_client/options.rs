//! Prometheus' `http_config` as it stands in YAML. Fields we do not know are refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// How to reach a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpOptions {
    pub basic_auth: Option<BasicAuth>,
    pub authorization: Option<Authorization>,
    pub bearer_token: Option<Secret>,
    pub bearer_token_file: Option<PathBuf>,
    pub tls_config: TlsOptions,
    pub proxy_url: Option<String>,
    pub no_proxy: Option<String>,
    pub proxy_from_environment: bool,
    /// Default: yes.
    pub follow_redirects: Option<bool>,
    pub http_headers: BTreeMap<String, Header>,
}

/// A struct of YAML with the fields of [`HttpOptions`] inline, as Prometheus has them, and `http()` to take them out.
/// (`serde(flatten)` would give up the refusal of unknown fields.)
macro_rules! with_http {
    ($(#[$meta:meta])* pub(crate) struct $name:ident { $($(#[$inner:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize, PartialEq)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name {
            $($(#[$inner])* pub $field: $type,)*
            basic_auth: Option<$crate::http_client::BasicAuth>,
            authorization: Option<$crate::http_client::Authorization>,
            bearer_token: Option<$crate::Secret>,
            bearer_token_file: Option<std::path::PathBuf>,
            tls_config: Option<$crate::http_client::TlsOptions>,
            proxy_url: Option<String>,
            no_proxy: Option<String>,
            proxy_from_environment: bool,
            follow_redirects: Option<bool>,
            /// Requests go by HTTP/1.1, which every server of metrics speaks: both values are right.
            enable_http2: Option<bool>,
            http_headers: Option<std::collections::BTreeMap<String, $crate::http_client::Header>>,
        }

        impl $name {
            /// How to reach the server.
            pub(crate) fn http(&self) -> $crate::http_client::HttpOptions {
                $crate::http_client::HttpOptions {
                    basic_auth: self.basic_auth.clone(),
                    authorization: self.authorization.clone(),
                    bearer_token: self.bearer_token.clone(),
                    bearer_token_file: self.bearer_token_file.clone(),
                    tls_config: self.tls_config.clone().unwrap_or_default(),
                    proxy_url: self.proxy_url.clone(),
                    no_proxy: self.no_proxy.clone(),
                    proxy_from_environment: self.proxy_from_environment,
                    follow_redirects: self.follow_redirects,
                    http_headers: self.http_headers.clone().unwrap_or_default(),
                }
            }
        }
    };
}
pub(crate) use with_http;

/// `basic_auth`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BasicAuth {
    pub username: Option<String>,
    pub username_file: Option<PathBuf>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
}

/// `authorization`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Authorization {
    #[serde(rename = "type")]
    pub scheme: Option<String>,
    pub credentials: Option<Secret>,
    pub credentials_file: Option<PathBuf>,
}

/// `tls_config`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsOptions {
    pub ca: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub cert: Option<String>,
    pub cert_file: Option<PathBuf>,
    pub key: Option<Secret>,
    pub key_file: Option<PathBuf>,
    pub insecure_skip_verify: bool,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

/// Versions our TLS speaks.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
pub(crate) enum TlsVersion {
    #[serde(rename = "TLS12")]
    V12,
    #[serde(rename = "TLS13")]
    V13,
}

/// One of `http_headers`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Header {
    pub values: Vec<String>,
    pub secrets: Vec<Secret>,
    pub files: Vec<PathBuf>,
}
