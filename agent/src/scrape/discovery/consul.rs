//! `consul_sd_configs`: instances of services in Consul's catalogue, asked for again and again.
//!
//! Source: Consul's HTTP API, `catalog/services` and `health/service`; "consul_sd_config" of Prometheus' reference.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::http::get;
use super::{Poll, Source};
use crate::Secret;
use crate::http_client::{Authorization, HttpClient, redacted, with_http};
use crate::scrape::config::{Scheme, Span};
use crate::scrape::relabel::LabelSet;

with_http! {
    /// One of `consul_sd_configs`.
    pub(crate) struct ConsulConfig {
        /// Host and port. Default: `localhost:8500`.
        #[serde(serialize_with = "crate::http_client::redact::shown_option")]
        pub server: Option<String>,
        pub token: Option<Secret>,
        pub datacenter: Option<String>,
        pub namespace: Option<String>,
        pub scheme: Option<Scheme>,
        /// Services to look at; all by default.
        pub services: BTreeSet<String>,
        /// Tags an instance must have, all of them.
        pub tags: Vec<String>,
        /// An expression that Consul filters instances by.
        pub filter: Option<String>,
        /// What stands between tags in their label. Default: a comma.
        pub tag_separator: Option<String>,
        /// Whether a server that is not the leader may answer. Default: yes.
        pub allow_stale: Option<bool>,
        /// Default: 30 s.
        pub refresh_interval: Option<Span>,
    }
}

const DEADLINE: Duration = Duration::from_secs(30);

impl ConsulConfig {
    /// What is wrong with it that no type can say.
    pub(crate) fn check(&self) -> Result<(), String> {
        let server = self.server();
        if server.is_empty() || server.contains('/') {
            return Err(format!(
                "`consul_sd_configs`: `server` {:?} is no host and port such as localhost:8500",
                redacted(server)
            ));
        }
        Ok(())
    }

    /// How to reach it: Consul's token is a bearer token.
    pub(crate) fn access(&self) -> Result<crate::http_client::HttpOptions, String> {
        let mut options = self.http();
        if let Some(token) = &self.token {
            if options.authorization.is_some() || options.basic_auth.is_some() {
                return Err(
                    "`consul_sd_configs`: give one of `token`, `authorization` and `basic_auth`"
                        .to_owned(),
                );
            }
            let credentials = Some(token.clone());
            options.authorization = Some(Authorization { credentials, ..Authorization::default() });
        }
        Ok(options)
    }

    fn server(&self) -> &str {
        self.server.as_deref().unwrap_or("localhost:8500")
    }
}

struct Catalogue {
    client: HttpClient,
    config: ConsulConfig,
}

/// One of `health/service`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    node: String,
    address: String,
    datacenter: String,
    partition: String,
    tagged_addresses: Option<BTreeMap<String, String>>,
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    address: String,
    port: u16,
    namespace: String,
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Check {
    status: String,
}

/// Asks until everything stops.
pub(super) async fn run(poll: Poll, config: ConsulConfig) {
    let client = config.access().and_then(|options| HttpClient::new(&options, poll.folder()));
    let client = match client {
        Ok(client) => client,
        Err(reason) => return poll.complain(&reason), // It could be built when the configuration was checked.
    };
    let interval = config.refresh_interval.map_or(Duration::from_secs(30), |span| span.0);
    poll.every(interval, Catalogue { client, config }).await;
}

impl Source for Catalogue {
    async fn ask(&mut self) -> Result<Vec<LabelSet>, String> {
        let services: BTreeMap<String, Option<Vec<String>>> =
            self.read("/v1/catalog/services", &[]).await?;
        let mut targets = Vec::new();
        for (name, tags) in services {
            let tags = tags.unwrap_or_default();
            let is_wanted = self.config.services.is_empty() || self.config.services.contains(&name);
            if !is_wanted || !self.config.tags.iter().all(|tag| tags.contains(tag)) {
                continue;
            }
            let wanted: Vec<_> = self.config.tags.iter().map(|tag| ("tag", tag.as_str())).collect();
            let mut path = String::from("/v1/health/service/");
            path.extend(form_urlencoded::byte_serialize(name.as_bytes()));
            let entries: Vec<Entry> = self.read(&path, &wanted).await?;
            targets.extend(entries.iter().map(|entry| self.labels(entry)));
        }
        Ok(targets)
    }
}

impl Catalogue {
    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        more: &[(&str, &str)],
    ) -> Result<T, String> {
        let url = self.url(path, more);
        let headers = [("accept", "application/json")];
        let (_, body) = get(&self.client, &url, &headers, DEADLINE).await?;
        serde_json::from_slice(&body).map_err(|error| format!("{}: {error}", redacted(&url)))
    }

    fn url(&self, path: &str, more: &[(&str, &str)]) -> String {
        let config = &self.config;
        let mut query = form_urlencoded::Serializer::new(String::new());
        // The catalogue's own list knows no filter of instances.
        let filter = config.filter.as_ref().filter(|_| path.starts_with("/v1/health"));
        for (name, value) in [
            ("dc", config.datacenter.as_ref()),
            ("ns", config.namespace.as_ref()),
            ("filter", filter),
        ] {
            query.extend_pairs(value.map(|value| (name, value)));
        }
        query.extend_pairs(more);
        if config.allow_stale.unwrap_or(true) {
            query.append_key_only("stale");
        }
        let scheme = config.scheme.unwrap_or_default().as_str();
        format!("{scheme}://{}{path}?{}", config.server(), query.finish())
    }

    fn labels(&self, entry: &Entry) -> LabelSet {
        let (node, service) = (&entry.node, &entry.service);
        let mut labels = LabelSet::new();
        let mut set = |name: &str, value: &str| {
            if !value.is_empty() {
                labels.insert(format!("__meta_consul_{name}"), value.to_owned());
            }
        };
        let separator = self.config.tag_separator.as_deref().unwrap_or(",");
        let tags = service.tags.as_deref().unwrap_or_default();
        if !tags.is_empty() {
            // Separators at both ends: a rule can match a whole tag.
            set("tags", &format!("{separator}{}{separator}", tags.join(separator)));
        }
        for (name, value) in [
            ("node", &node.node),
            ("address", &node.address),
            ("dc", &node.datacenter),
            ("partition", &node.partition),
            ("service", &service.service),
            ("service_id", &service.id),
            ("service_address", &service.address),
            ("namespace", &service.namespace),
        ] {
            set(name, value);
        }
        set("service_port", &service.port.to_string());
        set("health", health(&entry.checks));
        for (prefix, pairs) in [
            ("metadata", &node.meta),
            ("tagged_address", &node.tagged_addresses),
            ("service_metadata", &service.meta),
        ] {
            for (name, value) in pairs.iter().flatten() {
                set(&format!("{prefix}_{}", sanitize(name)), value);
            }
        }
        let host = if service.address.is_empty() { &node.address } else { &service.address };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        labels.insert("__address__".to_owned(), format!("{host}:{}", service.port));
        labels
    }
}

/// The worst of all checks.
fn health(checks: &[Check]) -> &'static str {
    let has = |status: &str| checks.iter().any(|check| check.status == status);
    match () {
        () if has("maintenance") => "maintenance",
        () if has("critical") => "critical",
        () if has("warning") => "warning",
        () => "passing",
    }
}

fn sanitize(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_the_labels_of_its_node_and_service() {
        let entry: Entry = serde_json::from_str(
            r#"{"Node": {"Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1", "Meta": {"rack-no": "7"}, "TaggedAddresses": {"lan": "10.0.0.1"}},
                "Service": {"ID": "web-1", "Service": "web", "Tags": ["a", "b"], "Address": "", "Port": 80, "Meta": null},
                "Checks": [{"Status": "passing"}, {"Status": "warning"}]}"#,
        )
        .unwrap();
        let client =
            HttpClient::new(&crate::http_client::HttpOptions::default(), "".as_ref()).unwrap();
        let labels = Catalogue { client, config: ConsulConfig::default() }.labels(&entry);
        let value = |name: &str| labels[&format!("__meta_consul_{name}")].as_str();
        assert_eq!(labels["__address__"], "10.0.0.1:80");
        assert_eq!(
            (value("tags"), value("health"), value("metadata_rack_no")),
            (",a,b,", "warning", "7")
        );
        assert_eq!(
            (value("service_id"), value("dc"), value("tagged_address_lan")),
            ("web-1", "dc1", "10.0.0.1")
        );
        assert!(!labels.contains_key("__meta_consul_service_address"));
    }

    #[test]
    fn one_way_to_show_who_we_are_is_enough() {
        let check = |yaml: &str| serde_saphyr::from_str::<ConsulConfig>(yaml).unwrap();
        assert!(check("{token: a, basic_auth: {username: b}}").access().is_err());
        assert!(check("{token: a}").access().is_ok());
        assert!(check("{server: 'http://a/'}").check().is_err());
    }
}
