//! `kubernetes_sd_configs`: pods, services, endpoints, nodes and ingresses as the API server tells them, listed once and
//! watched from then on.
//!
//! Each kind of object is held as its API writes it; targets are made anew of everything when something changed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Poll;
use crate::http_client::with_http;

mod access;
mod labels;
mod watch;

use access::Access;

with_http! {
    /// One of `kubernetes_sd_configs`.
    pub(crate) struct KubernetesConfig {
        /// URL of the API server; without one, that of `kubeconfig_file` or of the cluster we run in.
        pub api_server: Option<String>,
        pub role: Option<Role>,
        pub kubeconfig_file: Option<PathBuf>,
        pub namespaces: Namespaces,
        pub selectors: Vec<Selector>,
    }
}

/// What becomes a target.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Node,
    Ingress,
}

/// Where to look; everywhere by default.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Namespaces {
    pub own_namespace: bool,
    pub names: Vec<String>,
}

/// Which objects of a kind to look at.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selector {
    pub role: Role,
    #[serde(default)]
    pub label: String,
    #[serde(default)]
    pub field: String,
}

impl Role {
    /// Kinds of objects the targets of this role are made of, the first its own.
    const fn kinds(self) -> &'static [Self] {
        match self {
            Self::Endpoints => &[Self::Endpoints, Self::Service, Self::Pod],
            Self::EndpointSlice => &[Self::EndpointSlice, Self::Service, Self::Pod],
            Self::Pod => &[Self::Pod],
            Self::Service => &[Self::Service],
            Self::Node => &[Self::Node],
            Self::Ingress => &[Self::Ingress],
        }
    }

    /// Path of the list of its objects.
    fn path(self, namespace: Option<&str>) -> String {
        let (group, name) = match self {
            Self::Pod => ("/api/v1", "pods"),
            Self::Service => ("/api/v1", "services"),
            Self::Endpoints => ("/api/v1", "endpoints"),
            Self::EndpointSlice => ("/apis/discovery.k8s.io/v1", "endpointslices"),
            Self::Node => return "/api/v1/nodes".to_owned(),
            Self::Ingress => ("/apis/networking.k8s.io/v1", "ingresses"),
        };
        match namespace {
            Some(namespace) => format!("{group}/namespaces/{namespace}/{name}"),
            None => format!("{group}/{name}"),
        }
    }
}

impl KubernetesConfig {
    /// What is wrong with it that no type can say.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Some(role) = self.role else {
            return Err("`kubernetes_sd_configs`: `role` is missing; one of pod, service, endpoints, endpointslice, node or ingress".to_owned());
        };
        if self.api_server.is_some() && self.kubeconfig_file.is_some() {
            return Err("`kubernetes_sd_configs`: give one of `api_server` and `kubeconfig_file`"
                .to_owned());
        }
        match self.selectors.iter().find(|selector| !role.kinds().contains(&selector.role)) {
            Some(selector) => Err(format!(
                "`kubernetes_sd_configs`: a selector of {:?} has no part in role {role:?}",
                selector.role
            )),
            None => Ok(()),
        }
    }
}

/// Objects of one kind, by namespace and name.
pub(super) type Objects = BTreeMap<String, Value>;

/// Everything known, by place in [`Role::kinds`], and whether it has changed.
#[derive(Default)]
pub(super) struct Known {
    kinds: Mutex<BTreeMap<(usize, String), Objects>>,
    changed: Notify,
}

impl Known {
    /// Changes the objects of one list.
    fn change(&self, list: &(usize, String), change: impl FnOnce(&mut Objects)) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        change(kinds.entry(list.clone()).or_default());
        drop(kinds);
        self.changed.notify_one();
    }

    /// Whether each of `n` lists was read.
    fn is_complete(&self, n: usize) -> bool {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).len() == n
    }

    fn targets(&self, role: Role) -> Vec<super::LabelSet> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |kind: usize| {
            let lists = kinds.iter().filter(move |((number, _), _)| *number == kind);
            lists.flat_map(|(_, objects)| objects.iter()).collect::<BTreeMap<_, _>>()
        };
        labels::targets(role, &of(0), &of(1), &of(2))
    }
}

/// Changes that come within this time are told together.
const PAUSE: Duration = Duration::from_millis(200);

/// Watches until everything stops.
pub(super) async fn run(poll: Poll, config: KubernetesConfig) {
    let Some(role) = config.role else { return };
    let access = match Access::new(&config, poll.folder()) {
        Ok(access) => Arc::new(access),
        Err(reason) => return poll.complain(&reason), // It could be had when the configuration was checked.
    };
    let poll = Arc::new(poll);
    let known = Arc::new(Known::default());
    let namespaces = access.namespaces(&config);
    let mut watches = JoinSet::new();
    for (number, kind) in role.kinds().iter().enumerate() {
        for namespace in &namespaces {
            let selector = config.selectors.iter().find(|selector| selector.role == *kind);
            let list = watch::List {
                path: kind.path(namespace.as_deref()),
                selector: selector.cloned(),
                key: (number, namespace.clone().unwrap_or_default()),
            };
            watches.spawn(watch::run(
                Arc::clone(&poll),
                Arc::clone(&access),
                Arc::clone(&known),
                list,
            ));
        }
        if *kind == Role::Node {
            break;
        }
    }
    let n_lists = watches.len();
    let mut last = None;
    loop {
        tokio::select! {
            biased;
            () = poll.stop.cancelled() => break,
            () = known.changed.notified() => {}
        }
        // Half of the truth would end series that are there.
        if !poll.wait(PAUSE).await || !known.is_complete(n_lists) {
            continue;
        }
        let targets = known.targets(role);
        if last.as_ref() != Some(&targets) {
            last = Some(targets.clone());
            if !poll.tell(targets).await {
                break;
            }
        }
    }
    while watches.join_next().await.is_some() {}
}

pub(crate) use access::check as check_access;

#[cfg(test)]
mod tests;
