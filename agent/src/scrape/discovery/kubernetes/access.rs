//! How to reach the API server: as configured, as a `kubeconfig` says, or as a pod finds it.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{KubernetesConfig, Role};
use crate::Secret;
use crate::http_client::{BasicAuth, HttpClient, HttpOptions};

/// Where a pod finds its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A client and the server it asks.
pub(super) struct Access {
    pub(super) client: HttpClient,
    pub(super) server: String,
}

/// Whether the API server can be reached as far as files and variables go.
pub(crate) fn check(config: &KubernetesConfig, folder: &Path) -> Result<(), String> {
    Access::new(config, folder).map(|_| ())
}

impl Access {
    pub(super) fn new(config: &KubernetesConfig, folder: &Path) -> Result<Self, String> {
        let said = |reason: String| format!("`kubernetes_sd_configs`: {reason}");
        let (server, options, folder) = match (&config.api_server, &config.kubeconfig_file) {
            (Some(server), _) => (server.clone(), config.http(), folder.to_owned()),
            (None, Some(path)) => of_kubeconfig(&folder.join(path)).map_err(said)?,
            (None, None) => of_pod(config.http()).map_err(said)?,
        };
        let client = HttpClient::new(&options, &folder).map_err(said)?;
        Ok(Self { client, server: server.trim_end_matches('/').to_owned() })
    }

    /// The namespaces to look at; one `None` is all of them.
    pub(super) fn namespaces(&self, config: &KubernetesConfig) -> Vec<Option<String>> {
        let mut names: Vec<_> = config.namespaces.names.iter().cloned().map(Some).collect();
        if config.namespaces.own_namespace {
            let own = std::fs::read_to_string(Path::new(ACCOUNT).join("namespace"));
            names.extend(own.ok().map(|own| Some(own.trim().to_owned())));
        }
        if names.is_empty() || config.role == Some(Role::Node) {
            return vec![None];
        }
        names.sort();
        names.dedup();
        names
    }
}

fn of_pod(mut options: HttpOptions) -> Result<(String, HttpOptions, PathBuf), String> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| {
            format!(
                "{name} is not set: outside of a cluster give `api_server` or `kubeconfig_file`"
            )
        })
    };
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let account = Path::new(ACCOUNT);
    options.bearer_token_file = Some(account.join("token"));
    options.tls_config.ca_file = Some(account.join("ca.crt"));
    Ok((format!("https://{host}:{port}"), options, account.to_owned()))
}

/// A `kubeconfig`, as far as we read it; what else is in it has no part in this.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kubeconfig {
    #[serde(rename = "current-context")]
    current: String,
    contexts: Vec<Named<Context>>,
    clusters: Vec<Named<Cluster>>,
    users: Vec<Named<User>>,
}

#[derive(Debug, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    value: T,
}

#[derive(Debug, Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    token: Option<Secret>,
    #[serde(alias = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

fn of_kubeconfig(path: &Path) -> Result<(String, HttpOptions, PathBuf), String> {
    let name = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let options = serde_saphyr::options! { with_snippet: false };
    let config: Kubeconfig = serde_saphyr::from_str_with_options(&text, options)
        .map_err(|error| format!("{name}: {error}"))?;
    let missing = |what: &str, wanted: &str| format!("{name}: there is no {what} {wanted:?}");
    let context = named(config.contexts, &config.current)
        .ok_or_else(|| missing("context", &config.current))?;
    let cluster = named(config.clusters, &context.cluster)
        .ok_or_else(|| missing("cluster", &context.cluster))?;
    let user = named(config.users, &context.user).ok_or_else(|| missing("user", &context.user))?;
    if user.exec.is_some() || user.auth_provider.is_some() {
        return Err(format!(
            "{name}: user {:?} runs a program for its credentials: use one with a token",
            context.user
        ));
    }
    let mut options = HttpOptions::default();
    let tls = &mut options.tls_config;
    (tls.ca_file, tls.insecure_skip_verify) =
        (cluster.certificate_authority, cluster.insecure_skip_tls_verify);
    tls.ca = data(cluster.certificate_authority_data)?;
    (tls.cert_file, tls.cert) = (user.client_certificate, data(user.client_certificate_data)?);
    (tls.key_file, tls.key) = (user.client_key, data(user.client_key_data)?.map(Secret::from));
    (options.bearer_token, options.bearer_token_file) = (user.token, user.token_file);
    if user.username.is_some() {
        options.basic_auth = Some(BasicAuth {
            username: user.username,
            password: user.password,
            ..BasicAuth::default()
        });
    }
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok((cluster.server, options, folder))
}

fn named<T>(list: Vec<Named<T>>, name: &str) -> Option<T> {
    list.into_iter().find(|entry| entry.name == name).map(|entry| entry.value)
}

/// The text in Base64.
fn data(encoded: Option<String>) -> Result<Option<String>, String> {
    let Some(encoded) = encoded else { return Ok(None) };
    let bytes = STANDARD
        .decode(encoded.trim())
        .map_err(|error| format!("certificate data is no Base64: {error}"))?;
    String::from_utf8(bytes).map(Some).map_err(|_| "certificate data is no text".to_owned())
}
