//! Targets and their `__meta_kubernetes_…` labels, made of objects as the API writes them. Pure.
//!
//! Source: "kubernetes_sd_config" of Prometheus' configuration reference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Role;
use crate::scrape::relabel::LabelSet;

/// Objects by namespace and name.
type Found<'a> = BTreeMap<&'a String, &'a Value>;

/// The targets of `own` objects; endpoints look up the `services` and `pods` they belong to.
pub(super) fn targets(
    role: Role,
    own: &Found<'_>,
    services: &Found<'_>,
    pods: &Found<'_>,
) -> Vec<LabelSet> {
    let of = |object: &Value| match role {
        Role::Pod => pod_targets(object),
        Role::Service => service_targets(object),
        Role::Node => node_targets(object),
        Role::Ingress => ingress_targets(object),
        Role::Endpoints => endpoints_targets(object, services, pods),
        Role::EndpointSlice => slice_targets(object, services, pods),
    };
    own.values().flat_map(|object| of(object)).collect()
}

/// Labels in the making.
#[derive(Clone, Default)]
struct Meta(LabelSet);

impl Meta {
    /// `__meta_kubernetes_NAME`; an absent value is no label.
    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(format!("__meta_kubernetes_{name}"), value.into());
    }

    fn text(&mut self, name: &str, value: &Value) {
        if let Some(text) = value.as_str() {
            self.set(name, text);
        }
    }

    /// Labels and annotations of an object, and its namespace and name.
    fn object(&mut self, kind: &str, object: &Value) {
        let meta = &object["metadata"];
        self.text("namespace", &meta["namespace"]);
        self.text(&format!("{kind}_name"), &meta["name"]);
        for (field, word) in [("labels", "label"), ("annotations", "annotation")] {
            for (name, value) in meta[field].as_object().into_iter().flatten() {
                let name = sanitize(name);
                self.set(&format!("{kind}_{word}_{name}"), value.as_str().unwrap_or_default());
                self.set(&format!("{kind}_{word}present_{name}"), "true");
            }
        }
    }

    fn pod(&mut self, pod: &Value) {
        self.object("pod", pod);
        let (spec, status) = (&pod["spec"], &pod["status"]);
        self.text("pod_ip", &status["podIP"]);
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let ready = conditions
            .filter(|condition| condition["type"] == "Ready")
            .find_map(|c| c["status"].as_str());
        self.set("pod_ready", ready.unwrap_or("unknown").to_lowercase());
        self.text("pod_phase", &status["phase"]);
        self.text("pod_node_name", &spec["nodeName"]);
        self.text("pod_host_ip", &status["hostIP"]);
        self.text("pod_uid", &pod["metadata"]["uid"]);
        let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        if let Some(owner) = owners.find(|owner| owner["controller"] == true) {
            self.text("pod_controller_kind", &owner["kind"]);
            self.text("pod_controller_name", &owner["name"]);
        }
    }

    fn container(&mut self, pod: &Value, container: &Value, init: bool) {
        self.text("pod_container_name", &container["name"]);
        self.text("pod_container_image", &container["image"]);
        self.set("pod_container_init", init.to_string());
        let field = if init { "initContainerStatuses" } else { "containerStatuses" };
        let mut statuses = pod["status"][field].as_array().into_iter().flatten();
        if let Some(status) = statuses.find(|status| status["name"] == container["name"]) {
            self.text("pod_container_id", &status["containerID"]);
        }
    }

    fn container_port(&mut self, port: &Value) {
        self.set("pod_container_port_name", port["name"].as_str().unwrap_or_default());
        self.set("pod_container_port_number", number(&port["containerPort"]));
        self.set("pod_container_port_protocol", port["protocol"].as_str().unwrap_or("TCP"));
    }

    fn service(&mut self, service: &Value) {
        self.object("service", service);
        let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP");
        self.set("service_type", kind);
        match kind {
            "ExternalName" => self.text("service_external_name", &service["spec"]["externalName"]),
            _ => self.text("service_cluster_ip", &service["spec"]["clusterIP"]),
        }
        if kind == "LoadBalancer" {
            self.text("service_loadbalancer_ip", &service["spec"]["loadBalancerIP"]);
        }
    }

    fn at(mut self, address: String) -> LabelSet {
        self.0.insert("__address__".to_owned(), address);
        self.0
    }
}

/// A name that a label may have.
fn sanitize(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

fn number(value: &Value) -> String {
    value.as_u64().map(|number| number.to_string()).unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn join(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Containers of a pod, and whether they only prepare it.
fn containers(pod: &Value) -> impl Iterator<Item = (&Value, bool)> {
    let own = list(&pod["spec"]["containers"]).map(|container| (container, false));
    own.chain(list(&pod["spec"]["initContainers"]).map(|container| (container, true)))
}

fn pod_targets(pod: &Value) -> Vec<LabelSet> {
    let Some(ip) = pod["status"]["podIP"].as_str().filter(|ip| !ip.is_empty()) else {
        return Vec::new();
    };
    let mut base = Meta::default();
    base.pod(pod);
    let mut targets = Vec::new();
    for (container, init) in containers(pod) {
        let mut meta = base.clone();
        meta.container(pod, container, init);
        if list(&container["ports"]).next().is_none() {
            // Whoever knows its port relabels it in.
            targets.push(meta.at(ip.to_owned()));
            continue;
        }
        for port in list(&container["ports"]) {
            let mut meta = meta.clone();
            meta.container_port(port);
            targets.push(meta.at(join(ip, &number(&port["containerPort"]))));
        }
    }
    targets
}

fn service_targets(service: &Value) -> Vec<LabelSet> {
    let mut base = Meta::default();
    base.service(service);
    let text = |name: &str| service["metadata"][name].as_str().unwrap_or_default();
    let host = format!("{}.{}.svc", text("name"), text("namespace"));
    let target = |port: &Value| {
        let mut meta = base.clone();
        meta.set("service_port_name", port["name"].as_str().unwrap_or_default());
        meta.set("service_port_number", number(&port["port"]));
        meta.set("service_port_protocol", port["protocol"].as_str().unwrap_or("TCP"));
        meta.at(format!("{host}:{}", number(&port["port"])))
    };
    list(&service["spec"]["ports"]).map(target).collect()
}

/// Addresses of a node that are tried, in this order.
const NODE_ADDRESSES: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

fn node_targets(node: &Value) -> Vec<LabelSet> {
    let addresses = || list(&node["status"]["addresses"]);
    let address = NODE_ADDRESSES.iter().find_map(|kind| {
        addresses()
            .find(|address| address["type"] == *kind)
            .and_then(|address| address["address"].as_str())
    });
    let Some(address) = address else { return Vec::new() };
    let mut meta = Meta::default();
    meta.object("node", node);
    meta.text("node_provider_id", &node["spec"]["providerID"]);
    for address in addresses() {
        let kind = sanitize(address["type"].as_str().unwrap_or_default());
        let name = format!("node_address_{kind}");
        if !meta.0.contains_key(&format!("__meta_kubernetes_{name}")) {
            meta.text(&name, &address["address"]); // Of several the first.
        }
    }
    if let Some(name) = node["metadata"]["name"].as_str() {
        meta.0.insert("instance".to_owned(), name.to_owned());
    }
    let port = number(&node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]);
    vec![meta.at(join(address, &port))]
}

fn ingress_targets(ingress: &Value) -> Vec<LabelSet> {
    let mut base = Meta::default();
    base.object("ingress", ingress);
    base.text("ingress_class_name", &ingress["spec"]["ingressClassName"]);
    let secured: BTreeSet<&str> = list(&ingress["spec"]["tls"])
        .flat_map(|tls| list(&tls["hosts"]))
        .filter_map(Value::as_str)
        .collect();
    let mut targets = Vec::new();
    for rule in list(&ingress["spec"]["rules"]) {
        let host = rule["host"].as_str().unwrap_or_default();
        let wildcard =
            host.split_once('.').map(|(_, rest)| format!("*.{rest}")).unwrap_or_default();
        let https = secured.contains(host) || secured.contains(wildcard.as_str());
        let mut paths: Vec<&str> =
            list(&rule["http"]["paths"]).map(|path| path["path"].as_str().unwrap_or("/")).collect();
        if paths.is_empty() {
            paths.push("/");
        }
        for path in paths {
            let mut meta = base.clone();
            meta.set("ingress_scheme", if https { "https" } else { "http" });
            meta.set("ingress_host", host);
            meta.set("ingress_path", path);
            targets.push(meta.at(host.to_owned()));
        }
    }
    targets
}

/// What an address points to.
fn pod_of<'a>(namespace: &str, target: &Value, pods: &Found<'a>) -> Option<&'a Value> {
    if target["kind"] != "Pod" {
        return None;
    }
    let namespace = target["namespace"].as_str().unwrap_or(namespace);
    pods.get(&format!("{namespace}/{}", target["name"].as_str()?)).copied()
}

/// Adds what is known of the pod behind an address; notes the port, so that it is not found once more.
fn behind(meta: &mut Meta, pod: &Value, port: &str, used: &mut BTreeSet<(String, String)>) {
    meta.pod(pod);
    for (container, init) in containers(pod) {
        if let Some(own) =
            list(&container["ports"]).find(|own| number(&own["containerPort"]) == port)
        {
            meta.container(pod, container, init);
            meta.container_port(own);
        }
    }
    used.insert((pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(), port.to_owned()));
}

/// Ports of the pods behind endpoints that no endpoint names.
fn other_ports(
    base: &Meta,
    behind: &BTreeMap<String, &Value>,
    used: &BTreeSet<(String, String)>,
) -> Vec<LabelSet> {
    let mut targets = Vec::new();
    for (uid, pod) in behind {
        let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
        for (container, init) in containers(pod).filter(|_| !ip.is_empty()) {
            for port in list(&container["ports"]) {
                let number = number(&port["containerPort"]);
                if used.contains(&(uid.clone(), number.clone())) {
                    continue;
                }
                let mut meta = base.clone();
                meta.pod(pod);
                meta.container(pod, container, init);
                meta.container_port(port);
                targets.push(meta.at(join(ip, &number)));
            }
        }
    }
    targets
}

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

fn endpoints_targets(endpoints: &Value, services: &Found<'_>, pods: &Found<'_>) -> Vec<LabelSet> {
    let text = |name: &str| endpoints["metadata"][name].as_str().unwrap_or_default();
    let mut base = Meta::default();
    base.object("endpoints", endpoints);
    if let Some(service) = services.get(&format!("{}/{}", text("namespace"), text("name"))) {
        base.service(service);
    }
    let (mut targets, mut used, mut found) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    for subset in list(&endpoints["subsets"]) {
        for port in list(&subset["ports"]) {
            for (field, ready) in [("addresses", "true"), ("notReadyAddresses", "false")] {
                for address in list(&subset[field]) {
                    let mut meta = base.clone();
                    meta.set("endpoint_ready", ready);
                    meta.set("endpoint_port_name", port["name"].as_str().unwrap_or_default());
                    meta.set("endpoint_port_protocol", port["protocol"].as_str().unwrap_or("TCP"));
                    meta.text("endpoint_hostname", &address["hostname"]);
                    meta.text("endpoint_node_name", &address["nodeName"]);
                    meta.text("endpoint_address_target_kind", &address["targetRef"]["kind"]);
                    meta.text("endpoint_address_target_name", &address["targetRef"]["name"]);
                    let port = number(&port["port"]);
                    if let Some(pod) = pod_of(text("namespace"), &address["targetRef"], pods) {
                        behind(&mut meta, pod, &port, &mut used);
                        found.insert(uid(pod), pod);
                    }
                    targets.push(meta.at(join(address["ip"].as_str().unwrap_or_default(), &port)));
                }
            }
        }
    }
    targets.extend(other_ports(&base, &found, &used));
    targets
}

fn slice_targets(slice: &Value, services: &Found<'_>, pods: &Found<'_>) -> Vec<LabelSet> {
    let namespace = slice["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut base = Meta::default();
    base.object("endpointslice", slice);
    base.text("endpointslice_address_type", &slice["addressType"]);
    let service =
        slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap_or_default();
    if let Some(service) = services.get(&format!("{namespace}/{service}")) {
        base.service(service);
    }
    let (mut targets, mut used, mut found) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    for port in list(&slice["ports"]) {
        for endpoint in list(&slice["endpoints"]) {
            let mut meta = base.clone();
            let port_number = number(&port["port"]);
            meta.set("endpointslice_port", port_number.as_str());
            meta.set("endpointslice_port_name", port["name"].as_str().unwrap_or_default());
            meta.set("endpointslice_port_protocol", port["protocol"].as_str().unwrap_or("TCP"));
            meta.text("endpointslice_port_app_protocol", &port["appProtocol"]);
            for condition in ["ready", "serving", "terminating"] {
                if let Some(is) = endpoint["conditions"][condition].as_bool() {
                    meta.set(
                        &format!("endpointslice_endpoint_conditions_{condition}"),
                        is.to_string(),
                    );
                }
            }
            meta.text("endpointslice_endpoint_hostname", &endpoint["hostname"]);
            meta.text("endpointslice_endpoint_node_name", &endpoint["nodeName"]);
            meta.text("endpointslice_endpoint_zone", &endpoint["zone"]);
            meta.text("endpointslice_address_target_kind", &endpoint["targetRef"]["kind"]);
            meta.text("endpointslice_address_target_name", &endpoint["targetRef"]["name"]);
            if let Some(pod) = pod_of(namespace, &endpoint["targetRef"], pods) {
                behind(&mut meta, pod, &port_number, &mut used);
                found.insert(uid(pod), pod);
            }
            let addresses = list(&endpoint["addresses"]).filter_map(Value::as_str);
            targets.extend(addresses.map(|ip| meta.clone().at(join(ip, &port_number))));
        }
    }
    targets.extend(other_ports(&base, &found, &used));
    targets
}
